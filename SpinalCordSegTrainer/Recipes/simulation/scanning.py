"""How training slices are acquired: random protocols, fields of view and positions, and the painted signal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from Recipes.simulation.acquisition import Scan
from Recipes.simulation.anatomy import SliceAnatomy
from Recipes.simulation.necks import Neck
from Recipes.simulation.tissues import Tissue

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
