"""``python -m Recipes COMMAND``: the commands that make and judge the model that ships."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from Recipes.commands.bench_loading_command import bench_loading
from Recipes.commands.validate_command import validate
from Recipes.commands.validate_series_command import validate_series
from Recipes.simulation.simulate import VALIDATION_SHAPES, SimulateConfig, simulate_cache
from SpinalCordSegLib.inference import choose_device
from SpinalCordSegTrainerLib.cli import run_app
from SpinalCordSegTrainerLib.command_line.options import (
    Config,
    Data,
    Device,
    Label,
    OnlyLabelled,
    Output,
    Settings,
    Threads,
    Tolerant,
)
from SpinalCordSegTrainerLib.command_line.progress import step_display
from SpinalCordSegTrainerLib.command_line.run_inputs import CaseOptions, base_configuration, write_slices
from SpinalCordSegTrainerLib.config import with_settings
from SpinalCordSegTrainerLib.slice_cache import SliceCache

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command()(validate)
app.command("validate-series")(validate_series)
app.command("bench-loading")(bench_loading)


@app.command()
def calibrate(
    model: Annotated[Path, typer.Argument(help="Weights file to calibrate.")],
    cache: Annotated[Path, typer.Option("--cache", help="Slice cache that was not trained on.")],
    output: Annotated[Path | None, typer.Option("--output", help="Weights file to write; MODEL if left out.")] = None,
    max_slices: Annotated[int, typer.Option("--max-slices", min=1, help="At most so many, evenly spread.")] = 400,
    area_percent: Annotated[
        float, typer.Option("--area-percent", help="Median area error to reach: the raters' convention.")
    ] = 0.0,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Fit scale and bias of the logit so that the area at probability 0.5 is right; kept in the weights file."""
    from SpinalCordSegLib.model.checkpoint import load_checkpoint
    from SpinalCordSegTrainerLib.batches import HeldOut
    from SpinalCordSegTrainerLib.calibration import calibrate_checkpoint
    from SpinalCordSegTrainerLib.slice_cache import evenly

    opened = SliceCache.open(cache)
    held_out = HeldOut(opened, evenly(np.arange(len(opened)), max_slices))
    chosen = choose_device(device)[0]
    fit = calibrate_checkpoint(load_checkpoint(model), held_out, chosen, output or model, area_percent)
    before, after = fit.area_percent_before, fit.area_percent_after
    typer.echo(
        f"scale {fit.calibration.scale:.3f}, bias {fit.calibration.bias:+.3f}: median area error {before:+.2f} %"
        f" -> {after:+.2f} % on {fit.n_slices} slices ({fit.n_left_out} left out)"
    )


@app.command()
def average(
    models: Annotated[list[Path], typer.Argument(help="Weights files of runs from the same weights: two or more.")],
    output: Annotated[Path, typer.Option("--output", help="Weights file to write.")],
) -> None:
    """One model from several runs that began at the same weights: the mean of their weights. Calibrate it after."""
    from SpinalCordSegTrainerLib.calibration import average_models

    mean = average_models(models, output)
    typer.echo(f"mean of {len(models)} models: {output} (SHA-256 {mean.sha256})")


@app.command("cache")
def write_cache(
    data: Data,
    output: Output,
    config: Config = None,
    settings: Settings = None,
    label: Label = None,
    only_labelled: OnlyLabelled = False,
    tolerant: Tolerant = False,
    inset_mm: Annotated[
        float, typer.Option("--inset-mm", min=0.0, help="How far inside the label's contour the model is to draw.")
    ] = 0.0,
) -> None:
    """Read images and label maps once and keep their slices, normalised for the model, for training."""
    chosen = base_configuration(config, settings)
    options = CaseOptions(label, only_labelled, tolerant=tolerant, inset_mm=inset_mm)
    typer.echo(write_slices(data, output, chosen, options))


@app.command()
def simulate(
    output: Output,
    maps: Annotated[Path, typer.Option("--maps", help="Folder that holds atlas/ and shapes/ (label maps).")],
    count: Annotated[int, typer.Option("--count", min=1, help="Slices to draw.")] = 6000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same slices.")] = 1,
    pixel_mm: Annotated[float, typer.Option("--pixel-mm", help="Pixel of the model's grid, mm.")] = 0.7,
    size: Annotated[int, typer.Option("--size", help="Pixels of the square slices, a multiple of 32.")] = 256,
    hold_out: Annotated[
        list[str] | None, typer.Option("--hold-out", help="Cord shape kept for validation; repeatable.")
    ] = None,
    phantoms: Annotated[int, typer.Option("--phantoms", min=0, help="Phantoms to add, six slices each.")] = 0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE of the simulation; repeatable.")
    ] = None,
) -> None:
    """Draw simulated axial necks of known cord area into a slice cache."""
    held_out = tuple(hold_out or VALIDATION_SHAPES)
    chosen = SimulateConfig(count=count, seed=seed, size=size, pixel_mm=pixel_mm, hold_out=held_out, phantoms=phantoms)
    chosen = with_settings(chosen, settings or [])
    with step_display("slices") as display:
        written = simulate_cache(maps, output, chosen, progress=display.step)
    typer.echo(f"{len(written)} slices, {len(set(written.info.subjects))} necks: {output}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code."""
    return run_app(app, "Recipes", argv)
