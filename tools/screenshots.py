"""Pictures of both panels, taken from the real ones while they work: ``make screenshots`` takes them again.

The segmentation panel finds the cord in the simulated neck with the first model that ships; the training panel trains a
small network on six small drawn necks. A minute or two. The finished ones are the extension's pictures; a real neck's
montage is the README's. Each panel without its packages, ready, running and done, and every section in the least and
the largest font, goes to out/screenshots.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[1]
_TARGET = _CHECKOUT / "docs" / "images"
_STATES = _CHECKOUT / "out" / "screenshots"
_WAIT_S = 900
_EPOCHS = 12
_FONTS_PX = (12, 16)  # the least and the largest that Slicer's users have


def main() -> int:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    sys.path[:0] = [str(_CHECKOUT / "SpinalCordSeg"), str(_CHECKOUT / "SpinalCordSegTrainer")]
    from slicer_standins import application, desktop

    with tempfile.TemporaryDirectory() as folder:
        app, _messages = application.start()
        app.temporaryPath = str(Path(folder) / "temp")
        os.environ["SPINALCORDSEG_MODELS"] = str(Path(folder) / "models")
        desktop.start(app)
        for target in (_TARGET, _STATES):
            target.mkdir(parents=True, exist_ok=True)
        segmenting(_TARGET / "segment.png")
        training(Path(folder), _TARGET / "train.png")
        neck(Path(folder), _TARGET / "neck.png")
    print(f"Screenshots are in {_TARGET.relative_to(_CHECKOUT)}, of all states in {_STATES.relative_to(_CHECKOUT)}")
    return 0


def neck(folder: Path, target: Path) -> None:
    """The upper part of a real neck's montage, where the public data is there (sct_testing_data, MIT licence)."""
    from PIL import Image

    from SpinalCordSegLib.cli import main as spinalcordseg

    data = Path(os.environ.get("SPINALCORDSEG_DATA", _CHECKOUT.parent / "shared" / "data"))
    image = data / "t1w_masked" / "sct-testing_T1w.nii.gz"
    if not image.is_file():
        print(f"No {image}: {target.name} stays as it is")
        return
    if spinalcordseg(["segment", str(image), "--code", "neck", "--output", str(folder)]) != 0:
        raise SystemExit("the neck could not be segmented")
    with Image.open(folder / "neck" / "montage.png") as montage:
        upper = montage.convert("RGB").crop((0, 0, montage.width, round(0.46 * montage.height)))
    upper.resize((1000, round(1000 * upper.height / upper.width)), Image.Resampling.LANCZOS).save(target, optimize=True)


def segmenting(target: Path) -> None:
    from slicer_standins.desktop import click, picture, wait_until

    from SpinalCordSegWidgets.sample_data import add_simulated_neck

    volume = add_simulated_neck()[0]
    with (
        _without_packages("SpinalCordSegWidgets.segment_section", "check_dependencies"),
        _opened("SpinalCordSeg") as widget,
    ):
        picture(widget, _STATES / "segment-no-engine.png")
    with _opened("SpinalCordSeg") as widget:
        panel, ui = widget.panel, widget.ui
        ui.volumeSelector.setCurrentNode(volume)
        wait_until(lambda: panel.segment.probe.answer is not None, _WAIT_S)
        picture(widget, _STATES / "segment-ready.png")
        click(ui.applyButton)
        wait_until(lambda: "left" in ui.statusLabel.text or not panel.control.running, _WAIT_S)
        picture(widget, _STATES / "segment-running.png")
        wait_until(lambda: not panel.control.running, _WAIT_S)
        if panel.control.failure is not None:
            raise SystemExit(panel.control.failure.report)
        picture(widget, _STATES / "segment-done.png")
        picture(widget, target)
        ui.reviewerEdit.text = "Dr A. Meyer"
        for size_px in _FONTS_PX:
            with _font(size_px):
                for section in (panel.segment, *panel.sections[2:]):
                    for other in panel.sections:
                        other.button.collapsed = other is not section
                    picture(widget, _STATES / f"segment-{section.button.name}-{size_px}.png")


def training(folder: Path, target: Path) -> None:
    from slicer_standins.desktop import click, picture, wait_until
    from training_data import QUICK, write_cases

    with (
        _without_packages("SpinalCordSegTrainerWidgets.main_widget", "check_training"),
        _opened("SpinalCordSegTrainer") as widget,
    ):
        picture(widget, _STATES / "train-no-torch.png")
    with _opened("SpinalCordSegTrainer") as widget:
        ui, control = widget.ui, widget.panel.control
        ui.dataEdit.text = str(write_cases(folder / "necks", 6))
        ui.runEdit.text = str(folder / "run")
        ui.nameEdit.text = "Clinic A"
        ui.epochsBox.value, ui.batchBox.value, ui.sweepBox.value = _EPOCHS, 4, 200
        ui.moreEdit.text = QUICK.replace("width=1", "width=4") + " rate.half_cycle_epochs=4"
        picture(widget, _STATES / "train-ready.png")
        epochs = folder / "run" / "epochs.csv"
        for button in (ui.checkButton, ui.findButton, ui.trainButton, ui.evaluateButton):
            click(button)
            if button is ui.trainButton:
                wait_until(lambda: _lines(epochs) > _EPOCHS // 2 or not control.running, _WAIT_S)
                picture(widget, _STATES / "train-running.png")
            wait_until(lambda: not control.running, _WAIT_S)
            if control.failure is not None:
                raise SystemExit(control.failure.report)
        for size_px in _FONTS_PX:
            with _font(size_px):
                picture(widget, _STATES / f"train-done-{size_px}.png")
        picture(widget, target)


@contextmanager
def _font(size_px: int) -> Iterator[None]:
    from PySide6 import QtGui, QtWidgets

    former, font = QtWidgets.QApplication.font(), QtGui.QFont(QtWidgets.QApplication.font())
    font.setPixelSize(size_px)
    QtWidgets.QApplication.setFont(font)
    try:
        yield
    finally:
        QtWidgets.QApplication.setFont(former)


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else 0


@contextmanager
def _without_packages(module: str, check: str) -> Iterator[None]:
    """As a fresh Slicer is: nothing but what it ships is found."""
    import importlib

    place = importlib.import_module(module)
    plain = getattr(place, check)
    setattr(place, check, lambda *probe: plain(probe[0] if probe else None, lambda _package: None))
    try:
        yield
    finally:
        setattr(place, check, plain)


@contextmanager
def _opened(module: str) -> Iterator[object]:
    from slicer_standins import scripted

    widget = scripted.open_module(str(_CHECKOUT / module / f"{module}.py"))
    widget.parent.resize(350, 900)
    widget.parent.show()
    scripted.enter(widget)
    try:
        yield widget
    finally:
        scripted.close_module(widget)


if __name__ == "__main__":
    sys.exit(main())
