"""The report of a case as an A4 PDF that can be searched and printed, laid out by reportlab.

Says what report.html says, from the same files. No patient data: the case goes by its code. Letters outside
Latin-1 become "?": the embedded font has no others.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from SpinalCordSegLib.errors import MissingPackageError
from SpinalCordSegLib.reporting.area_plot import AreaPlot, AreaPoint
from SpinalCordSegLib.reporting.pdf_drawing import BOLD, FONT, drawn, register_fonts
from SpinalCordSegLib.reporting.review_section import review_sentence, state_sentence

_MARGIN_MM, _WIDTH_MM, _HEIGHT_MM = 15.0, 180.0, 267.0
_INK, _QUIET, _DOUBT, _FAINT, _PALE = "#1d2733", "#5b6875", "#8a3b00", "#d5dbe1", "#fdf5ec"
_REPLACED = str.maketrans(
    {"–": "-", "—": "-", "→": ">", "←": "<", "…": "...", "’": "'", "“": '"', "”": '"', "•": "·", "≥": ">=", "≤": "<="}
)
_COLUMNS = (
    ("slice", "slice", "{:.0f}"), ("z_mm", "z, mm", "{:.1f}"), ("csa_mm2", "area, mm²", "{:.1f}"),
    ("csa_raw_mm2", "in slice, mm²", "{:.1f}"), ("ap_ellipse_mm", "AP, mm", "{:.2f}"), ("rl_mm", "RL, mm", "{:.2f}"),
    ("instance_number", "instance", "{:.0f}"),
)  # fmt: skip
_DEFINITIONS = (
    "Area: at a right angle to the course of the cord; “in slice” is without that correction. AP and RL: diameters of"
    " the ellipse with the same second moments. Volume: voxels of the mask; length: along the centreline."
)


def report_pdf(content: Mapping[str, Any], slices: Sequence[Mapping[str, str]], picture: bytes | None) -> bytes:
    """The PDF file. ``content``: of report.json; ``slices``: rows of slices.csv, "" where there is no answer;
    ``picture``: the montage as PNG, or None. Raises MissingPackageError without reportlab."""
    try:
        from reportlab.lib.units import mm
        from reportlab.platypus import SimpleDocTemplate
    except ImportError as error:
        raise MissingPackageError("the report as PDF needs the package reportlab: pip install reportlab") from error
    register_fonts()
    buffer = io.BytesIO()
    document = SimpleDocTemplate(
        buffer, pagesize=((_WIDTH_MM + 2 * _MARGIN_MM) * mm, (_HEIGHT_MM + 2 * _MARGIN_MM) * mm),
        leftMargin=_MARGIN_MM * mm, rightMargin=_MARGIN_MM * mm,
        topMargin=_MARGIN_MM * mm, bottomMargin=_MARGIN_MM * mm + 8,
        title=f"Spinal cord: {_plain(content['case'])}", author="SpinalCordSeg",
        subject="Research use, not for diagnosis",
    )  # fmt: skip
    story = [
        *_head(content),
        *_doubts(content),
        *_plot(content, slices),
        *_levels(content),
        *_making(content),
        *_review(content),
    ]
    story += [*_montage(picture), *_table(slices)]

    def foot(canvas: Any, page: Any) -> None:
        canvas.setFont(FONT, 7.5)
        canvas.setFillColor(_QUIET)
        words = f"SpinalCordSeg {content['software_version']} · research use, not for diagnosis"
        canvas.drawString((_MARGIN_MM + 2) * mm, 9 * mm, words)
        canvas.drawRightString(
            (_MARGIN_MM + _WIDTH_MM - 2) * mm, 9 * mm, f"{_plain(content['case'])} · page {page.page}"
        )

    document.build(story, onFirstPage=foot, onLaterPages=foot)
    return buffer.getvalue()


def _head(content: Mapping[str, Any]) -> list[Any]:
    made = str(content["created"]).replace("T", " ").replace("+00:00", " UTC")
    state = state_sentence(content)
    return [
        _words(f"Spinal cord: {content['case']}", 16, bold=True, after=3),
        _words(f"<b>Research use, not for diagnosis.</b> {escape(state)}. {escape(made)}", 9, _DOUBT, markup=True),
        _figures(content),
    ]


def _figures(content: Mapping[str, Any]) -> Any:
    where = "in the range asked for" if content["range"] else "over the whole cord found"
    spread = "" if content["sd_csa_mm2"] is None else f"SD {content['sd_csa_mm2']:.1f} mm², "
    diameters = " × ".join(_number(content[name], "{:.1f}") for name in ("mean_ap_ellipse_mm", "mean_rl_mm"))
    remark = f"{spread}{content['n_slices']} slices, coverage {100 * content['coverage']:.0f} %, {where}"
    boxes = (
        ("Mean cross-sectional area", _number(content["mean_csa_mm2"], "{:.1f} mm²"), remark),
        ("Volume", _number(content["volume_mm3"], "{:.0f} mm³"), "whole cord found"),
        ("Length along the cord", _number(content["length_mm"], "{:.1f} mm"), "whole cord found"),
        ("Diameters, AP × RL", f"{diameters} mm", "mean of the same slices as the area"),
    )
    cells = [
        [_words(name, 8), _words(value, 14, bold=True, after=2), _words(remark, 7.5, _QUIET)]
        for name, value, remark in boxes
    ]
    style = [("BOX", (column, 0), (column, 0), 0.5, _FAINT) for column in range(4)] + [
        ("VALIGN", (0, 0), (-1, -1), "TOP")
    ]
    return _grid([cells], [45.0] * 4, style, before=8)


def _doubts(content: Mapping[str, Any]) -> list[Any]:
    flags = content["flags"]
    if not flags:
        return [_words("No flag was raised. Look at the pictures all the same.", 9, before=8)]
    lines = [str(flag["message"]) for flag in flags if flag["slice"] is None]
    by_slice: dict[int, list[str]] = {}
    for flag in flags:
        if flag["slice"] is not None:
            by_slice.setdefault(flag["slice"], []).append(str(flag["message"]))
    lines += [f"Slice {number}: {'; '.join(messages)}" for number, messages in by_slice.items()]
    title = f"To be checked: {len(flags)} flag{'s' if len(flags) > 1 else ''}"
    return [_title(title), *(_words(f"• {line}", 8.5, after=1, shaded=True) for line in lines)]


def _plot(content: Mapping[str, Any], slices: Sequence[Mapping[str, str]]) -> list[Any]:
    points = [
        AreaPoint(
            int(row["slice"]), float(row["z_mm"]), _float(row["csa_mm2"]), _float(row["csa_raw_mm2"]),
            tuple(row["flags"].split()),
        )
        for row in slices
    ]  # fmt: skip
    mean = content["mean_csa_mm2"]
    drawing = AreaPlot(points, _float(mean), 900, 270, text_size=15).draw()
    legend = "Dark: area at a right angle to the cord; light: in the slice. Orange: flagged. Grey band: a gap."
    return [_title("Area along the cord"), drawn(drawing, _WIDTH_MM), _words(legend, 7.5, _QUIET)]


def _levels(content: Mapping[str, Any]) -> list[Any]:
    """Mean areas by vertebral level; nothing where no disc was marked."""
    levels = content.get("levels")
    if not levels:
        return []
    rows = [
        [_words(title, 7.5, bold=True) for title in ("level", "mean area, mm²", "SD, mm²", "slices", "coverage", "")]
    ]
    for row in levels["levels"]:
        numbers = (_number(row["mean_csa_mm2"], "{:.1f}"), _number(row["sd_csa_mm2"], "{:.1f}"), row["n_slices"])
        cells = (row["name"], *numbers, f"{100 * row['coverage']:.0f} %", row["remark"] or "")
        rows.append([_words(cell, 7.5) for cell in cells])
    table = _grid(rows, [20.0, 27.0, 20.0, 18.0, 20.0, 75.0], [("LINEBELOW", (0, 0), (-1, -1), 0.3, _FAINT)])
    norm = levels.get("norm")
    return [_title("Area by vertebral level"), table, *([_words(f"{norm['text']}.", 8, before=3)] if norm else [])]


def _making(content: Mapping[str, Any]) -> list[Any]:
    source, model = content["input"], content["model"] or {}
    acquisition = source.get("acquisition") or {}
    field = acquisition.get("field_strength_t")
    scanner = [acquisition.get("manufacturer"), acquisition.get("model"), f"{field:g} T" if field else "",
               acquisition.get("sequence")]  # fmt: skip
    chosen = content["range"]
    entries = (
        (
            "Image",
            f"{_times(source['shape'])} voxels of {_times(source['spacing_mm'])} mm, axes {source['orientation']}",
        ),
        ("Scanner", ", ".join(str(word) for word in scanner if word)),
        ("Range measured", f"slices {chosen[0]} to {chosen[1] - 1} of the image" if chosen else ""),
        ("Removed, filled", f"{content['removed_mm3']:g} mm³ and {content['filled_mm3']:g} mm³ before measuring"),
        ("Model", f"{model['name']} {model['version']}, SHA-256 {str(model['sha256'])[:16]}" if model else ""),
        ("Software", f"SpinalCordSeg {content['software_version']}"),
    )
    rows = [[_words(name, 8, _QUIET), _words(value, 8)] for name, value in entries if value]
    return [_title("How this was made"), _grid(rows, [32.0, _WIDTH_MM - 32.0], [("VALIGN", (0, 0), (-1, -1), "TOP")])]


def _review(content: Mapping[str, Any]) -> list[Any]:
    decided = review_sentence(content)
    if decided:
        return [_words(decided, 9, bold=True, before=12)]
    line = "_" * 32
    return [_words(f"Reviewed by {line} on {line[:16]}   [  ] accepted   [  ] rejected", 9, before=12)]


def _montage(picture: bytes | None) -> list[Any]:
    from reportlab.lib.units import mm
    from reportlab.lib.utils import ImageReader
    from reportlab.platypus import Image, PageBreak

    if picture is None:
        return []
    width, height = ImageReader(io.BytesIO(picture)).getSize()
    scale = min(_WIDTH_MM * mm / width, (_HEIGHT_MM - 22) * mm / height)
    shown = Image(io.BytesIO(picture), width * scale, height * scale)
    legend = "Yellow: outline of the mask. The patient’s right is on the left of axial and coronal pictures."
    return [PageBreak(), _title("Pictures"), shown, _words(legend, 7.5, _QUIET)]


def _table(slices: Sequence[Mapping[str, str]]) -> list[Any]:
    from reportlab.platypus import PageBreak

    columns = [column for column in _COLUMNS if any(row.get(column[0]) for row in slices)]
    if not columns:
        return []
    head = [_words(title, 7.5, bold=True) for _, title, _ in columns] + [_words("flags", 7.5, bold=True)]
    rows: list[list[Any]] = [head]
    style: list[tuple] = [("LINEBELOW", (0, 0), (-1, -1), 0.3, _FAINT), ("VALIGN", (0, 0), (-1, -1), "TOP")]
    for number, row in enumerate(slices, 1):
        flags = row["flags"].replace(" ", ", ").replace("_", " ")
        cells = [_cell(row.get(name, ""), form) for name, _, form in columns]
        rows.append([*(_words(cell, 7.5) for cell in cells), _words(flags, 7.5, _DOUBT)])
        if flags:
            style.append(("BACKGROUND", (0, number), (-1, number), _PALE))
    widths = [20.0] * len(columns)
    table = _grid(rows, [*widths, _WIDTH_MM - sum(widths)], style, repeated=1)
    title = _title("Slice by slice, from inferior to superior")
    return [PageBreak(), title, table, _words(_DEFINITIONS, 7.5, _QUIET, before=4)]


def _words(
    text: str, size: float, colour: str = _INK, *, bold: bool = False, markup: bool = False, shaded: bool = False,
    before: float = 0.0, after: float = 0.0,
) -> Any:  # fmt: skip
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.platypus import Paragraph

    style = ParagraphStyle(
        "words", fontName=BOLD if bold else FONT, fontSize=size, leading=1.3 * size, textColor=colour,
        spaceBefore=before, spaceAfter=after, backColor=_PALE if shaded else None,
    )  # fmt: skip
    return Paragraph(_plain(text) if markup else escape(_plain(text)), style)


def _title(text: str) -> Any:
    words = _words(text, 11, bold=True, before=10, after=4)
    words.keepWithNext = True
    return words


def _grid(
    rows: list[list[Any]], widths_mm: list[float], style: list[tuple], *, before: float = 0.0, repeated: int = 0
) -> Any:
    from reportlab.lib.units import mm
    from reportlab.platypus import Table

    narrow = [("TOPPADDING", (0, 0), (-1, -1), 2), ("BOTTOMPADDING", (0, 0), (-1, -1), 2)]
    table = Table(rows, [width * mm for width in widths_mm], repeatRows=repeated, spaceBefore=before, hAlign="LEFT")
    table.setStyle([*narrow, *style])
    return table


def _plain(text: Any) -> str:
    return str(text).translate(_REPLACED).encode("latin-1", "replace").decode("latin-1")


def _number(value: Any, form: str) -> str:
    return "-" if value is None else form.format(value)


def _cell(text: str, form: str) -> str:
    return form.format(float(text)) if text else "-"


def _float(value: Any) -> float:
    return float("nan") if value in (None, "") else float(value)


def _times(values: Sequence[float]) -> str:
    return " × ".join(f"{value:.4g}" for value in values)
