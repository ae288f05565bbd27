"""What every further section can do; each overrides what it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import GeometryError, SpinalCordSegError
from SpinalCordSegNodes.editing import CurrentMask
from SpinalCordSegNodes.results import LiveTables, Result, is_measured, result_of
from SpinalCordSegNodes.segmentations import CroppedMask, cord_segment_id, mark_corrected, volume_node_of
from SpinalCordSegWidgets.process import CommandRun

if TYPE_CHECKING:
    from SpinalCordSegLib.metrics import MaskChanges


# Filling the panel's small tables: rows of text, doubtful ones told apart by colour.


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


# Asking for files and folders: PythonQt gives a text, newer bindings a pair.


def ask_folder(parent: Any, title: str) -> Path | None:
    return _path(qt.QFileDialog.getExistingDirectory(parent, title))


def ask_file(parent: Any, title: str, pattern: str = "*") -> Path | None:
    return _path(qt.QFileDialog.getOpenFileName(parent, title, "", pattern))


def ask_new_file(parent: Any, title: str, name: str, pattern: str) -> Path | None:
    """The dialog itself asks before an existing file is chosen."""
    return _path(qt.QFileDialog.getSaveFileName(parent, title, name, pattern))


def _path(chosen: Any) -> Path | None:
    text = chosen[0] if isinstance(chosen, tuple) else chosen
    return Path(text) if text else None


# One sentence for a report, with numbers, units and limits. No Qt.


def report_sentence(report: Mapping[str, Any], edited: bool = False) -> str:
    """``report``: the content of report.json. ``edited``: the mask was changed since these measures were taken."""
    if not report.get("n_slices"):
        found = _("No spinal cord was found")
    else:
        found = _("Spinal cord volume {volume}, over a length of {length} ({n} slices), mean area {area}").format(
            volume=_quantity(report.get("volume_mm3"), "mm³", 0),
            length=_quantity(report.get("length_mm"), "mm", 1),
            n=report["n_slices"],
            area=_area(report),
        )
    flagged = len({flag.get("slice") for flag in report.get("flags") or () if flag.get("slice") is not None})
    review = _("1 slice flagged for review") if flagged == 1 else _("{n} slices flagged for review").format(n=flagged)
    parts = [found, review, _maker(report)]
    if edited:
        parts.append(_("the mask was corrected by hand after these numbers were taken"))
    limits = _("volume depends on the coverage of the image")
    return "; ".join([*parts, limits]) + ". " + _("Research use, not for diagnosis.")


def _area(report: Mapping[str, Any]) -> str:
    spread = report.get("sd_csa_mm2")
    mean = _quantity(report.get("mean_csa_mm2"), "mm²", 1)
    return mean if spread is None or report.get("mean_csa_mm2") is None else mean.replace(" ", f" ± {spread:.1f} ", 1)


def _maker(report: Mapping[str, Any]) -> str:
    version = report.get("software_version") or ""
    model = report.get("model")
    if not model:
        return _("mask drawn or made elsewhere, measured with SpinalCordSeg {version}").format(version=version)
    words = _("found automatically by SpinalCordSeg {version} with model {model} {model_version}")
    return words.format(version=version, model=model.get("name"), model_version=model.get("version"))


def _quantity(value: float | None, unit: str, decimals: int) -> str:
    return _("not reported") if value is None else f"{value:.{decimals}f} {unit}"


# The numbers of the mask in hand while it is edited: they follow the brush until it is measured in full again.


class LiveNumbers:
    """``look`` at every change; then ``words`` for the user ("" for none), ``stale``: not the mask that was measured,
    ``edited``: not the mask that the AI drew, ``changes``: against the AI's own, None where there is none."""

    def __init__(self) -> None:
        self.current = CurrentMask()
        self.words = ""
        self.stale = self.edited = False
        self.changes: MaskChanges | None = None
        self._tables = LiveTables()
        self._report: Mapping[str, Any] | None = None
        self._measured: CroppedMask | None = None

    def look(self, segmentation: Any, segment_id: str, result: Result | None) -> None:
        """Bring everything up to date with the mask as it is now; the result's tables follow it."""
        self.words, self.stale, self.edited, self.changes, self._report = "", False, False, None, None
        if segmentation is None or not segment_id:
            self.forget()
            return
        if result is None:  # what was never measured has no numbers to follow
            return
        try:
            self.current.look(segmentation, segment_id)
        except GeometryError as error:
            self.words = str(error)
            return
        self.changes = self.current.changes()
        self.edited = bool(self.changes.slices) if self.changes is not None else _edited(segmentation, segment_id)
        if self.edited:
            mark_corrected(segmentation, segment_id)
        self.stale = not is_measured(result, self.current.digest)
        measures = self.current.measures()
        if self.stale and measures is not None:
            self._report = self._tables.show(result, measures, self._edited_slices())
        else:
            self._measured = self.current.mask
            self._tables.restore(result)
        self.words = self._words()

    def _edited_slices(self) -> frozenset[int]:
        """Those that differ from what was measured in full; where that is not known, from what the AI drew."""
        now, measured = self.current.mask, self._measured
        if now is not None and measured is not None and now.grid_shape == measured.grid_shape:
            return now.slices_apart(measured)
        return frozenset() if self.changes is None else frozenset(one.slice for one in self.changes.slices)

    def report(self, result: Result) -> Mapping[str, Any]:
        """The report's content with the numbers as they are now."""
        return result.report_content() if self._report is None else self._report

    def forget(self) -> None:
        """Another mask is taken in hand, or none: the tables hold what was measured."""
        self.current.forget()
        self._tables.restore()
        self._report = self._measured = None

    def _words(self) -> str:
        changes = self.changes
        if not self.edited or changes is None:
            words = _("Changed since it was measured: the numbers follow. Measure it again for all.")
            return words if self.stale else ""
        words = _("Corrected by hand: {added:.0f} mm³ added, {removed:.0f} mm³ removed against the AI.").format(
            added=changes.added_mm3, removed=changes.removed_mm3
        )
        return words + " " + _("The numbers follow; measure it again for the full report.") if self.stale else words


def _edited(segmentation: Any, segment_id: str) -> bool:
    """By the fingerprint in the segment's tag, where the AI's own copy was deleted."""
    from SpinalCordSegNodes.editing import edits_since_run  # scipy: not when the panel opens

    if segment_id != cord_segment_id(segmentation):
        return False
    edits = edits_since_run(segmentation)
    return edits is not None and edits.edited


# What the panel's further sections share: the mask in hand, one run at a time, one line to the user.


_SHOWN_MS = 8000


class Desk:
    """A thin view on the panel: sections know this and not each other. ``panel``: the module's Panel."""

    def __init__(self, panel: Any) -> None:
        self._panel = panel
        self._listeners: list[Callable[[], None]] = []

    @property
    def segmentation(self) -> Any:
        return self._panel.measures.segmentation

    @property
    def segment_id(self) -> str:
        return str(self._panel.measures.segment_id)

    @property
    def volume(self) -> Any:
        """The image behind the mask in hand; None where there is none."""
        return None if self.segmentation is None else volume_node_of(self.segmentation)

    @property
    def result(self) -> Result | None:
        return result_of(self.segmentation)

    @property
    def live(self) -> LiveNumbers:
        """The mask in hand as it is now."""
        live: LiveNumbers = self._panel.measures.live
        return live

    @property
    def reviewer(self) -> str:
        """Who works here; "" until somebody said."""
        return str(self._panel.reviewer())

    @property
    def logic(self) -> Any:
        return self._panel.logic

    @property
    def model(self) -> Any:
        """The chosen model's file, and None without one."""
        return self._panel.models.path

    @property
    def device(self) -> str:
        return str(self._panel.applying.devices.name)

    @property
    def busy(self) -> bool:
        return bool(self._panel.control.running)

    def tell(self, text: str) -> None:
        """In the panel's status line, and in Slicer's: whoever works in a section below does not see the first."""
        self._panel.applying.tell(text)
        slicer.util.showStatusMessage(text, _SHOWN_MS)

    def show(self, segmentation: Any) -> None:
        """Take another mask in hand."""
        self._panel.show_mask(segmentation)

    def take_volume(self, volume: Any) -> None:
        """What Apply works on; None: nothing, until a volume is chosen."""
        self._panel.show_volume(volume)

    def go_to_slice(self, index: int) -> None:
        self._panel.measures.go_to_slice(index)

    def start(self, make: Callable[[], CommandRun[Any]], on_result: Callable[[Any], None]) -> None:
        """Begin a run in a child process; ``on_result`` gets what it gave. What is wrong is told."""
        self._panel.start(make, on_result)

    def measure(self, then: Callable[[], None] | None = None) -> None:
        """Measure the mask in hand in full; ``then`` is called when that has been done."""
        self._panel.measure(then)

    def listen(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` when the mask in hand is another one, was measured, or a run begins or ends."""
        self._listeners.append(changed)

    def changed(self) -> None:
        for listener in self._listeners:
            listener()

    def why_no_mask(self) -> str:
        """The reason why nothing can be done with a mask; "" when there is one and no run goes on."""
        if self.segmentation is None:
            return _("Choose a mask first (section Measures).")
        if not self.segment_id:
            return _("The chosen segmentation has no segment.")
        if self.busy:
            return _("Wait until the run has ended, or cancel it.")
        return ""

    def why_no_network(self) -> str:
        """The reason why no network can run here; "" when one can."""
        dependencies = self._panel.applying.dependencies
        return "" if dependencies.ready else str(dependencies.message)

    def attempt(self, work: Callable[[], None]) -> bool:
        """Do something that may be refused; the reason is told. True when it was done."""
        try:
            work()
        except SpinalCordSegError as error:
            self.tell(str(error))
            return False
        return True


def in_scene(node: Any) -> bool:
    """Whether a node that was remembered is still there."""
    return node is not None and bool(slicer.mrmlScene.IsNodePresent(node))


class Section:
    """``ui``: the section's widgets, ``ui.section`` the collapsible one. ``refresh`` is called at every change."""

    def __init__(self, ui: Any, desk: Desk) -> None:
        self.ui, self.desk = ui, desk
        desk.listen(self._on_change)
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

    def opened(self) -> None:
        """The section was opened."""

    def _on_change(self) -> None:
        if self.is_open:
            self.refresh()

    def _on_collapsed(self, collapsed: bool) -> None:
        if not collapsed:
            self.opened()
            self.refresh()


def grey(widget: Any, reason: str, otherwise: str = "") -> None:
    """Enabled without a ``reason``; with one greyed, and the reason in its tool tip instead of ``otherwise``."""
    widget.enabled = not reason
    widget.toolTip = reason or otherwise


# Handing a mask over to Slicer's Segment Editor.


def open_segment_editor(segmentation: Any, volume: Any, segment_id: str) -> bool:
    """Show a segment in the Segment Editor, other segments protected; False when that module is not there."""
    module = getattr(slicer.modules, "segmenteditor", None)
    if module is None:
        return False
    slicer.util.selectModule("SegmentEditor")
    editor = module.widgetRepresentation().self().editor
    editor.setSegmentationNode(segmentation)
    if volume is not None:
        editor.setSourceVolumeNode(volume)
    editor.setCurrentSegmentID(segment_id)
    # By default painting cuts the painted place out of all other segments of the segmentation.
    editor.mrmlSegmentEditorNode().SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteNone)
    return True


def save_state_for_undo() -> None:
    """Let the Segment Editor's Undo come back to now; nothing where none was opened yet (asking the module for its
    widget would make one)."""
    widget = getattr(slicer.modules, "SegmentEditorWidget", None)
    editor = getattr(widget, "editor", None)
    if editor is not None and editor.segmentationNode() is not None:
        editor.saveStateForUndo()
