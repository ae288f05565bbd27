"""Asking a run in a folder to stop: a file that the run looks for after every update, so that its work is saved.

For programs that cannot send Ctrl-C, on every platform. Only the standard library.
"""

from __future__ import annotations

from pathlib import Path

STOP_NAME = "stop"


def ask_to_stop(folder: Path) -> None:
    """The run in ``folder`` ends after its update at hand, saved. Raises OSError where nothing can be written."""
    (folder / STOP_NAME).touch()


def stop_asked(folder: Path) -> bool:
    """Whether somebody asked since ``clear_request``."""
    return (folder / STOP_NAME).exists()


def clear_request(folder: Path) -> None:
    """Before a run begins or goes on: an old request is none."""
    (folder / STOP_NAME).unlink(missing_ok=True)
