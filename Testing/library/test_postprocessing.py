"""From probability to mask: the path among what usually distracts, smoothing, outlines without an edge, cleaning."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from SpinalCordSegLib.errors import ConfigurationError, GeometryError
from SpinalCordSegLib.postprocessing import (
    WIDE_EDGE_MM,
    _smoothed,
    adjust_outlines,
    clean,
    find_cord,
    smooth_z,
    smoothing_reach,
)
from SpinalCordSegLib.volume import Volume

STACK_MM = (0.8, 0.6, 2.5)
STACK = (110, 130, 24)  # 88 × 78 × 60 mm


class Stack:
    """Probabilities in canonical axes: x right, y anterior, z superior, mm from the middle of the field of view."""

    def __init__(self, shape: tuple[int, int, int] = STACK, spacing_mm: tuple[float, float, float] = STACK_MM) -> None:
        self.spacing_mm = spacing_mm
        self.probability = np.full(shape, 0.01, np.float32)
        axes = [(np.arange(n) + 0.5 - n / 2) * mm for n, mm in zip(shape[:2], STACK_MM[:2], strict=True)]
        self.x, self.y = np.meshgrid(*axes, indexing="ij")

    def ellipse(self, k: int, x: float, y: float, rx: float = 6.0, ry: float = 4.0, p: float = 0.95) -> np.ndarray:
        """Draw one; gives its pixels as a mask of the whole stack."""
        inside = ((self.x - x) / rx) ** 2 + ((self.y - y) / ry) ** 2 <= 1
        self.probability[:, :, k][inside] = p
        drawn = np.zeros(self.probability.shape, bool)
        drawn[:, :, k] = inside
        return drawn

    def tube(self, slices: range, x: float = 0, y: float = 0, tilt: float = 0, **form: float) -> np.ndarray:
        """An ellipse in every slice, going ``tilt`` mm towards anterior per mm up."""
        drawn = np.zeros(self.probability.shape, bool)
        for k in slices:
            drawn |= self.ellipse(k, x, y + tilt * (k - self.probability.shape[2] / 2) * self.spacing_mm[2], **form)
        return drawn

    @property
    def volume(self) -> Volume:
        return Volume.from_ijk(self.probability, np.diag([*self.spacing_mm, 1.0]))


def check(stack: Stack, cord: np.ndarray, removed: np.ndarray | None = None) -> None:
    found = find_cord(stack.volume)
    assert np.array_equal(found.mask.ijk, cord)
    n_removed = 0 if removed is None else int((removed & ~cord).sum())
    assert found.removed_mm3 == pytest.approx(n_removed * 0.8 * 0.6 * 2.5)
    assert bool(found.flags) == bool(n_removed)


def test_a_muscle_is_larger_yet_not_chosen() -> None:
    stack = Stack()
    cord = stack.tube(range(3, 22))
    muscle = stack.tube(range(24), x=22, y=-20, rx=14, ry=7)
    assert muscle.sum() > 3 * cord.sum()
    check(stack, cord, muscle)


def test_vessels_as_long_and_round_as_the_cord_lie_too_far_out() -> None:
    stack = Stack()
    cord = stack.tube(range(24), y=-5, rx=6, ry=4)
    vessels = stack.tube(range(24), x=28, y=12, rx=4, ry=4) | stack.tube(range(24), x=-28, y=12, rx=4, ry=4)
    check(stack, cord, vessels)


def test_specks_in_the_cords_own_slices_go() -> None:
    stack = Stack()
    cord = stack.tube(range(24))
    specks = stack.ellipse(5, 14, 3, 1, 1) | stack.ellipse(9, -12, 10, 2, 2) | stack.ellipse(9, 0, 14, 2, 2)
    check(stack, cord, specks)


def test_pieces_across_missing_slices_are_one_cord() -> None:
    stack = Stack()
    cord = stack.tube(range(9), tilt=0.3) | stack.tube(range(13, 24), tilt=0.3)  # 10 mm missing
    check(stack, cord)


def test_pieces_far_apart_are_not() -> None:
    stack = Stack()
    cord, other = stack.tube(range(10, 24)), stack.tube(range(3))  # 17.5 mm missing
    check(stack, cord, other)


def test_a_piece_beyond_a_gap_must_lie_where_the_cord_was_heading() -> None:
    stack = Stack()
    cord, stray = stack.tube(range(8, 24), tilt=0.4), stack.tube(range(5), y=2, x=3)
    check(stack, cord, stray)  # the cord would be 12 mm further back here


def test_a_slice_grown_together_with_a_neighbour_stays_in() -> None:
    stack = Stack()
    cord = stack.tube(range(24))
    bridge = stack.ellipse(11, 10, 0, 9, 4)
    found = find_cord(stack.volume)
    assert np.array_equal(found.mask.ijk, cord | bridge)


def test_a_brainstem_above_is_left_off_where_it_is_too_wide() -> None:
    stack = Stack()
    cord = stack.tube(range(14))
    for k in range(14, 24):
        cord |= stack.ellipse(k, 0, 0, 6 + 1.5 * (k - 13), 4 + 1.2 * (k - 13))
    mask = find_cord(stack.volume).mask.ijk
    areas = mask.sum(axis=(0, 1)) * 0.8 * 0.6
    assert (areas[:14] > 70).all()
    assert areas.max() < 300 and not areas[20:].any()


def test_one_component_in_every_slice() -> None:
    stack = Stack()
    stack.tube(range(24), x=-3.5, rx=3, ry=4)
    stack.tube(range(24), x=3.5, rx=2.8, ry=4)
    assert find_cord(stack.volume).mask.ijk.any(axis=1).sum() <= 24 * 9


def test_nothing_above_the_threshold_is_an_answer() -> None:
    found = find_cord(Stack().volume)
    assert not found.mask.ijk.any() and found.mask.ijk.dtype == bool
    assert found.removed_mm3 == 0 and [flag.kind for flag in found.flags] == ["empty"]


def test_nothing_like_a_cord_is_an_answer_too() -> None:
    stack = Stack()
    whole = stack.tube(range(24), rx=30, ry=30)
    check(stack, np.zeros_like(whole), whole)


def test_a_blob_of_one_slice_in_a_long_volume_is_no_cord() -> None:
    stack = Stack()
    blob = stack.ellipse(12, 0, 0)
    check(stack, np.zeros_like(blob), blob)


def test_one_slice_volume_and_few_computed_slices() -> None:
    stack = Stack((110, 130, 1))
    cord = stack.ellipse(0, 2, 3)
    assert np.array_equal(find_cord(stack.volume).mask.ijk, cord)
    stack = Stack()
    stack.probability[:] = 0  # as predict leaves what it was not asked for
    cord = stack.ellipse(12, 0, 0)
    assert np.array_equal(find_cord(stack.volume).mask.ijk, cord)


def test_threshold_is_inclusive_and_moves_the_edge() -> None:
    stack = Stack()
    wide, narrow = stack.tube(range(24), rx=7, ry=5, p=0.5), stack.tube(range(24), rx=5, ry=3.5, p=0.9)
    assert np.array_equal(find_cord(stack.volume).mask.ijk, wide)
    assert np.array_equal(find_cord(stack.volume, 0.7).mask.ijk, narrow)


@pytest.mark.parametrize("threshold", [0.0, 1.0, float("nan")])
def test_an_impossible_threshold_is_refused(threshold: float) -> None:
    with pytest.raises(ConfigurationError):
        find_cord(Stack().volume, threshold)


@pytest.mark.parametrize("upside_down", [False, True])
def test_scraps_beyond_a_collapse_are_no_cord(upside_down: bool) -> None:
    """As above the foramen magnum: the area tapers (slice 15), collapses (16, 17), and scraps go on."""
    stack = Stack()
    at = (lambda k: 23 - k) if upside_down else (lambda k: k)
    cord = np.zeros(STACK, bool)
    for k in range(15):
        cord |= stack.ellipse(at(k), 0, 0)
    scraps = stack.ellipse(at(15), 0, 0, rx=4.2, ry=2.9)
    scraps |= stack.ellipse(at(16), 0, 0, rx=1.8, ry=1.2) | stack.ellipse(at(17), 0, 0, rx=1.8, ry=1.2)
    for k in (18, 19, 20):
        scraps |= stack.ellipse(at(k), 0, 0, rx=3.6, ry=2.6)
    check(stack, cord, scraps)


def test_a_cord_that_goes_on_beyond_a_poor_slice_is_kept() -> None:
    stack = Stack()
    cord = stack.tube(range(15)) | stack.tube(range(16, 24))
    check(stack, cord | stack.ellipse(15, 0, 0, rx=1.8, ry=1.2))


@pytest.mark.parametrize(
    "fading",
    [(0.78, 0.7, 0.65, 0.6), (0.84, 0.83, 0.82, 0.6)],
    ids=["unsure", "sure, but less than of the cord below"],
)
def test_an_upper_end_that_fades_inside_the_image_is_cut_where_the_network_was_last_sure(
    fading: tuple[float, ...],
) -> None:
    stack = Stack()
    cord = stack.tube(range(2, 16))
    for k, p in zip(range(16, 20), fading, strict=True):
        stack.ellipse(k, 0, 0, p=p)
    found = find_cord(stack.volume)
    assert np.array_equal(found.mask.ijk, cord)
    assert found.removed_mm3 > 0
    assert [flag.kind for flag in found.flags] == ["cord_end"]  # cord or medulla, not something apart
    assert "4 slices" in found.flags[0].message
    stack.ellipse(5, 20, 20, rx=2, ry=2)
    assert [flag.kind for flag in find_cord(stack.volume).flags] == ["cord_end", "cleaned"]


def test_a_cord_that_ends_where_the_image_is_empty_leaves_it() -> None:
    """Slices of exactly 0 were padded: what fades there is the image."""
    stack = Stack()
    cord = stack.tube(range(2, 18))
    cord |= stack.ellipse(18, 0, 0, p=0.7)
    stack.probability[:, :, 19:] = 0
    assert np.array_equal(find_cord(stack.volume).mask.ijk, cord)


def test_unsure_slices_at_the_edge_of_the_image_below_or_over_a_long_stretch_stay() -> None:
    for unsure in (range(20, 24), range(2, 6), range(10, 20)):  # leaves the image, lower end, 25 mm of a poor image
        stack = Stack()
        cord = stack.tube(range(2, max(20, unsure.stop)))
        for k in unsure:
            stack.ellipse(k, 0, 0, p=0.7)
        assert np.array_equal(find_cord(stack.volume).mask.ijk, cord), unsure


def column(values: list[float], slice_mm: float) -> Volume:
    """One value a slice in the middle 2 × 2 pixels of 4 × 4."""
    voxels = np.zeros((4, 4, len(values)), np.float32)
    voxels[1:3, 1:3] = values
    return Volume.from_ijk(voxels, np.diag([0.7, 0.9, slice_mm, 1.0]))


def test_weights_are_gaussian_and_sum_to_one() -> None:
    nothing = 1e-9  # exactly 0 is no image
    found = smooth_z(column([nothing] * 4 + [1] + [nothing] * 4, 1.0), sigma_mm=1.5).ijk[1, 1]
    expected = np.exp(-0.5 * (np.arange(-4, 5) / 1.5) ** 2) * (np.abs(np.arange(-4, 5)) <= 3)
    assert found == pytest.approx(expected / expected.sum(), abs=1e-6)


@pytest.mark.parametrize("in_place", [False, True])
def test_slices_without_an_image_at_the_ends_are_no_neighbours(in_place: bool) -> None:
    """As padding leaves them, or a coil that ends: the cord beside them is as sure as before."""
    values = [0.7, 0.9, 0.8, 0.6, 0.9]
    alone = smooth_z(column(values, 1.0)).ijk
    padded = smooth_z(column([0, 0, *values, 0, 0, 0], 1.0), in_place=in_place).ijk
    assert np.array_equal(padded[:, :, 2:-3], alone) and not padded[:, :, [0, 1, -3, -2, -1]].any()


@pytest.mark.parametrize(("slice_mm", "sigma_mm"), [(3.3, 1.6), (1.0, 0.0)])
def test_thick_slices_and_none_asked_are_left_as_they_are(slice_mm: float, sigma_mm: float) -> None:
    volume = column([0, 1, 0, 1, 0], slice_mm)
    assert smooth_z(volume, sigma_mm) is volume
    assert smoothing_reach(sigma_mm, slice_mm) == 0


@pytest.mark.parametrize("n_slices", [2, 3, 9])
def test_in_place_gives_the_same_without_a_copy(n_slices: int) -> None:
    voxels = np.random.default_rng(2).random((4, 5, n_slices), dtype=np.float32)
    volume = Volume.from_ijk(voxels, np.diag([0.7, 0.9, 1.0, 1.0]))
    expected = smooth_z(volume).ijk
    found = smooth_z(volume, in_place=True)
    assert found is volume
    assert np.array_equal(found.ijk, expected)


@pytest.mark.parametrize("order", [(2, 0, 1), (1, 2, 0)])
def test_any_storage_order(order: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(1)
    straight = Volume.from_ijk(rng.random((5, 6, 9), dtype=np.float32), np.diag([0.7, 0.9, 1.2, 1.0]))
    matrix = straight.ijk_to_ras.copy()
    matrix[:, :3] = matrix[:, list(order)]
    stored = Volume.from_ijk(np.ascontiguousarray(straight.ijk.transpose(order)), matrix)
    found = smooth_z(stored)
    assert np.allclose(found.voxel_to_ras, stored.voxel_to_ras, atol=1e-4)
    assert found.voxels == pytest.approx(smooth_z(straight).voxels, abs=1e-6)


@pytest.mark.parametrize("sigma_mm", [-1.0, float("nan"), float("inf")])
def test_impossible_lengths(sigma_mm: float) -> None:
    with pytest.raises(ConfigurationError, match="0 \\(off\\) or a length"):
        smooth_z(column([1, 1], 1.0), sigma_mm)


DISC_MM = (0.5, 0.6, 2.0)
SHARP, BLURRED = 0.1, 0.5  # scale of a logistic edge in mm; its width is five times that
RADIUS_MM = 4.5


def discs(radii: list[float], scales: list[float], slice_mm: float = DISC_MM[2]) -> Volume:
    """A disc in every slice; log-odds fall by one per ``scale`` mm outwards."""
    x, y = ((np.arange(n) + 0.5 - n / 2) * mm for n, mm in zip((50, 44), DISC_MM, strict=False))
    off = np.hypot(x[:, None] - 1, y[None, :] + 0.5)[:, :, None]
    voxels = 1 / (1 + np.exp(np.clip((off - np.array(radii)) / np.array(scales), -60, 60)))
    return Volume.from_ijk(voxels.astype(np.float32), np.diag([*DISC_MM[:2], slice_mm, 1.0]))


def above(probability: Volume, threshold: float = 0.5) -> Volume:
    return probability.with_ijk(probability.ijk >= threshold)


def area_mm2(mask: Volume) -> np.ndarray:
    return mask.ijk.sum(axis=(0, 1)) * np.prod(mask.ijk_spacing_mm[:2])


def swollen(first: int = 6, end: int = 11, count: int = 18) -> tuple[list[float], list[float]]:
    """A run of slices whose contour of one half lies 1 mm too far out, on an edge that is not seen."""
    inside = [first <= k < end for k in range(count)]
    return [RADIUS_MM + bad for bad in inside], [BLURRED if bad else SHARP for bad in inside]


def test_a_run_of_doubtful_slices_takes_the_area_of_those_around_it() -> None:
    probability = discs(*swollen())
    mask, true = above(probability), np.pi * RADIUS_MM**2
    assert area_mm2(mask)[6:11].min() > 1.4 * true
    found = adjust_outlines(mask, probability)
    assert area_mm2(found.mask) == pytest.approx(true, rel=0.04)
    assert [one.canonical_slice for one in found.slices] == [6, 7, 8, 9, 10]
    assert [k for k, edge in enumerate(found.edges_mm) if edge > WIDE_EDGE_MM] == [6, 7, 8, 9, 10]
    one = found.slices[2]
    assert one.before_mm2 == area_mm2(mask)[8] and one.after_mm2 == area_mm2(found.mask)[8]
    assert one.edge_mm == pytest.approx(5 * BLURRED, abs=0.2) and one.log_odds == pytest.approx(1 / BLURRED, abs=0.4)


def test_slices_with_a_sharp_edge_stay_bit_for_bit_however_their_areas_differ() -> None:
    radii = [RADIUS_MM] * 8 + [0.7 * RADIUS_MM] * 2 + [RADIUS_MM] * 8  # a compressed cord, well seen
    probability = discs(radii, [SHARP] * 18)
    mask = above(probability)
    found = adjust_outlines(mask, probability)
    assert found.mask is mask and found.edges_mm == pytest.approx([5 * SHARP] * 18, abs=0.2)
    radii[3], scales = RADIUS_MM + 1, [SHARP] * 18
    scales[3] = BLURRED
    probability = discs(radii, scales)
    found = adjust_outlines(above(probability), probability)
    others = np.arange(18) != 3
    assert [one.canonical_slice for one in found.slices] == [3]
    assert np.array_equal(found.mask.ijk[:, :, others], above(probability).ijk[:, :, others])
    assert np.array_equal(found.probability.ijk[:, :, others], probability.ijk[:, :, others])


def test_an_image_without_one_sharp_edge_keeps_its_mean_area() -> None:
    radii = list(RADIUS_MM + 0.3 * np.sin(np.arange(30)))
    probability = discs(radii, [0.35] * 30)
    before, after = area_mm2(above(probability)), area_mm2(adjust_outlines(above(probability), probability).mask)
    assert after.mean() == pytest.approx(before.mean(), rel=0.01)
    assert after.std() < 0.5 * before.std()


def test_the_threshold_still_bounds_the_cord() -> None:
    for threshold in (0.3, 0.5, 0.8):
        probability = discs(*swollen())
        found = adjust_outlines(above(probability, threshold), probability, threshold)
        inside = found.probability.ijk >= threshold - 1e-6
        assert np.count_nonzero(inside != found.mask.ijk) <= 4
        assert area_mm2(found.mask)[6:11] == pytest.approx(area_mm2(found.mask)[3], rel=0.08)


def test_a_slice_that_falls_apart_inside_every_contour_is_left() -> None:
    """Stripes, as a ghost leaves them: one of them is not the cord."""
    probability = discs(*swollen())
    for k in range(6, 11):
        plane = probability.ijk[:, :, k]
        plane[...] = np.minimum(plane, 0.52)
        inside = plane >= 0.5
        inside[::4] = False
        plane[inside] = 0.7
    mask = above(probability)
    found = adjust_outlines(mask, probability)
    assert np.array_equal(found.mask.ijk[:, :, 6:11], mask.ijk[:, :, 6:11])


@pytest.mark.parametrize(
    ("order", "flips"), [((2, 0, 1), (1, 1, 1)), ((1, 2, 0), (-1, 1, -1)), ((0, 2, 1), (1, -1, -1))]
)
def test_any_storage_order_gives_the_same(order: tuple[int, int, int], flips: tuple[int, int, int]) -> None:
    straight = discs(*swollen())
    expected = adjust_outlines(above(straight), straight)
    matrix = np.eye(4)
    for axis, (role, sign) in enumerate(zip(order, flips, strict=True)):
        matrix[:, axis] = 0
        matrix[role, axis] = sign * DISC_MM[role]
    shape = tuple(straight.ijk_shape[role] for role in order)
    like = Volume.from_ijk(np.zeros(shape, np.float32), matrix)
    stored = like.with_voxels(straight.voxels)
    found = adjust_outlines(above(stored), stored)
    assert np.array_equal(found.mask.voxels, expected.mask.voxels)
    assert np.array_equal(found.probability.voxels, expected.probability.voxels)
    assert found.slices == expected.slices


def test_the_input_changes_only_where_that_was_asked_for() -> None:
    probability = discs(*swollen())
    mask, before = above(probability), probability.ijk.copy()
    expected = adjust_outlines(mask, probability)
    assert np.array_equal(probability.ijk, before) and np.array_equal(mask.ijk, before >= 0.5)
    found = adjust_outlines(mask, probability, in_place=True)
    assert found.mask is mask and found.probability is probability
    assert np.array_equal(mask.ijk, expected.mask.ijk)
    assert np.array_equal(probability.ijk, expected.probability.ijk)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_without_neighbours_nothing_moves(count: int) -> None:
    probability = discs([RADIUS_MM] * 6, [BLURRED] * 6)
    probability.ijk[:, :, count:] = 0
    mask = above(probability)
    found = adjust_outlines(mask, probability)
    assert found.mask is mask and found.probability is probability and found.slices == ()


def test_a_gap_is_no_slice_and_stays_one() -> None:
    radii, scales = swollen()
    probability = discs(radii, scales)
    probability.ijk[:, :, 12:14] = 0
    found = adjust_outlines(above(probability), probability)
    assert not found.mask.ijk[:, :, 12:14].any()
    assert area_mm2(found.mask)[6:11] == pytest.approx(np.pi * RADIUS_MM**2, rel=0.04)


def test_other_grids_are_refused() -> None:
    probability = discs(*swollen())
    other = Volume.from_ijk(probability.ijk >= 0.5, probability.ijk_to_ras @ np.diag([1, 1, 1.3, 1]))
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


ROD_MM = (0.5, 0.8, 3.0)
VOXEL_MM3 = 0.5 * 0.8 * 3.0


def volume(voxels: np.ndarray) -> Volume:
    return Volume.from_ijk(voxels, np.diag([*ROD_MM, 1.0]))


def rod(n: int = 20) -> np.ndarray:
    """A square rod of 10×10 voxels (5×8 mm) along z."""
    voxels = np.zeros((60, 50, n), bool)
    voxels[25:35, 20:30] = True
    return voxels


def test_a_clean_mask_stays_as_it_is_and_zero_one_labels_do() -> None:
    result = clean(volume(rod().astype(np.uint8)))
    assert result.mask.ijk.dtype == bool
    assert np.array_equal(result.mask.ijk, rod())
    assert result.removed_mm3 == result.filled_mm3 == 0
    assert result.flags == ()


def test_an_empty_mask_stays_empty() -> None:
    result = clean(volume(np.zeros((6, 7, 8), bool)))
    assert not result.mask.ijk.any() and result.removed_mm3 == 0


def test_a_stray_piece_in_a_slice_is_removed_and_counted() -> None:
    voxels = rod()
    voxels[40:43, 40:43, 7] = True  # nine stray pixels, as in the Spinal Cord Toolbox's bad case
    result = clean(volume(voxels))
    assert np.array_equal(result.mask.ijk, rod())
    assert result.removed_mm3 == pytest.approx(9 * VOXEL_MM3)
    assert [(flag.canonical_slice, flag.kind) for flag in result.flags] == [(7, "cleaned"), (None, "cleaned")]


def test_a_hole_is_filled_and_counted_but_a_bay_is_not() -> None:
    voxels = rod()
    voxels[28:30, 24:26, 5] = False  # a dark lesion
    voxels[25:27, 24:26, 6] = False  # a dent in the outline
    result = clean(volume(voxels))
    assert result.filled_mm3 == pytest.approx(4 * VOXEL_MM3)
    assert result.mask.voxels[28:30, 24:26, 5].all() and not result.mask.voxels[25:27, 24:26, 6].any()


def test_cord_beyond_empty_slices_is_kept_where_it_continues_the_cord() -> None:
    voxels = rod(30)
    for k in range(30):  # a cord that leans by 0.5 mm per slice
        voxels[:, :, k] = np.roll(rod(1)[:, :, 0], k - 15, axis=0)
    voxels[:, :, [9, 16, 17]] = False
    result = clean(volume(voxels))
    assert np.array_equal(result.mask.ijk, voxels) and result.removed_mm3 == 0


@pytest.mark.parametrize(
    ("what", "box"),
    [
        ("off the line", (slice(45, 55), slice(20, 30), slice(17, 20))),
        ("a speck on the line", (slice(29, 32), slice(24, 27), slice(17, 20))),
        ("far too large", (slice(18, 41), slice(15, 35), slice(17, 19))),
        ("no empty slice between", (slice(40, 50), slice(20, 30), slice(15, 20))),
        ("further than a vertebra", (slice(25, 35), slice(20, 30), slice(24, 30))),
    ],
)
def test_other_pieces_beyond_the_cord_are_removed(what: str, box: tuple[slice, ...]) -> None:
    cord = np.zeros((60, 50, 30), bool)
    cord[25:35, 20:30, 1:15] = True
    voxels = cord.copy()
    voxels[box] = True
    assert np.array_equal(clean(volume(voxels)).mask.ijk, cord), what


def test_one_missed_slice_is_bridged_however_thick_it_is() -> None:
    voxels = rod(5)
    voxels[:, :, 3] = False
    thick = Volume.from_ijk(voxels, np.diag([0.5, 0.8, 25.0, 1.0]))
    assert np.array_equal(clean(thick).mask.ijk, voxels)


def test_pieces_are_joined_one_after_the_other_from_the_main_one_outwards() -> None:
    voxels = rod(40)
    voxels[:, :, [5, 6, 12, 30, 31, 32]] = False
    voxels[45:55, 20:30, 34] = True
    expected = voxels.copy()
    expected[45:55, :, 34] = False
    assert np.array_equal(clean(volume(voxels)).mask.ijk, expected)
