"""Slicer's Segment Editor inside the panel: the numbers follow where the user is looking while painting."""

from __future__ import annotations

from typing import Any

import slicer

_TAG = "SpinalCordSegEditor"
_STATES = 30


class EmbeddedEditor:
    """``place``: a widget with a layout; the editor is made when it is first opened. Undo is the editor's own."""

    def __init__(self, place: Any) -> None:
        self._place = place
        self._widget: Any = None
        self._wanted = ""  # the segment that was asked for last
        self._is_open = False

    @property
    def available(self) -> bool:
        return hasattr(slicer, "qMRMLSegmentEditorWidget")

    @property
    def is_open(self) -> bool:
        return self._is_open

    def open(self, segmentation: Any, volume: Any, segment_id: str) -> None:
        """Edit a segment with ``volume`` as the source; other segments are protected.

        May be called at every stroke: a segment that the user has chosen in the editor since stays chosen.
        """
        if not self.available:
            return
        if self._widget is None:
            self._widget = self._make()
        widget, node = self._widget, _parameter_node()
        if widget.mrmlSegmentEditorNode() is not node:
            widget.setMRMLSegmentEditorNode(node)
        # By default painting cuts the painted place out of all other segments of the segmentation.
        node.SetOverwriteMode(node.OverwriteNone)
        is_new = not self._is_open or segment_id != self._wanted
        if widget.segmentationNode() is not segmentation:
            widget.setSegmentationNode(segmentation)
            is_new = True
        if volume is not None and widget.sourceVolumeNode() is not volume:
            widget.setSourceVolumeNode(volume)
        if is_new and widget.currentSegmentID() != segment_id:
            widget.setCurrentSegmentID(segment_id)
        self._wanted = segment_id
        if not self._is_open:
            widget.setupViewObservations()
            widget.installKeyboardShortcuts()
            self._is_open = True

    def leave(self) -> None:
        """Put the brush away: views and keys belong to others again."""
        if self._widget is not None and self._is_open:
            self._widget.setActiveEffect(None)
            self._widget.uninstallKeyboardShortcuts()
            self._widget.removeViewObservations()
        self._is_open = False

    def close(self) -> None:
        """Let go of every node."""
        self.leave()
        if self._widget is not None:
            self._widget.setSegmentationNode(None)
            self._widget.setMRMLSegmentEditorNode(None)

    def save_state(self) -> None:
        """Let Undo come back to now."""
        if self._widget is not None and self._is_open:
            self._widget.saveStateForUndo()

    def undo(self) -> None:
        if self._widget is not None and self._is_open:
            self._widget.undo()

    def redo(self) -> None:
        if self._widget is not None and self._is_open:
            self._widget.redo()

    def _make(self) -> Any:
        widget = slicer.qMRMLSegmentEditorWidget()
        widget.maximumNumberOfUndoStates = _STATES
        widget.segmentationNodeSelectorVisible = False
        widget.sourceVolumeNodeSelectorVisible = False
        widget.setMRMLScene(slicer.mrmlScene)
        self._place.layout().addWidget(widget)
        return widget


def _parameter_node() -> Any:
    """Ours alone: the Segment Editor module's choices stay as they are."""
    scene = slicer.mrmlScene
    node = scene.GetSingletonNode(_TAG, "vtkMRMLSegmentEditorNode")
    if node is None:
        node = slicer.vtkMRMLSegmentEditorNode()
        node.SetSingletonTag(_TAG)
        node = scene.AddNode(node)
    return node
