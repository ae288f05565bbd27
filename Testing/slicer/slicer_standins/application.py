"""A Slicer application without Qt, on PyPI's slicer-core: scene and logics are Slicer's own C++.

``start()`` sets slicer.mrmlScene, slicer.app and slicer.modules so that the wheel's slicer.util works as in Slicer.
"""

import sys
import tempfile
import types
from collections.abc import Callable
from typing import Any

import slicer
import slicer_core
import vtk

from slicer_standins.io_manager import CoreIOManager, add_remote_io
from slicer_standins.messages import VtkMessages

_LOGICS = {
    "Colors": "vtkSlicerColorLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Data": "vtkSlicerDataModuleLogic",
}


class Module:
    """Stand-in for qSlicerAbstractCoreModule, as found in slicer.modules.<name>."""

    def __init__(self, name: str, logic: Any = None, path: str = "") -> None:
        self.name, self.title, self.path, self._logic = name, name, path, logic

    def logic(self) -> Any:
        return self._logic


class ModuleManager:
    """Stand-in for qSlicerModuleManager."""

    def module(self, name: str) -> Any:
        return getattr(slicer.modules, name.lower(), None)

    def connect(self, *_: Any) -> bool:
        return True

    disconnect = connect


class Application:
    """Stand-in for qSlicerApplication; Qt's part (signals, main window) is added by the panel tests."""

    applicationName = "Slicer stand-in"
    revision = "0"
    applicationVersion = "5.13.0"
    majorVersion, minorVersion = 5, 13

    def __init__(self, scene: Any, logic: Any) -> None:
        self._scene, self._logic = scene, logic
        self._cache = tempfile.TemporaryDirectory(prefix="slicer-standin-")
        self.temporaryPath = self._cache.name
        self.logics: dict[str, Any] = {}
        self._io, self._modules = CoreIOManager(scene, self.logics), ModuleManager()
        self._remote = add_remote_io(scene, logic, self._cache.name)
        self._layout_manager: Any = None
        self._about_to_quit: list[Callable[[], None]] = []

    def mrmlScene(self) -> Any:
        return self._scene

    def applicationLogic(self) -> Any:
        return self._logic

    def coreIOManager(self) -> CoreIOManager:
        return self._io

    ioManager = coreIOManager

    def moduleManager(self) -> ModuleManager:
        return self._modules

    def layoutManager(self) -> Any:
        return self._layout_manager

    def topLevelWidgets(self) -> list[Any]:
        """No main window: its status bar is not there."""
        return []

    def testingEnabled(self) -> bool:
        return True

    def translate(self, context: str, text: str) -> str:
        from slicer_standins.pythonqt import qt

        return str(qt.QCoreApplication.translate(context, text))

    def connect(self, signal: str, slot: Callable[[], None]) -> bool:
        if signal not in ("aboutToQuit()", "startupCompleted()"):
            raise AttributeError(f"the stand-in application has no signal {signal}")
        if signal == "aboutToQuit()":
            self._about_to_quit.append(slot)
        return True

    def disconnect(self, _signal: str, slot: Callable[[], None]) -> bool:
        self._about_to_quit.remove(slot)
        return True

    def quit(self) -> None:
        """What closing Slicer does to those who asked to be told."""
        for slot in list(self._about_to_quit):
            slot()

    def processEvents(self, *_: Any) -> None:
        return None

    pauseRender = resumeRender = setOverrideCursor = restoreOverrideCursor = processEvents


def start() -> tuple[Application, VtkMessages]:
    """Build the one application of this process."""
    messages = VtkMessages()
    messages.install()
    scene = slicer.vtkMRMLScene()
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    logic = slicer.vtkSlicerApplicationLogic()
    logic.SetMRMLScene(scene)
    logic.SetSliceLogics(vtk.vtkCollection())
    logic.SetViewLogics(vtk.vtkCollection())
    _add_colours(scene, logic)
    app = Application(scene, logic)
    _add_module_logics(app, scene, logic)
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    slicer.app, slicer.mrmlScene = app, scene
    scene.AddObserver(scene.NodeAboutToBeRemovedEvent, _remove_item)
    _publish_modules(app)
    messages.clear()  # the wheel has no terminology and colour files, and says so
    return app, messages


@vtk.calldata_type(vtk.VTK_OBJECT)
def _remove_item(scene: Any, _event: str, node: Any) -> None:
    """What the Qt part of Slicer's subject hierarchy does."""
    if not scene.IsClosing():
        hierarchy = scene.GetSubjectHierarchyNode()
        item = hierarchy.GetItemByDataNode(node)
        if item:
            hierarchy.RemoveItem(item, False, False)


def _add_colours(scene: Any, logic: Any) -> None:
    logic.GetColorLogic().SetMRMLScene(scene)
    logic.GetColorLogic().AddDefaultColorNodes()
    generic = slicer.vtkMRMLColorTableNode()  # read from a file in Slicer, and every label map asks for it
    generic.SetTypeToUser()
    generic.SetNumberOfColors(2)
    generic.SetColor(0, "background", 0, 0, 0, 0)
    generic.SetColor(1, "1", 0.5, 0.7, 0.5, 1)
    generic.SetSingletonTag("FileGenericColors.txt")
    generic.SetHideFromEditors(True)
    generic.SetSaveWithScene(False)
    scene.AddNode(generic)


def _add_module_logics(app: Application, scene: Any, application_logic: Any) -> None:
    for name, class_name in _LOGICS.items():
        module_logic = getattr(slicer, class_name)()
        module_logic.SetMRMLApplicationLogic(application_logic)
        module_logic.SetMRMLScene(scene)
        application_logic.SetModuleLogic(name, module_logic)
        app.logics[name.lower()] = module_logic


def _publish_modules(app: Application) -> None:
    modules: Any = types.ModuleType("slicer.modules")
    for name, module_logic in app.logics.items():
        setattr(modules, name, Module(name, module_logic))
    slicer.modules = sys.modules["slicer.modules"] = modules
    for name, content in list(vars(slicer_core).items()):  # top-level names inside Slicer's own Python
        if isinstance(content, types.ModuleType):
            sys.modules.setdefault(name, content)
            sys.modules.setdefault(name + "Python", content)
    sys.modules.setdefault("SlicerBaseLogicPython", slicer_core.vtkSlicerBaseLogic)
    sys.modules.setdefault("vtkAddon", slicer_core.vtkAddonPython)
