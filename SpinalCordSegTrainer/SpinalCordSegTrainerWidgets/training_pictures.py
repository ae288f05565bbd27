"""The three pictures of the panel: range test, loss, MCC; redrawn as the run goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from SpinalCordSegTrainerWidgets.curve_picture import Axes, Curve, draw
from SpinalCordSegTrainerWidgets.live_curves import LiveCurves, sweep_curves
from SpinalCordSegTrainerWidgets.run_folder import read_epochs, read_sweep
from SpinalCordSegWidgets.resizing_picture import ResizingPicture

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
