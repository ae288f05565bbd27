"""Correct: the Segment Editor on the cord, and four corrections of a few slices, each of them one step of its undo."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from SpinalCordSegLib.correction.case_settings import CaseSettings
from SpinalCordSegLib.images.volume import Volume
from SpinalCordSegNodes.corrections import canonical_range, correct_segment, replace_slices
from SpinalCordSegNodes.segmentations import mask_of_segment, volume_behind
from SpinalCordSegNodes.slice_views import shown_slice
from SpinalCordSegWidgets.desk import Desk, in_scene
from SpinalCordSegWidgets.embedded_editor import EmbeddedEditor
from SpinalCordSegWidgets.rerun_run import rerun_run
from SpinalCordSegWidgets.section import Section, grey
from SpinalCordSegWidgets.table_rows import set_up_table, show_rows

if TYPE_CHECKING:
    from SpinalCordSegLib.measurement.mask_changes import MaskChanges


class CorrectPanel(Section):
    """The AI's own mask is never touched: it lies in a hidden segmentation beside this one."""

    def __init__(self, ui: Any, desk: Desk) -> None:
        super().__init__(ui, desk)
        self.editor = EmbeddedEditor(ui.editorPlace)
        self._entered = True
        set_up_table(ui.changesTable, [_("Slice"), _("AI mm²"), _("Now mm²"), _("Dice")], (50, 70, 70))
        ui.changesTable.connect("cellClicked(int,int)", self._on_row)
        ui.shownSliceButton.connect("clicked()", self.take_shown_slice)
        ui.rerunButton.connect("clicked()", self.rerun)
        ui.fillButton.connect("clicked()", self.fill_between)
        ui.smoothButton.connect("clicked()", self.smooth)
        ui.undoButton.connect("clicked()", self.editor.undo)
        ui.redoButton.connect("clicked()", self.editor.redo)

    @property
    def slices(self) -> tuple[int, int]:
        """The input's own slices to change, both included, the smaller first."""
        first, last = self.ui.firstBox.value, self.ui.lastBox.value
        return min(first, last), max(first, last)

    def choose(self, first: int, last: int) -> None:
        self.ui.firstBox.value, self.ui.lastBox.value = first, last

    def take_shown_slice(self) -> None:
        """The slice that the axial view shows becomes the range."""
        mask = self.desk.live.current.mask
        number = None if mask is None else shown_slice(slicer.mrmlScene, mask.mask)
        if number is None:
            self.desk.tell(_("No axial view shows a slice of this volume."))
        else:
            self.choose(number, number)

    def fill_between(self) -> None:
        """Draw the range anew from the two slices beside it."""
        from SpinalCordSegLib.correction.fill_between import fill_between

        def filled(mask: Volume) -> Volume:
            first, end = canonical_range(mask, *self.slices)
            return fill_between(mask, first - 1, end)

        self.change(filled)

    def smooth(self) -> None:
        """Take steps between slices out of the range."""
        from SpinalCordSegLib.correction.smooth_cord import smooth_along_cord

        self.change(lambda mask: smooth_along_cord(mask, canonical_range(mask, *self.slices)))

    def rerun(self) -> None:
        """Let the network find the range again; what is edited elsewhere meanwhile stays."""
        segmentation, segment_id, slices = self.desk.segmentation, self.desk.segment_id, self.slices

        def begin() -> Any:
            mask = mask_of_segment(segmentation, segment_id)
            image = volume_behind(segmentation, mask)
            assert image is not None and self.desk.model is not None  # the button is grey without
            settings = CaseSettings.of_report(self.desk.result.report_content() if self.desk.result else {})
            base, model, device = self.desk.logic.scratchBase(), self.desk.model, self.desk.device
            return rerun_run(image, mask, slices, base, model=model, device=device, settings=settings)

        self.desk.start(begin, lambda found: self._on_found(found, segmentation, segment_id, slices))

    def change(self, correct: Callable[[Volume], Volume]) -> bool:
        """One undoable correction of the mask in hand; what stands in its way is told."""
        segmentation, segment_id = self.desk.segmentation, self.desk.segment_id
        self.editor.save_state()
        return self.desk.attempt(lambda: correct_segment(segmentation, segment_id, correct))

    def refresh(self) -> None:
        ui, reason = self.ui, self._why_not()
        if not reason and self._entered:
            self.editor.open(self.desk.segmentation, self.desk.volume, self.desk.segment_id)
        elif self.editor.is_open and self.desk.segmentation is None:
            self.editor.close()
        ui.editorPlace.setVisible(self.editor.available and not reason)
        ui.editorReason.setText(reason)
        ui.editorReason.setVisible(bool(reason))
        self._limit_range()
        busy = self.desk.why_no_mask()
        grey(ui.fillButton, busy, _("Draw the range anew from the two slices beside it."))
        grey(ui.smoothButton, busy, _("Take steps between slices out of the range; its area stays."))
        grey(ui.rerunButton, busy or self._why_no_rerun(), _("Let the network find the range again."))
        for button in (ui.undoButton, ui.redoButton):
            grey(button, reason or busy)
        self._show_changes(self.desk.live.changes)

    def enter(self) -> None:
        self._entered = True

    def leave(self) -> None:
        self._entered = False
        self.editor.leave()

    def close(self) -> None:
        self.editor.close()

    def _on_collapsed(self, collapsed: bool) -> None:
        super()._on_collapsed(collapsed)
        if collapsed:
            self.editor.leave()

    def _why_not(self) -> str:
        if not self.editor.available:
            return _("This Slicer has no Segment Editor: undo and painting are not possible here.")
        if self.desk.segmentation is None or not self.desk.segment_id:
            return self.desk.why_no_mask()
        return ""

    def _why_no_rerun(self) -> str:
        if self.desk.volume is None:
            return _("The mask has no volume to look at.")
        if self.desk.model is None:
            return _("Choose a model first (section Find the cord).")
        return str(self.desk.why_no_network())

    def _limit_range(self) -> None:
        mask = self.desk.live.current.mask
        if mask is None:
            return
        from SpinalCordSegLib.images.volume import AxialAxes

        count = mask.grid_shape[AxialAxes.of(mask.mask.ijk_to_ras).ras[2][0]]
        for box in (self.ui.firstBox, self.ui.lastBox):
            box.maximum = count - 1

    def _show_changes(self, changes: MaskChanges | None) -> None:
        ui = self.ui
        slices = () if changes is None else changes.slices
        ui.changesLabel.setText(_change_words(changes))
        ui.changesTable.setVisible(bool(slices))
        rows = [(str(s.slice), f"{s.ai_mm2:.1f}", f"{s.now_mm2:.1f}", f"{s.dice:.3f}") for s in slices]
        show_rows(ui.changesTable, rows)

    def _on_found(self, found: Volume, segmentation: Any, segment_id: str, slices: tuple[int, int]) -> None:
        if not in_scene(segmentation):
            self.desk.tell(_("The mask was deleted meanwhile: the slices were not kept."))
            return
        self.editor.save_state()
        if self.desk.attempt(lambda: replace_slices(segmentation, segment_id, found, *slices)):
            self.desk.tell(_("Slices {first} to {last} were found again.").format(first=slices[0], last=slices[1]))

    def _on_row(self, row: int, _column: int) -> None:
        changes = self.desk.live.changes
        if changes is not None and 0 <= row < len(changes.slices):
            self.desk.go_to_slice(changes.slices[row].slice)


def _change_words(changes: MaskChanges | None) -> str:
    if changes is None:
        return _("Nothing to compare with: this mask did not begin as one of ours.")
    if not changes.slices:
        return _("As the AI drew it.")
    n = len(changes.slices)
    before, now = (sum(getattr(s, name) for s in changes.slices) / n for name in ("ai_mm2", "now_mm2"))
    words = _("Edited slices: {n}, area {before:.1f} → {now:.1f} mm² on average. Dice against the AI: {dice:.4f}.")
    return words.format(n=n, before=before, now=now, dice=changes.dice)
