"""The area plot shows gaps and doubts, and puts points where they belong."""

from math import nan

import pytest

from SpinalCordSegLib.report import CURVE, DOUBT, AreaPlot, AreaPoint, Box, Dot, Line, Text, ticks

POINTS = [
    AreaPoint(9, 0.0, 80.0, 82.0),
    AreaPoint(8, 3.0, 70.0, 72.0),
    AreaPoint(7, 6.0, nan, nan, ("gap",)),
    AreaPoint(6, 9.0, 75.0, 77.0),
    AreaPoint(5, 12.0, 110.0, 112.0, ("area",)),
]


def _of(kind, plot):
    return [shape for shape in plot.draw().shapes if isinstance(shape, kind)]


def test_gap_breaks_the_curve_and_is_shaded():
    plot = AreaPlot(POINTS, 78.0, 600, 200)
    curves = [line for line in _of(Line, plot) if line.colour == CURVE and not line.dashed]
    assert [len(line.points) for line in curves] == [2, 2]
    (gap,) = _of(Box, plot)
    assert "slice 7" in gap.title
    left, right = curves[0].points[-1][0], curves[1].points[0][0]
    assert left < gap.left < gap.right < right


def test_flagged_slice_is_orange_and_drawn_last():
    dots = _of(Dot, AreaPlot(POINTS, 78.0, 600, 200))
    assert [dot.colour for dot in dots] == [CURVE] * 3 + [DOUBT]
    assert "slice 5: 110.0 mm², area_jump" in dots[-1].title


def test_higher_area_is_higher_and_superior_is_right_or_up():
    across = _of(Dot, AreaPlot(POINTS[:2], 75.0, 600, 200))
    assert across[0].y < across[1].y
    assert across[0].x < across[1].x
    upright = _of(Dot, AreaPlot(POINTS[:2], 75.0, 300, 400, vertical=True, z_span_mm=(-1.5, 13.5)))
    assert upright[0].x > upright[1].x
    assert upright[0].y > upright[1].y
    assert upright[0].y == pytest.approx(400 * 13.5 / 15)


def test_no_area_is_said_in_words():
    for points in ([], [AreaPoint(0, 0.0, nan, nan)]):
        (text,) = _of(Text, AreaPlot(points, nan, 600, 200))
        assert "no cross-sectional area" in text.text


def test_single_slice_can_be_plotted():
    assert len(_of(Dot, AreaPlot(POINTS[:1], 80.0, 600, 200))) == 1


def test_ticks_are_round():
    assert ticks(68.2, 81.0, 5) == [70, 75, 80]
    assert ticks(-0.35, 0.35, 7) == pytest.approx([-0.3, -0.2, -0.1, 0, 0.1, 0.2, 0.3])
