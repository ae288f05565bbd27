"""The centreline of the cord and its tilt against the slices.

Two fits: the smoothing spline that a case is measured by, comparable with the Spinal Cord Toolbox's; and local lines
for comparing visits, because the spline spends one budget on the whole cord, so that its tilt in a slice depends on
where the scan ends (on 4 mm slices with centroids 0.2 mm off, by up to 2 % of a mean area).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import interpolate

_BUDGET_MM2 = 10.0  # residual budget per mm of slice thickness: 30/3, as the Spinal Cord Toolbox's at 1 mm pixels
_REACH_MM = 15.0  # of a local line: at 10 mm rough slices tilt it, at 25 mm it cuts the corners of a bent neck
_REACH_SPARE = 1.25  # beyond the third nearest slice, where slices are thick or missing


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


def fit_local_centreline(
    slices: NDArray[np.int64], x_mm: ArrayLike, y_mm: ArrayLike, slice_mm: float, at: NDArray[np.int64]
) -> Centreline:
    """As ``fit_centreline``, but every place is answered by the slices near it alone, wherever the cord ends.

    Straight lines by least squares with tricube weights (Cleveland 1979, doi 10.1080/01621459.1979.10481038) over
    15 mm to either side, or as far as the three nearest slices lie. One point: a straight line along the slice normal.
    Raises ValueError without any point.
    """
    z_mm = np.asarray(slices, dtype=np.float64) * slice_mm
    at_mm = np.asarray(at, dtype=np.float64) * slice_mm
    if not z_mm.size:
        raise ValueError("a centreline needs at least one slice with cord")
    away = z_mm[None, :] - at_mm[:, None]
    nearest = np.sort(np.abs(away), axis=1)[:, : min(3, len(z_mm))]
    reach = np.maximum(_REACH_MM, _REACH_SPARE * nearest[:, -1])
    weights = np.clip(1 - (np.abs(away) / reach[:, None]) ** 3, 0, None) ** 3
    x, slope_x = _local_lines(away, weights, np.asarray(x_mm, dtype=np.float64))
    y, slope_y = _local_lines(away, weights, np.asarray(y_mm, dtype=np.float64))
    return Centreline(x, y, slope_x, slope_y)


def _local_lines(
    away: NDArray[np.float64], weights: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Value and slope at each place; ``away``, ``weights``: (places, points)."""
    total = weights.sum(axis=1)
    middle, mean = (weights * away).sum(axis=1) / total, weights @ values / total
    apart = away - middle[:, None]
    spread = (weights * apart**2).sum(axis=1)
    slope = np.divide((weights * apart) @ values, spread, out=np.zeros_like(spread), where=spread > 0)
    return mean - slope * middle, slope
