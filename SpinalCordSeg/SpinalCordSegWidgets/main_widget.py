"""The module's panel: volume, model, device and Apply; the mask in hand; and the sections below, which share them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from SpinalCordSegLib.errors import ModelFileError, SpinalCordSegError
from SpinalCordSegLib.model.checkpoint import ModelCard, find_models, load_card, user_models_folder
from SpinalCordSegNodes.case_data import CaseFolder
from SpinalCordSegNodes.results import Result
from SpinalCordSegNodes.segmentations import cropped_mask, volume_node_of
from SpinalCordSegNodes.volumes import volume_from_node
from SpinalCordSegWidgets.compare_section import ComparePanel
from SpinalCordSegWidgets.correction_section import CorrectPanel, TrainingSetPanel
from SpinalCordSegWidgets.dicom_section import DicomPanel
from SpinalCordSegWidgets.followup_section import FollowUpPanel
from SpinalCordSegWidgets.install import Dependencies, DeviceProbe, check_dependencies, repair
from SpinalCordSegWidgets.jobs import Job, JobControl, PreloadedWorker, duration
from SpinalCordSegWidgets.levels_section import LevelsPanel
from SpinalCordSegWidgets.measures_section import LiveNumbers, MeasuresPanel
from SpinalCordSegWidgets.review_section import ReviewPanel
from SpinalCordSegWidgets.section import Section, ask_file
from SpinalCordSegWidgets.versions_section import VersionsPanel
from SpinalCordSegWidgets.worklist_section import WorkListPanel

_STATUS_MS = 8000
_log = logging.getLogger(__name__)


# A module's panel, its parameter node and the scene: bound while the user is in the module, and never across the
# closing of a scene.


class ModuleBinding(VTKObservationMixin):
    """``widget``: the module's, with ``ui``, ``logic``, ``panel`` and ``parent``. The panel's ``bind`` gets the
    parameter node (None: none), ``enter`` is called when the user comes, ``end_children`` when Slicer ends."""

    def __init__(
        self, widget: Any, closing: Callable[[], None] | None = None, closed: Callable[[], None] | None = None
    ) -> None:
        """``closing``, ``closed``: what else is to be done before and after a scene is closed."""
        VTKObservationMixin.__init__(self)
        self._widget, self._closing, self._closed = widget, closing, closed
        self._parameters: Any = None
        self._tag: Any = None
        # Not connectGui: in Slicer 5.12 it gives no tag, and what it connected stays so for ever.
        named = {each.property("SlicerParameterName"): each for each in vars(widget.ui).values()}
        self._fields = {str(name): each for name, each in named.items() if name}
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._on_start_close)
        self.addObserver(scene, scene.EndCloseEvent, self._on_end_close)
        self.addObserver(scene, scene.EndImportEvent, self._on_end_import)
        slicer.app.connect("aboutToQuit()", widget.panel.end_children)

    def close(self) -> None:
        """Slicer ends, or the module is loaded again."""
        slicer.app.disconnect("aboutToQuit()", self._widget.panel.end_children)
        self._widget.panel.end_children()
        self._follow(None)
        self.removeObservers()

    def enter(self) -> None:
        self._follow(self._widget.logic.getParameterNode())
        self._widget.panel.enter()

    def leave(self) -> None:
        self._follow(None)

    def _on_start_close(self, _caller: Any, _event: Any) -> None:
        if self._closing is not None:
            self._closing()
        self._follow(None)

    def _on_end_close(self, _caller: Any, _event: Any) -> None:
        if self._widget.parent.isEntered:
            self._follow(self._widget.logic.getParameterNode())
        if self._closed is not None:
            self._closed()

    def _on_end_import(self, _caller: Any, _event: Any) -> None:
        """A scene file brings its own parameters: what the panel keeps by hand must be shown again."""
        if self._widget.parent.isEntered:
            self._follow(self._widget.logic.getParameterNode())

    def _follow(self, parameters: Any) -> None:
        if self._parameters is not None:
            self._parameters.disconnectGui(self._tag)
        self._parameters = parameters
        if parameters is not None:
            self._tag = parameters.connectParametersToGui(self._fields)
        self._widget.panel.bind(parameters)


# The choice of model: those that come along, the user's own, and any file; each with its card.


_MOST_LINES = 40  # of a tooltip


class ModelChoice:
    """``changed`` is called after the user chose another model. Cards are read without torch."""

    def __init__(self, box: Any, button: Any, card_label: Any, changed: Callable[[], None]) -> None:
        self._box, self._card_label, self._changed = box, card_label, changed
        self._files: list[Path] = []
        self.why_none = ""
        menu = qt.QMenu(button)
        menu.addAction(_("Load from file…")).connect("triggered()", self._ask_for_file)
        menu.addAction(_("Open the folder of own models")).connect("triggered()", self.open_own_folder)
        menu.addAction(_("Look again")).connect("triggered()", self.refresh)
        button.setMenu(menu)
        button.setPopupMode(qt.QToolButton.InstantPopup)
        box.connect("currentIndexChanged(int)", self._on_chosen)
        self.refresh()

    @property
    def path(self) -> Path | None:
        text = self._box.itemData(self._box.currentIndex) if self._box.count else None
        return Path(text) if text else None

    @property
    def card(self) -> ModelCard | None:
        """None without a model, or when its file can no longer be read (see ``why_none``)."""
        if self.path is None:
            self.why_none = _("There is no model: load one from a file, or put one into the folder of own models.")
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

    def load_file(self, path: str) -> None:
        """What "Load from file…" does with the chosen file; a file that is no model of ours is refused in the card."""
        try:
            load_card(Path(path))
        except ModelFileError as error:
            self._card_label.setText(str(error).replace(str(Path(path).parent), "").lstrip("/\\"))
            return
        self.select(path)

    def open_own_folder(self) -> None:
        folder = user_models_folder()
        folder.mkdir(parents=True, exist_ok=True)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(folder)))

    def _ask_for_file(self) -> None:
        path = ask_file(self._box, _("Load a model"), _("Models (*.safetensors)"), str(user_models_folder()))
        if path is not None:
            self.load_file(str(path))

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


def summary(card: ModelCard) -> str:
    """What it is, what it was trained on and under which licence, in a line or two."""
    network = str(card.network.get("name", "")).replace("ra_unet", "RA-U-Net").replace("unet", "U-Net")
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


def details(card: ModelCard) -> str:
    """Everything the card says about training and scores, a line each."""
    lines = [f"{card.name} {card.version}", str(card.path.name)]
    for title, content in ((_("Scores"), card.scores), (_("Made from"), card.provenance)):
        lines += [f"{title}:", *(f"  {line}" for line in json.dumps(content, indent=1).splitlines()[1:-1])]
    return "\n".join(lines[:_MOST_LINES])


# The choice of device, each with what it is and about how long it will take.


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


# The upper half of the panel: volume, model, device, and the button that is Apply or Cancel.


class ApplyPanel:
    """Shows what can be done and why not; ``apply`` is called when it can and the user wants it."""

    def __init__(self, ui: Any, control: JobControl, models: ModelChoice, apply: Callable[[], None]) -> None:
        self._ui, self._control, self._apply = ui, control, apply
        self.models, self.devices = models, DeviceChoice(ui.deviceBox)
        self.dependencies = Dependencies("ready")
        self.message = ""  # the last one
        ui.applyButton.connect("clicked()", self._on_button)
        ui.copyReportButton.connect("clicked()", self._on_copy_report)

    @property
    def volume(self) -> Any:
        return self._ui.volumeSelector.currentNode()

    def show_message(self, message: str) -> None:
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
        ui.noticeFrame.setVisible(not self.dependencies.ready)
        ui.noticeLabel.setText(self.dependencies.message)
        ui.noticeButton.text = self.dependencies.action
        ui.noticeButton.setVisible(bool(self.dependencies.action))

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
            return self._control.progress.text()
        if self.message:
            return self.message
        if failure is not None:
            return str(failure.message)
        elsewhere = not self.dependencies.ready or self.models.card is None  # in the notice, or in the card
        return "" if elsewhere else reason

    def _axial_slices(self) -> int:
        if self.volume is None or self.volume.GetImageData() is None:
            return 0
        try:
            volume = volume_from_node(self.volume)
        except SpinalCordSegError:
            return 0
        return volume.shape[0]

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


class Panel:
    """What the sections share: the mask in hand, one run at a time, one line to the user.

    ``logic``: the module's. ``entered``: whether the user is in the module now. ``parameters``: the module's parameter
    node while it is bound, else None. Model and device are kept in it by hand: what there is to choose changes, and the
    wrapper's choices are fixed.
    """

    def __init__(self, ui: Any, logic: Any, entered: Callable[[], bool], load: Callable[[str], Any]) -> None:
        """``load``: puts a section's .ui into the panel and gives its widgets."""
        self._ui, self.logic, self._entered = ui, logic, entered
        self._listeners: list[Callable[[], None]] = []
        self._was_running = False
        self.parameters: Any = None
        self.control = JobControl(self._on_run_changed)
        self.models = ModelChoice(ui.modelBox, ui.modelButton, ui.modelCard, self._on_model)
        self.applying = ApplyPanel(ui, self.control, self.models, self._on_apply)
        self.measures = MeasuresPanel(ui, self)
        self.probe = DeviceProbe(logic.scratchBase(), self._on_probe)
        self.preloaded = PreloadedWorker(logic.scratchBase())
        self.work_list = WorkListPanel(load("WorkList"), self)
        self.review = ReviewPanel(load("Review"), self)
        correct = load("Correct")
        self.correct = CorrectPanel(correct, self)
        self.versions = VersionsPanel(correct, self)
        self.training_set = TrainingSetPanel(correct, self)
        self.levels = LevelsPanel(load("Levels"), self)
        self.follow_up = FollowUpPanel(load("FollowUp"), self)
        self.compare = ComparePanel(load("Compare"), self)
        self.dicom = DicomPanel(load("Dicom"), self)
        self.sections: tuple[Section, ...] = (
            self.versions, self.review, self.correct, self.levels, self.work_list, self.follow_up, self.compare,
            self.dicom, self.training_set,
        )  # fmt: skip
        ui.volumeSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._on_volume)
        ui.deviceBox.connect("currentIndexChanged(int)", self._on_device)
        ui.noticeButton.connect("clicked()", self._on_repair)
        self.listen(self.review.note_edit)  # after the sections
        self.check_dependencies()
        self.measures.follow(self.segmentation)

    # Called by the module: the user comes and goes, scenes open and close, Slicer ends.

    def bind(self, parameters: Any) -> None:
        """Show what a parameter node says, and choose a volume where it has none yet; None: follow none."""
        self.parameters = None
        if parameters is not None:
            self.models.select(parameters.modelPath)
            self.applying.devices.select(parameters.device)
            # not beside a case of a work list: the first volume may be another person's
            if parameters.inputVolume is None and not self.work_list.case and self.logic.firstVolume() is not None:
                parameters.inputVolume = self.logic.firstVolume()
        self.parameters = parameters

    def enter(self) -> None:
        """The user comes to the module: models, packages and masks may have changed meanwhile."""
        self.models.refresh()
        self.check_dependencies()
        self.measures.refresh()
        for section in self.sections:
            section.enter()
        self.changed()

    def leave(self) -> None:
        for section in self.sections:
            section.leave()
        self.preloaded.end()

    def scene_is_closing(self) -> None:
        """Let go of every node."""
        for section in self.sections:
            section.close()
        self.control.close()
        self.preloaded.end()
        self.measures.close()

    def scene_is_closed(self) -> None:
        self.applying.show_message("")
        self.measures.refresh()

    def end_children(self) -> None:
        self.control.close()
        self.preloaded.end()
        self.probe.close()
        self.measures.close()

    # What sections ask for.

    @property
    def segmentation(self) -> Any:
        """The mask in hand; None without one."""
        return self.measures.segmentation

    @property
    def segment_id(self) -> str:
        return self.measures.segment_id

    @property
    def volume(self) -> Any:
        """The image behind the mask in hand; None where there is none."""
        return None if self.segmentation is None else volume_node_of(self.segmentation)

    @property
    def result(self) -> Result | None:
        return self.measures.result

    @property
    def live(self) -> LiveNumbers:
        """The mask in hand as it is now."""
        return self.measures.live

    @property
    def busy(self) -> bool:
        return self.control.running

    @property
    def device(self) -> str:
        return self.applying.devices.name

    def show_message(self, text: str) -> None:
        """In the panel's status line, and in Slicer's: whoever works in a section below does not see the first."""
        self.applying.show_message(text)
        slicer.util.showStatusMessage(text, _STATUS_MS)

    def attempt(self, work: Callable[[], None]) -> bool:
        """Do something that may be refused; the reason is shown. True when it was done."""
        try:
            work()
        except SpinalCordSegError as error:
            self.show_message(str(error))
            return False
        return True

    def listen(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` when the mask in hand is another one, was measured, or a run begins or ends."""
        self._listeners.append(changed)

    def changed(self) -> None:
        for listener in self._listeners:
            listener()

    def why_no_mask(self) -> str:
        """The reason why nothing can be done with a mask; "" when there is one and no run goes on."""
        if self.segmentation is None:
            return _("Choose a mask first (section Measures).")
        if not self.segment_id:
            return _("The chosen segmentation has no segment.")
        return self.why_busy()

    def why_busy(self) -> str:
        return _("Wait until the run has ended, or cancel it.") if self.busy else ""

    def show_mask(self, segmentation: Any) -> None:
        """Take another mask in hand."""
        self._ui.maskSelector.setCurrentNode(segmentation)
        if self.parameters is None:  # in another module: on coming back the selector shows what the node says
            self.logic.getParameterNode().mask = segmentation
        self.measures.refresh()

    def show_volume(self, volume: Any) -> None:
        """What Apply works on; None: nothing, until a volume is chosen. The message stays: it may be new."""
        message = self.applying.message
        self._ui.volumeSelector.setCurrentNode(volume)
        self.applying.show_message(message)
        if self.parameters is None:  # as for the mask
            self.logic.getParameterNode().inputVolume = volume

    def start(
        self,
        make: Callable[[], Job[Any]],
        on_result: Callable[[Any], None],
        on_end: Callable[[Job[Any]], None] | None = None,
    ) -> None:
        """Begin a run in a child process, and hand its result to ``on_result``; what stands in the way is shown."""
        self.control.failure = None
        self.applying.show_message("")
        try:
            self.control.start(make(), on_result, on_end=on_end)
        except SpinalCordSegError as error:
            self.applying.show_message(str(error))

    def measure(self, then: Callable[[], None] | None = None) -> None:
        """Measure the mask in hand in full; ``then`` is called when that has been done."""
        segmentation, segment_id = self.segmentation, self.segment_id
        try:
            digest = cropped_mask(segmentation, segment_id).digest()
        except SpinalCordSegError as error:
            self.applying.show_message(str(error))
            return
        self.start(
            lambda: (
                self.work_list.measure_job(segmentation, segment_id)
                or self.logic.startMeasure(segmentation, segment_id, self.review.reviewer.name)
            ),
            lambda found: self._on_measured(found, segmentation, digest, then),
        )

    def check_dependencies(self) -> None:
        """What is installed is known at once; whether it works, and on which devices, a child process reports later."""
        self.applying.dependencies = check_dependencies(self.probe.answer)
        if self.applying.dependencies.ready and self._entered():
            self.probe.ask(self.models.path)
        self.applying.refresh()

    def _on_apply(self) -> None:
        volume, model, device = self.applying.volume, self.models.path, self.device

        def prepare_another(_job: Job[Any]) -> None:
            """Who applies once mostly applies again; who has left the module meanwhile may not."""
            if self._entered():
                self.preloaded.prepare(model, device)

        self.start(
            lambda: self.logic.startSegment(volume, model, device, self.preloaded.take(model, device)),
            lambda found: self._on_segmented(found, volume),
            on_end=prepare_another,
        )

    def _on_segmented(self, found: CaseFolder, volume: Any) -> None:
        if not slicer.mrmlScene.IsNodePresent(volume):
            self.applying.show_message(_("The volume was deleted meanwhile: the result was not kept."))
            return
        try:
            result = self.logic.addResult(found.case, volume, found.page)
        except SpinalCordSegError as error:
            self.applying.show_message(str(error))
            return
        self.show_mask(result.segmentation)
        device = str(found.case.device).replace("cpu", _("the CPU"))
        text = _("Done in {seconds:.0f} s on {device}.").format(seconds=found.case.seconds, device=device)
        self.applying.show_message(text)

    def _on_measured(self, found: CaseFolder, segmentation: Any, digest: str, then: Callable[[], None] | None) -> None:
        if not slicer.mrmlScene.IsNodePresent(segmentation):
            self.applying.show_message(_("The mask was deleted meanwhile: its measures were not kept."))
            return
        self.logic.addMeasures(found.case, segmentation, found.page, digest)
        self.applying.show_message(_("Measured."))
        self.work_list.note_measured(segmentation, digest)
        self.measures.refresh()
        if then is not None:
            then()

    def _on_run_changed(self) -> None:
        self.applying.refresh()
        if self._was_running != self.busy:  # not at every step of its progress
            self._was_running = self.busy
            self.measures.show_buttons()
            self.changed()

    def _on_volume(self, _node: Any) -> None:
        self.applying.show_devices(self.probe.answer)
        self.applying.show_message("")

    def _on_model(self) -> None:
        if self.parameters is not None:
            self.parameters.modelPath = str(self.models.path or "")
        self.check_dependencies()

    def _on_device(self, _index: int) -> None:
        if self.parameters is not None:
            self.parameters.device = self.device

    def _on_probe(self) -> None:
        self.applying.show_devices(self.probe.answer)
        if self.parameters is not None:  # a graphics card chosen earlier was not in the list until now
            self.applying.devices.select(self.parameters.device)
        self.check_dependencies()  # and ask again when another model was chosen meanwhile

    def _on_repair(self) -> None:
        self.preloaded.end()  # on Windows its files cannot be replaced while a child has them loaded
        message = repair(self.applying.dependencies)
        self.probe.forget()
        self.check_dependencies()
        self.applying.show_message(message)
