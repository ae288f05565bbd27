"""The command line that finds and measures the cord, as a run for the panel: an image out, a finished case back in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from slicer.i18n import tr as _

from SpinalCordSegLib.images.volume import Volume
from SpinalCordSegNodes.case_folder import CaseFolder, read_case_folder
from SpinalCordSegWidgets.child_process import ChildProcess
from SpinalCordSegWidgets.command_run import LIBRARY, CommandLine, CommandRun

_IMAGE, _MASK, _RESULTS = "volume.nrrd", "mask.nrrd", "results"
_OUTPUT = ("--output", _RESULTS, "--mask-format", "nrrd", "--progress", "json")

CordRun = CommandRun[CaseFolder]


def segment_run(
    volume: Volume,
    base: Path,
    *,
    model: Path,
    device: str,
    python: str = "",
    waiting: ChildProcess | None = None,
) -> CordRun:
    """Find the cord in ``volume`` and measure it. ``base``: for the scratch folder. ``waiting``: a child of
    ``waiting_child`` to do it. Raises OutputError."""
    options = ["--model", str(model), "--device", device]
    arguments = ["segment", _IMAGE, *_OUTPUT, *options]
    return CommandRun(_command_line(), arguments, base, volumes={_IMAGE: volume}, python=python, waiting=waiting)


def waiting_child(base: Path, model: Path, device: str, python: str = "") -> ChildProcess:
    """A child, not started yet, that loads libraries and model and waits for one ``segment_run``."""
    arguments = [str(model), device]
    return ChildProcess(
        "SpinalCordSegLib.warm_segment", arguments, packages=(LIBRARY,), folder=base, python=python, waiting=True
    )


def measure_run(
    mask: Volume, base: Path, *, image: Volume | None = None, more: Sequence[str] = (), python: str = ""
) -> CordRun:
    """Measure a mask (bool); ``image``, on the same grid, is shown in the report. ``more``: further arguments of the
    command. Needs no torch."""
    volumes, options = {_MASK: mask}, []
    if image is not None:
        volumes[_IMAGE], options = image, ["--image", _IMAGE]
    arguments = ["measure", _MASK, *_OUTPUT, *options, *more]
    return CommandRun(_command_line(), arguments, base, volumes=volumes, python=python)


def _command_line() -> CommandLine[CaseFolder]:
    return CommandLine(
        "SpinalCordSegLib.cli",
        (LIBRARY,),
        lambda scratch, event: read_case_folder(scratch / str(event.get("folder"))),
        if_out_of_memory=_("close other programs"),
    )
