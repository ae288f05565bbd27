"""Discs that a person marks on an image: one fiducial node each, bound to the image (or to a mask without one)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import slicer

from SpinalCordSegNodes.hierarchy import place_with

# Number of the vertebra below → name, as in SpinalCordSegLib.measurement.levels; scipy, which that needs, is too slow.
DISCS = {3: "C2/C3", 8: "C7/T1"}
_ROLE = "SpinalCordSeg.Disc."


def disc_node(owner: Any, disc: int) -> Any:
    """The node of a disc (number of the vertebra below it) of an image or mask node; None where there is none yet."""
    return owner.GetNodeReference(f"{_ROLE}{disc}")


def add_disc_node(scene: Any, owner: Any, disc: int) -> Any:
    """The same, made where there is none: at most one point, named after the disc, labels shown."""
    node = disc_node(owner, disc)
    if node is None:
        node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", f"Disc {DISCS[disc]}")
        node.CreateDefaultDisplayNodes()
        node.SetMaximumNumberOfControlPoints(1)
        node.SetControlPointLabelFormat(DISCS[disc])
        owner.SetNodeReferenceID(f"{_ROLE}{disc}", node.GetID())
        place_with(scene, node, owner)
    return node


def disc_place(owner: Any, disc: int) -> tuple[float, float, float] | None:
    """Where a disc was marked, world RAS mm; None where it was not."""
    node = None if owner is None else disc_node(owner, disc)
    if node is None or not node.GetNumberOfDefinedControlPoints():
        return None
    point = [0.0, 0.0, 0.0]
    node.GetNthControlPointPositionWorld(0, point)
    return point[0], point[1], point[2]


def marked_discs(owner: Any) -> Mapping[int, tuple[float, float, float]]:
    """Every marked disc of an image or mask node, by its number."""
    places = {disc: disc_place(owner, disc) for disc in DISCS}
    return {disc: place for disc, place in places.items() if place is not None}


def clear_disc(owner: Any, disc: int) -> None:
    """Take a mark away; its node stays and can be placed again."""
    node = disc_node(owner, disc)
    if node is not None:
        node.RemoveAllControlPoints()


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
