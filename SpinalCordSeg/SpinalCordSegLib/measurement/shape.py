"""Shape of the cord in one slice, as seen at a right angle to the cord: diameters, orientation, form.

The slice is shrunk by the cosines of the cord's two tilt angles, up-sampled to 0.1 mm and binarised, so that
diameters do not jump by whole pixels. The definitions are those of the published norms (Spinal Cord Toolbox);
shrinking and up-sampling are both separable, hence two small matrices a slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, cos, degrees, floor, hypot, nan, radians, sin, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull

_FINE_MM = 0.1
_MOST_FINE_PIXELS = 1000  # per axis: 100 mm, so that a mask that is no cord at all cannot take minutes
_CHORD_HALF_WIDTH_MM = 1.5
_EDGE_MIDPOINTS = np.array([[0.5, 0.0], [-0.5, 0.0], [0.0, 0.5], [0.0, -0.5]])


@dataclass(frozen=True)
class SliceShape:
    """``shrunk_area_mm2``: grey sum of the shrunk slice, the Spinal Cord Toolbox's own area.

    ``rl_mm``, ``ap_ellipse_mm``: diameters 4√λ of the ellipse of equal second moments; ``rl_mm`` is the one within
    45° of the right-left axis. ``ap_chord_mm``: mean extent over the central 3 mm, across the rl axis.
    ``orientation_deg``: of the rl axis, -45..45, positive where its right end points anterior.
    ``eccentricity`` 0..1 and ``solidity`` (area over the area of its hull). All NaN where nothing is left.
    """

    shrunk_area_mm2: float
    rl_mm: float
    ap_ellipse_mm: float
    ap_chord_mm: float
    orientation_deg: float
    eccentricity: float
    solidity: float


NO_SHAPE = SliceShape(nan, nan, nan, nan, nan, nan, nan)


def measure_shape(
    pixels: NDArray[np.bool_],
    origin: tuple[int, int],
    pixel_mm: tuple[float, float],
    cosines: tuple[float, float],
) -> SliceShape:
    """Shape of one slice.

    ``pixels``: [right, anterior], a crop that holds the whole cord; ``origin``: index of its first pixel in the
    full slice (shrinking is about voxel (0, 0) of the full slice, whatever the crop); ``pixel_mm``: along both
    axes; ``cosines``: of the tilt within the right-superior and the anterior-superior plane. Empty: NO_SHAPE.
    """
    if not pixels.any():
        return NO_SHAPE
    shrink = [_shrink_matrix(pixels.shape[axis], origin[axis], cosines[axis]) for axis in range(2)]
    grey = shrink[0] @ pixels.astype(np.float64) @ shrink[1].T
    shrunk_area_mm2 = float(grey.sum()) * pixel_mm[0] * pixel_mm[1]
    finest = [max(1, _MOST_FINE_PIXELS // count) for count in grey.shape]
    factors = [max(1, min(ceil(pixel_mm[axis] / _FINE_MM - 1e-6), finest[axis])) for axis in range(2)]
    enlarge = [_enlarge_matrix(grey.shape[axis], factors[axis]) for axis in range(2)]
    fine = enlarge[0] @ grey @ enlarge[1].T > 0.5
    fine_mm = (pixel_mm[0] / factors[0], pixel_mm[1] / factors[1])
    if not fine.any():
        return SliceShape(shrunk_area_mm2, nan, nan, nan, nan, nan, nan)
    return _describe(fine, fine_mm, shrunk_area_mm2)


def _shrink_matrix(count: int, first: int, cosine: float) -> NDArray[np.float64]:
    """Rows: pixels i of the shrunk slice, which sample the full one at i/cosine; columns: the crop's pixels.

    One pixel of zeros is kept on both sides, so that up-sampling sees the mask's own edge.
    """
    low = max(0, floor((first - 1) * cosine)) - 1
    high = ceil((first + count) * cosine) + 1
    return _linear_weights(np.arange(low, high + 1) / cosine - first, count)


def _enlarge_matrix(count: int, factor: int) -> NDArray[np.float64]:
    return _linear_weights((np.arange(count * factor) + 0.5) / factor - 0.5, count)


def _linear_weights(positions: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """(positions, count): linear interpolation between ``count`` samples, zero outside them."""
    return np.clip(1.0 - np.abs(positions[:, None] - np.arange(count)), 0.0, None)


def _describe(fine: NDArray[np.bool_], fine_mm: tuple[float, float], shrunk_area_mm2: float) -> SliceShape:
    i, j = np.nonzero(fine)
    x_mm, y_mm = i * fine_mm[0], j * fine_mm[1]
    centre = float(x_mm.mean()), float(y_mm.mean())
    xx, yy, xy = float(x_mm.var()), float(y_mm.var()), float(((x_mm - centre[0]) * (y_mm - centre[1])).mean())
    middle, spread = (xx + yy) / 2, hypot((xx - yy) / 2, xy)
    major, minor = middle + spread, max(middle - spread, 0.0)
    angle = degrees(np.arctan2(2 * xy, xx - yy)) / 2  # of the major axis, -90..90
    rl_variance, ap_variance = major, minor
    if abs(angle) >= 45:
        rl_variance, ap_variance = minor, major
        angle -= 90 if angle > 0 else -90
    return SliceShape(
        shrunk_area_mm2=shrunk_area_mm2,
        rl_mm=4 * sqrt(rl_variance),
        ap_ellipse_mm=4 * sqrt(ap_variance),
        ap_chord_mm=_chord_mm(fine, fine_mm, centre, angle),
        orientation_deg=angle,
        eccentricity=sqrt(1 - minor / major) if major > 0 else 0.0,
        solidity=len(i) * fine_mm[0] * fine_mm[1] / _hull_area_mm2(fine, fine_mm),
    )


def _chord_mm(
    fine: NDArray[np.bool_], fine_mm: tuple[float, float], centre_mm: tuple[float, float], angle_deg: float
) -> float:
    """Mean extent across the rl axis over the central 3 mm; over all there is where the mask is narrower."""
    along = np.arange(-_CHORD_HALF_WIDTH_MM, _CHORD_HALF_WIDTH_MM + _FINE_MM / 2, _FINE_MM)
    corners = [[0.0, count * mm] for count, mm in zip(fine.shape, fine_mm, strict=True)]
    reach_mm = max(hypot(x - centre_mm[0], y - centre_mm[1]) for x in corners[0] for y in corners[1])
    across = np.arange(-ceil(reach_mm / _FINE_MM), ceil(reach_mm / _FINE_MM) + 1) * _FINE_MM
    u, v = np.meshgrid(along, across, indexing="ij")
    turn = cos(radians(angle_deg)), sin(radians(angle_deg))
    x = (centre_mm[0] + u * turn[0] - v * turn[1]) / fine_mm[0]
    y = (centre_mm[1] + u * turn[1] + v * turn[0]) / fine_mm[1]
    inside = ndimage.map_coordinates(fine.astype(np.float32), [x, y], order=1)
    extents_mm = inside.sum(axis=1, dtype=np.float64) * _FINE_MM
    extents_mm = extents_mm[inside.max(axis=1) > 0.5]
    return float(extents_mm.mean()) if extents_mm.size else nan


def _hull_area_mm2(fine: NDArray[np.bool_], fine_mm: tuple[float, float]) -> float:
    """Area of the convex hull over the midpoints of the pixels' edges; only the ends of the columns matter."""
    columns = np.flatnonzero(fine.any(axis=1))
    low = fine[columns].argmax(axis=1)
    high = fine.shape[1] - 1 - fine[columns, ::-1].argmax(axis=1)
    ends = np.concatenate([np.stack([columns, low], axis=1), np.stack([columns, high], axis=1)])
    points = (ends[:, None, :] + _EDGE_MIDPOINTS).reshape(-1, 2)
    return float(ConvexHull(points).volume) * fine_mm[0] * fine_mm[1]
