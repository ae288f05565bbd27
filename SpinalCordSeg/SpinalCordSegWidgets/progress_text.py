"""How far a run is and how long it will take, in words. No Qt."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from slicer.i18n import tr as _

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
