"""The follow-up as drawings: area against years with the healthy band, and the areas along the cord of all visits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from SpinalCordSegLib.longitudinal.atrophy import Z95, healthy_rates
from SpinalCordSegLib.longitudinal.follow_up import FollowUp, Run
from SpinalCordSegLib.reporting.area_plot import CURVE, DOUBT, FAINT, INK, ticks
from SpinalCordSegLib.reporting.drawing import Box, Dot, Drawing, Line, Polygon, Shape, Text

BAND, BREAK, SHARED = "#e3efe2", "#b3261e", "#f1f4f7"
COLOURS = ("#1f5f99", "#d9730d", "#4c8a5a", "#8a4fa3", "#b3261e", "#5b6875", "#0f8b8d", "#a0740a")
_SIZE = 12.0
_LEAST_SHARE = 0.12  # of the area: a noise of 1 % must not fill the plot
_STEPS = 24


@dataclass(frozen=True)
class _Frame:
    """Data coordinates to pixels."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    width: float
    height: float

    @property
    def edges(self) -> tuple[float, float, float, float]:
        return 4.4 * _SIZE, _SIZE, self.width - 1.5 * _SIZE, self.height - 3.2 * _SIZE

    def place(self, x: float, y: float) -> tuple[float, float]:
        left, top, right, bottom = self.edges
        (x_low, x_high), (y_low, y_high) = self.x_range, self.y_range
        return left + (x - x_low) / (x_high - x_low) * (right - left), bottom - (y - y_low) / (y_high - y_low) * (
            bottom - top
        )

    def axes(self, x_title: str, y_title: str, x_ticks: Sequence[float]) -> list[Shape]:
        left, top, right, bottom = self.edges
        shapes: list[Shape] = []
        for area in ticks(*self.y_range, count=5):
            start, end = self.place(self.x_range[0], area), self.place(self.x_range[1], area)
            shapes.append(Line((start, end), FAINT))
            shapes.append(Text(start[0] - 0.5 * _SIZE, start[1] + 0.35 * _SIZE, f"{area:g}", _SIZE, INK, "end"))
        for x in x_ticks:
            at = self.place(x, self.y_range[0])
            shapes.append(Line((at, (at[0], at[1] + 4)), INK))
            shapes.append(Text(at[0], at[1] + 1.4 * _SIZE, f"{x:g}", _SIZE, INK, "middle"))
        shapes.append(Line(((left, bottom), (right, bottom)), INK))
        shapes.append(Text((left + right) / 2, self.height - 0.3 * _SIZE, x_title, _SIZE, INK, "middle"))
        shapes.append(Text(1.1 * _SIZE, (top + bottom) / 2, y_title, _SIZE, INK, "middle", turned=True))
        return shapes


def draw_course(result: FollowUp, width: float = 900, height: float = 300) -> Drawing:
    """Mean area of the shared stretch at each visit, ± 1.96·CoV, with the fitted line of every run that has one.

    Behind it, for each run, where a healthy cord that began at the fitted (else measured) first area would be measured
    in 95 % of cases. A red line with words stands where the series is broken.
    """
    years = [visit.years for visit in result.visits]
    span = max(years[-1], 0.5)
    frame = _Frame((-0.06 * span, 1.06 * span), _area_range(result), width, height)
    shapes: list[Shape] = [_band(run, result, frame) for run in result.runs]
    shapes += frame.axes(
        "years since the first visit", "mean area, mm²", [t for t in ticks(0.0, span, count=6) if t >= 0]
    )
    for run in result.runs:
        shapes += _fit(run, result, frame)
    shapes += _breaks(result, frame)
    for visit in result.visits:
        run = next(run for run in result.runs if run.first <= visit.number <= run.last)
        half = visit.mean_csa_mm2 * Z95 * run.repeatability.cov_percent / 100
        ends = tuple(frame.place(visit.years, visit.mean_csa_mm2 + sign * half) for sign in (-1, 1))
        shapes.append(Line(ends, CURVE, 1.5))
        title = f"visit {visit.number}: {visit.mean_csa_mm2:.1f} mm² at {visit.years:.2f} years"
        where = frame.place(visit.years, visit.mean_csa_mm2)
        shapes.append(Dot(*where, 5.0, DOUBT if visit.n_doubtful else CURVE, title))
        shapes.append(Text(where[0] + 8, where[1] - 8, str(visit.number), _SIZE, INK))
    return Drawing(width, height, tuple(shapes))


def _area_range(result: FollowUp) -> tuple[float, float]:
    cov = max(run.repeatability.cov_percent for run in result.runs)
    areas = result.shared.mean_csa_mm2
    low, high = float(areas.min()) * (1 - 2.4 * cov / 100), float(areas.max()) * (1 + 2.4 * cov / 100)
    grow = max(0.0, (_LEAST_SHARE * float(areas.mean()) - (high - low)) / 2)
    return low - grow, high + grow


def _band(run: Run, result: FollowUp, frame: _Frame) -> Polygon:
    """Between the fastest and the slowest healthy loss, widened by what measuring adds."""
    first, last = (result.visits[n - 1] for n in (run.first, run.last))
    start = run.rate.fitted_first_mm2 if run.rate else first.mean_csa_mm2
    fast, slow = healthy_rates(result.options.age_years)
    margin = 0.03 * max(result.visits[-1].years, 0.5)
    low_high = frame.y_range
    upper, lower = [], []
    for t in np.linspace(first.years - margin, last.years + margin, _STEPS):
        bottom, top = healthy_band(start, max(t - first.years, 0.0), (fast, slow), run.repeatability.cov_percent)
        upper.append(frame.place(t, min(top, low_high[1])))
        lower.append(frame.place(t, max(bottom, low_high[0])))
    return Polygon((*upper, *reversed(lower)), BAND)


def healthy_band(
    start_mm2: float, since_years: float, rates_percent: tuple[float, float], cov_percent: float
) -> tuple[float, float]:
    """Lowest and highest area, mm², at which a healthy cord of ``start_mm2`` is measured later, in 95 % of cases.

    ``rates_percent``: fastest and slowest healthy change a year; ``cov_percent``: of measuring.
    """
    noise = Z95 * cov_percent / 100
    fast, slow = rates_percent
    low = start_mm2 * (1 + fast / 100 * since_years) * (1 - noise)
    return low, start_mm2 * (1 + slow / 100 * since_years) * (1 + noise)


def _fit(run: Run, result: FollowUp, frame: _Frame) -> list[Shape]:
    if run.rate is None:
        return []
    first, last = (result.visits[n - 1].years for n in (run.first, run.last))
    end = run.rate.fitted_first_mm2 + run.rate.slope_mm2_per_year * (last - first)
    return [Line((frame.place(first, run.rate.fitted_first_mm2), frame.place(last, end)), CURVE, 2.0)]


def _breaks(result: FollowUp, frame: _Frame) -> list[Shape]:
    shapes: list[Shape] = []
    for run in result.runs[1:]:
        before, after = result.visits[run.first - 2], result.visits[run.first - 1]
        middle = (before.years + after.years) / 2
        x, top = frame.place(middle, frame.y_range[1])
        bottom = frame.place(middle, frame.y_range[0])[1]
        kinds = dict.fromkeys(one.kind.replace("_", " ") for one in after.differences if one.breaks)
        shapes.append(Line(((x, top), (x, bottom)), BREAK, 2.0, dashed=True))
        for line, words in enumerate(f"other {kind}" for kind in kinds):
            shapes.append(Text(x + 4, top + _SIZE * (1 + 1.1 * line), words, 0.9 * _SIZE, BREAK))
    return shapes


def draw_profiles(result: FollowUp, width: float = 900, height: float = 280) -> Drawing:
    """Areas along the cord, one colour a visit, gaps left open, flagged slices as dots; what is compared is shaded."""
    positions = np.concatenate([one.position_mm for one in result.profiles])
    areas = np.concatenate([one.csa_mm2 for one in result.profiles])
    low, high = float(np.nanmin(areas)), float(np.nanmax(areas))
    margin = max(0.08 * (high - low), (20.0 - (high - low)) / 2)
    x_range = (float(positions.min()) - 2, float(positions.max()) + 2)
    frame = _Frame(x_range, (max(0.0, low - margin), high + margin), width, height)
    shapes: list[Shape] = []
    for low_mm, high_mm in result.shared.stretches_mm:
        (left, bottom), (right, top) = frame.place(low_mm, frame.y_range[0]), frame.place(high_mm, frame.y_range[1])
        shapes.append(Box(left, top, right, bottom, SHARED, "compared in all visits"))
    step = max(5.0, 5.0 * ceil((x_range[1] - x_range[0]) / 50))
    x_ticks = [step * n for n in range(ceil(x_range[0] / step), int(x_range[1] // step) + 1)]
    zero = result.alignment.zero if result.alignment.from_disc else "the shared place"  # the middle is a long sentence
    shapes += frame.axes(f"inferior ← mm along the cord from {zero} → superior", "area, mm²", x_ticks)
    for number, (profile, doubts) in enumerate(zip(result.profiles, result.doubts, strict=True)):
        colour = COLOURS[number % len(COLOURS)]
        piece: list[tuple[float, float]] = []
        for x, y, doubt in zip(profile.position_mm, profile.csa_mm2, doubts, strict=True):
            if not np.isfinite(y):
                shapes += [Line(tuple(piece), colour, 1.6)] if len(piece) > 1 else []
                piece = []
                continue
            piece.append(frame.place(x, y))
            if doubt:
                shapes.append(Dot(*piece[-1], 3.0, colour, f"visit {number + 1}: {', '.join(doubt)}"))
        shapes += [Line(tuple(piece), colour, 1.6)] if len(piece) > 1 else []
        label = (frame.edges[2] - 60.0 * (len(result.profiles) - number) + 8, frame.edges[1] + 4)
        shapes.append(Text(*label, f"visit {number + 1}", _SIZE, colour))
    return Drawing(width, height, tuple(shapes))
