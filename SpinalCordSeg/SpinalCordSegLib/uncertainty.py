"""How far the area of a slice may be off: from what the image shows of the edge, and the network.

Half widths of 95 % bands, fitted on simulated people whose areas are known (docs/history.md). They hold for what the
network drew; how much people differ in where they draw the edge is not in them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SpinalCordSegLib.postprocessing import CordMask, around, log_odds
from SpinalCordSegLib.volume import Volume

_OF_RAMP, _OF_NOISE = 0.94, 0.30
_RING_MM = (0.8, 2.6)  # inside and outside of the outline
_RAMP_MM = 2.0  # beyond the outline nothing belongs to its ramp
_MOST_NOISE = 3.0  # over the contrast


def with_bands(found: CordMask, probability: Volume, image: Volume, threshold: float) -> CordMask:
    """The same, the bands of all slices that are not imputed among its evidence. One grid for all three."""
    bands = np.full(len(found.mask.voxels), np.nan)
    cord, chances, grey = found.mask.voxels, probability.voxels, image.voxels
    for k in np.flatnonzero(cord.any(axis=(1, 2)) & (found.evidence["imputed"] == 0)):
        bands[k] = area_band_mm2(cord[k], chances[k], grey[k], threshold, image.pixel_mm)
    return replace(found, evidence={**found.evidence, "csa_95_mm2": bands})


def area_band_mm2(
    cord: NDArray[np.bool_], plane: NDArray, grey: NDArray, threshold: float, pixel_mm: tuple[float, float]
) -> float:
    """Of a slice's ``cord``, drawn at ``threshold`` in the probability ``plane`` of the image ``grey``.

    Two parts, added in squares: the width of the ramp of probability, Σ p(1 - p) over the pixels, which is the area
    that one unit of log-odds moves; and noise over the contrast of cord and surroundings, times the area.
    """
    window = around(cord, pixel_mm)
    cord, grey = cord[window], grey[window].astype(np.float64)
    chance = 1 / (1 + np.exp(log_odds(threshold) - log_odds(plane[window])))
    depth, beyond = (ndimage.distance_transform_edt(part, sampling=pixel_mm) for part in (cord, ~cord))
    inner, outer = ((away > _RING_MM[0]) & (away <= _RING_MM[1]) for away in (depth, beyond))
    inner = inner if np.count_nonzero(inner) > 6 else cord
    steps = [np.diff(grey, axis=axis)[np.minimum(*_pairs(depth, axis)) > 0.5] for axis in (0, 1)]
    change = np.abs(np.concatenate(steps))
    noise = 1.4826 * float(np.median(change)) / np.sqrt(2) if len(change) else 0.0
    contrast = abs(float(np.median(grey[inner]) - np.median(grey[outer]))) if outer.any() else 0.0
    relative = min(noise / contrast, _MOST_NOISE) if contrast > 0 else _MOST_NOISE
    pixel_mm2 = pixel_mm[0] * pixel_mm[1]
    ramp_mm2 = float((chance * (1 - chance))[beyond <= _RAMP_MM].sum()) * pixel_mm2
    return float(np.hypot(_OF_RAMP * ramp_mm2, _OF_NOISE * relative * np.count_nonzero(cord) * pixel_mm2))


def _pairs(values: NDArray, axis: int) -> tuple[NDArray, NDArray]:
    """Neighbours along an axis."""
    n = values.shape[axis]
    return np.take(values, range(n - 1), axis), np.take(values, range(1, n), axis)
