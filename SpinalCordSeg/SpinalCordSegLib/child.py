"""Runs a command line of ours for a parent program, and does not outlive it.

``python -m SpinalCordSegLib.child MODULE ARGUMENT…`` calls ``MODULE.main([ARGUMENT…])`` and exits with what it gives.
The parent writes one line to standard input and keeps it open: the lifeline. When it is closed (the parent ended, or
crashed, or cancels), the work is interrupted as by Ctrl-C, then ended. A parent that writes nothing gives no lifeline:
programs in between may not pass standard input on, and that must not look like a parent that is gone.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from SpinalCordSegLib.scratch import remove_abandoned

LIFELINE = b"stay\n"
SCRATCH_VARIABLE = "SPINALCORDSEG_SCRATCH"
_CANCELLED = 130
_TIME_TO_TIDY_S = 5.0


def main(argv: Sequence[str]) -> int:
    """Run ``argv[0]``.main with the rest of ``argv``; returns its exit code."""
    gone = threading.Event()
    threading.Thread(target=_watch_lifeline, args=(gone,), daemon=True).start()
    code = _CANCELLED
    try:
        code = int(importlib.import_module(argv[0]).main(list(argv[1:])))
    except KeyboardInterrupt:
        code = _CANCELLED
    finally:
        if gone.is_set():  # nobody else will remove what the parent left behind
            remove_abandoned(_scratch_base())
    return code


def _scratch_base() -> Path:
    return Path(os.environ.get(SCRATCH_VARIABLE) or tempfile.gettempdir())


def _watch_lifeline(gone: threading.Event) -> None:
    # Read from the system, not through sys.stdin: a thread that waits in there makes Python abort when it exits.
    lifeline = sys.stdin.fileno() if sys.stdin is not None else -1
    if lifeline < 0 or os.read(lifeline, len(LIFELINE)) != LIFELINE:
        return
    while os.read(lifeline, 1024):
        pass
    gone.set()
    signal.raise_signal(signal.SIGINT)
    threading.Timer(_TIME_TO_TIDY_S, _end).start()


def _end() -> None:
    """Work deep inside a library does not hear Ctrl-C."""
    remove_abandoned(_scratch_base())
    os._exit(_CANCELLED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
