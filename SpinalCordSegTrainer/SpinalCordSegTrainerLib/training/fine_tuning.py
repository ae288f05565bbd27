"""Starting from a trained model, and seeing what it forgets while it learns new cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.network.checkpoint import load_checkpoint
from SpinalCordSegTrainerLib.batching.loader import SliceCache
from SpinalCordSegTrainerLib.config import TrainingConfig, ValidationConfig
from SpinalCordSegTrainerLib.training.ranks import ALONE, Ranks
from SpinalCordSegTrainerLib.training.validation import HeldOut, validate


def starting_weights(config: TrainingConfig) -> dict[str, Tensor] | None:
    """The weights of ``config.from_model``, None where the run starts from random ones.

    Raises ModelFileError for a file that is no model, ConfigurationError naming every setting of network and
    normalisation in which the model differs from the configuration: its weights would be worth nothing then.
    """
    if config.from_model is None:
        return None
    model = load_checkpoint(Path(config.from_model))
    different = [
        f"{part}.{name} is {theirs!r} there and {asdict(getattr(config, part))[name]!r} here"
        for part in ("network", "normalisation")
        for name, theirs in asdict(getattr(model, part)).items()
        if theirs != asdict(getattr(config, part))[name]
    ]
    if different:
        raise ConfigurationError(
            f"{Path(config.from_model).name} cannot be trained on with these settings: {'; '.join(different)}; use the"
            " model's own settings, or start without a model"
        )
    return model.weights


def fine_tuning_config(config: TrainingConfig, model: Path) -> TrainingConfig:
    """``config`` with network and normalisation of the model that it starts from. Raises ModelFileError."""
    start = load_checkpoint(model)
    return replace(config, from_model=str(model), network=start.network, normalisation=start.normalisation)


def validation_for(config: TrainingConfig) -> ValidationConfig:
    """With a single patient nothing can be held out: all slices are trained on and nothing is validated."""
    subjects = {subject for source in config.sources for subject in SliceCache.open(source.path).info.subjects}
    alone = len(subjects) == 1 and not config.validation.caches
    return replace(config.validation, fraction=0.0) if alone else config.validation


def old_scores(
    network: nn.Module, old: Sequence[HeldOut], config: TrainingConfig, device: torch.device, ranks: Ranks = ALONE
) -> dict[str, Any]:
    """Loss, MCC, Dice and area error on what the starting model could do before; {} where nothing was given."""
    if not old:
        return {}
    scores = asdict(validate(network, old, config.loss, config.validation.batch_size, device, ranks))
    return {name: value if isfinite(value) else None for name, value in scores.items()}
