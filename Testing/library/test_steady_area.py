"""Doubtful outlines follow the area of the slices around them: discs with edges of known width, and what must stay."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy import ndimage

from SpinalCordSegLib.errors import GeometryError
from SpinalCordSegLib.postprocessing import WIDE_EDGE_MM, _smoothed, adjust_outlines, find_cord
from SpinalCordSegLib.volume import Volume

SPACING_MM = (0.5, 0.6, 2.0)
SHARP, BLURRED = 0.1, 0.5  # scale of a logistic edge in mm; its width is five times that
RADIUS_MM = 4.5


def stack(radii: list[float], scales: list[float], slice_mm: float = SPACING_MM[2]) -> Volume:
    """A disc in every slice; log-odds fall by one per ``scale`` mm outwards."""
    x, y = ((np.arange(n) + 0.5 - n / 2) * mm for n, mm in zip((50, 44), SPACING_MM, strict=False))
    off = np.hypot(x[:, None] - 1, y[None, :] + 0.5)[:, :, None]
    voxels = 1 / (1 + np.exp(np.clip((off - np.array(radii)) / np.array(scales), -60, 60)))
    return Volume.from_ijk(voxels.astype(np.float32), np.diag([*SPACING_MM[:2], slice_mm, 1.0]))


def cord(probability: Volume, threshold: float = 0.5) -> Volume:
    return probability.with_ijk(probability.ijk >= threshold)


def area_mm2(mask: Volume) -> np.ndarray:
    return mask.ijk.sum(axis=(0, 1)) * np.prod(mask.ijk_spacing_mm[:2])


def swollen(first: int = 6, end: int = 11, count: int = 18) -> tuple[list[float], list[float]]:
    """A run of slices whose contour of one half lies 1 mm too far out, on an edge that is not seen."""
    inside = [first <= k < end for k in range(count)]
    return [RADIUS_MM + bad for bad in inside], [BLURRED if bad else SHARP for bad in inside]


def test_a_run_of_doubtful_slices_takes_the_area_of_those_around_it() -> None:
    probability = stack(*swollen())
    mask, true = cord(probability), np.pi * RADIUS_MM**2
    assert area_mm2(mask)[6:11].min() > 1.4 * true
    found = adjust_outlines(mask, probability)
    assert area_mm2(found.mask) == pytest.approx(true, rel=0.04)
    assert [one.canonical_slice for one in found.slices] == [6, 7, 8, 9, 10]
    assert [k for k, edge in enumerate(found.edges_mm) if edge > WIDE_EDGE_MM] == [6, 7, 8, 9, 10]
    one = found.slices[2]
    assert one.before_mm2 == area_mm2(mask)[8] and one.after_mm2 == area_mm2(found.mask)[8]
    assert one.edge_mm == pytest.approx(5 * BLURRED, abs=0.2) and one.log_odds == pytest.approx(1 / BLURRED, abs=0.4)


def test_what_is_too_small_grows() -> None:
    radii, scales = swollen()
    found = adjust_outlines(cord(p := stack([2 * RADIUS_MM - r for r in radii], scales)), p)
    assert area_mm2(found.mask) == pytest.approx(np.pi * RADIUS_MM**2, rel=0.05)
    assert all(one.log_odds < 0 for one in found.slices)


def test_slices_with_a_sharp_edge_stay_bit_for_bit_however_their_areas_differ() -> None:
    radii = [RADIUS_MM] * 8 + [0.7 * RADIUS_MM] * 2 + [RADIUS_MM] * 8  # a compressed cord, well seen
    probability = stack(radii, [SHARP] * 18)
    mask = cord(probability)
    found = adjust_outlines(mask, probability)
    assert found.mask is mask and found.edges_mm == pytest.approx([5 * SHARP] * 18, abs=0.2)
    radii[3], scales = RADIUS_MM + 1, [SHARP] * 18
    scales[3] = BLURRED
    probability = stack(radii, scales)
    found = adjust_outlines(cord(probability), probability)
    others = np.arange(18) != 3
    assert [one.canonical_slice for one in found.slices] == [3]
    assert np.array_equal(found.mask.ijk[:, :, others], cord(probability).ijk[:, :, others])
    assert np.array_equal(found.probability.ijk[:, :, others], probability.ijk[:, :, others])


def test_an_image_without_one_sharp_edge_keeps_its_mean_area() -> None:
    radii = list(RADIUS_MM + 0.3 * np.sin(np.arange(30)))
    probability = stack(radii, [0.35] * 30)
    before, after = area_mm2(cord(probability)), area_mm2(adjust_outlines(cord(probability), probability).mask)
    assert after.mean() == pytest.approx(before.mean(), rel=0.01)
    assert after.std() < 0.5 * before.std()


def test_a_narrow_place_that_is_half_seen_is_met_half_way() -> None:
    """Not smoothed away: a moderate doubt weighs against the neighbours."""
    narrow = [RADIUS_MM * (0.8 if 8 <= k < 13 else 1.0) for k in range(20)]
    probability = stack(narrow, [0.22 if r < RADIUS_MM else SHARP for r in narrow])
    found = area_mm2(adjust_outlines(cord(probability), probability).mask)[10]
    assert np.pi * (0.8 * RADIUS_MM) ** 2 <= found < 0.85 * np.pi * RADIUS_MM**2


def test_the_threshold_still_bounds_the_cord() -> None:
    for threshold in (0.3, 0.5, 0.8):
        probability = stack(*swollen())
        found = adjust_outlines(cord(probability, threshold), probability, threshold)
        inside = found.probability.ijk >= threshold - 1e-6
        assert np.count_nonzero(inside != found.mask.ijk) <= 4
        assert area_mm2(found.mask)[6:11] == pytest.approx(area_mm2(found.mask)[3], rel=0.08)


def test_what_was_not_computed_stays_zero_and_what_is_certain_stays_one() -> None:
    probability = stack(*swollen())
    probability.ijk[:5] = 0
    probability.ijk[27, 20] = 1
    found = adjust_outlines(cord(probability), probability).probability.ijk
    assert not found[:5].any() and (found[27, 20] == 1).all()
    assert found.min() >= 0 and found.max() <= 1 and found.dtype == np.float32


def test_a_structure_beyond_the_edge_is_never_reached() -> None:
    radii, scales = swollen()
    probability = stack([2 * RADIUS_MM - r for r in radii], scales)
    mask = cord(probability)
    probability.ijk[:3] = 0.9  # muscle, 7 mm off
    found = adjust_outlines(mask, probability)
    assert not found.mask.ijk[:12].any()


def test_a_slice_that_falls_apart_inside_every_contour_is_left() -> None:
    """Stripes, as a ghost leaves them: one of them is not the cord."""
    probability = stack(*swollen())
    for k in range(6, 11):
        plane = probability.ijk[:, :, k]
        plane[...] = np.minimum(plane, 0.52)
        inside = plane >= 0.5
        inside[::4] = False
        plane[inside] = 0.7
    mask = cord(probability)
    found = adjust_outlines(mask, probability)
    assert np.array_equal(found.mask.ijk[:, :, 6:11], mask.ijk[:, :, 6:11])


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1), (1, -1, -1)])
def test_any_storage_order_gives_the_same(order: tuple[int, int, int], flips: tuple[int, int, int]) -> None:
    straight = stack(*swollen())
    expected = adjust_outlines(cord(straight), straight)
    matrix = np.eye(4)
    for axis, (role, sign) in enumerate(zip(order, flips, strict=True)):
        matrix[:, axis] = 0
        matrix[role, axis] = sign * SPACING_MM[role]
    shape = tuple(straight.ijk_shape[role] for role in order)
    like = Volume.from_ijk(np.zeros(shape, np.float32), matrix)
    stored = like.with_voxels(straight.voxels)
    found = adjust_outlines(cord(stored), stored)
    assert np.array_equal(found.mask.voxels, expected.mask.voxels)
    assert np.array_equal(found.probability.voxels, expected.probability.voxels)
    assert found.slices == expected.slices


def test_the_input_changes_only_where_that_was_asked_for() -> None:
    probability = stack(*swollen())
    mask, before = cord(probability), probability.ijk.copy()
    expected = adjust_outlines(mask, probability)
    assert np.array_equal(probability.ijk, before) and np.array_equal(mask.ijk, before >= 0.5)
    found = adjust_outlines(mask, probability, in_place=True)
    assert found.mask is mask and found.probability is probability
    assert np.array_equal(mask.ijk, expected.mask.ijk)
    assert np.array_equal(probability.ijk, expected.probability.ijk)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_without_neighbours_nothing_moves(count: int) -> None:
    probability = stack([RADIUS_MM] * 6, [BLURRED] * 6)
    probability.ijk[:, :, count:] = 0
    mask = cord(probability)
    found = adjust_outlines(mask, probability)
    assert found.mask is mask and found.probability is probability and found.slices == ()


def test_a_gap_is_no_slice_and_stays_one() -> None:
    radii, scales = swollen()
    probability = stack(radii, scales)
    probability.ijk[:, :, 12:14] = 0
    found = adjust_outlines(cord(probability), probability)
    assert not found.mask.ijk[:, :, 12:14].any()
    assert area_mm2(found.mask)[6:11] == pytest.approx(np.pi * RADIUS_MM**2, rel=0.04)


def test_other_grids_are_refused() -> None:
    probability = stack(*swollen())
    other = Volume.from_ijk(probability.ijk[1:] >= 0.5, probability.ijk_to_ras)
    with pytest.raises(GeometryError, match="another grid"):
        adjust_outlines(other, probability)


def test_the_series_is_the_least_squares_solution() -> None:
    rng = np.random.default_rng(5)
    log_area, z_mm = np.log(rng.uniform(50, 90, 12)), np.cumsum(rng.uniform(1, 4, 12))
    edge_mm = rng.uniform(0.5, 3, 12)
    doubt = 0.02 + np.maximum(0, edge_mm - 0.7) ** 2
    steps = np.diff(np.eye(12), axis=0) / np.sqrt(0.0006 * np.diff(z_mm))[:, None]
    matrix = np.vstack([np.diag(1 / doubt), steps])
    expected = np.linalg.lstsq(matrix, np.concatenate([log_area / doubt, np.zeros(11)]), rcond=None)[0]
    assert _smoothed(log_area, edge_mm, z_mm) == pytest.approx(expected, abs=1e-9)
    assert (doubt[edge_mm < WIDE_EDGE_MM] < 0.12).all()


def test_a_contour_with_none_of_the_cord_inside_empties_no_slice() -> None:
    """The cord has grown together with something unsure, and something surer of half the size lies just beside it."""
    rows, columns = np.mgrid[:100, :100]
    round_cord = 1 / (1 + np.exp(np.clip((np.hypot(columns - 50, rows - 50) - 5) / 0.15, -50, 50)))
    grown = (abs(columns - 58) <= 15) & (abs(rows - 50) <= 7)
    surer = (abs(columns - 58) <= 14) & (abs(rows - 63) <= 3)
    around = ndimage.binary_dilation(grown | surer, iterations=3)
    stack = np.repeat(round_cord[np.newaxis], 21, axis=0)
    stack[10] = np.maximum.reduce([np.where(grown, 0.62, 0), np.where(surer, 0.97, 0), np.where(around, 0.2, 1e-5)])
    like = Volume.from_ijk(np.zeros((100, 100, 21), np.float32), np.diag([1, 1, 5, 1]))
    probability = like.with_voxels(stack.astype(np.float32))
    cord = find_cord(probability)
    steady = adjust_outlines(cord.mask, probability)
    assert all(pixels.any() for pixels in steady.mask.voxels)
    assert all(one.after_mm2 > 0 for one in steady.slices)
