"""Has somebody worked on a mask since it was written? Then it must be measured again, and is no longer automatic."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer

from SpinalCordSegLib.errors import ConfigurationError, GeometryError, OutputError
from SpinalCordSegLib.review import Review, review_words
from SpinalCordSegLib.volume import AxialAxes, Volume, input_slice_index
from SpinalCordSegNodes.results import Result, cleaned_mask, report_text, result_of
from SpinalCordSegNodes.segmentations import (
    AI_COPY,
    PREFIX,
    CroppedMask,
    cord_segment_id,
    cropped_mask,
    local_mask,
    mark_corrected,
    own_grid,
    read_tag,
    same_window,
    stored_fingerprint,
    stored_grid,
)
from SpinalCordSegNodes.volumes import grid_from_text, image_of_part

if TYPE_CHECKING:
    from SpinalCordSegLib.metrics import MaskChanges
    from SpinalCordSegLib.morphometry import CordMeasures, LiveMeasures
    from SpinalCordSegLib.vertebral_levels import LevelOptions, LevelReport


@dataclass(frozen=True)
class Edits:
    """What changed in a mask since it was written, mm³ by voxel count. ``edited`` is False when nothing did."""

    edited: bool
    added_mm3: float
    removed_mm3: float


def edits_since_run(node: Any) -> Edits | None:
    """Compare the mask with what ``add_segmentation`` wrote; None when the node is not one of ours.

    The fingerprint in the segment's tag decides whether anything changed (parent transforms do not matter); the
    volumes come from the hidden copy, NaN when that is gone. An edited mask is marked so, see ``mark_corrected``.
    """
    from SpinalCordSegLib.metrics import mask_sha256

    segment_id = cord_segment_id(node)
    if not segment_id:
        return None
    segment = node.GetSegmentation().GetSegment(segment_id)
    grid = grid_from_text(stored_grid(segment))
    now = local_mask(node, segment_id, grid)
    if mask_sha256(now) == stored_fingerprint(segment):
        return Edits(False, 0.0, 0.0)
    mark_corrected(node, segment_id)
    copy = node.GetNodeReference(AI_COPY)
    copy_id = cord_segment_id(copy) if copy is not None else ""
    if not copy_id:
        return Edits(True, float("nan"), float("nan"))
    before = local_mask(copy, copy_id, grid).voxels
    added, removed = (now.voxels & ~before).sum(), (before & ~now.voxels).sum()
    return Edits(True, float(added) * now.voxel_volume_mm3, float(removed) * now.voxel_volume_mm3)


# Corrections of a segment: a few slices drawn anew, everything else left as it is. The caller saves the undo state.


_ROOM = 24  # voxels around the cord in which a correction may draw


def canonical_range(mask: Volume, first: int, last: int) -> tuple[int, int]:
    """The input's own slices ``first`` to ``last``, both included, as a half-open range counted from inferior."""
    ends = sorted(input_slice_index(mask, number) for number in (first, last))
    return ends[0], ends[1] + 1


def correct_segment(node: Any, segment_id: str, correct: Callable[[Volume], Volume]) -> None:
    """Put ``correct`` of the segment's mask in its place. ``correct`` gets the mask cut to the cord's neighbourhood in
    the slices, whole along the cord, in world RAS. Raises GeometryError, OutputError, and what ``correct`` raises.
    """
    part = cropped_mask(node, segment_id, margin=_ROOM)
    corrected = correct(part.mask)
    if corrected.shape != part.mask.shape:
        raise GeometryError("the corrected mask has another shape than the mask: nothing was changed")
    _write(node, segment_id, np.asarray(corrected.voxels) != 0, part.low)


def replace_slices(node: Any, segment_id: str, source: Volume, first: int, last: int) -> None:
    """Take the input's own slices ``first`` to ``last`` from ``source``, on the segmentation's whole grid; no others.

    What was edited elsewhere since ``source`` was made stays. Raises GeometryError, OutputError.
    """
    grid = own_grid(node)
    if source.shape != grid.shape:
        raise GeometryError("the new slices lie on another grid than the mask: nothing was changed")
    axis = AxialAxes.of(grid.ijk_to_ras).ras[2][0]
    whole = cropped_mask(node, segment_id)
    window = tuple(slice(low, low + n) for low, n in zip(whole.low, whole.mask.shape, strict=True))
    voxels = np.zeros(grid.shape, dtype=bool)
    voxels[window] = whole.mask.voxels
    wanted = [slice(None)] * 3
    wanted[axis] = slice(min(first, last), max(first, last) + 1)
    voxels[tuple(wanted)] = np.asarray(source.voxels)[tuple(wanted)] != 0
    _write(node, segment_id, voxels, (0, 0, 0))


def replace_mask(node: Any, segment_id: str, source: Volume) -> None:
    """The whole mask from ``source``, on the segmentation's grid (a version that was kept). Raises as above."""
    if source.shape != own_grid(node).shape:
        raise GeometryError("that version lies on another grid than the mask: nothing was changed")
    _write(node, segment_id, np.asarray(source.voxels) != 0, (0, 0, 0))


def _write(node: Any, segment_id: str, voxels: Any, low: tuple[int, int, int]) -> None:
    used = [np.flatnonzero(voxels.any(axis=tuple(other for other in range(3) if other != axis))) for axis in range(3)]
    if all(found.size for found in used):
        bounds = [(int(found[0]), int(found[-1]) + 1) for found in used]
        voxels = voxels[tuple(slice(a, b) for a, b in bounds)]
        low = (low[0] + bounds[0][0], low[1] + bounds[1][0], low[2] + bounds[2][0])
    else:
        voxels = np.zeros((0, 0, 0), dtype=bool)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    image = image_of_part(own_grid(node), voxels, low)
    if not logic.SetBinaryLabelmapToSegment(image, node, segment_id, logic.MODE_REPLACE):
        raise OutputError("Slicer did not take the corrected mask: nothing was changed")


# The mask in hand as it is at this moment: measured again as it is edited, and compared with what the AI drew.


@dataclass(frozen=True, eq=False)
class _Seen:
    node: Any
    segment_id: str
    cropped: CroppedMask
    live: LiveMeasures
    digest: str


class CurrentMask:
    """``look`` first; then the other properties are those of the mask as it was at that moment, None without one."""

    def __init__(self) -> None:
        self._seen: _Seen | None = None

    def look(self, node: Any, segment_id: str) -> None:
        """Bring everything up to date; what costs time is done only where the mask has changed.

        Raises GeometryError when the segment or its geometry is gone.
        """
        from SpinalCordSegLib.morphometry import LiveMeasures

        seen = self._seen
        if seen is not None and (seen.node is not node or seen.segment_id != segment_id):
            seen = None
        now = cropped_mask(node, segment_id, None if seen is None else seen.cropped)
        if seen is not None and same_window(now, seen.cropped) and now.mask.same_grid(seen.cropped.mask):
            if np.array_equal(now.mask.voxels, seen.cropped.mask.voxels):
                return
            live = seen.live.follow(now.mask)
        else:
            live = LiveMeasures.of(now.mask)
        self._seen = _Seen(node, segment_id, now, live, now.digest())

    def forget(self) -> None:
        self._seen = None

    @property
    def mask(self) -> CroppedMask | None:
        return None if self._seen is None else self._seen.cropped

    @property
    def digest(self) -> str:
        """Tells two states of the mask apart; "" without a mask."""
        return "" if self._seen is None else self._seen.digest

    def measures(self) -> CordMeasures | None:
        """Areas, length, volume and the mask's own flags; diameters and form are NaN."""
        return None if self._seen is None else self._seen.live.measures()

    def levels(self, options: LevelOptions) -> LevelReport | None:
        """The levels on this mask; None without a mask or a marked disc. Raises ConfigurationError."""
        from SpinalCordSegLib.morphometry import clean
        from SpinalCordSegLib.vertebral_levels import measure_levels

        if self._seen is None:
            return None
        return measure_levels(clean(self._seen.cropped.mask).mask, self._seen.live.measures(), options)

    def changes(self) -> MaskChanges | None:
        """Against the AI's own copy; None where there is none, or it lies on another grid."""
        from SpinalCordSegLib.metrics import mask_changes

        if self._seen is None:
            return None
        copy = self._seen.node.GetNodeReference(AI_COPY)
        copy_id = cord_segment_id(copy) if copy is not None else ""
        if not copy_id or self._seen.segment_id != cord_segment_id(self._seen.node):
            return None
        ai = cropped_mask(copy, copy_id, self._seen.cropped)
        now = self._seen.cropped if same_window(ai, self._seen.cropped) else None
        now = now or cropped_mask(self._seen.node, self._seen.segment_id, ai)
        try:
            return mask_changes(now.mask, _on(now, ai))
        except GeometryError:
            return None


def _on(now: CroppedMask, ai: CroppedMask) -> Any:
    """The AI's voxels on the grid of now: parent transforms of the two nodes do not matter."""
    if not same_window(now, ai):
        raise GeometryError("the AI's own copy lies on another grid than the mask")
    return now.mask.with_voxels(ai.mask.voxels)


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
    reported = Review.from_json(None if result is None else result.report_content().get("review"))
    if not stored:
        return reported
    try:
        tagged = Review.from_json(json.loads(base64.b64decode(stored)))
    except ValueError as error:
        raise ConfigurationError("the review kept in this mask cannot be read: review it again") from error
    return max(tagged, reported, key=lambda review: len(review.events))


def write_review(segmentation: Any, segment_id: str, review: Review) -> None:
    """Keep the review in the segment, with its state in words, and in the report where there is one."""
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    if segment is None:
        raise ConfigurationError("the segment is no longer there: choose another one")
    # JSON holds ":" and "|", which part tags in a .seg.nrrd.
    segment.SetTag(_REVIEW, base64.b64encode(json.dumps(review.as_json()).encode()).decode())
    segment.SetTag(_STATE, review_words(review).replace(":", "-").replace("|", " "))
    result = result_of(segmentation)
    if result is not None:
        _into_report(result, review)


def mask_sha256_of(segmentation: Any, segment_id: str) -> str:
    """SHA-256 of the mask as it is measured, on its own grid: what a decision is tied to. Raises GeometryError."""
    from SpinalCordSegLib.metrics import mask_sha256

    return mask_sha256(cleaned_mask(segmentation, segment_id))


def _into_report(result: Result, review: Review) -> None:
    from SpinalCordSegLib.report import updated_page

    content = dict(result.report_content()) | {"review": review.as_json()}
    result.report.SetText(report_text(content))
    if result.page is not None and result.page.GetText():
        result.page.SetText(updated_page(result.page.GetText(), content))
