"""Live progress on the terminal: one line that moves, one line per finished epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from SpinalCordSegTrainerLib.evaluation import CaseScore
from SpinalCordSegTrainerLib.training import Progress

_LOG_EVERY = 50  # updates, where the output is a file


class ProgressDisplay:
    """Use as a context; call it with each Progress of a training run. Written to stderr."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar = Bar(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]} rate {task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("training", epoch="-", loss="-", rate="-")
        self._smooth = math.nan

    def __enter__(self) -> ProgressDisplay:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        if math.isfinite(progress.loss):
            old = self._smooth if math.isfinite(self._smooth) else progress.loss
            self._smooth = 0.95 * old + 0.05 * progress.loss
        self._bar.update(
            self._task,
            completed=progress.update,
            total=progress.updates,
            epoch=f"{progress.epoch}/{progress.epochs}",
            loss=f"{self._smooth:.4f}",
            rate=f"{progress.rate:.1e}",
        )
        if progress.row is not None:
            self._console.print(_epoch_line(progress), highlight=False, soft_wrap=True)
        elif not self._console.is_terminal and progress.update % _LOG_EVERY == 0:
            line = f"update {progress.update}/{progress.updates} loss {self._smooth:.4f} rate {progress.rate:.2e}"
            self._console.print(f"{line} {progress.seconds / 60:.1f} min", highlight=False, soft_wrap=True)


def _epoch_line(progress: Progress) -> str:
    row = progress.row or {}
    names = {"train_loss": "loss", "loss": "validation", "dice": "Dice", "mcc": "MCC", "area_percent": "area %"}
    parts = [f"{label} {row[name]:.4f}" for name, label in names.items() if row.get(name) is not None]
    mark = " (best)" if row.get("best") else ""
    return f"epoch {progress.epoch}/{progress.epochs}: {', '.join(parts)}{mark}, {progress.seconds / 60:.1f} min"


class StepDisplay:
    """A plain bar for work that counts (done, total). Use as a context; written to stderr, only on a terminal."""

    def __init__(self, name: str) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Bar(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task(name, total=None)

    def __enter__(self) -> StepDisplay:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total)


def print_scores(scores: Sequence[CaseScore], told: dict[str, Any]) -> None:
    """One line per case and the summary, on stdout."""
    console = Console()
    table = Table("case", "Dice", "HD95 mm", "CSA error %", "volume error %", "slices missed")
    for case in scores:
        missed = sum(one.found_mm2 == 0 for one in case.slices if one.true_mm2)
        figures = (f"{case.dice:.3f}", f"{case.hd95_mm:.2f}", f"{case.csa_error_percent:+.1f}")
        table.add_row(case.case, *figures, f"{case.volume_error_percent:+.1f}", str(missed))
    console.print(table)
    for name in ("dice_per_slice", "dice_per_case", "csa_error_percent_per_slice"):
        one = told[name]
        if one["n"]:
            spread = "" if one["sd"] is None else f" ± {one['sd']:.3f}"
            quartiles = f"P25 {one['p25']:.3f}, P50 {one['p50']:.3f}, P75 {one['p75']:.3f}"
            console.print(f"{name}: {one['mean']:.3f}{spread}, {quartiles}, n {one['n']}", highlight=False)
    console.print(f"MCC {told['mcc']:.4f}", highlight=False)
    console.print(told["empty_rule"], highlight=False, soft_wrap=True)
