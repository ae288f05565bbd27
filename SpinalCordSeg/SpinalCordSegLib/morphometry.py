"""Measures of the cord: area, diameters and shape of every slice; volume, length and mean area over a range.

``measure`` is the way in. Everything is measured in the grid's own axes nearest to right, anterior and superior, so
that orientation and obliquity of the grid change no number: tilts are against the slice normal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import acos, atan, ceil, cos, degrees, floor, hypot, nan, radians, sin, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import interpolate, ndimage
from scipy.spatial import ConvexHull

from SpinalCordSegLib.flags import Flag, case_flag, merge_flags
from SpinalCordSegLib.postprocessing import CordMask, clean
from SpinalCordSegLib.slice_table import SliceTable, columns
from SpinalCordSegLib.volume import Volume, bounding_box


@dataclass(frozen=True, eq=False, kw_only=True)
class CordMeasures:
    """``slices``: the table of the slices, without flags, DICOM numbers and levels. ``line``: along which all lies.

    ``volume_mm3``, ``length_mm`` and their ratio: of the whole cord found; means, ``n_slices`` (see ``mean_csa``) and
    ``coverage`` (share 0..1 of the slices that have cord): over the range asked for. Diameters: of the slices of the
    mean area. Areas and diameters are NaN where they have no answer, lengths and volumes 0 without a cord.
    ``mean_csa_95_mm2``: half of the mean area's 95 % band, NaN unless a network drew it. ``removed_mm3``,
    ``filled_mm3``: before measuring.
    """

    volume_mm3: float = field(metadata={"decimals": 2})
    length_mm: float = field(metadata={"decimals": 3})
    volume_per_length_mm2: float = field(metadata={"decimals": 3})
    mean_csa_mm2: float = field(metadata={"decimals": 3})
    sd_csa_mm2: float = field(metadata={"decimals": 3})
    mean_ap_ellipse_mm: float = field(metadata={"decimals": 3})
    mean_rl_mm: float = field(metadata={"decimals": 3})
    n_slices: int
    coverage: float = field(metadata={"decimals": 4})
    range_volume_mm3: float = field(metadata={"decimals": 2})
    range_length_mm: float = field(metadata={"decimals": 3})
    removed_mm3: float = field(metadata={"decimals": 2})
    filled_mm3: float = field(metadata={"decimals": 2})
    mean_csa_95_mm2: float = field(default=nan, metadata={"decimals": 3})
    flags: tuple[Flag, ...] = ()
    slices: SliceTable = field(repr=False, metadata={"json": False})
    line: Centreline = field(repr=False, metadata={"json": False})


# The measurement itself: the centreline first, then every slice at a right angle to it.

COMPLETE = 0.98  # of a range's slices, as of a vertebral level's length
_TILTED_GRID_DEG = 10.0  # positioning by hand stays under it; axial slabs set square to the neck reach 20°-30°
_STEEP_CUT_DEG = 40.0  # the area is corrected by more than 30 %, and every error of the tilt with it


def measure(
    mask: Volume | CordMask,
    *,
    slice_range: tuple[int, int] | None = None,
    shape: bool = True,
) -> CordMeasures:
    """Measure a mask: cord where it is not zero, any orientation, straight or oblique.

    ``mask``: cleaned first unless it is a CordMask. ``slice_range``: half-open, counted from inferior. ``shape`` False
    leaves out what is slow (diameters, orientation, form, the comparison area: NaN), for areas that follow a brush.
    Empty mask: volume 0, NaN areas, flag "empty". Other kinds of flag: gap, border_contact, tilt, range, and those of
    the CordMask.
    """
    cord = mask if isinstance(mask, CordMask) else clean(mask)
    grid = cord.mask
    line = centreline(grid)
    slices, flags = _measure_slices(cord, line, shape)
    has_cord, (first, end) = ~slices.is_gap, slice_range or (0, grid.shape[0])
    chosen = has_cord & (slices.canonical_slice >= first) & (slices.canonical_slice < end)
    asked, with_cord = len(slices) if slice_range is None else end - first, np.count_nonzero(chosen)
    coverage = with_cord / asked if asked else 0.0
    if slice_range is not None and len(slices) and coverage < COMPLETE:
        text = f"cord in {with_cord} of the {asked} slices of the range asked for: the mean area is of these"
        if not with_cord:
            text = f"no cord in the {asked} slices of the range asked for: there is no mean area"
        flags.insert(0, case_flag("range", text))
    inside_mm = np.where(chosen, slices.length_mm, 0.0)
    mean, sd, n_slices = mean_csa(slices, inside_mm)
    volume_mm3 = float(np.count_nonzero(grid.voxels)) * grid.voxel_volume_mm3
    length_mm = float(slices.length_mm[has_cord].sum())
    return CordMeasures(
        slices=slices,
        line=line,
        volume_mm3=volume_mm3,
        length_mm=length_mm,
        volume_per_length_mm2=volume_mm3 / length_mm if length_mm > 0 else nan,
        mean_csa_mm2=mean,
        sd_csa_mm2=sd,
        mean_csa_95_mm2=mean_band_mm2(slices.csa_95_mm2, np.where(slices.is_imputed, 0, inside_mm)),
        mean_ap_ellipse_mm=_mean_diameter(slices, slices.ap_ellipse_mm, inside_mm),
        mean_rl_mm=_mean_diameter(slices, slices.rl_mm, inside_mm),
        n_slices=n_slices,
        coverage=coverage,
        range_volume_mm3=float(np.count_nonzero(grid.voxels[first:end])) * grid.voxel_volume_mm3,
        range_length_mm=float(slices.length_mm[chosen].sum()),
        removed_mm3=cord.removed_mm3,
        filled_mm3=cord.filled_mm3,
        flags=merge_flags(flags, cord.flags),
    )


def _measure_slices(found: CordMask, line: Centreline, shape: bool) -> tuple[SliceTable, list[Flag]]:
    """The slices from the first to the last with cord, and what to flag in them."""
    mask, n = found.mask, len(line.arc_mm)
    if not n:
        return SliceTable.of(), [case_flag("empty", "the mask is empty: the volume is 0 and there is no area")]
    flags = _grid_flags(mask, n)
    y_mm, x_mm = mask.pixel_mm
    numbers = [mask.to_input_slice(k) for k in line.canonical_slice.tolist()]
    z_mm = _heights_mm(mask)[line.canonical_slice]
    evidence = {name: values[line.canonical_slice] for name, values in found.evidence.items()}
    table = SliceTable.of(n, slice=numbers, canonical_slice=line.canonical_slice, z_mm=z_mm, **evidence)
    inside_contour = np.where(table.is_imputed, nan, table.network_area_mm2)
    for at, (number, k) in enumerate(zip(numbers, line.canonical_slice.tolist(), strict=True)):
        pixels = mask.voxels[k]
        rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
        if not rows.size:
            flags.append(Flag(number, k, "gap", "no cord in this slice, between slices with cord: no area here"))
            continue
        window = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
        if any(w.start == 0 or w.stop == count for w, count in zip(window, pixels.shape, strict=True)):
            text = "the cord touches the edge of the image: the area is too small"
            flags.append(Flag(number, k, "border_contact", text))
        slope_x, slope_y = float(line.slope_x[at]), float(line.slope_y[at])
        stretch = float(line.length_mm[at]) / mask.slice_mm
        if stretch * cos(radians(_STEEP_CUT_DEG)) > 1:
            text = f"the slice cuts the cord {degrees(acos(1 / stretch)):.0f}° off a right angle:"
            text += " its area depends on the tilt"
            flags.append(Flag(number, k, "tilt", text))
        table.length_mm[at] = line.length_mm[at]
        table.angle_ap_deg[at], table.angle_rl_deg[at] = degrees(atan(slope_x)), degrees(atan(slope_y))
        table.csa_raw_mm2[at] = inside_contour[at]
        if np.isnan(inside_contour[at]):
            table.csa_raw_mm2[at] = int(np.count_nonzero(pixels[window])) * x_mm * y_mm
        table.csa_mm2[at] = table.csa_raw_mm2[at] / stretch
        if shape:
            # [right, anterior]: columns run from right to left, rows from anterior to posterior
            ends = [count - w.stop for w, count in zip(window, pixels.shape, strict=True)]
            cosines = 1 / sqrt(1 + slope_x**2), 1 / sqrt(1 + slope_y**2)
            form = measure_shape(pixels[window][::-1, ::-1].T, (ends[1], ends[0]), (x_mm, y_mm), cosines)
            for name, value in form.items():
                getattr(table, name)[at] = value
    return table, flags


def _grid_flags(grid: Volume, n_slices: int) -> list[Flag]:
    flags = []
    if n_slices == 1:
        flags.append(case_flag("tilt", "only one slice has cord: its tilt is unknown and taken as none"))
    column = grid.voxel_to_ras[:3, 0]
    tilt_deg = degrees(acos(min(1.0, column[2] / float(np.linalg.norm(column)))))
    if tilt_deg > _TILTED_GRID_DEG:
        text = f"the slices are tilted by {tilt_deg:.0f}° against the scanner's axial plane; z is along their normal"
        flags.append(case_flag("tilt", text))
    return flags


def _heights_mm(grid: Volume) -> NDArray[np.float64]:
    """Position of every slice along the slice normal, mm, superior positive, 0 at the scanner's origin."""
    upwards, rows, columns, origin = grid.voxel_to_ras[:3].T
    normal = np.cross(columns, rows)
    normal *= np.sign(normal @ upwards) / np.linalg.norm(normal)
    return np.arange(len(grid.voxels), dtype=np.float64) * float(normal @ upwards) + float(normal @ origin)


def mean_csa(slices: SliceTable, inside_mm: NDArray[np.float64]) -> tuple[float, float, int]:
    """Mean and SD (with n/(n-1)) of the areas, mm², weighted by ``inside_mm``, how much of each slice's length counts;
    imputed slices are left out. And how many slices they rest on; without any NaN, with one the SD is NaN."""
    used = np.isfinite(slices.csa_mm2) & (inside_mm > 1e-9) & ~slices.is_imputed
    areas, lengths, n = slices.csa_mm2[used], inside_mm[used], int(np.count_nonzero(used))
    mean = float(np.average(areas, weights=lengths)) if n else nan
    sd = sqrt(float(np.average((areas - mean) ** 2, weights=lengths)) * n / (n - 1)) if n > 1 else nan
    return mean, sd, n


def _mean_diameter(slices: SliceTable, diameter_mm: NDArray[np.float64], inside_mm: NDArray[np.float64]) -> float:
    """Of the slices of the mean area; one of few pixels may have an area but no diameter."""
    used = np.isfinite(diameter_mm) & (inside_mm > 0) & ~slices.is_imputed
    return float(np.average(diameter_mm[used], weights=inside_mm[used])) if used.any() else nan


def without_sections(measures: CordMeasures) -> CordMeasures:
    """The same measures with every cross-sectional area and diameter NaN: volume and length stay, but not their ratio,
    which is the mean area in other words."""
    names = [column.name for column in columns() if column.is_section]
    nothing = np.full(len(measures.slices), nan)
    slices = replace(measures.slices, **dict.fromkeys(names, nothing))
    return replace(
        measures, slices=slices, volume_per_length_mm2=nan, mean_csa_mm2=nan, sd_csa_mm2=nan, mean_ap_ellipse_mm=nan,
        mean_rl_mm=nan, mean_csa_95_mm2=nan,
    )  # fmt: skip


_COMMON = 0.5  # share of the variance of a slice's area that all slices of an image have in common (docs/history.md)


def mean_band_mm2(bands_mm2: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Of the mean of several slices: half of what their bands say is common to all of an image, the rest averages
    out. NaN where one of those that count (``weights`` over 0) has no band, or none counts."""
    used = weights > 0
    if not used.any() or np.isnan(bands_mm2[used]).any():
        return float("nan")
    share = weights[used] / weights[used].sum()
    variance = float(share @ np.square(bands_mm2[used]))
    return float(np.sqrt(variance * (_COMMON + (1 - _COMMON) * float(np.sum(np.square(share))))))


# The centreline of the cord: its tilt against the slices, and a ruler along which positions are given in mm.
#
# Two fits, on purpose. A case is measured by the smoothing spline of the Spinal Cord Toolbox, whose published area is
# met to 1e-4 (local lines: 8e-4). Visits are compared by local lines, because the spline has one budget for the whole
# cord: its tilt in a slice depends on where the scan ends. On 31 masks of cords the mean areas of the two differ by
# 0.05 % in the median and 0.2 % at most; where the upper half of the cord is not scanned, the areas of the lower half
# change by up to 0.75 % with the spline and 0.36 % with local lines.

_BUDGET_MM2 = 10.0  # residual budget per mm of slice thickness: 30/3, as the Spinal Cord Toolbox's at 1 mm pixels
_REACH_MM = 15.0  # of a local line: at 10 mm rough slices tilt it, at 25 mm it cuts the corners of a bent neck
_REACH_SPARE = 1.25  # beyond the third nearest slice, where slices are thick or missing

Fit = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Position (mm) and slope (mm per mm along the slice normal) at the places asked for."""


@dataclass(frozen=True, eq=False)
class Centreline:
    """One entry per slice from the first to the last with cord, gaps included, inferior to superior.

    ``canonical_slice``: (n,). ``ras_mm``: (n, 3), the centreline in the slice. ``arc_mm``: (n,), distance along the
    cord from the lower face of the first slice to the middle of each; ``length_mm``: (n,), cord in each slice, which is
    √(1 + x'² + y'²) times its thickness. ``slope_x``, ``slope_y``: (n,), x' and y', mm to the right and to anterior per
    mm along the slice normal, so an oblique grid needs nothing more. An empty mask has arrays of length 0.
    """

    canonical_slice: NDArray[np.int64]
    ras_mm: NDArray[np.float64]
    arc_mm: NDArray[np.float64]
    length_mm: NDArray[np.float64]
    slope_x: NDArray[np.float64]
    slope_y: NDArray[np.float64]

    @property
    def end_mm(self) -> float:
        """The whole length, mm; 0 without cord."""
        return float(self.length_mm.sum())

    def nearest(self, point_ras_mm: Sequence[float]) -> tuple[float, float]:
        """Position along the cord of the point of the centreline nearest to ``point_ras_mm``, and how far off it is.

        Beyond its ends the line goes straight on, so positions under 0 and over ``end_mm`` are possible; one slice
        goes on along S. Both mm. Raises ValueError on a line without points.
        """
        if not len(self.arc_mm):
            raise ValueError("a line without points has no nearest one")
        point = np.asarray(point_ras_mm, dtype=np.float64)
        if len(self.arc_mm) == 1:
            apart = point - self.ras_mm[0]
            return float(self.arc_mm[0] + apart[2]), float(np.hypot(apart[0], apart[1]))
        steps = np.diff(self.ras_mm, axis=0)
        share = np.einsum("ij,ij->i", point - self.ras_mm[:-1], steps) / np.einsum("ij,ij->i", steps, steps)
        low, high = np.zeros(len(share)), np.ones(len(share))
        low[0], high[-1] = -np.inf, np.inf
        share = np.clip(share, low, high)
        offsets_mm = np.linalg.norm(self.ras_mm[:-1] + share[:, None] * steps - point, axis=1)
        best = int(np.argmin(offsets_mm))
        arc = self.arc_mm[best] + share[best] * (self.arc_mm[best + 1] - self.arc_mm[best])
        return float(arc), float(offsets_mm[best])

    def point_at(self, arc_mm: float) -> NDArray[np.float64]:
        """RAS mm of a position along the cord; beyond the ends: the end."""
        return np.array([np.interp(arc_mm, self.arc_mm, self.ras_mm[:, axis]) for axis in range(3)])

    def position_on(self, other: Centreline, arc_mm: float) -> float:
        """Where a position along this line is on ``other``, a line through the same slices; beyond the ends as far."""
        beyond = min(0.0, arc_mm - self.arc_mm[0]) + max(0.0, arc_mm - self.arc_mm[-1])
        return float(np.interp(arc_mm, self.arc_mm, other.arc_mm) + beyond)

    def at_slice(self, canonical_slice: int) -> NDArray[np.float64]:
        """RAS mm of the centreline in a slice; beyond its ends straight on."""
        beyond = canonical_slice - int(np.clip(canonical_slice, self.canonical_slice[0], self.canonical_slice[-1]))
        if beyond == 0:
            return self.ras_mm[canonical_slice - int(self.canonical_slice[0])]
        if len(self.arc_mm) == 1:
            return self.ras_mm[0] + [0.0, 0.0, beyond * float(self.length_mm[0])]
        end, inner = (-1, -2) if beyond > 0 else (0, 1)
        return self.ras_mm[end] + abs(beyond) * (self.ras_mm[end] - self.ras_mm[inner])


NO_LINE = Centreline(np.zeros(0, np.int64), np.zeros((0, 3)), *[np.zeros(0)] * 4)


def slice_centroids(pixels: NDArray) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Of pixels (n, rows, columns), not zero in the cord: the m slices that are not empty, row and column of their
    centroids (m, 2), and how many pixels they have (m,)."""
    box = bounding_box(pixels)
    if box is None:
        return np.zeros(0, np.int64), np.zeros((0, 2)), np.zeros(0, np.int64)
    cord = pixels[box] != 0
    counts = np.count_nonzero(cord, axis=(1, 2))
    filled = np.flatnonzero(counts)
    sums = [cord.sum(axis=3 - axis)[filled] @ np.arange(box[axis].start, box[axis].stop) for axis in (1, 2)]
    return filled + box[0].start, np.stack(sums, axis=1) / counts[filled, None], counts[filled]


def centreline(mask: Volume, fit: Callable[..., Fit] | None = None) -> Centreline:
    """The centreline of a mask (cord where not zero), through the unweighted centroids of its slices.

    ``fit``: of the centroids, ``fit_spline`` by default. An empty mask gives arrays of length 0.
    """
    _, n_rows, n_columns = mask.shape
    filled, centres, _ = slice_centroids(mask.voxels)
    if not filled.size:
        return NO_LINE
    slice_mm, y_mm, x_mm = mask.spacing_mm
    # From the voxel that lies farthest to the left and to posterior, so that x and y grow to right and anterior.
    y, x = (np.array([n_rows, n_columns]) - 1 - centres).T
    span, fit = np.arange(filled[0], filled[-1] + 1), fit or fit_spline
    (along_x, slope_x), (along_y, slope_y) = (fit(filled, mm, slice_mm, span) for mm in (x * x_mm, y * y_mm))
    places = np.stack([span, n_rows - 1 - along_y / y_mm, n_columns - 1 - along_x / x_mm, np.ones(len(span))])
    length_mm = slice_mm * np.sqrt(1.0 + slope_x**2 + slope_y**2)
    ras_mm = (mask.voxel_to_ras @ places)[:3].T
    return Centreline(span, ras_mm, np.cumsum(length_mm) - length_mm / 2, length_mm, slope_x, slope_y)


def fit_spline(slices: NDArray[np.int64], x_mm: ArrayLike, slice_mm: float, at: NDArray[np.int64]) -> Fit:
    """Smooth one coordinate of the centroids of the non-empty ``slices`` (at least one), at the slices ``at``.

    A cubic smoothing spline (FITPACK, linear for up to 3 points) whose residual sum of squares may reach
    (n_points/n_slices)²·10 mm²·(slice_mm/1 mm), n_slices from the first to the last non-empty slice. One point: a
    straight line along the slice normal.
    """
    z_mm, at_mm, values = slices * slice_mm, at * slice_mm, np.asarray(x_mm, dtype=np.float64)
    if len(z_mm) == 1:
        return np.full(at_mm.shape, values[0]), np.zeros(at_mm.shape)
    budget = (len(z_mm) / (slices[-1] - slices[0] + 1)) ** 2 * _BUDGET_MM2 * slice_mm
    spline = interpolate.splrep(z_mm, values, k=3 if len(z_mm) > 3 else 1, s=budget)
    return interpolate.splev(at_mm, spline), interpolate.splev(at_mm, spline, der=1)


def fit_local_lines(slices: NDArray[np.int64], x_mm: ArrayLike, slice_mm: float, at: NDArray[np.int64]) -> Fit:
    """As ``fit_spline``, but every place is answered by the slices near it alone, wherever the cord ends.

    Straight lines by least squares with tricube weights (Cleveland 1979, doi 10.1080/01621459.1979.10481038) over
    15 mm to either side, or as far as the three nearest slices lie. One point: a straight line along the slice normal.
    """
    away = slices[None, :] * slice_mm - at[:, None] * slice_mm  # (places, points)
    nearest = np.sort(np.abs(away), axis=1)[:, : min(3, len(slices))]
    reach = np.maximum(_REACH_MM, _REACH_SPARE * nearest[:, -1])
    weights = np.clip(1 - (np.abs(away) / reach[:, None]) ** 3, 0, None) ** 3
    total = weights.sum(axis=1)
    middle = (weights * away).sum(axis=1) / total
    apart = away - middle[:, None]
    spread, values = (weights * apart**2).sum(axis=1), np.asarray(x_mm, dtype=np.float64)
    slope = np.divide((weights * apart) @ values, spread, out=np.zeros_like(spread), where=spread > 0)
    return weights @ values / total - slope * middle, slope


# Shape of the cord in one slice, as seen at a right angle to the cord: diameters, orientation, form.
#
# The slice is shrunk by the cosines of the cord's two tilt angles, up-sampled to 0.1 mm and binarised, so that
# diameters do not jump by whole pixels. The definitions are those of the published norms (Spinal Cord Toolbox);
# shrinking and up-sampling are both separable, hence two small matrices a slice.


_FINE_MM = 0.1
_MOST_FINE_PIXELS = 1000  # per axis: 100 mm, so that a mask that is no cord at all cannot take minutes
_CHORD_HALF_WIDTH_MM = 1.5
_EDGE_MIDPOINTS = np.array([[0.5, 0.0], [-0.5, 0.0], [0.0, 0.5], [0.0, -0.5]])


def measure_shape(
    pixels: NDArray[np.bool_],
    origin: tuple[int, int],
    pixel_mm: tuple[float, float],
    cosines: tuple[float, float],
) -> dict[str, float]:
    """Shape of the cord in one slice, by the names of SliceTable's columns.

    ``pixels``: [right, anterior], a crop that holds the whole cord; ``origin``: index of its first pixel in the
    full slice (shrinking is about voxel (0, 0) of the full slice, whatever the crop); ``pixel_mm``: along both
    axes; ``cosines``: of the tilt within the right-superior and the anterior-superior plane.

    ``csa_sct_mm2``: grey sum of the shrunk slice, the Spinal Cord Toolbox's own area. ``rl_mm``, ``ap_ellipse_mm``:
    diameters 4√λ of the ellipse of equal second moments; ``rl_mm`` is the one within 45° of the right-left axis.
    ``ap_chord_mm``: mean extent over the central 3 mm, across the rl axis. ``orientation_deg``: of the rl axis,
    -45..45, positive where its right end points anterior. ``eccentricity`` 0..1 and ``solidity`` (area over the area of
    its hull). The area alone where shrinking leaves no pixel; nothing for no cord.
    """
    if not pixels.any():
        return {}
    shrink = [_shrink_matrix(pixels.shape[axis], origin[axis], cosines[axis]) for axis in range(2)]
    grey = shrink[0] @ pixels.astype(np.float64) @ shrink[1].T
    area = {"csa_sct_mm2": float(grey.sum()) * pixel_mm[0] * pixel_mm[1]}
    finest = [max(1, _MOST_FINE_PIXELS // count) for count in grey.shape]
    factors = [max(1, min(ceil(pixel_mm[axis] / _FINE_MM - 1e-6), finest[axis])) for axis in range(2)]
    centres = [(np.arange(n * factor) + 0.5) / factor - 0.5 for n, factor in zip(grey.shape, factors, strict=True)]
    enlarge = [_linear_weights(at, n) for at, n in zip(centres, grey.shape, strict=True)]
    fine = enlarge[0] @ grey @ enlarge[1].T > 0.5
    fine_mm = (pixel_mm[0] / factors[0], pixel_mm[1] / factors[1])
    return area | _describe(fine, fine_mm) if fine.any() else area


def _shrink_matrix(count: int, first: int, cosine: float) -> NDArray[np.float64]:
    """Rows: pixels i of the shrunk slice, which sample the full one at i/cosine; columns: the crop's pixels.

    One pixel of zeros is kept on both sides, so that up-sampling sees the mask's own edge.
    """
    low = max(0, floor((first - 1) * cosine)) - 1
    high = ceil((first + count) * cosine) + 1
    return _linear_weights(np.arange(low, high + 1) / cosine - first, count)


def _linear_weights(positions: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """(positions, count): linear interpolation between ``count`` samples, zero outside them."""
    return np.clip(1.0 - np.abs(positions[:, None] - np.arange(count)), 0.0, None)


def _describe(fine: NDArray[np.bool_], fine_mm: tuple[float, float]) -> dict[str, float]:
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
    return {
        "rl_mm": 4 * sqrt(rl_variance),
        "ap_ellipse_mm": 4 * sqrt(ap_variance),
        "ap_chord_mm": _chord_mm(fine, fine_mm, centre, angle),
        "orientation_deg": angle,
        "eccentricity": sqrt(1 - minor / major) if major > 0 else 0.0,
        "solidity": len(i) * fine_mm[0] * fine_mm[1] / _hull_area_mm2(fine, fine_mm),
    }


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
