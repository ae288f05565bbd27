"""A case of a work list in the scene, bound to its folder: what of it the folder has, and what not yet. No Qt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from SpinalCordSegLib.doubts.review import Review
from SpinalCordSegLib.errors import OutputError, SpinalCordSegError
from SpinalCordSegNodes.cropped_mask import cropped_mask
from SpinalCordSegNodes.image_folder import ImageFolder
from SpinalCordSegNodes.opened_case import open_case
from SpinalCordSegNodes.review_tags import read_review, write_review
from SpinalCordSegNodes.segmentations import cord_segment_id
from SpinalCordSegWidgets.desk import in_scene

if TYPE_CHECKING:  # it brings SimpleITK along: not when the panel opens
    from SpinalCordSegLib.correction.work_list import WorkItem, WorkList


@dataclass
class OpenCase:
    """``item``: as it was read from the list in ``results``. ``image``: the file it was made from, where that is known.
    ``problem``: what the user should know of it, "" mostly. ``stored``: state of the mask (its digest) and the review
    that the folder had when it was read or written last, ``mask_sha256``: what its report called the mask then."""

    item: WorkItem
    results: Path
    segmentation: Any
    image: Path | None
    problem: str = ""
    stored: tuple[str, Review] = ("", Review())
    mask_sha256: str = ""

    @property
    def in_scene(self) -> bool:
        return in_scene(self.segmentation)

    def now(self) -> tuple[str, Review]:
        """Mask (its digest) and review as the scene has them. Raises SpinalCordSegError."""
        segment_id = cord_segment_id(self.segmentation)
        return cropped_mask(self.segmentation, segment_id).digest(), read_review(self.segmentation, segment_id)

    def ahead(self, item: WorkItem) -> str:
        """The state in the scene where the folder (``item``, as read last) has another one yet; else ""."""
        if not self.in_scene:
            return ""
        try:
            state = read_review(self.segmentation, cord_segment_id(self.segmentation)).state
        except SpinalCordSegError:  # the section Review tells it
            return ""
        return "" if state == item.review.state else state

    def set_visible(self, visible: bool) -> None:
        if self.in_scene and self.segmentation.GetDisplayNode() is not None:
            self.segmentation.GetDisplayNode().SetVisibility(visible)

    @property
    def is_outdated(self) -> bool:
        """Whether somebody has changed the folder since. Raises SpinalCordSegError."""
        found = _state_of(self.item.folder)
        return found is not None and found != (self.mask_sha256, self.stored[1])

    @property
    def is_at_odds(self) -> bool:
        """Whether somebody has changed the folder since, and the user the case in the scene. Raises
        SpinalCordSegError."""
        return self.is_outdated and self.now() != self.stored

    def check_folder(self) -> None:
        """Raises OutputError where somebody has changed the folder since: that is not written over."""
        if self.is_outdated:
            raise OutputError(self.odds_words())

    def odds_words(self) -> str:
        return _(
            "The folder of {case} was changed by somebody else meanwhile: nothing is written over it. To go on with"
            " what it holds, delete this mask (export it first if it is worth keeping) and open the case again."
        ).format(case=self.item.case)

    def write(self, review: Review) -> None:
        """Put a review into the case's folder. Raises SpinalCordSegError."""
        from SpinalCordSegLib.correction.review_store import write_review as write_folder_review

        self.check_folder()
        write_folder_review(self.item.folder, review)

    def take_measured(self, digest: str) -> None:
        """The folder has the mask of that digest now, and what came with it. Raises SpinalCordSegError."""
        self.mask_sha256, review = _state_of(self.item.folder) or ("", Review())
        self.stored = (digest, review)


def read_open_case(item: WorkItem, results: Path, images: ImageFolder | None) -> OpenCase:
    """Put a case into the scene, as its folder is now. Raises SpinalCordSegError."""
    sha256, review = _state_of(item.folder) or ("", item.review)
    opened = open_case(slicer.mrmlScene, item.folder, item.case, images)
    segmentation = opened.result.segmentation
    write_review(segmentation, cord_segment_id(segmentation), review)
    case = OpenCase(item, results, segmentation, opened.image, opened.problem, mask_sha256=sha256)
    case.stored = case.now()
    return case


def item_now(item: WorkItem) -> WorkItem:
    """A case of a list as its folder is now; as it was where that cannot be told."""
    from SpinalCordSegLib.correction.work_list import read_work_list

    try:
        (now,) = read_work_list(item.folder).items
    except SpinalCordSegError:  # reading the case tells it
        return item
    return now


def with_item(work: WorkList, now: WorkItem) -> WorkList:
    """The list with one of its cases as it is now."""
    from SpinalCordSegLib.correction.work_list import WorkList

    return WorkList(tuple(now if item.folder == now.folder else item for item in work.items))


def list_now(case: OpenCase, work: WorkList | None) -> WorkList:
    """The list that a case is of, with the case as its folder is now. ``work``: as it was read before. Raises
    SpinalCordSegError."""
    from SpinalCordSegLib.correction.work_list import read_work_list

    (now,) = read_work_list(case.item.folder).items
    return with_item(read_work_list(case.results) if work is None else work, now)


def _state_of(folder: Path) -> tuple[str, Review] | None:
    """What the report calls the mask, and the review; None without a finished case. Raises SpinalCordSegError."""
    from SpinalCordSegLib.case_folder import read_result

    content = read_result(folder)
    return None if content is None else (str(content.get("mask_sha256") or ""), Review.from_dict(content.get("review")))
