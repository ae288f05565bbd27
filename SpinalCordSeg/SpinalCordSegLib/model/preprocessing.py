"""Slices to the model's grid and intensity, and logits back: a property of the model, kept with its weights.

Both ways are one affine map per axis (``AxisMap``), so that padding, cropping, unequal pixels and resizing undo
exactly. Slices may be numpy arrays or torch tensors: what is given comes back, a tensor on its device. Only what numpy
and torch have in common is used, so that one formula holds for the CPU, the GPU and the trainer.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.errors import ConfigurationError

# One axis of a slice under the network's grid, there and back: an affine map, written as a small matrix.
#
# Coordinates follow the pixel-area convention (torch's ``align_corners=False``): the outer edges of the field of view
# meet, not the outer pixel centres.


_FORWARD_KERNEL = -0.75  # the constant of torch's and OpenCV's bicubic
_BACKWARD_KERNEL = -0.5  # Keys' own: it keeps straight slopes straight, so that contours do not wander

Array = Any
"""A numpy array or a torch tensor."""

_cached = lru_cache(maxsize=16)  # every slice of a volume asks for the same few


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

    def source_positions(self) -> NDArray[np.float64]:
        """Grid pixel centres in source pixel indices, shape (n_grid,)."""
        return self.first_edge + (np.arange(self.n_grid, dtype=np.float64) + 0.5) * self.step - 0.5

    def grid_positions(self) -> NDArray[np.float64]:
        """Source pixel centres in grid pixel indices, shape (n_source,)."""
        return (np.arange(self.n_source, dtype=np.float64) + 0.5 - self.first_edge) / self.step - 0.5

    @_cached
    def forward(self) -> NDArray[np.float32]:
        """(n_grid, n_source) bicubic weights; beyond the image zeros where padded, else its edge pixel."""
        padded = self.first_edge < -1e-6
        return _cubic_matrix(self.source_positions(), self.n_source, _FORWARD_KERNEL, beyond_is_zero=padded)

    @_cached
    def backward(self) -> NDArray[np.float32]:
        """(n_source, n_grid) bicubic weights; beyond the grid its edge pixel."""
        return _cubic_matrix(self.grid_positions(), self.n_grid, _BACKWARD_KERNEL, beyond_is_zero=False)

    @_cached
    def reached(self) -> NDArray[np.bool_]:
        """(n_source,) bool: the centre of the source pixel lies on the grid."""
        return _within(self.grid_positions(), self.n_grid)

    @_cached
    def covered(self) -> NDArray[np.bool_]:
        """(n_grid,) bool: the centre of the grid pixel lies on the image; the others are padding."""
        return _within(self.source_positions(), self.n_source)

    def overlap(self) -> NDArray[np.float32]:
        """(n_grid, n_source): the share of each grid pixel that each source pixel covers."""
        starts = self.first_edge + np.arange(self.n_grid)[:, None] * self.step
        pixels = np.arange(self.n_source)[None, :]
        shared = np.minimum(starts + self.step, pixels + 1) - np.maximum(starts, pixels)
        return np.clip(shared / self.step, 0, None).astype(np.float32)


def _within(positions: NDArray[np.float64], n: int) -> NDArray[np.bool_]:
    return (positions >= -0.5 - 1e-6) & (positions <= n - 0.5 + 1e-6)


def _cubic_matrix(
    positions: NDArray[np.float64], n_source: int, constant: float, *, beyond_is_zero: bool
) -> NDArray[np.float32]:
    """(len(positions), n_source) float32 weights of the cubic convolution at ``positions``."""
    base = np.floor(positions)
    taps = np.arange(-1, 3)
    weights = _cubic(np.abs(positions[:, None] - base[:, None] - taps), constant)
    weights /= weights.sum(axis=1, keepdims=True)
    index = (base[:, None] + taps).astype(np.intp)
    if beyond_is_zero:
        weights = np.where((index >= 0) & (index < n_source), weights, 0.0)
    matrix = np.zeros((len(positions), n_source))
    np.add.at(matrix, (np.arange(len(positions))[:, None], index.clip(0, n_source - 1)), weights)
    return matrix.astype(np.float32)


def _cubic(distance: NDArray[np.float64], constant: float) -> NDArray[np.float64]:
    """The cubic convolution kernel of Keys (1981), 0 from a distance of 2 on."""
    a, d = constant, distance
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


SIZE_STEP = 32  # the networks pool five times
LOGIT_LIMIT = 12.0
_SAMPLE = 1 << 17  # percentiles of larger slices are taken from a regular sample of about this many pixels


@dataclass(frozen=True)
class NormalisationConfig:
    """How a slice becomes network input.

    ``kind``: "paper" (field of view padded to a square in mm, resized to ``size``²) or "fixed_pixel" (``pixel_mm``
    per pixel, padded to multiples of 32 and at least ``min_size``, cropped about the centre beyond ``max_size``).
    ``intensity``: "minmax" of each slice (the paper) or "percentile" (``low_percentile`` to 0, ``high_percentile``
    to 1, the rest clipped). Raises ConfigurationError for anything else.
    """

    kind: str = "paper"
    size: int = 256
    pixel_mm: float | None = None
    intensity: str = "minmax"
    low_percentile: float = 0.5
    high_percentile: float = 99.5
    min_size: int = 96
    max_size: int = 384

    def __post_init__(self) -> None:
        kinds = (self.kind, ("paper", "fixed_pixel")), (self.intensity, ("minmax", "percentile"))
        for value, choices in kinds:
            if value not in choices:
                raise ConfigurationError(f"unknown normalisation {value!r}: choose one of {', '.join(choices)}")
        for name in ("size", "min_size", "max_size"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < SIZE_STEP or value % SIZE_STEP:
                raise ConfigurationError(f"{name} is {value!r}, expected a multiple of {SIZE_STEP}")
        if self.min_size > self.max_size:
            raise ConfigurationError(f"min_size {self.min_size} is above max_size {self.max_size}")
        if self.kind == "fixed_pixel" and not (self.pixel_mm is not None and 0.05 <= self.pixel_mm <= 10):
            raise ConfigurationError(f"fixed_pixel needs pixel_mm between 0.05 and 10 mm, found {self.pixel_mm!r}")
        if not 0 <= self.low_percentile < self.high_percentile <= 100:
            raise ConfigurationError(
                f"percentiles {self.low_percentile}..{self.high_percentile}: expected 0 <= low < high <= 100"
            )


@dataclass(frozen=True)
class Placement:
    """Where the slices lie on the network's grid; what ``restore`` needs."""

    rows: AxisMap
    columns: AxisMap


def place(
    shape: tuple[int, int],
    pixel_mm: tuple[float, float],
    config: NormalisationConfig,
    grid: tuple[int, int] | None = None,
) -> Placement:
    """Lay slices of ``shape`` (rows, columns) with ``pixel_mm`` (between rows, between columns) on the model's grid.

    ``grid``: a grid size to pad or crop to instead of the model's own choice (fixed_pixel only), for training sets.
    """
    fields_mm = [n * mm for n, mm in zip(shape, pixel_mm, strict=True)]
    if config.kind == "paper":
        if grid is not None:
            raise ConfigurationError("a grid size can only be asked for with fixed_pixel normalisation")
        step_mm, sizes = max(fields_mm) / config.size, [config.size, config.size]
    else:
        assert config.pixel_mm is not None  # checked by the configuration
        step_mm = config.pixel_mm
        whole = (SIZE_STEP * ceil(mm / step_mm / SIZE_STEP - 1e-6) for mm in fields_mm)
        own = [min(max(size, config.min_size), config.max_size) for size in whole]
        sizes = own if grid is None else list(grid)
    rows, columns = (AxisMap(n, size, step_mm / mm) for n, size, mm in zip(shape, sizes, pixel_mm, strict=True))
    return Placement(rows, columns)


def normalise(
    pixels: Array,
    pixel_mm: tuple[float, float],
    config: NormalisationConfig,
    grid: tuple[int, int] | None = None,
) -> tuple[Array, Placement]:
    """Slices (n, rows, columns) of any intensity as network input (n, 1, R, C) float32 in 0..1.

    Intensities first, then padding with 0 (the slice's minimum) and the bicubic resize, whose overshoot is taken out
    by a second min-max of the image part ("minmax") or clipped ("percentile"). A constant slice becomes zeros.
    """
    placement = place(pixels.shape[1:], pixel_mm, config, grid)
    library = _library(pixels)
    low, high = _range(pixels, config)
    scaled = _stretch(_float32(pixels), low, high)
    rows, columns = (_like(axis.forward(), scaled) for axis in (placement.rows, placement.columns))
    resized = rows @ scaled @ columns.T
    if config.intensity == "minmax":
        covered = _like(placement.rows.covered()[:, None] & placement.columns.covered()[None, :], resized)
        image = resized[:, covered] if covered.any() else resized.reshape(len(resized), -1)
        stretched = _stretch(resized, library.amin(image, 1), library.amax(image, 1))
        resized = library.where(covered, stretched, library.zeros_like(stretched))
    return resized.clip(0, 1)[:, None], placement


def _library(values: Array) -> Any:
    """numpy or torch, whichever made ``values``."""
    return np if isinstance(values, np.ndarray) else sys.modules["torch"]


def _like(array: NDArray, values: Array) -> Array:
    """``array`` as what ``values`` is: itself, or a tensor on the same device."""
    return array if isinstance(values, np.ndarray) else _library(values).as_tensor(array, device=values.device)


def _float32(values: Array) -> Array:
    return values.astype(np.float32, copy=False) if isinstance(values, np.ndarray) else values.float()


def _range(pixels: Array, config: NormalisationConfig) -> tuple[Array, Array]:
    """The intensities that become 0 and 1, each (n,)."""
    if config.intensity == "minmax":
        library = _library(pixels)
        return _float32(library.amin(pixels, (1, 2))), _float32(library.amax(pixels, (1, 2)))
    stride = max(1, ceil((pixels.shape[1] * pixels.shape[2] / _SAMPLE) ** 0.5))
    sample = _float32(pixels[:, ::stride, ::stride]).reshape(len(pixels), -1)
    last = sample.shape[1] - 1
    low, high = (round(percentile / 100 * last) for percentile in (config.low_percentile, config.high_percentile))
    is_array = isinstance(sample, np.ndarray)
    in_order = np.partition(sample, (low, high), axis=1) if is_array else sample.sort(dim=1).values
    return in_order[:, low], in_order[:, high]


def _stretch(pixels: Array, low: Array, high: Array) -> Array:
    """``low``..``high`` (n,) to 0..1, clipped; zeros where the range is empty."""
    library = _library(pixels)
    low, width = low[:, None, None], (high - low)[:, None, None]
    stretched = ((pixels - low) / library.where(width > 0, width, library.ones_like(width))).clip(0, 1)
    return library.where(width > 0, stretched, library.zeros_like(width))


def normalise_coverage(
    labels: Array,
    pixel_mm: tuple[float, float],
    config: NormalisationConfig,
    grid: tuple[int, int] | None = None,
) -> Array:
    """Binary label slices (n, rows, columns) as the share 0..1 of each grid pixel that is labelled, (n, 1, R, C)."""
    placement = place(labels.shape[1:], pixel_mm, config, grid)
    rows, columns = (_like(axis.overlap(), labels) for axis in (placement.rows, placement.columns))
    return (rows @ _float32(labels) @ columns.T).clip(0, 1)[:, None]


def restore(logits: Array, placement: Placement) -> Array:
    """Logits (n, 1, R, C) back on the slices they came from, (n, rows, columns) float32 within ±12.

    Bicubic on logits held within ±12 (probability 6e-6): near the cord they run like a distance to its edge, so the
    contour keeps its place between pixels. Probabilities of a confident network are steps, and interpolating steps
    moved the area of a disc of 5 mm by up to 6 %, this by under 1 %. Where the image reaches beyond the network's
    grid the logit is -inf, so that the probability is exactly 0.
    """
    values = _float32(logits[:, 0]).clip(-LOGIT_LIMIT, LOGIT_LIMIT)
    rows, columns = (_like(axis.backward(), values) for axis in (placement.rows, placement.columns))
    restored = (rows @ values @ columns.T).clip(-LOGIT_LIMIT, LOGIT_LIMIT)
    reached = _like(placement.rows.reached()[:, None] & placement.columns.reached()[None, :], values)
    return _library(values).where(reached, restored, _library(values).full_like(restored, -np.inf))
