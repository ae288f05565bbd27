"""Teach a model to draw one outline, however sharp and noisy the image is.

The target on a blurred, coarser, noisy or turned slice is what a teacher draws on the slice as it was (consistency, as
in Laine and Aila 2017, Temporal ensembling, arXiv:1610.02242; the teacher stays as it is, so that areas of plain slices
stay where they are). It sees the slice mirrored and turned by chance: the mean of such answers is better than any of
them. No mask is needed, so real images teach too. Where the teacher errs on a slice whose cord is known, the known cord
is the target. BatchNorm keeps the statistics of the starting model.
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
    """What is done to the slices of a batch, each change drawn for itself. ``still``: share whose pixels stay as they
    are; of the others ``coarser`` get pixels up to ``factor`` times as large on each axis, ``blurred`` a Gaussian blur
    with an SD of up to ``blur_px``, ``noisy`` Rician noise with an SD of up to ``noise`` of the cord's mean signal.
    ``turned``: share turned by up to ``turn_deg`` and stretched by up to ``stretch`` first; ``teachers_deg``: the
    most by which what the teacher sees is turned."""

    still: float = 0.25
    coarser: float = 0.35
    factor: float = 2.0
    blurred: float = 0.6
    blur_px: float = 1.75
    noisy: float = 0.5
    noise: float = 0.34
    turned: float = 0.4
    turn_deg: float = 20.0
    stretch: float = 0.08
    teachers_deg: float = 15.0


_PLAIN = AugmentConfig(
    flip_probability=0.5, rotation_deg=0, scale=0, anisotropy=0, shift_px=0, elastic_px=0, gamma_sd=0.1, gain_sd=0.1,
    offset=0.02, bias_sd=0.1, falloff=0.2, noise=0, resolution_probability=0, motion_probability=0, ghosting=0,
    blur_px=0, field_of_view_probability=0,
)  # fmt: skip
_OTHER_CONTRAST = replace(
    _PLAIN, remap_probability=0.7, least_contrast=0.03, bright_cord_share=0.8, bias_sd=0.15, falloff=0.3
)
_REACH_PX = 8  # what lies further from the cord is no part of its outline
_LEAST_PIXELS = 20.0  # of a cord whose area counts
_ERRS, _STRAY_PX = 0.8, 20.0  # Dice under which, or more cord elsewhere than which, the teacher is not followed
_LOSS, _AREA_LOSS = 30.0, 40.0  # of the cross-entropy and of relative areas; the gradient is clipped at 1


def turns(n: int, share: float, degrees: float, generator: torch.Generator, stretch: float = 0.0) -> Tensor:
    """(n, 3, 3): of that share a rotation of up to so many degrees and a stretch of each axis; for ``turned``."""
    on = (torch.rand(n, generator=generator) < share).float()
    angle = torch.deg2rad((2 * torch.rand(n, generator=generator) - 1) * degrees) * on
    down, across = (1 + (2 * torch.rand(n, generator=generator) - 1) * most * on for most in (stretch, stretch / 2))
    rows = across * angle.cos(), -down * angle.sin(), across * angle.sin(), down * angle.cos()
    matrices = torch.eye(3).repeat(n, 1, 1)
    matrices[:, :2, :2] = torch.stack(rows, 1).reshape(n, 2, 2)
    return matrices


def turned(images: Tensor, matrices: Tensor) -> Tensor:
    """(n, 1, S, S), bicubic about the middle; the edge goes on beyond it."""
    grid = functional.affine_grid(matrices[:, :2], list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bicubic", padding_mode="border", align_corners=False)


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
    sd = draw(n, 2).sqrt() * config.blur_px
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
    noise = signal * draw(n).sqrt() * config.noise * (~alike & (draw(n) < config.noisy))
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
    teaching: Checkpoint,
    simulated: Sequence[SliceCache],
    masked: Sequence[SliceCache],
    unlabelled: Sequence[SliceCache],
    held_out: SliceCache,
    updates: int,
    seed: int,
    progress: Callable[[int], None] = lambda _update: None,
    keep: float = 0.0,
) -> Checkpoint:
    """``base``, taught what ``teaching`` draws, with the calibration that gives its area on ``held_out`` slices;
    ``keep``: share 0..1 of its own weights in the mean that is given.

    Four tenths of a batch of 24 crops are simulated, four are slices with masks, most of them in another contrast, the
    rest is unlabelled. One thread of a CPU makes 36 updates a minute."""
    parts = [Slices(cache, np.arange(len(cache)), 10 / len(simulated), _PLAIN) for cache in simulated]
    for cache in masked:
        every = np.arange(len(cache))
        parts += [Slices(cache, every, 6 / len(masked), _OTHER_CONTRAST), Slices(cache, every, 3 / len(masked), _PLAIN)]
    parts += [Slices(cache, np.arange(len(cache)), 5 / len(unlabelled), _PLAIN) for cache in unlabelled]
    config = TrainingConfig(crop=CropConfig(size=96, near_cord=0.9, jitter_px=20), batch_size=24, seed=seed)
    sampler, changes = BatchSampler(parts, config), Changes()
    teacher, student = (
        checkpoint_network(one).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for one in (teaching, base)
    )
    average = copy.deepcopy(student)  # in evaluation mode: BatchNorm's statistics stay
    raw_teacher, raw_student = (-one.calibration.bias / one.calibration.scale for one in (teaching, base))
    optimiser = torch.optim.AdamW(student.parameters(), weight_decay=1e-5)
    rate = replace(config.rate, plan="cosine", base_lr=1e-6, max_lr=3e-4, warmup_updates=40)
    side = torch.linspace(-1, 1, config.crop.size or 0)
    inside = 0.1 + 0.9 * (side[:, None] ** 2 + side**2 < 0.96)  # corners come from beyond the crop where it is turned
    for update in range(updates):
        images, coverage = sampler.batch(update)
        generator, n = torch.Generator().manual_seed(seed * 1000003 + update), len(images)
        shown, placed = (
            turns(n, 0.7, changes.teachers_deg, generator),
            turns(n, changes.turned, changes.turn_deg, generator, changes.stretch),
        )
        shown[:, :, 0] *= torch.where(torch.rand(n, 1, generator=generator) < 0.5, -1.0, 1.0)  # mirrored
        with torch.no_grad():
            seen = turned(images, shown).clamp(0, 1)
            drawn = turned(teacher(on_device(seen, torch.device("cpu"))).contiguous(), torch.linalg.inv(shown))
            logits, weight, near = _target(drawn, coverage)
            logits, near = turned(logits, placed), turned(near, placed) > 0.5
            target, wanted = torch.sigmoid(logits), _area(logits, near, raw_teacher)
        others = changed(turned(images, placed).clamp(0, 1), turned(coverage, placed), changes, generator)
        found = student(on_device(others, torch.device("cpu")))
        each = functional.binary_cross_entropy_with_logits(found, target, inside, reduction="none").mean((1, 2, 3))
        ratio = (_area(found, near, raw_student) - wanted) / wanted.clamp_min(_LEAST_PIXELS)
        ratio = ratio * ((wanted > _LEAST_PIXELS) & (weight == 1))
        loss = _LOSS * (each * weight).sum() / weight.sum()
        loss = loss + _AREA_LOSS * functional.huber_loss(ratio, torch.zeros_like(ratio), delta=0.1)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(rate, update, updates, update / updates)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            decay = min(0.995, (update + 1) / (update + 10))
            for mean, new in zip(average.parameters(), student.parameters(), strict=True):
                mean.lerp_(new, 1 - decay)
        progress(update + 1)
    with torch.no_grad():
        for mean, own in zip(average.parameters(), checkpoint_network(base).parameters(), strict=True):
            mean.lerp_(own, keep)
    held = Slices(held_out, np.arange(len(held_out)))
    pairs = [
        pair for images, coverage in held.batches(8) for pair in _drawn(teacher, average, images, coverage, raw_teacher)
    ]
    threshold = threshold_for(pairs)
    weights = {name: values.numpy() for name, values in average.state_dict().items()}
    calibration = replace(teaching.calibration, bias=-teaching.calibration.scale * threshold)
    return replace(base, weights=weights, calibration=calibration, scores={}, sha256=None)


def _drawn(
    teacher: nn.Module, student: nn.Module, images: Tensor, coverage: Tensor, raw_threshold: float
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Of each slice near its cord the student's logits and what the teacher draws."""
    near = functional.max_pool2d((coverage > 0).float(), 2 * _REACH_PX + 1, 1, _REACH_PX)
    with torch.inference_mode():
        return boundaries(student(images), (teacher(images) > raw_threshold) * near)


def _area(logits: Tensor, near: Tensor, raw_threshold: float) -> Tensor:
    """Pixels of each slice within ``near`` that are cord, with a soft edge. (n,)"""
    return (torch.sigmoid(4 * (logits - raw_threshold)) * near).sum((1, 2, 3))


def _target(logits: Tensor, coverage: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What the teacher's ``logits`` (n, 1, S, S) become as a target, the weight of each slice, (n,), and what is near
    the cord, 0 or 1. Where it errs the target is the cord as it is known; where no cord is known, halfway."""
    drawn, known = torch.sigmoid(logits), torch.logit(coverage.clamp(0.02, 0.98))
    true, near = coverage >= 0.5, functional.max_pool2d((coverage > 0).float(), 2 * _REACH_PX + 1, 1, _REACH_PX)
    found = (drawn > 0.5) & (near > 0)
    dice = 2 * (found & true).sum((1, 2, 3)) / (found.sum((1, 2, 3)) + true.sum((1, 2, 3))).clamp_min(1)
    with_cord = true.flatten(1).any(1)
    errs = with_cord & (dice < _ERRS)
    strays = ~with_cord & ((drawn * (near == 0)).sum((1, 2, 3)) > _STRAY_PX)
    halfway = torch.logit((0.5 * (drawn + coverage)).clamp(1e-4, 1 - 1e-4))
    target = torch.where(errs[:, None, None, None], known, torch.where(strays[:, None, None, None], halfway, logits))
    return target, torch.where(errs | strays, 0.4, 1.0), near
