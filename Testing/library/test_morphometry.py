"""Cases with known answers (published ones, and shapes worked by hand): areas and lengths of a cord, the shape of a
slice, the centreline, bands of areas; and the stated answers for odd masks."""

import math
from dataclasses import replace
from math import isnan, nan, pi, radians, sqrt, tan
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from storage_orders import STORAGE_ORDERS, stored

from SpinalCordSegLib.image_io import read_labels
from SpinalCordSegLib.morphometry import (
    CordMeasures,
    centreline,
    fit_local_lines,
    fit_spline,
    mean_band_mm2,
    mean_csa,
    measure,
    measure_shape,
)
from SpinalCordSegLib.outline import Outline
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.postprocessing import clean
from SpinalCordSegLib.slice_table import SliceTable, columns
from SpinalCordSegLib.vertebral_levels import DiscMark, LevelOptions, measure_levels
from SpinalCordSegLib.volume import Volume

SPACING = (0.5, 0.8, 3.0)


def _rod(n: int = 20) -> np.ndarray:
    """11×7 voxels in every slice."""
    voxels = np.zeros((40, 36, n), bool)
    voxels[14:25, 12:19] = True
    return voxels


def _volume(voxels: np.ndarray, spacing: tuple[float, float, float] = SPACING) -> Volume:
    return Volume.from_ijk(voxels, np.diag([*spacing, 1.0]))


def _row(table: SliceTable, at: int) -> SimpleNamespace:
    return SimpleNamespace(**{column.name: getattr(table, column.name)[at] for column in columns()})


def _kinds(measures: CordMeasures) -> list[tuple[int | None, str]]:
    return [(flag.canonical_slice, flag.kind) for flag in measures.flags]


def test_published_slice_of_the_spinal_cord_toolbox(shared_data: Path) -> None:
    mask = read_labels(shared_data / "morphometry" / "t2_seg-manual.nii.gz")
    slices = measure(mask).slices
    found = _row(slices, slices.row_of(10))
    assert found.csa_raw_mm2 == 79
    assert found.csa_sct_mm2 == pytest.approx(78.58643257836141, rel=1e-9)
    assert found.csa_mm2 == pytest.approx(78.58643257836141, rel=1e-4)
    assert found.ap_chord_mm == pytest.approx(7.842507960401277, rel=5e-3)
    assert found.ap_ellipse_mm == pytest.approx(8.0317, rel=5e-3)
    assert found.rl_mm == pytest.approx(12.537767663676533, rel=5e-3)
    assert found.eccentricity == pytest.approx(0.7678714078545043, rel=5e-3)
    assert found.orientation_deg == pytest.approx(5.435920797812814, abs=0.1)
    assert found.solidity == pytest.approx(0.9691052891744933, rel=1e-2)
    assert abs(found.angle_ap_deg) == pytest.approx(1.298, abs=5e-3)
    assert abs(found.angle_rl_deg) == pytest.approx(5.706, abs=5e-3)


@pytest.mark.parametrize(("lean_x", "lean_y"), [(0, 0), (30, 0), (0, -30), (20, 20)])
def test_a_cylinder_keeps_its_area_when_it_leans(lean_x: float, lean_y: float) -> None:
    measures = measure(_cylinder(lean_x, lean_y))
    inner = slice(5, -5)
    slices = measures.slices
    assert np.mean(slices.csa_mm2[inner]) == pytest.approx(25 * pi, rel=5e-3)
    assert np.mean(slices.angle_ap_deg[inner]) == pytest.approx(lean_x, abs=0.1)
    assert np.mean(slices.angle_rl_deg[inner]) == pytest.approx(lean_y, abs=0.1)
    stretch = sqrt(1 + tan(radians(lean_x)) ** 2 + tan(radians(lean_y)) ** 2)
    assert measures.length_mm == pytest.approx(48 * 0.25 * stretch, rel=1e-3)
    assert np.sum(slices.csa_mm2 * slices.length_mm) == pytest.approx(measures.volume_mm3, rel=1e-12)
    if lean_x and lean_y:  # the product of both cosines is 0.7 % off
        error = np.mean(slices.csa_sct_mm2[inner]) / (25 * pi) - 1
        assert error == pytest.approx(-0.007, abs=0.003)


def _cylinder(lean_x: float, lean_y: float) -> Volume:
    """Radius 5 mm, at 0.25 mm, through the middle voxel of 12 mm of slices."""
    axis = np.array([tan(radians(lean_x)), tan(radians(lean_y)), 1.0])
    axis /= np.linalg.norm(axis)
    x, y, z = np.meshgrid(*(np.arange(-n, n) * 0.25 for n in (42, 42, 24)), indexing="ij")
    along = x * axis[0] + y * axis[1] + z * axis[2]
    return _volume(x**2 + y**2 + z**2 - along**2 <= 25, (0.25, 0.25, 0.25))


def test_a_leaning_bending_phantom_on_an_oblique_grid_has_its_analytic_areas() -> None:
    config = PhantomConfig((120, 120, 14), (0.6, 0.5, 4.0), "PSR", oblique_deg=(12.0, 0.0, 5.0), tilt_deg=(10.0, -15.0))
    phantom = make_phantom(config)
    inside = phantom.coverage.voxels.sum(axis=(1, 2)) * 0.6 * 0.5
    found = replace(clean(phantom.mask), evidence={"network_area_mm2": inside})
    measures, partial = measure(phantom.mask), measure(found)
    error = measures.slices.csa_mm2 / phantom.truth_csa_mm2 - 1
    partial_error = partial.slices.csa_mm2 / phantom.truth_csa_mm2 - 1
    assert abs(error.mean()) < 0.01 and np.abs(error).max() < 0.04  # a binary outline is off by its pixels
    assert np.abs(partial_error).max() < 0.01
    assert measures.volume_mm3 == pytest.approx(phantom.truth_volume_mm3, rel=0.01)


def test_a_rod_of_11_by_7_voxels_worked_by_hand() -> None:
    measures = measure(_volume(_rod(), (1.0, 1.0, 2.5)))
    assert measures.volume_mm3 == pytest.approx(77 * 20 * 2.5) and measures.length_mm == pytest.approx(50)
    assert measures.mean_csa_mm2 == pytest.approx(77) and measures.sd_csa_mm2 == pytest.approx(0, abs=1e-9)
    assert (measures.n_slices, measures.coverage, measures.flags) == (20, 1.0, ())
    item = _row(measures.slices, 3)
    assert (item.slice, item.canonical_slice, item.z_mm) == (3, 3, 7.5)
    assert item.csa_raw_mm2 == pytest.approx(77) and item.ap_chord_mm == pytest.approx(7)
    assert item.rl_mm == pytest.approx(12.65, rel=5e-3) and item.ap_ellipse_mm == pytest.approx(8, rel=1e-2)
    assert isnan(item.network_area_mm2) and item.imputed == -1


def test_one_empty_slice_is_nan_with_a_flag_and_the_rest_unchanged() -> None:
    voxels = _rod()
    voxels[:, :, 8] = False
    whole, gapped = measure(_volume(_rod())), measure(_volume(voxels))
    assert _kinds(gapped) == [(8, "gap")]
    gap = _row(gapped.slices, 8)
    assert gapped.slices.is_gap[8] and gap.z_mm == 24.0
    assert np.isnan([gap.csa_mm2, gap.rl_mm, gap.angle_ap_deg]).all()
    others = np.arange(20) != 8
    for name in ("csa_mm2", "rl_mm"):
        assert getattr(gapped.slices, name)[others] == pytest.approx(getattr(whole.slices, name)[others])
    assert (gapped.n_slices, gapped.coverage) == (19, 0.95)
    assert gapped.volume_mm3 == pytest.approx(whole.volume_mm3 * 0.95) and gapped.length_mm == pytest.approx(57)


def test_a_mean_is_weighted_by_length_without_gaps_and_imputed_slices() -> None:
    slices = SliceTable.of(5, csa_mm2=[80.0, 60.0, nan, 999.0, 70.0], imputed=[0, 0, 0, 0, 1])
    mean, sd, n = mean_csa(slices, np.array([3.0, 4.0, 3.0, 0.0, 3.0]))
    assert (mean, n) == (pytest.approx((80 * 3 + 60 * 4) / 7), 2)
    assert sd == pytest.approx(sqrt(2 * (3 * (80 - 480 / 7) ** 2 + 4 * (60 - 480 / 7) ** 2) / 7))


def test_a_range_beyond_the_cord_lowers_coverage_and_leaves_the_whole_volume() -> None:
    voxels = np.zeros((40, 36, 30), bool)
    voxels[14:25, 12:19, 5:15] = True
    measures = measure(_volume(voxels), slice_range=(0, 10))
    assert (measures.n_slices, measures.coverage, measures.range_length_mm) == (5, 0.5, 15.0)
    assert measures.range_volume_mm3 == pytest.approx(measures.volume_mm3 / 2)
    nothing = measure(_volume(voxels), slice_range=(20, 25))
    assert (nothing.n_slices, nothing.coverage, nothing.range_volume_mm3) == (0, 0.0, 0.0)
    assert isnan(nothing.mean_csa_mm2) and nothing.volume_mm3 == measures.volume_mm3
    assert _kinds(measures) == [(None, "range")] and _kinds(nothing) == [(None, "range")]
    assert "cord in 5 of the 10 slices" in measures.flags[0].message
    assert _kinds(measure(_volume(voxels), slice_range=(5, 15))) == []
    assert _kinds(measure(_volume(np.zeros((5, 6, 7), bool)), slice_range=(0, 3))) == [(None, "empty")]


def test_empty_and_single_slice_masks() -> None:
    empty = measure(_volume(np.zeros((5, 6, 7), bool)))
    assert len(empty.slices) == 0 and empty.volume_mm3 == 0 == empty.length_mm and isnan(empty.mean_csa_mm2)
    assert (empty.n_slices, empty.coverage) == (0, 0.0) and _kinds(empty) == [(None, "empty")]
    voxels = _rod()
    voxels[:, :, :6] = voxels[:, :, 7:] = False
    single = measure(_volume(voxels))
    assert single.mean_csa_mm2 == pytest.approx(77 * 0.4) and isnan(single.sd_csa_mm2)
    assert _kinds(single) == [(None, "tilt")]


def test_border_pieces_and_holes_are_flagged_with_their_numbers() -> None:
    voxels = _rod()
    voxels[25:, 14, 4] = True  # an arm to the edge of the image
    voxels[30:33, 30:33, 6] = True
    voxels[18:20, 15, 9] = False
    measures = measure(_volume(voxels))
    assert _kinds(measures) == [
        (None, "cleaned"),
        (4, "border_contact"),
        (6, "cleaned"),
    ]
    assert measures.removed_mm3 == pytest.approx(9 * 1.2) and measures.filled_mm3 == pytest.approx(2 * 1.2)
    assert measures.slices.csa_raw_mm2[6] == pytest.approx(77 * 0.4)


def test_the_contour_s_area_is_taken_but_where_a_slice_is_imputed() -> None:
    inside, imputed = np.full(20, 80.0), np.zeros(20, np.int64)
    inside[7], imputed[[3, 4]] = np.nan, 1  # drawn by a person; the image shows no edge
    found = replace(clean(_volume(_rod())), evidence={"network_area_mm2": inside, "imputed": imputed})
    measures = measure(found)
    pixels = 77 * 0.5 * 0.8
    expected = np.where(np.isin(np.arange(20), [3, 4, 7]), pixels, 80.0)
    assert measures.slices.csa_raw_mm2 == pytest.approx(expected)
    used = ~np.isin(np.arange(20), [3, 4])
    assert measures.n_slices == 18 and measures.coverage == 1
    assert measures.mean_csa_mm2 == pytest.approx(expected[used].mean())
    assert measures.sd_csa_mm2 == pytest.approx(expected[used].std(ddof=1))
    assert measures.volume_mm3 == pytest.approx(measure(_volume(_rod())).volume_mm3), "voxels of the mask"
    only_imputed = measure(found, slice_range=(3, 5))
    assert only_imputed.n_slices == 0 and isnan(only_imputed.mean_csa_mm2) and only_imputed.coverage == 1
    assert only_imputed.volume_mm3 > 0


def _leaning_cord() -> np.ndarray:
    """An ellipse that leans and turns, with a gap and a stray piece: [R, A, S] on 30×28×12 voxels."""
    x, y, z = np.meshgrid(np.arange(30) * 0.5 - 7, np.arange(28) * 0.8 - 11, np.arange(12) * 3.0 - 16, indexing="ij")
    voxels = ((x - 0.15 * z) / 4) ** 2 + ((y + 0.2 * z + 0.1 * x) / 3) ** 2 <= 1
    voxels[:, :, 5] = False
    voxels[27, 25, 8] = True
    return voxels


def test_all_48_orientations_give_the_same_numbers() -> None:
    c, s = np.cos(np.radians(20)), np.sin(np.radians(20))
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) * SPACING
    matrix[:3, 3] = (11.0, -35.0, 60.0)
    voxels = _leaning_cord()
    volume = Volume.from_ijk(voxels, matrix)
    reference = measure(volume)
    assert (None, "tilt") in _kinds(reference)
    numbers = list(range(voxels.shape[2]))
    for order, flips in STORAGE_ORDERS:
        measures = measure(stored(volume, order, flips))
        _assert_same(measures, reference)
        assert measures.slices.slice.tolist() == (numbers[::-1] if flips[2] else numbers)


def _assert_same(a: CordMeasures, b: CordMeasures) -> None:
    for name in ("z_mm", "csa_mm2", "csa_sct_mm2", "ap_chord_mm", "rl_mm", "orientation_deg", "angle_rl_deg"):
        first, second = (getattr(m.slices, name) for m in (a, b))
        assert first == pytest.approx(second, rel=1e-6, abs=1e-6, nan_ok=True), name
    assert _kinds(a) == _kinds(b)
    assert (a.volume_mm3, a.mean_csa_mm2) == pytest.approx((b.volume_mm3, b.mean_csa_mm2))


def test_an_oblique_grid_measures_along_its_own_normal() -> None:
    straight = measure(_volume(_leaning_cord()))
    c, s = np.cos(np.radians(30)), np.sin(np.radians(30))
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) * SPACING
    matrix[:3, 3] = matrix[:3, :3] @ (0, 0, 10)  # the scanner's origin lies ten slices below slice 0
    tilted = measure(Volume.from_ijk(_leaning_cord(), matrix))
    assert tilted.slices.csa_mm2 == pytest.approx(straight.slices.csa_mm2, nan_ok=True)
    assert tilted.slices.z_mm.tolist() == pytest.approx([30 + 3.0 * k for k in range(12)])
    assert (None, "tilt") in _kinds(tilted)


def test_a_steep_cut_is_flagged() -> None:
    voxels = np.zeros((60, 40, 10), bool)
    for k in range(10):
        voxels[5 + 4 * k : 15 + 4 * k, 15:25, k] = True  # 4 mm sideways per 3 mm up: 53°
    kinds = {kind for _, kind in _kinds(measure(_volume(voxels, (1.0, 1.0, 3.0))))}
    assert kinds == {"tilt"}


# The shape of one slice.


STRAIGHT = (1.0, 1.0)


def _ellipse(a: int, b: int) -> np.ndarray:
    """Digital ellipse of (2a+1)×(2b+1) pixels in a margin of 4."""
    x, y = np.ogrid[-a - 4 : a + 5, -b - 4 : b + 5]
    return (x / (a + 0.5)) ** 2 + (y / (b + 0.5)) ** 2 <= 1


def test_digital_ellipses() -> None:
    small, large = _ellipse(13, 5), _ellipse(50, 30)
    assert np.count_nonzero(small) == 237 and math.pi * 13.5 * 5.5 == pytest.approx(237, rel=0.02)
    assert np.count_nonzero(large) == pytest.approx(4908, rel=0.03)
    shape = measure_shape(small, (0, 0), (1.0, 1.0), STRAIGHT)
    assert shape["rl_mm"] == pytest.approx(27, rel=5e-3)
    assert shape["ap_ellipse_mm"] == pytest.approx(11, rel=0.015)
    assert shape["ap_chord_mm"] == pytest.approx(11, rel=5e-3)
    assert shape["orientation_deg"] == pytest.approx(0, abs=1e-6)
    assert shape["eccentricity"] == pytest.approx(math.sqrt(1 - (11 / 27) ** 2), rel=5e-3)
    large_shape = measure_shape(large, (0, 0), (1.0, 1.0), STRAIGHT)
    assert (large_shape["rl_mm"], large_shape["ap_ellipse_mm"]) == pytest.approx((101, 61), rel=5e-3)
    deeper = measure_shape(small.T, (0, 0), (1.0, 1.0), STRAIGHT)  # than wide: the names stay
    assert (deeper["rl_mm"], deeper["ap_ellipse_mm"]) == pytest.approx((11, 27), rel=0.015)
    assert deeper["orientation_deg"] == pytest.approx(0, abs=1e-6)


def test_pixels_are_millimetres_on_both_axes() -> None:
    x, y = np.ogrid[-30:31, -30:31]
    shape = measure_shape((x * 0.4 / 6) ** 2 + (y * 0.25 / 4) ** 2 <= 1, (0, 0), (0.4, 0.25), STRAIGHT)
    assert (shape["rl_mm"], shape["ap_ellipse_mm"]) == pytest.approx((12, 8), rel=0.015)
    assert shape["csa_sct_mm2"] == pytest.approx(math.pi * 24, rel=0.02)
    chord = np.mean([8 * math.sqrt(1 - (u / 6) ** 2) for u in np.linspace(-1.5, 1.5, 31)])
    assert shape["ap_chord_mm"] == pytest.approx(chord, rel=0.02)


@pytest.mark.parametrize("turn_deg", [-40, 10, 40])
def test_orientation_follows_the_right_end_and_diameters_stay(turn_deg: float) -> None:
    x, y = np.meshgrid(np.arange(-40, 41) * 0.25, np.arange(-40, 41) * 0.25, indexing="ij")
    c, s = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))
    pixels = ((x * c + y * s) / 6.5) ** 2 + ((y * c - x * s) / 4) ** 2 <= 1
    shape = measure_shape(pixels, (0, 0), (0.25, 0.25), STRAIGHT)
    assert shape["orientation_deg"] == pytest.approx(turn_deg, abs=0.5)
    assert (shape["rl_mm"], shape["ap_ellipse_mm"]) == pytest.approx((13, 8), rel=0.01)


def test_solidity_of_an_l() -> None:
    pixels = np.ones((60, 60), bool)
    pixels[30:, 30:] = False  # area 3/4, hull 7/8
    shape = measure_shape(pixels, (0, 0), (0.1, 0.1), STRAIGHT)
    assert shape["solidity"] == pytest.approx(6 / 7, rel=0.01)


def test_shrinking_is_about_the_first_voxel_of_the_slice_whatever_the_crop() -> None:
    pixels = np.zeros((70, 60), bool)
    pixels[40:53, 30:38] = True
    whole = measure_shape(pixels, (0, 0), (0.7, 0.9), (0.93, 0.97))
    crop = measure_shape(pixels[40:53, 30:38], (40, 30), (0.7, 0.9), (0.93, 0.97))
    assert crop["rl_mm"] == pytest.approx(whole["rl_mm"]) and crop["solidity"] == pytest.approx(whole["solidity"])
    assert crop["ap_chord_mm"] == pytest.approx(whole["ap_chord_mm"], rel=1e-5)
    assert crop["csa_sct_mm2"] == pytest.approx(104 * 0.63 * 0.93 * 0.97, rel=0.02)


def test_nothing_and_next_to_nothing() -> None:
    assert measure_shape(np.zeros((5, 5), bool), (0, 0), (0.5, 0.7), STRAIGHT) == {}
    one = measure_shape(np.ones((1, 1), bool), (3, 4), (0.5, 0.7), STRAIGHT)
    assert one["csa_sct_mm2"] == pytest.approx(0.35) and one["rl_mm"] > 0 and one["solidity"] > 0
    lost = measure_shape(
        np.ones((1, 1), bool), (9, 9), (1.0, 1.0), (0.5, 0.5)
    )  # shrunk to every second pixel, 8 and 10
    assert lost == {"csa_sct_mm2": 0}


# The ruler along the cord: straight, leaning, with gaps; every number can be worked by hand. And its two fits.


def _rods(n=10, lean=0, gaps=()):
    """Rods of 6×4 pixels (9.6 mm²), moved ``lean`` pixels to the right per slice; z of slice k is 100 + 3k."""
    voxels = np.zeros((60, 30, n), bool)
    for k in range(n):
        if k not in gaps:
            voxels[10 + lean * k : 16 + lean * k, 10:14, k] = True
    matrix = np.diag([*SPACING, 1.0])
    matrix[:3, 3] = (-15, -12, 100)
    return Volume.from_ijk(voxels, matrix)


def test_a_straight_cord_is_as_long_as_its_slices_and_a_leaning_one_longer():
    line = centreline(_rods())
    assert line.arc_mm.tolist() == pytest.approx([1.5 + 3 * k for k in range(10)], abs=1e-6)
    assert line.end_mm == pytest.approx(30)
    assert line.ras_mm[4] == pytest.approx([-15 + 12.5 * 0.5, -12 + 11.5 * 0.8, 112], abs=1e-6)
    assert centreline(_rods(lean=4)).length_mm == pytest.approx(sqrt(13), rel=1e-6)  # 2 mm per 3 mm


def test_nearest_point_between_slices_and_beyond_the_ends():
    line = centreline(_rods())
    x, y, _ = line.ras_mm[0]
    assert line.nearest((x + 3, y + 4, 110)) == pytest.approx((11.5, 5), abs=1e-6)
    assert line.nearest((x, y, 92)) == pytest.approx((-6.5, 0), abs=1e-6)
    assert line.nearest((x, y, 140)) == pytest.approx((41.5, 0), abs=1e-6)
    assert line.point_at(11.5) == pytest.approx([x, y, 110], abs=1e-6)
    assert line.at_slice(-2) == pytest.approx([x, y, 94], abs=1e-6)
    assert line.at_slice(12) == pytest.approx([x, y, 136], abs=1e-6)


def test_one_slice_and_none():
    alone = centreline(_rods(n=1))
    x, y, _ = alone.ras_mm[0]
    assert alone.nearest((x, y + 2, 104)) == pytest.approx((5.5, 2))
    assert alone.at_slice(1) == pytest.approx([x, y, 103])
    empty = centreline(_rods(n=2, gaps=(0, 1)))
    assert (len(empty.arc_mm), empty.end_mm) == (0, 0)
    with pytest.raises(ValueError, match="without points"):
        empty.nearest((0, 0, 0))


def test_an_interval_counts_slices_by_their_part_inside():
    mask = _rods(gaps=(5,))
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


# Bands of areas: of discs whose edge, noise and contrast are known.


RADIUS_MM, PIXEL_MM = 5.0, (0.5, 0.5)


def band(edge_mm: float = 0.3, noise: float = 0.0, contrast: float = 100.0) -> float:
    """Of a disc whose log-odds fall by 1 in every ``edge_mm``, in an image of this noise and contrast."""
    at = (np.arange(64) - 31.5) * 0.5
    inside_mm = RADIUS_MM - np.hypot(at[:, None], at)
    grey = np.where(inside_mm > 0, 200.0, 200.0 - contrast) + np.random.default_rng(1).normal(0, noise, (64, 64))
    return Outline(inside_mm > 0, grey, PIXEL_MM).band_mm2(1 / (1 + np.exp(-inside_mm / edge_mm)), 0.5)


def test_a_wider_ramp_and_more_noise_widen_the_band() -> None:
    ramp_mm2 = 2 * np.pi * RADIUS_MM * 0.3  # what one unit of log-odds moves
    assert band() == pytest.approx(0.94 * ramp_mm2, rel=0.02)
    assert band(edge_mm=0.4) == pytest.approx(4 / 3 * band(), rel=0.04)
    noise_mm2 = 0.30 * 0.1 * np.pi * RADIUS_MM**2
    assert band(noise=10) == pytest.approx(np.hypot(band(), noise_mm2), rel=0.15)
    assert band(noise=10, contrast=20) > 1.5 * band(noise=10)
    assert np.isfinite(band(contrast=0))


def test_bands_of_a_mean() -> None:
    assert mean_band_mm2(np.array([4.0]), np.ones(1)) == 4
    many = mean_band_mm2(np.full(1000, 4.0), np.ones(1000))
    assert 2 < many < mean_band_mm2(np.full(4, 4.0), np.ones(4)) < 4  # what all slices have in common stays
    assert mean_band_mm2(np.array([4.0, np.nan]), np.array([1.0, 0.0])) == 4
    assert np.isnan(mean_band_mm2(np.array([4.0, np.nan]), np.ones(2)))
    assert np.isnan(mean_band_mm2(np.zeros(0), np.zeros(0)))
