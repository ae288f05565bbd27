"""From probability to mask: the path among what usually distracts, smoothing, imputed outlines, cleaning."""

from collections.abc import Callable

import numpy as np
import pytest

from SpinalCordSegLib import postprocessing
from SpinalCordSegLib.disc_finder import ends_below_brain
from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.outline import Outline, contour_area_mm2
from SpinalCordSegLib.postprocessing import CordMask, clean, smooth_z
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


def find_cord(probability: Volume, threshold: float = 0.5) -> CordMask:
    """In an image that shows nothing: no outline is moved for want of slices whose edge is seen."""
    return postprocessing.find_cord(probability, probability.with_voxels(np.ones(probability.shape)), threshold)


def check(stack: Stack, cord: np.ndarray, removed: np.ndarray) -> None:
    found = find_cord(stack.volume)
    assert np.array_equal(found.mask.ijk, cord) and found.mask.ijk.dtype == bool
    n_removed = int((removed & ~cord).sum())
    assert found.removed_mm3 == pytest.approx(n_removed * 0.8 * 0.6 * 2.5)
    assert [flag.kind for flag in found.flags] == ([] if cord.any() else ["empty"])


NOTHING = np.zeros(STACK, bool)
SCENES = {  # what there is of the cord, and what is beside it
    "a muscle is larger": lambda s: (s.tube(range(3, 22)), s.tube(range(24), x=22, y=-20, rx=14, ry=7)),
    "vessels as long and round lie too far out": lambda s: (
        s.tube(range(24), y=-5), s.tube(range(24), x=28, y=12, rx=4) | s.tube(range(24), x=-28, y=12, rx=4),
    ),
    "specks in the cord's own slices": lambda s: (
        s.tube(range(24)), s.ellipse(5, 14, 3, 1, 1) | s.ellipse(9, -12, 10, 2, 2) | s.ellipse(9, 0, 14, 2, 2),
    ),
    "10 mm missing are bridged": lambda s: (s.tube(range(9), tilt=0.3) | s.tube(range(13, 24), tilt=0.3), NOTHING),
    "17.5 mm missing are not": lambda s: (s.tube(range(10, 24)), s.tube(range(3))),
    "aside beyond a gap": lambda s: (s.tube(range(8, 24), tilt=0.4), s.tube(range(5), y=4, x=9)),
    "grown together with a neighbour in one slice": lambda s: (s.tube(range(24)) | s.ellipse(11, 8, 0, 5, 4), NOTHING),
    "a poor slice amid the cord": lambda s: (
        s.tube(range(15)) | s.tube(range(16, 24)) | s.ellipse(15, 0, 0, 1.8, 1.2), NOTHING,
    ),
    "nothing like a cord": lambda s: (NOTHING, s.tube(range(24), rx=30, ry=30)),
    "a blob of one slice in a long volume": lambda s: (NOTHING, s.ellipse(12, 0, 0)),
    "nothing above the threshold": lambda s: (NOTHING, NOTHING),
}  # fmt: skip


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES.keys())
def test_the_cord_is_found_among_what_distracts(scene: Callable[[Stack], tuple[np.ndarray, np.ndarray]]) -> None:
    stack = Stack()
    check(stack, *scene(stack))


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
    wide, narrow = stack.tube(range(24), rx=7, ry=5, p=0.5), stack.tube(range(24), rx=6.2, ry=4.4, p=0.99)
    assert np.array_equal(find_cord(stack.volume).mask.ijk, wide)
    assert np.array_equal(find_cord(stack.volume, 0.7).mask.ijk, narrow)


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


@pytest.mark.parametrize(
    ("changed", "answered"),
    [
        ("", True),
        ("oblique storage", True),
        ("no brain above", False),
        ("5 mm above the end", False),
        ("nothing above the end", False),
        ("fluid as grey as the cord", False),
        ("at the side of the image", False),
        ("unsure over 40 mm", False),
    ],
)
def test_the_upper_end_is_the_cords_where_what_goes_on_above_opens_into_brain(changed: str, answered: bool) -> None:
    """Cord up to slice 12; above it medulla up to slice 16, then brain of 60 mm."""
    stack = Stack()
    x = 41.0 if changed == "at the side of the image" else 0.0
    stack.tube(range(13), x)
    radius = np.hypot(stack.x - x, stack.y)
    grey = np.repeat(np.where(radius < 5, 100.0, np.where(radius < 11, 30.0, 60.0))[..., None], 24, axis=2)
    if changed != "no brain above":
        grey[..., 17:][radius < 30] = 100
    if changed == "fluid as grey as the cord":
        grey[..., :17][radius < 11] = 100
    if changed == "nothing above the end":
        grey[..., 13:] = 0
    if changed == "unsure over 40 mm":
        stack.tube(range(5, 18), p=0.7)
    kept = 15 if changed == "5 mm above the end" else 24
    probability = Volume.from_ijk(stack.probability[..., :kept], stack.volume.ijk_to_ras)
    image = probability.with_ijk(grey[..., :kept])
    if changed == "oblique storage":
        probability, image = (one.reoriented("SPL") for one in (probability, image))
    found = postprocessing.find_cord(probability, image)
    end = found.upper_end
    assert end in (12, None)
    assert (end is not None and ends_below_brain(image, found.mask.voxels, end)) is answered
    assert clean(found.mask).upper_end is None, "where a mask made elsewhere ends says nothing of the cord"


@pytest.mark.parametrize("padded", [0, 3])
def test_a_cord_that_leaves_the_image_does_not_end(padded: int) -> None:
    """Slices of exactly 0 were padded: the image ends there."""
    stack = Stack()
    cord = stack.tube(range(2, 23)) | stack.ellipse(23, 0, 0, p=0.7)
    stack.probability = np.pad(stack.probability, ((0, 0), (0, 0), (0, padded)))
    assert np.array_equal(find_cord(stack.volume).mask.ijk[..., :24], cord)


def test_unsure_slices_below_or_over_a_long_stretch_stay() -> None:
    for unsure in (range(2, 6), range(8, 20)):  # lower end; 30 mm of a poor image
        stack = Stack()
        cord = stack.tube(range(2, max(22, unsure.stop)))
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


def test_slices_without_an_image_at_the_ends_are_no_neighbours() -> None:
    """As padding leaves them, or a coil that ends: the cord beside them is as sure as before."""
    values = [0.7, 0.9, 0.8, 0.6, 0.9]
    alone = smooth_z(column(values, 1.0)).ijk
    padded = smooth_z(column([0, 0, *values, 0, 0, 0], 1.0)).ijk
    assert np.array_equal(padded[:, :, 2:-3], alone) and not padded[:, :, [0, 1, -3, -2, -1]].any()


@pytest.mark.parametrize("sigma_mm", [-1.0, float("nan"), float("inf")])
def test_impossible_lengths(sigma_mm: float) -> None:
    with pytest.raises(ConfigurationError, match="0 \\(off\\) or a length"):
        smooth_z(column([1, 1], 1.0), sigma_mm)


DISC_MM = (0.5, 0.6, 2.0)
RADIUS_MM = 4.5


def disc(radius_mm: float, pixel_mm: tuple[float, float] = DISC_MM[:2], sd_mm: float = 0.3) -> np.ndarray:
    """A slice (rows, columns) that falls from 1 to 0 at the radius, by one log-odd per ``sd_mm``."""
    y, x = ((np.arange(round(30 / mm)) + 0.5) * mm - 15 for mm in pixel_mm)
    off = np.hypot(y[:, None] - 0.13, x[None, :] + 0.21)
    return 1 / (1 + np.exp(np.clip((off - radius_mm) / sd_mm, -60, 60)))


def stack_of(planes: list[np.ndarray], slice_mm: float = DISC_MM[2]) -> Volume:
    to_ras = np.diag([DISC_MM[1], DISC_MM[0], slice_mm, 1.0])
    like = Volume.from_ijk(np.zeros((*planes[0].shape[::-1], len(planes)), np.float32), to_ras)
    return like.with_voxels(np.stack(planes).astype(np.float32))


@pytest.mark.parametrize("radius_mm", [3.0, 6.0])
@pytest.mark.parametrize("pixel_mm", [(0.5, 0.6), (1.0, 1.0)])
def test_the_area_inside_a_contour_knows_parts_of_pixels(radius_mm: float, pixel_mm: tuple[float, float]) -> None:
    plane = disc(radius_mm, pixel_mm, sd_mm=0.5)
    found = contour_area_mm2(plane >= 0.5, plane, 0.5, pixel_mm)
    assert found == pytest.approx(np.pi * radius_mm**2, rel=0.005)


def test_a_contour_counts_its_own_region_alone_holes_filled() -> None:
    plane = disc(RADIUS_MM)
    alone = contour_area_mm2(plane >= 0.5, plane, 0.5, DISC_MM[:2])
    cord = plane >= 0.5
    plane[cord & (disc(1.0) >= 0.5)] = 0.1  # a lesion
    plane[2:5, 2:5] = 0.9
    assert contour_area_mm2(cord, plane, 0.5, DISC_MM[:2]) == pytest.approx(alone, rel=1e-3)


@pytest.mark.parametrize(("pixel_mm", "scale"), [((0.4, 0.4), 1.0), ((0.5, 0.9), -3.0), ((1.0, 1.0), 1e4)])
def test_an_edge_is_seen_where_the_grey_changes_by_a_sixth(pixel_mm: tuple[float, float], scale: float) -> None:
    cord = disc(5.0, pixel_mm)
    mask = cord >= 0.5
    assert Outline(mask, scale * (1 + cord), pixel_mm).seen_edge() == 1
    assert Outline(mask, scale * (9 + cord), pixel_mm).seen_edge() == 0, "a tenth is none"
    half = np.where(np.arange(mask.shape[1]) * pixel_mm[1] < 15, 1 + cord, 2.0)
    assert Outline(mask, scale * half, pixel_mm).seen_edge() == pytest.approx(0.5, abs=0.17)
    assert Outline(mask, np.zeros(mask.shape), pixel_mm).seen_edge() == 0


def found_in(radii: list[float], hidden: tuple[int, ...], slice_mm: float = 5.0, **options: bool) -> CordMask:
    """Discs; in the hidden slices cord and surroundings have one grey, and the network's edge is soft."""
    planes = [disc(radius, sd_mm=1.0 if k in hidden else 0.2) for k, radius in enumerate(radii)]
    grey = [np.ones_like(plane) if k in hidden else 1 + plane for k, plane in enumerate(planes)]
    return postprocessing.find_cord(stack_of(planes, slice_mm), stack_of(grey, slice_mm), **options)


def areas(found: CordMask) -> np.ndarray:
    return found.mask.voxels.sum(axis=(1, 2)) * DISC_MM[0] * DISC_MM[1]


def test_slices_whose_edge_is_seen_stay_however_their_areas_differ() -> None:
    radii = [4.5, 5.5, 4.0, 5.0, 4.2, 5.4, 4.5]
    found, alone = found_in(radii, ()), found_in(radii, (), impute=False)
    assert np.array_equal(found.mask.voxels, alone.mask.voxels)
    assert not found.evidence["imputed"].any() and (found.evidence["seen_edge"] == 1).all()


def test_hidden_slices_take_the_area_of_those_around_them_and_are_marked() -> None:
    radii = [4.5] * 4 + [6.0, 6.2] + [4.5] * 4
    found = found_in(radii, (4, 5))
    usual = np.pi * 4.5**2
    assert np.flatnonzero(found.evidence["imputed"]).tolist() == [4, 5]
    assert areas(found)[[4, 5]] == pytest.approx(usual, rel=0.1)
    network = found.evidence["network_area_mm2"]
    assert network[[4, 5]] == pytest.approx(np.pi * np.array([6.0, 6.2]) ** 2, rel=0.01)
    assert network[:4] == pytest.approx(usual, rel=0.01)
    assert not found_in(radii, (4, 5), impute=False).evidence["imputed"].any()
    few_seen = found_in([4.5, 6.0, 4.5, 6.0, 4.5], (2, 3, 4))
    assert not few_seen.evidence["imputed"].any()


def test_an_imputed_outline_stays_near_the_network_s() -> None:
    """Between contours of 0.12 and 0.98: never empty, never grown into what the network takes for something else."""
    found = found_in([2.5] * 4 + [7.0] + [2.5] * 4, (4,))
    least, most = (np.count_nonzero(disc(7.0, sd_mm=1.0) >= p) * DISC_MM[0] * DISC_MM[1] for p in (0.982, 0.119))
    assert least - 0.4 <= areas(found)[4] <= most


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
    assert not clean(volume(np.zeros((6, 7, 8), bool))).mask.ijk.any()


def test_a_hole_is_filled_and_counted_but_a_bay_is_not() -> None:
    voxels = rod()
    voxels[28:30, 24:26, 5] = False  # a dark lesion
    voxels[25:27, 24:26, 6] = False  # a dent in the outline
    result = clean(volume(voxels))
    assert result.filled_mm3 == pytest.approx(4 * VOXEL_MM3)
    assert result.mask.voxels[28:30, 24:26, 5].all() and not result.mask.voxels[25:27, 24:26, 6].any()


@pytest.mark.parametrize(
    ("what", "box"),
    [
        ("off the line", (slice(45, 55), slice(20, 30), slice(17, 20))),
        ("a speck on the line", (slice(29, 32), slice(24, 27), slice(17, 20))),
        ("further than a vertebra", (slice(25, 35), slice(20, 30), slice(24, 30))),
    ],
)
def test_other_pieces_beyond_the_cord_are_removed(what: str, box: tuple[slice, ...]) -> None:
    cord = np.zeros((60, 50, 30), bool)
    cord[25:35, 20:30, 1:15] = True
    voxels = cord.copy()
    voxels[box] = True
    assert np.array_equal(clean(volume(voxels)).mask.ijk, cord), what
