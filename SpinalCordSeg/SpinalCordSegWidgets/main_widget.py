"""The module's panel: the sections in the order of the day, and what they share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
import slicer.util
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from SpinalCordSegLib.errors import ConfigurationError, SpinalCordSegError
from SpinalCordSegNodes.results import add_measures, write_result_folder
from SpinalCordSegNodes.segmentations import cropped_mask, image_node_of, volume_node_of
from SpinalCordSegNodes.volumes import is_other_patient, label_of, volume_from_node
from SpinalCordSegWidgets.current_mask import CurrentMask
from SpinalCordSegWidgets.export_section import ExportSection
from SpinalCordSegWidgets.followup_section import FollowUpSection
from SpinalCordSegWidgets.jobs import CASE, IMAGE, Job, JobControl, Outcome, measure_job, write_images
from SpinalCordSegWidgets.levels_section import LevelsSection
from SpinalCordSegWidgets.review_section import ReviewSection
from SpinalCordSegWidgets.section import OTHER_PATIENT, Section, in_scene, short
from SpinalCordSegWidgets.segment_section import SegmentSection
from SpinalCordSegWidgets.work_list import WorkListBar

if TYPE_CHECKING:
    from SpinalCordSegLib.case import Case

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
    node while it is bound, else None. ``message``: the last one.
    """

    def __init__(self, ui: Any, logic: Any, entered: Callable[[], bool]) -> None:
        self.ui, self.logic, self.entered = ui, logic, entered
        self.sections: tuple[Section, ...] = ()
        self.parameters: Any = None
        self.message = ""
        self._was_running = False
        self._before: Any = None  # the previous image, or the mask without one
        self.control = JobControl(self._on_run_changed)
        self.current = CurrentMask(self)
        self.work_list = WorkListBar(self)
        self.segment = SegmentSection(self)
        self.review = ReviewSection(self)
        self.levels = LevelsSection(self)
        self.follow_up = FollowUpSection(self)
        self.export = ExportSection(self)
        self.sections = (self.segment, self.work_list, self.review, self.levels, self.follow_up, self.export)
        self.segment.check_dependencies()
        self.current.refresh()

    # Called by the module: the user comes and goes, scenes open and close, Slicer ends.

    def bind(self, parameters: Any) -> None:
        """None: follow none."""
        self.parameters = None
        if parameters is not None:
            self.segment.bind(parameters)
        self.parameters = parameters

    def enter(self) -> None:
        for section in self.sections:
            section.enter()
        self.current.refresh()

    def leave(self) -> None:
        for section in self.sections:
            section.leave()

    def scene_is_closing(self) -> None:
        """Let go of every node."""
        for section in self.sections:
            section.close()
        self.control.close()
        self.current.close()

    def scene_is_closed(self) -> None:
        self.show_message("")
        self.current.refresh()

    def end_children(self) -> None:
        self.control.close()
        self.segment.probe.close()
        self.current.close()
        for choice in (self.segment.choice, self.current.choice):
            choice.end()

    # What sections ask for.

    def show_message(self, text: str) -> None:
        """In the panel's status line, and in Slicer's: whoever works in a section below does not see the first."""
        self.message = text
        self.segment.show_state()
        slicer.util.showStatusMessage(text, _STATUS_MS)

    def attempt(self, work: Callable[[], Outcome]) -> tuple[Outcome, ...]:
        """Do something that may be refused: what it gave, or () and the reason is shown."""
        try:
            return (work(),)
        except SpinalCordSegError as error:
            self.show_message(str(error))
            return ()

    def changed(self) -> None:
        """The current mask is another one, was changed or measured, or a run begins or ends."""
        for section in self.sections:
            section.changed()
        if self.sections:
            self.review.note_edit()

    def why_no_mask(self) -> str:
        """The reason why nothing can be done with a mask but to measure it; "" when there is one and no run goes on."""
        return self.why_no_measuring() or self.current.why_stale

    def why_no_measuring(self) -> str:
        node, volume = self.current.node, self.current.volume
        if node is None:
            return _("Choose a mask first (section Segment).")
        if not self.current.segment_id:
            return _("Choose the segment that is the cord (section Segment).")
        if volume is not None and is_other_patient(slicer.mrmlScene, node, volume):
            return OTHER_PATIENT
        return self.why_busy()

    def why_busy(self) -> str:
        return _("Wait until the run has ended, or cancel it.") if self.control.running else ""

    def why_not_measured(self) -> str:
        """The reason why mask, image and measures do not go together; "" when they do."""
        reason = self.why_no_mask()
        if not reason and image_node_of(self.current.node) is None:
            return _("The image of the mask is not in the scene.")
        if not reason and (self.current.result is None or self.current.live.stale):
            return _("The mask was changed since it was measured: measure it first.")
        return reason

    def write_case(self, folder: Path) -> None:
        """The current case as a result folder and its image, for a command. Raises SpinalCordSegError."""
        result = self.current.result
        if result is None:
            raise ConfigurationError(_("Measure the mask first."))
        image = volume_from_node(self.current.volume)
        write_result_folder(result, self.current.segment_id, folder / CASE, image=image)
        write_images(folder, {IMAGE: image})

    def is_gone(self, node: Any) -> bool:
        """Whether the user deleted the node of a run meanwhile; that is shown."""
        if not in_scene(node):
            self.show_message(_("The volume or the mask was deleted meanwhile: the result was not kept."))
        return not in_scene(node)

    def lost(self, name: str) -> None:
        self.show_message(_("{name} was removed from the scene: choose another one.").format(name=name))

    def for_this_mask(self, act: Callable[[Any], Any]) -> Callable[[Any], None]:
        """``act``, unless the current mask changed while a dialog was open or a run went on."""
        meant = self.current.which

        def act_on_what_was_meant(found: Any) -> None:
            if self.current.which == meant:
                act(found)
            else:
                self.show_message(
                    _("Another mask was chosen meanwhile: nothing was done. Choose the mask, and do it again.")
                )

        return act_on_what_was_meant

    def named(self, text: str) -> str:
        """A button's ``text`` with the name of the image that it acts on, or of its mask without one."""
        node = self.current.owner
        return text.format(name=_("…") if node is None else short(label_of(slicer.mrmlScene, node)))

    def start(self, make: Callable[[], Job[Any]], on_result: Callable[[Any], None]) -> None:
        """Begin a run in a child process, and hand its result to ``on_result``; what stands in the way is shown."""
        self.control.failure = None
        self.show_message("")
        self.attempt(lambda: self.control.start(make(), on_result))

    def measure(self, then: Callable[[], None] = lambda: None) -> None:
        """Measure the current mask in full; ``then`` is called when that has been done."""
        segmentation, segment_id = self.current.which
        try:
            digest = cropped_mask(segmentation, segment_id).digest()
        except SpinalCordSegError as error:
            self.show_message(str(error))
            return
        self.start(
            lambda: (
                self.work_list.measure_job(segmentation, segment_id)
                or measure_job(segmentation, segment_id, self.review.reviewer)
            ),
            lambda case: self._on_measured(case, segmentation, digest, then),
        )

    def _on_measured(self, case: Case, segmentation: Any, digest: str, then: Callable[[], None]) -> None:
        if self.is_gone(segmentation):
            return
        add_measures(slicer.mrmlScene, case, segmentation, digest=digest)
        measured = volume_node_of(segmentation) or segmentation
        self.show_message(_("{name}: measured.").format(name=label_of(slicer.mrmlScene, measured)))
        self.work_list.note_measured(segmentation, digest)
        self.current.refresh()
        then()

    def _on_run_changed(self) -> None:
        self.segment.show_state()
        if self._was_running != self.control.running:  # not at every step of its progress
            self._was_running = self.control.running
            self.changed()

    def on_other_mask(self) -> None:
        """The current mask or segment is another one: drop what was meant for the previous one."""
        for section in self.sections:
            section.forget()
            if self.current.owner is not self._before:
                section.forget_person()
        self._before = self.current.owner
