"""The trainer's command line as a run for its panel. torch is never loaded into Slicer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from SpinalCordSegWidgets.command_run import LIBRARY, CommandLine, CommandRun

# Both modules lie in one folder once installed, in two in a checkout.
_PACKAGES = tuple(dict.fromkeys((LIBRARY, Path(__file__).resolve().parents[1])))

TrainerRun = CommandRun[dict[str, Any]]


def trainer_run(arguments: Sequence[str], base: Path, python: str = "") -> TrainerRun:
    """``arguments``: as ``spinalcordseg-train`` takes them, paths absolute. Its result is the "result" event. Raises
    OutputError when it cannot start."""
    line = CommandLine[dict[str, Any]](
        "SpinalCordSegTrainerLib.cli",
        _PACKAGES,
        lambda _scratch, event: event,
        exit_codes=(0, 1),  # 1: done, and some case was refused
        if_out_of_memory=_("take a smaller batch"),
    )
    return CommandRun(line, arguments, base, python=python)
