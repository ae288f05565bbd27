"""A person's visits compared: areas on what all of them cover, change, rate, and everything that speaks against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.longitudinal.alignment import Alignment
from SpinalCordSegLib.longitudinal.atrophy import Change, Rate, Repeatability, change, healthy_rates, yearly_rate
from SpinalCordSegLib.longitudinal.comparability import (
    Conditions,
    Difference,
    differences,
    filled,
    runs,
    same_scanner,
    unknowns,
)
from SpinalCordSegLib.longitudinal.repeatability import repeatability_of
from SpinalCordSegLib.longitudinal.shared_range import SHORT_MM, Profile, SharedRange, shared_range
from SpinalCordSegLib.longitudinal.visit_cord import VisitCord
from SpinalCordSegLib.longitudinal.visits import Visit

DAYS_PER_YEAR = 365.25
PROBABILITY, MASK = "probability", "mask"
_MIDDLE = "0.5"  # the threshold at which the mask ends where the probability's parts of pixels even out
_ACROSS_SCANNERS = {"scanner", "field_strength"}  # what the CoV between scanners was measured across


@dataclass(frozen=True)
class FollowUpOptions:
    """``same``, ``between``: what the user knows of repeatability on one scanner and between scanners; None: see
    ``repeatability``. ``limits_mm``: only this stretch, from the disc C2/C3. ``age_years``: at the first visit, for
    the band. ``keep_flagged``: compare slices that are flagged and that nobody has accepted, too."""

    same: Repeatability | None = None
    between: Repeatability | None = None
    limits_mm: tuple[float, float] | None = None
    age_years: float | None = None
    keep_dates: bool = False
    keep_flagged: bool = False

    def __post_init__(self) -> None:
        healthy_rates(self.age_years)

    def judging(self, visits: Sequence[Visit], on_one_scanner: bool) -> Repeatability:
        """The repeatability that a comparison of these visits is judged by."""
        given = self.same if on_one_scanner else self.between
        return given or repeatability_of([visit.report for visit in visits], on_one_scanner)


@dataclass(frozen=True)
class VisitOutcome:
    """One visit. ``years``: since the first. Areas and volume are those of the shared stretch; ``whole_*`` of all cord
    found, which follows coverage and is not compared. ``change``: against the first visit, None with ``no_change``
    saying why. ``differences``: against the visit before, and what is not known. ``n_doubtful``: flagged slices
    among the compared ones; ``n_left_out``: flagged slices that are left out of the comparison."""

    number: int
    case_name: str
    date: date | None
    years: float
    mean_csa_mm2: float
    volume_mm3: float
    whole_volume_mm3: float
    whole_length_mm: float
    change: Change | None
    change_by: Repeatability | None
    no_change: str
    differences: tuple[Difference, ...]
    conditions: Conditions
    n_doubtful: int
    n_left_out: int


@dataclass(frozen=True)
class Run:
    """Visits ``first`` … ``last`` (numbers, from 1) between which nothing breaks the series. ``rate`` None: one visit,
    or all within two weeks."""

    first: int
    last: int
    rate: Rate | None
    repeatability: Repeatability


@dataclass(frozen=True, eq=False)
class FollowUp:
    """The whole comparison. ``profiles``: of each visit, from the shared place. ``remarks``: on the comparison.
    ``areas_from``: PROBABILITY or MASK, the same in all visits."""

    person: str
    visits: tuple[VisitOutcome, ...]
    runs: tuple[Run, ...]
    shared: SharedRange
    profiles: tuple[Profile, ...]
    doubts: tuple[tuple[tuple[str, ...], ...], ...]
    alignment: Alignment
    remarks: tuple[str, ...]
    areas_from: str
    options: FollowUpOptions = field(default_factory=FollowUpOptions)


def follow_up(
    person: str, visits: Sequence[Visit], alignment: Alignment, options: FollowUpOptions | None = None
) -> FollowUp:
    """Compare ``visits`` (in order of days) laid over each other by ``alignment``.

    Raises ConfigurationError when they share nothing.
    """
    options = options or FollowUpOptions()
    areas_from, about_areas = _areas_from(visits)
    profiles = [
        Profile(
            visit.line.arc_mm - origin,
            visit.line.length_mm,
            _areas(visit.cord, areas_from),
            None if options.keep_flagged or visit.is_accepted else visit.is_flagged,
        )
        for visit, origin in zip(visits, alignment.origins_mm, strict=True)
    ]
    shared = shared_range(profiles, options.limits_mm)
    years = [(visit.day - visits[0].day) / DAYS_PER_YEAR for visit in visits]
    conditions = [visit.conditions for visit in visits]
    found = [_run(first, end, visits, years, shared, options) for first, end in runs(conditions)]
    outcomes = [_outcome(n, visits, years, shared, profiles, options) for n in range(len(visits))]
    return FollowUp(
        person=person,
        visits=tuple(outcomes),
        runs=tuple(found),
        shared=shared,
        profiles=tuple(profiles),
        doubts=tuple(visit.doubts for visit in visits),
        alignment=alignment,
        remarks=(*alignment.remarks, *about_areas, *_unclear(visits), *_remarks(shared, found, outcomes, options)),
        areas_from=areas_from,
        options=options,
    )


def _areas(cord: VisitCord, areas_from: str) -> NDArray[np.float64]:
    return cord.csa_pv_mm2 if areas_from == PROBABILITY and cord.csa_pv_mm2 is not None else cord.csa_mm2


def _areas_from(visits: Sequence[Visit]) -> tuple[str, tuple[str, ...]]:
    """PROBABILITY where every visit has areas from it, cut at its middle; else MASK, with why where some have.

    Where the edge falls within its pixels makes an area that counts pixels jump by up to some per cent from one
    position of the patient to the next; the probability knows of parts of pixels. A slice that a person drew has none,
    and keeps the area of its pixels; a mask that is mostly drawn so has all areas from its pixels.
    """
    without = [str(n) for n, visit in enumerate(visits, 1) if visit.cord.csa_pv_mm2 is None]
    if len(without) == len(visits):
        return MASK, ()
    if without:
        why = f"visit {', '.join(without)} has none from the network's probability (drawn by hand, or a given mask)"
        return MASK, (f"areas are counted in the pixels of the masks, which is less repeatable: {why}",)
    cut = [str(n) for n, visit in enumerate(visits, 1) if visit.conditions.threshold != _MIDDLE]
    if cut:
        why = f"visit {', '.join(cut)} was cut at another threshold than {_MIDDLE}"
        return MASK, (f"areas are counted in the pixels of the masks, which is less repeatable: {why}",)
    drawn = [f"{n} in visit {k}" for k, visit in enumerate(visits, 1) if (n := np.count_nonzero(visit.cord.is_drawn))]
    if drawn:
        return PROBABILITY, (f"slices that a person drew have the areas of their pixels: {', '.join(drawn)}",)
    return PROBABILITY, ()


def _unclear(visits: Sequence[Visit]) -> tuple[str, ...]:
    unclear = ", ".join(str(n) for n, visit in enumerate(visits, 1) if visit.has_unclear_edges)
    if not unclear:
        return ()
    return (f"visit {unclear}: the cord's edge is not sharp in most slices, areas scatter by more than the CoV says",)


def _run(
    first: int,
    end: int,
    visits: Sequence[Visit],
    years: Sequence[float],
    shared: SharedRange,
    options: FollowUpOptions,
) -> Run:
    own = visits[first:end]
    repeatability = options.judging(own, same_scanner([visit.conditions for visit in own]))
    rate = yearly_rate(years[first:end], shared.mean_csa_mm2[first:end].tolist(), repeatability)
    return Run(first + 1, end, rate, repeatability)


def _outcome(
    n: int,
    visits: Sequence[Visit],
    years: Sequence[float],
    shared: SharedRange,
    profiles: Sequence[Profile],
    options: FollowUpOptions,
) -> VisitOutcome:
    visit, area = visits[n], float(shared.mean_csa_mm2[n])
    compared, flagged = profiles[n].holds(shared.at_mm), visit.is_flagged
    found, by, why = _change(n, visits, shared, options)
    before = () if n == 0 else differences(_known_before(visits, n), visit.conditions)
    return VisitOutcome(
        number=n + 1,
        case_name=visit.case_name,
        date=visit.date if options.keep_dates else None,
        years=years[n],
        mean_csa_mm2=area,
        volume_mm3=float(shared.volume_mm3[n]),
        whole_volume_mm3=visit.whole_volume_mm3,
        whole_length_mm=visit.whole_length_mm,
        change=found,
        change_by=by,
        no_change=why,
        differences=(*before, *unknowns(visit.conditions)),
        conditions=visit.conditions,
        n_doubtful=int(np.count_nonzero(flagged & compared)),
        n_left_out=int(np.count_nonzero(flagged & ~compared & _between_ends(profiles[n], shared))),
    )


def _known_before(visits: Sequence[Visit], n: int) -> Conditions:
    """The visit before, completed by what the earlier ones told: a visit without a header hides no change."""
    known = visits[n - 1].conditions
    for earlier in reversed(visits[: n - 1]):
        known = filled(known, earlier.conditions)
    return known


def _change(
    n: int, visits: Sequence[Visit], shared: SharedRange, options: FollowUpOptions
) -> tuple[Change | None, Repeatability | None, str]:
    if n == 0:
        return None, None, "the first visit"
    conditions = [visit.conditions for visit in visits[: n + 1]]
    kinds = {
        difference.kind
        for k in range(1, n + 1)
        for difference in differences(_known_before(visits, k), conditions[k])
        if difference.breaks
    }
    hindering = sorted(kinds - _ACROSS_SCANNERS)
    if hindering:
        words = " and ".join(kind.replace("_", " ") for kind in hindering)
        return None, None, f"not compared with the first visit: {words} changed"
    by = options.judging(visits[: n + 1], same_scanner(conditions) and not kinds)
    return change(float(shared.mean_csa_mm2[0]), float(shared.mean_csa_mm2[n]), by), by, ""


def _between_ends(profile: Profile, shared: SharedRange) -> NDArray[np.bool_]:
    half = profile.length_mm / 2
    return np.asarray((profile.position_mm + half > shared.low_mm) & (profile.position_mm - half < shared.high_mm))


def _remarks(
    shared: SharedRange, found: Sequence[Run], outcomes: Sequence[VisitOutcome], options: FollowUpOptions
) -> list[str]:
    remarks = []
    if shared.length_mm < SHORT_MM:
        remarks.append(f"only {shared.length_mm:.1f} mm are covered by all visits: single slices decide")
    if shared.gap_mm > 0.5:
        remarks.append(f"{shared.gap_mm:.1f} mm inside the shared stretch are left out: some visit has a gap there")
    limits = options.limits_mm
    if limits is not None and shared.high_mm - shared.low_mm < limits[1] - limits[0] - 0.5:
        remarks.append(
            f"of the stretch asked for ({limits[0]:g} to {limits[1]:g} mm) only {shared.low_mm:.1f} to"
            f" {shared.high_mm:.1f} mm are covered by all visits"
        )
    for run in found:
        if run.rate is not None and run.rate.scatters:
            remarks.append(
                f"visits {run.first} to {run.last} scatter by {run.rate.scatter_cov_percent:.1f} % about their line,"
                f" more than a CoV of {run.repeatability.cov_percent:g} % explains: the true CI is wider"
            )
    if shared.doubtful_mm > 0:
        left_out = [f"{one.n_left_out} in visit {one.number}" for one in outcomes if one.n_left_out]
        remarks.append(
            f"{shared.doubtful_mm:.1f} mm are left out in all visits, where a flagged slice has been accepted by nobody"
            f" ({', '.join(left_out)}): once their visits are accepted in review, they are compared too"
        )
    doubtful = [f"{one.n_doubtful} in visit {one.number}" for one in outcomes if one.n_doubtful]
    if doubtful:
        remarks.append(f"flagged slices are among the compared ones: {', '.join(doubtful)}")
    return remarks
