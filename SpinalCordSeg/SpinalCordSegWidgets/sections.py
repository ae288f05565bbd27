"""The panel's further sections: each has a file of its own and a .ui file of its own, and sees only the desk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
import slicer.util

from SpinalCordSegWidgets.desk import Desk
from SpinalCordSegWidgets.levels_panel import LevelsPanel


class Sections:
    """``below``: the panel's top widget; the sections go in front of ``before``. ``folder``: where the .ui files are."""

    def __init__(self, panel: Any, below: Any, before: Any, folder: str) -> None:
        self._layout, self._before, self._folder = below.layout(), before, Path(folder)
        self.desk = Desk(panel)
        self._panel = panel
        self.levels = LevelsPanel(self._load("Levels"), self.desk, panel.measures.live.current)
        self._all: tuple[Any, ...] = (self.levels,)
        panel.changed = self.desk.changed
        panel.measures.refreshed = self.desk.changed
        self.desk.changed()

    def enter(self) -> None:
        """The user comes to the module."""
        for section in self._all:
            section.enter()
        self.desk.changed()

    def leave(self) -> None:
        for section in self._all:
            section.leave()

    def scene_is_closing(self) -> None:
        """Let go of every node, before the panel does."""
        for section in self._all:
            section.close()
        self._panel.scene_is_closing()

    def scene_is_closed(self) -> None:
        self._panel.scene_is_closed()
        self.desk.changed()

    def close(self) -> None:
        """Slicer ends."""
        self.leave()
        self.scene_is_closing()

    def _load(self, name: str) -> Any:
        """The section's widgets as attributes, its own put into the panel."""
        widget = slicer.util.loadUI(str(self._folder / f"{name}.ui"))
        self._layout.insertWidget(self._layout.indexOf(self._before), widget)
        ui = slicer.util.childWidgetVariables(widget)
        ui.section = widget
        return ui
