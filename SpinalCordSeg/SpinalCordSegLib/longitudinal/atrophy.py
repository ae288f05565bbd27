"""Change of an area over time, and what of it the measurement can tell: pure statistics of one person's visits.

Rules: two visits, the change against MDC95 = 2.77·CoV; from three visits on, the rate against 1.96·SE(slope) with
SE(slope) = CoV/√Σ(t-t̄)², which for two visits is the same limit. Rate in %/year = 100·slope / fitted area at the first
visit. The CoV is a setting with its source; the scatter of the visits themselves only warns when it is larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
from scipy.stats import chi2

from SpinalCordSegLib.errors import ConfigurationError

MDC_FACTOR = 2.77  # 1.96·√2
Z95 = 1.96
BELOW = "below the minimum detectable change"
LOSS = "loss beyond the minimum detectable change"
GAIN = "gain beyond the minimum detectable change: check comparability, a cord does not grow"
_SHORTEST_YEARS = 14 / 365.25  # a rate over days is an error divided by nearly nothing


@dataclass(frozen=True)
class Repeatability:
    """How far repeated measurements scatter. ``cov_percent``: SD/mean in %. ``source``: where that was measured, with
    which tool. ``setting``: "same scanner" or "between scanners"."""

    cov_percent: float
    source: str
    setting: str

    def __post_init__(self) -> None:
        if not 0 < self.cov_percent < 50:
            raise ConfigurationError(f"a CoV of {self.cov_percent:g} % is out of range: give it in %, such as 1.5")
        if not self.source.strip():
            raise ConfigurationError("a CoV needs its source: say where it was measured, and with which tool")

    @property
    def mdc95_percent(self) -> float:
        """The change between two visits, in %, that 95 % of unchanged persons stay below."""
        return MDC_FACTOR * self.cov_percent


# Measured by others with other tools, and labelled so until this software's own is known.
SAME_SCANNER = Repeatability(
    1.5,
    "published, not measured with this software: JIM under 1.5 %, SCT 1.0 % (one volunteer on six sites), repeats of"
    " brain T1w 1.5-2.65 %",
    "same scanner",
)
BETWEEN_SCANNERS = Repeatability(
    2.75, "published, not measured with this software: SCT on three scanners, 2.2-2.75 %", "between scanners"
)


@dataclass(frozen=True)
class Change:
    """Second against first measurement. ``percent``: of the first. ``verdict``: BELOW, LOSS or GAIN."""

    percent: float
    mdc95_percent: float
    verdict: str


@dataclass(frozen=True)
class Rate:
    """A yearly rate. ``percent_per_year`` with its 95 % CI ``low`` … ``high`` (±``limit``). ``fitted_first_mm2``: the
    fitted line at the first visit. ``verdict``: BELOW, LOSS or GAIN. ``scatter_cov_percent``: SD of the visits about
    the line, % (NaN for two visits); ``scatters``: True when that is more than the CoV explains (p < 0.05)."""

    percent_per_year: float
    low: float
    high: float
    limit: float
    fitted_first_mm2: float
    slope_mm2_per_year: float
    n_visits: int
    verdict: str
    scatter_cov_percent: float
    scatters: bool


def change(first_mm2: float, second_mm2: float, repeatability: Repeatability) -> Change:
    """Change in % against the minimum detectable one. Raises ValueError unless both areas are positive."""
    if not (first_mm2 > 0 and second_mm2 > 0):
        raise ValueError("a change needs two positive areas")
    percent = 100 * (second_mm2 - first_mm2) / first_mm2
    limit = repeatability.mdc95_percent
    return Change(percent, limit, _verdict(percent, limit))


def yearly_rate(years: Sequence[float], areas_mm2: Sequence[float], repeatability: Repeatability) -> Rate | None:
    """The rate of the least-squares line through the visits; None for fewer than two, or within two weeks.

    ``years``: any zero, ascending or not. Raises ValueError for areas that are not positive or other lengths.
    """
    t, y = np.asarray(years, dtype=np.float64), np.asarray(areas_mm2, dtype=np.float64)
    if t.shape != y.shape or t.ndim != 1 or not np.all(y > 0):
        raise ValueError("a rate needs one positive area for each visit")
    if len(t) < 2 or np.ptp(t) < _SHORTEST_YEARS:
        return None
    spread = float(((t - t.mean()) ** 2).sum())
    slope = float(((t - t.mean()) * (y - y.mean())).sum()) / spread
    fitted_first = float(y.mean() + slope * (t.min() - t.mean()))
    if fitted_first <= 0:
        return None
    rate = 100 * slope / fitted_first
    limit = Z95 * repeatability.cov_percent / sqrt(spread)
    scatter, scatters = _scatter(t, y, slope, repeatability)
    verdict = _verdict(rate, limit)
    return Rate(rate, rate - limit, rate + limit, limit, fitted_first, slope, len(t), verdict, scatter, scatters)


def _scatter(t: np.ndarray, y: np.ndarray, slope: float, repeatability: Repeatability) -> tuple[float, bool]:
    """SD of the visits about their line in %, and whether chi² says it is more than the CoV."""
    freedom = len(t) - 2
    if freedom < 1:
        return nan, False
    fitted = y.mean() + slope * (t - t.mean())
    squares = float((((y - fitted) / fitted) ** 2).sum())
    scatter = 100 * sqrt(squares / freedom)
    allowed = repeatability.cov_percent * sqrt(float(chi2.ppf(0.95, freedom)) / freedom)
    return scatter, scatter > allowed


def _verdict(percent: float, limit: float) -> str:
    if abs(percent) < limit:
        return BELOW
    return LOSS if percent < 0 else GAIN


_HEALTHY_BANDS = ((20.0, 50.0, 0.0), (50.0, 65.0, -0.25), (65.0, 80.0, -0.36), (80.0, 120.0, -0.54))
HEALTHY_SOURCE = "loss in healthy adults: 0.00 %/year at 20-50 years, -0.25 at 50-65, -0.36 at 65-80, -0.54 above"


def healthy_rates(age_years: float | None) -> tuple[float, float]:
    """Lowest and highest %/year of healthy adults, of that age or (None) of any. Raises ConfigurationError under 20."""
    if age_years is None:
        return _HEALTHY_BANDS[-1][2], _HEALTHY_BANDS[0][2]
    for low, high, rate in _HEALTHY_BANDS:
        if low <= age_years < high:
            return rate, rate
    raise ConfigurationError(f"healthy rates are known from 20 years on, not for an age of {age_years:g}")
