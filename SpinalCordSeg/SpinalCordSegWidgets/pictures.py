"""A drawing of the library (shapes in pixels) as a pixmap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import qt

if TYPE_CHECKING:
    from SpinalCordSegLib.report import Drawing, Shape, Text

_ANCHORS = {"start": 0.0, "middle": 0.5, "end": 1.0}


def draw(drawing: Drawing, width: int) -> Any:
    """The drawing ``width`` pixels wide, on white; words keep their size against the shapes."""
    scale = width / drawing.width
    pixmap = qt.QPixmap(width, max(1, round(drawing.height * scale)))
    pixmap.fill(qt.QColor(255, 255, 255))
    painter = qt.QPainter()
    painter.begin(pixmap)
    painter.setRenderHint(qt.QPainter.Antialiasing, True)
    painter.scale(scale, scale)
    for shape in drawing.shapes:
        _paint(painter, shape)
    painter.end()
    return pixmap


def _paint(painter: Any, shape: Shape) -> None:
    from SpinalCordSegLib.report import Box, Dot, Line, Polygon, Text  # scipy: not when the panel opens

    if isinstance(shape, Text):
        _write(painter, shape)
    elif isinstance(shape, Line):
        pen = qt.QPen(qt.QColor(shape.colour))
        pen.setWidthF(shape.width)
        if shape.dashed:
            pen.setStyle(qt.Qt.DashLine)
        painter.setPen(pen)
        painter.setBrush(qt.QBrush())
        painter.drawPath(_path(shape.points))
    elif isinstance(shape, Box):
        _fill(painter, shape.fill)
        painter.drawRect(qt.QRectF(shape.left, shape.top, shape.right - shape.left, shape.bottom - shape.top))
    elif isinstance(shape, Dot):
        _fill(painter, shape.colour)
        painter.drawEllipse(qt.QPointF(shape.x, shape.y), shape.radius, shape.radius)
    elif isinstance(shape, Polygon):
        _fill(painter, shape.fill)
        painter.drawPath(_path(shape.points))


def _path(points: Sequence[tuple[float, float]]) -> Any:
    """Not a QPolygonF: PythonQt may not make one of a list."""
    path = qt.QPainterPath()
    path.moveTo(*points[0])
    for x, y in points[1:]:
        path.lineTo(x, y)
    return path


def _fill(painter: Any, colour: str) -> None:
    painter.setPen(qt.QPen(qt.QColor(colour)))
    painter.setBrush(qt.QBrush(qt.QColor(colour)))


def _write(painter: Any, text: Text) -> None:
    font = painter.font()
    font.setPixelSize(max(6, round(text.size)))
    painter.setFont(font)
    painter.setPen(qt.QPen(qt.QColor(text.colour)))
    wide = qt.QFontMetrics(font).boundingRect(text.text).width()
    painter.save()
    painter.translate(text.x, text.y)
    if text.turned:
        painter.rotate(-90)
    painter.drawText(round(-_ANCHORS[text.anchor] * wide), 0, text.text)
    painter.restore()


# A drawn picture in a label, drawn again when the panel is made wider or narrower.


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
