"""One head stored in all 48 axis orders is one head: straight, oblique, at 45°, isotropic or not."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from SpinalCordSegLib.errors import GeometryError
from SpinalCordSegLib.volume import Volume

STORAGE_ORDERS = [(axes, flips) for axes in permutations(range(3)) for flips in product((False, True), repeat=3)]
SHAPE = (4, 5, 6)
ISOTROPIC, ANISOTROPIC = (1.0, 1.0, 1.0), (0.5, 0.75, 5.0)


def rotation(*degrees: float) -> np.ndarray:
    """Turns about R, then A, then S."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


# Where rounding makes both cosines of an exact 45° equal or unequal by 1 ulp must not matter: all three are here.
TURNS = {
    "straight": rotation(0, 0, 0),
    "oblique 20°": rotation(20, -20, 20),
    "45° about R": rotation(45, 0, 0),
    "45° about A": rotation(0, 45, 0),
    "45° about S": rotation(0, 0, -45),
    "45° about R and S": rotation(45, 0, 45),
}


def volume_of(turn: np.ndarray, spacing_mm: tuple[float, float, float]) -> Volume:
    matrix = np.eye(4)
    matrix[:3, :3] = turn * spacing_mm
    matrix[:3, 3] = 10, -20, 30
    return Volume.from_ijk(np.arange(np.prod(SHAPE)).reshape(SHAPE), matrix)


def stored(volume: Volume, axes: tuple[int, ...], flips: tuple[bool, ...]) -> Volume:
    """The same head with the array's axes in another order and some of them reversed."""
    voxels, matrix = volume.ijk, volume.ijk_to_ras.copy()
    for axis in range(3):
        if flips[axis]:
            voxels = np.flip(voxels, axis)
            matrix[:3, 3] += matrix[:3, axis] * (volume.ijk_shape[axis] - 1)
            matrix[:3, axis] *= -1
    return Volume.from_ijk(voxels.transpose(axes), matrix[:, [*axes, 3]])


def unstored(array: np.ndarray, axes: tuple[int, ...], flips: tuple[bool, ...]) -> np.ndarray:
    return np.flip(array.transpose(np.argsort(axes)), [axis for axis in range(3) if flips[axis]])


def voxel_at(volume: Volume, ras: np.ndarray) -> int:
    index = np.rint(np.linalg.solve(volume.ijk_to_ras, [*ras, 1])[:3]).astype(int)
    return int(volume.ijk[tuple(index)])


@pytest.mark.parametrize("spacing_mm", [ISOTROPIC, ANISOTROPIC], ids=["isotropic", "anisotropic"])
@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS.keys())
def test_all_48_storage_orders_give_the_same_axial_slices(
    turn: np.ndarray, spacing_mm: tuple[float, float, float]
) -> None:
    volumes = [stored(volume_of(turn, spacing_mm), *order) for order in STORAGE_ORDERS]
    assert len(volumes) == 48
    assert sum(np.linalg.det(volume.ijk_to_ras[:3, :3]) < 0 for volume in volumes) == 24  # half are left-handed
    for volume in volumes:
        np.testing.assert_array_equal(volume.voxels, volumes[0].voxels)
        assert volume.spacing_mm == pytest.approx(volumes[0].spacing_mm)
        np.testing.assert_allclose(volume.voxel_to_ras, volumes[0].voxel_to_ras, atol=1e-9)


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS.keys())
def test_the_way_back_is_exact(turn: np.ndarray) -> None:
    for order in STORAGE_ORDERS:
        reference = volume_of(turn, ANISOTROPIC)
        volume = stored(reference, *order)
        assert volume.ijk_shape == volume.ijk.shape
        np.testing.assert_array_equal(reference.ijk, unstored(volume.ijk, *order))
        back = volume.with_ijk(volume.ijk.copy())
        np.testing.assert_array_equal(back.voxels, volume.voxels)
        np.testing.assert_array_equal(volume.with_voxels(volume.voxels.copy()).ijk, volume.ijk)
        np.testing.assert_array_equal(back.ijk_to_ras, volume.ijk_to_ras)


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS.keys())
def test_no_voxel_moves_in_the_patient(turn: np.ndarray) -> None:
    for order in STORAGE_ORDERS[::5]:
        volume = stored(volume_of(turn, ANISOTROPIC), *order)
        for index in np.ndindex(volume.shape):
            ras = (volume.voxel_to_ras @ [*index, 1])[:3]
            assert voxel_at(volume, ras) == volume.voxels[index]


def test_axial_view_is_seen_as_a_radiologist_does() -> None:
    upright = volume_of(np.eye(3), ANISOTROPIC)
    other = stored(upright, (2, 0, 1), (True, False, True))
    assert other.shape == (6, 5, 4)
    assert other.spacing_mm == (5.0, 0.75, 0.5)
    assert other.voxels[0, 0, 0] == upright.ijk[-1, -1, 0]  # right, anterior, inferior
    assert other.voxels[-1, -1, -1] == upright.ijk[0, 0, -1]  # left, posterior, superior


def test_slice_index_in_the_inputs_own_order() -> None:
    upright = volume_of(np.eye(3), ANISOTROPIC)
    assert upright.to_input_slice(1) == upright.from_input_slice(1) == 1
    reversed_slices = stored(upright, (2, 0, 1), (False, False, True))
    assert reversed_slices.to_input_slice(1) == reversed_slices.from_input_slice(1) == 4


@pytest.mark.parametrize(
    ("order", "orientation"),
    [
        (((0, 1, 2), (False, False, False)), "RAS"),
        (((0, 1, 2), (True, True, False)), "LPS"),
        (((1, 2, 0), (False, True, False)), "PSR"),
        (((2, 0, 1), (True, False, True)), "ILA"),
    ],
)
def test_orientation_names_where_the_axes_point(order: tuple, orientation: str) -> None:
    assert stored(volume_of(rotation(20, 10, -20), ANISOTROPIC), *order).orientation == orientation


def changed(row: int, column: int, value: float) -> np.ndarray:
    matrix = np.diag([0.5, 0.75, 5.0, 1.0])
    matrix[row, column] = value
    return matrix


@pytest.mark.parametrize(
    ("shape", "matrix", "words"),
    [
        ((4, 5, 6), changed(0, 1, 0.3), "sheared"),
        ((4, 5, 6), changed(1, 1, 0.0), "which no MR volume has"),
        ((4, 5, 6), changed(0, 0, np.nan), "not a finite 4×4 matrix"),
        ((4, 5, 6), np.eye(3), "not a finite 4×4 matrix"),
        ((4, 5, 6, 2), np.eye(4), "4 dimensions"),
        ((4, 0, 6), np.eye(4), "empty"),
    ],
)
def test_a_grid_that_cannot_be_used_is_refused(shape: tuple[int, ...], matrix: np.ndarray, words: str) -> None:
    with pytest.raises(GeometryError, match=words):
        Volume.from_ijk(np.zeros(shape), matrix)


def test_rounding_of_a_float32_header_is_no_shear() -> None:
    matrix = volume_of(rotation(20, -20, 20), (0.43, 0.43, 1.0)).ijk_to_ras.astype(np.float32)
    Volume.from_ijk(np.zeros(SHAPE), matrix)


def test_voxels_of_another_shape_do_not_fit() -> None:
    volume = volume_of(np.eye(3), ISOTROPIC)
    for other in (volume.with_ijk, volume.with_voxels):
        with pytest.raises(GeometryError, match="does not fit"):
            other(np.zeros((4, 5, 7)))
