"""Masks as segmentation nodes.

Every mask of ours becomes a new segmentation node: nothing that is in the scene is ever written to, because it may
hold an hour of somebody's corrections. Beside it lies the AI's own copy, a hidden node of its own: Slicer's Segment
Editor by default cuts a painted segment out of all others of the same segmentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import slicer
import vtk

from SpinalCordSegLib.errors import GeometryError, SpinalCordSegError
from SpinalCordSegLib.images.segment_metadata import SEGMENT_COLOUR_RGB, SEGMENT_NAME
from SpinalCordSegLib.images.volume import Volume
from SpinalCordSegNodes.hierarchy import place_with
from SpinalCordSegNodes.oriented_images import geometry_text, grid_from_text, image_from_mask, mask_from_image
from SpinalCordSegNodes.provenance import Provenance, mark_edited, stored_fingerprint, write_tags
from SpinalCordSegNodes.volumes import grid_of_node, volume_from_node, world_transform

AI_COPY, VOLUME, _COPY_OF = "SpinalCordSeg.AICopy", "SpinalCordSeg.Volume", "SpinalCordSeg.CopyOf"  # reference roles
_SEGMENT_ID = "SpinalCord"
_BY_AI, _CORRECTED = " spinal cord AI", " spinal cord corrected"


def add_segmentation(
    scene: Any, mask: Volume, volume_node: Any, provenance: Provenance, ai_mask: Volume | None = None
) -> Any:
    """A new segmentation "<volume> spinal cord AI" ("… AI 2" after it) and its hidden copy, on the volume's grid.

    ``ai_mask``: what the AI had drawn, where a person corrected ``mask`` since; the copy is of that, and the
    segmentation is called "… spinal cord corrected".

    ``mask``: on the grid of ``volume_from_node(volume_node)``, in world RAS: where the volume has a parent transform
    the segmentation has none, its geometry is the hardened one. The scene's state is saved for undo first (where the
    scene keeps one). Raises GeometryError when the mask is not on the volume's grid.
    """
    mask = _on_grid_of(volume_node, mask)
    drawn = mask if ai_mask is None else _on_grid_of(volume_node, ai_mask)
    scene.SaveStateForUndo()
    _remove_orphaned_copies(scene)
    name = _free_name(scene, volume_node.GetName() + _BY_AI)
    node = _new_node(scene, name, mask, volume_node, provenance)
    copy = _new_node(scene, _free_name(scene, f"{name} (untouched copy)"), drawn, volume_node, provenance)
    if ai_mask is not None:
        segment = node.GetSegmentation().GetSegment(_SEGMENT_ID)
        write_tags(segment, drawn, provenance)
        mark_corrected(node, _SEGMENT_ID)
    copy.SetHideFromEditors(True)
    copy.GetDisplayNode().SetVisibility(False)
    node.SetNodeReferenceID(AI_COPY, copy.GetID())
    copy.SetNodeReferenceID(_COPY_OF, node.GetID())
    copy.SetAttribute(_COPY_OF, "1")
    place_with(scene, node, volume_node)
    return node


def mark_corrected(segmentation: Any, segment_id: str) -> None:
    """Say that a person had a hand in it: in DICOM's words, and in the name where that still says "… AI"."""
    mark_edited(segmentation.GetSegmentation().GetSegment(segment_id))
    named = re.fullmatch(rf"(.*){_BY_AI}( \d+)?", segmentation.GetName())
    if named is not None and segmentation.GetScene() is not None:
        segmentation.SetName(_free_name(segmentation.GetScene(), named[1] + _CORRECTED))


def _on_grid_of(volume_node: Any, mask: Volume) -> Volume:
    """The mask with the volume's own matrix (a file in between keeps fewer digits); GeometryError if they differ."""
    image = volume_node.GetImageData()
    shape = tuple(image.GetDimensions()) if image is not None else (0, 0, 0)
    exact = Volume(mask.voxels, world_transform(volume_node) @ grid_of_node(volume_node))
    if mask.shape != shape or not mask.same_grid(exact):
        raise GeometryError(
            f"the mask (shape {mask.shape}) does not lie on the volume's grid (shape {shape}): the volume was changed"
            " or moved since the run; run again"
        )
    return exact


def _remove_orphaned_copies(scene: Any) -> None:
    """Hidden copies of ours whose segmentation the user has deleted: nobody could see or delete them."""
    for node in list(_segmentations(scene)):
        if node.GetAttribute(_COPY_OF) and node.GetHideFromEditors() and node.GetNodeReference(_COPY_OF) is None:
            scene.RemoveNode(node)


def _free_name(scene: Any, base: str) -> str:
    """``base``, or ``base`` 2, 3, … whichever no segmentation of the scene has yet."""
    taken = {node.GetName() for node in _segmentations(scene)}
    number, name = 1, base
    while name in taken:
        number += 1
        name = f"{base} {number}"
    return name


def _segmentations(scene: Any) -> Iterator[Any]:
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")):
        yield scene.GetNthNodeByClass(index, "vtkMRMLSegmentationNode")


def _new_node(scene: Any, name: str, mask: Volume, volume_node: Any, provenance: Provenance) -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    segmentation = node.GetSegmentation()
    geometry_parameter = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    segmentation.SetConversionParameter(geometry_parameter, geometry_text(mask))
    node.SetNodeReferenceID(node.GetReferenceImageGeometryReferenceRole(), volume_node.GetID())
    node.SetNodeReferenceID(VOLUME, volume_node.GetID())
    colour = tuple(value / 255 for value in SEGMENT_COLOUR_RGB)
    image = image_from_mask(mask)
    if image is None:  # an empty mask is an answer
        segmentation.AddEmptySegment(_SEGMENT_ID, SEGMENT_NAME, colour)
    else:
        node.AddSegmentFromBinaryLabelmapRepresentation(image, SEGMENT_NAME, colour, _SEGMENT_ID)
    segment = segmentation.GetSegment(_SEGMENT_ID)
    segment.SetNameAutoGenerated(False)
    segment.SetColorAutoGenerated(False)
    write_tags(segment, mask, provenance)
    return node


def cord_segment_id(node: Any) -> str:
    """The id of the segment that carries our tags; "" when there is none (renaming and recolouring do not matter)."""
    segmentation = node.GetSegmentation()
    ids = (segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments()))
    return next((found for found in ids if stored_fingerprint(segmentation.GetSegment(found))), "")


def known_cord_id(node: Any) -> str:
    """The same, else the only segment there is (a mask made elsewhere); "" where nobody can know which is the cord."""
    segmentation = node.GetSegmentation()
    return cord_segment_id(node) or (
        str(segmentation.GetNthSegmentID(0)) if segmentation.GetNumberOfSegments() == 1 else ""
    )


def mask_of_segment(node: Any, segment_id: str) -> Volume:
    """A segment's voxels (bool) on its segmentation's reference geometry, in world RAS mm.

    Linear parent transforms are hardened into the grid. Raises GeometryError when the segment is missing, when there
    is no geometry to take, or when a parent transform is not linear or shears.
    """
    local = local_mask(node, segment_id)
    return Volume(local.voxels, world_transform(node) @ local.ijk_to_ras)


def local_mask(node: Any, segment_id: str, grid: Volume | None = None) -> Volume:
    """The same without parent transforms, on ``grid`` where one is given."""
    if node.GetSegmentation().GetSegment(segment_id) is None:
        raise GeometryError("the segment is no longer there: choose another one")
    image = slicer.vtkOrientedImageData()
    if not node.GetBinaryLabelmapRepresentation(segment_id, image) and node.CreateBinaryLabelmapRepresentation():
        node.GetBinaryLabelmapRepresentation(segment_id, image)
    return mask_from_image(image, grid or own_grid(node))


def own_grid(node: Any) -> Volume:
    """A volume of zeros on the segmentation's reference geometry, without parent transforms. Raises GeometryError."""
    segmentation = node.GetSegmentation()
    parameter = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    grid = grid_from_text(segmentation.GetConversionParameter(parameter))
    if grid is None:  # drawn without a source volume
        union = slicer.vtkSegmentation.EXTENT_UNION_OF_SEGMENTS
        grid = grid_from_text(segmentation.DetermineCommonLabelmapGeometry(union, vtk.vtkStringArray()))
    if grid is not None:
        return grid
    raise GeometryError("the segmentation has no reference geometry: choose a source volume for it first")


def show_in_3d(node: Any, visible: bool = True) -> bool:
    """Make the closed surface and show it; False when there is nothing to show (an empty mask)."""
    made = bool(node.CreateClosedSurfaceRepresentation()) if visible else True
    node.GetDisplayNode().SetVisibility3D(visible and made)
    return made


def volume_node_of(node: Any) -> Any:
    """The volume node a segmentation was made on; None when there is none (any longer)."""
    return node.GetNodeReference(VOLUME) or node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())


def volume_behind(node: Any, mask: Volume) -> Volume | None:
    """The voxels of the volume a segmentation was made on, where they lie on the mask's grid; else None."""
    volume_node = volume_node_of(node)
    if volume_node is None:
        return None
    try:
        volume = volume_from_node(volume_node)
    except SpinalCordSegError:
        return None
    return volume if volume.same_grid(mask) else None
