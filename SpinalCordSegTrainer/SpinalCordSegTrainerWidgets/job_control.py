"""At most one job at a time, watched by a timer, so that Slicer stays alive meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

from SpinalCordSegTrainerWidgets.job import TrainerJob

_POLL_MS = 100


class JobControl:
    """``changed`` is called at every step: begun, progress, ended."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._on_event: Callable[[dict[str, Any]], None] = _nothing
        self._on_end: Callable[[TrainerJob], None] = _nothing
        self.job: TrainerJob | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self._poll)

    @property
    def running(self) -> bool:
        return self.job is not None

    @property
    def command(self) -> str:
        """Of the job that runs: "check", "find-lr", "train", "evaluate"; "" when none does."""
        return "" if self.job is None else self.job.command

    def start(
        self, job: TrainerJob, on_event: Callable[[dict[str, Any]], None], on_end: Callable[[TrainerJob], None]
    ) -> None:
        """Watch a job that was begun."""
        self.close()
        self.job, self._on_event, self._on_end = job, on_event, on_end
        self._timer.start()
        self._changed()

    def cancel(self) -> None:
        if self.job is not None:
            self.job.cancel()
            self._changed()

    def close(self) -> None:
        """End what runs, without a word."""
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
            self._on_end(job)
        self._changed()


def _nothing(_thing: Any) -> None:
    return
