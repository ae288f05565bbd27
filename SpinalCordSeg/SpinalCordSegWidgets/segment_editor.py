"""Handing a mask over to Slicer's Segment Editor."""

from __future__ import annotations

from typing import Any

import slicer
import slicer.util


def open_segment_editor(segmentation: Any, volume: Any, segment_id: str) -> bool:
    """Show a segment in the Segment Editor, other segments protected; False when that module is not there."""
    module = getattr(slicer.modules, "segmenteditor", None)
    if module is None:
        return False
    slicer.util.selectModule("SegmentEditor")
    editor = module.widgetRepresentation().self().editor
    editor.setSegmentationNode(segmentation)
    if volume is not None:
        editor.setSourceVolumeNode(volume)
    editor.setCurrentSegmentID(segment_id)
    # By default painting cuts the painted place out of all other segments of the segmentation.
    editor.mrmlSegmentEditorNode().SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteNone)
    return True


def save_state_for_undo() -> None:
    """Let the Segment Editor's Undo come back to now; nothing where none was opened yet (asking the module for its
    widget would make one)."""
    widget = getattr(slicer.modules, "SegmentEditorWidget", None)
    editor = getattr(widget, "editor", None)
    if editor is not None and editor.segmentationNode() is not None:
        editor.saveStateForUndo()
