"""How well one mask agrees with another: overlap, surface distance, area error, exact counts.

Masks are arrays of equal shape, 2D or 3D, true (non-zero) where there is cord. Used by measuring and by
evaluation alike. What an empty mask gives stands at each function; it is never an exception.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from operator import add

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from SpinalCordSegLib.volume import Volume, mask_sha256, place_on


@dataclass(frozen=True)
class ConfusionCounts:
    """Exact integer counts of pixels, addable over slices, cases and ranks without rounding.

    The scores below are methods here, so that pooled counts and single masks go through one formula.
    """

    true_positive: int = 0
    true_negative: int = 0
    false_positive: int = 0
    false_negative: int = 0

    @classmethod
    def of(cls, prediction: ArrayLike, truth: ArrayLike) -> ConfusionCounts:
        """Count one pair of masks of equal shape. Raises ValueError when the shapes differ."""
        found, real = _pair(prediction, truth)
        both = int(np.count_nonzero(found & real))
        n_found, n_real = int(np.count_nonzero(found)), int(np.count_nonzero(real))
        return cls(both, found.size - n_found - n_real + both, n_found - both, n_real - both)

    def __add__(self, other: ConfusionCounts) -> ConfusionCounts:
        return ConfusionCounts(*map(add, astuple(self), astuple(other)))

    def mcc(self) -> float:
        """Matthews correlation, -1..1: (TP·TN - FP·FN)/√((TP+FP)(TP+FN)(TN+FP)(TN+FN)); 0 where a factor is 0.

        Integers until the last division: products of four pixel counts leave 64 bits after a few slices.
        """
        tp, tn, fp, fn = self.true_positive, self.true_negative, self.false_positive, self.false_negative
        product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
        return (tp * tn - fp * fn) / math.sqrt(product) if product else 0.0

    def dice(self) -> float:
        """2TP/(2TP+FP+FN), 0..1; 1 where neither mask holds a pixel."""
        total = 2 * self.true_positive + self.false_positive + self.false_negative
        return 2 * self.true_positive / total if total else 1.0

    def sensitivity(self) -> float:
        """TP/(TP+FN), the share of the true cord that was found, 0..1; NaN where there is no true cord."""
        cord = self.true_positive + self.false_negative
        return self.true_positive / cord if cord else math.nan

    def precision(self) -> float:
        """TP/(TP+FP), the share of what was found that is cord, 0..1; NaN where nothing was found."""
        found = self.true_positive + self.false_positive
        return self.true_positive / found if found else math.nan


def dice(a: ArrayLike, b: ArrayLike) -> float:
    """Dice overlap 0..1, symmetric. One mask empty: 0. Both empty: 1."""
    return ConfusionCounts.of(a, b).dice()


def csa_error_percent(measured_mm2: ArrayLike, truth_mm2: ArrayLike) -> NDArray[np.float64]:
    """Signed error 100·(measured - truth)/truth, per element; too large is positive. Serves volumes as well.

    NaN where either is NaN or the truth is 0: a slice without cord has no relative error.
    """
    measured, truth = np.broadcast_arrays(np.asarray(measured_mm2, float), np.asarray(truth_mm2, float))
    error = np.full(truth.shape, np.nan)
    np.divide(100.0 * (measured - truth), truth, out=error, where=truth > 0)
    return error


def hd95_mm(a: ArrayLike, b: ArrayLike, spacing_mm: Sequence[float]) -> float:
    """95 % Hausdorff distance in mm: the larger of the two directed 95th percentiles of the surface distances.

    A surface is the mask's pixels with a face neighbour outside it (outside the array counts); distances run
    between pixel centres. ``spacing_mm``: one per array axis. Both empty: NaN; one empty: infinite.
    Raises ValueError when shapes or the number of spacings do not fit.
    """
    first, second = _pair(a, b)
    if len(spacing_mm) != first.ndim:
        raise ValueError(f"found {len(spacing_mm)} spacings for masks of {first.ndim} dimensions")
    if not first.any() or not second.any():
        return math.inf if first.any() or second.any() else math.nan
    # Both surfaces lie inside the common bounding box, so cropping to it changes no distance.
    (box,) = ndimage.find_objects((first | second).astype(np.uint8))
    faces = ndimage.generate_binary_structure(first.ndim, 1)
    edge_a, edge_b = (one[box] & ~ndimage.binary_erosion(one[box], faces) for one in (first, second))
    a_to_b = ndimage.distance_transform_edt(~edge_b, sampling=spacing_mm)[edge_a]
    b_to_a = ndimage.distance_transform_edt(~edge_a, sampling=spacing_mm)[edge_b]
    return float(max(np.percentile(a_to_b, 95), np.percentile(b_to_a, 95)))


def signed_distance_mm(pixels: NDArray[np.bool_], pixel_mm: Sequence[float]) -> NDArray[np.float64]:
    """From the outline between pixels, inside positive; a pixel at the edge is half a pixel from it."""
    half = min(pixel_mm) / 2
    inside = ndimage.distance_transform_edt(pixels, sampling=pixel_mm)
    outside = ndimage.distance_transform_edt(~pixels, sampling=pixel_mm)
    return np.where(pixels, inside - half, half - outside)


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    first, second = np.asarray(a) != 0, np.asarray(b) != 0
    if first.shape != second.shape:
        raise ValueError(f"masks of shape {first.shape} and {second.shape} cannot be compared")
    return first, second


# What a person changed in a mask: which slices, and by how much.


@dataclass(frozen=True)
class SliceChange:
    """One slice that differs. Areas in the slice itself (not corrected for tilt), mm². ``dice``: 0..1, 0 where only
    one of the two has cord here. ``ai_mm2``: of the mask it began as."""

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
    ``dice``: of the whole masks, 0..1, 1 where both are empty. ``sha256``, ``ai_sha256``: mask_sha256 of
    the mask and of the one it began as, the AI's or one made elsewhere."""

    slices: tuple[SliceChange, ...]
    dice: float
    added_mm3: float
    removed_mm3: float
    sha256: str
    ai_sha256: str


def mask_changes(now: Volume, began: Volume) -> MaskChanges:
    """Compare a mask with the one it began as. Raises GeometryError for different grids."""
    began = place_on(began, now, ("the mask it began as", "the mask"))
    new, old = now.voxels != 0, began.voxels != 0
    pixel_mm2 = now.pixel_mm[0] * now.pixel_mm[1]
    found = []
    for k in np.flatnonzero((new != old).any(axis=(1, 2))).tolist():
        ai_mm2, now_mm2, added_mm2, removed_mm2 = (
            float(np.count_nonzero(pixels)) * pixel_mm2
            for pixels in (old[k], new[k], new[k] & ~old[k], old[k] & ~new[k])
        )
        overlap = dice(new[k], old[k])
        found.append(SliceChange(now.to_input_slice(k), k, ai_mm2, now_mm2, added_mm2, removed_mm2, overlap))
    voxel_mm3 = now.voxel_volume_mm3
    return MaskChanges(
        slices=tuple(found),
        dice=dice(new, old),
        added_mm3=float(np.count_nonzero(new & ~old)) * voxel_mm3,
        removed_mm3=float(np.count_nonzero(old & ~new)) * voxel_mm3,
        sha256=mask_sha256(now),
        ai_sha256=mask_sha256(began),
    )
