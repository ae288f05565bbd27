"""The learning rate as a pure function of the update."""

from __future__ import annotations

import math

from SpinalCordSegTrainerLib.config import RateConfig


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
