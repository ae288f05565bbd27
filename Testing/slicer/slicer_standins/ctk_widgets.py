"""Stand-ins for the ctk widgets that the modules use."""

from typing import Any

from slicer_standins.pythonqt import ctk, qt
from slicer_standins.ui_loader import stand_in

_Property, _Signal = qt.Property, qt.Signal
_HEADING_PX = 24


@stand_in(ctk)
class ctkCollapsibleButton(qt.QWidget):
    """A heading that hides and shows what is below it."""

    contentsCollapsed, toggled, clicked = _Signal(bool), _Signal(bool), _Signal(bool)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*[argument for argument in arguments if not isinstance(argument, str)])
        self._text = next((argument for argument in arguments if isinstance(argument, str)), "")
        self._collapsed = False
        self.setContentsMargins(0, _HEADING_PX, 0, 0)

    def _collapse(self, collapsed: bool) -> None:
        self._collapsed = collapsed
        for child in self.findChildren(qt.QWidget, options=qt.Qt.FindDirectChildrenOnly):
            child.setVisible(not collapsed)
        self.setMaximumHeight(_HEADING_PX if collapsed else 16777215)
        self.contentsCollapsed.emit(collapsed)

    text = _Property(str, lambda self: self._text, lambda self, value: setattr(self, "_text", value))
    collapsed = _Property(bool, lambda self: self._collapsed, _collapse)

    def mousePressEvent(self, event: Any) -> None:
        if event.position().y() < _HEADING_PX:
            self._collapse(not self._collapsed)

    def paintEvent(self, _event: Any) -> None:
        painter = qt.QPainter(self)
        painter.fillRect(0, 0, self.width, _HEADING_PX - 2, qt.QColor(225, 228, 232))
        painter.drawText(8, 16, ("▶ " if self._collapsed else "▼ ") + self._text)
        painter.end()
