"""Masks and volumes as nodes: the same voxels at the same place, the right name and tags, and never over somebody's
work."""

import numpy as np
import pytest
import slicer
import slicer.util
from cord_cases import cord_mask, finished_case, grey_volume, grid, is_edited, rotation, set_voxels

from SpinalCordSegLib.errors import GeometryError, VoxelError
from SpinalCordSegLib.image_io import read_image
from SpinalCordSegLib.volume import Volume
from SpinalCordSegNodes.editing import changes_since_ai
from SpinalCordSegNodes.results import provenance_of
from SpinalCordSegNodes.segmentations import (
    AI_COPY,
    add_segmentation,
    cord_segment_id,
    cropped_mask,
    mark_corrected,
    mask_of_segment,
    read_tag,
)
from SpinalCordSegNodes.volumes import case_name_of, image_from_voxels, item_of, node_from_volume, volume_from_node


@pytest.fixture(params=[False, True], ids=["right-handed", "left-handed"])
def mask(request) -> Volume:
    return cord_mask(grid(left_handed=request.param))


@pytest.fixture
def volume_node(scene, mask):
    return node_from_volume(scene, grey_volume(mask), "t1")


@pytest.fixture
def provenance(mask):
    return provenance_of(finished_case(mask))


@pytest.fixture
def segmentation(scene, mask, volume_node, provenance):
    return add_segmentation(scene, mask, volume_node, provenance)


def test_voxels_written_are_the_voxels_read(segmentation, mask, volume_node):
    read = mask_of_segment(segmentation, cord_segment_id(segmentation))
    assert np.array_equal(read.ijk, mask.ijk)
    assert np.allclose(read.voxel_to_ras, mask.voxel_to_ras, atol=1e-9)
    array = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, cord_segment_id(segmentation), volume_node)
    assert np.array_equal(array.transpose() != 0, mask.ijk)  # what every other module of Slicer reads
    copy = segmentation.GetNodeReference(AI_COPY)
    assert copy is not segmentation and copy.GetHideFromEditors() and not copy.GetDisplayNode().GetVisibility()
    assert np.array_equal(mask_of_segment(copy, cord_segment_id(copy)).ijk, mask.ijk)


def test_name_colour_terminology_algorithm_and_provenance(segmentation):
    segment = segmentation.GetSegmentation().GetNthSegment(0)
    assert segment.GetName() == "Spinal cord"
    assert [round(255 * part) for part in segment.GetColor()] == [244, 214, 49]
    entry = slicer.vtkSlicerTerminologyEntry()
    text = read_tag(segment, segment.GetTerminologyEntryTagName())
    assert slicer.modules.terminologies.logic().DeserializeTerminologyEntry(text, entry)
    assert (entry.GetTypeObject().GetCodeValue(), entry.GetTypeObject().GetCodeMeaning()) == ("2748008", "Spinal cord")
    assert read_tag(segment, "DICOM.SegmentAlgorithmType") == "AUTOMATIC"
    assert read_tag(segment, "DICOM.SegmentAlgorithmName") == "SpinalCordSeg 0.1.0 cord- a b"
    names = ("Model", "ModelVersion", "Device", "ModelSHA256")
    assert [read_tag(segment, f"SpinalCordSeg.{name}") for name in names] == ["cord- a b", "3", "cpu", "ab" * 32]
    assert read_tag(segment, "SpinalCordSeg.Date").startswith("2026-05-04T03-02-01")  # ":" parts tags in a .seg.nrrd


def test_an_empty_mask_is_an_answer(scene, mask, volume_node, provenance):
    empty = mask.with_ijk(np.zeros(mask.ijk_shape, bool))
    node = add_segmentation(scene, empty, volume_node, provenance)
    read = mask_of_segment(node, cord_segment_id(node))
    assert read.shape == mask.shape and not read.ijk.any()
    assert not is_edited(node)


def test_a_second_run_makes_a_second_segmentation(scene, segmentation, mask, volume_node, provenance):
    edited = mask.ijk.copy()
    edited[:, :, 3] = False
    set_voxels(segmentation, cord_segment_id(segmentation), edited, volume_node)
    names = [add_segmentation(scene, mask, volume_node, provenance).GetName() for _ in range(2)]
    assert names == ["t1 spinal cord AI 2", "t1 spinal cord AI 3"]
    kept = mask_of_segment(segmentation, cord_segment_id(segmentation))
    assert np.array_equal(kept.ijk, edited)


def test_other_segments_and_segmentations_are_untouched(scene, segmentation, mask, volume_node, provenance):
    lesion = segmentation.GetSegmentation().AddEmptySegment("lesion", "Lesion")
    inside = np.zeros(mask.ijk_shape, bool)
    inside[9:11, 9:11, 3] = True  # within the cord
    set_voxels(segmentation, lesion, inside, volume_node)
    other = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "hand-drawn")
    other.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    drawn = other.GetSegmentation().AddEmptySegment("cord", "Spinal cord")
    set_voxels(other, drawn, mask.ijk, volume_node)
    add_segmentation(scene, mask, volume_node, provenance)
    assert np.array_equal(mask_of_segment(segmentation, lesion).ijk, inside)
    assert np.array_equal(mask_of_segment(segmentation, cord_segment_id(segmentation)).ijk, mask.ijk)
    assert np.array_equal(mask_of_segment(other, drawn).ijk, mask.ijk)
    assert other.GetSegmentation().GetNumberOfSegments() == 1


def test_a_copy_whose_segmentation_was_deleted_goes_with_the_next_run(
    scene, segmentation, mask, volume_node, provenance
):
    kept = add_segmentation(scene, mask, volume_node, provenance)
    orphan = segmentation.GetNodeReference(AI_COPY)
    scene.RemoveNode(segmentation)
    add_segmentation(scene, mask, volume_node, provenance)
    assert not scene.IsNodePresent(orphan)
    assert scene.IsNodePresent(kept) and scene.IsNodePresent(kept.GetNodeReference(AI_COPY))
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 4


def test_edits_are_seen_and_counted(segmentation, mask, volume_node):
    assert not is_edited(segmentation)
    edited = mask.ijk.copy()
    edited[7, 8, 2] = False  # one voxel of the cord away, two of the background added
    edited[0, 0, 0:2] = True
    set_voxels(segmentation, cord_segment_id(segmentation), edited, volume_node)
    cord = cord_segment_id(segmentation)
    edited_now, changes = changes_since_ai(segmentation, cord, cropped_mask(segmentation, cord))
    assert edited_now and (changes.added_mm3, changes.removed_mm3) == pytest.approx((2 * 2.079, 2.079))
    mark_corrected(segmentation, cord)
    segment = segmentation.GetSegmentation().GetNthSegment(0)
    assert read_tag(segment, "DICOM.SegmentAlgorithmType") == "SEMIAUTOMATIC"
    assert segmentation.GetName() == "t1 spinal cord corrected"
    assert segmentation.GetNodeReference(AI_COPY).GetName() == "t1 spinal cord AI (untouched copy)"
    set_voxels(segmentation, cord_segment_id(segmentation), mask.ijk, volume_node)
    assert not is_edited(segmentation)


def test_a_case_that_was_corrected_is_called_so_and_a_users_own_name_stays(scene, mask, volume_node, provenance):
    drawn = mask.with_ijk(mask.ijk & (np.arange(mask.ijk_shape[2]) != 3))
    nodes = [add_segmentation(scene, mask, volume_node, provenance, drawn) for _ in range(2)]
    assert [node.GetName() for node in nodes] == ["t1 spinal cord corrected", "t1 spinal cord corrected 2"]
    assert nodes[0].GetNodeReference(AI_COPY).GetName() == "t1 spinal cord AI (untouched copy)"
    nodes[0].SetName("second reader")
    assert is_edited(nodes[0]) and nodes[0].GetName() == "second reader"


def test_renaming_moving_or_losing_the_copy_is_no_edit(scene, segmentation, mask):
    segment = segmentation.GetSegmentation().GetNthSegment(0)
    segment.SetName("Medulla spinalis")
    _linear_parent(scene, segmentation, _affine(np.eye(3)))
    scene.RemoveNode(segmentation.GetNodeReference(AI_COPY))
    assert not is_edited(segmentation)


def test_the_mask_of_a_moved_volume_lies_in_world_space(scene, mask, volume_node, provenance):
    _linear_parent(scene, volume_node, _affine(rotation((0, 0, 1), 25.0)))
    world = volume_from_node(volume_node).with_ijk(mask.ijk)
    node = add_segmentation(scene, world, volume_node, provenance)
    read = mask_of_segment(node, cord_segment_id(node))
    assert np.array_equal(read.ijk, mask.ijk) and np.allclose(read.voxel_to_ras, world.voxel_to_ras, atol=1e-6)
    assert node.GetParentTransformNode() is None
    array = slicer.util.arrayFromSegmentBinaryLabelmap(node, cord_segment_id(node), volume_node)
    assert np.array_equal(array.transpose() != 0, mask.ijk)


def test_a_mask_of_another_grid_is_refused_and_nothing_added(scene, volume_node, provenance):
    before = scene.GetNumberOfNodes()
    moved = grid()
    moved[0, 3] += 1.0
    with pytest.raises(GeometryError, match="run again"):
        add_segmentation(scene, cord_mask(moved), volume_node, provenance)
    assert scene.GetNumberOfNodes() == before


def test_it_lies_under_the_study_of_the_volume(scene, mask, volume_node, provenance):
    hierarchy = scene.GetSubjectHierarchyNode()
    study = hierarchy.CreateStudyItem(hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "sub-01"), "ses-01")
    hierarchy.CreateItem(study, volume_node)
    node = add_segmentation(scene, mask, volume_node, provenance)
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node))
    assert hierarchy.GetItemParent(folder) == study and hierarchy.GetItemName(folder).endswith("spinal cord")


def test_a_mask_drawn_without_a_source_volume_can_be_read(scene, mask):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "imported")
    drawn = node.AddSegmentFromBinaryLabelmapRepresentation(image_from_voxels(mask, mask.ijk), "cord", (1.0, 0.0, 0.0))
    read = mask_of_segment(node, drawn)
    assert read.ijk.sum() == 315 and read.ijk_spacing_mm == pytest.approx(mask.ijk_spacing_mm)
    with pytest.raises(GeometryError, match="no longer there"):
        mask_of_segment(node, "gone")


# Volume nodes: same voxels, same place; what cannot be measured is refused with a reason.


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


def test_transforms_above_each_other_become_part_of_the_grid(scene):
    volume = grey_volume(cord_mask())
    node = node_from_volume(scene, volume, "t1")
    turn, grow = _affine(rotation((0, 1, 3), 33.0)), _affine(2.0 * np.eye(3))
    _linear_parent(scene, node, turn)
    _linear_parent(scene, node.GetParentTransformNode(), grow)
    moved = volume_from_node(node)
    assert np.array_equal(moved.ijk, volume.ijk)
    assert np.allclose(moved.ijk_to_ras, grow @ turn @ volume.ijk_to_ras)


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


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [("Grid", "t1 acquisition transform", r"(?s)DICOM import.*Harden transform"), ("BSpline", "t1", "not linear")],
)
def test_a_deformation_is_refused_and_that_of_the_dicom_import_has_its_own_message(scene, kind, name, message):
    node = node_from_volume(scene, grey_volume(cord_mask()), "t1")
    transform = scene.AddNewNodeByClass(f"vtkMRML{kind}TransformNode", name)
    transform.SetAndObserveTransformFromParent(getattr(slicer, f"vtkOriented{kind}Transform")())
    node.SetAndObserveTransformNodeID(transform.GetID())
    with pytest.raises(GeometryError, match=message):
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


def test_a_case_is_named_as_its_image_unless_that_tells_the_patient(scene):
    node = node_from_volume(scene, grey_volume(cord_mask(grid())), "301: T2 TSE")
    hierarchy = scene.GetSubjectHierarchyNode()
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Somebody")
    hierarchy.SetItemAttribute(patient, "DICOM.PatientName", "Roe^Richard")
    hierarchy.SetItemParent(item_of(scene, node), patient)
    assert case_name_of(scene, node) == "301-T2-TSE"
    node.SetName("T2 Richard")
    assert case_name_of(scene, node) == "case"
