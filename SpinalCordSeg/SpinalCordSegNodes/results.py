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
    bound = {_SUMMARY: summary, _SLICES: slices, _CHART: chart, _REPORT: report, _PAGE: page}
    for role, node in bound.items():
        segmentation.SetNodeReferenceID(role, node.GetID() if node is not None else None)
        if node in (summary, slices, chart):
            place_with(scene, node, segmentation)
    segment_id = cord_segment_id(segmentation)
    if digest or segment_id:
        report.SetAttribute(_MEASURED, digest or cropped_mask(segmentation, segment_id).digest())
    return Result(segmentation, summary, slices, chart, report, page)


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
