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
from numpy.typing import NDArray
from scipy import ndimage

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.flags import Flag, case_flag
from SpinalCordSegLib.outline import LEAST_SEEN, NEIGHBOURS, region_of_area, shown_of
from SpinalCordSegLib.volume import Volume, bounding_box, place_on

SMOOTH_Z_MM = 0.8
"""Standard deviation of the smoothing along z; slices within two of them take part."""

_REGIONS_PER_SLICE = 8
_AREA_MM2, _LIKENESS = (4, 20, 45, 130, 170, 300), (0, 0.7, 1, 1, 0.8, 0)  # how much an area is like a cord's
_ENTRY_PRICE = 0.5  # per mm: what a region must look like at least to lengthen the path
_GAP_PRICE, _LONGEST_GAP_MM = 0.5, 15.0  # per missing mm; parts further apart are not joined
_FREE_TILT, _FREE_MM = 0.6, 1.5  # sideways mm per mm of height, and beyond it, that cost next to nothing
_STEEPEST_TILT, _STEEPEST_MM = 0.35, 4.0  # what lies further aside is no continuation
_SHORTEST_MM, _LEAST_PEAK = 8.0, 0.85  # of a cord that ends within the image; of the surest slice of any cord
_AS_SURE, _QUANTILE, _FADE_MM = 0.9, 0.75, 30.0  # the upper end: share of the certainty below it; most that is cut
_SEEN_SD, _UNSEEN_SD = 0.05, 0.4  # of the log area of a slice whose outline is seen in full, and not at all
_DRIFT_PER_MM = 6e-4  # variance of the change of log area


@dataclass(frozen=True, eq=False)
class CordMask:
    """``mask``: bool, at most one region in every axial slice, without holes; it may be empty. ``removed_mm3``,
    ``filled_mm3``: what was left off as no cord, and holes. ``evidence``: of a network's mask, columns of the slice
    table by name, a value for every slice of the volume: ``network_area_mm2`` inside the network's own contour,
    ``confidence``, ``seen_edge``, ``csa_95_mm2`` (all NaN without cord) and ``imputed`` (1 or 0). ``upper_end``: the
    canonical slice above which the network, sure up to there, sees no cord; a case keeps it where brain follows
    (``ends_below_brain``). None: the image ends there, or it is not known."""

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
    part = probability.voxels[int(filled[0]) : int(filled[-1]) + 1, box[1], box[2]]
    ndimage.gaussian_filter1d(part, sigma_mm / probability.slice_mm, axis=0, output=part, mode="nearest", radius=reach)
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
    kept, ends = _cord_of(path, computed, slice_mm)
    mask = _drawn(kept, chances.shape)
    area_mm2, seen, band_mm2, confidence = np.full((4, len(mask)), np.nan)
    for region in kept:
        k = region.k
        confidence[k] = region.confidence
        area_mm2[k], seen[k], band_mm2[k] = shown_of(mask[k], chances[k], image.voxels[k], threshold, pixel_mm)
    moved = _impute(mask, chances, seen, threshold, probability) if impute else []
    band_mm2[moved] = np.nan  # it holds for what the network drew
    evidence: dict[str, NDArray] = {"network_area_mm2": area_mm2, "confidence": confidence, "seen_edge": seen}
    evidence |= {"csa_95_mm2": band_mm2, "imputed": np.isin(np.arange(len(mask)), moved).astype(np.int64)}
    above = sum(np.count_nonzero(chances[k] >= threshold) for k in computed)
    removed_mm3 = (above - sum(region.pixels for region in kept)) * probability.voxel_volume_mm3
    flags = []
    if not kept:
        reason = f"{removed_mm3:.0f} mm³ above the threshold, none of it like a cord"
        flags.append(case_flag("empty", f"no cord was found: {reason if above else 'no voxel reaches the threshold'}"))
    elif len(kept) < len(path):
        text = f"the cord's upper end was cut {len(path) - len(kept)} slices below the end of what the network found,"
        flags.append(case_flag("cord_end", f"{text} where it was no longer sure: look there"))
    upper_end = kept[-1].k if ends else None
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
    labels, count = ndimage.label(plane >= threshold, NEIGHBOURS)
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
        before = np.arange(*np.searchsorted(k, [k[here] - reach, k[here]]))
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


def _cord_of(path: list[Region], computed: Sequence[int], slice_mm: float) -> tuple[list[Region], bool]:
    """What of the path is cord, and whether it surely ends where that ends.

    It is where the network is sure of it somewhere, and it is long enough or cut short by an end of the image. One that
    does not leave the image goes up to the last slice that is nearly as sure as the cord below: cord turns into medulla
    without an edge. Where more than 30 mm are unsure the image is poor, and its cord is a person's to judge.
    """
    sure = np.array([region.confidence for region in path])
    at_ends = bool(path) and (path[0].k == computed[0], path[-1].k == computed[-1])
    if not at_ends or sure.max() < _LEAST_PEAK or not (any(at_ends) or len(path) * slice_mm >= _SHORTEST_MM):
        return [], False
    least = _AS_SURE * float(np.quantile(sure[-max(1, round(2 * _FADE_MM / slice_mm)) :], _QUANTILE))
    last = int(np.flatnonzero(sure >= least)[-1])
    if at_ends[1] or (path[-1].k - path[last].k) * slice_mm > _FADE_MM:
        return path, False
    return path[: last + 1], True


def _drawn(path: Sequence[Region], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A mask of these regions, holes filled."""
    mask = np.zeros(shape, bool)
    for region in path:
        mask[region.k][region.window] = ndimage.binary_fill_holes(region.inside)
    return mask


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
    equations = np.diag(weight + np.append(stiffness, 0) + np.append(0, stiffness))
    equations -= np.diag(stiffness, 1) + np.diag(stiffness, -1)
    wanted = np.exp(np.linalg.solve(equations, weight * np.log(counts)))
    moved = []
    for k, count, want in zip(used[unseen].tolist(), counts[unseen], wanted[unseen], strict=True):
        region = region_of_area(mask[k], chances[k], round(float(want)), threshold, grid.pixel_mm)
        if region.any() and abs(np.count_nonzero(region) - want) < abs(count - want):
            mask[k] = region
            moved.append(k)
    return moved
