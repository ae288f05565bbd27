"""What lies in a training run's folder, read back for the panel. No Qt, no torch."""

from __future__ import annotations

import csv
import itertools
import json
import math
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from SpinalCordSegLib.files import atomic_write
from SpinalCordSegLib.model.checkpoint import load_card, user_models_folder
from SpinalCordSegWidgets.pictures import ResizingPicture

BEST, STATE = "best.safetensors", "state.safetensors"


@dataclass(frozen=True)
class Sweep:
    """A range test: rates and losses; the two bounds, ``found`` False when they are the paper's; ``note`` why."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    base_lr: float
    max_lr: float
    found: bool
    note: str


def can_resume(folder: Path) -> bool:
    return (folder / STATE).is_file()


def has_model(folder: Path) -> bool:
    return (folder / BEST).is_file()


def read_epochs(folder: Path) -> list[dict[str, float]]:
    """A row of numbers per finished epoch, NaN where there is none; [] before the first."""
    return [{name: _number(text) for name, text in row.items()} for row in _rows(folder / "epochs.csv")]


def read_sweep(folder: Path) -> Sweep | None:
    """None where no range test was made, or not all of it is there."""
    rows = _rows(folder / "range_test.csv")
    try:
        bounds = json.loads((folder / "range_test.json").read_text(encoding="utf-8"))
        columns = [tuple(_number(row[name]) for row in rows) for name in ("rate", "loss", "smoothed")]
        return Sweep(*columns, bounds["base_lr"], bounds["max_lr"], bounds["found"], bounds["note"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def publish_model(folder: Path) -> Path:
    """Copy the run's best weights to the user's own models; gives the new file. None that is there is overwritten.

    Raises ModelFileError when there are none, OutputError when the folder cannot be written.
    """
    card = load_card(folder / BEST)
    stem = re.sub(r"[^\w.-]+", "-", card.name).strip("-.") or "model"
    models = user_models_folder()
    target, number = models / f"{stem}.safetensors", 2
    while target.exists():
        target, number = models / f"{stem}-{number}.safetensors", number + 1
    with atomic_write(target) as temporary:
        shutil.copyfile(folder / BEST, temporary)
    return target


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except OSError:
        return []


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return {"True": 1.0, "False": 0.0}.get(text or "", math.nan)


# Curves for the panel: the range test, and loss and MCC while a network learns.


BLUE, ORANGE, GREEN, GREY = (0, 114, 178), (213, 94, 0), (0, 130, 90), (150, 150, 150)
_LEFT, _RIGHT, _TOP, _BOTTOM = 30, 8, 18, 18


@dataclass(frozen=True)
class Curve:
    """``points``: (x, y), a NaN y breaks the line. ``dots``: mark every point."""

    name: str
    colour: tuple[int, int, int]
    points: tuple[tuple[float, float], ...]
    dots: bool = False


@dataclass(frozen=True)
class Axes:
    """``x_ticks``, ``y_ticks``: (value, text); the first and the last are the ends of the axis. ``log_x``: the x of
    points and ticks is drawn by its logarithm. ``lines``: (x, text), upright and dashed."""

    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    log_x: bool = False
    lines: tuple[tuple[float, str], ...] = ()


def draw(width: int, height: int, palette: Any, axes: Axes, curves: Sequence[Curve]) -> Any:
    """A pixmap. Curves without points leave their name in the legend, so that the picture does not jump."""
    pixmap = qt.QPixmap(max(80, width), max(60, height))
    pixmap.fill(palette.color(qt.QPalette.Base))
    painter = qt.QPainter()
    painter.begin(pixmap)
    painter.setRenderHint(qt.QPainter.Antialiasing, True)
    font = painter.font()
    font.setPointSize(7)
    painter.setFont(font)
    frame = _Frame(pixmap.width(), pixmap.height(), axes)
    _draw_axes(painter, frame, axes, palette.color(qt.QPalette.Text))
    for curve in curves:
        _draw_curve(painter, frame, curve)
    _draw_legend(painter, curves, palette.color(qt.QPalette.Text))
    painter.end()
    return pixmap


class _Frame:
    """From values to pixels."""

    def __init__(self, width: int, height: int, axes: Axes) -> None:
        self.width, self.height, self._log = width, height, axes.log_x
        self._x0, self._x1 = (self._place(axes.x_ticks[end][0]) for end in (0, -1))
        self._y0, self._y1 = axes.y_ticks[0][0], axes.y_ticks[-1][0]

    def _place(self, x: float) -> float:
        return math.log10(x) if self._log else x

    def x(self, value: float) -> int:
        share = (self._place(value) - self._x0) / max(self._x1 - self._x0, 1e-12)
        return round(_LEFT + min(max(share, 0.0), 1.0) * (self.width - _LEFT - _RIGHT))

    def y(self, value: float) -> int:
        share = (value - self._y0) / max(self._y1 - self._y0, 1e-12)
        return round(self.height - _BOTTOM - min(max(share, 0.0), 1.0) * (self.height - _TOP - _BOTTOM))


def _draw_axes(painter: Any, frame: _Frame, axes: Axes, colour: Any) -> None:
    painter.setPen(qt.QPen(colour))
    bottom = frame.height - _BOTTOM
    painter.drawLine(_LEFT, _TOP, _LEFT, bottom)
    painter.drawLine(_LEFT, bottom, frame.width - _RIGHT, bottom)
    for value, text in axes.y_ticks:
        painter.drawText(2, frame.y(value) + 4, text)
    last = len(axes.x_ticks) - 1
    for number, (value, text) in enumerate(axes.x_ticks):
        back = 6 * len(text) if number == last else 3 * len(text) * (number > 0)
        painter.drawText(frame.x(value) - back, frame.height - 4, text)
    pen = qt.QPen(qt.QColor(*ORANGE))
    pen.setStyle(qt.Qt.DashLine)
    painter.setPen(pen)
    for value, text in axes.lines:
        painter.drawLine(frame.x(value), _TOP, frame.x(value), bottom)
        painter.drawText(frame.x(value) + 3, bottom - 4, text)


def _draw_curve(painter: Any, frame: _Frame, curve: Curve) -> None:
    pen = qt.QPen(qt.QColor(*curve.colour))
    pen.setWidth(1 if curve.colour == GREY else 2)
    painter.setPen(pen)
    for (x0, y0), (x1, y1) in itertools.pairwise(curve.points):
        if not (math.isnan(y0) or math.isnan(y1)):
            painter.drawLine(frame.x(x0), frame.y(y0), frame.x(x1), frame.y(y1))
    if curve.dots or len(curve.points) == 1:
        painter.setBrush(qt.QBrush(qt.QColor(*curve.colour)))
        for x, y in curve.points:
            if not math.isnan(y):
                painter.drawEllipse(frame.x(x) - 2, frame.y(y) - 2, 4, 4)


def _draw_legend(painter: Any, curves: Sequence[Curve], text_colour: Any) -> None:
    x = _LEFT + 4
    for curve in curves:
        pen = qt.QPen(qt.QColor(*curve.colour))
        pen.setWidth(2)
        painter.setPen(pen)
        painter.drawLine(x, 8, x + 12, 8)
        painter.setPen(qt.QPen(text_colour))
        painter.drawText(x + 16, 12, curve.name)
        x += 28 + 6 * len(curve.name)


# What the curves show: the range test's loss over the rate; loss and MCC over epochs, the running one live. No Qt.


_SMOOTH = 0.9  # share of the old value in the running loss
_MOST_POINTS = 400


@dataclass
class LiveCurves:
    """Filled from the rows of finished epochs and from progress events; ``epochs`` is the length of the run."""

    epochs: int = 1
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    running: list[tuple[float, float]] = field(default_factory=list)
    _loss: float = math.nan

    def begin(self, rows: Sequence[Mapping[str, Any]], epochs: int) -> None:
        """A run starts or goes on after these epochs."""
        self.rows, self.running, self.epochs, self._loss = list(rows), [], max(1, epochs), math.nan

    def take(self, event: Mapping[str, Any]) -> bool:
        """True when the curves changed."""
        if event.get("event") == "epoch":
            self.rows.append(event["row"])
            return True
        loss = event.get("loss")
        if event.get("event") != "progress" or event.get("stage") != "training" or loss is None or not event.get("of"):
            return False
        self.epochs = int(event["epochs"])
        self._loss = loss if math.isnan(self._loss) else _SMOOTH * self._loss + (1 - _SMOOTH) * loss
        self.running.append((event["done"] / event["of"] * self.epochs, self._loss))
        if len(self.running) > _MOST_POINTS:
            self.running = self.running[::2]
        return True

    def loss(self) -> tuple[Axes, list[Curve]]:
        curves = [
            Curve(_("training, live"), GREY, tuple(self.running)),
            Curve(_("training"), BLUE, self._column("train_loss"), dots=True),
            Curve(_("validation"), ORANGE, self._column("loss"), dots=True),
        ]
        return Axes(self._epoch_ticks(), _unit_ticks(curves)), curves

    def mcc(self) -> tuple[Axes, list[Curve]]:
        curves = [
            Curve("MCC", GREEN, self._column("mcc"), dots=True),
            Curve("Dice", BLUE, self._column("dice"), dots=True),
        ]
        return Axes(self._epoch_ticks(), ((0.0, "0"), (0.5, "0.5"), (1.0, "1"))), curves

    def _column(self, name: str) -> tuple[tuple[float, float], ...]:
        return tuple((_value(row, "epoch"), _value(row, name)) for row in self.rows)

    def _epoch_ticks(self) -> tuple[tuple[float, str], ...]:
        return (0.0, "0"), (float(self.epochs), _("epoch {n}").format(n=self.epochs))


def sweep_curves(sweep: Sweep | None) -> tuple[Axes, list[Curve]]:
    """Without a range test: empty axes over the paper's range of rates."""
    if sweep is None or not sweep.rates:
        return Axes(((1e-10, "1e-10"), (10.0, "10")), ((0.0, "0"), (1.0, "1")), log_x=True), []
    curves = [
        Curve(_("loss"), GREY, tuple(zip(sweep.rates, sweep.losses, strict=True))),
        Curve(_("smoothed"), BLUE, tuple(zip(sweep.rates, sweep.smoothed, strict=True))),
    ]
    middle = math.sqrt(sweep.rates[0] * sweep.rates[-1])
    ticks = tuple((rate, f"{rate:.0e}") for rate in (sweep.rates[0], middle, sweep.rates[-1]))
    lines = (sweep.base_lr, f"{sweep.base_lr:.0e}"), (sweep.max_lr, f"{sweep.max_lr:.0e}")
    return Axes(ticks, _unit_ticks(curves), log_x=True, lines=lines), curves


def _unit_ticks(curves: Sequence[Curve]) -> tuple[tuple[float, str], ...]:
    """From 0 to the next round number above the highest point."""
    top = max((y for curve in curves for _x, y in curve.points if not math.isnan(y)), default=1.0)
    end = next((limit for limit in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0) if limit >= top), 10.0)
    return (0.0, "0"), (end / 2, f"{end / 2:g}"), (end, f"{end:g}")


def _value(row: Mapping[str, Any], name: str) -> float:
    value = row.get(name)
    return math.nan if value is None else float(value)


# The three pictures of the panel: range test, loss, MCC; redrawn as the run goes on.


_HEIGHT = 96


class TrainingPictures:
    """Shows the labels ``ratePicture``, ``lossPicture`` and ``mccPicture``, hidden while there is nothing to show."""

    def __init__(self, ui: Any) -> None:
        self.curves = LiveCurves()
        self._labels = {"rate": ui.ratePicture, "loss": ui.lossPicture, "mcc": ui.mccPicture}
        self._pictures = {name: ResizingPicture(label) for name, label in self._labels.items()}

    def begin(self, run: Path, epochs: int) -> None:
        """A run starts, or goes on from what the folder holds."""
        self.curves.begin(read_epochs(run), epochs)
        self._show_training(True)

    def take(self, event: Mapping[str, Any]) -> None:
        """An event of the command line."""
        if self.curves.take(event):
            self._show_training(True)

    def show_run(self, run: Path) -> None:
        """What the folder holds, of an earlier run too."""
        rows = read_epochs(run)
        if rows and len(rows) != len(self.curves.rows):
            self.curves.begin(rows, int(rows[-1].get("epoch") or len(rows)))
        elif not rows:
            self.curves.begin([], 1)
        self._show_training(bool(rows))
        self.show_sweep(run)

    def show_sweep(self, run: Path) -> None:
        sweep = read_sweep(run)
        self._show("rate", sweep is not None, *sweep_curves(sweep))

    def _show_training(self, visible: bool) -> None:
        self._show("loss", visible, *self.curves.loss())
        self._show("mcc", visible, *self.curves.mcc())

    def _show(self, name: str, visible: bool, axes: Axes, curves: Sequence[Curve]) -> None:
        self._labels[name].setVisible(visible)
        self._pictures[name].show(lambda width, palette: draw(width, _HEIGHT, palette, axes, curves))
