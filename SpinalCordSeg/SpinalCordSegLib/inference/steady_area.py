"""Where the network cannot see the cord's edge, the slices beside it say how large the cord is.

Where cord and what surrounds it have one grey, the probability fades over a millimetre or more, and its contour of one
half lies somewhere within: too far out, mostly. The cord's area changes slowly along the neck. So the areas of a stack
are taken as one series, each with the doubt of its own edge; the series that fits them best says which contour to take
in the doubtful slices. Slices with a sharp edge are left as they are, and so is the place of the cord in all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.linalg import solveh_banded

from SpinalCordSegLib.errors import GeometryError
from SpinalCordSegLib.images.volume import Volume, axial_slices
from SpinalCordSegLib.inference.partial_volume import partial_volume_mm2

EDGE_MM = 1.0
"""Slices with an edge wider than this are steadied: a logistic edge of scale s is 5 s wide. In the median the starter
model's are 0.8 mm in simulated slices, 1.1 in T2*w ones of 0.4 to 0.8 mm, 1.3 in T2w ones of 1 mm."""

# Chosen on 180 simulated people of seeds 7 to 9 with touching structures, and on the 13 T2w and T2*w volumes that the
# starter model is trained on; no volume that it is judged on. Halving or doubling any of them changes little.
_SHARP_MM = 0.7  # no doubt from an edge of that width, which is the network's pixel
_LEAST_DOUBT = 0.02  # SD of the logarithm of the area: what pixels and noise do to it
_DOUBT_PER_MM2 = 1.0  # and more by the square of the excess
_DRIFT_PER_MM = 0.0006  # variance of the change of log area: 0.0003 in 143 T2*w, 0.0007 to 0.001 in 1,093 T2w slices
_INNER, _OUTER = 3.0, -2.0  # the edge lies between contours of these log-odds, 0.95 and 0.12
_HIGHEST = 4.0  # no contour beyond it is taken, whatever the neighbours have; nor one outside the outer
_REACH_MM = 6.0  # the edge lies within that of the cord; farther off is other anatomy
_LEAST_SLICES = 3


@dataclass(frozen=True)
class SteadiedSlice:
    """One slice whose outline moved: areas in mm² before and after, width of its edge (``edge_mm``), and the log-odds
    over the threshold of the contour taken (``log_odds``: positive where the area shrank). ``before_pv_mm2``: the area
    from the probability before (``partial_volume``)."""

    canonical_slice: int
    before_mm2: float
    before_pv_mm2: float
    after_mm2: float
    edge_mm: float
    log_odds: float


@dataclass(frozen=True, eq=False)
class SteadyCord:
    """``mask``: bool; ``probability``: float32, moved with the outlines, so that the threshold still bounds the cord
    (within 6 mm of it, farther off it is as it was).
    ``slices``: those that changed, from inferior to superior. ``edges_mm``: widths of the edges of all slices of cord,
    in the same order; () for fewer than three slices."""

    mask: Volume
    probability: Volume
    slices: tuple[SteadiedSlice, ...]
    edges_mm: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class _Edge:
    """The log-odds over the threshold of the cord's pixels and those around it, the highest first."""

    log_odds: NDArray[np.float64]

    def count(self, contour: float) -> int:
        return int(np.searchsorted(-self.log_odds, -contour, side="right"))

    def width_mm(self, pixel_mm2: float) -> float:
        """Between the radii of the discs that have the area inside the outer and the inner contour."""
        outer, inner = (np.sqrt(self.count(contour) * pixel_mm2 / np.pi) for contour in (_OUTER, _INNER))
        return float(outer - inner)

    def contour(self, count: int) -> float:
        """The one that holds ``count`` pixels, within the limits."""
        at = min(max(count, 1), len(self.log_odds)) - 1
        return float(min(self.log_odds[at], _HIGHEST))


def steady_area(mask: Volume, probability: Volume, threshold: float = 0.5, *, in_place: bool = False) -> SteadyCord:
    """The cord with the outlines of its doubtful slices moved to where the area fits the other slices'.

    ``mask``: bool, at most one region in every axial slice, of ``probability`` (float32 0..1, same grid) at
    ``threshold``. ``in_place``: the voxels of both are written over. Minimised is, over x_k, the logarithms of the
    areas, Σ (x_k - y_k)²/s_k² + Σ (x_k+1 - x_k)²/(q·mm), a Kalman smoother of a random walk.

    Fewer than three slices of cord: nothing moves. Raises GeometryError when the grids differ.
    """
    if not mask.same_grid(probability):
        raise GeometryError(f"the mask (shape {mask.shape}) lies on another grid than the probability map")
    slices, chances = axial_slices(mask), axial_slices(probability)
    used = [k for k, pixels in enumerate(slices.pixels) if pixels.any()]
    if len(used) < _LEAST_SLICES:
        return SteadyCord(mask, probability, ())
    pixel_mm2 = slices.pixel_mm[0] * slices.pixel_mm[1]
    level = float(_log_odds(np.float64(threshold)))
    edges = [_edge(slices.pixels[k], chances.pixels[k], slices.pixel_mm, level) for k in used]
    widths = np.array([edge.width_mm(pixel_mm2) for edge in edges])
    if not (widths > EDGE_MM).any():
        return SteadyCord(mask, probability, (), tuple(widths.tolist()))
    counts = np.array([np.count_nonzero(slices.pixels[k]) for k in used])
    wanted = np.round(np.exp(_smoothed(np.log(counts), widths, np.array(used) * slices.slice_mm)))
    if not in_place:
        mask, probability = (one.with_voxels(one.voxels.copy()) for one in (mask, probability))
        slices, chances = axial_slices(mask), axial_slices(probability)
    moved = []
    for k, edge, width, count, area in zip(used, edges, widths, counts, wanted, strict=True):
        if width <= EDGE_MM or area == count:
            continue
        contour = edge.contour(int(area))
        region = _within(chances.pixels[k], slices.pixels[k], slices.pixel_mm, level + contour)
        after = int(np.count_nonzero(region))
        # What falls apart inside a contour is not bounded by one; and none of the cord may lie inside.
        if after == 0 or not abs(after - area) < abs(count - area):
            continue
        window = _around(slices.pixels[k], slices.pixel_mm)
        before_pv_mm2 = partial_volume_mm2(slices.pixels[k][window], chances.pixels[k][window], slices.pixel_mm)
        chances.pixels[k][window] = _moved(chances.pixels[k][window], contour)
        slices.pixels[k][...] = region
        areas = count * pixel_mm2, before_pv_mm2, after * pixel_mm2
        moved.append(SteadiedSlice(k, *areas, float(width), contour))
    return SteadyCord(mask, probability, tuple(moved), tuple(widths.tolist()))


def _edge(cord: NDArray[np.bool_], chances: NDArray[np.float32], pixel_mm: tuple[float, float], level: float) -> _Edge:
    """Of the region within the outer contour that the slice's cord lies in, not farther than the reach from it."""
    window = _around(cord, pixel_mm)
    log_odds = _log_odds(chances[window].astype(np.float64)) - level
    near = _touching(log_odds >= _OUTER, cord[window])
    return _Edge(np.sort(log_odds[near])[::-1])


def _around(cord: NDArray[np.bool_], pixel_mm: tuple[float, float]) -> tuple[slice, slice]:
    rows, columns = (np.flatnonzero(cord.any(axis=axis)) for axis in (1, 0))
    margin = [int(_REACH_MM / size) + 1 for size in pixel_mm]
    down, across = (
        slice(max(0, int(found[0]) - wide), int(found[-1]) + wide + 1)
        for found, wide in zip((rows, columns), margin, strict=True)
    )
    return down, across


def _touching(region: NDArray[np.bool_], cord: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, _ = ndimage.label(region, structure=np.ones((3, 3), bool))
    touched = np.unique(labels[cord])
    return np.asarray(np.isin(labels, touched[touched > 0]))


def _smoothed(log_area: NDArray[np.float64], edge_mm: NDArray[np.float64], z_mm: NDArray) -> NDArray[np.float64]:
    """The series that fits the measured one best, each value to within its doubt (the sum in ``steady_area``)."""
    doubt = _LEAST_DOUBT + _DOUBT_PER_MM2 * np.maximum(0, edge_mm - _SHARP_MM) ** 2
    weight, stiffness = 1 / doubt**2, 1 / (_DRIFT_PER_MM * np.diff(z_mm))
    banded = np.zeros((2, len(z_mm)))  # the matrix of the normal equations is symmetric and tridiagonal
    banded[0, 1:] = -stiffness
    banded[1] = weight
    banded[1, :-1] += stiffness
    banded[1, 1:] += stiffness
    return np.asarray(solveh_banded(banded, weight * log_area))


def _within(
    chances: NDArray[np.float32], cord: NDArray[np.bool_], pixel_mm: tuple[float, float], contour: float
) -> NDArray[np.bool_]:
    """The region inside the contour (log-odds) that holds most of the cord; nothing where none is inside."""
    window = _around(cord, pixel_mm)
    labels, count = ndimage.label(_log_odds(chances[window].astype(np.float64)) >= contour, np.ones((3, 3), bool))
    shared = np.bincount(labels[cord[window]], minlength=count + 1)
    shared[0] = 0
    region = np.zeros_like(cord)
    if shared.any():
        region[window] = labels == int(np.argmax(shared))
    return region


def _log_odds(chance: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    within = np.clip(chance, 1e-6, 1 - 1e-6)
    return np.log(within / (1 - within))


def _moved(chances: NDArray[np.float32], log_odds: float) -> NDArray[np.float32]:
    """The probabilities with their log-odds lowered; 0 (not computed) and 1 stay."""
    return (chances / (chances + (1 - chances) * np.float32(np.exp(log_odds)))).astype(np.float32)
