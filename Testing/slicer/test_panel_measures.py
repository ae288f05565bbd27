"""The lower half of the panel, with a finished case: numbers, table, jumping, 3D, texts; and without PyTorch."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import slicer
from cord_cases import FLAGGED_SLICE, GAP_SLICE, cord_mask, finished_case, grey_volume
from PySide6 import QtCore, QtWidgets
from slicer_standins import scripted
from slicer_standins.desktop import click, picture
from slicer_standins.parameter_node import Behaviour

from SpinalCordSegNodes.results import result_of
from SpinalCordSegNodes.slice_views import centre_of_slice
from SpinalCordSegNodes.volumes import node_from_volume


@pytest.fixture
def done(panel, scene):
    """The panel with one finished case shown."""
    volume = node_from_volume(scene, grey_volume(cord_mask()), "t1")
    result = panel.logic.addResult(finished_case(cord_mask()), volume)
    panel.ui.maskSelector.setCurrentNode(result.segmentation)
    return panel


def test_numbers_and_table(done):
    ui = done.ui
    assert "<b>655</b> mm³" in ui.volumeValue.text and "29.7" in ui.lengthValue.text and "23.5" in ui.areaValue.text
    assert ui.flagsValue.text == "2 of 9 slices" and ui.flagLabel.text == "no neck above C2"
    shown = [[ui.sliceTable.item(row, column).text() for column in (0, 1, 3)] for row in range(ui.sliceTable.rowCount)]
    assert shown[0] == ["10", "25.3", ""]  # superior at the top
    assert shown[10 - GAP_SLICE] == ["8", "–", "gap"]
    assert not ui.areaPicture.pixmap.isNull()


def test_only_flagged_slices(done):
    click(done.ui.flaggedOnlyBox, (8, 8))
    assert done.ui.sliceTable.rowCount == 2
    assert done.logic.getParameterNode().flaggedOnly is True


def test_a_row_goes_to_its_slice_and_says_why_it_is_flagged(done, scene):
    view = scene.AddNewNodeByClass("vtkMRMLSliceNode", "Red")
    table = done.ui.sliceTable
    row = 10 - FLAGGED_SLICE
    place = table.visualItemRect(table.item(row, 0)).center()
    click(table.viewport(), (place.x(), place.y()))
    target = centre_of_slice(cord_mask(), FLAGGED_SLICE)
    assert [view.GetSliceToRAS().GetElement(i, 3) for i in range(3)] == pytest.approx(target, abs=1e-3)
    assert done.ui.flagLabel.text == "area 20 % above its neighbours"


def test_show_3d_and_back(done):
    segmentation = done.ui.maskSelector.currentNode()
    click(done.ui.show3DButton)
    assert segmentation.GetDisplayNode().GetVisibility3D()
    click(done.ui.show3DButton)
    assert not segmentation.GetDisplayNode().GetVisibility3D()


def test_report_text_is_copied(done):
    click(done.ui.copyTextButton)
    text = QtWidgets.QApplication.clipboard().text()
    assert text.startswith("Spinal cord volume 655 mm³") and "not for diagnosis" in text


def test_export_menu_offers_what_is_there(done, scene, tmp_path):
    scene.RemoveNode(done.panel.measures.result.page)
    menu = done.ui.exportButton.menu()
    menu.aboutToShow.emit()
    offered = {action.text: action.isEnabled() for action in menu.actions()}
    assert offered["Report page (HTML)"] is False and sum(offered.values()) == 4
    done.panel.measures.export(str(tmp_path / "cord.html"))
    assert "choose one of" in done.ui.statusLabel.text and not list(tmp_path.iterdir())
    done.panel.measures.export(str(tmp_path / "none" / "cord.csv"))
    assert "Saved cord.csv" in done.ui.statusLabel.text
    saved = scene.GetNumberOfNodes()
    done.panel.measures.export(str(tmp_path / "cord.seg.nrrd"))
    assert scene.GetNumberOfNodes() == saved and (tmp_path / "cord.seg.nrrd").stat().st_size > 500


def test_an_export_that_cannot_be_written_is_told(done, tmp_path):
    (tmp_path / "file").write_text("in the way")
    done.panel.measures.export(str(tmp_path / "file" / "cord.json"))
    assert "cannot write" in done.ui.statusLabel.text


def test_plot_and_table_go_to_the_views(done, scene):
    scene.AddNewNodeByClass("vtkMRMLLayoutNode")
    click(done.ui.viewsButton)
    result = result_of(done.ui.maskSelector.currentNode())
    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert selection.GetActivePlotChartID() == result.chart.GetID()
    assert selection.GetActiveTableID() == result.slices.GetID()


def test_correcting_by_hand_is_greyed_where_there_is_no_editor(done):
    assert not done.ui.editButton.isEnabled() and "Segment Editor" in done.ui.editButton.toolTip


def test_a_foreign_mask_is_offered_for_measuring(panel, scene):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    panel.ui.maskSelector.setCurrentNode(node)
    assert not panel.ui.measureButton.isEnabled() and "no segment" in panel.ui.measureButton.toolTip
    for name in ("lesion", "cord"):
        node.GetSegmentation().AddEmptySegment(name, name)
    panel.panel.measures.refresh()
    assert panel.ui.measureButton.isEnabled() and panel.ui.segmentBox.isVisible()
    assert not panel.ui.resultArea.isVisible()


@pytest.mark.parametrize("gives_tags", [True, False], ids=["new Slicer", "older Slicer"])
def test_closing_the_scene_and_coming_back(done, scene, gives_tags, monkeypatch):
    monkeypatch.setattr(Behaviour, "gives_tags", gives_tags)
    scripted.leave(done)
    scripted.enter(done)
    scene.Clear(0)
    QtWidgets.QApplication.processEvents()
    assert done.ui.maskSelector.currentNode() is None and not done.ui.resultArea.isVisible()
    volume = node_from_volume(scene, grey_volume(cord_mask()), "next")
    scripted.leave(done)
    scripted.enter(done)
    assert done.ui.volumeSelector.currentNode() is volume


def test_parameters_survive_the_scene_file(done, scene, tmp_path):
    node = done.logic.getParameterNode()
    node.device, node.flaggedOnly = "cpu", True
    slicer.util.saveScene(str(tmp_path / "study.mrb"))
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "study.mrb"))
    scripted.enter(done)
    loaded = done.logic.getParameterNode()
    assert (loaded.device, loaded.flaggedOnly) == ("cpu", True)
    assert loaded.mask.GetName() == "t1 spinal cord AI" and loaded.inputVolume.GetName() == "t1"
    assert done.ui.maskSelector.currentNode() is loaded.mask and done.ui.flaggedOnlyBox.checked


def test_without_torch_the_panel_says_so_and_still_measures(panel, scene, tmp_path, monkeypatch):
    from SpinalCordSegWidgets import dependencies

    answers = {"torch": None, "safetensors": None}
    plain = dependencies.check_dependencies
    monkeypatch.setattr("SpinalCordSegWidgets.panel.check_dependencies", lambda probe: plain(probe, answers.get))
    node_from_volume(scene, grey_volume(cord_mask()), "t1")
    scripted.enter(panel)
    assert panel.ui.noticeFrame.isVisible() and "not installed" in panel.ui.noticeLabel.text
    assert not panel.ui.applyButton.isEnabled() and "not installed" in panel.ui.applyButton.toolTip
    named = os.environ.get("SPINALCORDSEG_PICTURES")
    picture(panel, (Path(named) if named else tmp_path) / "panel-no-torch.png")
    click(panel.ui.noticeButton)
    assert "Extensions Manager" in panel.ui.statusLabel.text


def test_opening_is_quick_and_does_not_load_torch(slicer_application):
    """In a process of its own: what other tests have loaded does not count."""
    code = """
import sys, time
from slicer_standins import application, desktop, scripted
app, _ = application.start()
desktop.start(app)
import slicer.util, numpy
started = time.process_time()
widget = scripted.open_module(sys.argv[1])
print(time.process_time() - started, "torch" in sys.modules, "SimpleITK" in sys.modules)
widget.cleanup()
"""
    checkout = Path(__file__).resolve().parents[2]
    paths = [str(checkout / "Testing" / "slicer"), str(checkout / "SpinalCordSeg")]
    ended = subprocess.run(
        [sys.executable, "-c", code, str(checkout / "SpinalCordSeg" / "SpinalCordSeg.py")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    seconds, torch, itk = ended.stdout.split()[-3:]
    assert (torch, itk) == ("False", "False")
    assert float(seconds) < 0.3


def test_coming_to_the_panel_does_not_block(panel):
    started = time.process_time()
    scripted.enter(panel)
    assert time.process_time() - started < 0.3
    assert isinstance(panel.parent, QtCore.QObject)
