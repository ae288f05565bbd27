"""The command line with everything that ``segment`` needs in memory: for a child process that waits for its order."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Sequence
from pathlib import Path

from SpinalCordSegLib.cli import main
from SpinalCordSegLib.errors import SpinalCordSegError

__all__ = ["get_ready", "main"]

_log = logging.getLogger(__name__)
_USED = (
    "SpinalCordSegLib.command_line.commands", "SpinalCordSegLib.inference",
    "SpinalCordSegLib.model.checkpoint", "scipy.ndimage", "SimpleITK", "PIL.Image", "PIL.ImageDraw",
)  # fmt: skip


def get_ready(arguments: Sequence[str]) -> None:
    """``arguments``: weights file, device. What fails here fails again in the run, and is told there."""
    try:
        for name in _USED:
            importlib.import_module(name)
        from SpinalCordSegLib.model.ready_model import model_in_use

        model_in_use(Path(arguments[0])).get_ready(arguments[1], "auto")
    except (ImportError, SpinalCordSegError) as error:
        _log.debug("not made ready: %s", error)
