"""One axis of a slice under the network's grid, there and back: an affine map, written as a small matrix.

Coordinates follow the pixel-area convention (torch's ``align_corners=False``): the outer edges of the field of view
meet, not the outer pixel centres.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_FORWARD_KERNEL = -0.75  # the constant of torch's and OpenCV's bicubic
_BACKWARD_KERNEL = -0.5  # Keys' own: it keeps straight slopes straight, so that contours do not wander


def _cached(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Every slice of a volume asks for the same few; what is kept must not be bound to the inference at hand."""

    @wraps(make)
    def kept(*arguments: Any) -> Tensor:
        with torch.inference_mode(False):
            return make(*arguments)

    return lru_cache(maxsize=16)(kept)


@dataclass(frozen=True)
class AxisMap:
    """One axis: ``n_source`` pixels of the image under ``n_grid`` pixels of the network, centres on each other.

    ``step``: source pixels per grid pixel. The arrays it gives are shared: they must not be written to.
    """

    n_source: int
    n_grid: int
    step: float

    @property
    def first_edge(self) -> float:
        """Where the grid's first pixel begins, in source pixels from the first source pixel's outer edge."""
        return 0.5 * (self.n_source - self.n_grid * self.step)

    @property
    def padded(self) -> bool:
        """True when the grid reaches beyond the image."""
        return self.first_edge < -1e-6

    def source_positions(self) -> NDArray[np.float64]:
        """Grid pixel centres in source pixel indices, shape (n_grid,)."""
        return self.first_edge + (np.arange(self.n_grid, dtype=np.float64) + 0.5) * self.step - 0.5

    def grid_positions(self) -> NDArray[np.float64]:
        """Source pixel centres in grid pixel indices, shape (n_source,)."""
        return (np.arange(self.n_source, dtype=np.float64) + 0.5 - self.first_edge) / self.step - 0.5

    @_cached
    def forward(self, antialias: bool = False) -> Tensor:
        """(n_grid, n_source) bicubic weights; beyond the image zeros where padded, else its edge pixel."""
        width = max(1.0, self.step) if antialias else 1.0
        return _cubic_matrix(self.source_positions(), self.n_source, _FORWARD_KERNEL, width, beyond_is_zero=self.padded)

    @_cached
    def backward(self) -> Tensor:
        """(n_source, n_grid) bicubic weights; beyond the grid its edge pixel."""
        return _cubic_matrix(self.grid_positions(), self.n_grid, _BACKWARD_KERNEL, 1.0, beyond_is_zero=False)

    @_cached
    def reached(self) -> Tensor:
        """(n_source,) bool: the centre of the source pixel lies on the grid."""
        positions = self.grid_positions()
        return torch.from_numpy((positions >= -0.5 - 1e-6) & (positions <= self.n_grid - 0.5 + 1e-6))

    @_cached
    def covered(self) -> Tensor:
        """(n_grid,) bool: the centre of the grid pixel lies on the image; the others are padding."""
        positions = self.source_positions()
        return torch.from_numpy((positions >= -0.5 - 1e-6) & (positions <= self.n_source - 0.5 + 1e-6))

    def overlap(self) -> Tensor:
        """(n_grid, n_source): the share of each grid pixel that each source pixel covers."""
        starts = self.first_edge + np.arange(self.n_grid)[:, None] * self.step
        pixels = np.arange(self.n_source)[None, :]
        shared = np.minimum(starts + self.step, pixels + 1) - np.maximum(starts, pixels)
        return torch.from_numpy(np.clip(shared / self.step, 0, None)).float()

    def nearest(self, rule: str) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Source index of every grid pixel, and where there is one."""
        shift = 0.5 if rule == "nearest-exact" else 0.0
        index = np.floor(self.first_edge + (np.arange(self.n_grid) + shift) * self.step + 1e-9).astype(np.intp)
        return index.clip(0, self.n_source - 1), (index >= 0) & (index < self.n_source)


def _cubic_matrix(
    positions: NDArray[np.float64], n_source: int, constant: float, width: float, *, beyond_is_zero: bool
) -> Tensor:
    """(len(positions), n_source) float32 weights of the cubic convolution at ``positions``, ``width`` times as wide."""
    base = np.floor(positions)
    reach = ceil(2 * width)
    taps = np.arange(1 - reach, reach + 1)
    weights = _cubic(np.abs(positions[:, None] - base[:, None] - taps) / width, constant)
    weights /= weights.sum(axis=1, keepdims=True)
    index = (base[:, None] + taps).astype(np.intp)
    if beyond_is_zero:
        weights = np.where((index >= 0) & (index < n_source), weights, 0.0)
    matrix = np.zeros((len(positions), n_source))
    np.add.at(matrix, (np.arange(len(positions))[:, None], index.clip(0, n_source - 1)), weights)
    return torch.from_numpy(matrix.astype(np.float32))


def _cubic(distance: NDArray[np.float64], constant: float) -> NDArray[np.float64]:
    """The cubic convolution kernel of Keys (1981), 0 from a distance of 2 on."""
    a, d = constant, distance
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))
