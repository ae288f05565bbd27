"""A mask smoothed along the cord: steps from slice to slice go, the area of the stretch stays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.images.volume import Volume, to_canonical
from SpinalCordSegLib.measurement.outlines import OutlineStack

_CUT_OFF = 3.0  # standard deviations


def smooth_along_cord(mask: Volume, slices: tuple[int, int] | None = None, *, reach_mm: float = 3.0) -> Volume:
    """A new mask whose outlines are weighted means of their neighbours' along the centreline.

    ``mask``: cord where not zero, any orientation; the result is bool on the same grid. ``slices``: canonical,
    half-open, the ones to change (None: all); their neighbours outside count too and stay as they are. ``reach_mm``:
    standard deviation of the Gaussian along the slice normal. The signed distances from the outlines are averaged about
    the centreline; each slice's area becomes the weighted mean of its neighbours' areas. Slices without cord stay
    empty. Raises ConfigurationError for a range outside the volume or a reach that is not positive.
    """
    count = to_canonical(mask).shape[2]
    first, end = slices if slices is not None else (0, count)
    if not 0 <= first < end <= count:
        raise ConfigurationError(f"slices {first}:{end} do not fit {count} slices: give FIRST:END within them")
    if not reach_mm > 0:
        raise ConfigurationError(f"a reach of {reach_mm:g} mm smooths nothing: give a length over 0 mm")
    stack = OutlineStack.of(mask)
    if stack is None:
        return mask.with_voxels(np.zeros(mask.shape, bool))
    filled, centroids = stack.centres()
    course = stack.course(filled, centroids, filled)
    areas = np.count_nonzero(stack.voxels, axis=(0, 1))[filled].astype(np.float64)
    distances: dict[int, NDArray[np.float64]] = {}
    smoothed = {}
    for at in np.flatnonzero((filled >= first) & (filled < end)):
        apart_mm = (filled - filled[at]) * stack.spacing_mm[2]
        near = np.flatnonzero(np.abs(apart_mm) <= _CUT_OFF * reach_mm)
        weights = np.exp(-((apart_mm[near] / reach_mm) ** 2) / 2)
        weights /= weights.sum()
        for n in near.tolist():
            if n not in distances:
                distances[n] = stack.distance_mm(int(filled[n]), course[n])
        mean = np.tensordot(weights, np.stack([distances[n] for n in near.tolist()]), axes=1)
        smoothed[int(filled[at])] = stack.inside(mean, course[at], round(float(weights @ areas[near])))
    return stack.onto(mask, smoothed)
