"""Rates and their limits: worked by hand, then over simulated persons whose visits differ in coverage and slices."""

from math import isnan, sqrt

import numpy as np
import pytest

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.longitudinal.change import (
    BELOW,
    BETWEEN_SCANNERS,
    GAIN,
    LOSS,
    SAME_SCANNER,
    Repeatability,
    change,
    healthy_rates,
    yearly_rate,
)
from SpinalCordSegLib.longitudinal.registration import Profile, common_extent

COV = Repeatability(1.5, "by hand", "same scanner")


def test_two_visits_two_years_apart():
    rate = yearly_rate([0, 2], [80, 76], COV)
    assert rate.percent_per_year == pytest.approx(-2.5)
    assert rate.limit == pytest.approx(1.96 * 1.5 / sqrt(2))  # ±2.1 %/year
    assert (rate.low, rate.high) == (pytest.approx(-2.5 - rate.limit), pytest.approx(-2.5 + rate.limit))
    assert rate.verdict == LOSS
    assert isnan(rate.scatter_cov_percent)


def test_four_yearly_visits():
    rate = yearly_rate([0, 1, 2, 3], [80, 79.5, 79, 78.5], COV)
    assert rate.limit == pytest.approx(1.31, abs=0.01)
    assert rate.percent_per_year == pytest.approx(-0.625)
    assert rate.verdict == BELOW
    assert not rate.scatters


def test_rate_is_of_the_fitted_first_area_not_of_the_measured_one():
    rate = yearly_rate([0, 1, 2], [84, 78, 78], COV)
    assert (rate.fitted_first_mm2, rate.slope_mm2_per_year) == (pytest.approx(83), pytest.approx(-3))
    assert rate.percent_per_year == pytest.approx(-100 * 3 / 83)


def test_scatter_beyond_the_cov_is_seen():
    assert yearly_rate([0, 1, 2, 3], [80, 90, 72, 85], COV).scatters


def test_no_rate_from_one_visit_or_one_week():
    assert yearly_rate([0], [80], COV) is None
    assert yearly_rate([], [], COV) is None
    assert yearly_rate([0, 0.01, 0.015], [80, 70, 75], COV) is None


@pytest.mark.parametrize(("second", "verdict"), [(77, BELOW), (83, BELOW), (76, LOSS), (84, GAIN)])
def test_change_against_the_mdc(second, verdict):
    found = change(80, second, COV)
    assert found.mdc95_percent == pytest.approx(4.155)
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


def test_defaults_say_that_they_are_of_other_tools():
    for one in (SAME_SCANNER, BETWEEN_SCANNERS):
        assert "not measured with this software" in one.source
    assert BETWEEN_SCANNERS.mdc95_percent > SAME_SCANNER.mdc95_percent


def test_healthy_rates():
    assert [healthy_rates(age) for age in (30, 55, 70, 85)] == [(r, r) for r in (0.0, -0.25, -0.36, -0.54)]
    assert healthy_rates(None) == (-0.54, 0.0)
    with pytest.raises(ConfigurationError):
        healthy_rates(12)


# Simulated persons. A visit has its own coverage, slice thickness and position of slices; its error is that of a mask:
# one factor for the whole visit, and a smaller one for each slice that is alike in neighbours.
_VISIT_SD, _SLICE_SD, _DISC_SD_MM = 0.011, 0.03, 0.7


def _true_area(s_mm):
    return 74 + 9 * np.exp(-(((s_mm + 45) / 25) ** 2)) - 0.04 * s_mm


def _slices(rng, share, noisy=True):
    step = rng.uniform(0.9, 5.0)
    low, high = rng.uniform(-85, -40), rng.uniform(12, 35)
    edges = np.arange(low, high, step)
    at = (edges[:-1] + edges[1:]) / 2
    inner = (np.arange(9) + 0.5) / 9
    area = share * _true_area(edges[:-1, None] + inner * step).mean(axis=1)
    if noisy:
        knots = np.arange(low - 5, high + 10, 5.0)
        noise = np.interp(at, knots, rng.normal(0, _SLICE_SD, len(knots)))
        area = area * (1 + noise) * np.exp(rng.normal(0, _VISIT_SD))
        at = at + rng.normal(0, _DISC_SD_MM)
    return Profile(at, np.full(len(at), step), area)


def _series(rng, percent_per_year, n_visits, noisy=True):
    years = np.arange(n_visits) + np.r_[0, rng.uniform(-0.1, 0.1, n_visits - 1)]
    shares = 1 + percent_per_year / 100 * years
    return years, common_extent([_slices(rng, share, noisy) for share in shares]).mean_csa_mm2


@pytest.fixture(scope="module")
def measured():
    """The simulation's own repeatability, measured as one measures it: pairs of visits without a change."""
    rng = np.random.default_rng(1)
    logs = np.log([_series(rng, 0.0, 2)[1] for _ in range(400)])
    return Repeatability(100 * float(np.std(logs[:, 1] - logs[:, 0])) / sqrt(2), "400 simulated pairs", "same scanner")


def test_500_series_have_the_true_rate_in_their_interval(measured):
    rng = np.random.default_rng(2)
    rates = [(0.0, -1.0, -2.0, -5.0)[n % 4] for n in range(500)]
    found = [yearly_rate(*_series(rng, rate, 2 + n // 4 % 4), measured) for n, rate in enumerate(rates)]
    inside = [one.low <= rate <= one.high for one, rate in zip(found, rates, strict=True)]
    assert 1.0 < measured.cov_percent < 2.0
    assert 0.92 <= np.mean(inside) <= 0.98
    errors = [one.percent_per_year - rate for one, rate in zip(found, rates, strict=True)]
    assert abs(np.mean(errors)) < 0.15  # no bias in any direction


def test_an_even_cord_is_rarely_called(measured):
    rng = np.random.default_rng(3)
    verdicts = [yearly_rate(*_series(rng, 0.0, 2 + n % 4), measured).verdict for n in range(500)]
    assert verdicts.count(LOSS) / 500 <= 0.05
    assert 1 - verdicts.count(BELOW) / 500 <= 0.08  # both directions: 5 % by definition, and the chance of 500 series


def test_a_fast_loss_over_four_yearly_visits_is_called(measured):
    rng = np.random.default_rng(4)
    verdicts = [yearly_rate(*_series(rng, -5.0, 4), measured).verdict for _ in range(500)]
    assert verdicts.count(LOSS) / 500 >= 0.95


def test_coverage_and_slices_alone_change_nothing():
    rng = np.random.default_rng(5)
    for _ in range(200):
        _, areas = _series(rng, 0.0, 3, noisy=False)
        assert np.ptp(areas) / areas[0] < 0.005
