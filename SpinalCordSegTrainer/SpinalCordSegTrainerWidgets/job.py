"""One run of the trainer's command line in a child process. No Qt; torch is never loaded into Slicer."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

import SpinalCordSegLib.child
from SpinalCordSegLib.errors import SpinalCordSegError
from SpinalCordSegLib.scratch import ScratchFolder
from SpinalCordSegLib.version import SOFTWARE_VERSION
from SpinalCordSegWidgets.child_process import ChildProcess
from SpinalCordSegWidgets.cord_run import Failure
from SpinalCordSegWidgets.progress_text import Progress

# Both modules lie in one folder once installed, in two in a checkout.
_PACKAGES = tuple(
    dict.fromkeys((Path(SpinalCordSegLib.child.__file__).parents[1], Path(__file__).resolve().parents[1]))
)
_COMMAND_LINE = "SpinalCordSegTrainerLib.cli"
_STOPPED = 130


class TrainerJob:
    """Call ``poll`` until ``running`` is False. Then there is a ``result`` (its event), or it was ``stopped`` in order
    (on request, saved), or a ``failure``, or none of them (cancelled). ``close`` when done with it."""

    def __init__(self, arguments: Sequence[str], base: Path, python: str = "") -> None:
        """``arguments``: as the command line takes them, paths absolute. Raises OutputError when it cannot start."""
        self._arguments = list(arguments)
        self._scratch = ScratchFolder.create(base)
        self._child = ChildProcess(
            _COMMAND_LINE, self._arguments, packages=_PACKAGES, folder=self._scratch.path, python=python
        )
        self.progress, self.cancelled, self.stopped = Progress(), False, False
        self.result: dict[str, Any] | None = None
        self.failure: Failure | None = None
        self.message = ""
        try:
            self._child.start()
        except SpinalCordSegError:
            self.close()
            raise
        self.running = True

    @property
    def command(self) -> str:
        return self._arguments[0]

    def poll(self) -> list[dict[str, Any]]:
        """Everything the child said since the last call; never waits."""
        if not self.running:
            return []
        events = self._child.poll()
        for event in events:
            self._take(event)
        if not self._child.running:
            self.running = False
            self._finish()
        return events

    def cancel(self) -> None:
        """End it and all that it started within two seconds; what is not saved is lost."""
        self.cancelled = True
        self._child.cancel()

    def close(self) -> None:
        self._child.end()
        self.running = False
        self._scratch.remove()

    def _take(self, event: dict[str, Any]) -> None:
        kind = event.get("event")
        if kind == "progress":
            self.progress = Progress(str(event.get("stage")), int(event.get("done", 0)), int(event.get("of", 0)))
        elif kind == "result":
            self.result = event
        elif kind == "error":
            self.message = str(event.get("message"))

    def _finish(self) -> None:
        code = self._child.exit_code
        if self.cancelled or (self.result is not None and code in (0, 1)):  # 1: done, and some case was refused
            return
        self.result = None
        if code == _STOPPED:
            self.stopped = True
            return
        self.failure = Failure(self.message or self._why(code), self._report(code))

    def _why(self, code: int | None) -> str:
        if code in (-9, 137):
            return _("The run was ended by the system, most likely for want of memory: take a smaller batch.")
        words = _("The run ended unexpectedly (exit code {code}). If it happens again, copy the report and ask.")
        return words.format(code=code)

    def _report(self, code: int | None) -> str:
        """What is needed to understand a failure; folders by their last name only."""
        shown = [Path(argument).name if Path(argument).is_absolute() else argument for argument in self._arguments]
        lines = [
            f"SpinalCordSeg {SOFTWARE_VERSION}, {platform.platform()}, Python {platform.python_version()}",
            f"command: {' '.join(shown)}",
            f"exit code: {code}; last: {self.progress}",
            self.message,
            self._child.log,
        ]
        text = "\n".join(lines)
        for path, word in ((self._scratch.path, "SCRATCH"), (Path.home(), "~")):
            text = text.replace(str(path), word)
        return text
