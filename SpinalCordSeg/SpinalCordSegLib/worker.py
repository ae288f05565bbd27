"""The child process that the panels start: runs one command of ours, and does not outlive its parent.

``python -m SpinalCordSegLib.worker MODULE[:FUNCTION] ARGUMENT…`` calls ``FUNCTION([ARGUMENT…])`` (default ``main``) and
exits with what it returns. The parent writes one line, the heartbeat, to standard input and keeps it open. When it is
closed (the parent ended, crashed or cancels), the work is interrupted as by Ctrl-C, then ended. A parent that writes
nothing is not watched: a launcher in between may not pass standard input on.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from SpinalCordSegLib.console import Reporter, add_command, length_mm, new_program, run_program, slice_range
from SpinalCordSegLib.errors import DeviceError
from SpinalCordSegLib.files import try_lock

HEARTBEAT = b"stay\n"
SCRATCH_VARIABLE = "SPINALCORDSEG_SCRATCH"

_TIME_TO_TIDY_S = 5.0
_LOCK_DROPS_S = 1.0
_CANCELLED = 130


def main(argv: Sequence[str]) -> int:
    """Run the command in ``argv``; returns the exit code."""
    gone = threading.Event()
    threading.Thread(target=_watch_parent, args=(gone,), daemon=True).start()
    module, _colon, function = argv[0].partition(":")
    try:
        return int(getattr(importlib.import_module(module), function or "main")(list(argv[1:])))
    except KeyboardInterrupt:
        return _CANCELLED
    finally:
        if gone.is_set():  # nobody else will remove what the parent left behind
            _tidy()


def _scratch_base() -> Path:
    return Path(os.environ.get(SCRATCH_VARIABLE) or tempfile.gettempdir())


def _watch_parent(gone: threading.Event) -> None:
    # Read from the system, not through sys.stdin: a thread that waits in there makes Python abort when it exits.
    descriptor = sys.stdin.fileno() if sys.stdin is not None else -1
    if descriptor < 0 or read_part(descriptor, len(HEARTBEAT)) != HEARTBEAT:
        return
    while read_part(descriptor):
        pass
    gone.set()
    signal.raise_signal(signal.SIGINT)
    threading.Timer(_TIME_TO_TIDY_S, _end).start()


def _end() -> None:
    """Work deep inside a library does not hear Ctrl-C."""
    _tidy()
    os._exit(_CANCELLED)


def _tidy() -> None:
    """Remove what the parent left. The system may drop its lock a moment after its end of the pipe."""
    end = time.monotonic() + _LOCK_DROPS_S
    while not remove_abandoned(_scratch_base()) and time.monotonic() < end:
        time.sleep(0.02)


# Standard input, read in a thread. On Windows a thread that waits in a read blocks everyone who asks the pipe for
# anything, and OpenBLAS asks while numpy is loaded (numpy issue 24290): there we wait outside the system's read.

_IS_WINDOWS = os.name == "nt"
_LOOK_S = 0.1
_UNKNOWN = 1 << 20


def read_part(descriptor: int, most: int = 1024) -> bytes:
    """What has come, at most so many bytes, once something has; b"" at the end of input. Raises OSError."""
    if _IS_WINDOWS:
        while not (waiting := _bytes_waiting(descriptor)):
            if waiting is None:
                return b""
            time.sleep(_LOOK_S)
        most = min(most, waiting)
    return os.read(descriptor, most)


def _bytes_waiting(descriptor: int) -> int | None:
    """How many can be read at once, None at the end; what is no pipe (a file, a console) may be read as it is."""
    import msvcrt

    waiting = ctypes.c_ulong()
    handle = msvcrt.get_osfhandle(descriptor)  # type: ignore[attr-defined, unused-ignore]
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined, unused-ignore]
    if kernel.PeekNamedPipe(ctypes.c_void_p(handle), None, 0, None, ctypes.byref(waiting), None):
        return waiting.value
    broken_pipe = 109
    error = ctypes.get_last_error()  # type: ignore[attr-defined, unused-ignore]
    return None if error == broken_pipe else _UNKNOWN


# Scratch folders: temporary folders with somebody's images, removed even if the program that made them crashed. The
# owner keeps a lock on a file in it; the system drops the lock when the owner ends, and any program of ours removes it.

PREFIX = "spinalcordseg-"
_LOCK_NAME = "owner.lock"


class ScratchFolder:
    """A folder of ours below ``base``; names in it are for the caller to choose, in ASCII."""

    def __init__(self, base: Path | None = None) -> None:
        """A new empty folder below ``base`` (the system's temporary folder without one). Raises OSError."""
        if base is not None:
            base.mkdir(parents=True, exist_ok=True)
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        self._lock = (self.path / _LOCK_NAME).open("wb")
        try_lock(self._lock)

    def remove(self) -> None:
        """Remove the folder and all in it; harmless when it is gone already. What cannot be removed yet is left."""
        self._lock.close()
        _remove(self.path)


def remove_abandoned(base: Path | None = None) -> int:
    """Remove the folders below ``base`` whose owners are gone; gives how many. Folders in use are left alone."""
    removed = 0
    for path in Path(base or tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if _is_abandoned(path):
            _remove(path)
            removed += not path.exists()
    return removed


def _remove(path: Path) -> None:
    """The lock's file last, and only when nothing else is left: by it the folder is known as ours the next time."""
    left = [one for one in path.glob("*") if one.name != _LOCK_NAME] if path.is_dir() else []
    for one in left:
        if one.is_dir() and not one.is_symlink():
            shutil.rmtree(one, ignore_errors=True)
        else:
            with suppress(OSError):  # open in another program: removed the next time
                one.unlink()
    if not any(one.exists() for one in left):
        shutil.rmtree(path, ignore_errors=True)


def _is_abandoned(path: Path) -> bool:
    try:
        with (path / _LOCK_NAME).open("rb+") as lock:
            return try_lock(lock)
    except OSError:  # no such folder of ours, or somebody else's and not for us to open
        return False


# Commands for the panels alone. Files have fixed names in the folder that the worker runs in.

RERUN_MASK = "rerun.nrrd"


def panel_main(argv: Sequence[str]) -> int:
    """Run one of: probe, rerun. Returns the exit code (see console.py)."""
    parser, commands = new_program("spinalcordseg-worker", "What the panels need and no user types.")
    asked = add_command(commands, "probe", _probe, "what can compute")
    asked.add_argument("--training", action="store_true")
    rerun = add_command(commands, "rerun", _rerun, "segment some slices of volume.nrrd again; mask.nrrd is the mask")
    rerun.add_argument("--slices", type=slice_range, required=True)
    rerun.add_argument("--model", type=Path, required=True)
    rerun.add_argument("--device", default="auto")
    rerun.add_argument("--threshold", type=float, default=0.5)
    rerun.add_argument("--smooth-z", type=length_mm, default=0.8)
    return run_program(parser, argv)


def _rerun(arguments: argparse.Namespace, reporter: Reporter) -> None:
    from SpinalCordSegLib.correction import rerun_slices
    from SpinalCordSegLib.image_io import read_image, read_labels, select_label, write_volume
    from SpinalCordSegLib.model.checkpoint import load_checkpoint

    image = read_image(Path("volume.nrrd")).volume
    chosen = image.from_input_range(*arguments.slices)
    found = rerun_slices(
        image,
        select_label(read_labels(Path("mask.nrrd")), None, "mask.nrrd"),
        load_checkpoint(arguments.model),
        chosen,
        threshold=arguments.threshold,
        smooth_z_mm=arguments.smooth_z,
        device=arguments.device,
        progress=lambda done, total: reporter.progress("segment", done, total),
    )
    write_volume(found, Path(RERUN_MASK))
    reporter.result("", mask=RERUN_MASK)


def _probe(arguments: argparse.Namespace, reporter: Reporter) -> None:
    reporter.result("", **probe(arguments.training))


def probe(training: bool = False) -> dict[str, Any]:
    """{"state": "ready" | "absent" | "broken", "detail", "devices": [{"name", "label"}]}, the best device first.

    ``training``: of torch, else of ONNX Runtime, and of a GPU where torch can use one. A package that is missing or
    broken is an answer: nothing is raised for it.
    """
    from SpinalCordSegLib.inference import gpu_is_likely

    package = "torch" if training else "onnxruntime"
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as error:
        return {"state": "absent", "detail": error.name or package, "devices": []}
    except _BROKEN_INSTALL as error:
        text = str(error).splitlines()
        return {"state": "broken", "detail": text[0] if text else type(error).__name__, "devices": []}
    devices = _gpus() if training or gpu_is_likely() else []
    return {"state": "ready", "detail": "", "devices": [*devices, {"name": "cpu", "label": "CPU"}]}


_BROKEN_INSTALL = (ImportError, OSError, RuntimeError, AttributeError)  # half an install, or a library that is gone


def _gpus() -> list[dict[str, str]]:
    """Labels are "NVIDIA RTX 3060, 12 GB" or "Apple GPU". Empty where torch finds none, or is broken."""
    try:
        import torch

        from SpinalCordSegLib.torch_inference import choose_device
    except _BROKEN_INSTALL:
        return []
    found = []
    for name in ("cuda", "mps"):
        try:
            device, _ = choose_device(name)
        except DeviceError:
            continue
        label = "Apple GPU"
        if name == "cuda":
            gigabytes = torch.cuda.get_device_properties(device).total_memory / 2**30
            label = f"{torch.cuda.get_device_name(device)}, {gigabytes:.0f} GB"
        found.append({"name": name, "label": label})
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
