"""What a montage shows, as arrays on square display pixels: axial tiles and planes that follow the cord.

Everything is cut in canonical axes and scaled in mm, so that unequal voxels look right. Pictures are shown as
a radiologist looks at them: axial and coronal with the patient's right on the left, sagittal with anterior on
the left, superior on top.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SpinalCordSegLib.images.volume import Volume, to_canonical

_MASK_ONLY_GREY = 0.35
_NARROWEST_WINDOW = 0.15  # of the whole montage's


@dataclass(frozen=True, eq=False)
class View:
    """``grey``: (rows, columns) 0..1; ``mask``: bool of the same shape; both on square pixels."""

    grey: NDArray[np.float32]
    mask: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class CordScene:
    """Image and mask in canonical axes [R, A, S], with the path of the cord's centre through every slice.

    ``image`` None: the mask alone is shown. ``centre``: (n slices, 2) voxel coordinates (x, y); slices without
    cord take the nearest slice's or a line between; the middle of the volume where there is no cord at all.
    ``window``: grey values shown black and white.
    """

    image: NDArray | None
    mask: NDArray[np.bool_]
    spacing_mm: tuple[float, float, float]
    centre: NDArray[np.float64]
    window: tuple[float, float]

    @classmethod
    def of(cls, image: Volume | None, mask: Volume, around_mm: float) -> CordScene:
        """``around_mm``: the grey window comes from the voxels within this distance of the cord's centre."""
        canonical = to_canonical(mask)
        cord = canonical.voxels.astype(bool)
        voxels = None if image is None else to_canonical(image).voxels
        centre = cord_path(cord)
        window = (0.0, 1.0) if voxels is None else _window(voxels, canonical.spacing_mm, centre, around_mm)
        return cls(voxels, cord, canonical.spacing_mm, centre, window)

    def axial(self, k: int, side_mm: float, pixels_per_mm: float) -> View:
        """Canonical slice k, a square of ``side_mm`` about the cord's centre."""
        x, y = self.centre[k]
        steps = np.arange(round(side_mm * pixels_per_mm)) + 0.5
        offsets = steps / pixels_per_mm - side_mm / 2
        across = x - offsets / self.spacing_mm[0]  # the view from the feet: patient's right on the left
        down = y - offsets / self.spacing_mm[1]
        return self._sampled(lambda voxels: voxels[:, :, k].T, down, across, own_window=True)

    def along(self, axis: int, side_mm: float, pixels_per_mm: float) -> View:
        """The plane that follows the cord: axis 1 sagittal (anterior on the left), axis 0 coronal (right on the left).

        Width ``side_mm`` about the centre; the height is the whole volume's.
        """
        height_mm = self.mask.shape[2] * self.spacing_mm[2]
        rows = np.arange(max(1, round(height_mm * pixels_per_mm))) + 0.5
        heights = self.mask.shape[2] - rows / pixels_per_mm / self.spacing_mm[2] - 0.5
        heights = heights.clip(0, self.mask.shape[2] - 1)  # the outer halves of the end slices are theirs too
        offsets = (np.arange(round(side_mm * pixels_per_mm)) + 0.5) / pixels_per_mm - side_mm / 2
        middle = (self.centre[:, axis].min() + self.centre[:, axis].max()) / 2
        across = middle - offsets / self.spacing_mm[axis]
        followed = np.rint(self.centre[:, 1 - axis]).astype(int).clip(0, self.mask.shape[1 - axis] - 1)
        slices = np.arange(self.mask.shape[2])
        if axis == 1:
            return self._sampled(lambda voxels: voxels[followed, :, slices], heights, across)
        return self._sampled(lambda voxels: voxels[:, followed, slices].T, heights, across)

    def reach_mm(self, axis: int) -> float:
        """How far the cord's centre wanders along an axis, mm."""
        return float(np.ptp(self.centre[:, axis])) * self.spacing_mm[axis]

    def _sampled(
        self,
        cut: Callable[[NDArray], NDArray],
        rows: NDArray[np.float64],
        columns: NDArray[np.float64],
        own_window: bool = False,
    ) -> View:
        mask = sampled(cut(self.mask), rows, columns) >= 0.5
        if self.image is None:
            return View((mask * np.float32(_MASK_ONLY_GREY)).astype(np.float32), mask)
        values = sampled(cut(self.image), rows, columns)
        low, high = self._window_of(values) if own_window else self.window
        return View(np.clip((values - low) / (high - low), 0, 1).astype(np.float32), mask)

    def _window_of(self, values: NDArray[np.float32]) -> tuple[float, float]:
        """The tile's own grey window: coils fall off along the neck. Never so narrow that noise fills it."""
        low, high = (float(value) for value in np.percentile(values, (1.0, 99.5)))
        return low, max(high, low + _NARROWEST_WINDOW * (self.window[1] - self.window[0]))


def sampled(plane: NDArray, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float32]:
    """``plane`` at every pair of these positions (in its pixels), linear between pixels, 0 beyond the outermost.

    Linear interpolation on a grid is a small matrix on either side, which is many times faster than point by point.
    """
    down, across = (_linear(at, size) for at, size in zip((rows, columns), plane.shape, strict=True))
    crop = plane[down.first : down.end, across.first : across.end]
    return np.asarray(down.weights @ crop.astype(np.float32) @ across.weights.T, np.float32)


@dataclass(frozen=True, eq=False)
class _Linear:
    """``weights``: (positions, pixels ``first`` to ``end`` - 1)."""

    weights: NDArray[np.float32]
    first: int
    end: int


def _linear(positions: NDArray[np.float64], size: int) -> _Linear:
    first = int(np.clip(np.floor(positions.min()), 0, size - 1))
    end = int(np.clip(np.floor(positions.max()) + 2, first + 1, size))
    weights = np.clip(1 - np.abs(positions[:, None] - np.arange(first, end)), 0, None)
    weights[(positions < 0) | (positions > size - 1)] = 0
    return _Linear(weights.astype(np.float32), first, end)


def outline(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """The rim just outside the mask, ``width`` pixels: the cord itself stays visible."""
    if not mask.any():
        return mask
    return ndimage.binary_dilation(mask, ndimage.generate_binary_structure(2, 2), iterations=width) & ~mask


def cord_path(cord: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(n slices, 2): centroid (x, y) in voxels of each slice of a mask [R, A, S]; see CordScene.centre."""
    counts = cord.sum(axis=(0, 1))
    filled = np.flatnonzero(counts)
    n = cord.shape[2]
    if not filled.size:
        return np.tile((np.array(cord.shape[:2]) - 1) / 2, (n, 1))
    path = []
    for axis in (0, 1):
        profile = cord.sum(axis=1 - axis)[:, filled]
        centroid = (np.arange(cord.shape[axis]) @ profile) / counts[filled]
        path.append(np.interp(np.arange(n), filled, centroid))
    return np.stack(path, axis=1)


def chosen_slices(filled: Sequence[int], flagged: Sequence[int], count: int) -> list[int]:
    """At most ``count`` of the slices in ``filled``: spread evenly, with flagged ones preferred for up to half."""
    if len(filled) <= count:
        return sorted(filled)
    doubtful = [k for k in flagged if k in set(filled)]
    kept = {doubtful[i] for i in _spread(len(doubtful), min(len(doubtful), count // 2))}
    rest = [k for k in filled if k not in kept]
    return sorted(kept | {rest[i] for i in _spread(len(rest), count - len(kept))})


def _spread(n: int, count: int) -> list[int]:
    """``count`` different positions of 0..n-1, evenly spread, ends included."""
    return [] if count == 0 else [round(p) for p in np.linspace(0, n - 1, count)] if count > 1 else [n // 2]


def _window(
    voxels: NDArray, spacing_mm: tuple[float, float, float], centre: NDArray[np.float64], around_mm: float
) -> tuple[float, float]:
    n_x, n_y, n_z = voxels.shape
    samples = []
    for k in np.unique(np.linspace(0, n_z - 1, min(n_z, 40)).round().astype(int)):
        (x, y), (r_x, r_y) = centre[k], (around_mm / spacing_mm[0], around_mm / spacing_mm[1])
        x0, x1 = max(0, int(x - r_x)), min(n_x, int(x + r_x) + 1)
        y0, y1 = max(0, int(y - r_y)), min(n_y, int(y + r_y) + 1)
        samples.append(
            np.asarray(voxels[x0:x1, y0:y1, k], np.float32).ravel()[:: max(1, (x1 - x0) * (y1 - y0) // 5000)]
        )
    low, high = np.percentile(np.concatenate(samples), (1.0, 99.0))
    return float(low), float(high) if high > low else float(low) + 1.0
