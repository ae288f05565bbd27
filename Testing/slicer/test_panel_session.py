"""A user's session in the stand-in desktop, with real mouse clicks and the child process really running."""

from __future__ import annotations

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
from SpinalCordSegNodes.segmentations import cord_segment_id, mask_of_segment

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


def test_cancel_ends_it_and_leaves_nothing(session, scene, folder):
    session.ui.volumeSelector.setCurrentNode(_load(folder))
    click(session.ui.applyButton)
    child, own = session.panel.control.job, session.panel.control.job.folder
    nodes = scene.GetNumberOfNodes()
    wait_until(lambda: "Slice" in session.ui.statusLabel.text or not session.panel.control.running, 300)
    click(session.ui.applyButton)
    wait_until(lambda: not session.panel.control.running, 300)
    assert child.exit_code is not None
    assert scene.GetNumberOfNodes() == nodes and not own.exists() and _scratch(folder) == []
    assert session.panel.control.failure is None and session.ui.applyButton.text == "Apply to T1w neck"
    assert session.ui.applyButton.enabled


@pytest.mark.parametrize("what", ["close the scene", "delete the volume", "quit", "leave the module"])
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
        session.panel.control.cancel()
        wait_until(lambda: not session.panel.control.running, 5)


def test_a_crash_is_one_message_and_a_report_without_names(session, scene, folder):
    session.ui.volumeSelector.setCurrentNode(_load(folder))
    click(session.ui.applyButton)
    os.killpg(session.panel.control.job.process_id, signal.SIGKILL)
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
