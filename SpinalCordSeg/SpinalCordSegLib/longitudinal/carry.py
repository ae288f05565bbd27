"""A mask carried to another image of the same study (STIR, T2): by rigid registration, onto that image's own grid."""

from __future__ import annotations

from dataclasses import dataclass
from math import acos, ceil, degrees
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SpinalCordSegLib.errors import GeometryError, VoxelError
from SpinalCordSegLib.images.volume import Volume
from SpinalCordSegLib.longitudinal.registration import Registration, register_same_study
from SpinalCordSegLib.measurement.mask_changes import mask_sha256

_FINEST = 4  # samples of a target voxel per axis
_FAR_MM, _TURNED_DEG = 8.0, 8.0  # within a study people swallow and settle; more is another position, or a wrong fit
_BLUNT = 0.02  # see Registration.sharpness; below it the fit is hardly better than one 4 mm off
_UNRELATED = 0.1  # two contrasts of a neck: over 1 nat; noise: under 0.02
_MOSTLY = 0.9


@dataclass(frozen=True, eq=False)
class CarriedMask:
    """``mask``: bool on the target's own grid. ``moved_mm``: of the cord's middle by the registration; ``turned_deg``.
    ``coverage``: 0..1, the share of the mask's volume that lies within the target. ``doubts``: sentences, () where the
    fit raises none; a picture is to be looked at all the same."""

    mask: Volume
    registration: Registration
    moved_mm: float
    turned_deg: float
    coverage: float
    doubts: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "source_to_target_ras": [[round(float(v), 6) for v in row] for row in self.registration.fixed_to_moving],
            "mutual_information": round(self.registration.metric, 5),
            "sharpness": round(self.registration.sharpness, 4),
            "moved_mm": round(self.moved_mm, 2),
            "turned_deg": round(self.turned_deg, 2),
            "coverage": round(self.coverage, 4),
            "volume_mm3": round(float(np.count_nonzero(self.mask.voxels)) * self.mask.voxel_volume_mm3, 2),
            "mask_sha256": mask_sha256(self.mask),
            "doubtful": bool(self.doubts),
            "doubts": list(self.doubts),
        }


def carry_mask(image: Volume, mask: Volume, target: Volume) -> CarriedMask:
    """Carry ``mask`` (cord where not zero, on the grid of ``image``) to ``target``, an image of the same study.

    Any contrasts, grids and orientations; both in the scanner's coordinates. Raises VoxelError for an empty mask,
    GeometryError when the mask lies on another grid than its image, or the images do not overlap.
    """
    if not image.same_grid(mask):
        raise GeometryError(f"the mask (shape {mask.shape}) lies on another grid than its image (shape {image.shape})")
    if not np.any(mask.voxels):
        raise VoxelError("the mask is empty: there is nothing to carry")
    found = register_same_study(image, mask, target)
    carried = resample_mask(mask, found.fixed_to_moving, target)
    volumes = [float(np.count_nonzero(one.voxels)) * one.voxel_volume_mm3 for one in (mask, carried)]
    coverage = _coverage(mask, found.fixed_to_moving, target)
    middle = (mask.ijk_to_ras @ np.append(np.argwhere(mask.voxels != 0).mean(axis=0), 1.0))[:3]
    moved = float(np.linalg.norm(found.apply(middle) - middle))
    cosine = (np.trace(found.fixed_to_moving[:3, :3]) - 1) / 2
    turned = degrees(acos(min(1.0, max(-1.0, float(cosine)))))
    doubts = _doubts(found, moved, turned, coverage, volumes[1] / volumes[0] if volumes[0] else 0.0)
    return CarriedMask(carried, found, moved, turned, coverage, doubts)


def resample_mask(mask: Volume, source_to_target: NDArray[np.float64], target: Volume) -> Volume:
    """``mask`` moved by a rigid ``source_to_target`` (4×4, RAS mm) onto the grid of ``target``, bool.

    A target voxel belongs to it when at least half of it lies inside; voxels coarser than the mask's are sampled
    several times per axis, so that a thick slice is no matter of where its middle lies.
    """
    to_source = np.linalg.inv(mask.ijk_to_ras) @ np.linalg.inv(source_to_target) @ target.ijk_to_ras
    found = np.zeros(target.shape, bool)
    window = _window(mask, np.asarray(np.linalg.inv(to_source), np.float64), target.shape)
    if window is None:
        return target.with_voxels(found)
    factors = [
        min(_FINEST, max(1, ceil(float(np.linalg.norm(to_source[:3, axis])) - 1e-6))) for axis in range(3)
    ]  # the target's steps in voxels of the mask
    axes = [(np.arange(w.start * f, w.stop * f) + 0.5) / f - 0.5 for w, f in zip(window, factors, strict=True)]
    i, j, k = np.meshgrid(*axes, indexing="ij")
    at = np.einsum("ab,bijk->aijk", to_source[:3, :3], np.stack([i, j, k])) + to_source[:3, 3, None, None, None]
    # "grid-constant" is 0 from the next voxel's middle on; "constant" would be from the outermost one's own, and half a
    # slice of a cord that runs through the whole stack would be lost at each end.
    inside = ndimage.map_coordinates((mask.voxels != 0).astype(np.float32), at, order=1, mode="grid-constant", cval=0.0)
    shape = [n for w, f in zip(window, factors, strict=True) for n in (w.stop - w.start, f)]
    found[window] = inside.reshape(shape).mean(axis=(1, 3, 5)) >= 0.5
    return target.with_voxels(found)


def resample_image(image: Volume, source_to_target: NDArray[np.float64], target: Volume) -> Volume:
    """``target`` seen on the grid of ``image`` after the fit, float32, 0 outside: what the picture of the fit shows."""
    to_target = np.linalg.inv(target.ijk_to_ras) @ source_to_target @ image.ijk_to_ras
    found = ndimage.affine_transform(
        target.voxels.astype(np.float32), to_target[:3, :3], to_target[:3, 3], image.shape, order=1, cval=0.0
    )
    return image.with_voxels(found)


def _window(
    mask: Volume, to_target: NDArray[np.float64], shape: tuple[int, int, int]
) -> tuple[slice, slice, slice] | None:
    """The target's voxels that the mask's box can reach; None where it reaches none."""
    filled = np.argwhere(mask.voxels != 0)
    if not len(filled):
        return None
    low, high = filled.min(axis=0) - 1, filled.max(axis=0) + 1
    corners = np.array(
        [[a, b, c, 1.0] for a in (low[0], high[0]) for b in (low[1], high[1]) for c in (low[2], high[2])]
    )
    reached = (corners @ to_target.T)[:, :3]
    first = np.maximum(np.floor(reached.min(axis=0)).astype(int), 0)
    end = np.minimum(np.ceil(reached.max(axis=0)).astype(int) + 1, shape)
    if np.any(first >= end):
        return None
    a, b, c = (slice(int(f), int(e)) for f, e in zip(first, end, strict=True))
    return a, b, c


def _coverage(mask: Volume, source_to_target: NDArray[np.float64], target: Volume) -> float:
    """Share of the mask's voxels whose middle falls into the target's grid."""
    filled = np.argwhere(mask.voxels != 0)
    to_target = np.linalg.inv(target.ijk_to_ras) @ source_to_target @ mask.ijk_to_ras
    places = filled @ to_target[:3, :3].T + to_target[:3, 3]
    inside = (places >= -0.5) & (places <= np.array(target.shape) - 0.5)
    return float(inside.all(axis=1).mean())


def _doubts(
    found: Registration, moved_mm: float, turned_deg: float, coverage: float, volume_ratio: float
) -> tuple[str, ...]:
    said = []
    if found.ambiguous:
        said.append("the images fit a vertebra further up or down nearly as well")
    if found.metric < _UNRELATED:
        said.append(f"the images have little in common (mutual information {found.metric:.3f})")
    if found.sharpness < _BLUNT:
        said.append(f"the fit is blunt: 4 mm off it is only {100 * max(found.sharpness, 0):.1f} % worse")
    if moved_mm > _FAR_MM or turned_deg > _TURNED_DEG:
        said.append(f"the cord was moved by {moved_mm:.1f} mm and {turned_deg:.1f}°, a lot within one study")
    if coverage < _MOSTLY:
        said.append(f"only {100 * coverage:.0f} % of the mask lie within the other image")
    elif not 0.9 <= volume_ratio <= 1.1:
        said.append(f"its volume is {volume_ratio:.2f} of the original there: the voxels are coarse for a cord")
    return tuple(said)
