"""The measured repeatability in a model's card: SpinalCordSegLib.longitudinal.change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from SpinalCordSegLib.longitudinal.change import Repeatability
from SpinalCordSegLib.model.checkpoint import REPEATABILITY, Checkpoint


def with_repeatability(checkpoint: Checkpoint, setting: str, cov_percent: float, source: str) -> Checkpoint:
    """The checkpoint with one setting's CoV, rounded to 0.01 %; the other stays. Raises ConfigurationError for a CoV
    that cannot be one, or without its source."""
    checked = Repeatability(round(cov_percent, 2), source, setting)
    stated: dict[str, Any] = dict(checkpoint.scores.get(REPEATABILITY) or {})
    stated[setting] = {"cov_percent": checked.cov_percent, "source": checked.source}
    return replace(checkpoint, scores={**checkpoint.scores, REPEATABILITY: stated})
