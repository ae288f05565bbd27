"""Random changes of training slices, on whole batches: of place and shape, by one resampling, then of appearance.

Images and coverage go through the same grid, so a label stays on its pixel and partial volume stays soft. Random
numbers come from the generator handed in, always in the same order: batches are made in threads, and a run that was
killed must draw alike. kornia draws from torch's one global generator and resamples twice; MONAI changes one slice at a
time, at four times this module's processor time.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from SpinalCordSegTrainerLib.config import AugmentConfig

# Low resolution and movement, made where a scanner makes them, in k-space.
# A matrix that was acquired smaller leaves the outer lines empty, which blurs and rings; a patient who moves shifts the
# lines acquired afterwards; what pulsates or breathes gives every n-th line another weight, which makes faint copies.


_GHOSTS = (4, 24)  # copies lie a side divided by so many lines apart
_STILL = 0.15  # share of k-space around its middle that is acquired before the patient moves


def k_space_faults(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """(n, S, S) → the same; each slice is left alone, or of lower resolution, or moved, or both.

    Nothing changes its place: the middle of k-space, which says where things are, stays as it was.
    """
    if not config.resolution_probability and not config.motion_probability:
        return images
    n, side = len(images), images.shape[-1]
    coarse = torch.rand(n, generator=generator) < config.resolution_probability
    moved = torch.rand(n, generator=generator) < config.motion_probability
    factor = 1 + torch.rand(n, 2, generator=generator) * (config.resolution_factor - 1)
    draws = torch.rand(n, 7, generator=generator)
    faulty = torch.nonzero(coarse | moved)[:, 0]
    if not len(faulty):
        return images
    spectrum = torch.fft.fft2(images[faulty])
    kept = torch.where(coarse[:, None], 1 / factor, torch.ones(()))[faulty]
    filters = _acquired(kept, side) * _moved(draws[faulty], moved[faulty], side, config)
    return images.index_copy(0, faulty, torch.fft.ifft2(spectrum * filters).abs())


def _acquired(kept: Tensor, side: int) -> Tensor:
    """(m, S, S): 1 for the lines within the acquired share of each axis, 0 beyond. ``kept``: (m, 2)."""
    frequency = torch.fft.fftfreq(side).abs()
    inside = frequency <= kept[..., None] / 2
    return (inside[:, 0, :, None] & inside[:, 1, None, :]).float()


def _moved(draws: Tensor, moved: Tensor, side: int, config: AugmentConfig) -> Tensor:
    """(m, S, S) complex: lines acquired after the movement are shifted, all are weighted by the pulsation.
    ``draws``: (m, 7) in 0..1."""
    frequency = torch.fft.fftfreq(side)
    shift = (2 * draws[:, :2] - 1) * config.motion_px
    phase = shift[:, :1, None] * frequency[:, None] + shift[:, 1:, None] * frequency[None, :]
    turned = torch.polar(torch.ones_like(phase), -2 * math.pi * phase)
    period = _GHOSTS[0] + draws[:, 3, None] * (_GHOSTS[1] - _GHOSTS[0])
    beat = torch.cos(2 * math.pi * (frequency * side / period + draws[:, 4, None]))
    weight = 1 + config.ghosting * draws[:, 5, None] * beat
    weight = weight / weight[:, :1]  # the middle line, and with it the brightness of the whole, stays
    after = frequency > _STILL + draws[:, 2, None] * (0.5 - _STILL)
    by_row = draws[:, 6] < 0.5  # which axis the lines are counted along

    def along(lines: Tensor) -> Tensor:
        return torch.where(by_row[:, None, None], lines[:, :, None], lines[:, None, :])

    filters = torch.where(along(after), turned, torch.ones_like(turned)) * along(weight)
    return torch.where(moved[:, None, None], filters, torch.ones_like(filters))


# Smooth random fields: normal noise on a few points, bicubic in between, as products of small matrices: what
# ``interpolate(mode="bicubic", align_corners=False)`` gives, at a tenth of its time.


def smooth_noise(n: int, cells: int, size: int, generator: torch.Generator) -> Tensor:
    """n fields (n, size, size) from normal noise on cells² points."""
    weights = _weights(cells, size)
    return weights @ torch.randn(n, cells, cells, generator=generator) @ weights.T


def smooth_displacements(amount: Tensor, cells: int, size: int, generator: torch.Generator) -> Tensor:
    """(n, size, size, 2): two fields for each of the n amounts, which are the SD at the points."""
    n = len(amount)
    points = torch.randn(n, cells, cells, 2, generator=generator) * amount.view(n, 1, 1, 1)
    rows = _weights(cells, size) @ points.flatten(2)
    return (rows.flatten(0, 1) @ _paired_weights(cells, size)).view(n, size, size, 2)


@lru_cache(maxsize=16)
def _weights(cells: int, size: int) -> Tensor:
    """(size, cells): bicubic interpolation along one axis."""
    points = torch.eye(cells)[None, :, :, None]
    lines = functional.interpolate(points, size=(size, 1), mode="bicubic", align_corners=False)
    return lines[0, :, :, 0].T.contiguous()


@lru_cache(maxsize=16)
def _paired_weights(cells: int, size: int) -> Tensor:
    # Both coordinates lie beside each other, and one product interpolates both.
    return torch.kron(_weights(cells, size).T.contiguous(), torch.eye(2))


# Contrast, bias, motion, noise, blur, field of view.
#
# A remapping turns the grey values of one contrast into those of any other: piecewise linear curves, rising or
# rising and falling, sometimes inverted, so that a dark cord in bright fluid may become a grey cord in dark fluid.
# Two curves may be blended by a smooth field that knows nothing of the label.


_LEVELS = 256
_AIR = 0.06  # below this share of the bright end a curve usually stays dark, as air does in every contrast
_MAX_RADIUS_SD = 2.5
_TRIALS = 12
_MOST_KNOTS = 8


def change_intensities(
    images: Tensor, coverage: Tensor, config: AugmentConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """(n, H, W) images and coverage in 0..1 → (n, 1, H, W) both; coverage changes only where the view is cut."""
    n = len(images)
    if config.remap_probability:
        images = remap(images, coverage, config, generator)
    field = _field(n, images.shape[-1], config, generator)
    # Not by the crop's own brightest pixel: a cord in the dark of its slice would never look as it does in use.
    images = images * (field / field.amax((1, 2), keepdim=True))
    images = images ** torch.exp(torch.randn(n, 1, 1, generator=generator) * config.gamma_sd)
    images = k_space_faults(images, config, generator)
    early, late = torch.rand(2, n, 1, 1, generator=generator) * config.noise
    images = rician(images, early, generator)
    images = blur(images, config.blur_px, generator)
    images = rician(images, late * (torch.rand(n, 1, 1, generator=generator) < 0.5), generator)
    images = images * torch.exp(torch.randn(n, 1, 1, generator=generator) * config.gain_sd)
    images = images + (torch.rand(n, 1, 1, generator=generator) * 2 - 1) * config.offset
    seen = field_of_view(n, images.shape[-1], config.field_of_view_probability, generator)
    return (images.clamp(0, 1) * seen)[:, None], (coverage * seen)[:, None]


def remap(images: Tensor, coverage: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Each slice, with probability ``remap_probability``, through its own random curve.

    The label only rejects curves under which the cord would look like what lies around it: a boundary that
    nobody can see teaches nothing.
    """
    n = len(images)
    rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
    chosen = rng.random(n) < config.remap_probability
    blended = chosen & (rng.random(n) < config.blend_probability)
    # One hot pixel must not squeeze the tissue into a corner of the curve, so the 99.5th percentile becomes 0.85.
    flat = images[:, ::3, ::3].flatten(1)
    bright = flat.kthvalue(max(1, math.ceil(0.995 * flat.shape[1])), dim=1).values.clamp_min(0.05)[:, None, None]
    levels = torch.where(torch.from_numpy(chosen)[:, None, None], images * (0.85 / bright), images).clamp(0, 1)
    inside, around = _cord_and_surround(levels, coverage)
    first = np.tile(np.linspace(0, 1, _LEVELS, dtype=np.float32), (n, 1))
    first[chosen] = _visible_curves(rng, config, inside[chosen], around[chosen])
    second = first.copy()
    second[blended] = _visible_curves(rng, config, inside[blended], around[blended])
    out = apply_curves(levels, torch.from_numpy(first))
    if blended.any():
        weight = torch.sigmoid(3 * smooth_noise(n, 4, images.shape[-1], generator))
        out = torch.lerp(out, apply_curves(levels, torch.from_numpy(second)), weight)
    return out


def _cord_and_surround(images: Tensor, coverage: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean grey value of the cord and of a ring of 3 pixels around it, (n,) each; NaN without cord."""
    rows = functional.max_pool2d(coverage[:, None], (1, 7), stride=1, padding=(0, 3))  # a square window, axis by axis
    ring = functional.max_pool2d(rows, (7, 1), stride=1, padding=(3, 0))[:, 0] - coverage
    core = (coverage >= 0.9).float()
    inside = (images * core).sum((1, 2)) / core.sum((1, 2))
    around = (images * ring).sum((1, 2)) / ring.sum((1, 2))
    return inside.numpy(), around.numpy()


def _visible_curves(
    rng: np.random.Generator, config: AugmentConfig, inside: NDArray[np.float32], around: NDArray[np.float32]
) -> NDArray[np.float32]:
    """A curve for each pair of grey values (n,), drawn again, at most _TRIALS times, until the two can be told apart;
    the first that comes where a value is NaN. (n, 256)."""
    curves = random_curves(rng, len(inside), config)
    sign = np.where(rng.random(len(inside)) < config.bright_cord_share, 1, -1)
    pending = np.flatnonzero(np.isfinite(inside) & np.isfinite(around))
    x = np.linspace(0, 1, _LEVELS)
    for _ in range(_TRIALS):
        if not len(pending):
            break
        seen = np.array([np.interp((inside[row], around[row]), x, curves[row]) for row in pending])
        pending = pending[sign[pending] * (seen[:, 0] - seen[:, 1]) < config.least_contrast]
        curves[pending] = random_curves(rng, len(pending), config)
    return curves


def random_curves(rng: np.random.Generator, n: int, config: AugmentConfig) -> NDArray[np.float32]:
    """n piecewise linear curves with 4 to 8 knots, as tables (n, 256) of values in 0..1."""
    x = np.linspace(0, 1, _LEVELS, dtype=np.float32)
    spare = np.arange(_MOST_KNOTS) >= rng.integers(4, _MOST_KNOTS + 1, n)[:, None]
    knots = rng.random((n, _MOST_KNOTS))
    knots[:, 0], knots[:, 1] = 0.0, 1.0
    knots = np.sort(np.where(spare, 2.0, knots), axis=1)  # those not used lie beyond the end, and are never reached
    values = np.where(spare, 2.0, rng.random((n, _MOST_KNOTS)))
    values = np.where(rng.random((n, 1)) < config.monotone_share, np.sort(values, axis=1), values)
    values = np.where(rng.random((n, 1)) < config.inverted_share, 1 - values, values)
    curves = np.array([np.interp(x, *pair) for pair in zip(knots, values, strict=True)]).reshape(n, _LEVELS)
    dark = rng.random((n, 1)) * 0.1
    air = (x < _AIR) & (rng.random((n, 1)) < 0.8)
    curves = np.where(air, dark + (curves - dark) * (x / _AIR), curves)
    low, high = curves.min(axis=1, keepdims=True), curves.max(axis=1, keepdims=True)
    return ((curves - low) / np.maximum(high - low, 0.05)).clip(0, 1).astype(np.float32)


def apply_curves(images: Tensor, curves: Tensor) -> Tensor:
    """Each image (n, H, W) in 0..1 through its table (n, 256), linear between entries."""
    position = images.flatten(1) * (_LEVELS - 1)
    lower = position.floor().clamp(0, _LEVELS - 2)
    index = lower.long()
    start, end = curves.gather(1, index), curves.gather(1, index + 1)
    return torch.lerp(start, end, position - lower).view_as(images)


def _field(n: int, size: int, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    # A smooth bias times the fall-off of a surface coil, which may lie on any side.
    smooth = smooth_noise(n, 4, size, generator) * config.bias_sd
    angle = torch.rand(n, 1, generator=generator) * (2 * math.pi)
    slope = torch.rand(n, 1, generator=generator) * (config.falloff / 2)
    steps = torch.linspace(-1, 1, size)
    down, across = slope * torch.cos(angle) * steps, slope * torch.sin(angle) * steps
    return smooth.add_(down[:, :, None]).add_(across[:, None, :]).exp_()


def rician(images: Tensor, sd: Tensor, generator: torch.Generator) -> Tensor:
    """Magnitude of the image (≥ 0) with normal noise in both channels; ``sd``: (n, 1, 1)."""
    noisy = torch.nonzero(sd.flatten())[:, 0]  # without noise the magnitude is the image itself
    noise = torch.randn(2, len(noisy), *images.shape[1:], generator=generator).mul_(sd[noisy])
    return images.index_copy(0, noisy, torch.hypot(noise[0].add_(images[noisy]), noise[1]))


def blur(images: Tensor, largest_px: float, generator: torch.Generator) -> Tensor:
    """Gaussian blur, its SD drawn per slice and axis from 0 to ``largest_px`` for half of the slices."""
    n = len(images)
    sd = torch.rand(2, n, generator=generator) * largest_px
    blurred = torch.nonzero(torch.rand(n, generator=generator) < 0.5)[:, 0]
    if largest_px == 0 or not len(blurred):
        return images
    radius = max(1, math.ceil(_MAX_RADIUS_SD * largest_px))
    steps = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernels = torch.exp(-0.5 * (steps / sd[:, blurred].clamp_min(0.1)[..., None]) ** 2)
    kernels = kernels / kernels.sum(-1, keepdim=True)
    padded = functional.pad(images[None, blurred], (radius, radius, radius, radius), mode="replicate")
    down = functional.conv2d(padded, kernels[0][:, None, :, None], groups=len(blurred))
    across = functional.conv2d(down, kernels[1][:, None, None, :], groups=len(blurred))
    return images.index_copy(0, blurred, across[0])


def field_of_view(n: int, size: int, probability: float, generator: torch.Generator) -> Tensor:
    """1 inside a random rectangle, 0 outside, (n, size, size); all 1 where the draw says so."""
    small = torch.rand(n, 1, generator=generator) < probability
    extent = torch.where(small, 0.35 + 0.65 * torch.rand(n, 2, generator=generator), torch.ones(n, 2))
    start = (1 - extent) * torch.rand(n, 2, generator=generator)
    steps = (torch.arange(size) + 0.5) / size
    inside = (steps >= start[..., None]) & (steps <= (start + extent)[..., None])
    return (inside[:, 0, :, None] & inside[:, 1, None, :]).float()


def augment(
    images: Tensor,
    coverage: Tensor,
    centres: Tensor,
    size: int,
    config: AugmentConfig | None,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Cut and change a batch.

    ``images``, ``coverage``: (n, S, S) float32 in 0..1. ``centres``: (n, 2) row and column, in pixels, of what
    comes to the middle of the crop. ``size``: pixels of the square crop. ``config``: None only crops.
    Returns two tensors (n, 1, size, size) in 0..1; what lies beyond the slice is 0 in both.
    """
    if config is None:
        return crop(images, centres, size)[:, None], crop(coverage, centres, size)[:, None]
    moves = (config.rotation_deg, config.scale, config.anisotropy, config.shift_px, config.elastic_px)
    if not any(moves):  # only cut and mirrored: whole pixels are taken, as resampling would blur every edge
        cut = torch.stack((crop(images, centres, size), crop(coverage, centres, size)), dim=1)
        mirrored = torch.rand(len(cut), generator=generator) < config.flip_probability
        images, coverage = torch.where(mirrored[:, None, None, None], cut.flip(-1), cut).unbind(1)
        return change_intensities(images, coverage, config, generator)
    positions = source_positions(centres, size, config, generator)
    if config.interpolation == "bilinear":
        images, coverage = resample(torch.stack((images, coverage), dim=1), positions, "bilinear").unbind(1)
    else:
        images = resample(images[:, None], positions, config.interpolation)[:, 0]
        coverage = resample(coverage[:, None], positions, "bilinear")[:, 0]
    return change_intensities(images, coverage, config, generator)


def crop(pixels: Tensor, centres: Tensor, size: int) -> Tensor:
    """Whole-pixel crops (n, size, size), bit for bit, 0 beyond the slice; a crop of full size is the slice itself."""
    n, side = len(pixels), pixels.shape[-1]
    corners = torch.floor(centres - (size - 1) / 2 + 0.5).long()
    if side == size and not bool(corners.any()):
        return pixels
    steps = torch.arange(size)
    rows, columns = corners[:, :1] + steps, corners[:, 1:] + steps
    inside = ((rows >= 0) & (rows < side))[:, :, None] & ((columns >= 0) & (columns < side))[:, None, :]
    picked = pixels[
        torch.arange(n)[:, None, None], rows.clamp(0, side - 1)[:, :, None], columns.clamp(0, side - 1)[:, None, :]
    ]
    return picked * inside


def source_positions(centres: Tensor, size: int, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Where each pixel of the crop is taken from, in source pixels: (n, size, size, 2), the column before the row."""
    n = len(centres)
    turn, zoomed, stretched = (torch.rand(n, generator=generator) for _ in range(3))
    angle = (turn * (2 * config.rotation_deg) - config.rotation_deg) * (math.pi / 180)
    zoom = torch.exp((zoomed * 2 - 1) * math.log1p(config.scale))
    stretch = torch.exp((stretched * 2 - 1) * math.log1p(config.anisotropy) / 2)
    mirror = 1 - 2 * (torch.rand(n, generator=generator) < config.flip_probability).float()
    shift = (torch.rand(n, 2, generator=generator) * 2 - 1) * config.shift_px
    steps = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    down, across = steps * (zoom * stretch)[:, None], steps * (zoom / stretch * mirror)[:, None]
    cosine, sine = torch.cos(angle)[:, None], torch.sin(angle)[:, None]
    middle = (centres + shift)[:, :, None]
    # What depends on the row alone plus what depends on the column alone: one large sum for each coordinate.
    per_row = torch.stack((middle[:, 1] + sine * down, middle[:, 0] + cosine * down), dim=-1)
    per_column = torch.stack((cosine * across, -sine * across), dim=-1)
    bend = torch.rand(n, generator=generator) * config.elastic_px
    displaced = smooth_displacements(bend, config.elastic_cells, size, generator)
    return displaced.add_(per_row[:, :, None]).add_(per_column[:, None, :])


def resample(pixels: Tensor, positions: Tensor, mode: str) -> Tensor:
    """(n, c, S, S) read at fractional positions (n, size, size, 2) → (n, c, size, size) in 0..1; beyond the slice 0."""
    side = pixels.shape[-1]
    grid = positions.mul(2 / side).add_(1 / side - 1)
    out = functional.grid_sample(pixels, grid, mode=mode, padding_mode="zeros", align_corners=False)
    return out.clamp_(0, 1)
