"""The panel's table: a row per slice, superior at the top, flagged ones told apart; a click goes to the slice."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from SpinalCordSegNodes.results import Result
from SpinalCordSegNodes.tables import CSA, FLAGS, SLICE, read_column

_AP, _RL = "ap_ellipse_mm", "rl_mm"


class SliceTable:
    """Fills a QTableWidget from a result's slice table; ``clicked`` gets the index of the input's slice."""

    def __init__(self, table: Any, clicked: Callable[[int], None]) -> None:
        self._table, self._clicked = table, clicked
        self._slices: list[int] = []
        table.setColumnCount(4)
        table.setHorizontalHeaderLabels([_("Slice"), _("Area mm²"), _("AP × RL mm"), _("Flags")])
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setDefaultSectionSize(20)
        table.horizontalHeader().setStretchLastSection(True)
        for column, width in enumerate((44, 66, 84)):
            table.setColumnWidth(column, width)
        table.connect("cellClicked(int,int)", self._on_click)

    def show(self, result: Result | None, flagged_only: bool) -> None:
        rows, reasons = _rows(result, flagged_only), _reasons(result)
        self._slices = [row[0] for row in rows]
        self._table.setRowCount(len(rows))
        for number, (index, area, diameters, flags) in enumerate(rows):
            for column, text in enumerate((str(index), area, diameters, flags)):
                item = qt.QTableWidgetItem(text)
                if flags:
                    item.setForeground(qt.QBrush(qt.QColor(193, 80, 0)))
                    item.setToolTip(reasons.get(index, flags))  # the column is narrow
                self._table.setItem(number, column, item)

    def _on_click(self, row: int, _column: int) -> None:
        if 0 <= row < len(self._slices):
            self._clicked(self._slices[row])


def _rows(result: Result | None, flagged_only: bool) -> list[tuple[int, str, str, str]]:
    if result is None or result.slices is None:
        return []
    slices = read_column(result.slices, SLICE)
    missing = [math.nan] * len(slices)
    columns = [read_column(result.slices, name) or missing for name in (CSA, _AP, _RL)]
    flags = read_column(result.slices, FLAGS) or [""] * len(slices)
    rows = [_row(*cells) for cells in zip(slices, *columns, flags, strict=True)]
    return [row for row in reversed(rows) if row[3] or not flagged_only]


def _reasons(result: Result | None) -> dict[int, str]:
    """Slice → the messages of its flags, a line each."""
    reasons: dict[int, str] = {}
    for flag in [] if result is None else result.report_content().get("flags") or []:
        if flag.get("slice") is not None:
            earlier = reasons.get(int(flag["slice"]))
            message = str(flag.get("message") or "")
            reasons[int(flag["slice"])] = message if earlier is None else f"{earlier}\n{message}"
    return reasons


def _row(index: int, area: float, ap: float, rl: float, flags: str) -> tuple[int, str, str, str]:
    diameters = "–" if math.isnan(ap) or math.isnan(rl) else f"{ap:.1f} × {rl:.1f}"
    return int(index), "–" if math.isnan(area) else f"{area:.1f}", diameters, _words(flags.split())


def _words(kinds: Sequence[str]) -> str:
    return ", ".join(kind.replace("_", " ") for kind in kinds)
