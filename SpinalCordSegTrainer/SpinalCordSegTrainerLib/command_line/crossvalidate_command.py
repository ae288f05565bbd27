"""``spinalcordseg-train crossvalidate``: K models, one summary."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from SpinalCordSegLib.inference import choose_device
from SpinalCordSegTrainerLib.command_line.interrupt import stop_on_interrupt
from SpinalCordSegTrainerLib.command_line.options import Data, LearningOptions, Output, grouped
from SpinalCordSegTrainerLib.command_line.progress import training_display
from SpinalCordSegTrainerLib.command_line.run_inputs import CaseOptions, configuration


@grouped
def crossvalidate(
    data: Data,
    output: Output,
    options: LearningOptions,
    n_folds: Annotated[int, typer.Option("--folds", min=2, help="Models to train; each patient is held out once.")] = 5,
) -> None:
    """Train on all patients but a fold, score that fold, for every fold; run again to go on after an interruption."""
    from SpinalCordSegTrainerLib.command_line.evaluation_result import WorstSlices, end_evaluation
    from SpinalCordSegTrainerLib.evaluation import cross_validate

    chosen = configuration(options, data, output)
    cases = CaseOptions.of(options).find(data)
    worst = WorstSlices()
    with stop_on_interrupt() as interrupted, training_display(options.style) as display:
        scores, told = cross_validate(
            cases,
            chosen,
            output,
            n_folds,
            label=options.label,
            only_labelled=options.only_labelled,
            tolerant=options.tolerant,
            device=choose_device(options.device)[0],
            report=lambda _, progress: display.training(progress),
            stopped=lambda: bool(interrupted),
            scored=worst,
        )
    end_evaluation(scores, worst, output, options.style, told_too=told, lines=list(_spread(told["over_folds"])))


def _spread(over_folds: dict[str, Any]) -> Iterator[str]:
    for name, one in over_folds.items():
        if one["mean"] is not None and one["sd"] is not None:
            yield f"{name} over {one['n']} folds: {one['mean']:.3f} ± {one['sd']:.3f}"
