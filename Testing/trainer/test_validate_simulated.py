"""Figures of simulated people by hand, and all of them for a segmentation that knows the truth."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from Recipes.simulation.atlas import Maps
from Recipes.simulation.people import SimulatedConfig, SimulatedNeck, cohort_person, draw_volume_scan
from Recipes.validation import simulated_people
from Recipes.validation.report import simulated_criteria
from Recipes.validation.simulated_people import area_fit, flag_shares, pair_change, simulated_figures
from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.image_io import Image
from SpinalCordSegLib.longitudinal.registration import Profile
from SpinalCordSegLib.metrics import ConfusionCounts
from SpinalCordSegLib.morphometry import measure
from SpinalCordSegLib.pipeline import CaseResult, measure_mask
from SpinalCordSegTrainerLib.evaluation import SliceScore


def test_area_fit_by_hand() -> None:
    true = np.array([40.0, 60.0, 80.0, 50.0, 0.0])
    found = np.array([42.0, 62.0, 82.0, math.nan, 9.0])  # the last two do not count
    fit = area_fit(true, found)
    assert (fit.slope, fit.intercept_mm2, fit.n) == (pytest.approx(1.0), pytest.approx(2.0), 3)
    assert fit.bias_percent == pytest.approx((5 + 10 / 3 + 2.5) / 3)
    assert math.isnan(area_fit(true[:2], found[:2]).slope)


def test_a_pair_is_compared_where_neither_visit_is_flagged() -> None:
    z = np.arange(0.5, 40, 1.0)
    length, area, wrong = np.ones(40), np.full(40, 50.0), np.full(40, 49.0)
    wrong[10:14] = 80.0
    flagged = wrong == 80.0
    found = pair_change([Profile(z, length, area), Profile(z, length, wrong, flagged)])
    assert (found.error_points, found.left_out) == (pytest.approx(0.0, abs=1e-9), pytest.approx(0.1))
    assert found.error_points_with_flagged == pytest.approx(100 * (4 * 80 + 36 * 49) / 2000 - 98)
    nothing = Profile(z, length, np.full(40, math.nan))
    for other in (nothing, Profile(z + 99, length, area)):
        assert math.isnan(pair_change([Profile(z, length, area), other]).error_points)


def _slice(dice: float, flags: tuple[str, ...] = ()) -> SliceScore:
    return SliceScore("a", 0, 0, 50.0, 50.0, dice, 0.0, ConfusionCounts(), flags=flags)


def test_flag_shares_by_hand() -> None:
    slices = [_slice(0.0, ("gap",)), _slice(0.79), _slice(0.85), _slice(0.9), _slice(0.95, ("shape",)), _slice(0.99)]
    shares = flag_shares([*slices, _slice(math.nan)])
    assert (shares.n_bad, shares.bad_flagged, shares.n_good) == (2, 0.5, 3)
    assert shares.good_flagged == pytest.approx(1 / 3)
    assert math.isnan(flag_shares([]).bad_flagged)


class _KnowsTheTruth:
    """Segments by the label of the neck that was drawn last (a pair's visits in their order)."""

    def __init__(self) -> None:
        self.drawn: list[SimulatedNeck] = []

    def remember(self, *necks: SimulatedNeck) -> None:
        self.drawn += necks

    def segment(self, image: Image) -> CaseResult:
        neck = self.drawn.pop(0)
        found = measure_mask(neck.mask, image.case_name, image=image)
        measures = measure(neck.mask, probability=neck.coverage)
        return replace(found, measures=measures, probability=neck.coverage)


def test_a_perfect_segmentation_meets_the_bars_on_overlap_and_area(
    label_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle = _KnowsTheTruth()
    for name in ("cohort_person", "touching_person", "visit_pair"):
        draw = getattr(simulated_people, name)

        def remembered(number: int, maps: Maps, config: SimulatedConfig, draw=draw):  # type: ignore[no-untyped-def]
            drawn = draw(number, maps, config)
            oracle.remember(*(drawn if isinstance(drawn, tuple) else (drawn,)))
            return drawn

        monkeypatch.setattr(simulated_people, name, remembered)
    config = SimulatedConfig(necks=1, pairs=1, touching=1, slices=4, pair_slices=4, shapes=("anna",))
    told: list[tuple[int, int]] = []
    scores = simulated_people.validate_simulated(
        oracle,  # type: ignore[arg-type]
        label_folder,
        tmp_path,
        config,
        lambda done, total: told.append((done, total)),
    )
    figures = simulated_figures(scores)
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert figures["cohort"]["Dice, mean over necks"] == 1.0
    assert abs(figures["cohort"]["signed area error per slice, %, mean"]) < 3
    assert abs(figures["visit pairs"]["mean error, points"]) < 0.5  # 1.5 were pixels counted
    assert figures["touching structures"]["slices with Dice under 0.8"] == 0
    met = {(bar.data, bar.figure): bar.met for bar in simulated_criteria(figures)}
    assert met["cohort", "Dice, mean over necks"]
    assert not met["touching structures", "slices with Dice under 0.8 that carry a flag"]  # none to judge by
    assert PillowImage.open(tmp_path / "cohort_worst.png").size[0] > 400


def test_people_are_the_same_for_the_same_seed_and_lie_below_the_foramen(maps: Maps) -> None:
    for number in range(30):
        low, high = draw_volume_scan(np.random.default_rng(number), 24).z_range_mm
        assert -118.0 <= low < high <= -4.0
    config = SimulatedConfig(slices=4)
    first, again = (cohort_person(0, maps, config) for _ in range(2))
    assert np.array_equal(first.image.voxels, again.image.voxels)
    assert first.image.shape[2] <= 4


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least 4 slices"):
        SimulatedConfig(slices=2)
