"""A finished case becomes nodes, bound to its segmentation by references.

The references, tables, plot and report texts are saved with the scene: after loading an .mrb everything is there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
import slicer.util

from SpinalCordSegLib.errors import InputFileError
from SpinalCordSegLib.files import from_json, write_text
from SpinalCordSegLib.flags import kinds_from
from SpinalCordSegLib.volume import Volume, mask_sha256
from SpinalCordSegNodes.segmentations import (
    PREFIX,
    VOLUME,
    add_segmentation,
    cord_segment_id,
    cropped_mask,
    own_grid,
    volume_node_of,
)
from SpinalCordSegNodes.tables import (
    add_area_chart,
    columns_of_csv,
    fill_table,
    slice_columns,
    summary_columns,
)
from SpinalCordSegNodes.volumes import image_state, item_of, place_with, world_transform

if TYPE_CHECKING:
    from SpinalCordSegLib.case import Case
    from SpinalCordSegLib.metrics import MaskChanges
    from SpinalCordSegLib.morphometry import CordMeasures
    from SpinalCordSegLib.postprocessing import CordMask
    from SpinalCordSegLib.vertebral_levels import LevelReport


_SUMMARY, _SLICES, _CHART = PREFIX + "Summary", PREFIX + "Slices", PREFIX + "Chart"
_REPORT = PREFIX + "Report"
_MEASURED, _IMAGE = PREFIX + "MeasuredState", PREFIX + "ImageState"


def read_case_folder(folder: Path) -> Case:
    """What a command wrote for one case, with its mask in memory, whatever becomes of the folder. Raises InputFileError
    when it is not complete."""
    from SpinalCordSegLib.case import Case  # slow libraries: only when a result is there

    case = Case.load(folder)
    return replace(case, drawn=case.mask)


@dataclass(frozen=True)
class Result:
    """The nodes of one measured cord; any of them may be None once the user has deleted it."""

    segmentation: Any
    summary: Any
    slices: Any
    chart: Any
    report: Any

    @property
    def case(self) -> Case:
        """As it was measured in full; without its mask. Raises InputFileError."""
        return _case_of(self.report.GetText(), self.report.GetAttribute(_MEASURED_SLICES) or "")


@lru_cache(maxsize=8)  # every part of the panel asks for it at every change
def _case_of(report: str, table: str) -> Case:
    from SpinalCordSegLib.case import Case  # slow libraries: only when a result is there
    from SpinalCordSegLib.slice_table import SliceTable

    slices = SliceTable.parse(table) if table else SliceTable.of()
    return replace(Case.from_json(json.loads(report)), slices=slices)


def add_result(scene: Any, case: Case, volume_node: Any, *, ai_mask: Volume | None = None) -> Result:
    """Nodes for a segmented volume: a new segmentation, its tables, plot and report. ``ai_mask``: where a person
    corrected the case's mask, what the AI had drawn."""
    segmentation = add_segmentation(scene, case.mask, volume_node, provenance_of(case), ai_mask)
    return add_measures(scene, case, segmentation)


def provenance_of(case: Case) -> dict[str, str]:
    """What made its mask; "" where it is not known. Tags of the segment, and attributes of the summary table."""
    model = case.model
    return {
        "Model": "" if model is None else model.name,
        "ModelSHA256": "" if model is None else model.sha256 or "",
        "ModelVersion": "" if model is None else model.version,
        "SoftwareVersion": case.software_version,
        "Device": case.device or "",
        "Date": case.created,
    }


def add_measures(scene: Any, case: Case, segmentation: Any, *, digest: str = "") -> Result:
    """Tables, plot and report of a segmentation that is there already; its earlier ones stay in the scene, unbound.

    ``digest``: of the mask that was measured (CroppedMask.digest); "": of the cord's segment as it is now.
    """
    scene.SaveStateForUndo()
    name = segmentation.GetName()
    summary = scene.AddNewNodeByClass("vtkMRMLTableNode", f"{name} summary")
    for key, value in provenance_of(case).items():
        summary.SetAttribute(PREFIX + key, value)
    slices = scene.AddNewNodeByClass("vtkMRMLTableNode", f"{name} slices")
    report = add_text(scene, f"{name} report data", report_text(case))
    report.SetAttribute(_MEASURED_SLICES, case.slices.csv())
    fill_table(summary, summary_columns(case))
    fill_table(slices, slice_columns(case))
    result = Result(segmentation, summary, slices, add_area_chart(scene, slices, f"{name} area"), report)
    _bind(scene, result)
    segment_id = cord_segment_id(segmentation)
    report.SetAttribute(_IMAGE, image_state(volume_node_of(segmentation)))
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
    segmentation.SetNodeReferenceID(_REPORT, None)
    own = add_measures(scene, shared.case, segmentation)
    for key in (_MEASURED, _IMAGE):
        own.report.SetAttribute(key, shared.report.GetAttribute(key))


def _first_bound_to(scene: Any, report: Any) -> Any:
    """Who was there first: a clone comes after the mask it was made of."""
    count = scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    masks = (scene.GetNthNodeByClass(number, "vtkMRMLSegmentationNode") for number in range(count))
    return next((mask for mask in masks if mask.GetNodeReference(_REPORT) is report), None)


def _bind(scene: Any, result: Result) -> None:
    tables = {_SUMMARY: result.summary, _SLICES: result.slices, _CHART: result.chart}
    for role, node in (tables | {_REPORT: result.report}).items():
        result.segmentation.SetNodeReferenceID(role, node.GetID() if node is not None else None)
        if node is not None and role in tables:
            place_with(scene, node, result.segmentation)
    for series in _series(result.chart):
        place_with(scene, series, result.segmentation)


def _series(chart: Any) -> list[Any]:
    return [] if chart is None else [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]


def remove_result(scene: Any, segmentation: Any) -> None:
    """A mask with its AI copy, tables, plot and report, and their folder where nothing else is in it."""
    hierarchy, result = scene.GetSubjectHierarchyNode(), result_of(segmentation)
    folder = hierarchy.GetItemParent(item_of(scene, segmentation))
    roles = [segmentation.GetNthNodeReferenceRole(n) for n in range(segmentation.GetNumberOfNodeReferenceRoles())]
    owned = [segmentation.GetNodeReference(role) for role in roles if role.startswith(PREFIX) and role != VOLUME]
    scene.SaveStateForUndo()
    for node in [*_series(None if result is None else result.chart), *owned, segmentation]:
        if node is not None:
            scene.RemoveNode(node)
    if folder != hierarchy.GetSceneItemID() and not hierarchy.GetNumberOfItemChildren(folder):
        hierarchy.RemoveItem(folder)


def result_of(segmentation: Any) -> Result | None:
    """The result bound to a segmentation; None when it was never measured by us, or its report was deleted."""
    if segmentation is None or segmentation.GetNodeReference(_REPORT) is None:
        return None
    return Result(segmentation, *map(segmentation.GetNodeReference, (_SUMMARY, _SLICES, _CHART, _REPORT)))


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


def is_measured_on(result: Result, state: str) -> bool:
    """Whether the image is the one that was measured (``state``: see image_state); True where that is not known."""
    return result.report.GetAttribute(_IMAGE) in (None, "", state)


def write_result_folder(
    result: Result,
    segment_id: str,
    folder: Path,
    *,
    ai_mask: Volume | None = None,
    image: Volume | None = None,
    mask_format: str = "nrrd",
) -> None:
    """Write a measured mask of the scene as the case folder that the command line would have written.

    The segment's mask is cleaned as it was before it was measured. ``ai_mask``: in its place, as what a correction is
    compared with. ``image``: for montage and page; without it there are none. Raises OutputError.
    """
    from SpinalCordSegLib.case import save_case  # slow libraries: only now
    from SpinalCordSegLib.image_io import Image

    case = result.case
    if ai_mask is None:
        case = replace(case, drawn=cleaned_mask(result.segmentation, segment_id))
    else:
        case = replace(case, drawn=ai_mask, mask_sha256=mask_sha256(ai_mask))
    if image is not None:
        case = replace(case, image=Image(image, folder, case.name))
    save_case(case, folder, mask_format=mask_format, has_pictures=image is not None)


def cleaned_mask(node: Any, segment_id: str) -> Volume:
    """The mask on its segmentation's whole grid, in world RAS, as it is measured. Raises GeometryError."""
    from SpinalCordSegLib.postprocessing import clean

    cropped = cropped_mask(node, segment_id)
    voxels = cropped.uncropped(clean(cropped.mask).mask)
    return Volume.from_ijk(voxels, world_transform(node) @ own_grid(node).ijk_to_ras)


def report_text(case: Case) -> str:
    """As the report's node holds it."""
    return json.dumps(case.as_json(), indent=2, ensure_ascii=False)


# The numbers of a mask while it is edited; nodes keep what was measured in full.


_MEASURED_SLICES = PREFIX + "MeasuredSlices"  # slices.csv of the full measurement


def measured_cord(case: Case | None, mask: Volume, changes: MaskChanges | None) -> CordMask:
    """The mask as it is now, cleaned, with what the network and the image said of the slices that nobody changed.

    ``changes``: against the AI's own mask, None where they are not known. ``mask``: whole along the slice axis.
    """
    from SpinalCordSegLib.postprocessing import clean

    cord = clean(mask)
    if case is None or changes is None:
        return cord
    changed = {one.canonical_slice for one in changes.slices}
    evidence = case.slices.evidence(mask.shape[0], changed)
    return replace(cord, evidence=evidence, upper_end=case.upper_end_in(cord.mask))


def live_case(case: Case, measures: CordMeasures) -> Case:
    """``case`` with the measures of its mask as it is now. ``measures``: without diameters and form."""
    from SpinalCordSegLib.case import with_measures
    from SpinalCordSegLib.morphometry import without_sections

    flags = (*measures.flags, *(flag for flag in case.flags if flag.kind not in kinds_from("mask")))
    if any(flag.kind == "coarse_voxels" for flag in flags):
        measures = without_sections(measures)
    return with_measures(case, replace(measures, flags=flags))


# Areas by vertebral level as a table node, bound to the mask it was measured on.


LEVELS = "SpinalCordSeg.Levels"
_COLUMNS = (
    "name", "mean_csa_mm2", "sd_csa_mm2", "n_slices", "length_mm", "volume_mm3", "coverage", "basis", "remark",
)  # fmt: skip


def put_levels(scene: Any, segmentation: Any, report: LevelReport) -> Any:
    """Write the levels into the mask's table, made where there is none: one row a level, NaN where it has no area."""
    table = segmentation.GetNodeReference(LEVELS)
    if table is None:
        table = scene.AddNewNodeByClass("vtkMRMLTableNode", f"{segmentation.GetName()} levels")
        segmentation.SetNodeReferenceID(LEVELS, table.GetID())
        place_with(scene, table, segmentation)
    fill_table(table, {column: [getattr(row, column) for row in report.rows] for column in _COLUMNS})
    return table


# A finished follow-up as nodes: the table of its visits, their areas as a chart, and the texts of its files.


_FOLLOW_UP = PREFIX + "FollowUp"
_VISIT, _OF_MASKS, _OF_FOLDERS = PREFIX + "FollowUp.Visit", "masks", "1"
_FILES = {"json": "follow_up.json", "csv": "follow_up.csv", "html": "follow_up.html"}


@dataclass(frozen=True)
class FollowUpTexts:
    """The files of the command ``follow-up``, by "json", "csv" and "html"."""

    texts: Mapping[str, str]

    @property
    def content(self) -> dict[str, Any]:
        """Of follow_up.json."""
        content: dict[str, Any] = json.loads(self.texts["json"])
        return content

    @property
    def breaks(self) -> list[str]:
        """What forbids a yearly rate, with the visits it lies between."""
        from SpinalCordSegLib.longitudinal.report import visit_breaks

        return [": ".join(one) for one in visit_breaks(self.content)]

    @property
    def rates(self) -> list[str]:
        """The yearly rates of each run of comparable visits, or why there is none."""
        from SpinalCordSegLib.longitudinal.change import Run
        from SpinalCordSegLib.longitudinal.report import run_sentences

        return [text for run in self.content["runs"] for text in run_sentences(from_json(Run, run))]

    @property
    def remarks(self) -> list[str]:
        """What is to be weighed, with the visits it is true of."""
        from SpinalCordSegLib.longitudinal.report import visit_remarks

        return [": ".join(filter(None, one)) for one in visit_remarks(self.content)]

    def write(self, folder: Path) -> None:
        """The files as they were. Raises OutputError."""
        for key, text in self.texts.items():
            write_text(folder / _FILES[key], text)


def read_follow_up(folder: Path) -> FollowUpTexts:
    """What the command ``follow-up`` wrote. Raises InputFileError when it is not complete."""
    try:
        return FollowUpTexts({key: (folder / name).read_text(encoding="utf-8") for key, name in _FILES.items()})
    except OSError as error:
        raise InputFileError("the follow-up ended without its files: run it again") from error


def add_follow_up(scene: Any, found: FollowUpTexts, masks: Sequence[Any] = ()) -> Any:
    """A new table of visits with everything bound to it; earlier follow-ups stay. Gives the table node. ``masks``: the
    visits that are in the scene."""
    name = scene.GenerateUniqueName(f"Follow-up {found.content['person']}")
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
    table.SetAttribute(_FOLLOW_UP, _OF_MASKS if masks else _OF_FOLDERS)
    for mask in masks:
        table.AddNodeReferenceID(_VISIT, mask.GetID())
    fill_table(table, columns_of_csv(found.texts["csv"]))
    for key, text in found.texts.items():
        table.SetNodeReferenceID(f"{_FOLLOW_UP}.{key}", add_text(scene, f"{name} {key}", text).GetID())
    return table


def follow_up_of(table: Any) -> FollowUpTexts | None:
    """The texts bound to a follow-up's table; None when it is none, or some were deleted."""
    if table is None or not table.GetAttribute(_FOLLOW_UP):
        return None
    nodes = {key: table.GetNodeReference(f"{_FOLLOW_UP}.{key}") for key in _FILES}
    if any(node is None for node in nodes.values()):
        return None
    return FollowUpTexts({key: node.GetText() for key, node in nodes.items()})


def latest_follow_up(scene: Any, mask: Any = None) -> Any:
    """The table of the last follow-up of the scene, or (``mask``) of the last one that a mask was a visit of, or that
    had no visit from the scene; None without one."""
    tables = reversed(slicer.util.getNodesByClass("vtkMRMLTableNode", scene))
    found = (table for table in tables if table.GetAttribute(_FOLLOW_UP))
    return next((table for table in found if mask is None or _is_of(table, mask)), None)


def _is_of(table: Any, mask: Any) -> bool:
    visits = [table.GetNthNodeReference(_VISIT, n) for n in range(table.GetNumberOfNodeReferences(_VISIT))]
    return mask in visits or table.GetAttribute(_FOLLOW_UP) != _OF_MASKS
