"""The options that several commands have, each said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from SpinalCordSegTrainerLib.progress import ProgressStyle


def _use_threads(threads: int | None) -> int | None:
    if threads is not None:
        torch.set_num_threads(threads)
    return threads


Data = Annotated[
    Path, typer.Argument(help="Folder of images and label maps (NAME and NAME_seg, or BIDS), manifest or workspace.")
]
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
Model = Annotated[Path | None, typer.Option("--model", help="Weights file; the bundled one if left out.")]
StartModel = Annotated[
    Path | None, typer.Option("--from", metavar="MODEL", help="Weights file to start from (fine-tuning).")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="CPU threads; all cores when left out.", callback=_use_threads),
]
Augment = Annotated[
    bool, typer.Option("--augment", help="Turn, scale, bend and change contrast of what is trained on.")
]
Usable = Annotated[
    bool, typer.Option("--usable", help="Leave out cases that cannot be used, instead of refusing the folder.")
]
Tolerant = Annotated[
    bool, typer.Option("--tolerant", help="Resample a label map that lies on another grid to its image; it is told.")
]
GivenSplit = Annotated[
    Path | None,
    typer.Option("--split", metavar="FILE", help="Hold out the patients that this split, or run, held out."),
]
Style = Annotated[ProgressStyle, typer.Option("--progress", help="json: one object a line on stdout, for programs.")]
