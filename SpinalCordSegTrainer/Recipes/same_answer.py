"""Teach a model to draw one outline, however sharp and noisy the image is.

The model learns from itself: its target on a blurred, coarser or noisy slice is what it draws on the slice as it was
(consistency, as in Laine and Aila 2017, Temporal ensembling, arXiv:1610.02242; the teacher stays as it is, so that
areas of plain slices stay where they are). No mask is needed, so real images teach too. Where the model errs on a
slice whose cord is known, the known cord is the target. BatchNorm keeps the statistics of the starting model.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from Recipes.calibration import boundaries, threshold_for
from SpinalCordSegLib.image_io import read_image
from SpinalCordSegLib.model.checkpoint import Checkpoint, checkpoint_network
from SpinalCordSegLib.model.preprocessing import normalise, normalise_coverage
from SpinalCordSegLib.pipeline import segment_image
from SpinalCordSegTrainerLib.augmentation import rician
from SpinalCordSegTrainerLib.batches import BatchSampler, Slices, on_device
from SpinalCordSegTrainerLib.config import AugmentConfig, CropConfig, TrainingConfig
from SpinalCordSegTrainerLib.losses import learning_rate
from SpinalCordSegTrainerLib.slice_cache import CachedSlice, SliceCache


@dataclass(frozen=True)
class Changes:
    """What is done to the slices of a batch, each change drawn for itself. ``still``: share that stays as it is; of the
    others ``coarser`` get pixels up to ``factor`` times as large on each axis, ``blurred`` a Gaussian blur with an SD
    of up to ``blur_px``, ``noisy`` Rician noise with an SD of up to ``noise`` of the cord's mean signal."""

    still: float = 0.4
    coarser: float = 0.4
    factor: float = 2.0
    blurred: float = 0.6
    blur_px: float = 1.75
    noisy: float = 0.5
    noise: float = 0.32


_PLAIN = AugmentConfig(
    flip_probability=0.5, rotation_deg=0, scale=0, anisotropy=0, shift_px=0, elastic_px=0, gamma_sd=0.1, gain_sd=0.1,
    offset=0.02, bias_sd=0.1, falloff=0.2, noise=0, resolution_probability=0, motion_probability=0, ghosting=0,
    blur_px=0, field_of_view_probability=0,
)  # fmt: skip
_OTHER_CONTRAST = replace(
    _PLAIN, remap_probability=0.7, least_contrast=0.03, bright_cord_share=0.8, bias_sd=0.15, falloff=0.3
)
_REACH_PX = 8  # what lies further from the cord is no part of its outline
_ERRS, _STRAY_PX = 0.8, 20.0  # Dice under which, or more cord elsewhere than which, the teacher is not followed
_LOSS = 30.0  # of the cross-entropy, whose gradient is clipped at 1


def changed(images: Tensor, coverage: Tensor, config: Changes, generator: torch.Generator) -> Tensor:
    """(n, 1, S, S) in 0..1, and the same with the share of each pixel that is cord → (n, 1, S, S)."""
    n, side = len(images), images.shape[-1]

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    alike = draw(n) < config.still
    pixels = images[:, 0]
    coarser = ~alike & (draw(n) < config.coarser)
    kept = 1 / (1 + draw(n, 2) * (config.factor - 1))
    low = torch.fft.fftfreq(side).abs()[None, None] <= kept[..., None] / 2
    filtered = torch.fft.ifft2(torch.fft.fft2(pixels) * (low[:, 0, :, None] & low[:, 1, None, :])).abs()
    pixels = torch.where(coarser[:, None, None], filtered, pixels)
    blurred, round_ = ~alike & (draw(n) < config.blurred), draw(n, 1) < 0.7
    sd = draw(n, 2) * config.blur_px
    sd = torch.where(blurred[:, None], torch.where(round_, sd[:, :1], sd), 0.01 * torch.ones(())).clamp_min(0.01)
    radius = math.ceil(3.4 * config.blur_px)
    kernels = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sd[..., None]) ** 2)
    kernels = (kernels / kernels.sum(-1, keepdim=True))[:, :, None]
    padded = functional.pad(pixels[None], (radius,) * 4, mode="replicate")
    down = functional.conv2d(padded, kernels[:, 0, :, :, None], groups=n)
    pixels = functional.conv2d(down, kernels[:, 1, :, None], groups=n)[0]
    core = coverage[:, 0] > 0.9
    signal = (images[:, 0] * core).sum((1, 2)) / core.sum((1, 2)).clamp_min(1)
    signal = torch.where(core.sum((1, 2)) > 5, signal, 0.35 * torch.ones(()))
    noise = signal * draw(n) * config.noise * (~alike & (draw(n) < config.noisy))
    return rician(pixels, noise[:, None, None], generator).clamp(0, 1)[:, None]


def unlabelled_slices(image: Path, model: Checkpoint, folder: Path) -> SliceCache:
    """The slices of an image in which ``model`` finds cord, and those between, with its mask for coverage."""
    found = read_image(image)
    cord, size = segment_image(found, model).mask.voxels, model.normalisation.size
    used = np.flatnonzero(cord.any(axis=(1, 2)))

    def slices() -> Iterator[CachedSlice]:
        for k in range(used[0], used[-1] + 1):
            pixels, inside = (
                torch.from_numpy(np.ascontiguousarray(of[k : k + 1])) for of in (found.volume.voxels, cord)
            )
            grid = (found.volume.pixel_mm, model.normalisation, (size, size))
            one, _ = normalise(pixels.float(), *grid)
            yield one[0, 0].numpy(), normalise_coverage(inside, *grid)[0, 0].numpy(), image.name

    rules = asdict(model.normalisation)
    return SliceCache.write(folder, slices(), normalisation=rules, kind="real", source={}, dtype="float16")


def teach(
    base: Checkpoint,
    simulated: Sequence[SliceCache],
    masked: Sequence[SliceCache],
    unlabelled: Sequence[SliceCache],
    held_out: SliceCache,
    updates: int,
    seed: int,
    progress: Callable[[int], None] = lambda _update: None,
) -> Checkpoint:
    """A model with the calibration that gives the area of ``base`` on ``held_out`` slices. Half of a batch of 24 crops
    are simulated, a third are slices with masks, most of them in another contrast, the rest is unlabelled. One thread
    of a CPU makes 36 updates a minute."""
    parts = [Slices(cache, np.arange(len(cache)), 12 / len(simulated), _PLAIN) for cache in simulated]
    for cache in masked:
        every = np.arange(len(cache))
        parts += [Slices(cache, every, 6 / len(masked), _OTHER_CONTRAST), Slices(cache, every, 2 / len(masked), _PLAIN)]
    parts += [Slices(cache, np.arange(len(cache)), 4 / len(unlabelled), _PLAIN) for cache in unlabelled]
    config = TrainingConfig(crop=CropConfig(size=96, near_cord=0.9, jitter_px=24), batch_size=24, seed=seed)
    sampler, changes = BatchSampler(parts, config), Changes()
    teacher = checkpoint_network(base).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    student, average = copy.deepcopy(teacher), copy.deepcopy(teacher)  # in evaluation mode: statistics stay
    optimiser = torch.optim.AdamW(student.parameters(), weight_decay=1e-5)
    rate = replace(config.rate, plan="cosine", base_lr=1e-6, max_lr=3e-4, warmup_updates=30)
    for update in range(updates):
        images, coverage = sampler.batch(update)
        others = changed(images, coverage, changes, torch.Generator().manual_seed(seed * 1000003 + update))
        target, weight = _target(teacher, images, coverage)
        found = student(on_device(others, torch.device("cpu")))
        each = functional.binary_cross_entropy_with_logits(found, target, reduction="none").mean((1, 2, 3))
        loss = _LOSS * (each * weight).sum() / weight.sum()
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(rate, update, updates, update / updates)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            decay = min(0.99, (update + 1) / (update + 10))
            for mean, new in zip(average.parameters(), student.parameters(), strict=True):
                mean.lerp_(new, 1 - decay)
        progress(update + 1)
    raw = -base.calibration.bias / base.calibration.scale
    held = Slices(held_out, np.arange(len(held_out)))
    pairs = [pair for images, coverage in held.batches(8) for pair in _drawn(teacher, average, images, coverage, raw)]
    threshold = threshold_for(pairs)
    weights = {name: values.numpy() for name, values in average.state_dict().items()}
    calibration = replace(base.calibration, bias=-base.calibration.scale * threshold)
    return replace(base, weights=weights, calibration=calibration, scores={}, sha256=None)


def _drawn(
    teacher: nn.Module, student: nn.Module, images: Tensor, coverage: Tensor, raw_threshold: float
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Of each slice near its cord the student's logits and what the teacher draws."""
    near = functional.max_pool2d((coverage > 0).float(), 2 * _REACH_PX + 1, 1, _REACH_PX)
    with torch.inference_mode():
        return boundaries(student(images), (teacher(images) > raw_threshold) * near)


def _target(teacher: nn.Module, images: Tensor, coverage: Tensor) -> tuple[Tensor, Tensor]:
    """What the teacher draws, (n, 1, S, S), and the weight of each slice, (n,); where it errs the cord as it is known,
    with half the weight."""
    with torch.inference_mode():
        drawn = torch.sigmoid(teacher(on_device(images, torch.device("cpu"))))
    true, near = coverage >= 0.5, functional.max_pool2d((coverage > 0).float(), 2 * _REACH_PX + 1, 1, _REACH_PX) > 0
    found = (drawn > 0.5) & near
    dice = 2 * (found & true).sum((1, 2, 3)) / (found.sum((1, 2, 3)) + true.sum((1, 2, 3))).clamp_min(1)
    with_cord = true.flatten(1).any(1)
    errs = torch.where(with_cord, dice < _ERRS, (drawn * ~near).sum((1, 2, 3)) > _STRAY_PX)
    target = torch.where(errs[:, None, None, None], coverage, drawn)
    return target.clone(), torch.where(errs, 0.5, 1.0)
