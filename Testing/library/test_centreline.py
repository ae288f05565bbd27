"""The ruler along the cord: straight, leaning, with gaps; every number can be worked by hand. And its two fits."""

from math import isnan, sqrt

import numpy as np
import pytest

from SpinalCordSegLib.morphometry import centreline, fit_local_lines, fit_spline, measure
from SpinalCordSegLib.vertebral_levels import DiscMark, LevelOptions, measure_levels
from SpinalCordSegLib.volume import Volume

SPACING = (0.5, 0.8, 3.0)


def _cord(n=10, lean=0, gaps=()):
    """Rods of 6×4 pixels (9.6 mm²), moved ``lean`` pixels to the right per slice; z of slice k is 100 + 3k."""
    voxels = np.zeros((60, 30, n), bool)
    for k in range(n):
        if k not in gaps:
            voxels[10 + lean * k : 16 + lean * k, 10:14, k] = True
    matrix = np.diag([*SPACING, 1.0])
    matrix[:3, 3] = (-15, -12, 100)
    return Volume.from_ijk(voxels, matrix)


def test_a_straight_cord_is_as_long_as_its_slices_and_a_leaning_one_longer():
    line = centreline(_cord())
    assert line.arc_mm.tolist() == pytest.approx([1.5 + 3 * k for k in range(10)], abs=1e-6)
    assert line.end_mm == pytest.approx(30)
    assert line.ras_mm[4] == pytest.approx([-15 + 12.5 * 0.5, -12 + 11.5 * 0.8, 112], abs=1e-6)
    assert centreline(_cord(lean=4)).length_mm == pytest.approx(sqrt(13), rel=1e-6)  # 2 mm per 3 mm


def test_nearest_point_between_slices_and_beyond_the_ends():
    line = centreline(_cord())
    x, y, _ = line.ras_mm[0]
    assert line.nearest((x + 3, y + 4, 110)) == pytest.approx((11.5, 5), abs=1e-6)
    assert line.nearest((x, y, 92)) == pytest.approx((-6.5, 0), abs=1e-6)
    assert line.nearest((x, y, 140)) == pytest.approx((41.5, 0), abs=1e-6)
    assert line.point_at(11.5) == pytest.approx([x, y, 110], abs=1e-6)
    assert line.at_slice(-2) == pytest.approx([x, y, 94], abs=1e-6)
    assert line.at_slice(12) == pytest.approx([x, y, 136], abs=1e-6)


def test_one_slice_and_none():
    alone = centreline(_cord(n=1))
    x, y, _ = alone.ras_mm[0]
    assert alone.nearest((x, y + 2, 104)) == pytest.approx((5.5, 2))
    assert alone.at_slice(1) == pytest.approx([x, y, 103])
    empty = centreline(_cord(n=2, gaps=(0, 1)))
    assert (len(empty.arc_mm), empty.end_mm) == (0, 0)
    with pytest.raises(ValueError, match="without points"):
        empty.nearest((0, 0, 0))


def test_an_interval_counts_slices_by_their_part_inside():
    mask = _cord(gaps=(5,))
    mask.ijk[9:17, 10:14, 3] = True  # slice 3 has a third more, on both sides
    measures = measure(mask, shape=False)
    areas = measures.slices.csa_mm2

    def around(z_mm, reach_mm):
        options = LevelOptions((DiscMark(3, ras_mm=(-8.75, -2.8, z_mm)),), around_mm=reach_mm)
        return measure_levels(mask, measures, options).rows[-1]

    found = around(108.25, 2.25)  # half of slice 2, all of slice 3
    assert found.mean_csa_mm2 == pytest.approx((1.5 * areas[2] + 3 * areas[3]) / 4.5, rel=1e-5)
    assert (found.n_slices, found.coverage) == (2, pytest.approx(1, abs=1e-2))
    over_gap = around(113.5, 3.0)
    assert (over_gap.n_slices, over_gap.coverage) == (1, pytest.approx(0.5, abs=0.02))
    outside = around(138.0, 3.0)
    assert (isnan(outside.mean_csa_mm2), outside.n_slices, outside.coverage) == (True, 0, 0)


@pytest.mark.parametrize("fit", [fit_spline, fit_local_lines])
@pytest.mark.parametrize(
    ("slice_mm", "slices"),
    [(0.25, np.arange(4, 30)), (1.0, np.r_[0:10, 20:30]), (5.0, np.r_[2:6, 9:14]), (16.0, np.arange(3)),
     (3.0, np.r_[5:7])],
)  # fmt: skip
def test_a_straight_leaning_cord_has_its_slope_whatever_is_missing(fit, slice_mm, slices):
    span = np.arange(slices[0], slices[-1] + 1)
    x_mm, slope = fit(slices, 3 + 0.4 * slices * slice_mm, slice_mm, span)
    assert slope == pytest.approx(np.full(len(span), 0.4)) and x_mm == pytest.approx(3 + 0.4 * span * slice_mm)
    x_mm, slope = fit(slices[:1], [2.0], slice_mm, slices[:1])  # one point: along the slice normal
    assert (x_mm.tolist(), slope.tolist()) == ([2.0], [0.0])


def test_noise_is_smoothed_within_the_budget():
    slices = np.arange(60)
    noise = np.random.default_rng(1).normal(0, 0.4, 60)  # residual 60·0.16 = 9.6 mm², budget 10 mm²
    assert np.abs(fit_spline(slices, 20 + noise, 1.0, slices)[1]).max() < 0.05


def test_local_lines_do_not_know_where_the_cord_ends():
    """The spline does: what is cut off 30 mm away tilts it."""
    slices = np.arange(20)
    x = 5 * np.sin(slices / 5) + np.random.default_rng(3).normal(0, 0.3, 20)
    inner = np.arange(8, 12)
    for fit, same in ((fit_local_lines, True), (fit_spline, False)):
        (_, whole), (_, cut) = fit(slices, x, 4.0, inner), fit(slices[4:16], x[4:16], 4.0, inner)
        assert bool(np.abs(whole - cut).max() < 1e-9) is same
