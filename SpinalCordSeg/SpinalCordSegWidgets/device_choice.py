"""The choice of device, each with what it is and about how long it will take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slicer.i18n import tr as _

from SpinalCordSegWidgets.progress_text import duration

_START_S = 5.0  # loading PyTorch and reading, before the first slice


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
