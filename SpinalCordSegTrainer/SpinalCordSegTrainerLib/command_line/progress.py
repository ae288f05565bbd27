"""Live progress: on the terminal one line that moves and one per finished epoch; for a program JSON lines on stdout.

JSON lines: {"event": "progress", "stage", "done", "of"}, in training also "epoch", "epochs", "loss", "rate",
"seconds"; {"event": "epoch", "row": scores}; {"event": "checked", "case": …}; {"event": "result", …};
{"event": "error", "kind", "message"}. Numbers that are not finite are null.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from enum import Enum
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Column, Table

from SpinalCordSegTrainerLib.dataset_check import CheckedCase
from SpinalCordSegTrainerLib.evaluation import CaseScore
from SpinalCordSegTrainerLib.trainer import Progress

_JSON_EVERY_S = 0.2
_LOG_EVERY = 50  # updates, where the output is a file


class ProgressStyle(str, Enum):
    """How a command tells what it does."""

    TEXT = "text"
    JSON = "json"


def emit(event: str, **fields: Any) -> None:
    """One JSON object on a line of stdout, flushed."""
    print(json.dumps({"event": event, **{name: _plain(value) for name, value in fields.items()}}), flush=True)


def tell_result(style: ProgressStyle, text: str, **fields: Any) -> None:
    """The command's result on stdout: in words, or as an event with these fields."""
    if style is ProgressStyle.JSON:
        emit("result", **fields)
    elif text:
        print(text)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


class JsonDisplay:
    """In place of ProgressDisplay and StepDisplay, for a program; a line five times a second at most."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._told_at = -math.inf

    def __enter__(self) -> JsonDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def step(self, done: int, total: int) -> None:
        """``done`` of ``total``."""
        self._tell(done == total, done=done, of=total)

    def training(self, progress: Progress) -> None:
        """What Training reports."""
        names = ("epoch", "epochs", "loss", "rate", "seconds")
        fields = {name: getattr(progress, name) for name in names}
        self._tell(progress.row is not None, done=progress.update, of=progress.updates, **fields)
        if progress.row is not None:
            emit("epoch", row=progress.row)

    def _tell(self, at_once: bool, **fields: Any) -> None:
        now = time.monotonic()
        if at_once or now - self._told_at >= _JSON_EVERY_S:
            self._told_at = now
            emit("progress", stage=self._stage, **fields)


class ProgressDisplay:
    """Use as a context; ``training`` takes each Progress of a training run. Written to stderr."""

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

    def training(self, progress: Progress) -> None:
        """What Training reports."""
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

    def step(self, done: int, total: int) -> None:
        """``done`` of ``total``."""
        self._bar.update(self._task, completed=done, total=total)


def training_display(style: ProgressStyle) -> ProgressDisplay | JsonDisplay:
    """For a training run."""
    return JsonDisplay("training") if style is ProgressStyle.JSON else ProgressDisplay()


def step_display(stage: str, style: ProgressStyle = ProgressStyle.TEXT) -> StepDisplay | JsonDisplay:
    """For work that counts."""
    return JsonDisplay(stage) if style is ProgressStyle.JSON else StepDisplay(stage)


def print_scores(scores: Sequence[CaseScore], told: dict[str, Any]) -> None:
    """One line per case and the summary, on stdout."""
    console = Console()
    table = Table(Column("case", overflow="fold"), "Dice", "HD95 mm", "CSA error %", "volume error %", "slices missed")
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


def print_checked(checked: Sequence[CheckedCase]) -> None:
    """One line per case on stdout: what it holds, or why it cannot be used."""
    table = Table(
        Column("case", overflow="fold"),
        "patient",
        "grid",
        "labels",
        "cord slices",
        "volume mm³",
        "mean area mm²",
        "verdict",
    )
    for case in checked:
        figures = ["–" if value is None else f"{value:.1f}" for value in (case.volume_mm3, case.mean_csa_mm2)]
        verdict = f"refused: {case.reason}" if case.reason else "; ".join(case.remarks) or "ok"
        labels = ", ".join(map(str, case.labels[:6])) + (" …" if len(case.labels) > 6 else "")
        slices = f"{case.n_cord_slices} of {case.n_slices}"
        table.add_row(case.name, case.subject, case.grid_match or "–", labels or "–", slices, *figures, verdict)
    Console().print(table)
