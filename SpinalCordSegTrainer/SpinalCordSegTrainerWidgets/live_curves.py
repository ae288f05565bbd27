"""What the curves show: the range test's loss over the rate; loss and MCC over epochs, the running one live. No Qt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from slicer.i18n import tr as _

from SpinalCordSegTrainerWidgets.curve_picture import BLUE, GREEN, GREY, ORANGE, Axes, Curve
from SpinalCordSegTrainerWidgets.run_folder import Sweep

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
