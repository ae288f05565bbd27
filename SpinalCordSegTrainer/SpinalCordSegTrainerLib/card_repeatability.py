"""The measured repeatability in a model's card; what it looks like there: SpinalCordSegLib.repeatability."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from SpinalCordSegLib.atrophy import Repeatability
from SpinalCordSegLib.checkpoint import Checkpoint
from SpinalCordSegLib.repeatability import FIELD


def with_repeatability(checkpoint: Checkpoint, setting: str, cov_percent: float, source: str) -> Checkpoint:
    """The checkpoint with one setting's CoV, rounded to 0.01 %; the other stays. Raises ConfigurationError for a CoV
    that cannot be one, or without its source."""
    checked = Repeatability(round(cov_percent, 2), source, setting)
    stated: dict[str, Any] = dict(checkpoint.scores.get(FIELD) or {})
    stated[setting] = {"cov_percent": checked.cov_percent, "source": checked.source}
    return replace(checkpoint, scores={**checkpoint.scores, FIELD: stated})
