"""Ribbons along the cord to train the finder of discs on: simulated, and real ones varied.

A ribbon is drawn from the spine, cord and CSF of the PAM50 atlas, warped to a person's neck, given random grey values,
and cut as scans are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SpinalCordSegLib.disc_finder import ANTERIOR_MM
from SpinalCordSegLib.image_io import read_labels
from SpinalCordSegLib.vertebral_levels import TEMPLATE_LENGTH_MM

N_ROWS = 176
UNKNOWN = np.inf  # a disc that nobody marked: it may be in the image or not; NaN: it is not

# Discs of the template, mm along its cord from C2/C3, which is PAM50's slice 908 counted from inferior (0.5 mm).
DISC_MM = -np.cumsum([0.0, *(TEMPLATE_LENGTH_MM[name] for name in ("C3", "C4", "C5", "C6", "C7"))])
_C2_C3_SLICE, _ATLAS_MM = 908, 0.5
MARROW, CORTEX, DISC, CORD, CSF, SPINOUS = range(6)  # channels of the maps


@dataclass(frozen=True, eq=False)
class SpineMaps:
    """``shares``: (2, z, y, 6), of each tissue 0..1 in the middle 8 mm, and the same 6 mm beside it (for scoliosis).
    ``y_middle``: index of the cord's middle; y grows to anterior. ``front_mm``: (z,), front of the vertebrae."""

    shares: NDArray[np.float32]
    y_middle: int
    front_mm: NDArray[np.float64]


def read_spine(folder: Path) -> SpineMaps:
    """From ``folder``/atlas. Raises InputFileError when a map is missing."""
    spine, cord, csf = (
        read_labels(folder / "atlas" / f"PAM50_{name}.nii.gz").voxels[:, ::-1] > 0 for name in ("spine", "cord", "csf")
    )
    middle = spine.shape[2] // 2
    y_middle = round(float(np.argwhere(cord[:, :, middle])[:, 1].mean()))
    stacks = []
    for offsets in ((0,), (-12, 12)):
        parts = [slice(middle + at - 8, middle + at + 9) for at in offsets]
        stacks.append(np.mean([_shares(spine[..., x], cord[..., x], csf[..., x], y_middle) for x in parts], axis=0))
    column = stacks[0][..., [MARROW, DISC]].sum(axis=-1) > 0.2
    front = np.array([np.flatnonzero(row)[-1] if row.any() else 0 for row in column], dtype=np.float64)
    front[front < y_middle + 20] = np.median(front[front >= y_middle + 20])
    front = ndimage.gaussian_filter1d(front, 12)
    return SpineMaps(np.stack(stacks).astype(np.float32), y_middle, (front - y_middle) * _ATLAS_MM)


def _shares(spine: NDArray, cord: NDArray, csf: NDArray, y_middle: int) -> NDArray[np.float32]:
    """(z, y, 6), mean over x. Discs are what lies between vertebral bodies below the dens."""
    in_front = np.zeros_like(spine)
    in_front[:, y_middle + 8 :] = spine[:, y_middle + 8 :]
    behind = spine & ~in_front
    closed = ndimage.binary_closing(np.pad(in_front, ((12, 12), (0, 0), (0, 0))), np.ones((19, 1, 1)))[12:-12]
    disc = closed & ~in_front
    disc[_C2_C3_SLICE + 7 :] = False
    bodies, arches = (ndimage.binary_erosion(one, np.ones((3, 3, 1)), border_value=1) for one in (in_front, behind))
    cortex = (in_front & ~bodies) | (behind & ~arches)
    return np.stack([one.mean(axis=2) for one in (bodies, cortex, disc, cord, csf & ~cord, arches)], axis=-1)


def simulated_ribbon(maps: SpineMaps, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """A ribbon (N_ROWS, 81), NaN where a scan would end, and the rows of its discs, NaN where they are not in it.

    Ranges were set by eye on public necks and widened: scale of the neck 0.5 to 1.4, lordosis, block vertebrae, weak
    discs, osteophytes, scoliosis, skull base and airway, slices of 1 to 6 mm, slabs that end askew, thoracic scans and
    heads that end above C2/C3.
    """
    uniform, normal, chance = rng.uniform, rng.normal, lambda p: rng.random() < p
    rows = np.arange(N_ROWS, dtype=np.float64)
    v = ANTERIOR_MM
    scale = np.exp(normal(0, 0.11)) if chance(0.88) else uniform(0.5, 0.8)
    kind = rng.random()
    if kind < 0.62:
        top, length = uniform(8, 95), uniform(50, N_ROWS)
    elif kind < 0.72:  # a short field of view
        top, length = uniform(-10, 60), uniform(25, 60)
    elif kind < 0.90:  # cropped about or below C2/C3
        top, length = uniform(-75, 12), uniform(50, N_ROWS)
    elif kind < 0.95:  # the chest
        top, length = uniform(-280, -60), uniform(60, N_ROWS)
    else:  # a head that ends above C2/C3
        length = uniform(15, 70)
        top = length + uniform(1, 30)
    s = top - length + rows  # mm of the person from C2/C3
    knots = np.arange(-480.0, 200.0, 16.0)
    drift = np.cumsum(normal(0, 0.07, len(knots)) * 16)
    drift = ndimage.gaussian_filter1d(drift - np.interp(0, knots, drift), 0.7)

    def to_template(mm: NDArray) -> NDArray:
        return mm / scale + np.interp(mm / scale, knots, drift)

    t = to_template(s)
    tilt = np.tan(np.deg2rad(uniform(-4, 22)))  # discs slope
    depth = np.exp(normal(0, 0.1)) * (1 if scale > 0.8 else 0.85)
    bend_knots = np.arange(-480.0, 200.0, 30.0)
    shift = np.interp(t, bend_knots, np.cumsum(normal(0, 1.0, len(bend_knots))))
    shift -= np.interp(0, t, shift)
    across = (v[None] - shift[:, None]) / depth
    across = np.where(across > 9, across - uniform(-2, 3), across)  # canals differ in width
    along = t[:, None] + tilt * np.maximum(across - 8, 0) - 0.5 * tilt * np.maximum(-across - 8, 0)
    x: NDArray[Any] = _sampled(maps.shares[0], along, across, maps.y_middle)
    if chance(0.3):  # scoliosis: the ribbon leaves the middle of the spine
        side = np.interp(rows, np.linspace(0, N_ROWS, 6), np.clip(normal(0, 0.6, 6), 0, 1))[:, None, None]
        beside = _sampled(maps.shares[1], along, across, maps.y_middle)
        beside[..., [CORD, CSF]] = x[..., [CORD, CSF]]
        x = (1 - side) * x + side * beside
    above = np.maximum(along - 38, 0)  # the atlas ends 41 mm above C2/C3: cord and CSF go on
    beyond = along > 40
    x[..., CORD] = np.where(beyond, np.abs(across) < 6 + 0.10 * above, x[..., CORD])
    x[..., CSF] = np.where(beyond, (np.abs(across - 1) < 11 + 0.15 * above) & (x[..., CORD] < 0.5), x[..., CSF])
    discs_mm = np.append(DISC_MM, DISC_MM[-1] - 21.5)
    for at in discs_mm:
        near = np.exp(-0.5 * ((along - at) / 3) ** 2)
        if chance(0.06):  # a block vertebra
            fused = np.clip(2 * near, 0, 1) * uniform(0.6, 1)
            x[..., MARROW] += fused * (x[..., DISC] + 0.7 * x[..., CORTEX])
            x[..., DISC] *= 1 - fused
            x[..., CORTEX] *= 1 - 0.7 * fused
        elif chance(0.3):  # a weak disc
            weak = near * uniform(0.2, 1)
            x[..., MARROW] += weak * x[..., DISC]
            x[..., DISC] *= 1 - weak
        if chance(0.12):  # an osteophyte
            spur = near * ((across > uniform(3, 7)) & (across < 12))
            x *= 1 - 0.9 * spur[..., None]
            x[..., CORTEX] += 0.9 * spur
    grey = uniform(0.05, 1, 12)
    if chance(0.6):  # T1w and gradient echoes
        grey[CORD], grey[CSF], grey[DISC] = uniform(0.55, 0.9), uniform(0.1, 0.7), uniform(0.3, 1)
        grey[MARROW] = uniform(0.1, 0.7)
        grey[SPINOUS] = grey[MARROW] * uniform(0.7, 1.2)
    elif chance(0.6):  # T2w
        grey[CSF], grey[CORD] = uniform(0.9, 1.4), uniform(0.2, 0.6)
    grey[CORTEX] = uniform(0, 0.3)
    front = np.interp(along, (np.arange(len(maps.front_mm)) - _C2_C3_SLICE) * _ATLAS_MM, maps.front_mm)
    soft = np.where(across > 0, grey[6], grey[7])
    soft = np.where(across > front + uniform(3, 9), grey[8] * rng.choice([0.05, 0.3, 1]), soft)  # airway
    soft = np.where(across > front + uniform(14, 26), grey[9], soft)
    soft = np.where(across < -uniform(24, 40), grey[10] * rng.choice([1, 1.6]), soft)  # fat of the neck
    head = along - uniform(38, 50)
    cerebellum = (head > 0) & (across < -6 - uniform(0, 6)) & (head > uniform(0, 8) - 0.5 * (across + 8))
    soft = np.where(cerebellum, grey[CORD] * uniform(0.8, 1.1), soft)
    clivus = (head > -4) & (across > 10) & (across < 10 + 1.1 * np.maximum(head, 0) + uniform(2, 6))
    soft = np.where(clivus, grey[MARROW] * uniform(0.8, 2), soft)
    if chance(0.5):  # ligament, veins
        soft = np.where(np.abs(across - uniform(6, 11)) < 1.2, grey[11], soft)
    texture = _noise(rng, uniform(1.5, 5))
    soft = soft * (1 + 0.25 * texture)
    image = (1 - np.clip(x.sum(axis=-1), 0, 1)) * soft + x @ grey[:6]
    if chance(0.4):  # the synchondrosis of the dens
        image += np.exp(-0.5 * (along - uniform(12, 18)) ** 2) * (x[..., MARROW] > 0.3) * uniform(-0.5, 0.5)
    image += 0.08 * texture + 0.1 * rng.random() * _noise(rng, (6, 3))
    if chance(0.6):
        image = thick_slices(image, uniform(2, 6), rng.random())
    if chance(0.06):  # metal: a void with a bright rim
        apart = np.hypot((rows[:, None] - uniform(0, N_ROWS)) / uniform(0.7, 2.5), v - uniform(5, 30))
        size = uniform(4, 14)
        image = np.where(apart < size, 0.02, image + uniform(0, 1.5) * np.exp(-0.5 * ((apart - size - 1) / 1.5) ** 2))
    image = ndimage.gaussian_filter(image, (uniform(0, 1), uniform(0.2, 1.3)))
    bias = np.interp(rows, np.linspace(0, N_ROWS, 5), normal(0, 0.4, 5))[:, None] + normal(0, 0.012) * v
    image = image * np.exp(bias) + normal(0, uniform(0.005, 0.08), image.shape)
    outside = (rows[:, None] > length + normal(0, 0.15) * v) | (rows[:, None] < normal(0, 0.15) * v)
    if chance(0.35):
        outside |= v > uniform(16, 44)
    if chance(0.25):
        outside |= v < -uniform(12, 36)
    fine = np.arange(-320.0, 150.0, 0.25)
    found = np.interp(DISC_MM - 2 * tilt, to_template(fine), fine) - s[0]  # where the disc ends behind
    found[(found < 0) | (found > length)] = np.nan
    return np.where(outside, np.nan, image).astype(np.float32), found


def _sampled(shares: NDArray, along_mm: NDArray, across_mm: NDArray, y_middle: int) -> NDArray[np.float32]:
    """Bilinear, all tissues at once; nothing outside the atlas."""
    z, y = along_mm / _ATLAS_MM + _C2_C3_SLICE, across_mm / _ATLAS_MM + y_middle
    k, j = np.floor(z).astype(int), np.floor(y).astype(int)
    inside = (k >= 0) & (k < shares.shape[0] - 1) & (j >= 0) & (j < shares.shape[1] - 1)
    k, j = np.where(inside, k, 0), np.where(inside, j, 0)
    a, b = (z - k)[..., None].astype(np.float32), (y - j)[..., None].astype(np.float32)
    low = (1 - b) * shares[k, j] + b * shares[k, j + 1]
    high = (1 - b) * shares[k + 1, j] + b * shares[k + 1, j + 1]
    return np.where(inside[..., None], (1 - a) * low + a * high, np.float32(0))


def _noise(rng: np.random.Generator, blur: Any) -> NDArray:
    noise = ndimage.gaussian_filter(rng.standard_normal((N_ROWS, len(ANTERIOR_MM)), dtype=np.float32), blur)
    return noise / (noise.std() + 1e-6)


def thick_slices(image: NDArray, thickness: float, phase: float) -> NDArray:
    """The same with its rows averaged over a slice's ``thickness`` (in rows) and interpolated between slices."""
    blurred = ndimage.uniform_filter1d(image, round(thickness), axis=0)
    at = np.arange(phase * thickness, len(image) - 1, thickness)
    slices = blurred[at.astype(int)]
    where = np.clip(np.interp(np.arange(len(image)), at, np.arange(len(at))), 0, len(at) - 1)
    low = np.minimum(where.astype(int), len(at) - 2)
    share = (where - low)[:, None]
    return (1 - share) * slices[low] + share * slices[low + 1]


def real_sample(
    image: NDArray[np.float32], rows: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """A real ribbon stretched, cut, coarsened and given other grey values; ``rows`` of its discs as in training."""
    scale = np.exp(rng.uniform(-0.35, 0.25))
    bottom, high = (float(end) for end in np.flatnonzero(np.isfinite(image).any(axis=1))[[0, -1]])
    if rng.random() < 0.55:  # cropped, often below C2/C3
        lowest = max(rows[0] - 60, bottom + 18)
        high = rng.uniform(lowest, high) if rng.random() < 0.8 else rng.uniform(bottom + 18, high)
    length = rng.uniform(40, N_ROWS) if rng.random() < 0.6 else N_ROWS
    low = high - length / scale
    if rng.random() < 0.12 and rows[0] + 10 < high - 20:  # a head that ends above C2/C3
        low = rng.uniform(rows[0] + 1, min(rows[0] + 30, high - 20))
    at = low + np.arange(N_ROWS) / scale
    values = np.where(np.isfinite(image), image, 0)
    across = np.arange(image.shape[1]) + rng.uniform(-3, 3)
    grid = np.meshgrid(at, across, indexing="ij")
    out = ndimage.map_coordinates(values, grid, order=1, mode="nearest")
    seen = ndimage.map_coordinates(np.isfinite(image).astype(np.float32), grid, order=1) > 0.99
    out = np.maximum(out, 0)
    out = (out / max(float(out[seen].max(initial=0)), 1e-6)) ** np.exp(rng.uniform(-0.5, 0.5))
    if rng.random() < 0.5:
        out = thick_slices(out, rng.uniform(2, 6), rng.random())
    out = ndimage.gaussian_filter(out, rng.uniform(0, 1.0, 2))
    out = out + rng.normal(0, rng.uniform(0, 0.06) * out[seen].std() if seen.any() else 0, out.shape)
    seen &= (at[:, None] < high + rng.normal(0, 0.12) * ANTERIOR_MM) & (at[:, None] >= max(low, 0))
    if rng.random() < 0.3:
        seen &= rng.uniform(18, 44) > ANTERIOR_MM
    found = np.where(np.isfinite(rows), (rows - low) * scale, UNKNOWN)
    found[np.isfinite(found) & ((rows < max(low, 0)) | (rows > high))] = np.nan
    return np.where(seen, out, np.nan).astype(np.float32), found
