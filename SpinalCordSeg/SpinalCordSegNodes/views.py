"""Where a slice of the input lies in the patient, and moving the views there."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from numpy.typing import NDArray

from SpinalCordSegLib.volume import Volume
from SpinalCordSegNodes.volumes import place_with

Point = tuple[float, float, float]  # RAS mm


def centre_of_slice(mask: Volume, slice_index: int) -> Point:
    """RAS mm of the cord's centre in one of the input's axial slices; without cord there, of the mask's or the grid's.

    Raises IndexError when there is no such slice.
    """
    if not 0 <= slice_index < mask.shape[0]:
        raise IndexError(f"slice {slice_index} of {mask.shape[0]}")
    k = mask.from_input_slice(slice_index)
    filled = np.asarray(mask.voxels) != 0
    places = np.argwhere(filled[k])
    if not len(places):
        places = np.argwhere(filled)[:, 1:]
    centre = places.mean(axis=0) if len(places) else (np.array(mask.shape[1:]) - 1) / 2
    r, a, s = (mask.voxel_to_ras @ [k, *centre, 1.0])[:3]
    return float(r), float(a), float(s)


def jump_to(scene: Any, ras: Point) -> None:
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
    count = scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")
    views = [scene.GetNthNodeByClass(number, "vtkMRMLSliceNode") for number in range(count)]
    view = next((view for view in views if view.GetOrientation() == "Axial"), None)
    if view is None:
        return None
    middle = [view.GetSliceToRAS().GetElement(row, 3) for row in range(3)]
    k = round(float((np.linalg.inv(mask.voxel_to_ras) @ [*middle, 1.0])[0]))
    return mask.to_input_slice(k) if 0 <= k < mask.shape[0] else None


# Two visits side by side: views that follow each other, at the same level.
#
# Slicer's own link between slice views compares positions in one space; two visits of a person are not in one space.
# Moving one of the volumes would move what is measured on it, so here the views are moved instead: the prior view shows
# at every moment the place that the current one shows, moved by the way between the two. No volume is touched.


LAYOUT = 5107  # of ours alone
ORIENTATIONS = ("Axial", "Sagittal")
PRIOR, CURRENT = "SpinalCordPrior", "SpinalCordCurrent"
_GROUPS = {PRIOR: 51, CURRENT: 52}  # so that Slicer's own link leaves them to us
_COLOURS = {PRIOR: "#8a6d3b", CURRENT: "#1f5f99"}


class LinkedViews:
    """``begin`` to show, ``end`` to give the former layout back."""

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._observed: list[tuple[Any, int]] = []
        self._busy = False
        self._former: int | None = None
        self._shown: list[tuple[Any, tuple[str, ...], bool]] = []  # display, its views and whether it was visible

    @property
    def running(self) -> bool:
        return self._former is not None

    def begin(self, current: tuple[Any, Any], prior: tuple[Any, Any], here: Point, there: Point) -> None:
        """``current`` and ``prior``: volume and segmentation node; ``here`` and ``there``: one place of the body in
        both, RAS mm."""
        self.end()
        layout = self._scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        self._former = layout.GetViewArrangement()
        if not layout.IsLayoutDescription(LAYOUT):
            layout.AddLayoutDescription(LAYOUT, _description())
        layout.SetViewArrangement(LAYOUT)
        for name, (volume, segmentation) in ((CURRENT, current), (PRIOR, prior)):
            for orientation in ORIENTATIONS:
                composite = slicer.vtkMRMLSliceLogic.GetSliceCompositeNode(self.view(name, orientation))
                composite.SetLinkedControl(False)  # ours
                composite.SetBackgroundVolumeID(volume.GetID())
            self._show_only_in(segmentation.GetDisplayNode(), name)
        way = np.subtract(there, here)
        for orientation in ORIENTATIONS:
            now, before = self.view(CURRENT, orientation), self.view(PRIOR, orientation)
            now.SetOrientation(orientation)
            now.JumpSliceByCentering(*here)
            self._follow(now, before, way)
            self._follow(before, now, -way)
            _show_same(now, before, way)

    def end(self) -> None:
        """Stop following, and give the former layout back."""
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed = []
        for display, ids, visible in self._shown:
            display.SetVisibility(visible)
            display.SetViewNodeIDs(ids)
        self._shown = []
        layout = self._scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        if self._former is not None and layout is not None and layout.GetViewArrangement() == LAYOUT:
            layout.SetViewArrangement(self._former)
        self._former = None

    def view(self, name: str, orientation: str) -> Any:
        """A slice node that the layout has made."""
        return self._scene.GetSingletonNode(f"{name}{orientation}", "vtkMRMLSliceNode")

    def _show_only_in(self, display: Any, name: str) -> None:
        self._shown.append((display, display.GetViewNodeIDs(), bool(display.GetVisibility())))
        display.SetVisibility(True)
        display.SetViewNodeIDs([self.view(name, orientation).GetID() for orientation in ORIENTATIONS])

    def _follow(self, here: Any, there: Any, way: NDArray[np.float64]) -> None:
        def on_modified(*_: Any) -> None:
            if not self._busy:
                self._busy = True
                _show_same(here, there, way)
                self._busy = False

        self._observed.append((here, here.AddObserver(vtk.vtkCommand.ModifiedEvent, on_modified)))


def _show_same(here: Any, there: Any, way: NDArray[np.float64]) -> None:
    """Let ``there`` show the place and the size that ``here`` shows; sizes go by the narrower side."""
    was = there.StartModify()
    matrix = slicer.util.arrayFromVTKMatrix(here.GetSliceToRAS())
    matrix[:3, 3] += way
    there.GetSliceToRAS().DeepCopy(slicer.util.vtkMatrixFromArray(matrix))
    wide, high, deep = here.GetFieldOfView()
    columns, rows, _depth = there.GetDimensions()
    mm = max(wide / max(here.GetDimensions()[0], 1), high / max(here.GetDimensions()[1], 1))
    there.SetFieldOfView(mm * max(columns, 1), mm * max(rows, 1), deep)
    there.UpdateMatrices()
    there.EndModify(was)


def _description() -> str:
    """Prior above, current below; axial left, sagittal right."""
    rows = "".join(
        '<item><layout type="horizontal">' + "".join(_view(name, one) for one in ORIENTATIONS) + "</layout></item>"
        for name in (PRIOR, CURRENT)
    )
    return f'<layout type="vertical" split="true">{rows}</layout>'


def _view(name: str, orientation: str) -> str:
    label = ("prior " if name == PRIOR else "current ") + orientation[0]
    properties = {
        "orientation": orientation, "viewlabel": label, "viewcolor": _COLOURS[name], "viewgroup": str(_GROUPS[name]),
    }  # fmt: skip
    inside = "".join(f'<property name="{key}" action="default">{value}</property>' for key, value in properties.items())
    return f'<item><view class="vtkMRMLSliceNode" singletontag="{name}{orientation}">{inside}</view></item>'


# Discs of an image (or of a mask without one): a fiducial node for each that a person marks, and one list of those
# that the program found.


# Number of the vertebra below → name, as in SpinalCordSegLib.vertebral_levels; scipy, which that needs, is too slow.
DISCS = {3: "C2/C3", 4: "C3/C4", 5: "C4/C5", 6: "C5/C6", 7: "C6/C7", 8: "C7/T1"}
C2_C3, C7_T1 = 3, 8
_NUMBERS = {name: disc for disc, name in DISCS.items()}
_ROLE = "SpinalCordSeg.Disc."
_FOUND_ROLE = "SpinalCordSeg.DiscsFound"
_TAKEN_MM = 0.1  # further from where it was found: a person moved it


@dataclass(frozen=True)
class Discs:
    """Of the image or mask node ``owner`` (None: there are none), by the number of the vertebra below; places in world
    RAS mm."""

    owner: Any

    def node(self, disc: int) -> Any:
        """Of a person's mark; None where there is none yet."""
        return None if self.owner is None else self.owner.GetNodeReference(f"{_ROLE}{disc}")

    def add(self, disc: int) -> Any:
        """The same, made where there is none: at most one point, named after the disc, labels shown."""
        node = self.node(disc)
        if node is None:
            node = self._new_list(f"Disc {DISCS[disc]}", f"{_ROLE}{disc}")
            node.SetMaximumNumberOfControlPoints(1)
            node.SetControlPointLabelFormat(DISCS[disc])
        return node

    def clear(self, disc: int) -> None:
        """Take a mark away; its node stays and can be placed again."""
        if self.node(disc) is not None:
            self.node(disc).RemoveAllControlPoints()

    @property
    def marked(self) -> dict[int, Point]:
        """By a person."""
        nodes = {disc: self.node(disc) for disc in DISCS}
        return {d: _point(node, 0) for d, node in nodes.items() if node and node.GetNumberOfDefinedControlPoints()}

    @property
    def found_node(self) -> Any:
        """The list of those that the program found; None where there is none."""
        return None if self.owner is None else self.owner.GetNodeReference(_FOUND_ROLE)

    @property
    def found(self) -> dict[int, Point]:
        """By the program, and not taken over by a person."""
        node = self.found_node
        labels = (
            [] if node is None else [node.GetNthControlPointLabel(n) for n in range(node.GetNumberOfControlPoints())]
        )
        return {_NUMBERS[label]: _point(node, n) for n, label in enumerate(labels) if label in _NUMBERS}

    @property
    def deleted(self) -> set[int]:
        """Of the last run's list by a person, and not marked elsewhere."""
        return self._found_at.keys() - self.found.keys() - self.marked.keys()

    @property
    def _found_at(self) -> dict[int, Point]:
        """What the last run found, where it found it."""
        return dict(ast.literal_eval(self.owner.GetAttribute(_FOUND_ROLE) or "[]"))

    def show_found(self, discs: Mapping[int, Point], marked: Mapping[int, Point]) -> None:
        """The list of what the last run found, in the place of what another run found; without ``discs`` it goes.
        Discs that a person marked are left out; ``marked``: those of the run, shown where the scene has lost them.
        What a person deletes of the list, or all of it, does not come back until another run."""
        node, found = self.found_node, str(sorted(discs.items()))
        if self.owner.GetAttribute(_FOUND_ROLE) == found:
            return
        self.owner.SetAttribute(_FOUND_ROLE, found)
        for disc, place in marked.items():
            if disc not in self.marked:
                self.add(disc).AddControlPointWorld(*place)
        if node is not None:
            self.owner.GetScene().RemoveNode(node)
        if not discs:
            return
        node = self._new_list("Discs (found)", _FOUND_ROLE)
        for disc, place in discs.items():
            if disc not in self.marked:
                node.AddControlPointWorld(vtk.vtkVector3d(*place), DISCS[disc])

    def take_moved(self) -> None:
        """Make marks of a person out of the found discs that were dragged."""
        for disc, place in self.found.items():
            began = self._found_at.get(disc)
            if began is None or np.linalg.norm(np.subtract(place, began)) > _TAKEN_MM:
                self.clear(disc)
                self.add(disc).AddControlPointWorld(*place)
                self.found_node.RemoveNthControlPoint(self.found_node.GetControlPointIndexByLabel(DISCS[disc]))

    def arguments(self) -> list[str]:
        """For the command line, what a person marked, and beside it the others that were found and stand as they are;
        where nobody marked or deleted one none: a run finds them, and a correction takes those of its case."""
        marked, deleted = self.marked, self.deleted
        found = self.found if marked or deleted else {}
        if deleted and not (marked or found):
            return ["--disc="]
        named = [("--disc", *one) for one in marked.items()]
        named += [("--found", *one) for one in found.items() if one[0] not in marked]
        return [f"{name}={DISCS[disc]}=" + ",".join(f"{mm:.3f}" for mm in place) for name, disc, place in named]

    def _new_list(self, name: str, role: str) -> Any:
        scene = self.owner.GetScene()
        node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
        node.CreateDefaultDisplayNodes()
        self.owner.SetNodeReferenceID(role, node.GetID())
        place_with(scene, node, self.owner)
        return node


def _point(node: Any, n: int) -> Point:
    place = [0.0, 0.0, 0.0]
    node.GetNthControlPointPositionWorld(n, place)
    return place[0], place[1], place[2]


def begin_placing(node: Any) -> None:
    """Let the next click in a view place the node's one point, replacing what was there."""
    node.RemoveAllControlPoints()
    logic = slicer.app.applicationLogic()
    selection, interaction = logic.GetSelectionNode(), logic.GetInteractionNode()
    selection.SetReferenceActivePlaceNodeClassName(node.GetClassName())
    selection.SetActivePlaceNodeID(node.GetID())
    interaction.SetPlaceModePersistence(0)
    interaction.SetCurrentInteractionMode(interaction.Place)


def is_placing(node: Any) -> bool:
    """Whether the next click places this node."""
    logic = slicer.app.applicationLogic()
    interaction = logic.GetInteractionNode()
    placing = interaction.GetCurrentInteractionMode() == interaction.Place
    return bool(placing and logic.GetSelectionNode().GetActivePlaceNodeID() == node.GetID())


def end_placing() -> None:
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)
