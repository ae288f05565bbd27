"""The section Find the cord: volume, model, device, and the button that is Apply or Cancel."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import ModelFileError, SpinalCordSegError
from SpinalCordSegLib.model.checkpoint import Checkpoint, find_models, load_card, user_models_folder
from SpinalCordSegNodes.volumes import label_of, volume_from_node
from SpinalCordSegWidgets.install import Dependencies
from SpinalCordSegWidgets.jobs import JobControl, duration
from SpinalCordSegWidgets.section import Choice, ask_file, copy_report, on_click, short, show_run

_MOST_LINES = 40  # of a tooltip
_START_S = 2.0  # loading and reading, before the first slice
_log = logging.getLogger(__name__)


class ModelChoice:
    """The models that come along, the user's own, and any file; each with its card, which is read without torch.

    ``changed`` is called after the user chose another model."""

    def __init__(self, box: Any, button: Any, card_label: Any, changed: Callable[[], None]) -> None:
        self._box, self._card_label, self._changed = box, card_label, changed
        self._files: list[Path] = []
        self.why_none = ""
        menu = qt.QMenu(button)
        menu.addAction(_("Load from file…")).connect("triggered()", self._ask_for_file)
        menu.addAction(_("Open the folder of your models")).connect("triggered()", self.open_own_folder)
        menu.addAction(_("Refresh the list")).connect("triggered()", self.refresh)
        button.setMenu(menu)
        button.setPopupMode(qt.QToolButton.InstantPopup)
        box.connect("currentIndexChanged(int)", self._on_chosen)
        self.refresh()

    @property
    def path(self) -> Path | None:
        text = self._box.itemData(self._box.currentIndex) if self._box.count else None
        return Path(text) if text else None

    @property
    def card(self) -> Checkpoint | None:
        """None without a model, or when its file can no longer be read (see ``why_none``)."""
        if self.path is None:
            self.why_none = _("There is no model: load one from a file, or put one into the folder of your models.")
            return None
        try:
            return load_card(self.path)
        except ModelFileError as error:
            self.why_none = str(error)
            return None

    def refresh(self) -> None:
        """List again what is there; the selection stays where it can."""
        chosen = self.path
        known = [path for path in self._files if path.is_file()]
        self._box.blockSignals(True)
        self._box.clear()
        for path in dict.fromkeys([*find_models(), *known]):
            self._add(path)
        self._box.blockSignals(False)
        self.select(str(chosen) if chosen else "")
        self._show_card()

    def select(self, path: str) -> None:
        """Choose a file, listed or not; "" chooses the first."""
        index = self._box.findData(path) if path else 0
        if index < 0 and Path(path).is_file():
            self._files.append(Path(path))
            self._add(Path(path))
            index = self._box.findData(path)
        self._box.setCurrentIndex(max(0, index))

    def load_file(self, path: Path) -> None:
        """Choose a file; one that is no model of ours is refused in the card."""
        try:
            load_card(path)
        except ModelFileError as error:
            self._card_label.setText(str(error).replace(str(path.parent), "").lstrip("/\\"))
            return
        self.select(str(path))

    def open_own_folder(self) -> None:
        folder = user_models_folder()
        folder.mkdir(parents=True, exist_ok=True)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(folder)))

    def _ask_for_file(self) -> None:
        pattern, folder = _("Models (*.safetensors)"), str(user_models_folder())
        ask_file(self._box, _("Load a model"), self.load_file, pattern, folder)

    def _add(self, path: Path) -> None:
        try:
            card = load_card(path)
        except ModelFileError as error:
            _log.warning("%s", error)
            return
        self._box.addItem(f"{card.name} {card.version}", str(path))

    def _on_chosen(self, _index: int) -> None:
        self._show_card()
        self._changed()

    def _show_card(self) -> None:
        card = self.card
        self._card_label.setText(self.why_none if card is None else summary(card))
        self._card_label.setToolTip("" if card is None else details(card))


def summary(card: Checkpoint) -> str:
    """What it is, what it was trained on and under which licence, in a line or two."""
    network = card.network.name.replace("ra_unet", "RA-U-Net").replace("unet", "U-Net")
    return " · ".join(part for part in (network, trained_on(card.provenance), card.licence) if part)


def trained_on(provenance: Mapping[str, Any]) -> str:
    """ "trained on 1,200 real and 30,000 simulated slices"; "" where the card does not say."""
    slices: dict[str, int] = {}
    sources = provenance.get("sources")
    for source in sources if isinstance(sources, list) else ():
        if isinstance(source, dict) and isinstance(source.get("slices"), int):
            kind = str(source.get("kind"))
            slices[kind] = slices.get(kind, 0) + source["slices"]
    if not slices:
        return ""
    counts = {"real": _("{n} real"), "simulated": _("{n} simulated")}
    parts = [text.format(n=f"{slices[kind]:,}") for kind, text in counts.items() if kind in slices]
    return _("trained on {parts} slices").format(parts=_(" and ").join(parts)) if parts else ""


def details(card: Checkpoint) -> str:
    """Everything the card says about training and scores, a line each."""
    lines = [f"{card.name} {card.version}", card.path.name if card.path else ""]
    for title, content in ((_("Scores"), card.scores), (_("Made from"), card.provenance)):
        lines += [f"{title}:", *(f"  {line}" for line in json.dumps(content, indent=1).splitlines()[1:-1])]
    return "\n".join(lines[:_MOST_LINES])


class DeviceChoice:
    """Fills a combo box by hand: what there is to choose is only known at run time."""

    def __init__(self, box: Any) -> None:
        self._box = box
        self.show(None, 0)

    def show(self, probe: Mapping[str, Any] | None, n_slices: int) -> None:
        """``n_slices``: of the chosen volume, 0 without one. The selection stays where it can."""
        chosen = self.name
        devices = list((probe or {}).get("devices") or [])
        self._box.blockSignals(True)
        self._box.clear()
        best = f" ({describe(devices[0], n_slices)})" if devices else ""
        self._box.addItem(_("Automatic") + best, "auto")
        for device in devices or [{"name": "cpu", "label": "CPU"}]:
            self._box.addItem(describe(device, n_slices), device["name"])
        self._box.setCurrentIndex(max(0, self._box.findData(chosen)))
        self._box.blockSignals(False)

    @property
    def name(self) -> str:
        """As the command line takes it."""
        return self._box.itemData(self._box.currentIndex) or "auto"

    def select(self, name: str) -> None:
        self._box.setCurrentIndex(max(0, self._box.findData(name)))


def describe(device: Mapping[str, Any], n_slices: int) -> str:
    """ "NVIDIA RTX 3060, 12 GB, about 8 s"; without the time while it is not known."""
    pace = device.get("seconds_per_slice")
    if not pace or not n_slices:
        return str(device["label"])
    return f"{device['label']}, {duration(_START_S + n_slices * float(pace))}"


class ApplyPanel:
    """``apply`` is called when the user presses Apply and it can be done."""

    def __init__(
        self, ui: Any, control: JobControl, models: ModelChoice, choice: Choice, apply: Callable[[], None]
    ) -> None:
        self._ui, self._control, self._choice, self._apply = ui, control, choice, apply
        self.models, self.devices = models, DeviceChoice(ui.deviceBox)
        self.dependencies = Dependencies("ready")
        self.message = ""  # the last one
        on_click(ui, applyButton=self._on_button, copyReportButton=lambda: copy_report(control))

    @property
    def volume(self) -> Any:
        return self._choice.node

    def show_message(self, message: str) -> None:
        """A line that stays until the next run or message."""
        self.message = message
        self.refresh()

    def show_devices(self, probe: Any) -> None:
        """With how long each takes for the chosen volume."""
        try:
            n_slices = 0 if self.volume is None else volume_from_node(self.volume).shape[0]
        except SpinalCordSegError:
            n_slices = 0
        self.devices.show(probe, n_slices)

    def refresh(self) -> None:
        """Show the state as it is now."""
        ui, control = self._ui, self._control
        running = control.running
        reason = "" if running else self.why_not()
        named = "" if self.volume is None else short(label_of(slicer.mrmlScene, self.volume))
        apply = _("Apply to {name}").format(name=named) if named else _("Apply")
        ui.applyButton.text = _("Cancel") if running else apply
        ui.applyButton.enabled = not control.cancelling and not reason
        ui.applyButton.toolTip = reason or (_("End the run.") if running else _("Find the cord and measure it."))
        for widget in (ui.volumeSelector, ui.modelBox, ui.modelButton, ui.deviceBox):
            widget.enabled = not running
        show_run(ui, control, self._status(running, reason))
        self.dependencies.show(ui)

    def why_not(self) -> str:
        """The reason why Apply cannot be pressed; "" when it can."""
        if not self.dependencies.can_segment:
            return self.dependencies.message
        if self.models.card is None:
            return self.models.why_none
        if self.volume is None:
            return _("Choose a volume first.")
        try:
            volume_from_node(self.volume)
        except SpinalCordSegError as error:
            return str(error)
        return ""

    def _status(self, running: bool, reason: str) -> str:
        if self._control.cancelling:
            return _("Cancelling…")
        if running:
            return self._control.progress.text()
        if self.message:
            return self.message
        if self._control.failure is not None:
            return self._control.failure.message
        elsewhere = not self.dependencies.can_segment or self.models.card is None  # in the notice, or in the card
        return "" if elsewhere else reason

    def _on_button(self) -> None:
        if self._control.running:
            self._control.cancel()
        elif not self.why_not():
            self.message = ""
            self._apply()
        self.refresh()
