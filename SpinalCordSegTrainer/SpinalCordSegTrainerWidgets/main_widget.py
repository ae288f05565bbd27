"""The training panel: cases, settings, what can be done now and why not, and the run that goes on."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import SpinalCordSegError
from SpinalCordSegLib.files import atomic_write
from SpinalCordSegLib.model.checkpoint import find_models, load_card, user_models_folder
from SpinalCordSegTrainerLib.cli import STOP_FILE
from SpinalCordSegWidgets.find_section import DeviceChoice
from SpinalCordSegWidgets.install import (
    DeviceProbe,
    check_dependencies,
    repair,
)
from SpinalCordSegWidgets.jobs import LIBRARY, Job, JobControl
from SpinalCordSegWidgets.pictures import ResizingPicture

# The table of checked cases: what each holds, or why it cannot be used.


_REFUSED, _REMARK = (178, 34, 34), (193, 80, 0)


class CaseTable:
    """Fills a QTableWidget; a click on a row shows all that is known of that case in ``detail_label``."""

    def __init__(self, table: Any, detail_label: Any) -> None:
        self._table, self._detail = table, detail_label
        self._cases: list[Mapping[str, Any]] = []
        table.setColumnCount(4)
        table.setHorizontalHeaderLabels([_("Case"), _("Slices"), _("mm²"), _("Verdict")])
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setDefaultSectionSize(20)
        table.horizontalHeader().setStretchLastSection(True)
        for column, width in enumerate((96, 48, 40)):
            table.setColumnWidth(column, width)
        table.connect("cellClicked(int,int)", self._on_click)

    def show(self, cases: Sequence[Mapping[str, Any]]) -> None:
        """``cases``: as the command check reports them."""
        self._cases = list(cases)
        self._table.setRowCount(len(self._cases))
        for row, case in enumerate(self._cases):
            colour = _REFUSED if case["reason"] else _REMARK if case["remarks"] else None
            for column, text in enumerate(cells(case)):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(details(case))
                if colour is not None:
                    item.setForeground(qt.QBrush(qt.QColor(*colour)))
                self._table.setItem(row, column, item)
        self._table.setVisible(bool(self._cases))
        refused = [case for case in self._cases if case["reason"]]
        self._detail.setText("\n".join(details(case) for case in refused[:1]))
        self._detail.setVisible(bool(refused))

    def _on_click(self, row: int, _column: int) -> None:
        if 0 <= row < len(self._cases):
            self._detail.setText(details(self._cases[row]))
            self._detail.setVisible(True)


def cells(case: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Name, slices with cord, mean area, verdict."""
    area = case["mean_csa_mm2"]
    verdict = "; ".join(case["remarks"]) or _("ok")
    if case["reason"]:
        verdict = _("refused: {reason}").format(reason=case["reason"])
    slices = "–" if not case["n_slices"] else f"{case['n_cord_slices']}/{case['n_slices']}"
    return str(case["name"]), slices, "–" if area is None else f"{area:.0f}", verdict


def details(case: Mapping[str, Any]) -> str:
    """Everything about a case, a line each."""
    lines = [_("{case}, patient {subject}").format(case=case["name"], subject=case["subject"] or "–")]
    if case["reason"]:
        reason = str(case["reason"]).replace("--tolerant", _("“Resample label maps”"))  # the panel has no flags
        lines.append(_("Cannot be used: {reason}").format(reason=reason))
    lines += case["remarks"]
    if case["grid"]:
        lines.append(_("Image: {grid}").format(grid=case["grid"]))
    if case["label_grid"]:
        lines.append(_("Label map: {grid}").format(grid=case["label_grid"]))
    if case["labels"]:
        lines.append(_("Labels found: {labels}").format(labels=", ".join(map(str, case["labels"]))))
    if case["volume_mm3"] is not None:
        lines.append(_("Volume {mm3:.0f} mm³").format(mm3=case["volume_mm3"]))
    return "\n".join(lines)


def summary_text(result: Mapping[str, Any]) -> str:
    patients = _("1 patient") if result["subjects"] == 1 else _("{n} patients").format(n=result["subjects"])
    words = _("{usable} of {cases} cases can be used: {patients}, {slices} slices with cord.")
    return words.format(
        usable=result["usable"], cases=result["cases"], patients=patients, slices=result["slices_with_cord"]
    )


# What the panel lets the user choose, and the command line that it makes. The defaults are the trainer's own.


NETWORKS = {"ra_unet": "RA-U-Net", "unet": "U-Net", "deep_unet": "Deep U-Net"}


@dataclass(frozen=True)
class TrainerSettings:
    """``data``: folder of images and label maps. ``run``: folder for everything that is written. ``label``: value of
    the cord, 0 takes the only one there is. ``tolerant``: label maps on another grid are resampled. ``more``: further
    settings, "NAME=VALUE" separated by blanks. ``sweep_updates``: length of the range test, 0 is two epochs."""

    data: Path
    run: Path
    label: int = 0
    tolerant: bool = False
    name: str = "my model"
    network: str = "ra_unet"
    epochs: int = 30
    batch_size: int = 15
    base_lr: float = 1e-5
    max_lr: float = 1e-3
    augment: bool = False
    device: str = "auto"
    more: str = ""
    sweep_updates: int = 0

    @property
    def cases_chosen(self) -> tuple[Path, int, bool]:
        """All that the verdict on the cases depends on."""
        return self.data, self.label, self.tolerant

    def check(self) -> list[str]:
        """Arguments of ``spinalcordseg-train`` that look at the cases."""
        return ["check", str(self.data), *self._cases()]

    def find_rate(self) -> list[str]:
        """The range test. It and ``train`` share the slices cached in the run's folder."""
        length = ["--updates", str(self.sweep_updates)] if self.sweep_updates else []
        return ["find-lr", str(self.data), *self._run(), *length, *self._settings()]

    def train(self) -> list[str]:
        return ["train", str(self.data), *self._run(), *self._settings(), *(["--augment"] if self.augment else [])]

    def resume(self) -> list[str]:
        """Go on with the run in the folder, as it was set up; only its length may change."""
        run = ["--output", str(self.run), "--device", self.device]
        return ["train", "--resume", *run, "--set", f"epochs={self.epochs}"]

    def evaluate(self) -> list[str]:
        """Score the best weights on the patients that the run held out."""
        model = ["--model", str(self.run / "best.safetensors"), "--held-out", str(self.run)]
        output = ["--output", str(self.run / "evaluation"), "--device", self.device]
        return ["evaluate", str(self.data), *model, *output, "--usable", *self._cases()]

    def _run(self) -> list[str]:
        return ["--output", str(self.run), "--device", self.device, "--usable", *self._cases()]

    def _cases(self) -> list[str]:
        label = ["--label", str(self.label)] if self.label else []
        return [*label, *(["--tolerant"] if self.tolerant else [])]

    def _settings(self) -> list[str]:
        chosen = {
            "name": json.dumps(self.name, ensure_ascii=False),
            "network.name": self.network,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "rate.base_lr": self.base_lr,
            "rate.max_lr": self.max_lr,
        }
        pairs = [f"{name}={value}" for name, value in chosen.items()] + self.more.split()
        return [word for pair in pairs for word in ("--set", pair)]


# The panel's fields: read into settings, bound to the parameter node.


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
_OTHERS = ("networkBox", "augmentBox", "tolerantBox", "deviceBox", "dataButton", "runButton")


class SettingsForm:
    """``changed`` is called after every change by the user."""

    def __init__(self, ui: Any, devices: DeviceChoice, changed: Callable[[], None]) -> None:
        self._ui, self._devices, self._changed = ui, devices, changed
        self._parameters: Any = None
        for key, title in NETWORKS.items():
            ui.networkBox.addItem(title, key)
        for name in _EDITS:
            getattr(ui, name).connect("textChanged(QString)", self._on_text)
        for name in _SPINS:
            getattr(ui, name).connect("valueChanged(int)", self._on_change)
        ui.networkBox.connect("currentIndexChanged(int)", self._on_network)
        for box in (ui.augmentBox, ui.tolerantBox):
            box.connect("toggled(bool)", self._on_change)
        ui.dataButton.connect("clicked()", lambda: self._choose(ui.dataEdit, _("Images and label maps")))
        ui.runButton.connect("clicked()", lambda: self._choose(ui.runEdit, _("Folder for the run")))

    def bind(self, parameters: Any) -> None:
        """The wrapper binds numbers and boxes; texts and the network's choice are kept by hand."""
        self._parameters = None
        if parameters is not None:
            for name, parameter in _EDITS.items():
                getattr(self._ui, name).text = getattr(parameters, parameter)
            self._ui.networkBox.setCurrentIndex(max(0, self._ui.networkBox.findData(parameters.network)))
        self._parameters = parameters

    def settings(self) -> TrainerSettings:
        """What the fields say; rates that are no numbers leave the paper's."""
        ui = self._ui
        base, top = _rate(ui.baseEdit.text), _rate(ui.maxEdit.text)
        return TrainerSettings(
            data=Path(ui.dataEdit.text.strip()),
            run=Path(ui.runEdit.text.strip()),
            label=ui.labelBox.value,
            tolerant=ui.tolerantBox.checked,
            name=ui.nameEdit.text.strip() or "my model",
            network=ui.networkBox.itemData(ui.networkBox.currentIndex),
            epochs=ui.epochsBox.value,
            batch_size=ui.batchBox.value,
            base_lr=base or TrainerSettings.base_lr,
            max_lr=top or TrainerSettings.max_lr,
            augment=ui.augmentBox.checked,
            device=self._devices.name,
            more=ui.moreEdit.text,
            sweep_updates=ui.sweepBox.value,
        )

    @property
    def rates_wrong(self) -> str:
        """Why the two bounds make no range; "" when they do."""
        base, top = _rate(self._ui.baseEdit.text), _rate(self._ui.maxEdit.text)
        if base is None or top is None:
            return _("A learning rate is a number above 0, as 1e-5.")
        return "" if base <= top else _("The lower learning rate must not be above the upper one.")

    def take_bounds(self, found: Mapping[str, Any]) -> None:
        """Put what the range test found into the fields, for the user to keep or change."""
        self._ui.baseEdit.text = f"{found['base_lr']:.0e}"
        self._ui.maxEdit.text = f"{found['max_lr']:.0e}"

    def set_enabled(self, enabled: bool) -> None:
        for name in (*_EDITS, *_SPINS, *_OTHERS):
            getattr(self._ui, name).enabled = enabled

    def _choose(self, edit: Any, title: str) -> None:
        folder = qt.QFileDialog.getExistingDirectory(edit, title, edit.text)
        if folder:
            edit.text = folder

    def _on_network(self, _index: int) -> None:
        if self._parameters is not None:
            self._parameters.network = self._ui.networkBox.itemData(self._ui.networkBox.currentIndex)
        self._changed()

    def _on_text(self, _text: str) -> None:
        for name, parameter in _EDITS.items():
            text = getattr(self._ui, name).text
            if self._parameters is not None and getattr(self._parameters, parameter) != text:
                setattr(self._parameters, parameter, text)
        self._changed()

    def _on_change(self, _value: Any = None) -> None:
        self._changed()


def _rate(text: str) -> float | None:
    try:
        rate = float(text)
    except ValueError:
        return None
    return rate if 0 < rate < 1e3 else None


# What lies in a run's folder.


_BEST = "best.safetensors"


def can_resume(run: Path) -> bool:
    return (run / "state.safetensors").is_file()


def has_model(run: Path) -> bool:
    return (run / _BEST).is_file()


def publish_model(run: Path) -> Path:
    """Copy the run's best weights to the user's own models; gives the new file. None that is there is overwritten.

    Raises ModelFileError when there are none, OutputError when the folder cannot be written.
    """
    stem = re.sub(r"[^\w.-]+", "-", load_card(run / _BEST).name).strip("-.") or "model"
    models = user_models_folder()
    target, number = models / f"{stem}.safetensors", 2
    while target.exists():
        target, number = models / f"{stem}-{number}.safetensors", number + 1
    with atomic_write(target) as temporary:
        shutil.copyfile(run / _BEST, temporary)
    return target


class TrainingPictures:
    """The curves that a run has written: of its range test, and of its epochs. Hidden while there are none."""

    def __init__(self, ui: Any) -> None:
        labels = {"range_test.png": ui.ratePicture, "curves.png": ui.lossPicture}
        self._pictures = {name: (label, ResizingPicture(label)) for name, label in labels.items()}

    def show(self, run: Path) -> None:
        for name, (label, picture) in self._pictures.items():
            there = run.is_absolute() and (run / name).is_file()
            label.setVisible(there)
            if there:
                pixmap = qt.QPixmap(str(run / name))
                picture.show(lambda width, _palette, drawn=pixmap: drawn.scaledToWidth(max(80, width), _SMOOTH))


_SMOOTH = qt.Qt.SmoothTransformation


# The trainer's command line as a run for its panel. torch is never loaded into Slicer.


# Both modules lie in one folder once installed, in two in a checkout.
_PACKAGES = tuple(dict.fromkeys((LIBRARY, Path(__file__).resolve().parents[1])))

TrainerJob = Job[dict[str, Any]]


def trainer_job(arguments: Sequence[str], base: Path, python: str = "") -> TrainerJob:
    """``arguments``: as ``spinalcordseg-train`` takes them, paths absolute. Its result is the "result" event. Raises
    OutputError when it cannot start."""
    advice = _("take a smaller batch")
    return Job(
        "SpinalCordSegTrainerLib.cli", arguments, base, lambda _folder, event: event,
        packages=_PACKAGES, if_out_of_memory=advice, python=python,
    )  # fmt: skip


# Texts about the work at hand. No Qt.


class JobTexts:
    """For one run. ``stopping``: the user asked training to stop and it is saving. ``loss``: of the last update."""

    def __init__(self) -> None:
        self.stopping = False
        self.loss: float | None = None

    def button(self, command: str, running: bool, stopping: bool) -> str:
        if running and command == "train":
            return _("Stop at once") if stopping else _("Stop")
        if running:
            return _("Cancel")
        names = {
            "check": _("Check the cases"),
            "find-lr": _("Find the bounds"),
            "train": _("Train"),
            "evaluate": _("Evaluate"),
        }
        return names[command]

    def tip(self, command: str, running: bool) -> str:
        if running and command == "train":
            return _("End after this update and save: the run can be resumed. Pressed again, it ends unsaved.")
        if running:
            return _("End it now.")
        tips = {
            "check": _("Read every image and label map, and say which can be used."),
            "find-lr": _("Raise the rate from 1e-10 to 10 over two epochs and see where the loss falls and rises."),
            "train": _("Train until all epochs are done, or validation gets no better."),
            "evaluate": _("Score the best model on the patients that were held out."),
        }
        return tips[command]

    def status(self, run: TrainerJob) -> str:
        """ "Training: 34 of 300 updates, about 12 min left"."""
        if run.cancelled:
            return _("Cancelling…")
        if self.stopping:
            return _("Stopping after this update, then saving…")
        progress = run.progress
        stages = {
            "cases": _("Cases: {done} of {of}"),
            "range test": _("Range test: {done} of {of} updates"),
            "training": _("Training: {done} of {of} updates"),
        }
        if progress.stage not in stages or not progress.of:
            return _("Starting PyTorch…")
        words = stages[progress.stage].format(done=progress.done, of=progress.of)
        if self.loss is not None:
            words = _("{words}, loss {loss:.3f}").format(words=words, loss=self.loss)
        return progress.with_time_left(words)

    def ended(self, run: TrainerJob) -> str:
        if run.failure is not None:
            return run.failure.message
        if run.cancelled:
            return _("Cancelled.")
        if run.stopped:
            return _("Stopped and saved; Resume goes on from here.")
        result = run.result or {}
        if run.command == "train":
            return _("Training ended: {reason}.").format(reason=result.get("reason", ""))
        if run.command == "find-lr" and not result.get("found", True):
            return str(result.get("note", ""))
        return ""

    def scores(self, scores: Mapping[str, Any]) -> str:
        """The evaluation in two lines."""
        return "\n".join(
            [
                _("{cases}: Dice per slice {dice}, MCC {mcc:.3f}").format(
                    cases=_held_out(scores["cases"]), dice=_spread(scores["dice_per_slice"], 3), mcc=scores["mcc"]
                ),
                _("Area error per slice {area} %").format(area=_spread(scores["csa_error_percent_per_slice"], 1)),
            ]
        )


def _held_out(count: int) -> str:
    return _("1 held-out case") if count == 1 else _("{n} held-out cases").format(n=count)


def _spread(figures: Mapping[str, Any], decimals: int) -> str:
    if not figures.get("n"):
        return _("not known")
    mean = f"{figures['mean']:.{decimals}f}"
    return mean if figures.get("sd") is None else f"{mean} ± {figures['sd']:.{decimals}f}"


# command → the button that runs it
_BUTTONS = {"check": "checkButton", "find-lr": "findButton", "train": "trainButton", "evaluate": "evaluateButton"}


class TrainerPanel:
    """``logic``: the module's. ``entered``: whether the user is in the module now."""

    def __init__(self, ui: Any, logic: Any, entered: Callable[[], bool]) -> None:
        self._ui, self._logic, self._entered = ui, logic, entered
        self.control, self._texts = JobControl(self.refresh), JobTexts()
        self.devices = DeviceChoice(ui.deviceBox)
        self.form = SettingsForm(ui, self.devices, self._on_settings)
        self.cases = CaseTable(ui.caseTable, ui.caseDetail)
        self.pictures = TrainingPictures(ui)
        self.probe = DeviceProbe(logic.scratchBase(), self._on_probe)
        self.packages = check_dependencies()
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
        self.packages = check_dependencies(self.probe.answer)
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
        work = self.control.job
        ui.progressBar.setVisible(work is not None)
        if work is not None:
            ui.progressBar.setRange(0, work.progress.of)  # 0 to 0 is Qt's "busy"
            ui.progressBar.setValue(work.progress.done)
        ui.statusLabel.setText(self._texts.status(work) if work is not None else self._message)
        ui.statusLabel.setVisible(bool(ui.statusLabel.text))
        ui.copyReportButton.setVisible(work is None and self.control.failure is not None)
        ui.noticeFrame.setVisible(not self.packages.ready)
        ui.noticeLabel.setText(self.packages.message)
        ui.noticeButton.text = self.packages.action
        ui.noticeButton.setVisible(bool(self.packages.action))

    def _show_button(self, button: Any, command: str) -> None:
        running = self.control.command == command
        reason = self.why_not(command)
        button.text = self._texts.button(command, running, self._texts.stopping)
        button.enabled = not reason and not (running and self.control.cancelling)
        button.toolTip = reason or self._texts.tip(command, running)

    def _press(self, command: str) -> None:
        if self.control.command == command:
            self._stop(command)
        elif not self.why_not(command):
            settings = self.form.settings()
            ways = {"check": settings.check, "find-lr": settings.find_rate, "evaluate": settings.evaluate}
            self._start(ways.get(command, settings.train)())

    def _stop(self, command: str) -> None:
        """Training saves first; pressed again, or for other work, it ends at once."""
        if command == "train" and not self._texts.stopping:
            self._texts.stopping = True
            try:
                (self._started.run / STOP_FILE).touch()
            except OSError:  # the folder is gone; then there is nothing to save into
                self.control.cancel()
            self.refresh()
        else:
            self.control.cancel()

    def _start(self, arguments: list[str]) -> None:
        self._message, self._texts, self.control.failure = "", JobTexts(), None
        self._started = settings = self.form.settings()
        if arguments[0] == "train":
            (settings.run / STOP_FILE).unlink(missing_ok=True)
            self.pictures.show(settings.run)
        elif arguments[0] == "check":
            self._checked_as, self._found = settings.cases_chosen, []
        try:
            run = trainer_job(arguments, self._logic.scratchBase())
            self.control.start(run, on_event=self._on_event, on_end=self._on_end)
        except (SpinalCordSegError, OSError) as error:
            self._message = str(error)
            self.refresh()

    def _on_event(self, event: dict[str, Any]) -> None:
        if event.get("event") == "checked":
            self._found.append(event["case"])
        elif event.get("event") == "epoch":
            self.pictures.show(self._started.run)
        self._texts.loss = event.get("loss", self._texts.loss)

    def _on_end(self, work: TrainerJob) -> None:
        settings = self._started
        self._message = self._texts.ended(work)
        if work.result is None:
            self.pictures.show(settings.run)
        elif work.command == "check":
            if self._checked_as != settings.cases_chosen:
                return  # another scene's cases are chosen now
            self.usable_cases = int(work.result["subjects"])
            self.cases.show(self._found)
            self._ui.casesLabel.setText(summary_text(work.result))
        elif work.command == "find-lr":
            self.form.take_bounds(work.result)
            self.pictures.show(settings.run)
        elif work.command == "train":
            self._publish(settings.run)
        else:
            self._ui.scoresLabel.setText(self._texts.scores(work.result["scores"]))
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
            self.pictures.show(settings.run)
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
        self.packages = check_dependencies(self.probe.answer)
        self.refresh()

    def _on_repair(self) -> None:
        self._message = repair(self.packages)
        self.probe.forget()
        self.check_packages()

    def _on_copy_report(self) -> None:
        if self.control.failure is not None:
            qt.QApplication.clipboard().setText(self.control.failure.report)
