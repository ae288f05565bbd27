"""The upper half of the panel: volume, model, device, and the button that is Apply or Cancel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import SpinalCordSegError
from SpinalCordSegLib.images.volume import AxialAxes
from SpinalCordSegNodes.volumes import volume_from_node
from SpinalCordSegWidgets.dependencies import Dependencies
from SpinalCordSegWidgets.device_choice import DeviceChoice
from SpinalCordSegWidgets.model_choice import ModelChoice
from SpinalCordSegWidgets.run_control import RunControl


class ApplyPanel:
    """Shows what can be done and why not; ``apply`` is called when it can and the user wants it."""

    def __init__(self, ui: Any, control: RunControl, models: ModelChoice, apply: Callable[[], None]) -> None:
        self._ui, self._control, self._apply = ui, control, apply
        self.models, self.devices = models, DeviceChoice(ui.deviceBox)
        self.dependencies = Dependencies("ready")
        self.message = ""  # what was told last
        ui.applyButton.connect("clicked()", self._on_button)
        ui.copyReportButton.connect("clicked()", self._on_copy_report)

    @property
    def volume(self) -> Any:
        return self._ui.volumeSelector.currentNode()

    def tell(self, message: str) -> None:
        """A line that stays until the next run or message."""
        self.message = message
        self.refresh()

    def show_devices(self, probe: Any) -> None:
        self.devices.show(probe, self._axial_slices())

    def refresh(self) -> None:
        """Show the state as it is now."""
        ui, control = self._ui, self._control
        running = control.running
        reason = "" if running else self.why_not()
        ui.applyButton.text = _("Cancel") if running else _("Apply")
        ui.applyButton.enabled = not control.cancelling and not reason
        ui.applyButton.toolTip = reason or (_("End the run.") if running else _("Find the cord and measure it."))
        for widget in (ui.volumeSelector, ui.modelBox, ui.modelButton, ui.deviceBox):
            widget.enabled = not running
        ui.progressBar.setVisible(running)
        if running:
            ui.progressBar.setRange(0, control.progress.of)  # 0 to 0 is Qt's "busy"
            ui.progressBar.setValue(control.progress.done)
        failure = None if running else control.failure
        ui.copyReportButton.setVisible(failure is not None)
        ui.statusLabel.setText(self._status(running, reason, failure))
        ui.statusLabel.setVisible(bool(ui.statusLabel.text))
        self._show_notice()

    def why_not(self) -> str:
        """The reason why Apply cannot be pressed; "" when it can."""
        if not self.dependencies.ready:
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

    def _status(self, running: bool, reason: str, failure: Any) -> str:
        if self._control.cancelling:
            return _("Cancelling…")
        if running:
            return self._control.pace.say(self._control.progress)
        if self.message:
            return self.message
        if failure is not None:
            return str(failure.message)
        elsewhere = not self.dependencies.ready or self.models.card is None  # said in the notice, or in the card
        return "" if elsewhere else reason

    def _show_notice(self) -> None:
        ui, wrong = self._ui, not self.dependencies.ready
        ui.noticeFrame.setVisible(wrong)
        ui.noticeLabel.setText(self.dependencies.message)
        ui.noticeButton.text = self.dependencies.action
        ui.noticeButton.setVisible(bool(self.dependencies.action))

    def _axial_slices(self) -> int:
        if self.volume is None or self.volume.GetImageData() is None:
            return 0
        try:
            volume = volume_from_node(self.volume)
        except SpinalCordSegError:
            return 0
        return volume.shape[AxialAxes.of(volume.ijk_to_ras).ras[2][0]]

    def _on_button(self) -> None:
        if self._control.running:
            self._control.cancel()
        elif not self.why_not():
            self.message = ""
            self._apply()
        self.refresh()

    def _on_copy_report(self) -> None:
        if self._control.failure is not None:
            qt.QApplication.clipboard().setText(self._control.failure.report)
