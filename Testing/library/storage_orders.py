"""The 48 ways to store one volume, by arithmetic of the tests' own."""

from itertools import permutations, product

import numpy as np

from SpinalCordSegLib.volume import Volume

STORAGE_ORDERS = [(axes, flips) for axes in permutations(range(3)) for flips in product((False, True), repeat=3)]


def stored(volume: Volume, axes: tuple[int, ...], flips: tuple[bool, ...]) -> Volume:
    """The same head, some of the array's axes reversed and then all in another order."""
    voxels, matrix = volume.ijk, volume.ijk_to_ras.copy()
    for axis in range(3):
        if flips[axis]:
            voxels = np.flip(voxels, axis)
            matrix[:3, 3] += matrix[:3, axis] * (volume.ijk_shape[axis] - 1)
            matrix[:3, axis] *= -1
    return Volume.from_ijk(voxels.transpose(axes), matrix[:, [*axes, 3]])


def unstored(array: np.ndarray, axes: tuple[int, ...], flips: tuple[bool, ...]) -> np.ndarray:
    return np.flip(array.transpose(np.argsort(axes)), [axis for axis in range(3) if flips[axis]])
