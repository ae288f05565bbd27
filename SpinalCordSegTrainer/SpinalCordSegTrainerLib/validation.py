"""Scores on held-out slices after each epoch: loss, exact MCC, Dice, area."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from SpinalCordSegLib.scores import ConfusionCounts
from SpinalCordSegTrainerLib.config import LossConfig
from SpinalCordSegTrainerLib.loader import SliceCache
from SpinalCordSegTrainerLib.loss import segmentation_loss


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Slices of one cache that are never trained on."""

    cache: SliceCache
    indices: NDArray[np.int64]

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and coverage (n, 1, S, S) in 0..1, in order, at most ``size`` at a time."""
        for start in range(0, len(self.indices), size):
            images, coverage = self.cache.read(self.indices[start : start + size])
            yield torch.from_numpy(images)[:, None], torch.from_numpy(coverage)[:, None]


@dataclass(frozen=True)
class ValidationScores:
    """``loss``: mean over batches. ``mcc``: from exact counts pooled over all slices, at threshold 0.5. ``dice``:
    mean over slices with cord. ``area_percent``: signed error of the summed area on those slices, against the
    coverage. NaN where no slice holds cord."""

    loss: float
    mcc: float
    dice: float
    area_percent: float
    n_slices: int


def validate(
    network: nn.Module, held_out: Sequence[HeldOut], loss: LossConfig, batch_size: int, device: torch.device
) -> ValidationScores:
    """Score a network in evaluation mode on whole slices; its mode is left as it was. No slices: all NaN."""
    was_training = network.training
    network.eval()
    losses: list[float] = []
    dices: list[float] = []
    counts, found_area, true_area, n_slices = ConfusionCounts(), 0.0, 0.0, 0
    with torch.inference_mode():
        for images, coverage in (batch for part in held_out for batch in part.batches(batch_size)):
            logits = network(images.to(device).contiguous(memory_format=torch.channels_last)).float().cpu()
            losses.append(float(segmentation_loss(logits, coverage, loss)))
            n_slices += len(images)
            for found, share in zip((logits > 0).numpy(), coverage.numpy(), strict=True):
                one = ConfusionCounts.of(found, share >= 0.5)
                counts += one
                if one.true_positive + one.false_negative:
                    dices.append(one.dice())
                    found_area += one.true_positive + one.false_positive
                    true_area += float(share.sum())
    network.train(was_training)
    area_percent = 100 * (found_area - true_area) / true_area if true_area else float("nan")
    mean = float(np.mean(losses)) if losses else float("nan")
    return ValidationScores(
        mean, counts.mcc(), float(np.mean(dices)) if dices else float("nan"), area_percent, n_slices
    )
