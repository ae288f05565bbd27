"""Review and correction of one mask in the panel: states, undo, numbers that follow, and the AI's own never touched."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer.util
from cord_cases import FLAGGED_SLICE, GAP_SLICE, cord_mask, erase, finished_case, grey_volume, paint
from slicer_standins import scripted
from slicer_standins.desktop import click, wait_until

from SpinalCordSegLib.metrics import mask_sha256
from SpinalCordSegLib.morphometry import measure
from SpinalCordSegNodes.editing import read_review
from SpinalCordSegNodes.results import add_measures, add_result, result_of
from SpinalCordSegNodes.segmentations import AI_COPY, cord_segment_id, cropped_mask, mask_of_segment
from SpinalCordSegNodes.views import centre_of_slice
from SpinalCordSegNodes.volumes import node_from_volume


@pytest.fixture
def done(panel, scene, monkeypatch):
    """The panel with one finished case, sections Review and Correct open, a reviewer at work."""
    volume = node_from_volume(scene, grey_volume(cord_mask()), "t1")
    result = add_result(slicer.mrmlScene, finished_case(cord_mask()), volume, "<html></html>")
    panel.panel.current.set(result.segmentation)
    for section in (panel.panel.review, panel.panel.levels):
        section.button.collapsed = False
    panel.panel.review.ui.reviewerEdit.text = "Dr A. Meyer"
    return panel


def _segment(panel):
    node = panel.ui.maskSelector.currentNode()
    return node, cord_segment_id(node)


def _ai_sha256(panel) -> str:
    copy = _segment(panel)[0].GetNodeReference(AI_COPY)
    return mask_sha256(mask_of_segment(copy, cord_segment_id(copy)))


def test_the_queue_leads_through_the_doubtful_slices(done, scene):
    view = scene.AddNewNodeByClass("vtkMRMLSliceNode", "Red")
    ui, review = done.panel.review.ui, done.panel.review
    shown = [ui.queueTable.item(row, 0).text() for row in range(ui.queueTable.rowCount)]
    assert shown == [str(GAP_SLICE), str(FLAGGED_SLICE)]  # a gap is worse than a jump
    click(ui.nextSliceButton)
    target = centre_of_slice(cord_mask(), GAP_SLICE)
    assert [view.GetSliceToRAS().GetElement(i, 3) for i in range(3)] == pytest.approx(target, abs=1e-3)
    assert review.review.state == "in review" and review.review.seen == ()
    click(ui.nextSliceButton)
    assert review.review.seen == (GAP_SLICE,) and ui.queueTable.item(0, 1).text() == "✓"
    click(ui.nextSliceButton)
    assert review.review.seen == (FLAGGED_SLICE, GAP_SLICE) and "0 of 2" in ui.queueLabel.text
    click(ui.seenButton) if ui.seenButton.isEnabled() else None
    review.go(FLAGGED_SLICE)
    click(ui.seenButton)
    assert review.review.seen == (GAP_SLICE,)


def test_a_decision_needs_a_name_and_lapses_with_an_edit(done, scene, tmp_path, monkeypatch):
    ui, node = done.panel.review.ui, _segment(done)[0]
    ui.reviewerEdit.text = ""
    assert not ui.acceptButton.isEnabled() and "name" in ui.acceptButton.toolTip
    ui.reviewerEdit.text = "Dr A. Meyer"
    click(ui.acceptButton)
    assert "Accepted" in ui.stateLabel.text and "Dr A. Meyer" in ui.stateLabel.text
    assert result_of(node).case.review.state == "accepted"
    slicer.util.saveNode(node, str(tmp_path / "mask.seg.nrrd"))
    loaded = slicer.util.loadSegmentation(str(tmp_path / "mask.seg.nrrd"))
    review = read_review(loaded, cord_segment_id(loaded))
    assert (review.state, review.who) == ("accepted", "Dr A. Meyer")
    assert review.mask_sha256 == mask_sha256(cord_mask())
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda _question: True)
    paint(done, erase(5))
    assert done.panel.review.review.state == "corrected"
    assert "Corrected" in ui.stateLabel.text


def test_an_accepted_mask_stays_accepted_where_the_user_does_not_reopen_it(done, monkeypatch):
    review, asked = done.panel.review, []
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda question: asked.append(question))
    review.ui.reviewerEdit.text = "Dr A. Meyer"
    click(review.ui.acceptButton)
    paint(done, erase(5))
    paint(done, erase(6))
    assert review.review.state == "accepted" and len(asked) == 1 and "Dr A. Meyer" in asked[0]


@pytest.fixture
def measuring(done, monkeypatch):
    """Accept was pressed on a changed mask; gives what is called once it was measured."""
    waiting: list = []
    monkeypatch.setattr(done.panel, "measure", lambda then: waiting.append(then))
    paint(done, erase(5))
    click(done.panel.review.ui.acceptButton)
    return waiting[0]


def _measured(panel, node) -> None:
    add_measures(slicer.mrmlScene, finished_case(cord_mask()), node)
    panel.panel.current.refresh()


def test_a_changed_mask_is_accepted_once_it_was_measured(done, measuring):
    _measured(done, _segment(done)[0])
    measuring()
    assert done.panel.review.review.state == "accepted"


@pytest.mark.parametrize("meanwhile", ["another mask", "changed again"])
def test_a_mask_that_is_no_longer_the_one_meant_is_not_accepted(done, measuring, meanwhile):
    node = _segment(done)[0]
    if meanwhile == "changed again":
        _measured(done, node)
        paint(done, erase(6))
    else:
        other = add_result(slicer.mrmlScene, finished_case(cord_mask()), done.panel.current.volume).segmentation
        done.panel.current.set(other)
        _measured(done, node)
        assert read_review(other, cord_segment_id(other)).state == "ai"
    measuring()
    assert (
        read_review(node, cord_segment_id(node)).state == "corrected" and "Accept it again" in done.ui.statusLabel.text
    )


def test_numbers_and_plot_follow_the_brush_and_the_ai_stays(done, tmp_path):
    done.panel.export.button.collapsed = False
    before, table = _ai_sha256(done), done.ui.sliceTable
    assert table.item(0, 2).text() == "4.5 × 6.5"
    paint(done, lambda voxels: voxels[6:16, 6:13, 5].fill(True))
    assert {table.item(row, 2).text() for row in range(table.rowCount)} == {"–"}  # not measured while painting
    assert "a gap between slices" in done.ui.caseFlagLabel.text  # a flag of the run, not of the mask
    now = mask_of_segment(*_segment(done))
    expected = measure(now, shape=False)
    shown = done.panel.current.live.case.slices
    assert shown.csa_mm2 == pytest.approx(expected.slices.csa_mm2, nan_ok=True)
    assert f"<b>{expected.volume_mm3:.0f}</b>" in done.ui.volumeValue.text
    assert "by hand: 1;" in done.ui.editLabel.text and "Dice against the AI 0.9" in done.ui.editLabel.text
    assert _ai_sha256(done) == before == mask_sha256(cord_mask())
    assert done.ui.measureButton.isVisible() and "up to date" in done.ui.editLabel.text
    assert not done.ui.exportButton.isEnabled(), "a report of another mask is not exported"
    done.panel.export.save_case(tmp_path)
    assert not list(tmp_path.iterdir()) and "measure it first" in done.ui.statusLabel.text


def test_undo_takes_the_numbers_back(done):
    before = done.panel.current.live.case.slices
    paint(done, erase(2))
    assert done.panel.current.live.case.slices.csa_mm2[1] != before.csa_mm2[1]
    click(done.panel.review.ui.undoButton)
    wait_until(lambda: not done.panel.current.settle.isActive())
    assert mask_sha256(mask_of_segment(*_segment(done))) == mask_sha256(cord_mask())
    assert done.panel.current.live.case.slices.csv() == before.csv()
    assert not done.ui.editLabel.isVisible()


def test_fill_between_and_smooth_are_one_undo_step_each(done):
    ui, correct = done.panel.review.ui, done.panel.review
    original = mask_of_segment(*_segment(done)).ijk
    correct.choose(GAP_SLICE, GAP_SLICE)
    click(ui.fillButton)
    filled = mask_of_segment(*_segment(done)).ijk
    assert 33 <= filled[:, :, GAP_SLICE].sum() <= 37 and np.array_equal(
        filled[:, :, :GAP_SLICE], original[:, :, :GAP_SLICE]
    )
    correct.choose(2, 4)
    click(ui.smoothButton)
    smooth = mask_of_segment(*_segment(done)).ijk
    assert not np.array_equal(smooth[:, :, 2:5], filled[:, :, 2:5])
    assert np.array_equal(smooth[:, :, 5:], filled[:, :, 5:])
    click(ui.undoButton)
    assert np.array_equal(mask_of_segment(*_segment(done)).ijk, filled)
    click(ui.undoButton)
    assert np.array_equal(mask_of_segment(*_segment(done)).ijk, original)
    click(ui.redoButton)
    assert np.array_equal(mask_of_segment(*_segment(done)).ijk, filled)


def test_the_shown_slice_becomes_the_range(done, scene):
    view = scene.AddNewNodeByClass("vtkMRMLSliceNode", "Red")
    view.SetOrientation("Axial")
    done.panel.levels.go_to_slice(6)
    click(done.panel.review.ui.shownSliceButton)
    assert done.panel.review.slices == (6, 6)


def test_the_editor_gives_views_and_keys_back(done, scene):
    editor = done.panel.review.editor
    assert editor._widget.observing and editor._widget.shortcuts
    node = editor._widget.mrmlSegmentEditorNode()
    assert node.GetOverwriteMode() == slicer.vtkMRMLSegmentEditorNode.OverwriteNone
    assert editor._widget.sourceVolumeNode() is done.panel.current.volume
    assert editor._widget.currentSegmentID() == _segment(done)[1]
    scripted.leave(done)
    assert not editor._widget.observing and not editor._widget.shortcuts
    scripted.enter(done)
    assert editor._widget.observing
    done.panel.review.button.collapsed = True
    assert not editor._widget.observing
    scene.Clear(0)
    assert editor._widget.segmentationNode() is None and not editor.is_open


def test_the_editor_stays_on_the_segment_that_was_chosen_in_it(done):
    node, cord = _segment(done)
    editor = done.panel.review.editor._widget
    other = node.GetSegmentation().AddEmptySegment("lesion", "lesion")
    editor.setCurrentSegmentID(other)
    paint(done, lambda voxels: voxels[8:10, 8:10, 5].fill(False))
    assert editor.currentSegmentID() == other
    box = done.ui.segmentBox
    box.setCurrentIndex(box.findData(other))
    done.panel.current.refresh()
    box.setCurrentIndex(box.findData(cord))
    done.panel.current.refresh()
    assert editor.currentSegmentID() == cord  # chosen in the panel
    editor.setCurrentSegmentID(other)
    scripted.leave(done)
    scripted.enter(done)
    assert editor.currentSegmentID() == cord


@pytest.mark.parametrize("moved", [False, True], ids=["as drawn", "under a transform"])
def test_a_cropped_mask_is_the_mask(done, scene, moved):
    node, segment_id = _segment(done)
    if moved:
        transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        matrix = np.eye(4)
        matrix[:3, 3] = (3.0, -4.0, 5.0)
        transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
        node.SetAndObserveTransformNodeID(transform.GetID())
    whole, cut = mask_of_segment(node, segment_id), cropped_mask(node, segment_id)
    assert cut.mask.ijk.sum() == whole.ijk.sum() and cut.mask.ijk.size < whole.ijk.size
    places = [np.argwhere(one.ijk) @ one.ijk_to_ras[:3, :3].T + one.ijk_to_ras[:3, 3] for one in (whole, cut.mask)]
    assert np.allclose(*places)
    assert cut.digest() == cropped_mask(node, segment_id, margin=9).digest()


def test_an_empty_segment_beside_the_cord_is_an_empty_mask(done):
    node = _segment(done)[0]
    empty = node.GetSegmentation().AddEmptySegment("lesion", "lesion")  # stored in the cord's own image
    assert not cropped_mask(node, empty).mask.ijk.any()
    done.panel.current.refresh()
    done.ui.segmentBox.setCurrentIndex(done.ui.segmentBox.findData(empty))
    done.panel.current.refresh()
    assert "<b>0</b> mm³" in done.ui.volumeValue.text
