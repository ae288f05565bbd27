"""The SpinalCordSeg module of 3D Slicer: nodes in, nodes out. Everything else is in the packages beside this file."""

from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

_DOCUMENTATION = "https://github.com/SpinalCordSeg/SlicerSpinalCordSeg/blob/main/docs/slicer.md"


class SpinalCordSeg(ScriptedLoadableModule):
    def __init__(self, parent) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Spinal Cord Segmentation")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations"]
        parent.contributors = ["The SpinalCordSeg authors"]
        parent.helpText = _(
            "Finds the cervical spinal cord in MR volumes and measures it: volume, length, cross-sectional area along"
            " the cord. Research use, not for diagnosis."
        )
        parent.helpText += f'<p><a href="{_DOCUMENTATION}">{_("Tutorials and documentation")}</a></p>'
        parent.acknowledgementText = _(
            "After Bueno et al. 2022, J Digit Imaging 35:1131-1142, doi 10.1007/s10278-022-00637-4."
        )
        slicer.app.connect("startupCompleted()", onStartupCompleted)


def onStartupCompleted() -> None:
    from SpinalCordSegWidgets.install import resume
    from SpinalCordSegWidgets.sample_data import register

    register()
    resume()


# The wrapper reads the annotations while the class is made, when Slicer may not know this file as a module yet: so they
# must be types, not strings, and this file has no `from __future__ import annotations`.
@parameterNodeWrapper
class SpinalCordSegParameterNode:
    """``modelPath`` "": the first model. ``device``: as the command line takes it."""

    inputVolume: slicer.vtkMRMLScalarVolumeNode
    mask: slicer.vtkMRMLSegmentationNode
    modelPath: str = ""
    device: str = "auto"
    replaceLast: bool = False


class SpinalCordSegWidget(ScriptedLoadableModuleWidget):
    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        self.logic = self.panel = self.binding = None

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        from SpinalCordSegWidgets.main_widget import ModuleBinding, Panel

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/SpinalCordSeg.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = SpinalCordSegLogic()
        self.panel = Panel(self.ui, self.logic, lambda: bool(self.parent.isEntered))
        self.binding = ModuleBinding(self, closing=self.panel.scene_is_closing, closed=self.panel.scene_is_closed)

    def cleanup(self) -> None:
        if self.binding is not None:  # None: setup did not get that far
            self.panel.leave()
            self.panel.scene_is_closing()
            self.binding.close()

    def enter(self) -> None:
        self.binding.enter()

    def exit(self) -> None:
        self.panel.leave()
        self.binding.leave()


class SpinalCordSegLogic(ScriptedLoadableModuleLogic):
    """For scripts too: ``SpinalCordSegLogic().process(volumeNode)`` gives the result's nodes."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        from SpinalCordSegLib.worker import remove_abandoned

        remove_abandoned(Path(slicer.app.temporaryPath))

    def getParameterNode(self) -> SpinalCordSegParameterNode:
        return SpinalCordSegParameterNode(super().getParameterNode())

    def onlyVolume(self):
        """The scene's one grey volume (label maps are of a class of their own); None without, or among several."""
        nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        grey = [node for node in nodes if node.GetClassName() == "vtkMRMLScalarVolumeNode"]
        return grey[0] if len(grey) == 1 else None

    def process(self, volumeNode, model: Path | None = None, device: str = "auto"):
        """Segment and measure, and wait for it. Raises SpinalCordSegError; RuntimeError where the run failed."""
        from SpinalCordSegLib.model.checkpoint import default_model
        from SpinalCordSegNodes.results import add_result
        from SpinalCordSegWidgets.jobs import segment_job

        case = self._finish(segment_job(volumeNode, model or default_model(), device))
        return add_result(slicer.mrmlScene, case, volumeNode)

    def measure(self, segmentation, segmentId: str):
        """Measure a mask, and wait for it. Raises as ``process``."""
        from SpinalCordSegNodes.results import add_measures
        from SpinalCordSegWidgets.jobs import measure_job

        case = self._finish(measure_job(segmentation, segmentId))
        return add_measures(slicer.mrmlScene, case, segmentation)

    def _finish(self, run):
        import time

        try:
            while run.running:
                run.poll()
                slicer.app.processEvents()
                time.sleep(0.05)
        finally:
            run.close()
        if run.result is None:
            raise RuntimeError(run.failure.message if run.failure else _("The run was cancelled."))
        return run.result


class SpinalCordSegTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer as well, on a phantom whose cord volume is known."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)

    def runTest(self) -> None:
        """The button "Reload and Test"; Slicer's test runner calls each test by itself."""
        for test in (self.test_phantom_mask_is_measured, self.test_voxels_survive, self.test_apply_in_the_panel):
            self.setUp()
            test()

    def test_phantom_mask_is_measured(self) -> None:
        phantom, _volumeNode, segmentation = self._phantomInScene()
        from SpinalCordSegNodes.segmentations import cord_segment_id

        result = SpinalCordSegLogic().measure(segmentation, cord_segment_id(segmentation))
        found = result.case.volume_mm3
        self.assertLess(abs(found - phantom.truth_volume_mm3), 0.03 * phantom.truth_volume_mm3)
        self.assertGreater(result.slices.GetNumberOfRows(), 10)

    def test_voxels_survive(self) -> None:
        """From the mask to the segmentation, into a scene file and back: the same voxels at the same place."""
        import numpy as np

        from SpinalCordSegNodes.editing import changes_since_ai
        from SpinalCordSegNodes.segmentations import cord_segment_id, cropped_mask, mask_of_segment

        phantom, _volumeNode, segmentation = self._phantomInScene(orientation="LAS")
        name, path = segmentation.GetName(), Path(slicer.app.temporaryPath) / "SpinalCordSegTest.mrb"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.assertTrue(slicer.util.saveScene(str(path)))
        slicer.mrmlScene.Clear(0)
        slicer.util.loadScene(str(path))
        path.unlink()
        loaded = slicer.util.getNode(name)
        mask = mask_of_segment(loaded, cord_segment_id(loaded))
        self.assertTrue(np.array_equal(mask.ijk, phantom.mask.ijk != 0))
        self.assertTrue(np.allclose(mask.ijk_to_ras, phantom.mask.ijk_to_ras, atol=1e-6))
        segment_id = cord_segment_id(loaded)
        self.assertFalse(changes_since_ai(loaded, segment_id, cropped_mask(loaded, segment_id))[0])

    def test_apply_in_the_panel(self) -> None:
        """Cancelled once, then to the end."""
        phantom, volumeNode, _segmentation = self._phantomInScene(shape=(192, 192, 16))
        widget = slicer.modules.spinalcordseg.widgetRepresentation().self()
        widget.ui.volumeSelector.setCurrentNode(volumeNode)
        if not widget.ui.applyButton.enabled:
            self.skipTest(widget.ui.applyButton.toolTip)  # no ONNX Runtime, or no model
        widget.ui.applyButton.click()
        self.assertTrue(widget.panel.control.running)
        widget.ui.applyButton.click()
        self._waitFor(widget.panel.control, 5)
        widget.ui.applyButton.click()
        self._waitFor(widget.panel.control, 600)
        self.assertIsNone(widget.panel.control.failure)
        self.assertEqual(widget.ui.maskSelector.currentNode().GetName(), f"{volumeNode.GetName()} spinal cord AI 2")
        found = widget.panel.current.result.case.volume_mm3
        self.assertLess(abs(found - phantom.truth_volume_mm3), 0.15 * phantom.truth_volume_mm3)

    def _phantomInScene(self, **options):
        from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
        from SpinalCordSegNodes.segmentations import add_segmentation
        from SpinalCordSegNodes.volumes import node_from_volume

        phantom = make_phantom(PhantomConfig(**options))
        volumeNode = node_from_volume(slicer.mrmlScene, phantom.image, "phantom")
        return phantom, volumeNode, add_segmentation(slicer.mrmlScene, phantom.mask, volumeNode)

    def _waitFor(self, control, seconds: float) -> None:
        import time

        end = time.monotonic() + seconds
        while control.running and time.monotonic() < end:
            slicer.app.processEvents()
            time.sleep(0.02)
        self.assertFalse(control.running)
