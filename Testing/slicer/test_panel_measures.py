"""The panel with a finished case: numbers, table, jumping, texts, files; scenes that close; missing packages."""

import compileall
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import PySide6
import pytest
import slicer
import translations
from cord_cases import FLAGGED_SLICE, GAP_SLICE, cord_mask, erase, finished_case, grey_volume, paint
from PySide6 import QtCore, QtGui, QtWidgets
from slicer_standins import scripted
from slicer_standins.desktop import click, wait_until

from cmake_lists import install
from SpinalCordSegLib import report
from SpinalCordSegLib.case import Case
from SpinalCordSegNodes.results import add_result, result_of
from SpinalCordSegNodes.views import centre_of_slice
from SpinalCordSegNodes.volumes import image_state, node_from_volume

_CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def done(panel, scene):
    """The panel with one finished case shown."""
    volume = node_from_volume(scene, grey_volume(cord_mask()), "t1")
    result = add_result(slicer.mrmlScene, finished_case(cord_mask()), volume)
    panel.ui.maskSelector.setCurrentNode(result.segmentation)
    for section in panel.panel.sections:
        section.button.collapsed = False
    return panel


def test_numbers_picture_and_table(done):
    ui = done.ui
    assert "<b>655</b> mm³" in ui.volumeValue.text and "29.7" in ui.lengthValue.text and "23.5" in ui.areaValue.text
    assert ui.flagsValue.text == "2 of 9" and ui.caseFlagLabel.text == "a gap between slices"
    shown = [[ui.sliceTable.item(row, column).text() for column in (0, 1, 3)] for row in range(ui.sliceTable.rowCount)]
    assert shown[0] == ["10", "25.3", ""]  # superior at the top
    assert shown[10 - GAP_SLICE] == ["8", "–", "gap"]
    assert ui.sliceTable.item(10 - FLAGGED_SLICE, 3).toolTip() == "area 20 % above its neighbours"
    assert ui.sliceTable.item(10 - FLAGGED_SLICE + 1, 3).toolTip() == ""
    for width in (380, 520, 360):
        done.parent.resize(width, 900)
        label = done.ui.areaPicture
        wait_until(lambda: width - 90 < label.width < width and label.pixmap.width() == label.width)  # noqa: B023


def test_a_row_goes_to_its_slice_and_says_why_it_is_flagged(done, scene):
    view = scene.AddNewNodeByClass("vtkMRMLSliceNode", "Red")
    table = done.ui.sliceTable
    row = 10 - FLAGGED_SLICE
    place = table.visualItemRect(table.item(row, 0)).center()
    click(table.viewport(), (place.x(), place.y()))
    target = centre_of_slice(cord_mask(), FLAGGED_SLICE)
    assert [view.GetSliceToRAS().GetElement(i, 3) for i in range(3)] == pytest.approx(target, abs=1e-3)
    assert done.ui.flagLabel.text == "area 20 % above its neighbours"


def test_a_click_on_the_curve_goes_to_its_slice(done, scene):
    view, label = scene.AddNewNodeByClass("vtkMRMLSliceNode", "Red"), done.ui.areaPicture
    wait_until(lambda: not label.pixmap.isNull() and label.pixmap.width() == label.width)
    z_mm = done.panel.current.live.case.slices.z_mm
    for number in (2, FLAGGED_SLICE, 10):
        share = (z_mm[number - 1] - z_mm[0] + 3.3) / (z_mm[-1] - z_mm[0] + 6.6)  # of axes with room for a slice more
        click(label, (round(50 + (label.width - 61) * share), 60))
        target = centre_of_slice(cord_mask(), number)
        assert [view.GetSliceToRAS().GetElement(i, 3) for i in range(3)] == pytest.approx(target, abs=1e-3)


def test_export_says_what_came_of_it_and_replaces_nothing(done, tmp_path):
    for name in ("t1", "t1-2"):
        done.panel.export.save_case(tmp_path)
        assert f"Saved: {name}." in done.ui.statusLabel.text
    case = Case.load(tmp_path / "t1-2")
    assert np.array_equal(case.mask.ijk, cord_mask().ijk)
    (tmp_path / "file").write_text("in the way")
    done.panel.export.save_case(tmp_path / "file")
    assert "cannot write" in done.ui.statusLabel.text
    QtWidgets.QApplication.processEvents()  # or the button has no height yet
    click(done.ui.copyTextButton)
    text = QtWidgets.QApplication.clipboard().text()
    assert text.startswith("Spinal cord volume 655 mm³") and "not for diagnosis" in text


def test_plot_and_table_go_to_the_views(done, scene):
    scene.AddNewNodeByClass("vtkMRMLLayoutNode")
    click(done.ui.viewsButton)
    result = result_of(done.ui.maskSelector.currentNode())
    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert selection.GetActivePlotChartID() == result.chart.GetID()
    assert selection.GetActiveTableID() == result.slices.GetID()
    assert done.ui.show3DButton.segmentationNode() is result.segmentation


def test_a_foreign_mask_is_offered_for_measuring(panel, scene):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    panel.ui.maskSelector.setCurrentNode(node)
    assert not panel.ui.measureButton.isEnabled() and "Choose the segment" in panel.ui.measureButton.toolTip
    for name in ("lesion", "cord"):
        node.GetSegmentation().AddEmptySegment(name, name)
    panel.panel.current.refresh()
    assert not panel.ui.measureButton.isEnabled() and panel.ui.segmentBox.isVisible(), "nobody knows which is the cord"
    panel.ui.segmentBox.setCurrentIndex(1)
    assert panel.ui.measureButton.isEnabled()
    assert not panel.ui.resultArea.isVisible()


def test_closing_the_scene_and_coming_back(done, scene):
    scripted.leave(done)
    scripted.enter(done)
    scene.Clear(0)
    QtWidgets.QApplication.processEvents()
    assert done.ui.maskSelector.currentNode() is None and not done.ui.resultArea.isVisible()
    volume = node_from_volume(scene, grey_volume(cord_mask()), "next")
    scripted.leave(done)
    scripted.enter(done)
    assert done.ui.volumeSelector.currentNode() is volume


def test_a_run_that_ends_while_the_user_is_elsewhere_is_shown_on_coming_back(done, scene):
    former, volume = done.ui.maskSelector.currentNode(), node_from_volume(scene, grey_volume(cord_mask()), "t2")
    done.ui.volumeSelector.setCurrentNode(volume)
    scripted.leave(done)
    done.panel.segment._on_segmented(finished_case(cord_mask()), volume, image_state(volume), former)
    scripted.enter(done)
    shown = done.ui.maskSelector.currentNode()
    assert shown is not former and shown.GetName() == "t2 spinal cord AI" and "t2: done in" in done.ui.statusLabel.text
    assert done.panel.current.result.segmentation is shown


def test_parameters_survive_the_scene_file(done, scene, tmp_path):
    node = done.logic.getParameterNode()
    node.device = "cpu"
    slicer.util.saveScene(str(tmp_path / "study.mrb"))
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "study.mrb"))
    scripted.enter(done)
    loaded = done.logic.getParameterNode()
    assert loaded.device == "cpu"
    assert loaded.mask.GetName() == "t1 spinal cord AI" and loaded.inputVolume.GetName() == "t1"
    assert done.ui.maskSelector.currentNode() is loaded.mask


def test_without_onnx_runtime_the_panel_says_so(panel, scene, monkeypatch):
    from SpinalCordSegWidgets.install import check_dependencies

    monkeypatch.setattr(
        "SpinalCordSegWidgets.segment_section.check_dependencies", lambda probe: check_dependencies(probe, {}.get)
    )
    asked = []
    monkeypatch.setattr("SpinalCordSegWidgets.segment_section.install", lambda names, **how: asked.append(how) or "no")
    node_from_volume(scene, grey_volume(cord_mask()), "t1")
    scripted.enter(panel)
    assert panel.ui.noticeFrame.isVisible() and "not installed" in panel.ui.noticeLabel.text
    click(panel.ui.noticeButton)
    assert panel.ui.applyButton.text == "Install 50 MB and apply" and panel.ui.statusLabel.text == "no"
    click(panel.ui.applyButton)
    assert asked == [{"again": False}, {"agreed": True}] and not panel.panel.control.running


def test_without_pillow_a_sentence_stands_in_place_of_the_curve(done, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    report._letters.cache_clear()
    done.panel.current.refresh()
    wait_until(lambda: "matplotlib" in done.ui.areaPicture.text)


def test_an_engine_that_does_not_start_is_found_by_asking_it(real_probe, panel, scene, tmp_path, monkeypatch):
    """The probe's child really runs, and meets ONNX Runtime as an interrupted install leaves it."""
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime" / "__init__.py").write_text("raise OSError('libonnx.so: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    panel.panel.segment.probe.forget()
    scripted.enter(panel)
    wait_until(lambda: panel.ui.noticeFrame.isVisible(), 60)
    assert "libonnx.so" in panel.ui.noticeLabel.text and panel.ui.noticeButton.text == "Repair ONNX Runtime…"
    assert not panel.ui.applyButton.isEnabled() and "libonnx.so" in panel.ui.applyButton.toolTip


def test_panels_of_an_install_load_nothing_slow_when_they_open(slicer_application, tmp_path):
    """In a process of its own: what other tests have loaded does not count. Both modules lie in one folder."""
    code = """
import sys
from pathlib import Path
from slicer_standins import application, desktop, scripted
app, _ = application.start()
desktop.start(app)
import slicer.util, numpy
folder = Path(sys.argv[1])
for name in ("SpinalCordSeg", "SpinalCordSegTrainer"):
    before = set(sys.modules)
    widget = scripted.open_module(str(folder / f"{name}.py"))
    print(name, *sorted({module.partition(".")[0] for module in set(sys.modules) - before} - sys.stdlib_module_names))
    widget.cleanup()
ours = {Path(module.__file__) for name, module in sys.modules.items() if name.startswith("SpinalCordSeg")}
print(all(path.is_relative_to(folder) for path in ours), widget.panel.probe is not None)
"""
    install(_CHECKOUT, tmp_path / "ü 1")
    compileall.compile_dir(tmp_path / "ü 1", quiet=2)  # as it is from the second start of Slicer on
    paths = [str(tmp_path / "ü 1"), str(_CHECKOUT / "Testing" / "slicer")]
    ended = subprocess.run(
        [sys.executable, "-c", code, paths[0]],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    *opened, from_the_install = [line.split() for line in ended.stdout.splitlines()]
    assert from_the_install == ["True", "True"] and len(opened) == 2
    for name, *loaded in opened:
        foreign = {one for one in loaded if not one.startswith("SpinalCordSeg")}
        assert name in loaded and foreign <= {"numpy", "packaging", "vtk"}, "no torch, SimpleITK, scipy, ..."


def test_the_device_of_an_earlier_session_is_chosen_once_it_is_known(panel):
    panel.logic.getParameterNode().device = "cuda"
    panel.panel.bind(panel.logic.getParameterNode())
    devices = [{"name": "cuda", "label": "NVIDIA RTX 3060, 12 GB"}, {"name": "cpu", "label": "CPU"}]
    panel.panel.segment.probe.answer = {"state": "ready", "devices": devices}
    panel.panel.segment._on_probe()
    assert panel.panel.segment.devices.name == "cuda" and panel.logic.getParameterNode().device == "cuda"


def test_a_run_has_a_folder_of_its_own_and_may_replace_the_last_one(done, scene):
    hierarchy, volume = scene.GetSubjectHierarchyNode(), done.panel.current.volume
    first = done.panel.current.node

    def folder(node) -> int:
        return hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node))

    def apply() -> None:
        found, before = finished_case(cord_mask()), done.panel.current.node
        done.panel.segment._on_segmented(found, volume, image_state(volume), before)

    result = result_of(first)
    assert hierarchy.GetItemName(folder(first)) == "t1 spinal cord" != folder(volume)
    assert {folder(node) for node in (result.summary, result.slices, result.chart)} == {folder(first)}
    done.ui.replaceLastBox.checked = True
    kinds = sorted(node.GetClassName() for node in slicer.util.getNodesByClass("vtkMRMLNode"))
    apply()
    second = done.panel.current.node
    assert not scene.IsNodePresent(first) and second.GetName() == "t1 spinal cord AI 2"
    now = sorted(node.GetClassName() for node in slicer.util.getNodesByClass("vtkMRMLNode"))
    assert [kind for kind in now if "Display" not in kind] == [kind for kind in kinds if "Display" not in kind]
    done.panel.review.go(FLAGGED_SLICE)  # somebody looks at it
    apply()
    assert scene.IsNodePresent(second)
    paint(done, erase(3))
    apply()
    assert len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) == 2 * 3, "what was edited or reviewed stays"


@pytest.fixture
def language(request, qt_application, tmp_path):
    """The panel's texts as Slicer's LanguagePacks extension brings them; "en": as they are written."""
    translator = QtCore.QTranslator()
    if request.param != "en":
        source = translations.FOLDER / f"SpinalCordSeg_{request.param}.ts"
        tool = Path(PySide6.__file__).parent / "lrelease"
        subprocess.run([tool, source, "-qm", tmp_path / "texts.qm"], check=True, capture_output=True)
        assert translator.load(str(tmp_path / "texts.qm")) and QtCore.QCoreApplication.installTranslator(translator)
    yield request.param
    QtCore.QCoreApplication.removeTranslator(translator)


@pytest.fixture
def large_font(qt_application):
    """16 px, the largest that Slicer's users have reported."""
    former, font = qt_application.font(), QtGui.QFont(qt_application.font())
    font.setPixelSize(16)
    qt_application.setFont(font)
    yield
    qt_application.setFont(former)


_TRANSLATED = [path.stem.rpartition("_")[2] for path in sorted(translations.FOLDER.glob("*.ts"))]


@pytest.mark.parametrize("language", ["en", *_TRANSLATED], indirect=True)
def test_no_section_and_no_language_widens_a_panel_beyond_320_px(language, large_font, panel, trainer, scene):
    if language == "de":
        assert (panel.ui.rejectButton.text, panel.ui.applyButton.toolTip) == ("Verwerfen", "Zuerst ein Volumen wählen.")
    volume = node_from_volume(scene, grey_volume(cord_mask()), "n" * 61)
    panel.panel.current.set(add_result(slicer.mrmlScene, finished_case(cord_mask()), volume).segmentation)
    panel.ui.modelSection.collapsed = panel.ui.trainingSection.collapsed = False
    for section in panel.panel.sections:
        section.button.setVisible(True)
        for other in panel.panel.sections:
            other.button.collapsed = other is not section
        QtWidgets.QApplication.processEvents()
        assert panel.parent.minimumSizeHint().width() <= 320, section.button.name
    assert trainer.parent.minimumSizeHint().width() <= 320
