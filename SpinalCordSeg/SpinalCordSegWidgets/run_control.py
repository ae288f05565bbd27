"""At most one run at a time, watched by a timer, so that Slicer stays alive meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

from SpinalCordSegWidgets.command_run import CommandRun, Failure
from SpinalCordSegWidgets.progress_text import Progress, ProgressText

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
