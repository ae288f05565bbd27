"""Slices between two good ones, drawn anew: the outline changes steadily from one to the other along the centreline."""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.images.volume import Volume, to_canonical
from SpinalCordSegLib.measurement.outlines import OutlineStack


def fill_between(mask: Volume, first: int, last: int) -> Volume:
    """A new mask with the slices strictly between ``first`` and ``last`` replaced; those two and all others stay.

    ``mask``: cord where not zero, any orientation; the result is bool on the same grid. ``first`` < ``last``: canonical
    slices (counted from inferior) with good outlines. Between them the signed distance from the outline, about the
    centreline of all slices outside the gap, goes linearly from one end's to the other's (shape interpolation), and so
    does the root of the area.
    Raises ConfigurationError when there is nothing between them, or an end has no cord.
    """
    count = to_canonical(mask).shape[2]
    if not 0 <= first < last - 1 < count - 1:
        raise ConfigurationError(
            f"between slice {first} and slice {last} there is nothing to fill: give two of the {count} slices with at"
            " least one between them, the lower one first"
        )
    stack = OutlineStack.of(mask)
    for k in (first, last):
        if stack is None or not stack.voxels[:, :, k].any():
            raise ConfigurationError(f"slice {k} (from inferior) has no cord: draw it first, or choose the next one")
    assert stack is not None
    centres = _centres(stack, first, last)
    ends = stack.distance_mm(first, centres[0]), stack.distance_mm(last, centres[-1])
    roots = [sqrt(np.count_nonzero(stack.voxels[:, :, k])) for k in (first, last)]
    filled = {}
    for k in range(first + 1, last):
        share = (k - first) / (last - first)
        n_pixels = round(((1 - share) * roots[0] + share * roots[1]) ** 2)
        filled[k] = stack.inside((1 - share) * ends[0] + share * ends[1], centres[k - first], n_pixels)
    return stack.onto(mask, filled)


def _centres(stack: OutlineStack, first: int, last: int) -> NDArray[np.float64]:
    """Where the cord's centre lies from ``first`` to ``last``: on the centreline of the slices outside, moved so that
    it meets the centroids of both."""
    filled, centroids = stack.centres()
    known = (filled <= first) | (filled >= last)
    filled, centroids = filled[known], centroids[known]
    span = np.arange(first, last + 1)
    course = stack.course(filled, centroids, span)
    ends = [centroids[filled == k][0] for k in (first, last)]
    share = ((span - first) / (last - first))[:, None]
    return course + (1 - share) * (ends[0] - course[0]) + share * (ends[1] - course[-1])
