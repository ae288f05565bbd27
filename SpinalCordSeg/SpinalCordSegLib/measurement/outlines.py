"""The cord's outline in a slice as a signed distance about its centre, so that outlines can be mixed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SpinalCordSegLib.images.volume import Volume, from_canonical, to_canonical
from SpinalCordSegLib.measurement.centreline import fit_centreline
from SpinalCordSegLib.measurement.cleaning import pieces_of_slices
from SpinalCordSegLib.measurement.slice_pieces import SlicePieces

_SMOOTH_PIXELS = 1.0
_MARGIN_MM = 4.0  # about the widest outline: mixed outlines stay within it


@dataclass(frozen=True, eq=False)
class OutlineStack:
    """All slices of a mask about the cord. ``voxels``: bool [R, A, S], a window of every slice with its largest piece,
    holes filled; ``corner``: where the window begins in the slice. ``spacing_mm``: of R, A, S. ``reach``: in pixels,
    from a centre to beyond any outline."""

    voxels: NDArray[np.bool_]
    corner: tuple[int, int]
    spacing_mm: tuple[float, float, float]
    reach: tuple[int, int]

    @classmethod
    def of(cls, mask: Volume) -> OutlineStack | None:
        """None for an empty mask."""
        canonical = to_canonical(mask)
        outlines = {k: main_outline(pieces) for k, pieces in pieces_of_slices(mask).items()}
        if not outlines:
            return None
        margins = [int(_MARGIN_MM / mm) + 2 for mm in canonical.spacing_mm[:2]]
        windows = [window for _, window in outlines.values()]
        low = [max(0, min(w[axis].start for w in windows) - margins[axis]) for axis in (0, 1)]
        high = [min(canonical.shape[axis], max(w[axis].stop for w in windows) + margins[axis]) for axis in (0, 1)]
        voxels = np.zeros((high[0] - low[0], high[1] - low[1], canonical.shape[2]), bool)
        for k, (pixels, window) in outlines.items():
            voxels[
                window[0].start - low[0] : window[0].stop - low[0],
                window[1].start - low[1] : window[1].stop - low[1],
                k,
            ] = pixels
        widest = [max(w[axis].stop - w[axis].start for w in windows) + margins[axis] for axis in (0, 1)]
        return cls(voxels, (low[0], low[1]), canonical.spacing_mm, (widest[0], widest[1]))

    def centres(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The non-empty slices, and (n, 2) their unweighted centroids in pixels of the window."""
        counts = np.count_nonzero(self.voxels, axis=(0, 1))
        filled = np.flatnonzero(counts)
        x = np.arange(self.voxels.shape[0]) @ self.voxels.sum(axis=1)[:, filled] / counts[filled]
        y = np.arange(self.voxels.shape[1]) @ self.voxels.sum(axis=0)[:, filled] / counts[filled]
        return filled, np.stack([x, y], axis=1)

    def course(
        self, filled: NDArray[np.int64], centroids: NDArray[np.float64], at: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """(n, 2): where the centreline through the given slices runs at the slices ``at``, pixels of the window."""
        mm = centroids * self.spacing_mm[:2]
        line = fit_centreline(filled, mm[:, 0], mm[:, 1], self.spacing_mm[2], at=at)
        return np.stack([line.x_mm, line.y_mm], axis=1) / self.spacing_mm[:2]

    def distance_mm(self, k: int, centre: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distance from slice k's outline (inside positive) on a grid of 2·reach + 1 pixels about ``centre``, mm.

        The outline runs half a pixel beyond the last one inside; the steps that pixels leave in the distance are
        smoothed. Beyond the image is outside. Raises ValueError for an empty slice.
        """
        pixels = self.voxels[:, :, k]
        if not pixels.any():
            raise ValueError(f"slice {k} has no outline")
        corner = [int(c) - r - 1 for c, r in zip(centre, self.reach, strict=True)]
        window = _window(pixels, corner, (2 * self.reach[0] + 4, 2 * self.reach[1] + 4))
        inside = ndimage.distance_transform_edt(window, sampling=self.spacing_mm[:2])
        outside = ndimage.distance_transform_edt(~window, sampling=self.spacing_mm[:2])
        half = min(self.spacing_mm[:2]) / 2
        distance = ndimage.gaussian_filter(np.where(window, inside - half, half - outside), _SMOOTH_PIXELS)
        steps = [c - o + np.arange(-r, r + 1.0) for c, o, r in zip(centre, corner, self.reach, strict=True)]
        return ndimage.map_coordinates(distance, np.meshgrid(*steps, indexing="ij"), order=1, mode="nearest")

    def inside(self, distance_mm: NDArray[np.float64], centre: NDArray[np.float64], n_pixels: int) -> NDArray[np.bool_]:
        """The outline that a distance about ``centre`` stands for, on the pixels of the window: the ``n_pixels`` (at
        least one) that lie furthest inside. A threshold of 0 would give the area in steps of whole rings of pixels."""
        found = self._placed(distance_mm, centre)
        count = max(1, n_pixels)
        level = np.partition(found.ravel(), -count)[-count]
        return np.asarray((found >= level) & np.isfinite(found))

    def _placed(self, distance_mm: NDArray[np.float64], centre: NDArray[np.float64]) -> NDArray[np.float64]:
        """Inverse of ``distance_mm``: the distance on the pixels of the window, -infinity beyond its reach."""
        x, y = (np.arange(n) - c + r for n, c, r in zip(self.voxels.shape, centre, self.reach, strict=False))
        found = np.full(self.voxels.shape[:2], -np.inf)
        i = np.flatnonzero((x >= 0) & (x <= 2 * self.reach[0]))
        j = np.flatnonzero((y >= 0) & (y <= 2 * self.reach[1]))
        if i.size and j.size:
            at = np.meshgrid(x[i], y[j], indexing="ij")
            found[np.ix_(i, j)] = ndimage.map_coordinates(distance_mm, at, order=1, mode="nearest")
        return found

    def onto(self, mask: Volume, changed: dict[int, NDArray[np.bool_]]) -> Volume:
        """``mask`` as bool with some slices replaced by what ``changed`` holds for the window (the rest of such a
        slice is emptied)."""
        voxels = np.array(to_canonical(mask).voxels != 0)
        x, y = (slice(c, c + n) for c, n in zip(self.corner, self.voxels.shape, strict=False))
        for k, pixels in changed.items():
            voxels[:, :, k] = False
            voxels[x, y, k] = pixels
        return from_canonical(voxels, mask)


def main_outline(pieces: SlicePieces) -> tuple[NDArray[np.bool_], tuple[slice, slice]]:
    """The largest piece of a slice with its holes filled, and the window that it lies in."""
    main = pieces.labels == 1 + int(np.argmax(pieces.areas))
    return ndimage.binary_fill_holes(main), pieces.window


def _window(pixels: NDArray[np.bool_], corner: list[int], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """A window of a slice that may reach beyond it: False there."""
    found = np.zeros(shape, bool)
    low = [max(0, c) for c in corner]
    high = [min(n, c + s) for n, c, s in zip(pixels.shape, corner, shape, strict=True)]
    if low[0] < high[0] and low[1] < high[1]:
        own = tuple(slice(a - c, b - c) for a, b, c in zip(low, high, corner, strict=True))
        found[own] = pixels[low[0] : high[0], low[1] : high[1]]
    return found
