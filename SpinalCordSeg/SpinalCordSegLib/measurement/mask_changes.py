"""What a person changed in a mask: which slices, by how much, and the fingerprint that tells two masks apart."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.errors import GeometryError
from SpinalCordSegLib.images.volume import Volume, input_slice_index, to_canonical
from SpinalCordSegLib.measurement.cleaning import bounding_box
from SpinalCordSegLib.measurement.scores import dice


@dataclass(frozen=True)
class SliceChange:
    """One slice that differs. Areas in the slice itself (not corrected for tilt), mm². ``dice``: 0..1, 0 where only
    one of the two has cord here."""

    slice: int
    canonical_slice: int
    ai_mm2: float
    now_mm2: float
    added_mm2: float
    removed_mm2: float
    dice: float


@dataclass(frozen=True)
class MaskChanges:
    """A mask against the one it began as. ``slices``: those that differ, from inferior; () where nothing does.
    ``dice``: of the whole masks, 0..1, 1 where both are empty. ``sha256``, ``ai_sha256``: see mask_sha256."""

    slices: tuple[SliceChange, ...]
    dice: float
    added_mm3: float
    removed_mm3: float
    sha256: str
    ai_sha256: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"slices": [asdict(one) for one in self.slices]}


def mask_sha256(mask: Volume) -> str:
    """SHA-256 over the shape and the mask's voxels (zero or not), in [i, j, k] order, on the grid that it is given.

    The place of the grid is no part of it: writing and reading a header rounds that, and the mask stays the same.
    """
    voxels = np.asarray(mask.voxels)
    filled = np.zeros(voxels.shape, bool)
    box = bounding_box(voxels)
    if box is not None:  # the cord is a thousandth of a volume: only its box is put into [i, j, k] order
        filled[box] = voxels[box] != 0
    digest = hashlib.sha256(repr(filled.shape).encode())
    digest.update(np.packbits(filled).tobytes())
    return digest.hexdigest()


def mask_changes(now: Volume, ai: Volume) -> MaskChanges:
    """Compare a mask with the AI's own on the same grid. Raises GeometryError for different grids."""
    differing = np.flatnonzero(_differing(now, ai))
    canonical = to_canonical(now)
    new, old = canonical.voxels != 0, to_canonical(ai).voxels != 0
    x_mm, y_mm, _ = canonical.spacing_mm
    found = [_slice_change(now, int(k), new[:, :, k], old[:, :, k], x_mm * y_mm) for k in differing]
    voxel_mm3 = now.voxel_volume_mm3
    return MaskChanges(
        slices=tuple(found),
        dice=dice(new, old),
        added_mm3=float(np.count_nonzero(new & ~old)) * voxel_mm3,
        removed_mm3=float(np.count_nonzero(old & ~new)) * voxel_mm3,
        sha256=mask_sha256(now),
        ai_sha256=mask_sha256(ai),
    )


def _differing(one: Volume, other: Volume) -> NDArray[np.bool_]:
    if not one.same_grid(other):
        raise GeometryError(
            f"the masks lie on different grids (shapes {one.shape} and {other.shape}): compare masks of the same image"
        )
    apart = one.with_voxels((one.voxels != 0) != (other.voxels != 0))
    return np.asarray(to_canonical(apart).voxels.any(axis=(0, 1)))


def _slice_change(
    grid: Volume, k: int, new: NDArray[np.bool_], old: NDArray[np.bool_], pixel_mm2: float
) -> SliceChange:
    return SliceChange(
        slice=input_slice_index(grid, k),
        canonical_slice=k,
        ai_mm2=float(np.count_nonzero(old)) * pixel_mm2,
        now_mm2=float(np.count_nonzero(new)) * pixel_mm2,
        added_mm2=float(np.count_nonzero(new & ~old)) * pixel_mm2,
        removed_mm2=float(np.count_nonzero(old & ~new)) * pixel_mm2,
        dice=dice(new, old),
    )
