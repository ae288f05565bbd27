"""Tables that follow a mask while it is edited: whoever is in hand, no mask is ever shown with another one's areas."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer.util
from cord_cases import cord_mask, finished_case, grey_volume
from slicer_standins.desktop import wait_until

from SpinalCordSegNodes.editing import read_review
from SpinalCordSegNodes.results import result_of
from SpinalCordSegNodes.segmentations import cord_segment_id, mask_of_segment
from SpinalCordSegNodes.tables import CSA, read_column
from SpinalCordSegNodes.volumes import node_from_volume

_SLICE = 5  # of the input, row 4 of the table: half of the cord is erased here


@pytest.fixture
def masks(panel, scene):
    """Two finished masks of one image, the first in hand."""
    volume = node_from_volume(scene, grey_volume(cord_mask()), "t1")
    case = finished_case(cord_mask())
    found = [panel.logic.addResult(case, volume, "<html></html>").segmentation for _ in range(2)]
    _take(panel, found[0])
    return found


def _take(panel, node) -> None:
    panel.panel.show_mask(node)
    wait_until(lambda: not panel.panel.measures._settle.isActive())


def _draw(panel, node, voxels: np.ndarray) -> None:
    """As a brush does: the segment's labelmap is another one, and the panel hears of it."""
    array = np.ascontiguousarray(voxels.astype(np.uint8).transpose())
    segment_id = cord_segment_id(node)
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, segment_id, panel.panel.volume)
    wait_until(lambda: not panel.panel.measures._settle.isActive())


def _erase(panel, node) -> np.ndarray:
    """Half of one slice; gives the mask as it was."""
    before = mask_of_segment(node, cord_segment_id(node)).voxels
    now = before.copy()
    now[:, 9:, _SLICE] = False
    _draw(panel, node, now)
    return before


def _areas(node) -> list[float]:
    return read_column(result_of(node).slices, CSA)


def _volume_mm3(node) -> float:
    return read_column(result_of(node).summary, "value")[0]


def test_an_edit_undone_after_another_mask_was_in_hand_has_the_measured_areas(panel, masks):
    measured, volume_mm3 = _areas(masks[0]), _volume_mm3(masks[0])
    drawn = _erase(panel, masks[0])
    assert _areas(masks[0])[_SLICE - 1] < 0.6 * measured[_SLICE - 1]
    _take(panel, masks[1])
    _take(panel, masks[0])
    assert _areas(masks[0])[_SLICE - 1] < 0.6 * measured[_SLICE - 1] and panel.panel.measures.live.stale
    _draw(panel, masks[0], drawn)
    assert not panel.panel.measures.live.stale
    assert _areas(masks[0]) == pytest.approx(measured, nan_ok=True) and _volume_mm3(masks[0]) == volume_mm3


def test_editing_a_clone_leaves_the_originals_areas(panel, scene, masks):
    measured, volume_mm3 = _areas(masks[0]), _volume_mm3(masks[0])
    clone = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    clone.Copy(masks[0])  # as Slicer's Clone does: the references to the tables go along
    clone.CreateDefaultDisplayNodes()
    _take(panel, clone)
    _erase(panel, clone)
    assert _areas(clone)[_SLICE - 1] < 0.6 * measured[_SLICE - 1]
    _take(panel, masks[0])
    assert not panel.panel.measures.live.stale
    assert _areas(masks[0]) == pytest.approx(measured, nan_ok=True) and _volume_mm3(masks[0]) == volume_mm3


def test_a_clone_is_reviewed_and_measured_for_itself(panel, scene, masks):
    clone = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    clone.Copy(masks[0])
    clone.CreateDefaultDisplayNodes()
    _take(panel, clone)
    ours, theirs = result_of(clone), result_of(masks[0])
    assert _areas(clone) == pytest.approx(_areas(masks[0]), nan_ok=True) and not panel.panel.measures.live.stale
    assert ours.page.GetText() == theirs.page.GetText() and ours.page.GetHideFromEditors()
    for role in ("summary", "slices", "chart", "report", "page"):
        assert getattr(ours, role) is not getattr(theirs, role)
    panel.panel.review.ui.reviewerEdit.text = "Dr A. Meyer"
    panel.panel.review.decide("accepted")
    states = [read_review(node, cord_segment_id(node)).state for node in (clone, masks[0])]
    assert states == ["accepted", "ai"]
    _take(panel, masks[0])
    assert result_of(masks[0]).slices is theirs.slices  # whose they were stays as it is


def test_tables_of_before_a_new_measurement_hold_what_was_measured_then(panel, masks):
    former, measured = result_of(masks[0]).slices, _areas(masks[0])
    _erase(panel, masks[0])
    panel.logic.addMeasures(finished_case(cord_mask()), masks[0])
    panel.panel.measures.refresh()
    assert not panel.panel.measures.live.stale
    assert read_column(former, CSA) == pytest.approx(measured, nan_ok=True)


def test_a_table_that_was_deleted_meanwhile_stays_so(panel, scene, masks):
    _erase(panel, masks[0])
    scene.RemoveNode(result_of(masks[0]).slices)
    _take(panel, masks[1])
    assert result_of(masks[0]).slices is None


def test_a_scene_saved_while_the_mask_is_edited_has_the_measured_areas_too(panel, scene, masks, tmp_path):
    measured, volume_mm3 = _areas(masks[0]), _volume_mm3(masks[0])
    drawn = _erase(panel, masks[0])
    name = masks[0].GetName()  # "… corrected" since the edit
    assert slicer.util.saveScene(str(tmp_path / "study.mrb"))
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "study.mrb"))
    loaded = slicer.util.getNode(name)
    _take(panel, loaded)
    assert panel.panel.measures.live.stale and _areas(loaded)[_SLICE - 1] < 0.6 * measured[_SLICE - 1]
    _draw(panel, loaded, drawn)
    assert not panel.panel.measures.live.stale
    assert _areas(loaded) == pytest.approx(measured, nan_ok=True) and _volume_mm3(loaded) == volume_mm3
