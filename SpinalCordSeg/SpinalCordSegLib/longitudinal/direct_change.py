"""Change of the cord's area between two visits, measured from both images at once by how far its edge has moved.

After the boundary shift integral of the cord (Prados et al. 2020, doi 10.1016/j.neuroimage.2020.116489). Both images
are sampled once, in planes at right angles to the cord, each visit about its own centreline. Their difference about the
contour is explained by a shift of the edge in proportion to its radius, with what else may differ: translation,
rotation, sharpness, and gain and offset by sector. The canal's wall stays where it is: of a profile that falls from
cord to wall, the part from the cord's signal to that of the fluid is the cord's edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot, nan, pi, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage
from scipy.spatial.transform import Rotation

from SpinalCordSegLib.morphometry import Centreline, centreline, fit_local_lines
from SpinalCordSegLib.volume import Volume, place_on

Array = NDArray[np.float64]

_STEP_MM = 1.0  # between planes
_RAYS = 64
_RING_MM = 0.2  # between the samples on a ray
_REACH_MM = 14.0
_OFFSETS_MM = np.arange(-1.6, 1.81, _RING_MM)  # of the samples from the contour that both visits share
_EDGE_MM, _MOVES_MM, _FADES_MM = 0.35, 0.6, 0.6  # the visible edge lies outside the contour; what moves with it
_WINDOW_MM = 2.0  # SD of the window along the cord in which one shift is fitted
_ROUNDS = 3
_SEEN_SE = 5.0  # scatter of a window over what the fit sees: its samples are finer than voxels, the model is a model
_MATCHINGS, _MATCHED_MM2 = 5, 0.03  # of the sharpness: attempts, and what may be left
_FLUID = 0.8  # of the rays of a plane that end in darker fluid: where the canal is narrow, they end in its wall
_LEAST_MM, _LEAST_SLICES = 15.0, 5
_LEAST_CORRELATION = 0.8
_LEAST_CONTRAST = 0.2
_MOST_SE = 1.5

_ANGLE = np.arange(_RAYS) * 2 * pi / _RAYS
_COS, _SIN = np.cos(_ANGLE)[None, :, None], np.sin(_ANGLE)[None, :, None]


@dataclass(frozen=True, eq=False)
class DirectChange:
    """Area of the second visit against that of the first. ``percent`` with its standard error ``se_percent``; NaN where
    ``refused`` (sentences) says why it does not hold.

    ``position_mm``, ``profile_percent``, ``profile_se_percent``: (n,) along the first cord as ``centreline`` counts,
    for windows of about 7 mm. ``correlation``: of the images about the contour, -1..1. ``blur_mm2``: by how much the
    variance of the second visit's edge is larger. ``contrast``: by which share of its signal cord is brighter than
    fluid (< 0: darker).
    """

    percent: float
    se_percent: float
    position_mm: Array
    profile_percent: Array
    profile_se_percent: Array
    correlation: float
    blur_mm2: float
    contrast: float
    refused: tuple[str, ...]


def direct_change(
    first: Volume, first_cord: Volume, second: Volume, second_cord: Volume, first_to_second: Array
) -> DirectChange:
    """How the cord's area changed from ``first`` to ``second``, two images of one scanner and protocol.

    ``…_cord``: mask or probability (0..1) on the image's grid or a part of it. ``first_to_second``: rigid, 4×4, RAS mm;
    it may be off by 5 mm along the cord. Cords that share less than 15 mm give a refusal, and so do images that differ
    too much. Raises GeometryError for a cord on another grid.
    """
    none, why = np.zeros(0), f"the two cords share less than {_LEAST_MM:g} mm"
    nothing = DirectChange(nan, nan, none, none, none, nan, nan, nan, (why,))
    if _is_short(first_cord) or _is_short(second_cord):
        return nothing
    pixel_mm = np.maximum(first.pixel_mm, second.pixel_mm)
    blur_mm2 = np.array([(first.slice_mm**2 - second.slice_mm**2) / 12, 0, 0])  # by how much the first is blurrier
    left_mm2 = 0.0
    for _ in range(_MATCHINGS):
        blur_mm2 = blur_mm2 - np.array([0, left_mm2, left_mm2])
        scans = _scan(first, first_cord, -blur_mm2, pixel_mm), _scan(second, second_cord, blur_mm2, pixel_mm)
        planes = _planes(scans, first_to_second, _offset_along(scans, first_to_second))
        if len(planes.position_mm) * _STEP_MM < _LEAST_MM:
            return nothing
        contour = _contour(scans, planes)
        area = (contour**2).mean(axis=1)
        found = _fit(scans, planes, contour)
        left_mm2 = float(np.average(found.blur_mm2, weights=area))
        if abs(left_mm2) < _MATCHED_MM2 or found.correlation < _LEAST_CORRELATION:
            break
    percent, se = _mean(found, area)
    se = hypot(se, _SE_OF_BLUR * blur_mm2[1:].mean(), _SE_OF_CHANGE * percent)
    refused = []
    if found.correlation < _LEAST_CORRELATION:
        refused.append(f"about the cord the images are too different (correlation {found.correlation:.2f})")
    elif abs(found.contrast) < _LEAST_CONTRAST:
        refused.append(f"fluid and cord are of nearly one grey (contrast {100 * abs(found.contrast):.0f} %)")
    elif se > _MOST_SE:
        refused.append(f"the change differs too much along the cord: standard error {se:.1f} %")
    if refused:
        percent = se = nan
    return DirectChange(
        percent, se, planes.position_mm, found.percent, found.se_percent, found.correlation,
        left_mm2 - float(blur_mm2[1:].mean()), found.contrast, tuple(refused),
    )  # fmt: skip


_AROUND_MM = np.arange(2.0, 32.1)  # vertebrae and muscles, which are a person's own
_COARSE = (0, 4, 3)  # planes, rays, mm: what is smoother than that, every neck has
ALIKE = 0.6  # two images of one person on one scanner are more alike
FARTHEST_MM = 6.0  # half a cord's width: beyond it, cord lies on something else
_ALONG_MM = np.arange(-24.0, 25.0, 3.0)
_TURNS = (-3, -2, -1, 0, 1, 2, 3)  # of the head, in rays: 17° at most
_MORE_ALIKE, _LEAST_ALIKE = 0.1, 0.4  # by so much, and so alike, where registration failed


def likeness(
    first: Volume, first_cord: Volume, second: Volume, second_cord: Volume, first_to_second: Array
) -> tuple[float, float, Array]:
    """How alike the surroundings of two cords are in what is fine, -1..1 (median correlation of planes across the
    cord); how alike with left and right exchanged in the second; and the motion. -1 where less than 15 mm are shared,
    NaN for cords of fewer than 5 slices.

    Of images of one contrast. Where they are not ALIKE as registration lays them, or the cords not on each other, cord
    is laid on cord at any height and turn of the head, and that motion given if it fits better: registration may fail.
    See ``direct_change``, also for the parameters.
    """
    if _is_short(first_cord) or _is_short(second_cord):
        return nan, nan, first_to_second
    scans = _scan(first, first_cord, np.zeros(3)), _scan(second, second_cord, np.zeros(3))
    (alike,) = _alike(scans, first_to_second, _offset_along(scans, first_to_second), (0,))
    (one, other), motion, least = (scan.line.ras_mm for scan in scans), first_to_second, _LEAST_ALIKE
    laid = one @ motion[:3, :3].T + motion[:3, 3]
    if np.median([scans[1].line.nearest(place.tolist())[1] for place in laid]) <= FARTHEST_MM:
        least = max(alike.max() + _MORE_ALIKE, least)
        if alike.max() > ALIKE:
            return float(alike[0]), float(alike[1]), motion
    upwards = (other[-1] - other[0]) / np.linalg.norm(other[-1] - other[0])
    for along_mm in _ALONG_MM:
        moved = np.eye(4)
        moved[:3, 3] = other.mean(axis=0) - one.mean(axis=0) + along_mm * upwards
        found = _alike(scans, moved, 0.0, _TURNS)
        best = int(found.max(axis=1).argmax())
        if found[best].max() > least:
            least, alike, motion = found[best].max(), found[best], moved.copy()
            motion[:3, :3] = Rotation.from_rotvec(_TURNS[best] * _ANGLE[1] * upwards).as_matrix()
            motion[:3, 3] += one.mean(axis=0) - motion[:3, :3] @ one.mean(axis=0)
    return float(alike[0]), float(alike[1]), motion


def _is_short(cord: Volume) -> bool:
    return int(np.count_nonzero((cord.voxels >= 0.5).any(axis=(1, 2)))) < _LEAST_SLICES


def _alike(scans: tuple[_Scan, _Scan], first_to_second: Array, along_mm: float, turns: tuple[int, ...]) -> Array:
    """(turns, 2): as they are, and with left and right exchanged in the second; turned by so many rays."""
    planes = _planes(scans, first_to_second, along_mm)
    if len(planes.position_mm) * _STEP_MM < _LEAST_MM:
        return np.full((len(turns), 2), -1.0)
    fine = []
    for visit, scan in enumerate(scans):
        values = scan.image_at(planes.points(visit, _COS * _AROUND_MM, _SIN * _AROUND_MM))
        values = values - ndimage.gaussian_filter(values, _COARSE, mode=("nearest", "wrap", "nearest"))
        values -= values.mean(axis=(1, 2), keepdims=True)
        fine.append(values / (np.sqrt((values**2).sum(axis=(1, 2), keepdims=True)) + 1e-9))
    mirrored = fine[1][:, (_RAYS // 2 - np.arange(_RAYS)) % _RAYS]
    both = [[np.roll(other, -turn, axis=1) for other in (fine[1], mirrored)] for turn in turns]
    return np.array([[np.median((fine[0] * other).sum(axis=(1, 2))) for other in pair] for pair in both])


# ---- Sampling


@dataclass(frozen=True, eq=False)
class _Scan:
    """One visit, cut to the cord's surroundings. ``spline``: coefficients of the image; ``cord``: 0..1."""

    spline: NDArray[np.float32]
    cord: NDArray[np.float32]
    ras_to_voxel: Array
    line: Centreline

    def image_at(self, ras_mm: Array) -> Array:
        return self._at(self.spline, ras_mm, 3)

    def cord_at(self, ras_mm: Array) -> Array:
        return self._at(self.cord, ras_mm, 1)

    def _at(self, array: NDArray[np.float32], ras_mm: Array, order: int) -> Array:
        at = np.moveaxis(ras_mm @ self.ras_to_voxel[:3, :3].T + self.ras_to_voxel[:3, 3], -1, 0)
        return np.asarray(ndimage.map_coordinates(array, at, order=order, prefilter=False, mode="nearest"))


def _scan(image: Volume, cord: Volume, blur_mm2: Array, pixel_mm: Array | None = None) -> _Scan:
    """``blur_mm2``: variance to add along slices, rows and columns; negative: none. ``pixel_mm``: of the coarser image,
    whose frequencies alone are kept: a scanner cuts them off, and the ringing of that moves edges."""
    cord = place_on(cord, image)
    inside = cord.voxels if cord.voxels.dtype == bool else cord.voxels >= 0.5
    line = centreline(cord.with_voxels(inside), fit_local_lines)
    filled, spacing = np.argwhere(inside), np.array(image.spacing_mm)
    reach = np.ceil(2 * _REACH_MM / spacing).astype(int)
    low = np.maximum(filled.min(axis=0) - reach, 0)
    high = np.minimum(filled.max(axis=0) + reach + 1, image.shape)
    window = tuple(map(slice, low, high))
    matrix = image.voxel_to_ras.copy()
    matrix[:3, 3] += matrix[:3, :3] @ low
    voxels = image.voxels[window].astype(np.float32)
    for axis, mm in enumerate([] if pixel_mm is None else pixel_mm, 1):
        waves = np.moveaxis(fft.dct(voxels, axis=axis), axis, 0)
        waves[round(len(waves) * spacing[axis] / mm) :] = 0
        voxels = fft.idct(np.moveaxis(waves, 0, axis), axis=axis)
    voxels = ndimage.gaussian_filter(voxels, np.sqrt(np.maximum(blur_mm2, 0)) / spacing)
    spline = ndimage.spline_filter(voxels, order=3, output=np.float32)
    return _Scan(spline, cord.voxels[window].astype(np.float32), np.linalg.inv(matrix), line)


@dataclass(frozen=True, eq=False)
class _Planes:
    """``position_mm``: (n,) along the first cord; ``centre_mm``: (visits, n, 3) RAS; ``axes``: (visits, n, 2, 3), unit
    vectors in each plane."""

    position_mm: Array
    centre_mm: Array
    axes: Array

    def points(self, visit: int, x_mm: Array, y_mm: Array) -> Array:
        """RAS mm of places in each plane, (n or 1, ...)."""
        centre, axes = self.centre_mm[visit][:, None, None], self.axes[visit][:, :, None, None]
        return centre + x_mm[..., None] * axes[:, 0] + y_mm[..., None] * axes[:, 1]


def _planes(scans: tuple[_Scan, _Scan], first_to_second: Array, along_mm: float) -> _Planes:
    """Where both have cord, but for the slices at its ends; ``along_mm``: added to the second's positions."""
    first, second = (scan.line for scan in scans)
    turn = first_to_second[:3, :3]
    here = np.arange(first.arc_mm[1], first.arc_mm[-2], _STEP_MM)
    places = _between(here, first, first.ras_mm) @ turn.T + first_to_second[:3, 3]
    there = np.array([second.nearest(place.tolist())[0] for place in places]) + along_mm
    both = (there >= second.arc_mm[1]) & (there <= second.arc_mm[-2])
    centres, axes = [], []
    for line, at, right in ((first, here[both], np.eye(3)[0]), (second, there[both], turn[:, 0])):
        along = _between(at, line, np.gradient(line.ras_mm, line.arc_mm, axis=0))
        along /= np.linalg.norm(along, axis=1)[:, None]
        across = right - (along @ right)[:, None] * along
        across /= np.linalg.norm(across, axis=1)[:, None]
        centres.append(_between(at, line, line.ras_mm))
        axes.append(np.stack([across, np.cross(along, across)], axis=1))
    return _Planes(here[both], np.stack(centres), np.stack(axes))


def _between(at_mm: Array, line: Centreline, values: Array) -> Array:
    return np.stack([np.interp(at_mm, line.arc_mm, column) for column in values.T], axis=1)


def _offset_along(scans: tuple[_Scan, _Scan], first_to_second: Array) -> float:
    """By how much the second's positions have to grow for the surroundings of the cords to agree best, mm: rigid
    registration of necks is off by up to 3 mm along the cord."""
    radii, shifts, scores = np.arange(3.0, 24.1, 1.5), np.arange(-6.0, 6.1), []
    x, y = _COS[:, ::2] * radii, _SIN[:, ::2] * radii
    for shift in shifts:
        planes = _planes(scans, first_to_second, float(shift))
        pair = [scan.image_at(planes.points(visit, x, y)) for visit, scan in enumerate(scans)]
        pair = [one - one.mean(axis=(1, 2), keepdims=True) for one in pair]
        pair = [one / (one.std(axis=(1, 2), keepdims=True) + 1e-9) for one in pair]
        scores.append(float((pair[0] * pair[1]).mean()) if len(planes.position_mm) else -1.0)
    best = int(np.clip(np.argmax(scores), 1, len(scores) - 2))
    before, top, after = scores[best - 1 : best + 2]
    bend = before - 2 * top + after
    return float(shifts[best] + (np.clip((before - after) / (2 * bend), -1, 1) if bend < 0 else 0))


def _contour(scans: tuple[_Scan, _Scan], planes: _Planes) -> Array:
    """(planes, rays) radius in mm of the contour of both cords together, smooth."""
    radii = (np.arange(round(_REACH_MM / _RING_MM)) + 0.5) * _RING_MM
    squares = np.zeros((len(planes.position_mm), _RAYS))
    for visit, scan in enumerate(scans):
        inside = np.minimum.accumulate(scan.cord_at(planes.points(visit, _COS * radii, _SIN * radii)), axis=2)
        squares += (inside * radii).sum(axis=2) * _RING_MM
    waves = np.fft.rfft(np.sqrt(squares), axis=1)
    waves[:, 7:] = 0
    return ndimage.gaussian_filter1d(np.fft.irfft(waves, _RAYS, axis=1), 1.5 / _STEP_MM, axis=0)


# ---- The fit


@dataclass(frozen=True, eq=False)
class _Fit:
    """Per plane: change of area in % with its standard error, ``blur_mm2``; ``correlation``, ``contrast`` of all."""

    percent: Array
    se_percent: Array
    blur_mm2: Array
    correlation: float
    contrast: float


def _fit(scans: tuple[_Scan, _Scan], planes: _Planes, contour: Array) -> _Fit:
    """Gauss-Newton with Huber's weights; translation and rotation are put on the samples themselves, half on each
    visit, until nothing of them is left in the difference. The shift is not: it would move the canal's wall."""
    n, edge_at = len(contour), np.clip((np.abs(_OFFSETS_MM - _EDGE_MM) - _MOVES_MM) / _FADES_MM, 0, 1)
    edge = 1 - edge_at**2 * (3 - 2 * edge_at)
    base = contour[:, :, None]
    radius = np.maximum(base + _OFFSETS_MM, 0.3)
    sectors = [np.ones_like(_COS), _COS, _SIN, np.cos(2 * _ANGLE)[None, :, None], np.sin(2 * _ANGLE)[None, :, None]]
    motion = np.zeros((n, 3))  # x, y, rotation
    step_limit, limit = np.array([0.5, 0.5, 0.04]), np.array([1.5, 1.5, 0.2])
    robust, x, y = np.ones((n, radius[0].size)), _COS * radius, _SIN * radius
    for _ in range(_ROUNDS):
        images = []
        for visit, scan in enumerate(scans):
            right, front, turn = ((visit - 0.5) * motion.T)[:, :, None, None]
            places = planes.points(visit, x - turn * y + right * edge, y + turn * x + front * edge)
            images.append(scan.image_at(places))
        one, other = ((image - image.mean()) / (image.std() + 1e-9) for image in images)
        mean = ndimage.gaussian_filter((one + other) / 2, (2 / _STEP_MM, 1, 0), mode=("nearest", "wrap", "nearest"))
        outwards = np.gradient(mean, _RING_MM, axis=2)
        around = _by_angle(mean) - outwards * _by_angle(contour)[:, :, None]
        cords_edge, cord, fluid = _edge_alone(mean)
        columns = [
            cords_edge * base * edge,
            (_COS * outwards - _SIN * around / radius) * edge,
            (_SIN * outwards + _COS * around / radius) * edge,
            around,
            np.gradient(outwards, _RING_MM, axis=2) * edge,
            *(sector * part for sector in sectors for part in (np.ones_like(mean), mean)),
        ]
        design = np.stack(columns, axis=-1).reshape(n, -1, len(columns))
        scale = np.sqrt((design**2).mean(axis=(0, 1))) + 1e-12
        design /= scale
        difference, weights = (other - one).reshape(n, -1), radius.reshape(n, -1) * robust
        weighted = design * weights[:, :, None]
        normal = _windowed(weighted.transpose(0, 2, 1) @ design)
        normal += 1e-5 * np.trace(normal, axis1=1, axis2=2)[:, None, None] / len(columns) * np.eye(len(columns))
        solved = np.linalg.solve(normal, _windowed((weighted * difference[:, :, None]).sum(axis=1))[..., None])[..., 0]
        left = difference - (design @ solved[..., None])[..., 0]
        spread = 1.4826 * np.median(np.abs(left), axis=1)[:, None] + 1e-9
        robust = np.minimum(1, 2.5 * spread / np.maximum(np.abs(left), 1e-9))
        step = np.clip(solved[:, 1:4] / scale[1:4], -step_limit, step_limit)
        motion = np.clip(motion - step, -limit, limit)
    variance = np.linalg.inv(normal)[:, 0, 0] * (weights * left**2).sum(axis=1) / weights.sum(axis=1)
    shift = -solved[:, 0] / scale[0]
    percent = 100 * (((1 + shift / 2) / (1 - shift / 2)) ** 2 - 1)
    correlation = float((one * other).mean())
    black = -np.mean([image.mean() / (image.std() + 1e-9) for image in images])
    return _Fit(
        percent, 200 * _SEEN_SE * np.sqrt(variance) / scale[0], 2 * solved[:, 4] / scale[4], correlation,
        float(np.median((cord - fluid) / (cord - black))),
    )  # fmt: skip


def _edge_alone(mean: Array) -> tuple[Array, Array, Array]:
    """Gradient outwards of the cord's edge without that of the canal's wall; levels of cord and fluid in each plane."""
    cord = _windowed(mean[:, :, _OFFSETS_MM < -_MOVES_MM].mean(axis=(1, 2)))
    outside = mean[:, :, _OFFSETS_MM > _EDGE_MM]
    sign = 1.0 if np.median(cord) > np.median(outside) else -1.0  # dark fluid
    darkest = np.quantile((sign * outside).min(axis=2), _FLUID, axis=1)
    fluid = _windowed(ndimage.median_filter(darkest, 9, mode="nearest"))
    until = (
        np.maximum(sign * mean, fluid[:, None, None]) if sign > 0 else -mean
    )  # bright fluid ends at its wall by itself
    falls = _OFFSETS_MM > -_EDGE_MM
    until[:, :, falls] = np.minimum.accumulate(until[:, :, falls], axis=2)
    return sign * np.gradient(until, _RING_MM, axis=2), cord, sign * fluid


def _by_angle(values: Array) -> Array:
    return (np.roll(values, -1, axis=1) - np.roll(values, 1, axis=1)) / (2 * _ANGLE[1])


def _windowed(sums: Array) -> Array:
    return ndimage.gaussian_filter1d(sums, _WINDOW_MM / _STEP_MM, axis=0, mode="nearest", truncate=3)


# ---- The mean along the cord


_OWN_SD = 1.5  # of windows, %
_TOGETHER_MM = 12.0  # windows nearer than this err alike
_FLOOR_SE = 0.15
_MORE_SE = 1.5  # simulated pairs err by so much more than their windows scatter: what is wrong alike in all of them
_SE_OF_CHANGE = 0.05  # of persons, by what lies still about the cord
_SE_OF_BLUR = 1.0  # % for each mm² by which one image had to be blurred


def _mean(found: _Fit, area: Array) -> tuple[float, float]:
    """Mean change of the area in % and its standard error, from how the windows scatter about a line along the cord."""
    variance = _OWN_SD**2 + found.se_percent**2
    off = (found.percent - ndimage.median_filter(found.percent, 25, mode="nearest")) / np.sqrt(variance)
    weights = area / variance * np.minimum(1, 3 / np.maximum(np.abs(off), 1e-9))
    n, mean = len(area), float(np.average(found.percent, weights=weights))
    line = np.polynomial.Polynomial.fit(np.arange(n), found.percent, 1, w=np.sqrt(weights))
    left = weights * (found.percent - line(np.arange(n)))
    reach = round(_TOGETHER_MM / _STEP_MM)
    squares = float(left @ left)
    for lag in range(1, min(reach, n)):
        squares += 2 * (1 - lag / reach) * float(left[lag:] @ left[:-lag])
    variance_of_mean = max(squares, 0) * (1 + 2 * reach / n) / float(weights.sum()) ** 2
    return mean, _MORE_SE * sqrt(variance_of_mean + _FLOOR_SE**2)
