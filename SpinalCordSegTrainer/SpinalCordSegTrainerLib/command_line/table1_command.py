"""``spinalcordseg-train table1``: the paper's comparison on any data."""

from __future__ import annotations

from typing import Annotated

import typer

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.inference import choose_device, device_name
from SpinalCordSegTrainerLib.command_line.interrupt import stop_on_interrupt
from SpinalCordSegTrainerLib.command_line.options import LearningOptions, OptionalData, Output, grouped
from SpinalCordSegTrainerLib.command_line.progress import tell_result, training_display
from SpinalCordSegTrainerLib.command_line.run_inputs import configuration
from SpinalCordSegTrainerLib.command_line.stop_request import clear_request, stop_requests
from SpinalCordSegTrainerLib.config import TrainingConfig, with_settings


@grouped
def table1(
    output: Output,
    options: LearningOptions,
    data: OptionalData = None,
    quick: Annotated[bool, typer.Option("--quick", help="Scaled down: minutes on two cores instead of days.")] = False,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="ROW", help="Just this row, by its number; repeatable.")
    ] = None,
) -> None:
    """Train the paper's nine rows and four more on the same slices, split and seed; goes on where it was stopped."""
    from SpinalCordSegTrainerLib import experiment_rows as rows
    from SpinalCordSegTrainerLib.experiment_files import write_experiment
    from SpinalCordSegTrainerLib.experiments import Experiment

    clear_request(output)
    chosen_rows = [row for row in rows.ROWS if not only or row.key.partition("-")[0] in only]
    if not chosen_rows:
        raise ConfigurationError(f"--only {', '.join(only or ())}: rows are numbered 1 to {len(rows.ROWS)}")
    base = configuration(options, data, output)
    base = with_asked(rows.quick(base) if quick else base, options.settings)
    where = choose_device(options.device)[0]
    with stop_on_interrupt() as interrupted, stop_requests(output) as asked, training_display(options.style) as display:
        experiment = Experiment(
            base,
            output,
            where,
            rate_factor=rows.QUICK_RATE_FACTOR if quick else 1.0,
            sweep_updates=rows.QUICK_SWEEP_UPDATES if quick else None,
            report=display.training,
            stopped=lambda: bool(interrupted) or asked(),
        )
        results = experiment.run(chosen_rows, lambda row: typer.echo(f"row {row.key}", err=True))
    page = write_experiment(results, _note(base, quick, device_name(where)), output)
    tell_result(options.style, page, table=str(output / "table1.json"))


def with_asked(config: TrainingConfig, settings: list[str] | None) -> TrainingConfig:
    """The settings given on the command line come last: they win over those of --quick."""
    return with_settings(config, settings or ())


def _note(base: TrainingConfig, quick: bool, device: str) -> str:
    from SpinalCordSegTrainerLib.batches import open_sources

    opened = open_sources(base)
    count, held = sum(part["slices"] for part in opened.provenance), sum(len(one.indices) for one in opened.held_out)
    kinds = ", ".join(sorted({part["kind"] for part in opened.provenance}))
    length = f"{base.epochs} epochs of {base.updates_per_epoch or 'all'} updates, batches of {base.batch_size}"
    scaled = " Scaled version (--quick): width 2, crops, few updates, all rates of the paper × 10." if quick else ""
    scored = f"{count} {kinds} slices, scored on {held} more held out by subject"
    return f"{scored}; {length}; seed {base.seed}; {device}.{scaled}"
