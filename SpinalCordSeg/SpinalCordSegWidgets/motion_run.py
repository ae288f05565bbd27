"""The motion between two visits, found by the command line ``register`` in a child process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.errors import InputFileError
from SpinalCordSegLib.images.volume import Volume
from SpinalCordSegWidgets.command_run import CommandRun
from SpinalCordSegWidgets.task_run import RESULTS, task_run


@dataclass(frozen=True, eq=False)
class Motion:
    """``current_to_prior``: 4×4, RAS mm. ``ambiguous``: a vertebra further up or down fits nearly as well."""

    current_to_prior: NDArray[np.float64]
    ambiguous: bool = False


def motion_run(current: tuple[Volume, Volume], prior: tuple[Volume, Volume], base: Path) -> CommandRun[Motion]:
    """Begin to look for it; the run's outcome is a Motion. ``current``, ``prior``: image and mask on one grid."""
    files = {"current": current[0], "current_mask": current[1], "prior": prior[0], "prior_mask": prior[1]}

    def prepare(folder: Path) -> None:
        from SpinalCordSegLib.images.files import write_volume  # SimpleITK: only now

        for name, volume in files.items():
            write_volume(volume, folder / f"{name}.nrrd")

    arguments = ["register", *(f"{name}.nrrd" for name in files), "--output", RESULTS]
    return task_run(arguments, prepare, _read, base)


def _read(folder: Path) -> Motion:
    try:
        content = json.loads((folder / "motion.json").read_text(encoding="utf-8"))
        return Motion(np.array(content["fixed_to_moving"], dtype=np.float64), bool(content["ambiguous"]))
    except (OSError, ValueError, KeyError) as error:
        raise InputFileError("the registration ended without a result: run it again") from error
