"""The outline of the cord in one slice: its area, how much of it the image shows, and how far the area may be off."""

from __future__ import annotations

from math import hypot

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

LEAST_SEEN = 0.75
"""A slice is left as it is where the image shows an edge along this share of its outline."""
NEIGHBOURS = np.ones((3, 3), bool)
"""Of a pixel: all eight."""

_AROUND_MM = 6.0
_FINE = 8  # parts of a pixel's side, for areas inside a contour
_SECTORS, _RING_MM = 12, (0.8, 2.6)  # the image on both sides of the outline, without the outline's own blur
_STEP = 0.15  # an edge: grey values that differ by this share of the cord's
# Half width of a slice's 95 % band, fitted on simulated people whose areas are known (docs/history.md). It holds for
# what the network drew; how much people differ in where they draw the edge is not in it.
_OF_RAMP, _OF_NOISE = 0.94, 0.30
_RAMP_MM = 2.0  # beyond the outline nothing belongs to its ramp
_MOST_NOISE = 3.0  # over the contrast
_OUTER, _INNER = -2.0, 4.0  # log-odds over the threshold between which an outline is moved


def shown_of(
    cord: NDArray[np.bool_], plane: NDArray, grey: NDArray, threshold: float, pixel_mm: tuple[float, float]
) -> tuple[float, float, float]:
    """Area inside the contour, share with an edge, and band of a slice's ``cord`` (not empty), as drawn at
    ``threshold`` in the probability ``plane`` of the image ``grey``."""
    outline = Outline(cord, grey, pixel_mm)
    area_mm2 = contour_area_mm2(cord, plane, threshold, pixel_mm)
    return area_mm2, outline.seen_edge(), outline.band_mm2(plane, threshold)


class Outline:
    """Of a slice's ``cord`` (bool, not empty) in the ``grey`` values of its image: the surroundings of both."""

    def __init__(self, cord: NDArray[np.bool_], grey: NDArray, pixel_mm: tuple[float, float]) -> None:
        self._window, self._pixel_mm = around(cord, pixel_mm), pixel_mm
        self._cord, self._grey = cord[self._window], grey[self._window].astype(np.float64)
        edt = ndimage.distance_transform_edt
        self._depth, self._beyond = (edt(part, sampling=pixel_mm) for part in (self._cord, ~self._cord))
        inner, outer = ((away > _RING_MM[0]) & (away <= _RING_MM[1]) for away in (self._depth, self._beyond))
        self._inner, self._outer = inner if np.count_nonzero(inner) > 6 else self._cord, outer

    def seen_edge(self) -> float:
        """Share 0..1 along which the image shows an edge: of 12 sectors about the centroid, those in which the mean
        grey values just inside and just outside differ by 15 % of the cord's."""
        places = zip(self._cord.shape, np.argwhere(self._cord).mean(axis=0), self._pixel_mm, strict=True)
        down_mm, across_mm = ((np.arange(n) - at) * mm for n, at, mm in places)
        turn = np.arctan2(down_mm[:, None], across_mm) / (2 * np.pi) % 1
        sector = np.minimum((turn * _SECTORS).astype(int), _SECTORS - 1)
        means = []
        for ring in (self._inner, self._outer):
            counts, sums = (np.bincount(sector[ring], of, _SECTORS) for of in (None, self._grey[ring]))
            means.append(np.divide(sums, counts, out=np.full(_SECTORS, np.nan), where=counts > 0))
        step = np.abs(means[0] - means[1])
        level = abs(float(np.median(self._grey[self._depth >= min(2.0, self._depth.max() / 2)])))
        return float(np.mean(step[np.isfinite(step)] > _STEP * level)) if np.isfinite(step).any() else 0.0

    def band_mm2(self, plane: NDArray, threshold: float) -> float:
        """Half width of the 95 % band of the area, drawn at ``threshold`` in the probability ``plane``.

        Two parts, added in squares: the width of the ramp of probability, Σ p(1 - p) over the pixels, which is the area
        that one unit of log-odds moves; and noise over the contrast of cord and surroundings, times the area.
        """
        grey, depth = self._grey, self._depth
        chance = 1 / (1 + np.exp(log_odds(threshold) - log_odds(plane[self._window])))
        steps = [np.diff(grey, axis=axis)[sliding_window_view(depth, 2, axis).min(axis=-1) > 0.5] for axis in (0, 1)]
        change = np.abs(np.concatenate(steps))
        noise = 1.4826 * float(np.median(change)) / np.sqrt(2) if len(change) else 0.0
        has_outer = self._outer.any()
        contrast = abs(float(np.median(grey[self._inner]) - np.median(grey[self._outer]))) if has_outer else 0.0
        relative = min(noise / contrast, _MOST_NOISE) if contrast > 0 else _MOST_NOISE
        pixel_mm2 = self._pixel_mm[0] * self._pixel_mm[1]
        ramp_mm2 = float((chance * (1 - chance))[self._beyond <= _RAMP_MM].sum()) * pixel_mm2
        return hypot(_OF_RAMP * ramp_mm2, _OF_NOISE * relative * np.count_nonzero(self._cord) * pixel_mm2)


def contour_area_mm2(cord: NDArray[np.bool_], plane: NDArray, threshold: float, pixel_mm: tuple[float, float]) -> float:
    """Area inside the contour of ``threshold`` of a slice's probability around its ``cord``, with parts of pixels: the
    log-odds between pixels are those of a cubic spline."""
    window = around(cord, pixel_mm, 2.0)
    odds = log_odds(plane[window]) - log_odds(threshold)
    fine = ndimage.zoom(odds, _FINE, order=3, mode="nearest", grid_mode=True) >= 0
    area = np.count_nonzero(region_with(fine, cord[window].repeat(_FINE, axis=0).repeat(_FINE, axis=1)))
    return float(area) * pixel_mm[0] * pixel_mm[1] / _FINE**2


def region_of_area(
    cord: NDArray, plane: NDArray, count: int, threshold: float, pixel_mm: tuple[float, float]
) -> NDArray:
    """The region inside the contour that holds ``count`` pixels around the cord; empty where none of it is cord."""
    window = around(cord, pixel_mm)
    odds = log_odds(plane[window]) - log_odds(threshold)
    labels, _ = ndimage.label(odds >= _OUTER, NEIGHBOURS)
    near = np.sort(odds[np.isin(labels, labels[cord[window]])])[::-1]
    region = np.zeros_like(cord)
    region[window] = region_with(odds >= min(near[min(max(count, 1), len(near)) - 1], _INNER), cord[window])
    return region


def region_with(regions: NDArray[np.bool_], cord: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The region that holds most of the cord, holes filled; empty where none holds any."""
    labels, count = ndimage.label(regions, NEIGHBOURS)
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
