"""One run of the command line for the panel: image out to a scratch folder, child process, finished case back in.

No Qt, and the scene is not touched: it may be closed, and the volume deleted, while the child works.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from SpinalCordSegLib.errors import SpinalCordSegError
from SpinalCordSegLib.scratch import ScratchFolder
from SpinalCordSegLib.version import SOFTWARE_VERSION
from SpinalCordSegLib.volume import Volume
from SpinalCordSegNodes.case_folder import CaseFolder, read_case_folder
from SpinalCordSegWidgets.child_process import ChildProcess
from SpinalCordSegWidgets.progress_text import Progress

_PACKAGES = Path(__file__).resolve().parents[1]  # the folder that Python must find our packages in
_COMMAND_LINE = "SpinalCordSegLib.cli"
_IMAGE, _MASK, _RESULTS = "volume.nrrd", "mask.nrrd", "results"


@dataclass(frozen=True)
class Failure:
    """Why a run gave nothing. ``message``: for the user. ``report``: for whoever is asked for help; no patient data."""

    message: str
    report: str


class CordRun:
    """Call ``poll`` now and then until ``running`` is False; then there is a ``case``, or a ``failure``, or neither
    (cancelled). ``close`` when done with it: ends what still runs and removes the image from the disk."""

    def __init__(self, arguments: Sequence[str], volumes: dict[str, Volume], base: Path, python: str = "") -> None:
        """Raises OutputError when the image cannot be written or Python not be started; nothing is left then."""
        from SpinalCordSegLib.files import write_volume  # SimpleITK: not when the panel opens

        self._scratch = ScratchFolder.create(base)
        self.progress, self.cancelled = Progress(), False
        self.case: CaseFolder | None = None
        self.failure: Failure | None = None
        self._messages: list[str] = []
        self._result: Path | None = None
        self._arguments = list(arguments)
        self._child = ChildProcess(
            _COMMAND_LINE, self._arguments, packages=(_PACKAGES,), folder=self._scratch.path, python=python
        )
        try:
            for name, volume in volumes.items():
                write_volume(volume, self._scratch.path / name)
            self._child.start()
        except SpinalCordSegError:
            self.close()
            raise
        self.running = True

    @classmethod
    def segment(cls, volume: Volume, base: Path, *, model: Path, device: str, python: str = "") -> CordRun:
        """Find the cord in ``volume`` and measure it."""
        options = ["--model", str(model), "--device", device]
        return cls(["segment", _IMAGE, *_OUTPUT, *options], {_IMAGE: volume}, base, python)

    @classmethod
    def measure(cls, mask: Volume, base: Path, *, image: Volume | None = None, python: str = "") -> CordRun:
        """Measure a mask (bool); ``image``, on the same grid, is shown in the report. Needs no torch."""
        volumes, options = {_MASK: mask}, []
        if image is not None:
            volumes[_IMAGE], options = image, ["--image", _IMAGE]
        return cls(["measure", _MASK, *_OUTPUT, *options], volumes, base, python)

    def poll(self) -> None:
        """Take in what the child said; never waits."""
        if not self.running:
            return
        for event in self._child.poll():
            self._take(event)
        if not self._child.running:
            self.running = False
            self._finish()

    def cancel(self) -> None:
        """End it within two seconds of polling; no case and no failure come of it."""
        self.cancelled = True
        self._child.cancel()

    def close(self) -> None:
        self._child.end()
        self.running = False
        self._scratch.remove()

    def _take(self, event: dict[str, Any]) -> None:
        kind = event.get("event")
        if kind == "progress":
            self.progress = Progress(str(event.get("stage")), int(event.get("slice", 0)), int(event.get("of", 0)))
        elif kind == "result":
            self._result = self._scratch.path / str(event.get("folder"))
        elif kind == "error":
            self._messages.append(str(event.get("message")))

    def _finish(self) -> None:
        if self.cancelled:
            return
        if self._result is None or self._child.exit_code != 0:
            self.failure = Failure(self._why(), self._report())
            return
        try:
            self.case = read_case_folder(self._result)
        except SpinalCordSegError as error:
            self.failure = Failure(str(error), self._report())

    def _why(self) -> str:
        if self._messages:
            return self._without_paths(self._messages[-1])
        code = self._child.exit_code
        if code in (-9, 137):
            return _("The run was ended by the system, most likely for want of memory: close other programs.")
        words = _("The run ended unexpectedly (exit code {code}). If it happens again, copy the report and ask.")
        return words.format(code=code)

    def _report(self) -> str:
        """What is needed to understand a failure; no path of the user's, no name of the volume."""
        lines = [
            f"SpinalCordSeg {SOFTWARE_VERSION}, {platform.platform()}, Python {platform.python_version()}",
            f"command: {' '.join(Path(argument).name for argument in self._arguments)}",
            f"exit code: {self._child.exit_code}; last: {self.progress}",
            *self._messages,
            self._child.log,
        ]
        return self._without_paths("\n".join(lines))

    def _without_paths(self, text: str) -> str:
        """Folders are named after people."""
        for path, word in ((self._scratch.path, "SCRATCH"), (_PACKAGES, "SpinalCordSeg"), (Path.home(), "~")):
            text = text.replace(str(path), word)
        return text


_OUTPUT = ("--output", _RESULTS, "--mask-format", "nrrd", "--progress", "json")
