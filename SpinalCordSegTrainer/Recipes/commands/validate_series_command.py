"""``python -m Recipes validate-series``: what a model's masks are worth for following a person over years."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from Recipes.validation.card_repeatability import with_repeatability
from Recipes.validation.series_names import COV, SEEN, THROUGH_MODEL
from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.files import write_json, write_text
from SpinalCordSegLib.model.checkpoint import Checkpoint, default_model, load_checkpoint, save_checkpoint
from SpinalCordSegTrainerLib.command_line.interrupt import stop_on_interrupt
from SpinalCordSegTrainerLib.command_line.options import Device, Model, Output, Threads

if TYPE_CHECKING:
    from Recipes.validation.validation_bars import Bar


def validate_series(
    output: Output,
    data: Annotated[Path, typer.Option("--data", envvar="SPINALCORDSEG_DATA", help="Folder of public data.")],
    model: Model = None,
    network: Annotated[int, typer.Option("--network", min=4, help="Series segmented by the model.")] = 40,
    series: Annotated[int, typer.Option("--series", min=1, help="Series that carry its measured error.")] = 500,
    same_scanner: Annotated[
        bool, typer.Option("--same-scanner", help="Contrast and noise stay the same from visit to visit.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Other simulated people.")] = 0,
    write_card: Annotated[
        bool, typer.Option("--write-card", help="With --same-scanner: the CoV into the weights file's own card.")
    ] = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Simulated persons with known atrophy, segmented at every visit and followed up; goes on where it was stopped."""
    from Recipes.simulation.simulated_series import SeriesConfig
    from Recipes.validation.series_bars import series_bars
    from Recipes.validation.validate_series import series_figures

    if write_card and not same_scanner:
        raise ConfigurationError(
            "--write-card goes with --same-scanner: with another contrast at each visit the CoV is that of no setting"
        )
    config = SeriesConfig(network=network, series=series, seed=seed, same_scanner=same_scanner)
    checkpoint = load_checkpoint(model or default_model())
    found = _measured(checkpoint, data, output, config, device)
    figures = series_figures(found, config)
    told = {"name": checkpoint.name, "version": checkpoint.version, "sha256": checkpoint.sha256}
    bars = series_bars(figures)
    name = "series_same_scanner" if same_scanner else "series"
    content = {"model": told, "config": asdict(config), "figures": figures, "bars": [asdict(bar) for bar in bars]}
    write_json(output / f"{name}.json", content)
    text = markdown(told, figures, bars)
    write_text(output / f"{name}.md", text)
    if write_card:
        keep_in_card(checkpoint, figures)
    typer.echo(text)


def mask_key(checkpoint: Checkpoint) -> str:
    """Tells models apart that draw other masks, 12 hexadecimal digits: the card, with its figures, does not count."""
    settings = (checkpoint.network, checkpoint.normalisation, checkpoint.calibration)
    digest = hashlib.sha256(json.dumps([asdict(one) for one in settings], sort_keys=True).encode())
    for name, tensor in sorted(checkpoint.weights.items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def keep_in_card(checkpoint: Checkpoint, figures: dict[str, dict[str, Any]]) -> None:
    """The CoV on one scanner into the card of the checkpoint's own file; no weight changes. Raises OutputError."""
    if checkpoint.path is None:
        raise ConfigurationError("the model was not read from a file: there is no card to write to")
    of = figures[THROUGH_MODEL]
    source = (
        f"{of['series']} simulated persons, {of['visits']} visits on one scanner each, other position, coverage and"
        f" voxel size; {100 * of[SEEN]:.0f} % of a true change were seen"
    )
    save_checkpoint(with_repeatability(checkpoint, "same scanner", of[COV], source), checkpoint.path)


def _measured(checkpoint: Checkpoint, data: Path, output: Path, config: Any, device: str) -> list[Any]:
    """Every series once: what an earlier run of the same model and seed measured is read."""
    from Recipes.simulation.atlas import read_maps
    from Recipes.simulation.simulated_series import series_person
    from Recipes.validation.validate_model import Validator
    from Recipes.validation.validate_series import MEASURED_AS, SeriesAreas, measure_series

    maps = read_maps(data, only=config.shapes)
    key = mask_key(checkpoint)
    found = []
    with stop_on_interrupt() as interrupted:
        validator = Validator(checkpoint, device, lambda name: typer.echo(name, err=True), lambda: bool(interrupted))
        for number in range(config.network):
            kind = "same_" if config.same_scanner else ""
            name = f"{key}_{config.seed}_{kind}{number:03d}_{MEASURED_AS}.json"
            path = output / "series" / name
            if path.is_file():
                one = SeriesAreas.from_dict(json.loads(path.read_text(encoding="utf-8")))
            else:
                one = measure_series(validator, series_person(number, maps, config), maps)
                write_json(path, asdict(one))
            found.append(one)
    return found


def markdown(model: dict[str, Any], figures: dict[str, dict[str, Any]], bars: Sequence[Bar]) -> str:
    """The bars, then all figures, as tables."""
    lines = [
        f"Model {model['name']} {model['version']} ({str(model['sha256'])[:12]})",
        "",
        "| series | figure | measured | bar | |",
        "|---|---|---|---|---|",
    ]
    for bar in bars:
        verdict = "met" if bar.met else "**missed**"
        lines.append(f"| {bar.data} | {bar.figure} | {bar.value:.4g} | {bar.limit} | {verdict} |")
    lines += ["", "| what | figure |", "|---|---|"]
    for title, rows in figures.items():
        lines.append(f"| **{title}** | |")
        lines += [f"| {name} | {value:.4g} |" for name, value in rows.items()]
    return "\n".join(lines) + "\n"
