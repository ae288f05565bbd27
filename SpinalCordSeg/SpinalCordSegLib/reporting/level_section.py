"""The part of the report page about vertebral levels and, where asked for, healthy adults."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any


def level_section(content: Mapping[str, Any]) -> str:
    """HTML of the levels in a report.json's ``content``; "" where no disc was marked."""
    levels = content.get("levels")
    if not levels:
        return ""
    discs = ", ".join(disc["disc"] for disc in levels["discs"]) or "none that lies at the cord found"
    lines = [_row(row) for row in levels["levels"]]
    norm = levels["norm"]
    return (
        "<h2>Area by vertebral level</h2>\n<div class='scroll'><table><thead><tr><th class='text'>level</th>"
        "<th>mean area, mm²</th><th>SD, mm²</th><th>slices</th><th>length, mm</th><th>coverage</th>"
        "<th class='text'>how it was found</th></tr></thead><tbody>\n" + "\n".join(lines) + "\n</tbody></table></div>\n"
        f"<p class='quiet small'>Marked discs: {escape(discs)}. Vertebral levels along the cord’s centreline, not"
        " spinal ones; “approximate” and “fitted” rest on the lengths of the PAM50 template.</p>"
        + (f"\n<p>{escape(norm['text'])}.</p>" if norm else "")
    )


def _row(row: Mapping[str, Any]) -> str:
    numbers = (
        _number(row["mean_csa_mm2"], "{:.1f}"), _number(row["sd_csa_mm2"], "{:.1f}"), str(row["n_slices"]),
        _number(row["length_mm"], "{:.1f}"), f"{100 * row['coverage']:.0f} %",
    )  # fmt: skip
    cells = "".join(f"<td>{number}</td>" for number in numbers)
    how = escape(row["remark"] or ("around the marked disc" if row["basis"] == "disc" else "between marked discs"))
    doubt = " class=doubt" if row["coverage"] < 0.98 else ""
    return f"<tr{doubt}><td class='text'>{escape(row['name'])}</td>{cells}<td class='text'>{how}</td></tr>"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)
