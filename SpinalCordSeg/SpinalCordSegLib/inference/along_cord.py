"""Neighbouring slices steady each other: the probability averaged along the stack, over less than the cord changes in.

The network sees one slice at a time, so noise moves its outline from slice to slice; the cord's own outline hardly
changes within two millimetres. Slices thicker than 3.2 mm stay as they are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.images.volume import Volume, axial_slices

SIGMA_MM = 1.6
"""Chosen on ten simulated people of other seeds than those that models are judged on, and on two T2w volumes that are
trained on: with slices of 1 to 3.1 mm Dice changes by -0.002 to +0.009, the area's jitter from slice to slice falls by
a sixth, its mean changes by less than 1 %."""

_REACH = 2.0  # standard deviations
_LEAST = 0.02  # where no slice is more probable, averaging could not make cord


def average_along(probability: Volume, sigma_mm: float = SIGMA_MM, *, in_place: bool = False) -> Volume:
    """The same grid; every axial slice the mean of those within two ``sigma_mm``, Gaussian weights, the outermost slice
    repeated beyond the ends. Slices of 0 at the ends hold no image and lie beyond them. ``probability``: float32 0..1.
    ``in_place``: its voxels are written over, which spares a large volume its copy.

    0, slices thicker than that, and a single slice: the volume itself. Raises ConfigurationError for a negative or
    infinite ``sigma_mm``.
    """
    if not 0 <= sigma_mm < np.inf:
        raise ConfigurationError(f"averaging along the cord over {sigma_mm} mm: give 0 (off) or a length")
    slices = axial_slices(probability)
    count = len(slices.pixels)
    weights = _weights(sigma_mm, slices.slice_mm, count)
    if len(weights) == 1:
        return probability
    averaged = probability if in_place else probability.with_voxels(np.array(probability.voxels, dtype=np.float32))
    pixels = axial_slices(averaged).pixels
    rows, columns = _used(pixels)
    filled = [k for k, plane in enumerate(pixels) if plane.any()] or [0]
    first, last = filled[0], filled[-1]
    reach = len(weights) // 2
    # The slices as they were, those around the next one to be written: what lies behind is written over already.
    before = {k: pixels[k, rows, columns].copy() for k in range(first, min(first + reach, last + 1))}
    for at in range(first, last + 1):
        if at + reach <= last:
            before[at + reach] = pixels[at + reach, rows, columns].copy()
        near = np.clip(np.arange(at - reach, at + reach + 1), first, last)
        pixels[at, rows, columns] = sum(weight * before[int(k)] for weight, k in zip(weights, near, strict=True))
        before.pop(at - reach, None)
    return averaged


def reach_slices(sigma_mm: float, slice_mm: float) -> int:
    """How many slices each way take part."""
    return int(_REACH * sigma_mm / slice_mm)


def _weights(sigma_mm: float, slice_mm: float, count: int) -> NDArray[np.float32]:
    reach = reach_slices(sigma_mm, slice_mm) if count > 1 else 0
    if reach == 0:
        return np.ones(1, np.float32)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) * slice_mm / sigma_mm) ** 2)
    return (weights / weights.sum()).astype(np.float32)


def _used(pixels: NDArray[np.float32]) -> tuple[slice, slice]:
    """The rows and columns in which anything may be cord."""
    highest = np.zeros(pixels.shape[1:], np.float32)
    for plane in pixels:
        np.maximum(highest, plane, out=highest)
    used = highest >= _LEAST
    spans = (np.flatnonzero(used.any(axis=axis)) for axis in (1, 0))
    rows, columns = (slice(int(s[0]), int(s[-1]) + 1) if s.size else slice(0, 0) for s in spans)
    return rows, columns
