"""Stand-in for qMRMLSegmentEditorWidget: no effects, but its nodes, its undo (Slicer's own) and its good manners."""

from typing import Any

import slicer

from slicer_standins.mrml_widgets import qMRMLWidget
from slicer_standins.pythonqt import qt
from slicer_standins.ui_loader import stand_in

_Property = qt.Property


@stand_in(slicer)
class qMRMLSegmentEditorWidget(qMRMLWidget):
    """``observing``, ``shortcuts``: whether views and keys are taken now."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._segment = ""
        self._history = slicer.vtkSegmentationHistory()
        self._settings = {"undo": 0, "segmentation": True, "source": True}
        self._observing = self._shortcuts = False
        layout = qt.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        box = qt.QLabel("Segment Editor (stand-in): paint, erase, …")
        box.setWordWrap(True)
        box.setStyleSheet("border: 1px dashed #999; padding: 12px; color: #666")
        layout.addWidget(box)

    def _setting(name: str, kind: Any) -> Any:  # type: ignore[misc]
        return _Property(
            kind, lambda self: self._settings[name], lambda self, value: self._settings.__setitem__(name, value)
        )

    maximumNumberOfUndoStates = _setting("undo", int)
    segmentationNodeSelectorVisible = _setting("segmentation", bool)
    sourceVolumeNodeSelectorVisible = _setting("source", bool)

    observing = property(lambda self: self._observing)
    shortcuts = property(lambda self: self._shortcuts)

    def mrmlSegmentEditorNode(self) -> Any:
        return self._node

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        self._node = node

    def segmentationNode(self) -> Any:
        """Of the parameter node: a scene that is added brings another one, as it does for every singleton."""
        return None if self._node is None else self._node.GetSegmentationNode()

    def setSegmentationNode(self, node: Any) -> None:
        if node is not None and self._node is None:
            raise AssertionError("the editor has no parameter node")
        if self._node is not None:
            self._node.SetAndObserveSegmentationNode(node)
        self._history.RemoveAllStates()
        self._history.SetSegmentation(None if node is None else node.GetSegmentation())

    def sourceVolumeNode(self) -> Any:
        return None if self._node is None else self._node.GetSourceVolumeNode()

    def setSourceVolumeNode(self, node: Any) -> None:
        self._node.SetAndObserveSourceVolumeNode(node)

    def currentSegmentID(self) -> str:
        return self._segment

    def setCurrentSegmentID(self, segment_id: str) -> None:
        self._segment = segment_id

    def setActiveEffect(self, effect: Any) -> None:
        if effect is not None:
            raise AssertionError("the stand-in has no effects")

    def setupViewObservations(self) -> None:
        self._observing = True

    def removeViewObservations(self) -> None:
        self._observing = False

    def installKeyboardShortcuts(self) -> None:
        self._shortcuts = True

    def uninstallKeyboardShortcuts(self) -> None:
        self._shortcuts = False

    def saveStateForUndo(self) -> None:
        self._history.SaveState()

    def undo(self) -> None:
        self._history.RestorePreviousState()

    def redo(self) -> None:
        self._history.RestoreNextState()
