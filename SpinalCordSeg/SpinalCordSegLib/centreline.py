"""The centreline of the cord and its tilt against the slices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import interpolate

_BUDGET_MM2 = 10.0  # residual budget per mm of slice thickness: 30/3, as the Spinal Cord Toolbox's at 1 mm pixels


@dataclass(frozen=True, eq=False)
class Centreline:
    """Position and slope of the cord at the asked heights, all arrays of one length.

    ``x_mm``, ``y_mm``: along the grid's right and anterior axes from the centre of voxel (0, 0).
    ``slope_x``, ``slope_y``: dx/dz and dy/dz, mm per mm along the slice normal, so an oblique grid needs nothing more.
    """

    x_mm: NDArray[np.float64]
    y_mm: NDArray[np.float64]
    slope_x: NDArray[np.float64]
    slope_y: NDArray[np.float64]

    @property
    def stretch(self) -> NDArray[np.float64]:
        """√(1 + x'² + y'²) ≥ 1: cord length per mm of slice normal, and how much larger a slice cuts the cord."""
        return np.sqrt(1.0 + self.slope_x**2 + self.slope_y**2)


def fit_centreline(
    slices: NDArray[np.int64], x_mm: ArrayLike, y_mm: ArrayLike, slice_mm: float, at: NDArray[np.int64]
) -> Centreline:
    """Smooth the centroids (``x_mm``, ``y_mm``) of the non-empty ``slices`` and evaluate at the slices ``at``.

    Cubic smoothing splines (FITPACK, linear for up to 3 points) whose residual sum of squares may reach
    (n_points/n_slices)²·10 mm²·(slice_mm/1 mm), n_slices from the first to the last non-empty slice. One point: a
    straight line along the slice normal. Raises ValueError without any point.
    """
    z_mm = np.asarray(slices, dtype=np.float64) * slice_mm
    at_mm = np.asarray(at, dtype=np.float64) * slice_mm
    if not z_mm.size:
        raise ValueError("a centreline needs at least one slice with cord")
    density = len(z_mm) / (slices[-1] - slices[0] + 1)
    budget = density**2 * _BUDGET_MM2 * slice_mm
    x, slope_x = _smooth(z_mm, np.asarray(x_mm, dtype=np.float64), budget, at_mm)
    y, slope_y = _smooth(z_mm, np.asarray(y_mm, dtype=np.float64), budget, at_mm)
    return Centreline(x, y, slope_x, slope_y)


def _smooth(
    z_mm: NDArray[np.float64], values: NDArray[np.float64], budget: float, at_mm: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if len(z_mm) == 1:
        return np.full(at_mm.shape, values[0]), np.zeros(at_mm.shape)
    spline = interpolate.splrep(z_mm, values, k=3 if len(z_mm) > 3 else 1, s=budget)
    return interpolate.splev(at_mm, spline), interpolate.splev(at_mm, spline, der=1)
