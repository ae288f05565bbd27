"""The ruler along the cord: straight, leaning, with gaps; every number can be worked by hand."""

from math import isnan, sqrt

import numpy as np
import pytest

from SpinalCordSegLib.morphometry import centreline, mean_between, measure
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


def test_a_straight_cord_is_as_long_as_its_slices():
    line = centreline(_cord())
    assert line.arc_mm.tolist() == pytest.approx([1.5 + 3 * k for k in range(10)], abs=1e-6)
    assert line.end_mm == pytest.approx(30)
    assert line.ras_mm[4] == pytest.approx([-15 + 12.5 * 0.5, -12 + 11.5 * 0.8, 112], abs=1e-6)


def test_a_leaning_cord_is_longer():
    line = centreline(_cord(lean=4))  # 2 mm per 3 mm
    assert line.length_mm == pytest.approx(sqrt(13), rel=1e-6)


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


def test_a_stretch_counts_slices_by_their_part_inside():
    mask = _cord(gaps=(5,))
    mask.ijk[9:17, 10:14, 3] = True  # slice 3 has a third more, on both sides
    line, slices = centreline(mask), measure(mask, shape=False).slices
    areas = slices.csa_mm2
    found = mean_between(line, slices, 7.5, 12.0)  # 1.5 mm of slice 2, all of slice 3
    assert found.mean_csa_mm2 == pytest.approx((1.5 * areas[2] + 3 * areas[3]) / 4.5, rel=1e-5)
    assert (found.n_slices, found.coverage) == (2, pytest.approx(1, abs=1e-2))
    over_gap = mean_between(line, slices, 12.0, 18.0)
    assert (over_gap.n_slices, over_gap.coverage) == (1, pytest.approx(0.5, abs=0.02))
    outside = mean_between(line, slices, 40, 50)
    assert (isnan(outside.mean_csa_mm2), outside.n_slices, outside.coverage) == (True, 0, 0)
