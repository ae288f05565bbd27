"""The component that is the cord: hand-made stacks of ellipses, with what usually distracts."""

from __future__ import annotations

import numpy as np
import pytest

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.postprocessing import find_cord
from SpinalCordSegLib.volume import Volume

SPACING_MM = (0.8, 0.6, 2.5)
SHAPE = (110, 130, 24)  # 88 × 78 × 60 mm


class Stack:
    """Probabilities in canonical axes: x right, y anterior, z superior, mm from the middle of the field of view."""

    def __init__(
        self, shape: tuple[int, int, int] = SHAPE, spacing_mm: tuple[float, float, float] = SPACING_MM
    ) -> None:
        self.spacing_mm = spacing_mm
        self.probability = np.full(shape, 0.01, np.float32)
        axes = [(np.arange(n) + 0.5 - n / 2) * mm for n, mm in zip(shape[:2], SPACING_MM[:2], strict=True)]
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


def test_a_lone_cord_is_kept_whole() -> None:
    stack = Stack()
    cord = stack.tube(range(24))
    check(stack, cord)


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


def test_a_brighter_but_shorter_vertebral_body_and_an_airway_of_low_probability() -> None:
    stack = Stack()
    cord = stack.tube(range(24), y=-8, p=0.8)
    body = stack.tube(range(8, 14), y=12, rx=9, ry=7, p=0.99)
    airway = stack.tube(range(24), y=30, rx=7, ry=5, p=0.55)
    check(stack, cord, body | airway)


def test_specks_in_the_cords_own_slices_go() -> None:
    stack = Stack()
    cord = stack.tube(range(24))
    specks = stack.ellipse(5, 14, 3, 1, 1) | stack.ellipse(9, -12, 10, 2, 2) | stack.ellipse(9, 0, 14, 2, 2)
    check(stack, cord, specks)


def test_a_tilted_cord_is_followed() -> None:
    stack = Stack()
    check(stack, stack.tube(range(24), tilt=0.55))


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


def test_noise_everywhere_is_survived() -> None:
    stack = Stack((64, 64, 12))
    stack.probability[:] = np.random.default_rng(0).uniform(0, 1, stack.probability.shape)
    assert find_cord(stack.volume).removed_mm3 > 0


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
    cord = np.zeros(SHAPE, bool)
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


def test_a_cord_of_which_no_slice_is_sure_stays_whole() -> None:
    stack = Stack()
    cord = stack.tube(range(4, 10), p=0.7)
    assert np.array_equal(find_cord(stack.volume).mask.ijk, cord)
