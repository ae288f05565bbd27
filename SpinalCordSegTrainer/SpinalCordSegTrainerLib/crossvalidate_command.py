"""``spinalcordseg-train crossvalidate``: K models, one summary."""

from __future__ import annotations

from typing import Annotated

import typer

from SpinalCordSegLib.device import choose_device
from SpinalCordSegTrainerLib.cases import find_cases
from SpinalCordSegTrainerLib.evaluate_command import WorstSlices
from SpinalCordSegTrainerLib.interrupt import stop_on_interrupt
from SpinalCordSegTrainerLib.options import (
    Config,
    Data,
    Device,
    Label,
    OnlyLabelled,
    Output,
    Settings,
    Style,
    Threads,
    Tolerant,
    Usable,
)
from SpinalCordSegTrainerLib.progress import ProgressStyle, print_scores, tell_result, training_display
from SpinalCordSegTrainerLib.run_inputs import configuration, usable_cases


def crossvalidate(
    data: Data,
    output: Output,
    n_folds: Annotated[int, typer.Option("--folds", min=2, help="Models to train; each patient is held out once.")] = 5,
    config: Config = None,
    settings: Settings = None,
    label: Label = None,
    only_labelled: OnlyLabelled = False,
    usable: Usable = False,
    tolerant: Tolerant = False,
    device: Device = "auto",
    threads: Threads = None,
    style: Style = ProgressStyle.TEXT,
) -> None:
    """Train on all patients but a fold, score that fold, for every fold; run again to go on after an interruption."""
    from SpinalCordSegTrainerLib.cross_validation import cross_validate
    from SpinalCordSegTrainerLib.evaluation_files import write_evaluation

    chosen = configuration(config, settings, data, output, label, only_labelled, usable, style, tolerant=tolerant)
    cases = usable_cases(data, label, tolerant) if usable else find_cases(data)
    worst = WorstSlices()
    with stop_on_interrupt() as interrupted, training_display(style) as display:
        scores, told = cross_validate(
            cases,
            chosen,
            output,
            n_folds,
            label=label,
            tolerant=tolerant,
            device=choose_device(device)[0],
            report=lambda _, progress: display.training(progress),
            stopped=lambda: bool(interrupted),
            scored=worst,
        )
    pooled = write_evaluation(scores, None, output, told_too=told)
    worst.write(output / "worst.png")
    if style is ProgressStyle.TEXT:
        print_scores(scores, pooled)
        for name, one in told["over_folds"].items():
            if one["mean"] is not None and one["sd"] is not None:
                typer.echo(f"{name} over {one['n']} folds: {one['mean']:.3f} ± {one['sd']:.3f}")
    tell_result(style, "", scores=pooled)
