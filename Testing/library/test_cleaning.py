import numpy as np
import pytest

from SpinalCordSegLib.postprocessing import clean
from SpinalCordSegLib.volume import Volume

SPACING = (0.5, 0.8, 3.0)
VOXEL_MM3 = 0.5 * 0.8 * 3.0


def _volume(voxels: np.ndarray) -> Volume:
    return Volume.from_ijk(voxels, np.diag([*SPACING, 1.0]))


def _cord(n: int = 20) -> np.ndarray:
    """A square rod of 10×10 voxels (5×8 mm) along z."""
    voxels = np.zeros((60, 50, n), bool)
    voxels[25:35, 20:30] = True
    return voxels


def test_a_clean_mask_stays_as_it_is_and_zero_one_labels_do() -> None:
    result = clean(_volume(_cord().astype(np.uint8)))
    assert result.mask.ijk.dtype == bool
    assert np.array_equal(result.mask.ijk, _cord())
    assert result.removed_mm3 == result.filled_mm3 == 0
    assert result.flags == ()


def test_an_empty_mask_stays_empty() -> None:
    result = clean(_volume(np.zeros((6, 7, 8), bool)))
    assert not result.mask.ijk.any() and result.removed_mm3 == 0


def test_a_stray_piece_in_a_slice_is_removed_and_counted() -> None:
    voxels = _cord()
    voxels[40:43, 40:43, 7] = True  # nine stray pixels, as in the Spinal Cord Toolbox's bad case
    result = clean(_volume(voxels))
    assert np.array_equal(result.mask.ijk, _cord())
    assert result.removed_mm3 == pytest.approx(9 * VOXEL_MM3)
    assert [(flag.canonical_slice, flag.kind) for flag in result.flags] == [(7, "cleaned"), (None, "cleaned")]


def test_a_piece_joined_through_another_slice_goes_too() -> None:
    voxels = _cord()
    voxels[35:41, 22:25, 7] = True  # an arm in slice 7 ...
    voxels[39:41, 22:25, 8] = True  # ... whose end reappears in slice 8, 26-connected but 8-apart there
    result = clean(_volume(voxels))
    assert result.removed_mm3 == pytest.approx(6 * VOXEL_MM3)
    assert np.count_nonzero(result.mask.ijk[:, :, 7]) == 118  # the arm itself is connected: it stays


def test_a_hole_is_filled_and_counted_but_a_bay_is_not() -> None:
    voxels = _cord()
    voxels[28:30, 24:26, 5] = False  # a dark lesion
    voxels[25:27, 24:26, 6] = False  # a dent in the outline
    result = clean(_volume(voxels))
    assert result.filled_mm3 == pytest.approx(4 * VOXEL_MM3)
    assert result.mask.ijk[28:30, 24:26, 5].all() and not result.mask.ijk[25:27, 24:26, 6].any()


def test_cord_beyond_empty_slices_is_kept_where_it_continues_the_cord() -> None:
    voxels = _cord(30)
    for k in range(30):  # a cord that leans by 0.5 mm per slice
        voxels[:, :, k] = np.roll(_cord(1)[:, :, 0], k - 15, axis=0)
    voxels[:, :, [9, 16, 17]] = False
    result = clean(_volume(voxels))
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
    assert np.array_equal(clean(_volume(voxels)).mask.ijk, cord), what


def test_one_missed_slice_is_bridged_however_thick_it_is() -> None:
    voxels = _cord(5)
    voxels[:, :, 3] = False
    thick = Volume.from_ijk(voxels, np.diag([0.5, 0.8, 25.0, 1.0]))
    assert np.array_equal(clean(thick).mask.ijk, voxels)


def test_pieces_are_joined_one_after_the_other_from_the_main_one_outwards() -> None:
    voxels = _cord(40)
    voxels[:, :, [5, 6, 12, 30, 31, 32]] = False
    voxels[45:55, 20:30, 34] = True
    expected = voxels.copy()
    expected[45:55, :, 34] = False
    assert np.array_equal(clean(_volume(voxels)).mask.ijk, expected)
