"""The work list in the panel: which image and masks are shown, which image a case finds, what is stored where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from phantom_visits import linked_layout, mark
from slicer_standins import scripted
from slicer_standins.desktop import click, finish
from threshold_model import SPACING_MM, neck_image
from work_list_cases import erase_slice, measured, stored, visible

from SpinalCordSegLib.case import Case
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.image_io import read_image, write_volume
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegNodes.segmentations import mask_of_segment
from SpinalCordSegNodes.volumes import node_from_volume

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def results(tmp_path) -> Path:
    """Two measured cases, a and b, and their images beside them in "images"."""
    return measured(tmp_path / "results", tmp_path / "images", "a", "b")


def test_the_views_show_the_case_in_hand_and_no_other(panel, scene, results):
    scene.AddNewNodeByClass("vtkMRMLSliceNode", "Red").SetLayoutName("Red")
    view = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    view.SetLayoutName("Red")
    work = panel.panel.work_list
    assert work.choose(results, results.parent / "images")

    def behind() -> str:
        return scene.GetNodeByID(view.GetBackgroundVolumeID()).GetName()

    work.next()
    assert (work.case, behind(), visible()) == ("a", "a", ["a spinal cord AI"])
    view.SetForegroundVolumeID(panel.panel.current.volume.GetID())
    assert panel.panel.segment.volume is panel.panel.current.volume
    work.next()
    assert (work.case, behind(), visible()) == ("b", "b", ["b spinal cord AI"])
    assert panel.panel.segment.volume is panel.panel.current.volume, "Apply takes this case's image"
    assert view.GetForegroundVolumeID() is None
    work.previous()
    assert (work.case, behind(), visible()) == ("a", "a", ["a spinal cord AI"])


def test_two_patients_of_one_name_stay_apart(panel, results):
    report = results / "b" / "report.json"
    report.write_text(report.read_text(encoding="utf-8").replace('"case": "b"', '"case": "a"'), encoding="utf-8")
    work = panel.panel.work_list
    assert work.choose(results, results.parent / "images")
    work.next()
    panel.panel.review.ui.reviewerEdit.text = "Dr A. Meyer"
    panel.panel.review.go(4)  # goes into its folder at once, and its row is read again
    assert [item.case for item in work.work.items] == ["a [a]", "a [b]"]
    assert [Case.load(results / name).review.state for name in ("a", "b")] == ["in review", "given"]
    work.next()
    assert work._open[results / "b"].segmentation is panel.panel.current.node and work.case == "a [b]"


def test_the_case_of_the_list_is_that_of_the_mask_in_hand(panel, scene, results):
    work = panel.panel.work_list
    work.button.collapsed = False
    work.choose(results, results.parent / "images")
    work.next()
    a = panel.panel.current.node
    work.next()
    panel.ui.maskSelector.setCurrentNode(a)
    assert work.case == "a" and "Case 1: a." in work.ui.workLabel.text
    foreign = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "another person")
    panel.ui.maskSelector.setCurrentNode(foreign)
    assert not work.ui.storeButton.isEnabled() and "current mask" in work.ui.storeButton.toolTip
    scene.RemoveNode(a)
    scene.RemoveNode(foreign)
    assert panel.panel.current.node is None and not visible()[1:]


def test_an_image_found_by_its_name_alone_is_said_to_be_so(panel, results):
    image = read_image(results.parent / "images" / "a.nii.gz").volume
    write_volume(image.with_ijk(image.ijk + 1), results.parent / "images" / "a.nii.gz")  # another person's, say
    work = panel.panel.work_list
    work.choose(results, results.parent / "images")
    work.next()
    assert work.case == "a" and "by its name alone" in panel.ui.statusLabel.text
    work.next()
    assert work.case == "b" and not panel.ui.statusLabel.text


def test_a_correction_reaches_its_folder_though_another_folder_is_chosen_meanwhile(panel, results):
    work, images = panel.panel.work_list, results.parent / "images"
    other = measured(results.parent / "other", images, "a")
    work.choose(results, images)
    work.next()
    drawn = erase_slice(panel, 4)
    assert work.choose(other)
    finish(panel.panel)
    assert not np.any(stored(results / "a")[:, :, 4]) and np.array_equal(stored(results / "a"), drawn)
    table = (results / "review.csv").read_text(encoding="utf-8")
    assert "a,corrected," in table and "b,given," in table
    assert work.folder == other and work.case == "" and not (other / "review.csv").exists()

    # and so does one that is made later, in a mask of a list that is no longer shown
    drawn = erase_slice(panel, 6)
    panel.panel.measure()
    finish(panel.panel)
    assert np.array_equal(stored(results / "a"), drawn) and stored(other / "a").any()


def test_apply_takes_neither_a_case_s_own_mask_nor_another_person_s_image(panel, scene, results):
    node_from_volume(scene, neck_image(np.diag([*SPACING_MM, 1.0])), "another person")
    work = panel.panel.work_list
    work.choose(results)  # no folder of images
    panel.panel.segment.set_volume(panel.logic.onlyVolume())
    work.next()
    assert panel.panel.current.volume.GetName() == "a (mask only)" and panel.panel.segment.volume is None
    scripted.leave(panel)
    scripted.enter(panel)
    assert panel.panel.segment.volume is None and panel.panel.segment.why_not()


def test_a_comparison_shows_a_prior_that_the_list_had_hidden_and_ends_with_the_next_case(panel, scene, results):
    linked_layout(scene)
    work, compare = panel.panel.work_list, panel.panel.follow_up
    work.choose(results, results.parent / "images")
    for _case in "ab":
        work.next()
        mark(scene, panel.panel.current.volume, 3, (0.0, 0.0, 0.0))
    compare.add_mask()
    work.previous()
    compare.button.collapsed = False
    compare.ui.visitTable.selectRow(0)
    for end in (lambda: click(compare.ui.compareButton), work.next):
        assert visible() == ["a spinal cord AI"]
        click(compare.ui.compareButton)
        assert compare.views.running and visible() == ["a spinal cord AI", "b spinal cord AI"]
        end()
        assert not compare.views.running and not compare.ui.compareButton.checked
    assert (work.case, visible()) == ("b", ["b spinal cord AI"]), "the prior became the current mask"


def test_a_given_mask_finds_the_image_it_was_drawn_on(panel, tmp_path):
    """Two images of a name; the mask's own fingerprint is of no image."""
    phantom = make_phantom(PhantomConfig(shape=(64, 64, 10)))
    for number, folder in enumerate(("s1", "s2")):
        image = phantom.image.with_ijk(phantom.image.ijk + number)
        write_volume(image, tmp_path / "images" / folder / "T1.nii.gz")
    write_volume(phantom.mask, tmp_path / "T1.nrrd")
    image = str(tmp_path / "images" / "s2" / "T1.nii.gz")
    assert main(["measure", str(tmp_path / "T1.nrrd"), "--image", image, "--output", str(tmp_path / "results")]) == 0
    work = panel.panel.work_list
    assert work.choose(tmp_path / "results", tmp_path / "images")
    work.next()
    assert work._open[tmp_path / "results" / "T1"].image == Path(image), panel.ui.statusLabel.text


def test_what_is_known_of_a_case_folder_and_its_history_are_shown(panel, results):
    (results / "a" / "report.html").unlink()
    work, ui = panel.panel.work_list, panel.ui
    ui.reviewSection.collapsed = ui.historySection.collapsed = False
    work.choose(results, results.parent / "images")
    work.next()
    assert "lacks report.html" in ui.remarkLabel.text and ui.remarkLabel.isVisible()
    panel.panel.review.ui.reviewerEdit.text = "Dr A. Meyer"
    click(ui.acceptButton)
    acts = [[ui.historyTable.item(row, column).text() for column in (1, 2)] for row in range(ui.historyTable.rowCount)]
    assert acts[0] == ["accepted", "Dr A. Meyer"] and acts[-1][0] == "measured"
    work.next()
    assert ui.remarkLabel.text.startswith("b is of the same image as a:")


def test_a_version_of_the_case_folder_is_restored_in_the_panel(panel, results):
    first = stored(results / "a")
    corrected = read_image(next((results / "a").glob("mask.*"))).volume
    voxels = corrected.ijk.copy()
    voxels[:, :, 4] = 0
    write_volume(corrected.with_ijk(voxels), results.parent / "corrected.nii.gz")
    for mask in (results.parent / "corrected.nii.gz", results / "a" / "mask_given.nii.gz"):
        assert main(["correct", str(results / "a"), str(mask), "--by", "A. Meyer"]) == 0
    work, review = panel.panel.work_list, panel.panel.review
    assert work.choose(results, results.parent / "images")
    work.next()
    menu = review.ui.versionsButton.menu()
    menu.aboutToShow.emit()
    (oldest,) = [one for one in menu.actions() if one.text.startswith("Version 1,")]
    assert "A. Meyer" in oldest.text
    oldest.trigger()
    node = panel.panel.current.node
    restored = mask_of_segment(node, panel.panel.current.segment_id).ijk
    assert np.array_equal(restored, voxels != 0) and not np.array_equal(restored, first)
