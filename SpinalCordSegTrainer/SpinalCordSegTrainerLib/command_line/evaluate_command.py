"""``spinalcordseg-train evaluate``: a model, or masks made elsewhere, against the labels of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.model.checkpoint import Checkpoint
from SpinalCordSegTrainerLib.command_line.interrupt import stop_on_interrupt
from SpinalCordSegTrainerLib.command_line.options import (
    Data,
    Device,
    Label,
    Model,
    OnlyLabelled,
    Output,
    Style,
    Threads,
    Tolerant,
    Usable,
)
from SpinalCordSegTrainerLib.command_line.progress import ProgressStyle, step_display
from SpinalCordSegTrainerLib.command_line.run_inputs import CaseOptions, read_slice_range
from SpinalCordSegTrainerLib.dataset import Case
from SpinalCordSegTrainerLib.evaluation import CaseScore
from SpinalCordSegTrainerLib.split import held_out


def evaluate(
    data: Data,
    output: Output,
    model: Model = None,
    predictions: Annotated[
        Path | None, typer.Option("--predictions", metavar="DIR", help="Judge these masks in place of a model's.")
    ] = None,
    prediction_label: Annotated[
        int | None, typer.Option("--prediction-label", help="Value of the cord in the predictions.")
    ] = None,
    label: Label = None,
    threshold: Annotated[float, typer.Option("--threshold", help="Probability from which a voxel is cord.")] = 0.5,
    slice_range: Annotated[
        str | None, typer.Option("--range", metavar="Z0:Z1", help="Axial slices to judge, from inferior, half-open.")
    ] = None,
    held_out_by: Annotated[
        Path | None, typer.Option("--held-out", metavar="RUN", help="Only cases that this run or split held out.")
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option("--by", metavar="COLUMN", help="Figures apart by a column; site and scanner are."),
    ] = None,
    only_labelled: OnlyLabelled = False,
    usable: Usable = False,
    tolerant: Tolerant = False,
    device: Device = "auto",
    threads: Threads = None,
    style: Style = ProgressStyle.TEXT,
) -> None:
    """Segment labelled cases as the program does for a user, or take masks made elsewhere, and score them."""
    from SpinalCordSegTrainerLib.command_line.evaluation_result import GROUPED_BY, WorstSlices, end_evaluation

    if predictions is not None and model is not None:
        raise ConfigurationError("--predictions and --model: judge one of the two")
    judged = read_slice_range(slice_range)
    checkpoint = _checkpoint(model) if predictions is None else None
    cases = CaseOptions(label, usable=usable, tolerant=tolerant).find(data)
    if held_out_by is not None:
        cases = held_out(cases, held_out_by)
    worst = WorstSlices()
    with stop_on_interrupt() as interrupted, step_display("cases", style) as display:
        shared: dict[str, Any] = {"label": label, "tolerant": tolerant, "slice_range": judged, "scored": worst}
        shared["only_labelled"] = only_labelled
        shared |= {"progress": display.step, "cancelled": lambda: bool(interrupted)}
        scores, problems = _scores(cases, checkpoint, predictions, prediction_label, device, threshold, shared)
    told_too: dict[str, Any] = {} if predictions is None else {"predictions": predictions.name}
    groups = tuple(dict.fromkeys((*GROUPED_BY, *(one.lower() for one in by or ()))))
    end_evaluation(
        scores, worst, output, style, checkpoint=checkpoint, group_by=groups, told_too=told_too, problems=problems
    )


def _checkpoint(model: Path | None) -> Checkpoint:
    from SpinalCordSegLib.model.checkpoint import default_model, load_checkpoint

    return load_checkpoint(model or default_model())


def _scores(
    cases: list[Case],
    checkpoint: Checkpoint | None,
    predictions: Path | None,
    prediction_label: int | None,
    device: str,
    threshold: float,
    shared: dict[str, Any],
) -> tuple[list[CaseScore], list[tuple[str, str]]]:
    from SpinalCordSegTrainerLib.evaluation import evaluate_cases, score_predictions

    problems: list[tuple[str, str]] = []
    if checkpoint is not None:
        return evaluate_cases(
            cases, checkpoint, device=device, threshold=threshold, problems=problems, **shared
        ), problems
    judged = score_predictions(cases, predictions or Path(), prediction_label=prediction_label, **shared)
    return list(judged.scores), list(judged.problems)
