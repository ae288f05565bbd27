"""One drawn slice: the label's area is the analytic one wherever the person lies; places are where they belong."""

from __future__ import annotations

import numpy as np
import pytest

from Recipes.simulation.anatomy import N_TISSUES, RIM_MM, Canvas, Pose, Tissue, draw_slice
from Recipes.simulation.atlas import Maps
from Recipes.simulation.necks import Field, draw_neck
from Recipes.simulation.scanner import paint


@pytest.mark.parametrize("pose", [Pose(), Pose(13.3, -7.7, 0.3), Pose(-20.0, 31.0, -0.2)])
def test_coverage_sums_to_the_analytic_area(maps: Maps, pose: Pose) -> None:
    neck = draw_neck(11, maps)
    for z_mm in (-110.0, -47.3, -5.0):
        coverage = draw_slice(neck, maps, z_mm, 384, 0.4, pose).coverage()
        assert coverage.sum() * 0.16 == pytest.approx(neck.csa_mm2(z_mm), rel=3e-3)
        rows, columns = np.mgrid[:384, :384] - 191.5
        assert (coverage * columns).sum() / coverage.sum() * 0.4 == pytest.approx(pose.x_mm, abs=1.2)
        assert (coverage * rows).sum() / coverage.sum() * 0.4 == pytest.approx(pose.y_mm, abs=1.2)


def test_above_the_foramen_magnum_nothing_is_cord(maps: Maps) -> None:
    neck = draw_neck(12, maps)
    for z_mm in (5.0, 40.0, 100.0):
        anatomy = draw_slice(neck, maps, z_mm, 256, 0.7, Pose())
        assert anatomy.coverage().max() == 0
    assert (draw_slice(neck, maps, 100.0, 256, 0.7, Pose()).canvas.labels == Tissue.BRAIN_WHITE).any()


def test_air_around_bone_in_front_and_arteries_beside(maps: Maps) -> None:
    neck = draw_neck(13, maps)
    anatomy = draw_slice(neck, maps, -80.0, 512, 0.4, Pose())
    labels, x, y = anatomy.canvas.labels, anatomy.canvas.x, anatomy.canvas.y
    assert (labels[0] == Tissue.AIR).all() and (labels[:, 0] == Tissue.AIR).all()
    assert y[labels == Tissue.MARROW].max() < 0
    assert (np.abs(x[labels == Tissue.ARTERY]) > 5).all()
    assert anatomy.canal.sum() > anatomy.cord.sum() > 0


def test_an_ellipse_has_its_area_and_place() -> None:
    axis = np.zeros((8, 8, 8), np.float32)
    still = (Field(axis, 50.0), Field(axis, 50.0))
    canvas = Canvas.blank(200, 0.5, Pose(10.0, -5.0, 0.4), still, 0.0, 1.0)
    canvas.ellipse(Tissue.GLAND, 12.0, 8.0, 9.0, 4.0, 0.7)
    drawn = canvas.labels == Tissue.GLAND
    assert drawn.sum() * 0.25 == pytest.approx(np.pi * 36, rel=0.02)
    assert (canvas.x[drawn].mean(), canvas.y[drawn].mean()) == pytest.approx((12.0, 8.0), abs=0.1)
    canvas.ellipse(Tissue.AIR, 12.0, 8.0, 20.0, only_on=(Tissue.FAT,))
    assert (canvas.labels == Tissue.GLAND).sum() == drawn.sum()


def test_painting_gives_the_cord_its_own_signal(maps: Maps) -> None:
    neck = draw_neck(14, maps)
    anatomy = draw_slice(neck, maps, -30.0, 256, 0.7, Pose())
    signals = np.zeros(N_TISSUES, np.complex64)
    signals[[Tissue.WHITE, Tissue.GREY]] = 2.0
    image = np.abs(paint(anatomy, neck, signals, -30.0))
    inside = anatomy.coverage() > 0.99
    assert image[inside].mean() == pytest.approx(2.0, rel=0.25)
    image[anatomy.where][anatomy.with_rim > 0] = 0
    assert image.max() == 0


def test_the_rim_lies_on_the_cord_and_is_not_counted(maps: Maps) -> None:
    neck = draw_neck(15, maps)
    anatomy = draw_slice(neck, maps, -50.0, 512, 0.25, Pose())
    cord_mm2, with_rim_mm2 = (float(share.sum()) * 0.25**2 for share in (anatomy.cord, anatomy.with_rim))
    radius_mm = np.sqrt(cord_mm2 / np.pi)
    assert cord_mm2 == pytest.approx(neck.csa_mm2(-50.0), rel=0.02)
    # Its area is thickness times girth; a flattened cord's girth is up to a fifth over a circle's.
    assert 1.0 < (with_rim_mm2 - cord_mm2) / (2 * np.pi * radius_mm * RIM_MM) < 1.25
    assert (anatomy.canal >= anatomy.with_rim).all()
    signals = np.zeros(N_TISSUES, np.complex64)
    signals[[Tissue.WHITE, Tissue.GREY]] = 1.0
    image = np.abs(paint(anatomy, neck, signals, -50.0))[anatomy.where]
    rim = (anatomy.cord == 0) & (anatomy.with_rim > 0.1)
    assert rim.any()
    np.testing.assert_allclose(image[rim], anatomy.with_rim[rim], atol=1e-5)  # nobody can tell it from the cord
