"""A user's session in the stand-in desktop, with real mouse clicks and the child process really running."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from cord_cases import erase, is_edited, paint
from dicom_neck import Database, write_series
from pydicom import dcmread
from PySide6 import QtWidgets
from slicer_standins import scripted
from slicer_standins.desktop import click, finish, wait_until
from threshold_model import SPACING_MM, neck_image, write_threshold_model

from SpinalCordSegLib.image_io import read_labels, write_volume
from SpinalCordSegLib.volume import Volume, mask_sha256
from SpinalCordSegNodes.results import follow_up_of, latest_follow_up
from SpinalCordSegNodes.segmentations import AI_COPY, cord_segment_id, mask_of_segment
from SpinalCordSegNodes.views import Discs, centre_of_slice


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


# A full day: what the night segmented of three patients, one with two visits, is reviewed, corrected and accepted; the
# discs are marked, the visits compared, DICOM objects written, and the model learns from one of the patients.


HOLE = 11  # in this slice of every image the cord cannot be seen: the network misses it
CASES = ("sub-01_ses-1-4", "sub-01_ses-2-4", "sub-02-4", "sub-03-4")  # the series' description and number
DISC_SLICE = 18


def _image(number: int, rows: int = 7) -> Volume:
    """A neck whose cord, of so many voxels AP, cannot be seen in one slice; each lies elsewhere in the scanner."""
    matrix = np.diag([*SPACING_MM, 1.0])
    matrix[:3, 3] = (-20.0 + number, -30.0, -36.0 + 4.0 * number)
    image = neck_image(matrix)
    voxels = image.ijk.copy()
    hidden = voxels[:, :, HOLE]
    hidden[hidden > 500] = 60
    voxels[:, 25 + rows : 32] = np.minimum(voxels[:, 25 + rows : 32], 60)
    return image.with_ijk(voxels)


@pytest.fixture
def day(models, panel, monkeypatch) -> Day:
    """What was computed over night: the series of three patients, and their results in one folder."""
    from SpinalCordSegLib.cli import main

    folder, images, files = models.parent, models.parent / "images", {}
    model = str(write_threshold_model(models / "threshold.safetensors", as_shipped=True))
    panel.panel.segment.models.refresh()
    panel.panel.segment.models.select(model)
    for number, name in enumerate(CASES):
        header = {"SeriesDescription": name[:-2], "PatientID": f"0471{name[5]}"}
        files[name] = write_series(_image(number, 6 if number == 1 else 7), images / name, **header)
        words = ["segment", str(images / name), "--model", model, "--device", "cpu"]
        assert main([*words, "--output", str(folder / "results")]) == 0
    known = {uid: path for series in files.values() for uid, path in series.items()}
    monkeypatch.setattr(slicer, "dicomDatabase", Database(known), raising=False)
    return Day(panel, folder, files, monkeypatch)


class Day:
    """A person at the panel: clicks, types, and names folders where the panel asks for one."""

    def __init__(self, panel, folder: Path, files: dict[str, dict[str, Path]], monkeypatch) -> None:
        self.folder, self.files = folder, files
        self.ui, self.panel, self.current = panel.ui, panel.panel, panel.panel.current
        self.asked: list[str] = []
        monkeypatch.setattr("qt.QFileDialog.getExistingDirectory", lambda *_: str(folder / self.asked.pop(0)))

    def press(self, button, *folders: str) -> None:
        """Click, name what is asked for, wait for what was begun."""
        assert button.isEnabled(), f"{button.objectName}: {button.toolTip}"
        self.asked += folders
        click(button)
        finish(self.panel)
        assert not self.asked

    def turn_to(self, section, *more) -> None:
        """Open these sections, close all others."""
        wanted = [one.button for one in (section, *more)]
        for other in self.panel.sections:
            if other.button.collapsed == (other.button in wanted):
                click(other.button, (20, 10))

    def take(self, case: str) -> Any:
        """Its row in the work list; gives the mask."""
        table = self.ui.workTable
        row = next(row for row in range(table.rowCount) if table.item(row, 0).text() == case)
        place = table.visualItemRect(table.item(row, 0)).center()
        click(table.viewport(), (place.x(), place.y()))
        finish(self.panel)
        assert self.panel.work_list.case == case, self.ui.statusLabel.text
        return self.current.node

    def drawn(self) -> str:
        """The AI's own mask of the current case, as SHA-256."""
        copy = self.current.node.GetNodeReference(AI_COPY)
        return mask_sha256(mask_of_segment(copy, cord_segment_id(copy)))

    def correct_and_accept(self) -> str:
        """From the flagged slice to the decision."""
        review, ui, drawn = self.panel.review, self.ui, self.drawn()
        assert review.queue[0].slice == HOLE and "gap" in review.queue[0].kinds
        self.press(ui.nextSliceButton)
        assert review.slices == (HOLE, HOLE)
        self.press(ui.fillButton)
        wait_until(lambda: not self.current.settle.isActive())
        assert self.current.live.changes.slices[0].slice == HOLE and review.review.state == "corrected"
        while review.review.unseen(review.queue):
            self.press(ui.nextSliceButton)
        self.press(ui.acceptButton)  # measures in full first
        assert review.review.state == "accepted", ui.statusLabel.text
        return drawn

    def mark_disc(self) -> None:
        """C2/C3 of the current case."""
        self.turn_to(self.panel.work_list, self.panel.levels)
        self.press(self.ui.markUpperButton)
        place = centre_of_slice(mask_of_segment(*self.current.which), DISC_SLICE)
        Discs(self.current.owner).node(3).AddControlPointWorld(*place)  # what a click in a view does
        wait_until(lambda: self.ui.levelTable.isVisible())
        assert self.ui.levelTable.item(0, 0).text() in ("C2", "C3")

    def rerun(self) -> None:
        """A slice that somebody spoilt is asked of the network again; an edit elsewhere stays, Undo takes it back."""
        correct, which = self.panel.review, self.current.which
        before = mask_of_segment(*which).ijk
        self.turn_to(correct)

        def spoil(mask: Volume) -> Volume:
            voxels = mask.ijk.copy()
            voxels[:, :, 5] = voxels[:, :, 17] = False
            return mask.with_ijk(voxels)

        assert correct.change(spoil)
        correct.choose(5, 5)
        self.press(self.ui.rerunButton)
        now = mask_of_segment(*which).ijk
        assert np.array_equal(now[:, :, 5], before[:, :, 5]) and not now[:, :, 17].any()
        self.press(self.ui.undoButton)
        assert not mask_of_segment(*which).ijk[:, :, 5].any()
        self.press(self.ui.undoButton)
        assert np.array_equal(mask_of_segment(*which).ijk, before)


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


def _check_dicom(written: Path, source: Path, mask: np.ndarray) -> None:
    seg, source = dcmread(next(written.glob("*.seg.dcm"))), dcmread(source)
    assert seg.StudyInstanceUID == source.StudyInstanceUID and str(seg.PatientName) == str(source.PatientName)
    assert seg.pixel_array.sum() == mask.sum()
    assert sorted(path.suffixes[-2] for path in written.iterdir()) == [".pdf", ".seg", ".sr"]


def test_full_day(day, monkeypatch):
    ui, sections, results = day.ui, day.panel, day.folder / "results"
    day.press(ui.workFolderButton, "results")
    day.press(ui.imageFolderButton, "images")
    day.turn_to(sections.work_list, sections.review)
    ui.reviewerEdit.text = "Dr A. Meyer"
    drawn = {}
    for name in CASES:
        day.press(ui.nextCaseButton)
        assert sections.work_list.case == name and not ui.statusLabel.text
        drawn[name] = day.correct_and_accept()
        day.turn_to(sections.work_list, sections.review)
    _check_folders(results, drawn)

    for name, date in zip(CASES[:2], ("2014-01-10", "2024-01-10"), strict=True):  # one person's visits
        day.take(name)
        day.mark_disc()
        day.turn_to(sections.work_list, sections.follow_up)
        day.press(ui.addMaskButton)
        ui.visitTable.item(ui.visitTable.rowCount - 1, 1).setText(date)
    day.press(ui.trackButton)
    (compared,) = follow_up_of(latest_follow_up(slicer.mrmlScene)).content["runs"]
    assert compared["rate"] is not None, compared["no_rate"]
    assert compared["rate"]["percent_per_year"] == pytest.approx(100 * (6 / 7 - 1) / 10, abs=0.3)
    assert "%/year" in ui.runsLabel.text

    day.turn_to(sections.work_list, sections.export)
    day.press(ui.exportButton, "exported")
    assert "accepted by Dr A. Meyer" in (day.folder / "exported" / CASES[1] / "report.html").read_text(encoding="utf-8")
    day.current.volume.SetAttribute("DICOM.instanceUIDs", " ".join(day.files[CASES[1]]))  # as Slicer's browser loads it
    sections.export.changed()
    day.press(ui.dicomButton, "dicom")
    source = next(iter(day.files[CASES[1]].values()))
    _check_dicom(day.folder / "dicom", source, mask_of_segment(*day.current.which).ijk)
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda _question: False)
    day.press(ui.dicomButton, "dicom")
    assert "exists already" in ui.statusLabel.text

    node = day.take(CASES[2])
    assert day.drawn() == drawn[CASES[2]]
    day.turn_to(sections.work_list, sections.review)
    ui.trainingSection.collapsed = False
    assert not ui.trainingButton.isEnabled() and "code" in ui.trainingButton.toolTip
    ui.subjectEdit.text = "A7"
    day.press(ui.trainingButton, "training")
    label = read_labels(day.folder / "training" / "sub-A7_ses-01_seg.nii.gz")
    assert np.array_equal(label.ijk != 0, mask_of_segment(node, cord_segment_id(node)).ijk)
    base = sections.segment.models.path
    day.press(ui.learnButton, "training")
    assert "was not tried on images it has not learnt from" in ui.statusLabel.text
    assert "is offered" in ui.statusLabel.text
    assert sections.segment.models.path.name == "threshold-corrected.safetensors"
    sections.segment.models.select(str(base))

    day.rerun()
    again = type(sections.work_list)(sections)  # the evening: the list is taken up anew
    assert again.choose(results) and again.work.next_open() is None
