"""Pictures in labels of the panels, which follow the label's width."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import MissingPackageError
from SpinalCordSegWidgets.section import single_shot

_DPI = 100


def figure(draw: Callable[[Any], None], width: int, height: int) -> Any:
    """What ``draw`` draws on matplotlib's axes as a pixmap of these pixels; a sentence where matplotlib is missing."""
    from SpinalCordSegLib.report import drawn_png  # scipy: not when the panel opens

    try:
        png = drawn_png(draw, (max(200, width) / _DPI, height / _DPI), _DPI)
    except MissingPackageError:
        return _("The figure needs the package matplotlib: install it at the top of this panel.")
    pixmap = qt.QPixmap()
    pixmap.loadFromData(png)
    return pixmap


class ResizingPicture(qt.QObject):
    """A picture that follows its label's width. Drawing takes a tenth of a second: it is done once per change, and only
    while the label can be seen. Keep this object: it listens."""

    def __init__(self, label: Any) -> None:
        qt.QObject.__init__(self)
        self._label = label
        self._draw: Callable[[int], Any] | None = None
        self._width = 0  # of what is drawn; 0: to be drawn anew
        self._soon = single_shot(0, self._paint, label)
        label.installEventFilter(self)

    def show(self, draw: Callable[[int], Any]) -> None:
        """``draw``: from a width in pixels to a pixmap, or a sentence that stands in its place."""
        self._draw, self._width = draw, 0
        self._soon.start()

    def eventFilter(self, _label: Any, event: Any) -> bool:
        if event.type() in (qt.QEvent.Resize, qt.QEvent.Show):
            self._soon.start()
        return False

    def _paint(self) -> None:
        if self._draw is not None and self._label.visible and self._label.width != self._width:
            self._width = self._label.width
            drawn = self._draw(self._width)
            self._label.wordWrap = isinstance(drawn, str)
            if isinstance(drawn, str):
                self._label.setText(drawn)
            else:
                self._label.setPixmap(drawn)
