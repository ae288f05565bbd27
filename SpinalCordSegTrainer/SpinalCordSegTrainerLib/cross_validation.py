"""K-fold cross-validation: every patient judged once, by the one model that never saw them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from SpinalCordSegLib.model.checkpoint import load_checkpoint
from SpinalCordSegTrainerLib.config import TrainingConfig
from SpinalCordSegTrainerLib.dataset import LabelledCase
from SpinalCordSegTrainerLib.evaluation import FIGURES, Evaluation, model_masks, statistics
from SpinalCordSegTrainerLib.split import folds
from SpinalCordSegTrainerLib.trainer import Progress, Training


def cross_validate(
    cases: Sequence[LabelledCase],
    config: TrainingConfig,
    output: Path,
    count: int,
    *,
    only_labelled: bool = False,
    device: torch.device,
    report: Callable[[Progress], None] | None = None,
    stopped: Callable[[], bool] | None = None,
) -> tuple[Evaluation, dict[str, Any]]:
    """Train ``count`` models, each in ``output``/foldN, and score each on the cases it held out.

    ``config``: one source, the cache of these cases; its seed also draws the folds. ``only_labelled``: slices without
    label are not judged, as they were not trained on. A fold that ended is not trained again, one that was interrupted
    goes on. Gives all scores together, to be written by the caller, and as further entries of scores.json each fold and
    the statistics over the folds. Raises what Training and Evaluation.judge raise.
    """
    pooled, rows = Evaluation(only_labelled=only_labelled), []
    for number, split in enumerate(folds((case.subject for case in cases), count, config.seed), 1):
        folder = output / f"fold{number}"
        chosen = replace(config, validation=replace(config.validation, subjects=split.validation))
        run = Training(chosen, folder, resume=None, device=device, report=report, stopped=stopped)
        run.run()
        model, before = load_checkpoint(run.best), len(pooled.scores)
        held = [case for case in cases if case.subject in set(split.validation)]
        pooled.judge(held, model_masks(model, device.type, stopped))
        figures = Evaluation(scores=pooled.scores[before:]).write(folder / "evaluation", model)
        means = {**{name: figures[name]["mean"] for name in FIGURES}, "mcc": figures["mcc"]}
        rows.append({"fold": number, "patients_held_out": len(split.validation), **means})
    over_folds = {name: statistics([row[name] for row in rows if row[name] is not None]) for name in (*FIGURES, "mcc")}
    return pooled, {"folds": rows, "over_folds": over_folds}
