"""Simulated caches and volumes: reproducible, areas known, coverage and image on one grid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from slice_appearance import appearance, real_slices

from Recipes.cli import main
from Recipes.simulation.anatomy import Tissue, draw_tissues
from Recipes.simulation.atlas import Maps
from Recipes.simulation.necks import atrophied, draw_neck
from Recipes.simulation.people import VolumeScan, simulate_neck
from Recipes.simulation.training_slices import (
    SimulateConfig,
    _person,
    _visible_signals,
    random_slice,
    simulate_cache,
    training_slices,
)
from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.volume import axial_slices
from SpinalCordSegTrainerLib.slice_cache import SliceCache

SMALL = SimulateConfig(count=4, seed=3, slices_per_neck=2, hold_out=())


def test_a_cache_holds_normalised_slices_of_every_person(label_folder: Path, tmp_path: Path) -> None:
    steps: list[int] = []
    cache = simulate_cache(label_folder, tmp_path / "sim", SMALL, progress=lambda done, total: steps.append(done))
    assert cache.images.shape == (4, 256, 256) and steps == [1, 2, 3, 4]
    assert len(set(cache.info.subjects)) == 2 and cache.info.kind == "simulated"
    assert cache.info.normalisation["kind"] == "fixed_pixel" and cache.info.pixel_mm == 0.7
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


def test_a_share_of_the_people_gets_masses_that_touch(maps: Maps) -> None:
    people = [_person(seed, maps, replace(SMALL, touching=0.5)) for seed in range(12)]
    touched = [len(neck.masses) == 3 and max(mass.gap_mm for mass in neck.masses) <= 0 for neck in people]
    assert 2 < sum(touched) < 10
    for seed in (0, 1):  # the cord is the same person's, only what lies on it differs
        free, held = (_person(seed, maps, replace(SMALL, touching=share)).cord_mm for share in (0.0, 1.0))
        assert np.array_equal(free, held)
    with pytest.raises(ConfigurationError, match="touching"):
        replace(SMALL, touching=1.5)


def test_a_share_of_the_people_has_cords_thinner_and_thicker_than_people_have(maps: Maps) -> None:
    areas = [_person(seed, maps, replace(SMALL, beyond_csa=1.0)).csa_mm2(-50.0) for seed in range(40)]
    assert min(areas) < 32 and max(areas) > 130  # others: 36 to 114 on average


def test_a_seed_gives_the_same_slices(maps: Maps) -> None:
    once, again = (list(training_slices(maps, replace(SMALL, count=2))) for _ in range(2))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(once, again, strict=True))
    other = next(training_slices(maps, replace(SMALL, count=1, seed=4)))
    assert not np.array_equal(once[0].image, other.image)


def test_without_no_cord_slices_coverage_keeps_the_area(maps: Maps) -> None:
    config = replace(SMALL, no_cord=0.0, families=(1, 0, 0, 0, 0))
    neck = draw_neck(21, maps)
    for seed in range(4):
        one = random_slice(neck, maps, np.random.default_rng(seed), config)
        inner = one.coverage[2:-2, 2:-2]
        if inner.sum() < one.coverage.sum():
            continue  # the field of view cuts the cord
        assert one.coverage.sum() * 0.35**2 == pytest.approx(one.csa_mm2, rel=5e-3)


def test_only_no_cord_slices_have_no_cord(maps: Maps) -> None:
    config = replace(SMALL, no_cord=1.0)
    for seed in range(6):
        one = random_slice(draw_neck(22, maps), maps, np.random.default_rng(seed), config)
        assert one.coverage.max() == 0 and one.csa_mm2 >= 0 and np.isfinite(one.image).all()


def test_protocols_that_hide_the_cord_are_drawn_again() -> None:
    def difference(config: SimulateConfig, seed: int) -> tuple[float, float]:
        """Between cord and fluid: against the brighter of them, and against noise of a tenth."""
        tissues = draw_tissues(np.random.default_rng(1))
        signals = np.abs(_visible_signals(np.random.default_rng(seed), tissues, "transfer", config, 0.1))
        cord, fluid = signals[[Tissue.WHITE, Tissue.FLUID]]
        return abs(cord - fluid) / max(cord, fluid), abs(cord - fluid) / (0.1 * np.sort(signals)[-6])

    assert min(difference(SimulateConfig(), seed)[0] for seed in range(60)) < 0.1
    assert min(difference(SimulateConfig(least_contrast=0.2), seed)[0] for seed in range(60)) >= 0.2
    assert min(difference(SimulateConfig(), seed)[1] for seed in range(60)) < 1
    assert min(difference(SimulateConfig(least_cnr=1.5), seed)[1] for seed in range(60)) >= 1.5
    assert max(difference(SimulateConfig(), seed)[1] for seed in range(60)) > 1.5
    assert max(difference(SimulateConfig(most_cnr=1.5), seed)[1] for seed in range(60)) <= 1.5


@pytest.mark.parametrize("spacing_mm", [(0.7, 0.9, 5.0), (1.0, 0.6, 2.5)])
def test_a_volume_knows_its_areas(maps: Maps, spacing_mm: tuple[float, float, float]) -> None:
    scan = VolumeScan(spacing_mm=spacing_mm, z_range_mm=(-60.0, -54.0))
    neck = draw_neck(31, maps, csa_mm2=80.0)
    found = simulate_neck(neck, maps, scan)
    assert found.image.orientation == "RAS" and found.image.same_grid(found.coverage)
    assert found.image.spacing_mm == pytest.approx((spacing_mm[1], spacing_mm[0], spacing_mm[2]), rel=0.02)
    slices = axial_slices(found.coverage)
    areas = slices.pixels.sum((1, 2)) * slices.pixel_mm[0] * slices.pixel_mm[1]
    assert areas == pytest.approx(found.csa_mm2, rel=3e-3)
    assert found.mask.voxels.sum() * found.mask.voxel_volume_mm3 == pytest.approx(
        found.csa_mm2.sum() * spacing_mm[2], rel=0.05
    )


def test_two_visits_differ_by_position_and_noise_and_the_atrophy(maps: Maps) -> None:
    neck = draw_neck(32, maps)
    scan = VolumeScan(spacing_mm=(0.9, 0.8, 1.5), z_range_mm=(-60.0, -57.0))
    first = simulate_neck(neck, maps, scan)
    later = simulate_neck(atrophied(neck, 0.02), maps, replace(scan, visit_seed=2))
    again = simulate_neck(neck, maps, scan)
    assert np.array_equal(first.image.voxels, again.image.voxels)
    assert not np.array_equal(first.image.voxels, later.image.voxels)
    expected = [atrophied(neck, 0.02).csa_mm2(z) for z in later.z_mm]
    assert later.csa_mm2 == pytest.approx(expected, rel=0.02)


def test_statistics_of_a_drawn_disc() -> None:
    rows, columns = np.mgrid[:128, :128] - 64.0
    radius = np.hypot(rows, columns)
    image = np.where(radius < 60, 0.3, 0.0) + np.where(radius < 8, 0.6, 0.0)
    found = appearance(image[None].astype(np.float32), (radius < 8)[None].astype(np.float32), 0.7)
    assert found.cord_to_ring == pytest.approx((0.9 - 0.3) / 1.2, abs=1e-3)
    assert found.body_share == pytest.approx(np.pi * 3600 / 128**2, rel=0.01)
    assert np.isnan(appearance(np.zeros((1, 64, 64), np.float32), None, 0.7).gradient)


def test_real_and_simulated_slices_look_alike(shared_data: Path, maps: Maps) -> None:
    config = replace(SMALL, count=8, slices_per_neck=2, no_cord=0.0, families=(0.5, 0.5, 0, 0, 0))
    rule = config.normalisation()
    real = np.concatenate([real_slices(p, rule, 256, 4) for p in sorted((shared_data / "t1w_scanners").glob("*"))[:2]])
    simulated = np.array([one.image for one in training_slices(maps, config)])
    first, second = appearance(real, None, 0.7), appearance(simulated, None, 0.7)
    assert second.gradient == pytest.approx(first.gradient, rel=0.5)
    assert second.quantiles[2] == pytest.approx(first.quantiles[2], rel=0.5)
