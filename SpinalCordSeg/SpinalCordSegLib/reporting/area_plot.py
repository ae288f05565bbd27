"""The cross-sectional area along the cord as a drawing: gaps and doubtful slices are shown, never hidden."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, floor, isfinite, log10

from SpinalCordSegLib.reporting.drawing import Box, Dot, Drawing, Line, Shape, Text

INK, FAINT, GAP, CURVE, RAW, DOUBT = "#1d2733", "#d5dbe1", "#eceff2", "#1f5f99", "#9fb6cc", "#d9730d"
_LEAST_SPAN_MM2 = 20.0  # so that noise of a very even cord is not blown up to fill the plot


@dataclass(frozen=True)
class AreaPoint:
    """One slice: its label, position along the slice normal, areas (NaN in a gap) and the doubts about it."""

    slice: int
    z_mm: float
    csa_mm2: float
    csa_raw_mm2: float
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class AreaPlot:
    """What is drawn. ``points`` from inferior to superior; ``mean_csa_mm2`` NaN: no line.

    ``z_span_mm``: ends of the z axis; None takes the points'. ``vertical``: z runs upwards instead of to the
    right, edge to edge, so that the plot can stand beside a picture of the same height; its area labels then lie below
    the drawing.
    """

    points: Sequence[AreaPoint]
    mean_csa_mm2: float
    width: float
    height: float
    vertical: bool = False
    z_span_mm: tuple[float, float] | None = None
    text_size: float = 12.0
    ink: str = INK
    faint: str = FAINT
    gap: str = GAP

    def draw(self) -> Drawing:
        """The finished drawing; says so in words where there is no area to plot."""
        shapes: list[Shape] = []
        if any(isfinite(point.csa_mm2) for point in self.points):
            shapes += [*self._gaps(), *self._axes(), *self._mean(), *self._curves(), *self._dots()]
        else:
            middle = (self.width / 2, self.height / 2)
            shapes.append(Text(*middle, "no cross-sectional area to plot", self.text_size, self.ink, "middle"))
        return Drawing(self.width, self.height, tuple(shapes))

    @cached_property
    def frame(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of the plotting area, pixels."""
        line = self.text_size
        if self.vertical:
            return 4.2 * line, 0.0, self.width - line, self.height
        return 4.2 * line, line, self.width - line, self.height - 3.2 * line

    @cached_property
    def _z_range(self) -> tuple[float, float]:
        if self.z_span_mm is not None:
            return self.z_span_mm
        heights = [point.z_mm for point in self.points]
        margin = max(self._step_mm, 0.02 * (heights[-1] - heights[0]))
        return heights[0] - margin, heights[-1] + margin

    @cached_property
    def _step_mm(self) -> float:
        points = self.points
        return (points[-1].z_mm - points[0].z_mm) / (len(points) - 1) if len(points) > 1 else 1.0

    @cached_property
    def _area_range(self) -> tuple[float, float]:
        areas = [a for point in self.points for a in (point.csa_mm2, point.csa_raw_mm2) if isfinite(a)]
        low, high = min(areas), max(areas)
        margin = max(0.08 * (high - low), (_LEAST_SPAN_MM2 - (high - low)) / 2)
        return max(0.0, low - margin), high + margin

    def _place(self, z_mm: float, area_mm2: float) -> tuple[float, float]:
        left, top, right, bottom = self.frame
        (z_low, z_high), (a_low, a_high) = self._z_range, self._area_range
        along, across = (z_mm - z_low) / (z_high - z_low), (area_mm2 - a_low) / (a_high - a_low)
        if self.vertical:
            return left + across * (right - left), bottom - along * (bottom - top)
        return left + along * (right - left), bottom - across * (bottom - top)

    def _gaps(self) -> list[Shape]:
        half, (low, high) = self._step_mm / 2, self._area_range
        boxes: list[Shape] = []
        for point in self.points:
            if not isfinite(point.csa_mm2):
                (x0, y0), (x1, y1) = self._place(point.z_mm - half, low), self._place(point.z_mm + half, high)
                title = f"slice {point.slice}: no area"
                boxes.append(Box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1), self.gap, title))
        return boxes

    def _axes(self) -> list[Shape]:
        z_range, a_range, size = self._z_range, self._area_range, self.text_size
        shapes: list[Shape] = []
        for area in ticks(*a_range, count=4 if self.vertical else 5):
            start, end = self._place(z_range[0], area), self._place(z_range[1], area)
            shapes.append(Line((start, end), self.faint))
            x, y = start
            anchor = "middle" if self.vertical else "end"
            where = (x, y + 1.3 * size) if self.vertical else (x - 0.5 * size, y + 0.35 * size)
            shapes.append(Text(*where, f"{area:g}", size, self.ink, anchor))
        for z in ticks(*z_range, count=8):
            x, y = self._place(z, a_range[0])
            end = (x - 4, y) if self.vertical else (x, y + 4)
            shapes.append(Line(((x, y), end), self.ink))
            where = (x - 0.6 * size, y + 0.35 * size) if self.vertical else (x, y + 1.4 * size)
            shapes.append(Text(*where, f"{z:g}", size, self.ink, "end" if self.vertical else "middle"))
        shapes.append(Line((self._place(z_range[0], a_range[0]), self._place(z_range[1], a_range[0])), self.ink))
        return shapes + ([] if self.vertical else self._titles())

    def _titles(self) -> list[Shape]:
        left, top, right, bottom = self.frame
        size = self.text_size
        return [
            Text((left + right) / 2, self.height - 0.3 * size, "inferior ← z, mm → superior", size, self.ink, "middle"),
            Text(1.1 * size, (top + bottom) / 2, "area, mm²", size, self.ink, "middle", turned=True),
        ]

    def _mean(self) -> list[Shape]:
        low, high = self._area_range
        if not (isfinite(self.mean_csa_mm2) and low <= self.mean_csa_mm2 <= high):
            return []
        ends = tuple(self._place(z, self.mean_csa_mm2) for z in self._z_range)
        label = f"mean {self.mean_csa_mm2:.1f} mm²"
        x, y = ends[1]
        if self.vertical:
            return [Line(ends, CURVE, 1.2, dashed=True)]
        return [
            Line(ends, CURVE, 1.2, dashed=True),
            Text(x, y - 0.4 * self.text_size, label, self.text_size, CURVE, "end"),
        ]

    def _curves(self) -> list[Shape]:
        raw = [(point.z_mm, point.csa_raw_mm2) for point in self.points]
        corrected = [(point.z_mm, point.csa_mm2) for point in self.points]
        return [*self._pieces(raw, RAW, 1.2), *self._pieces(corrected, CURVE, 2.0)]

    def _pieces(self, curve: list[tuple[float, float]], colour: str, width: float) -> list[Shape]:
        """The curve, broken wherever an area is missing."""
        pieces: list[list[tuple[float, float]]] = [[]]
        for z, area in curve:
            if isfinite(area):
                pieces[-1].append(self._place(z, area))
            else:
                pieces.append([])
        return [Line(tuple(piece), colour, width) for piece in pieces if len(piece) > 1]

    def _dots(self) -> list[Shape]:
        dots: list[Shape] = []
        for point in self.points:
            if isfinite(point.csa_mm2):
                text = f"slice {point.slice}: {point.csa_mm2:.1f} mm²"
                colour, radius = (DOUBT, 4.0) if point.doubts else (CURVE, 2.0)
                dots.append(
                    Dot(*self._place(point.z_mm, point.csa_mm2), radius, colour, ", ".join((text, *point.doubts)))
                )
        return sorted(dots, key=lambda dot: isinstance(dot, Dot) and dot.colour == DOUBT)  # doubts on top


def ticks(low: float, high: float, count: int) -> list[float]:
    """About ``count`` round numbers between low and high (steps of 1, 2 or 5 times a power of ten)."""
    rough = (high - low) / max(count, 1)
    decade = 10.0 ** floor(log10(rough))
    step = next(factor * decade for factor in (1, 2, 5, 10) if factor * decade >= rough * 0.999)
    return [round(n * step, 9) for n in range(ceil(low / step), floor(high / step) + 1)]
