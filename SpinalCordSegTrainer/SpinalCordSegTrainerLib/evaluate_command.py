"""``spinalcordseg-train evaluate``: a model, or masks made elsewhere, against the labels of a data set."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from SpinalCordSegLib.checkpoint import Checkpoint
from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.volume import Volume
from SpinalCordSegTrainerLib.case import Case
from SpinalCordSegTrainerLib.cases import LoadedCase, find_cases
from SpinalCordSegTrainerLib.evaluation import CaseScore
from SpinalCordSegTrainerLib.interrupt import stop_on_interrupt
from SpinalCordSegTrainerLib.options import Data, Device, Label, Output, Style, Threads, Tolerant, Usable
from SpinalCordSegTrainerLib.progress import ProgressStyle, print_scores, step_display, tell_result
from SpinalCordSegTrainerLib.run_inputs import read_slice_range, usable_cases
from SpinalCordSegTrainerLib.validation_pictures import Tile, worst_of, worst_tiles, write_sheet

_PICTURES = 16


@dataclass
class WorstSlices:
    """Collects the pictures of the worst slices while cases are scored."""

    tiles: list[Tile] = field(default_factory=list)

    def __call__(self, loaded: LoadedCase, found: Volume, score: CaseScore) -> None:
        new = worst_tiles(loaded.image, found, loaded.mask, score, _PICTURES)
        self.tiles = worst_of([*self.tiles, *new], _PICTURES)

    def write(self, path: Path) -> None:
        write_sheet(self.tiles, "the worst slices, the worst first", path)


def evaluate(
    data: Data,
    output: Output,
    model: Annotated[Path | None, typer.Option("--model", help="Weights file; the bundled one if left out.")] = None,
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
    usable: Usable = False,
    tolerant: Tolerant = False,
    device: Device = "auto",
    threads: Threads = None,
    style: Style = ProgressStyle.TEXT,
) -> None:
    """Segment labelled cases as the program does for a user, or take masks made elsewhere, and score them."""
    from SpinalCordSegTrainerLib.evaluation_files import GROUPED_BY, write_evaluation

    if predictions is not None and model is not None:
        raise ConfigurationError("--predictions and --model: judge one of the two")
    judged = read_slice_range(slice_range)
    checkpoint = _checkpoint(model) if predictions is None else None
    cases = _cases(data, label, usable, tolerant, held_out_by)
    worst = WorstSlices()
    with stop_on_interrupt() as interrupted, step_display("cases", style) as display:
        shared: dict[str, Any] = {"label": label, "tolerant": tolerant, "slice_range": judged, "scored": worst}
        shared |= {"progress": display.step, "cancelled": lambda: bool(interrupted)}
        scores, problems = _scores(cases, checkpoint, predictions, prediction_label, device, threshold, shared)
    told_too: dict[str, Any] = {}
    if predictions is not None:
        told_too = {"predictions": predictions.name, "not_judged": [{"case": c, "reason": r} for c, r in problems]}
    groups = tuple(dict.fromkeys((*GROUPED_BY, *(one.lower() for one in by or ()))))
    told = write_evaluation(scores, checkpoint, output, group_by=groups, told_too=told_too)
    worst.write(output / "worst.png")
    if style is ProgressStyle.TEXT:
        print_scores(scores, told)
    for name, reason in problems:
        typer.echo(f"not judged: {name}: {reason}", err=True)
    tell_result(style, "", scores=told)
    if problems:
        raise typer.Exit(1)


def _checkpoint(model: Path | None) -> Checkpoint:
    from SpinalCordSegLib.checkpoint import default_model, load_checkpoint

    return load_checkpoint(model or default_model())


def _cases(data: Path, label: int | None, usable: bool, tolerant: bool, held_out_by: Path | None) -> list[Case]:
    from SpinalCordSegTrainerLib.split import held_out

    cases = usable_cases(data, label, tolerant) if usable else find_cases(data)
    return cases if held_out_by is None else held_out(cases, held_out_by)


def _scores(
    cases: list[Case],
    checkpoint: Checkpoint | None,
    predictions: Path | None,
    prediction_label: int | None,
    device: str,
    threshold: float,
    shared: dict[str, Any],
) -> tuple[list[CaseScore], tuple[tuple[str, str], ...]]:
    from SpinalCordSegTrainerLib.evaluation import evaluate_cases
    from SpinalCordSegTrainerLib.predictions import score_predictions

    if checkpoint is not None:
        return evaluate_cases(cases, checkpoint, device=device, threshold=threshold, **shared), ()
    judged = score_predictions(cases, predictions or Path(), prediction_label=prediction_label, **shared)
    return list(judged.scores), judged.problems
