"""Cases with known answers (published ones, and shapes worked by hand) and the stated answers for odd masks."""

from dataclasses import replace
from itertools import permutations, product
from math import isnan, nan, pi, radians, sqrt, tan
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from SpinalCordSegLib.image_io import read_labels
from SpinalCordSegLib.morphometry import CordMeasures, mean_csa, measure
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.postprocessing import clean
from SpinalCordSegLib.slice_table import SliceTable, columns
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


def _stored(canonical: np.ndarray, matrix: np.ndarray, order: tuple[int, ...], flips: tuple[bool, ...]) -> Volume:
    stored = canonical.transpose(order)
    placed = matrix[:, [*order, 3]].copy()
    for axis, flip in enumerate(flips):
        if flip:
            placed[:3, 3] += placed[:3, axis] * (stored.shape[axis] - 1)
            placed[:3, axis] *= -1
    return Volume.from_ijk(np.flip(stored, [a for a, flip in enumerate(flips) if flip]), placed)


def test_all_48_orientations_give_the_same_numbers() -> None:
    c, s = np.cos(np.radians(20)), np.sin(np.radians(20))
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) * SPACING
    matrix[:3, 3] = (11.0, -35.0, 60.0)
    voxels = _leaning_cord()
    reference = measure(Volume.from_ijk(voxels, matrix))
    assert (None, "tilt") in _kinds(reference)
    for order, flips in product(permutations(range(3)), product((False, True), repeat=3)):
        stored = _stored(voxels, matrix, order, flips)
        measures = measure(stored)
        _assert_same(measures, reference)
        last = voxels.shape[2] - 1
        flipped = flips[order.index(2)]
        assert measures.slices.slice.tolist() == [last - k if flipped else k for k in range(voxels.shape[2])]


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
