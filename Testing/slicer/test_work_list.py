"""The work list in the panel: which image and masks are shown, which image a case finds, what is stored where, also
where two people work on one folder."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import slicer
from dicom_neck import write_series
from phantom_visits import linked_layout, mark
from slicer_standins import scripted
from slicer_standins.desktop import click, finish
from threshold_model import SPACING_MM, neck_image
from work_list_cases import erase_slice, measured, stored, visible

import SpinalCordSegLib.dicom as dicom
from SpinalCordSegLib.case import Case, update_review
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.correction import store_correction
from SpinalCordSegLib.errors import SpinalCordSegError
from SpinalCordSegLib.image_io import read_image, read_labels, write_volume
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.review import ACCEPTED, decided
from SpinalCordSegLib.volume import fingerprint
from SpinalCordSegNodes.case_data import ImageFolder
from SpinalCordSegNodes.segmentations import cord_segment_id, mask_of_segment
from SpinalCordSegNodes.volumes import node_from_volume


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
    assert visible() == ["b spinal cord AI"]
    panel.ui.maskSelector.setCurrentNode(a)
    assert work.case == "a" and "Case 1: a." in work.ui.workLabel.text and "a spinal cord AI" in visible()
    a.GetDisplayNode().SetVisibility(False)  # the user's own wish
    panel.panel.current.refresh()
    assert "a spinal cord AI" not in visible()
    foreign = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "another person")
    panel.ui.maskSelector.setCurrentNode(foreign)
    assert not work.ui.storeButton.isEnabled() and "current mask" in work.ui.storeButton.toolTip
    scene.RemoveNode(a)
    scene.RemoveNode(foreign)
    assert panel.panel.current.node is None and not visible()[1:]


def test_an_image_found_by_its_name_alone_is_said_to_be_so(panel, results):
    for path in (results.parent / "images").iterdir():  # another person's, say
        image = read_image(path).volume
        write_volume(image.with_ijk(image.ijk + 1), path)
    work = panel.panel.work_list
    work.choose(results, results.parent / "images")
    work.next()
    assert work.case == "a" and "by its name alone" in panel.ui.statusLabel.text


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


# A folder of results that two people work on: nobody's decision or mask is written over.


@pytest.fixture
def work(panel, tmp_path):
    """The work list of two measured cases; a was opened, b is current."""
    results = measured(tmp_path / "results", tmp_path / "images", "a", "b")
    work = panel.panel.work_list
    assert work.choose(results, tmp_path / "images")
    work.next()
    work.next()
    assert work.case == "b"
    return work


def _accept(case: Path) -> None:
    """As a colleague does elsewhere."""
    sha256 = Case.load(case).mask_sha256
    update_review(case, lambda review: decided(review, ACCEPTED, "Colleague", mask_sha256=sha256), decides_on=sha256)


def _correct(case: Path, erased: int) -> None:
    """As a colleague does elsewhere."""
    mask = read_labels(next(case.glob("mask.*")))
    voxels = mask.ijk != 0
    voxels[:, :, erased] = False
    store_correction(case, mask.with_ijk(voxels), "Colleague")


def test_a_decision_made_elsewhere_is_shown_and_stays(panel, work):
    case = work.folder / "a"
    _accept(case)
    work.open("a")
    assert panel.panel.review.review.state == ACCEPTED and not work.work.item("a").is_open
    work.open("b")
    assert work.choose(work.folder)
    work.open("a")
    assert panel.panel.review.review.state == ACCEPTED
    panel.panel.review.go(4)
    work.next()
    assert (Case.load(case).review.state, Case.load(case).review.who) == (ACCEPTED, "Colleague")


def test_a_mask_corrected_elsewhere_is_read_anew_and_its_correction_stays(panel, work):
    case = work.folder / "a"
    earlier = work._open[case].segmentation
    _correct(case, erased=7)
    work.previous()
    node = panel.panel.current.node
    assert node is not earlier and not earlier.GetDisplayNode().GetVisibility()
    assert not mask_of_segment(node, cord_segment_id(node)).ijk[:, :, 7].any()
    erase_slice(panel, 4)
    work.store()
    finish(panel.panel)
    assert not stored(case)[:, :, 4].any() and not stored(case)[:, :, 7].any()
    work.next()
    work.previous()
    assert panel.panel.current.node is node, "what was stored from here is no news"


def test_what_both_changed_is_told_and_neither_is_written_over(panel, work):
    case, sections = work.folder / "a", panel.panel
    work.previous()
    node = sections.current.node
    _correct(case, erased=7)
    before = (case / "report.json").read_bytes()
    drawn = erase_slice(panel, 4)
    sections.review.go(4)  # a review that goes into the folder at once

    def is_told() -> bool:
        return "folder of a " in panel.ui.statusLabel.text

    for act in (work.store, sections.measure, work.next, work.previous):
        sections.show_message("")
        act()
        finish(panel.panel)
        assert is_told(), act
    assert work.case == "a" and sections.current.node is node
    assert np.array_equal(mask_of_segment(node, cord_segment_id(node)).ijk, drawn)
    assert (case / "report.json").read_bytes() == before and stored(case)[:, :, 4].any()


def test_a_review_is_not_written_over_a_newer_decision(panel, work):
    work.previous()
    _accept(work.folder / "a")
    panel.panel.review.go(4)
    assert Case.load(work.folder / "a").review.state == ACCEPTED
    assert "folder of a " in panel.ui.statusLabel.text


def test_a_case_whose_segment_was_removed_is_told_and_stays_until_it_can_be_stored(panel, work):
    sections, status = panel.panel, panel.ui.statusLabel
    node = sections.current.node
    node.GetSegmentation().RemoveSegment(cord_segment_id(node))
    for act in (work.store, work.next, work.previous, lambda: work.open("a")):
        sections.show_message("")
        act()
        assert work.case == "b" and status.text.startswith("b: "), act
    work.note_review()
    sections.show_message("")
    assert work.choose(work.folder) and status.text.startswith("b: ")
    slicer.mrmlScene.RemoveNode(node)
    work.next()
    assert work.case == "a" and sections.current.node is work._open[work.folder / "a"].segmentation


# The images of the cases: how much is read to find one, and what damage hides none of the others.


_N = 4
_NAME = "T1w-neck-4"


@pytest.fixture
def archive(tmp_path) -> Path:
    """A folder for each of four persons: the same protocol, other voxels."""
    image = neck_image(np.diag([*SPACING_MM, 1.0]))
    for person in range(_N):
        write_series(image.with_ijk(image.ijk + person), tmp_path / "archive" / f"P{person + 1}")
    return tmp_path / "archive"


def _case(name: str, fingerprint: str = "", source: str = "") -> SimpleNamespace:
    found = SimpleNamespace(fingerprint=fingerprint, image_fingerprint="", source=source, identity=None)
    return SimpleNamespace(name=name, input=found)


def test_a_series_is_found_by_its_fingerprint_and_no_image_is_read_twice(archive, monkeypatch):
    known = [fingerprint(dicom.read_series(dicom.list_series(folder)[0])) for folder in sorted(archive.iterdir())]
    read, folders, images = dicom.read_series, [], ImageFolder(archive)
    monkeypatch.setattr(dicom, "read_series", lambda series: folders.append(series.uid) or read(series))
    for number in range(_N, 0, -1):
        found = images.find(_case(f"{_NAME}_ab12", known[number - 1]))
        assert found.path.parent.name == f"P{number}" and found.is_known
    assert len(folders) <= 2 * _N
    folders.clear()
    assert images.find(_case(f"{_NAME}_ab12", "of an image that is not there")) is None and not folders
    assert images.find(_case("a-code", known[0])).path.parent.name == "P1", "a batch of one is called by --code"
    assert images.find(_case("a-code")) is None


def test_an_image_is_looked_for_first_where_the_batch_had_found_it(archive, monkeypatch):
    monkeypatch.setattr("SpinalCordSegNodes.case_data._list", None)  # no other header is read
    third = fingerprint(read_image(archive / "P3").volume)
    assert ImageFolder(archive).find(_case("any", third, "P3")).path == archive / "P3"


def test_a_damaged_file_hides_no_other_series(archive):
    for path in (archive / "P2").iterdir():  # two series in one folder, as a flat export has them
        path.rename(archive / "P1" / f"second {path.name}")
    damaged = archive / "P1" / "AA000"
    deflated = b"\x02\0\x10\0UI\x16\x001.2.840.10008.1.2.1.99"
    length = b"\x02\0\0\0UL\x04\0" + len(deflated).to_bytes(4, "little")
    damaged.write_bytes(b"\0" * 128 + b"DICM" + length + deflated + b"\xff" * 40)
    volumes = [source.read().ijk for source in ImageFolder(archive)._sources()]
    assert sorted(int(voxels.min()) for voxels in volumes) == [40, 41, 42, 43]


def test_a_case_of_a_code_finds_its_series_and_never_another_patient_s(panel, models, tmp_path):
    """The other patient's series has the case's name."""
    image, archive, results = neck_image(np.diag([*SPACING_MM, 1.0])), tmp_path / "archive", tmp_path / "results"
    for n, name in enumerate(("T1w", "K")):
        header = {"PatientID": f"471{n}", "SeriesDescription": name, "SeriesNumber": 7}
        write_series(image.with_ijk(image.ijk + n), archive / str(n), **header)
    model = ["--model", str(models / "threshold.safetensors")]
    assert main(["segment", str(archive / "0"), "--code", "K-7", "--output", str(results), *model]) == 0
    work = panel.panel.work_list
    work.choose(results, archive)
    work.next()
    assert work._open[results / "K-7"].image.parent.name == "0", panel.ui.statusLabel.text
    assert panel.panel.segment.volume is panel.panel.current.volume
    slicer.mrmlScene.Clear(0)
    shutil.rmtree(archive / "0")
    work.choose(results, archive)
    work.next()
    assert work._open[results / "K-7"].image is None
    assert "another patient" in panel.ui.statusLabel.text and "471" not in panel.ui.statusLabel.text


def test_one_of_several_images_of_a_name_is_taken_by_its_fingerprint_only(tmp_path):
    first = make_phantom(PhantomConfig(shape=(16, 16, 4), cord_csa_mm2=20.0)).image
    for number, folder in enumerate(("p1", "p2")):
        write_volume(first.with_ijk(first.ijk + number), tmp_path / folder / "T1.nii.gz")
    images = ImageFolder(tmp_path)
    known = fingerprint(read_image(tmp_path / "p2" / "T1.nii.gz").volume)
    for case in ("T1", "p2_T1"):
        assert images.find(_case(case, known)).path == tmp_path / "p2" / "T1.nii.gz"
        assert images.find(_case(case, "of an image that is not there")) is None
    (tmp_path / "p2" / "T1.nii.gz").unlink()
    assert images.find(_case("T1")).path == tmp_path / "p1" / "T1.nii.gz"  # a measured mask knows no image
    (tmp_path / "p1" / "T1.nii.gz").write_bytes(b"cut off")
    with pytest.raises(SpinalCordSegError):
        images.find(_case("T1"))
