"""A QUiLoader that knows the stand-ins; a custom widget class or property that is not known is an error."""

import xml.etree.ElementTree as ElementTree
from typing import Any

from PySide6 import QtCore, QtUiTools

from slicer_standins.pythonqt import Strictness, add_property, connect, own_properties, qt

_CUSTOM: dict[str, type] = {}


def stand_in(module: Any):
    """Class decorator: known to the loader, and found in ``module`` (slicer or ctk) as in Slicer."""

    def register(cls: type) -> type:
        _CUSTOM[cls.__name__] = cls
        cls.NATIVE = True  # type: ignore[attr-defined]  # a C++ class in Slicer: no new attributes
        for declared in own_properties(cls):
            if not isinstance(getattr(cls, declared.name(), None), property | QtCore.Property):
                add_property(cls, declared)
        setattr(module, cls.__name__, cls)
        return cls

    return register


class UiLoader(QtUiTools.QUiLoader):
    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        if class_name in _CUSTOM:
            widget = _CUSTOM[class_name](parent)
            widget.setObjectName(name)
            return widget
        if class_name not in self.availableWidgets():
            raise RuntimeError(f"no stand-in for custom widget class {class_name}")
        return super().createWidget(class_name, parent, name)

    def load(self, file: Any, parent: Any = None) -> Any:
        path = file if isinstance(file, str) else file.fileName()
        Strictness.on = False
        try:
            widget = super().load(path, parent)
        finally:
            Strictness.on = True
        if widget is None:
            raise RuntimeError(f"{path}: {self.errorString()}")
        _check(widget, path)
        return widget


def _check(root: Any, path: str) -> None:
    """The properties of custom widgets must exist; the file's connections between them are made."""
    objects = {child.objectName: child for child in [root, *root.findChildren(QtCore.QObject)]}
    tree = ElementTree.parse(path)
    for element in tree.iter("widget"):
        if element.get("class") in _CUSTOM:
            known = objects[element.get("name")].metaObject()
            for declared in element.findall("property"):
                dynamic = declared.get("stdset") == "0"
                if not dynamic and known.indexOfProperty(declared.get("name")) < 0:
                    raise RuntimeError(f"{element.get('class')} has no property {declared.get('name')}")
    for link in tree.iter("connection"):
        sender, signal, receiver, slot = (link.findtext(key) for key in ("sender", "signal", "receiver", "slot"))
        if signal in getattr(type(objects[sender]), "SLICER_SIGNALS", ()):
            connect(objects[sender], signal, objects[receiver], slot)


qt.QUiLoader = UiLoader
