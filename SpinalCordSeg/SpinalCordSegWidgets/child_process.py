"""A command line of ours as a child process: JSON lines out of it without ever blocking, and a cancel that ends it all.

No Qt here: whoever has a timer calls ``poll``. One wrapper serves all versions of Slicer, Windows, macOS and Linux.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from SpinalCordSegLib.child import ATTACHED, LIFELINE, SCRATCH_VARIABLE, WAIT
from SpinalCordSegLib.errors import OutputError

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
        self._command = [python or python_executable(), "-m", "SpinalCordSegLib.child", *waits, module, *arguments]
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
                pipe.write(LIFELINE)
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
