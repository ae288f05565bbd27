"""Filling the panel's small tables: rows of text, doubtful ones told apart by colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt

_DOUBT_RGB = (193, 80, 0)
_HEADING_PX, _ROW_PX, _MOST_ROWS = 28, 20, 6


def set_up_table(table: Any, titles: Sequence[str], widths: Sequence[int]) -> None:
    """Column headings; ``widths`` in pixels of all but the last, which takes the rest."""
    table.setColumnCount(len(titles))
    table.setHorizontalHeaderLabels(list(titles))
    table.verticalHeader().setVisible(False)
    table.verticalHeader().setDefaultSectionSize(_ROW_PX)
    table.horizontalHeader().setStretchLastSection(True)
    for column, width in enumerate(widths):
        table.setColumnWidth(column, width)


def show_rows(
    table: Any,
    rows: Sequence[Sequence[str]],
    *,
    doubtful: Sequence[bool] = (),
    tips: Sequence[str] = (),
    editable: int | None = None,
) -> None:
    """``tips``: of whole rows, else each cell tells its text. ``editable``: the one column that can be typed into."""
    table.blockSignals(True)
    table.setRowCount(len(rows))
    for number, cells in enumerate(rows):
        for column, text in enumerate(cells):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(tips[number] if tips else text)
            if doubtful and doubtful[number]:
                item.setForeground(qt.QBrush(qt.QColor(*_DOUBT_RGB)))
            if editable is not None and column != editable:
                item.setFlags(qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled)
            table.setItem(number, column, item)
    table.blockSignals(False)
    table.setFixedHeight(_HEADING_PX + _ROW_PX * min(max(len(rows), 1), _MOST_ROWS))
