"""A section of the panel, and what sections share: wiring, reasons in tool tips, tables, dialogs for files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer

if TYPE_CHECKING:
    from SpinalCordSegWidgets.jobs import JobControl
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


def on_click(ui: Any, **actions: Callable[[], Any]) -> None:
    """Button's name → what it does."""
    for name, action in actions.items():
        getattr(ui, name).connect("clicked()", action)


def single_shot(milliseconds: int, action: Callable[[], None], owner: Any = None) -> Any:
    """A timer; every ``start`` begins the waiting anew. ``owner``: the widget that it goes with."""
    timer = qt.QTimer(owner)
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.connect("timeout()", action)
    return timer


def show_text(label: Any, text: str) -> None:
    """A label that is hidden while it has nothing to show."""
    label.setText(text)
    label.setVisible(bool(text))


def show_run(ui: Any, control: JobControl, text: str) -> None:
    """Status line, progress and, of a failed run, the button for its report."""
    show_text(ui.statusLabel, text)
    ui.progressBar.setVisible(control.running)
    if control.running:
        ui.progressBar.setRange(0, control.progress.of)  # 0 to 0 is Qt's "busy"
        ui.progressBar.setValue(control.progress.done)
    ui.copyReportButton.setVisible(not control.running and control.failure is not None)


def copy_report(control: JobControl) -> None:
    """To the clipboard, what happened in the run that failed."""
    if control.failure is not None:
        qt.QApplication.clipboard().setText(control.failure.report)


_TIP = "ownToolTip"


def grey(widget: Any, reason: str) -> None:
    """Enabled without a ``reason``; with one greyed, and the reason in place of its own tool tip (of the .ui)."""
    if widget.property(_TIP) is None:
        widget.setProperty(_TIP, widget.toolTip)
    widget.enabled = not reason
    widget.toolTip = reason or widget.property(_TIP)


def in_scene(node: Any) -> bool:
    """Whether a node that was remembered is still there."""
    return node is not None and bool(slicer.mrmlScene.IsNodePresent(node))


def show_in_views(chart: Any, table: Any) -> None:
    """A plot and a table of the scene, in Slicer's own views."""
    slicer.modules.plots.logic().ShowChartInLayout(chart)
    logic = slicer.app.applicationLogic()
    logic.GetSelectionNode().SetActiveTableID(table.GetID())
    logic.PropagateTableSelection()


_FLAG_RGB = {1: (193, 80, 0), 2: (178, 34, 34)}
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
    flagged: Sequence[int] = (),
    tips: Sequence[str] = (),
    editable: int | None = None,
    most: int = _MOST_ROWS,
) -> None:
    """``flagged``: rows in another colour, 1 (True) for a remark, 2 for a refusal. ``tips``: of whole rows, else each
    cell's is its text. ``editable``: the one column that can be typed into. ``most``: rows before the table scrolls; 0
    leaves its height as it is."""
    table.blockSignals(True)
    table.setRowCount(len(rows))
    for number, cells in enumerate(rows):
        for column, text in enumerate(cells):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(tips[number] if tips else text)
            if flagged and flagged[number]:
                item.setForeground(qt.QBrush(qt.QColor(*_FLAG_RGB[flagged[number]])))
            if editable is not None and column != editable:
                item.setFlags(qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled)
            table.setItem(number, column, item)
    table.blockSignals(False)
    if most:
        table.setFixedHeight(_HEADING_PX + _ROW_PX * min(max(len(rows), 1), most))


# Dialogs for files: ``then`` gets what was chosen; it is not called when the user cancels.


def ask_folder(parent: Any, title: str, then: Callable[[Path], Any], folder: str = "") -> None:
    _give(qt.QFileDialog.getExistingDirectory(parent, title, folder), then)


def ask_file(parent: Any, title: str, then: Callable[[Path], Any], pattern: str = "*", folder: str = "") -> None:
    _give(qt.QFileDialog.getOpenFileName(parent, title, folder, pattern), then)


def ask_new_file(parent: Any, title: str, name: str, then: Callable[[Path], Any]) -> None:
    """``name``: suggested; its suffix is kept. The dialog asks before an existing file is chosen."""
    suffix = name[name.index(".") :]
    chosen = qt.QFileDialog.getSaveFileName(parent, title, name, f"*{suffix}")
    _give(chosen, lambda path: then(path if path.name.endswith(suffix) else path.with_name(path.name + suffix)))


def _give(chosen: Any, then: Callable[[Path], Any]) -> None:
    """PythonQt gives a text, newer bindings a pair."""
    text = chosen[0] if isinstance(chosen, tuple) else chosen
    if text:
        then(Path(text))
