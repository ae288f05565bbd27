"""The lower half of the panel: any mask's measures, where they are doubtful, and what can be done with them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import OutputError, SpinalCordSegError
from SpinalCordSegLib.files import atomic_write, write_text
from SpinalCordSegNodes.results import Result, result_of, take_own_result
from SpinalCordSegNodes.segmentations import cord_segment_id, mask_of_segment, show_in_3d
from SpinalCordSegNodes.tables import CSA, FLAGGED, FLAGS, POSITION, SLICE, as_csv, read_column
from SpinalCordSegNodes.views import centre_of_slice, jump_to
from SpinalCordSegWidgets.pictures import ResizingPicture
from SpinalCordSegWidgets.section import LiveNumbers, open_segment_editor, report_sentence

# The panel's table: a row per slice, superior at the top, flagged ones told apart; a click goes to the slice.


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


# A small picture of the area along the cord for the panel; the full plot is one click away.


_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 8, 8, 18
_LETTER = 6  # its width in pixels, about
_LINE, _MARK = (0, 114, 178), (213, 94, 0)


def draw_area(
    width: int,
    height: int,
    palette: Any,
    position_mm: Sequence[float],
    area_mm2: Sequence[float],
    marks: Sequence[float],
) -> Any:
    """A pixmap; gaps (NaN) break the line, ``marks`` (NaN: none) are dots. Nothing to draw gives empty axes."""
    pixmap = qt.QPixmap(max(60, width), max(40, height))
    pixmap.fill(palette.color(qt.QPalette.Base))
    known = [value for value in [*area_mm2, *marks] if not math.isnan(value)]
    painter = qt.QPainter()
    painter.begin(pixmap)
    painter.setRenderHint(qt.QPainter.Antialiasing, True)
    frame = _Frame(pixmap.width(), pixmap.height(), position_mm, known)
    _axes(painter, frame, palette.color(qt.QPalette.Text))
    _line(painter, frame, position_mm, area_mm2)
    _dots(painter, frame, position_mm, marks)
    painter.end()
    return pixmap


class _Frame:
    """From mm and mm² to pixels; the area's axis starts at zero, so that a loss looks as large as it is."""

    def __init__(self, width: int, height: int, position_mm: Sequence[float], known: Sequence[float]) -> None:
        self.width, self.height = width, height
        self.low = min(position_mm, default=0.0)
        self.span = max(max(position_mm, default=1.0) - self.low, 1e-6)
        self.top = 10 * math.ceil(max([*known, 1.0]) * 1.05 / 10)

    def x(self, position: float) -> int:
        return round(_LEFT + (position - self.low) / self.span * (self.width - _LEFT - _RIGHT))

    def y(self, area: float) -> int:
        return round(self.height - _BOTTOM - area / self.top * (self.height - _TOP - _BOTTOM))


def _axes(painter: Any, frame: _Frame, colour: Any) -> None:
    painter.setPen(qt.QPen(colour))
    font = painter.font()
    font.setPointSize(7)
    painter.setFont(font)
    bottom = frame.y(0)
    painter.drawLine(_LEFT, frame.y(frame.top), _LEFT, bottom)
    painter.drawLine(_LEFT, bottom, frame.width - _RIGHT, bottom)
    for area in (0, frame.top // 2, frame.top):
        painter.drawText(2, frame.y(area) + 4, f"{area}")
    painter.drawText(_LEFT + 4, _TOP + 6, "mm²")
    painter.drawText(_LEFT, frame.height - 4, _("inferior"))
    superior = _("superior")
    painter.drawText(frame.width - _RIGHT - _LETTER * len(superior), frame.height - 4, superior)


def _line(painter: Any, frame: _Frame, position_mm: Sequence[float], area_mm2: Sequence[float]) -> None:
    pen = qt.QPen(qt.QColor(*_LINE))
    pen.setWidth(2)
    painter.setPen(pen)
    points = list(zip(position_mm, area_mm2, strict=True))
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if not (math.isnan(y0) or math.isnan(y1)):
            painter.drawLine(frame.x(x0), frame.y(y0), frame.x(x1), frame.y(y1))


def _dots(painter: Any, frame: _Frame, position_mm: Sequence[float], marks: Sequence[float]) -> None:
    painter.setPen(qt.QPen(qt.QColor(*_MARK)))
    painter.setBrush(qt.QBrush(qt.QColor(*_MARK)))
    for x, y in zip(position_mm, marks, strict=True):
        if not math.isnan(y):
            painter.drawEllipse(frame.x(x) - 3, frame.y(y) - 3, 6, 6)


# Results as files: measures as CSV, JSON and HTML, the mask as NIfTI and .seg.nrrd. No Qt.


# suffix → what the user reads
FORMATS = {
    ".csv": _("Measures per slice (CSV)"),
    ".json": _("All measures (JSON)"),
    ".html": _("Report page (HTML)"),
    ".nii.gz": _("Mask (NIfTI)"),
    ".seg.nrrd": _("Mask (Slicer segmentation)"),
}

REPORTS = (".json", ".html")  # written when the mask was measured; the numbers follow the brush, these do not


def available(result: Result) -> tuple[str, ...]:
    """The suffixes that this result can be saved with: what was deleted from the scene cannot."""
    there = {".csv": result.slices, ".json": result.report, ".html": result.page}
    return tuple(suffix for suffix in FORMATS if there.get(suffix, result.segmentation) is not None)


def export(result: Result, segment_id: str, path: Path) -> None:
    """Write ``path``; its suffix says what. Raises OutputError, GeometryError; the scene is not changed."""
    suffix = next((known for known in FORMATS if path.name.lower().endswith(known)), "")
    if suffix not in available(result):
        raise OutputError(
            _("{name}: choose one of {formats}").format(name=path.name, formats=" ".join(available(result)))
        )
    if suffix == ".csv":
        write_text(path, as_csv(result.slices))
    elif suffix == ".nii.gz":
        from SpinalCordSegLib.image_io import write_volume  # SimpleITK: only now

        write_volume(mask_of_segment(result.segmentation, segment_id), path)
    elif suffix == ".seg.nrrd":
        _write_segmentation(result.segmentation, path)
    else:
        write_text(path, (result.report if suffix == ".json" else result.page).GetText())


def _write_segmentation(node: Any, path: Path) -> None:
    """By a storage node of our own: the one of the scene, and where the user saved, stay as they are."""
    storage = slicer.vtkMRMLSegmentationStorageNode()
    with atomic_write(path) as temporary:
        storage.SetFileName(str(temporary))
        if not storage.WriteData(node):
            raise OutputError(_("{name} could not be written: choose another folder").format(name=path.name))


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
