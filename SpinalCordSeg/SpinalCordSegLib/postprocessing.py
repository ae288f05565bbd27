"""From the probability of cord to the mask of the cord, in the order in which the steps run.

1. ``smooth_z``: the probability is smoothed along z, where slices are thin.
2. ``find_cord``: the path of the cord through the regions above the threshold.
3. ``adjust_outlines``: outlines without a sharp edge are moved until their area follows the other slices'.
4. ``clean``: regions apart from the cord are removed, holes are filled. A mask made elsewhere begins here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, hypot

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.linalg import solveh_banded

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.flags import Flag, case_flag
from SpinalCordSegLib.volume import Volume, place_on

_EIGHT = np.ones((3, 3), bool)  # neighbours in a slice
SURE = 0.8
"""Mean probability inside a slice's cord; below it the network is unsure, and the slice is flagged."""


@dataclass(frozen=True, eq=False)
class CordMask:
    """``mask``: bool, at most one region in every axial slice; it may be empty. ``flags``: what a reader must know of
    how it was found. ``removed_mm3``, ``filled_mm3``: what was left off as no cord, and holes that were filled."""

    mask: Volume
    flags: tuple[Flag, ...] = ()
    removed_mm3: float = 0.0
    filled_mm3: float = 0.0


# Step 1. The network sees one slice at a time, so noise moves its outline from slice to slice; the cord's own outline
# hardly changes within two millimetres. For slices thinner than 3.2 mm the probability is smoothed along z.

SMOOTH_Z_MM = 1.6
"""Standard deviation of the smoothing along z. Chosen on ten simulated people of other seeds than those that models are
judged on, and on two T2w volumes that are trained on: with slices of 1 to 3.1 mm Dice changes by -0.002 to +0.009, the
area's jitter from slice to slice falls by a sixth, its mean changes by less than 1 %."""

_REACH = 2.0  # standard deviations
_LEAST = 0.02  # where no slice is more probable, smoothing could not make cord


def smooth_z(probability: Volume, sigma_mm: float = SMOOTH_Z_MM, *, in_place: bool = False) -> Volume:
    """The same grid; every axial slice the mean of those within two ``sigma_mm``, Gaussian weights, the outermost slice
    repeated beyond the ends. Slices of 0 at the ends hold no image and lie beyond them. ``probability``: float32 0..1.
    ``in_place``: its voxels are written over, which spares a large volume its copy.

    0, slices thicker than that, and a single slice: the volume itself. Raises ConfigurationError for a negative or
    infinite ``sigma_mm``.
    """
    if not 0 <= sigma_mm < np.inf:
        raise ConfigurationError(f"the smoothing along z is {sigma_mm} mm: give 0 (off) or a length in mm")
    slices = probability
    count = len(slices.voxels)
    weights = _weights(sigma_mm, slices.slice_mm, count)
    if len(weights) == 1:
        return probability
    smoothed = probability if in_place else probability.with_voxels(np.array(probability.voxels, dtype=np.float32))
    pixels = smoothed.voxels
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
    return smoothed


def smoothing_reach(sigma_mm: float, slice_mm: float) -> int:
    """How many slices each way take part."""
    return int(_REACH * sigma_mm / slice_mm)


def _weights(sigma_mm: float, slice_mm: float, count: int) -> NDArray[np.float32]:
    reach = smoothing_reach(sigma_mm, slice_mm) if count > 1 else 0
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


# Step 2. The path of the cord through the stack: at most one region a slice, chosen for the whole stack at once.
#
# Every slice offers regions (8-connected, above the threshold). A path earns, per mm of slice, how much its regions
# look like cord (area, roundness, probability, nearness to the middle), less a constant, so that an implausible end is
# left off; it pays for sideways jumps and for missing slices. The best path is found exactly, by dynamic programming.
# It is not the largest region: a bright muscle is, often.

LEAST_PATH_THRESHOLD = 0.1
"""The prediction computes the region of interest alone only for thresholds from here on: what is less probable is not
looked for."""
_LONGEST_GAP_MM = 15.0  # parts of the cord further apart along the stack are not joined
_SHORTEST_CORD_MM = (
    8.0  # what is shorter is no cord, unless the slices with an image are fewer (then half their extent)
)
_REGIONS_PER_SLICE = 12
_ENTRY_PRICE = 0.15  # per mm: what a region must look like at least to lengthen the path
_GAP_PRICE = 0.5  # per missing mm: dearer than a poor slice, so that slices grown together with a neighbour stay
_FREE_TILT = 0.6  # sideways mm per mm along the stack that cost nothing but the weak pull below
_STEEPEST_TILT = 1.2  # a cord cut at 45° has 1
_WAIST, _WHOLE = 0.3, 0.6  # of the area next to it: the cord is not cut in half within a few mm, a medulla's ghost is
_REFERENCE_MM, _RECOVERY_MM = 20.0, 10.0
_LONGEST_UNSURE_MM = 20.0
_AS_SURE = 0.96  # on 24 simulated heads the end is then nearest to where it should be, see docs/history.md
_OVERLAP_PRICE = 0.1  # per mm, at most, where regions overlap: grown together, a centroid jumps but the cord goes on


@dataclass(frozen=True, eq=False)
class Region:
    """One region of one slice. ``window`` and ``inside``: where, within the slice. Positions in mm, area in mm².
    ``confidence``: mean probability inside."""

    slice_index: int
    window: tuple[slice, slice]
    inside: NDArray[np.bool_]
    row_mm: float
    column_mm: float
    area_mm2: float
    likeness: float
    confidence: float


def find_regions(
    probability: NDArray[np.float32], slice_index: int, threshold: float, pixel_mm: tuple[float, float]
) -> list[Region]:
    """The largest regions of one slice (rows, columns) with a probability of at least ``threshold``."""
    above = probability >= threshold
    if not above.any():
        return []
    rows, columns = np.flatnonzero(above.any(axis=1)), np.flatnonzero(above.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    crop = above[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
    labels, _ = ndimage.label(crop, _EIGHT)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    largest = np.argsort(-sizes, kind="stable")[:_REGIONS_PER_SLICE]
    windows = ndimage.find_objects(labels)
    regions = []
    for label in largest[sizes[largest] > 0]:
        down, across = windows[label - 1]
        inside = labels[down, across] == label
        window = slice(down.start + top, down.stop + top), slice(across.start + left, across.stop + left)
        regions.append(_describe(probability, slice_index, window, inside, pixel_mm))
    return regions


def _describe(
    probability: NDArray[np.float32],
    slice_index: int,
    window: tuple[slice, slice],
    inside: NDArray[np.bool_],
    pixel_mm: tuple[float, float],
) -> Region:
    rows, columns = np.nonzero(inside)
    y_mm = (rows + window[0].start + 0.5) * pixel_mm[0]
    x_mm = (columns + window[1].start + 0.5) * pixel_mm[1]
    area_mm2 = len(rows) * pixel_mm[0] * pixel_mm[1]
    confidence = float(probability[window][inside].mean(dtype=np.float64))
    middle_mm = (probability.shape[0] * pixel_mm[0] / 2, probability.shape[1] * pixel_mm[1] / 2)
    off_centre_mm = hypot(y_mm.mean() - middle_mm[0], x_mm.mean() - middle_mm[1])
    likeness = (
        _area_likeness(area_mm2)
        * _roundness(y_mm, x_mm, pixel_mm)
        * confidence
        * exp(-0.5 * (off_centre_mm / 60.0) ** 2)  # a vessel lies 30 mm off, and costs an eighth by it
    )
    return Region(slice_index, window, inside, float(y_mm.mean()), float(x_mm.mean()), area_mm2, likeness, confidence)


def _area_likeness(area_mm2: float) -> float:
    """1 from 45 to 130 mm², 0.7 at 20 (a cord's lower end, or a vessel), 0.8 at 170, 0 below 4 and above 300."""
    return float(np.interp(area_mm2, [4, 20, 45, 130, 170, 300], [0, 0.7, 1, 1, 0.8, 0]))


def _roundness(y_mm: NDArray[np.float64], x_mm: NDArray[np.float64], pixel_mm: tuple[float, float]) -> float:
    """1 for ellipses up to an axis ratio of 2.5, falling to 0 at 4.5 (a cord is at most 2)."""
    covariance = np.cov(np.stack([y_mm, x_mm]), bias=True) + np.diag(np.square(pixel_mm)) / 12
    low, high = np.linalg.eigvalsh(covariance)
    return float(np.interp((high / low) ** 0.5, [2.5, 4.5], [1, 0]))


def best_path(slices: Sequence[Sequence[Region]], slice_mm: float) -> list[Region]:
    """The path of highest score, from inferior to superior; empty when no region is worth its entry."""
    regions = [region for candidates in slices for region in candidates]
    if not regions:
        return []
    earned = np.array([slice_mm * (region.likeness - _ENTRY_PRICE) for region in regions])
    index = np.array([region.slice_index for region in regions])
    centres = np.array([(region.row_mm, region.column_mm) for region in regions])
    reach = 1 + int(_LONGEST_GAP_MM / slice_mm)
    total, came_from = earned.copy(), np.full(len(regions), -1)
    for here, region in enumerate(regions):
        first, last = np.searchsorted(index, [region.slice_index - reach, region.slice_index])
        if first == last:
            continue
        before = np.arange(first, last)
        prices = _step_prices(
            centres[before] - centres[here], (region.slice_index - index[before]) * slice_mm, slice_mm
        )
        _cap_where_overlapping(prices, [regions[b] for b in before], region, _OVERLAP_PRICE * slice_mm)
        offers = total[before] - prices
        best = int(np.argmax(offers))
        if offers[best] > 0:  # else the path begins here
            total[here] += offers[best]
            came_from[here] = before[best]
    end = int(np.argmax(total))
    path = []
    while end >= 0 and total[end] > 0:
        path.append(regions[end])
        end = int(came_from[end])
    return path[::-1]


def _step_prices(apart_mm: NDArray[np.float64], rise_mm: NDArray, slice_mm: float) -> NDArray[np.float64]:
    """Price of a step sideways and over missing slices; infinite where it is steeper than any cord."""
    sideways_mm = np.hypot(apart_mm[:, 0], apart_mm[:, 1])
    excess_mm = np.maximum(sideways_mm - _FREE_TILT * rise_mm - 1.5, 0)
    prices = 0.1 * sideways_mm + excess_mm + _GAP_PRICE * (rise_mm - slice_mm)
    return np.where(sideways_mm > _STEEPEST_TILT * rise_mm + 4.0, np.inf, prices)


def _cap_where_overlapping(prices: NDArray[np.float64], before: Sequence[Region], here: Region, most: float) -> None:
    for number, region in enumerate(before):
        near = region.slice_index == here.slice_index - 1
        if near and prices[number] > most and _overlap(region, here) >= 0.5:
            prices[number] = most


def _overlap(a: Region, b: Region) -> float:
    """Share of the smaller region that lies under the other."""
    shared: list[slice] = []
    for one, other in zip(a.window, b.window, strict=True):
        start, stop = max(one.start, other.start), min(one.stop, other.stop)
        if start >= stop:
            return 0.0
        shared.append(slice(start, stop))
    inside = [
        region.inside[
            tuple(slice(s.start - w.start, s.stop - w.start) for s, w in zip(shared, region.window, strict=True))
        ]
        for region in (a, b)
    ]
    return float(np.count_nonzero(inside[0] & inside[1]) / min(a.inside.sum(), b.inside.sum()))


def drop_strays(path: list[Region], slice_mm: float) -> list[Region]:
    """Walk outwards from the longest unbroken run and stop at a gap beyond which the path is not where it was heading.

    Heading: a straight line through the last 20 mm before the gap; the next piece must lie within
    3 mm + 0.35 · (the gap in mm) of it.
    """
    runs: list[list[Region]] = []
    for region in path:
        if runs and region.slice_index == runs[-1][-1].slice_index + 1:
            runs[-1].append(region)
        else:
            runs.append([region])
    if len(runs) < 2:
        return path
    longest = max(range(len(runs)), key=lambda number: len(runs[number]))
    kept = list(runs[longest])
    for run in runs[longest + 1 :]:
        if not _continues(kept[-max(2, round(20 / slice_mm)) :], run[0], slice_mm):
            break
        kept += run
    for run in runs[:longest][::-1]:
        if not _continues(kept[: max(2, round(20 / slice_mm))], run[-1], slice_mm):
            break
        kept = run + kept
    return kept


def _continues(stretch: Sequence[Region], region: Region, slice_mm: float) -> bool:
    z_mm = np.array([r.slice_index for r in stretch]) * slice_mm
    centres = np.array([(r.row_mm, r.column_mm) for r in stretch])
    here_mm = region.slice_index * slice_mm
    off_mm = np.hypot(*(_straight_on(z_mm, centres, here_mm) - (region.row_mm, region.column_mm)))
    return bool(off_mm <= 3 + 0.35 * np.abs(z_mm - here_mm).min())


def _straight_on(z_mm: NDArray[np.float64], centres_mm: NDArray[np.float64], at_mm: float) -> NDArray[np.float64]:
    """Where a straight line through the centres is at ``at_mm``; under 6 mm of cord have no direction: their mean."""
    if np.ptp(z_mm) < 6:
        return centres_mm.mean(axis=0)
    slope, offset = np.polyfit(z_mm, centres_mm, 1)
    return np.asarray(slope * at_mm + offset)


def drop_ragged_ends(path: list[Region], slice_mm: float) -> list[Region]:
    """Cut the path where its area collapses and does not come back, as it does above the foramen magnum, where scraps
    of the medulla are taken for cord.

    Walking from the middle to either end, the reference is the median area of the last 20 mm. A slice under 0.3 of it
    is a waist; unless 10 mm of at least 0.6 of it follow, and are most of what follows, the path ends before the waist
    and before the taper (under 0.6) that leads to it. Fewer than four slices: left as they are.
    """
    if len(path) < 4:
        return path
    middle = len(path) // 2
    upper = _to_last_whole(path, middle, slice_mm)
    return _to_last_whole(upper[::-1], len(upper) - 1 - middle, slice_mm)[::-1]


def drop_unsure_top(path: list[Region], n_slices: int, slice_mm: float) -> list[Region]:
    """Cut the upper end where the network is no longer as sure as of the cord below: cord turns into medulla without an
    edge, and its probability fades over some slices.

    The end is the last slice with a confidence of at least SURE and of at least _AS_SURE times the median of the
    uppermost 40 mm (half of which the fading part can be).
    Only where the path ends inside the stack of ``n_slices`` (a cord that leaves the image does not end), and only
    when no more than 20 mm are unsure: beyond that the image is poor, and its cord is a person's to judge.
    """
    if not path or path[-1].slice_index >= n_slices - 1:
        return path
    upper = path[-max(1, round(2 * _LONGEST_UNSURE_MM / slice_mm)) :]
    least = max(SURE, _AS_SURE * float(np.median([region.confidence for region in upper])))
    sure = [region.slice_index for region in path if region.confidence >= least]
    if not sure or (path[-1].slice_index - sure[-1]) * slice_mm > _LONGEST_UNSURE_MM:
        return path
    return [region for region in path if region.slice_index <= sure[-1]]


def _to_last_whole(path: list[Region], start: int, slice_mm: float) -> list[Region]:
    areas = np.array([region.area_mm2 for region in path])
    reach = max(3, round(_REFERENCE_MM / slice_mm))
    for here in range(max(start, 1), len(path)):
        reference = float(np.median(areas[max(0, here - reach) : here]))
        if areas[here] >= _WAIST * reference:
            continue
        whole = areas[here + 1 :] >= _WHOLE * reference
        if np.count_nonzero(whole) * slice_mm >= _RECOVERY_MM and whole.mean() >= 0.5:
            continue
        end = here
        while end > 1 and areas[end - 1] < _WHOLE * reference:
            end -= 1
        return path[:end]
    return path


def check_threshold(threshold: float) -> None:
    """Raise ConfigurationError unless 0 < ``threshold`` < 1."""
    if not 0 < threshold < 1:
        raise ConfigurationError(f"the threshold is {threshold}, expected a number between 0 and 1")


def find_cord(probability: Volume, threshold: float = 0.5) -> CordMask:
    """The regions of at least ``threshold`` that continue each other as a cord does, on the grid of ``probability``
    (float32 0..1). Holes stay. No cord is an answer: an empty mask. Raises ConfigurationError (threshold)."""
    check_threshold(threshold)
    slices = probability
    mask = probability.with_voxels(np.zeros(probability.shape, bool))
    target = mask.voxels
    candidates: list[list[Region]] = []
    n_above = n_computed = stack_end = 0
    for number, pixels in enumerate(slices.voxels):
        highest = float(pixels.max())
        if highest > 0:  # the network's is never exactly 0: slices of 0 hold no image
            n_computed, stack_end = n_computed + 1, number + 1
        if highest < threshold:
            candidates.append([])
            continue
        candidates.append(find_regions(pixels, number, threshold, slices.pixel_mm))
        n_above += int(np.count_nonzero(pixels >= threshold))
    path = drop_strays(best_path(candidates, slices.slice_mm), slices.slice_mm)
    path = drop_ragged_ends(path, slices.slice_mm)
    whole, path = path, drop_unsure_top(path, stack_end, slices.slice_mm)
    unsure = whole[len(path) :]
    if len(path) * slices.slice_mm < min(_SHORTEST_CORD_MM, 0.5 * n_computed * slices.slice_mm):
        path = []
    for region in path:
        target[region.slice_index][region.window] |= region.inside
    voxel_mm3 = probability.voxel_volume_mm3
    removed_mm3 = (n_above - int(np.count_nonzero(target))) * voxel_mm3
    if not path:
        text = "no cord was found: no voxel reaches the threshold"
        if n_above:
            text = f"no cord was found: {removed_mm3:.0f} mm³ above the threshold, none of it shaped like a cord"
        return CordMask(mask, (case_flag("empty", text),), removed_mm3)
    flags = []
    if unsure:
        text = "the cord's upper end was cut where the network was no longer sure, {} slices below the end of what it"
        flags.append(case_flag("cord_end", f"{text.format(len(unsure))} found: look there"))
    apart_mm3 = removed_mm3 - sum(int(np.count_nonzero(region.inside)) for region in unsure) * voxel_mm3
    if apart_mm3 >= 0.5 * voxel_mm3:
        flags.append(case_flag("cleaned", f"{apart_mm3:.0f} mm³ apart from the cord were removed"))
    return CordMask(mask, tuple(flags), removed_mm3)


# Area of the cord in a slice from the probability, which knows of parts of pixels; a mask only counts whole ones.

_PARTIAL_VOLUME_REACH_MM = 1.5  # a boundary pixel and its neighbour at clinical in-plane sizes; CSF lies beyond


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
    return max(_PARTIAL_VOLUME_REACH_MM, *pixel_mm)


# Step 3. Where the network cannot see the cord's edge, the slices beside it say how large the cord is.
#
# Where cord and surroundings have one grey, the probability fades over a millimetre or more, and its contour of one
# half lies somewhere within: too far out, mostly. The cord's area changes slowly along the neck. So the areas of all
# slices are one series, each with the uncertainty of its own edge; the smooth series that fits them best says which
# contour to take in the uncertain slices. Slices with a sharp edge stay as they are, and so does the place of the cord
# in all.

WIDE_EDGE_MM = 1.0
"""Outlines with an edge wider than this are adjusted: a logistic edge of scale s is 5 s wide. In the median the starter
model's are 0.8 mm in simulated slices, 1.1 in T2*w ones of 0.4 to 0.8 mm, 1.3 in T2w ones of 1 mm."""

# Chosen on 180 simulated people of seeds 7 to 9 with touching structures, and on the 13 T2w and T2*w volumes that the
# starter model is trained on; no volume that it is judged on. Halving or doubling any of them changes little.
_SHARP_MM = 0.7  # no uncertainty from an edge of that width, which is the network's pixel
_LEAST_SD = 0.02  # SD of the logarithm of the area: what pixels and noise do to it
_SD_PER_MM2 = 1.0  # and more by the square of the excess
_DRIFT_PER_MM = 0.0006  # variance of the change of log area: 0.0003 in 143 T2*w, 0.0007 to 0.001 in 1,093 T2w slices
_INNER, _OUTER = 3.0, -2.0  # the edge lies between contours of these log-odds, 0.95 and 0.12
_HIGHEST = 4.0  # no contour beyond it is taken, whatever the neighbours have; nor one outside the outer
_REACH_MM = 6.0  # the edge lies within that of the cord; farther off is other anatomy
_LEAST_SLICES = 3


@dataclass(frozen=True)
class AdjustedSlice:
    """One slice whose outline moved: areas in mm² before and after, width of its edge (``edge_mm``), and the log-odds
    over the threshold of the contour taken (``log_odds``: positive where the area shrank). ``before_pv_mm2``: the area
    from the probability before (``partial_volume``)."""

    canonical_slice: int
    before_mm2: float
    before_pv_mm2: float
    after_mm2: float
    edge_mm: float
    log_odds: float


@dataclass(frozen=True, eq=False)
class AdjustedCord:
    """``mask``: bool; ``probability``: float32, moved with the outlines, so that the threshold still bounds the cord
    (within 6 mm of it, farther off it is as it was).
    ``slices``: those that changed, from inferior to superior. ``edges_mm``: widths of the edges of all slices of cord,
    in the same order; () for fewer than three slices."""

    mask: Volume
    probability: Volume
    slices: tuple[AdjustedSlice, ...]
    edges_mm: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class _Edge:
    """The log-odds over the threshold of the cord's pixels and those around it, the highest first."""

    log_odds: NDArray[np.float64]

    def count(self, contour: float) -> int:
        return int(np.searchsorted(-self.log_odds, -contour, side="right"))

    def width_mm(self, pixel_mm2: float) -> float:
        """Between the radii of the discs that have the area inside the outer and the inner contour."""
        outer, inner = (np.sqrt(self.count(contour) * pixel_mm2 / np.pi) for contour in (_OUTER, _INNER))
        return float(outer - inner)

    def contour(self, count: int) -> float:
        """The one that holds ``count`` pixels, within the limits."""
        at = min(max(count, 1), len(self.log_odds)) - 1
        return float(min(self.log_odds[at], _HIGHEST))


def adjust_outlines(
    mask: Volume, probability: Volume, threshold: float = 0.5, *, in_place: bool = False
) -> AdjustedCord:
    """The cord with the outlines of its uncertain slices moved to where the area fits the other slices'.

    ``mask``: bool, at most one region in every axial slice, of ``probability`` (float32 0..1, same grid) at
    ``threshold``. ``in_place``: the voxels of both are written over. Minimised is, over x_k, the logarithms of the
    areas, Σ (x_k - y_k)²/s_k² + Σ (x_k+1 - x_k)²/(q·mm), a Kalman smoother of a random walk.

    Fewer than three slices of cord: nothing moves. Raises GeometryError when the grids differ.
    """
    mask = place_on(mask, probability, ("the mask", "the probability map"))
    slices, chances = mask.voxels, probability.voxels
    used = [k for k, pixels in enumerate(slices) if pixels.any()]
    if len(used) < _LEAST_SLICES:
        return AdjustedCord(mask, probability, ())
    pixel_mm = mask.pixel_mm
    pixel_mm2 = pixel_mm[0] * pixel_mm[1]
    level = float(_log_odds(np.float64(threshold)))
    edges = [_edge(slices[k], chances[k], pixel_mm, level) for k in used]
    widths = np.array([edge.width_mm(pixel_mm2) for edge in edges])
    if not (widths > WIDE_EDGE_MM).any():
        return AdjustedCord(mask, probability, (), tuple(widths.tolist()))
    counts = np.array([np.count_nonzero(slices[k]) for k in used])
    wanted = np.round(np.exp(_smoothed(np.log(counts), widths, np.array(used) * mask.slice_mm)))
    if not in_place:
        mask, probability = (one.with_voxels(one.voxels.copy()) for one in (mask, probability))
        slices, chances = mask.voxels, probability.voxels
    moved = []
    for k, edge, width, count, area in zip(used, edges, widths, counts, wanted, strict=True):
        if width <= WIDE_EDGE_MM or area == count:
            continue
        contour = edge.contour(int(area))
        region = _within(chances[k], slices[k], pixel_mm, level + contour)
        after = int(np.count_nonzero(region))
        # What falls apart inside a contour is not bounded by one; and none of the cord may lie inside.
        if after == 0 or not abs(after - area) < abs(count - area):
            continue
        window = _around(slices[k], pixel_mm)
        before_pv_mm2 = partial_volume_mm2(slices[k][window], chances[k][window], pixel_mm)
        chances[k][window] = _moved(chances[k][window], contour)
        slices[k][...] = region
        areas = count * pixel_mm2, before_pv_mm2, after * pixel_mm2
        moved.append(AdjustedSlice(k, *areas, float(width), contour))
    return AdjustedCord(mask, probability, tuple(moved), tuple(widths.tolist()))


def _edge(cord: NDArray[np.bool_], chances: NDArray[np.float32], pixel_mm: tuple[float, float], level: float) -> _Edge:
    """Of the region within the outer contour that the slice's cord lies in, not farther than the reach from it."""
    window = _around(cord, pixel_mm)
    log_odds = _log_odds(chances[window].astype(np.float64)) - level
    near = _touching(log_odds >= _OUTER, cord[window])
    return _Edge(np.sort(log_odds[near])[::-1])


def _around(cord: NDArray[np.bool_], pixel_mm: tuple[float, float]) -> tuple[slice, slice]:
    rows, columns = (np.flatnonzero(cord.any(axis=axis)) for axis in (1, 0))
    margin = [int(_REACH_MM / size) + 1 for size in pixel_mm]
    down, across = (
        slice(max(0, int(found[0]) - wide), int(found[-1]) + wide + 1)
        for found, wide in zip((rows, columns), margin, strict=True)
    )
    return down, across


def _touching(region: NDArray[np.bool_], cord: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, _ = ndimage.label(region, _EIGHT)
    touched = np.unique(labels[cord])
    return np.asarray(np.isin(labels, touched[touched > 0]))


def _smoothed(log_area: NDArray[np.float64], edge_mm: NDArray[np.float64], z_mm: NDArray) -> NDArray[np.float64]:
    """The series that fits the measured one best, each value to within its uncertainty (see ``adjust_outlines``)."""
    sd = _LEAST_SD + _SD_PER_MM2 * np.maximum(0, edge_mm - _SHARP_MM) ** 2
    weight, stiffness = 1 / sd**2, 1 / (_DRIFT_PER_MM * np.diff(z_mm))
    banded = np.zeros((2, len(z_mm)))  # the matrix of the normal equations is symmetric and tridiagonal
    banded[0, 1:] = -stiffness
    banded[1] = weight
    banded[1, :-1] += stiffness
    banded[1, 1:] += stiffness
    return np.asarray(solveh_banded(banded, weight * log_area))


def _within(
    chances: NDArray[np.float32], cord: NDArray[np.bool_], pixel_mm: tuple[float, float], contour: float
) -> NDArray[np.bool_]:
    """The region inside the contour (log-odds) that holds most of the cord; nothing where none is inside."""
    window = _around(cord, pixel_mm)
    labels, count = ndimage.label(_log_odds(chances[window].astype(np.float64)) >= contour, _EIGHT)
    shared = np.bincount(labels[cord[window]], minlength=count + 1)
    shared[0] = 0
    region = np.zeros_like(cord)
    if shared.any():
        region[window] = labels == int(np.argmax(shared))
    return region


def _log_odds(chance: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    within = np.clip(chance, 1e-6, 1 - 1e-6)
    return np.log(within / (1 - within))


def _moved(chances: NDArray[np.float32], log_odds: float) -> NDArray[np.float32]:
    """The probabilities with their log-odds lowered; 0 (not computed) and 1 stay."""
    return (chances / (chances + (1 - chances) * np.float32(np.exp(log_odds)))).astype(np.float32)


# Step 4. Nothing changes silently: what was removed and what was filled is counted.


def main_region(pixels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest 8-connected region of a slice with its holes filled; an empty slice stays empty."""
    regions, count = ndimage.label(pixels, _EIGHT)
    if count > 1:
        pixels = regions == 1 + int(np.argmax(np.bincount(regions.ravel())[1:]))
    return np.asarray(ndimage.binary_fill_holes(pixels))


def _holes_flag(filled_mm3: float, n_slices: int) -> Flag:
    return case_flag("cleaned", f"{filled_mm3:.1f} mm³ of holes in {n_slices} slices were filled")


_LONGEST_BRIDGE_MM = 20.0  # about one vertebral level; one empty slice is always bridged, however thick it is
_FREE_OFFSET_MM = 4.0  # half a cord: a slice's centroid wanders by 1-2 mm where its outline is poor
_OFFSET_PER_GAP = 0.35  # the cord bends by under 20° over a level
_AREA_RATIO = 4.0  # cord areas differ by a factor of 2 from C1 to the enlargement, and by another in poor slices


def clean(mask: Volume) -> CordMask:
    """A mask (any dtype, cord where not zero) as one region of cord per slice, holes filled.

    Masks of the network need it too: the path may go on to something beside the cord, from which adjusting the outlines
    parts it again (a lumbar volume: 65 mm of it).

    Kept are the largest 26-connected component and those that continue it beyond at least one empty slice and at most
    20 mm: where it was heading, and about as large. Of these the largest 8-connected region of every slice stays. An
    empty mask stays empty. Flags of kind "cleaned" say what was removed and filled.
    """
    pixels = mask.voxels
    cleaned = mask.with_voxels(np.zeros(mask.shape, bool))
    box = bounding_box(pixels)
    if box is None:
        return CordMask(cleaned)
    given = np.ascontiguousarray(pixels[box] != 0)
    target = cleaned.voxels[box]
    labels, count = ndimage.label(given, np.ones((3, 3, 3), bool))
    is_cord = given if count == 1 else np.isin(labels, _cord_components(labels, mask))
    flags, n_filled, n_removed = [], [], []
    for k in np.flatnonzero(given.any(axis=(1, 2))):
        regions, n_regions = ndimage.label(given[k], _EIGHT)
        sizes = np.bincount(regions[is_cord[k]], minlength=1)
        main = regions == int(np.argmax(sizes)) if sizes.any() else np.zeros_like(given[k])
        target[k] = ndimage.binary_fill_holes(main)
        n_filled.append(np.count_nonzero(target[k] & ~main))
        n_removed.append(np.count_nonzero(given[k] & ~target[k]))
        if n_regions > 1 and sizes.any():
            text = f"{n_regions} regions; the cord kept, {n_removed[-1] * mask.voxel_volume_mm3:.1f} mm³ removed"
            number = box[0].start + int(k)
            flags.append(Flag(mask.to_input_slice(number), number, "cleaned", text))
    removed_mm3, filled_mm3 = (sum(found) * mask.voxel_volume_mm3 for found in (n_removed, n_filled))
    if removed_mm3:
        text = f"{removed_mm3:.1f} mm³ in {np.count_nonzero(n_removed)} slices were no part of the cord"
        flags.append(case_flag("cleaned", text))
    if filled_mm3:
        flags.append(_holes_flag(filled_mm3, int(np.count_nonzero(n_filled))))
    return CordMask(cleaned, tuple(flags), removed_mm3, filled_mm3)


def _cord_components(labels: NDArray[np.int32], slices: Volume) -> list[int]:
    """The labels (n, rows, columns) that are cord: the largest (of equal ones the lowest) and what continues it."""
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    kept = [int(np.argmax(sizes))]
    boxes = ndimage.find_objects(labels)
    cord = _sections(labels, kept[0], boxes, slices)
    others = {label: _sections(labels, label, boxes, slices) for label in range(1, len(sizes)) if label not in kept}
    while True:
        offers = []
        for label, other in others.items():
            gap = int(np.abs(cord[0][:, None] - other[0]).min())
            inside = np.any((cord[0] >= other[0][0] - 1) & (cord[0] <= other[0][-1] + 1))
            if not inside and _continues_mask(cord, other, gap, slices.slice_mm):
                offers.append((gap, -int(sizes[label]), label))
        if not offers:
            return kept
        kept.append(min(offers)[2])
        parts = zip(cord, others.pop(kept[-1]), strict=True)
        cord = [np.concatenate(both) for both in parts]
        order = np.argsort(cord[0])
        cord = [values[order] for values in cord]


def _sections(
    labels: NDArray[np.int32], label: int, boxes: Sequence[tuple[slice, ...]], slices: Volume
) -> list[NDArray]:
    """Of a component: its slices, and in each its area (pixels) and centroid (rows, columns; mm)."""
    box = boxes[label - 1]
    k, row, column = np.nonzero(labels[box] == label)
    areas = np.bincount(k)
    used = np.flatnonzero(areas)
    sums = np.stack([np.bincount(k, row + box[1].start), np.bincount(k, column + box[2].start)], axis=1)
    return [used + box[0].start, areas[used], sums[used] / areas[used, None] * slices.pixel_mm]


def _continues_mask(cord: Sequence[NDArray], component: Sequence[NDArray], gap: int, slice_mm: float) -> bool:
    if (gap - 1) * slice_mm > _LONGEST_BRIDGE_MM and gap > 2:
        return False
    apart = np.abs(cord[0][:, None] - component[0])
    at_cord, at_component = np.unravel_index(int(np.argmin(apart)), apart.shape)
    near = np.abs(cord[0] - cord[0][at_cord]) * slice_mm <= _REFERENCE_MM
    near_component = np.abs(component[0] - component[0][at_component]) * slice_mm <= _REFERENCE_MM
    ratio = float(np.median(component[1][near_component]) / np.median(cord[1][near]))
    if not 1 / _AREA_RATIO <= ratio <= _AREA_RATIO:
        return False
    heading = _straight_on(cord[0][near] * slice_mm, cord[2][near], component[0][at_component] * slice_mm)
    off_mm = float(np.hypot(*(component[2][at_component] - heading)))
    return off_mm <= _FREE_OFFSET_MM + _OFFSET_PER_GAP * gap * slice_mm


def bounding_box(voxels: NDArray) -> tuple[slice, slice, slice] | None:
    """The smallest box that holds every voxel that is not zero; None where there is none."""
    used = np.asarray(np.any(voxels, axis=2))
    i, j = np.flatnonzero(np.any(used, axis=1)), np.flatnonzero(np.any(used, axis=0))
    if not i.size:
        return None
    x, y = slice(int(i[0]), int(i[-1]) + 1), slice(int(j[0]), int(j[-1]) + 1)
    k = np.flatnonzero(voxels[x, y].any(axis=(0, 1)))
    return x, y, slice(int(k[0]), int(k[-1]) + 1)
