"""A user's session in the stand-in desktop, with real mouse clicks and the child process really running."""

import csv
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util
from cord_cases import erase, is_edited, paint
from PySide6 import QtWidgets
from slicer_standins import scripted
from slicer_standins.desktop import click, finish, wait_until
from threshold_model import SPACING_MM, neck_image

from SpinalCordSegLib.image_io import read_labels, write_volume
from SpinalCordSegLib.metrics import mask_sha256
from SpinalCordSegLib.volume import Volume
from SpinalCordSegNodes.segmentations import AI_COPY, cord_segment_id, mask_of_segment
from SpinalCordSegNodes.views import centre_of_slice, disc_node

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def folder(models) -> Path:
    """Everything lies here: the volume, the model, Slicer's temporary folder, what is exported."""
    return models.parent


@pytest.fixture
def session(folder, panel):
    panel.panel.segment.models.select(str(folder / "models" / "threshold.safetensors"))
    return panel


def _neck() -> np.ndarray:
    grid = np.diag([*SPACING_MM, 1.0])
    grid[:3, 3] = (-20.0, -30.0, -36.0)
    return neck_image(grid)


def _load(folder: Path):
    write_volume(_neck(), folder / "T1w neck.nii.gz")
    return slicer.util.loadVolume(str(folder / "T1w neck.nii.gz"))


def _scratch(folder: Path) -> list[str]:
    """What runs left on the disk. The device probe may be asking at any time: its folder holds no image."""
    left = (folder / "temp").glob("spinalcordseg-*/**/*")
    return [path.name for path in left if path.is_file() and path.name not in ("owner.lock", "events.jsonl", "log.txt")]


def test_session(real_probe, session, scene, folder):
    ui = session.ui
    volume = _load(folder)
    ui.volumeSelector.setCurrentNode(volume)
    wait_until(lambda: session.panel.segment.probe.answer is not None, 300)
    assert ui.applyButton.enabled and "CPU" in ui.deviceBox.itemText(0)

    click(ui.applyButton)
    assert ui.applyButton.text == "Cancel" and not ui.volumeSelector.isEnabled()
    finish(session.panel)
    assert ui.applyButton.text == "Apply to T1w neck" and "T1w neck: done in" in ui.statusLabel.text
    first = ui.maskSelector.currentNode()
    assert first.GetName() == "T1w neck spinal cord AI"
    expected = slicer.util.arrayFromVolume(volume).transpose() > 500
    found = mask_of_segment(first, cord_segment_id(first)).ijk
    assert (found & expected).sum() > 0.7 * expected.sum() > 0
    assert "mm³" in ui.volumeValue.text and len(session.panel.current.result.case.slices) == 24
    assert _scratch(folder) == []

    edited = paint(session, erase(3))
    wait_until(lambda: ui.editLabel.isVisible())
    assert "corrected by hand" in ui.editLabel.text and ui.measureButton.isVisible()

    click(ui.applyButton)
    finish(session.panel)
    second = ui.maskSelector.currentNode()
    assert (first.GetName(), second.GetName()) == ("T1w neck spinal cord corrected", "T1w neck spinal cord AI")
    assert np.array_equal(mask_of_segment(second, cord_segment_id(second)).ijk, found)
    assert np.array_equal(mask_of_segment(first, cord_segment_id(first)).ijk, edited)

    ui.maskSelector.setCurrentNode(first)
    click(ui.measureButton)
    finish(session.panel)
    case = session.panel.current.result.case
    assert case.volume_mm3 == pytest.approx(edited.sum() * np.prod(SPACING_MM), rel=1e-4)
    assert any(flag.kind == "gap" for flag in case.flags) and is_edited(first)

    session.panel.export.save_case(folder / "saved")
    (saved,) = (folder / "saved").iterdir()
    assert {"mask.nii.gz", "slices.csv", "report.html"} <= {path.name for path in saved.iterdir()}
    assert np.array_equal(read_labels(saved / "mask.nii.gz").ijk != 0, edited)


def test_from_a_volume_to_an_exported_case_in_eight_clicks(session, scene, folder, monkeypatch):
    """Loaded, segmented, one slice corrected, accepted, exported; choosing the folder counts as one."""
    ui, clicks = session.ui, []

    def press(widget, *position) -> None:
        clicks.append(widget.objectName)
        click(widget, *position)

    ui.reviewerEdit.text = "Dr A. Meyer"  # remembered by Slicer's settings
    write_volume(_image(0), folder / "T1w neck.nii.gz")
    volume = slicer.util.loadVolume(str(folder / "T1w neck.nii.gz"))
    wait_until(lambda: ui.volumeSelector.currentNode() is volume)  # the module is open, and it is the only one
    press(ui.applyButton)
    finish(session.panel)
    press(ui.reviewSection, (20, 10))
    press(ui.nextSliceButton)
    press(ui.fillButton)
    wait_until(lambda: not session.panel.current.settle.isActive())
    press(ui.acceptButton)
    finish(session.panel)
    press(ui.exportSection, (20, 10))
    monkeypatch.setattr(
        "qt.QFileDialog.getExistingDirectory", lambda *_: clicks.append("folder") or str(folder / "out")
    )
    press(ui.exportButton)
    (report,) = (folder / "out").glob("*/report.json")
    content = json.loads(report.read_text(encoding="utf-8"))
    assert content["review"]["state"] == "accepted" and content["mask_state"] == "corrected"
    assert len(clicks) == 8, clicks


@pytest.mark.parametrize("what", ["close the scene", "delete the volume", "quit", "leave the module and cancel"])
def test_the_world_may_change_while_it_runs(session, scene, folder, what, slicer_application):
    volume = _load(folder)
    session.ui.volumeSelector.setCurrentNode(volume)
    click(session.ui.applyButton)
    child, own = session.panel.control.job, session.panel.control.job.folder
    if what == "close the scene":
        scene.Clear(0)
        assert child.exit_code is not None and not own.exists() and _scratch(folder) == []
        assert not session.ui.applyButton.enabled
    elif what == "delete the volume":
        scene.RemoveNode(volume)
        wait_until(lambda: not session.panel.control.running, 300)
        assert "deleted meanwhile" in session.ui.statusLabel.text
        assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    elif what == "quit":
        slicer_application[0].quit()
        assert child.exit_code is not None and not own.exists() and _scratch(folder) == []
    else:
        scripted.leave(session)
        assert session.panel.control.running
        scripted.enter(session)
        nodes = scene.GetNumberOfNodes()
        click(session.ui.applyButton)
        wait_until(lambda: not session.panel.control.running, 300)
        assert child.exit_code is not None and scene.GetNumberOfNodes() == nodes
        assert not own.exists() and _scratch(folder) == [] and session.panel.control.failure is None
        assert session.ui.applyButton.text == "Apply to T1w neck" and session.ui.applyButton.enabled


def test_a_crash_is_one_message_and_a_report_without_names(session, scene, folder):
    session.ui.volumeSelector.setCurrentNode(_load(folder))
    click(session.ui.applyButton)
    os.killpg(session.panel.control.job._process.pid, signal.SIGKILL)
    wait_until(lambda: not session.panel.control.running, 20)
    assert "memory" in session.ui.statusLabel.text and session.ui.copyReportButton.isVisible()
    click(session.ui.copyReportButton)
    report = QtWidgets.QApplication.clipboard().text()
    assert "exit code: -9" in report and "Pérez" not in report and "T1w neck" not in report
    click(session.ui.applyButton)
    assert not session.ui.copyReportButton.isVisible()
    session.panel.control.cancel()
    wait_until(lambda: not session.panel.control.running, 5)


def test_the_modules_own_test_runs_here_as_in_slicer(panel, folder):
    outcome = scripted.run_own_test("SpinalCordSeg")
    assert outcome.testsRun == 3 and outcome.wasSuccessful(), outcome.failures + outcome.errors
    assert outcome.skipped == []


# A full day: three cases in, a flagged slice corrected in each, accepted; one measured by levels, exported, sent
# to training.


HOLE = 11  # in this slice of every image the cord cannot be seen: the network misses it
CASES = ("sub-01", "sub-02", "sub-03")


def _image(number: int) -> Volume:
    """A neck whose cord cannot be seen in one slice; each lies somewhere else in the scanner."""
    matrix = np.diag([*SPACING_MM, 1.0])
    matrix[:3, 3] = (-20.0 + number, -30.0, -36.0 + 4.0 * number)
    image = neck_image(matrix)
    voxels = image.ijk.copy()
    hidden = voxels[:, :, HOLE]
    hidden[hidden > 500] = 60
    return image.with_ijk(voxels)


@pytest.fixture
def morning(models) -> Path:
    """What was computed over night: two images, and the results of one batch."""
    from SpinalCordSegLib.cli import main

    folder = models.parent
    for number, name in enumerate(CASES):
        write_volume(_image(number), folder / "images" / f"{name}.nii.gz")
    model = str(models / "threshold.safetensors")
    command = ["segment", str(folder / "images"), "--model", model, "--device", "cpu"]
    assert main([*command, "--output", str(folder / "results")]) == 0
    return folder


def _only(panel, *sections) -> None:
    """Open these sections, close all others."""
    wanted = [section.button for section in sections]
    for section in panel.panel.sections:
        section.button.collapsed = section.button not in wanted


def _correct_and_accept(panel, name: str) -> str:
    """One case of the list, from its flagged slice to the decision; gives the AI's mask as SHA-256."""
    sections = panel.panel
    work, review = sections.work_list, sections.review
    click(work.ui.nextCaseButton)
    finish(panel.panel)
    assert work.case == name, panel.ui.statusLabel.text
    copy = sections.current.node.GetNodeReference(AI_COPY)
    drawn = mask_sha256(mask_of_segment(copy, cord_segment_id(copy)))
    assert review.queue[0].slice == HOLE and "gap" in review.queue[0].kinds
    click(review.ui.nextSliceButton)
    assert review.slices == (HOLE, HOLE)
    click(review.ui.fillButton)
    wait_until(lambda: not panel.panel.current.settle.isActive())
    assert sections.current.live.changes.slices[0].slice == HOLE and review.review.state == "corrected"
    while review.review.unseen(review.queue):
        click(review.ui.nextSliceButton)
    click(review.ui.acceptButton)  # measures in full first
    finish(panel.panel)
    assert review.review.state == "accepted", panel.ui.statusLabel.text
    _only(panel, work, review)
    return drawn


def _rerun(panel) -> None:
    """A slice that somebody spoilt is asked of the network again; an edit elsewhere stays, and Undo takes it back."""
    correct, node = panel.panel.review, panel.panel.current.node
    before = mask_of_segment(node, cord_segment_id(node)).ijk
    _only(panel, correct)

    def spoil(mask: Volume) -> Volume:
        voxels = mask.ijk.copy()
        voxels[:, :, 5] = voxels[:, :, 17] = False
        return mask.with_ijk(voxels)

    assert correct.change(spoil)
    correct.choose(5, 5)
    click(correct.ui.rerunButton)
    finish(panel.panel)
    now = mask_of_segment(node, cord_segment_id(node)).ijk
    assert np.array_equal(now[:, :, 5], before[:, :, 5]) and not now[:, :, 17].any()
    click(correct.ui.undoButton)
    assert not mask_of_segment(node, cord_segment_id(node)).ijk[:, :, 5].any()
    click(correct.ui.undoButton)
    assert np.array_equal(mask_of_segment(node, cord_segment_id(node)).ijk, before)


def _check_folders(results: Path, drawn: dict[str, str]) -> None:
    """What the cases' own folders and the table hold at the end of the reviewing."""
    with (results / "review.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row["case"], row["state"], row["reviewer"]) for row in csv.DictReader(file)]
    assert rows == [(name, "accepted", "Dr A. Meyer") for name in CASES]
    for name in CASES:
        content = json.loads((results / name / "report.json").read_text(encoding="utf-8"))
        assert content["mask_state"] == "corrected" and content["review"]["state"] == "accepted"
        assert content["review"]["mask_sha256"] == content["mask_sha256"]
        stored = read_labels(next((results / name).glob("mask.*")))
        assert np.count_nonzero(stored.ijk[:, :, HOLE]) > 40
        assert mask_sha256(read_labels(next((results / name).glob("mask_ai.*")))) == drawn[name]


def _levels(panel) -> None:
    """The disc C2/C3 of the first case is marked, and its levels are there."""
    section, current = panel.panel.levels, panel.panel.current
    _only(panel, section)
    click(section.ui.markUpperButton)
    place = centre_of_slice(mask_of_segment(*current.which), 18)
    disc_node(current.owner, 3).AddControlPointWorld(*place)  # what a click in a view does
    wait_until(lambda: section.ui.levelTable.isVisible())
    assert section.ui.levelTable.item(0, 0).text() in ("C2", "C3")


def _export(panel, folder: Path) -> None:
    """The first case as a folder of its own."""
    _only(panel, panel.panel.export)
    assert panel.ui.exportButton.isEnabled(), panel.ui.exportButton.toolTip
    panel.panel.export.save_case(folder)
    assert "accepted by Dr A. Meyer" in (folder / CASES[0] / "report.html").read_text(encoding="utf-8")


def _teach(panel, folder: Path) -> None:
    """The first case goes into the training set."""
    section = panel.panel.review
    _only(panel, panel.panel.review)
    assert not section.ui.trainingButton.isEnabled() and "code" in section.ui.trainingButton.toolTip
    section.ui.subjectEdit.text = "A7"
    assert section.ui.trainingButton.isEnabled(), section.ui.trainingButton.toolTip
    section.add_to_training_set(folder)
    finish(panel.panel)
    label = read_labels(folder / "sub-A7_ses-01_seg.nii.gz")
    assert (folder / "sub-A7_ses-01.nii.gz").is_file()
    node = panel.panel.current.node
    assert np.array_equal(label.ijk != 0, mask_of_segment(node, cord_segment_id(node)).ijk)


def test_full_day(morning, panel):
    sections, results = panel.panel, morning / "results"
    work = sections.work_list
    _only(panel, work, sections.review)
    sections.review.ui.reviewerEdit.text = "Dr A. Meyer"
    assert work.choose(results, morning / "images")
    drawn = {name: _correct_and_accept(panel, name) for name in CASES}
    _check_folders(results, drawn)

    panel.panel.current.set(work._open[results / CASES[0]].segmentation)
    _levels(panel)
    _export(panel, morning / "exported")
    for name in CASES:
        copy = work._open[results / name].segmentation.GetNodeReference(AI_COPY)
        assert mask_sha256(mask_of_segment(copy, cord_segment_id(copy))) == drawn[name]
    _teach(panel, morning / "training")
    panel.panel.segment.models.select(str(morning / "models" / "threshold.safetensors"))
    _rerun(panel)
    again = type(work)(sections)  # the evening: the list is taken up anew
    assert again.choose(results) and again.work.next_open() is None
