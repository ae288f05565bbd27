"""Random changes of place and shape, on whole batches: one resampling does flip, rotation, scale, bend and crop.

Images and coverage go through the same grid, so a label stays on its pixel and partial volume stays soft.
Random numbers come from the generator handed in, always in the same order.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from SpinalCordSegTrainerLib.config import AugmentConfig
from SpinalCordSegTrainerLib.intensities import change_intensities


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
    rows, columns = source_positions(centres, size, config, generator)
    images = resample(images, rows, columns, config.interpolation)
    coverage = resample(coverage, rows, columns, "bilinear")
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


def source_positions(
    centres: Tensor, size: int, config: AugmentConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Where each pixel of the crop is taken from: row and column in source pixels, two tensors (n, size, size)."""
    n = len(centres)
    angle = uniform(n, -config.rotation_deg, config.rotation_deg, generator) * (math.pi / 180)
    zoom = torch.exp(uniform(n, -1, 1, generator) * math.log1p(config.scale))
    stretch = torch.exp(uniform(n, -1, 1, generator) * math.log1p(config.anisotropy) / 2)
    mirror = 1 - 2 * (torch.rand(n, generator=generator) < config.flip_probability).float()
    shift = (torch.rand(n, 2, generator=generator) * 2 - 1) * config.shift_px
    steps = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    down = (steps[None, :, None] * (zoom * stretch)[:, None, None]).expand(n, size, size)
    across = (steps[None, None, :] * (zoom / stretch * mirror)[:, None, None]).expand(n, size, size)
    cosine, sine = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    bend = elastic(n, size, config, generator)
    middle = (centres + shift)[:, :, None, None]
    return (
        middle[:, 0] + cosine * down - sine * across + bend[:, 0],
        middle[:, 1] + sine * down + cosine * across + bend[:, 1],
    )


def elastic(n: int, size: int, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Smooth random displacements (n, 2, size, size) in source pixels."""
    amount = torch.rand(n, 1, 1, 1, generator=generator) * config.elastic_px
    return smooth_noise(n, 2, config.elastic_cells, size, generator) * amount


def smooth_noise(n: int, channels: int, cells: int, size: int, generator: torch.Generator) -> Tensor:
    """Normal noise on cells² points, bicubic in between: (n, channels, size, size)."""
    points = torch.randn(n, channels, cells, cells, generator=generator)
    return functional.interpolate(points, size=(size, size), mode="bicubic", align_corners=False)


def resample(pixels: Tensor, rows: Tensor, columns: Tensor, mode: str) -> Tensor:
    """(n, S, S) read at fractional positions → (n, size, size), kept in 0..1; beyond the slice 0."""
    side = pixels.shape[-1]
    grid = torch.stack((columns, rows), dim=-1).mul(2).add(1).div(side).sub(1)
    out = functional.grid_sample(pixels[:, None], grid, mode=mode, padding_mode="zeros", align_corners=False)
    return out[:, 0].clamp(0, 1)


def uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator) * (high - low) + low
