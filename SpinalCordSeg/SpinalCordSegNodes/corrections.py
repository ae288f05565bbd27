"""Corrections of a segment: a few slices drawn anew, everything else left as it is. The caller saves the undo state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import slicer

from SpinalCordSegLib.errors import GeometryError, OutputError
from SpinalCordSegLib.images.volume import AxialAxes, Volume, input_slice_index
from SpinalCordSegNodes.cropped_mask import cropped_mask
from SpinalCordSegNodes.oriented_images import image_of_part
from SpinalCordSegNodes.segmentations import own_grid

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
