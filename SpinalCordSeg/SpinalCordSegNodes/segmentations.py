"""Masks as segmentation nodes.

Every mask of ours becomes a new segmentation node: nothing that is in the scene is ever written to, because it may
hold an hour of somebody's corrections. Beside it lies the AI's own copy, a hidden node of its own: Slicer's Segment
Editor by default cuts a painted segment out of all others of the same segmentation.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from numpy.typing import NDArray

from SpinalCordSegLib.errors import GeometryError, SpinalCordSegError
from SpinalCordSegLib.volume import Volume, mask_sha256, place_on
from SpinalCordSegNodes.volumes import (
    geometry_text,
    grid_from_text,
    grid_of_node,
    image_from_voxels,
    mask_from_image,
    place_with,
    volume_from_node,
    world_transform,
)

# Tags of a segment: they travel with .mrb, .seg.nrrd and the scene.

PREFIX = "SpinalCordSeg."
FINGERPRINT, GRID = PREFIX + "MaskSHA256", PREFIX + "Grid"  # of the mask as it was written
_ALGORITHM_TYPE, _ALGORITHM_NAME = "DICOM.SegmentAlgorithmType", "DICOM.SegmentAlgorithmName"
_UNSAFE = str.maketrans({":": "-", "|": " ", "\n": " "})  # they part tags in a .seg.nrrd


def write_tags(segment: Any, mask: Volume, made_by: Mapping[str, str]) -> None:
    """Terminology, DICOM algorithm, what made it, and the fingerprint by which a later edit is recognised."""
    from SpinalCordSegLib.image_io import SEGMENT_TERMINOLOGY  # slow libraries: not when the panel opens

    algorithm = ("SpinalCordSeg", made_by.get("SoftwareVersion"), made_by.get("Model"))
    tags = {
        segment.GetTerminologyEntryTagName(): SEGMENT_TERMINOLOGY,
        _ALGORITHM_TYPE: "AUTOMATIC",
        _ALGORITHM_NAME: " ".join(filter(None, algorithm)).translate(_UNSAFE),
        FINGERPRINT: mask_sha256(mask),
        GRID: geometry_text(mask),
    }
    tags |= {PREFIX + name: text.translate(_UNSAFE) for name, text in made_by.items()}
    for key, value in tags.items():
        segment.SetTag(key, value)


def read_tag(segment: Any, key: str) -> str:
    """A segment's tag; "" when it has none of that name."""
    value = vtk.reference("")
    return str(value) if segment.GetTag(key, value) else ""


MASK_ONLY = PREFIX + "MaskOnly"  # of a volume that stands for an image that is not at hand
AI_COPY, VOLUME, _COPY_OF = "SpinalCordSeg.AICopy", "SpinalCordSeg.Volume", "SpinalCordSeg.CopyOf"  # reference roles
_SEGMENT_ID = "SpinalCord"
_FILL = 0.2  # so that the cord is seen through its mask
_BY_AI, _CORRECTED = " spinal cord AI", " spinal cord corrected"


def add_segmentation(
    scene: Any,
    mask: Volume,
    volume_node: Any,
    made_by: Mapping[str, str] | None = None,
    ai_mask: Volume | None = None,
) -> Any:
    """A new segmentation "<volume> spinal cord AI" ("… AI 2" after it) and its hidden copy, on the volume's grid.

    ``made_by``: tags, see ``provenance_of``. ``ai_mask``: what the AI had drawn, where a person corrected ``mask``
    since; the copy is of that, and the segmentation is called "… spinal cord corrected".

    ``mask``: on the grid of ``volume_from_node(volume_node)``, in world RAS: where the volume has a parent transform
    the segmentation has none, its geometry is the hardened one. The scene's state is saved for undo first (where the
    scene keeps one). Raises GeometryError when the mask is not on the volume's grid.
    """
    made_by = made_by or {}
    mask = _on_grid_of(volume_node, mask)
    drawn = mask if ai_mask is None else _on_grid_of(volume_node, ai_mask)
    scene.SaveStateForUndo()
    _remove_orphaned_copies(scene)
    name = _free_name(scene, volume_node.GetName() + _BY_AI)
    node = _new_node(scene, name, mask, volume_node, made_by)
    copy = _new_node(scene, _free_name(scene, f"{name} (untouched copy)"), drawn, volume_node, made_by)
    if ai_mask is not None:
        segment = node.GetSegmentation().GetSegment(_SEGMENT_ID)
        write_tags(segment, drawn, made_by)
        mark_corrected(node, _SEGMENT_ID)
    copy.SetHideFromEditors(True)
    copy.GetDisplayNode().SetVisibility(False)
    node.SetNodeReferenceID(AI_COPY, copy.GetID())
    copy.SetNodeReferenceID(_COPY_OF, node.GetID())
    copy.SetAttribute(_COPY_OF, "1")
    place_with(scene, node, volume_node, folder=f"{volume_node.GetName()} spinal cord")
    place_with(scene, copy, node)
    return node


def mark_corrected(segmentation: Any, segment_id: str) -> None:
    """Mark the segment as edited by a person; "… AI" in the segmentation's name becomes "… corrected"."""
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    if read_tag(segment, _ALGORITHM_TYPE) != "SEMIAUTOMATIC":  # setting a tag notifies all observers
        segment.SetTag(_ALGORITHM_TYPE, "SEMIAUTOMATIC")
    named = re.fullmatch(rf"(.*){_BY_AI}( \d+)?", segmentation.GetName())
    if named is not None and segmentation.GetScene() is not None:
        segmentation.SetName(_free_name(segmentation.GetScene(), named[1] + _CORRECTED))


def _on_grid_of(volume_node: Any, mask: Volume) -> Volume:
    """The mask with the volume's own matrix (a file in between keeps fewer digits); GeometryError if they differ."""
    image = volume_node.GetImageData()
    shape = tuple(image.GetDimensions()) if image is not None else (0, 0, 0)
    grid = Volume.from_ijk(np.broadcast_to(False, shape), world_transform(volume_node) @ grid_of_node(volume_node))
    try:
        return place_on(mask, grid, ("the mask", "the volume"))
    except GeometryError as error:
        raise GeometryError(f"{error}; where the volume was changed or moved since the run, run again") from error


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


def _new_node(scene: Any, name: str, mask: Volume, volume_node: Any, made_by: Mapping[str, str]) -> Any:
    from SpinalCordSegLib.image_io import SEGMENT_COLOUR_RGB, SEGMENT_NAME

    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetOpacity2DFill(_FILL)
    segmentation = node.GetSegmentation()
    geometry_parameter = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    segmentation.SetConversionParameter(geometry_parameter, geometry_text(mask))
    node.SetNodeReferenceID(node.GetReferenceImageGeometryReferenceRole(), volume_node.GetID())
    node.SetNodeReferenceID(VOLUME, volume_node.GetID())
    colour = tuple(value / 255 for value in SEGMENT_COLOUR_RGB)
    if np.any(mask.ijk):
        image = image_from_voxels(mask, mask.ijk)
        node.AddSegmentFromBinaryLabelmapRepresentation(image, SEGMENT_NAME, colour, _SEGMENT_ID)
    else:  # an empty mask is an answer
        segmentation.AddEmptySegment(_SEGMENT_ID, SEGMENT_NAME, colour)
    segment = segmentation.GetSegment(_SEGMENT_ID)
    segment.SetNameAutoGenerated(False)
    segment.SetColorAutoGenerated(False)
    write_tags(segment, mask, made_by)
    return node


def segment_ids(node: Any) -> list[str]:
    """Of every segment, in order."""
    segmentation = node.GetSegmentation()
    return [str(segmentation.GetNthSegmentID(index)) for index in range(segmentation.GetNumberOfSegments())]


def cord_segment_id(node: Any) -> str:
    """The id of the segment that carries our tags; "" when there is none (renaming and recolouring do not matter)."""
    segmentation = node.GetSegmentation()
    return next((one for one in segment_ids(node) if read_tag(segmentation.GetSegment(one), FINGERPRINT)), "")


def known_cord_id(node: Any) -> str:
    """The same, else the only segment there is (a mask made elsewhere); "" where nobody can know which is the cord."""
    ids = segment_ids(node)
    return cord_segment_id(node) or (ids[0] if len(ids) == 1 else "")


def mask_of_segment(node: Any, segment_id: str) -> Volume:
    """A segment's voxels (bool) on its segmentation's reference geometry, in world RAS mm.

    Linear parent transforms are hardened into the grid. Raises GeometryError when the segment is missing, when there
    is no geometry to take, or when a parent transform is not linear or shears.
    """
    local = local_mask(node, segment_id)
    return Volume.from_ijk(local.ijk, world_transform(node) @ local.ijk_to_ras)


def local_mask(node: Any, segment_id: str, grid: Volume | None = None) -> Volume:
    """The same without parent transforms, on ``grid`` where one is given; what lies outside of it is left out."""
    return mask_from_image(_labelmap(node, segment_id), grid or own_grid(node))


def _labelmap(node: Any, segment_id: str) -> Any:
    """The segment alone, as the segmentation stores it. Raises GeometryError."""
    segment = node.GetSegmentation().GetSegment(segment_id)
    if segment is None:
        raise GeometryError("the segment is no longer there: choose another one")
    image = slicer.vtkOrientedImageData()
    name = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    if segment.GetRepresentation(name) is not None or node.CreateBinaryLabelmapRepresentation():  # or: as a surface
        node.GetBinaryLabelmapRepresentation(segment_id, image)
    return image


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


def volume_node_of(node: Any) -> Any:
    """The volume node a segmentation was made on; None when there is none (any longer)."""
    return node.GetNodeReference(VOLUME) or node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())


def image_node_of(node: Any) -> Any:
    """The same; None too where the mask's own voxels stand for an image that is not at hand."""
    found = None if node is None else volume_node_of(node)
    return None if found is None or found.GetAttribute(MASK_ONLY) else found


def volume_behind(node: Any, mask: Volume) -> Volume | None:
    """The voxels of the image a segmentation was made on, where they lie on the mask's grid; else None."""
    volume_node = image_node_of(node)
    if volume_node is None:
        return None
    try:
        return place_on(volume_from_node(volume_node), mask)
    except SpinalCordSegError:
        return None


# A segment's mask cut down to the cord: what follows a brush must not touch the fifty million voxels around it.


_MARGIN = 3  # voxels: so that a mask touches the edge of the cut only where it touches the edge of the image


@dataclass(frozen=True, eq=False)
class CroppedMask:
    """``mask``: bool, in world RAS, whole along the slice axis, cut around the cord in the other two.

    ``low``: the cut's first voxel within the segmentation's grid, of shape ``grid_shape``.
    """

    mask: Volume
    low: tuple[int, int, int]
    grid_shape: tuple[int, int, int]

    def digest(self) -> str:
        """SHA-256 over the grid's shape and the set voxels' places: the same whatever was cut away."""
        found = np.argwhere(self.mask.ijk) + self.low
        places = np.ravel_multi_index(tuple(found.T), self.grid_shape) if len(found) else np.zeros(0, np.int64)
        digest = hashlib.sha256(repr(self.grid_shape).encode())
        digest.update(np.sort(places).astype(np.int64).tobytes())
        return digest.hexdigest()

    def uncropped(self, mask: Volume) -> NDArray[np.bool_]:
        """A mask that is cut like this one on the whole grid, as an array [i, j, k]."""
        voxels = np.zeros(self.grid_shape, dtype=bool)
        voxels[tuple(slice(low, low + n) for low, n in zip(self.low, mask.ijk_shape, strict=True))] = mask.ijk
        return voxels


def cropped_mask(node: Any, segment_id: str, around: CroppedMask | None = None, margin: int = _MARGIN) -> CroppedMask:
    """The segment's mask on its segmentation's grid; at least the window of ``around``, where that is given.

    ``margin``: voxels around the cord in the two axes that are cut.

    Raises GeometryError as ``mask_of_segment`` does.
    """
    grid, image = own_grid(node), _labelmap(node, segment_id)
    low, high = _extent_on(grid, image)
    low, high = low - margin, high + margin
    if around is not None and around.grid_shape == grid.ijk_shape:
        low = np.minimum(low, around.low)
        high = np.maximum(high, np.add(around.low, around.mask.ijk_shape))
    along = grid.axes[0]
    low[along], high[along] = 0, grid.ijk_shape[along]
    low, high = np.maximum(low, 0), np.minimum(high, grid.ijk_shape)
    matrix = grid.ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, :3] @ low
    cut = mask_from_image(image, Volume.from_ijk(np.broadcast_to(False, high - low), matrix))
    i, j, k = (int(one) for one in low)
    return CroppedMask(Volume.from_ijk(cut.ijk, world_transform(node) @ matrix), (i, j, k), grid.ijk_shape)


def _extent_on(grid: Volume, image: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The grid's voxels from the image's first to behind its last one that is set; the first voxel without any."""
    extent = [0, -1, 0, -1, 0, -1]
    if not slicer.vtkOrientedImageDataResample.CalculateEffectiveExtent(image, extent):
        return np.zeros(3, np.int64), np.ones(3, np.int64)
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    between = np.linalg.inv(grid.ijk_to_ras) @ slicer.util.arrayFromVTKMatrix(matrix)
    corners = np.array(list(itertools.product(*zip(extent[::2], extent[1::2], strict=True))))
    places = np.rint(corners @ between[:3, :3].T + between[:3, 3]).astype(np.int64)
    return places.min(axis=0), places.max(axis=0) + 1
