"""Scores on held-out slices after each epoch: loss, exact MCC, Dice, area."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from SpinalCordSegLib.measurement.scores import ConfusionCounts
from SpinalCordSegTrainerLib.batching.loader import SliceCache
from SpinalCordSegTrainerLib.config import LossConfig
from SpinalCordSegTrainerLib.training.loss import segmentation_loss
from SpinalCordSegTrainerLib.training.ranks import ALONE, Ranks


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
    network: nn.Module,
    held_out: Sequence[HeldOut],
    loss: LossConfig,
    batch_size: int,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> ValidationScores:
    """Score a network in evaluation mode on whole slices; its mode is left as it was. No slices: all NaN.

    Several ranks take the batches in turn; each gets the scores of all, the same as one rank alone would find.
    """
    was_training = network.training
    network.eval()
    losses: list[float] = []
    slices: list[_Slice] = []
    with torch.inference_mode():
        for number, (images, coverage) in enumerate(batch for part in held_out for batch in part.batches(batch_size)):
            if number % ranks.count == ranks.rank:
                logits = network(images.to(device).contiguous(memory_format=torch.channels_last)).float().cpu()
                losses.append(float(segmentation_loss(logits, coverage, loss)))
                slices += [_slice(found, share) for found, share in zip(logits > 0, coverage, strict=True)]
            else:
                losses.append(0.0)
                slices += [(0, 0, 0, 0, 0.0)] * len(images)
    network.train(was_training)
    losses = ranks.add_up(torch.tensor(losses, dtype=torch.float64)).tolist()
    table = ranks.add_up(torch.tensor(slices, dtype=torch.float64).reshape(-1, 5)).tolist()
    return _pooled(losses, table)


def slice_counts(
    network: nn.Module, held_out: Sequence[HeldOut], batch_size: int, device: torch.device
) -> list[ConfusionCounts]:
    """Exact counts of every held-out slice, at probability 0.5, by a network in evaluation mode."""
    counts = []
    with torch.inference_mode():
        for images, coverage in (batch for part in held_out for batch in part.batches(batch_size)):
            found = network(images.to(device).contiguous(memory_format=torch.channels_last)).float().cpu() > 0
            counts += [_counts(one, share) for one, share in zip(found, coverage, strict=True)]
    return counts


_Slice = tuple[float, float, float, float, float]  # TP, TN, FP, FN (whole numbers), area of the coverage in pixels


def _counts(found: Tensor, share: Tensor) -> ConfusionCounts:
    return ConfusionCounts.of(found.numpy(), share.numpy() >= 0.5)


def _slice(found: Tensor, share: Tensor) -> _Slice:
    one = _counts(found, share)
    return one.true_positive, one.true_negative, one.false_positive, one.false_negative, float(share.sum())


def _pooled(losses: list[float], table: list[list[float]]) -> ValidationScores:
    counts = [(ConfusionCounts(*(int(value) for value in row[:4])), row[4]) for row in table]
    with_cord = [(one, area) for one, area in counts if one.true_positive + one.false_negative]
    found = sum(one.true_positive + one.false_positive for one, _ in with_cord)
    true = sum(area for _, area in with_cord)
    return ValidationScores(
        float(np.mean(losses)) if losses else float("nan"),
        sum((one for one, _ in counts), ConfusionCounts()).mcc(),
        float(np.mean([one.dice() for one, _ in with_cord])) if with_cord else float("nan"),
        100 * (found - true) / true if true else float("nan"),
        len(counts),
    )
