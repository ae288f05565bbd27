"""The montage looks at the right slices, the right way round, to scale."""

from dataclasses import replace
from math import nan

import numpy as np
import pytest

from SpinalCordSegLib.errors import MissingPackageError
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.report import (
    AreaPoint,
    CordScene,
    MontageSlice,
    MontageText,
    chosen_slices,
    cord_path,
    draw_montage,
    outline,
)
from SpinalCordSegLib.volume import Volume

CONFIG = PhantomConfig(shape=(60, 48, 8), spacing_mm=(0.6, 0.9, 4.0), tilt_deg=(8.0, -5.0))


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(CONFIG)


def test_path_follows_the_cord_and_bridges_gaps():
    cord = np.zeros((9, 9, 4), bool)
    cord[2, 3, 0] = cord[6, 3:6, 2] = True
    np.testing.assert_allclose(cord_path(cord), [[2, 3], [4, 3.5], [6, 4], [6, 4]])
    np.testing.assert_allclose(cord_path(np.zeros((9, 5, 2), bool)), [[4, 2], [4, 2]])


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PSR"])
def test_axial_view_is_radiological_and_in_mm(phantom, orientation):
    other = make_phantom(replace(CONFIG, orientation=orientation))
    marked = other.image.ijk.copy()
    right = np.linalg.inv(other.image.ijk_to_ras) @ np.append(np.add(CONFIG.centre_ras_mm, (12, 0, 2)), 1)
    marked[tuple(np.rint(right[:3]).astype(int))] = 5000  # 12 mm to the patient's right in canonical slice 4
    scene = CordScene.of(other.image.with_ijk(marked), other.mask, 15)
    view = scene.axial(4, 30.0, 5.0)
    assert view.grey.shape == (150, 150)
    bright_column = np.argmax(np.where(view.grey >= 1, 1, 0).sum(axis=0))
    assert bright_column < 40
    area_mm2 = view.mask.sum() / 25
    assert area_mm2 == pytest.approx(phantom.mask.ijk[:, :, 4].sum() * 0.54, rel=0.05)
    rows, columns = np.nonzero(view.mask)
    assert (rows.mean(), columns.mean()) == pytest.approx((74.5, 74.5), abs=2)


def test_planes_follow_a_tilted_cord(phantom):
    scene = CordScene.of(phantom.image, phantom.mask, 15)
    sagittal, coronal = (scene.along(axis, 40.0, 2.5) for axis in (1, 0))
    assert sagittal.grey.shape == coronal.grey.shape == (80, 100)
    assert sagittal.mask.any(axis=1).all()
    assert coronal.mask.any(axis=1).all()
    top, bottom = (np.flatnonzero(coronal.mask[row]).mean() for row in (2, -3))
    assert top < bottom  # leans to the patient's right on the way up: to the left of the picture
    top, bottom = (np.flatnonzero(sagittal.mask[row]).mean() for row in (2, -3))
    assert top > bottom  # leans backwards: to the right of the picture


def test_outline_lies_outside():
    mask = np.zeros((9, 9), bool)
    mask[3:6, 3:6] = True
    rim = outline(mask, 1)
    assert not (rim & mask).any()
    assert rim.sum() == 25 - 9
    assert not outline(np.zeros((4, 4), bool), 2).any()


def test_chosen_slices_hold_the_ends_and_the_flagged():
    assert chosen_slices([3, 4, 5], [4], 18) == [3, 4, 5]
    chosen = chosen_slices(range(100), [41, 42], 10)
    assert len(chosen) == 10
    assert {0, 41, 42, 99} <= set(chosen)
    assert len(chosen_slices(range(100), list(range(50)), 10)) == 10


def _slices(phantom):
    areas = phantom.truth_csa_mm2
    points = [AreaPoint(7 - k, 4.0 * k, area, area) for k, area in enumerate(areas)]
    points[2] = replace(points[2], csa_mm2=nan, doubts=("gap",))
    return [MontageSlice(k, point) for k, point in enumerate(points)]


def test_montage_is_a_picture_with_contours(phantom):
    scene = CordScene.of(phantom.image, phantom.mask, 15)
    text = MontageText("Fall Müller ³", ("mean area 75.0 mm² · 8 slices",))
    picture = np.asarray(draw_montage(scene, _slices(phantom), (-2.0, 30.0), 75.0, text))
    assert picture.shape[1:] == (1500, 3)
    assert (picture == (244, 214, 49)).all(axis=2).sum() > 2000


@pytest.mark.parametrize("shape", [(60, 48, 1), (1, 1, 1), (3000, 40, 2)])
def test_montage_of_odd_volumes_without_cord(shape):
    grid = Volume.from_ijk(np.zeros(shape, np.float32), np.diag([0.6, 0.9, 4.0, 1.0]))
    scene = CordScene.of(grid, grid.with_ijk(np.zeros(shape, bool)), 15)
    picture = draw_montage(scene, [], (0.0, 4.0 * shape[2]), nan, MontageText("empty", ("no cord found",)))
    assert picture.width == 1500


def test_mask_alone_is_shown(phantom):
    scene = CordScene.of(None, phantom.mask, 15)
    view = scene.axial(4, 30.0, 5.0)
    assert set(np.unique(view.grey)) == {np.float32(0), np.float32(0.35)}


def test_without_pillow_it_says_so(phantom, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(MissingPackageError, match="Pillow"):
        draw_montage(CordScene.of(None, phantom.mask, 15), [], (0, 32), nan, MontageText("x", ()))
