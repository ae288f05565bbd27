"""Simulated people: areas as asked for, smooth along the cord, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from Recipes.simulation.atlas import Maps, area_mm2
from Recipes.simulation.necks import CSA_RANGE_MM2, Field, atrophied, draw_neck


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


def test_the_cord_ends_at_the_foramen_magnum(maps: Maps) -> None:
    neck = draw_neck(3, maps)
    assert neck.csa_mm2(-0.5) > 30
    assert neck.cord_radii(0.5) is None and neck.csa_mm2(0.5) == 0.0
    assert area_mm2(neck.medulla_radii(0.5)) > 30


def test_atrophy_takes_its_share_of_the_area_everywhere(maps: Maps) -> None:
    neck = draw_neck(4, maps)
    later = atrophied(neck, 0.02)
    for z in (-120.0, -50.3, -10.0):
        assert later.csa_mm2(z) == pytest.approx(0.98 * neck.csa_mm2(z))
        assert later.canal_radii(z) == pytest.approx(neck.canal_radii(z))


def test_a_seed_is_a_person(maps: Maps) -> None:
    first, again, other = draw_neck(5, maps), draw_neck(5, maps), draw_neck(6, maps)
    assert np.array_equal(first.cord_mm, again.cord_mm) and first.masses == again.masses
    assert not np.array_equal(first.cord_mm, other.cord_mm)


def test_a_field_is_smooth_in_all_directions_and_scales_with_the_canvas() -> None:
    field = Field.draw(np.random.default_rng(0), 6, 20.0)
    low, high = field.at(-50.0, 64), field.at(-49.0, 64)
    assert np.abs(low - high).max() < 0.4
    assert np.abs(np.diff(low, axis=0)).max() < 0.6
    assert field.at(-50.0, 128).reshape(64, 2, 64, 2).mean((1, 3)) == pytest.approx(low, abs=0.05)
