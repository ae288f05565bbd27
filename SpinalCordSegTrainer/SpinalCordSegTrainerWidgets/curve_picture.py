"""Curves for the panel: the range test, and loss and MCC while a network learns."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import qt

BLUE, ORANGE, GREEN, GREY = (0, 114, 178), (213, 94, 0), (0, 130, 90), (150, 150, 150)
_LEFT, _RIGHT, _TOP, _BOTTOM = 30, 8, 18, 18


@dataclass(frozen=True)
class Curve:
    """``points``: (x, y), a NaN y breaks the line. ``dots``: mark every point."""

    name: str
    colour: tuple[int, int, int]
    points: tuple[tuple[float, float], ...]
    dots: bool = False


@dataclass(frozen=True)
class Axes:
    """``x_ticks``, ``y_ticks``: (value, text); the first and the last are the ends of the axis. ``log_x``: the x of
    points and ticks is drawn by its logarithm. ``lines``: (x, text), upright and dashed."""

    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    log_x: bool = False
    lines: tuple[tuple[float, str], ...] = ()


def draw(width: int, height: int, palette: Any, axes: Axes, curves: Sequence[Curve]) -> Any:
    """A pixmap. Curves without points leave their name in the legend, so that the picture does not jump."""
    pixmap = qt.QPixmap(max(80, width), max(60, height))
    pixmap.fill(palette.color(qt.QPalette.Base))
    painter = qt.QPainter()
    painter.begin(pixmap)
    painter.setRenderHint(qt.QPainter.Antialiasing, True)
    font = painter.font()
    font.setPointSize(7)
    painter.setFont(font)
    frame = _Frame(pixmap.width(), pixmap.height(), axes)
    _draw_axes(painter, frame, axes, palette.color(qt.QPalette.Text))
    for curve in curves:
        _draw_curve(painter, frame, curve)
    _draw_legend(painter, curves, palette.color(qt.QPalette.Text))
    painter.end()
    return pixmap


class _Frame:
    """From values to pixels."""

    def __init__(self, width: int, height: int, axes: Axes) -> None:
        self.width, self.height, self._log = width, height, axes.log_x
        self._x0, self._x1 = (self._place(axes.x_ticks[end][0]) for end in (0, -1))
        self._y0, self._y1 = axes.y_ticks[0][0], axes.y_ticks[-1][0]

    def _place(self, x: float) -> float:
        return math.log10(x) if self._log else x

    def x(self, value: float) -> int:
        share = (self._place(value) - self._x0) / max(self._x1 - self._x0, 1e-12)
        return round(_LEFT + min(max(share, 0.0), 1.0) * (self.width - _LEFT - _RIGHT))

    def y(self, value: float) -> int:
        share = (value - self._y0) / max(self._y1 - self._y0, 1e-12)
        return round(self.height - _BOTTOM - min(max(share, 0.0), 1.0) * (self.height - _TOP - _BOTTOM))


def _draw_axes(painter: Any, frame: _Frame, axes: Axes, colour: Any) -> None:
    painter.setPen(qt.QPen(colour))
    bottom = frame.height - _BOTTOM
    painter.drawLine(_LEFT, _TOP, _LEFT, bottom)
    painter.drawLine(_LEFT, bottom, frame.width - _RIGHT, bottom)
    for value, text in axes.y_ticks:
        painter.drawText(2, frame.y(value) + 4, text)
    last = len(axes.x_ticks) - 1
    for number, (value, text) in enumerate(axes.x_ticks):
        back = 6 * len(text) if number == last else 3 * len(text) * (number > 0)
        painter.drawText(frame.x(value) - back, frame.height - 4, text)
    pen = qt.QPen(qt.QColor(*ORANGE))
    pen.setStyle(qt.Qt.DashLine)
    painter.setPen(pen)
    for value, text in axes.lines:
        painter.drawLine(frame.x(value), _TOP, frame.x(value), bottom)
        painter.drawText(frame.x(value) + 3, bottom - 4, text)


def _draw_curve(painter: Any, frame: _Frame, curve: Curve) -> None:
    pen = qt.QPen(qt.QColor(*curve.colour))
    pen.setWidth(1 if curve.colour == GREY else 2)
    painter.setPen(pen)
    for (x0, y0), (x1, y1) in itertools.pairwise(curve.points):
        if not (math.isnan(y0) or math.isnan(y1)):
            painter.drawLine(frame.x(x0), frame.y(y0), frame.x(x1), frame.y(y1))
    if curve.dots or len(curve.points) == 1:
        painter.setBrush(qt.QBrush(qt.QColor(*curve.colour)))
        for x, y in curve.points:
            if not math.isnan(y):
                painter.drawEllipse(frame.x(x) - 2, frame.y(y) - 2, 4, 4)


def _draw_legend(painter: Any, curves: Sequence[Curve], text_colour: Any) -> None:
    x = _LEFT + 4
    for curve in curves:
        pen = qt.QPen(qt.QColor(*curve.colour))
        pen.setWidth(2)
        painter.setPen(pen)
        painter.drawLine(x, 8, x + 12, 8)
        painter.setPen(qt.QPen(text_colour))
        painter.drawText(x + 16, 12, curve.name)
        x += 28 + 6 * len(curve.name)
