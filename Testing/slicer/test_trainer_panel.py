"""A user's session with the training panel in the stand-in desktop: real mouse clicks, the command line running."""

from pathlib import Path

import pytest
from PySide6 import QtTest
from slicer_standins import scripted
from slicer_standins.desktop import click, finish, wait_until
from training_data import QUICK, write_cases


@pytest.fixture
def folder(models) -> Path:
    return models.parent


@pytest.fixture
def trainer(folder, trainer):
    """With everything in the folder."""
    return trainer


def _epochs(folder: Path) -> int:
    """How many the run has finished."""
    table = folder / "run" / "epochs.csv"
    return len(table.read_text(encoding="utf-8").splitlines()) - 1 if table.is_file() else 0


def _fill(ui, folder: Path, epochs: int = 2) -> None:
    ui.dataEdit.text = str(folder / "data")
    ui.runEdit.text = str(folder / "run")
    ui.nameEdit.text = "Clinic A"
    ui.networkBox.setCurrentIndex(ui.networkBox.findData("deep_unet"))
    ui.epochsBox.value = epochs
    ui.batchBox.value = 4
    ui.sweepBox.value = 300
    ui.moreEdit.text = QUICK


def test_session(trainer, folder):
    ui, panel = trainer.ui, trainer.panel
    write_cases(folder / "data")
    assert not ui.trainButton.enabled and "folder" in ui.trainButton.toolTip
    _fill(ui, folder)
    assert not ui.trainButton.enabled and "Check the cases" in ui.trainButton.toolTip

    click(ui.checkButton)
    assert ui.checkButton.text == "Cancel" and not ui.findButton.enabled
    wait_until(lambda: not panel.control.running, 300)
    assert ui.casesLabel.text.startswith("4 of 5 cases can be used: 4 patients, 24 slices"), panel.control.failure
    refused = [row for row in range(5) if "another grid" in ui.caseTable.item(row, 3).text()]
    assert [ui.caseTable.item(row, 0).text() for row in refused] == ["sub-9_T1w"]
    place = ui.caseTable.visualItemRect(ui.caseTable.item(refused[0], 0)).center()
    click(ui.caseTable.viewport(), (place.x(), place.y()))
    assert "Cannot be used" in ui.caseDetail.text

    click(ui.findButton)
    finish(panel)
    assert ui.ratePicture.isVisible() and float(ui.baseEdit.text) <= float(ui.maxEdit.text)

    click(ui.trainButton)
    assert ui.trainButton.text == "Stop"
    wait_until(lambda: "loss" in ui.statusLabel.text, 300)
    finish(panel)
    assert _epochs(folder) == 2 and ui.lossPicture.isVisible() and "Training ended" in ui.statusLabel.text
    assert (folder / "models" / "Clinic-A.safetensors").is_file()

    click(ui.evaluateButton)
    finish(panel)
    assert ui.scoresLabel.text.startswith("1 held-out case:")
    assert [path.name for path in (folder / "temp").glob("spinalcordseg-*")] == []

    from SpinalCordSegLib.model.checkpoint import find_models

    assert folder / "models" / "Clinic-A.safetensors" in find_models()
    click(ui.useButton)
    assert (folder / "models" / "Clinic-A-2.safetensors").is_file()


def test_stopped_run_is_saved_and_resumed_though_its_scene_is_closed(trainer, scene, folder):
    """Training works on files: a scene that is closed meanwhile, with the settings in it, changes nothing."""
    ui, panel = trainer.ui, trainer.panel
    write_cases(folder / "data")

    def fill(epochs: int) -> None:
        _fill(ui, folder, epochs)
        panel.usable_cases = 4
        panel.refresh()

    fill(400)
    click(ui.trainButton)
    wait_until(lambda: _epochs(folder) > 0, 300)
    scene.Clear(0)
    assert ui.runEdit.text == "" and ui.trainButton.text == "Stop"
    click(ui.trainButton)
    assert ui.trainButton.text == "Stop at once" and "saving" in ui.statusLabel.text
    wait_until(lambda: not panel.control.running, 300)
    assert "Stopped and saved" in ui.statusLabel.text and panel.control.failure is None
    before = _epochs(folder)
    fill(before + 1)
    assert not ui.trainButton.enabled and "resume" in ui.trainButton.toolTip
    click(ui.resumeButton)
    scene.Clear(0)
    finish(panel)
    assert _epochs(folder) == before + 1
    assert (folder / "models" / "Clinic-A.safetensors").is_file()


def test_cancel_and_closing_slicer_end_the_child(trainer, scene, folder, slicer_application):
    ui, panel = trainer.ui, trainer.panel
    write_cases(folder / "data", 1)
    _fill(ui, folder)
    click(ui.checkButton)
    child = panel.control.job
    click(ui.checkButton)
    wait_until(lambda: not panel.control.running, 5)
    assert child.exit_code is not None and ui.statusLabel.text == "Cancelled."
    assert panel.usable_cases is None and ui.checkButton.enabled
    panel.usable_cases = 4
    click(ui.tolerantBox, (8, 8))
    assert panel.usable_cases is None  # the verdict was on other cases
    click(ui.checkButton)
    scene.Clear(0)
    wait_until(lambda: not panel.control.running, 300)
    assert panel.usable_cases is None and ui.casesLabel.text == ""  # and on another scene's folder
    _fill(ui, folder)
    click(ui.checkButton)
    child = panel.control.job
    slicer_application[0].quit()
    assert child.exit_code is not None


def test_a_failure_is_one_message_and_a_report_without_folders(trainer, folder, qt_application):
    ui, panel = trainer.ui, trainer.panel
    (folder / "Anna").mkdir()
    _fill(ui, folder)
    ui.dataEdit.text = str(folder / "Anna" / "Schmidt 1960")
    click(ui.checkButton)
    wait_until(lambda: not panel.control.running, 300)
    assert "is not a folder" in ui.statusLabel.text and ui.copyReportButton.isVisible()
    click(ui.copyReportButton)
    from PySide6 import QtWidgets

    report = QtWidgets.QApplication.clipboard().text()
    assert "exit code: 2" in report and "check FOLDER" in report and "FOLDER: is not a folder" in report
    assert "Schmidt" not in report and "Anna" not in report and "Pérez" not in report


def test_settings_keep_the_trainers_defaults_and_are_known_to_it(trainer, tmp_path):
    from SpinalCordSegTrainerLib.config import TrainingConfig, with_settings

    form, ui = trainer.panel.form, trainer.ui
    words = form.arguments("train")
    pairs = [words[n + 1] for n, word in enumerate(words) if word == "--set"]
    assert with_settings(TrainingConfig(), pairs) == TrainingConfig(name="my model")
    assert "--tolerant" not in words
    ui.tolerantBox.checked = True
    assert all("--tolerant" in form.arguments(name) for name in ("check", "find-lr", "train", "evaluate"))


def test_the_modules_own_test_runs_here_as_in_slicer(trainer):
    outcome = scripted.run_own_test("SpinalCordSegTrainer")
    assert outcome.testsRun == 2 and outcome.wasSuccessful(), outcome.failures + outcome.errors


def test_typing_in_the_middle_of_a_text_stays_there(trainer):
    edit = trainer.ui.nameEdit
    edit.setFocus()
    edit.setCursorPosition(2)
    QtTest.QTest.keyClicks(edit, "XY")
    assert edit.text == "myXY model" and trainer.logic.getParameterNode().modelName == "myXY model"


def test_settings_survive_in_the_scene(trainer, scene, folder):
    import slicer.util

    _fill(trainer.ui, folder)
    node, ui = trainer.logic.getParameterNode(), trainer.ui
    assert (node.epochs, node.batchSize, node.modelName, node.network) == (2, 4, "Clinic A", "deep_unet")
    assert slicer.util.saveScene(str(folder / "study.mrb"))
    scene.Clear(0)
    assert ui.nameEdit.text == "my model" and ui.epochsBox.value == 30
    assert (ui.epochsBox.minimum, ui.labelBox.maximum, ui.labelBox.cleanText) == (1, 65535, "the only one")
    slicer.util.loadScene(str(folder / "study.mrb"))
    assert ui.nameEdit.text == "Clinic A" and ui.epochsBox.value == 2
    assert ui.networkBox.itemData(ui.networkBox.currentIndex) == "deep_unet"
