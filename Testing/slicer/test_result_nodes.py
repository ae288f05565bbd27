"""Tables, plot and report as nodes: right numbers, and all of it there again after saving and loading the scene."""

import math

import numpy as np
import pytest
import slicer
import slicer.util
from cord_cases import FLAGGED_SLICE, GAP_SLICE, cord_mask, finished_case, grey_volume, is_edited, read_column

from SpinalCordSegLib.correction import store_correction
from SpinalCordSegLib.slice_table import SliceTable
from SpinalCordSegNodes.results import add_measures, add_result, result_of, write_result_folder
from SpinalCordSegNodes.segmentations import AI_COPY, cord_segment_id, mask_of_segment, read_tag, volume_node_of
from SpinalCordSegNodes.views import centre_of_slice
from SpinalCordSegNodes.volumes import node_from_volume


@pytest.fixture
def mask():
    return cord_mask()


@pytest.fixture
def result(scene, mask):
    volume = node_from_volume(scene, grey_volume(mask), "t1")
    return add_result(scene, finished_case(mask), volume)


def test_summary_table_holds_value_and_unit(result):
    rows = dict(zip(read_column(result.summary, "measure"), read_column(result.summary, "value"), strict=True))
    units = dict(zip(read_column(result.summary, "measure"), read_column(result.summary, "unit"), strict=True))
    assert rows["Cord volume"] == pytest.approx(315 * 2.079) and units["Cord volume"] == "mm3"
    assert rows["Mean cross-sectional area"] == 23.5 and units["Mean cross-sectional area"] == "mm2"
    assert rows["Flagged slices"] == 2
    assert math.isnan(rows["SD of the cross-sectional area"])  # null in the report
    assert result.summary.GetAttribute("SpinalCordSeg.ModelVersion") == "3"


def test_slice_table_keeps_gaps_and_types(result):
    assert read_column(result.slices, "slice") == list(range(1, 11))
    areas = read_column(result.slices, "csa_mm2")
    assert math.isnan(areas[GAP_SLICE - 1]) and areas[0] == pytest.approx(22 + 1 / 3)
    assert read_column(result.slices, "flags")[FLAGGED_SLICE - 1] == "area"
    assert result.slices.GetColumnUnitLabel("csa_mm2") == "mm2"
    names = [result.slices.GetColumnName(i) for i in range(result.slices.GetNumberOfColumns())]
    assert "network_area_mm2" not in names and "instance_number" not in names  # no answer in any slice


def test_flagged_slices_are_marked_in_the_plot(result):
    marks = read_column(result.slices, "flagged_csa_mm2")
    marked = [k + 1 for k, value in enumerate(marks) if not math.isnan(value)]
    assert marked == [FLAGGED_SLICE, GAP_SLICE]
    assert marks[FLAGGED_SLICE - 1] == pytest.approx(22 + 4 / 3)
    assert marks[GAP_SLICE - 1] == pytest.approx(22 + 8 / 3)  # between its neighbours
    line, flagged = (result.chart.GetNthPlotSeriesNode(i) for i in range(2))
    assert (line.GetXColumnName(), line.GetYColumnName()) == ("z_mm", "csa_mm2")
    assert (flagged.GetXColumnName(), flagged.GetYColumnName()) == ("z_mm", "flagged_csa_mm2")
    assert flagged.GetTableNode() is result.slices


def test_an_empty_case_has_tables_too(scene, mask):
    nothing = mask.with_ijk(np.zeros(mask.ijk_shape, bool))
    empty = finished_case(nothing, volume_mm3=0.0, length_mm=0.0, flags=(), slices=SliceTable.of())
    found = add_result(scene, empty, node_from_volume(scene, grey_volume(mask), "t1"))
    assert found.slices.GetNumberOfRows() == 0 and len(found.case.slices) == 0
    values = dict(zip(read_column(found.summary, "measure"), read_column(found.summary, "value"), strict=True))
    assert values["Cord volume"] == 0


def test_a_second_correction_in_the_scene_is_compared_with_the_ais_mask(scene, result, mask, tmp_path):
    """The report in the scene is of the first correction; the folder holds what the AI had drawn."""
    first, second = mask.with_ijk(mask.ijk.copy()), mask.with_ijk(mask.ijk.copy())
    first.ijk[:, :, 2], second.ijk[:, :, 7] = False, False
    segment_id = cord_segment_id(result.segmentation)
    for number, corrected in enumerate((first, second)):
        folder = tmp_path / str(number)
        write_result_folder(result_of(result.segmentation), segment_id, folder, ai_mask=mask)
        case = store_correction(folder, corrected, "A")
        assert len(case.changes.slices) == 1
        add_measures(scene, case, result.segmentation)


def test_result_of_what_was_never_measured(scene, result):
    assert result_of(None) is None
    assert result_of(scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")) is None
    scene.RemoveNode(result.report)
    assert result_of(result.segmentation) is None


def test_everything_survives_the_scene_file(scene, result, mask, tmp_path):
    path = tmp_path / "José Pérez" / "ü 1" / "study.mrb"
    path.parent.mkdir(parents=True)
    assert slicer.util.saveScene(str(path))
    scene.Clear(0)
    slicer.util.loadScene(str(path))
    node = slicer.util.getNode("t1 spinal cord AI")
    found = result_of(node)
    read = mask_of_segment(node, cord_segment_id(node))
    assert np.array_equal(read.ijk, mask.ijk) and np.allclose(read.voxel_to_ras, mask.voxel_to_ras, atol=1e-6)
    assert not is_edited(node)
    assert node.GetNodeReference(AI_COPY).GetHideFromEditors()
    assert node.GetNodeReference(AI_COPY).GetNodeReference("SpinalCordSeg.CopyOf") is node
    assert read_tag(node.GetSegmentation().GetNthSegment(0), "SpinalCordSeg.ModelSHA256") == "ab" * 32
    assert volume_node_of(found.segmentation).GetName() == "t1"
    assert scene.GetSubjectHierarchyNode().GetItemByDataNode(node) != 0
    assert scene.GetNodesByClassByName("vtkMRMLSegmentationNode", node.GetName()).GetNumberOfItems() == 1
    assert read_column(found.slices, "slice") == list(range(1, 11))
    assert math.isnan(read_column(found.slices, "csa_mm2")[GAP_SLICE - 1])
    assert found.chart.GetNumberOfPlotSeriesNodes() == 2
    assert found.case.mean_csa_mm2 == 23.5 and found.case.slices.csa_mm2[0] == 22.333
    assert found.summary.GetAttribute("SpinalCordSeg.Device") == "cpu"


def test_centre_of_a_slice_is_in_the_cord(mask):
    ijk = np.argwhere(mask.ijk[:, :, 5]).mean(axis=0)
    expected = mask.ijk_to_ras @ [*ijk, 5, 1]
    assert centre_of_slice(mask, 5) == pytest.approx(tuple(expected[:3]))
    gap = np.linalg.inv(mask.ijk_to_ras) @ [*centre_of_slice(mask, GAP_SLICE), 1]
    assert gap[2] == pytest.approx(GAP_SLICE)
    empty = mask.with_ijk(np.zeros(mask.ijk_shape, bool))
    assert centre_of_slice(empty, 0) == pytest.approx(tuple((mask.ijk_to_ras @ [11.5, 9.5, 0, 1])[:3]))
    with pytest.raises(IndexError):
        centre_of_slice(mask, 12)
