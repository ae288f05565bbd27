"""Masks as vtkOrientedImageData, the form in which a segmentation stores them, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from SpinalCordSegLib.images.volume import Volume


def geometry_text(volume: Volume) -> str:
    """The volume's grid as Slicer writes it (19 numbers: matrix and extent); exact to the last digit of a double."""
    return slicer.vtkSegmentationConverter.SerializeImageGeometry(_empty_image(volume))


def grid_from_text(text: str) -> Volume | None:
    """A volume of zeros on the grid of a geometry text whose extent may begin anywhere; None when it says nothing."""
    image = slicer.vtkOrientedImageData()
    if not text or not slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, image, False):
        return None
    low, shape = _extent(image)
    if min(shape) < 1:
        return None
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    ijk_to_ras = slicer.util.arrayFromVTKMatrix(matrix)
    ijk_to_ras[:3, 3] += ijk_to_ras[:3, :3] @ low
    return Volume(np.zeros(shape, np.uint8), ijk_to_ras)


def image_from_mask(mask: Volume) -> Any:
    """An image of 0 and 1 on the mask's grid, its extent cut to the voxels that are set; None for an empty mask."""
    filled = np.asarray(mask.voxels) != 0
    if not filled.any():
        return None
    low, high = _bounds(filled)
    part = filled[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].astype(np.uint8)
    image = _empty_image(mask)
    image.SetExtent(low[0], high[0] - 1, low[1], high[1] - 1, low[2], high[2] - 1)
    scalars = numpy_to_vtk(part.ravel(order="F"), deep=True, array_type=vtk.VTK_UNSIGNED_CHAR)
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)
    return image


def image_of_part(grid: Volume, voxels: NDArray[np.bool_], low: tuple[int, int, int]) -> Any:
    """An image of 0 and 1 on the lattice of ``grid`` whose extent begins at voxel ``low``; one zero for no voxels."""
    image = _empty_image(grid)
    part = np.asarray(voxels != 0).astype(np.uint8)
    if not part.size:
        part, low = np.zeros((1, 1, 1), np.uint8), (0, 0, 0)
    extent = [edge for first, n in zip(low, part.shape, strict=True) for edge in (first, first + n - 1)]
    image.SetExtent(*extent)
    scalars = numpy_to_vtk(part.ravel(order="F"), deep=True, array_type=vtk.VTK_UNSIGNED_CHAR)
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)
    return image


def mask_from_image(image: Any, grid: Volume) -> Volume:
    """The image's non-zero voxels on the grid of ``grid`` (bool), by nearest neighbour where the two grids differ.

    On the same lattice the voxels come back exactly; what lies outside ``grid`` is left out.
    """
    voxels = np.zeros(grid.shape, dtype=bool)
    if image is None or image.GetNumberOfPoints() == 0:
        return grid.with_voxels(voxels)
    resampled = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        image, _empty_image(grid), resampled, False, True
    )
    low, shape = _extent(resampled)
    part = vtk_to_numpy(resampled.GetPointData().GetScalars()).reshape(shape, order="F") != 0
    target = tuple(slice(max(a, 0), min(a + n, m)) for a, n, m in zip(low, shape, grid.shape, strict=True))
    source = tuple(slice(t.start - a, t.stop - a) for t, a in zip(target, low, strict=True))
    voxels[target] = part[source]
    return grid.with_voxels(voxels)


def _empty_image(volume: Volume) -> Any:
    image = slicer.vtkOrientedImageData()
    image.SetExtent(0, volume.shape[0] - 1, 0, volume.shape[1] - 1, 0, volume.shape[2] - 1)
    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(volume.ijk_to_ras))
    return image


def _extent(image: Any) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """First index and number of voxels along i, j, k."""
    i0, i1, j0, j1, k0, k1 = image.GetExtent()
    return (i0, j0, k0), (i1 - i0 + 1, j1 - j0 + 1, k1 - k0 + 1)


def _bounds(filled: NDArray[np.bool_]) -> tuple[list[int], list[int]]:
    """First index and one past the last with a voxel set, along each axis."""
    low, high = [], []
    for axis in range(3):
        used = np.flatnonzero(filled.any(axis=tuple(other for other in range(3) if other != axis)))
        low.append(int(used[0]))
        high.append(int(used[-1]) + 1)
    return low, high
