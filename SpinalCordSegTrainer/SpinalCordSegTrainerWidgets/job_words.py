"""What the panel says about the work at hand. No Qt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slicer.i18n import tr as _

from SpinalCordSegTrainerWidgets.training_run import TrainerRun
from SpinalCordSegWidgets.progress_text import ProgressText, duration


class JobWords:
    """For one run. ``stopping``: the user asked training to stop and it is saving."""

    def __init__(self) -> None:
        self.stopping = False

    def button(self, command: str, running: bool, stopping: bool) -> str:
        if running and command == "train":
            return _("Stop at once") if stopping else _("Stop")
        if running:
            return _("Cancel")
        names = {
            "check": _("Check the cases"),
            "find-lr": _("Find the bounds"),
            "train": _("Train"),
            "evaluate": _("Evaluate"),
        }
        return names[command]

    def tip(self, command: str, running: bool) -> str:
        if running and command == "train":
            return _("End after this update and save: the run can be resumed. Pressed again, it ends unsaved.")
        if running:
            return _("End it now.")
        tips = {
            "check": _("Read every image and label map, and say which can be used."),
            "find-lr": _("Raise the rate from 1e-10 to 10 over two epochs and see where the loss falls and rises."),
            "train": _("Train until all epochs are done, or validation gets no better."),
            "evaluate": _("Score the best model on the patients that were held out."),
        }
        return tips[command]

    def say(self, run: TrainerRun, pace: ProgressText) -> str:
        """ "Training: 34 of 300 updates, about 12 min left"."""
        if run.cancelled:
            return _("Cancelling…")
        if self.stopping:
            return _("Stopping after this update, then saving…")
        progress = run.progress
        stages = {
            "cases": _("Cases: {done} of {of}"),
            "range test": _("Range test: {done} of {of} updates"),
            "training": _("Training: {done} of {of} updates"),
        }
        if progress.stage not in stages or not progress.of:
            return _("Starting PyTorch…")
        words = stages[progress.stage].format(done=progress.done, of=progress.of)
        left = pace.seconds_left(progress)
        return words if left is None else _("{words}, {left} left").format(words=words, left=duration(left))

    def ended(self, run: TrainerRun) -> str:
        if run.failure is not None:
            return run.failure.message
        if run.cancelled:
            return _("Cancelled.")
        if run.stopped:
            return _("Stopped and saved; Resume goes on from here.")
        result = run.result or {}
        if run.command == "train":
            return _("Training ended: {reason}.").format(reason=result.get("reason", ""))
        if run.command == "find-lr" and not result.get("found", True):
            return str(result.get("note", ""))
        return ""

    def scores(self, scores: Mapping[str, Any]) -> str:
        """The evaluation in two lines."""
        return "\n".join(
            [
                _("{cases}: Dice per slice {dice}, MCC {mcc:.3f}").format(
                    cases=_held_out(scores["cases"]), dice=_spread(scores["dice_per_slice"], 3), mcc=scores["mcc"]
                ),
                _("Area error per slice {area} %").format(area=_spread(scores["csa_error_percent_per_slice"], 1)),
            ]
        )


def _held_out(count: int) -> str:
    return _("1 held-out case") if count == 1 else _("{n} held-out cases").format(n=count)


def _spread(figures: Mapping[str, Any], decimals: int) -> str:
    if not figures.get("n"):
        return _("not known")
    mean = f"{figures['mean']:.{decimals}f}"
    return mean if figures.get("sd") is None else f"{mean} ± {figures['sd']:.{decimals}f}"
