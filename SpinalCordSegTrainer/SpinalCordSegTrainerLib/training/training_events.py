"""What a training run tells while it runs and at its end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Progress:
    """Where a run is. ``epoch`` counts from 1; ``row``: the finished epoch's scores, None within an epoch."""

    epoch: int
    epochs: int
    update: int
    updates: int
    loss: float
    rate: float
    seconds: float
    row: dict[str, Any] | None = None


@dataclass(frozen=True)
class TrainingResult:
    """``best``, ``last``: checkpoint files. ``reason``: why it ended. ``history``: one row per epoch. ``old_before``:
    scores of the starting model on the old cases; those of each epoch are in its row as ``old_…``."""

    best: Path
    last: Path
    reason: str
    history: list[dict[str, Any]]
    old_before: dict[str, Any]
