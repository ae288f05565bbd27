"""From the probability of cord to the mask of the cord: threshold, then the regions that together are the cord."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, hypot

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.linalg import solveh_banded

from SpinalCordSegLib.errors import ConfigurationError, GeometryError
from SpinalCordSegLib.volume import Volume, axial_slices, axial_zeros

# The path of the cord through a stack of slices: at most one blob a slice, chosen for the whole stack at once.
#
# Every slice offers blobs (8-connected regions above the threshold). A path earns, per mm of slice, how much its
# blobs look like cord (area, roundness, probability, nearness to the middle), less a constant, so that an implausible
# end is left off; it pays for sideways jumps and for missing slices. The best path is found exactly, by dynamic
# programming. It is not the largest region: a bright muscle is, often.


_BLOBS_PER_SLICE = 12
_ENTRY_PRICE = 0.15  # per mm: what a blob must look like at least to lengthen the path
_GAP_PRICE = 0.5  # per missing mm: dearer than a poor slice, so that slices grown together with a neighbour stay
_FREE_TILT = 0.6  # sideways mm per mm along the stack that cost nothing but the weak pull below
_STEEPEST_TILT = 1.2  # a cord cut at 45° has 1
_WAIST, _WHOLE = 0.3, 0.6  # of the area next to it: the cord is not cut in half within a few mm, a medulla's ghost is
_REFERENCE_MM, _RECOVERY_MM = 20.0, 10.0
_LONGEST_UNSURE_MM = 20.0
_AS_SURE = 0.96  # on 24 simulated heads the end is then nearest to where it should be, see docs/history.md
SURE = 0.8
"""Mean probability inside a slice's cord; below it the network is unsure, and doubts/quality.py flags the slice."""
_OVERLAP_PRICE = 0.1  # per mm, at most, where blobs overlap: grown together, a centroid jumps but the cord goes on


@dataclass(frozen=True, eq=False)
class Blob:
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


def find_blobs(
    probability: NDArray[np.float32], slice_index: int, threshold: float, pixel_mm: tuple[float, float]
) -> list[Blob]:
    """The largest regions of one slice (rows, columns) with a probability of at least ``threshold``."""
    above = probability >= threshold
    if not above.any():
        return []
    rows, columns = np.flatnonzero(above.any(axis=1)), np.flatnonzero(above.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    crop = above[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
    labels, _ = ndimage.label(crop, structure=np.ones((3, 3), bool))
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    largest = np.argsort(-sizes, kind="stable")[:_BLOBS_PER_SLICE]
    windows = ndimage.find_objects(labels)
    blobs = []
    for label in largest[sizes[largest] > 0]:
        down, across = windows[label - 1]
        inside = labels[down, across] == label
        window = slice(down.start + top, down.stop + top), slice(across.start + left, across.stop + left)
        blobs.append(_describe(probability, slice_index, window, inside, pixel_mm))
    return blobs


def _describe(
    probability: NDArray[np.float32],
    slice_index: int,
    window: tuple[slice, slice],
    inside: NDArray[np.bool_],
    pixel_mm: tuple[float, float],
) -> Blob:
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
    return Blob(slice_index, window, inside, float(y_mm.mean()), float(x_mm.mean()), area_mm2, likeness, confidence)


def _area_likeness(area_mm2: float) -> float:
    """1 from 45 to 130 mm², 0.7 at 20 (a cord's lower end, or a vessel), 0.8 at 170, 0 below 4 and above 300."""
    return float(np.interp(area_mm2, [4, 20, 45, 130, 170, 300], [0, 0.7, 1, 1, 0.8, 0]))


def _roundness(y_mm: NDArray[np.float64], x_mm: NDArray[np.float64], pixel_mm: tuple[float, float]) -> float:
    """1 for ellipses up to an axis ratio of 2.5, falling to 0 at 4.5 (a cord is at most 2)."""
    covariance = np.cov(np.stack([y_mm, x_mm]), bias=True) + np.diag(np.square(pixel_mm)) / 12
    low, high = np.linalg.eigvalsh(covariance)
    return float(np.interp((high / low) ** 0.5, [2.5, 4.5], [1, 0]))


def best_path(slices: Sequence[Sequence[Blob]], slice_mm: float, max_gap_mm: float) -> list[Blob]:
    """The path of highest score, from inferior to superior; empty when no blob is worth its entry."""
    blobs = [blob for candidates in slices for blob in candidates]
    if not blobs:
        return []
    earned = np.array([slice_mm * (blob.likeness - _ENTRY_PRICE) for blob in blobs])
    index = np.array([blob.slice_index for blob in blobs])
    centres = np.array([(blob.row_mm, blob.column_mm) for blob in blobs])
    reach = 1 + int(max_gap_mm / slice_mm)
    total, came_from = earned.copy(), np.full(len(blobs), -1)
    for here, blob in enumerate(blobs):
        first, last = np.searchsorted(index, [blob.slice_index - reach, blob.slice_index])
        if first == last:
            continue
        before = np.arange(first, last)
        prices = _step_prices(centres[before] - centres[here], (blob.slice_index - index[before]) * slice_mm, slice_mm)
        _cap_where_overlapping(prices, [blobs[b] for b in before], blob, _OVERLAP_PRICE * slice_mm)
        offers = total[before] - prices
        best = int(np.argmax(offers))
        if offers[best] > 0:  # else the path begins here
            total[here] += offers[best]
            came_from[here] = before[best]
    end = int(np.argmax(total))
    path = []
    while end >= 0 and total[end] > 0:
        path.append(blobs[end])
        end = int(came_from[end])
    return path[::-1]


def _step_prices(apart_mm: NDArray[np.float64], rise_mm: NDArray, slice_mm: float) -> NDArray[np.float64]:
    """Price of a step sideways and over missing slices; infinite where it is steeper than any cord."""
    sideways_mm = np.hypot(apart_mm[:, 0], apart_mm[:, 1])
    excess_mm = np.maximum(sideways_mm - _FREE_TILT * rise_mm - 1.5, 0)
    prices = 0.1 * sideways_mm + excess_mm + _GAP_PRICE * (rise_mm - slice_mm)
    return np.where(sideways_mm > _STEEPEST_TILT * rise_mm + 4.0, np.inf, prices)


def _cap_where_overlapping(prices: NDArray[np.float64], before: Sequence[Blob], here: Blob, most: float) -> None:
    for number, blob in enumerate(before):
        near = blob.slice_index == here.slice_index - 1
        if near and prices[number] > most and _overlap(blob, here) >= 0.5:
            prices[number] = most


def _overlap(a: Blob, b: Blob) -> float:
    """Share of the smaller blob that lies under the other."""
    shared: list[slice] = []
    for one, other in zip(a.window, b.window, strict=True):
        start, stop = max(one.start, other.start), min(one.stop, other.stop)
        if start >= stop:
            return 0.0
        shared.append(slice(start, stop))
    inside = [
        blob.inside[tuple(slice(s.start - w.start, s.stop - w.start) for s, w in zip(shared, blob.window, strict=True))]
        for blob in (a, b)
    ]
    return float(np.count_nonzero(inside[0] & inside[1]) / min(a.inside.sum(), b.inside.sum()))


def drop_strays(path: list[Blob], slice_mm: float) -> list[Blob]:
    """Walk outwards from the longest unbroken run and stop at a gap beyond which the path is not where it was heading.

    Heading: a straight line through the last 20 mm before the gap; the next piece must lie within
    3 mm + 0.35 · (the gap in mm) of it.
    """
    runs: list[list[Blob]] = []
    for blob in path:
        if runs and blob.slice_index == runs[-1][-1].slice_index + 1:
            runs[-1].append(blob)
        else:
            runs.append([blob])
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


def _continues(stretch: Sequence[Blob], blob: Blob, slice_mm: float) -> bool:
    z_mm = np.array([b.slice_index for b in stretch]) * slice_mm
    centres = np.array([(b.row_mm, b.column_mm) for b in stretch])
    here_mm = blob.slice_index * slice_mm
    if np.ptp(z_mm) < 6:  # too short to have a direction
        heading = centres.mean(axis=0)
    else:
        slope, offset = np.polyfit(z_mm, centres, 1)
        heading = slope * here_mm + offset
    gap_mm = np.abs(z_mm - here_mm).min()
    return bool(np.hypot(*(heading - (blob.row_mm, blob.column_mm))) <= 3 + 0.35 * gap_mm)


def drop_ragged_ends(path: list[Blob], slice_mm: float) -> list[Blob]:
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


def drop_unsure_top(path: list[Blob], n_slices: int, slice_mm: float) -> list[Blob]:
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
    least = max(SURE, _AS_SURE * float(np.median([blob.confidence for blob in upper])))
    sure = [blob.slice_index for blob in path if blob.confidence >= least]
    if not sure or (path[-1].slice_index - sure[-1]) * slice_mm > _LONGEST_UNSURE_MM:
        return path
    return [blob for blob in path if blob.slice_index <= sure[-1]]


def _to_last_whole(path: list[Blob], start: int, slice_mm: float) -> list[Blob]:
    areas = np.array([blob.area_mm2 for blob in path])
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


LEAST_TRACKED = 0.1
"""Cord tracking is for thresholds from here on: what is less probable is not looked for."""


@dataclass(frozen=True)
class MaskConfig:
    """``threshold``: voxels of at least this probability are candidates.

    ``max_gap_mm``: pieces of cord further apart along the stack are not joined. ``min_length_mm``: what is shorter
    is no cord, unless the slices that were computed are themselves fewer (then half their extent).
    Raises ConfigurationError unless 0 < threshold < 1 and the lengths are not negative.
    """

    threshold: float = 0.5
    max_gap_mm: float = 15.0
    min_length_mm: float = 8.0

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ConfigurationError(f"the threshold is {self.threshold}, expected a number between 0 and 1")
        if not (self.max_gap_mm >= 0 and self.min_length_mm >= 0):
            raise ConfigurationError("max_gap_mm and min_length_mm must not be negative")


@dataclass(frozen=True, eq=False)
class CordMask:
    """``mask``: bool on the probability's grid, at most one region in every axial slice; it may be empty.

    ``removed_mm3``: what was above the threshold and is not in the mask. ``n_components``: 26-connected components
    above the threshold, before the choice. ``notes``: what the user should know of the choice.
    """

    mask: Volume
    removed_mm3: float
    n_components: int
    notes: tuple[str, ...] = ()


def find_cord(probability: Volume, config: MaskConfig | None = None) -> CordMask:
    """The regions that continue each other as a cord does; see ``track`` for the score. Empty is an answer."""
    config = config or MaskConfig()
    slices = axial_slices(probability)
    mask = axial_zeros(probability, bool)
    target = axial_slices(mask).pixels
    candidates: list[list[Blob]] = []
    n_above = n_computed = stack_end = 0
    for number, pixels in enumerate(slices.pixels):
        highest = float(pixels.max())
        if highest > 0:  # the network's is never exactly 0: slices of 0 hold no image
            n_computed, stack_end = n_computed + 1, number + 1
        if highest < config.threshold:
            candidates.append([])
            continue
        candidates.append(find_blobs(pixels, number, config.threshold, slices.pixel_mm))
        n_above += int(np.count_nonzero(pixels >= config.threshold))
    path = drop_strays(best_path(candidates, slices.slice_mm, config.max_gap_mm), slices.slice_mm)
    path = drop_ragged_ends(path, slices.slice_mm)
    whole, path = path, drop_unsure_top(path, stack_end, slices.slice_mm)
    unsure = whole[len(path) :]
    needed_mm = min(config.min_length_mm, 0.5 * n_computed * slices.slice_mm)
    too_short = len(path) * slices.slice_mm < needed_mm
    for blob in () if too_short else path:
        target[blob.slice_index][blob.window] |= blob.inside
    removed_mm3 = (n_above - int(np.count_nonzero(target))) * probability.voxel_volume_mm3
    n_components = _count_components(slices.pixels, config.threshold) if n_above else 0
    notes = _notes(n_above > 0, bool(path) and not too_short, removed_mm3, unsure, probability.voxel_volume_mm3)
    return CordMask(mask, removed_mm3, n_components, notes)


def _count_components(pixels: NDArray[np.float32], threshold: float) -> int:
    above = pixels >= threshold
    box = tuple(
        slice(int(filled[0]), int(filled[-1]) + 1)
        for axes in ((1, 2), (0, 2), (0, 1))
        if (filled := np.flatnonzero(above.any(axis=axes))).size
    )
    return int(ndimage.label(above[box], structure=np.ones((3, 3, 3), bool))[1])


def _notes(anything: bool, cord: bool, removed_mm3: float, unsure: list[Blob], voxel_mm3: float) -> tuple[str, ...]:
    """``unsure``: what was cut off the upper end of the cord."""
    if not anything:
        return ("no cord was found: no voxel reaches the threshold",)
    if not cord:
        return (f"no cord was found: {removed_mm3:.0f} mm³ above the threshold, none of it shaped like a cord",)
    notes = []
    if unsure:
        notes.append(
            f"the cord's upper end was cut where the network was no longer sure, {len(unsure)} slices below the end of"
            " what it found: look there"
        )
    apart_mm3 = removed_mm3 - sum(int(np.count_nonzero(blob.inside)) for blob in unsure) * voxel_mm3
    if apart_mm3 >= 0.5 * voxel_mm3:
        notes.append(f"{apart_mm3:.0f} mm³ apart from the cord were removed")
    return tuple(notes)


# Neighbouring slices steady each other: the probability averaged along the stack, over less than the cord changes in.
#
# The network sees one slice at a time, so noise moves its outline from slice to slice; the cord's own outline hardly
# changes within two millimetres. Slices thicker than 3.2 mm stay as they are.


SIGMA_MM = 1.6
"""Chosen on ten simulated people of other seeds than those that models are judged on, and on two T2w volumes that are
trained on: with slices of 1 to 3.1 mm Dice changes by -0.002 to +0.009, the area's jitter from slice to slice falls by
a sixth, its mean changes by less than 1 %."""

_REACH = 2.0  # standard deviations
_LEAST = 0.02  # where no slice is more probable, averaging could not make cord


def average_along(probability: Volume, sigma_mm: float = SIGMA_MM, *, in_place: bool = False) -> Volume:
    """The same grid; every axial slice the mean of those within two ``sigma_mm``, Gaussian weights, the outermost slice
    repeated beyond the ends. Slices of 0 at the ends hold no image and lie beyond them. ``probability``: float32 0..1.
    ``in_place``: its voxels are written over, which spares a large volume its copy.

    0, slices thicker than that, and a single slice: the volume itself. Raises ConfigurationError for a negative or
    infinite ``sigma_mm``.
    """
    if not 0 <= sigma_mm < np.inf:
        raise ConfigurationError(f"averaging along the cord over {sigma_mm} mm: give 0 (off) or a length")
    slices = axial_slices(probability)
    count = len(slices.pixels)
    weights = _weights(sigma_mm, slices.slice_mm, count)
    if len(weights) == 1:
        return probability
    averaged = probability if in_place else probability.with_voxels(np.array(probability.voxels, dtype=np.float32))
    pixels = axial_slices(averaged).pixels
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
    return averaged


def reach_slices(sigma_mm: float, slice_mm: float) -> int:
    """How many slices each way take part."""
    return int(_REACH * sigma_mm / slice_mm)


def _weights(sigma_mm: float, slice_mm: float, count: int) -> NDArray[np.float32]:
    reach = reach_slices(sigma_mm, slice_mm) if count > 1 else 0
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


# Where the network cannot see the cord's edge, the slices beside it say how large the cord is.
#
# Where cord and what surrounds it have one grey, the probability fades over a millimetre or more, and its contour
# of one
# half lies somewhere within: too far out, mostly. The cord's area changes slowly along the neck. So the areas of a
# stack
# are taken as one series, each with the doubt of its own edge; the series that fits them best says which contour to
# take
# in the doubtful slices. Slices with a sharp edge are left as they are, and so is the place of the cord in all.


EDGE_MM = 1.0
"""Slices with an edge wider than this are steadied: a logistic edge of scale s is 5 s wide. In the median the starter
model's are 0.8 mm in simulated slices, 1.1 in T2*w ones of 0.4 to 0.8 mm, 1.3 in T2w ones of 1 mm."""

# Chosen on 180 simulated people of seeds 7 to 9 with touching structures, and on the 13 T2w and T2*w volumes that the
# starter model is trained on; no volume that it is judged on. Halving or doubling any of them changes little.
_SHARP_MM = 0.7  # no doubt from an edge of that width, which is the network's pixel
_LEAST_DOUBT = 0.02  # SD of the logarithm of the area: what pixels and noise do to it
_DOUBT_PER_MM2 = 1.0  # and more by the square of the excess
_DRIFT_PER_MM = 0.0006  # variance of the change of log area: 0.0003 in 143 T2*w, 0.0007 to 0.001 in 1,093 T2w slices
_INNER, _OUTER = 3.0, -2.0  # the edge lies between contours of these log-odds, 0.95 and 0.12
_HIGHEST = 4.0  # no contour beyond it is taken, whatever the neighbours have; nor one outside the outer
_REACH_MM = 6.0  # the edge lies within that of the cord; farther off is other anatomy
_LEAST_SLICES = 3


@dataclass(frozen=True)
class SteadiedSlice:
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
class SteadyCord:
    """``mask``: bool; ``probability``: float32, moved with the outlines, so that the threshold still bounds the cord
    (within 6 mm of it, farther off it is as it was).
    ``slices``: those that changed, from inferior to superior. ``edges_mm``: widths of the edges of all slices of cord,
    in the same order; () for fewer than three slices."""

    mask: Volume
    probability: Volume
    slices: tuple[SteadiedSlice, ...]
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


def steady_area(mask: Volume, probability: Volume, threshold: float = 0.5, *, in_place: bool = False) -> SteadyCord:
    """The cord with the outlines of its doubtful slices moved to where the area fits the other slices'.

    ``mask``: bool, at most one region in every axial slice, of ``probability`` (float32 0..1, same grid) at
    ``threshold``. ``in_place``: the voxels of both are written over. Minimised is, over x_k, the logarithms of the
    areas, Σ (x_k - y_k)²/s_k² + Σ (x_k+1 - x_k)²/(q·mm), a Kalman smoother of a random walk.

    Fewer than three slices of cord: nothing moves. Raises GeometryError when the grids differ.
    """
    if not mask.same_grid(probability):
        raise GeometryError(f"the mask (shape {mask.shape}) lies on another grid than the probability map")
    slices, chances = axial_slices(mask), axial_slices(probability)
    used = [k for k, pixels in enumerate(slices.pixels) if pixels.any()]
    if len(used) < _LEAST_SLICES:
        return SteadyCord(mask, probability, ())
    pixel_mm2 = slices.pixel_mm[0] * slices.pixel_mm[1]
    level = float(_log_odds(np.float64(threshold)))
    edges = [_edge(slices.pixels[k], chances.pixels[k], slices.pixel_mm, level) for k in used]
    widths = np.array([edge.width_mm(pixel_mm2) for edge in edges])
    if not (widths > EDGE_MM).any():
        return SteadyCord(mask, probability, (), tuple(widths.tolist()))
    counts = np.array([np.count_nonzero(slices.pixels[k]) for k in used])
    wanted = np.round(np.exp(_smoothed(np.log(counts), widths, np.array(used) * slices.slice_mm)))
    if not in_place:
        mask, probability = (one.with_voxels(one.voxels.copy()) for one in (mask, probability))
        slices, chances = axial_slices(mask), axial_slices(probability)
    moved = []
    for k, edge, width, count, area in zip(used, edges, widths, counts, wanted, strict=True):
        if width <= EDGE_MM or area == count:
            continue
        contour = edge.contour(int(area))
        region = _within(chances.pixels[k], slices.pixels[k], slices.pixel_mm, level + contour)
        after = int(np.count_nonzero(region))
        # What falls apart inside a contour is not bounded by one; and none of the cord may lie inside.
        if after == 0 or not abs(after - area) < abs(count - area):
            continue
        window = _around(slices.pixels[k], slices.pixel_mm)
        before_pv_mm2 = partial_volume_mm2(slices.pixels[k][window], chances.pixels[k][window], slices.pixel_mm)
        chances.pixels[k][window] = _moved(chances.pixels[k][window], contour)
        slices.pixels[k][...] = region
        areas = count * pixel_mm2, before_pv_mm2, after * pixel_mm2
        moved.append(SteadiedSlice(k, *areas, float(width), contour))
    return SteadyCord(mask, probability, tuple(moved), tuple(widths.tolist()))


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
    labels, _ = ndimage.label(region, structure=np.ones((3, 3), bool))
    touched = np.unique(labels[cord])
    return np.asarray(np.isin(labels, touched[touched > 0]))


def _smoothed(log_area: NDArray[np.float64], edge_mm: NDArray[np.float64], z_mm: NDArray) -> NDArray[np.float64]:
    """The series that fits the measured one best, each value to within its doubt (the sum in ``steady_area``)."""
    doubt = _LEAST_DOUBT + _DOUBT_PER_MM2 * np.maximum(0, edge_mm - _SHARP_MM) ** 2
    weight, stiffness = 1 / doubt**2, 1 / (_DRIFT_PER_MM * np.diff(z_mm))
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
    labels, count = ndimage.label(_log_odds(chances[window].astype(np.float64)) >= contour, np.ones((3, 3), bool))
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
