"""Stand-ins for the qMRML widgets that the modules use: what they accept, what they list, what they tell."""

from collections.abc import Iterator
from typing import Any

import slicer
import vtk

from slicer_standins.pythonqt import qt
from slicer_standins.ui_loader import stand_in

_Property, _Signal = qt.Property, qt.Signal


@stand_in(slicer)
class qMRMLWidget(qt.QWidget):
    SLICER_SIGNALS = ("mrmlSceneChanged(vtkMRMLScene*)",)
    mrmlSceneChanged = _Signal(object)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)


_TEXTS = {"baseName": "", "noneDisplay": "None"}
_SWITCHES = {
    "noneEnabled": False, "addEnabled": True, "removeEnabled": True, "renameEnabled": False, "editEnabled": False,
    "showHidden": False, "showChildNodeTypes": True, "selectNodeUponCreation": False,
}  # fmt: skip


@stand_in(slicer)
class qMRMLNodeComboBox(qt.QWidget):
    """Lists the scene's nodes of the wanted classes, as the worst Slicer does: before its node is removed it moves on
    to a neighbour (after observers of usual priority were told); after an import it moves to the last one; between two
    nodes of one name it says nothing but that the user chose (Qt 6)."""

    SLICER_SIGNALS = (
        "currentNodeChanged(vtkMRMLNode*)", "nodeActivated(vtkMRMLNode*)", "mrmlSceneChanged(vtkMRMLScene*)",
    )  # fmt: skip
    currentNodeChanged, nodeActivated, mrmlSceneChanged = _Signal(object), _Signal(object), _Signal(object)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        layout = qt.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._box = qt.QComboBox()
        self._box.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)
        layout.addWidget(self._box)
        self._settings: dict[str, Any] = {"nodeTypes": [], **_SWITCHES, **_TEXTS}
        self._scene: Any = None
        self._ids: list[str] = []
        self._current = self._text = ""
        self._observers: list[int] = []
        self._box.activated.connect(self.choose)

    def _read(self, name: str) -> Any:
        return self._settings[name]

    def _write(self, name: str, value: Any) -> None:
        self._settings[name] = value
        self._refresh()

    for _name, _type in (
        {"nodeTypes": "QStringList"} | dict.fromkeys(_SWITCHES, bool) | dict.fromkeys(_TEXTS, str)
    ).items():
        locals()[_name] = _Property(
            _type, lambda self, n=_name: self._read(n), lambda self, value, n=_name: self._write(n, value)
        )

    def stop_observing(self) -> None:
        """What the C++ widget's destructor does."""
        for tag in self._observers:
            self._scene.RemoveObserver(tag)
        self._observers = []

    def setMRMLScene(self, scene: Any) -> None:
        self.stop_observing()
        self._scene = scene
        if scene:
            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent)
            self._observers = [
                *(scene.AddObserver(event, lambda *_: self._refresh()) for event in events),
                scene.AddObserver(scene.EndImportEvent, lambda *_: self._jump_to_last()),
                scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._on_removal, -10.0),
            ]
        self._refresh()
        self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self) -> Any:
        return self._scene

    def _accepted(self) -> Iterator[Any]:
        for index in range(self._scene.GetNumberOfNodes() if self._scene else 0):
            node = self._scene.GetNthNode(index)
            wanted = (
                node.IsA(t) if self._settings["showChildNodeTypes"] else node.GetClassName() == t
                for t in self._settings["nodeTypes"]
            )
            if any(wanted) and (self._settings["showHidden"] or not node.GetHideFromEditors()):
                yield node

    def _refresh(self, without: str = "") -> None:
        nodes = [node for node in self._accepted() if node.GetID() != without]
        none, before = bool(self._settings["noneEnabled"]), self._ids
        self._ids = [""] * none + [node.GetID() for node in nodes]
        self._box.clear()
        self._box.addItems([self._settings["noneDisplay"]] * none + [node.GetName() for node in nodes])
        if self._current in self._ids:
            current = self._current
        elif without and self._ids:  # as QComboBox: what lies at the same place now, else the last
            current = self._ids[min(before.index(without), len(self._ids) - 1)]
        else:
            current = self._ids[0] if self._ids else ""
        self._select(current)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_removal(self, _scene: Any, _event: str, node: Any) -> None:
        if node.GetID() in self._ids and not self._scene.IsClosing():
            self._refresh(without=node.GetID())

    def _jump_to_last(self) -> None:
        self._refresh()
        self._select(self._ids[-1] if self._ids else "")

    def _select(self, node_id: str) -> None:
        index = self._ids.index(node_id) if node_id in self._ids else -1
        self._box.setCurrentIndex(index)
        was, self._current = self._text, node_id
        self._text = self._box.itemText(index) if node_id else ""
        if self._text != was:
            self.currentNodeChanged.emit(self.currentNode())

    def choose(self, index: int) -> None:
        """What a user's click in the opened list does."""
        self._select(self._ids[index])
        self.nodeActivated.emit(self.currentNode())

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self._current) if self._scene and self._current else None

    def setCurrentNode(self, node: Any) -> None:
        self._select(node.GetID() if node and node.GetID() in self._ids else "")


@stand_in(slicer)
class qMRMLSegmentationShow3DButton(qt.QToolButton):
    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.setCheckable(True)
        self._node: Any = None
        self.toggled.connect(self._show)

    def segmentationNode(self) -> Any:
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        self._node = node
        self.setEnabled(node is not None)

    def _show(self, visible: bool) -> None:
        if visible:
            self._node.CreateClosedSurfaceRepresentation()
        self._node.GetDisplayNode().SetVisibility3D(visible)
