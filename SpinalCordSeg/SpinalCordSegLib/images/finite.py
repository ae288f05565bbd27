"""Voxels that are not numbers: counted, located and refused."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.errors import VoxelError


def check_finite(voxels: NDArray) -> None:
    """Raise VoxelError, without the file's name, when a voxel is NaN or infinite. Integers always pass."""
    if voxels.dtype.kind != "f":
        return
    good = np.isfinite(voxels)
    if good.all():
        return
    n_nan = int(np.isnan(voxels).sum())
    first = np.unravel_index(int(np.argmin(good)), voxels.shape)
    refuse_not_finite(n_nan, int(voxels.size - good.sum()) - n_nan, tuple(map(int, first)))


def refuse_not_finite(n_nan: int, n_infinite: int, first: tuple[int, ...]) -> None:
    """Raise VoxelError for these counts; ``first``: index of the first such voxel."""
    raise VoxelError(
        f"{n_nan} voxels are NaN and {n_infinite} infinite (one at i, j, k = {first});"
        " expected finite numbers: replace them, for instance by 0"
    )
