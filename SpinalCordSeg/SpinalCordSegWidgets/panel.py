"""The module's panel as a whole: its parts, and what happens between them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import SpinalCordSegError
from SpinalCordSegNodes.case_folder import CaseFolder
from SpinalCordSegNodes.cropped_mask import cropped_mask
from SpinalCordSegWidgets.apply_panel import ApplyPanel
from SpinalCordSegWidgets.command_run import CommandRun
from SpinalCordSegWidgets.dependencies import check_dependencies, repair
from SpinalCordSegWidgets.device_probe import DeviceProbe
from SpinalCordSegWidgets.measures_panel import MeasuresPanel
from SpinalCordSegWidgets.model_choice import ModelChoice
from SpinalCordSegWidgets.run_control import RunControl
from SpinalCordSegWidgets.warm_child import WarmChild


class Panel:
    """``logic``: the module's. ``entered``: whether the user is in the module now.

    ``parameters``: the module's parameter node while it is bound, else None. Model and device are kept in it by hand:
    what there is to choose changes, and the wrapper's choices are fixed.
    """

    def __init__(self, ui: Any, logic: Any, entered: Callable[[], bool]) -> None:
        self._ui, self.logic, self._entered = ui, logic, entered
        self.changed: Callable[[], None] = _nothing  # what further sections are told
        self.reviewer: Callable[[], str] = str  # who works here; "" until somebody said
        self.measure_elsewhere: Callable[[Any, str], CommandRun[CaseFolder] | None] = _nowhere  # a case of a work list
        self.measured: Callable[[Any, str], None] = _unheard
        self.first_volume: Callable[[], Any] = logic.firstVolume  # what is chosen where nothing is
        self._was_running = False
        self.parameters: Any = None
        self.control = RunControl(self._on_run_changed)
        self.models = ModelChoice(ui.modelBox, ui.modelButton, ui.modelCard, self._on_model)
        self.applying = ApplyPanel(ui, self.control, self.models, self._on_apply)
        self.measures = MeasuresPanel(ui, self._on_measure, self.applying.tell)
        self.probe = DeviceProbe(logic.scratchBase(), self._on_probe)
        self.warm = WarmChild(logic.scratchBase())
        ui.volumeSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._on_volume)
        ui.deviceBox.connect("currentIndexChanged(int)", self._on_device)
        ui.noticeButton.connect("clicked()", self._on_repair)
        self.check_dependencies()

    def bind(self, parameters: Any) -> None:
        """Show what a parameter node says, and choose a volume where it has none yet; None: follow none."""
        self.parameters = None
        if parameters is not None:
            self.models.select(parameters.modelPath)
            self.applying.devices.select(parameters.device)
            if parameters.inputVolume is None and (volume := self.first_volume()) is not None:
                parameters.inputVolume = volume
        self.parameters = parameters

    def enter(self) -> None:
        """The user comes to the module: models, packages and masks may have changed meanwhile."""
        self.models.refresh()
        self.check_dependencies()
        self.measures.refresh()

    def show_mask(self, segmentation: Any) -> None:
        self._ui.maskSelector.setCurrentNode(segmentation)
        if self.parameters is None:  # in another module: on coming back the selector shows what the node says
            self.logic.getParameterNode().mask = segmentation
        self.measures.refresh()

    def show_volume(self, volume: Any) -> None:
        """What Apply works on; None: nothing, until a volume is chosen. What was told stays: it may just have been."""
        told = self.applying.message
        self._ui.volumeSelector.setCurrentNode(volume)
        self.applying.tell(told)
        if self.parameters is None:  # as for the mask
            self.logic.getParameterNode().inputVolume = volume

    def scene_is_closing(self) -> None:
        self.control.close()
        self.warm.end()
        self.measures.close()

    def scene_is_closed(self) -> None:
        self.applying.tell("")
        self.measures.refresh()

    def end_children(self) -> None:
        self.control.close()
        self.warm.end()
        self.probe.close()
        self.measures.close()

    def check_dependencies(self) -> None:
        """What is installed is known at once; whether it works, and on which devices, a child process tells later."""
        self.applying.dependencies = check_dependencies(self.probe.answer)
        if self.applying.dependencies.ready and self._entered():
            self.probe.ask(self.models.path)
        self.applying.refresh()

    def start(
        self,
        make: Callable[[], CommandRun[Any]],
        on_result: Callable[[Any], None],
        on_end: Callable[[CommandRun[Any]], None] | None = None,
    ) -> None:
        """Begin a run, and hand what comes of it to ``on_result``; what stands in the way is told."""
        self.control.failure = None
        self.applying.tell("")
        try:
            self.control.start(make(), on_result, on_end=on_end)
        except SpinalCordSegError as error:
            self.applying.tell(str(error))

    def _on_apply(self) -> None:
        volume = self.applying.volume
        model, device = self.models.path, self.applying.devices.name
        self.start(
            lambda: self.logic.startSegment(volume, model, device, self.warm.take(model, device)),
            lambda case: self._on_segmented(case, volume),
            on_end=lambda _run: self._wait_for_another(model, device),
        )

    def _wait_for_another(self, model: Path | None, device: str) -> None:
        """Who applies once mostly applies again; who has left the module meanwhile may not."""
        if self._entered():
            self.warm.prepare(model, device)

    def measure(self, then: Callable[[], None] | None = None) -> None:
        """Measure the mask in hand in full; ``then`` is called when that has been done."""
        self._on_measure(self.measures.segmentation, self.measures.segment_id, then)

    def _on_measure(self, segmentation: Any, segment_id: str, then: Callable[[], None] | None = None) -> None:
        try:
            digest = cropped_mask(segmentation, segment_id).digest()
        except SpinalCordSegError as error:
            self.applying.tell(str(error))
            return
        self.start(
            lambda: (
                self.measure_elsewhere(segmentation, segment_id)
                or self.logic.startMeasure(segmentation, segment_id, self.reviewer())
            ),
            lambda case: self._on_measured(case, segmentation, digest, then or _nothing),
        )

    def _on_segmented(self, case: CaseFolder, volume: Any) -> None:
        if not slicer.mrmlScene.IsNodePresent(volume):
            self.applying.tell(_("The volume was deleted meanwhile: the result was not kept."))
            return
        try:
            result = self.logic.addResult(case, volume)
        except SpinalCordSegError as error:
            self.applying.tell(str(error))
            return
        self.show_mask(result.segmentation)
        device = case.provenance().device.replace("cpu", _("the CPU"))
        words = _("Done in {seconds:.0f} s on {device}.").format(seconds=case.number("seconds"), device=device)
        self.applying.tell(words)

    def _on_measured(self, case: CaseFolder, segmentation: Any, digest: str, then: Callable[[], None]) -> None:
        if not slicer.mrmlScene.IsNodePresent(segmentation):
            self.applying.tell(_("The mask was deleted meanwhile: its measures were not kept."))
            return
        self.logic.addMeasures(case, segmentation, digest)
        self.applying.tell(_("Measured."))
        self.measured(segmentation, digest)
        self.measures.refresh()
        then()

    def _on_run_changed(self) -> None:
        self.applying.refresh()
        self.measures.set_busy(self.control.running)
        if self._was_running != self.control.running:  # not at every step of its progress
            self._was_running = self.control.running
            self.changed()

    def _on_volume(self, _node: Any) -> None:
        self.applying.show_devices(self.probe.answer)
        self.applying.tell("")

    def _on_model(self) -> None:
        if self.parameters is not None:
            self.parameters.modelPath = str(self.models.path or "")
        self.check_dependencies()

    def _on_device(self, _index: int) -> None:
        if self.parameters is not None:
            self.parameters.device = self.applying.devices.name

    def _on_probe(self) -> None:
        self.applying.show_devices(self.probe.answer)
        if self.parameters is not None:  # a graphics card chosen earlier was not in the list until now
            self.applying.devices.select(self.parameters.device)
        self.check_dependencies()  # and ask again when another model was chosen meanwhile

    def _on_repair(self) -> None:
        self.warm.end()  # on Windows its files cannot be replaced while a child has them loaded
        said = repair(self.applying.dependencies)
        self.probe.forget()
        self.check_dependencies()
        self.applying.tell(said)


def _nothing() -> None:
    return


def _nowhere(_segmentation: Any, _segment_id: str) -> None:
    return None


def _unheard(_segmentation: Any, _digest: str) -> None:
    return
