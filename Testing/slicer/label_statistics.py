"""A segment's volume by Slicer's own count, to hold ours against."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk


def label_statistics(scene: Any, segmentation: Any, segment_id: str, volume_node: Any) -> tuple[int, float]:
    """Voxels and mm³ of a segment on the volume's grid, counted by the filter that Slicer's Segment Statistics module
    uses, vtkImageAccumulate (the module itself is not in the wheel)."""
    labelmap = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    ids = vtk.vtkStringArray()
    ids.InsertNextValue(segment_id)
    slicer.modules.segmentations.logic().ExportSegmentsToLabelmapNode(segmentation, ids, labelmap, volume_node)
    stencil = vtk.vtkImageToImageStencil()
    stencil.SetInputData(labelmap.GetImageData())
    stencil.ThresholdByUpper(1)
    counter = vtk.vtkImageAccumulate()
    counter.SetInputData(volume_node.GetImageData())
    counter.SetStencilData(stencil.GetOutput())
    stencil.Update()
    counter.Update()
    return counter.GetVoxelCount(), float(counter.GetVoxelCount() * np.prod(labelmap.GetSpacing()))
