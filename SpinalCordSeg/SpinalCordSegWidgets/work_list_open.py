"""A case of a work list in the scene, bound to its folder: what of it the folder has, and what not yet. No Qt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer

from SpinalCordSegLib.doubts.review import Review
from SpinalCordSegLib.errors import SpinalCordSegError
from SpinalCordSegNodes.cropped_mask import cropped_mask
from SpinalCordSegNodes.image_folder import ImageFolder
from SpinalCordSegNodes.opened_case import open_case
from SpinalCordSegNodes.review_tags import read_review, write_review
from SpinalCordSegNodes.segmentations import cord_segment_id
from SpinalCordSegWidgets.desk import in_scene

if TYPE_CHECKING:  # it brings SimpleITK along: not when the panel opens
    from SpinalCordSegLib.correction.work_list import WorkItem


@dataclass
class OpenCase:
    """``item``: as it was read from the list in ``results``. ``image``: the file it was made from, where that is known.
    ``problem``: what the user should know of it, "" mostly. ``stored``: state of the mask (its digest) and the review
    that the folder has."""

    item: WorkItem
    results: Path
    segmentation: Any
    image: Path | None
    problem: str = ""
    stored: tuple[str, Review] = ("", Review())

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

    def write(self, review: Review) -> None:
        """Put a review into the case's folder. Raises SpinalCordSegError."""
        from SpinalCordSegLib.correction.review_store import write_review as write_folder_review

        write_folder_review(self.item.folder, review)


def read_open_case(item: WorkItem, results: Path, images: ImageFolder | None) -> OpenCase:
    """Put a case into the scene. Raises SpinalCordSegError."""
    opened = open_case(slicer.mrmlScene, item.folder, item.case, images)
    segmentation = opened.result.segmentation
    write_review(segmentation, cord_segment_id(segmentation), item.review)
    case = OpenCase(item, results, segmentation, opened.image, opened.problem)
    case.stored = case.now()
    return case
