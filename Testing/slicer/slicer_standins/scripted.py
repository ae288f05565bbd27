"""Slicer's base classes for a scripted module (what they mean, not how they are written), and opening a panel."""

import importlib
import os
import sys
import types
import unittest
from typing import Any

import slicer
import slicer.util

from slicer_standins import checkout, parameter_node
from slicer_standins.application import Module
from slicer_standins.mrml_widgets import qMRMLNodeComboBox, qMRMLWidget
from slicer_standins.pythonqt import qt


class ScriptedLoadableModule:
    def __init__(self, parent: Any) -> None:
        self.parent, self.moduleName = parent, type(self).__name__

    def resourcePath(self, name: str) -> str:
        return os.path.join(os.path.dirname(self.parent.path), "Resources", name)


class ScriptedLoadableModuleWidget:
    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.parent = parent
        self.layout = parent.layout()

    def resourcePath(self, name: str) -> str:
        return os.path.join(os.path.dirname(slicer.util.modulePath(self.moduleName)), "Resources", name)

    def setup(self) -> None:
        return None

    cleanup = enter = exit = setup


class ScriptedLoadableModuleLogic:
    def __init__(self, parent: Any = None) -> None:
        self.moduleName, self.isSingletonParameterNode = type(self).__name__.removesuffix("Logic"), True

    def getParameterNode(self) -> Any:
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
            node.UnRegister(None)
            node.SetSingletonTag(self.moduleName)
            node.SetModuleName(self.moduleName)
            node.SetAttribute("ModuleName", self.moduleName)
            node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
            node = slicer.mrmlScene.AddNode(node)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    def delayDisplay(self, _message: str, *_: Any, **__: Any) -> None:
        return None


class Entry(Module):
    """What a module's constructor is given as its parent, and what slicer.modules.<name> is."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name, path=path)
        self.categories: list[str] = []
        self.dependencies: list[str] = []
        self.contributors: list[str] = []
        self.helpText = self.acknowledgementText = ""
        self.hidden = False
        self.widget: Any = None

    def widgetRepresentation(self) -> Any:
        """Its ``self()`` is the Python widget."""
        return types.SimpleNamespace(self=lambda: self.widget)


class ModuleParent(qMRMLWidget):
    """Stand-in for qSlicerScriptedLoadableModuleWidget, the parent of a module's widget."""

    def __init__(self) -> None:
        super().__init__()
        self._entered = False

    isEntered = property(lambda self: self._entered)

    def setEntered(self, entered: bool) -> None:
        self._entered = entered


def _context(file: str) -> str:
    """As Slicer and tools/translations.py name it: PACKAGE.FILE, FILE where it is in no package."""
    folder, name = os.path.split(file.removesuffix(".py"))
    return f"{os.path.basename(folder)}.{name}" if os.path.exists(os.path.join(folder, "__init__.py")) else name


def publish() -> None:
    """Make base classes, translations and parameter nodes importable by the names that modules use: Slicer's own of a
    checkout where one is named."""
    package = checkout.folder()
    if package is not None:
        checkout.publish(package)
        return
    parameter_node.publish()
    base: Any = types.ModuleType("slicer.ScriptedLoadableModule")
    classes = (
        ScriptedLoadableModule, ScriptedLoadableModuleWidget, ScriptedLoadableModuleLogic, ScriptedLoadableModuleTest,
    )  # fmt: skip
    for cls in classes:
        setattr(base, cls.__name__, cls)
    base.__all__ = [cls.__name__ for cls in classes]
    slicer.ScriptedLoadableModule = sys.modules["slicer.ScriptedLoadableModule"] = base
    i18n: Any = types.ModuleType("slicer.i18n")
    i18n.tr = lambda text: qt.QCoreApplication.translate(_context(sys._getframe(1).f_code.co_filename), text)
    i18n.translate = qt.QCoreApplication.translate
    slicer.i18n = sys.modules["slicer.i18n"] = i18n


def open_module(path: str) -> Any:
    """What Slicer's module factory does for <Name>.py: the class, then its widget with a parent, then setup()."""
    name = os.path.splitext(os.path.basename(path))[0]
    if os.path.dirname(path) not in sys.path:
        sys.path.insert(0, os.path.dirname(path))
    module = importlib.import_module(name)
    entry = Entry(name, path)
    entry.instance = getattr(module, name)(entry)
    setattr(slicer.modules, name.lower(), entry)
    setattr(slicer.modules, name + "Instance", entry.instance)
    parent = ModuleParent()
    parent.setLayout(qt.QVBoxLayout())
    parent.setMRMLScene(slicer.mrmlScene)
    widget = getattr(module, name + "Widget")(parent)
    entry.widget = widget
    setattr(slicer.modules, name + "Widget", widget)
    widget.setup()
    return widget


def close_module(widget: Any) -> None:
    """What happens to a module's widget when Slicer ends: cleaned up, then destroyed."""
    widget.cleanup()
    for child in widget.parent.findChildren(qMRMLNodeComboBox):
        child.stop_observing()
    widget.parent.close()
    widget.parent.deleteLater()
    qt.QCoreApplication.sendPostedEvents(None, qt.QEvent.DeferredDelete)


def enter(widget: Any) -> None:
    """What happens when the user comes to a module."""
    widget.parent.setEntered(True)
    widget.enter()


def leave(widget: Any) -> None:
    widget.parent.setEntered(False)
    widget.exit()


def run_own_test(name: str) -> unittest.TestResult:
    """What slicer_add_python_unittest does inside Slicer: the module's ``…Test`` class, each test by itself."""
    tests = unittest.defaultTestLoader.loadTestsFromTestCase(getattr(sys.modules[name], f"{name}Test"))
    return tests.run(unittest.TestResult())
