"""The path of the cord through a stack of slices: at most one blob a slice, chosen for the whole stack at once.

Every slice offers blobs (8-connected regions above the threshold). A path earns, per mm of slice, how much its
blobs look like cord (area, roundness, probability, nearness to the middle), less a constant, so that an implausible
end is left off; it pays for sideways jumps and for missing slices. The best path is found exactly, by dynamic
programming. It is not the largest region: a bright muscle is, often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, hypot

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_BLOBS_PER_SLICE = 12
_ENTRY_PRICE = 0.15  # per mm: what a blob must look like at least to lengthen the path
_GAP_PRICE = 0.5  # per missing mm: dearer than a poor slice, so that slices grown together with a neighbour stay
_FREE_TILT = 0.6  # sideways mm per mm along the stack that cost nothing but the weak pull below
_STEEPEST_TILT = 1.2  # a cord cut at 45° has 1
_WAIST, _WHOLE = 0.3, 0.6  # of the area next to it: the cord is not cut in half within a few mm, a medulla's ghost is
_REFERENCE_MM, _RECOVERY_MM = 20.0, 10.0
_LONGEST_UNSURE_MM = 20.0
_AS_SURE = 0.96  # on 24 simulated heads the end is then nearest to where it should be, see RESULTS.md
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
