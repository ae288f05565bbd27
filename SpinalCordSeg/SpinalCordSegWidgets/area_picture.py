"""A small picture of the area along the cord for the panel; the full plot is one click away."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 8, 8, 18
_LETTER = 6  # its width in pixels, about
_LINE, _MARK = (0, 114, 178), (213, 94, 0)


def draw_area(
    width: int,
    height: int,
    palette: Any,
    position_mm: Sequence[float],
    area_mm2: Sequence[float],
    marks: Sequence[float],
) -> Any:
    """A pixmap; gaps (NaN) break the line, ``marks`` (NaN: none) are dots. Nothing to draw gives empty axes."""
    pixmap = qt.QPixmap(max(60, width), max(40, height))
    pixmap.fill(palette.color(qt.QPalette.Base))
    known = [value for value in [*area_mm2, *marks] if not math.isnan(value)]
    painter = qt.QPainter()
    painter.begin(pixmap)
    painter.setRenderHint(qt.QPainter.Antialiasing, True)
    frame = _Frame(pixmap.width(), pixmap.height(), position_mm, known)
    _axes(painter, frame, palette.color(qt.QPalette.Text))
    _line(painter, frame, position_mm, area_mm2)
    _dots(painter, frame, position_mm, marks)
    painter.end()
    return pixmap


class _Frame:
    """From mm and mm² to pixels; the area's axis starts at zero, so that a loss looks as large as it is."""

    def __init__(self, width: int, height: int, position_mm: Sequence[float], known: Sequence[float]) -> None:
        self.width, self.height = width, height
        self.low = min(position_mm, default=0.0)
        self.span = max(max(position_mm, default=1.0) - self.low, 1e-6)
        self.top = 10 * math.ceil(max([*known, 1.0]) * 1.05 / 10)

    def x(self, position: float) -> int:
        return round(_LEFT + (position - self.low) / self.span * (self.width - _LEFT - _RIGHT))

    def y(self, area: float) -> int:
        return round(self.height - _BOTTOM - area / self.top * (self.height - _TOP - _BOTTOM))


def _axes(painter: Any, frame: _Frame, colour: Any) -> None:
    painter.setPen(qt.QPen(colour))
    font = painter.font()
    font.setPointSize(7)
    painter.setFont(font)
    bottom = frame.y(0)
    painter.drawLine(_LEFT, frame.y(frame.top), _LEFT, bottom)
    painter.drawLine(_LEFT, bottom, frame.width - _RIGHT, bottom)
    for area in (0, frame.top // 2, frame.top):
        painter.drawText(2, frame.y(area) + 4, f"{area}")
    painter.drawText(_LEFT + 4, _TOP + 6, "mm²")
    painter.drawText(_LEFT, frame.height - 4, _("inferior"))
    superior = _("superior")
    painter.drawText(frame.width - _RIGHT - _LETTER * len(superior), frame.height - 4, superior)


def _line(painter: Any, frame: _Frame, position_mm: Sequence[float], area_mm2: Sequence[float]) -> None:
    pen = qt.QPen(qt.QColor(*_LINE))
    pen.setWidth(2)
    painter.setPen(pen)
    points = list(zip(position_mm, area_mm2, strict=True))
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if not (math.isnan(y0) or math.isnan(y1)):
            painter.drawLine(frame.x(x0), frame.y(y0), frame.x(x1), frame.y(y1))


def _dots(painter: Any, frame: _Frame, position_mm: Sequence[float], marks: Sequence[float]) -> None:
    painter.setPen(qt.QPen(qt.QColor(*_MARK)))
    painter.setBrush(qt.QBrush(qt.QColor(*_MARK)))
    for x, y in zip(position_mm, marks, strict=True):
        if not math.isnan(y):
            painter.drawEllipse(frame.x(x) - 3, frame.y(y) - 3, 6, 6)
