"""A corrected mask into the case's own folder, measured anew by the command line ``correct`` in a child process."""

from __future__ import annotations

from pathlib import Path

from SpinalCordSegLib.images.volume import Volume
from SpinalCordSegNodes.case_folder import CaseFolder, read_case_folder
from SpinalCordSegWidgets.command_run import CommandRun
from SpinalCordSegWidgets.task_run import task_run

_MASK = "corrected.nrrd"


def store_run(case: Path, mask: Volume, image: Path | None, by: str, base: Path) -> CommandRun[CaseFolder]:
    """Begin; the outcome is the case as its folder has it then. ``by``: who corrected; ``image``: for the pictures."""

    def prepare(folder: Path) -> None:
        from SpinalCordSegLib.images.files import write_volume  # SimpleITK: only now

        write_volume(mask, folder / _MASK)

    arguments = ["correct", str(case), _MASK, "--by", by]
    arguments += ["--image", str(image)] if image is not None else []
    return task_run(arguments, prepare, lambda _results: read_case_folder(case), base)
