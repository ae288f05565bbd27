"""The training panel: cases, settings, what can be done now and why not, and the run that goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import SpinalCordSegError
from SpinalCordSegLib.model.checkpoint import NETWORKS, publish_model
from SpinalCordSegTrainerLib.cli import STOP_FILE
from SpinalCordSegTrainerWidgets.pytorch import check_training, repair
from SpinalCordSegWidgets.install import DeviceChoice, DeviceProbe
from SpinalCordSegWidgets.jobs import TRAINER, Job, JobControl, trainer_packages
from SpinalCordSegWidgets.section import (
    Picture,
    ask_folder,
    copy_report,
    on_click,
    set_up_table,
    show_rows,
    show_run,
    show_text,
)

# The table of checked cases: what each holds, or why it cannot be used. A case is what the command check reports.


def cells(case: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Name, slices with cord, mean area, verdict."""
    area = case["mean_csa_mm2"]
    slices = "–" if not case["n_slices"] else f"{case['n_cord_slices']}/{case['n_slices']}"
    return str(case["name"]), slices, "–" if area is None else f"{area:.0f}", _verdict(case)


def _verdict(case: Mapping[str, Any]) -> str:
    if case["reason"]:  # the panel has no options
        reason = str(case["reason"]).replace("--tolerant", _("“Resample label maps”"))
        return _("Cannot be used: {reason}").format(reason=reason)
    return "; ".join(case["remarks"]) or _("ok")


def details(case: Mapping[str, Any]) -> str:
    """What is known of a case, a line each."""
    lines = [_("{case}, patient {subject}").format(case=case["name"], subject=case["subject"] or "–"), _verdict(case)]
    if case["grid"]:
        lines.append(_("Image: {grid}").format(grid=case["grid"]))
    if case["labels"]:
        lines.append(_("Labels found: {labels}").format(labels=", ".join(map(str, case["labels"]))))
    return "\n".join(lines)


def summary_text(result: Mapping[str, Any]) -> str:
    patients = _("1 patient") if result["subjects"] == 1 else _("{n} patients").format(n=result["subjects"])
    text = _("{usable} of {cases} cases can be used: {patients}, {slices} slices with cord.")
    return text.format(
        usable=result["usable"], cases=result["cases"], patients=patients, slices=result["slices_with_cord"]
    )


# The settings and the command line that they make. Their defaults are those of the parameter node.


# Line edits and their parameters, kept by hand: Slicer's own connection writes every letter back into the edit, and so
# puts the cursor to its end while somebody types in the middle.
_EDITS = {
    "dataEdit": "dataFolder",
    "runEdit": "runFolder",
    "nameEdit": "modelName",
    "baseEdit": "baseRate",
    "maxEdit": "maxRate",
    "moreEdit": "moreSettings",
}
_SPINS = ("labelBox", "epochsBox", "batchBox", "sweepBox")
_CHECKS = ("augmentBox", "tolerantBox")


class SettingsForm:
    """The panel's fields. ``changed`` is called after every change by the user."""

    def __init__(self, ui: Any, devices: DeviceChoice, changed: Callable[[], None]) -> None:
        self._ui, self._devices, self._changed = ui, devices, changed
        self._parameters: Any = None
        for key, title in NETWORKS.items():
            ui.networkBox.addItem(title, key)
        for name in _EDITS:
            getattr(ui, name).connect("textChanged(QString)", self._keep)
        ui.networkBox.connect("currentIndexChanged(int)", self._keep)
        for name in _SPINS:
            getattr(ui, name).connect("valueChanged(int)", lambda: self._changed())
        for name in _CHECKS:
            getattr(ui, name).connect("toggled(bool)", lambda: self._changed())
        on_click(
            ui,
            dataButton=lambda: self._choose(ui.dataEdit, _("Images and label maps")),
            runButton=lambda: self._choose(ui.runEdit, _("Folder for the run")),
        )

    def bind(self, parameters: Any) -> None:
        """The wrapper binds numbers and boxes; texts and the network's choice are kept by hand."""
        self._parameters = None
        if parameters is not None:
            for name, parameter in _EDITS.items():
                getattr(self._ui, name).text = getattr(parameters, parameter)
            self._ui.networkBox.setCurrentIndex(max(0, self._ui.networkBox.findData(parameters.network)))
        self._parameters = parameters

    @property
    def data(self) -> Path:
        """Folder of images and label maps."""
        return Path(self._ui.dataEdit.text.strip())

    @property
    def run(self) -> Path:
        """Folder for everything that is written."""
        return Path(self._ui.runEdit.text.strip())

    @property
    def cases(self) -> list[str]:
        """All that the verdict on the cases depends on, as the command line takes it."""
        label = self._ui.labelBox.value  # 0: the only one there is
        chosen = [str(self.data), *(["--label", str(label)] if label else [])]
        return chosen + ["--tolerant"] * self._ui.tolerantBox.checked

    @property
    def rates_wrong(self) -> str:
        """Why the two bounds make no range; "" when they do."""
        base, top = _rate(self._ui.baseEdit.text), _rate(self._ui.maxEdit.text)
        if base is None or top is None:
            return _("A learning rate is a number above 0, for example 1e-5.")
        return "" if base <= top else _("The lower learning rate must not be above the upper one.")

    def arguments(self, command: str) -> list[str]:
        """Of ``spinalcordseg-train``. resume goes on with the run in the folder as it was set up: only its length may
        change. evaluate scores the best weights on the patients that the run held out."""
        ui, run, device = self._ui, str(self.run), ["--device", self._devices.name]
        if command == "check":
            return ["check", *self.cases]
        if command == "resume":
            return ["train", "--resume", "--output", run, *device, "--set", f"epochs={ui.epochsBox.value}"]
        if command == "evaluate":
            judged = ["--model", str(self.run / _BEST), "--held-out", run]
            return ["evaluate", *self.cases, "--output", str(self.run / "evaluation"), *device, *judged]
        words = [command, *self.cases, "--output", run, *device]
        if command == "find-lr":
            words += ["--updates", str(max(ui.sweepBox.value, 300))] if ui.sweepBox.value else []
        else:
            words += ["--augment"] * ui.augmentBox.checked
        name = ui.nameEdit.text.strip()
        chosen = {
            "network.name": ui.networkBox.itemData(ui.networkBox.currentIndex),
            "epochs": ui.epochsBox.value,
            "batch_size": ui.batchBox.value,
            "rate.base_lr": _rate(ui.baseEdit.text),
            "rate.max_lr": _rate(ui.maxEdit.text),
        } | ({"name": json.dumps(name, ensure_ascii=False)} if name else {})
        pairs = [f"{key}={value}" for key, value in chosen.items()] + ui.moreEdit.text.split()
        return words + [word for pair in pairs for word in ("--set", pair)]

    def _choose(self, edit: Any, title: str) -> None:
        ask_folder(edit, title, lambda folder: setattr(edit, "text", str(folder)), edit.text)

    def _keep(self) -> None:
        if self._parameters is not None:
            for name, parameter in _EDITS.items():
                text = getattr(self._ui, name).text
                if getattr(self._parameters, parameter) != text:
                    setattr(self._parameters, parameter, text)
            self._parameters.network = self._ui.networkBox.itemData(self._ui.networkBox.currentIndex)
        self._changed()


def _rate(text: str) -> float | None:
    try:
        rate = float(text)
    except ValueError:
        return None
    return rate if 0 < rate < 1e3 else None


# What lies in a run's folder.


_BEST, _STATE = "best.safetensors", "state.safetensors"


TrainerJob = Job[dict[str, Any]]  # torch is never loaded into Slicer; the result is the "result" event

# command → its button, the button's text and tool tip
_COMMANDS = {
    "check": ("checkButton", _("Check the cases"), _("Read every image and label map and list which can be used.")),
    "find-lr": (
        "findButton",
        _("Find the bounds"),
        _("Raise the rate from 1e-7 to 1, twice, and see where the loss falls."),
    ),
    "train": ("trainButton", _("Train"), _("Train until all epochs are done, or validation gets no better.")),
    "evaluate": ("evaluateButton", _("Evaluate"), _("Score the best model on the patients that were held out.")),
}
_MOST_CASES = 8  # rows before the table scrolls
_STAGES = {
    "cases": _("Cases: {done} of {of}"),
    "range test": _("Range test: {done} of {of} updates"),
    "training": _("Training: {done} of {of} updates"),
}


def scores_text(scores: Mapping[str, Any]) -> str:
    """The evaluation in two lines."""
    cases = _("1 held-out case") if scores["cases"] == 1 else _("{n} held-out cases").format(n=scores["cases"])
    text = _("{cases}: Dice per slice {dice}, MCC {mcc:.3f}\nArea error per slice {area} %")
    dice, area = _spread(scores["dice_per_slice"], 3), _spread(scores["csa_error_percent_per_slice"], 1)
    return text.format(cases=cases, dice=dice, mcc=scores["mcc"], area=area)


def _spread(figures: Mapping[str, Any], decimals: int) -> str:
    if not figures.get("n"):
        return _("not known")
    mean = f"{figures['mean']:.{decimals}f}"
    return mean if figures.get("sd") is None else f"{mean} ± {figures['sd']:.{decimals}f}"


class TrainerPanel:
    """``entered``: whether the user is in the module now."""

    def __init__(self, ui: Any, entered: Callable[[], bool]) -> None:
        self._ui, self._entered = ui, entered
        self.control = JobControl(self.refresh)
        self.devices = DeviceChoice(ui.deviceBox)
        self.form = SettingsForm(ui, self.devices, self._on_settings)
        self.probe = DeviceProbe(self._on_probe, training=True)
        self.packages = check_training()
        self.usable_cases: int | None = None  # None: not checked since the choice of cases changed
        self._found: list[dict[str, Any]] = []
        self._checked_as: list[str] = []
        # Where the run at hand writes, and its cases: a scene that is closed or loaded meanwhile fills the form anew.
        self._run, self._cases = Path(), self.form.cases
        self._message, self._stopping = "", False
        self._loss: float | None = None  # of the last update
        labels = {"range_test.png": ui.ratePicture, "curves.png": ui.lossPicture}
        self._pictures = {name: (label, Picture(label)) for name, label in labels.items()}
        set_up_table(ui.caseTable, [_("Case"), _("Slices"), _("mm²"), _("Verdict")])
        ui.caseTable.connect(
            "cellClicked(int,int)", lambda row, _c: show_text(ui.caseDetail, details(self._found[row]))
        )
        buttons = {button: command for command, (button, _text, _tip) in _COMMANDS.items()}
        on_click(ui, **{button: lambda chosen=command: self._press(chosen) for button, command in buttons.items()})
        on_click(
            ui,
            resumeButton=lambda: self._start("resume"),
            useButton=self._on_use,
            openButton=lambda: qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self.form.run))),
            noticeButton=self._on_repair,
            copyReportButton=lambda: copy_report(self.control),
        )
        self._show_cases([])
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
        self.packages = check_training(self.probe.answer)
        if self.packages.can_run and self._entered():
            self.probe.ask()
        self.refresh()

    def why_not(self, command: str) -> str:
        """The reason why a command cannot be given now; "" when it can."""
        form, running = self.form, self.control.command
        if running:
            return "" if running == command else _("Wait until the run has ended, or stop it.")
        if not self.packages.can_run:
            return self.packages.message
        if not form.data.is_absolute():
            return _("Choose the folder of images and label maps first.")
        if command == "evaluate" and not (form.run / _BEST).is_file():
            return _("There is no trained model in the run folder yet.")
        if command not in ("find-lr", "train"):
            return ""
        if self.usable_cases is None:
            return _("Check the cases first.")
        if self.usable_cases < 2:
            return _("At least two patients are needed: one to train on, one to validate.")
        if not form.run.is_absolute():
            return _("Choose a folder for the run first.")
        if form.rates_wrong:
            return form.rates_wrong
        if command == "train" and (form.run / _STATE).is_file():
            return _("This folder holds a run already: resume it, or choose another folder.")
        return ""

    def refresh(self) -> None:
        """Show the state as it is now."""
        ui, job, run = self._ui, self.control.job, self.form.run
        for command in _COMMANDS:
            self._show_button(command)
        ui.resumeButton.enabled = job is None and self.packages.can_run and (run / _STATE).is_file()
        ui.useButton.enabled = self.control.command != "train" and (run / _BEST).is_file()
        ui.openButton.enabled = run.is_absolute() and run.is_dir()
        show_run(ui, self.control, self._message if job is None else self._status(job))
        for label in (ui.casesLabel, ui.scoresLabel):
            show_text(label, label.text)
        self.packages.show(ui)

    def _show_button(self, command: str) -> None:
        name, text, tip = _COMMANDS[command]
        button, reason = getattr(self._ui, name), self.why_not(command)
        running = self.control.command == command
        if running and command == "train":
            text = _("Stop at once") if self._stopping else _("Stop")
            tip = _("End after this update and save: the run can be resumed. Press again to end it unsaved.")
        elif running:
            text, tip = _("Cancel"), _("End it now.")
        button.text = text
        button.enabled = not reason and not (running and self.control.cancelling)
        button.toolTip = reason or tip

    def _status(self, job: TrainerJob) -> str:
        """ "Training: 34 of 300 updates, loss 0.123, about 12 min left"."""
        progress = job.progress
        if job.cancelled:
            return _("Cancelling…")
        if self._stopping:
            return _("Stopping after this update, then saving…")
        if progress.stage not in _STAGES or not progress.of:
            return _("Starting PyTorch…")
        text = _STAGES[progress.stage].format(done=progress.done, of=progress.of)
        if self._loss is not None:
            text = _("{text}, loss {loss:.3f}").format(text=text, loss=self._loss)
        return progress.with_time_left(text)

    def _show_cases(self, cases: Sequence[Mapping[str, Any]]) -> None:
        table, detail = self._ui.caseTable, self._ui.caseDetail
        flagged = [2 if case["reason"] else 1 if case["remarks"] else 0 for case in cases]
        tips = [details(one) for one in cases]
        show_rows(table, [cells(case) for case in cases], flagged=flagged, tips=tips, most=_MOST_CASES)
        show_text(detail, next((details(case) for case in cases if case["reason"]), ""))

    def _show_pictures(self, run: Path) -> None:
        """The curves that a run has written: of its range test, and of its epochs."""
        for name, (label, picture) in self._pictures.items():
            there = run.is_absolute() and (run / name).is_file()
            label.setVisible(there)
            if there:
                picture.show_file(run / name)

    def _press(self, command: str) -> None:
        if self.control.command == command:
            self._stop(command)
        elif not self.why_not(command):
            self._start(command)

    def _stop(self, command: str) -> None:
        """Training saves first; pressed again, or for other work, it ends at once."""
        if command == "train" and not self._stopping:
            self._stopping = True
            try:
                (self._run / STOP_FILE).touch()
            except OSError:  # the folder is gone; then there is nothing to save into
                self.control.cancel()
            self.refresh()
        else:
            self.control.cancel()

    def _start(self, command: str) -> None:
        self._message, self._stopping, self._loss, self.control.failure = "", False, None, None
        self._run, self._cases = self.form.run, self.form.cases
        if command == "check":
            self._checked_as, self._found = self._cases, []
        elif command in ("train", "resume"):
            (self._run / STOP_FILE).unlink(missing_ok=True)
            self._show_pictures(self._run)
        try:
            arguments, packages = self.form.arguments(command), trainer_packages()
            job = Job(TRAINER, arguments, lambda _folder, event: event, packages=packages)
            self.control.start(job, on_event=self._on_event, on_end=self._on_end)
        except (SpinalCordSegError, OSError) as error:
            self._message = str(error)
            self.refresh()

    def _on_event(self, event: dict[str, Any]) -> None:
        if event.get("event") == "checked":
            self._found.append(event["case"])
        elif event.get("event") == "epoch":
            self._show_pictures(self._run)
        self._loss = event.get("loss", self._loss)

    def _on_end(self, job: TrainerJob) -> None:
        run, result = self._run, job.result
        if result is None:
            self._message = job.failure.message if job.failure is not None else _("Cancelled.")
            if job.stopped:
                self._message = _("Stopped and saved; Resume continues from here.")
            self._show_pictures(run)
        elif job.command == "check":
            if self._checked_as == self._cases:  # else another scene's cases are chosen now
                self.usable_cases = int(result["subjects"])
                self._show_cases(self._found)
                self._ui.casesLabel.setText(summary_text(result))
        elif job.command == "find-lr":
            if not result.get("found", True):
                self._message = str(result.get("note", ""))
            self._ui.baseEdit.text, self._ui.maxEdit.text = f"{result['base_lr']:.1e}", f"{result['max_lr']:.1e}"
            self._show_pictures(run)
        elif job.command == "train":
            self._message = _("Training ended: {reason}.").format(reason=result.get("reason", ""))
            self._publish(run)
        else:
            self._ui.scoresLabel.setText(scores_text(result["scores"]))

    def _publish(self, run: Path) -> None:
        try:
            name = publish_model(run / _BEST).stem
        except SpinalCordSegError as error:
            self._message = str(error)
            return
        text = _("The model “{name}” can now be chosen in Spinal Cord Segmentation.").format(name=name)
        self._message = f"{self._message} {text}".strip()

    def _on_settings(self) -> None:
        if self._checked_as != self.form.cases:
            self.usable_cases, self._checked_as = None, self.form.cases
            self._show_cases([])
            self._ui.casesLabel.setText("")
        if not self.control.running:
            self._show_pictures(self.form.run)
        self.refresh()

    def _on_use(self) -> None:
        self._message = ""
        self._publish(self.form.run)
        self.refresh()

    def _on_probe(self) -> None:
        self.devices.show(self.probe.answer)
        self.check_packages()

    def _on_repair(self) -> None:
        self._message = repair(self.packages)
        self.probe.forget()
        self.check_packages()
