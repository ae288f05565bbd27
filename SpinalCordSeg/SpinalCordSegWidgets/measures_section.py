"""The section Measures: any mask's measures as they are now, its flagged slices, and exports."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import GeometryError, OutputError, SpinalCordSegError
from SpinalCordSegLib.files import atomic_write, write_text
from SpinalCordSegNodes.editing import changes_since_ai
from SpinalCordSegNodes.results import (
    Result,
    is_measured,
    is_measured_on,
    measured_cord,
    result_of,
    show_live,
    show_measured,
    take_own_result,
)
from SpinalCordSegNodes.segmentations import (
    CroppedMask,
    cropped_mask,
    known_cord_id,
    mark_corrected,
    mask_of_segment,
    show_in_3d,
    volume_node_of,
)
from SpinalCordSegNodes.views import centre_of_slice, jump_to
from SpinalCordSegNodes.volumes import grid_of_node, image_state
from SpinalCordSegWidgets.pictures import ResizingPicture, figure
from SpinalCordSegWidgets.section import (
    Choice,
    ask_new_file,
    grey,
    on_click,
    set_up_table,
    show_in_views,
    show_rows,
    show_text,
    single_shot,
)

if TYPE_CHECKING:
    from SpinalCordSegLib.case import Case
    from SpinalCordSegLib.metrics import MaskChanges
    from SpinalCordSegWidgets.main_widget import Panel


@dataclass(frozen=True, eq=False)
class LiveNumbers:
    """The current mask as it is now: measured anew after the last stroke, which takes 30 ms.

    ``stale``: not the mask, or not the image, that was measured in full; ``why_stale``: where it is the image.
    ``edited``: not the mask that the AI drew. ``changes``: against the AI's own, None where there is none. ``message``:
    for the user. ``case``: with the numbers as they are now, None of what was never measured.
    """

    mask: CroppedMask | None = None
    digest: str = ""
    stale: bool = False
    why_stale: str = ""
    edited: bool = False
    changes: MaskChanges | None = None
    message: str = ""
    case: Case | None = None


def live_numbers(segmentation: Any, segment_id: str, result: Result | None, other_image: bool = False) -> LiveNumbers:
    """Look at a mask; the result's tables follow it. ``other_image``: the image is not the one that was measured."""
    if segmentation is None or not segment_id:
        return LiveNumbers()
    try:
        mask = cropped_mask(segmentation, segment_id)
    except GeometryError as error:
        return LiveNumbers(message=str(error), case=None if result is None else result.case)
    digest = mask.digest()
    if result is None:  # what was never measured has no numbers to follow
        return LiveNumbers(mask, digest)
    text = _("The image was changed since the mask was measured on it: look at the mask, and measure it again.")
    why_stale = text if other_image else ""
    stale = other_image or not is_measured(result, digest)
    edited, changes = changes_since_ai(segmentation, segment_id, mask)
    if edited:
        mark_corrected(segmentation, segment_id)
    if stale:
        from SpinalCordSegLib.morphometry import measure  # scipy: not when the panel opens

        case = show_live(result, measure(measured_cord(result.case, mask.mask, changes), shape=False))
    else:
        case = show_measured(result)
    up_to_date = _("Volume and areas are up to date; measure again for the full report.")
    message = why_stale or (up_to_date if stale else "")
    if edited and changes is not None:
        text = _("Corrected by hand: {added:.0f} mm³ added, {removed:.0f} mm³ removed against the AI.")
        message = f"{text.format(added=changes.added_mm3, removed=changes.removed_mm3)} {message}".strip()
    return LiveNumbers(mask, digest, stale, why_stale, edited, changes, message, case)


def slice_rows(case: Case | None, flagged_only: bool) -> list[tuple[int, str, str, str]]:
    """The input's slice number, area (an imputed one in brackets), AP × RL and kinds of flag."""
    if case is None:
        return []
    table, rows = case.slices, []
    columns = (table.slice, table.csa_mm2, table.is_imputed, table.ap_ellipse_mm, table.rl_mm, table.flags)
    for index, area, imputed, ap, rl, kinds in zip(*(column.tolist() for column in columns), strict=True):
        diameters = "–" if math.isnan(ap) or math.isnan(rl) else f"{ap:.1f} × {rl:.1f}"
        text = kinds.replace(" ", ", ").replace("_", " ")
        shown = "–" if math.isnan(area) else f"({area:.1f})" if imputed else f"{area:.1f}"
        rows.append((index, shown, diameters, text))
    return [row for row in reversed(rows) if row[3] or not flagged_only]


# Results as files.

FORMATS = {
    ".csv": _("Measures per slice (CSV)"),
    ".json": _("All measures (JSON)"),
    ".html": _("Report page (HTML)"),
    ".nii.gz": _("Mask (NIfTI)"),
    ".seg.nrrd": _("Mask (Slicer segmentation)"),
}
REPORTS = (".json", ".html")  # written when the mask was measured; these do not follow the brush


def available(result: Result) -> tuple[str, ...]:
    """The suffixes that this result can be saved with: what was deleted from the scene cannot."""
    return tuple(suffix for suffix in FORMATS if suffix != ".html" or result.page is not None)


_PICTURE_HEIGHT = 150
_SETTLE_MS = 250


class MeasuresPanel:
    """The current mask is what the selectors here show."""

    def __init__(self, ui: Any, panel: Panel) -> None:
        self._ui, self._panel = ui, panel
        self.live = LiveNumbers()
        self._observed: list[tuple[Any, int]] = []
        self._followed: Any = None
        self._image: tuple[Any, ...] = ()  # of the current image: tells whether it may have changed
        self._image_state = ""
        self._slices: list[int] = []  # of the table's rows
        self._picture = ResizingPicture(ui.areaPicture)
        self._settle = single_shot(_SETTLE_MS, self.refresh)  # a brush stroke changes the mask many times
        set_up_table(ui.sliceTable, [_("Slice"), _("Area mm²"), _("AP × RL mm"), _("Flags")], (44, 66, 84))
        ui.sliceTable.connect("cellClicked(int,int)", self._on_row)
        self.choice = Choice(ui.maskSelector, self.follow, panel.lost, self._store)
        ui.segmentBox.connect("currentIndexChanged(int)", self._on_segment)
        on_click(
            ui,
            measureButton=lambda: panel.measure(),
            viewsButton=self._on_views,
            copyTextButton=self._on_copy,
        )
        ui.flaggedOnlyBox.connect("toggled(bool)", self.refresh)
        ui.show3DButton.connect("clicked(bool)", self._on_show_3d)
        self._export_menu = qt.QMenu(ui.exportButton)
        self._export_menu.connect("aboutToShow()", self._fill_export_menu)
        ui.exportButton.setMenu(self._export_menu)

    @property
    def segmentation(self) -> Any:
        return self.choice.node

    @property
    def segment_id(self) -> str:
        box = self._ui.segmentBox
        return str(box.itemData(box.currentIndex) or "") if box.count else ""

    @property
    def result(self) -> Result | None:
        return result_of(self.segmentation)

    def close(self) -> None:
        """Stop following nodes."""
        self._settle.stop()
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed, self._followed = [], None

    def refresh(self) -> None:
        """Show the chosen mask as it is now."""
        ui = self._ui
        self._fill_segments()
        result = self.result
        other_image = result is not None and not is_measured_on(result, self._state_of_image())
        self.live = live_numbers(self.segmentation, self.segment_id, result, other_image)
        show_text(ui.editLabel, self.live.message)
        ui.resultArea.setVisible(result is not None)
        rows = slice_rows(self.live.case, ui.flaggedOnlyBox.checked)
        self._slices = [row[0] for row in rows]
        tips = [self._flag_text(index) or kinds for index, _area, _diameters, kinds in rows]  # the column is narrow
        cells = [(str(index), *others) for index, *others in rows]
        show_rows(ui.sliceTable, cells, flagged=[bool(row[3]) for row in rows], tips=tips, most=0)
        if self.live.case is not None:
            self._show_numbers(self.live.case)
        self.show_buttons()
        self._panel.changed()

    def go_to_slice(self, index: int) -> None:
        """Move the views to one of the input's slices, and say why it is flagged."""
        try:
            mask = mask_of_segment(self.segmentation, self.segment_id)
            jump_to(slicer.mrmlScene, centre_of_slice(mask, index))
        except (SpinalCordSegError, IndexError):  # the mask lies on another grid than when it was measured
            self._panel.show_message(_("This slice is no longer in the mask: measure the mask again."))
        show_text(self._ui.flagLabel, self._flag_text(index))

    def show_buttons(self) -> None:
        ui = self._ui
        reason = self._panel.why_no_measuring()
        ui.measureButton.text = self._panel.named(_("Measure the mask of {name}"))
        ui.exportButton.text = self._panel.named(_("Export {name}…"))
        ui.measureButton.setVisible(self.result is None or self.live.stale)
        grey(ui.measureButton, reason)

    def follow(self, node: Any) -> None:
        """The current mask changed; None: there is none."""
        if node is self._followed:  # it has another name
            return
        self.close()
        self._followed = node
        if node is not None:
            take_own_result(node)
            # a stroke; and undo, which puts the segment of before in its place
            events = (slicer.vtkSegmentation.SourceRepresentationModified, slicer.vtkSegmentation.SegmentModified)
            self._observed = [(node, node.AddObserver(event, lambda *_: self._settle.start())) for event in events]
            volume = volume_node_of(node)
            if volume is not None:  # another name, or other voxels
                self._observed += [(volume, volume.AddObserver("ModifiedEvent", self._on_image))]
        self._ui.show3DButton.checked = bool(node is not None and node.GetDisplayNode() and _shown_in_3d(node))
        self._fill_segments()
        self._panel.forget()
        self.refresh()

    def _store(self, node: Any) -> None:
        self._panel.logic.getParameterNode().mask = node

    def _on_segment(self) -> None:
        self._panel.forget()
        self.refresh()

    def _on_image(self, volume: Any, _event: str) -> None:
        if self._image != _look_at(volume):
            self._settle.start()

    def _state_of_image(self) -> str:
        """Hashed again only where something may have changed: it takes a tenth of a second."""
        volume = self._panel.volume
        if self._image != (now := _look_at(volume)):
            self._image, self._image_state = now, image_state(volume)
        return self._image_state

    def _fill_segments(self) -> None:
        box, chosen, node = self._ui.segmentBox, self.segment_id, self.segmentation
        segments = {} if node is None else _segments(node)
        box.blockSignals(True)
        box.clear()
        for found, name in segments.items():
            box.addItem(name, found)
        wanted = chosen if chosen in segments else (known_cord_id(node) if node is not None else "")
        box.setCurrentIndex(box.findData(wanted))  # none where nobody can know which is the cord
        box.blockSignals(False)
        several = len(segments) > 1
        box.setVisible(several)
        self._ui.segmentCaption.setVisible(several)

    def _show_numbers(self, case: Case) -> None:
        ui = self._ui
        ui.volumeValue.setText(_number(case.volume_mm3, "mm³", 0))
        ui.lengthValue.setText(_number(case.length_mm, "mm", 1))
        ui.areaValue.setText(_number(case.mean_csa_mm2, "mm²", 1))
        flagged = {flag.slice for flag in case.flags if flag.slice is not None}
        ui.flagsValue.setText(_("{n} of {all} slices").format(n=len(flagged), all=case.n_slices))
        show_text(ui.flagLabel, self._flag_text(None))
        from SpinalCordSegLib.report import draw_area  # scipy: not when the panel opens

        def draw(axes: Any) -> None:
            draw_area(axes, case.slices, case.mean_csa_mm2, size=7.0)

        self._picture.show(lambda width: figure(draw, width, _PICTURE_HEIGHT))

    def _flag_text(self, index: int | None) -> str:
        """The messages of a slice's flags, or (None) of those on the whole case, a line each."""
        flags = () if self.live.case is None else self.live.case.flags
        return "\n".join(flag.message for flag in flags if flag.slice == index)

    def _on_row(self, row: int, _column: int) -> None:
        if 0 <= row < len(self._slices):
            self.go_to_slice(self._slices[row])

    def _on_show_3d(self, visible: bool) -> None:
        if self.segmentation is not None and not show_in_3d(self.segmentation, visible):
            self._ui.show3DButton.checked = False
            self._panel.show_message(_("There is nothing to show: the mask is empty."))

    def _on_views(self) -> None:
        result = self.result
        if result is None or result.chart is None or result.slices is None:
            self._panel.show_message(_("Plot or table was deleted: measure the mask again."))
            return
        show_in_views(result.chart, result.slices)

    def _on_copy(self) -> None:
        if self.live.case is not None:
            qt.QApplication.clipboard().setText(report_sentence(self.live.case, self.live.edited))
            self._panel.show_message(self._panel.named(_("The report text of {name} is on the clipboard.")))

    def _fill_export_menu(self) -> None:
        self._export_menu.clear()
        there = () if self.result is None else available(self.result)
        for suffix, title in FORMATS.items():
            action = self._export_menu.addAction(title)
            action.enabled = suffix in there and not (self.live.stale and suffix in REPORTS)
            action.connect("triggered()", lambda name=f"cord{suffix}": self._ask_where(name))

    def _ask_where(self, name: str) -> None:
        ask_new_file(self._ui.exportButton, _("Export"), name, self._panel.for_this_mask(self.export))

    def export(self, path: Path) -> None:
        """Write the result to a file; the status line shows what came of it."""
        result, case = self.result, self.live.case
        if result is None or case is None:
            return
        if self.live.stale and path.name.lower().endswith(REPORTS):
            self._panel.show_message(
                _("The mask was changed since the report was written: press Measure, then export.")
            )
        elif self._panel.attempt(lambda: self._write(path, result, case)):
            self._panel.show_message(_("Saved {name}.").format(name=path.name))

    def _write(self, path: Path, result: Result, case: Case) -> None:
        """The suffix decides what is written. Raises OutputError, GeometryError; the scene is not changed."""
        suffix = next((known for known in FORMATS if path.name.lower().endswith(known)), "")
        if suffix not in available(result):
            text = _("{name}: choose one of {formats}")
            raise OutputError(text.format(name=path.name, formats=" ".join(available(result))))
        if suffix == ".csv":
            write_text(path, case.slices.csv())
        elif suffix == ".nii.gz":
            from SpinalCordSegLib.image_io import write_volume  # SimpleITK: only now

            write_volume(mask_of_segment(result.segmentation, self.segment_id), path)
        elif suffix == ".seg.nrrd":
            # by a storage node of our own: the one of the scene, and where the user saved, stay as they are
            storage = slicer.vtkMRMLSegmentationStorageNode()
            with atomic_write(path) as temporary:
                storage.SetFileName(str(temporary))
                if not storage.WriteData(result.segmentation):
                    raise OutputError(_("{name} could not be written: choose another folder").format(name=path.name))
        else:
            write_text(path, (result.report if suffix == ".json" else result.page).GetText())


def _look_at(volume: Any) -> tuple[Any, ...]:
    """What tells that an image may be another one, or has another name, without looking at its voxels."""
    if volume is None or volume.GetImageData() is None:
        return ()
    image = volume.GetImageData()
    matrix = grid_of_node(volume)
    return volume.GetID(), volume.GetName(), id(image), image.GetMTime(), matrix.tobytes()


def _segments(node: Any) -> dict[str, str]:
    """Id → name of every segment, in order."""
    segmentation = node.GetSegmentation()
    ids = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
    return {found: segmentation.GetSegment(found).GetName() for found in ids}


def _shown_in_3d(node: Any) -> bool:
    surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    return bool(node.GetDisplayNode().GetVisibility3D() and node.GetSegmentation().ContainsRepresentation(surface))


def _number(value: float, unit: str, decimals: int) -> str:
    return "–" if math.isnan(value) else f"<b>{value:.{decimals}f}</b> {unit}"


def report_sentence(case: Case, edited: bool = False) -> str:
    """One sentence for a clinical report, with numbers, units and limits. ``edited``: a person corrected the mask."""
    if not case.n_slices:
        found = _("No spinal cord was found")
    else:
        area = _quantity(case.mean_csa_mm2, "mm²", 1)
        if not math.isnan(case.mean_csa_mm2) and not math.isnan(case.sd_csa_mm2):
            area = area.replace(" ", f" ± {case.sd_csa_mm2:.1f} ", 1)
        found = _("Spinal cord volume {volume}, over a length of {length} ({n} slices), mean area {area}").format(
            volume=_quantity(case.volume_mm3, "mm³", 0),
            length=_quantity(case.length_mm, "mm", 1),
            n=case.n_slices,
            area=area,
        )
    flagged = len({flag.slice for flag in case.flags if flag.slice is not None})
    review = _("1 slice flagged for review") if flagged == 1 else _("{n} slices flagged for review").format(n=flagged)
    if case.model is None:
        text = _("mask drawn or made elsewhere, measured with SpinalCordSeg {version}")
        maker = text.format(version=case.software_version)
    else:
        text = _("found automatically by SpinalCordSeg {version} with model {model} {model_version}")
        maker = text.format(version=case.software_version, model=case.model.name, model_version=case.model.version)
    parts = [found, review, maker]
    if edited:
        parts.append(_("mask corrected by hand"))
    parts.append(_("volume depends on the coverage of the image"))
    return "; ".join(parts) + ". " + _("Research use, not for diagnosis.")


def _quantity(value: float, unit: str, decimals: int) -> str:
    return _("not reported") if math.isnan(value) else f"{value:.{decimals}f} {unit}"
