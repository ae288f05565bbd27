"""At most one run at a time, watched by a timer, so that Slicer stays alive meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import qt

from SpinalCordSegNodes.case_folder import CaseFolder
from SpinalCordSegWidgets.cord_run import CordRun, Failure
from SpinalCordSegWidgets.progress_text import Progress, ProgressText

_POLL_MS = 100


class RunControl:
    """``changed`` is called at every step: begun, progress, ended. ``failure``: of the last run, else None."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._run: CordRun | None = None
        self._on_case: Callable[[CaseFolder], None] = _nothing
        self._words = ProgressText()
        self.text = ""
        self.failure: Failure | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self._poll)

    @property
    def running(self) -> bool:
        return self._run is not None

    @property
    def cancelling(self) -> bool:
        return self._run is not None and self._run.cancelled

    @property
    def progress(self) -> Progress:
        return Progress() if self._run is None else self._run.progress

    def start(self, run: CordRun, on_case: Callable[[CaseFolder], None]) -> None:
        """Watch a run that was begun; ``on_case`` gets what it found."""
        self.close()
        self._run, self._on_case, self._words, self.failure = run, on_case, ProgressText(), None
        self._timer.start()
        self._poll()

    def cancel(self) -> None:
        if self._run is not None:
            self._run.cancel()
            self._poll()

    def close(self) -> None:
        """End what runs, without a word."""
        self._timer.stop()
        if self._run is not None:
            self._run.close()
            self._run = None

    def _poll(self) -> None:
        run = self._run
        if run is None:
            return
        run.poll()
        if run.running:
            self.text = self._words.say(run.progress)
        else:
            self.close()
            self.failure = run.failure
            if run.case is not None:
                self._on_case(run.case)
        self._changed()


def _nothing(_case: CaseFolder) -> None:
    return
