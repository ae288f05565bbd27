"""Random changes of what a slice looks like, on whole batches: contrast, bias, noise, blur, field of view.

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

from SpinalCordSegTrainerLib.config import AugmentConfig

_LEVELS = 256
_AIR = 0.06  # below this share of the bright end a curve usually stays dark, as air does in every contrast
_MAX_RADIUS_SD = 2.5
_TRIALS = 12


def change_intensities(
    images: Tensor, coverage: Tensor, config: AugmentConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """(n, H, W) images and coverage in 0..1 → (n, 1, H, W) both; coverage changes only where the view is cut."""
    n = len(images)
    if config.remap_probability:
        images = remap(images, coverage, config, generator)
    images = images * _field(n, images.shape[-1], config, generator)
    images = images / images.amax((1, 2), keepdim=True).clamp_min(1e-3)
    images = images ** torch.exp(_normal(n, config.gamma_sd, generator))
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
    for index in np.flatnonzero(chosen):
        first[index] = _visible_curve(rng, config, float(inside[index]), float(around[index]))
    second = first.copy()
    for index in np.flatnonzero(blended):
        second[index] = _visible_curve(rng, config, float(inside[index]), float(around[index]))
    out = apply_curves(levels, torch.from_numpy(first))
    if blended.any():
        points = torch.randn(n, 1, 4, 4, generator=generator) * 3
        weight = functional.interpolate(points, size=images.shape[-2:], mode="bicubic", align_corners=False)[:, 0]
        out = torch.lerp(out, apply_curves(levels, torch.from_numpy(second)), torch.sigmoid(weight))
    return out


def _cord_and_surround(images: Tensor, coverage: Tensor) -> tuple[Tensor, Tensor]:
    """Mean grey value of the cord and of a ring of 3 pixels around it, (n,) each; NaN without cord."""
    ring = functional.max_pool2d(coverage[:, None], 7, stride=1, padding=3)[:, 0] - coverage
    core = (coverage >= 0.9).float()
    inside = (images * core).sum((1, 2)) / core.sum((1, 2))
    return inside, (images * ring).sum((1, 2)) / ring.sum((1, 2))


def _visible_curve(
    rng: np.random.Generator, config: AugmentConfig, inside: float, around: float
) -> NDArray[np.float32]:
    curve = random_curve(rng, config)
    if math.isnan(inside) or math.isnan(around):
        return curve
    bright = rng.random() < config.bright_cord_share
    for _ in range(_TRIALS):
        cord, rest = np.interp((inside, around), _identity(), curve)
        if (cord - rest if bright else rest - cord) >= config.least_contrast:
            break
        curve = random_curve(rng, config)
    return curve


def _stretched(images: Tensor, chosen: Tensor) -> Tensor:
    # One hot pixel must not squeeze the tissue into a corner of the curve, so the 99.5th percentile becomes 0.85.
    flat = images[:, ::3, ::3].flatten(1)
    rank = max(1, math.ceil(0.995 * flat.shape[1]))
    bright = flat.kthvalue(rank, dim=1).values.clamp_min(0.05)[:, None, None]
    return torch.where(chosen[:, None, None], images * (0.85 / bright), images).clamp(0, 1)


def _identity() -> NDArray[np.float32]:
    return np.linspace(0, 1, _LEVELS, dtype=np.float32)


def random_curve(rng: np.random.Generator, config: AugmentConfig) -> NDArray[np.float32]:
    """A piecewise linear curve with 4 to 8 knots as a table of 256 values in 0..1."""
    count = int(rng.integers(4, 9))
    knots = np.sort(np.concatenate(([0.0, 1.0], rng.random(count - 2))))
    values = rng.random(count)
    if rng.random() < config.monotone_share:
        values = np.sort(values)
    if rng.random() < config.inverted_share:
        values = 1 - values
    x = _identity()
    curve = np.interp(x, knots, values)
    if rng.random() < 0.8:
        dark = float(rng.random()) * 0.1
        curve = np.where(x < _AIR, dark + (curve - dark) * (x / _AIR), curve)
    low, high = curve.min(), curve.max()
    return ((curve - low) / max(high - low, 0.05)).clip(0, 1).astype(np.float32)


def apply_curves(images: Tensor, curves: Tensor) -> Tensor:
    """Each image (n, H, W) in 0..1 through its table (n, 256), linear between entries."""
    position = images.flatten(1) * (_LEVELS - 1)
    lower = position.floor().clamp(0, _LEVELS - 2)
    index = lower.long()
    start, end = curves.gather(1, index), curves.gather(1, index + 1)
    return torch.lerp(start, end, position - lower).view_as(images)


def _field(n: int, size: int, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    # A smooth bias times the fall-off of a surface coil, which may lie on any side.
    points = torch.randn(n, 1, 4, 4, generator=generator) * config.bias_sd
    smooth = functional.interpolate(points, size=(size, size), mode="bicubic", align_corners=False)[:, 0]
    angle = torch.rand(n, 1, 1, generator=generator) * (2 * math.pi)
    slope = torch.rand(n, 1, 1, generator=generator) * (config.falloff / 2)
    steps = torch.linspace(-1, 1, size)
    tilt = torch.cos(angle) * steps[None, :, None] + torch.sin(angle) * steps[None, None, :]
    return torch.exp(smooth + slope * tilt)


def rician(images: Tensor, sd: Tensor, generator: torch.Generator) -> Tensor:
    """Magnitude of the image with normal noise in both channels; ``sd``: (n, 1, 1)."""
    noise = torch.randn(2, *images.shape, generator=generator) * sd
    return torch.hypot(images + noise[0], noise[1])


def blur(images: Tensor, largest_px: float, generator: torch.Generator) -> Tensor:
    """Gaussian blur, its SD drawn per slice and axis from 0 to ``largest_px`` for half of the slices."""
    n = len(images)
    sd = torch.rand(2, n, generator=generator) * largest_px * (torch.rand(n, generator=generator) < 0.5)
    if largest_px == 0:
        return images
    radius = max(1, math.ceil(_MAX_RADIUS_SD * largest_px))
    steps = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernels = torch.exp(-0.5 * (steps / sd.clamp_min(0.1)[..., None]) ** 2)
    kernels = kernels / kernels.sum(-1, keepdim=True)
    padded = functional.pad(images[None], (radius, radius, radius, radius), mode="replicate")
    down = functional.conv2d(padded, kernels[0][:, None, :, None], groups=n)
    return functional.conv2d(down, kernels[1][:, None, None, :], groups=n)[0]


def field_of_view(n: int, size: int, probability: float, generator: torch.Generator) -> Tensor:
    """1 inside a random rectangle, 0 outside, (n, size, size); all 1 where the draw says so."""
    small = torch.rand(n, 1, generator=generator) < probability
    extent = torch.where(small, 0.35 + 0.65 * torch.rand(n, 2, generator=generator), torch.ones(n, 2))
    start = (1 - extent) * torch.rand(n, 2, generator=generator)
    steps = (torch.arange(size) + 0.5) / size
    inside = (steps >= start[..., None]) & (steps <= (start + extent)[..., None])
    return (inside[:, 0, :, None] & inside[:, 1, None, :]).float()
