"""Change over time: the common extent, rates and limits worked by hand and over simulated persons, whose CoV counts."""

from dataclasses import replace
from math import isnan, sqrt
from types import SimpleNamespace

import numpy as np
import pytest

from SpinalCordSegLib.case import ModelSummary
from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.longitudinal.change import change, common_extent, yearly_rate
from SpinalCordSegLib.longitudinal.pairs import BELOW, GAIN, LOSS, SCATTERED
from SpinalCordSegLib.longitudinal.repeatability import (
    BETWEEN_SCANNERS,
    SAME_SCANNER,
    OwnRepeatability,
    Repeatability,
    keep_repeatability,
    measured_repeats,
    own_repeatability,
    repeatability_of,
)
from SpinalCordSegLib.longitudinal.visits import Profile

COV = Repeatability(1.5, "by hand", "same scanner")


def test_two_visits_two_years_apart():
    rate = yearly_rate([0, 2], [80, 76], COV)
    assert rate.percent_per_year == pytest.approx(-2.5)
    assert rate.limit == pytest.approx(1.96 * 1.5 / sqrt(2), rel=1e-3)  # ±2.1 %/year
    assert (rate.low, rate.high) == (pytest.approx(-2.5 - rate.limit), pytest.approx(-2.5 + rate.limit))
    assert rate.verdict == LOSS
    assert isnan(rate.scatter_cov_percent)


def test_rate_is_of_the_fitted_first_area_not_of_the_measured_one():
    rate = yearly_rate([0, 1, 2], [84, 78, 78], COV)
    assert (rate.fitted_first_mm2, rate.slope_mm2_per_year) == (pytest.approx(83), pytest.approx(-3))
    assert rate.percent_per_year == pytest.approx(-100 * 3 / 83)


def test_scatter_beyond_the_cov_gives_no_verdict_and_a_wider_interval():
    wild = yearly_rate([0, 1, 2, 3], [90, 84, 92, 74], COV)
    assert wild.scatters and wild.verdict == SCATTERED
    assert wild.limit > 2 * yearly_rate([0, 1, 2, 3], [90, 86, 84, 82], COV).limit


@pytest.mark.parametrize("true_cov", [1.0, 3.0])
def test_intervals_hold_for_any_true_cov_that_few_repeats_estimate(true_cov):
    rng, inside = np.random.default_rng(8), []
    for n in (2, 4) * 250:
        known = measured_repeats(80 * np.exp(rng.normal(0, true_cov / 100, (8, 2))), [()] * 8, "by hand")
        rate = yearly_rate(range(n), 80 * np.exp(rng.normal(0, true_cov / 100, n)), known)
        inside.append(rate.low <= 0 <= rate.high)
    assert 0.93 <= np.mean(inside) <= 0.98


def test_own_repeats_are_kept_for_their_scanner_protocol_and_model(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    known = {"scanner": "A", "model": "m 1", "voxel_mm": (1.0, 1.0, 1.0), "timing": {"TE": 3.0}}
    found = measured_repeats([[80, 80 * 1.02], [70, 70]], [[0.6], [0.8]], "twice")
    assert found.cov_percent == pytest.approx(100 * np.log(1.02) / 2) and found.freedom == 2
    assert found.direct_sd_percent == pytest.approx(sqrt((0.36 + 0.64) / 2)) and found.direct_freedom == 2
    thrice = measured_repeats([[80, 81, 82], [70, 71]], [[1.0, 1.0, 2.0], [4.0]], "x")  # 3 changes of 3 scans hold 2
    assert thrice.direct_freedom == 3 and thrice.direct_sd_percent == pytest.approx(sqrt((2 * 2 + 16) / 3))
    keep_repeatability(OwnRepeatability(known, replace(found, cov_percent=9.0)))
    keep_repeatability(OwnRepeatability(known | {"model": "m 2"}, found))
    keep_repeatability(OwnRepeatability(known, found))
    kept = own_repeatability()
    assert len(kept) == 2 and {one.found.cov_percent for one in kept} == {found.cov_percent}
    assert kept[-1].fits([known, known | {"software": "2"}])
    others = ({"scanner": "B"}, {"scanner": ""}, {"voxel_mm": (1.0, 1.0, 1.2)}, {"timing": {"TE": 6.0}})
    assert not any(kept[-1].fits([known | other]) for other in others)
    (tmp_path / "SpinalCordSeg" / "repeatability.json").write_text("[1")
    assert own_repeatability() == []


def test_no_rate_from_one_visit_or_one_week():
    assert yearly_rate([0], [80], COV) is None
    assert yearly_rate([], [], COV) is None
    assert yearly_rate([0, 0.01, 0.015], [80, 70, 75], COV) is None


@pytest.mark.parametrize(("second", "verdict"), [(77, BELOW), (83, BELOW), (76, LOSS), (84, GAIN)])
def test_change_against_the_mdc(second, verdict):
    found = change(80, second, COV)
    assert found.mdc95_percent == pytest.approx(4.155, rel=1e-3)
    assert found.verdict == verdict


def test_impossible_areas_and_settings():
    with pytest.raises(ValueError, match="positive"):
        change(0, 80, COV)
    with pytest.raises(ValueError, match="positive"):
        yearly_rate([0, 1], [80, float("nan")], COV)
    with pytest.raises(ConfigurationError, match="source"):
        Repeatability(1.5, " ", "same scanner")
    with pytest.raises(ConfigurationError, match="out of range"):
        Repeatability(0, "x", "same scanner")


# Simulated persons. A visit has its own coverage, slice thickness and position of slices; its error is that of a mask:
# one factor for the whole visit, and a smaller one for each slice that is alike in neighbours.


# ---- The common extent


def _profile(first, n, step, area, gaps=()):
    at = first + step * (np.arange(n) + 0.5)
    csa = np.array([area(x) for x in at])
    csa[list(gaps)] = np.nan
    return Profile(at, np.full(n, step), csa)


def test_only_the_common_extent_counts():
    long = _profile(-30, 20, 3.0, lambda x: 80.0 if x < 0 else 70.0)
    short = _profile(3, 10, 2.0, lambda x: 65.0)
    found = common_extent([long, short])
    assert (found.low_mm, found.high_mm, found.length_mm) == pytest.approx((3, 23, 20))
    assert found.mean_csa_mm2.tolist() == pytest.approx([70, 65])


def test_a_gap_of_one_visit_is_left_out_in_all():
    rising = _profile(0, 10, 2.0, lambda x: 60.0 + x)
    with_gap = _profile(0, 10, 2.0, lambda x: 60.0 + x, gaps=(4, 5))
    found = common_extent([rising, with_gap])
    assert found.length_mm == pytest.approx(16, abs=0.3)
    assert found.mean_csa_mm2[0] == pytest.approx(found.mean_csa_mm2[1], rel=1e-3)


def _flagged(profile, *slices):
    return replace(profile, flagged=np.isin(np.arange(len(profile.csa_mm2)), slices))


def test_what_is_flagged_in_one_visit_is_compared_in_none():
    rising = _profile(0, 20, 2.0, lambda x: 60.0 + x)
    wrong = _profile(0, 20, 2.0, lambda x: 90.0 if 8 < x < 12 or x > 38 else 60.0 + x)
    assert common_extent([rising, wrong]).mean_csa_mm2[1] > common_extent([rising, wrong]).mean_csa_mm2[0] + 0.9
    found = common_extent([rising, _flagged(wrong, 4, 5, 19)])
    assert found.mean_csa_mm2[0] == pytest.approx(found.mean_csa_mm2[1], rel=1e-9)
    assert (found.low_mm, found.high_mm) == pytest.approx((0, 40))
    assert (found.length_mm, found.flagged_mm, found.gap_mm) == pytest.approx((34, 6, 0), abs=0.1)
    assert found.intervals_mm == [pytest.approx((0, 8), abs=0.1), pytest.approx((12, 38), abs=0.1)]
    either = common_extent([_flagged(rising, 0), _flagged(wrong, 4)])
    assert either.flagged_mm == pytest.approx(4, abs=0.1)


@pytest.mark.parametrize("n_flagged", [11, 20])
def test_with_little_left_the_flagged_slices_are_compared_too(n_flagged):
    one = _profile(0, 20, 2.0, lambda x: 60.0)
    found = common_extent([one, _flagged(one, *range(n_flagged))])
    assert (found.length_mm, found.flagged_mm) == pytest.approx((40, 0))
    assert common_extent([one, _flagged(one, *range(9))]).length_mm == pytest.approx(22, abs=0.1)


def test_limits_and_nothing_in_common():
    one = _profile(0, 10, 2.0, lambda x: 60.0 + x)
    within = common_extent([one, one], (4.0, 100.0))
    assert (within.low_mm, within.high_mm) == pytest.approx((4, 20))
    assert within.mean_csa_mm2[0] == pytest.approx(72, abs=0.1)
    with pytest.raises(ConfigurationError, match="no part of the cord in common"):
        common_extent([one, _profile(40, 5, 2.0, lambda x: 60.0)])
    with pytest.raises(ConfigurationError, match="no part of the cord in common"):
        common_extent([one], (50.0, 60.0))


# ---- Whose repeatability is taken

STATED = {"same scanner": {"cov_percent": 1.1, "source": "40 simulated persons"}}


def _report(state="AI", stated=STATED, sha256="ab"):
    model = ModelSummary("m", "2", sha256, "", scores={"repeatability": stated})
    return SimpleNamespace(mask_state=state, model=model)


GIVEN = SimpleNamespace(mask_state="given", model=None)


def test_the_models_own_is_taken_where_its_card_states_one():
    found = repeatability_of([_report(), _report()], same_scanner=True)
    assert (found.cov_percent, found.setting) == (1.1, "same scanner")
    assert found.source == "measured with this software, model m 2: 40 simulated persons"
    assert repeatability_of([_report(), _report()], same_scanner=False) == BETWEEN_SCANNERS
    few = _report(stated={"between scanners": {"cov_percent": 0.5, "source": "one man", "freedom": 5}})
    found = repeatability_of([few], same_scanner=False)
    assert (found.cov_percent, found.setting) == (1.5, "between scanners"), "not less than on one scanner"


@pytest.mark.parametrize(
    "reports",
    [
        [_report(), _report(sha256="cd")],
        [_report(), GIVEN],
        [GIVEN] * 2,
        *(
            [_report(stated=stated)]
            for stated in (None, [1.1], {"same scanner": 1.1}, {"same scanner": {"cov_percent": "1.1", "source": "x"}},
                           {"same scanner": {"cov_percent": 1.1, "source": " "}},
                           {"same scanner": {"cov_percent": -1, "source": "x"}})
        ),
    ],
)  # fmt: skip
def test_else_the_published_one(reports):
    assert repeatability_of(reports, same_scanner=True) == SAME_SCANNER


def test_masks_corrected_by_hand_take_the_larger_one_and_say_so():
    found = repeatability_of([_report(), _report("corrected")], same_scanner=True)
    assert found.cov_percent == SAME_SCANNER.cov_percent
    assert "corrected by hand" in found.source and "own of 1.1 % is not taken" in found.source
    wide = {"same scanner": {"cov_percent": 3.0, "source": "40 simulated persons"}}
    found = repeatability_of([_report("corrected", wide)] * 2, same_scanner=True)
    assert found.cov_percent == 3.0 and found.source.endswith("for which no CoV was measured")
