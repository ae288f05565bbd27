"""The weights file that a run leaves, with its card: what it is, what it was trained on, what it is worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from SpinalCordSegLib.network.checkpoint import Checkpoint, save_checkpoint
from SpinalCordSegLib.version import SOFTWARE_VERSION
from SpinalCordSegLib.writing import write_text
from SpinalCordSegTrainerLib.config import TrainingConfig, to_dict
from SpinalCordSegTrainerLib.training.model_card import limits, markdown
from SpinalCordSegTrainerLib.training.sources import OpenedSources

_SCORES = ("epoch", "loss", "mcc", "dice", "area_percent", "n_slices")
_CURVES = ("train_loss", "loss", "dice", "mcc")


def write_model(
    path: Path,
    network: nn.Module,
    config: TrainingConfig,
    sources: OpenedSources,
    history: Sequence[dict[str, Any]],
    old_before: dict[str, Any],
) -> Checkpoint:
    """Write ``path`` (weights) and beside it the card as Markdown. ``history``: up to the epoch of these weights.

    Raises ModelFileError, OutputError.
    """
    row = history[-1]
    scores: dict[str, Any] = {"validation": {key: row[key] for key in _SCORES}}
    scores["per_epoch"] = {name: [_short(one[name]) for one in history] for name in _CURVES}
    if old_before:
        after = {name: row[f"old_{name}"] for name in old_before}
        scores["old_cases"] = {"before": old_before, "after": after}
    provenance = {
        "sources": sources.provenance,
        "split": [
            {
                "cache": part["cache"],
                "subjects_training": len(part["training"]),
                "subjects_validation": len(part["validation"]),
            }
            for part in sources.split
        ],
        "intended_use": config.intended_use,
        "limits": limits(config, sources, row),
    }
    checkpoint = Checkpoint(
        name=config.name,
        version=config.version,
        network=config.network,
        normalisation=config.normalisation,
        weights=dict(network.state_dict()),
        training={**public_config(config), "updates": row["update"], "minutes": row["minutes"]},
        scores=scores,
        provenance=provenance,
        licence=config.licence,
        software_version=SOFTWARE_VERSION,
    )
    saved = save_checkpoint(checkpoint, path)
    write_text(path.with_suffix(".md"), markdown(saved))
    return saved


def public_config(config: TrainingConfig) -> dict[str, Any]:
    """The configuration for a model file, which is handed on: folders by their last name only, not where they lie on
    this disk, and of the patients held out only how many they are."""
    plain = to_dict(config)
    for source in plain["sources"]:
        source["path"] = Path(source["path"]).name
    plain["validation"]["caches"] = [Path(path).name for path in plain["validation"]["caches"]]
    plain["validation"]["subjects"] = len(config.validation.subjects)
    plain["old_caches"] = [Path(path).name for path in plain["old_caches"]]
    plain["from_model"] = None if config.from_model is None else Path(config.from_model).name
    return plain


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
