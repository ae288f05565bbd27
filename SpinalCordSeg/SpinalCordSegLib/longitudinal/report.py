"""A follow-up as plain data: follow_up.json, and rows of follow_up.csv and cohort.csv.

Numbers are mm, mm², mm³, %; what has no answer is null or an empty field. No date unless it was asked for, no path,
no identifier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import numpy as np

from SpinalCordSegLib.longitudinal.change import (
    DAYS_PER_YEAR,
    HEALTHY_SOURCE,
    MASK,
    PROBABILITY,
    Z95,
    FollowUp,
    Rate,
    Repeatability,
    Run,
    VisitOutcome,
    healthy_rates,
)
from SpinalCordSegLib.longitudinal.visits import Difference, as_dict
from SpinalCordSegLib.report import CURVE, FLAG, HEALTHY, INK, Section, html_page, style_axes
from SpinalCordSegLib.slice_table import rounded
from SpinalCordSegLib.version import SOFTWARE_VERSION

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCHEMA = "SpinalCordSeg follow-up"
SCHEMA_VERSION = 1

COLUMNS = (
    "person", "state", "reason", "visit", "case", "date", "day", "years",
    "mean_csa_mm2", "volume_mm3", "length_mm", "volume_per_length_mm2",
    "shared_low_mm", "shared_high_mm", "shared_from", "aligned_by", "areas_from",
    "change_percent", "mdc95_percent", "change_verdict", "change_cov_setting", "no_change",
    "run", "run_visits", "rate_percent_per_year", "rate_low", "rate_high", "rate_limit", "rate_verdict",
    "cov_percent", "cov_setting", "cov_source",
    "breaks", "differences", "n_flagged_slices", "n_left_out_slices", "left_out_mm", "remarks",
    "scanner", "field_strength", "sequence", "contrast_agent", "distortion_correction", "voxel_mm", "model", "made_by",
    "software_version",
)  # fmt: skip


def follow_up_report(result: FollowUp) -> dict[str, Any]:
    """The content of follow_up.json, ready for JSON without NaN."""
    shared = result.shared
    fast, slow = healthy_rates(result.options.age_years)
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "person": result.person,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "software_version": SOFTWARE_VERSION,
        "aligned_by": result.alignment.method,
        "areas_from": result.areas_from,
        "residuals_mm": [rounded(mm, 2) for mm in result.alignment.residuals_mm],
        "shared": {
            "from": result.alignment.zero,
            "low_mm": rounded(shared.low_mm, 2),
            "high_mm": rounded(shared.high_mm, 2),
            "length_mm": rounded(shared.length_mm, 2),
            "left_out_mm": rounded(shared.flagged_mm, 2),
        },
        "visits": [_visit(visit, result) for visit in result.visits],
        "runs": [_run(run) for run in result.runs],
        "remarks": list(result.remarks),
        "healthy": {
            "low_percent_per_year": fast,
            "high_percent_per_year": slow,
            "of": "their age" if result.options.age_years is not None else "any age",
            "source": HEALTHY_SOURCE,
        },
    }


def _visit(outcome: VisitOutcome, result: FollowUp) -> dict[str, Any]:
    visit, change = outcome.visit, outcome.change
    content: dict[str, Any] = {
        "visit": outcome.number,
        "case": visit.case.name,
        "day": rounded(outcome.years * DAYS_PER_YEAR, 2),
        "years": rounded(outcome.years, 4),
        "mean_csa_mm2": rounded(outcome.mean_csa_mm2, 3),
        "volume_mm3": rounded(outcome.volume_mm3, 2),
        "length_mm": rounded(result.shared.length_mm, 2),
        "volume_per_length_mm2": rounded(outcome.mean_csa_mm2, 3),
        "whole_volume_mm3": rounded(visit.case.volume_mm3, 2),
        "whole_length_mm": rounded(visit.case.length_mm, 2),
        "change": None,
        "no_change": outcome.no_change,
        "differences": [asdict(one) for one in outcome.differences],
        "conditions": as_dict(visit.conditions),
        "n_flagged_slices": outcome.n_flagged,
        "n_left_out_slices": outcome.n_left_out,
    }
    if result.options.keep_dates and visit.date is not None:
        content["date"] = visit.date.isoformat()
    if change is not None:
        content["change"] = {
            "percent": rounded(change.percent, 3),
            "mdc95_percent": rounded(change.by.mdc95_percent, 3),
            "verdict": change.verdict,
            **_repeatability(change.by),
        }
    return content


def _repeatability(one: Repeatability) -> dict[str, Any]:
    return {"cov_percent": one.cov_percent, "cov_setting": one.setting, "cov_source": one.source}


def _run(run: Run) -> dict[str, Any]:
    return {
        "first": run.first,
        "last": run.last,
        "rate": None if run.rate is None else _rate(run.rate),
        **_repeatability(run.repeatability),
    }


def _rate(rate: Rate) -> dict[str, Any]:
    return {
        "percent_per_year": rounded(rate.percent_per_year, 3),
        "low": rounded(rate.low, 3),
        "high": rounded(rate.high, 3),
        "limit": rounded(rate.limit, 3),
        "fitted_first_mm2": rounded(rate.fitted_first_mm2, 3),
        "slope_mm2_per_year": rounded(rate.slope_mm2_per_year, 4),
        "n_visits": rate.n_visits,
        "verdict": rate.verdict,
        "scatter_cov_percent": rounded(rate.scatter_cov_percent, 3),
        "scatters": rate.scatters,
    }


def follow_up_rows(result: FollowUp) -> list[dict[str, Any]]:
    """One tidy row a visit: the columns of a person's run are repeated in each of its visits."""
    content = follow_up_report(result)
    rows = []
    for visit, words in zip(result.visits, content["visits"], strict=True):
        number, run = next(
            (n, run) for n, run in enumerate(content["runs"], 1) if run["first"] <= visit.number <= run["last"]
        )
        change, rate = words["change"] or {}, run["rate"] or {}
        known = words["conditions"]
        row: dict[str, Any] = dict.fromkeys(COLUMNS)
        row |= {name: words.get(name) for name in COLUMNS if name in words}
        row |= {name: known[name] for name in COLUMNS if name in known}
        row |= {name: run[name] for name in ("cov_percent", "cov_setting", "cov_source")}
        row |= {
            "person": result.person,
            "state": "done",
            "shared_low_mm": content["shared"]["low_mm"],
            "shared_high_mm": content["shared"]["high_mm"],
            "shared_from": content["shared"]["from"],
            "left_out_mm": content["shared"]["left_out_mm"],
            "aligned_by": content["aligned_by"],
            "areas_from": content["areas_from"],
            "change_percent": change.get("percent"),
            "mdc95_percent": change.get("mdc95_percent"),
            "change_verdict": change.get("verdict"),
            "change_cov_setting": change.get("cov_setting"),
            "run": number,
            "run_visits": f"{run['first']}-{run['last']}",
            "rate_percent_per_year": rate.get("percent_per_year"),
            "rate_low": rate.get("low"),
            "rate_high": rate.get("high"),
            "rate_limit": rate.get("limit"),
            "rate_verdict": rate.get("verdict"),
            "breaks": _kinds(visit.differences, breaks=True),
            "differences": _kinds(visit.differences, breaks=False),
            "remarks": "; ".join(result.remarks),
            "voxel_mm": "x".join(f"{mm:g}" for mm in known["voxel_mm"]),
            "software_version": known["software"],
        }
        rows.append(row)
    return rows


def _kinds(found: tuple[Difference, ...], breaks: bool) -> str:
    return " ".join(dict.fromkeys(one.kind for one in found if one.breaks is breaks))


def failed_person_row(person: str, reason: str) -> dict[str, Any]:
    """The row of a person who could not be followed."""
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    return row | {"person": person, "state": "failed", "reason": reason, "software_version": SOFTWARE_VERSION}


def _which(run: Run) -> str:
    return f"visit {run.first}" if run.first == run.last else f"visits {run.first} to {run.last}"


def run_sentence(run: Run) -> str:
    """What the visits of a run tell, in one sentence."""
    which, rate = _which(run), run.rate
    if rate is None:
        return f"{which}: no yearly rate ({'a single visit' if run.first == run.last else 'within two weeks'})"
    return (
        f"{which}: {rate.percent_per_year:+.1f} % per year (95 % CI {rate.low:+.1f} to {rate.high:+.1f}),"
        f" {rate.verdict} (±{rate.limit:.1f} % per year)"
    )


# ---- Figures: drawn by matplotlib on any axes


BREAK, SHARED = "#b3261e", "#e9edf1"
COLOURS = ("#1f5f99", "#d9730d", "#4c8a5a", "#8a4fa3", "#b3261e", "#5b6875", "#0f8b8d", "#a0740a")
_LEAST_SHARE = 0.12  # of the area: a noise of 1 % must not fill the plot


def draw_course(axes: Axes, content: Mapping[str, Any], size: float = 9.0) -> None:
    """Mean area of the common extent at each visit, ± 1.96·CoV, with the fitted line of every run that has one.

    ``content``: of follow_up.json. Behind it, for each run, where a healthy cord that began at the fitted (else
    measured) first area would be measured in 95 % of cases. A red line with words stands where the series is broken.
    """
    visits, healthy = content["visits"], content["healthy"]
    rates = healthy["low_percent_per_year"], healthy["high_percent_per_year"]
    span = max(visits[-1]["years"], 0.5)
    areas = [visit["mean_csa_mm2"] for visit in visits]
    reach = 2.4 * max(run["cov_percent"] for run in content["runs"]) / 100
    low, high = min(areas) * (1 - reach), max(areas) * (1 + reach)
    grow = max(0.0, (_LEAST_SHARE * sum(areas) / len(areas) - (high - low)) / 2)
    axes.set(xlim=(-0.06 * span, 1.06 * span), ylim=(low - grow, high + grow))
    for number, run in enumerate(content["runs"]):
        own, rate, cov = visits[run["first"] - 1 : run["last"]], run["rate"], run["cov_percent"]
        years = np.array([visit["years"] for visit in own])
        start = rate["fitted_first_mm2"] if rate else own[0]["mean_csa_mm2"]
        at = np.linspace(years[0] - 0.03 * span, years[-1] + 0.03 * span, 24)
        band = np.array([healthy_band(start, max(t - years[0], 0.0), rates, cov) for t in at])
        axes.fill_between(at, band[:, 0], band[:, 1], color=HEALTHY, linewidth=0)
        if rate:
            ends = years[[0, -1]]
            axes.plot(ends, start + rate["slope_mm2_per_year"] * (ends - ends[0]), color=CURVE, linewidth=1.8)
        for visit in own:
            area, colour = visit["mean_csa_mm2"], FLAG if visit["n_flagged_slices"] else CURVE
            axes.errorbar(
                visit["years"], area, area * Z95 * cov / 100, color=colour, ecolor=CURVE, fmt="o", markersize=6
            )
            axes.annotate(
                str(visit["visit"]),
                (visit["years"], area),
                (6, 6),
                textcoords="offset points",
                fontsize=size,
                color=INK,
            )
        if number:
            middle = (visits[run["first"] - 2]["years"] + own[0]["years"]) / 2
            axes.axvline(middle, color=BREAK, linewidth=1.8, linestyle=(0, (5, 4)))
            late = middle > span / 2
            kinds = dict.fromkeys(one["kind"].replace("_", " ") for one in own[0]["differences"] if one["breaks"])
            axes.annotate(
                "\n".join(f"other {kind}" for kind in kinds), (middle, 1), (-3 if late else 3, -2),
                textcoords="offset points",
                xycoords=("data", "axes fraction"), fontsize=size - 1, color=BREAK, va="top",
                ha="right" if late else "left",
            )  # fmt: skip
    axes.set_xlabel("years since the first visit", fontsize=size, color=INK)
    axes.set_ylabel("mean area, mm²", fontsize=size, color=INK)
    style_axes(axes, size)


def healthy_band(
    start_mm2: float, since_years: float, rates_percent: tuple[float, float], cov_percent: float
) -> tuple[float, float]:
    """Lowest and highest area, mm², at which a healthy cord of ``start_mm2`` is measured later, in 95 % of cases.

    ``rates_percent``: fastest and slowest healthy change a year; ``cov_percent``: of measuring.
    """
    noise = Z95 * cov_percent / 100
    fast, slow = rates_percent
    low = start_mm2 * (1 + fast / 100 * since_years) * (1 - noise)
    return low, start_mm2 * (1 + slow / 100 * since_years) * (1 + noise)


def draw_profiles(axes: Axes, result: FollowUp, size: float = 9.0) -> None:
    """Areas along the cord, one colour a visit, gaps left open, flagged slices as dots; what is compared is shaded."""
    areas = np.concatenate([one.csa_mm2 for one in result.profiles])
    low, high = float(np.nanmin(areas)), float(np.nanmax(areas))
    margin = max(0.08 * (high - low), (20.0 - (high - low)) / 2)
    axes.set_ylim(max(0.0, low - margin), high + margin)
    for start, end in result.shared.intervals_mm:
        axes.axvspan(start, end, color=SHARED, linewidth=0)
    for number, (profile, outcome) in enumerate(zip(result.profiles, result.visits, strict=True)):
        colour, flagged = COLOURS[number % len(COLOURS)], outcome.visit.is_flagged
        axes.plot(profile.position_mm, profile.csa_mm2, color=colour, linewidth=1.5, label=f"visit {number + 1}")
        axes.plot(profile.position_mm[flagged], profile.csa_mm2[flagged], "o", color=colour, markersize=4)
    zero = result.alignment.zero if result.alignment.from_disc else "the shared place"  # the middle is a long sentence
    axes.set_xlabel(f"inferior ← mm along the cord from {zero} → superior", fontsize=size, color=INK)
    axes.set_ylabel("area, mm²", fontsize=size, color=INK)
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=8,
        fontsize=size,
        frameon=False,
        borderpad=0,
        labelcolor="linecolor",
    )
    style_axes(axes, size)


# ---- follow_up.html: what speaks against comparing the visits stands first


_CAUTION = (
    "MAGNIMS asks for extreme caution with areas of single patients. A change below the minimum detectable one is what"
    " repeated measurements of an unchanged cord show as well."
)
_AREAS_FROM = {
    PROBABILITY: "from the network's probability, which knows of parts of pixels, before any outline was adjusted"
    " (csa_pv_mm2 of the slices), ",
    MASK: "from the masks, whole pixels, ",
}
_AREAS = (
    "in the slice, corrected for the tilt of the cord, which is taken from the slices within 15 mm so that it does not"
    " depend on how much of the cord was scanned; they may differ slightly from those of a visit's own report. The last"
    " slice of a mask that ends inside its volume is left out."
)
_CONDITIONS = (
    ("scanner", "scanner"), ("field_strength", "field"), ("sequence", "sequence"), ("contrast_agent", "agent"),
    ("distortion_correction", "distortion correction"), ("voxel_mm", "voxel, mm"), ("made_by", "mask"),
    ("model", "model"), ("software", "software"),
)  # fmt: skip


def follow_up_page(result: FollowUp, content: Mapping[str, Any]) -> str:
    """The page as HTML text; no script, no network. ``content``: of follow_up.json. Raises MissingPackageError."""
    heading, shown = f"Spinal cord over time: {result.person}", _sections(result, content)
    return html_page(heading, content["created"], content["software_version"], shown, _CAUTION)


def _sections(result: FollowUp, content: Mapping[str, Any]) -> list[Section]:
    shared, age = result.shared, result.options.age_years
    breaks = [
        (f"Between visit {visit.number - 1} and {visit.number}", one.message)
        for visit in result.visits
        for one in visit.differences
        if one.breaks
    ]
    boxes = [_rate_box(run) for run in result.runs]
    extent = f"{shared.low_mm:+.1f} to {shared.high_mm:+.1f} mm from {result.alignment.zero}; all visits cover it"
    boxes.append(("Common extent", f"{shared.length_mm:.1f} mm", extent))
    course_note = (
        "Bars: ±1.96·CoV. Line: fitted over comparable visits. Green: where a healthy cord of"
        f" {'any adult age' if age is None else 'this age'} with the same first area would be measured, repeatability"
        " included. Orange: flagged slices among the compared ones. Red: the series is broken there."
    )
    profile_note = f"Grey: compared, in all visits alike. Zero: {result.alignment.zero}. Dots: flagged slices."
    after_break = {run.first - 1 for run in result.runs[1:]}
    conditions = [
        (str(outcome.number), *(_condition(getattr(outcome.visit.conditions, name)) for name, _ in _CONDITIONS))
        for outcome in result.visits
    ]
    titles = ("visit", *(title for _, title in _CONDITIONS))
    found = [
        Section("boxes", items=boxes),
        _to_weigh(result),
        Section("picture", "Mean area of the common extent", note=course_note,
                picture=lambda axes: draw_course(axes, content)),
        _visit_table(result, after_break),
        Section("picture", "Area along the cord", note=profile_note, picture=lambda axes: draw_profiles(axes, result)),
        Section("table", "How the visits were made", conditions, columns=titles, marked=after_break),
        Section("entries", "How this was computed", _method(result, content), folded=True),
    ]  # fmt: skip
    if breaks:
        note = "No yearly rate is given across these changes; each run of comparable visits has its own."
        found.insert(0, Section("stop", "Not comparable throughout", breaks, note))
    return found


def _rate_box(run: Run) -> tuple[str, str, str]:
    name = (
        f"Yearly rate, visit {run.first}" if run.first == run.last else f"Yearly rate, visits {run.first} to {run.last}"
    )
    rate = run.rate
    if rate is None:
        return name, "–", "a single visit has no rate" if run.first == run.last else "too close in time for a rate"
    interval = f"95 % CI {rate.low:+.1f} to {rate.high:+.1f}; {rate.verdict} (±{rate.limit:.1f} %/year)"
    return name, f"{rate.percent_per_year:+.1f} %/year", interval


def _to_weigh(result: FollowUp) -> Section:
    """What does not forbid a comparison, but has to be weighed."""
    numbers: dict[str, list[str]] = {}
    for visit in result.visits:
        for one in visit.differences:
            if not one.breaks:
                numbers.setdefault(one.message, []).append(str(visit.number))
    items = [(f"Visit {', '.join(visits)}", message) for message, visits in numbers.items()]
    items += [("", remark) for remark in result.remarks]
    if not items:
        return Section("clear", items=["Scanner, sequence, model and coverage are alike in all visits."])
    return Section("flags", "To be weighed", items)


def _visit_table(result: FollowUp, after_break: set[int]) -> Section:
    dated = result.options.keep_dates and any(one.visit.date is not None for one in result.visits)
    titles = ["visit", *(["date"] if dated else []), "years", "area, mm²", "volume, mm³", "length, mm"]
    titles += ["change, %", "MDC95, %", "against the first visit"]
    rows = []
    for one in result.visits:
        cells = [str(one.number), *([str(one.visit.date or "–")] if dated else [])]
        cells += [f"{one.years:.2f}", f"{one.mean_csa_mm2:.1f}", f"{one.volume_mm3:.0f}"]
        cells.append(f"{result.shared.length_mm:.1f}")
        if one.change is None:
            cells += ["–", "–", one.no_change]
        else:
            cells += [f"{one.change.percent:+.1f}", f"{one.change.by.mdc95_percent:.1f}"]
            cells.append(f"{one.change.verdict} ({one.change.by.setting})")
        rows.append(cells)
    note = (
        "Area, volume and length are those of the common extent, which has one length in all visits by construction."
        " The volume of all cord found follows coverage and is not compared."
    )
    return Section("table", "Visits", rows, note, titles, after_break)


def _condition(value: Any) -> str:
    if isinstance(value, tuple):
        return " × ".join(f"{mm:.3g}" for mm in value) or "not known"
    return str(value) or "not known"


def _method(result: FollowUp, content: Mapping[str, Any]) -> list[tuple[str, str]]:
    entries = [("Aligned by", result.alignment.method), ("Areas", _AREAS_FROM[result.areas_from] + _AREAS)]
    entries += [(f"Result, {n}", run_sentence(run)) for n, run in enumerate(result.runs, 1)]
    for one in dict.fromkeys(run.repeatability for run in result.runs):
        entries.append((f"CoV, {one.setting}", f"{one.cov_percent:g} % ({one.source})"))
    return [
        *entries,
        ("Minimum detectable change", "two visits: MDC95 = 2.77·CoV; a rate: 1.96·CoV/√Σ(t−t̄)²"),
        ("Rate", "100·slope of the least-squares line / fitted area at the first visit of the run"),
        ("Healthy", str(content["healthy"]["source"])),
    ]
