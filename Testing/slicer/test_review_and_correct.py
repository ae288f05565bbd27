"""Review and correction of one mask in the panel: states, undo, numbers that follow, autosaves, and the AI's own never
touched."""

from dataclasses import replace

import numpy as np
import pytest
import slicer
import slicer.util
from cord_cases import FLAGGED_SLICE, GAP_SLICE, cord_mask, erase, finished_case, grey_volume, paint, read_column
from PySide6 import QtCore, QtTest
from slicer_standins import scripted
from slicer_standins.desktop import click, wait_until

from SpinalCordSegLib.case import CaseInput
from SpinalCordSegLib.mask_versions import MaskVersions
from SpinalCordSegLib.morphometry import measure
from SpinalCordSegLib.volume import mask_sha256
from SpinalCordSegNodes.editing import read_review, replace_mask
from SpinalCordSegNodes.results import add_measures, add_result, result_of
from SpinalCordSegNodes.segmentations import AI_COPY, cord_segment_id, cropped_mask, mask_of_segment
from SpinalCordSegNodes.tables import CSA
from SpinalCordSegNodes.views import centre_of_slice
from SpinalCordSegNodes.volumes import node_from_volume


@pytest.fixture
def done(panel, scene, monkeypatch):
    """The panel with one finished case, sections Review and Correct open, a reviewer at work."""
    volume = node_from_volume(scene, grey_volume(cord_mask()), "t1")
    result = add_result(slicer.mrmlScene, finished_case(cord_mask()), volume)
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


def test_flagged_slices_and_the_decision_by_keys(done, scene):
    ui, review = done.panel.review.ui, done.panel.review

    def press(key, happens) -> None:
        QtTest.QTest.keyClick(done.parent, key, QtCore.Qt.ControlModifier)
        wait_until(happens)  # the button stays pressed for a tenth of a second

    done.parent.activateWindow()
    QtTest.QTest.qWaitForWindowActive(done.parent)
    press(QtCore.Qt.Key_Down, lambda: review.slices == (GAP_SLICE, GAP_SLICE))
    press(QtCore.Qt.Key_Down, lambda: review.slices == (FLAGGED_SLICE, FLAGGED_SLICE))
    assert review.review.seen == (GAP_SLICE,)
    press(QtCore.Qt.Key_Up, lambda: review.slices == (GAP_SLICE, GAP_SLICE))
    press(QtCore.Qt.Key_Return, lambda: review.review.state == "accepted")
    ui.reopenButton.click()
    done.panel.review.button.collapsed = True
    QtTest.QTest.keyClick(done.parent, QtCore.Qt.Key_Return, QtCore.Qt.ControlModifier)
    QtTest.QTest.qWait(300)
    assert review.review.state == "in review", "nobody sees what would be accepted"


def test_a_note_and_to_correct_are_kept_with_the_case(done):
    ui, node = done.panel.review.ui, _segment(done)[0]
    QtTest.QTest.keyClicks(ui.noteEdit, "motion at C5")
    click(ui.toCorrectButton)
    review = result_of(node).case.review
    assert (review.state, review.note) == ("to correct", "motion at C5") and not ui.toCorrectButton.isEnabled()
    QtTest.QTest.keyClicks(ui.noteEdit, ", again")
    QtTest.QTest.keyClick(ui.noteEdit, QtCore.Qt.Key_Return)
    assert result_of(node).case.review.note == "motion at C5, again"
    other = add_result(slicer.mrmlScene, finished_case(cord_mask()), done.panel.current.volume).segmentation
    done.panel.current.set(other)
    assert ui.noteEdit.text == ""
    done.panel.current.set(node)
    assert ui.noteEdit.text == "motion at C5, again" and "To correct" in ui.stateLabel.text


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


# Numbers that follow a mask while it is edited: no mask is ever shown with another one's areas.


_SLICE = 5  # of the input, row 4 of the table: half of the cord is erased here


@pytest.fixture
def masks(panel, scene):
    """Two finished masks of one image, the first is current."""
    volume = node_from_volume(scene, grey_volume(cord_mask()), "t1")
    case = finished_case(cord_mask())
    found = [add_result(slicer.mrmlScene, case, volume).segmentation for _ in range(2)]
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
    for role in ("summary", "slices", "chart", "report"):
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


# Nothing is lost: autosaves kept while correcting, restored after a crash.


_FINGERPRINT = "ab12" * 16
_CODE = "case-" + _FINGERPRINT[:16]


def _open(panel, scene):
    """One finished case opened, section Correct open."""
    known = replace(CaseInput.of(cord_mask()), fingerprint=_FINGERPRINT)
    volume = node_from_volume(scene, grey_volume(cord_mask()), "t1")
    result = add_result(slicer.mrmlScene, finished_case(cord_mask(), input=known), volume)
    panel.panel.current.set(result.segmentation)
    panel.panel.review.button.collapsed = False
    return result.segmentation


def _stroke(panel, node, number: int) -> np.ndarray:
    """Erase slice ``number``, as a brush would."""
    voxels = mask_of_segment(node, cord_segment_id(node)).ijk.copy()
    voxels[:, :, number] = False
    replace_mask(node, cord_segment_id(node), cord_mask().with_ijk(voxels))
    wait_until(lambda: not panel.panel.current.settle.isActive())
    return voxels


@pytest.fixture
def no_settings(qt_application):
    from slicer_standins.pythonqt import qt

    yield
    qt.QSettings().clear()


def test_the_first_stroke_is_on_the_disk_within_half_a_minute(panel, scene, tmp_path, no_settings):
    from SpinalCordSegWidgets.versions import WAIT_MS

    node, versions = _open(panel, scene), panel.panel.review.versions
    _stroke(panel, node, 2)
    assert not versions._timer.isActive()  # nobody chose a folder: nothing is written
    versions.choose(tmp_path / "kept")
    _stroke(panel, node, 3)
    timer = versions._timer
    assert versions._timer.isActive() and timer.interval == WAIT_MS <= 25_000
    left = timer.remainingTime
    now = _stroke(panel, node, 4)
    assert timer.remainingTime <= left  # painting on and on does not put it off
    timer.timeout.emit()  # 20 s later
    (kept,) = MaskVersions(tmp_path / "kept" / f"{_CODE}.corrections").versions()
    assert np.array_equal(kept.read().ijk, now)
    assert "Saved:" in panel.panel.review.ui.versionsLabel.text and not versions._timer.isActive()
    assert "t1" not in str(kept.path.relative_to(tmp_path))


def test_after_a_crash_the_newest_autosave_is_named_and_restored(panel, scene, tmp_path, no_settings):
    node, versions, ui = _open(panel, scene), panel.panel.review.versions, panel.panel.review.ui
    versions.choose(tmp_path)
    work = _stroke(panel, node, 2)
    versions.flush()
    scene.Clear(0)  # the program is gone, and with it the scene
    node = _open(panel, scene)
    assert "does not contain its autosave" in ui.versionsLabel.text
    menu = ui.versionsButton.menu()
    menu.aboutToShow.emit()
    assert [action.text[:8] for action in menu.actions()] == ["Autosave", "Autosave", "Restore "]
    menu.actions()[2].trigger()
    assert np.array_equal(mask_of_segment(node, cord_segment_id(node)).ijk, work)
    assert "was restored" in ui.versionsLabel.text
    click(ui.undoButton)
    assert np.array_equal(mask_of_segment(node, cord_segment_id(node)).ijk, cord_mask().ijk)


def test_closing_the_scene_saves_what_waits(panel, scene, tmp_path, no_settings):
    node = _open(panel, scene)
    panel.panel.review.versions.choose(tmp_path)
    work = _stroke(panel, node, 5)
    scene.Clear(0)
    (kept,) = MaskVersions(tmp_path / f"{_CODE}.corrections").versions()
    assert np.array_equal(kept.read().ijk, work)


def test_a_folder_that_cannot_be_written_is_told(panel, scene, tmp_path, no_settings):
    node = _open(panel, scene)
    (tmp_path / "file").write_text("in the way")
    panel.panel.review.versions.choose(tmp_path / "file")
    _stroke(panel, node, 5)
    panel.panel.review.versions.flush()
    assert "NOT saved" in panel.panel.review.ui.versionsLabel.text
