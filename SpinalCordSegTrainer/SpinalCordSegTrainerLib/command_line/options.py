"""The options that several commands have, each said once, and the groups of them that go together."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import torch
import typer

from SpinalCordSegTrainerLib.command_line.progress import ProgressStyle


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


@dataclass(frozen=True)
class LearningOptions:
    """What every command that trains has: the configuration, which cases of a data set count, where to compute."""

    config: Config = None
    settings: Settings = None
    label: Label = None
    only_labelled: OnlyLabelled = False
    usable: Usable = False
    tolerant: Tolerant = False
    device: Device = "auto"
    threads: Threads = None
    style: Style = ProgressStyle.TEXT


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """A command one parameter of which is a dataclass of options, for typer: that parameter's fields are the options.

    Decorates ``def command(output: Output, options: LearningOptions, …)``.
    """
    hints = get_type_hints(command, include_extras=True)
    groups = {name: kind for name, kind in hints.items() if is_dataclass(kind) and isinstance(kind, type)}
    parameters = []
    for one in inspect.signature(command).parameters.values():
        parameters += _options(groups[one.name]) if one.name in groups else [one.replace(annotation=hints[one.name])]

    @functools.wraps(command)
    def flat(**given: Any) -> None:
        for name, kind in groups.items():
            given[name] = kind(**{one.name: given.pop(one.name) for one in fields(kind)})
        command(**given)

    flat.__annotations__ = {one.name: one.annotation for one in parameters}
    flat.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return flat


def _options(group: type) -> list[inspect.Parameter]:
    hints, kind = get_type_hints(group, include_extras=True), inspect.Parameter.POSITIONAL_OR_KEYWORD
    return [
        inspect.Parameter(
            one.name,
            kind,
            default=inspect.Parameter.empty if one.default is MISSING else one.default,
            annotation=hints[one.name],
        )
        for one in fields(group)
    ]
