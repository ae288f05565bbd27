"""``spinalcordseg-train validate``: one table of what a model is worth, and pictures of its worst slices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegTrainerLib.interrupt import stop_on_interrupt


def validate(
    output: Annotated[Path, typer.Option("--output", help="Folder for the tables and pictures.")],
    data: Annotated[Path, typer.Option("--data", help="Folder of public data.")],
    model: Annotated[Path | None, typer.Option("--model", help="Weights file; the bundled one if left out.")] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="SET", help="Measure just this set; repeatable.")
    ] = None,
    write_card: Annotated[
        bool, typer.Option("--write-card", help="Keep the figures in the weights file's own card.")
    ] = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")] = "auto",
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="CPU threads; all cores when left out.")
    ] = None,
) -> None:
    """Measure a model on the public volumes and on simulated people; tables, pictures, bars met and missed."""
    from SpinalCordSegLib.checkpoint import default_model, load_checkpoint
    from SpinalCordSegTrainerLib.validate_model import REAL_SETS, Validator, validate_real
    from SpinalCordSegTrainerLib.validation_bars import real_bars
    from SpinalCordSegTrainerLib.validation_report import markdown, told, write_validation

    if threads is not None:
        torch.set_num_threads(threads)
    unknown = sorted(set(only or ()) - set(REAL_SETS))
    if unknown:
        raise ConfigurationError(f"--only {unknown[0]}: known sets are {', '.join(REAL_SETS)}")
    checkpoint = load_checkpoint(model or default_model())
    with stop_on_interrupt() as interrupted:
        validator = Validator(checkpoint, device, lambda name: typer.echo(name, err=True), lambda: bool(interrupted))
        scores = validate_real(validator, data, output / "pictures", only or REAL_SETS)
    content = told(checkpoint, scores, {}, real_bars(scores))
    write_validation(content, output)
    typer.echo(markdown(content))
