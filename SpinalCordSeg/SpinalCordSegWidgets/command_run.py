"""One run of a command line of ours for a panel: scratch folder, child process, what came of it. No Qt.

The scene is not touched: it may be closed, and nodes deleted, while the child works.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from slicer.i18n import tr as _

import SpinalCordSegLib.child
from SpinalCordSegLib.child import WAITED_IN_VAIN
from SpinalCordSegLib.command_line.scratch import ScratchFolder
from SpinalCordSegLib.errors import OutputError, SpinalCordSegError
from SpinalCordSegLib.images.volume import Volume
from SpinalCordSegLib.version import SOFTWARE_VERSION
from SpinalCordSegLib.writing import explain
from SpinalCordSegWidgets.child_process import ChildProcess
from SpinalCordSegWidgets.progress_text import Progress

LIBRARY = Path(SpinalCordSegLib.child.__file__).resolve().parents[1]  # the folder that Python finds our packages in
_STOPPED = 130
_OUT_OF_MEMORY = (-9, 137)
_IMAGE_NAME = re.compile(r"[^\s/\\'\"()]+\.(nii|nrrd|nhdr|mha|mhd|hdr|img|dcm|itksnap)(\.gz)?\b", re.IGNORECASE)
# What these say tells a person apart from others: days, ages, codes and names that somebody typed, places in a body.
_PERSONAL = ("--date", "--person", "--age", "--by", "--subject", "--disc")

Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class CommandLine(Generic[Outcome]):
    """``module``: whose ``main(argv)`` is run. ``packages``: the folders that hold it and what it imports.
    ``read``: from the scratch folder and the "result" event to what the panel wants. ``exit_codes``: with which a
    result counts. ``if_out_of_memory``: what the user can do then. ``without_event``: the command announces no result
    (no "result" event); having ended well is enough."""

    module: str
    packages: tuple[Path, ...]
    read: Callable[[Path, dict[str, Any]], Outcome]
    exit_codes: tuple[int, ...] = (0,)
    if_out_of_memory: str = ""
    without_event: bool = False


@dataclass(frozen=True)
class Failure:
    """Why a run gave nothing. ``message``: for the user. ``report``: for whoever is asked for help; no patient data."""

    message: str
    report: str


class CommandRun(Generic[Outcome]):
    """Call ``poll`` now and then until ``running`` is False. Then there is a ``result``, or it was ``stopped`` in order
    (asked to, and saved), or there is a ``failure``, or none of them (cancelled). ``close`` when done with it: that
    ends what still runs and removes the images from the disk."""

    def __init__(
        self,
        command_line: CommandLine[Outcome],
        arguments: Sequence[str],
        base: Path,
        *,
        volumes: Mapping[str, Volume] | None = None,
        prepare: Callable[[Path], None] | None = None,
        python: str = "",
        waiting: ChildProcess | None = None,
    ) -> None:
        """``waiting``: a child that waits for an order, ours from now on; a new one is started where it is gone.
        ``volumes``: written to the scratch folder, in which the child runs, by these names. ``prepare``: writes what
        else is needed there. Raises SpinalCordSegError when that fails or Python cannot be started; nothing is left
        then."""
        self._line, self._arguments = command_line, list(arguments)
        try:
            self._scratch = ScratchFolder.create(base)
        except OSError as error:
            if waiting is not None:
                waiting.end()
            raise OutputError(f"no folder for the run can be made in {base}: {explain(error)}") from error
        self._python, self._waiting = python, waiting
        self._child = waiting or self._new_child()
        self.progress, self.cancelled, self.stopped = Progress(), False, False
        self.result: Outcome | None = None
        self.failure: Failure | None = None
        self._messages: list[str] = []
        self._result_event: dict[str, Any] | None = None
        try:
            self._write(volumes or {})
            if prepare is not None:
                prepare(self._scratch.path)
            if waiting is None or not waiting.order(self._arguments, self._scratch.path):
                self._start_anew()
        except SpinalCordSegError:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise OutputError(f"cannot write into {self._scratch.path}: {explain(error)}") from error
        self.running = True

    def _new_child(self) -> ChildProcess:
        line = self._line
        return ChildProcess(
            line.module, self._arguments, packages=line.packages, folder=self._scratch.path, python=self._python
        )

    def _start_anew(self) -> None:
        if self._waiting is not None:
            self._waiting.end()
            self._waiting, self._child = None, self._new_child()
        self._child.start()

    @property
    def command(self) -> str:
        """ "segment", "train", …"""
        return self._arguments[0]

    def poll(self) -> list[dict[str, Any]]:
        """Everything the child said since the last call; never waits."""
        if not self.running:
            return []
        events = self._child.poll()
        for event in events:
            self._take(event)
        if not self._child.running:
            if self._waiting is not None and self._child.exit_code == WAITED_IN_VAIN and not self.cancelled:
                self._start_anew()  # it gave up at the moment it was asked
                return events
            self.running = False
            self._finish()
        return events

    def cancel(self) -> None:
        """End it, and all that it started, within two seconds of polling."""
        self.cancelled = True
        self._child.cancel()

    def close(self) -> None:
        self._child.end()
        self.running = False
        self._scratch.remove()

    def _write(self, volumes: Mapping[str, Volume]) -> None:
        if volumes:
            from SpinalCordSegLib.images.files import write_volume  # SimpleITK: not when the panel opens

            for name, volume in volumes.items():
                write_volume(volume, self._scratch.path / name, compress=False)  # Slicer waits for it

    def _take(self, event: dict[str, Any]) -> None:
        kind = event.get("event")
        if kind == "progress":
            done = event.get("done", event.get("slice", 0))
            self.progress = Progress(str(event.get("stage")), int(done), int(event.get("of", 0)))
        elif kind == "result":
            self._result_event = event
        elif kind == "error":
            self._messages.append(str(event.get("message")))

    def _finish(self) -> None:
        code = self._child.exit_code
        if self.cancelled:
            return
        event = {} if self._line.without_event and code == 0 else self._result_event
        if event is not None and code in self._line.exit_codes:
            try:
                self.result = self._line.read(self._scratch.path, event)
            except SpinalCordSegError as error:
                self.failure = Failure(str(error), self._report(code))
        elif code == _STOPPED:
            self.stopped = True
        else:
            self.failure = Failure(self._why(code), self._report(code))

    def _why(self, code: int | None) -> str:
        if self._messages:
            return self._without_folders(self._messages[-1])
        if code in _OUT_OF_MEMORY:
            words = _("The run was ended by the system, most likely for want of memory: {advice}.")
            return words.format(advice=self._line.if_out_of_memory)
        words = _("The run ended unexpectedly (exit code {code}). If it happens again, copy the report and ask.")
        return words.format(code=code)

    def _report(self, code: int | None) -> str:
        """What is needed to understand a failure. Files and folders are named after people: no name of the user's, and
        nothing that was said about a person."""
        own = [Path(argument) for argument in self._arguments if Path(argument).is_absolute()]
        shown = ["FOLDER" if Path(argument) in own else argument for argument in self._arguments]
        lines = [
            f"SpinalCordSeg {SOFTWARE_VERSION}, {platform.platform()}, Python {platform.python_version()}",
            f"command: {' '.join(shown)}",
            f"exit code: {code}; last: {self.progress}",
            *self._messages,
            self._child.log,
        ]
        text = self._without_folders("\n".join(lines), {str(path): "FOLDER" for path in own})
        for path in own:  # messages name a folder by its last part
            text = re.sub(rf"(?<!\w){re.escape(path.name)}(?!\w)", "FOLDER", text)
        for value in _personal(self._arguments):
            text = re.sub(rf"(?<!\w)(?<!--){re.escape(value)}(?!\w)", "VALUE", text)
        return _IMAGE_NAME.sub(r"IMAGE.\1", text)

    def _without_folders(self, text: str, more: Mapping[str, str] | None = None) -> str:
        words = {str(self._scratch.path): "SCRATCH", **{str(path): "SpinalCordSeg" for path in self._line.packages}}
        words |= {**(more or {}), str(Path.home()): "~"}
        for path in sorted(words, key=len, reverse=True):  # what lies in a folder before the folder itself
            text = text.replace(path, words[path])
        return text


def _personal(arguments: Sequence[str]) -> list[str]:
    """The values of such options, given as "--x=value" or "--x value", the longest first; never ""."""
    values = []
    for argument, after in zip(arguments, [*arguments[1:], ""], strict=True):
        name, _equals, value = argument.partition("=")
        if name in _PERSONAL:
            value = value if _equals else after
            values += [value, value.partition("=")[2]]  # a disc: "C2/C3=1.0,2.0,3.0"
    return sorted(filter(None, values), key=len, reverse=True)
