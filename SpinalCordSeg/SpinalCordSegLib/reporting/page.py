"""report.html: one file a radiologist can read, print and pass on; pictures inside, no script, no network."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from SpinalCordSegLib.pipeline import CaseResult
from SpinalCordSegLib.reporting.area_plot import AreaPlot, AreaPoint
from SpinalCordSegLib.reporting.drawing import to_svg
from SpinalCordSegLib.reporting.level_section import level_section
from SpinalCordSegLib.reporting.report import slice_rows
from SpinalCordSegLib.reporting.review_section import review_line, state_span

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; color: #1d2733; background: #fff;
  max-width: 62rem; margin: 2rem auto; padding: 0 1.5rem; }
header { display: flex; justify-content: space-between; align-items: baseline; gap: 1rem; flex-wrap: wrap;
  border-bottom: 2px solid #1d2733; }
h1 { font-size: 1.55rem; margin: 0 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 1.8rem 0 .5rem; }
p { margin: .4rem 0; } .quiet { color: #5b6875; } .small { font-size: .86rem; }
.use { font-weight: 600; color: #8a3b00; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem; margin: 1.2rem 0; }
.figure { border: 1px solid #d5dbe1; border-radius: 6px; padding: .6rem .8rem; break-inside: avoid; }
.figure b { display: block; font-size: 1.5rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.doubts { border-left: 4px solid #d9730d; background: #fdf5ec; padding: .5rem 1rem; break-inside: avoid; }
.clear { border-left: 4px solid #4c8a5a; background: #f0f7f1; padding: .5rem 1rem; }
.doubts ul { margin: .2rem 0; padding-left: 1.2rem; }
img, svg { width: 100%; height: auto; display: block; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .86rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .22rem .55rem; border-bottom: 1px solid #e4e8ec; vertical-align: top; }
th { font-weight: 600; border-bottom: 1.5px solid #1d2733; }
td.text, th.text { text-align: left; } tr.doubt td { background: #fdf5ec; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: 0; font-size: .9rem; }
dt { color: #5b6875; } dd { margin: 0; overflow-wrap: anywhere; }
.review { margin: 1.4rem 0; } .blank { display: inline-block; width: 14rem; border-bottom: 1px solid #5b6875; }
.blank.short { width: 7rem; }
footer { margin-top: 2rem; border-top: 1px solid #d5dbe1; padding-top: .6rem; }
@media print {
  @page { size: A4; margin: 14mm 13mm; }
  body { margin: 0; padding: 0; max-width: none; font-size: 10pt; }
  .figures { grid-template-columns: repeat(4, 1fr); } .figure b { font-size: 13pt; }
  td, th { padding: .1rem .5rem; } dl { font-size: 9pt; } h2 { break-after: avoid; margin-top: 1.2rem; }
  tr { break-inside: avoid; } thead { display: table-header-group; }
  .montage { break-before: page; break-inside: avoid; } .montage img { max-height: 240mm; object-fit: contain; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""

_LONGEST_CARD_ENTRY = 600  # characters
_TABLE = (
    ("slice", "slice", "{}"), ("z_mm", "z, mm", "{:.1f}"), ("csa_mm2", "area, mm²", "{:.1f}"),
    ("csa_raw_mm2", "in slice, mm²", "{:.1f}"), ("csa_sct_mm2", "SCT area, mm²", "{:.1f}"),
    ("ap_ellipse_mm", "AP ellipse, mm", "{:.2f}"), ("ap_chord_mm", "AP chord, mm", "{:.2f}"),
    ("rl_mm", "RL, mm", "{:.2f}"), ("instance_number", "DICOM instance", "{}"),
)  # fmt: skip

_DEFINITIONS = (
    "Area: of the cord at a right angle to its own course (the slice’s area divided by √(1+x′²+y′²) of the"
    " centreline); “in slice” is without that correction, “SCT area” multiplies by the cosines of both angles as the"
    " Spinal Cord Toolbox does. AP and RL diameters: of the ellipse with the same second moments; AP chord: mean"
    " extent over the central 3 mm. Volume: voxels of the mask; length: along the centreline."
)


def page(result: CaseResult, content: Mapping[str, Any], montage_png: bytes | None) -> str:
    """The page as HTML text. ``content``: of report.json. ``montage_png``: None leaves the picture out, with a word."""
    case = escape(result.case_name)
    parts = [
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Spinal cord: {case}</title>',
        f'<meta name="viewport" content="width=device-width">\n<style>{STYLE}</style>\n</head>\n<body>',
        _header(case, content),
        _figures(content),
        _doubts(content),
        _plot(result),
        level_section(content),
        _making(content, result),
        review_line(content),
        _montage(montage_png),
        _slices(result),
        _footer(content),
        "</body>\n</html>\n",
    ]
    return "\n".join(part for part in parts if part)


def area_points(result: CaseResult) -> list[AreaPoint]:
    """The slices as points of an area plot, with their doubts."""
    nan = float("nan")
    points = []
    for row in slice_rows(result):
        area, raw = (nan if row[name] is None else row[name] for name in ("csa_mm2", "csa_raw_mm2"))
        points.append(AreaPoint(row["slice"], row["z_mm"], area, raw, tuple(row["flags"].split())))
    return points


def _header(case: str, content: Mapping[str, Any]) -> str:
    made = escape(str(content["created"]).replace("T", " ").replace("+00:00", " UTC"))
    return (
        f"<header><h1>Spinal cord: {case}</h1><span class='quiet small'>{made}</span></header>\n"
        f"<p><span class='use'>Research use, not for diagnosis.</span> {state_span(content)}</p>"
    )


def _figures(content: Mapping[str, Any]) -> str:
    whole = "whole cord found"
    where = "in the range asked for" if content["range"] else f"over the {whole}"
    counted = f"{content['n_slices']} slices, coverage {100 * content['coverage']:.0f} %"
    diameters = " × ".join(_value(content[name], "{:.1f}") for name in ("mean_ap_ellipse_mm", "mean_rl_mm")) + " mm"
    figures = [
        (
            _value(content["mean_csa_mm2"], "{:.1f} mm²"),
            "Mean cross-sectional area",
            f"{_spread(content)}{counted}, {where}",
        ),
        (_value(content["volume_mm3"], "{:.0f} mm³"), "Volume", whole),
        (_value(content["length_mm"], "{:.1f} mm"), "Length along the cord", whole),
        (diameters, "Diameters, AP × RL", "mean of the same slices as the area"),
    ]
    if "truth_volume_mm3" in content:
        error = _value(content["volume_error_percent"], "{:+.2f} %")
        figures.append(
            (error, "Volume error", f"against the true {content['truth_volume_mm3']:.0f} mm³ of the phantom")
        )
    boxes = (
        f"<div class='figure'>{escape(name)}<b>{escape(value)}</b>"
        f"<span class='quiet small'>{escape(remark)}</span></div>"
        for value, name, remark in figures
    )
    return f"<div class='figures'>{''.join(boxes)}</div>"


def _spread(content: Mapping[str, Any]) -> str:
    return "" if content["sd_csa_mm2"] is None else f"SD {content['sd_csa_mm2']:.1f} mm², "


def _doubts(content: Mapping[str, Any]) -> str:
    flags = content["flags"]
    if not flags:
        return "<div class='clear'>No flag was raised. Look at the pictures all the same.</div>"
    return (
        f"<h2>To be checked: {len(flags)} flag{'s' if len(flags) > 1 else ''}</h2>\n<div class='doubts'><ul>"
        + "".join(f"<li>{line}</li>" for line in _flag_lines(flags))
        + "</ul></div>"
    )


def _flag_lines(flags: Iterable[Mapping[str, Any]]) -> list[str]:
    """One line for each flag of the case, then one for each flagged slice with all that was said of it."""
    whole, slices = [], dict[int, list[str]]()
    for flag in flags:
        kind = escape(str(flag["kind"]).replace("_", " "))
        words = f"{escape(str(flag['message']))} <span class='quiet small'>({kind})</span>"
        if flag["slice"] is None:
            whole.append(words)
        else:
            slices.setdefault(flag["slice"], []).append(words)
    return whole + [f"<b>Slice {number}</b>: {'; '.join(words)}" for number, words in slices.items()]


def _plot(result: CaseResult) -> str:
    drawing = AreaPlot(area_points(result), result.measures.mean_csa_mm2, 900, 270).draw()
    return (
        "<h2>Area along the cord</h2>\n"
        + to_svg(drawing, "Cross-sectional area of the cord against the position along the slice normal")
        + "\n<p class='quiet small'>Dark: area at a right angle to the cord; light: area in the slice. Orange: flagged."
        " Grey band: no area there (a gap).</p>"
    )


def _montage(montage_png: bytes | None) -> str:
    if montage_png is None:
        return "<h2>Pictures</h2>\n<p class='quiet'>Left out: the package Pillow is not installed.</p>"
    data = base64.b64encode(montage_png).decode()
    return (
        "<section class='montage'><h2>Pictures</h2>\n"
        f"<img alt='Planes along the cord and axial slices with the outline of the mask' "
        f"src='data:image/png;base64,{data}'>\n"
        "<p class='quiet small'>Yellow: outline of the mask. The patient’s right is on the left of axial and coronal"
        " pictures. The sagittal and coronal planes follow the cord.</p></section>"
    )


def _slices(result: CaseResult) -> str:
    rows = slice_rows(result)
    if not rows:
        return ""
    columns = [c for c in _TABLE if any(row[c[0]] is not None for row in rows)]
    head = "".join(f"<th>{escape(title)}</th>" for _, title, _ in columns) + "<th class='text'>flags</th>"
    lines = []
    for row in rows:
        cells = "".join(f"<td>{_value(row[name], form)}</td>" for name, _, form in columns)
        flags = escape(row["flags"].replace(" ", ", ").replace("_", " "))
        lines.append(f"<tr{' class=doubt' if flags else ''}>{cells}<td class='text'>{flags}</td></tr>")
    return (
        "<h2>Slice by slice, from inferior to superior</h2>\n<div class='scroll'><table><thead><tr>"
        f"{head}</tr></thead><tbody>\n" + "\n".join(lines) + "\n</tbody></table></div>\n"
        f"<p class='quiet small'>{escape(_DEFINITIONS)}</p>"
    )


def _making(content: Mapping[str, Any], result: CaseResult) -> str:
    source = content["input"]
    entries = [
        (
            "Image",
            f"{_times(source['shape'])} voxels of {_times(source['spacing_mm'])} mm, axes {source['orientation']}",
        ),
        ("Scanner", _scanner(source.get("acquisition"))),
        ("Range measured", _range(content["range"])),
        ("Removed, filled", f"{content['removed_mm3']:g} mm³ and {content['filled_mm3']:g} mm³ before measuring"),
        ("Model", _model(content)),
        ("Licence of the model", result.model.licence if result.model else ""),
        *((f"Model: {name}", text) for name, text in _card(result)),
        ("Threshold", "" if content["threshold"] is None else f"{content['threshold']:g}"),
        ("Averaged along the cord", f"over an SD of {content['along_mm']:g} mm" if content.get("along_mm") else ""),
        ("Doubtful edges", _steadied(content.get("slices_steadied"))),
        ("Computed on", _computed_on(content)),
        ("Software", f"SpinalCordSeg {content['software_version']}"),
    ]
    body = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in entries if value)
    return f"<h2>How this was made</h2>\n<dl>{body}</dl>"


def _steadied(count: int | None) -> str:
    return "" if count is None else f"outline moved in {count} slices until the area follows the others'"


def _model(content: Mapping[str, Any]) -> str:
    model = content["model"]
    return f"{model['name']} {model['version']}, SHA-256 {str(model['sha256'])[:16]}…" if model else ""


def _card(result: CaseResult) -> list[tuple[str, str]]:
    """What a reader of one case wants of the model's card; lists of sources are for `spinalcordseg models`."""
    model = result.model
    if model is None:
        return []
    entries = [*list(model.provenance.items())[:8], *list(model.scores.items())[:8]]
    told = [(name.replace("_", " "), _flat(value)) for name, value in entries]
    return [(name, text) for name, text in told if len(text) <= _LONGEST_CARD_ENTRY]


def _flat(value: Any) -> str:
    """Nested card entries on one line."""
    if isinstance(value, dict):
        return "; ".join(f"{name.replace('_', ' ')}: {_flat(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(_flat(inner) for inner in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _scanner(acquisition: Mapping[str, Any] | None) -> str:
    if not acquisition:
        return ""
    field = acquisition["field_strength_t"]
    words = [
        acquisition["manufacturer"],
        acquisition["model"],
        f"{field:g} T" if field else "",
        acquisition["sequence"],
    ]
    times = (("TR", "repetition_time_ms", "ms"), ("TE", "echo_time_ms", "ms"), ("FA", "flip_angle_deg", "°"))
    words += [f"{name} {acquisition[key]:g} {unit}" for name, key, unit in times if acquisition[key] is not None]
    return ", ".join(word for word in words if word)


def _range(chosen: list[int] | None) -> str:
    return "" if chosen is None else f"slices {chosen[0]} to {chosen[1] - 1} of the image (asked for)"


def _footer(content: Mapping[str, Any]) -> str:
    return (
        f"<footer class='quiet small'>SpinalCordSeg {escape(str(content['software_version']))} · research use, not for"
        " diagnosis. The outline has to be looked at by a person before any number here is used.</footer>"
    )


def _times(values: Iterable[float]) -> str:
    return " × ".join(f"{value:g}" for value in values)


def _value(value: Any, form: str) -> str:
    return "–" if value is None else form.format(value)


def _computed_on(content: Mapping[str, Any]) -> str:
    if not content["device"]:
        return ""
    return ", ".join(filter(None, (content["device"], content.get("engine"), f"{content['seconds']:.1f} s")))
