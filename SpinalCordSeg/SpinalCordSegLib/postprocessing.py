"""From the probability of cord to the mask of the cord, and how much of its outline the image shows.

``smooth_z`` smooths thin slices along z. ``find_cord`` takes the path of the cord through the regions above the
threshold and cuts its unsure upper end; where the image shows no edge, the outline is moved until the area follows the
other slices': such a slice is imputed, and marked. ``clean`` takes the same path through a mask made elsewhere.
Where the constants come from: docs/history.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.linalg import solveh_banded

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.flags import Flag, case_flag
from SpinalCordSegLib.volume import Volume, bounding_box, place_on

SMOOTH_Z_MM = 0.8
"""Standard deviation of the smoothing along z; slices within two of them take part."""
LEAST_PATH_THRESHOLD = 0.1
"""The prediction computes the region of interest alone only for thresholds from here on."""

_REGIONS_PER_SLICE = 8
_AREA_MM2, _LIKENESS = (4, 20, 45, 130, 170, 300), (0, 0.7, 1, 1, 0.8, 0)  # how much an area is like a cord's
_ENTRY_PRICE = 0.5  # per mm: what a region must look like at least to lengthen the path
_GAP_PRICE, _LONGEST_GAP_MM = 0.5, 15.0  # per missing mm; parts further apart are not joined
_FREE_TILT, _FREE_MM = 0.6, 1.5  # sideways mm per mm of height, and beyond it, that cost next to nothing
_STEEPEST_TILT, _STEEPEST_MM = 0.35, 4.0  # what lies further aside is no continuation
_SHORTEST_MM, _LEAST_PEAK = 8.0, 0.85  # of a cord that ends within the image; of the surest slice of any cord
_AS_SURE, _QUANTILE, _FADE_MM = 0.9, 0.75, 30.0  # the upper end: share of the certainty below it; most that is cut
_LIKE, _CONTAINED, _OPEN, _OPEN_MM = 0.2, 2.0, 4.0, 6.0  # see ends_below_brain
_LOOK_DOWN_MM, _LOOK_UP_MM, _ABOVE_END_MM, _BESIDE_MM = 20.0, 45.0, 10.0, 35.0
_SECTORS, _RING_MM = 12, (0.8, 2.6)  # the image on both sides of the outline, without the outline's own blur
_STEP = 0.15  # an edge: grey values that differ by this share of the cord's
LEAST_SEEN = 0.75
"""A slice is left as it is where the image shows an edge along this share of its outline."""
_SEEN_SD, _UNSEEN_SD = 0.05, 0.4  # of the log area of a slice whose outline is seen in full, and not at all
_DRIFT_PER_MM = 6e-4  # variance of the change of log area
_OUTER, _INNER = -2.0, 4.0  # log-odds over the threshold between which an outline is moved
_AROUND_MM = 6.0
_FINE = 8  # parts of a pixel's side, for areas inside a contour
_EIGHT = np.ones((3, 3), bool)  # neighbours in a slice


@dataclass(frozen=True, eq=False)
class CordMask:
    """``mask``: bool, at most one region in every axial slice, without holes; it may be empty. ``removed_mm3``,
    ``filled_mm3``: what was left off as no cord, and holes. ``evidence``: of a network's mask, columns of the slice
    table by name, a value for every slice of the volume: ``network_area_mm2`` inside the network's own contour,
    ``confidence``, ``seen_edge`` (all NaN without cord) and ``imputed`` (1 or 0). ``upper_end``: the canonical slice in
    which the cord itself ends, brain in view above it; None: the image ends there, or it is not known."""

    mask: Volume
    flags: tuple[Flag, ...] = ()
    removed_mm3: float = 0.0
    filled_mm3: float = 0.0
    evidence: Mapping[str, NDArray] = field(default_factory=dict)
    upper_end: int | None = None


@dataclass(frozen=True, eq=False)
class Region:
    """One region of slice ``k``: its ``window`` in the slice, the pixels ``inside``, its centroid (row, column; mm),
    how much it looks like cord (0..1) and the mean probability inside, with odds over those of the threshold."""

    k: int
    window: tuple[slice, slice]
    inside: NDArray[np.bool_]
    at_mm: NDArray[np.float64]
    pixels: int
    likeness: float
    confidence: float


def check_threshold(threshold: float) -> None:
    """Raise ConfigurationError unless 0 < ``threshold`` < 1."""
    if not 0 < threshold < 1:
        raise ConfigurationError(f"the threshold is {threshold}, expected a number between 0 and 1")


def smoothing_reach(sigma_mm: float, slice_mm: float) -> int:
    """How many slices each way take part."""
    return int(2 * sigma_mm / slice_mm)


def smooth_z(probability: Volume, sigma_mm: float = SMOOTH_Z_MM) -> Volume:
    """In place, and gives the volume: Gaussian weights, the outermost slice repeated beyond the ends; slices of 0 there
    hold no image. 0, thick slices, a single one change nothing.

    Raises ConfigurationError for a negative or infinite length.
    """
    if not 0 <= sigma_mm < np.inf:
        raise ConfigurationError(f"the smoothing along z is {sigma_mm} mm: give 0 (off) or a length in mm")
    reach = smoothing_reach(sigma_mm, probability.slice_mm)
    filled = np.flatnonzero(probability.voxels.any(axis=(1, 2)))
    box = bounding_box(probability.voxels >= 0.02)  # where none is more probable, smoothing could not make cord
    if reach < 1 or filled.size < 2 or box is None:
        return probability
    part = slice(int(filled[0]), int(filled[-1]) + 1), *box[1:]
    voxels, sd = probability.voxels, sigma_mm / probability.slice_mm
    voxels[part] = ndimage.gaussian_filter1d(voxels[part], sd, axis=0, mode="nearest", radius=reach)
    return probability


def find_cord(probability: Volume, image: Volume, threshold: float = 0.5, *, impute: bool = True) -> CordMask:
    """The regions of at least ``threshold`` that continue each other as a cord does, on the grid of ``probability``
    (float32 0..1, exactly 0 in slices that were not computed) and ``image``. ``impute`` False moves no outline.

    No cord is an answer: an empty mask. Raises ConfigurationError (threshold), GeometryError for different grids.
    """
    check_threshold(threshold)
    image = place_on(image, probability, ("the image", "the probability map"))
    chances, pixel_mm, slice_mm = probability.voxels, probability.pixel_mm, probability.slice_mm
    computed = np.flatnonzero(chances.any(axis=(1, 2))).tolist()
    path = best_path([r for k in computed for r in find_regions(chances[k], k, threshold, pixel_mm)], slice_mm)
    kept = path if _is_cord(path, computed, slice_mm) else []
    ends = False
    if kept and kept[-1].k != computed[-1]:  # a cord that leaves the image does not end
        kept, ends = cut_unsure_top(kept, slice_mm)
    mask = _drawn(kept, chances.shape)
    upper_end = kept[-1].k if ends and ends_below_brain(image, mask, kept[-1].k) else None
    area_mm2, confidence, seen = np.full((3, len(mask)), np.nan)
    for region in kept:
        k = region.k
        area_mm2[k] = contour_area_mm2(mask[k], chances[k], threshold, pixel_mm)
        confidence[k], seen[k] = region.confidence, seen_edge(mask[k], image.voxels[k], pixel_mm)
    moved = _impute(mask, chances, seen, threshold, probability) if impute else []
    imputed = np.isin(np.arange(len(mask)), moved).astype(np.int64)
    evidence = {"network_area_mm2": area_mm2, "confidence": confidence, "seen_edge": seen, "imputed": imputed}
    above = np.count_nonzero(chances >= threshold)
    removed_mm3 = (above - sum(region.pixels for region in kept)) * probability.voxel_volume_mm3
    flags = []
    if not kept:
        reason = f"{removed_mm3:.0f} mm³ above the threshold, none of it like a cord"
        flags.append(case_flag("empty", f"no cord was found: {reason if above else 'no voxel reaches the threshold'}"))
    elif len(kept) < len(path):
        text = f"the cord's upper end was cut {len(path) - len(kept)} slices below the end of what the network found,"
        flags.append(case_flag("cord_end", f"{text} where it was no longer sure: look there"))
    return CordMask(probability.with_voxels(mask), tuple(flags), removed_mm3, 0.0, evidence, upper_end)


def clean(mask: Volume) -> CordMask:
    """A mask made elsewhere (any dtype, cord where not zero) as one region of cord per slice, holes filled.

    Kept is the best path through its regions, each like a cord as far as it is not far smaller than the other slices'.
    An empty mask stays empty. Flags of kind "cleaned" state what was removed and filled.
    """
    given = mask.voxels != 0
    found = [r for k, plane in enumerate(given) for r in find_regions(plane.astype(np.float32), k, 0.5, mask.pixel_mm)]
    largest = {region.k: region.pixels for region in reversed(found)}  # the first of a slice is its largest
    usual = float(np.median(list(largest.values()) or [1]))
    # A drawn slice is worth more than any jump costs; a speck of under a quarter of the usual area less than any gap.
    regions = [replace(r, likeness=max(0.6, 10 * min(1.0, 2 * r.pixels / usual) - 4.5)) for r in found]
    path = best_path(regions, mask.slice_mm)
    cord, flags = _drawn(path, given.shape), []
    for k in (region.k for region in path):
        if others := np.count_nonzero(given[k] & ~cord[k]):
            text = f"{others * mask.voxel_volume_mm3:.1f} mm³ apart from the cord were removed"
            flags.append(Flag(mask.to_input_slice(k), k, "cleaned", text))
    filled = np.count_nonzero(cord) - sum(region.pixels for region in path)
    removed_mm3, filled_mm3 = (float(n) * mask.voxel_volume_mm3 for n in (np.count_nonzero(given & ~cord), filled))
    if removed_mm3:
        flags.append(case_flag("cleaned", f"{removed_mm3:.1f} mm³ were no part of the cord and were removed"))
    if filled_mm3:
        flags.append(case_flag("cleaned", f"{filled_mm3:.1f} mm³ of holes were filled"))
    return CordMask(mask.with_voxels(cord), tuple(flags), removed_mm3, filled_mm3)


def find_regions(plane: NDArray, k: int, threshold: float, pixel_mm: tuple[float, float]) -> list[Region]:
    """The largest 8-connected regions of a slice (rows, columns) with a probability of at least ``threshold``."""
    labels, count = ndimage.label(plane >= threshold, _EIGHT)
    sizes, windows = np.bincount(labels.ravel(), minlength=count + 1)[1:], ndimage.find_objects(labels)
    regions = []
    for at in np.argsort(-sizes, kind="stable")[:_REGIONS_PER_SLICE].tolist():
        window, size = windows[at], int(sizes[at])
        inside = labels[window] == at + 1
        centre = [np.mean(index) + w.start for index, w in zip(np.nonzero(inside), window, strict=True)]
        chances = plane[window][inside].astype(np.float64)
        confidence = float(np.mean(chances * (1 - threshold) / (chances * (1 - threshold) + (1 - chances) * threshold)))
        likeness = confidence * float(np.interp(size * pixel_mm[0] * pixel_mm[1], _AREA_MM2, _LIKENESS))
        regions.append(Region(k, window, inside, np.array(centre) * pixel_mm, size, likeness, confidence))
    return regions


def best_path(regions: Sequence[Region], slice_mm: float) -> list[Region]:
    """At most one region a slice, from inferior to superior, of those in that order; exact, by dynamic programming.

    A region earns, per mm, how much it looks like cord less the entry price; jumps sideways and missing slices cost.
    """
    if not regions:
        return []
    k, at_mm = np.array([one.k for one in regions]), np.array([one.at_mm for one in regions])
    total = slice_mm * (np.array([one.likeness for one in regions]) - _ENTRY_PRICE)
    came_from = np.full(len(regions), -1)
    reach = max(2, 1 + int(_LONGEST_GAP_MM / slice_mm))  # one missing slice is bridged, however thick it is
    for here in range(len(regions)):
        first, last = np.searchsorted(k, [k[here] - reach, k[here]])
        before = np.arange(first, last)
        rise_mm = (k[here] - k[before]) * slice_mm
        aside_mm = np.hypot(*(at_mm[before] - at_mm[here]).T)
        price = 0.1 * aside_mm + np.maximum(aside_mm - _FREE_TILT * rise_mm - _FREE_MM, 0)
        price += _GAP_PRICE * np.minimum(rise_mm - slice_mm, _LONGEST_GAP_MM)
        offers = np.where(aside_mm > _STEEPEST_TILT * rise_mm + _STEEPEST_MM, -np.inf, total[before] - price)
        if offers.max(initial=0.0) > 0:  # else the path begins here
            total[here] += offers.max()
            came_from[here] = before[offers.argmax()]
    here, path = int(total.argmax()), []
    while here >= 0 and total[here] > 0:
        path.append(regions[here])
        here = int(came_from[here])
    return path[::-1]


def _is_cord(path: Sequence[Region], computed: Sequence[int], slice_mm: float) -> bool:
    """Long enough, or cut short by the end of the image; and the network is sure of it somewhere."""
    if not path or max(region.confidence for region in path) < _LEAST_PEAK:
        return False
    return path[0].k == computed[0] or path[-1].k == computed[-1] or len(path) * slice_mm >= _SHORTEST_MM


def cut_unsure_top(path: list[Region], slice_mm: float) -> tuple[list[Region], bool]:
    """The path up to its last slice that is nearly as sure as the cord below: cord turns into medulla without an edge.

    Where more than 30 mm are unsure the image is poor, and its cord is a person's to judge: nothing is cut, and the
    second answer is False.
    """
    sure = np.array([region.confidence for region in path])
    least = _AS_SURE * float(np.quantile(sure[-max(1, round(2 * _FADE_MM / slice_mm)) :], _QUANTILE))
    last = int(np.flatnonzero(sure >= least)[-1])
    is_clear = (path[-1].k - path[last].k) * slice_mm <= _FADE_MM
    return (path[: last + 1] if is_clear else path), is_clear


def ends_below_brain(image: Volume, mask: NDArray[np.bool_], top: int) -> bool:
    """Whether what ends in slice ``top`` is the cord at the foramen magnum: above it the image goes on for 10 mm, and
    what has the cord's grey value, followed from slice to slice, opens into brain within 45 mm.

    In the 20 mm below, the region within 20 % of the cord's grey has to be the cord (at most twice its area, median):
    elsewhere nothing can be followed. Open: four times the cord's area over 6 mm. A cord that leaves through a side of
    the image does not end.
    """
    pixel_mm, slice_mm = image.pixel_mm, image.slice_mm
    if (len(mask) - 1 - top) * slice_mm < _ABOVE_END_MM or mask[top, [0, -1]].any() or mask[top][:, [0, -1]].any():
        return False

    def grown(k: int, region: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """What of slice ``k`` is like the median of ``region`` and continues it."""
        window, found = around(region, pixel_mm, _BESIDE_MM), np.zeros_like(region)
        grey = ndimage.gaussian_filter(image.voxels[k][window].astype(np.float32), [0.5 / mm for mm in pixel_mm])
        middle = float(np.median(grey[region[window]]))
        found[window] = region_with(np.abs(grey - middle) < _LIKE * abs(middle), region[window])
        return found

    below = [k for k in range(max(0, top - int(_LOOK_DOWN_MM / slice_mm)), top + 1) if mask[k].any()]
    cord = float(np.median([np.count_nonzero(mask[k]) for k in below]))
    if np.median([np.count_nonzero(grown(k, mask[k])) for k in below]) > _CONTAINED * cord:
        return False
    region, open_mm = mask[top], 0.0
    for k in range(top + 1, min(len(mask), top + int(_LOOK_UP_MM / slice_mm) + 1)):
        region = grown(k, region)
        if not region.any():
            return False
        open_mm = open_mm + slice_mm if np.count_nonzero(region) > _OPEN * cord else 0.0
        if open_mm >= _OPEN_MM:
            return True
    return False


def _drawn(path: Sequence[Region], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A mask of these regions, holes filled."""
    mask = np.zeros(shape, bool)
    for region in path:
        mask[region.k][region.window] = ndimage.binary_fill_holes(region.inside)
    return mask


def seen_edge(cord: NDArray[np.bool_], grey: NDArray, pixel_mm: tuple[float, float]) -> float:
    """Share 0..1 of the outline along which the image shows an edge: of 12 sectors about the centroid of a slice's
    ``cord``, those in which the means of ``grey`` just inside and just outside differ by 15 % of the cord's."""
    window = around(cord, pixel_mm)
    cord, grey = cord[window], grey[window].astype(np.float64)
    depth, beyond = (ndimage.distance_transform_edt(part, sampling=pixel_mm) for part in (cord, ~cord))
    centre = np.argwhere(cord).mean(axis=0)
    down_mm, across_mm = ((np.arange(n) - at) * mm for n, at, mm in zip(cord.shape, centre, pixel_mm, strict=True))
    turn = np.arctan2(down_mm[:, None], across_mm) / (2 * np.pi) % 1
    sector = np.minimum((turn * _SECTORS).astype(int), _SECTORS - 1)
    inner, outer = ((away > _RING_MM[0]) & (away <= _RING_MM[1]) for away in (depth, beyond))
    means = []
    for ring in (inner if np.count_nonzero(inner) > 6 else cord, outer):
        counts, sums = (np.bincount(sector[ring], of, _SECTORS) for of in (None, grey[ring]))
        means.append(np.divide(sums, counts, out=np.full(_SECTORS, np.nan), where=counts > 0))
    step = np.abs(means[0] - means[1])
    level = abs(float(np.median(grey[depth >= min(2.0, depth.max() / 2)])))
    return float(np.mean(step[np.isfinite(step)] > _STEP * level)) if np.isfinite(step).any() else 0.0


def contour_area_mm2(cord: NDArray[np.bool_], plane: NDArray, threshold: float, pixel_mm: tuple[float, float]) -> float:
    """Area inside the contour of ``threshold`` of a slice's probability around its ``cord``, with parts of pixels: the
    log-odds between pixels are those of a cubic spline."""
    window = around(cord, pixel_mm, 2.0)
    odds = log_odds(plane[window]) - log_odds(threshold)
    fine = ndimage.zoom(odds, _FINE, order=3, mode="nearest", grid_mode=True) >= 0
    area = np.count_nonzero(region_with(fine, cord[window].repeat(_FINE, axis=0).repeat(_FINE, axis=1)))
    return float(area) * pixel_mm[0] * pixel_mm[1] / _FINE**2


def _impute(
    mask: NDArray[np.bool_], chances: NDArray, seen: NDArray[np.float64], threshold: float, grid: Volume
) -> list[int]:
    """Move the outlines that the image does not show, in place; gives the slices that moved.

    Wanted are, over x_k, the logarithms of the areas, the minimum of Σ (x_k - y_k)²/s_k² + Σ (x_k+1 - x_k)²/(q·mm): a
    Kalman smoother of a random walk, s_k growing with what is not seen. The outline becomes the contour of that area.
    """
    used = np.flatnonzero(mask.any(axis=(1, 2)))
    unseen = seen[used] < LEAST_SEEN
    if not unseen.any() or np.count_nonzero(~unseen) < 3:
        return []
    counts = mask[used].sum(axis=(1, 2))
    weight = 1 / (_SEEN_SD + (_UNSEEN_SD - _SEEN_SD) * (1 - seen[used])) ** 2
    stiffness = 1 / (_DRIFT_PER_MM * np.diff(used) * grid.slice_mm)
    banded = np.zeros((2, len(used)))  # the matrix of the normal equations is symmetric and tridiagonal
    banded[0, 1:] = -stiffness
    banded[1] = weight + np.append(stiffness, 0) + np.append(0, stiffness)
    wanted = np.exp(solveh_banded(banded, weight * np.log(counts)))
    moved = []
    for k, count, want in zip(used[unseen].tolist(), counts[unseen], wanted[unseen], strict=True):
        region = _of_area(mask[k], chances[k], round(float(want)), threshold, grid.pixel_mm)
        if region.any() and abs(np.count_nonzero(region) - want) < abs(count - want):
            mask[k] = region
            moved.append(k)
    return moved


def _of_area(cord: NDArray, plane: NDArray, count: int, threshold: float, pixel_mm: tuple[float, float]) -> NDArray:
    """The region inside the contour that holds ``count`` pixels around the cord; empty where none of it is cord."""
    window = around(cord, pixel_mm)
    odds = log_odds(plane[window]) - log_odds(threshold)
    labels, _ = ndimage.label(odds >= _OUTER, _EIGHT)
    near = np.sort(odds[np.isin(labels, labels[cord[window]])])[::-1]
    region = np.zeros_like(cord)
    region[window] = region_with(odds >= min(near[min(max(count, 1), len(near)) - 1], _INNER), cord[window])
    return region


def region_with(regions: NDArray[np.bool_], cord: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The region that holds most of the cord, holes filled; empty where none holds any."""
    labels, count = ndimage.label(regions, _EIGHT)
    shared = np.bincount(labels[cord], minlength=count + 1)
    shared[0] = 0
    return np.asarray(ndimage.binary_fill_holes((labels == shared.argmax()) & shared.any()))


def around(cord: NDArray[np.bool_], pixel_mm: tuple[float, float], mm: float = _AROUND_MM) -> tuple[slice, slice]:
    """The window of a slice that holds its ``cord`` and ``mm`` more to each side."""
    box, margin = ndimage.find_objects(cord.astype(np.uint8))[0], [int(mm / size) + 1 for size in pixel_mm]
    down, across = (slice(max(0, w.start - more), w.stop + more) for w, more in zip(box, margin, strict=True))
    return down, across


def log_odds(chance: ArrayLike) -> NDArray[np.float64]:
    """Of probabilities 0..1, kept within ±13.8."""
    within = np.clip(np.asarray(chance, np.float64), 1e-6, 1 - 1e-6)
    return np.log(within / (1 - within))
