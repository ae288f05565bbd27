"""Volume nodes to volumes and back.

Slicer's arrays are [k, j, i]; a ``Volume`` is [i, j, k]: the transpose is made here and nowhere else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from numpy.typing import NDArray

from SpinalCordSegLib.errors import GeometryError, VoxelError
from SpinalCordSegLib.images.volume import Volume


def volume_from_node(node: Any) -> Volume:
    """The voxels of a scalar volume node and where they lie in world RAS mm (a view on the node's voxels: no copy).

    A linear parent transform becomes part of the geometry. Raises GeometryError when the node holds no voxels, when
    a parent transform is not linear, or when the grid is not a rectangular one with it (shear, a lost axis);
    VoxelError when there is more than one value per voxel. No text quotes the node's name: it may be a patient's.
    """
    image = node.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0 or image.GetPointData().GetScalars() is None:
        raise GeometryError("the volume node holds no voxels: load the volume again")
    components = image.GetNumberOfScalarComponents()
    if components != 1:
        raise VoxelError(
            f"found {components} values per voxel (colour or a vector), expected one grey value: choose a scalar volume"
        )
    to_world = world_transform(node)
    try:
        return Volume(slicer.util.arrayFromVolume(node).transpose(), to_world @ grid_of_node(node))
    except GeometryError as error:
        if np.array_equal(to_world, np.eye(4)):
            raise
        raise GeometryError(
            f"with its parent transform, {error}. A transform that shears or flattens cannot be part of a grid:"
            " harden it on the volume (Data module, right click, Harden transform) or take the volume out of it"
        ) from error


def grid_of_node(node: Any) -> NDArray[np.float64]:
    """4×4 ijk→RAS mm of the node itself, without any parent transform."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def world_transform(node: Any) -> NDArray[np.float64]:
    """4×4 from the node's own RAS to world RAS mm; the identity without a parent transform.

    Raises GeometryError when the way to world is not linear.
    """
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        raise GeometryError(_why_not_linear(parent))
    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def _why_not_linear(parent: Any) -> str:
    if parent.IsA("vtkMRMLGridTransformNode") and "acquisition transform" in parent.GetName():
        return (
            "Slicer's DICOM import found unevenly spaced or tilted slices and put the volume under an acquisition"
            " transform: right-click the volume in the Data module and choose Harden transform (this resamples it to"
            " an even grid), then run again"
        )
    return (
        "the volume lies under a transform that is not linear (a deformation): areas and volumes in it would not be"
        " the patient's; take the volume out of the transform, or harden it to resample the volume"
    )


def node_from_volume(scene: Any, volume: Volume, name: str) -> Any:
    """A new scalar volume node with these voxels (bool becomes uint8) and this geometry, without display changes."""
    voxels = volume.voxels.astype(np.uint8) if volume.voxels.dtype == bool else volume.voxels
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(voxels.transpose()))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(volume.ijk_to_ras))
    node.CreateDefaultDisplayNodes()
    return node
