"""A follow-up as plain data: follow_up.json, and rows of follow_up.csv and cohort.csv.

Numbers are mm, mm², mm³, %; what has no answer is null or an empty field. No date unless it was asked for, no path,
no identifier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from html import escape
from math import ceil
from typing import Any

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
from SpinalCordSegLib.report import (
    CURVE,
    DOUBT,
    FAINT,
    INK,
    STYLE,
    Box,
    Dot,
    Drawing,
    Line,
    Polygon,
    Shape,
    Text,
    ticks,
    to_svg,
)
from SpinalCordSegLib.slice_table import rounded
from SpinalCordSegLib.version import SOFTWARE_VERSION

SCHEMA = "SpinalCordSeg follow-up"
SCHEMA_VERSION = 1

COLUMNS = (
    "person", "state", "reason", "visit", "case", "date", "day", "years",
    "mean_csa_mm2", "volume_mm3", "length_mm", "volume_per_length_mm2",
    "shared_low_mm", "shared_high_mm", "shared_from", "aligned_by", "areas_from",
    "change_percent", "mdc95_percent", "change_verdict", "change_cov_setting", "no_change",
    "run", "run_visits", "rate_percent_per_year", "rate_low", "rate_high", "rate_limit", "rate_verdict",
    "cov_percent", "cov_setting", "cov_source",
    "breaks", "differences", "n_doubtful_slices", "n_left_out_slices", "left_out_mm", "remarks",
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
            "left_out_mm": rounded(shared.doubtful_mm, 2),
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


def _visit(visit: VisitOutcome, result: FollowUp) -> dict[str, Any]:
    content: dict[str, Any] = {
        "visit": visit.number,
        "case": visit.case_name,
        "day": rounded(visit.years * DAYS_PER_YEAR, 2),
        "years": rounded(visit.years, 4),
        "mean_csa_mm2": rounded(visit.mean_csa_mm2, 3),
        "volume_mm3": rounded(visit.volume_mm3, 2),
        "length_mm": rounded(result.shared.length_mm, 2),
        "volume_per_length_mm2": rounded(visit.mean_csa_mm2, 3),
        "whole_volume_mm3": rounded(visit.whole_volume_mm3, 2),
        "whole_length_mm": rounded(visit.whole_length_mm, 2),
        "change": None,
        "no_change": visit.no_change,
        "differences": [asdict(one) for one in visit.differences],
        "conditions": as_dict(visit.conditions),
        "n_doubtful_slices": visit.n_doubtful,
        "n_left_out_slices": visit.n_left_out,
    }
    if visit.date is not None:
        content["date"] = visit.date.isoformat()
    if visit.change is not None and visit.change_by is not None:
        content["change"] = {
            "percent": rounded(visit.change.percent, 3),
            "mdc95_percent": rounded(visit.change.mdc95_percent, 3),
            "verdict": visit.change.verdict,
            **_repeatability(visit.change_by),
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


def run_sentence(run: Run) -> str:
    """What the visits of a run tell, in one sentence."""
    which = f"visit {run.first}" if run.first == run.last else f"visits {run.first} to {run.last}"
    rate = run.rate
    if rate is None:
        return f"{which}: no yearly rate ({'a single visit' if run.first == run.last else 'within two weeks'})"
    return (
        f"{which}: {rate.percent_per_year:+.1f} % per year (95 % CI {rate.low:+.1f} to {rate.high:+.1f}),"
        f" {rate.verdict} (±{rate.limit:.1f} % per year)"
    )


# The follow-up as drawings: area against years with the healthy band, and the areas along the cord of all visits.


BAND, BREAK, SHARED = "#e3efe2", "#b3261e", "#f1f4f7"
COLOURS = ("#1f5f99", "#d9730d", "#4c8a5a", "#8a4fa3", "#b3261e", "#5b6875", "#0f8b8d", "#a0740a")
_SIZE = 12.0
_LEAST_SHARE = 0.12  # of the area: a noise of 1 % must not fill the plot
_STEPS = 24


@dataclass(frozen=True)
class _Frame:
    """Data coordinates to pixels."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    width: float
    height: float

    @property
    def edges(self) -> tuple[float, float, float, float]:
        return 4.4 * _SIZE, _SIZE, self.width - 1.5 * _SIZE, self.height - 3.2 * _SIZE

    def place(self, x: float, y: float) -> tuple[float, float]:
        left, top, right, bottom = self.edges
        (x_low, x_high), (y_low, y_high) = self.x_range, self.y_range
        return left + (x - x_low) / (x_high - x_low) * (right - left), bottom - (y - y_low) / (y_high - y_low) * (
            bottom - top
        )

    def axes(self, x_title: str, y_title: str, x_ticks: Sequence[float]) -> list[Shape]:
        left, top, right, bottom = self.edges
        shapes: list[Shape] = []
        for area in ticks(*self.y_range, count=5):
            start, end = self.place(self.x_range[0], area), self.place(self.x_range[1], area)
            shapes.append(Line((start, end), FAINT))
            shapes.append(Text(start[0] - 0.5 * _SIZE, start[1] + 0.35 * _SIZE, f"{area:g}", _SIZE, INK, "end"))
        for x in x_ticks:
            at = self.place(x, self.y_range[0])
            shapes.append(Line((at, (at[0], at[1] + 4)), INK))
            shapes.append(Text(at[0], at[1] + 1.4 * _SIZE, f"{x:g}", _SIZE, INK, "middle"))
        shapes.append(Line(((left, bottom), (right, bottom)), INK))
        shapes.append(Text((left + right) / 2, self.height - 0.3 * _SIZE, x_title, _SIZE, INK, "middle"))
        shapes.append(Text(1.1 * _SIZE, (top + bottom) / 2, y_title, _SIZE, INK, "middle", turned=True))
        return shapes


def draw_course(result: FollowUp, width: float = 900, height: float = 300) -> Drawing:
    """Mean area of the shared stretch at each visit, ± 1.96·CoV, with the fitted line of every run that has one.

    Behind it, for each run, where a healthy cord that began at the fitted (else measured) first area would be measured
    in 95 % of cases. A red line with words stands where the series is broken.
    """
    years = [visit.years for visit in result.visits]
    span = max(years[-1], 0.5)
    frame = _Frame((-0.06 * span, 1.06 * span), _area_range(result), width, height)
    shapes: list[Shape] = [_band(run, result, frame) for run in result.runs]
    shapes += frame.axes(
        "years since the first visit", "mean area, mm²", [t for t in ticks(0.0, span, count=6) if t >= 0]
    )
    for run in result.runs:
        shapes += _fit(run, result, frame)
    shapes += _plotted_breaks(result, frame)
    for visit in result.visits:
        run = next(run for run in result.runs if run.first <= visit.number <= run.last)
        half = visit.mean_csa_mm2 * Z95 * run.repeatability.cov_percent / 100
        ends = tuple(frame.place(visit.years, visit.mean_csa_mm2 + sign * half) for sign in (-1, 1))
        shapes.append(Line(ends, CURVE, 1.5))
        title = f"visit {visit.number}: {visit.mean_csa_mm2:.1f} mm² at {visit.years:.2f} years"
        where = frame.place(visit.years, visit.mean_csa_mm2)
        shapes.append(Dot(*where, 5.0, DOUBT if visit.n_doubtful else CURVE, title))
        shapes.append(Text(where[0] + 8, where[1] - 8, str(visit.number), _SIZE, INK))
    return Drawing(width, height, tuple(shapes))


def _area_range(result: FollowUp) -> tuple[float, float]:
    cov = max(run.repeatability.cov_percent for run in result.runs)
    areas = result.shared.mean_csa_mm2
    low, high = float(areas.min()) * (1 - 2.4 * cov / 100), float(areas.max()) * (1 + 2.4 * cov / 100)
    grow = max(0.0, (_LEAST_SHARE * float(areas.mean()) - (high - low)) / 2)
    return low - grow, high + grow


def _band(run: Run, result: FollowUp, frame: _Frame) -> Polygon:
    """Between the fastest and the slowest healthy loss, widened by what measuring adds."""
    first, last = (result.visits[n - 1] for n in (run.first, run.last))
    start = run.rate.fitted_first_mm2 if run.rate else first.mean_csa_mm2
    fast, slow = healthy_rates(result.options.age_years)
    margin = 0.03 * max(result.visits[-1].years, 0.5)
    low_high = frame.y_range
    upper, lower = [], []
    for t in np.linspace(first.years - margin, last.years + margin, _STEPS):
        bottom, top = healthy_band(start, max(t - first.years, 0.0), (fast, slow), run.repeatability.cov_percent)
        upper.append(frame.place(t, min(top, low_high[1])))
        lower.append(frame.place(t, max(bottom, low_high[0])))
    return Polygon((*upper, *reversed(lower)), BAND)


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


def _fit(run: Run, result: FollowUp, frame: _Frame) -> list[Shape]:
    if run.rate is None:
        return []
    first, last = (result.visits[n - 1].years for n in (run.first, run.last))
    end = run.rate.fitted_first_mm2 + run.rate.slope_mm2_per_year * (last - first)
    return [Line((frame.place(first, run.rate.fitted_first_mm2), frame.place(last, end)), CURVE, 2.0)]


def _plotted_breaks(result: FollowUp, frame: _Frame) -> list[Shape]:
    shapes: list[Shape] = []
    for run in result.runs[1:]:
        before, after = result.visits[run.first - 2], result.visits[run.first - 1]
        middle = (before.years + after.years) / 2
        x, top = frame.place(middle, frame.y_range[1])
        bottom = frame.place(middle, frame.y_range[0])[1]
        kinds = dict.fromkeys(one.kind.replace("_", " ") for one in after.differences if one.breaks)
        shapes.append(Line(((x, top), (x, bottom)), BREAK, 2.0, dashed=True))
        for line, words in enumerate(f"other {kind}" for kind in kinds):
            shapes.append(Text(x + 4, top + _SIZE * (1 + 1.1 * line), words, 0.9 * _SIZE, BREAK))
    return shapes


def draw_profiles(result: FollowUp, width: float = 900, height: float = 280) -> Drawing:
    """Areas along the cord, one colour a visit, gaps left open, flagged slices as dots; what is compared is shaded."""
    positions = np.concatenate([one.position_mm for one in result.profiles])
    areas = np.concatenate([one.csa_mm2 for one in result.profiles])
    low, high = float(np.nanmin(areas)), float(np.nanmax(areas))
    margin = max(0.08 * (high - low), (20.0 - (high - low)) / 2)
    x_range = (float(positions.min()) - 2, float(positions.max()) + 2)
    frame = _Frame(x_range, (max(0.0, low - margin), high + margin), width, height)
    shapes: list[Shape] = []
    for low_mm, high_mm in result.shared.stretches_mm:
        (left, bottom), (right, top) = frame.place(low_mm, frame.y_range[0]), frame.place(high_mm, frame.y_range[1])
        shapes.append(Box(left, top, right, bottom, SHARED, "compared in all visits"))
    step = max(5.0, 5.0 * ceil((x_range[1] - x_range[0]) / 50))
    x_ticks = [step * n for n in range(ceil(x_range[0] / step), int(x_range[1] // step) + 1)]
    zero = result.alignment.zero if result.alignment.from_disc else "the shared place"  # the middle is a long sentence
    shapes += frame.axes(f"inferior ← mm along the cord from {zero} → superior", "area, mm²", x_ticks)
    for number, (profile, doubts) in enumerate(zip(result.profiles, result.doubts, strict=True)):
        colour = COLOURS[number % len(COLOURS)]
        piece: list[tuple[float, float]] = []
        for x, y, doubt in zip(profile.position_mm, profile.csa_mm2, doubts, strict=True):
            if not np.isfinite(y):
                shapes += [Line(tuple(piece), colour, 1.6)] if len(piece) > 1 else []
                piece = []
                continue
            piece.append(frame.place(x, y))
            if doubt:
                shapes.append(Dot(*piece[-1], 3.0, colour, f"visit {number + 1}: {', '.join(doubt)}"))
        shapes += [Line(tuple(piece), colour, 1.6)] if len(piece) > 1 else []
        label = (frame.edges[2] - 60.0 * (len(result.profiles) - number) + 8, frame.edges[1] + 4)
        shapes.append(Text(*label, f"visit {number + 1}", _SIZE, colour))
    return Drawing(width, height, tuple(shapes))


# follow_up.html: one page about a person's visits; what speaks against comparing them stands first.


_STYLE = """
.stop { border: 2px solid #b3261e; border-left-width: 8px; background: #fcebea; padding: .6rem 1rem; margin: 1rem 0;
  break-inside: avoid; } .stop h2 { color: #b3261e; margin-top: 0; } .stop ul { margin: .2rem 0; padding-left: 1.2rem; }
tr.break td { border-top: 3px solid #b3261e; }
"""

_CAUTION = (
    "MAGNIMS asks for extreme caution with areas of single patients. A change below the minimum detectable one is what"
    " repeated measurements of an unchanged cord show as well."
)


def follow_up_page(result: FollowUp, content: Mapping[str, Any]) -> str:
    """The page as HTML text; no script, no network. ``content``: of follow_up.json."""
    person = escape(result.person)
    parts = [
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Follow-up: {person}</title>',
        f'<meta name="viewport" content="width=device-width">\n<style>{STYLE}{_STYLE}</style>\n</head>\n<body>',
        f"<header><h1>Spinal cord over time: {person}</h1>"
        f"<span class='quiet small'>{_created(content)}</span></header>",
        "<p><span class='use'>Research use, not for diagnosis.</span></p>",
        _breaks(result),
        _figures(result),
        _doubts(result),
        _course(result),
        _visits(result),
        _profiles(result),
        _conditions(result),
        _method(result, content),
        f"<footer class='quiet small'>SpinalCordSeg {escape(str(content['software_version']))} · research use, not for"
        f" diagnosis. {_CAUTION}</footer>",
        "</body>\n</html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _created(content: Mapping[str, Any]) -> str:
    return escape(str(content["created"]).replace("T", " ").replace("+00:00", " UTC"))


def _breaks(result: FollowUp) -> str:
    lines = [
        f"<li><b>Between visit {visit.number - 1} and {visit.number}</b>: {escape(one.message)}</li>"
        for visit in result.visits
        for one in visit.differences
        if one.breaks
    ]
    if not lines:
        return ""
    return (
        "<div class='stop'><h2>Not comparable throughout</h2><ul>" + "".join(lines) + "</ul>"
        "<p>No yearly rate is given across these changes; each run of comparable visits has its own.</p></div>"
    )


def _figures(result: FollowUp) -> str:
    boxes = [_figure(run) for run in result.runs]
    shared = result.shared
    boxes.append(
        f"<div class='figure'>Compared stretch<b>{shared.length_mm:.1f} mm</b><span class='quiet small'>"
        f"{shared.low_mm:+.1f} to {shared.high_mm:+.1f} mm from {escape(result.alignment.zero)}; all visits cover it"
        "</span></div>"
    )
    return f"<div class='figures'>{''.join(boxes)}</div>"


def _figure(run: Run) -> str:
    which = f"visit {run.first}" if run.first == run.last else f"visits {run.first} to {run.last}"
    if run.rate is None:
        why = "a single visit has no rate" if run.first == run.last else "too close in time for a rate"
        return f"<div class='figure'>Yearly rate, {which}<b>–</b><span class='quiet small'>{why}</span></div>"
    rate = run.rate
    return (
        f"<div class='figure'>Yearly rate, {which}<b>{rate.percent_per_year:+.1f} %/year</b><span class='quiet small'>"
        f"95 % CI {rate.low:+.1f} to {rate.high:+.1f}</span><br><span class='use small'>{escape(rate.verdict)}"
        f" (±{rate.limit:.1f} %/year)</span></div>"
    )


def _doubts(result: FollowUp) -> str:
    told: dict[str, list[int]] = {}
    for visit in result.visits:
        for one in visit.differences:
            if not one.breaks:
                told.setdefault(one.message, []).append(visit.number)
    lines = [
        f"<li><b>Visit {', '.join(map(str, numbers))}</b>: {escape(message)}</li>" for message, numbers in told.items()
    ]
    lines += [f"<li>{escape(remark)}</li>" for remark in result.remarks]
    if not lines:
        return "<div class='clear'>Scanner, sequence, model and coverage are alike in all visits.</div>"
    return f"<h2>To be weighed</h2>\n<div class='doubts'><ul>{''.join(lines)}</ul></div>"


def _course(result: FollowUp) -> str:
    age = result.options.age_years
    whose = "any adult age" if age is None else "this age"
    return (
        "<h2>Mean area of the compared stretch</h2>\n"
        + to_svg(draw_course(result), "Mean cross-sectional area of each visit against the years since the first")
        + "\n<p class='quiet small'>Bars: ±1.96·CoV. Line: fitted over comparable visits. Green: where a healthy"
        f" cord of {whose} with the same first area would be measured, repeatability included. Orange: flagged slices"
        " among the compared ones. Red: the series is broken there.</p>"
    )


def _visits(result: FollowUp) -> str:
    dated = any(visit.date is not None for visit in result.visits)
    head = [
        "visit",
        *(["date"] if dated else []),
        "years",
        "area, mm²",
        "volume, mm³",
        "length, mm",
        "volume/length, mm²",
    ]
    head += ["change, %", "MDC95, %"]
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    firsts = {run.first for run in result.runs[1:]}
    lines = "\n".join(_visit_row(visit, result, dated, visit.number in firsts) for visit in result.visits)
    return (
        f"<h2>Visits</h2>\n<div class='scroll'><table><thead><tr>{titles}<th class='text'>against the first visit</th>"
        f"</tr></thead><tbody>\n{lines}\n</tbody></table></div>\n<p class='quiet small'>Area, volume and length are"
        " those of the compared stretch, which has one length in all visits by construction. The volume of all cord"
        " found follows coverage and is not compared.</p>"
    )


def _visit_row(visit: VisitOutcome, result: FollowUp, dated: bool, breaks: bool) -> str:
    cells = [str(visit.number), *([visit.date.isoformat() if visit.date else "–"] if dated else [])]
    cells += [f"{visit.years:.2f}", f"{visit.mean_csa_mm2:.1f}", f"{visit.volume_mm3:.0f}"]
    cells += [f"{result.shared.length_mm:.1f}", f"{visit.mean_csa_mm2:.1f}"]
    if visit.change is None or visit.change_by is None:
        cells += ["–", "–"]
        words = visit.no_change
    else:
        cells += [f"{visit.change.percent:+.1f}", f"{visit.change.mdc95_percent:.1f}"]
        words = f"{visit.change.verdict} ({visit.change_by.setting})"
    numbers = "".join(f"<td>{cell}</td>" for cell in cells)
    return f"<tr{' class=break' if breaks else ''}>{numbers}<td class='text'>{escape(words)}</td></tr>"


def _profiles(result: FollowUp) -> str:
    return (
        "<h2>Area along the cord</h2>\n"
        + to_svg(draw_profiles(result), "Cross-sectional area along the cord of every visit, laid over each other")
        + f"\n<p class='quiet small'>Grey: compared, in all visits alike. Zero: {escape(result.alignment.zero)}. Dots:"
        " flagged slices. Gaps stay open.</p>"
    )


_CONDITIONS = (
    ("scanner", "scanner"), ("field_strength", "field"), ("sequence", "sequence"), ("contrast_agent", "agent"),
    ("distortion_correction", "distortion correction"), ("voxel_mm", "voxel, mm"), ("made_by", "mask"),
    ("model", "model"), ("software", "software"),
)  # fmt: skip


def _conditions(result: FollowUp) -> str:
    titles = "".join(f"<th class='text'>{escape(title)}</th>" for _, title in _CONDITIONS)
    firsts = {run.first for run in result.runs[1:]}
    lines = []
    for visit in result.visits:
        words = [_words(getattr(visit.conditions, name)) for name, _ in _CONDITIONS]
        cells = "".join(f"<td class='text'>{escape(word)}</td>" for word in words)
        lines.append(f"<tr{' class=break' if visit.number in firsts else ''}><td>{visit.number}</td>{cells}</tr>")
    return (
        f"<h2>How the visits were made</h2>\n<div class='scroll'><table><thead><tr><th>visit</th>{titles}</tr></thead>"
        f"<tbody>\n{''.join(lines)}\n</tbody></table></div>"
    )


def _words(value: Any) -> str:
    if isinstance(value, tuple):
        return " × ".join(f"{mm:.3g}" for mm in value) or "not known"
    return str(value) or "not known"


_AREAS_FROM = {
    PROBABILITY: "from the network's probability, which knows of parts of pixels, before any doubtful outline was moved"
    " (csa_pv_mm2 of the slices), ",
    MASK: "from the masks, whole pixels, ",
}
_AREAS = (
    "in the slice, corrected for the tilt of the cord, which is taken from the slices within 15 mm so that it does not"
    " depend on how much of the cord was scanned; they may differ slightly from those of a visit's own report. The last"
    " slice of a mask that ends inside its volume is left out."
)


def _method(result: FollowUp, content: Mapping[str, Any]) -> str:
    entries = [("Laid over each other by", result.alignment.method), ("Areas", _AREAS_FROM[result.areas_from] + _AREAS)]
    entries += [(f"Result, {n}", run_sentence(run)) for n, run in enumerate(result.runs, 1)]
    for one in dict.fromkeys(run.repeatability for run in result.runs):
        entries.append((f"CoV, {one.setting}", f"{one.cov_percent:g} % ({one.source})"))
    entries += [
        ("Minimum detectable change", "two visits: MDC95 = 2.77·CoV; a rate: 1.96·CoV/√Σ(t−t̄)²"),
        ("Rate", "100·slope of the least-squares line / fitted area at the first visit of the run"),
        ("Healthy", str(content["healthy"]["source"])),
    ]
    body = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in entries)
    return f"<h2>How this was computed</h2>\n<dl>{body}</dl>"
