"""A drawn picture in a label, drawn again when the panel is made wider or narrower."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt


class ResizingPicture(qt.QObject):
    """``show`` takes a function of width in pixels and palette that gives a pixmap. Keep this object: it listens."""

    def __init__(self, label: Any) -> None:
        qt.QObject.__init__(self)
        self._label = label
        self._draw: Callable[[int, Any], Any] | None = None
        label.installEventFilter(self)

    def show(self, draw: Callable[[int, Any], Any]) -> None:
        self._draw = draw
        self._paint()

    def eventFilter(self, _label: Any, event: Any) -> bool:
        if event.type() == qt.QEvent.Resize:
            self._paint()
        return False

    def _paint(self) -> None:
        if self._draw is not None:
            self._label.setPixmap(self._draw(self._label.width, self._label.palette))
