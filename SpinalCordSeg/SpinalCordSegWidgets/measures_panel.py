"""The lower half of the panel: any mask's measures, where they are doubtful, and what can be done with them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import SpinalCordSegError
from SpinalCordSegNodes.results import Result, result_of, take_own_result
from SpinalCordSegNodes.segmentations import cord_segment_id, mask_of_segment, show_in_3d
from SpinalCordSegNodes.slice_views import centre_of_slice, jump_to
from SpinalCordSegNodes.tables import CSA, FLAGGED, POSITION, read_column
from SpinalCordSegWidgets.area_picture import draw_area
from SpinalCordSegWidgets.export import FORMATS, REPORTS, available, export
from SpinalCordSegWidgets.live_numbers import LiveNumbers
from SpinalCordSegWidgets.report_sentence import report_sentence
from SpinalCordSegWidgets.resizing_picture import ResizingPicture
from SpinalCordSegWidgets.segment_editor import open_segment_editor
from SpinalCordSegWidgets.slice_table import SliceTable

_PICTURE_HEIGHT = 110
_SETTLE_MS = 250


class MeasuresPanel:
    """``measure`` is called with a segmentation and a segment's id; ``tell`` with a line for the status."""

    def __init__(self, ui: Any, measure: Callable[[Any, str], None], tell: Callable[[str], None]) -> None:
        self._ui, self._measure, self._tell = ui, measure, tell
        self.refreshed: Callable[[], None] = _nothing  # what further sections are told
        self._busy = False
        self.live = LiveNumbers()
        self._observed: tuple[Any, tuple[int, ...]] | None = None
        self._table, self._picture = SliceTable(ui.sliceTable, self.go_to_slice), ResizingPicture(ui.areaPicture)
        self._settle = qt.QTimer()  # a brush stroke changes the mask many times
        self._settle.setSingleShot(True)
        self._settle.setInterval(_SETTLE_MS)
        self._settle.connect("timeout()", self.refresh)
        ui.maskSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._on_mask)
        ui.segmentBox.connect("currentIndexChanged(int)", self._show_buttons)
        ui.measureButton.connect("clicked()", self._on_measure)
        ui.flaggedOnlyBox.connect("toggled(bool)", self.refresh)
        ui.show3DButton.connect("clicked(bool)", self._on_show_3d)
        ui.editButton.connect("clicked()", self._on_edit)
        ui.viewsButton.connect("clicked()", self._on_views)
        ui.copyTextButton.connect("clicked()", self._on_copy)
        menu = qt.QMenu(ui.exportButton)
        menu.connect("aboutToShow()", self._fill_export_menu)
        ui.exportButton.setMenu(menu)
        self._export_menu = menu
        self._on_mask(ui.maskSelector.currentNode())

    @property
    def segmentation(self) -> Any:
        return self._ui.maskSelector.currentNode()

    @property
    def segment_id(self) -> str:
        box = self._ui.segmentBox
        return (box.itemData(box.currentIndex) if box.count else "") or ""

    @property
    def result(self) -> Result | None:
        return result_of(self.segmentation)

    def set_busy(self, busy: bool) -> None:
        """A run is going on: no second one can be begun."""
        self._busy = busy
        self._show_buttons()

    def close(self) -> None:
        """Stop following nodes."""
        self._settle.stop()
        self.live.forget()
        if self._observed is not None:
            for tag in self._observed[1]:
                self._observed[0].RemoveObserver(tag)
            self._observed = None

    def refresh(self) -> None:
        """Show the chosen mask as it is now."""
        self._fill_segments()
        result = self.result
        self.live.look(self.segmentation, self.segment_id, result)
        self._ui.editLabel.setText(self.live.words)
        self._ui.editLabel.setVisible(bool(self.live.words))
        self._ui.resultArea.setVisible(result is not None)
        self._table.show(result, self._ui.flaggedOnlyBox.checked)
        if result is not None:
            self._show_numbers(result)
            self._show_picture(result)
        self._show_buttons()
        self.refreshed()

    def go_to_slice(self, index: int) -> None:
        """Move the views to one of the input's slices, and say why it is flagged."""
        try:
            mask = mask_of_segment(self.segmentation, self.segment_id)
            jump_to(slicer.mrmlScene, centre_of_slice(mask, index))
        except (SpinalCordSegError, IndexError):  # the mask lies on another grid than when it was measured
            self._tell(_("This slice is no longer in the mask: measure the mask again."))
        self._show_flags(index)

    def _on_mask(self, node: Any) -> None:
        self.close()
        if node is not None:
            take_own_result(node)
            # a stroke; and undo, which puts the segment of before in its place
            events = (slicer.vtkSegmentation.SourceRepresentationModified, slicer.vtkSegmentation.SegmentModified)
            tags = tuple(node.AddObserver(event, lambda *_: self._settle.start()) for event in events)
            self._observed = (node, tags)
        self._ui.show3DButton.checked = bool(node is not None and node.GetDisplayNode() and _shown_in_3d(node))
        self.refresh()

    def _fill_segments(self) -> None:
        box, chosen, node = self._ui.segmentBox, self.segment_id, self.segmentation
        segments = {} if node is None else _segments(node)
        box.blockSignals(True)
        box.clear()
        for found, name in segments.items():
            box.addItem(name, found)
        wanted = chosen if chosen in segments else (cord_segment_id(node) if node is not None else "")
        box.setCurrentIndex(max(0, box.findData(wanted)) if segments else -1)
        box.blockSignals(False)
        several = len(segments) > 1
        box.setVisible(several)
        self._ui.segmentCaption.setVisible(several)

    def _show_buttons(self) -> None:
        reason = ""
        if self.segmentation is None:
            reason = _("Choose a mask first.")
        elif not self.segment_id:
            reason = _("The chosen segmentation has no segment.")
        elif self._busy:
            reason = _("Wait until the run has ended, or cancel it.")
        self._ui.measureButton.setVisible(self.result is None or self.live.stale)
        self._ui.measureButton.enabled = not reason
        self._ui.measureButton.toolTip = reason or _("Volume, length and areas of this mask; PyTorch is not needed.")
        editor = hasattr(slicer.modules, "segmenteditor")
        self._ui.editButton.enabled = editor
        if not editor:
            self._ui.editButton.toolTip = _("This Slicer has no Segment Editor module.")

    def _show_numbers(self, result: Result) -> None:
        report = self.live.report(result)
        self._ui.volumeValue.setText(_number(report.get("volume_mm3"), "mm³", 0))
        self._ui.lengthValue.setText(_number(report.get("length_mm"), "mm", 1))
        self._ui.areaValue.setText(_number(report.get("mean_csa_mm2"), "mm²", 1))
        flagged = {flag["slice"] for flag in report.get("flags") or () if flag.get("slice") is not None}
        self._ui.flagsValue.setText(_("{n} of {all} slices").format(n=len(flagged), all=report.get("n_slices") or 0))
        self._show_flags(None)

    def _show_flags(self, index: int | None) -> None:
        """The messages of a slice's flags, or (None) of those on the whole case."""
        result = self.result
        flags = [] if result is None else self.live.report(result).get("flags") or []
        text = "\n".join(str(flag["message"]) for flag in flags if flag.get("slice") == index)
        self._ui.flagLabel.setText(text)
        self._ui.flagLabel.setVisible(bool(text))

    def _show_picture(self, result: Result) -> None:
        columns = [read_column(result.slices, name) if result.slices else [] for name in (POSITION, CSA, FLAGGED)]
        if not columns[1]:
            columns = [columns[0], [math.nan] * len(columns[0]), [math.nan] * len(columns[0])]
        self._picture.show(lambda width, palette: draw_area(width, _PICTURE_HEIGHT, palette, *columns))

    def _on_measure(self) -> None:
        self._measure(self.segmentation, self.segment_id)

    def _on_show_3d(self, visible: bool) -> None:
        if self.segmentation is not None and not show_in_3d(self.segmentation, visible):
            self._ui.show3DButton.checked = False
            self._tell(_("There is nothing to show: the mask is empty."))

    def _on_edit(self) -> None:
        result = self.result
        open_segment_editor(self.segmentation, None if result is None else result.volume, self.segment_id)

    def _on_views(self) -> None:
        result = self.result
        if result is None or result.chart is None or result.slices is None:
            self._tell(_("Plot or table was deleted: measure the mask again."))
            return
        slicer.modules.plots.logic().ShowChartInLayout(result.chart)
        selection = slicer.app.applicationLogic().GetSelectionNode()
        selection.SetActiveTableID(result.slices.GetID())
        slicer.app.applicationLogic().PropagateTableSelection()

    def _on_copy(self) -> None:
        result = self.result
        if result is not None:
            qt.QApplication.clipboard().setText(report_sentence(self.live.report(result), self.live.edited))
            self._tell(_("The report text is on the clipboard."))

    def _fill_export_menu(self) -> None:
        self._export_menu.clear()
        there = () if self.result is None else available(self.result)
        for suffix, title in FORMATS.items():
            action = self._export_menu.addAction(title)
            action.enabled = suffix in there and not (self.live.stale and suffix in REPORTS)
            action.connect("triggered()", lambda chosen=suffix: self._ask_where(chosen))

    def _ask_where(self, suffix: str) -> None:
        path = qt.QFileDialog.getSaveFileName(self._ui.exportButton, _("Export"), f"cord{suffix}", f"*{suffix}")
        path = path[0] if isinstance(path, tuple) else path  # PyQt's manner and PythonQt's
        if path:
            self.export(path if path.endswith(suffix) else path + suffix)

    def export(self, path: str) -> None:
        """Write the result to a file; what went wrong is told in the status."""
        result = self.result
        if result is None:
            return
        if self.live.stale and path.lower().endswith(REPORTS):
            self._tell(_("The mask was changed since the report was written: press Measure, then export."))
            return
        told = _("Saved {name}.").format(name=Path(path).name)
        try:
            export(result, self.segment_id, Path(path))
        except SpinalCordSegError as error:
            told = str(error)
        self._tell(told)


def _nothing() -> None:
    return


def _segments(node: Any) -> dict[str, str]:
    """Id → name of every segment, in order."""
    segmentation = node.GetSegmentation()
    ids = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
    return {found: segmentation.GetSegment(found).GetName() for found in ids}


def _shown_in_3d(node: Any) -> bool:
    surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    return bool(node.GetDisplayNode().GetVisibility3D() and node.GetSegmentation().ContainsRepresentation(surface))


def _number(value: float | None, unit: str, decimals: int) -> str:
    return "–" if value is None else f"<b>{value:.{decimals}f}</b> {unit}"
