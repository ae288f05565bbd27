"""What every further section can do; each overrides what it needs."""

from __future__ import annotations

from typing import Any

from SpinalCordSegWidgets.desk import Desk


class Section:
    """``ui``: the section's widgets, ``ui.section`` the collapsible one. ``refresh`` is called at every change."""

    def __init__(self, ui: Any, desk: Desk) -> None:
        self.ui, self.desk = ui, desk
        desk.listen(self._on_change)
        ui.section.connect("contentsCollapsed(bool)", self._on_collapsed)

    @property
    def is_open(self) -> bool:
        return not self.ui.section.collapsed

    def enter(self) -> None:
        """The user comes to the module."""

    def leave(self) -> None:
        """The user leaves the module, or Slicer ends."""

    def close(self) -> None:
        """The scene is being closed: let go of every node."""

    def refresh(self) -> None:
        """Show the state as it is now; called while the section is open only."""

    def opened(self) -> None:
        """The section was opened."""

    def _on_change(self) -> None:
        if self.is_open:
            self.refresh()

    def _on_collapsed(self, collapsed: bool) -> None:
        if not collapsed:
            self.opened()
            self.refresh()


def grey(widget: Any, reason: str, otherwise: str = "") -> None:
    """Enabled without a ``reason``; with one greyed, and the reason in its tool tip instead of ``otherwise``."""
    widget.enabled = not reason
    widget.toolTip = reason or otherwise
