"""One command in a process of its own, forked from this one so that nothing is imported twice: what it said, how it
ended, how long it took and how much memory it took.

Limits stand for a small machine: address space beyond what the process has already, seconds, and no core files.
"""

from __future__ import annotations

import faulthandler
import importlib
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

NOBODY = 65534
# imported once, before the forks; importing starts no thread, and nothing is computed in the first process
_WARM = (
    "SimpleITK", "torch", "torch._dynamo", "scipy.ndimage", "scipy.signal", "scipy.optimize", "pydicom", "safetensors.torch", "PIL.Image",
    "matplotlib.pyplot", "SpinalCordSegLib.cli", "SpinalCordSegLib.batch",
    "SpinalCordSegLib.pipeline", "SpinalCordSegLib.model.checkpoint", "SpinalCordSegLib.model.networks",
    "SpinalCordSegLib.inference", "SpinalCordSegLib.longitudinal.registration",
    "SpinalCordSegLib.longitudinal.report",
    "SpinalCordSegTrainerLib.cli", "SpinalCordSegTrainerLib.trainer",
    "SpinalCordSegTrainerLib.evaluation",
)  # fmt: skip
_CRASHED, _HANGS = 70, 71


@dataclass(frozen=True)
class Ended:
    """``code``: exit code, negative the signal that ended it. ``peak_mib``: resident at most, what was inherited
    counted too."""

    code: int
    said: str
    error: str
    seconds: float
    peak_mib: float

    @property
    def hung(self) -> bool:
        return self.code == -signal.SIGALRM or (self.code == 1 and "Timeout (" in self.error)


def warm_up() -> None:
    """Import what the commands need, so that every fork has it."""
    for name in _WARM:
        importlib.import_module(name)


def run_forked(
    call: Callable[[], int], scratch: Path, *, seconds: float = 60.0, more_mib: int = 1536, as_nobody: bool = False
) -> Ended:
    """Call ``call`` (it gives an exit code) in a fork; ``scratch``: a folder for what it says."""
    out, err = scratch / "said", scratch / "error"
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        _in_child(call, out, err, seconds, more_mib, as_nobody)
    _, status, used = os.wait4(child, 0)
    texts = [path.read_text(encoding="utf-8", errors="replace") if path.exists() else "" for path in (out, err)]
    code = os.waitstatus_to_exitcode(status)
    return Ended(code, texts[0], texts[1], time.monotonic() - started, used.ru_maxrss / 1024)


def _in_child(call: Callable[[], int], out: Path, err: Path, seconds: float, more_mib: int, as_nobody: bool) -> None:
    code = _CRASHED
    try:
        for number, path in ((1, out), (2, err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), number)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        limit = _address_space() + (more_mib << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        faulthandler.enable(2)
        faulthandler.dump_traceback_later(seconds, exit=True, file=2)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(seconds) + 10)
        if as_nobody and os.getuid() == 0:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        code = call()
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def fresh(folder: Path) -> Path:
    """An empty folder that anybody may use."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    return folder
