"""Where the cord must be in the slices between two that were computed whole: the window that is computed there.

A window's logits are those of the whole slice (see ``FoldedRAUNet.forward``), so the cord's mask cannot change; what
can be missed is a stray region outside the window that no slice computed whole shows. Everything here is in pixels of
the network's grid and on calibrated logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SpinalCordSegLib.inference.mask import LEAST_TRACKED
from SpinalCordSegLib.network.folded_ra_unet import HALO, Window

_EVERY_MM = 5.0
_MOST_APART = 8
_DOUBTFUL = float(np.log(LEAST_TRACKED / (1 - LEAST_TRACKED)))
_ROOM = 10  # pixels around the regions of both neighbours: some 7 mm, a lean of over 45° between them
_FREE_EDGE = 3  # pixels that must be clear of anything doubtful inside the window
_MOST_AREA_MM2 = 300.0
_LEAST_CONFIDENCE = 0.8


@dataclass(frozen=True)
class Box:
    """The bounding box of what is doubtful or cord, half-open."""

    top: int
    bottom: int
    left: int
    right: int


def whole_slices(first: int, last: int, slice_mm: float) -> list[int]:
    """The slices of first..last - 1 to compute whole: one every 5 mm, never two running, and both ends."""
    step = int(np.clip(round(_EVERY_MM / slice_mm), 2, _MOST_APART))
    return sorted({*range(first, last, step), last - 1})


def only_region(logits: NDArray[np.float32], pixel_mm2: float) -> Box | None:
    """The one region of a slice (rows, columns) that may be cord; None where there is none, or more, or it is unlike
    a cord (over 300 mm², or the network was unsure of it): then nothing can be said of the slices beside it."""
    labels, count = ndimage.label(logits >= _DOUBTFUL, structure=np.ones((3, 3), bool))
    if count != 1:
        return None
    inside = logits[logits >= 0]
    if inside.size == 0 or inside.size * pixel_mm2 > _MOST_AREA_MM2:
        return None
    if float((1 / (1 + np.exp(-inside.astype(np.float64)))).mean()) < _LEAST_CONFIDENCE:
        return None
    rows, columns = ndimage.find_objects(labels)[0]
    return Box(rows.start, rows.stop, columns.start, columns.stop)


def window_between(below: Box | None, above: Box | None, shape: tuple[int, int]) -> Window | None:
    """The window for the slices between two with these regions, on a grid of ``shape``; None: compute them whole."""
    if below is None or above is None:
        return None
    reach = _ROOM + HALO
    top, left = min(below.top, above.top) - reach, min(below.left, above.left) - reach
    bottom, right = max(below.bottom, above.bottom) + reach, max(below.right, above.right) + reach
    if bottom - top > 0.75 * shape[0] and right - left > 0.75 * shape[1]:
        return None  # nothing is saved
    return (
        max(0, top // 4 * 4),
        min(shape[0], -(-bottom // 4) * 4),
        max(0, left // 4 * 4),
        min(shape[1], -(-right // 4) * 4),
    )


def exact_part(window: Window, shape: tuple[int, int]) -> Window:
    """The part of a window whose logits are right: all but the halo, which is not needed along the slice's borders."""
    top, bottom, left, right = window
    return (
        top + HALO * (top > 0),
        bottom - HALO * (bottom < shape[0]),
        left + HALO * (left > 0),
        right - HALO * (right < shape[1]),
    )


def is_settled(logits: NDArray[np.float32], part: Window, shape: tuple[int, int], pixel_mm2: float) -> bool:
    """True when the exact part of a window shows one region like a cord, clear of the part's edges."""
    box = only_region(logits, pixel_mm2)
    if box is None:
        return False
    top, bottom, left, right = part
    return (
        (top == 0 or box.top >= _FREE_EDGE)
        and (bottom == shape[0] or box.bottom <= bottom - top - _FREE_EDGE)
        and (left == 0 or box.left >= _FREE_EDGE)
        and (right == shape[1] or box.right <= right - left - _FREE_EDGE)
    )


def windows(whole: Sequence[int], regions: Sequence[Box | None], shape: tuple[int, int]) -> dict[int, Window | None]:
    """For every slice between those computed whole, its window or None."""
    found: dict[int, Window | None] = {}
    for at in range(len(whole) - 1):
        window = window_between(regions[at], regions[at + 1], shape)
        found.update(dict.fromkeys(range(whole[at] + 1, whole[at + 1]), window))
    return found
