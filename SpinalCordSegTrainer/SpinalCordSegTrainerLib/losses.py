"""Tversky and focal Tversky loss on logits, with an optional cross-entropy against partial volume.

Sources: Salehi et al. 2017 (Tversky), Abraham & Khan 2019 (focal, exponent 1/γ, one index per batch).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from SpinalCordSegTrainerLib.config import LossConfig, RateConfig
from SpinalCordSegTrainerLib.distributed import ALONE, Processes

_SMOOTH = 1.0  # pixels; with an empty batch the index is still defined


def overlap_sums(logits: Tensor, target: Tensor) -> Tensor:
    """TP = Σpg, FN = Σ(1-p)g, FP = Σp(1-g) over the batch, (3,); 1-p as sigmoid(-z): exact where p rounds to 1."""
    cord, rest = torch.sigmoid(logits), torch.sigmoid(-logits)
    return torch.stack([(cord * target).sum(), (rest * target).sum(), (cord * (1 - target)).sum()])


def overlap_loss(sums: Tensor, config: LossConfig) -> Tensor:
    """1 - Tversky index of these overlap_sums, to the power 1/γ for the focal loss.

    Written as E/(TP+E+s) with E = fn_weight·FN + fp_weight·FP and clamped before the power: the form
    1 - (TP+s)/(...) has NaN gradients on a saturated perfect batch and on an empty one. With an empty target and
    an empty prediction the loss is (almost) 0.
    """
    true_positive, false_negative, false_positive = sums.unbind()
    error = config.fn_weight * false_negative + config.fp_weight * false_positive
    loss = error / (true_positive + error + _SMOOTH)
    if config.name == "focal_tversky":
        loss = loss.clamp_min(1e-7) ** (1 / config.gamma)
    return loss


def segmentation_loss(logits: Tensor, coverage: Tensor, config: LossConfig, processes: Processes = ALONE) -> Tensor:
    """The training loss. ``logits``, ``coverage``: (n, 1, H, W); coverage in 0..1. A scalar in float32 (64 for 64).

    Cross-entropy, where asked for, is against the coverage itself, so that a pixel half filled by cord is
    drawn to probability 0.5 and the area at threshold 0.5 is not biased. With several processes each passes its part of
    the batch and gets the loss of the whole batch.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    coverage = coverage.to(logits.dtype)
    target = coverage if config.soft_overlap else (coverage >= 0.5).to(logits.dtype)
    loss = overlap_loss(processes.summed(overlap_sums(logits, target)), config)
    if config.bce_weight:
        total = functional.binary_cross_entropy_with_logits(logits, coverage, reduction="sum")
        both = processes.summed(torch.stack([total, total.new_tensor(float(logits.numel()))]))
        loss = loss + config.bce_weight * (both[0] / both[1].detach())
    return loss


# The learning rate as a pure function of the update.


def triangular_rate(update: int, base_lr: float, max_lr: float, half_cycle_updates: float) -> float:
    """Triangular cyclical rate (Smith 2017): base_lr at update 0, max_lr after half a cycle, and back."""
    cycle = math.floor(1 + update / (2 * half_cycle_updates))
    distance = abs(update / half_cycle_updates - 2 * cycle + 1)
    return base_lr + (max_lr - base_lr) * max(0.0, 1 - distance)


def learning_rate(config: RateConfig, update: int, updates_per_epoch: int, done: float) -> float:
    """Rate of one update (0-based). ``done``: share of the whole run that lies behind, 0..1 (cosine only)."""
    if config.plan == "clr":
        half_cycle = config.half_cycle_epochs * updates_per_epoch
        return triangular_rate(update, config.base_lr, config.max_lr, half_cycle)
    rate = config.max_lr
    if config.plan == "cosine":
        rate = config.base_lr + (config.max_lr - config.base_lr) * (1 + math.cos(math.pi * min(done, 1.0))) / 2
    if update < config.warmup_updates:
        rate *= (update + 1) / config.warmup_updates
    return rate
