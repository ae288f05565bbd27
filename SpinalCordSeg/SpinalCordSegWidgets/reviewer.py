"""Who reviews: asked once, kept in Slicer's settings on this computer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

_KEY = "SpinalCordSeg/Reviewer"


class Reviewer:
    """A line edit that remembers; ``changed`` is called when the name was."""

    def __init__(self, edit: Any, changed: Callable[[], None]) -> None:
        self._edit, self._changed = edit, changed
        edit.text = str(qt.QSettings().value(_KEY) or "")
        edit.connect("editingFinished()", self._keep)
        edit.connect("textChanged(QString)", lambda: changed())

    @property
    def name(self) -> str:
        return " ".join(str(self._edit.text).split())

    def _keep(self) -> None:
        qt.QSettings().setValue(_KEY, self.name)
