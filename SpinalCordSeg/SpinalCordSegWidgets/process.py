"""A command line of ours as a child process: JSON lines out of it without ever blocking, and a cancel that ends it all.

No Qt here: whoever has a timer calls ``poll``. One wrapper serves all versions of Slicer, Windows, macOS and Linux.
"""

from __future__ import annotations

import json
import os
import platform
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

import qt
from slicer.i18n import tr as _

import SpinalCordSegLib.worker
from SpinalCordSegLib.errors import OutputError, SpinalCordSegError
from SpinalCordSegLib.files import explain
from SpinalCordSegLib.version import SOFTWARE_VERSION
from SpinalCordSegLib.volume import Volume
from SpinalCordSegLib.worker import ATTACHED, HEARTBEAT, SCRATCH_VARIABLE, WAIT, WAITED_IN_VAIN, ScratchFolder

_POLITE_S = 1.0  # from being asked to end until being ended
_KEPT_LINES = 200
_NO_WINDOW = 0x08000000  # Windows: CREATE_NO_WINDOW


def python_executable() -> str:
    """Slicer's Python where there is one, else the one that runs this."""
    return shutil.which("PythonSlicer") or sys.executable


class ChildProcess:
    """One run. ``start``, then ``poll`` until ``running`` is False; ``cancel`` ends it within two seconds.

    ``events``: what ``poll`` gives, the JSON objects of standard output in order. ``exit_code``: None while it runs,
    negative for a signal. ``attached``: one that waits has told that orders reach it. ``log``: the last lines of
    standard error and of what was not JSON.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        *,
        packages: Sequence[Path],
        folder: Path,
        python: str = "",
        waiting: bool = False,
    ) -> None:
        """``module``: with a ``main(argv)``, found in one of the folders ``packages``. ``folder``: to run in.

        ``waiting``: it gets ready with ``arguments``, in the folder above all runs', and runs at ``order``."""
        waits = [WAIT] if waiting else []
        self._command = [python or python_executable(), "-m", "SpinalCordSegLib.worker", *waits, module, *arguments]
        self._packages, self._folder = packages, folder
        self._scratch_base = folder if waiting else folder.parent
        self._process: subprocess.Popen[bytes] | None = None
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._log: deque[str] = deque(maxlen=_KEPT_LINES)
        self._readers: list[threading.Thread] = []
        self._kill_at: float | None = None
        self.cancelled, self.attached = False, False

    def start(self) -> None:
        """Raises OutputError when the system cannot start it."""
        options: dict[str, Any] = {"start_new_session": True}
        if os.name == "nt":
            group = subprocess.CREATE_NEW_PROCESS_GROUP  # type: ignore[attr-defined, unused-ignore]
            options = {"creationflags": group | _NO_WINDOW}
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                cwd=self._folder,
                env=_environment(self._packages, self._scratch_base),
                **options,
            )
        except OSError as error:
            raise OutputError(f"Python could not be started ({error.strerror}): reinstall Slicer") from error
        self._read(self._process.stdout, self._lines.put)
        self._read(self._process.stderr, self._keep)
        self._write_lifeline(self._process.stdin)

    def _write_lifeline(self, pipe: IO[bytes] | None) -> None:
        try:
            if pipe is not None:
                pipe.write(HEARTBEAT)
                pipe.flush()
        except OSError:  # it ended before it began; its exit code tells more
            return

    def order(self, arguments: Sequence[str], folder: Path) -> bool:
        """Let one that waits run, in ``folder``; False when it is not there any more."""
        if self._process is None or self.exit_code is not None or self._process.stdin is None:
            return False
        try:
            line = json.dumps({"arguments": list(arguments), "folder": str(folder)})
            self._process.stdin.write(line.encode("ascii") + b"\n")
            self._process.stdin.flush()
        except OSError:
            return False
        return True

    def _read(self, pipe: IO[bytes] | None, keep: Any) -> None:
        def pump() -> None:
            if pipe is not None:
                with pipe:
                    for line in pipe:
                        keep(line)

        reader = threading.Thread(target=pump, daemon=True)
        reader.start()
        self._readers.append(reader)

    def _keep(self, line: bytes) -> None:
        self._log.append(line.decode("utf-8", "replace").rstrip())

    @property
    def log(self) -> str:
        return "\n".join(self._log)

    @property
    def process_id(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    @property
    def running(self) -> bool:
        """True until the process has ended and everything that it said has been polled."""
        if self._process is None:
            return False
        if self.exit_code is None or self._kill_at is not None:
            return True
        return any(r.is_alive() for r in self._readers) or not self._lines.empty()

    def poll(self) -> list[dict[str, Any]]:
        """The events since the last call; never waits. Ends a cancelled process whose time is up."""
        if self._kill_at is not None and (time.monotonic() >= self._kill_at or self.exit_code is not None):
            self._kill_at = None  # once it has ended itself, what it started and left behind
            self._end_tree(at_once=True)
        events = []
        while not self._lines.empty():
            event = self._parsed(self._lines.get())
            if event == {"event": ATTACHED}:
                self.attached = True
            elif event is not None:
                events.append(event)
        return events

    def _parsed(self, line: bytes) -> dict[str, Any] | None:
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            self._keep(line)
            return None
        return event

    def cancel(self) -> None:
        """Ask it to end, now; ``poll`` or ``end`` makes sure of it. Harmless when it has ended."""
        self.cancelled = True
        if self._process is None or self.exit_code is not None or self._kill_at is not None:
            return
        self._kill_at = time.monotonic() + _POLITE_S
        self._close_lifeline()
        self._end_tree(at_once=False)

    def end(self) -> None:
        """Cancel and wait, two seconds at most: for the moments after which nobody polls."""
        self.cancel()
        if self._process is None:
            return
        try:
            self._process.wait(_POLITE_S)
        except subprocess.TimeoutExpired:
            self._end_tree(at_once=True)
            with suppress(subprocess.TimeoutExpired):  # held by a driver or a disk of the network: the system's now
                self._process.wait(_POLITE_S)
        else:
            self._end_tree(at_once=True)  # what it started and left behind
        self._kill_at = None

    def _close_lifeline(self) -> None:
        try:
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.close()
        except OSError:  # the other end is gone already
            return

    def _end_tree(self, at_once: bool) -> None:
        """The process and all that it started: PythonSlicer is a launcher, ending it alone leaves Python alive."""
        if self._process is None or (self.exit_code is not None and os.name == "nt"):
            return
        if os.name == "nt":
            if at_once:  # asking politely was closing its lifeline
                kill = ["taskkill", "/T", "/F", "/PID", str(self._process.pid)]
                subprocess.run(kill, check=False, capture_output=True, creationflags=_NO_WINDOW)
            return
        try:
            os.killpg(self._process.pid, signal.SIGKILL if at_once else signal.SIGTERM)
        except ProcessLookupError:  # all of them have ended
            return


def _environment(packages: Sequence[Path], scratch_base: Path) -> dict[str, str]:
    environment = dict(os.environ)
    environment.pop("PYTHONSTARTUP", None)
    former = environment.get("PYTHONPATH")
    paths = [str(path) for path in packages] + ([former] if former else [])
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    environment["PYTHONUTF8"] = "1"
    environment["PYTHONUNBUFFERED"] = "1"
    environment[SCRATCH_VARIABLE] = str(scratch_base)
    return environment


# How far a run is and how long it will take, in words. No Qt.


_SURE_AFTER_S, _SURE_AFTER_SHARE = 1.0, 0.02


@dataclass(frozen=True)
class Progress:
    """A stage of the command line, and slices done ``of`` all; 0 of 0: not counted."""

    stage: str = "start"
    done: int = 0
    of: int = 0


@dataclass
class ProgressText:
    """Words for progress as it comes in; ``clock`` gives seconds."""

    clock: Callable[[], float] = time.monotonic
    _began: dict[str, tuple[float, int]] = field(default_factory=dict)

    def say(self, progress: Progress) -> str:
        """ "Slice 34 of 170, about 12 s left"; without the time while it could only be guessed."""
        if not progress.of:
            return {
                "start": _("Starting PyTorch…"),
                "read": _("Reading the image…"),
                "measure": _("Measuring…"),
            }.get(progress.stage, _("Working…"))
        words = _("Slice {done} of {of}").format(done=progress.done, of=progress.of)
        left = self.seconds_left(progress)
        return words if left is None else _("{slices}, {left} left").format(slices=words, left=duration(left))

    def seconds_left(self, progress: Progress) -> float | None:
        """From the pace since the stage's first slices; None while that is too short to tell."""
        now = self.clock()
        began, first = self._began.setdefault(progress.stage, (now, progress.done))
        done, took = progress.done - first, now - began
        if took < _SURE_AFTER_S or done < max(1, _SURE_AFTER_SHARE * progress.of):
            return None
        return took / done * (progress.of - progress.done)


def duration(seconds: float) -> str:
    """ "about 12 s", "about 3 min"."""
    if seconds < 90:
        return _("about {seconds} s").format(seconds=max(1, round(seconds)))
    return _("about {minutes} min").format(minutes=round(seconds / 60))


# One run of a command line of ours for a panel: scratch folder, child process, what came of it. No Qt.
#
# The scene is not touched: it may be closed, and nodes deleted, while the child works.


LIBRARY = Path(SpinalCordSegLib.worker.__file__).resolve().parents[1]  # the folder that Python finds our packages in
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
            self._scratch = ScratchFolder(base)
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
            from SpinalCordSegLib.image_io import write_volume  # SimpleITK: not when the panel opens

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


# At most one run at a time, watched by a timer, so that Slicer stays alive meanwhile.


_POLL_MS = 100


class RunControl:
    """``changed`` is called at every step: begun, progress, ended. ``failure``: of the last run, else None.
    ``pace``: of the run that is watched, for the time that is left."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._on_result: Callable[[Any], None] = _nothing
        self._on_event: Callable[[dict[str, Any]], None] = _nothing
        self._on_end: Callable[[CommandRun[Any]], None] = _nothing
        self.run: CommandRun[Any] | None = None
        self.pace = ProgressText()
        self.failure: Failure | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self._poll)

    @property
    def running(self) -> bool:
        return self.run is not None

    @property
    def cancelling(self) -> bool:
        return self.run is not None and self.run.cancelled

    @property
    def progress(self) -> Progress:
        return Progress() if self.run is None else self.run.progress

    @property
    def command(self) -> str:
        """Of the run that is watched: "segment", "train", …; "" when none is."""
        return "" if self.run is None else self.run.command

    def start(
        self,
        run: CommandRun[Any],
        on_result: Callable[[Any], None] | None = None,
        *,
        on_event: Callable[[dict[str, Any]], None] | None = None,
        on_end: Callable[[CommandRun[Any]], None] | None = None,
    ) -> None:
        """Watch a run that was begun. ``on_result`` gets what it gave, ``on_end`` the run however it ended."""
        self.close()
        self._on_result, self._on_event = on_result or _nothing, on_event or _nothing
        self._on_end = on_end or _nothing
        self.run, self.pace, self.failure = run, ProgressText(), None
        self._timer.start()
        self._poll()

    def cancel(self) -> None:
        if self.run is not None:
            self.run.cancel()
            self._poll()

    def close(self) -> None:
        """End what runs, without a word."""
        self._timer.stop()
        if self.run is not None:
            self.run.close()
            self.run = None

    def _poll(self) -> None:
        run = self.run
        if run is None:
            return
        for event in run.poll():
            self._on_event(event)
        if not run.running:
            self.close()
            self.failure = run.failure
            if run.result is not None:
                self._on_result(run.result)
            self._on_end(run)
        self._changed()


def _nothing(_thing: Any) -> None:
    return
