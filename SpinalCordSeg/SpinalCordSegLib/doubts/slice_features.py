"""A table of what tells a failed slice from a good one: pure arrays, so that thresholds can be tuned on it."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SpinalCordSegLib.errors import GeometryError
from SpinalCordSegLib.images.volume import Volume, to_canonical
from SpinalCordSegLib.measurement.measures import CordMeasures, SliceMeasures

_NEIGHBOURHOOD_MM = 15.0  # each way: under one vertebral level, in which a healthy cord changes by some 10 %
_FAR_MM = 40.0  # each way: what grows over several levels moves all near neighbours with it
_NEIGHBOURS = 6  # at least, however thick the slices are
_PROBABILITY_REACH_MM = 5.0  # what the mask may have missed; further off lies other anatomy
_UNCERTAIN = (0.1, 0.9)


@dataclass(frozen=True, eq=False)
class SliceFeatures:
    """One value a slice, in the order of the measured slices; NaN in gaps and where it cannot be known.

    ``area_mm2``: at a right angle to the cord. ``area_ratio``, ``rl_ratio``, ``ap_ratio``: area and diameters over
    the median of the neighbours within 15 mm (at least six), the slice itself left out; ``far_area_ratio``: area over
    that within 40 mm. ``offset_mm``: distance of the centroid from the straight line through those of the neighbours.
    ``ap_over_rl``, ``solidity``. ``end_mm``: distance from the nearer end of the cord found, ``neighbours_each_way``:
    the fewer of those below and above.
    From a probability map: ``expected_dice`` of the mask if the probability is calibrated; ``mean_probability``
    inside; ``uncertain_mm``: width of the band of 0.1 to 0.9 along the outline.
    """

    canonical_slice: NDArray[np.int64]
    area_mm2: NDArray[np.float64]
    area_ratio: NDArray[np.float64]
    far_area_ratio: NDArray[np.float64]
    rl_ratio: NDArray[np.float64]
    ap_ratio: NDArray[np.float64]
    offset_mm: NDArray[np.float64]
    ap_over_rl: NDArray[np.float64]
    solidity: NDArray[np.float64]
    end_mm: NDArray[np.float64]
    neighbours_each_way: NDArray[np.int64]
    expected_dice: NDArray[np.float64]
    mean_probability: NDArray[np.float64]
    uncertain_mm: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.canonical_slice)

    def row(self, index: int) -> dict[str, float]:
        """The values of one slice by name."""
        return {field.name: float(getattr(self, field.name)[index]) for field in fields(self)}


def slice_features(mask: Volume, probability: Volume | None, measures: CordMeasures) -> SliceFeatures:
    """The table for a cleaned ``mask`` (bool) and its ``measures``; areas come from the mask, not from the measures.

    ``probability``: 0..1 on the same grid, or None (three columns of NaN). No cord: a table of no rows.
    Raises GeometryError when the probability lies on another grid.
    """
    if probability is not None and not probability.same_grid(mask):
        raise GeometryError(f"the probability map (shape {probability.shape}) lies on another grid than the mask")
    canonical = to_canonical(mask)
    items = measures.slices
    k = np.array([item.canonical_slice for item in items], dtype=np.int64)
    z_mm: NDArray[np.float64] = np.asarray(k * canonical.spacing_mm[2], dtype=np.float64)
    area, centroids = _area_and_centroid(canonical, items)
    rl, ap, solidity = (_column(items, name) for name in ("rl_mm", "ap_ellipse_mm", "solidity"))
    near, far = (
        [_neighbours(z_mm, area, at, reach) for at in range(len(items))] for reach in (_NEIGHBOURHOOD_MM, _FAR_MM)
    )
    chance = np.full((3, len(items)), np.nan)
    if probability is not None:
        chances = to_canonical(probability)
        for at in np.flatnonzero(area > 0):
            chance[:, at] = _confidence(
                canonical.voxels[:, :, k[at]], chances.voxels[:, :, k[at]], canonical.spacing_mm
            )
    return SliceFeatures(
        canonical_slice=k,
        area_mm2=area,
        area_ratio=_ratio(area, near),
        far_area_ratio=_ratio(area, far),
        rl_ratio=_ratio(rl, near),
        ap_ratio=_ratio(ap, near),
        offset_mm=_offsets(z_mm, centroids, near),
        ap_over_rl=ap / rl,
        solidity=solidity,
        end_mm=np.minimum(z_mm - z_mm[:1], z_mm[-1:] - z_mm),
        neighbours_each_way=np.array([min((n < at).sum(), (n > at).sum()) for at, n in enumerate(near)], np.int64),
        expected_dice=chance[0],
        mean_probability=chance[1],
        uncertain_mm=chance[2],
    )


def _column(items: tuple[SliceMeasures, ...], name: str) -> NDArray[np.float64]:
    return np.array([getattr(item, name) for item in items], dtype=np.float64)


def _area_and_centroid(
    canonical: Volume, items: tuple[SliceMeasures, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Area at a right angle to the cord (mm²) and centroid (mm) per slice, NaN in gaps."""
    x_mm, y_mm, slice_mm = canonical.spacing_mm
    area, centroids = np.full(len(items), np.nan), np.full((len(items), 2), np.nan)
    used = np.any(canonical.voxels, axis=2)
    rows, columns = np.flatnonzero(np.any(used, axis=1)), np.flatnonzero(np.any(used, axis=0))
    for at, item in enumerate(items):
        if not item.is_gap:
            pixels = canonical.voxels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1, item.canonical_slice]
            x, y = np.nonzero(pixels)
            area[at] = len(x) * x_mm * y_mm * slice_mm / item.length_mm
            centroids[at] = (x.mean() + rows[0]) * x_mm, (y.mean() + columns[0]) * y_mm
    return area, centroids


def _neighbours(z_mm: NDArray[np.float64], area: NDArray[np.float64], at: int, reach_mm: float) -> NDArray[np.int64]:
    """The slices to compare slice ``at`` with: all within reach, or the nearest six; none from gaps."""
    apart = np.abs(z_mm - z_mm[at])
    usable = np.isfinite(area)
    usable[at] = False
    within = np.flatnonzero(usable & (apart <= reach_mm))
    if len(within) >= _NEIGHBOURS:
        return within
    nearest = np.argsort(np.where(usable, apart, np.inf), kind="stable")
    return np.sort(nearest[: min(_NEIGHBOURS, int(usable.sum()))])


def _ratio(values: NDArray[np.float64], near: list[NDArray[np.int64]]) -> NDArray[np.float64]:
    medians = np.array([np.nanmedian(values[n]) if np.isfinite(values[n]).any() else np.nan for n in near])
    return values / medians


def _offsets(
    z_mm: NDArray[np.float64], centroids_mm: NDArray[np.float64], near: list[NDArray[np.int64]]
) -> NDArray[np.float64]:
    """Distance of every centroid from the robust (Theil-Sen) line through its neighbours', mm."""
    offsets = np.full(len(z_mm), np.nan)
    for at, n in enumerate(near):
        if len(n) < 3:
            continue
        first, second = np.triu_indices(len(n), 1)
        rise = z_mm[n[second]] - z_mm[n[first]]
        slope = np.median((centroids_mm[n[second]] - centroids_mm[n[first]]) / rise[:, None], axis=0)
        level = np.median(centroids_mm[n] - slope * (z_mm[n] - z_mm[at])[:, None], axis=0)
        offsets[at] = np.hypot(*(centroids_mm[at] - level))
    return offsets


def _confidence(
    pixels: NDArray[np.bool_], probability: NDArray[np.floating], spacing_mm: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Expected Dice 2·Σp(mask)/(|mask| + Σp), mean probability inside, and width of the uncertain band (mm)."""
    pixel_mm = spacing_mm[:2]
    x, y = np.nonzero(pixels)
    margin = [int(_PROBABILITY_REACH_MM / size) + 1 for size in pixel_mm]
    window = tuple(slice(max(0, c.min() - m), c.max() + m + 1) for c, m in zip((x, y), margin, strict=True))
    inside, chance = pixels[window], probability[window].astype(np.float64)
    near = ndimage.distance_transform_edt(~inside, sampling=pixel_mm) <= _PROBABILITY_REACH_MM
    total, found = chance[near].sum(), chance[inside].sum()
    pixel_mm2 = pixel_mm[0] * pixel_mm[1]
    uncertain_mm2 = np.count_nonzero(near & (chance > _UNCERTAIN[0]) & (chance < _UNCERTAIN[1])) * pixel_mm2
    outline_mm = 2 * np.sqrt(np.pi * len(x) * pixel_mm2)  # of the disc of equal area
    return float(2 * found / (len(x) + total)), float(found / len(x)), float(uncertain_mm2 / outline_mm)
