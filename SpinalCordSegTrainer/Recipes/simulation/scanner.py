"""How a neck looks on a scanner: tissues, the signal of a protocol, coils, noise, motion and voxels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft

from Recipes.simulation.anatomy import N_TISSUES, SliceAnatomy, Tissue, TissueTable, enlarged
from Recipes.simulation.necks import Neck

# Tissue properties and a pulse sequence → complex signal of every tissue.


_FAT_SHIFT_HZ = 440.0
Family = Literal["paper", "t1w", "transfer", "inversion", "random"]


@dataclass(frozen=True)
class Sequence:
    """``kind``: "spoiled" or "inversion". Times in ms, flip angle in degrees. ``ti_ms`` only for inversion.
    ``transfer``: strength 0..1 of a magnetisation-transfer pulse. ``fat_left``: share of fat signal left by fat
    suppression, 1 without."""

    kind: Literal["spoiled", "inversion"]
    tr_ms: float
    te_ms: float
    flip_deg: float
    ti_ms: float = 0.0
    transfer: float = 0.0
    fat_left: float = 1.0


def draw_sequence(rng: np.random.Generator, family: Family) -> Sequence:
    """A protocol of a family: the paper's (TR 5.6-8.2, TE 1.7-2.7, 12°), other T1w gradient echoes, those with and
    without magnetisation transfer, or inversion-prepared ones."""
    fat_left = rng.uniform(0.35, 1.0) if rng.random() < 0.85 else rng.uniform(0.02, 0.3)
    if family == "paper":
        return Sequence("spoiled", rng.uniform(5.6, 8.2), rng.uniform(1.7, 2.7), rng.uniform(10, 14), fat_left=fat_left)
    if family == "transfer":
        transfer = rng.uniform(0.6, 1.1) if rng.random() < 0.6 else 0.0
        return Sequence(
            "spoiled", rng.uniform(25, 60), rng.uniform(2.3, 8), rng.uniform(5, 12), 0.0, transfer, fat_left
        )
    if family == "inversion":
        times = rng.uniform(1600, 2400), rng.uniform(2, 4.5), rng.uniform(7, 12), rng.uniform(850, 1150)
        return Sequence("inversion", *times, fat_left=fat_left)
    return Sequence("spoiled", rng.uniform(9, 50), rng.uniform(2.0, 6.0), rng.uniform(12, 30), fat_left=fat_left)


def tissue_signals(tissues: TissueTable, sequence: Sequence) -> NDArray[np.complex64]:
    """(N_TISSUES,) complex signal, air 0, in units of fully relaxed water."""
    water = _longitudinal(tissues.t1_ms, sequence) * (1 - np.clip(tissues.bound * sequence.transfer, 0, 0.9))
    fresh = np.sin(np.radians(sequence.flip_deg))
    water = water * (1 - tissues.inflow) + fresh * tissues.inflow
    water = water * np.exp(-sequence.te_ms / tissues.t2star_ms) * tissues.density * (1 - tissues.fat)
    fat = _longitudinal(np.array([tissues.fat_t1_ms]), sequence) * np.exp(-sequence.te_ms / 35.0)
    fat = fat * tissues.density * tissues.fat * sequence.fat_left
    turn = np.exp(2j * np.pi * _FAT_SHIFT_HZ * sequence.te_ms * 1e-3)
    return (water + fat * turn).astype(np.complex64)


def _longitudinal(t1_ms: NDArray[np.float64], sequence: Sequence) -> NDArray[np.float64]:
    angle = np.radians(sequence.flip_deg)
    if sequence.kind == "inversion":
        relaxed = 1 - 2 * np.exp(-sequence.ti_ms / t1_ms) / (1 + np.exp(-sequence.tr_ms / t1_ms))
        return np.asarray(np.abs(relaxed) * np.sin(angle))
    e1 = np.exp(-sequence.tr_ms / t1_ms)
    return np.asarray(np.sin(angle) * (1 - e1) / (1 - e1 * np.cos(angle)))


def random_signals(rng: np.random.Generator) -> NDArray[np.complex64]:
    """(N_TISSUES,) signals of no known sequence, 0..1, real; fluid differs from the cord by 0.12 at least.

    Bright fluid (as in T2w) comes as often as dark fluid.
    """
    signal = rng.uniform(0.05, 1.0, N_TISSUES)
    signal[[Tissue.AIR, Tissue.TOOTH]] = 0
    signal[[Tissue.CORTICAL, Tissue.LIGAMENT]] *= 0.35
    cord = rng.uniform(0.25, 0.9)
    signal[Tissue.WHITE] = cord
    signal[Tissue.GREY] = cord * np.exp(rng.normal(0, 0.08))
    dark = rng.random() < 0.5
    signal[Tissue.FLUID] = rng.uniform(0.02, cord - 0.12) if dark else rng.uniform(cord + 0.12, cord + 0.6)
    signal[Tissue.BRAIN_WHITE], signal[Tissue.BRAIN_GREY] = cord * rng.uniform(0.8, 1.2, 2)
    signal[Tissue.NERVE] = cord * rng.uniform(0.7, 1.1)
    return signal.astype(np.complex64)


def draw_signals(rng: np.random.Generator, tissues: TissueTable, family: Family) -> NDArray[np.complex64]:
    """Signals for one scan, a tenth of spread on every tissue so that no protocol is a fixed point."""
    if family == "random":
        return random_signals(rng)
    signals = tissue_signals(tissues, draw_sequence(rng, family)) * np.exp(rng.normal(0, 0.1, N_TISSUES))
    if rng.random() < 0.25:  # marrow that cannot be told from cord by its grey value
        signals[Tissue.MARROW] = signals[Tissue.WHITE] * rng.uniform(0.85, 1.35)
    return signals.astype(np.complex64)


# Complex signal on a fine grid → the magnitude image a scanner would store: coils, k-space, noise, artefacts.


_COARSE = 64


@dataclass(frozen=True)
class Scan:
    """How a slice is acquired. Lengths in mm, (rows, columns).

    ``window``: fine pixels (first row, end row, first column, end column) that make up the field of view;
    ``acquired_mm``: true resolution; ``stored_mm``: wanted pixel, at most the resolution; ``apodise``: 0 (box, rings)
    to 1 (Hann); ``noise``: SD against the image's 95th percentile; ``ghost``: modulation of the lines along the rows'
    direction (phase_axis 0) or the columns' (1); ``blur_mm``: SD of a Gaussian blur before sampling; ``wrap``: fold
    what lies outside the window into it along phase_axis; ``ceiling``: quantile above which values saturate, 1 for
    none; ``hot_pixels``: their number.
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
    blur_mm: tuple[float, float] = (0.0, 0.0)


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
    for axis, sd_mm in enumerate(scan.blur_mm):
        lines = lines * _gaussian(matrix[axis], sd_mm / (fine.shape[axis] * pixel_mm)).reshape(
            (-1, 1) if axis == 0 else (1, -1)
        )
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


def _gaussian(n: int, sd: float) -> NDArray[np.float32]:
    """Transfer function of a Gaussian blur; ``sd`` as a share of the field of view."""
    frequency = np.arange(n) - n // 2
    return np.exp(-2 * np.square(np.pi * sd * frequency)).astype(np.float32)


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


# How training slices are acquired: random protocols, fields of view and positions, and the painted signal.


FINE_MM = 0.35


def paint(anatomy: SliceAnatomy, neck: Neck, signals: NDArray[np.complex64], z_mm: float) -> NDArray[np.complex64]:
    """Signals onto a slice: (size, size) complex64, with the person's own texture; cord over its rim over
    fluid over the rest."""
    rng = np.random.default_rng([neck.seed, 30])
    size = anatomy.canvas.size
    coarse, middle, fine = 0.1 * rng.beta(1, 2), 0.12 * rng.beta(1, 3), 0.15 * rng.beta(1, 2)
    texture = np.float32(coarse) * neck.texture[0].at(z_mm, size) + np.float32(middle) * neck.texture[1].at(z_mm, size)
    texture += np.float32(fine) * neck.texture[2].at(z_mm, size)
    image = signals[anatomy.canvas.labels] * np.maximum(1 + texture, np.float32(0.2))
    where = anatomy.where
    flow = 1 + np.float32(rng.uniform(0, 0.35)) * neck.texture[1].at(z_mm + 40, size)[where]
    inside = signals[Tissue.FLUID] * flow * (1 - anatomy.nerve) + signals[Tissue.NERVE] * anatomy.nerve
    cord = signals[Tissue.WHITE] + (signals[Tissue.GREY] - signals[Tissue.WHITE]) * anatomy.grey
    cord = cord * (1 + anatomy.change) * (1 + np.float32(0.5) * texture[where])
    canal = image[where] * (1 - anatomy.canal) + anatomy.canal * inside
    canal = canal * (1 - anatomy.wall)
    canal = canal * (1 - anatomy.with_rim) + signals[Tissue.WHITE] * anatomy.with_rim
    image[where] = canal * (1 - anatomy.cord) + cord * anatomy.cord
    return image.astype(np.complex64)


def dropouts(anatomy: SliceAnatomy, z_mm: float, rng: np.random.Generator) -> NDArray[np.float32] | None:
    """Signal lost to susceptibility, a factor per pixel: often near lungs and shoulders, sometimes at the airway."""
    low = z_mm < -95
    if rng.random() > (0.5 if low else 0.15):
        return None
    x, y = anatomy.canvas.x, anatomy.canvas.y
    factor = np.ones_like(x)
    for _ in range(rng.integers(1, 4)):
        at_x, at_y = rng.uniform(-80, 80), rng.uniform(-80, -15 if not low else 40)
        if np.hypot(at_x, at_y) < 18:
            continue
        wide, deep = rng.uniform(6, 30, 2)
        distance = np.square((x - np.float32(at_x)) / np.float32(wide)) + np.square(
            (y - np.float32(at_y)) / np.float32(deep)
        )
        factor *= 1 - np.float32(rng.uniform(0.3, 0.95)) * np.exp(-distance)
    return factor


def draw_resolution(rng: np.random.Generator) -> tuple[tuple[float, float], tuple[float, float], float]:
    """Acquired (rows, columns) mm, stored pixel mm, slice thickness mm."""
    kind = rng.random()
    if kind < 0.30:  # the paper's: thin slices, fine pixels
        side = rng.uniform(0.43, 1.02)
        return (side * rng.uniform(1.0, 1.5), side), (side, side), rng.uniform(0.8, 1.5)
    if kind < 0.65:  # axial, thick
        side = rng.uniform(0.6, 1.0)
        stored = side * rng.choice([1.0, 1.0, 0.75, 0.5])
        return (side * rng.uniform(1.0, 1.3), side), (stored, stored), rng.uniform(2.5, 5.0)
    side = rng.uniform(0.8, 1.2)  # isotropic, often sagittal
    return (side, side * rng.uniform(1.0, 1.15)), (side, side), side


def draw_window(rng: np.random.Generator, size: int, centre: tuple[float, float]) -> tuple[int, int, int, int]:
    """Field of view in fine pixels. ``centre``: (row, column) of the cord. Mostly the whole canvas; sometimes a part of
    it, a sagittal slab, or a tight crop about the cord."""
    kind = rng.random()
    if kind < 0.62:
        return 0, size, 0, size
    if kind < 0.80:
        rows, columns = rng.uniform(90, 179, 2)
    elif kind < 0.90:
        rows, columns = 179.0, rng.uniform(40, 80)
    else:
        rows, columns = rng.uniform(55, 100), rng.uniform(38, 75)
    off = rng.normal(0, 0.12, 2)
    first_row, end_row = _span(size, centre[0] + off[0] * rows / FINE_MM, rows)
    first_column, end_column = _span(size, centre[1] + off[1] * columns / FINE_MM, columns)
    return first_row, end_row, first_column, end_column


def _span(size: int, middle: float, length_mm: float) -> tuple[int, int]:
    count = min(size, 2 * round(length_mm / FINE_MM / 2))
    first = int(np.clip(round(middle - count / 2), 0, size - count))
    return first, first + count


def away_window(rng: np.random.Generator, size: int, centre: tuple[float, float]) -> tuple[int, int, int, int]:
    """A field of view beside the cord, for slices of the neck without it."""
    margin = round(14 / FINE_MM)
    row, column = (round(value) for value in centre)
    sides = [
        (0, max(row - margin, 0), 0, size),
        (0, size, 0, max(column - margin, 0)),
        (0, size, column + margin, size),
    ]
    top, bottom, left, right = max(sides, key=lambda s: (s[1] - s[0]) * (s[3] - s[2]) * rng.uniform(0.3, 1))
    return top, bottom - (bottom - top) % 2, left, right - (right - left) % 2


def draw_scan(rng: np.random.Generator, window: tuple[int, int, int, int], heavy_noise: float) -> tuple[Scan, float]:
    """A random acquisition of this field of view, and its slice thickness in mm. ``heavy_noise``: share of those with
    more noise than a scan is usually accepted with."""
    acquired, stored, thickness = draw_resolution(rng)
    scan = Scan(
        window=window,
        acquired_mm=acquired,
        stored_mm=stored,
        apodise=float(rng.choice([0.0, rng.uniform(0, 1)])),
        noise=float(np.exp(rng.uniform(np.log(0.003), np.log(0.06))))
        if rng.random() >= heavy_noise
        else float(rng.uniform(0.05, 0.16)),
        ghost=float(rng.uniform(0.02, 0.25)) if rng.random() < 0.25 else 0.0,
        phase_axis=int(rng.integers(2)),
        wrap=bool(rng.random() < 0.4) and min(window[1] - window[0], window[3] - window[2]) * FINE_MM > 110,
        ceiling=float(rng.uniform(0.93, 0.999)) if rng.random() < 0.2 else 1.0,
        hot_pixels=int(rng.integers(1, 4)) if rng.random() < 0.04 else 0,
        zero_border=float(rng.uniform(0.01, 0.08)) if rng.random() < 0.08 else 0.0,
    )
    return scan, float(thickness)
