"""A module's panel, its parameter node and the scene: bound while the user is in the module, and never across the
closing of a scene."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.util import VTKObservationMixin


class ModuleBinding(VTKObservationMixin):
    """``widget``: the module's, with ``ui``, ``logic``, ``panel`` and its ``parent``. The panel's ``bind`` is told of
    the parameter node (None: of none), ``enter`` that the user comes, ``end_children`` that Slicer ends."""

    def __init__(
        self, widget: Any, closing: Callable[[], None] | None = None, closed: Callable[[], None] | None = None
    ) -> None:
        """``closing``, ``closed``: what else is to be done before and after a scene is closed."""
        VTKObservationMixin.__init__(self)
        self._widget, self._closing, self._closed = widget, closing, closed
        self._parameters: Any = None
        self._tag: Any = None
        # Not connectGui: up to Slicer 5.12 it gives no tag, and what it connected stays so for ever.
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
