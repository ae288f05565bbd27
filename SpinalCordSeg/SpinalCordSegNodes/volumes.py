"""Volume nodes to volumes and back, whose image a node holds, and the DICOM files behind it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from SpinalCordSegLib.errors import GeometryError, OutputError, SpinalCordSegError, VoxelError
from SpinalCordSegLib.identity import identity_words, patient_words, safe_name
from SpinalCordSegLib.volume import Volume, bounding_box, fingerprint


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
        return Volume.from_ijk(slicer.util.arrayFromVolume(node).transpose(), to_world @ grid_of_node(node))
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
    voxels = volume.ijk.astype(np.uint8) if volume.ijk.dtype == bool else volume.ijk
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(voxels.transpose()))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(volume.ijk_to_ras))
    node.CreateDefaultDisplayNodes()
    return node


# Masks as vtkOrientedImageData, the form in which a segmentation stores them, and back.


def geometry_text(volume: Volume) -> str:
    """The volume's grid as Slicer writes it (19 numbers: matrix and extent); exact to the last digit of a double."""
    return slicer.vtkSegmentationConverter.SerializeImageGeometry(_empty_image(volume))


def grid_from_text(text: str) -> Volume | None:
    """A volume of zeros on the grid of a geometry text whose extent may begin anywhere; None when it says nothing."""
    image = slicer.vtkOrientedImageData()
    if not text or not slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, image, False):
        return None
    extent = np.array(image.GetExtent())  # first and last index along i, j, k
    low, shape = extent[::2], extent[1::2] - extent[::2] + 1
    if shape.min() < 1:
        return None
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    ijk_to_ras = slicer.util.arrayFromVTKMatrix(matrix)
    ijk_to_ras[:3, 3] += ijk_to_ras[:3, :3] @ low
    return Volume.from_ijk(np.zeros(shape, np.uint8), ijk_to_ras)


def image_from_voxels(grid: Volume, voxels: NDArray[Any], low: tuple[int, int, int] = (0, 0, 0)) -> Any:
    """An image of 0 and 1 on the lattice of ``grid``, its extent cut to the voxels that are set; one zero for none.

    ``low``: the voxel of ``grid`` that ``voxels`` [i, j, k] begin at.
    """
    part, begins = np.zeros((1, 1, 1), bool), [0, 0, 0]
    if (box := bounding_box(voxels)) is not None:
        part, begins = voxels[box] != 0, [at + one.start for at, one in zip(low, box, strict=True)]
    image = _empty_image(grid)
    image.SetExtent(*(edge for first, n in zip(begins, part.shape, strict=True) for edge in (first, first + n - 1)))
    scalars = numpy_to_vtk(part.astype(np.uint8).ravel(order="F"), deep=True, array_type=vtk.VTK_UNSIGNED_CHAR)
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)
    return image


def mask_from_image(image: Any, grid: Volume) -> Volume:
    """The image's non-zero voxels on the grid of ``grid`` (bool), by nearest neighbour where the two grids differ.

    On the same lattice the voxels come back exactly; what lies outside ``grid`` is left out.
    """
    if image.GetNumberOfPoints() == 0 or image.GetPointData().GetScalars() is None:
        return grid.with_ijk(np.zeros(grid.ijk_shape, dtype=bool))
    resampled = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        image, _empty_image(grid), resampled, False, False
    )
    voxels = vtk_to_numpy(resampled.GetPointData().GetScalars()).reshape(grid.ijk_shape, order="F")
    return grid.with_ijk(voxels != 0)


def _empty_image(volume: Volume) -> Any:
    image = slicer.vtkOrientedImageData()
    image.SetExtent(0, volume.ijk_shape[0] - 1, 0, volume.ijk_shape[1] - 1, 0, volume.ijk_shape[2] - 1)
    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(volume.ijk_to_ras))
    return image


# The subject hierarchy: whose study a node belongs to.
#
# In Slicer items appear by themselves, in slicer-core they do not: look first, create only what is absent.


_NO_ITEM = 0


def item_of(scene: Any, node: Any) -> int:
    """The node's one item, created beside the others when there is none."""
    hierarchy = scene.GetSubjectHierarchyNode()
    found = hierarchy.GetItemByDataNode(node)
    return found if found != _NO_ITEM else hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


def place_with(scene: Any, node: Any, owner: Any, folder: str = "") -> None:
    """Put ``node`` beside ``owner``, in its study or folder; into a new folder there where one is named."""
    hierarchy = scene.GetSubjectHierarchyNode()
    parent = hierarchy.GetItemParent(item_of(scene, owner))
    if folder:
        parent = hierarchy.CreateFolderItem(parent, hierarchy.GenerateUniqueItemName(folder))
    hierarchy.SetItemParent(item_of(scene, node), parent)


def _ancestor(scene: Any, node: Any, level: str) -> int:
    hierarchy = scene.GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(node)
    return item if item == _NO_ITEM else int(hierarchy.GetItemAncestorAtLevel(item, level))


def study_date(scene: Any, node: Any) -> str:
    """The day of the node's DICOM study, YYYY-MM-DD; "" where the hierarchy does not know it."""
    if node is None:
        return ""
    hierarchy, study = scene.GetSubjectHierarchyNode(), _ancestor(scene, node, "Study")
    return "" if study == _NO_ITEM else day_of(str(hierarchy.GetItemAttribute(study, "DICOM.StudyDate") or ""))


def day_of(text: str) -> str:
    """YYYY-MM-DD, of that or YYYYMMDD; "" of anything else."""
    plain = text.replace("-", "")
    return f"{plain[:4]}-{plain[4:6]}-{plain[6:]}" if len(plain) == 8 and plain.isdecimal() else ""


def is_other_patient(scene: Any, one: Any, other: Any) -> bool:
    """Whether the scene knows two nodes to be of different patients: by their patients in the subject hierarchy, which
    the user can change there, and by the PatientID of their DICOM files. In memory only."""
    (item, number), (other_item, other_number) = (_patient(scene, node) for node in (one, other))
    if number and other_number:
        return number != other_number
    return item != other_item and _NO_ITEM not in (item, other_item)


def _patient(scene: Any, node: Any) -> tuple[int, str]:
    """The patient's item, and the PatientID; _NO_ITEM and "" where they are not known."""
    hierarchy, item = scene.GetSubjectHierarchyNode(), _ancestor(scene, node, "Patient")
    if item != _NO_ITEM:
        return item, hierarchy.GetItemAttribute(item, "DICOM.PatientID") or hierarchy.GetItemUID(item, "DICOM")
    database, uids = dicom_database(), instance_uids(node)
    return item, database.instanceValue(uids[0], "0010,0020") if database is not None and uids else ""


def label_of(scene: Any, node: Any) -> str:
    """What tells a node apart: its name; among others of its class and name its place among them too."""
    name = str(node.GetName())
    namesakes = [one for one in slicer.util.getNodesByClass(node.GetClassName(), scene) if one.GetName() == name]
    if len(namesakes) < 2 or node not in namesakes:
        return name
    return f"{name} ({namesakes.index(node) + 1} of {len(namesakes)})"


def case_name_of(scene: Any, node: Any) -> str:
    """What a case of this image is called: as the node, or "case" where that tells the patient as far as is known."""
    hierarchy, item = scene.GetSubjectHierarchyNode(), _ancestor(scene, node, "Patient")
    keys = ("DICOM.PatientName", "DICOM.PatientID", "DICOM.PatientBirthDate")
    known = [] if item == _NO_ITEM else [str(hierarchy.GetItemAttribute(item, key) or "") for key in keys]
    database, uids = dicom_database(), instance_uids(node)
    if database is not None and uids:
        known += [database.instanceValue(uids[0], tag) for tag in ("0010,0010", "0010,0020", "0010,0030")]
    file = node.GetStorageNode() and node.GetStorageNode().GetFileName()
    words = identity_words(known) | (patient_words(Path(file), {}) if file else frozenset())
    return safe_name(str(node.GetName()), words) or "case"


def image_state(volume_node: Any) -> str:
    """Fingerprint of the voxels and the grid as they are now; "" without a volume that can be measured."""
    try:
        return "" if volume_node is None else fingerprint(volume_from_node(volume_node))
    except SpinalCordSegError:
        return ""


# Which DICOM files a volume was loaded from, as Slicer's DICOM import notes it.


_UIDS = "DICOM.instanceUIDs"


def instance_uids(volume_node: Any) -> tuple[str, ...]:
    """The SOP instance UIDs of the volume's images; () where it was not loaded from DICOM."""
    return tuple((volume_node.GetAttribute(_UIDS) or "").split())


def dicom_database() -> Any:
    """Slicer's DICOM database; None where there is none, or it is not open."""
    database = getattr(slicer, "dicomDatabase", None)
    return database if database is not None and database.isOpen else None


def source_files(volume_node: Any) -> tuple[Path, ...]:
    """The files behind a volume; () where the database does not know them all, or some are gone."""
    database, uids = dicom_database(), instance_uids(volume_node)
    if database is None or not uids:
        return ()
    files = tuple(Path(database.fileForInstance(uid) or "") for uid in uids)
    return files if all(file.is_file() for file in files) else ()


def copy_source_files(files: tuple[Path, ...], folder: Path) -> None:
    """By numbers: names may be the patient's. Raises OutputError."""
    try:
        folder.mkdir()
        for number, file in enumerate(files):
            shutil.copyfile(file, folder / f"{number:05d}.dcm")
    except OSError as error:
        raise OutputError(f"The DICOM files cannot be copied: {error.strerror}") from error
