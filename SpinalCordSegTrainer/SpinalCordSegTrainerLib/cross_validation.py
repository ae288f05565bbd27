"""K-fold cross-validation: every patient judged once, by the one model that never saw them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from SpinalCordSegLib.files import write_json
from SpinalCordSegLib.model.checkpoint import load_checkpoint
from SpinalCordSegTrainerLib.config import TrainingConfig
from SpinalCordSegTrainerLib.dataset import LabelledCase
from SpinalCordSegTrainerLib.evaluation import FIGURES, Evaluation, model_masks, summary
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
    goes on. Gives all scores together, to be written by the caller, and what ``folds.json`` holds (each fold, and
    mean ± SD over the folds). Raises what Training and Evaluation.judge raise.
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
    over_folds = {}
    for name in (*FIGURES, "mcc"):
        values = [row[name] for row in rows if row[name] is not None and math.isfinite(row[name])]
        sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
        over_folds[name] = {"n": len(values), "mean": float(np.mean(values)) if values else None, "sd": sd}
    told = {"folds": rows, "over_folds": over_folds}
    write_json(output / "folds.json", {**told, "pooled": summary(pooled.scores)})
    return pooled, told
