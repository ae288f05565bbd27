"""Where a command's time goes: functions of the program wrapped while it runs, nothing of it changed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any


class Stopwatch:
    """``seconds``: per stage, summed over threads (a stage of two threads at once counts twice)."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    def wrap(self, owner: Any, name: str, stage: str) -> None:
        """Time every call of ``owner.name`` from now on."""
        setattr(owner, name, self.timed(getattr(owner, name), stage))

    def timed(self, function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.add(stage, time.perf_counter() - started)

        return run

    def add(self, stage: str, seconds: float) -> None:
        with self._lock:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
