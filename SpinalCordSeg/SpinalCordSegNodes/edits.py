"""Has somebody worked on a mask since it was written? Then it must be measured again, and is no longer automatic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from SpinalCordSegLib.measurement.mask_changes import mask_sha256
from SpinalCordSegNodes.oriented_images import grid_from_text
from SpinalCordSegNodes.provenance import stored_fingerprint, stored_grid
from SpinalCordSegNodes.segmentations import AI_COPY, cord_segment_id, local_mask, mark_corrected


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
