"""The subject hierarchy: whose study a node belongs to.

In Slicer's window items appear by themselves, in slicer-core they do not: look first, create only what is absent.
"""

from __future__ import annotations

from typing import Any

_NO_ITEM = 0


def item_of(scene: Any, node: Any) -> int:
    """The node's one item, created beside the others when there is none."""
    hierarchy = scene.GetSubjectHierarchyNode()
    found = hierarchy.GetItemByDataNode(node)
    return found if found != _NO_ITEM else hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


def place_with(scene: Any, node: Any, volume_node: Any) -> int:
    """Put ``node`` under the study of ``volume_node``; where there is no study, beside the volume. Returns its item."""
    hierarchy = scene.GetSubjectHierarchyNode()
    volume_item = item_of(scene, volume_node)
    study = hierarchy.GetItemAncestorAtLevel(volume_item, "Study")
    item = item_of(scene, node)
    hierarchy.SetItemParent(item, study if study != _NO_ITEM else hierarchy.GetItemParent(volume_item))
    return item


def study_date(scene: Any, node: Any) -> str:
    """The day of the node's DICOM study, YYYY-MM-DD; "" where the hierarchy does not know it."""
    if node is None:
        return ""
    hierarchy = scene.GetSubjectHierarchyNode()
    study = hierarchy.GetItemAncestorAtLevel(hierarchy.GetItemByDataNode(node), "Study")
    day = "" if study == _NO_ITEM else str(hierarchy.GetItemAttribute(study, "DICOM.StudyDate") or "")
    plain = day.replace("-", "")
    return f"{plain[:4]}-{plain[4:6]}-{plain[6:]}" if len(plain) == 8 and plain.isdecimal() else ""
