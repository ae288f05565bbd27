"""``spinalcordseg-train train``: alone, or as one of several ranks that torchrun started."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from SpinalCordSegLib.inference import choose_device
from SpinalCordSegTrainerLib.command_line.interrupt import stop_on_interrupt
from SpinalCordSegTrainerLib.command_line.options import (
    Augment,
    GivenSplit,
    LearningOptions,
    OptionalData,
    Output,
    StartModel,
    grouped,
)
from SpinalCordSegTrainerLib.command_line.progress import ProgressStyle, tell_result, training_display
from SpinalCordSegTrainerLib.command_line.run_inputs import (
    CaseOptions,
    base_configuration,
    configuration,
    own_cache,
    slice_cache,
)
from SpinalCordSegTrainerLib.command_line.stop_request import clear_request, stop_requests
from SpinalCordSegTrainerLib.config import TrainingConfig
from SpinalCordSegTrainerLib.distributed import join_ranks
from SpinalCordSegTrainerLib.trainer import TrainingResult


@grouped
def train(
    output: Output,
    options: LearningOptions,
    data: OptionalData = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the output folder.")] = False,
    model: StartModel = None,
    old: Annotated[
        list[Path] | None,
        typer.Option("--old", metavar="FOLDER", help="With --from: old cases, scored before and after; repeatable."),
    ] = None,
    split: GivenSplit = None,
    augment: Augment = False,
) -> None:
    """Train a network, from scratch or --from a model; writes checkpoints, curves and all that is needed to resume.

    Several devices: torchrun --nproc-per-node N -m SpinalCordSegTrainerLib train …
    """
    from SpinalCordSegTrainerLib.trainer import Training

    if options.style is ProgressStyle.TEXT:  # a program clears before it starts this, and may have asked since
        clear_request(output)
    given, cases = data, CaseOptions.of(options)
    if resume and options.config is None:
        options, data, model, old = replace(options, config=output / "config.json"), None, None, None

    def chosen() -> TrainingConfig:
        cache = output / "cache"
        if given is not None and data is None and (cache / "cache.json").exists():  # the run's own, which must be these
            own_cache(given, cache, base_configuration(options.config, options.settings), cases)
        base = configuration(options, data, output, augment=augment, model=model, split=split)
        caches = (slice_cache(one, output / f"old_{n}", base, cases) for n, one in enumerate(old or (), 1))
        return replace(base, old_caches=base.old_caches + tuple(map(str, caches)))

    with join_ranks(choose_device(options.device)[0]) as ranks:
        first = chosen() if ranks.first else None  # it writes the caches that the others read; Ctrl-C ends that at once
        ranks.wait()
        display_of = training_display(options.style)
        with stop_on_interrupt() as interrupted, stop_requests(output) as asked, display_of as display:
            run = Training(
                first or chosen(),
                output,
                resume=resume,
                ranks=ranks,
                report=display.training if ranks.first else None,
                stopped=lambda: bool(interrupted) or asked(),
            )
            result = run.run()
    if ranks.first:
        _tell(result, options.style)


def _tell(result: TrainingResult, style: ProgressStyle) -> None:
    tell_result(style, f"{result.reason}: {result.best}", reason=result.reason, model=str(result.best))
    best = next((row for row in reversed(result.history) if row["best"]), None)
    if style is ProgressStyle.TEXT and result.old_before and best is not None:
        before, after = result.old_before["dice"], best["old_dice"]
        if before is not None and after is not None:
            typer.echo(f"old cases: Dice {before:.3f} before, {after:.3f} after")
