"""A run of any command of ours, for the panel: files in, one object out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from slicer.i18n import tr as _

from SpinalCordSegWidgets.command_run import LIBRARY, CommandLine, CommandRun

RESULTS = "results"  # what the command is given as --output, below the folder it runs in

Outcome = TypeVar("Outcome")


def task_run(
    arguments: Sequence[str],
    prepare: Callable[[Path], None],
    read: Callable[[Path], Outcome],
    base: Path,
    python: str = "",
) -> CommandRun[Outcome]:
    """Begin. ``prepare`` fills the folder that the command runs in, ``read`` makes of its folder "results" what is
    wanted; both folders are gone when the run is closed. ``arguments``: names in the folder, relative.

    Raises SpinalCordSegError when the inputs cannot be written or Python not be started.
    """
    line = CommandLine(
        "SpinalCordSegLib.cli",
        (LIBRARY,),
        lambda scratch, _event: read(scratch / RESULTS),
        if_out_of_memory=_("close other programs"),
        without_event=True,
    )
    return CommandRun(line, [*arguments, "--progress", "json"], base, prepare=prepare, python=python)
