"""Pictures of both panels, taken from the real ones while they work: ``make screenshots`` takes them again.

The segmentation panel finds the cord in the simulated neck with the first model that ships (without one it measures
the neck's true mask); the training panel trains a small network on six small drawn necks. A minute or two.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[2]
_TARGET = _CHECKOUT / "Resources" / "Screenshots"
_WAIT_S = 900
_EPOCHS = 12


def main() -> int:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    sys.path[:0] = [str(_CHECKOUT / "SpinalCordSeg"), str(_CHECKOUT / "SpinalCordSegTrainer")]
    from slicer_standins import application, desktop

    with tempfile.TemporaryDirectory() as folder:
        app, _messages = application.start()
        app.temporaryPath = str(Path(folder) / "temp")
        os.environ["SPINALCORDSEG_MODELS"] = str(Path(folder) / "models")
        desktop.start(app)
        _TARGET.mkdir(parents=True, exist_ok=True)
        segmenting(_TARGET / "segment.png")
        training(Path(folder), _TARGET / "train.png")
    print(f"Screenshots are in {_TARGET.relative_to(_CHECKOUT)}")
    return 0


def segmenting(target: Path) -> None:
    from slicer_standins.desktop import click, picture, wait_until

    widget = _open("SpinalCordSeg")
    from SpinalCordSegLib.models import find_models
    from SpinalCordSegWidgets.sample_data import add_simulated_neck

    volume = add_simulated_neck()[0]
    widget.ui.volumeSelector.setCurrentNode(volume)
    if find_models():
        click(widget.ui.applyButton)
    else:
        widget.ui.maskSelector.setCurrentNode(_true_mask(volume))
        click(widget.ui.measureButton)
    wait_until(lambda: not widget.panel.control.running, _WAIT_S)
    if widget.panel.control.failure is not None:
        raise SystemExit(widget.panel.control.failure.report)
    wait_until(lambda: widget.panel.probe.answer is not None, _WAIT_S)
    picture(widget, target)
    _close(widget)


def training(folder: Path, target: Path) -> None:
    from slicer_standins.desktop import click, picture, wait_until
    from training_data import QUICK, write_cases

    widget = _open("SpinalCordSegTrainer")
    ui, panel = widget.ui, widget.panel
    ui.dataEdit.text = str(write_cases(folder / "necks", 6))
    ui.runEdit.text = str(folder / "run")
    ui.nameEdit.text = "Clinic A"
    ui.epochsBox.value, ui.batchBox.value, ui.sweepBox.value = _EPOCHS, 4, 200
    ui.moreEdit.text = QUICK.replace("width=1", "width=4") + " rate.half_cycle_epochs=4"
    for button in (ui.checkButton, ui.findButton, ui.trainButton, ui.evaluateButton):
        click(button)
        wait_until(lambda: not panel.control.running, _WAIT_S)
        if panel.control.run is None and ui.copyReportButton.isVisible():
            raise SystemExit(ui.statusLabel.text)
    picture(widget, target)
    _close(widget)


def _open(module: str):
    from slicer_standins import scripted

    widget = scripted.open_module(str(_CHECKOUT / module / f"{module}.py"))
    widget.parent.resize(350, 900)
    widget.parent.show()
    scripted.enter(widget)
    return widget


def _close(widget) -> None:
    widget.cleanup()
    widget.parent.close()


def _true_mask(volume):
    import slicer

    from SpinalCordSegLib.phantom import make_phantom
    from SpinalCordSegNodes.provenance import Provenance
    from SpinalCordSegNodes.segmentations import add_segmentation

    return add_segmentation(slicer.mrmlScene, make_phantom().mask, volume, Provenance())


if __name__ == "__main__":
    sys.exit(main())
