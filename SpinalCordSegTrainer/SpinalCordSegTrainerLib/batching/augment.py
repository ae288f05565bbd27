"""Random changes of place and shape, on whole batches: one resampling does flip, rotation, scale, bend and crop.

Images and coverage go through the same grid, so a label stays on its pixel and partial volume stays soft.
Random numbers come from the generator handed in, always in the same order.

Why this is plain torch and no augmentation library (kornia 0.9, MONAI 1.6, tried on 15 slices of 256² on one core):
- kornia draws from torch's one global generator and takes no other. Batches are made in threads beside a network
  whose dropout draws from it too: the same seed then gave other slices, and a killed run would not resume bit-equal.
  Its affine and elastic changes are two resamplings, one after the other, which soften image and coverage twice.
- MONAI repeats from a seed, but changes one slice at a time: 234 ms of processor time a batch, kornia 290 ms, this
  module and intensities.py 59 ms (a network of width 2 learns from a batch in 1,270 ms). Training on one core would
  run at 83 % (MONAI) and 80 % (kornia) of its speed without reading.
- Neither moves a patient between the lines of k-space, or remaps contrast so that the cord stays visible; kornia 0.9
  needs Python 3.11 and MONAI 1.6 torch 2.8, this program 3.10 and 2.4.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from SpinalCordSegTrainerLib.batching.intensities import change_intensities
from SpinalCordSegTrainerLib.batching.smooth_fields import smooth_displacements
from SpinalCordSegTrainerLib.config import AugmentConfig


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
    if stays_in_place(config):
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


def stays_in_place(config: AugmentConfig) -> bool:
    """Whether slices are only cut and mirrored: then whole pixels are taken, as resampling would blur every edge."""
    return max(config.rotation_deg, config.scale, config.anisotropy, config.shift_px, config.elastic_px) == 0


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
    angle = uniform(n, -config.rotation_deg, config.rotation_deg, generator) * (math.pi / 180)
    zoom = torch.exp(uniform(n, -1, 1, generator) * math.log1p(config.scale))
    stretch = torch.exp(uniform(n, -1, 1, generator) * math.log1p(config.anisotropy) / 2)
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


def uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator) * (high - low) + low
