"""``spinalcordseg-train``: the trainer on the command line.

Exit codes: 0 done, 1 some case failed, 2 usage or unusable input, 130 cancelled. Errors are one line on stderr.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from SpinalCordSegLib.device import choose_device
from SpinalCordSegLib.errors import Cancelled, ConfigurationError, SpinalCordSegError
from SpinalCordSegTrainerLib.cases import find_cases
from SpinalCordSegTrainerLib.config import SourceConfig, TrainingConfig, read_config, with_settings
from SpinalCordSegTrainerLib.interrupt import stop_on_interrupt
from SpinalCordSegTrainerLib.progress import ProgressDisplay, StepDisplay, print_scores
from SpinalCordSegTrainerLib.slices import Slices, cache_cases

# Typer brings click along as a package of its own or inside itself, by its version; its errors have one base.
_UsageError: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

app = typer.Typer(
    help="Train, judge and calibrate spinal cord segmentation models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Data = Annotated[Path, typer.Argument(help="Folder of images and label maps (NAME and NAME_seg, or BIDS).")]
OptionalData = Annotated[
    Path | None, typer.Argument(help="Folder of images and label maps; left out, the configuration's sources are used.")
]
Output = Annotated[Path, typer.Option("--output", help="Folder for the results.")]
Config = Annotated[Path | None, typer.Option("--config", help="Training configuration (JSON).")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Overrides one setting, as rate.max_lr=0.001.")
]
Label = Annotated[int | None, typer.Option("--label", help="Value of the cord in the label maps.")]
OnlyLabelled = Annotated[bool, typer.Option("--only-labelled", help="Leave out slices without label.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads; all cores when left out.")]


@app.callback()
def _common(verbose: Annotated[bool, typer.Option("--verbose", help="More detail on stderr.")] = False) -> None:
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")


@app.command()
def train(
    output: Output,
    data: OptionalData = None,
    config: Config = None,
    settings: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the output folder.")] = False,
    label: Label = None,
    only_labelled: OnlyLabelled = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Train a network; writes checkpoints, curves and all that is needed to resume."""
    from SpinalCordSegTrainerLib.training import Training

    _use_threads(threads)
    if resume and config is None:
        config, data = output / "config.json", None
    chosen = _configuration(config, settings, data, output, label, only_labelled)
    with stop_on_interrupt() as interrupted, ProgressDisplay() as display:
        run = Training(
            chosen,
            output,
            resume=resume,
            device=choose_device(device)[0],
            report=display,
            stopped=lambda: bool(interrupted),
        )
        result = run.run()
    typer.echo(f"{result.reason}: {result.best}")


@app.command("find-lr")
def find_lr(
    output: Output,
    data: OptionalData = None,
    config: Config = None,
    settings: Settings = None,
    updates: Annotated[
        int | None, typer.Option("--updates", help="Length of the sweep; two epochs if left out.")
    ] = None,
    label: Label = None,
    only_labelled: OnlyLabelled = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Range test: find the two bounds of the cyclical learning rate; writes curve and table."""
    from SpinalCordSegTrainerLib.batches import Batches
    from SpinalCordSegTrainerLib.range_test import range_test, write_range_test
    from SpinalCordSegTrainerLib.sources import open_sources
    from SpinalCordSegTrainerLib.state import new_state

    _use_threads(threads)
    chosen = _configuration(config, settings, data, output, label, only_labelled)
    where = choose_device(device)[0]
    batches = Batches(open_sources(chosen).training, chosen)
    with StepDisplay("range test") as display:
        test = range_test(new_state(chosen, where), batches, chosen, where, updates=updates, progress=display)
    write_range_test(test, output)
    bounds = test.bounds
    typer.echo(
        f"base_lr {bounds.base_lr:.0e}, max_lr {bounds.max_lr:.0e}" + (f" ({bounds.note})" if bounds.note else "")
    )


@app.command()
def evaluate(
    data: Data,
    output: Output,
    model: Annotated[Path | None, typer.Option("--model", help="Weights file; the bundled one if left out.")] = None,
    label: Label = None,
    threshold: Annotated[float, typer.Option("--threshold", help="Probability from which a voxel is cord.")] = 0.5,
    slice_range: Annotated[
        str | None, typer.Option("--range", metavar="Z0:Z1", help="Axial slices to judge, from inferior, half-open.")
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Segment labelled cases as the program does for a user, and score the masks."""
    from SpinalCordSegLib.checkpoint import default_model, load_checkpoint
    from SpinalCordSegTrainerLib.evaluation import evaluate_cases
    from SpinalCordSegTrainerLib.evaluation_files import write_evaluation

    _use_threads(threads)
    judged = _slice_range(slice_range)
    checkpoint = load_checkpoint(model or default_model())
    with stop_on_interrupt() as interrupted, StepDisplay("cases") as display:
        scores = evaluate_cases(
            find_cases(data),
            checkpoint,
            label=label,
            device=device,
            threshold=threshold,
            slice_range=judged,
            progress=display,
            cancelled=lambda: bool(interrupted),
        )
    print_scores(scores, write_evaluation(scores, checkpoint, output))


@app.command()
def calibrate(
    model: Annotated[Path, typer.Argument(help="Weights file to calibrate.")],
    cache: Annotated[Path, typer.Option("--cache", help="Slice cache that was not trained on.")],
    output: Annotated[Path | None, typer.Option("--output", help="Weights file to write; MODEL if left out.")] = None,
    max_slices: Annotated[int, typer.Option("--max-slices", min=1, help="At most so many, evenly spread.")] = 400,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Fit scale and bias of the logit so that the area at probability 0.5 has no bias; kept in the weights file."""
    from SpinalCordSegLib.checkpoint import load_checkpoint
    from SpinalCordSegTrainerLib.calibration import calibrate_checkpoint
    from SpinalCordSegTrainerLib.loader import SliceCache, evenly
    from SpinalCordSegTrainerLib.validation import HeldOut

    _use_threads(threads)
    opened = SliceCache.open(cache)
    held_out = HeldOut(opened, evenly(np.arange(len(opened)), max_slices))
    fit = calibrate_checkpoint(load_checkpoint(model), held_out, choose_device(device)[0], output or model)
    before, after = fit.area_percent_before, fit.area_percent_after
    typer.echo(
        f"scale {fit.calibration.scale:.3f}, bias {fit.calibration.bias:+.3f}: mean area error {before:+.2f} %"
        f" -> {after:+.2f} % on {fit.n_slices} slices ({fit.n_left_out} left out)"
    )


@app.command("cache")
def write_cache(
    data: Data,
    output: Output,
    config: Config = None,
    settings: Settings = None,
    label: Label = None,
    only_labelled: OnlyLabelled = False,
) -> None:
    """Read images and label maps once and keep their slices, normalised for the model, for training."""
    chosen = _base(config, settings)
    typer.echo(_cache(data, output, chosen, label, only_labelled))


@app.command()
def simulate(
    output: Output,
    maps: Annotated[Path, typer.Option("--maps", help="Folder that holds atlas/ and shapes/ (label maps).")],
    count: Annotated[int, typer.Option("--count", min=1, help="Slices to draw.")] = 6000,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same slices.")] = 1,
    pixel_mm: Annotated[float, typer.Option("--pixel-mm", help="Pixel of the model's grid, mm.")] = 0.7,
    size: Annotated[int, typer.Option("--size", help="Pixels of the square slices, a multiple of 32.")] = 256,
    hold_out: Annotated[
        list[str] | None, typer.Option("--hold-out", help="Cord shape kept for validation; repeatable.")
    ] = None,
) -> None:
    """Draw simulated axial necks of known cord area into a slice cache."""
    from SpinalCordSegTrainerLib.simulate import VALIDATION_SHAPES, SimulateConfig, simulate_cache

    held_out = tuple(hold_out or VALIDATION_SHAPES)
    chosen = SimulateConfig(count=count, seed=seed, size=size, pixel_mm=pixel_mm, hold_out=held_out)
    with StepDisplay("slices") as display:
        written = simulate_cache(maps, output, chosen, progress=display)
    typer.echo(f"{len(written)} slices, {len(set(written.info.subjects))} necks: {output}")


def _cache(data: Path, folder: Path, config: TrainingConfig, label: int | None, only_labelled: bool) -> str:
    cases = find_cases(data)
    slices: Slices = "with_label" if only_labelled else "all"
    with StepDisplay("cases") as display:
        written = cache_cases(cases, folder, config.normalisation, label=label, slices=slices, progress=display)
    return f"{len(written)} slices of {len(cases)} cases, {len(set(written.info.subjects))} subjects: {folder}"


def _base(config: Path | None, settings: Sequence[str] | None) -> TrainingConfig:
    return with_settings(TrainingConfig() if config is None else read_config(config), settings or ())


def _configuration(
    config: Path | None,
    settings: Sequence[str] | None,
    data: Path | None,
    output: Path,
    label: int | None,
    only_labelled: bool,
) -> TrainingConfig:
    """The configuration with its sources; a data folder is cached inside the output folder and becomes the source."""
    chosen = _base(config, settings)
    if data is None:
        if not chosen.sources:
            raise ConfigurationError("nothing to train on: give a data folder, or --config with sources")
        return chosen
    folder = output / "cache"
    if not (folder / "cache.json").exists():
        typer.echo(_cache(data, folder, chosen, label, only_labelled), err=True)
    return replace(chosen, sources=(SourceConfig(str(folder)),))


def _slice_range(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    first, colon, last = text.partition(":")
    if not (colon and first.isdigit() and last.isdigit()):
        raise ConfigurationError(f"--range {text}: expected two slice numbers Z0:Z1")
    return int(first), int(last)


def _use_threads(threads: int | None) -> None:
    if threads is not None:
        torch.set_num_threads(threads)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = app(arguments, standalone_mode=False, prog_name="spinalcordseg-train")
    except typer.Exit as error:
        return int(error.exit_code)
    except _UsageError as error:
        typer.echo(f"spinalcordseg-train: {getattr(error, 'format_message', error.__str__)()}", err=True)
        return 2
    except (Cancelled, KeyboardInterrupt, typer.Abort) as error:
        typer.echo(f"spinalcordseg-train: {str(error) or 'cancelled'}", err=True)
        return 130
    except SpinalCordSegError as error:
        typer.echo(f"spinalcordseg-train: {error}", err=True)
        return 2
    return int(code or 0)


if __name__ == "__main__":
    sys.exit(main())
