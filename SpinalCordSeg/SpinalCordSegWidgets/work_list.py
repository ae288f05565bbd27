"""The work list: a bar at the top of the panel that takes case after case out of a folder of results, and stores each
back into its own folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import SpinalCordSegError
from SpinalCordSegLib.review import ACCEPTED, Review
from SpinalCordSegNodes.case_data import ImageFolder, OpenCase
from SpinalCordSegNodes.editing import read_review, write_review
from SpinalCordSegNodes.segmentations import cord_segment_id, mask_of_segment, volume_node_of
from SpinalCordSegNodes.views import Discs, show_alone
from SpinalCordSegWidgets.jobs import Job, store_job
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

if TYPE_CHECKING:
    from SpinalCordSegLib.case import Case
    from SpinalCordSegLib.work_list import WorkItem, WorkList
    from SpinalCordSegWidgets.main_widget import Panel


class WorkListBar(Section):
    """Nothing is kept beside the cases: each folder holds its own state, so the list can be taken up anywhere."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel, panel.ui.workListSection)
        self.folder: Path | None = None
        self.images: ImageFolder | None = None
        self.work: WorkList | None = None
        self._open: dict[Path, OpenCase] = {}  # by the cases' own folders; of earlier lists too
        self.case = ""
        self._last: Any = None  # the previous mask
        ui = self.ui
        self.button.setVisible(False)
        set_up_table(ui.workTable, [_("Case"), _("State"), _("To look at")])
        ui.workTable.connect("cellClicked(int,int)", self._on_row)
        on_click(
            ui,
            workFolderButton=lambda: ask_folder(self.button, _("Folder of results"), self.choose),
            imageFolderButton=lambda: ask_folder(
                self.button, _("Folder of images"), lambda at: setattr(self, "images", ImageFolder(at))
            ),
            previousCaseButton=self.previous,
            nextCaseButton=self.next,
            storeButton=lambda: self.store(),
        )

    def choose(self, folder: Path, images: Path | None = None) -> bool:
        """Store the current case, then take up the list of a folder of results; False, with a message, without one.

        What is open stays bound to its folder, whichever list is shown.
        """
        from SpinalCordSegLib.work_list import read_work_list

        self.store()
        try:
            self.work = read_work_list(folder)
        except SpinalCordSegError as error:
            self.panel.show_message(str(error))
            return False
        if folder != self.folder or all(item.case != self.case for item in self.work.items):
            self.case = ""
        self.folder, self.images = folder, ImageFolder(images) if images else self.images
        self.button.setVisible(True)
        self.button.collapsed = False
        self.refresh()
        return True

    def next(self) -> None:
        """Store this case, then open the next one that is neither accepted nor rejected."""
        self._leave_for(lambda work: work.next_open(self.case or None))

    def previous(self) -> None:
        if self.case:
            self._leave_for(lambda work: work.previous(self.case))

    def open(self, case: str) -> None:
        """Store the current case, then open this one."""
        self._leave_for(lambda work: work.item(case))

    def _leave_for(self, choose: Callable[[WorkList], WorkItem | None]) -> None:
        self.panel.show_message("")
        self.store(lambda: self._go(choose))

    def store(self, then: Callable[[], None] = lambda: None) -> None:
        """Put what has changed in the current case into its folder, then go on. A changed mask is measured anew.

        Where somebody else has changed the folder too, nothing is written: the case stays in the scene as it is.
        """
        item = self.item
        case = None if item is None else self._open.get(item.folder)
        if case is None or not case.in_scene:
            then()
            return
        try:
            (digest, review), in_conflict = case.now(), case.is_in_conflict
        except SpinalCordSegError as error:  # its segment was removed, say: nothing is known to be stored
            self.panel.show_message(f"{case.name}: {error}")
            return
        if in_conflict:
            then()
            self.panel.show_message(str(case.conflict))
        elif digest != case.stored[0]:
            self.current.set(case.segmentation)
            self.panel.measure(then=lambda: self.store(then))
        elif review == case.stored[1] or self.panel.attempt(lambda: case.write(review)):
            self._stored(case, digest, review)
            then()

    @property
    def item(self) -> WorkItem | None:
        """The current case as its folder was read last; None without one."""
        return next((item for item in self.work.items if item.case == self.case), None) if self.work else None

    def refresh(self) -> None:
        ui, work = self.ui, self.work
        items = () if work is None else work.items
        rows, tips = [], []
        for item in items:
            state = _("unreadable") if item.problem else STATE_NAMES[item.review.state]
            left = "" if item.problem else _("{n} of {all}").format(n=item.n_unseen, all=item.n_flagged)
            rows.append((item.case, state, left))
            tips.append(item.problem or item.review.note)
        show_rows(ui.workTable, rows, flagged=[item.is_open for item in items], tips=tips)
        cases = [item.case for item in items]
        if self.case in cases:
            ui.workTable.selectRow(cases.index(self.case))
        chosen = self.item
        text = _("{left} of {all} cases open.").format(left=sum(item.is_open for item in items), all=len(items))
        if chosen is not None:
            text = _("Case {n}: {case}.").format(n=cases.index(self.case) + 1, case=self.case) + " " + text
        ui.workLabel.setText(text)
        remarks = () if work is None or chosen is None else work.remarks(chosen)
        show_text(ui.remarkLabel, "\n".join(remarks).replace(f"{self.folder}{os.sep}", ""))  # a path widens the panel
        busy = self.panel.why_busy()
        none = busy or ("" if items else _("Choose a folder of results first."))
        grey(ui.workFolderButton, busy)
        grey(ui.nextCaseButton, none)
        grey(ui.previousCaseButton, none or ("" if self.case else _("Open a case first.")))
        case = None if chosen is None else self._open.get(chosen.folder)
        other = case is not None and self.current.node is not case.segmentation
        grey(ui.storeButton, none or (_("This is not the case of the current mask: open it first.") if other else ""))

    def close(self) -> None:
        self._open, self.case, self._last = {}, "", None

    def changed(self) -> None:
        """Choosing a mask of the list shows it, even where Next had hidden it."""
        before, self._last = self._last, self.current.node
        case = self._of(self._last)
        if case is not None and self._last is not before:
            case.set_visible(True)
            here = [item.case for item in (self.work.items if self.work else ()) if item.folder == case.folder]
            self.case = here[0] if here else self.case
        super().changed()

    def measure_job(self, segmentation: Any, segment_id: str) -> Job[Case] | None:
        """A corrected case of the list is measured in its own folder; None for any other mask.

        Raises SpinalCordSegError, OutputError where somebody else has changed the folder meanwhile."""
        case = self._of(segmentation)
        if case is None:
            return None
        case.check_folder()
        mask = mask_of_segment(segmentation, segment_id)
        reopen = case.now()[1].state != ACCEPTED  # the user agreed, or nobody had accepted it
        discs = Discs(volume_node_of(segmentation) or segmentation).arguments()
        return store_job(case.folder, mask, case.image, self.panel.review.reviewer, reopen=reopen, discs=discs)

    def note_measured(self, segmentation: Any, digest: str) -> None:
        """The folder has the corrected mask now; the review of the scene goes in, where it is further on."""
        case = self._of(segmentation)
        if case is None:
            return
        segment_id = cord_segment_id(segmentation)
        review = read_review(segmentation, segment_id)
        if self.panel.attempt(lambda: case.take_measured(digest)) and self.panel.attempt(lambda: case.write(review)):
            write_review(segmentation, segment_id, review)
            self.panel.show_message(_("{case} is stored.").format(case=case.name))
            self._stored(case, digest, review)  # a message of that comes after this one

    def case_of(self, segmentation: Any) -> Case | None:
        """The case of a mask of the shown list, as its folder was read last; None for any other mask."""
        case = self._of(segmentation)
        items = self.work.items if case is not None and self.work is not None else ()
        return next((item.content for item in items if case is not None and item.folder == case.folder), None)

    def _of(self, segmentation: Any) -> OpenCase | None:
        return next((case for case in self._open.values() if case.segmentation is segmentation), None)

    def note_review(self) -> None:
        """State or seen slices of the current case were changed: into its folder at once."""
        case = self._of(self.current.node)
        if case is not None:
            self.panel.attempt(lambda: self._write_review(case))

    def _write_review(self, case: OpenCase) -> None:
        digest, review = case.now()
        if digest == case.stored[0] and review != case.stored[1]:
            case.write(review)
            self._stored(case, digest, review)

    def _go(self, choose: Callable[[WorkList], WorkItem | None]) -> None:
        work = self.work
        chosen = () if work is None else self.panel.attempt(lambda: choose(work))
        if not chosen:
            return
        item = chosen[0]
        if item is None:
            self.panel.show_message(_("Every case of the list is accepted or rejected."))
            self.refresh()
            return
        if item.problem:
            self.panel.show_message(f"{item.case}: {item.problem}")
            return
        if not self.panel.attempt(lambda: self._read(item)):
            return
        known, self.case = self._open[item.folder], item.case
        self.current.set(known.segmentation)
        for case in self._open.values():  # the others are mostly of other persons
            case.set_visible(case is known)
        show_alone(self.current.volume)
        # Apply would go on with the previous case's image; and a mask is nothing to find a cord in
        self.panel.segment.set_volume(self.current.volume if known.image is not None else None)
        if known.is_in_conflict:
            self.panel.show_message(str(known.conflict))
        elif known.problem:
            self.panel.show_message(f"{item.case}: {known.problem}")
        self.refresh()

    def _read(self, item: WorkItem) -> None:
        """Read a case that is not in the scene, or only as its folder was before. Raises SpinalCordSegError."""
        assert self.folder is not None  # a list is there
        known = self._open.get(item.folder)
        if known is not None and known.in_scene and (not known.is_outdated or known.is_in_conflict):
            return
        case = OpenCase.read(slicer.mrmlScene, item, self.folder, self.images)
        self.work = None if self.work is None else self.work.read_again(item.folder)
        if known is not None:
            known.set_visible(False)
        self._open[item.folder] = case

    def _stored(self, case: OpenCase, digest: str, review: Review) -> None:
        case.stored = (digest, review)
        if self.panel.attempt(lambda: self._update(case)):
            self.refresh()

    def _update(self, case: OpenCase) -> None:
        """Read this one case again (a list may have hundreds), and write the table of its list."""
        from SpinalCordSegLib.work_list import REVIEW_COLUMNS, REVIEW_TABLE, read_work_list, review_rows, write_table

        shown = self.work if case.results == self.folder else None
        work = (read_work_list(case.results) if shown is None else shown).read_again(case.folder)
        if shown is not None:
            self.work = work
        write_table(case.results / REVIEW_TABLE, REVIEW_COLUMNS, review_rows(work))

    def _on_row(self, row: int, _column: int) -> None:
        if self.work is not None and 0 <= row < len(self.work.items) and not self.panel.control.running:
            self.open(self.work.items[row].case)
