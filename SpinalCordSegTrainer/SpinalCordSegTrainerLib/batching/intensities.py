"""Random changes of what a slice looks like, on whole batches: contrast, bias, motion, noise, blur, field of view.

A remapping turns the grey values of one contrast into those of any other: piecewise linear curves, rising or
rising and falling, sometimes inverted, so that a dark cord in bright fluid may become a grey cord in dark fluid.
Two curves may be blended by a smooth field that knows nothing of the label.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from SpinalCordSegTrainerLib.batching.k_space import k_space_faults
from SpinalCordSegTrainerLib.batching.smooth_fields import smooth_noise
from SpinalCordSegTrainerLib.config import AugmentConfig

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
    images = images ** torch.exp(_normal(n, config.gamma_sd, generator))
    images = k_space_faults(images, config, generator)
    early, late = torch.rand(2, n, 1, 1, generator=generator) * config.noise
    images = rician(images, early, generator)
    images = blur(images, config.blur_px, generator)
    images = rician(images, late * (torch.rand(n, 1, 1, generator=generator) < 0.5), generator)
    images = images * torch.exp(_normal(n, config.gain_sd, generator))
    images = images + (torch.rand(n, 1, 1, generator=generator) * 2 - 1) * config.offset
    seen = field_of_view(n, images.shape[-1], config.field_of_view_probability, generator)
    return (images.clamp(0, 1) * seen)[:, None], (coverage * seen)[:, None]


def _normal(n: int, sd: float, generator: torch.Generator) -> Tensor:
    return torch.randn(n, 1, 1, generator=generator) * sd


def remap(images: Tensor, coverage: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Each slice, with probability ``remap_probability``, through its own random curve.

    The label only rejects curves under which the cord would look like what lies around it: a boundary that
    nobody can see teaches nothing.
    """
    n = len(images)
    rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
    chosen = rng.random(n) < config.remap_probability
    blended = chosen & (rng.random(n) < config.blend_probability)
    levels = _stretched(images, torch.from_numpy(chosen))
    inside, around = _cord_and_surround(levels, coverage)
    first = np.tile(_identity(), (n, 1))
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
    for _ in range(_TRIALS):
        contrast = sign[pending] * (_read(curves, pending, inside) - _read(curves, pending, around))
        pending = pending[contrast < config.least_contrast]
        if not len(pending):
            break
        curves[pending] = random_curves(rng, len(pending), config)
    return curves


def _read(curves: NDArray[np.float32], rows: NDArray[np.int64], levels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each of these curves at its own level in 0..1, linear between entries: (len(rows),)."""
    position = levels[rows] * (_LEVELS - 1)
    lower = np.clip(position.astype(np.int64), 0, _LEVELS - 2)
    start, end = curves[rows, lower], curves[rows, lower + 1]
    return start + (end - start) * (position - lower)


def _stretched(images: Tensor, chosen: Tensor) -> Tensor:
    # One hot pixel must not squeeze the tissue into a corner of the curve, so the 99.5th percentile becomes 0.85.
    flat = images[:, ::3, ::3].flatten(1)
    rank = max(1, math.ceil(0.995 * flat.shape[1]))
    bright = flat.kthvalue(rank, dim=1).values.clamp_min(0.05)[:, None, None]
    return torch.where(chosen[:, None, None], images * (0.85 / bright), images).clamp(0, 1)


def _identity() -> NDArray[np.float32]:
    return np.linspace(0, 1, _LEVELS, dtype=np.float32)


def random_curves(rng: np.random.Generator, n: int, config: AugmentConfig) -> NDArray[np.float32]:
    """n piecewise linear curves with 4 to 8 knots, as tables (n, 256) of values in 0..1."""
    x = _identity()
    spare = np.arange(_MOST_KNOTS) >= rng.integers(4, _MOST_KNOTS + 1, n)[:, None]
    knots = rng.random((n, _MOST_KNOTS))
    knots[:, 0], knots[:, 1] = 0.0, 1.0
    knots = np.sort(np.where(spare, 2.0, knots), axis=1)  # those not used lie beyond the end, and are never reached
    values = np.where(spare, 2.0, rng.random((n, _MOST_KNOTS)))
    values = np.where(rng.random((n, 1)) < config.monotone_share, np.sort(values, axis=1), values)
    values = np.where(rng.random((n, 1)) < config.inverted_share, 1 - values, values)
    curves = _piecewise_linear(x, knots, values)
    dark = rng.random((n, 1)) * 0.1
    air = (x < _AIR) & (rng.random((n, 1)) < 0.8)
    curves = np.where(air, dark + (curves - dark) * (x / _AIR), curves)
    low, high = curves.min(axis=1, keepdims=True), curves.max(axis=1, keepdims=True)
    return ((curves - low) / np.maximum(high - low, 0.05)).clip(0, 1).astype(np.float32)


def _piecewise_linear(x: NDArray, knots: NDArray, values: NDArray) -> NDArray[np.float64]:
    """(n, len(x)): ``np.interp`` for n sets of ascending knots and their values, both (n, k), at the same x."""
    left = np.clip((knots[:, :, None] <= x).sum(axis=1) - 1, 0, None)
    left = np.minimum(left, (knots <= 1).sum(axis=1)[:, None] - 2)  # the end belongs to the last piece
    x0, x1 = np.take_along_axis(knots, left, 1), np.take_along_axis(knots, left + 1, 1)
    y0, y1 = np.take_along_axis(values, left, 1), np.take_along_axis(values, left + 1, 1)
    return y0 + (y1 - y0) * (x - x0) / np.maximum(x1 - x0, 1e-12)


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
