"""Pictures of both panels, taken from the real ones while they work: ``make screenshots`` takes them again.

The segmentation panel finds the cord in the simulated neck with the first model that ships; the training panel trains a
small network on six small drawn necks. A minute or two. The finished ones are the extension's pictures; a real neck's
montage, and the panel beside views of that neck, are the README's. Each panel without its packages, ready, running and
done, and every section in the least and the largest font, goes to out/screenshots.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
        whole(_TARGET / "views.png")
        neck(Path(folder), _TARGET / "neck.png")
    print(f"Screenshots are in {_TARGET.relative_to(_CHECKOUT)}, of all states in {_STATES.relative_to(_CHECKOUT)}")
    return 0


def neck(folder: Path, target: Path) -> None:
    """The upper part of a real neck's montage, where the public data is there (sct_testing_data, MIT licence)."""
    from PIL import Image

    from SpinalCordSegLib.cli import main as spinalcordseg

    image = _real_neck(target)
    if image is None:
        return
    if spinalcordseg(["segment", str(image), "--code", "neck", "--output", str(folder)]) != 0:
        raise SystemExit("the neck could not be segmented")
    with Image.open(folder / "neck" / "montage.png") as montage:
        upper = montage.convert("RGB").crop((0, 0, montage.width, round(0.46 * montage.height)))
    upper.resize((1000, round(1000 * upper.height / upper.width)), Image.Resampling.LANCZOS).save(target, optimize=True)


def _real_neck(target: Path) -> Path | None:
    data = Path(os.environ.get("SPINALCORDSEG_DATA", _CHECKOUT.parent / "shared" / "data"))
    image = data / "t1w_masked" / "sct-testing_T1w.nii.gz"
    if image.is_file():
        return image
    print(f"No {image}: {target.name} stays as it is")
    return None


_GAP, _VIEW, _AXIAL_MM = 3, 420, 62.0  # pixels between the views, their width, and what the axial one shows
_COLOURS = {"Red": (243, 74, 51), "Yellow": (237, 213, 76), "3D": (177, 192, 219)}  # Slicer's, of the views


def whole(target: Path) -> None:
    """The panel after a run on the real neck, beside a sagittal, an axial and a 3D view. The views are drawn by
    Slicer's own displayable managers (slicer-core), as in Slicer's window; there is no window of Slicer here."""
    from PIL import Image, ImageDraw
    from slicer_standins.desktop import click, picture, wait_until

    from SpinalCordSegLib.image_io import read_image
    from SpinalCordSegNodes.segmentations import mask_of_segment
    from SpinalCordSegNodes.views import centre_of_slice
    from SpinalCordSegNodes.volumes import node_from_volume

    image = _real_neck(target)
    if image is None:
        return
    import slicer

    scene = slicer.mrmlScene
    scene.Clear(0)
    with _opened("SpinalCordSeg") as widget:
        volume = node_from_volume(scene, read_image(image).volume, "NeckT1w")
        widget.ui.volumeSelector.setCurrentNode(volume)
        click(widget.ui.applyButton)
        wait_until(lambda: not widget.panel.control.running, _WAIT_S)
        current = widget.panel.current
        mask = mask_of_segment(*current.which)
        centre = centre_of_slice(mask, current.result.case.slices.slice[current.result.case.n_slices // 2])
        current.node.CreateClosedSurfaceRepresentation()
        picture(widget, _STATES / "views-panel.png")
        panel = Image.open(_STATES / "views-panel.png").convert("RGB")
        half = (panel.height - _GAP) // 2
        views = {
            "Yellow": _slice_view("Yellow", volume, centre, (_VIEW, panel.height), None),
            "Red": _slice_view("Red", volume, centre, (_VIEW, half), _AXIAL_MM),
            "3D": _view_3d(current.node, (_VIEW, panel.height - half - _GAP)),
        }
    places = {"Yellow": (panel.width + _GAP, 0)}
    places["Red"] = (panel.width + _VIEW + 2 * _GAP, 0)
    places["3D"] = (places["Red"][0], half + _GAP)
    page = Image.new("RGB", (places["Red"][0] + _VIEW, panel.height), (60, 60, 60))
    page.paste(panel, (0, 0))
    for name, (x, y) in places.items():
        page.paste(Image.fromarray(views[name]), (x, y))
        ImageDraw.Draw(page).rectangle((x, y, x + _VIEW - 1, y + 5), _COLOURS[name])
    page.save(target, optimize=True)


def _slice_view(name: str, volume: Any, centre: Any, size: tuple[int, int], field_mm: float | None) -> Any:
    """RGB of one of Slicer's slice views ("Red": axial, "Yellow": sagittal) around a point. ``field_mm``: its width;
    None: all of the volume."""
    import slicer
    import vtk

    logic = slicer.vtkMRMLSliceLogic()
    logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
    logic.SetMRMLScene(slicer.mrmlScene)
    node = logic.AddSliceNode(name)
    slicer.app.applicationLogic().GetSliceLogics().AddItem(logic)
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(slicer.mrmlScene)
    node.SetOrientation("Axial" if name == "Red" else "Sagittal")
    node.SetDimensions(*size, 1)
    node.SetRulerType(node.RulerTypeThin)
    logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
    logic.FitSliceToBackground(*size)
    if field_mm is not None:
        node.SetFieldOfView(field_mm, field_mm * size[1] / size[0], 1)
    node.JumpSliceByCentering(*centre)
    mapper, actor = vtk.vtkImageMapper(), vtk.vtkActor2D()
    mapper.SetColorWindow(255)
    mapper.SetColorLevel(127.5)
    mapper.SetInputConnection(logic.GetImageDataConnection())
    actor.SetMapper(mapper)
    actor.GetProperty().SetDisplayLocationToBackground()
    return _drawn(node, size, ("Segmentations{}2D", "Ruler{}"), actor)


def _view_3d(segmentation: Any, size: tuple[int, int]) -> Any:
    """RGB of Slicer's 3D view, from the patient's left and a little from behind."""
    import slicer

    bounds = [0.0] * 6
    segmentation.GetRASBounds(bounds)
    middle = [(low + high) / 2 for low, high in zip(bounds[::2], bounds[1::2], strict=True)]
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLViewNode", "View1")
    node.SetLayoutName("1")
    camera = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLCameraNode")
    camera.SetLayoutName("1")
    height = bounds[5] - bounds[4]
    camera.SetPosition(middle[0] - 2.2 * height, middle[1] - 1.2 * height, middle[2])
    camera.SetFocalPoint(*middle)
    camera.SetViewUp(0, 0, 1)
    return _drawn(node, size, ("Camera{}", "Segmentations{}3D", "View{}"))


def _drawn(node: Any, size: tuple[int, int], managers: Sequence[str], actor: Any = None) -> Any:
    import slicer
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    window, renderer, group = vtk.vtkRenderWindow(), vtk.vtkRenderer(), slicer.vtkMRMLDisplayableManagerGroup()
    window.SetOffScreenRendering(True)
    window.SetMultiSamples(0)
    window.SetSize(*size)
    window.AddRenderer(renderer)
    interactor = vtk.vtkGenericRenderWindowInteractor()
    interactor.SetRenderWindow(window)
    if actor is not None:
        renderer.AddViewProp(actor)
    group.SetRenderer(renderer)
    kept = []
    for name in managers:
        manager = getattr(slicer, "vtkMRML" + name.format("DisplayableManager"))()
        manager.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        group.AddDisplayableManager(manager)
        kept.append(manager)
    group.SetMRMLDisplayableNode(node)
    renderer.ResetCameraClippingRange()
    window.Render()
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    grab.Update()
    rows = vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars()).reshape(size[1], size[0], -1)
    return rows[::-1, :, :3].copy()


def segmenting(target: Path) -> None:
    from cord_cases import erase, paint
    from slicer_standins.desktop import click, picture, wait_until

    from SpinalCordSegNodes.segmentations import mask_of_segment
    from SpinalCordSegNodes.views import Discs, centre_of_slice
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
        # a slice to look at, a visit and a level
        paint(widget, erase(12))
        click(ui.measureButton)
        wait_until(lambda: not panel.control.running, _WAIT_S)
        right, anterior, superior = centre_of_slice(mask_of_segment(*panel.current.which), 24)
        Discs(volume).add(3).AddControlPointWorld(right, anterior + 15.0, superior)
    for size_px in _FONTS_PX:
        with _font(size_px), _opened("SpinalCordSeg") as widget:
            panel = widget.panel
            widget.ui.reviewerEdit.text = "Dr A. Meyer"
            panel.follow_up.add_mask()
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
        ui.epochsBox.value, ui.batchBox.value, ui.sweepBox.value = _EPOCHS, 4, 300
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
        picture(widget, target)
    for size_px in _FONTS_PX:
        with _font(size_px), _opened("SpinalCordSegTrainer") as widget:
            for button in (widget.ui.checkButton, widget.ui.evaluateButton):
                click(button)
                wait_until(lambda: not widget.panel.control.running, _WAIT_S)
            picture(widget, _STATES / f"train-done-{size_px}.png")


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
