"""A segment's mask cut down to the cord: what follows a brush must not touch the fifty million voxels around it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

from SpinalCordSegLib.errors import GeometryError
from SpinalCordSegLib.images.volume import AxialAxes, Volume
from SpinalCordSegNodes.segmentations import local_mask, own_grid
from SpinalCordSegNodes.volumes import world_transform

_MARGIN = 3  # voxels: so that a mask touches the edge of the cut only where it touches the edge of the image
_LATTICE = 1e-3  # voxels: how far off the grid a labelmap may lie and still count as on it


@dataclass(frozen=True, eq=False)
class CroppedMask:
    """``mask``: bool, in world RAS, whole along the slice axis, cut around the cord in the other two.

    ``low``: the cut's first voxel within the segmentation's grid, of shape ``grid_shape``.
    """

    mask: Volume
    low: tuple[int, int, int]
    grid_shape: tuple[int, int, int]

    def places(self) -> NDArray[np.int64]:
        """The set voxels as ascending numbers within the whole grid: the same whatever was cut away."""
        found = np.argwhere(self.mask.voxels) + self.low
        flat = np.ravel_multi_index(tuple(found.T), self.grid_shape) if len(found) else np.zeros(0, np.int64)
        return np.sort(flat).astype(np.int64)

    def digest(self) -> str:
        """SHA-256 over the grid's shape and the set voxels' places."""
        digest = hashlib.sha256(repr(self.grid_shape).encode())
        digest.update(self.places().tobytes())
        return digest.hexdigest()

    def slices_apart(self, other: CroppedMask) -> frozenset[int]:
        """The slices, by the grid's own numbers, in which the two differ. Both on grids of one shape."""
        apart = np.setxor1d(self.places(), other.places(), assume_unique=True)
        axis = AxialAxes.of(self.mask.ijk_to_ras).ras[2][0]
        return frozenset(np.unique(np.unravel_index(apart, self.grid_shape)[axis]).tolist())


def cropped_mask(node: Any, segment_id: str, around: CroppedMask | None = None, margin: int = _MARGIN) -> CroppedMask:
    """The segment's mask on its segmentation's grid; at least the window of ``around``, where that is given.

    ``margin``: voxels around the cord in the two axes that are cut.

    Raises GeometryError as ``segmentations.mask_of_segment`` does.
    """
    grid = own_grid(node)
    part, at = _stored_part(node, segment_id, grid)
    slice_axis = AxialAxes.of(grid.ijk_to_ras).ras[2][0]
    low, high = _window(part, at, grid.shape, slice_axis, around, margin)
    voxels = np.zeros([b - a for a, b in zip(low, high, strict=True)], dtype=bool)
    if part.any():  # an empty segment may be stored with others, in an image that does not reach the window
        overlap = [(max(a, s), min(b, s + n)) for a, b, s, n in zip(low, high, at, part.shape, strict=True)]
        inside = tuple(slice(first - a, end - a) for (first, end), a in zip(overlap, low, strict=True))
        source = tuple(slice(first - s, end - s) for (first, end), s in zip(overlap, at, strict=True))
        voxels[inside] = part[source]
    matrix = grid.ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, :3] @ low
    return CroppedMask(Volume(voxels, world_transform(node) @ matrix), (low[0], low[1], low[2]), grid.shape)


def same_window(mask: CroppedMask, other: CroppedMask) -> bool:
    """Whether the two are cut alike, so that their voxels can be compared one by one."""
    return mask.low == other.low and mask.mask.shape == other.mask.shape and mask.grid_shape == other.grid_shape


def _stored_part(node: Any, segment_id: str, grid: Volume) -> tuple[NDArray[np.bool_], tuple[int, int, int]]:
    """The voxels that the segmentation stores, and where they begin on the grid; resampled, the whole grid."""
    segment = node.GetSegmentation().GetSegment(segment_id)
    if segment is None:
        raise GeometryError("the segment is no longer there: choose another one")
    name = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    image = segment.GetRepresentation(name)
    if image is None:  # drawn as a surface
        return np.asarray(local_mask(node, segment_id, grid).voxels), (0, 0, 0)
    if image.GetNumberOfPoints() == 0 or image.GetPointData().GetScalars() is None:
        return np.zeros((0, 0, 0), dtype=bool), (0, 0, 0)
    at = _place_on(grid, image)
    if at is None:
        return np.asarray(local_mask(node, segment_id, grid).voxels), (0, 0, 0)
    scalars = vtk_to_numpy(image.GetPointData().GetScalars())
    return scalars.reshape(image.GetDimensions(), order="F") == segment.GetLabelValue(), at


def _place_on(grid: Volume, image: Any) -> tuple[int, int, int] | None:
    """The grid's voxel that the image begins at; None where the two lattices differ."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    between = np.linalg.inv(grid.ijk_to_ras) @ slicer.util.arrayFromVTKMatrix(matrix)
    if not np.allclose(between[:3, :3], np.eye(3), atol=_LATTICE / max(grid.shape)):
        return None
    extent = image.GetExtent()
    exact = between[:3, 3] + extent[0:6:2]
    if not np.allclose(exact, np.rint(exact), atol=_LATTICE):
        return None
    i, j, k = (int(value) for value in np.rint(exact))
    return i, j, k


def _window(
    part: NDArray[np.bool_],
    at: tuple[int, int, int],
    shape: tuple[int, int, int],
    slice_axis: int,
    around: CroppedMask | None,
    margin: int,
) -> tuple[list[int], list[int]]:
    low, high = [], []
    for axis in range(3):
        used = np.flatnonzero(part.any(axis=tuple(other for other in range(3) if other != axis)))
        first, end = (int(used[0]) + at[axis], int(used[-1]) + 1 + at[axis]) if used.size else (0, 1)
        first, end = first - margin, end + margin
        if around is not None and around.grid_shape == shape:
            first = min(first, around.low[axis])
            end = max(end, around.low[axis] + around.mask.shape[axis])
        low.append(0 if axis == slice_axis else max(0, first))
        high.append(shape[axis] if axis == slice_axis else min(shape[axis], end))
    return low, high
