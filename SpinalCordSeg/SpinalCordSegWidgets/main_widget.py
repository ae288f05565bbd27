"""The module's panel: volume, model, device and Apply; the current mask; and the sections below, which share them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from SpinalCordSegLib.errors import ConfigurationError, SpinalCordSegError
from SpinalCordSegNodes.case_data import CaseFolder
from SpinalCordSegNodes.results import Result, write_result_folder
from SpinalCordSegNodes.segmentations import cropped_mask, volume_node_of
from SpinalCordSegNodes.volumes import image_state, is_other_patient, label_of, volume_from_node
from SpinalCordSegWidgets.compare_section import ComparePanel
from SpinalCordSegWidgets.correction_section import CorrectPanel, TrainingSetPanel
from SpinalCordSegWidgets.dicom_section import DicomPanel
from SpinalCordSegWidgets.find_section import ApplyPanel, ModelChoice
from SpinalCordSegWidgets.followup_section import FollowUpPanel
from SpinalCordSegWidgets.install import DeviceProbe, check_dependencies, repair
from SpinalCordSegWidgets.jobs import CASE, IMAGE, Job, JobControl, PreloadedWorker, write_images
from SpinalCordSegWidgets.levels_section import LevelsPanel
from SpinalCordSegWidgets.measures_section import LiveNumbers, MeasuresPanel
from SpinalCordSegWidgets.review_section import ReviewPanel
from SpinalCordSegWidgets.section import OTHER_PATIENT, Choice, Section, in_scene, on_click, short
from SpinalCordSegWidgets.versions_section import VersionsPanel
from SpinalCordSegWidgets.worklist_section import WorkListPanel

_STATUS_MS = 8000


class ModuleBinding(VTKObservationMixin):
    """Binds a panel to its parameter node while the user is in the module, never across the closing of a scene.

    ``widget``: the module's, with ``ui``, ``logic``, ``panel`` and ``parent``. The panel's ``bind`` gets the parameter
    node (None: none), ``enter`` is called when the user comes, ``end_children`` when Slicer ends.
    """

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
        # a scene file brings its own parameters: they are shown again, after the selectors (see Choice)
        self.addObserver(scene, scene.StartImportEvent, lambda *_: self._follow(None))
        self.addObserver(scene, scene.EndImportEvent, self._follow_again, priority=-20.0)
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

    def _on_end_close(self, caller: Any, event: Any) -> None:
        self._follow_again(caller, event)
        if self._closed is not None:
            self._closed()

    def _follow_again(self, _caller: Any, _event: Any) -> None:
        if self._widget.parent.isEntered:
            self.enter()

    def _follow(self, parameters: Any) -> None:
        if self._parameters is not None:
            self._parameters.disconnectGui(self._tag)
        self._parameters = parameters
        if parameters is not None:
            self._tag = parameters.connectParametersToGui(self._fields)
        self._widget.panel.bind(parameters)


class Panel:
    """What the sections share: the current mask, one run at a time, one line to the user.

    ``logic``: the module's. ``entered``: whether the user is in the module now. ``parameters``: the module's parameter
    node while it is bound, else None. Model and device are kept in it by hand: what there is to choose changes, and the
    wrapper's choices are fixed.
    """

    def __init__(self, ui: Any, logic: Any, entered: Callable[[], bool], load: Callable[[str], Any]) -> None:
        """``load``: puts a section's .ui into the panel and gives its widgets."""
        self._ui, self.logic, self._entered = ui, logic, entered
        self._listeners: list[Callable[[], None]] = []
        self._was_running = False
        self._before: Any = None  # the previous image, or the mask without one
        self.sections: tuple[Section, ...] = ()
        self.parameters: Any = None
        self.control = JobControl(self._on_run_changed)
        self.models = ModelChoice(ui.modelBox, ui.modelButton, ui.modelCard, self._on_model)
        self.volume_choice = Choice(ui.volumeSelector, self._on_volume, self.lost, self._store_volume)
        self.applying = ApplyPanel(ui, self.control, self.models, self.volume_choice, self._on_apply)
        self.measures = MeasuresPanel(ui, self)
        self.probe = DeviceProbe(self._on_probe)
        self.preloaded = PreloadedWorker()
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
        self.sections = (
            self.versions, self.review, self.correct, self.levels, self.work_list, self.follow_up, self.compare,
            self.dicom, self.training_set,
        )  # fmt: skip
        ui.deviceBox.connect("currentIndexChanged(int)", self._on_device)
        on_click(ui, noticeButton=self._on_repair)
        named = (
            ui.applyButton, ui.measureButton, ui.exportButton, self.review.ui.acceptButton, correct.trainingButton,
            self.follow_up.ui.addMaskButton, self.dicom.ui.dicomButton,
        )  # fmt: skip
        for button in named:
            button.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)  # their names may be long
        self.listen(self.review.note_edit)  # after the sections
        self.check_dependencies()
        self.measures.refresh()

    # Called by the module: the user comes and goes, scenes open and close, Slicer ends.

    def bind(self, parameters: Any) -> None:
        """Show what a parameter node says, and choose a volume where it has none yet; None: follow none."""
        self.parameters = None
        if parameters is not None:
            self.models.select(parameters.modelPath)
            self.applying.devices.select(parameters.device)
            # one among several, or beside a case of a work list, may be another person's
            if parameters.inputVolume is None and not self.work_list.case and not self.volume_choice.is_lost:
                parameters.inputVolume = self.logic.onlyVolume()
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
        self.volume_choice.is_lost = False

    def scene_is_closed(self) -> None:
        self.applying.show_message("")
        self.measures.refresh()

    def end_children(self) -> None:
        self.control.close()
        self.preloaded.end()
        self.probe.close()
        self.measures.close()
        for choice in (self.volume_choice, self.measures.choice, self.compare.choice):
            choice.end()

    # What sections ask for.

    @property
    def segmentation(self) -> Any:
        """The current mask; None without one."""
        return self.measures.segmentation

    @property
    def segment_id(self) -> str:
        return self.measures.segment_id

    @property
    def volume(self) -> Any:
        """The image behind the current mask; None where there is none."""
        return None if self.segmentation is None else volume_node_of(self.segmentation)

    @property
    def result(self) -> Result | None:
        return self.measures.result

    @property
    def live(self) -> LiveNumbers:
        """The current mask as it is now."""
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
        """Call ``changed`` when the current mask is another one, was measured, or a run begins or ends."""
        self._listeners.append(changed)

    def changed(self) -> None:
        for listener in self._listeners:
            listener()

    def why_no_mask(self) -> str:
        """The reason why nothing can be done with a mask but to measure it; "" when there is one and no run goes on."""
        return self.why_no_measuring() or self.live.why_stale

    def why_no_measuring(self) -> str:
        if self.segmentation is None:
            return _("Choose a mask first (section Measures).")
        if not self.segment_id:
            return _("Choose the segment that is the cord (section Measures).")
        if self.volume is not None and is_other_patient(slicer.mrmlScene, self.segmentation, self.volume):
            return OTHER_PATIENT
        return self.why_busy()

    def why_busy(self) -> str:
        return _("Wait until the run has ended, or cancel it.") if self.busy else ""

    def why_not_measured(self) -> str:
        """The reason why mask, image and measures do not go together; "" when they do."""
        reason = self.why_no_mask()
        if not reason and self.volume is None:
            return _("The mask has no volume in the scene.")
        if not reason and (self.result is None or self.live.stale):
            return _("The mask was changed since it was measured: measure it first.")
        return reason

    def write_case(self, folder: Path) -> None:
        """The current case as a result folder and its image, for a command. Raises SpinalCordSegError."""
        if self.result is None:
            raise ConfigurationError(_("Measure the mask first."))
        image = volume_from_node(self.volume)
        write_result_folder(self.result, self.segment_id, folder / CASE, image=image)
        write_images(folder, {IMAGE: image})

    def show_mask(self, segmentation: Any) -> None:
        """Make another mask the current one; it stays so when the user leaves the module and comes back."""
        self.measures.choice.set(segmentation)
        self.measures.refresh()

    def show_volume(self, volume: Any) -> None:
        """What Apply works on; None: nothing, until a volume is chosen. The message stays: it may be new."""
        message = self.applying.message
        self.volume_choice.set(volume)
        self.applying.show_message(message)

    def lost(self, name: str) -> None:
        self.show_message(_("{name} was removed from the scene: choose another one.").format(name=name))

    def forget(self) -> None:
        """The current mask or segment changed: drop what was meant for the previous one."""
        whose = self.volume or self.segmentation
        for section in self.sections:
            section.forget()
            if whose is not self._before:
                section.forget_person()
        self._before = whose

    def for_this_mask(self, act: Callable[[Any], Any]) -> Callable[[Any], None]:
        """``act``, unless the current mask changed while a dialog was open or a run went on."""
        meant = self.segmentation, self.segment_id

        def act_on_what_was_meant(found: Any) -> None:
            if (self.segmentation, self.segment_id) == meant:
                act(found)
            else:
                self.show_message(
                    _("Another mask was chosen meanwhile: nothing was done. Choose the mask, and do it again.")
                )

        return act_on_what_was_meant

    def named(self, text: str) -> str:
        """A button's ``text`` with the name of the image that it acts on, or of its mask without one."""
        node = self.volume or self.segmentation
        return text.format(name=_("…") if node is None else short(label_of(slicer.mrmlScene, node)))

    def start(
        self,
        make: Callable[[], Job[Any]],
        on_result: Callable[[Any], None],
        on_end: Callable[[Job[Any]], None] = lambda _job: None,
    ) -> None:
        """Begin a run in a child process, and hand its result to ``on_result``; what stands in the way is shown."""
        self.control.failure = None
        self.applying.show_message("")
        self.attempt(lambda: self.control.start(make(), on_result, on_end=on_end))

    def measure(self, then: Callable[[], None] | None = None) -> None:
        """Measure the current mask in full; ``then`` is called when that has been done."""
        segmentation, segment_id = self.segmentation, self.segment_id
        try:
            digest = cropped_mask(segmentation, segment_id).digest()
        except SpinalCordSegError as error:
            self.show_message(str(error))
            return
        self.start(
            lambda: (
                self.work_list.measure_job(segmentation, segment_id)
                or self.logic.startMeasure(segmentation, segment_id, self.review.reviewer)
            ),
            lambda found: self._on_measured(found, segmentation, digest, then),
        )

    def check_dependencies(self) -> None:
        """What is installed is known at once; whether it works, and on which devices, a child process reports later."""
        self.applying.dependencies = check_dependencies(self.probe.answer)
        if self.applying.dependencies.can_segment and self._entered():
            self.probe.ask(self.models.path)
        self.applying.refresh()

    def _store_volume(self, volume: Any) -> None:
        self.logic.getParameterNode().inputVolume = volume

    def _on_apply(self) -> None:
        volume, model, device = self.applying.volume, self.models.path, self.device
        in_hand, state = self.segmentation, image_state(volume)

        def prepare_another(_job: Job[Any]) -> None:
            """Who applies once mostly applies again; who has left the module meanwhile may not."""
            if self._entered():
                self.preloaded.prepare(model, device)

        self.start(
            lambda: self.logic.startSegment(volume, model, device, self.preloaded.take(model, device)),
            lambda found: self._on_segmented(found, volume, state, in_hand),
            on_end=prepare_another,
        )

    def _on_segmented(self, found: CaseFolder, volume: Any, state: str, in_hand: Any) -> None:
        """``state``, ``in_hand``: of the image, and the mask, at Apply. Another mask, chosen meanwhile, stays."""
        if not in_scene(volume):
            self.show_message(_("The volume was deleted meanwhile: the result was not kept."))
            return
        name = label_of(slicer.mrmlScene, volume)
        if state != image_state(volume):
            text = _("The image of {name} was changed meanwhile: the result was not kept. Apply again.")
            self.show_message(text.format(name=name))
            return
        made: list[Result] = []
        if not self.attempt(lambda: made.append(self.logic.addResult(found.case, volume, found.page))):
            return
        if self.segmentation is in_hand:
            self.show_mask(made[0].segmentation)
        device = str(found.case.device).replace("cpu", _("the CPU"))
        text = _("{name}: done in {seconds:.0f} s on {device}.")
        self.show_message(text.format(name=name, seconds=found.case.seconds, device=device))

    def _on_measured(self, found: CaseFolder, segmentation: Any, digest: str, then: Callable[[], None] | None) -> None:
        if not in_scene(segmentation):
            self.show_message(_("The mask was deleted meanwhile: its measures were not kept."))
            return
        self.logic.addMeasures(found.case, segmentation, found.page, digest)
        measured = volume_node_of(segmentation) or segmentation
        self.show_message(_("{name}: measured.").format(name=label_of(slicer.mrmlScene, measured)))
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
        self.show_message(message)
