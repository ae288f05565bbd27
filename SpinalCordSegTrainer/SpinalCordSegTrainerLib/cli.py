"""``spinalcordseg-train``: the trainer on the command line.

Exit codes: 0 done, 1 some case failed, 2 usage or unusable input, 130 cancelled. Errors are one line on stderr.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer

from SpinalCordSegLib.device import choose_device
from SpinalCordSegLib.errors import Cancelled, SpinalCordSegError
from SpinalCordSegTrainerLib.config import TrainingConfig, read_config

# Typer brings click along as a package of its own or inside itself, by its version; its errors have one base.
_UsageError: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

app = typer.Typer(
    help="Train, judge and calibrate spinal cord segmentation models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Output = Annotated[Path, typer.Option("--output", help="Folder of the run.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Threads = Annotated[int | None, typer.Option(help="CPU threads; all cores when left out.")]


@app.callback()
def _common(verbose: Annotated[bool, typer.Option("--verbose", help="More detail on stderr.")] = False) -> None:
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")


@app.command()
def train(
    output: Output,
    config: Annotated[Path, typer.Option("--config", help="Training configuration (JSON).")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the output folder.")] = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Train a network; writes checkpoints, curves and all that is needed to resume."""
    from SpinalCordSegTrainerLib.progress import ProgressDisplay
    from SpinalCordSegTrainerLib.training import Training

    _use_threads(threads)
    settings = read_config(config)
    with _stop_on_interrupt() as interrupted, ProgressDisplay() as display:
        run = Training(
            settings,
            output,
            resume=resume,
            device=choose_device(device)[0],
            report=display,
            stopped=lambda: bool(interrupted),
        )
        result = run.run()
    typer.echo(f"{result.reason}: {result.best}")


@app.command()
def cache(
    data: Annotated[Path, typer.Argument(help="Folder of images and label maps.")],
    output: Annotated[Path, typer.Option("--output", help="Folder of the slice cache, new.")],
    config: Annotated[
        Path | None, typer.Option("--config", help="Training configuration (JSON) whose normalisation is used.")
    ] = None,
    label: Annotated[int | None, typer.Option(help="Value of the cord in the label maps.")] = None,
    only_labelled: Annotated[bool, typer.Option("--only-labelled", help="Leave out slices without label.")] = False,
) -> None:
    """Read images and label maps once and keep their slices, normalised for the model, for training."""
    from SpinalCordSegTrainerLib.cases import find_cases
    from SpinalCordSegTrainerLib.slices import cache_cases

    settings = TrainingConfig() if config is None else read_config(config)
    cases = find_cases(data)
    slices: Literal["all", "with_label"] = "with_label" if only_labelled else "all"
    written = cache_cases(cases, output, settings.normalisation, label=label, slices=slices)
    typer.echo(f"{len(written)} slices of {len(cases)} cases, {len(set(written.info.subjects))} subjects: {output}")


def _use_threads(threads: int | None) -> None:
    if threads is not None:
        torch.set_num_threads(max(1, threads))


@contextmanager
def _stop_on_interrupt() -> Iterator[list[int]]:
    # The first Ctrl-C lets the update finish and saves; a second one ends at once.
    received: list[int] = []

    def note(number: int, _frame: object) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = app(arguments, standalone_mode=False, prog_name="spinalcordseg-train")
    except typer.Exit as error:
        return int(error.exit_code)
    except _UsageError as error:
        typer.echo(f"spinalcordseg-train: {getattr(error, 'message', error)}", err=True)
        return 2
    except (Cancelled, KeyboardInterrupt, typer.Abort) as error:
        typer.echo(f"spinalcordseg-train: {error or 'cancelled'}", err=True)
        return 130
    except SpinalCordSegError as error:
        typer.echo(f"spinalcordseg-train: {error}", err=True)
        return 2
    return int(code or 0)


if __name__ == "__main__":
    sys.exit(main())
