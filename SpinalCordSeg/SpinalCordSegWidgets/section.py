"""What the sections of the panels share: their base class, selectors, tables, pictures, dialogs for files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import MissingPackageError
from SpinalCordSegLib.review import ACCEPTED, AI, CORRECTED, GIVEN, IN_REVIEW, REJECTED, TO_CORRECT

if TYPE_CHECKING:
    from SpinalCordSegWidgets.jobs import JobControl
    from SpinalCordSegWidgets.main_widget import Panel


class Section:
    """What lies below one heading (``button``) of the panel. ``current``: the current mask."""

    def __init__(self, panel: Panel, button: Any) -> None:
        self.panel, self.ui, self.current, self.button = panel, panel.ui, panel.current, button
        button.connect("contentsCollapsed(bool)", self.on_collapsed)

    def enter(self) -> None:
        """The user comes to the module."""

    def leave(self) -> None:
        """The user leaves the module, or Slicer ends."""

    def close(self) -> None:
        """The scene is being closed: let go of every node."""

    def forget(self) -> None:
        """The current mask changed: drop what was begun on the previous one."""

    def forget_person(self) -> None:
        """The current image changed, perhaps to another person's: drop what was typed for the previous one."""

    def changed(self) -> None:
        """The current mask is another one, was changed or measured, or a run begins or ends."""
        if not self.button.collapsed:
            self.refresh()

    def refresh(self) -> None:
        """Show the state as it is now; called while the section is open only."""

    def on_collapsed(self, collapsed: bool) -> None:
        """The user opens or closes the section."""
        if not collapsed:
            self.refresh()


OTHER_PATIENT = _(
    "The scene says that these are of different patients. If they are of one, put them under one patient in the module"
    " Data; else choose another one."
)


STATE_NAMES = {
    AI: _("not reviewed"),
    GIVEN: _("given"),
    IN_REVIEW: _("in review"),
    TO_CORRECT: _("to correct"),
    CORRECTED: _("corrected"),
    ACCEPTED: _("accepted"),
    REJECTED: _("rejected"),
}


class Choice:
    """The node that the user chose in a selector: no neighbour ever comes in its place.

    Slicer's selector moves on to another node when its own is removed or a scene is added, and says nothing when it
    changes between two nodes of one name. ``changed`` gets the node (None: none), at another one and at another name of
    it; the panel is asked to report one that was removed. ``tags``: of the scene's observers, removed by ``end``.
    """

    def __init__(self, panel: Panel, selector: Any, changed: Callable[[Any], None]) -> None:
        self._panel, self._selector, self._changed = panel, selector, changed
        self._node: Any = None
        self._name, self._is_held, self.is_lost = "", False, False
        selector.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)  # or a long name widens the panel
        for signal in ("currentNodeChanged(vtkMRMLNode*)", "nodeActivated(vtkMRMLNode*)"):
            selector.connect(signal, self._take)
        scene = slicer.mrmlScene
        # before the selector's own observer of removals (priority -10), and after that of imports (0)
        self.tags = [
            scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._on_removal),
            scene.AddObserver(scene.StartImportEvent, lambda *_: self._hold()),
            scene.AddObserver(scene.EndImportEvent, lambda *_: self._release(), -10.0),
        ]

    @property
    def node(self) -> Any:
        self._take(self._selector.currentNode())
        return self._node

    def set(self, node: Any) -> None:
        self._selector.setCurrentNode(node)
        setattr(self._panel.logic.getParameterNode(), self._selector.property("SlicerParameterName"), node)
        self._take(node)

    def end(self) -> None:
        for tag in self.tags:
            slicer.mrmlScene.RemoveObserver(tag)
        self.tags = []

    def _take(self, node: Any) -> None:
        name = "" if node is None else node.GetName()
        if not self._is_held and (node is not self._node or name != self._name):
            self.is_lost = self.is_lost and node is None
            self._node, self._name = node, name
            self._changed(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_removal(self, scene: Any, _event: str, node: Any) -> None:
        if node is self._node:
            name = self._name
            self.set(None)
            if not scene.IsClosing():
                self.is_lost = True
                self._panel.lost(name)

    def _hold(self) -> None:
        self._is_held = True

    def _release(self) -> None:
        self._is_held = False
        if self._node is not None:
            self.set(self._node)
        else:
            self._selector.setCurrentNode(None)


def short(name: str, most: int = 22) -> str:
    """Without the middle of a name of more than ``most`` letters: for a button, or the cell of a table."""
    half = most // 2
    return name if len(name) <= most else f"{name[:half]}…{name[1 - half :]}"


def on_click(ui: Any, **actions: Callable[[], Any]) -> None:
    """Button's name → what it does."""
    for name, action in actions.items():
        getattr(ui, name).connect("clicked()", action)


def fill_menu(button: Any, actions: Callable[[], Sequence[tuple[str, Callable[[], Any] | None]]]) -> None:
    """A button's menu, made anew each time it opens. ``actions``: title and what it does, None for a greyed one."""
    menu = qt.QMenu(button)

    def fill() -> None:
        menu.clear()
        for title, act in actions():
            action = menu.addAction(title)
            action.enabled = act is not None
            if act is not None:
                action.connect("triggered()", act)

    menu.connect("aboutToShow()", fill)
    button.setMenu(menu)


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


# Tables.


_FLAG_RGB = {1: (193, 80, 0), 2: (178, 34, 34)}
_FEWEST_ROWS, _MOST_ROWS = 3, 6  # that are shown at once, where there are more
_HEADING = "headingLines"


def set_up_table(table: Any, titles: Sequence[str]) -> None:
    """Column headings; every column as wide as its content, the last takes the rest."""
    table.setColumnCount(len(titles))
    table.setHorizontalHeaderLabels(list(titles))
    table.setProperty(_HEADING, 1 + max(title.count("\n") for title in titles))
    table.verticalHeader().setVisible(False)


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
    cell's is its text. ``editable``: the one column that can be typed into. ``most``: rows before the table scrolls."""
    table.blockSignals(True)
    table.verticalHeader().setDefaultSectionSize(_row_height(table))
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
    table.horizontalHeader().setStretchLastSection(False)
    table.resizeColumnsToContents()
    if rows:
        table.setColumnWidth(len(rows[0]) - 1, 1)  # stretching only widens
    table.horizontalHeader().setStretchLastSection(True)
    shown = (min(max(len(rows), 1), n) for n in (_FEWEST_ROWS, most))
    heights = [_row_height(table) * (int(table.property(_HEADING)) + n) + 8 for n in shown]
    table.setMinimumHeight(heights[0])
    table.setMaximumHeight(heights[1])
    table.setVisible(bool(rows))


def _row_height(table: Any) -> int:
    return int(table.fontMetrics().height()) + 6


# Pictures that the library draws.


class Picture(qt.QObject):
    """Follows the width of its label, ``height`` pixels high (None: as drawn).

    Drawing takes a tenth of a second: it is done once per change, and only while the label can be seen. Keep this
    object: it listens.
    """

    def __init__(self, label: Any, height: int = 0) -> None:
        qt.QObject.__init__(self)
        self._label, self._height = label, height
        self._draw: Callable[[int], Any] | None = None
        self._width = 0  # of what is drawn; 0: to be drawn anew
        self._picked: Callable[[int, int], None] | None = None
        self._soon = single_shot(0, self._paint, label)
        label.installEventFilter(self)

    def show(self, draw: Callable[[int, int], bytes], picked: Callable[[int, int], None] | None = None) -> None:
        """``draw``: gives a PNG of a width and a height. ``picked``: gets where the user clicks, of which width."""
        self._picked = picked
        self._show(lambda width: self._figure(draw, max(200, width)))

    def show_file(self, path: Path) -> None:
        pixmap = qt.QPixmap(str(path))
        self._show(lambda width: pixmap.scaledToWidth(max(80, width), qt.Qt.SmoothTransformation))

    def _show(self, draw: Callable[[int], Any]) -> None:
        self._draw, self._width = draw, 0
        self._soon.start()

    def eventFilter(self, _label: Any, event: Any) -> bool:
        if event.type() in (qt.QEvent.Resize, qt.QEvent.Show):
            self._soon.start()
        elif event.type() == qt.QEvent.MouseButtonRelease and self._picked is not None:
            self._picked(event.pos().x(), self._label.width)
        return False

    def _paint(self) -> None:
        if self._draw is None or not self._label.visible or self._label.width == self._width:
            return
        self._width = self._label.width
        drawn = self._draw(self._width)
        self._label.wordWrap = isinstance(drawn, str)
        if isinstance(drawn, str):
            self._label.setText(drawn)
        else:
            self._label.setPixmap(drawn)

    def _figure(self, draw: Callable[[int, int], bytes], width: int) -> Any:
        """A pixmap; a sentence where matplotlib, or its font, is missing."""
        try:
            png = draw(width, self._height)
        except MissingPackageError:
            return _("The figure needs the package matplotlib: install it at the top of this panel.")
        pixmap = qt.QPixmap()
        pixmap.loadFromData(png)
        return pixmap


# Dialogs for files: ``then`` gets what was chosen; it is not called when the user cancels.


def ask_folder(parent: Any, title: str, then: Callable[[Path], Any], folder: str = "") -> None:
    chosen = qt.QFileDialog.getExistingDirectory(parent, title, folder)
    if chosen:
        then(Path(chosen))
