"""``spinalcordseg-train validate-series``: what a model's masks are worth for following a person over years."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from SpinalCordSegLib.checkpoint import Checkpoint, default_model, load_checkpoint
from SpinalCordSegLib.writing import write_json, write_text
from SpinalCordSegTrainerLib.interrupt import stop_on_interrupt
from SpinalCordSegTrainerLib.options import Device, Model, Output, Threads


def validate_series(
    output: Output,
    data: Annotated[Path, typer.Option("--data", envvar="SPINALCORDSEG_DATA", help="Folder of public data.")],
    model: Model = None,
    network: Annotated[int, typer.Option("--network", min=4, help="Series segmented by the model.")] = 40,
    series: Annotated[int, typer.Option("--series", min=1, help="Series that carry its measured error.")] = 500,
    same_scanner: Annotated[
        bool, typer.Option("--same-scanner", help="Contrast and noise stay the same from visit to visit.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Other simulated people.")] = 0,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Simulated persons with known atrophy, segmented at every visit and followed up; goes on where it was stopped."""
    from SpinalCordSegTrainerLib.simulated_series import SeriesConfig
    from SpinalCordSegTrainerLib.validate_series import series_figures

    config = SeriesConfig(network=network, series=series, seed=seed, same_scanner=same_scanner)
    checkpoint = load_checkpoint(model or default_model())
    found = _measured(checkpoint, data, output, config, device)
    figures = series_figures(found, config)
    told = {"name": checkpoint.name, "version": checkpoint.version, "sha256": checkpoint.sha256}
    write_json(output / "series.json", {"model": told, "config": asdict(config), "figures": figures})
    text = markdown(told, figures)
    write_text(output / "series.md", text)
    typer.echo(text)


def _measured(checkpoint: Checkpoint, data: Path, output: Path, config: Any, device: str) -> list[Any]:
    """Every series once: what an earlier run of the same model and seed measured is read."""
    from SpinalCordSegTrainerLib.atlas import read_maps
    from SpinalCordSegTrainerLib.simulated_series import series_person
    from SpinalCordSegTrainerLib.validate_model import Validator
    from SpinalCordSegTrainerLib.validate_series import SeriesAreas, measure_series

    maps = read_maps(data, only=config.shapes)
    found = []
    with stop_on_interrupt() as interrupted:
        validator = Validator(checkpoint, device, lambda name: typer.echo(name, err=True), lambda: bool(interrupted))
        for number in range(config.network):
            kind = "same_" if config.same_scanner else ""
            path = output / "series" / f"{str(checkpoint.sha256)[:12]}_{config.seed}_{kind}{number:03d}.json"
            if path.is_file():
                one = SeriesAreas.from_dict(json.loads(path.read_text(encoding="utf-8")))
            else:
                one = measure_series(validator, series_person(number, maps, config), maps)
                write_json(path, asdict(one))
            found.append(one)
    return found


def markdown(model: dict[str, Any], figures: dict[str, dict[str, Any]]) -> str:
    """The figures as one table."""
    lines = [
        f"Model {model['name']} {model['version']} ({str(model['sha256'])[:12]})",
        "",
        "| what | figure |",
        "|---|---|",
    ]
    for title, rows in figures.items():
        lines.append(f"| **{title}** | |")
        lines += [f"| {name} | {value:.4g} |" for name, value in rows.items()]
    return "\n".join(lines) + "\n"
