"""Averaging along the stack: what is even stays, noise falls, thick slices are left alone, any storage order."""

from __future__ import annotations

import numpy as np
import pytest

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.postprocessing import smooth_z, smoothing_reach
from SpinalCordSegLib.volume import Volume


def _stack(values: list[float], slice_mm: float) -> Volume:
    """One value a slice in the middle 2 × 2 pixels of 4 × 4."""
    voxels = np.zeros((4, 4, len(values)), np.float32)
    voxels[1:3, 1:3] = values
    return Volume.from_ijk(voxels, np.diag([0.7, 0.9, slice_mm, 1.0]))


def test_weights_are_gaussian_and_sum_to_one() -> None:
    nothing = 1e-9  # exactly 0 is no image
    found = smooth_z(_stack([nothing] * 4 + [1] + [nothing] * 4, 1.0), sigma_mm=1.5).ijk[1, 1]
    expected = np.exp(-0.5 * (np.arange(-4, 5) / 1.5) ** 2) * (np.abs(np.arange(-4, 5)) <= 3)
    assert found == pytest.approx(expected / expected.sum(), abs=1e-6)


def test_an_even_cord_stays_and_its_ends_too() -> None:
    even = _stack([0.8] * 7, 1.0)
    assert smooth_z(even).ijk == pytest.approx(even.ijk, abs=1e-6)


@pytest.mark.parametrize("in_place", [False, True])
def test_slices_without_an_image_at_the_ends_are_no_neighbours(in_place: bool) -> None:
    """As padding leaves them, or a coil that ends: the cord beside them is as sure as before."""
    values = [0.7, 0.9, 0.8, 0.6, 0.9]
    alone = smooth_z(_stack(values, 1.0)).ijk
    padded = smooth_z(_stack([0, 0, *values, 0, 0, 0], 1.0), in_place=in_place).ijk
    assert np.array_equal(padded[:, :, 2:-3], alone) and not padded[:, :, [0, 1, -3, -2, -1]].any()


def test_one_bad_slice_is_outvoted() -> None:
    found = smooth_z(_stack([0.9, 0.9, 0.9, 0.2, 0.9, 0.9, 0.9], 1.0)).ijk[1, 1]
    assert found.min() > 0.5


@pytest.mark.parametrize(("slice_mm", "sigma_mm"), [(3.3, 1.6), (1.0, 0.0)])
def test_thick_slices_and_none_asked_are_left_as_they_are(slice_mm: float, sigma_mm: float) -> None:
    volume = _stack([0, 1, 0, 1, 0], slice_mm)
    assert smooth_z(volume, sigma_mm) is volume
    assert smoothing_reach(sigma_mm, slice_mm) == 0


def test_one_slice_and_nothing_found() -> None:
    single = _stack([0.7], 1.0)
    assert smooth_z(single) is single
    nothing = _stack([0.0] * 5, 1.0)
    assert not smooth_z(nothing).ijk.any()


def test_the_input_is_not_changed() -> None:
    volume = _stack([0, 1, 0, 1, 0], 1.0)
    before = volume.ijk.copy()
    smooth_z(volume)
    assert np.array_equal(volume.ijk, before)


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
    assert found.same_grid(stored)
    assert found.voxels == pytest.approx(smooth_z(straight).voxels, abs=1e-6)


@pytest.mark.parametrize("sigma_mm", [-1.0, float("nan"), float("inf")])
def test_impossible_lengths(sigma_mm: float) -> None:
    with pytest.raises(ConfigurationError, match="0 \\(off\\) or a length"):
        smooth_z(_stack([1, 1], 1.0), sigma_mm)
