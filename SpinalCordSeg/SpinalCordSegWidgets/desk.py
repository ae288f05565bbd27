"""What the panel's further sections share: the mask in hand, one run at a time, one line to the user."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import slicer.util
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import SpinalCordSegError
from SpinalCordSegNodes.results import Result, result_of
from SpinalCordSegNodes.segmentations import volume_node_of
from SpinalCordSegWidgets.command_run import CommandRun
from SpinalCordSegWidgets.live_numbers import LiveNumbers

_SHOWN_MS = 8000


class Desk:
    """A thin view on the panel: sections know this and not each other. ``panel``: the module's Panel."""

    def __init__(self, panel: Any) -> None:
        self._panel = panel
        self._listeners: list[Callable[[], None]] = []

    @property
    def segmentation(self) -> Any:
        return self._panel.measures.segmentation

    @property
    def segment_id(self) -> str:
        return str(self._panel.measures.segment_id)

    @property
    def volume(self) -> Any:
        """The image behind the mask in hand; None where there is none."""
        return None if self.segmentation is None else volume_node_of(self.segmentation)

    @property
    def result(self) -> Result | None:
        return result_of(self.segmentation)

    @property
    def live(self) -> LiveNumbers:
        """The mask in hand as it is now."""
        live: LiveNumbers = self._panel.measures.live
        return live

    @property
    def reviewer(self) -> str:
        """Who works here; "" until somebody said."""
        return str(self._panel.reviewer())

    @property
    def logic(self) -> Any:
        return self._panel.logic

    @property
    def model(self) -> Any:
        """The chosen model's file, and None without one."""
        return self._panel.models.path

    @property
    def device(self) -> str:
        return str(self._panel.applying.devices.name)

    @property
    def busy(self) -> bool:
        return bool(self._panel.control.running)

    def tell(self, text: str) -> None:
        """In the panel's status line, and in Slicer's: whoever works in a section below does not see the first."""
        self._panel.applying.tell(text)
        slicer.util.showStatusMessage(text, _SHOWN_MS)

    def show(self, segmentation: Any) -> None:
        """Take another mask in hand."""
        self._panel.show_mask(segmentation)

    def take_volume(self, volume: Any) -> None:
        """What Apply works on; None: nothing, until a volume is chosen."""
        self._panel.show_volume(volume)

    def go_to_slice(self, index: int) -> None:
        self._panel.measures.go_to_slice(index)

    def start(self, make: Callable[[], CommandRun[Any]], on_result: Callable[[Any], None]) -> None:
        """Begin a run in a child process; ``on_result`` gets what it gave. What is wrong is told."""
        self._panel.start(make, on_result)

    def measure(self, then: Callable[[], None] | None = None) -> None:
        """Measure the mask in hand in full; ``then`` is called when that has been done."""
        self._panel.measure(then)

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
        if self.busy:
            return _("Wait until the run has ended, or cancel it.")
        return ""

    def why_no_network(self) -> str:
        """The reason why no network can run here; "" when one can."""
        dependencies = self._panel.applying.dependencies
        return "" if dependencies.ready else str(dependencies.message)

    def attempt(self, work: Callable[[], None]) -> bool:
        """Do something that may be refused; the reason is told. True when it was done."""
        try:
            work()
        except SpinalCordSegError as error:
            self.tell(str(error))
            return False
        return True


def in_scene(node: Any) -> bool:
    """Whether a node that was remembered is still there."""
    return node is not None and bool(slicer.mrmlScene.IsNodePresent(node))
