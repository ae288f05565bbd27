"""The three pictures of the panel: range test, loss, MCC; redrawn as the run goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from SpinalCordSegTrainerWidgets.curve_picture import Axes, Curve, draw
from SpinalCordSegTrainerWidgets.live_curves import LiveCurves, sweep_curves
from SpinalCordSegTrainerWidgets.run_folder import read_epochs, read_sweep

_HEIGHT = 96
_LEAST_WIDTH = 280


class TrainingPictures:
    """Shows the labels ``ratePicture``, ``lossPicture`` and ``mccPicture``, hidden while there is nothing to show."""

    def __init__(self, ui: Any) -> None:
        self._ui, self.curves = ui, LiveCurves()

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
        self._ui.ratePicture.setVisible(sweep is not None)
        self._paint(self._ui.ratePicture, *sweep_curves(sweep))

    def _show_training(self, visible: bool) -> None:
        for label, content in ((self._ui.lossPicture, self.curves.loss), (self._ui.mccPicture, self.curves.mcc)):
            label.setVisible(visible)
            self._paint(label, *content())

    def _paint(self, label: Any, axes: Axes, curves: Sequence[Curve]) -> None:
        label.setPixmap(draw(max(label.width, _LEAST_WIDTH), _HEIGHT, label.palette, axes, curves))
