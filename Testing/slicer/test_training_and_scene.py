"""Training works on files: a scene that is closed meanwhile, with the settings in it, changes nothing about the run."""

from __future__ import annotations

from pathlib import Path

import pytest
from slicer_standins.desktop import click, wait_until
from threshold_model import write_threshold_model

from SpinalCordSegTrainerLib.cli import STOP_FILE


class _Run:
    """Stands for the child process; goes on until it is told how it ended."""

    failure, result, stopped, cancelled, running = None, None, False, False, True

    def __init__(self, arguments: list[str]) -> None:
        from SpinalCordSegWidgets.jobs import Progress  # after the stand-ins

        self.command, self.progress = arguments[0], Progress()

    def poll(self) -> list[dict]:
        return []

    def end_with(self, **result) -> None:
        self.result, self.running = result, False

    def cancel(self) -> None:
        self.cancelled, self.running = True, False

    def close(self) -> None:
        self.running = False


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Data and run lie here; Slicer was started somewhere else."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("SPINALCORDSEG_MODELS", str(tmp_path / "models"))
    write_threshold_model(tmp_path / "run" / "best.safetensors")
    return tmp_path


@pytest.fixture
def filled(folder, trainer, monkeypatch):
    """The panel with both folders chosen and the cases checked."""
    monkeypatch.setattr("SpinalCordSegTrainerWidgets.main_widget.trainer_job", _Run)
    trainer.ui.dataEdit.text, trainer.ui.runEdit.text = str(folder / "data"), str(folder / "run")
    trainer.panel.usable_cases = 4
    trainer.panel.refresh()
    return trainer


def _end(panel, **result) -> None:
    panel.control.job.end_with(**result)
    wait_until(lambda: not panel.control.running)


def test_training_is_stopped_where_it_was_started(filled, folder, scene):
    click(filled.ui.trainButton)
    scene.Clear(0)
    assert filled.ui.runEdit.text == "" and filled.ui.trainButton.text == "Stop"
    click(filled.ui.trainButton)
    assert (folder / "run" / STOP_FILE).is_file() and not any((folder / "elsewhere").iterdir())


def test_the_model_of_a_closed_scene_is_published(filled, folder, scene):
    click(filled.ui.trainButton)
    scene.Clear(0)
    _end(filled.panel, reason="all epochs done")
    assert [path.name for path in (folder / "models").iterdir()] == ["threshold.safetensors"]
    assert "“threshold” can now be chosen" in filled.ui.statusLabel.text


def test_the_verdict_on_cases_is_not_given_to_another_scenes_folder(filled, scene):
    click(filled.ui.checkButton)
    scene.Clear(0)
    _end(filled.panel, subjects=4, cases=4, usable=4)
    assert filled.panel.usable_cases is None and filled.ui.casesLabel.text == ""
