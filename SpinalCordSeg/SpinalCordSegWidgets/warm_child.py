"""A child process that has everything loaded and waits for the next Apply: one run each, so every run is a fresh one.

It goes with the scene and with the module, by itself after ten minutes, and where memory grows short; a run that is
cancelled ends it as it ends any other child.
"""

from __future__ import annotations

import logging
from pathlib import Path

from SpinalCordSegLib.child import LEAST_FREE_BYTES
from SpinalCordSegLib.command_line.free_memory import available_bytes
from SpinalCordSegLib.errors import OutputError
from SpinalCordSegWidgets.child_process import ChildProcess
from SpinalCordSegWidgets.cord_run import waiting_child

_log = logging.getLogger(__name__)


class WarmChild:
    """At most one. ``base``: for scratch folders."""

    def __init__(self, base: Path, python: str = "") -> None:
        self._base, self._python = base, python
        self._child: ChildProcess | None = None
        self._prepared: tuple[Path, str] | None = None

    def prepare(self, model: Path | None, device: str) -> None:
        """Have one wait for a run with this model and device, where memory allows; never raises."""
        if model is None or (self.waiting and self._prepared == (model, device)):
            return
        self.end()
        free = available_bytes()
        if free is None or free < LEAST_FREE_BYTES:
            return
        try:
            self._base.mkdir(parents=True, exist_ok=True)
            child = waiting_child(self._base, model, device, self._python)
            child.start()
        except (OutputError, OSError) as error:  # the next run starts its own, and says what is wrong
            _log.debug("no child waits: %s", error)
            return
        self._child, self._prepared = child, (model, device)

    @property
    def waiting(self) -> bool:
        return self._child is not None and self._child.exit_code is None

    def take(self, model: Path | None, device: str) -> ChildProcess | None:
        """The one that waits for such a run, the caller's from now on; None when there is none, or it has not told that
        an order would reach it: a launcher in between may keep standard input to itself."""
        child = self._child
        if child is None or not self.waiting or self._prepared != (model, device):
            return None
        child.poll()
        if not child.attached:
            return None
        self._child = None
        return child

    def end(self) -> None:
        if self._child is not None:
            self._child.end()
            self._child = None
