"""Two people drew the same cases: where they agree, where not, and one label made of both.

The consensus of a slice lies midway between both outlines: the pixels whose signed distances to the two add up to less
than zero. It does not depend on who is first and equals both where they agree. Slices that only one of them drew have
no middle: they stay empty and are listed, for the two to settle together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SpinalCordSegLib.images.volume import Volume, axial_slices, from_axial_slices, to_canonical
from SpinalCordSegTrainerLib.evaluation.evaluation import CaseScore, SliceScore

BOTH, ONLY_FIRST, ONLY_SECOND = 1, 2, 3  # values of a map of disputes


@dataclass(frozen=True)
class DisputeLimits:
    """A slice is listed below ``least_dice``, or with areas apart by more than ``most_area_percent`` of their mean."""

    least_dice: float = 0.85
    most_area_percent: float = 15.0


@dataclass(frozen=True)
class Disagreement:
    """A slice to look at. ``kind``: "only first", "only second" or "outline". ``disputed_mm2``: drawn by one alone.
    ``ras_mm``: middle of the dispute, patient mm. ``dice``: NaN where the first drew nothing."""

    case: str
    slice: int
    kind: str
    dice: float
    first_mm2: float
    second_mm2: float
    disputed_mm2: float
    ras_mm: tuple[float, float, float]


def disagreements(score: CaseScore, first: Volume, second: Volume, limits: DisputeLimits) -> list[Disagreement]:
    """Slices that only one drew, or beyond the limits; the largest dispute first. ``score``: second against first."""
    canonical = to_canonical(first)
    pair = [axial_slices(volume) for volume in (first, second)]
    pixel_mm2 = float(np.prod(pair[0].pixel_mm))
    listed = []
    for one in score.slices:
        kind = _kind(one, limits)
        if not kind:
            continue
        k = one.canonical_slice
        row, column = np.nonzero((pair[0].pixels[k] != 0) ^ (pair[1].pixels[k] != 0))
        x, y, _ = canonical.shape
        place = canonical.ijk_to_ras @ [x - 1 - column.mean(), y - 1 - row.mean(), k, 1]
        at = (float(place[0]), float(place[1]), float(place[2]))
        disputed_mm2 = len(row) * pixel_mm2
        listed.append(Disagreement(one.case, one.slice, kind, one.dice, one.true_mm2, one.found_mm2, disputed_mm2, at))
    return sorted(listed, key=lambda item: -item.disputed_mm2)


def _kind(one: SliceScore, limits: DisputeLimits) -> str:
    if bool(one.true_mm2) != bool(one.found_mm2):
        return "only first" if one.true_mm2 else "only second"
    if not one.true_mm2:
        return ""
    apart = 100 * abs(one.found_mm2 - one.true_mm2) / ((one.found_mm2 + one.true_mm2) / 2)
    return "outline" if one.dice < limits.least_dice or apart > limits.most_area_percent else ""


def consensus(first: Volume, second: Volume) -> Volume:
    """The midway label, bool, on the grid of ``first``; ``second`` lies on the same."""
    one, other = axial_slices(first), axial_slices(second)
    merged = np.zeros(one.pixels.shape, bool)
    for n in range(len(merged)):
        a, b = one.pixels[n] != 0, other.pixels[n] != 0
        if a.any() and b.any():
            merged[n] = _signed_mm(a, one.pixel_mm) + _signed_mm(b, one.pixel_mm) < 0
    return from_axial_slices(merged, first)


def _signed_mm(mask: NDArray[np.bool_], pixel_mm: tuple[float, float]) -> NDArray[np.float64]:
    """Distance to the outline between pixels, negative inside; a pixel at the edge is half a pixel from it."""
    half = min(pixel_mm) / 2
    outside = ndimage.distance_transform_edt(~mask, sampling=pixel_mm) - half
    inside = ndimage.distance_transform_edt(mask, sampling=pixel_mm) - half
    return np.where(mask, -inside, outside)


def disputes(first: Volume, second: Volume) -> Volume:
    """A label map to be settled in ITK-SNAP or Slicer: 1 both, 2 only the first, 3 only the second (uint8)."""
    a, b = first.voxels != 0, second.voxels != 0
    marked = np.zeros(first.shape, np.uint8)
    marked[a & b], marked[a & ~b], marked[b & ~a] = BOTH, ONLY_FIRST, ONLY_SECOND
    return first.with_voxels(marked)
