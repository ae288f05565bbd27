"""What a person does with a mask: changes against the AI's own, corrections of a few slices, and the review."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import slicer.util

from SpinalCordSegLib.errors import ConfigurationError, GeometryError, OutputError
from SpinalCordSegLib.files import from_json, to_json
from SpinalCordSegLib.review import Review, review_text
from SpinalCordSegLib.volume import Volume, mask_sha256, place_on
from SpinalCordSegNodes.results import (
    Result,
    cleaned_mask,
    is_measured,
    latest_follow_up,
    live_case,
    measured_cord,
    report_text,
    result_of,
)
from SpinalCordSegNodes.segmentations import (
    AI_COPY,
    FINGERPRINT,
    GRID,
    PREFIX,
    CroppedMask,
    cord_segment_id,
    cropped_mask,
    local_mask,
    mark_corrected,
    mask_of_segment,
    own_grid,
    read_tag,
    segment_ids,
    volume_node_of,
)
from SpinalCordSegNodes.volumes import grid_from_text, image_from_voxels, world_transform

if TYPE_CHECKING:
    from SpinalCordSegLib.case import Case
    from SpinalCordSegLib.metrics import MaskChanges


def changes_since_ai(node: Any, segment_id: str, now: CroppedMask) -> tuple[bool, MaskChanges | None]:
    """Whether a person changed what the AI drew, and how. ``now``: the mask as it is.

    The changes are None where the AI's own copy is gone or lies on another grid: then the fingerprint in the segment's
    tag decides. (False, None) for a segment that did not begin as one of ours. Parent transforms do not matter.
    """
    from SpinalCordSegLib.metrics import mask_changes

    if segment_id != cord_segment_id(node):
        return False, None
    copy = node.GetNodeReference(AI_COPY)
    copy_id = cord_segment_id(copy) if copy is not None else ""
    if copy_id:
        ai = cropped_mask(copy, copy_id, now)
        now = cropped_mask(node, segment_id, ai)
        if (now.low, now.mask.ijk_shape, now.grid_shape) == (ai.low, ai.mask.ijk_shape, ai.grid_shape):
            changes = mask_changes(now.mask, now.mask.with_ijk(ai.mask.ijk))
            return bool(changes.slices), changes
    segment = node.GetSegmentation().GetSegment(segment_id)
    whole = local_mask(node, segment_id, grid_from_text(read_tag(segment, GRID)))
    return mask_sha256(whole) != read_tag(segment, FINGERPRINT), None


@dataclass(frozen=True, eq=False)
class LiveNumbers:
    """A mask as it is now: measured anew after the last stroke, which takes 30 ms.

    ``stale``: not the mask, or not the image (``is_other_image``), that was measured in full. ``edited``: not the mask
    that the AI drew. ``changes``: against the AI's own, None where there is none. ``problem``: why it cannot be read.
    ``case``: with the numbers as they are now, None of what was never measured.
    """

    mask: CroppedMask | None = None
    digest: str = ""
    stale: bool = False
    is_other_image: bool = False
    edited: bool = False
    changes: MaskChanges | None = None
    problem: str = ""
    case: Case | None = None


def live_numbers(node: Any, segment_id: str, result: Result | None, is_other_image: bool = False) -> LiveNumbers:
    """Look at a mask. ``is_other_image``: the image is not the one that was measured."""
    if node is None or not segment_id:
        return LiveNumbers()
    try:
        mask = cropped_mask(node, segment_id)
    except GeometryError as error:
        return LiveNumbers(problem=str(error), case=None if result is None else result.case)
    digest = mask.digest()
    if result is None:  # what was never measured has no numbers to follow
        return LiveNumbers(mask, digest)
    stale, case = is_other_image or not is_measured(result, digest), result.case
    edited, changes = changes_since_ai(node, segment_id, mask)
    if edited:
        mark_corrected(node, segment_id)
    if stale:
        from SpinalCordSegLib.morphometry import measure  # scipy: not when the panel opens

        case = live_case(case, measure(measured_cord(case, mask.mask, changes), shape=False))
    return LiveNumbers(mask, digest, stale, is_other_image, edited, changes, case=case)


# Corrections of a segment: a few slices drawn anew, everything else left as it is. The caller saves the undo state.


_EDITOR = "SpinalCordSegEditor"


def editor_node(scene: Any) -> Any:
    """The parameters of the Segment Editor in the panel: the Segment Editor module's choices stay as they are."""
    node = scene.GetSingletonNode(_EDITOR, "vtkMRMLSegmentEditorNode")
    if node is None:
        node = slicer.vtkMRMLSegmentEditorNode()
        node.SetSingletonTag(_EDITOR)
        node = scene.AddNode(node)
    # by default painting cuts the painted place out of all other segments of the segmentation
    node.SetOverwriteMode(node.OverwriteNone)
    return node


_ROOM = 24  # voxels around the cord in which a correction may draw


def correct_segment(node: Any, segment_id: str, correct: Callable[[Volume], Volume]) -> None:
    """Put ``correct`` of the segment's mask in its place. ``correct`` gets the mask cut to the cord's neighbourhood in
    the slices, whole along the cord, in world RAS. Raises GeometryError, OutputError, and what ``correct`` raises.
    """
    part = cropped_mask(node, segment_id, margin=_ROOM)
    corrected = correct(part.mask)
    if corrected.ijk_shape != part.mask.ijk_shape:
        raise GeometryError("the corrected mask has another shape than the mask: nothing was changed")
    _write(node, segment_id, np.asarray(corrected.ijk) != 0, part.low)


def replace_slices(node: Any, segment_id: str, source: Volume, first: int, last: int) -> None:
    """Take the input's own slices ``first`` to ``last`` from ``source``, on the segmentation's whole grid; no others.

    What was edited elsewhere since ``source`` was made stays. Raises GeometryError, OutputError.
    """
    grid = own_grid(node)
    drawn = grid.with_ijk(_on_grid_of(node, grid, source))
    voxels = local_mask(node, segment_id).voxels.copy()
    low, high = grid.from_input_range(first, last + 1)
    voxels[low:high] = drawn.voxels[low:high]
    _write(node, segment_id, grid.with_voxels(voxels).ijk, (0, 0, 0))


def replace_mask(node: Any, segment_id: str, source: Volume) -> None:
    """The whole mask from ``source``, on the segmentation's grid (a version that was kept). Raises as above."""
    _write(node, segment_id, _on_grid_of(node, own_grid(node), source), (0, 0, 0))


def _on_grid_of(node: Any, grid: Volume, source: Volume) -> Any:
    """``source`` (world RAS) on the segmentation's own ``grid``: bool [i, j, k]."""
    world = Volume.from_ijk(grid.ijk, world_transform(node) @ grid.ijk_to_ras)
    return np.asarray(place_on(source, world, ("the new mask", "the segmentation")).ijk) != 0


def _write(node: Any, segment_id: str, voxels: Any, low: tuple[int, int, int]) -> None:
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    image = image_from_voxels(own_grid(node), voxels, low)
    if not logic.SetBinaryLabelmapToSegment(image, node, segment_id, logic.MODE_REPLACE):
        raise OutputError("Slicer did not take the corrected mask: nothing was changed")


# The state of a review, kept in the mask's segment (it travels with .mrb, .seg.nrrd and the scene) and its report.


_REVIEW, _STATE = PREFIX + "Review", PREFIX + "ReviewState"


def read_review(segmentation: Any, segment_id: str) -> Review:
    """The review of a mask; Review() of one nobody has looked at.

    The segment's and the report's, whichever is further on: undo takes the segment back with its tags, the report not.
    Raises ConfigurationError when what is stored cannot be read.
    """
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    stored = "" if segment is None else read_tag(segment, _REVIEW)
    result = result_of(segmentation)
    reported = Review() if result is None else result.case.review
    if not stored:
        return reported
    try:
        tagged = from_json(Review, json.loads(base64.b64decode(stored)))
    except ValueError as error:
        raise ConfigurationError("the review kept in this mask cannot be read: review it again") from error
    return max(reported, tagged, key=lambda review: review.when)


def write_review(segmentation: Any, segment_id: str, review: Review) -> None:
    """Keep the review in the segment, with its state as text, and in the report where there is one."""
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    if segment is None:
        raise ConfigurationError("the segment is no longer there: choose another one")
    # JSON holds ":" and "|", which part tags in a .seg.nrrd.
    segment.SetTag(_REVIEW, base64.b64encode(json.dumps(to_json(review)).encode()).decode())
    segment.SetTag(_STATE, review_text(review).replace(":", "-").replace("|", " "))
    result = result_of(segmentation)
    if result is not None:
        result.report.SetText(report_text(replace(result.case, review=review)))


def ai_mask_of(segmentation: Any, segment_id: str) -> Volume | None:
    """What the AI drew, where this segment began as that and its report names a model; else None."""
    result, copy = result_of(segmentation), segmentation.GetNodeReference(AI_COPY)
    if result is None or copy is None or result.case.model is None or segment_id != cord_segment_id(segmentation):
        return None
    copy_id = cord_segment_id(copy)
    return mask_of_segment(copy, copy_id) if copy_id else None


def untouched_result(scene: Any, volume_node: Any) -> Any:
    """The last mask found in an image, where nobody corrected, reviewed, compared or added to it; else None."""
    masks = [mask for mask in slicer.util.getNodesByClass("vtkMRMLSegmentationNode", scene) if result_of(mask)]
    last = next((mask for mask in reversed(masks) if volume_node_of(mask) is volume_node), None)
    if last is None or segment_ids(last) != [segment_id := cord_segment_id(last)]:
        return None
    edited, changes = changes_since_ai(last, segment_id, cropped_mask(last, segment_id))
    is_ours = changes is not None and not edited and read_review(last, segment_id) == Review()
    return last if is_ours and latest_follow_up(scene, last) is None else None


def mask_sha256_of(segmentation: Any, segment_id: str) -> str:
    """SHA-256 of the mask as it is measured, on its own grid: what a decision is tied to. Raises GeometryError."""

    return mask_sha256(cleaned_mask(segmentation, segment_id))
