"""Asking a run in a folder to stop: a file that the run looks for after every update, so that its work is saved.

For programs that cannot send Ctrl-C, on every platform. Only the standard library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

STOP_NAME = "stop"


def ask_to_stop(folder: Path) -> None:
    """The run in ``folder`` ends after its update at hand, saved. Raises OSError where nothing can be written."""
    (folder / STOP_NAME).touch()


def clear_request(folder: Path) -> None:
    """Before a run begins or goes on: an old request is none."""
    (folder / STOP_NAME).unlink(missing_ok=True)


@contextmanager
def stop_requests(folder: Path) -> Iterator[Callable[[], bool]]:
    """Gives whether somebody asked; a request is used up at the end, however the run ends."""
    try:
        yield (folder / STOP_NAME).exists
    finally:
        clear_request(folder)
