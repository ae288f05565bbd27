"""Review and correct: flagged slices, worst first; the Segment Editor and corrections of a few slices, each one step of
its undo; the decision, with the reviewer's name; the history; the training set."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.review import (
    ACCEPTED,
    CORRECTED,
    IN_REVIEW,
    REJECTED,
    TO_CORRECT,
    Review,
    decided,
    edited,
    opened,
    with_note,
    with_seen,
)
from SpinalCordSegLib.volume import Volume
from SpinalCordSegNodes.editing import (
    correct_segment,
    editor_node,
    mask_sha256_of,
    read_review,
    replace_mask,
    replace_slices,
    write_review,
)
from SpinalCordSegNodes.segmentations import image_node_of, mask_of_segment, volume_behind
from SpinalCordSegNodes.views import shown_slice
from SpinalCordSegWidgets.install import installed_version
from SpinalCordSegWidgets.jobs import CASE, IMAGE, PROGRAM, Job, learn_job, rerun_job, trainer_packages
from SpinalCordSegWidgets.section import (
    STATE_NAMES,
    Section,
    ask_folder,
    grey,
    on_click,
    set_up_table,
    show_rows,
    show_text,
)
from SpinalCordSegWidgets.versions import Versions

if TYPE_CHECKING:
    from SpinalCordSegLib.quality_control import FlaggedSlice
    from SpinalCordSegWidgets.main_widget import Panel


# Slicer's Segment Editor inside the panel: the numbers follow where the user is looking while painting.


_UNDO_STEPS = 30


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
        widget, node = self._widget, editor_node(slicer.mrmlScene)
        if widget.mrmlSegmentEditorNode() is not node:
            widget.setMRMLSegmentEditorNode(node)
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
        if self.is_open:
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
        if self.is_open:
            self._widget.saveStateForUndo()

    def undo(self) -> None:
        if self.is_open:
            self._widget.undo()

    def redo(self) -> None:
        if self.is_open:
            self._widget.redo()

    def _make(self) -> Any:
        widget = slicer.qMRMLSegmentEditorWidget()
        widget.maximumNumberOfUndoStates = _UNDO_STEPS
        widget.segmentationNodeSelectorVisible = False
        widget.sourceVolumeNodeSelectorVisible = False
        widget.setMRMLScene(slicer.mrmlScene)
        self._place.layout().addWidget(widget)
        return widget


_KEY = "SpinalCordSeg/Reviewer"  # in Slicer's settings on this computer
_SET_KEY = "SpinalCordSeg/TrainingSet"
_COLOURS = {ACCEPTED: "#2e6b3e", REJECTED: "#b3261e"}
_CODE = re.compile(r"[A-Za-z0-9]{1,40}")


class ReviewSection(Section):
    """The AI's own mask is never touched: it lies in a hidden segmentation beside the current one."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel, panel.ui.reviewSection)
        ui = self.ui
        self.editor = EmbeddedEditor(ui.editorPlace)
        self.versions = Versions(panel, self._replace)
        self._entered = True
        self._at: int | None = None  # the input's slice that was gone to last
        self._kept_accepted: Review | None = None  # which the user did not want to reopen
        ui.reviewerEdit.text = str(qt.QSettings().value(_KEY) or "")
        ui.reviewerEdit.connect("editingFinished()", lambda: qt.QSettings().setValue(_KEY, self.reviewer))
        for edit in (ui.reviewerEdit, ui.subjectEdit):
            edit.connect("textChanged(QString)", self.changed)
        ui.noteEdit.connect("editingFinished()", self._on_note)
        set_up_table(ui.queueTable, [_("Slice"), _("Seen"), _("Why")])
        set_up_table(ui.historyTable, [_("When (UTC)"), _("What"), _("Who")])
        ui.queueTable.connect("cellClicked(int,int)", self._on_row)
        ui.historySection.connect("contentsCollapsed(bool)", self.changed)
        on_click(
            ui,
            previousSliceButton=self.previous,
            nextSliceButton=self.next,
            seenButton=self._on_seen,
            shownSliceButton=self.take_shown_slice,
            rerunButton=self.rerun,
            fillButton=self.fill_between,
            smoothButton=self.smooth,
            undoButton=self.editor.undo,
            redoButton=self.editor.redo,
            acceptButton=lambda: self.decide(ACCEPTED),
            rejectButton=lambda: self.decide(REJECTED),
            toCorrectButton=lambda: self.decide(TO_CORRECT),
            reopenButton=lambda: self.decide(IN_REVIEW),
            trainingButton=lambda: self._ask_for_set(panel.for_this_mask(self.add_to_training_set)),
            learnButton=lambda: self._ask_for_set(self.learn),
        )

    def enter(self) -> None:
        self._entered = True

    def leave(self) -> None:
        self._entered = False
        self.editor.leave()
        self.versions.flush()

    def close(self) -> None:
        self.editor.close()
        self.versions.flush()
        self.versions.forget()

    def on_collapsed(self, collapsed: bool) -> None:
        if collapsed:
            self.editor.leave()
        super().on_collapsed(collapsed)

    def forget(self) -> None:
        self.ui.noteEdit.modified = False
        self._at = self._kept_accepted = None
        self.choose(0, 0)

    def forget_person(self) -> None:
        self.ui.subjectEdit.text, self.ui.replaceBox.checked = "", False

    def changed(self) -> None:
        self.versions.follow()
        super().changed()

    def refresh(self) -> None:
        review, queue = self.review, self.queue
        left = review.unseen(queue)
        self._show_editor()
        self.ui.stateLabel.setText(_state_text(review))
        if not self.ui.noteEdit.modified:  # else somebody is typing
            self.ui.noteEdit.text = review.note
        self.ui.queueLabel.setText(_queue_text(len(queue), len(left), self.current.result is not None))
        rows = [(str(d.slice), "✓" if d.slice in review.seen else "", d.message) for d in queue]
        show_rows(self.ui.queueTable, rows, flagged=[d.slice not in review.seen for d in queue])
        numbers = [d.slice for d in queue]
        if self._at in numbers:
            self.ui.queueTable.selectRow(numbers.index(self._at))
        self._show_buttons(review, bool(left))
        if not self.ui.historySection.collapsed:
            self._show_history()

    def _show_editor(self) -> None:
        none = not self.current.segment_id
        if none:  # the editor is not open on the current mask
            self.editor.close()
        elif self._entered:
            self.editor.open(self.current.node, self.current.volume, self.current.segment_id)
        self.ui.editorPlace.setVisible(not none)
        if self.current.live.mask is not None:
            for box in (self.ui.firstBox, self.ui.lastBox):
                box.maximum = self.current.live.mask.mask.shape[0] - 1

    def _show_buttons(self, review: Review, left: bool) -> None:
        ui = self.ui
        reason = self.panel.why_no_mask()
        show_text(ui.editorReason, reason if not self.current.segment_id else "")
        for button in (ui.fillButton, ui.smoothButton, ui.undoButton, ui.redoButton):
            grey(button, reason)
        grey(ui.rerunButton, reason or self._why_no_rerun())
        measured = reason or ("" if self.current.result is not None else _("Measure the mask first."))
        empty = measured or ("" if self.queue else _("No slice is flagged."))
        grey(ui.previousSliceButton, empty)
        grey(ui.nextSliceButton, empty)
        grey(ui.seenButton, empty or ("" if self._at is not None else _("Go to a slice of the list first.")))
        ui.acceptButton.text = self.panel.named(_("Accept {name}"))
        ui.acceptButton.setShortcut(qt.QKeySequence(_("Ctrl+Return")))  # a new text takes it away
        nameless = measured or ("" if self.reviewer else _("Type the reviewer’s name first."))
        for button, reason, state in (
            (ui.acceptButton, nameless, ACCEPTED),
            (ui.rejectButton, nameless, REJECTED),
            (ui.toCorrectButton, measured, TO_CORRECT),
        ):
            grey(button, reason or (_("This is the decision already.") if review.state == state else ""))
        if left and ui.acceptButton.enabled:
            ui.acceptButton.toolTip = _("Accept, though not every flagged slice was seen.")
        grey(ui.noteEdit, measured)
        grey(ui.reopenButton, measured or ("" if review.is_finished else _("Nothing was decided yet.")))
        ui.trainingButton.text = self.panel.named(_("Add {name}…"))
        grey(ui.trainingButton, self.why_no_training(review))
        grey(ui.learnButton, self.why_no_learning())

    def _show_history(self) -> None:
        """What was done with the case, the latest first."""
        result = self.current.result
        case = self.panel.work_list.case_of(self.current.node) or (None if result is None else result.case)
        acts = () if case is None else case.history
        rows = [(act.when[:16].replace("T", " "), act.what, act.who) for act in reversed(acts)]
        show_rows(self.ui.historyTable, rows or [("–", _("nothing yet"), "")])

    # Review: which slices were looked at, and what was decided.

    @property
    def reviewer(self) -> str:
        """Who reviews; "" while nobody typed a name."""
        return " ".join(str(self.ui.reviewerEdit.text).split())

    @property
    def review(self) -> Review:
        """Of the current mask; a new one where there is none, or it cannot be read."""
        if self.current.node is None or not self.current.segment_id:
            return Review()
        try:
            return read_review(*self.current.which)
        except ConfigurationError as error:
            self.panel.show_message(str(error))
            return Review()

    @property
    def queue(self) -> tuple[FlaggedSlice, ...]:
        """Flagged slices of the last full measurement, worst first."""
        result = self.current.result
        return () if result is None else result.case.queue

    def next(self) -> None:
        """The slice that is shown counts as seen; on to the worst one that nobody has looked at."""
        if self._at is not None:
            self._keep(with_seen(self.review, [self._at]))
        left = self.review.unseen(self.queue)
        if left:
            self.go(left[0].slice)
        else:
            self._at = None
            self.panel.show_message(_("Every flagged slice was looked at."))
            self.refresh()

    def previous(self) -> None:
        """One up in the list; marks nothing."""
        numbers = [one.slice for one in self.queue]
        at = numbers.index(self._at) if self._at in numbers else len(numbers)
        if at > 0:
            self.go(numbers[at - 1])

    def go(self, number: int) -> None:
        """Show one of the input's slices in the views, ready to be corrected; the case is in review from now on."""
        self._at = number
        self.choose(number, number)
        self.panel.levels.go_to_slice(number)
        self._keep(opened(self.review, self.reviewer))

    def decide(self, state: str) -> None:
        """Accept, reject or reopen, with the reviewer's name; a mask that changed is measured in full before."""
        live = self.current.live
        if self.current.why_stale:
            self.panel.show_message(self.current.why_stale)
        elif state == ACCEPTED and live.stale:
            meant = self.current.which
            self.panel.measure(then=lambda: self._accept_measured(meant))
        else:
            self.panel.attempt(lambda: self._decide(state))

    def _decide(self, state: str) -> None:
        """Raises SpinalCordSegError."""
        self._keep(decided(self.review, state, self.reviewer, mask_sha256=mask_sha256_of(*self.current.which)))

    def _accept_measured(self, meant: tuple[Any, str]) -> None:
        """Decide only on what the reviewer saw when pressing Accept: the current mask may have changed since."""
        if self.current.which == meant and not self.current.live.stale:
            self.decide(ACCEPTED)
        else:
            self.panel.show_message(
                _("The mask was measured but not accepted: it changed, or another one was chosen. Accept it again.")
            )

    def note_edit(self) -> None:
        """A person changed the mask: the case is corrected, and a decision on another mask no longer holds."""
        live, review = self.current.live, self.review
        if not live.stale or review.state == CORRECTED or self.current.result is None:
            return
        if review.is_finished:
            if review.mask_sha256 == mask_sha256_of(*self.current.which):
                return
            if review.state == ACCEPTED and not self._may_reopen(review):
                return
        elif not live.edited:
            return
        self._keep(edited(review, self.reviewer))

    def _may_reopen(self, review: Review) -> bool:
        """Ask once whether an accepted mask may be changed; without it the change is not measured."""
        if review == self._kept_accepted:
            return False
        question = _("{who} accepted this mask. Reopen the case for your change?").format(who=review.who)
        if slicer.util.confirmYesNoDisplay(question):
            return True
        self._kept_accepted = review
        return False

    def _keep(self, review: Review) -> None:
        """With the note as it is typed."""
        which, note = self.current.which, self.ui.noteEdit
        if self.panel.attempt(
            lambda: write_review(*which, with_note(review, note.text if note.modified else review.note))
        ):
            note.modified = False
            self.panel.work_list.note_review()
        super().changed()

    def _on_note(self) -> None:
        if self.ui.noteEdit.modified:
            self._keep(self.review)

    def _on_row(self, row: int, _column: int) -> None:
        if 0 <= row < len(self.queue):
            self.go(self.queue[row].slice)

    def _on_seen(self) -> None:
        if self._at is not None:
            self._keep(with_seen(self.review, [self._at], self._at not in self.review.seen))

    # Correct: a range of slices.

    @property
    def slices(self) -> tuple[int, int]:
        """The input's own slices to change, both included, the smaller first."""
        first, last = self.ui.firstBox.value, self.ui.lastBox.value
        return min(first, last), max(first, last)

    def _range(self, mask: Volume) -> tuple[int, int]:
        first, last = self.slices
        return mask.from_input_range(first, last + 1)

    def choose(self, first: int, last: int) -> None:
        self.ui.firstBox.value, self.ui.lastBox.value = first, last

    def take_shown_slice(self) -> None:
        """The slice that the axial view shows becomes the range."""
        mask = self.current.live.mask
        number = None if mask is None else shown_slice(slicer.mrmlScene, mask.mask)
        if number is None:
            self.panel.show_message(_("No axial view shows a slice of this volume."))
        else:
            self.choose(number, number)

    def fill_between(self) -> None:
        """Draw the range anew from the two slices beside it."""
        from SpinalCordSegLib.correction import fill_between

        def filled(mask: Volume) -> Volume:
            first, end = self._range(mask)
            return fill_between(mask, first - 1, end)

        self.change(filled)

    def smooth(self) -> None:
        """Take steps between slices out of the range."""
        from SpinalCordSegLib.correction import smooth_along_cord

        self.change(lambda mask: smooth_along_cord(mask, self._range(mask)))

    def change(self, correct: Callable[[Volume], Volume]) -> bool:
        """One undoable correction of the current mask; what stands in its way is shown."""
        self.editor.save_state()
        return bool(self.panel.attempt(lambda: correct_segment(*self.current.which, correct)))

    def _replace(self, mask: Volume) -> bool:
        """The same with a whole mask."""
        self.editor.save_state()
        return bool(self.panel.attempt(lambda: replace_mask(*self.current.which, mask)))

    def rerun(self) -> None:
        """Let the network find the range again; what is edited elsewhere meanwhile stays."""
        which, slices, segment = self.current.which, self.slices, self.panel.segment

        def begin() -> Any:
            mask = mask_of_segment(*which)
            image = volume_behind(which[0], mask)
            assert image is not None and segment.models.path is not None  # the button is grey without
            case = self.current.result.case if self.current.result else None
            return rerun_job(image, mask, slices, model=segment.models.path, device=segment.devices.name, case=case)

        self.panel.start(begin, lambda found: self._on_found(found, which, slices))

    def _why_no_rerun(self) -> str:
        if image_node_of(self.current.node) is None:
            return _("The image of the mask is not in the scene.")
        return self._why_no_model() or self.panel.segment.dependencies.message

    def _why_no_model(self) -> str:
        models = self.panel.segment.models
        return "" if models.path else models.why_none

    def _on_found(self, found: Volume, which: tuple[Any, str], slices: tuple[int, int]) -> None:
        if self.panel.is_gone(which[0]):
            return
        if which[0] is self.current.node:  # else the editor's undo is of another mask
            self.editor.save_state()
        if self.panel.attempt(lambda: replace_slices(*which, found, *slices)):
            text = _("{mask}: slices {first} to {last} were segmented again.")
            self.panel.show_message(text.format(mask=which[0].GetName(), first=slices[0], last=slices[1]))

    # Learn from corrections: a reviewed case goes into a folder that the trainer takes as it is.

    def add_to_training_set(self, folder: Path) -> None:
        """Begin to write the current case into ``folder``; what stands in the way is shown."""
        arguments = ["training-set", CASE, "--image", IMAGE, "--subject", self._subject, "--output", str(folder)]
        arguments += ["--force"] if self.ui.replaceBox.checked else []
        text = _("The case is in the training set {name}.").format(name=folder.name)
        qt.QSettings().setValue(_SET_KEY, str(folder))
        self.panel.start(
            lambda: Job(PROGRAM, arguments, lambda *_: text, prepare=self.panel.write_case), self.panel.show_message
        )

    @property
    def _subject(self) -> str:
        return str(self.ui.subjectEdit.text).strip()

    def why_no_training(self, review: Review) -> str:
        """The reason why nothing can be added; "" when it can be tried."""
        reason = self.panel.why_not_measured()
        if reason:
            return reason
        if review.state not in (ACCEPTED, CORRECTED):
            return _("Only corrected or accepted masks can be trained on.")
        return "" if _CODE.fullmatch(self._subject) else _("Type a subject code of letters and digits, never a name.")

    def why_no_learning(self) -> str:
        if installed_version("torch") is None or not trainer_packages():
            return _("PyTorch is needed: the module Spinal Cord Segmentation Trainer installs it.")
        return self.panel.why_busy() or self._why_no_model()

    def _ask_for_set(self, then: Callable[[Path], Any]) -> None:
        ask_folder(self.button, _("Folder of the training set"), then, str(qt.QSettings().value(_SET_KEY) or ""))

    def learn(self, folder: Path) -> None:
        """Begin to teach the chosen model the cases of ``folder``; a better one comes into the list."""
        models, device = self.panel.segment.models, self.panel.segment.devices.name
        model = models.path
        if model is None:
            return

        def show(found: tuple[str, Path | None]) -> None:
            text, path = found
            if path is not None:
                models.add(path)
            self.panel.show_message(text)

        self.panel.start(lambda: learn_job(folder, model, device), show)


def _state_text(review: Review) -> str:
    text = STATE_NAMES[review.state].capitalize()
    if review.who:
        text = _("{state}, {who}, {day}").format(state=text, who=review.who, day=review.when[:10])
    colour = _COLOURS.get(review.state)
    return f'<b style="color:{colour}">{escape(text)}</b>' if colour else escape(text)


def _queue_text(n_flagged: int, n_left: int, measured: bool) -> str:
    if not measured:
        return _("Not measured yet: nothing is flagged.")
    if not n_flagged:
        return _("No slice is flagged. Scroll through the mask once all the same.")
    return _("{left} of {all} flagged slices to look at, worst first:").format(left=n_left, all=n_flagged)
