"""Simulated people: areas known exactly, cords inside their canals, scans that keep place and contrast."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from Recipes.cli import main
from Recipes.simulation.anatomy import N_TISSUES, RIM_MM, Pose, Tissue, draw_slice, draw_tissues
from Recipes.simulation.atlas import N_ANGLES, Maps, area_mm2, read_maps
from Recipes.simulation.necks import CSA_RANGE_MM2, atrophied, draw_neck
from Recipes.simulation.people import VolumeScan, simulate_neck
from Recipes.simulation.scanner import (
    Scan,
    Sequence,
    acquire,
    draw_signals,
    paint,
    tissue_signals,
)
from Recipes.simulation.training_slices import (
    SimulateConfig,
    phantom_slices,
    random_phantom,
    simulate_cache,
    training_slices,
)
from SpinalCordSegLib.errors import TrainingDataError
from SpinalCordSegLib.model.preprocessing import NormalisationConfig
from SpinalCordSegLib.phantom import make_phantom
from SpinalCordSegTrainerLib.slice_cache import SliceCache


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
        assert draw_slice(neck, maps, z_mm, 256, 0.7, Pose()).coverage().max() == neck.csa_mm2(z_mm) == 0
    assert (draw_slice(neck, maps, 100.0, 256, 0.7, Pose()).canvas.labels == Tissue.BRAIN_WHITE).any()


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


def test_contours_are_the_drawn_ellipses(maps: Maps) -> None:
    atlas, anna = maps.shapes
    assert (atlas.name, anna.name) == ("PAM50", "anna")
    assert area_mm2(atlas.cord_mm) == pytest.approx(np.pi * 24, rel=0.06)
    assert area_mm2(anna.cord_mm) == pytest.approx(np.pi * 35, rel=0.06)
    assert atlas.canal_mm is not None and anna.canal_mm is None
    assert area_mm2(atlas.canal_mm[:-2]) == pytest.approx(np.pi * 63, rel=0.06)
    assert atlas.cord_mm[10, 0] == pytest.approx(6.0, abs=0.5)  # angle 0 is the patient's left
    assert atlas.cord_mm[10, N_ANGLES // 4] == pytest.approx(4.0, abs=0.5)  # a quarter turn on, posterior


def test_shapes_can_be_held_out(label_folder: Path) -> None:
    assert [shape.name for shape in read_maps(label_folder, hold_out=("PAM50",)).shapes] == ["anna"]
    with pytest.raises(TrainingDataError, match="no cord shape is left"):
        read_maps(label_folder, only=("nobody",))


def test_the_wanted_area_is_met_at_c2_c3(maps: Maps) -> None:
    for wanted in (45.0, 75.0, 105.0):
        neck = draw_neck(7, maps, csa_mm2=wanted)
        found = np.mean([neck.csa_mm2(z) for z in np.arange(-59.5, -40)])
        assert found == pytest.approx(wanted, rel=0.05)


def test_areas_stay_in_range_and_the_cord_inside_its_canal(maps: Maps) -> None:
    for seed in range(6):
        neck = draw_neck(seed, maps)
        areas = area_mm2(neck.cord_mm)
        assert areas.min() >= CSA_RANGE_MM2[0] - 1e-6 and areas.max() <= CSA_RANGE_MM2[1] + 1e-6
        assert (neck.canal_mm > neck.cord_mm).all()
        assert np.abs(np.diff(areas)).max() < 4  # mm² per mm: no steps along the cord


PAPER = Sequence("spoiled", tr_ms=7.0, te_ms=2.0, flip_deg=12.0)


def _plain() -> object:
    return replace(draw_tissues(np.random.default_rng(0)), inflow=np.zeros(N_TISSUES), fat=np.zeros(N_TISSUES))


def test_spoiled_gradient_echo_by_hand() -> None:
    tissues = replace(_plain(), t1_ms=np.full(N_TISSUES, 1000.0), t2star_ms=np.full(N_TISSUES, 40.0))
    tissues = replace(tissues, density=np.full(N_TISSUES, 0.8))
    # E1 = exp(-0.007) = 0.993024; sin 12° = 0.207912; cos 12° = 0.978148; E2* = exp(-0.05) = 0.951229
    # 0.207912 · 0.006976 / (1 - 0.993024 · 0.978148) · 0.951229 · 0.8 = 0.0385
    assert tissue_signals(tissues, PAPER)[Tissue.WHITE].real == pytest.approx(0.0385, abs=1e-4)


def test_fat_and_water_oppose_at_1_1_ms_and_add_at_2_3_ms() -> None:
    tissues = replace(draw_tissues(np.random.default_rng(0)), fat=np.full(N_TISSUES, 0.5))
    opposed = abs(tissue_signals(tissues, replace(PAPER, te_ms=1.136))[Tissue.MARROW])
    together = abs(tissue_signals(tissues, replace(PAPER, te_ms=2.273))[Tissue.MARROW])
    assert opposed < 0.8 * together


@pytest.mark.parametrize("family", ["paper", "t1w", "inversion"])
def test_t1_weighting_shows_a_bright_cord_in_dark_fluid(family: str) -> None:
    shown = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        signals = np.abs(draw_signals(rng, draw_tissues(rng), family))  # type: ignore[arg-type]
        shown.append(signals[Tissue.WHITE] > 1.15 * signals[Tissue.FLUID])
    assert np.mean(shown) >= 0.9


FINE_MM = 0.5
PLAIN = Scan(
    (0, 128, 0, 128), (0.5, 0.5), (0.5, 0.5), 0.0, 0.0, 0.0, phase_axis=0, wrap=False, ceiling=1.0, hot_pixels=0,
    zero_border=0.0,
)  # fmt: skip


def _blob(row_mm: float, column_mm: float, sigma_mm: float = 2.0) -> np.ndarray:
    axis = (np.arange(128) + 0.5) * FINE_MM
    return np.exp(
        -(np.square(axis[:, None] - row_mm) + np.square(axis - column_mm)) / (2 * sigma_mm**2)
    ).astype(np.complex64)  # fmt: skip


def _centre_mm(image: np.ndarray, pixel_mm: tuple[float, float]) -> tuple[float, float]:
    rows, columns = ((np.arange(n) + 0.5) * mm for n, mm in zip(image.shape, pixel_mm, strict=True))
    total = image.sum()
    return float((image * rows[:, None]).sum() / total), float((image * columns).sum() / total)


@pytest.mark.parametrize(
    ("acquired", "stored"), [((0.5, 0.5), (0.5, 0.5)), ((1.0, 0.8), (0.8, 0.8)), ((2.0, 1.0), (0.5, 1.0))]
)
def test_place_and_brightness_stay(acquired: tuple[float, float], stored: tuple[float, float]) -> None:
    scan = replace(PLAIN, acquired_mm=acquired, stored_mm=stored)
    image, pixel_mm = acquire(_blob(30.0, 37.0), FINE_MM, scan, np.random.default_rng(0))
    assert pixel_mm == pytest.approx(stored, rel=0.04)
    assert _centre_mm(image, pixel_mm) == pytest.approx((30.0, 37.0), abs=0.03)
    assert image.sum() * pixel_mm[0] * pixel_mm[1] == pytest.approx(2 * np.pi * 4, rel=0.02)


def test_noise_has_the_asked_for_level_in_air_and_tissue() -> None:
    scan = replace(PLAIN, noise=0.1)
    image, _ = acquire(np.ones((128, 128), np.complex64), FINE_MM, scan, np.random.default_rng(0))
    assert image.std() == pytest.approx(0.1, rel=0.05)


def test_water_and_opposed_fat_cancel_in_one_voxel() -> None:
    signal = np.ones((128, 128), np.complex64)
    signal[:, 64:] = -1
    image, _ = acquire(
        signal, FINE_MM, replace(PLAIN, acquired_mm=(0.5, 2.0), stored_mm=(0.5, 1.0)), np.random.default_rng(0)
    )
    assert image[:, 31:33].mean() < 0.5 and image[:, 14:18].mean() == pytest.approx(1.0, abs=0.1)


def test_what_lies_outside_folds_in_along_the_phase_axis() -> None:
    signal = _blob(8.0, 30.0)  # row 16, above a window of rows 32..96
    folded, pixel_mm = acquire(
        signal, FINE_MM, replace(PLAIN, window=(32, 96, 0, 128), wrap=True), np.random.default_rng(0)
    )
    assert _centre_mm(folded, pixel_mm)[0] == pytest.approx(24.0, abs=0.1)  # (8 - 16 + 32) mm
    cut, _ = acquire(signal, FINE_MM, replace(PLAIN, window=(32, 96, 0, 128)), np.random.default_rng(0))
    assert cut.max() < 0.05


RULE = NormalisationConfig(kind="fixed_pixel", pixel_mm=0.7, intensity="percentile")


def test_coverage_sums_to_the_phantoms_area() -> None:
    slices = list(phantom_slices(1, 5, RULE))
    phantom = make_phantom(random_phantom(np.random.default_rng([5, 0])))
    assert len(slices) == 6
    for (image, coverage, _), voxels in zip(slices, np.moveaxis(phantom.coverage.ijk, 2, 0), strict=True):
        pixel_mm2 = phantom.coverage.ijk_spacing_mm[0] * phantom.coverage.ijk_spacing_mm[1]
        assert image.shape == coverage.shape == (256, 256)
        assert image.min() >= 0 and image.max() <= 1
        assert coverage.sum() * 0.49 == pytest.approx(voxels.sum() * pixel_mm2, rel=2e-3)


SMALL = SimulateConfig(count=4, seed=3, slices_per_neck=2, hold_out=())


def test_a_cache_holds_normalised_slices_of_every_person(label_folder: Path, tmp_path: Path) -> None:
    steps: list[int] = []
    cache = simulate_cache(label_folder, tmp_path / "sim", SMALL, progress=lambda done, total: steps.append(done))
    assert cache.images.shape == (4, 256, 256) and steps == [1, 2, 3, 4]
    assert len(set(cache.info.subjects)) == 2 and cache.info.kind == "simulated"
    assert cache.info.normalisation["kind"] == "fixed_pixel"
    images, coverage = cache.read([0, 3])
    assert images.max() > 0.8 and coverage.max() <= 1


def test_the_command_takes_settings_and_names_a_wrong_one(
    label_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["simulate", "--maps", str(label_folder), "--count", "1", "--output", str(tmp_path / "cache")]
    assert main([*arguments, "--set", "families=[1, 0]"]) == 2
    assert "5 shares are needed" in capsys.readouterr().err and not (tmp_path / "cache").exists()
    assert main([*arguments, "--set", "families=[0, 0, 0, 0, 1]", "--set", "no_cord=0"]) == 0
    assert SliceCache.open(tmp_path / "cache").info.source["simulation"]["families"] == [0, 0, 0, 0, 1]


def test_a_seed_gives_the_same_slices(maps: Maps) -> None:
    once, again = (list(training_slices(maps, replace(SMALL, count=2))) for _ in range(2))
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(once, again, strict=True))
    other = next(training_slices(maps, replace(SMALL, count=1, seed=4)))
    assert not np.array_equal(once[0][0], other[0])


def test_views_of_one_place_differ_in_sharpness_alone(maps: Maps) -> None:
    config = replace(SMALL, count=6, views=3, no_cord=0.0, phantoms=0)
    slices = list(training_slices(maps, config))
    assert len(slices) == 6
    for image, coverage, subject in slices[1:3]:
        assert np.array_equal(coverage, slices[0][1]) and subject == slices[0][2]
        assert not np.array_equal(image, slices[0][0])


@pytest.mark.parametrize("spacing_mm", [(0.7, 0.9, 5.0), (1.0, 0.6, 2.5)])
def test_a_volume_knows_its_areas(maps: Maps, spacing_mm: tuple[float, float, float]) -> None:
    scan = VolumeScan(spacing_mm=spacing_mm, z_range_mm=(-60.0, -54.0))
    neck = draw_neck(31, maps, csa_mm2=80.0)
    found = simulate_neck(neck, maps, scan)
    assert found.image.orientation == "RAS" and np.allclose(
        found.image.voxel_to_ras, found.coverage.voxel_to_ras, atol=1e-4
    )
    assert found.image.ijk_spacing_mm == pytest.approx((spacing_mm[1], spacing_mm[0], spacing_mm[2]), rel=0.02)
    slices = found.coverage
    areas = slices.voxels.sum((1, 2)) * slices.pixel_mm[0] * slices.pixel_mm[1]
    assert areas == pytest.approx(found.csa_mm2, rel=3e-3)
    assert found.mask.ijk.sum() * found.mask.voxel_volume_mm3 == pytest.approx(
        found.csa_mm2.sum() * spacing_mm[2], rel=0.05
    )


def test_two_visits_differ_by_position_and_noise_and_the_atrophy(maps: Maps) -> None:
    neck = draw_neck(32, maps)
    scan = VolumeScan(spacing_mm=(0.9, 0.8, 1.5), z_range_mm=(-60.0, -57.0))
    first = simulate_neck(neck, maps, scan)
    later = simulate_neck(atrophied(neck, 0.02), maps, replace(scan, visit_seed=2))
    again = simulate_neck(neck, maps, scan)
    assert np.array_equal(first.image.ijk, again.image.ijk)
    assert not np.array_equal(first.image.ijk, later.image.ijk)
    expected = [atrophied(neck, 0.02).csa_mm2(z) for z in later.z_mm]
    assert later.csa_mm2 == pytest.approx(expected, rel=0.02)
