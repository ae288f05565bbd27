"""Review: the flagged slices, worst first, and the decision on the case with the reviewer's name."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import ConfigurationError, SpinalCordSegError
from SpinalCordSegLib.review import (
    ACCEPTED,
    AI,
    CORRECTED,
    IN_REVIEW,
    REJECTED,
    Review,
    decided,
    edited,
    opened,
    with_seen,
)
from SpinalCordSegNodes.editing import mask_sha256_of, read_review, write_review
from SpinalCordSegWidgets.section import Section, grey, on_click, set_up_table, show_rows

if TYPE_CHECKING:
    from SpinalCordSegLib.quality_control import FlaggedSlice
    from SpinalCordSegWidgets.main_widget import Panel


_KEY = "SpinalCordSeg/Reviewer"  # in Slicer's settings on this computer
_COLOURS = {ACCEPTED: "#2e6b3e", REJECTED: "#b3261e"}


class ReviewPanel(Section):
    def __init__(self, ui: Any, panel: Panel) -> None:
        super().__init__(ui, panel)
        self._at: int | None = None  # the input's slice that was gone to last
        self._kept_accepted: Review | None = None  # which the user did not want to reopen
        ui.reviewerEdit.text = str(qt.QSettings().value(_KEY) or "")
        ui.reviewerEdit.connect("editingFinished()", lambda: qt.QSettings().setValue(_KEY, self.reviewer))
        ui.reviewerEdit.connect("textChanged(QString)", self._on_change)
        set_up_table(ui.queueTable, [_("Slice"), _("Seen"), _("Why")], (44, 40))
        ui.queueTable.connect("cellClicked(int,int)", self._on_row)
        on_click(
            ui,
            previousSliceButton=self.previous,
            nextSliceButton=self.next,
            seenButton=self._on_seen,
            acceptButton=lambda: self.decide(ACCEPTED),
            rejectButton=lambda: self.decide(REJECTED),
            reopenButton=lambda: self.decide(IN_REVIEW),
        )

    @property
    def reviewer(self) -> str:
        """Who reviews; "" while nobody typed a name."""
        return " ".join(str(self.ui.reviewerEdit.text).split())

    @property
    def review(self) -> Review:
        """Of the current mask; a new one where there is none, or it cannot be read."""
        if self.panel.segmentation is None or not self.panel.segment_id:
            return Review()
        try:
            return read_review(self.panel.segmentation, self.panel.segment_id)
        except ConfigurationError as error:
            self.panel.show_message(str(error))
            return Review()

    @property
    def queue(self) -> tuple[FlaggedSlice, ...]:
        """Flagged slices of the last full measurement, worst first."""
        result = self.panel.result
        return () if result is None else result.case.queue

    def _unseen(self, queue: tuple[FlaggedSlice, ...], review: Review) -> tuple[FlaggedSlice, ...]:
        return tuple(one for one in queue if one.slice not in review.seen)

    def next(self) -> None:
        """The slice that is shown counts as seen; on to the worst one that nobody has looked at."""
        if self._at is not None:
            self._keep(with_seen(self.review, [self._at]))
        left = self._unseen(self.queue, self.review)
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
        """Show one of the input's slices in the views; the case is in review from now on."""
        self._at = number
        self.panel.measures.go_to_slice(number)
        self._keep(opened(self.review, self.reviewer))

    def decide(self, state: str) -> None:
        """Accept, reject or reopen, with the reviewer's name; a mask that changed is measured in full before."""
        if self.panel.live.why_stale:
            self.panel.show_message(self.panel.live.why_stale)
            return
        if state == ACCEPTED and self.panel.live.stale:
            meant = self.panel.segmentation, self.panel.segment_id
            self.panel.measure(then=lambda: self._accept_measured(*meant))
            return
        segmentation, segment_id = self.panel.segmentation, self.panel.segment_id
        try:
            sha256 = mask_sha256_of(segmentation, segment_id)
            review = decided(self.review, state, self.reviewer, mask_sha256=sha256)
        except SpinalCordSegError as error:
            self.panel.show_message(str(error))
            return
        self._keep(review)

    def _accept_measured(self, segmentation: Any, segment_id: str) -> None:
        """Decide only on what the reviewer saw when pressing Accept: the current mask may have changed since."""
        panel = self.panel
        if panel.segmentation is segmentation and panel.segment_id == segment_id and not panel.live.stale:
            self.decide(ACCEPTED)
        else:
            panel.show_message(
                _("The mask was measured but not accepted: it changed, or another one was chosen. Accept it again.")
            )

    def note_edit(self) -> None:
        """A person changed the mask: the case is corrected, and a decision on another mask no longer holds."""
        live, review = self.panel.live, self.review
        if not live.stale or review.state == CORRECTED or self.panel.result is None:
            return
        if review.is_finished:
            if review.mask_sha256 == mask_sha256_of(self.panel.segmentation, self.panel.segment_id):
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

    def refresh(self) -> None:
        ui, review, queue = self.ui, self.review, self.queue
        ui.stateLabel.setText(_state_text(review))
        left = self._unseen(queue, review)
        ui.queueLabel.setText(_queue_text(len(queue), len(left), self.panel.result is not None))
        rows = [(str(d.slice), "✓" if d.slice in review.seen else "", d.message) for d in queue]
        show_rows(ui.queueTable, rows, flagged=[d.slice not in review.seen for d in queue])
        ui.queueTable.setVisible(bool(queue))
        numbers = [d.slice for d in queue]
        if self._at in numbers:
            ui.queueTable.selectRow(numbers.index(self._at))
        self._show_buttons(review, bool(left))

    def forget(self) -> None:
        self._at = self._kept_accepted = None

    def _show_buttons(self, review: Review, left: bool) -> None:
        ui = self.ui
        reason = self.panel.why_no_mask()
        if not reason and self.panel.result is None:
            reason = _("Measure the mask first.")
        empty = reason or ("" if self.queue else _("No slice is flagged."))
        grey(ui.previousSliceButton, empty)
        grey(ui.nextSliceButton, empty)
        grey(ui.seenButton, empty or ("" if self._at is not None else _("Go to a slice of the list first.")))
        ui.acceptButton.text = self.panel.named(_("Accept {name}"))
        nameless = reason or ("" if self.reviewer else _("Type the reviewer’s name first."))
        grey(ui.acceptButton, nameless or (_("Accepted already.") if review.state == ACCEPTED else ""))
        if left and ui.acceptButton.enabled:
            ui.acceptButton.toolTip = _("Accept, though not every flagged slice was seen.")
        grey(ui.rejectButton, nameless or (_("Rejected already.") if review.state == REJECTED else ""))
        grey(ui.reopenButton, reason or ("" if review.is_finished else _("Nothing was decided yet.")))

    def _keep(self, review: Review) -> None:
        segmentation, segment_id = self.panel.segmentation, self.panel.segment_id
        if self.panel.attempt(lambda: write_review(segmentation, segment_id, review)):
            self.panel.work_list.note_review()
        self._on_change()

    def _on_row(self, row: int, _column: int) -> None:
        if 0 <= row < len(self.queue):
            self.go(self.queue[row].slice)

    def _on_seen(self) -> None:
        if self._at is not None:
            self._keep(with_seen(self.review, [self._at], self._at not in self.review.seen))


def _state_text(review: Review) -> str:
    names = {
        AI: _("Segmented by the AI, not reviewed yet"),
        IN_REVIEW: _("In review"),
        CORRECTED: _("Corrected by hand"),
        ACCEPTED: _("Accepted"),
        REJECTED: _("Rejected"),
    }
    text = names[review.state]
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
