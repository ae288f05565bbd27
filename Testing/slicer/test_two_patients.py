"""Two patients in one scene: the current case follows the user's choice alone, and nothing carries over.

Each test is one way to mix patients. The selectors behave as in the worst Slicer (see mrml_widgets).
"""

import gc
import random
from types import SimpleNamespace

import numpy as np
import pytest
import slicer
import slicer.util
from cord_cases import FLAGGED_SLICE, cord_mask, finished_case, grey_volume
from PySide6 import QtWidgets
from slicer_standins import scripted
from slicer_standins.desktop import click, wait_until

from SpinalCordSegNodes.editing import read_review
from SpinalCordSegNodes.results import add_follow_up, add_result
from SpinalCordSegNodes.segmentations import cord_segment_id
from SpinalCordSegNodes.views import Discs
from SpinalCordSegNodes.volumes import image_state, item_of, label_of, node_from_volume
from SpinalCordSegWidgets.section import short


def _measured(panel, name: str) -> SimpleNamespace:
    volume = node_from_volume(slicer.mrmlScene, grey_volume(cord_mask()), name)
    return SimpleNamespace(
        volume=volume, mask=add_result(slicer.mrmlScene, finished_case(cord_mask()), volume).segmentation
    )


def _take(panel, one) -> None:
    panel.ui.maskSelector.setCurrentNode(one.mask)


def _state(one) -> str:
    return read_review(one.mask, cord_segment_id(one.mask)).state


def _patients(scene, **owned) -> None:
    """Each a patient of the subject hierarchy, with its nodes."""
    hierarchy = scene.GetSubjectHierarchyNode()
    for name, nodes in owned.items():
        item = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), name)
        for node in nodes:
            hierarchy.SetItemParent(item_of(scene, node), item)


@pytest.fixture
def two(panel, scene):
    """Anna's mask is current, Bert's is beside it, each measured; a reviewer; every section is open."""
    anna, bert = _measured(panel, "anna"), _measured(panel, "bert")
    for section in panel.panel.sections:
        section.button.collapsed = False
    panel.panel.review.ui.reviewerEdit.text = "Dr A. Meyer"
    panel.ui.volumeSelector.setCurrentNode(anna.volume)
    _take(panel, anna)
    return SimpleNamespace(panel=panel, anna=anna, bert=bert, sections=panel.panel, scene=scene)


@pytest.mark.parametrize("where", ["in the module", "elsewhere"])
@pytest.mark.parametrize("what", ["volume", "mask"])
def test_a_removed_node_leaves_nothing_in_hand(two, what, where):
    sections = two.sections
    choice = {"volume": sections.segment.choice, "mask": sections.current.choice}[what]
    node = two.anna.volume if what == "volume" else two.anna.mask
    choice.set(node)
    if where == "elsewhere":
        scripted.leave(two.panel)
    two.scene.RemoveNode(node)
    assert choice.node is None and choice._selector.currentNode() is None
    assert "removed from the scene" in two.panel.ui.statusLabel.text
    scripted.leave(two.panel)
    scripted.enter(two.panel)
    assert choice.node is None
    assert not {"volume": two.panel.ui.applyButton, "mask": two.panel.ui.acceptButton}[what].isEnabled()


def test_buttons_name_the_image_they_act_on(two):
    sections, ui = two.sections, two.panel.ui

    def texts() -> list[str]:
        ui_of = [sections.review.ui.acceptButton, sections.follow_up.ui.addMaskButton, sections.export.ui.dicomButton,
                 sections.review.ui.trainingButton, ui.exportButton, ui.measureButton]  # fmt: skip
        return [button.text for button in ui_of]

    assert all("anna" in text for text in [*texts(), ui.applyButton.text])
    _take(two.panel, two.bert)
    assert all("bert" in text for text in texts()) and "anna" in ui.applyButton.text
    two.bert.volume.SetName("carl")
    wait_until(lambda: all("carl" in text for text in texts()))
    two.anna.volume.SetName("a" * 70)
    assert all(len(text) < 60 for text in [*texts(), ui.applyButton.text])


def test_two_images_of_one_name_are_told_apart(two):
    two.anna.volume.SetName("t1")
    two.bert.volume.SetName("t1")
    found = []
    for one in (two.anna, two.bert):
        _take(two.panel, one)
        two.sections.changed()
        found.append(two.sections.review.ui.acceptButton.text)
    assert found == ["Accept t1 (1 of 2)", "Accept t1 (2 of 2)"]


def test_a_mask_of_the_same_name_is_taken_in_hand_when_it_is_chosen(two):
    two.bert.mask.SetName(two.anna.mask.GetName())
    selector = two.panel.ui.maskSelector
    selector.choose(selector._ids.index(two.bert.mask.GetID()))
    assert two.sections.current.node is two.bert.mask and two.sections.current.live.digest
    assert two.sections.review.ui.acceptButton.text == "Accept bert"
    two.panel.logic.getParameterNode().mask = two.anna.mask  # a script's choice: the selector says nothing
    two.sections.changed()
    assert two.sections.review.ui.acceptButton.text == "Accept anna"


def test_no_image_among_several_is_chosen_by_itself(two):
    two.panel.ui.volumeSelector.setCurrentNode(None)
    scripted.leave(two.panel)
    scripted.enter(two.panel)
    assert two.sections.segment.volume is None


@pytest.mark.parametrize("what", ["imported", "loaded"])
def test_another_scene_takes_the_hand_only_where_it_is_opened(two, tmp_path, what):
    _take(two.panel, two.bert)
    slicer.util.saveScene(str(tmp_path / "bert.mrb"))
    _take(two.panel, two.anna)
    if what == "loaded":
        two.scene.Clear(0)
        assert two.sections.current.node is None
    slicer.util.loadScene(str(tmp_path / "bert.mrb"), {"clear": False})
    if what == "imported":
        assert two.sections.current.node is two.anna.mask and two.sections.segment.volume is two.anna.volume
        assert two.sections.review.editor._widget.segmentationNode() is two.anna.mask
    else:
        assert two.sections.current.node.GetName() == "bert spinal cord AI"


def test_a_run_that_ends_leaves_in_hand_what_was_chosen_meanwhile(two):
    _take(two.panel, two.bert)
    found, state = finished_case(cord_mask()), image_state(two.anna.volume)
    two.sections.segment._on_segmented(found, two.anna.volume, state, two.anna.mask)
    assert two.sections.current.node is two.bert.mask and "anna: done" in two.panel.ui.statusLabel.text


def _replace_image(one) -> None:
    voxels = slicer.util.arrayFromVolume(one.volume)
    slicer.util.updateVolumeFromArray(one.volume, voxels[:, :, ::-1].copy())


def test_a_run_on_an_image_that_was_replaced_meanwhile_is_not_kept(two):
    state = image_state(two.anna.volume)
    _replace_image(two.anna)
    two.sections.segment._on_segmented(finished_case(cord_mask()), two.anna.volume, state, two.anna.mask)
    assert two.sections.current.node is two.anna.mask and "Apply again" in two.panel.ui.statusLabel.text


def test_a_mask_whose_image_was_replaced_is_not_accepted(two):
    _replace_image(two.anna)
    wait_until(lambda: not two.sections.review.ui.acceptButton.isEnabled())
    two.sections.review.decide("accepted")
    assert _state(two.anna) == "ai" and "measure it again" in two.panel.ui.statusLabel.text
    assert two.sections.why_not_measured() == two.sections.current.why_stale and two.panel.ui.measureButton.isVisible()


def test_the_slice_that_was_looked_at_is_not_seen_in_the_next_patient(two):
    two.sections.review.go(FLAGGED_SLICE)
    _take(two.panel, two.bert)
    assert not two.sections.review.ui.seenButton.isEnabled()
    click(two.sections.review.ui.nextSliceButton)
    assert two.sections.review.review.seen == ()


def test_what_was_typed_for_a_person_does_not_go_on_with_the_next(two, tmp_path):
    levels, training, dicom = two.sections.levels.ui, two.sections.review.ui, two.sections.export.ui
    levels.ageBox.value, levels.declareBox.checked, dicom.drawnByHandBox.checked = 45, True, True
    levels.sexBox.setCurrentIndex(1)
    training.subjectEdit.text, training.replaceBox.checked = "A7", True
    two.sections.review.choose(3, 5)
    _take(two.panel, two.bert)
    assert (levels.ageBox.value, levels.declareBox.checked, levels.sexBox.currentIndex) == (0, False, 0)
    assert (training.subjectEdit.text, training.replaceBox.checked, dicom.drawnByHandBox.checked) == ("", False, False)
    assert two.sections.review.slices == (0, 0)


def test_a_click_for_a_disc_of_one_patient_marks_nothing_in_the_next(two):
    click(two.sections.levels.ui.markUpperButton)
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    assert interaction.GetCurrentInteractionMode() == interaction.Place
    _take(two.panel, two.bert)
    assert interaction.GetCurrentInteractionMode() != interaction.Place
    assert Discs(two.bert.volume).node(3) is None and not Discs(two.anna.volume).marked


@pytest.mark.parametrize("tags", [False, True], ids=["by the subject hierarchy", "by DICOM tags"])
def test_two_patients_are_neither_followed_up_nor_compared(two, monkeypatch, tags):
    if tags:
        for one in (two.anna, two.bert):
            one.volume.SetAttribute("DICOM.instanceUIDs", one.volume.GetName())
        database = SimpleNamespace(isOpen=True, instanceValue=lambda uid, _tag: uid, fileForInstance=lambda _uid: "")
        monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    else:
        _patients(two.scene, A=[two.anna.volume, two.anna.mask], B=[two.bert.volume, two.bert.mask])
    follow_up = two.sections.follow_up
    follow_up.add_mask()
    _take(two.panel, two.bert)
    follow_up.add_mask()
    for visit in follow_up.visits:
        visit.day = "2024-01-10"
    two.panel.ui.visitTable.selectRow(0)
    assert "different patients" in follow_up.why_not() and "different patients" in follow_up.why_no_views()


def test_a_mask_of_another_patient_than_its_image_is_not_accepted(two):
    _patients(two.scene, A=[two.anna.mask], B=[two.anna.volume])
    two.sections.changed()
    button = two.sections.review.ui.acceptButton
    assert not button.isEnabled() and "different patients" in button.toolTip


def test_a_visit_that_was_changed_since_it_was_measured_is_not_compared(two, tmp_path):
    two.sections.follow_up.add_mask()
    _replace_image(two.anna)
    assert not two.sections.attempt(lambda: two.sections.follow_up.visits[0].write(tmp_path, 1))
    assert "anna was not measured as it is now" in two.panel.ui.statusLabel.text


def test_a_follow_up_of_one_patient_is_not_shown_beside_the_next(two):
    texts = {"json": '{"person": "A7", "runs": [], "visits": [], "remarks": []}', "csv": "years,area\n", "html": ""}
    from SpinalCordSegNodes.results import FollowUpTexts

    add_follow_up(two.scene, FollowUpTexts(texts), [two.anna.mask])
    ui = two.sections.follow_up.ui
    assert two.sections.follow_up._shown() is not None
    _take(two.panel, two.bert)
    assert two.sections.follow_up._shown() is None and not ui.followUpExportButton.isEnabled()
    _take(two.panel, two.anna)
    two.scene.RemoveNode(two.anna.mask)
    _take(two.panel, two.bert)
    assert two.sections.follow_up._shown() is None


def test_the_brush_is_put_away_where_the_next_mask_has_no_segment(two):
    editor = two.sections.review.editor
    assert editor.is_open
    empty = two.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    two.panel.ui.maskSelector.setCurrentNode(empty)
    assert not editor.is_open and editor._widget.segmentationNode() is None
    empty.GetSegmentation().AddEmptySegment("cord", "cord")
    two.sections.current.refresh()
    assert editor.is_open and editor._widget.sourceVolumeNode() is None, "that was the other patient's image"


def test_another_segment_is_another_mask(two):
    two.sections.review.go(FLAGGED_SLICE)
    before = two.sections.current.live.digest
    lesion = two.anna.mask.GetSegmentation().AddEmptySegment("lesion", "lesion")
    two.sections.current.refresh()
    box = two.panel.ui.segmentBox
    box.setCurrentIndex(box.findData(lesion))
    assert two.sections.current.live.digest != before and not two.sections.review.ui.seenButton.isEnabled()
    two.anna.mask.GetSegmentation().RemoveSegment(cord_segment_id(two.anna.mask))
    two.anna.mask.GetSegmentation().AddEmptySegment("other", "other")
    two.anna.mask.GetSegmentation().RemoveSegment(lesion)
    two.anna.mask.GetSegmentation().AddEmptySegment("third", "third")
    two.sections.current.refresh()
    assert two.sections.current.segment_id == "", "a segment that was removed leaves none, not a neighbour"


def test_slices_that_come_late_leave_the_undo_of_the_mask_in_hand(two, monkeypatch):
    saved = []
    monkeypatch.setattr(two.sections.review.editor, "save_state", lambda: saved.append(1))
    _take(two.panel, two.bert)
    found = cord_mask().with_ijk(np.zeros_like(cord_mask().ijk))
    two.sections.review._on_found(found, (two.anna.mask, cord_segment_id(two.anna.mask)), (5, 5))
    assert not saved and "anna" in two.panel.ui.statusLabel.text


@pytest.mark.parametrize("seed", range(2))
def test_scenes_close_nodes_go_and_modules_are_left_in_any_order(two, seed):
    """Twenty acts at random, garbage collected after each: current is what the user chose last, or nothing."""
    chance, sections, chosen = random.Random(seed), two.sections, two.anna.mask
    patients = [two.anna, two.bert]
    for section in sections.sections:
        section.button.collapsed = section is not sections.review
    acts = ["close", "re-enter", "remove mask", "remove volume", "new patient", "choose", "accept"]
    for number in range(20):
        act, one = chance.choice(acts), chance.choice(patients) if patients else None
        if act == "close":
            two.scene.Clear(0)
            patients, chosen = [], None
        elif act == "re-enter":
            scripted.leave(two.panel)
            gc.collect()
            scripted.enter(two.panel)
        elif act == "new patient":
            patients.append(_measured(two.panel, f"patient {number}"))
        elif one is not None and act == "choose":
            _take(two.panel, one)
            chosen = one.mask
        elif one is not None and act == "remove mask":
            chosen = None if chosen is one.mask else chosen
            two.scene.RemoveNode(one.mask)
            patients.remove(one)
        elif one is not None and act == "remove volume" and two.scene.IsNodePresent(one.volume):
            two.scene.RemoveNode(one.volume)
        elif act == "accept" and sections.review.ui.acceptButton.enabled:
            before = {id(each): _state(each) for each in patients}
            sections.review.ui.acceptButton.click()
            changed = [each for each in patients if _state(each) != before[id(each)]]
            assert [each.mask for each in changed] == [chosen], "the wrong patient was accepted"
        gc.collect()
        QtWidgets.QApplication.processEvents()
        assert sections.current.node is chosen and two.panel.ui.maskSelector.currentNode() is chosen
        shown = sections.review.ui.acceptButton.text
        owner = None if chosen is None else sections.current.owner
        assert shown == ("Accept …" if owner is None else f"Accept {short(label_of(two.scene, owner))}")
        volume = sections.segment.volume
        assert volume is None or two.scene.IsNodePresent(volume)
