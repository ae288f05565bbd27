"""Volume nodes: same voxels, same place, whatever the orientation; what cannot be measured is refused with a reason."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import slicer.util
from cord_cases import cord_mask, grey_volume, grid, rotation

from SpinalCordSegLib.errors import GeometryError, VoxelError
from SpinalCordSegLib.image_io import read_image
from SpinalCordSegNodes.volumes import case_name_of, item_of, node_from_volume, volume_from_node


def _linear_parent(scene, node, matrix: np.ndarray) -> None:
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    node.SetAndObserveTransformNodeID(transform.GetID())


def _affine(linear: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = (5.0, -7.0, 11.0)
    return matrix


@pytest.mark.parametrize("left_handed", [False, True])
def test_volume_to_node_and_back_is_exact(scene, left_handed):
    volume = grey_volume(cord_mask(grid(left_handed=left_handed)))
    back = volume_from_node(node_from_volume(scene, volume, "t1"))
    assert np.array_equal(back.ijk, volume.ijk) and back.ijk.dtype == np.int16
    assert np.allclose(back.ijk_to_ras, volume.ijk_to_ras, atol=1e-12)


@pytest.mark.parametrize("left_handed", [False, True])
@pytest.mark.parametrize("suffix", ["nii.gz", "nrrd"])
def test_a_file_read_by_slicer_and_by_us_is_the_same_image(scene, tmp_path, suffix, left_handed):
    path = tmp_path / f"t1.{suffix}"
    sitk.WriteImage(_itk(grey_volume(cord_mask(grid(left_handed=left_handed)))), str(path))
    node = volume_from_node(slicer.util.loadVolume(str(path))).reoriented("RAS")
    ours = read_image(path).volume.reoriented("RAS")
    assert np.array_equal(node.ijk, ours.ijk)
    assert np.allclose(node.voxel_to_ras, ours.voxel_to_ras, atol=1e-4)


def test_a_rotating_parent_transform_becomes_part_of_the_grid(scene):
    volume = grey_volume(cord_mask())
    node = node_from_volume(scene, volume, "t1")
    turn = _affine(rotation((0, 1, 3), 33.0))
    _linear_parent(scene, node, turn)
    moved = volume_from_node(node)
    assert np.array_equal(moved.ijk, volume.ijk)
    assert np.allclose(moved.ijk_to_ras, turn @ volume.ijk_to_ras)


def test_transforms_above_each_other_are_all_hardened(scene):
    node = node_from_volume(scene, grey_volume(cord_mask()), "t1")
    _linear_parent(scene, node, _affine(rotation((1, 0, 0), 10.0)))
    _linear_parent(scene, node.GetParentTransformNode(), _affine(2.0 * np.eye(3)))
    assert volume_from_node(node).ijk_spacing_mm == pytest.approx((1.4, 1.8, 6.6))


@pytest.mark.parametrize(
    "linear",
    [[[1, 0.2, 0], [0, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 0], [0, 0, 0]]],
    ids=["shear", "flattened"],
)
def test_a_parent_transform_that_is_no_grid_is_refused(scene, linear):
    node = node_from_volume(scene, grey_volume(cord_mask()), "Jane Doe")
    _linear_parent(scene, node, _affine(np.array(linear, dtype=float)))
    with pytest.raises(GeometryError, match="harden") as raised:
        volume_from_node(node)
    assert "Jane" not in str(raised.value)


def test_a_deformation_is_refused(scene):
    node = node_from_volume(scene, grey_volume(cord_mask()), "t1")
    node.SetAndObserveTransformNodeID(scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode").GetID())
    node.GetParentTransformNode().SetAndObserveTransformToParent(slicer.vtkOrientedBSplineTransform())
    with pytest.raises(GeometryError, match="not linear"):
        volume_from_node(node)


def test_the_acquisition_transform_of_the_dicom_import_has_its_own_message(scene):
    node = node_from_volume(scene, grey_volume(cord_mask()), "t1")
    transform = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "t1 acquisition transform")
    transform.SetAndObserveTransformFromParent(slicer.vtkOrientedGridTransform())
    node.SetAndObserveTransformNodeID(transform.GetID())
    with pytest.raises(GeometryError, match=r"(?s)DICOM import.*Harden transform"):
        volume_from_node(node)


def test_colour_and_empty_volumes_are_refused(scene):
    colour = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "rgb")
    slicer.util.updateVolumeFromArray(colour, np.zeros((3, 4, 5, 3), np.uint8))
    with pytest.raises(VoxelError, match="3 values per voxel"):
        volume_from_node(colour)
    with pytest.raises(GeometryError, match="no voxels"):
        volume_from_node(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty"))


def test_a_dicom_series_is_the_same_volume_in_slicer_and_headless(scene, shared_data):
    folder = shared_data / "dicom_t1w_head"
    node = volume_from_node(slicer.util.loadVolume(str(folder / "N2D_0001.dcm"))).reoriented("RAS")
    ours = read_image(folder).volume.reoriented("RAS")
    assert np.array_equal(node.ijk, ours.ijk)
    assert np.allclose(node.voxel_to_ras, ours.voxel_to_ras, atol=1e-4)


def _itk(volume) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.ijk.transpose()))
    matrix = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.ijk_to_ras
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((matrix[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(matrix[:3, 3].tolist())
    return image


def test_a_case_is_named_as_its_image_unless_that_tells_the_patient(scene):
    node = node_from_volume(scene, grey_volume(cord_mask(grid())), "301: T2 TSE")
    hierarchy = scene.GetSubjectHierarchyNode()
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Somebody")
    hierarchy.SetItemAttribute(patient, "DICOM.PatientName", "Roe^Richard")
    hierarchy.SetItemParent(item_of(scene, node), patient)
    assert case_name_of(scene, node) == "301-T2-TSE"
    node.SetName("T2 Richard")
    assert case_name_of(scene, node) == "case"
