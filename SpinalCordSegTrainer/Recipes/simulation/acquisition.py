"""Complex signal on a fine grid → the magnitude image a scanner would store: coils, k-space, noise, artefacts.

Resolution is set in k-space: the transform of the fine slice is cut to the acquired matrix, optionally apodised, given
noise and ghosts, zero-filled to the stored matrix and transformed back. So Gibbs ringing, partial volume and the
cancellation of water and fat in one voxel come out as they do in a scanner.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft

from Recipes.simulation.canvas import enlarged

_COARSE = 64


@dataclass(frozen=True)
class Scan:
    """How a slice is acquired. Lengths in mm, (rows, columns).

    ``window``: fine pixels (first row, end row, first column, end column) that make up the field of view;
    ``acquired_mm``: true resolution; ``stored_mm``: wanted pixel, at most the resolution; ``apodise``: 0 (box, rings)
    to 1 (Hann); ``noise``: SD against the image's 95th percentile; ``ghost``: modulation of the lines along the rows'
    direction (phase_axis 0) or the columns' (1); ``wrap``: fold what lies outside the window into it along
    phase_axis; ``ceiling``: quantile above which values saturate, 1 for none; ``hot_pixels``: their number.
    """

    window: tuple[int, int, int, int]
    acquired_mm: tuple[float, float]
    stored_mm: tuple[float, float]
    apodise: float
    noise: float
    ghost: float
    phase_axis: int
    wrap: bool
    ceiling: float
    hot_pixels: int
    zero_border: float


@dataclass(frozen=True, eq=False)
class Coils:
    """Receive field of a scan: point-like elements (x, y, reach in mm, strength) on top of an even part."""

    elements: NDArray[np.float64]
    even: float
    slope: tuple[float, float]
    bumps: NDArray[np.float32]

    def field(self, x_mm: NDArray[np.float32], y_mm: NDArray[np.float32]) -> NDArray[np.float32]:
        """Sensitivity at each pixel of a square canvas, given its coordinates; positive."""
        size = x_mm.shape[0]
        step = size // _COARSE
        x, y = x_mm[step // 2 :: step, step // 2 :: step], y_mm[step // 2 :: step, step // 2 :: step]
        total = np.full(x.shape, self.even)
        for at_x, at_y, reach, strength in self.elements:
            total += strength * (1 + (np.square(x - at_x) + np.square(y - at_y)) / reach**2) ** -1.5
        grid = torch.from_numpy(self.bumps)[None, None]
        bumps = torch.nn.functional.interpolate(grid, size=x.shape, mode="bicubic", align_corners=False)[0, 0].numpy()
        total *= np.exp(bumps + (self.slope[0] * x + self.slope[1] * y) / 90)
        return enlarged(total.astype(np.float32), size)


def draw_coils(rng: np.random.Generator) -> Coils:
    """A posterior array (often), a front one (sometimes), more or less evened out by the scanner."""
    elements = []
    strength = np.exp(rng.uniform(np.log(0.3), np.log(9))) if rng.random() < 0.75 else 0.0
    for x in np.linspace(-60, 60, 4):
        elements.append(
            (x + rng.normal(0, 8), rng.uniform(60, 85), rng.uniform(30, 60), strength * rng.uniform(0.6, 1.4))
        )
    strength = rng.uniform(0.3, 3.0) if rng.random() < 0.45 else 0.0
    for x in (-45, 45):
        elements.append(
            (x + rng.normal(0, 8), rng.uniform(-85, -60), rng.uniform(30, 60), strength * rng.uniform(0.6, 1.4))
        )
    slope = float(rng.normal(0, 0.12)), float(rng.normal(0, 0.25))
    bumps = rng.normal(0, rng.uniform(0, 0.25), (4, 4)).astype(np.float32)
    return Coils(np.array(elements), 1.0, slope, bumps)


def acquire(
    signal: NDArray[np.complex64], pixel_mm: float, scan: Scan, rng: np.random.Generator
) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """(size, size) complex signal on the fine grid → stored magnitude (rows, columns) and its pixel in mm.

    The outer edges of the stored image are exactly those of ``scan.window``.
    """
    fine = _windowed(signal, scan)
    level = scan.noise * float(np.percentile(np.abs(fine[::4, ::4]), 95))
    spectrum = fft.fft2(fine) / np.float32(fine.size)
    matrix = tuple(_even(n * pixel_mm / mm, n) for n, mm in zip(fine.shape, scan.acquired_mm, strict=True))
    lines = _centre(spectrum, matrix)
    lines = lines * _filter(matrix[0], scan.apodise)[:, None] * _filter(matrix[1], scan.apodise)
    lines = lines * _ghosts(matrix, scan, rng)
    lines = lines + _noise(matrix, level, rng)
    stored = tuple(
        max(m, _even(n * pixel_mm / mm, n)) for n, m, mm in zip(fine.shape, matrix, scan.stored_mm, strict=True)
    )
    shifted = lines * _shift(matrix[0], fine.shape[0], stored[0])[:, None] * _shift(matrix[1], fine.shape[1], stored[1])
    image = np.abs(fft.ifft2(_filled(shifted, stored))) * np.float32(stored[0] * stored[1])
    image = _stored(image.astype(np.float32), scan, rng)
    return image, (fine.shape[0] * pixel_mm / stored[0], fine.shape[1] * pixel_mm / stored[1])


def _windowed(signal: NDArray[np.complex64], scan: Scan) -> NDArray[np.complex64]:
    top, bottom, left, right = scan.window
    if not scan.wrap:
        return signal[top:bottom, left:right].copy()
    if scan.phase_axis == 0:
        return _folded(signal[:, left:right], top, bottom)
    return np.ascontiguousarray(_folded(signal[top:bottom].T, left, right).T)


def _folded(signal: NDArray[np.complex64], first: int, end: int) -> NDArray[np.complex64]:
    """Rows outside first..end added where aliasing puts them."""
    rows = np.arange(len(signal))
    folded = np.zeros((end - first, signal.shape[1]), signal.dtype)
    np.add.at(folded, (rows - first) % (end - first), signal)
    return folded


def _even(count: float, most: int) -> int:
    return int(np.clip(2 * round(count / 2), 8, most))


def _centre(spectrum: NDArray, matrix: tuple[int, ...]) -> NDArray:
    """The lowest frequencies, zero frequency in the middle (index n // 2)."""
    rows = np.arange(-(matrix[0] // 2), matrix[0] // 2)
    columns = np.arange(-(matrix[1] // 2), matrix[1] // 2)
    return np.asarray(spectrum[np.ix_(rows, columns)])


def _filter(n: int, apodise: float) -> NDArray[np.float32]:
    frequency = (np.arange(n) - n // 2) / (n / 2)
    window = 1 - apodise + apodise * np.cos(np.pi / 2 * frequency) ** 2
    window[0] *= 0.5  # the unpaired frequency at the edge, or the image would not be real
    return window.astype(np.float32)


def _ghosts(matrix: tuple[int, ...], scan: Scan, rng: np.random.Generator) -> NDArray:
    if scan.ghost <= 0:
        return np.ones((1, 1), np.complex64)
    n = matrix[scan.phase_axis]
    line = np.arange(n)
    period = rng.uniform(2.5, 20)
    swing = np.sin(2 * np.pi * line / period + rng.uniform(0, 2 * np.pi)) + 0.6 * rng.standard_normal(n)
    factor = (1 + scan.ghost * swing) * np.exp(1j * scan.ghost * rng.normal(0, 1) * swing)
    factor[np.abs(line - n // 2) < 3] = 1  # the k-space centre sets the contrast
    return factor[:, None] if scan.phase_axis == 0 else factor[None, :]


def _noise(matrix: tuple[int, ...], level: float, rng: np.random.Generator) -> NDArray[np.complex64]:
    noise = rng.standard_normal((*matrix, 2), dtype=np.float32)
    return noise.view(np.complex64)[..., 0] * np.float32(level / np.sqrt(matrix[0] * matrix[1]))


def _shift(n: int, fine: int, stored: int) -> NDArray[np.complex64]:
    """Phase ramp that puts the first stored pixel's centre half a stored pixel inside the edge of the window."""
    frequency = np.arange(n) - n // 2
    offset = 0.5 / stored - 0.5 / fine  # of the field of view
    return np.exp(2j * np.pi * frequency * offset).astype(np.complex64)


def _filled(lines: NDArray, stored: tuple[int, ...]) -> NDArray[np.complex64]:
    full = np.zeros(stored, np.complex64)
    rows = np.arange(-(lines.shape[0] // 2), lines.shape[0] // 2)
    columns = np.arange(-(lines.shape[1] // 2), lines.shape[1] // 2)
    full[np.ix_(rows, columns)] = lines
    return full


def _stored(image: NDArray[np.float32], scan: Scan, rng: np.random.Generator) -> NDArray[np.float32]:
    if scan.ceiling < 1:
        image = np.minimum(image, np.quantile(image, scan.ceiling))
    for _ in range(scan.hot_pixels):
        image[rng.integers(image.shape[0]), rng.integers(image.shape[1])] = image.max() * rng.uniform(1, 3)
    if scan.zero_border > 0:
        rows, columns = (max(1, round(n * scan.zero_border)) for n in image.shape)
        image[:rows], image[-rows:], image[:, :columns], image[:, -columns:] = 0, 0, 0, 0
    return image
