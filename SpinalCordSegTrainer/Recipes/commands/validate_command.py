"""``python -m Recipes validate``: one table of what a model is worth, and pictures of its worst slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from Recipes.validation.benchmark import SCANNERS
from Recipes.validation.card_repeatability import with_repeatability
from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.model.checkpoint import Checkpoint, default_model, load_checkpoint, save_checkpoint
from SpinalCordSegTrainerLib.command_line.interrupt import stop_on_interrupt
from SpinalCordSegTrainerLib.command_line.options import Device, Model, Output, Threads

SIMULATED = "simulated"
_QUICK_NECKS = 12


def validate(
    output: Output,
    data: Annotated[Path, typer.Option("--data", envvar="SPINALCORDSEG_DATA", help="Folder of public data.")],
    model: Model = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="SET", help="Measure just this set; repeatable.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="12 simulated necks instead of 200, and so on.")] = False,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="Simulated necks; pairs and touching ones in proportion.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Other simulated people.")] = 0,
    write_card: Annotated[
        bool, typer.Option("--write-card", help="Keep the figures in the weights file's own card.")
    ] = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Measure a model on the public volumes and on simulated people; tables, pictures, bars met and missed."""
    from Recipes.validation.validation_report import markdown, write_validation

    checkpoint = load_checkpoint(model or default_model())
    content = _measured(checkpoint, data, output, _sets(only), _people(quick, count, seed), device)
    write_validation(content, output)
    if write_card:
        keep_in_card(checkpoint, content)
    typer.echo(markdown(content))


def _sets(only: Sequence[str] | None) -> tuple[str, ...]:
    from Recipes.validation.validate_model import REAL_SETS

    known = (*REAL_SETS, SIMULATED)
    unknown = sorted(set(only or ()) - set(known))
    if unknown:
        raise ConfigurationError(f"--only {unknown[0]}: known sets are {', '.join(known)}")
    return tuple(only or known)


def _people(quick: bool, count: int | None, seed: int) -> Any:
    from Recipes.simulation.simulated_people import SimulatedConfig

    necks = count or (_QUICK_NECKS if quick else SimulatedConfig.necks)
    return SimulatedConfig(necks=necks, pairs=-(-necks // 4), touching=-(-necks * 3 // 10), seed=seed)


def _measured(
    checkpoint: Checkpoint, data: Path, output: Path, sets: Sequence[str], people: Any, device: str
) -> dict[str, Any]:
    from Recipes.validation.validate_model import Validator, validate_real
    from Recipes.validation.validate_simulated import simulated_figures, validate_simulated
    from Recipes.validation.validation_bars import real_bars, simulated_bars
    from Recipes.validation.validation_report import told

    pictures = output / "pictures"
    figures: dict[str, dict[str, Any]] = {}
    with stop_on_interrupt() as interrupted:
        validator = Validator(checkpoint, device, lambda name: typer.echo(name, err=True), lambda: bool(interrupted))
        scores = validate_real(validator, data, pictures, sets)
        if SIMULATED in sets:
            figures = simulated_figures(validate_simulated(validator, data, pictures, people))
    return told(checkpoint, scores, figures, [*real_bars(scores), *simulated_bars(figures)])


def keep_in_card(checkpoint: Checkpoint, content: dict[str, Any]) -> None:
    """Write the figures into the card of the checkpoint's own file; no weight changes. Raises OutputError.

    The SHA-256 that the figures name is that of the file before: the card is part of the file.
    """
    if checkpoint.path is None:
        raise ConfigurationError("the model was not read from a file: there is no card to write to")
    kept = {name: value for name, value in content.items() if name != "model"}
    written = replace(checkpoint, scores={**checkpoint.scores, "validation": kept})
    scanners = content.get(SCANNERS)
    if scanners and scanners["cov_percent"]:
        source = f"{scanners['length_mm']:g} mm below C2/C3 of one man on {len(scanners['rows'])} scanners"
        written = with_repeatability(written, "between scanners", scanners["cov_percent"], source)
    save_checkpoint(written, checkpoint.path)
