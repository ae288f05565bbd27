"""A section of the panel, and what sections use alike: tables, tool tips with reasons, dialogs for files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer

if TYPE_CHECKING:
    from SpinalCordSegWidgets.main_widget import Panel


class Section:
    """``ui``: the section's widgets, ``ui.section`` the collapsible one. ``refresh`` is called at every change."""

    def __init__(self, ui: Any, panel: Panel) -> None:
        self.ui, self.panel = ui, panel
        panel.listen(self._on_change)
        ui.section.connect("contentsCollapsed(bool)", self._on_collapsed)

    @property
    def is_open(self) -> bool:
        return not self.ui.section.collapsed

    def enter(self) -> None:
        """The user comes to the module."""

    def leave(self) -> None:
        """The user leaves the module, or Slicer ends."""

    def close(self) -> None:
        """The scene is being closed: let go of every node."""

    def refresh(self) -> None:
        """Show the state as it is now; called while the section is open only."""

    def _on_change(self) -> None:
        if self.is_open:
            self.refresh()

    def _on_collapsed(self, collapsed: bool) -> None:
        if not collapsed:
            self.refresh()


def grey(widget: Any, reason: str, otherwise: str = "") -> None:
    """Enabled without a ``reason``; with one greyed, and the reason in its tool tip instead of ``otherwise``."""
    widget.enabled = not reason
    widget.toolTip = reason or otherwise


def in_scene(node: Any) -> bool:
    """Whether a node that was remembered is still there."""
    return node is not None and bool(slicer.mrmlScene.IsNodePresent(node))


_FLAGGED_RGB = (193, 80, 0)
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
    flagged: Sequence[bool] = (),
    tips: Sequence[str] = (),
    editable: int | None = None,
    most: int = _MOST_ROWS,
) -> None:
    """``flagged``: rows in another colour. ``tips``: of whole rows, else each cell's is its text. ``editable``: the one
    column that can be typed into. ``most``: rows before the table scrolls; 0 leaves its height as it is."""
    table.blockSignals(True)
    table.setRowCount(len(rows))
    for number, cells in enumerate(rows):
        for column, text in enumerate(cells):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(tips[number] if tips else text)
            if flagged and flagged[number]:
                item.setForeground(qt.QBrush(qt.QColor(*_FLAGGED_RGB)))
            if editable is not None and column != editable:
                item.setFlags(qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled)
            table.setItem(number, column, item)
    table.blockSignals(False)
    if most:
        table.setFixedHeight(_HEADING_PX + _ROW_PX * min(max(len(rows), 1), most))


def ask_folder(parent: Any, title: str) -> Path | None:
    return _path(qt.QFileDialog.getExistingDirectory(parent, title))


def ask_file(parent: Any, title: str, pattern: str = "*", folder: str = "") -> Path | None:
    return _path(qt.QFileDialog.getOpenFileName(parent, title, folder, pattern))


def ask_new_file(parent: Any, title: str, name: str, pattern: str) -> Path | None:
    """The dialog itself asks before an existing file is chosen."""
    return _path(qt.QFileDialog.getSaveFileName(parent, title, name, pattern))


def _path(chosen: Any) -> Path | None:
    """PythonQt gives a text, newer bindings a pair."""
    text = chosen[0] if isinstance(chosen, tuple) else chosen
    return Path(text) if text else None
