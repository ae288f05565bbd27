"""follow_up.html: one page about a person's visits; what speaks against comparing them stands first."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from SpinalCordSegLib.longitudinal.follow_up import MASK, PROBABILITY, FollowUp, Run, VisitOutcome
from SpinalCordSegLib.longitudinal.follow_up_plot import draw_course, draw_profiles
from SpinalCordSegLib.longitudinal.follow_up_report import run_sentence
from SpinalCordSegLib.reporting.drawing import to_svg
from SpinalCordSegLib.reporting.page import STYLE

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
