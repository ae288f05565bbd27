"""``spinalcordseg-train raters``: two people's labels of the same images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from SpinalCordSegLib.errors import TrainingDataError
from SpinalCordSegTrainerLib.command_line.interrupt import stop_on_interrupt
from SpinalCordSegTrainerLib.command_line.options import Label, Output, Style, Tolerant
from SpinalCordSegTrainerLib.command_line.progress import ProgressStyle, step_display
from SpinalCordSegTrainerLib.dataset import find_cases
from SpinalCordSegTrainerLib.inter_rater import DisputeLimits


def compare_raters(
    data: Annotated[Path, typer.Argument(help="Images with the first rater's labels: folder, manifest or workspace.")],
    second: Annotated[Path, typer.Argument(help="Folder of the second rater's labels, of the same names.")],
    output: Output,
    label: Label = None,
    least_dice: Annotated[float, typer.Option("--least-dice", help="Slices below it are listed.")] = 0.85,
    most_area: Annotated[float, typer.Option("--most-area", help="Area apart, %, above which a slice is listed.")] = 15,
    tolerant: Tolerant = False,
    style: Style = ProgressStyle.TEXT,
) -> None:
    """Agreement of two raters, the list of slices where they disagree, and a consensus label for each case."""
    from SpinalCordSegTrainerLib.command_line.evaluation_result import WorstSlices, end_evaluation
    from SpinalCordSegTrainerLib.inter_rater import compare_labels

    if not second.is_dir():
        raise TrainingDataError(f"{second}: is not a folder; give the folder of the second rater's labels")
    worst = WorstSlices()
    with stop_on_interrupt() as interrupted, step_display("cases", style) as display:
        compared = compare_labels(
            find_cases(data),
            second,
            output,
            label=label,
            limits=DisputeLimits(least_dice, most_area),
            tolerant=tolerant,
            scored=worst,
            progress=display.step,
            cancelled=lambda: bool(interrupted),
        )
    if not compared.scores:
        raise TrainingDataError(f"{second}: holds no label of these cases; " + ": ".join(compared.problems[0]))
    count = len(compared.listed)
    end_evaluation(
        compared.scores,
        worst,
        output,
        style,
        told_too={"disagreements": count},
        lines=[f"{count} slices to settle, listed in disagreements.csv; labels in consensus/"],
        problems=compared.problems,
    )
