"""Area of the cord in a slice from the probability, which knows of parts of pixels; a mask only counts whole ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_REACH_MM = 1.5  # a boundary pixel and its neighbour at clinical in-plane sizes; CSF lies beyond


def partial_volume_mm2(cord: NDArray[np.bool_], chances: NDArray[np.floating], pixel_mm: tuple[float, float]) -> float:
    """The sum of ``chances`` (0..1) over the cord and what lies within 1.5 mm of it, mm².

    ``cord``, ``chances``: a slice or a window of it, (rows, columns) of ``pixel_mm``, which leaves room for the reach
    around the cord unless the image ends there. The reach is at least one pixel. No cord: 0.
    """
    if not cord.any():
        return 0.0
    near = ndimage.distance_transform_edt(~cord, sampling=pixel_mm) <= reach_mm(pixel_mm) + 1e-6
    return float(chances[near].sum(dtype=np.float64)) * pixel_mm[0] * pixel_mm[1]


def reach_mm(pixel_mm: tuple[float, float]) -> float:
    """How far from the cord the probability counts."""
    return max(_REACH_MM, *pixel_mm)
