"""The training panel as a whole: its parts, what can be done now and why not, and the run that goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import SpinalCordSegError
from SpinalCordSegLib.network.models import find_models
from SpinalCordSegTrainerLib.command_line.stop_request import ask_to_stop, clear_request
from SpinalCordSegTrainerWidgets.case_table import CaseTable, summary_words
from SpinalCordSegTrainerWidgets.job_words import JobWords
from SpinalCordSegTrainerWidgets.packages import check_packages, repair_packages
from SpinalCordSegTrainerWidgets.run_folder import can_resume, has_model, publish_model, read_sweep
from SpinalCordSegTrainerWidgets.settings_form import SettingsForm
from SpinalCordSegTrainerWidgets.training_pictures import TrainingPictures
from SpinalCordSegTrainerWidgets.training_run import TrainerRun, trainer_run
from SpinalCordSegWidgets.device_choice import DeviceChoice
from SpinalCordSegWidgets.device_probe import DeviceProbe
from SpinalCordSegWidgets.run_control import RunControl

# command → the button that runs it
_BUTTONS = {"check": "checkButton", "find-lr": "findButton", "train": "trainButton", "evaluate": "evaluateButton"}


class TrainerPanel:
    """``logic``: the module's. ``entered``: whether the user is in the module now."""

    def __init__(self, ui: Any, logic: Any, entered: Callable[[], bool]) -> None:
        self._ui, self._logic, self._entered = ui, logic, entered
        self.control, self._words = RunControl(self.refresh), JobWords()
        self.devices = DeviceChoice(ui.deviceBox)
        self.form = SettingsForm(ui, self.devices, self._on_settings)
        self.cases = CaseTable(ui.caseTable, ui.caseDetail)
        self.pictures = TrainingPictures(ui)
        self.probe = DeviceProbe(logic.scratchBase(), self._on_probe)
        self.packages = check_packages()
        self.usable_cases: int | None = None  # None: not checked since the choice of cases changed
        self._found: list[dict[str, Any]] = []
        self._checked_as: tuple[Path, int, bool] | None = None
        # What the run at hand was started with: it works on files, and a scene that is closed or loaded meanwhile puts
        # other settings into the form.
        self._started = self.form.settings()
        self._message = ""
        ui.checkButton.connect("clicked()", lambda: self._press("check"))
        ui.findButton.connect("clicked()", lambda: self._press("find-lr"))
        ui.trainButton.connect("clicked()", lambda: self._press("train"))
        ui.evaluateButton.connect("clicked()", lambda: self._press("evaluate"))
        ui.resumeButton.connect("clicked()", self._on_resume)
        ui.useButton.connect("clicked()", self._on_use)
        ui.openButton.connect("clicked()", self._on_open)
        ui.noticeButton.connect("clicked()", self._on_repair)
        ui.copyReportButton.connect("clicked()", self._on_copy_report)
        self.cases.show([])
        self._on_settings()

    def bind(self, parameters: Any) -> None:
        """Settings are kept in the module's parameter node; None: follow none."""
        self.form.bind(parameters)
        self._on_settings()

    def enter(self) -> None:
        """The user comes to the module: packages may have changed meanwhile."""
        self.check_packages()

    def end_children(self) -> None:
        self.control.close()
        self.probe.close()

    def check_packages(self) -> None:
        self.packages = check_packages(self.probe.answer)
        if self.packages.ready and self._entered():
            self.probe.ask(next(iter(find_models()), None))
        self.refresh()

    def why_not(self, command: str) -> str:
        """The reason why a command cannot be given now; "" when it can."""
        settings, running = self.form.settings(), self.control.command
        if running:
            return "" if running == command else _("Wait until the work at hand has ended, or stop it.")
        if not self.packages.ready:
            return self.packages.message
        if not settings.data.is_absolute():
            return _("Choose the folder of images and label maps first.")
        if command in ("find-lr", "train"):
            return self._why_not_train(command)
        if command == "evaluate" and not has_model(settings.run):
            return _("There is no trained model in the run's folder yet.")
        return ""

    def _why_not_train(self, command: str) -> str:
        if self.usable_cases is None:
            return _("Check the cases first.")
        if self.usable_cases < 2:
            return _("At least two patients are needed: one to train on, one to validate.")
        if not self.form.settings().run.is_absolute():
            return _("Choose a folder for the run first.")
        if self.form.rates_wrong:
            return self.form.rates_wrong
        if command == "train" and can_resume(self.form.settings().run):
            return _("This folder holds a run already: resume it, or choose another folder.")
        return ""

    def refresh(self) -> None:
        """Show the state as it is now."""
        ui, command = self._ui, self.control.command
        for name, button in _BUTTONS.items():
            self._show_button(getattr(ui, button), name)
        ready = not command and self.packages.ready
        ui.resumeButton.enabled = ready and can_resume(self.form.settings().run)
        ui.resumeButton.toolTip = _("Go on with the run in this folder, where it was stopped.")
        ui.useButton.enabled = command != "train" and has_model(self.form.settings().run)
        run = self.form.settings().run
        ui.openButton.enabled = run.is_absolute() and run.is_dir()
        ui.casesLabel.setVisible(bool(ui.casesLabel.text))
        self.form.set_enabled(not command)
        work = self.control.run
        ui.progressBar.setVisible(work is not None)
        if work is not None:
            ui.progressBar.setRange(0, work.progress.of)  # 0 to 0 is Qt's "busy"
            ui.progressBar.setValue(work.progress.done)
        ui.statusLabel.setText(self._words.say(work, self.control.pace) if work is not None else self._message)
        ui.statusLabel.setVisible(bool(ui.statusLabel.text))
        ui.copyReportButton.setVisible(work is None and self.control.failure is not None)
        ui.noticeFrame.setVisible(not self.packages.ready)
        ui.noticeLabel.setText(self.packages.message)
        ui.noticeButton.text = self.packages.action
        ui.noticeButton.setVisible(bool(self.packages.action))

    def _show_button(self, button: Any, command: str) -> None:
        running = self.control.command == command
        reason = self.why_not(command)
        button.text = self._words.button(command, running, self._words.stopping)
        button.enabled = not reason and not (running and self.control.cancelling)
        button.toolTip = reason or self._words.tip(command, running)

    def _press(self, command: str) -> None:
        if self.control.command == command:
            self._stop(command)
        elif not self.why_not(command):
            settings = self.form.settings()
            ways = {"check": settings.check, "find-lr": settings.find_rate, "evaluate": settings.evaluate}
            self._start(ways.get(command, settings.train)())

    def _stop(self, command: str) -> None:
        """Training saves first; pressed again, or for other work, it ends at once."""
        if command == "train" and not self._words.stopping:
            self._words.stopping = True
            try:
                ask_to_stop(self._started.run)
            except OSError:  # the folder is gone; then there is nothing to save into
                self.control.cancel()
            self.refresh()
        else:
            self.control.cancel()

    def _start(self, arguments: list[str]) -> None:
        self._message, self._words, self.control.failure = "", JobWords(), None
        self._started = settings = self.form.settings()
        if arguments[0] == "train":
            clear_request(settings.run)
            self.pictures.begin(settings.run, settings.epochs)
        elif arguments[0] == "check":
            self._checked_as, self._found = settings.cases_chosen, []
        try:
            run = trainer_run(arguments, self._logic.scratchBase())
            self.control.start(run, on_event=self._on_event, on_end=self._on_end)
        except (SpinalCordSegError, OSError) as error:
            self._message = str(error)
            self.refresh()

    def _on_event(self, event: dict[str, Any]) -> None:
        if event.get("event") == "checked":
            self._found.append(event["case"])
        self.pictures.take(event)

    def _on_end(self, work: TrainerRun) -> None:
        settings = self._started
        self._message = self._words.ended(work)
        if work.result is None:
            self.pictures.show_run(settings.run)
        elif work.command == "check":
            if self._checked_as != settings.cases_chosen:
                return  # another scene's cases are chosen now
            self.usable_cases = int(work.result["subjects"])
            self.cases.show(self._found)
            self._ui.casesLabel.setText(summary_words(work.result))
        elif work.command == "find-lr":
            self.form.take_bounds(read_sweep(settings.run))
            self.pictures.show_sweep(settings.run)
        elif work.command == "train":
            self._publish(settings.run)
        else:
            self._ui.scoresLabel.setText(self._words.scores(work.result["scores"]))
            self._ui.scoresLabel.setVisible(True)

    def _publish(self, run: Path) -> None:
        try:
            name = publish_model(run).stem
        except SpinalCordSegError as error:
            self._message = str(error)
            return
        words = _("The model “{name}” can now be chosen in Spinal Cord Segmentation.").format(name=name)
        self._message = f"{self._message} {words}".strip()

    def _on_settings(self) -> None:
        settings = self.form.settings()
        if self._checked_as != settings.cases_chosen:
            self.usable_cases, self._checked_as = None, settings.cases_chosen
            self.cases.show([])
            self._ui.casesLabel.setText("")
        if not self.control.running:
            self.pictures.show_run(settings.run)
        self._ui.scoresLabel.setVisible(bool(self._ui.scoresLabel.text))
        self.refresh()

    def _on_resume(self) -> None:
        self._start(self.form.settings().resume())

    def _on_use(self) -> None:
        self._message = ""
        self._publish(self.form.settings().run)
        self.refresh()

    def _on_open(self) -> None:
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self.form.settings().run)))

    def _on_probe(self) -> None:
        self.devices.show(self.probe.answer, 0)
        self.packages = check_packages(self.probe.answer)
        self.refresh()

    def _on_repair(self) -> None:
        self._message = repair_packages(self.packages)
        self.probe.forget()
        self.check_packages()

    def _on_copy_report(self) -> None:
        if self.control.failure is not None:
            qt.QApplication.clipboard().setText(self.control.failure.report)
