"""The panel's fields: read into settings, bound to the parameter node."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from SpinalCordSegTrainerWidgets.run_folder import Sweep
from SpinalCordSegTrainerWidgets.settings import NETWORKS, TrainerSettings
from SpinalCordSegWidgets.device_choice import DeviceChoice

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

    def take_bounds(self, sweep: Sweep | None) -> None:
        """Put what the range test found into the fields, for the user to keep or change."""
        if sweep is not None:
            self._ui.baseEdit.text = f"{sweep.base_lr:.0e}"
            self._ui.maxEdit.text = f"{sweep.max_lr:.0e}"

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
