"""The SpinalCordSeg module of 3D Slicer: nodes in, nodes out. Everything else is in the packages beside this file."""

from __future__ import annotations

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
        parent.acknowledgementText = _(
            "After Bueno et al. 2022, J Digit Imaging 35:1131-1142, doi 10.1007/s10278-022-00637-4."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData() -> None:
    from SpinalCordSegWidgets.sample_data import register

    register()


# The wrapper reads the annotations while the class is made: node classes by name, no strings of types it cannot know.
@parameterNodeWrapper
class SpinalCordSegParameterNode:
    """``modelPath`` "": the first model. ``device``: as the command line takes it."""

    inputVolume: slicer.vtkMRMLScalarVolumeNode
    mask: slicer.vtkMRMLSegmentationNode
    modelPath: str = ""
    device: str = "auto"
    flaggedOnly: bool = False


class SpinalCordSegWidget(ScriptedLoadableModuleWidget):
    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        self.logic = self.panel = self.binding = None

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        from SpinalCordSegWidgets.module_binding import ModuleBinding
        from SpinalCordSegWidgets.panel import Panel

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/SpinalCordSeg.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = SpinalCordSegLogic()
        self.panel = Panel(self.ui, self.logic, lambda: bool(self.parent.isEntered))
        self.binding = ModuleBinding(self, closing=self.panel.scene_is_closing, closed=self.panel.scene_is_closed)

    def cleanup(self) -> None:
        if self.binding is not None:  # None: setup did not get that far
            self.binding.close()

    def enter(self) -> None:
        self.binding.enter()

    def exit(self) -> None:
        self.binding.leave()


class SpinalCordSegLogic(ScriptedLoadableModuleLogic):
    """For scripts too: ``SpinalCordSegLogic().process(volumeNode)`` gives the result's nodes."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        from SpinalCordSegLib.scratch import remove_abandoned

        remove_abandoned(self.scratchBase())

    def getParameterNode(self) -> SpinalCordSegParameterNode:
        return SpinalCordSegParameterNode(super().getParameterNode())

    def firstVolume(self):
        """The first grey volume of the scene (label maps are of a class of their own); None without one."""
        nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        return next((node for node in nodes if node.GetClassName() == "vtkMRMLScalarVolumeNode"), None)

    def scratchBase(self) -> Path:
        return Path(slicer.app.temporaryPath)

    def startSegment(self, volumeNode, model: Path | None = None, device: str = "auto"):
        """Begin a run in a child process: poll it, then give its result to ``addResult``. Raises SpinalCordSegError."""
        from SpinalCordSegLib.models import default_model
        from SpinalCordSegNodes.volumes import volume_from_node
        from SpinalCordSegWidgets.cord_run import segment_run

        volume = volume_from_node(volumeNode)
        return segment_run(volume, self.scratchBase(), model=model or default_model(), device=device)

    def startMeasure(self, segmentation, segmentId: str):
        """The same for a mask that is there. Raises SpinalCordSegError."""
        from SpinalCordSegNodes.segmentations import mask_of_segment, volume_behind
        from SpinalCordSegWidgets.cord_run import measure_run

        mask = mask_of_segment(segmentation, segmentId)
        return measure_run(mask, self.scratchBase(), image=volume_behind(segmentation, mask))

    def addResult(self, case, volumeNode):
        """A new segmentation with tables, plot and report; whatever is in the scene stays as it is."""
        from SpinalCordSegNodes.results import add_result
        from SpinalCordSegWidgets.segment_editor import save_state_for_undo

        save_state_for_undo()
        return add_result(slicer.mrmlScene, case, volumeNode)

    def addMeasures(self, case, segmentation):
        from SpinalCordSegNodes.results import add_measures

        return add_measures(slicer.mrmlScene, case, segmentation)

    def process(self, volumeNode, model: Path | None = None, device: str = "auto"):
        """Segment and measure, and wait for it. Raises SpinalCordSegError; RuntimeError where the run failed."""
        return self.addResult(self._finish(self.startSegment(volumeNode, model, device)), volumeNode)

    def measure(self, segmentation, segmentId: str):
        """Measure a mask, and wait for it. Raises as ``process``."""
        return self.addMeasures(self._finish(self.startMeasure(segmentation, segmentId)), segmentation)

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
    """Runs inside Slicer as well: a phantom whose volume is known is written, measured and found again."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)

    def runTest(self) -> None:
        self.setUp()
        self.test_phantom_mask_is_measured()

    def test_phantom_mask_is_measured(self) -> None:
        from SpinalCordSegLib.phantom import make_phantom
        from SpinalCordSegNodes.provenance import Provenance
        from SpinalCordSegNodes.segmentations import add_segmentation, cord_segment_id
        from SpinalCordSegNodes.volumes import node_from_volume

        phantom = make_phantom()
        volumeNode = node_from_volume(slicer.mrmlScene, phantom.image, "phantom")
        segmentation = add_segmentation(slicer.mrmlScene, phantom.mask, volumeNode, Provenance())
        result = SpinalCordSegLogic().measure(segmentation, cord_segment_id(segmentation))
        found = result.report_content()["volume_mm3"]
        self.assertLess(abs(found - phantom.truth_volume_mm3), 0.03 * phantom.truth_volume_mm3)
        self.assertGreater(result.slices.GetNumberOfRows(), 10)
