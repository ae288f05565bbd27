"""Numbers that follow a mask while it is edited: no mask is ever shown with another one's areas."""

from __future__ import annotations

import pytest
import slicer
import slicer.util
from cord_cases import cord_mask, finished_case, grey_volume, paint, read_column
from slicer_standins.desktop import wait_until

from SpinalCordSegNodes.editing import read_review
from SpinalCordSegNodes.results import add_result, result_of
from SpinalCordSegNodes.segmentations import cord_segment_id
from SpinalCordSegNodes.tables import CSA
from SpinalCordSegNodes.volumes import node_from_volume

_SLICE = 5  # of the input, row 4 of the table: half of the cord is erased here


@pytest.fixture
def masks(panel, scene):
    """Two finished masks of one image, the first is current."""
    volume = node_from_volume(scene, grey_volume(cord_mask()), "t1")
    case = finished_case(cord_mask())
    found = [add_result(slicer.mrmlScene, case, volume, "<html></html>").segmentation for _ in range(2)]
    _take(panel, found[0])
    return found


def _take(panel, node) -> None:
    panel.panel.current.set(node)
    wait_until(lambda: not panel.panel.current.settle.isActive())


def _erase(panel, node) -> None:
    """Half of one slice."""
    paint(panel, lambda voxels: voxels[:, 9:, _SLICE].fill(False), node)


def _undo(panel, node) -> None:
    paint(panel, lambda voxels: voxels.__setitem__(..., cord_mask().ijk), node)


def _shown(panel) -> list[float]:
    """The areas and the volume that the panel shows."""
    case = panel.panel.current.live.case
    return [*case.slices.csa_mm2, case.volume_mm3]


def _is_erased(panel) -> bool:
    return panel.panel.current.live.stale and _shown(panel)[_SLICE - 1] < 0.6 * 23


@pytest.fixture
def measured(panel, masks):
    return pytest.approx(_shown(panel), nan_ok=True)


def test_an_edit_undone_after_another_mask_was_in_hand_has_the_measured_areas(panel, masks, measured):
    _erase(panel, masks[0])
    assert _is_erased(panel)
    _take(panel, masks[1])
    assert _shown(panel) == measured
    _take(panel, masks[0])
    assert _is_erased(panel)
    _undo(panel, masks[0])
    assert not panel.panel.current.live.stale and _shown(panel) == measured


def test_a_clone_is_edited_reviewed_and_measured_for_itself(panel, scene, masks, measured):
    clone = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    clone.Copy(masks[0])  # as Slicer's Clone does: the references to the tables go along
    clone.CreateDefaultDisplayNodes()
    _take(panel, clone)
    ours, theirs = result_of(clone), result_of(masks[0])
    assert _shown(panel) == measured and not panel.panel.current.live.stale
    assert ours.page.GetText() == theirs.page.GetText() and ours.page.GetHideFromEditors()
    for role in ("summary", "slices", "chart", "report", "page"):
        assert getattr(ours, role) is not getattr(theirs, role)
    panel.panel.review.ui.reviewerEdit.text = "Dr A. Meyer"
    panel.panel.review.decide("accepted")
    states = [read_review(node, cord_segment_id(node)).state for node in (clone, masks[0])]
    assert states == ["accepted", "ai"]
    _erase(panel, clone)
    assert _is_erased(panel)
    _take(panel, masks[0])
    assert not panel.panel.current.live.stale and _shown(panel) == measured
    assert result_of(masks[0]).slices is theirs.slices  # whose they were stays as it is


def test_a_scene_saved_while_the_mask_is_edited_has_the_measured_areas_too(panel, scene, masks, measured, tmp_path):
    _erase(panel, masks[0])
    name = masks[0].GetName()  # "… corrected" since the edit
    assert slicer.util.saveScene(str(tmp_path / "study.mrb"))
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "study.mrb"))
    loaded = slicer.util.getNode(name)
    _take(panel, loaded)
    assert _is_erased(panel)
    _undo(panel, loaded)
    assert not panel.panel.current.live.stale and _shown(panel) == measured
    assert read_column(result_of(loaded).slices, CSA) == pytest.approx(_shown(panel)[:-1], abs=0.001, nan_ok=True)
