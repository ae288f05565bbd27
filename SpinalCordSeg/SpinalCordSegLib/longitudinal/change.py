"""Change of an area over time on the extent that all visits have in common, and which change can be detected.

Rules: two visits, the change against MDC95 = t·√2·CoV; from three visits on, the rate against t·SE(slope) with
SE(slope) = CoV/√Σ(t-t̄)², which for two visits is the same limit. t is Student's, by the scans that the CoV comes from
and the visits themselves: their scatter about the line is pooled with the CoV, and the limit is never narrower than
it. Rate in %/year = 100·slope / fitted area at the first visit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, pairwise
from math import isfinite, nan, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtri

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.longitudinal.pairs import (
    ACROSS_SCANNERS,
    GAIN,
    LOSS,
    SCATTERED,
    DirectRate,
    PairChange,
    direct_rate,
    verdict_of,
)
from SpinalCordSegLib.longitudinal.registration import Alignment
from SpinalCordSegLib.longitudinal.repeatability import OwnRepeatability, Repeatability, reach_95, repeatability_of
from SpinalCordSegLib.longitudinal.visits import (
    CONDITIONS,
    Conditions,
    Difference,
    Profile,
    Visit,
    changes,
    differences,
    same_data,
    unknowns,
)
from SpinalCordSegLib.review import ACCEPTED

DAYS_PER_YEAR = 365.25
Z95 = 1.96
WITHHELD = "no verdict: in doubt that this is one person at the same level"
TWICE = "the same data twice"
SOON = "no verdict: within half a year"
_SHORTEST_DAYS = 182  # a rate over days is an error divided by nearly nothing
_FASTEST = 6.0  # %/year: three times the mean loss in MS before it turns progressive (2.19 %/year)
SCANNER_UNKNOWN = "scanner unknown"


@dataclass(frozen=True)
class Change:
    """Second against first measurement. ``percent``: of the first. ``verdict``: BELOW, LOSS or GAIN, by the minimum
    detectable change of the CoV; SOON within half a year; WITHHELD in doubt."""

    percent: float = field(metadata={"decimals": 3})
    mdc95_percent: float = field(metadata={"decimals": 3})
    verdict: str
    cov_percent: float
    cov_source: str
    cov_setting: str


@dataclass(frozen=True)
class Rate:
    """A yearly rate. ``percent_per_year`` with its 95 % CI ``low`` … ``high`` (±``limit``). ``fitted_first_mm2``: the
    fitted line at the first visit. ``verdict``: BELOW, LOSS, GAIN, SCATTERED, or WITHHELD in doubt.
    ``scatter_cov_percent``: SD of the visits about the line, % (NaN for two visits); ``scatters``: True when that is
    more than the CoV explains (p < 0.01)."""

    percent_per_year: float
    low: float
    high: float
    limit: float
    fitted_first_mm2: float
    slope_mm2_per_year: float = field(metadata={"decimals": 4})
    n_visits: int
    verdict: str
    scatter_cov_percent: float
    scatters: bool


def change(first_mm2: float, second_mm2: float, repeatability: Repeatability) -> Change:
    """Change in % against the minimum detectable one. Raises ValueError unless both areas are positive."""
    if not (first_mm2 > 0 and second_mm2 > 0):
        raise ValueError("a change needs two positive areas")
    percent = 100 * (second_mm2 - first_mm2) / first_mm2
    by, mdc95_percent = repeatability, repeatability.mdc95_percent
    return Change(percent, mdc95_percent, verdict_of(percent, mdc95_percent), by.cov_percent, by.source, by.setting)


def yearly_rate(years: Sequence[float], areas_mm2: Sequence[float], repeatability: Repeatability) -> Rate | None:
    """The rate of the least-squares line through the visits; None for fewer than two, or within half a year.

    ``years``: any zero, ascending or not. Raises ValueError for areas that are not positive or other lengths.
    """
    t, y = np.asarray(years, dtype=np.float64), np.asarray(areas_mm2, dtype=np.float64)
    if t.shape != y.shape or t.ndim != 1 or not np.all(y > 0):
        raise ValueError("a rate needs one positive area for each visit")
    if len(t) < 2 or np.ptp(t) < _SHORTEST_DAYS / DAYS_PER_YEAR:
        return None
    spread = float(((t - t.mean()) ** 2).sum())
    slope = float(((t - t.mean()) * (y - y.mean())).sum()) / spread
    fitted_first = float(y.mean() + slope * (t.min() - t.mean()))
    if fitted_first <= 0:
        return None
    rate = 100 * slope / fitted_first
    scatter, freedom, known = nan, len(t) - 2, repeatability
    sd, scatters = known.cov_percent, False
    if freedom:
        fitted = y.mean() + slope * (t - t.mean())
        squares = 1e4 * float((((y - fitted) / fitted) ** 2).sum())
        scatter = sqrt(squares / freedom)
        scatters = (scatter / sd) ** 2 > float(fdtri(freedom, known.freedom, 0.99))
        sd = max(scatter, sqrt((known.freedom * sd**2 + squares) / (known.freedom + freedom)))
    limit = reach_95(known.freedom + freedom) * sd / sqrt(spread)
    verdict = SCATTERED if scatters else verdict_of(rate, limit)
    return Rate(rate, rate - limit, rate + limit, limit, fitted_first, slope, len(t), verdict, scatter, scatters)


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


# ---- The common extent: cord that all visits cover, without the flagged slices of any


_STEP_MM = 0.05
_LEAST_SOUND = 0.5  # of the extent that all cover: with less, what is left speaks for too little of the cord
SHORT_MM = 20.0  # under it single slices decide


@dataclass(frozen=True, eq=False)
class CommonExtent:
    """``low_mm`` … ``high_mm``: ends of what all visits cover; ``length_mm``: what of it is compared.

    ``mean_csa_mm2``: (visits,), over exactly the same positions in each. ``at_mm``: those positions. Between the ends
    are left out ``gap_mm``, where some visit has no cord, and ``flagged_mm``, where a slice of some visit is flagged.
    """

    low_mm: float
    high_mm: float
    length_mm: float
    mean_csa_mm2: NDArray[np.float64] = field(metadata={"json": False})
    at_mm: NDArray[np.float64] = field(metadata={"json": False})
    gap_mm: float = field(default=0.0, metadata={"json": False})
    flagged_mm: float = field(default=0.0, metadata={"key": "left_out_mm"})

    @property
    def intervals_mm(self) -> list[tuple[float, float]]:
        """Start and end of every unbroken interval that is compared."""
        pieces = np.split(self.at_mm, np.flatnonzero(np.diff(self.at_mm) > 1.5 * _STEP_MM) + 1)
        return [(float(piece[0]) - _STEP_MM / 2, float(piece[-1]) + _STEP_MM / 2) for piece in pieces]


def common_extent(profiles: Sequence[Profile], limits_mm: tuple[float, float] | None = None) -> CommonExtent:
    """The positions that all ``profiles`` cover, within ``limits_mm``, and each one's mean area there.

    Where a slice of any of them is flagged, none is compared: one wrong mask in one visit would pass for a change.
    But with less than half of the extent or SHORT_MM left, all of it is compared, flagged slices included. Raises
    ConfigurationError when nothing is shared.
    """
    known = [np.isfinite(one.csa_mm2) for one in profiles]
    low = max(float((p.position_mm - p.length_mm / 2)[k].min()) for p, k in zip(profiles, known, strict=True))
    high = min(float((p.position_mm + p.length_mm / 2)[k].max()) for p, k in zip(profiles, known, strict=True))
    if limits_mm is not None:
        low, high = max(low, limits_mm[0]), min(high, limits_mm[1])
    steps = int((high - low) / _STEP_MM) if high > low else 0
    at = low + (high - low) * (np.arange(steps) + 0.5) / max(steps, 1)
    for profile in profiles:
        at = at[(profile.inside(at) & np.isfinite(profile.csa_mm2)).any(axis=1)]
    if not at.size:
        raise ConfigurationError(
            "the visits have no part of the cord in common: check the marked discs, or compare visits that overlap"
        )
    step = (high - low) / steps
    covered, ends = len(at) * step, (float(at[0] - step / 2), float(at[-1] + step / 2))
    sound = at[~np.any([(profile.inside(at) & profile.flagged).any(axis=1) for profile in profiles], axis=0)]
    if len(sound) * step >= max(_LEAST_SOUND * covered, SHORT_MM):
        at = sound
    means = np.array([float(profile.area_at(at).mean()) for profile in profiles])
    length = len(at) * step
    return CommonExtent(*ends, length, means, at, gap_mm=ends[1] - ends[0] - covered, flagged_mm=covered - length)


# ---- A person's visits compared: areas of the common extent, change, rate, and everything that speaks against it


@dataclass(frozen=True)
class FollowUpOptions:
    """``same``, ``between``: what the user knows of repeatability on one scanner and between scanners; None: see
    ``repeatability_of``. ``limits_mm``: only this range, from the disc C2/C3. ``age_years``: at the first visit, for
    the band. ``keep_flagged``: compare slices that are flagged and that nobody has accepted, too.
    ``same_person``: a changed patient ID is the same person's. ``own``: repeatability of one's own scanners."""

    same: Repeatability | None = None
    between: Repeatability | None = None
    limits_mm: tuple[float, float] | None = None
    age_years: float | None = None
    keep_dates: bool = False
    keep_flagged: bool = False
    same_person: bool = False
    own: tuple[OwnRepeatability, ...] = ()

    def __post_init__(self) -> None:
        healthy_rates(self.age_years)

    def judging(self, visits: Sequence[Visit], breaks: bool) -> Repeatability:
        """The repeatability that a comparison of these visits is judged by; ``breaks``: across a breaking change."""
        scanners = {visit.conditions["scanner"].casefold() for visit in visits}
        same_scanner = not breaks and len(scanners) == 1 and "" not in scanners
        given = self.same if same_scanner else self.between
        if given is None and same_scanner:
            given = next((one.found for one in self.own if one.fits([visit.conditions for visit in visits])), None)
        return given or repeatability_of([visit.case for visit in visits], same_scanner)


@dataclass(frozen=True, eq=False)
class VisitOutcome:
    """One visit in the comparison; ``visit``: its number, from 1. Area and volume are those of the common extent.
    ``change``: against the first visit, None with ``no_change`` saying why. ``differences``: against the visit before,
    and what is not known. ``date``: None unless it may be written. ``n_flagged_slices``: flagged ones among the
    compared; ``n_left_out_slices``: those left out. ``direct``: the change against the first visit as both images show
    it, None without images; ``sharpness_percent``: ``change`` without what a difference of sharpness makes of it, None
    where there is none. ``unlike``: what differs from the first visit without forbidding a change, which has to stand
    beside it."""

    source: Visit = field(metadata={"json": False})
    visit: int
    case: str
    date: str | None
    day: float = field(metadata={"decimals": 2})
    years: float = field(metadata={"decimals": 4})
    mean_csa_mm2: float = field(metadata={"decimals": 3})
    volume_mm3: float = field(metadata={"decimals": 2})
    length_mm: float = field(metadata={"decimals": 2})
    change: Change | None
    no_change: str
    differences: tuple[Difference, ...]
    conditions: Conditions
    n_flagged_slices: int
    n_left_out_slices: int
    direct: PairChange | None
    sharpness_percent: float | None = field(metadata={"decimals": 3})
    unlike: str = ""


@dataclass(frozen=True)
class Run:
    """Visits ``first`` … ``last`` (numbers, from 1) between which nothing breaks the series. ``rate`` None: ``no_rate``
    says why. ``beside``: what has to stand wherever the rate is shown. ``direct``: the rate from the images."""

    first: int
    last: int
    rate: Rate | None = field(metadata={"decimals": 3})
    no_rate: str
    beside: tuple[str, ...]
    cov_percent: float
    cov_source: str
    cov_setting: str
    direct: DirectRate | None = field(metadata={"decimals": 3})


@dataclass(frozen=True, eq=False)
class FollowUp:
    """The whole comparison. ``profiles``: of each visit, from the place all share. ``doubts``: why it may not be one
    person at the same level; with any, no change has a verdict. ``remarks``: on the comparison."""

    person: str
    visits: tuple[VisitOutcome, ...]
    runs: tuple[Run, ...]
    shared: CommonExtent
    profiles: tuple[Profile, ...]
    alignment: Alignment
    doubts: tuple[str, ...]
    remarks: tuple[str, ...]
    pairs: tuple[PairChange, ...] = ()
    options: FollowUpOptions = field(default_factory=FollowUpOptions)


def follow_up(
    person: str,
    visits: Sequence[Visit],
    alignment: Alignment,
    options: FollowUpOptions | None = None,
    beside: Sequence[str] = (),
    pairs: Sequence[PairChange] = (),
    doubts: Sequence[str] = (),
) -> FollowUp:
    """Compare ``visits`` (in order of days), aligned by ``alignment``. ``beside``: has to stand beside every rate.
    ``pairs``: what their images show. ``doubts``: that this is one person at one level, as known before.

    Raises ConfigurationError when they have nothing in common.
    """
    options = options or FollowUpOptions()
    profiles = []
    for visit, origin_mm in zip(visits, alignment.origins_mm, strict=True):
        flagged = False if options.keep_flagged or visit.case.review.state == ACCEPTED else visit.profile.flagged
        profiles.append(replace(visit.profile, position_mm=visit.line.arc_mm - origin_mm, flagged=flagged))
    shared = common_extent(profiles, options.limits_mm)
    years = [(visit.day - visits[0].day) / DAYS_PER_YEAR for visit in visits]
    changed = changes([visit.conditions for visit in visits])
    twins = same_data(visits)
    runs = []
    starts = [n for n, found in enumerate(changed) if n == 0 or any(one.breaks for one in found)]
    for first, end in pairwise([*starts, len(visits)]):
        judged_by = options.judging(visits[first:end], breaks=False)
        rate = yearly_rate(years[first:end], shared.mean_csa_mm2[first:end].tolist(), judged_by)
        no_rate = "" if rate is not None else f"all within half a year ({_SHORTEST_DAYS} days)"
        if end - first == 1:
            no_rate = "a single visit"
        elif any(first < n and k <= end for n, k in twins):
            rate, no_rate = None, TWICE
        unknown = any(not visit.conditions["scanner"] for visit in visits[first:end])
        shown = [*beside, *([SCANNER_UNKNOWN] if unknown else [])]
        shown += [unlike] if (unlike := _unlike(visits[first:end])) else []
        cov = judged_by.cov_percent, judged_by.source, judged_by.setting
        own = [pair for pair in pairs if first < pair.first and pair.second <= end]
        direct = direct_rate(own, years, judged_by) if rate else None
        runs.append(Run(first + 1, end, rate, no_rate, tuple(shown), *cov, direct))
    outcomes = []
    for n, (visit, profile) in enumerate(zip(visits, profiles, strict=True)):
        compared, half = profile.inside(shared.at_mm).any(axis=0), profile.length_mm / 2
        between = (profile.position_mm + half > shared.low_mm) & (profile.position_mm - half < shared.high_mm)
        kinds = {one.kind for found in changed[: n + 1] for one in found if one.breaks}
        found, why = _change(n, visits, shared, kinds, options, twins)
        flagged, mean_mm2 = visit.profile.flagged, float(shared.mean_csa_mm2[n])
        pair = next((one for one in pairs if (one.first, one.second) == (1, n + 1)), None)
        sharp = None
        if pair is not None and found is not None and {visits[0].case.mask_state, visit.case.mask_state} == {"AI"}:
            sharp = pair.at_one_sharpness(found.percent, float(shared.mean_csa_mm2[0]))
        outcome = VisitOutcome(
            source=visit, visit=n + 1, case=visit.case.name,
            date=visit.date.isoformat() if options.keep_dates and visit.date is not None else None,
            day=visit.day - visits[0].day, years=years[n],
            mean_csa_mm2=mean_mm2, volume_mm3=mean_mm2 * shared.length_mm, length_mm=shared.length_mm,
            change=found, no_change=why,
            differences=(*changed[n], *unknowns(visit.conditions)), conditions=visit.conditions,
            n_flagged_slices=int(np.count_nonzero(flagged & compared)),
            n_left_out_slices=int(np.count_nonzero(flagged & ~compared & between)),
            direct=pair, sharpness_percent=sharp, unlike=_unlike([visits[0], visit]),
        )  # fmt: skip
        outcomes.append(outcome)
    remarks = [f"visits {n} and {k} hold the same data: no change can be seen between them" for n, k in twins]
    remarks += [
        f"visits {one.first} and {one.second}: areas alone, their images are not compared: {one.refused}"
        for one in pairs
        if one.refused and one.found is not None
    ]
    remarks += [*alignment.remarks, *_remarks(shared, runs, outcomes, options)]
    all_doubts = [*alignment.doubts, *doubts, *(doubt for pair in pairs for doubt in pair.doubts)]
    all_doubts += [*_doubts(runs, outcomes, pairs), *_other_shape(profiles, shared, runs, outcomes)]
    for n, one in enumerate(outcomes):
        verdict = WITHHELD if all_doubts else SOON if one.day < _SHORTEST_DAYS else ""
        if one.change and verdict:
            outcomes[n] = replace(one, change=replace(one.change, verdict=verdict))
    if all_doubts:
        for n, run in enumerate(runs):
            rate, direct = run.rate, run.direct
            rate, direct = rate and replace(rate, verdict=WITHHELD), direct and replace(direct, verdict=WITHHELD)
            runs[n] = replace(run, rate=rate, direct=direct)
    return FollowUp(
        person, tuple(outcomes), tuple(runs), shared, tuple(profiles), alignment, tuple(all_doubts), tuple(remarks),
        tuple(pairs), options,
    )  # fmt: skip


def _unlike(visits: Sequence[Visit]) -> str:
    """What differs between any two of these visits without breaking the series."""
    pairs = combinations([visit.conditions for visit in visits], 2)
    kinds = {change.kind for one, other in pairs for change in differences(one, other) if not change.breaks}
    names = [name for kind, (name, *_) in CONDITIONS.items() if kind in kinds]
    return f"not alike: {', '.join(names)}" if names else ""


def _doubts(runs: Sequence[Run], outcomes: Sequence[VisitOutcome], pairs: Sequence[PairChange]) -> list[str]:
    """Why these may not be visits of one person at the same level, in the order of their dates: a change that no
    disease makes, beyond its error."""
    seen: list[tuple[str, float, float, float, str]] = []  # what, its percent, of how many years, its error, unit
    for run in runs:
        which = f"visits {run.first} to {run.last}"
        if run.rate is not None and run.rate.percent_per_year < 0:  # growth: by the changes themselves
            seen.append((which, run.rate.percent_per_year, 1.0, run.rate.limit, "%/year"))
        if run.direct is not None:
            found = run.direct
            error = found.high - found.percent_per_year
            seen.append((f"{which}, by their images", found.percent_per_year, 1.0, error, "%/year"))
    for one in outcomes:
        if one.change is not None:
            seen.append((f"visit {one.visit}", one.change.percent, one.years, one.change.mdc95_percent, "%"))
    for pair in pairs:
        if pair.percent is not None and pair.se_percent is not None:
            years = outcomes[pair.second - 1].years - outcomes[pair.first - 1].years
            which = f"visits {pair.first} and {pair.second}, by both images"
            seen.append((which, pair.percent, years, _SURE * pair.se_percent, "%"))
    doubts: dict[str, str] = {}  # the first of each kind
    for which, percent, years, error, unit in seen:
        if percent >= error:
            text = f"{which}: the area grew by {percent:.1f} {unit}, and a cord does not grow"
            doubts.setdefault("grew", f"{text}: are the dates exchanged, or two persons?")
        elif percent <= -error and percent < -_FASTEST * years:
            text = f"{which}: a loss of {-percent / max(years, 1 / DAYS_PER_YEAR):.0f} %/year is implausible"
            doubts.setdefault("fast", f"{text}, people with MS lose about 2 %/year")
    return list(doubts.values())


_SURE = 2.58  # standard errors: 1 % of unchanged pairs


# One person's cord keeps its relative area along its length and its flatness, and both are a person's own. Scales and
# limits are from simulated people, see docs/follow-up.md.
_SHAPE_SCALES = (0.02, 0.04, 0.045)
_OTHER_SHAPE, _OTHER_SHAPE_OF_CHANGE = 2.0, 0.8
_LEAST_SHAPE_MM = 15.0


def shape_distance(one: Profile, other: Profile, at_mm: NDArray[np.float64]) -> float:
    """How far two cords differ in shape, whatever their mean areas: SD of the log ratio of areas along ``at_mm``, mean
    and SD of that of AP/RL, each over its scale, root mean square. NaN where a cord has too few slices."""
    areas, ratios = [], []
    for profile in (one, other):
        known = (profile.csa_mm2 > 0) & np.isfinite(profile.ap_over_rl)
        if np.count_nonzero(known) < 4:
            return nan
        place, ratio = profile.position_mm[known], np.asarray(profile.ap_over_rl)[known]
        areas.append(np.interp(at_mm, place, np.log(profile.csa_mm2[known])))
        ratios.append(np.interp(at_mm, place, np.log(ratio)))
    area, flatness = areas[1] - areas[0], ratios[1] - ratios[0]
    parts = np.array([area.std(), flatness.mean(), flatness.std()]) / _SHAPE_SCALES
    return float(np.sqrt((parts**2).mean()))


def _other_shape(
    profiles: Sequence[Profile], shared: CommonExtent, runs: Sequence[Run], outcomes: Sequence[VisitOutcome]
) -> list[str]:
    found = [run.rate for run in runs] + [one.change for one in outcomes]
    is_called = any(one is not None and one.verdict in (LOSS, GAIN) for one in found)
    limit = _OTHER_SHAPE_OF_CHANGE if is_called else _OTHER_SHAPE
    pairs = combinations(enumerate(profiles, 1), 2)
    apart = [(shape_distance(one, other, shared.at_mm), n, k) for (n, one), (k, other) in pairs]
    if is_called and (shared.length_mm < _LEAST_SHAPE_MM or not all(isfinite(one) for one, _, _ in apart)):
        return ["too little of the cord is in common to tell by its shape"]
    worst, n, k = max(apart, default=(0.0, 0, 0))
    if worst <= limit:
        return []
    return [
        f"visits {n} and {k} show cords of other shapes (distance {worst:.1f}, one person's stay below {limit:g}): is"
        " one of another person, or its disc C2/C3 marked at another vertebra?"
    ]


def _change(
    n: int,
    visits: Sequence[Visit],
    shared: CommonExtent,
    kinds: set[str],
    options: FollowUpOptions,
    twins: Sequence[tuple[int, int]],
) -> tuple[Change | None, str]:
    """Visit ``n`` against the first; ``kinds``: of the breaking changes between them."""
    if n == 0:
        return None, "the first visit"
    if hindering := sorted(kinds - ACROSS_SCANNERS):
        names = " and ".join(CONDITIONS[kind][0] for kind in hindering)
        return None, f"not compared with the first visit: {names} changed"
    if (1, n + 1) in twins:
        return None, "not compared with the first visit: it holds the same data"
    judged_by = options.judging(visits[: n + 1], bool(kinds))
    return change(float(shared.mean_csa_mm2[0]), float(shared.mean_csa_mm2[n]), judged_by), ""


def _remarks(
    shared: CommonExtent, runs: Sequence[Run], outcomes: Sequence[VisitOutcome], options: FollowUpOptions
) -> list[str]:
    def by_visit(counts: Iterable[int]) -> str:
        """How many in which visit, those with any."""
        return ", ".join(f"{n} in visit {one.visit}" for one, n in zip(outcomes, counts, strict=True) if n)

    remarks = []
    cords = [one.source.profile for one in outcomes]
    unclear = [
        str(one.visit)
        for one in outcomes
        if any(flag.kind == "unclear_edge" and flag.canonical_slice is None for flag in one.source.case.flags)
    ]
    if unclear:
        remarks.append(
            f"visit {', '.join(unclear)}: the image shows no edge of the cord in most slices; the areas vary more than"
            " the CoV"
        )
    drawn = by_visit(int(np.count_nonzero(cord.is_drawn)) for cord in cords)
    if drawn and any((np.isfinite(cord.csa_mm2) & ~cord.is_drawn).any() for cord in cords):
        remarks.append(f"slices that a person drew have the areas of their pixels: {drawn}")
    if shared.length_mm < SHORT_MM:
        remarks.append(f"all visits cover only {shared.length_mm:.1f} mm: single slices decide")
    if shared.gap_mm > 0.5:
        remarks.append(
            f"{shared.gap_mm:.1f} mm inside the common extent are left out: some visit has a gap or imputed slices"
            " there"
        )
    limits = options.limits_mm
    if limits is not None and shared.high_mm - shared.low_mm < limits[1] - limits[0] - 0.5:
        remarks.append(
            f"of the range asked for ({limits[0]:g} to {limits[1]:g} mm) all visits cover only {shared.low_mm:.1f} to"
            f" {shared.high_mm:.1f} mm"
        )
    for run in runs:
        if run.rate is not None and run.rate.scatters:
            remarks.append(
                f"visits {run.first} to {run.last} scatter by {run.rate.scatter_cov_percent:.1f} % about their line,"
                f" more than a CoV of {run.cov_percent:g} % explains: no verdict"
            )
    if shared.flagged_mm > 0:
        remarks.append(
            f"{shared.flagged_mm:.1f} mm with flagged slices that nobody has accepted are left out in all visits"
            f" ({by_visit(one.n_left_out_slices for one in outcomes)}): accept their visits in review to compare them"
        )
    if flagged := by_visit(one.n_flagged_slices for one in outcomes):
        remarks.append(f"flagged slices are among the compared ones: {flagged}")
    return remarks
