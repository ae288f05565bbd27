"""From the probability of cord to the mask of the cord: threshold, then the regions that together are the cord."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.images.volume import Volume, axial_slices, axial_zeros
from SpinalCordSegLib.inference.track import (
    Blob,
    best_path,
    drop_ragged_ends,
    drop_strays,
    drop_unsure_top,
    find_blobs,
)

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
