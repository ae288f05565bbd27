"""A finished case becomes nodes, bound to its segmentation by references, and is found again by them.

The references, tables, plot and report texts are saved with the scene: after loading an .mrb everything is there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from SpinalCordSegLib.images.volume import Volume
from SpinalCordSegNodes.case_folder import CaseFolder
from SpinalCordSegNodes.cropped_mask import cropped_mask
from SpinalCordSegNodes.hierarchy import place_with
from SpinalCordSegNodes.plots import add_area_chart
from SpinalCordSegNodes.segmentations import VOLUME, add_segmentation, cord_segment_id
from SpinalCordSegNodes.tables import add_slice_table, add_summary_table

_PREFIX = "SpinalCordSeg."
_SUMMARY, _SLICES, _CHART = _PREFIX + "Summary", _PREFIX + "Slices", _PREFIX + "Chart"
_REPORT, _PAGE = _PREFIX + "Report", _PREFIX + "ReportPage"
_MEASURED = _PREFIX + "MeasuredState"


@dataclass(frozen=True)
class Result:
    """The nodes of one measured cord; any of them may be None once the user has deleted it."""

    segmentation: Any
    summary: Any
    slices: Any
    chart: Any
    report: Any
    page: Any

    @property
    def volume(self) -> Any:
        return self.segmentation.GetNodeReference(VOLUME)

    def report_content(self) -> Mapping[str, Any]:
        """What report.json held; empty when its node is gone."""
        return json.loads(self.report.GetText()) if self.report is not None and self.report.GetText() else {}


def add_result(scene: Any, case: CaseFolder, volume_node: Any, ai_mask: Volume | None = None) -> Result:
    """Nodes for a segmented volume: a new segmentation, its tables, plot and report. ``ai_mask``: where a person
    corrected the case's mask, what the AI had drawn."""
    segmentation = add_segmentation(scene, case.mask, volume_node, case.provenance(), ai_mask)
    return add_measures(scene, case, segmentation)


def add_measures(scene: Any, case: CaseFolder, segmentation: Any, digest: str = "") -> Result:
    """Tables, plot and report of a segmentation that is there already; its earlier ones stay in the scene, unbound.

    ``digest``: of the mask that was measured (CroppedMask.digest); "": of the cord's segment as it is now.
    """
    scene.SaveStateForUndo()
    name = segmentation.GetName()
    summary = add_summary_table(scene, case, f"{name} summary")
    slices = add_slice_table(scene, case, f"{name} slices")
    chart = add_area_chart(scene, slices, f"{name} area")
    report = add_text(scene, f"{name} report data", case.report_json)
    page = add_text(scene, f"{name} report page", case.html) if case.html else None
    result = Result(segmentation, summary, slices, chart, report, page)
    _bind(scene, result)
    segment_id = cord_segment_id(segmentation)
    if digest or segment_id:
        report.SetAttribute(_MEASURED, digest or cropped_mask(segmentation, segment_id).digest())
    return result


def take_own_result(segmentation: Any) -> None:
    """Give a clone copies of its own; any other mask stays as it is.

    Slicer's Clone copies references: numbers of and decisions on the clone would be written into the tables and the
    report of the mask it was cloned from.
    """
    shared = result_of(segmentation)
    scene = segmentation.GetScene()
    if shared is None or scene is None or _first_bound_to(scene, shared.report) is segmentation:
        return
    name = segmentation.GetName()
    summary = _copy(scene, shared.summary, f"{name} summary")
    slices = _copy(scene, shared.slices, f"{name} slices")
    chart = None if slices is None else add_area_chart(scene, slices, f"{name} area")
    report = _copy(scene, shared.report, f"{name} report data")
    page = _copy(scene, shared.page, f"{name} report page")
    _bind(scene, Result(segmentation, summary, slices, chart, report, page))


def _first_bound_to(scene: Any, report: Any) -> Any:
    """Who was there first: a clone comes after the mask it was made of."""
    count = scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    masks = (scene.GetNthNodeByClass(number, "vtkMRMLSegmentationNode") for number in range(count))
    return next((mask for mask in masks if mask.GetNodeReference(_REPORT) is report), None)


def _copy(scene: Any, node: Any, name: str) -> Any:
    """Content and attributes, without what it refers to; None of None."""
    if node is None:
        return None
    if node.IsA("vtkMRMLTextNode"):
        copy = add_text(scene, name, "")
    else:
        copy = scene.AddNewNodeByClass(node.GetClassName(), name)
    copy.CopyContent(node)
    return copy


def _bind(scene: Any, result: Result) -> None:
    tables = {_SUMMARY: result.summary, _SLICES: result.slices, _CHART: result.chart}
    for role, node in (tables | {_REPORT: result.report, _PAGE: result.page}).items():
        result.segmentation.SetNodeReferenceID(role, node.GetID() if node is not None else None)
        if node is not None and role in tables:
            place_with(scene, node, result.segmentation)


def result_of(segmentation: Any) -> Result | None:
    """The result bound to a segmentation; None when it was never measured by us, or its report was deleted."""
    if segmentation is None or segmentation.GetNodeReference(_REPORT) is None:
        return None
    roles = (_SUMMARY, _SLICES, _CHART, _REPORT, _PAGE)
    return Result(segmentation, *(segmentation.GetNodeReference(role) for role in roles))


def add_text(scene: Any, name: str, text: str) -> Any:
    """A hidden text node that is saved in a file of its own."""
    node = scene.AddNewNodeByClass("vtkMRMLTextNode", name)
    node.SetForceCreateStorageNode(node.CreateStorageNodeAlways)  # a page with pictures is too long for the scene file
    node.SetText(text)
    node.SetHideFromEditors(True)
    return node


def is_measured(result: Result, digest: str) -> bool:
    """Whether the measures are of this state of the mask (see CroppedMask.digest); False where that is not known."""
    return bool(digest) and result.report.GetAttribute(_MEASURED) == digest
