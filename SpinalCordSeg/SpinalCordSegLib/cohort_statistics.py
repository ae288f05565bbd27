"""Formulas for groups of measurements: outliers, means with intervals, agreement of repeats, sample size.

Intervals are of 95 %. Values are 1D arrays of finite numbers; what too few values cannot give is NaN.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, isfinite, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtri, fdtri, ndtri, stdtrit

OUTLIER_Z = 3.5
_FEWEST_FOR_Z = 5


@dataclass(frozen=True)
class Estimate:
    """A value and the ends of its 95 % interval."""

    value: float
    low: float = nan
    high: float = nan

    def times(self, factor: float) -> Estimate:
        return Estimate(factor * self.value, factor * self.low, factor * self.high)


def robust_z(values: ArrayLike) -> NDArray[np.float64]:
    """(x − median) / (1.4826·MAD) of each value; an outlier is beyond ±OUTLIER_Z (Iglewicz and Hoaglin 1993). NaN for
    fewer than 5 values, and where half of them are equal."""
    x = np.asarray(values, dtype=np.float64)
    off = x - np.median(x) if len(x) >= _FEWEST_FOR_Z else np.full(len(x), nan)
    spread = 1.4826 * float(np.median(np.abs(off))) if len(x) else 0.0
    return off / spread if spread > 0 else np.full(len(x), nan)


def mean_of(values: ArrayLike) -> Estimate:
    """Mean with Student's interval; without one for a single value."""
    x = np.asarray(values, dtype=np.float64)
    if len(x) < 2:
        return Estimate(float(x[0]) if len(x) else nan)
    half = stdtrit(len(x) - 1, 0.975) * x.std(ddof=1) / sqrt(len(x))
    return Estimate(float(x.mean()), float(x.mean() - half), float(x.mean() + half))


def difference_of_means(values: ArrayLike, others: ArrayLike) -> Estimate:
    """Mean of ``values`` minus that of ``others``, with Welch's interval (1947), which takes no equal variances."""
    a, b = np.asarray(values, dtype=np.float64), np.asarray(others, dtype=np.float64)
    from scipy.stats import ttest_ind  # half a second to load, which no other command needs

    if min(len(a), len(b)) < 2:
        return Estimate(float(a.mean() - b.mean()) if len(a) and len(b) else nan)
    found = float(a.mean() - b.mean())
    if not a.var() + b.var():
        return Estimate(found, found, found)
    ends = ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    return Estimate(found, float(ends.low), float(ends.high))


def sd_of(sd: float, df: int) -> Estimate:
    """A standard deviation of ``df`` degrees of freedom with its chi-square interval."""
    if df < 1:
        return Estimate(nan)
    return Estimate(sd, sd * sqrt(df / chdtri(df, 0.025)), sd * sqrt(df / chdtri(df, 0.975)))


def within_sd(repeats: Iterable[ArrayLike]) -> tuple[float, int]:
    """SD within persons, pooled by degrees of freedom, and how many these are. ``repeats``: the values of each."""
    each = [np.asarray(values, dtype=np.float64) for values in repeats]
    df = sum(len(x) - 1 for x in each)
    return (sqrt(sum(float(((x - x.mean()) ** 2).sum()) for x in each) / df), df) if df else (nan, 0)


def rms_cov_percent(repeats: Iterable[ArrayLike]) -> Estimate:
    """Root mean square of the persons' coefficients of variation, weighted by degrees of freedom, with its chi-square
    interval (Glüer et al. 1995, Osteoporos Int 5:262). ``repeats``: the values of each person, at least one."""
    shares = (x / x.mean() for x in (np.asarray(values, dtype=np.float64) for values in repeats))
    return sd_of(*within_sd(shares)).times(100)


def icc(table: ArrayLike) -> dict[str, Estimate]:
    """Intraclass correlations of single measurements, by Shrout and Fleiss (1979): "1,1", occasions in no order; "2,1",
    absolute agreement between occasions that stand for others; "3,1", consistency between these very occasions.

    ``table``: (persons, occasions), at least 2 × 2; {} for less. The interval of "2,1" is that of McGraw and Wong
    (1996).
    """
    x = np.asarray(table, dtype=np.float64)
    n, k = x.shape if x.ndim == 2 else (0, 0)
    if min(n, k) < 2:
        return {}
    persons, judges, error_df = k * x.mean(axis=1).var(ddof=1), n * x.mean(axis=0).var(ddof=1), (n - 1) * (k - 1)
    rest = x - x.mean(axis=1, keepdims=True)
    within, error = (rest**2).sum() / (n * (k - 1)), ((rest - rest.mean(axis=0)) ** 2).sum() / error_df
    if error == 0 or within == 0:  # no scatter within persons at all: nothing to estimate an interval by
        return {}
    agreement = (persons - error) / (persons + (k - 1) * error + k * (judges - error) / n)
    a, b = k * agreement * judges / error, n * (1 + (k - 1) * agreement) - k * agreement
    df = error_df * (a + b) ** 2 / ((n - 1) * a**2 + b**2)
    up, down = float(fdtri(n - 1, df, 0.975)), float(fdtri(df, n - 1, 0.975))
    beside = k * judges + (k * n - k - n) * error
    return {
        "1,1": _one_way(persons / within, n - 1, n * (k - 1), k),
        "2,1": Estimate(
            agreement,
            n * (persons - up * error) / (up * beside + n * persons),
            n * (down * persons - error) / (beside + n * down * persons),
        ),
        "3,1": _one_way(persons / error, n - 1, error_df, k),
    }


def _one_way(f: float, df: int, error_df: int, k: int) -> Estimate:
    ratios = f, f / float(fdtri(df, error_df, 0.975)), f * float(fdtri(error_df, df, 0.975))
    return Estimate(*((one - 1) / (one + k - 1) for one in ratios))


def sample_size(sd: float, difference: float, power: float = 0.8) -> int | None:
    """Persons in each of two groups for a two-sided test at 5 % of the difference of their means to reach ``power``:
    2·((z(0.975) + z(power))·SD/difference)² + z(0.975)²/4, rounded up, at least 2 (Guenther 1981, Am Stat
    35:243; one person less than Student's t at most). The same formula serves rates: the SD and difference of slopes.

    ``sd``, ``difference``: in one unit. None where either is 0 or not known.
    """
    if not (isfinite(sd) and isfinite(difference) and sd > 0 and difference):
        return None
    z = float(ndtri(0.975))
    return max(2, ceil(2 * ((z + float(ndtri(power))) * sd / difference) ** 2 + z**2 / 4))
