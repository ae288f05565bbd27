"""The training module of 3D Slicer: it drives the trainer's command line. Everything else is in the packages here."""

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
from slicer.util import VTKObservationMixin


class SpinalCordSegTrainer(ScriptedLoadableModule):
    def __init__(self, parent) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Spinal Cord Segmentation Trainer")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["SpinalCordSeg"]
        parent.contributors = ["The SpinalCordSeg authors"]
        parent.helpText = _(
            "Trains a network of your own for Spinal Cord Segmentation from images and label maps (as ITK-SNAP or"
            " Slicer write them): checks the cases, finds the learning rate, trains, evaluates. Nothing leaves this"
            " computer."
        )
        parent.acknowledgementText = _(
            "After Bueno et al. 2022, J Digit Imaging 35:1131-1142, doi 10.1007/s10278-022-00637-4."
        )


# The defaults are the trainer's own; a test compares them.
@parameterNodeWrapper
class SpinalCordSegTrainerParameterNode:
    """Rates are texts, so that 1e-5 can be typed. ``label``, ``sweepUpdates``: 0 leaves the choice to the trainer."""

    dataFolder: str = ""
    runFolder: str = ""
    label: int = 0
    modelName: str = "my model"
    network: str = "ra_unet"
    epochs: int = 30
    batchSize: int = 15
    baseRate: str = "1e-05"
    maxRate: str = "1e-03"
    augment: bool = False
    moreSettings: str = ""
    sweepUpdates: int = 0


class SpinalCordSegTrainerWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.panel = None
        self._parameterNode = None
        self._guiTag = None

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        from SpinalCordSegTrainerWidgets.panel import TrainerPanel

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/SpinalCordSegTrainer.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = SpinalCordSegTrainerLogic()
        self.panel = TrainerPanel(self.ui, self.logic, lambda: bool(self.parent.isEntered))
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        slicer.app.connect("aboutToQuit()", self.panel.end_children)

    def cleanup(self) -> None:
        slicer.app.disconnect("aboutToQuit()", self.panel.end_children)
        self.panel.end_children()
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self) -> None:
        self.setParameterNode(self.logic.getParameterNode())
        self.panel.enter()

    def exit(self) -> None:
        self.setParameterNode(None)

    def onSceneStartClose(self, _caller, _event) -> None:
        self.setParameterNode(None)  # a run goes on: it works on files, not on the scene

    def onSceneEndClose(self, _caller, _event) -> None:
        if self.parent.isEntered:
            self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, parameterNode) -> None:
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._guiTag)
        self._parameterNode = parameterNode
        if parameterNode is not None:
            self._guiTag = parameterNode.connectGui(self.ui)
        self.panel.bind(parameterNode)


class SpinalCordSegTrainerLogic(ScriptedLoadableModuleLogic):
    def getParameterNode(self) -> SpinalCordSegTrainerParameterNode:
        return SpinalCordSegTrainerParameterNode(super().getParameterNode())

    def scratchBase(self) -> Path:
        return Path(slicer.app.temporaryPath)


class SpinalCordSegTrainerTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer as well: settings become a command line that the trainer would take."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)

    def runTest(self) -> None:
        self.setUp()
        self.test_settings_become_a_command()

    def test_settings_become_a_command(self) -> None:
        from SpinalCordSegTrainerWidgets.settings import TrainerSettings

        command = TrainerSettings(Path("data"), Path("run"), label=3, epochs=4).train()
        self.assertEqual(command[:2], ["train", "data"])
        self.assertIn("epochs=4", command)
        self.assertEqual(command[command.index("--label") + 1], "3")
