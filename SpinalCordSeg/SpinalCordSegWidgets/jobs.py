"""Work for the panels, done by a child process so that Slicer stays alive.

``Job`` is one command in a process and a temporary folder of its own, ``JobControl`` the timer that watches one job.
The functions at the end begin the jobs of the SpinalCordSeg panel. No job touches the scene: nodes may be deleted
while it runs.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import signal
import subprocess  # noqa: TID251  (the panel's own command line)
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import qt
import slicer
from slicer.i18n import tr as _

import SpinalCordSegLib.worker
from SpinalCordSegLib.errors import OutputError, SpinalCordSegError
from SpinalCordSegLib.files import explain
from SpinalCordSegLib.identity import private_values, without_values
from SpinalCordSegLib.model.checkpoint import publish_model
from SpinalCordSegLib.version import SOFTWARE_VERSION
from SpinalCordSegLib.volume import Volume
from SpinalCordSegLib.worker import HEARTBEAT, RERUN_MASK, SCRATCH_VARIABLE, ScratchFolder
from SpinalCordSegNodes.editing import ai_mask_of
from SpinalCordSegNodes.results import read_case_folder, result_of, write_result_folder
from SpinalCordSegNodes.segmentations import mask_of_segment, volume_behind, volume_node_of
from SpinalCordSegNodes.views import Discs
from SpinalCordSegNodes.volumes import case_name_of, volume_from_node

if TYPE_CHECKING:
    from SpinalCordSegLib.case import Case

LIBRARY = Path(SpinalCordSegLib.worker.__file__).resolve().parents[1]  # the folder that Python finds our packages in

_POLITE_S = 1.0  # from being asked to end until being ended
_KEPT_LINES = 200
_EVENTS, _LOG = "events.jsonl", "log.txt"  # standard output and standard error
_NO_WINDOW = 0x08000000  # Windows: CREATE_NO_WINDOW
_STOPPED = 130
_OUT_OF_MEMORY = (-9, 137)


def scratch_base() -> Path:
    """Where temporary folders are made."""
    return Path(slicer.app.temporaryPath)


@dataclass(frozen=True)
class Progress:
    """A stage, and slices or steps done ``of`` all; 0 of 0: not counted. ``seconds_left``: None while unknown."""

    stage: str = "start"
    done: int = 0
    of: int = 0
    seconds_left: float | None = None

    def text(self) -> str:
        """ "Slice 34 of 170, about 12 s left"."""
        if not self.of:
            stages = {"start": _("Starting…"), "read": _("Reading the image…"), "measure": _("Measuring…")}
            return stages.get(self.stage, _("Working…"))
        text = _("Learning: {done} of {of} updates") if self.stage == "learning" else _("Slice {done} of {of}")
        return self.with_time_left(text.format(done=self.done, of=self.of))

    def with_time_left(self, text: str) -> str:
        if self.seconds_left is None:
            return text
        if self.seconds_left < 90:
            return _("{text}, about {seconds} s left").format(text=text, seconds=max(1, round(self.seconds_left)))
        return _("{text}, about {minutes} min left").format(text=text, minutes=round(self.seconds_left / 60))


@dataclass(frozen=True)
class Failure:
    """Why a job gave nothing. ``message``: for the user. ``report``: for whoever is asked for help; no patient data."""

    message: str
    report: str


Outcome = TypeVar("Outcome")


class Job(Generic[Outcome]):
    """Call ``poll`` now and then until ``running`` is False. Then there is a ``result``, or it was ``stopped`` in order
    (asked to, and saved), or there is a ``failure``, or none of them (cancelled). ``close`` when done with it: that
    ends what still runs and removes the images from the disk."""

    def __init__(
        self,
        program: str,
        arguments: Sequence[str],
        read: Callable[[Path, dict[str, Any]], Outcome],
        *,
        images: Mapping[str, Volume] | None = None,
        prepare: Callable[[Path], None] = lambda _folder: None,
        packages: Sequence[Path] = (LIBRARY,),
    ) -> None:
        """Begin. ``program``: MODULE or MODULE:FUNCTION, found in one of the folders ``packages``. It runs in a
        temporary folder, into which ``images`` and what ``prepare`` writes come. ``arguments``: with names in the
        folder, relative. ``read``: from the folder and the "result" event ({} without one) to the result.

        Raises SpinalCordSegError when the inputs cannot be written or Python cannot be started; nothing is left then.
        """
        self._arguments, self._packages, self._read = [*arguments, "--progress", "json"], packages, read
        self.progress, self.cancelled, self.stopped = Progress(), False, False
        self.result: Outcome | None = None
        self.failure: Failure | None = None
        self._messages: list[str] = []
        self._result_event: dict[str, Any] = {}
        self._kill_at: float | None = None
        self._unread = b""
        base = scratch_base()
        try:
            self._scratch = ScratchFolder(base)
        except OSError as error:
            raise OutputError(f"no folder for the run can be made in {base}: {explain(error)}") from error
        self.folder = self._scratch.path
        try:
            write_images(self.folder, images or {})
            prepare(self.folder)
            self._start(program)
        except (SpinalCordSegError, OSError) as error:
            self._scratch.remove()
            if isinstance(error, SpinalCordSegError):
                raise
            raise OutputError(f"cannot write into {self.folder}: {explain(error)}") from error
        self.running = True

    def _start(self, program: str) -> None:
        """Output goes into files, so that nobody has to wait at a pipe. Raises OSError, OutputError."""
        python = shutil.which("PythonSlicer") or sys.executable
        command = [python, "-m", "SpinalCordSegLib.worker", program, *self._arguments]
        options: dict[str, Any] = {"start_new_session": True}
        if os.name == "nt":
            group = subprocess.CREATE_NEW_PROCESS_GROUP  # type: ignore[attr-defined, unused-ignore]
            options = {"creationflags": group | _NO_WINDOW}
        options |= {"cwd": self.folder, "env": _environment(self._packages, self.folder.parent)}
        with (self.folder / _EVENTS).open("wb") as events, (self.folder / _LOG).open("wb") as log:
            try:
                process: Any = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=events, stderr=log, **options)
            except OSError as error:
                raise OutputError(f"Python could not be started ({error.strerror}): reinstall Slicer") from error
        self._process = process
        self._events = (self.folder / _EVENTS).open("rb")
        with suppress(OSError):  # it has ended; its exit code tells more
            process.stdin.write(HEARTBEAT)
            process.stdin.flush()

    @property
    def command(self) -> str:
        """ "segment", "train", …"""
        return self._arguments[0]

    @property
    def exit_code(self) -> int | None:
        """None while it runs, negative for a signal."""
        code: int | None = self._process.poll()
        return code

    def poll(self) -> list[dict[str, Any]]:
        """The events since the last call; never waits. Ends a cancelled process whose time is up."""
        if not self.running:
            return []
        if self._kill_at is not None and (time.monotonic() >= self._kill_at or self.exit_code is not None):
            self._kill_at = None
            self._end_tree(at_once=True)  # once it has ended itself: what it started and left behind
        has_ended = self.exit_code is not None and self._kill_at is None  # asked before its last events are read
        events = self._new_events()
        for event in events:
            self._take(event)
        if has_ended:
            self.running = False
            self._finish()
        return events

    def _new_events(self) -> list[dict[str, Any]]:
        """Whole lines of JSON; others are of libraries that print."""
        *lines, self._unread = (self._unread + self._events.read()).split(b"\n")
        events = []
        for line in lines:
            with suppress(ValueError):
                events.append(json.loads(line))
        return [event for event in events if isinstance(event, dict)]

    def cancel(self) -> None:
        """Ask it to end, now; ``poll`` or ``close`` makes sure of it. Harmless when it has ended."""
        self.cancelled = True
        if self.exit_code is None and self._kill_at is None:
            self._kill_at = time.monotonic() + _POLITE_S
            with suppress(OSError):  # the other end is gone already
                self._process.stdin.close()
            self._end_tree(at_once=False)

    def close(self) -> None:
        """End it, and all that it started, in two seconds at most, and remove its folder."""
        if self.exit_code is None:
            self.cancel()
        for _time in range(2):  # the second time: held by a driver or a disk of the network, the system's now
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_POLITE_S)
            self._end_tree(at_once=True)
        self.running = False
        self._events.close()
        self._scratch.remove()

    def _end_tree(self, at_once: bool) -> None:
        """The process and all that it started: PythonSlicer is a launcher, ending it alone leaves Python alive."""
        if os.name == "nt":
            if at_once and self.exit_code is None:  # asking politely was closing its standard input
                kill = ["taskkill", "/T", "/F", "/PID", str(self._process.pid)]
                subprocess.run(kill, check=False, capture_output=True, creationflags=_NO_WINDOW)
            return
        with suppress(ProcessLookupError):  # all of them have ended
            os.killpg(self._process.pid, signal.SIGKILL if at_once else signal.SIGTERM)

    def _take(self, event: dict[str, Any]) -> None:
        kind = event.get("event")
        if kind == "progress":
            self.progress = Progress(
                str(event.get("stage")), int(event.get("done", 0)), int(event.get("of", 0)), event.get("seconds_left")
            )
        elif kind == "result":
            self._result_event = event
        elif kind == "error":
            self._messages.append(str(event.get("message")))

    def _finish(self) -> None:
        code = self.exit_code
        if self.cancelled:
            return
        if code == 0 or (code == 1 and self._result_event):  # 1: done, and some case was refused
            try:
                self.result = self._read(self.folder, self._result_event)
            except SpinalCordSegError as error:
                self.failure = Failure(str(error), self._report(code))
        elif code == _STOPPED:
            self.stopped = True
        else:
            self.failure = Failure(self._why(code), self._report(code))

    def _why(self, code: int | None) -> str:
        if self._messages:
            return without_values(self._messages[-1], self._folders())
        if code in _OUT_OF_MEMORY:
            return _(
                "The system ended the run, probably because memory ran out: close other programs (or train with a"
                " smaller batch)."
            )
        text = _("The run ended unexpectedly (exit code {code}). If it happens again, copy the report and ask.")
        return text.format(code=code)

    def _report(self, code: int | None) -> str:
        """What is needed to understand a failure, without names of files or folders, which are named after people, and
        without anything that was typed about a person."""
        log = (self.folder / _LOG).read_text(encoding="utf-8", errors="replace")
        lines = [
            f"SpinalCordSeg {SOFTWARE_VERSION}, {platform.platform()}, Python {platform.python_version()}",
            f"command: {' '.join(self._arguments)}",
            f"exit code: {code}; last: {self.progress}",
            *self._messages,
            *log.splitlines()[-_KEPT_LINES:],
        ]
        return without_values("\n".join(lines), self._folders() | private_values(self._arguments), images=True)

    def _folders(self) -> dict[str, str]:
        own = {str(self.folder): "SCRATCH", str(Path.home()): "~"}
        return own | {str(path): "SpinalCordSeg" for path in self._packages}


def _environment(packages: Sequence[Path], base: Path) -> dict[str, str]:
    environment = dict(os.environ)
    environment.pop("PYTHONSTARTUP", None)
    paths = [*map(str, packages), *filter(None, [environment.get("PYTHONPATH")])]
    own = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}
    return environment | own | {SCRATCH_VARIABLE: str(base)}


_POLL_MS = 100


class JobControl:
    """At most one job at a time, watched by a timer. ``changed`` is called at every step: begun, progress, ended.
    ``failure``: of the last job, else None."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self.job: Job[Any] | None = None
        self.failure: Failure | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self._poll)

    @property
    def running(self) -> bool:
        return self.job is not None

    @property
    def cancelling(self) -> bool:
        return self.job is not None and self.job.cancelled

    @property
    def progress(self) -> Progress:
        return Progress() if self.job is None else self.job.progress

    @property
    def command(self) -> str:
        """Of the job that is watched: "segment", "train", …; "" without one."""
        return "" if self.job is None else self.job.command

    def start(
        self,
        job: Job[Any],
        on_result: Callable[[Any], None] = lambda _result: None,
        *,
        on_event: Callable[[dict[str, Any]], None] = lambda _event: None,
        on_end: Callable[[Job[Any]], None] = lambda _job: None,
    ) -> None:
        """Watch a job that was begun. ``on_result`` gets what it gave, ``on_end`` the job however it ended."""
        self.close()
        self._on_result, self._on_event, self._on_end = on_result, on_event, on_end
        self.job, self.failure = job, None
        self._timer.start()
        self._poll()

    def cancel(self) -> None:
        if self.job is not None:
            self.job.cancel()
            self._poll()

    def close(self) -> None:
        """End what runs, silently."""
        self._timer.stop()
        if self.job is not None:
            self.job.close()
            self.job = None

    def _poll(self) -> None:
        job = self.job
        if job is None:
            return
        for event in job.poll():
            self._on_event(event)
        if not job.running:
            self.close()
            self.failure = job.failure
            if job.result is not None:
                self._on_result(job.result)
            self._on_end(job)
        self._changed()


PROGRAM, TRAINER = "SpinalCordSegLib.cli", "SpinalCordSegTrainerLib.cli"
PANEL_PROGRAM = "SpinalCordSegLib.worker:panel_main"


# The jobs of the SpinalCordSeg panel. All raise SpinalCordSegError when they cannot begin.

RESULTS = "results"  # what a command is given as --output, below the folder it runs in
IMAGE, CASE, _MASK = "volume.nrrd", "case", "mask.nrrd"
_OUTPUT = ("--output", RESULTS, "--mask-format", "nrrd")


def write_images(folder: Path, images: Mapping[str, Volume]) -> None:
    """By their names, uncompressed: Slicer waits for it. Raises OutputError."""
    if images:
        from SpinalCordSegLib.image_io import write_volume  # SimpleITK: not when the panel opens
    for name, volume in images.items():
        write_volume(volume, folder / name, compress=False)


def segment_job(volume_node: Any, model: Path, device: str) -> Job[Case]:
    """Find the cord in a volume and measure it."""
    name = case_name_of(slicer.mrmlScene, volume_node)
    arguments = ["segment", IMAGE, *_OUTPUT, "--code", name, "--model", str(model), "--device", device]
    return Job(PROGRAM, arguments, _read_case, images={IMAGE: volume_from_node(volume_node)})


def _read_case(folder: Path, event: dict[str, Any]) -> Case:
    return read_case_folder(folder / str(event.get("folder")))


def measure_job(segmentation: Any, segment_id: str, by: str = "") -> Job[Case]:
    """Measure a mask of the scene in full: the AI's as corrected by a person (``by``), any other as a mask made
    elsewhere."""
    mask = mask_of_segment(segmentation, segment_id)
    image = volume_behind(segmentation, mask)
    images = {_MASK: mask} if image is None else {_MASK: mask, IMAGE: image}
    options = [] if image is None else ["--image", IMAGE]
    owner = volume_node_of(segmentation) or segmentation
    options += Discs(owner).arguments()
    ai, result = ai_mask_of(segmentation, segment_id), result_of(segmentation)
    if ai is None or result is None:
        name = case_name_of(slicer.mrmlScene, owner)
        return Job(PROGRAM, ["measure", _MASK, *_OUTPUT, "--code", name, *options], _read_case, images=images)
    return Job(
        PROGRAM,
        ["correct", CASE, _MASK, "--by", by, *options],
        lambda folder, _event: read_case_folder(folder / CASE),
        images=images,
        prepare=lambda folder: write_result_folder(result, segment_id, folder / CASE, ai_mask=ai),
    )


def store_job(
    case: Path, mask: Volume, image: Path | None, by: str, *, reopen: bool = False, discs: Sequence[str] = ()
) -> Job[Case]:
    """A corrected mask into the case's own folder; the result is the case as its folder has it then. ``by``: who
    corrected; ``image``: for the pictures; ``reopen``: also where the case was accepted; ``discs``: see
    ``Discs.arguments``."""
    arguments = ["correct", str(case), _MASK, "--by", by, *(["--reopen"] if reopen else []), *discs]
    arguments += ["--image", str(image)] if image is not None else []
    return Job(PROGRAM, arguments, lambda _folder, _event: read_case_folder(case), images={_MASK: mask})


def rerun_job(
    image: Volume, mask: Volume, slices: tuple[int, int], *, model: Path, device: str, case: Case | None
) -> Job[Volume]:
    """The whole mask with ``slices`` (the input's own, both included) segmented again by ``model``, with the case's
    threshold and smoothing."""
    arguments = ["rerun", "--slices", f"{slices[0]}:{slices[1] + 1}", "--model", str(model), "--device", device]
    if case is not None and case.threshold is not None and case.smooth_z_mm is not None:
        arguments += ["--threshold", str(case.threshold), "--smooth-z", str(case.smooth_z_mm)]

    def read(folder: Path, _event: dict[str, Any]) -> Volume:
        from SpinalCordSegLib.image_io import read_labels

        return read_labels(folder / RERUN_MASK)

    return Job(PANEL_PROGRAM, arguments, read, images={IMAGE: image, _MASK: mask})


def trainer_packages() -> tuple[Path, ...]:
    """Where Python finds the trainer and this library: one folder once installed, two in a checkout; () without it."""
    found = importlib.util.find_spec("SpinalCordSegTrainerLib")
    return () if found is None else tuple(dict.fromkeys((LIBRARY, Path(str(found.origin)).resolve().parents[1])))


def learn_job(cases: Path, model: Path, device: str) -> Job[tuple[str, Path | None]]:
    """Teach ``model`` the cases of a training set. The result: what that changed, as text, and the new model among the
    user's own, or None where it is no better."""
    arguments = ["train", str(cases), "--recipe", "corrections", "--from", str(model)]

    def read(folder: Path, event: dict[str, Any]) -> tuple[str, Path | None]:
        return str(event["reason"]), publish_model(folder / str(event["model"])) if event["offered"] else None

    arguments += ["--device", device, "--output", RESULTS]
    return Job(TRAINER, arguments, read, packages=trainer_packages())
