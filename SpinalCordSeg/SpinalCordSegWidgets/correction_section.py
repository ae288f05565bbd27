"""Correct: the Segment Editor on the cord, and corrections of a few slices, each of them one step of its undo."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import SpinalCordSegError
from SpinalCordSegLib.review import ACCEPTED, CORRECTED, Review
from SpinalCordSegLib.volume import Volume
from SpinalCordSegNodes.editing import canonical_range, correct_segment, read_review, replace_slices
from SpinalCordSegNodes.segmentations import mask_of_segment, volume_behind
from SpinalCordSegNodes.views import shown_slice
from SpinalCordSegWidgets.jobs import CASE, IMAGE, command_job, rerun_job
from SpinalCordSegWidgets.section import (
    Section,
    ask_folder,
    grey,
    in_scene,
    on_click,
    set_up_table,
    show_rows,
    show_text,
)

if TYPE_CHECKING:
    from SpinalCordSegLib.metrics import MaskChanges
    from SpinalCordSegWidgets.main_widget import Panel


# Slicer's Segment Editor inside the panel: the numbers follow where the user is looking while painting.


_TAG = "SpinalCordSegEditor"
_STATES = 30


class EmbeddedEditor:
    """``place``: a widget with a layout; the editor is made when it is first opened. Undo is the editor's own."""

    def __init__(self, place: Any) -> None:
        self._place = place
        self._widget: Any = None
        self._wanted = ""  # the segment that was asked for last
        self.is_open = False

    def open(self, segmentation: Any, volume: Any, segment_id: str) -> None:
        """Edit a segment with ``volume`` as the source; other segments are protected.

        May be called at every stroke: a segment that the user has chosen in the editor since stays chosen.
        """
        if self._widget is None:
            self._widget = self._make()
        widget, node = self._widget, _parameter_node()
        if widget.mrmlSegmentEditorNode() is not node:
            widget.setMRMLSegmentEditorNode(node)
        # By default painting cuts the painted place out of all other segments of the segmentation.
        node.SetOverwriteMode(node.OverwriteNone)
        is_new = not self.is_open or segment_id != self._wanted
        if widget.segmentationNode() is not segmentation:
            widget.setSegmentationNode(segmentation)
            is_new = True
        if widget.sourceVolumeNode() is not volume:  # none either: the last one may be another person's
            widget.setSourceVolumeNode(volume)
        if is_new and widget.currentSegmentID() != segment_id:
            widget.setCurrentSegmentID(segment_id)
        self._wanted = segment_id
        if not self.is_open:
            widget.setupViewObservations()
            widget.installKeyboardShortcuts()
            self.is_open = True

    def leave(self) -> None:
        """Put the brush away: views and keys belong to others again."""
        if self._widget is not None and self.is_open:
            self._widget.setActiveEffect(None)
            self._widget.uninstallKeyboardShortcuts()
            self._widget.removeViewObservations()
        self.is_open = False

    def close(self) -> None:
        """Let go of every node."""
        self.leave()
        if self._widget is not None:
            self._widget.setSegmentationNode(None)
            self._widget.setMRMLSegmentEditorNode(None)

    def save_state(self) -> None:
        """Let Undo come back to now."""
        if self._widget is not None and self.is_open:
            self._widget.saveStateForUndo()

    def undo(self) -> None:
        if self._widget is not None and self.is_open:
            self._widget.undo()

    def redo(self) -> None:
        if self._widget is not None and self.is_open:
            self._widget.redo()

    def _make(self) -> Any:
        widget = slicer.qMRMLSegmentEditorWidget()
        widget.maximumNumberOfUndoStates = _STATES
        widget.segmentationNodeSelectorVisible = False
        widget.sourceVolumeNodeSelectorVisible = False
        widget.setMRMLScene(slicer.mrmlScene)
        self._place.layout().addWidget(widget)
        return widget


def _parameter_node() -> Any:
    """Ours alone: the Segment Editor module's choices stay as they are."""
    scene = slicer.mrmlScene
    node = scene.GetSingletonNode(_TAG, "vtkMRMLSegmentEditorNode")
    if node is None:
        node = slicer.vtkMRMLSegmentEditorNode()
        node.SetSingletonTag(_TAG)
        node = scene.AddNode(node)
    return node


class CorrectPanel(Section):
    """The AI's own mask is never touched: it lies in a hidden segmentation beside this one."""

    def __init__(self, ui: Any, panel: Panel) -> None:
        super().__init__(ui, panel)
        self.editor = EmbeddedEditor(ui.editorPlace)
        self._entered = True
        set_up_table(ui.changesTable, [_("Slice"), _("AI mm²"), _("Now mm²"), _("Dice")], (50, 70, 70))
        ui.changesTable.connect("cellClicked(int,int)", self._on_row)
        on_click(
            ui,
            shownSliceButton=self.take_shown_slice,
            rerunButton=self.rerun,
            fillButton=self.fill_between,
            smoothButton=self.smooth,
            undoButton=self.editor.undo,
            redoButton=self.editor.redo,
        )

    @property
    def slices(self) -> tuple[int, int]:
        """The input's own slices to change, both included, the smaller first."""
        first, last = self.ui.firstBox.value, self.ui.lastBox.value
        return min(first, last), max(first, last)

    def choose(self, first: int, last: int) -> None:
        self.ui.firstBox.value, self.ui.lastBox.value = first, last

    def take_shown_slice(self) -> None:
        """The slice that the axial view shows becomes the range."""
        mask = self.panel.live.mask
        number = None if mask is None else shown_slice(slicer.mrmlScene, mask.mask)
        if number is None:
            self.panel.show_message(_("No axial view shows a slice of this volume."))
        else:
            self.choose(number, number)

    def fill_between(self) -> None:
        """Draw the range anew from the two slices beside it."""
        from SpinalCordSegLib.correction import fill_between

        def filled(mask: Volume) -> Volume:
            first, end = canonical_range(mask, *self.slices)
            return fill_between(mask, first - 1, end)

        self.change(filled)

    def smooth(self) -> None:
        """Take steps between slices out of the range."""
        from SpinalCordSegLib.correction import smooth_along_cord

        self.change(lambda mask: smooth_along_cord(mask, canonical_range(mask, *self.slices)))

    def rerun(self) -> None:
        """Let the network find the range again; what is edited elsewhere meanwhile stays."""
        segmentation, segment_id, slices = self.panel.segmentation, self.panel.segment_id, self.slices

        def begin() -> Any:
            mask = mask_of_segment(segmentation, segment_id)
            image = volume_behind(segmentation, mask)
            assert image is not None and self.panel.models.path is not None  # the button is grey without
            case = self.panel.result.case if self.panel.result else None
            return rerun_job(image, mask, slices, model=self.panel.models.path, device=self.panel.device, case=case)

        self.panel.start(begin, lambda found: self._on_found(found, segmentation, segment_id, slices))

    def change(self, correct: Callable[[Volume], Volume]) -> bool:
        """One undoable correction of the current mask; what stands in its way is shown."""
        segmentation, segment_id = self.panel.segmentation, self.panel.segment_id
        self.editor.save_state()
        return self.panel.attempt(lambda: correct_segment(segmentation, segment_id, correct))

    def refresh(self) -> None:
        ui, none = self.ui, not self.panel.segment_id
        if none:  # the editor is not open on the current mask
            self.editor.close()
        elif self._entered:
            self.editor.open(self.panel.segmentation, self.panel.volume, self.panel.segment_id)
        ui.editorPlace.setVisible(not none)
        show_text(ui.editorReason, self.panel.why_no_mask() if none else "")
        if self.panel.live.mask is not None:
            for box in (ui.firstBox, ui.lastBox):
                box.maximum = self.panel.live.mask.mask.shape[0] - 1
        busy = self.panel.why_no_mask()
        grey(ui.fillButton, busy)
        grey(ui.smoothButton, busy)
        grey(ui.rerunButton, busy or self._why_no_rerun())
        grey(ui.undoButton, busy)
        grey(ui.redoButton, busy)
        self._show_changes(self.panel.live.changes)

    def forget(self) -> None:
        self.choose(0, 0)

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

    def _why_no_rerun(self) -> str:
        if self.panel.volume is None:
            return _("The mask has no volume.")
        if self.panel.models.path is None:
            return _("Choose a model first (section Find the cord).")
        return self.panel.applying.dependencies.message

    def _show_changes(self, changes: MaskChanges | None) -> None:
        ui = self.ui
        slices = () if changes is None else changes.slices
        ui.changesLabel.setText(_change_text(changes))
        ui.changesTable.setVisible(bool(slices))
        rows = [(str(s.slice), f"{s.ai_mm2:.1f}", f"{s.now_mm2:.1f}", f"{s.dice:.3f}") for s in slices]
        show_rows(ui.changesTable, rows)

    def _on_found(self, found: Volume, segmentation: Any, segment_id: str, slices: tuple[int, int]) -> None:
        if not in_scene(segmentation):
            self.panel.show_message(_("The mask was deleted meanwhile: the slices were not kept."))
            return
        if segmentation is self.panel.segmentation:  # else the editor's undo is of another mask
            self.editor.save_state()
        if self.panel.attempt(lambda: replace_slices(segmentation, segment_id, found, *slices)):
            text = _("{mask}: slices {first} to {last} were segmented again.")
            self.panel.show_message(text.format(mask=segmentation.GetName(), first=slices[0], last=slices[1]))

    def _on_row(self, row: int, _column: int) -> None:
        changes = self.panel.live.changes
        if changes is not None and 0 <= row < len(changes.slices):
            self.panel.measures.go_to_slice(changes.slices[row].slice)


def _change_text(changes: MaskChanges | None) -> str:
    if changes is None:
        return _("This mask was not drawn by the AI: there is nothing to compare it with.")
    if not changes.slices:
        return _("As the AI drew it.")
    n = len(changes.slices)
    before, now = (sum(getattr(s, name) for s in changes.slices) / n for name in ("ai_mm2", "now_mm2"))
    text = _("Edited slices: {n}, area {before:.1f} → {now:.1f} mm² on average. Dice against the AI: {dice:.4f}.")
    return text.format(n=n, before=before, now=now, dice=changes.dice)


# Learn from corrections: a reviewed case goes into a folder that the trainer takes as it is.


_CODE = re.compile(r"[A-Za-z0-9]{1,40}")


class TrainingSetPanel(Section):
    """Part of the section of ``ui``; writes by the command ``training-set``."""

    def __init__(self, ui: Any, panel: Panel) -> None:
        super().__init__(ui, panel)
        ui.subjectEdit.connect("textChanged(QString)", self.refresh)
        on_click(ui, trainingButton=self._on_add)

    @property
    def subject(self) -> str:
        return str(self.ui.subjectEdit.text).strip()

    def add(self, folder: Path) -> None:
        """Begin to write the current case into ``folder``; what stands in the way is shown."""
        arguments = ["training-set", CASE, "--image", IMAGE, "--subject", self.subject, "--output", str(folder)]
        arguments += ["--force"] if self.ui.replaceBox.checked else []
        text = _("The case is in the training set {name}.").format(name=folder.name)
        self.panel.start(
            lambda: command_job(arguments, self.panel.write_case, lambda _results: text), self.panel.show_message
        )

    def _on_add(self) -> None:
        ask_folder(self.ui.section, _("Folder of the training set"), self.panel.for_this_mask(self.add))

    def forget_person(self) -> None:
        self.ui.subjectEdit.text, self.ui.replaceBox.checked = "", False

    def refresh(self) -> None:
        self.ui.trainingButton.text = self.panel.named(_("Add {name}…"))
        grey(self.ui.trainingButton, self.why_not())

    def why_not(self) -> str:
        """The reason why nothing can be added; "" when it can be tried."""
        reason = self.panel.why_not_measured()
        if reason:
            return reason
        try:
            review = read_review(self.panel.segmentation, self.panel.segment_id)
        except SpinalCordSegError:  # shown in the section Review
            review = Review()
        if review.state not in (ACCEPTED, CORRECTED):
            return _("Only corrected or accepted masks can be trained on.")
        return "" if _CODE.fullmatch(self.subject) else _("Type a subject code of letters and digits, never a name.")
