"""Low resolution and movement, made where a scanner makes them: in k-space.

A matrix that was acquired smaller leaves the outer lines empty, which blurs and rings; a patient who moves shifts the
lines acquired afterwards; what pulsates or breathes gives every n-th line another weight, which makes faint copies.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from SpinalCordSegTrainerLib.config import AugmentConfig

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
