"""The training module of 3D Slicer: it drives the trainer's command line. Everything else is in the packages here."""

from typing import Annotated

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

_DOCUMENTATION = "https://github.com/SpinalCordSeg/SlicerSpinalCordSeg/blob/main/docs/training.md"


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
        parent.helpText += f'<p><a href="{_DOCUMENTATION}">{_("Tutorials and documentation")}</a></p>'
        parent.acknowledgementText = _(
            "After Bueno et al. 2022, J Digit Imaging 35:1131-1142, doi 10.1007/s10278-022-00637-4."
        )


# The defaults are the trainer's own; a test compares them. A number without a range would take the spin box's limits
# away. Annotations must be types, not strings: no `from __future__ import annotations` here.
@parameterNodeWrapper
class SpinalCordSegTrainerParameterNode:
    """Rates are texts, so that 1e-5 can be typed. ``label``, ``sweepUpdates``: 0 leaves the choice to the trainer."""

    dataFolder: str = ""
    runFolder: str = ""
    label: Annotated[int, WithinRange(0, 65535)] = 0
    tolerant: bool = False
    modelName: str = "my model"
    network: str = "ra_unet"
    epochs: Annotated[int, WithinRange(1, 10000)] = 30
    batchSize: Annotated[int, WithinRange(1, 1024)] = 15
    baseRate: str = "1e-05"
    maxRate: str = "1e-03"
    augment: bool = False
    moreSettings: str = ""
    sweepUpdates: Annotated[int, WithinRange(0, 100000)] = 0


class SpinalCordSegTrainerWidget(ScriptedLoadableModuleWidget):
    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        self.logic = self.panel = self.binding = None

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        from SpinalCordSegTrainerWidgets.main_widget import TrainerPanel
        from SpinalCordSegWidgets.main_widget import ModuleBinding

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/SpinalCordSegTrainer.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = SpinalCordSegTrainerLogic()
        self.panel = TrainerPanel(self.ui, lambda: bool(self.parent.isEntered))
        self.binding = ModuleBinding(self)  # closing a scene ends no run: it works on files, not on the scene

    def cleanup(self) -> None:
        if self.binding is not None:  # None: setup did not get that far
            self.binding.close()

    def enter(self) -> None:
        self.binding.enter()

    def exit(self) -> None:
        self.binding.leave()


class SpinalCordSegTrainerLogic(ScriptedLoadableModuleLogic):
    def getParameterNode(self) -> SpinalCordSegTrainerParameterNode:
        return SpinalCordSegTrainerParameterNode(super().getParameterNode())


class SpinalCordSegTrainerTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer as well."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)

    def runTest(self) -> None:
        """The button "Reload and Test"; Slicer's test runner calls each test by itself."""
        for test in (self.test_settings_become_a_command, self.test_panel_says_what_is_missing):
            self.setUp()
            test()

    def test_settings_become_a_command(self) -> None:
        widget = slicer.modules.spinalcordsegtrainer.widgetRepresentation().self()
        widget.ui.labelBox.value, widget.ui.epochsBox.value = 3, 4
        command = widget.panel.form.arguments("train")
        self.assertEqual(command[0], "train")
        self.assertIn("epochs=4", command)
        self.assertEqual(command[command.index("--label") + 1], "3")

    def test_panel_says_what_is_missing(self) -> None:
        """Step by step: packages, folder, checked cases."""
        widget = slicer.modules.spinalcordsegtrainer.widgetRepresentation().self()
        widget.ui.dataEdit.text = ""
        self.assertFalse(widget.ui.checkButton.enabled)
        self.assertFalse(widget.ui.trainButton.enabled)
        self.assertTrue(widget.ui.trainButton.toolTip)
        if widget.panel.packages.can_run:
            widget.ui.dataEdit.text = slicer.app.temporaryPath
            self.assertTrue(widget.ui.checkButton.enabled)
            self.assertFalse(widget.ui.trainButton.enabled)  # the cases were not checked
            widget.ui.dataEdit.text = ""
