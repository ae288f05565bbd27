"""K-fold cross-validation: every patient judged once, by the one model that never saw them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from SpinalCordSegLib.network.checkpoint import load_checkpoint
from SpinalCordSegLib.writing import write_json
from SpinalCordSegTrainerLib.config import TrainingConfig
from SpinalCordSegTrainerLib.datasets.case import Case
from SpinalCordSegTrainerLib.datasets.split import Split, folds
from SpinalCordSegTrainerLib.evaluation.evaluation import CaseScore, Scored, evaluate_cases, summary
from SpinalCordSegTrainerLib.evaluation.evaluation_files import write_evaluation
from SpinalCordSegTrainerLib.training.state import saved_state
from SpinalCordSegTrainerLib.training.training import Training
from SpinalCordSegTrainerLib.training.training_events import Progress

SUMMARY_NAME = "folds.json"
_FIGURES = ("dice_per_slice", "dice_per_case", "csa_error_percent_per_slice", "hd95_mm_per_case")


def cross_validate(
    cases: Sequence[Case],
    config: TrainingConfig,
    output: Path,
    count: int,
    *,
    label: int | None = None,
    only_labelled: bool = False,
    tolerant: bool = False,
    device: torch.device | None = None,
    report: Callable[[int, Progress], None] | None = None,
    stopped: Callable[[], bool] | None = None,
    scored: Scored | None = None,
) -> tuple[list[CaseScore], dict[str, Any]]:
    """Train ``count`` models, each in ``output``/foldN, and score each on the cases it held out.

    ``config``: one source, the cache of these cases; its seed also draws the folds. ``only_labelled``: slices without
    label are not judged, as they were not trained on. A fold that ended is not trained again, one that was interrupted
    goes on. Writes the pooled evaluation and ``folds.json`` (each fold, and mean ± SD over the folds). ``report`` gets
    (fold, progress). Raises what Training and evaluate_cases raise.
    """
    splits = folds((case.subject for case in cases), count, config.seed)
    scores: list[CaseScore] = []
    rows: list[dict[str, Any]] = []
    for number, split in enumerate(splits, 1):
        folder = output / f"fold{number}"
        model = _train(config, folder, split, device, _for_fold(report, number), stopped)
        held = [case for case in cases if case.subject in set(split.validation)]
        found = evaluate_cases(
            held,
            load_checkpoint(model),
            label=label,
            only_labelled=only_labelled,
            tolerant=tolerant,
            device="auto" if device is None else device.type,
            scored=scored,
            cancelled=stopped,
        )
        told = write_evaluation(found, load_checkpoint(model), folder / "evaluation")
        rows.append({"fold": number, "patients_held_out": len(split.validation), **_means(told)})
        scores += found
    pooled = {"folds": rows, "over_folds": _over(rows)}
    write_json(output / SUMMARY_NAME, {**pooled, "pooled": summary(scores)})
    return scores, pooled


def _train(
    config: TrainingConfig,
    folder: Path,
    split: Split,
    device: torch.device | None,
    report: Callable[[Progress], None] | None,
    stopped: Callable[[], bool] | None,
) -> Path:
    chosen = replace(config, validation=replace(config.validation, subjects=split.validation))
    resume = saved_state(folder / "state.safetensors") is not None
    return Training(chosen, folder, resume=resume, device=device, report=report, stopped=stopped).run().best


def _for_fold(report: Callable[[int, Progress], None] | None, number: int) -> Callable[[Progress], None] | None:
    return None if report is None else lambda progress: report(number, progress)


def _means(told: dict[str, Any]) -> dict[str, float | None]:
    return {**{name: told[name]["mean"] for name in _FIGURES}, "mcc": told["mcc"]}


def _over(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and SD (n - 1) of the folds' figures."""
    told = {}
    for name in (*_FIGURES, "mcc"):
        values = [row[name] for row in rows if row[name] is not None and math.isfinite(row[name])]
        sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
        told[name] = {"n": len(values), "mean": float(np.mean(values)) if values else None, "sd": sd}
    return told
