"""Where a slice of the input lies in the patient, and moving the views there."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import slicer.util

from SpinalCordSegLib.images.volume import AxialAxes, Volume


def centre_of_slice(mask: Volume, slice_index: int) -> tuple[float, float, float]:
    """RAS mm of the cord's centre in one of the input's axial slices; without cord there, of the mask's or the grid's.

    Raises IndexError when there is no such slice.
    """
    axis = AxialAxes.of(mask.ijk_to_ras).ras[2][0]
    if not 0 <= slice_index < mask.shape[axis]:
        raise IndexError(f"slice {slice_index} of {mask.shape[axis]}")
    filled = np.asarray(mask.voxels) != 0
    here = np.argwhere(np.moveaxis(filled, axis, 0)[slice_index])
    anywhere = np.argwhere(filled)
    if here.size:
        centre = np.insert(here.mean(axis=0), axis, slice_index)
    elif anywhere.size:
        centre = anywhere.mean(axis=0)
    else:
        centre = (np.array(mask.shape) - 1) / 2
    centre[axis] = slice_index
    r, a, s = (mask.ijk_to_ras @ np.append(centre, 1.0))[:3]
    return float(r), float(a), float(s)


def jump_to(scene: Any, ras: tuple[float, float, float]) -> None:
    """Centre all slice views on a point, and put the crosshair there."""
    slicer.vtkMRMLSliceNode.JumpAllSlices(scene, *ras, slicer.vtkMRMLSliceNode.CenteredJumpSlice)
    crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if crosshair is not None:
        crosshair.SetCrosshairRAS(*ras)


def show_alone(volume: Any) -> None:
    """Put an image behind all slice views, fitted into them, with nothing of another one over it."""
    slicer.util.setSliceViewerLayers(background=volume, foreground=None, label=None, fit=True)


def shown_slice(scene: Any, mask: Volume) -> int | None:
    """The input's axial slice that the (first) axial view shows; None without such a view, or outside the volume."""
    axis = AxialAxes.of(mask.ijk_to_ras).ras[2][0]
    count = scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")
    views = [scene.GetNthNodeByClass(number, "vtkMRMLSliceNode") for number in range(count)]
    view = next((view for view in views if view.GetOrientation() == "Axial"), None)
    if view is None:
        return None
    middle = [view.GetSliceToRAS().GetElement(row, 3) for row in range(3)]
    index = round(float((np.linalg.inv(mask.ijk_to_ras) @ [*middle, 1.0])[axis]))
    return index if 0 <= index < mask.shape[axis] else None
