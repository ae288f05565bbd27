"""A finished case becomes nodes, bound to its segmentation by references, and is found again by them.

The references, tables, plot and report texts are saved with the scene: after loading an .mrb everything is there.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from SpinalCordSegLib.errors import InputFileError
from SpinalCordSegLib.files import atomic_write, write_json, write_text
from SpinalCordSegLib.flags import kinds_from
from SpinalCordSegLib.volume import Volume
from SpinalCordSegNodes.segmentations import (
    PREFIX,
    VOLUME,
    Provenance,
    add_segmentation,
    cord_segment_id,
    cropped_mask,
    own_grid,
)
from SpinalCordSegNodes.tables import add_area_chart, fill_table, slice_columns, summary_columns
from SpinalCordSegNodes.volumes import place_with, world_transform

if TYPE_CHECKING:
    from SpinalCordSegLib.case import Case
    from SpinalCordSegLib.morphometry import CordMeasures
    from SpinalCordSegLib.vertebral_levels import LevelReport


_SUMMARY, _SLICES, _CHART = PREFIX + "Summary", PREFIX + "Slices", PREFIX + "Chart"
_REPORT, _PAGE = PREFIX + "Report", PREFIX + "ReportPage"
_MEASURED = PREFIX + "MeasuredState"


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

    @property
    def case(self) -> Case:
        """As it was measured in full; without its mask. Raises InputFileError."""
        from SpinalCordSegLib.case import Case  # slow libraries: only when a result is there
        from SpinalCordSegLib.slice_table import SliceTable

        text = self.report.GetAttribute(_MEASURED_SLICES)
        slices = SliceTable.parse(text) if text else SliceTable.of()
        return replace(Case.from_json(json.loads(self.report.GetText())), slices=slices)


def add_result(scene: Any, case: Case, volume_node: Any, page: str = "", *, ai_mask: Volume | None = None) -> Result:
    """Nodes for a segmented volume: a new segmentation, its tables, plot and report. ``page``: of the report, HTML.
    ``ai_mask``: where a person corrected the case's mask, what the AI had drawn."""
    segmentation = add_segmentation(scene, case.mask, volume_node, provenance_of(case), ai_mask)
    return add_measures(scene, case, segmentation, page)


def provenance_of(case: Case) -> Provenance:
    model = case.model
    return Provenance(
        model="" if model is None else model.name,
        model_sha256="" if model is None else model.sha256 or "",
        model_version="" if model is None else model.version,
        software_version=case.software_version,
        device=case.device or "",
        date=case.created,
    )


def add_measures(scene: Any, case: Case, segmentation: Any, page: str = "", *, digest: str = "") -> Result:
    """Tables, plot and report of a segmentation that is there already; its earlier ones stay in the scene, unbound.

    ``digest``: of the mask that was measured (CroppedMask.digest); "": of the cord's segment as it is now.
    """
    scene.SaveStateForUndo()
    former = result_of(segmentation)
    if former is not None:
        show_measured(former)
    name = segmentation.GetName()
    summary = scene.AddNewNodeByClass("vtkMRMLTableNode", f"{name} summary")
    for key, value in asdict(provenance_of(case)).items():
        summary.SetAttribute(PREFIX + key, value)
    slices = scene.AddNewNodeByClass("vtkMRMLTableNode", f"{name} slices")
    report = add_text(scene, f"{name} report data", report_text(case))
    report.SetAttribute(_MEASURED_SLICES, case.slices.csv())
    page_node = add_text(scene, f"{name} report page", page) if page else None
    _fill_tables(summary, slices, case)
    result = Result(segmentation, summary, slices, add_area_chart(scene, slices, f"{name} area"), report, page_node)
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


# A mask of the scene as the result folder that the command line would have written: mask, report.json, slices.csv.


_MASK = "mask.nrrd"
_PICTURE = re.compile(r'alt="Pictures" src="data:image/png;base64,([A-Za-z0-9+/=]+)"')


def write_result_folder(result: Result, segment_id: str, folder: Path, mask: Volume | None = None) -> None:
    """Write a measured mask into ``folder``, which is made. Raises OutputError.

    The segment's mask is cleaned as it was before it was measured. ``mask``: another one in its place.
    """
    from SpinalCordSegLib.image_io import write_volume  # SimpleITK: only now

    case = result.case
    folder.mkdir(parents=True, exist_ok=True)
    write_volume(cleaned_mask(result.segmentation, segment_id) if mask is None else mask, folder / _MASK)
    write_text(folder / "slices.csv", case.slices.csv())
    files = [_MASK, "report.json", "slices.csv"]
    if result.page is not None:
        write_text(folder / "report.html", result.page.GetText())
        files.append("report.html")
        picture = montage_of(result.page.GetText())
        if picture is not None:
            with atomic_write(folder / "montage.png") as temporary:
                temporary.write_bytes(picture)
            files.append("montage.png")
    write_json(folder / "report.json", replace(case, files=tuple(sorted(files))).as_json())


def montage_of(page: str) -> bytes | None:
    """The overview picture that a report page carries, PNG; None where it carries none."""
    found = _PICTURE.search(page)
    return None if found is None else base64.b64decode(found.group(1))


def cleaned_mask(node: Any, segment_id: str) -> Volume:
    """The mask on its segmentation's whole grid, in world RAS, as it is measured. Raises GeometryError."""
    from SpinalCordSegLib.postprocessing import clean

    cropped = cropped_mask(node, segment_id)
    cleaned = np.asarray(clean(cropped.mask).mask.voxels)
    grid = own_grid(node)
    voxels = np.zeros(grid.shape, dtype=bool)
    window = tuple(slice(low, low + n) for low, n in zip(cropped.low, cleaned.shape, strict=True))
    voxels[window] = cleaned
    return Volume(voxels, world_transform(node) @ grid.ijk_to_ras)


def report_text(case: Case) -> str:
    """As the report's node holds it."""
    return json.dumps(case.as_json(), indent=2, ensure_ascii=False)


# A result's tables while its mask is edited: areas, length and volume follow, and come back with undo.


_MEASURED_SLICES = PREFIX + "MeasuredSlices"  # slices.csv of the full measurement


def show_live(result: Result, measures: CordMeasures) -> Case:
    """Write the measures of the mask as it is now into the result's tables; gives the case with them.

    ``measures``: without diameters and form. The report stays as it was, so that ``show_measured`` can bring back what
    was measured in full.
    """
    from SpinalCordSegLib.case import slice_table
    from SpinalCordSegLib.morphometry import without_sections

    case = result.case
    flags = (*measures.flags, *(flag for flag in case.flags if flag.kind not in kinds_from("mask")))
    withheld = any(flag.kind == "coarse_voxels" for flag in flags)
    measures = without_sections(measures) if withheld else measures
    length_mm = measures.length_mm
    live = replace(
        case,
        volume_mm3=measures.volume_mm3,
        length_mm=length_mm,
        mean_csa_mm2=measures.mean_csa_mm2,
        sd_csa_mm2=measures.sd_csa_mm2,
        volume_per_length_mm2=nan if withheld or not length_mm else measures.volume_mm3 / length_mm,
        n_slices=measures.n_slices,
        coverage=measures.coverage,
        removed_mm3=measures.removed_mm3,
        filled_mm3=measures.filled_mm3,
        flags=flags,
        slices=slice_table(measures, flags),
    )
    _fill_tables(result.summary, result.slices, live)
    return live


def show_measured(result: Result) -> Case:
    """Write what was measured in full into the result's tables; gives the case."""
    case = result.case
    _fill_tables(result.summary, result.slices, case)
    return case


def _fill_tables(summary: Any, slices: Any, case: Case) -> None:
    if summary is not None:
        fill_table(summary, summary_columns(case))
    if slices is not None:
        fill_table(slices, slice_columns(case))


# Areas by vertebral level as a table node, bound to the mask it was measured on.


_LEVELS = "SpinalCordSeg.Levels"
_COLUMNS = (
    "name", "mean_csa_mm2", "sd_csa_mm2", "n_slices", "length_mm", "volume_mm3", "coverage", "basis", "remark",
)  # fmt: skip


def levels_table(segmentation: Any) -> Any:
    """The table of a mask's levels; None where there is none."""
    return segmentation.GetNodeReference(_LEVELS)


def put_levels(scene: Any, segmentation: Any, report: LevelReport) -> Any:
    """Write the levels into the mask's table, made where there is none: one row a level, NaN where it has no area."""
    table = levels_table(segmentation)
    if table is None:
        table = scene.AddNewNodeByClass("vtkMRMLTableNode", f"{segmentation.GetName()} levels")
        segmentation.SetNodeReferenceID(_LEVELS, table.GetID())
        place_with(scene, table, segmentation)
    fill_table(table, {column: [getattr(row, column) for row in report.rows] for column in _COLUMNS})
    return table


# A finished follow-up as nodes: a table of visits, a curve with the healthy band, and the texts of its files.


_FOLLOW_UP_PREFIX = "SpinalCordSeg.FollowUp."
MARK = "SpinalCordSeg.FollowUp"
_BAND, _FOLLOW_UP_CHART = _FOLLOW_UP_PREFIX + "Band", _FOLLOW_UP_PREFIX + "Chart"
FILES = {"json": "follow_up.json", "csv": "follow_up.csv", "html": "follow_up.html"}
_AREA_RGB, _FIT_RGB, _BAND_RGB = (0.12, 0.37, 0.60), (0.12, 0.37, 0.60), (0.30, 0.54, 0.35)
_STEPS = 12


@dataclass(frozen=True)
class FollowUpTexts:
    """The files of ``track`` as texts, by the keys of FILES."""

    texts: Mapping[str, str]

    @property
    def content(self) -> dict[str, Any]:
        """Of follow_up.json."""
        content: dict[str, Any] = json.loads(self.texts["json"])
        return content

    @property
    def breaks(self) -> list[str]:
        """What forbids a yearly rate, one sentence each with its visits, each once."""
        found = [
            f"{visit['visit'] - 1} → {visit['visit']}: {one['message']}"
            for visit in self.content["visits"]
            for one in visit["differences"]
            if one["breaks"]
        ]
        return list(dict.fromkeys(found))

    @property
    def doubts(self) -> list[str]:
        """What is to be weighed, with the visits it is true of."""
        told: dict[str, list[str]] = {}
        for visit in self.content["visits"]:
            for one in visit["differences"]:
                if not one["breaks"]:
                    told.setdefault(one["message"], []).append(str(visit["visit"]))
        return [f"{', '.join(visits)}: {message}" for message, visits in told.items()] + list(self.content["remarks"])


def read_follow_up(folder: Path) -> FollowUpTexts:
    """What ``track`` wrote. Raises InputFileError when it is not complete."""
    try:
        return FollowUpTexts({key: (folder / name).read_text(encoding="utf-8") for key, name in FILES.items()})
    except OSError as error:
        raise InputFileError("the follow-up ended without its files: run it again") from error


def add_follow_up(scene: Any, found: FollowUpTexts) -> Any:
    """A new table of visits with everything bound to it; earlier follow-ups stay. Gives the table node."""
    content = found.content
    name = scene.GenerateUniqueName(f"Follow-up {content['person']}")
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
    table.SetAttribute(MARK, "1")
    fill_table(table, _visit_columns(content))
    band = scene.AddNewNodeByClass("vtkMRMLTableNode", f"{name} healthy band")
    fill_table(band, _band_columns(content))
    chart = _chart(scene, table, band, content, name)
    bound = {_BAND: band, _FOLLOW_UP_CHART: chart}
    bound |= {_FOLLOW_UP_PREFIX + key: add_text(scene, f"{name} {key}", text) for key, text in found.texts.items()}
    for role, node in bound.items():
        table.SetNodeReferenceID(role, node.GetID())
    return table


def follow_up_of(table: Any) -> FollowUpTexts | None:
    """The texts bound to a follow-up's table; None when it is none, or some were deleted."""
    if table is None or not table.GetAttribute(MARK):
        return None
    nodes = {key: table.GetNodeReference(_FOLLOW_UP_PREFIX + key) for key in FILES}
    if any(node is None for node in nodes.values()):
        return None
    return FollowUpTexts({key: node.GetText() for key, node in nodes.items()})


def chart_of(table: Any) -> Any:
    return table.GetNodeReference(_FOLLOW_UP_CHART)


def latest_follow_up(scene: Any) -> Any:
    """The table of the last follow-up of the scene; None without one."""
    count = scene.GetNumberOfNodesByClass("vtkMRMLTableNode")
    tables = [scene.GetNthNodeByClass(index, "vtkMRMLTableNode") for index in range(count)]
    return next((table for table in reversed(tables) if table.GetAttribute(MARK)), None)


def _visit_columns(content: Mapping[str, Any]) -> dict[str, list[Any]]:
    visits = content["visits"]

    def numbers(key: str) -> list[float]:
        return [nan if visit.get(key) is None else float(visit[key]) for visit in visits]

    def of_change(key: str) -> list[float]:
        return [nan if visit["change"] is None else float(visit["change"][key]) for visit in visits]

    def kinds(breaks: bool) -> list[str]:
        return [
            " ".join(dict.fromkeys(one["kind"] for one in visit["differences"] if one["breaks"] is breaks))
            for visit in visits
        ]

    columns: dict[str, list[Any]] = {"visit": [int(visit["visit"]) for visit in visits]}
    columns |= {key: numbers(key) for key in ("years", "mean_csa_mm2", "volume_mm3", "length_mm")}
    columns |= {"change_percent": of_change("percent"), "mdc95_percent": of_change("mdc95_percent")}
    columns["change_verdict"] = [(visit["change"] or {}).get("verdict", visit["no_change"]) for visit in visits]
    columns |= {"not_comparable": kinds(True), "to_be_weighed": kinds(False)}
    for number, run in enumerate(content["runs"], 1):
        columns[_fit_name(number)] = [_fitted(run, visit, visits) for visit in visits]
    return columns


def _fit_name(number: int) -> str:
    return f"fit_run_{number}_mm2"


def _fitted(run: Mapping[str, Any], visit: Mapping[str, Any], visits: Any) -> float:
    rate = run["rate"]
    if rate is None or not run["first"] <= visit["visit"] <= run["last"]:
        return nan
    since = visit["years"] - visits[run["first"] - 1]["years"]
    return float(rate["fitted_first_mm2"] + rate["slope_mm2_per_year"] * since)


def _band_columns(content: Mapping[str, Any]) -> dict[str, list[float]]:
    """Where a healthy cord would be measured: years, and low and high of every run, NaN outside it."""
    from SpinalCordSegLib.longitudinal.report import healthy_band

    visits, healthy = content["visits"], content["healthy"]
    rates = (healthy["low_percent_per_year"], healthy["high_percent_per_year"])
    spans = [(visits[run["first"] - 1], visits[run["last"] - 1]) for run in content["runs"]]
    years = sorted({float(t) for a, b in spans for t in np.linspace(a["years"], b["years"], _STEPS)})
    columns: dict[str, list[float]] = {"years": years}
    for number, (run, (first, last)) in enumerate(zip(content["runs"], spans, strict=True), 1):
        start = run["rate"]["fitted_first_mm2"] if run["rate"] else first["mean_csa_mm2"]
        pairs = [
            healthy_band(start, t - first["years"], rates, run["cov_percent"])
            if first["years"] <= t <= last["years"]
            else (nan, nan)
            for t in years
        ]
        columns[f"healthy_low_{number}_mm2"] = [low for low, _high in pairs]
        columns[f"healthy_high_{number}_mm2"] = [high for _low, high in pairs]
    return columns


def _chart(scene: Any, table: Any, band: Any, content: Mapping[str, Any], name: str) -> Any:
    chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", f"{name} curve")
    points = _series(scene, table, "area", "mean_csa_mm2", _AREA_RGB)
    points.SetLineStyle(points.LineStyleNone)
    points.SetMarkerStyle(points.MarkerStyleCircle)
    points.SetMarkerSize(10)
    all_series = [points]
    for number, run in enumerate(content["runs"], 1):
        if run["rate"] is not None:
            all_series.append(_line(scene, table, f"fit {number}", _fit_name(number), _FIT_RGB))
        for end in ("low", "high"):
            column = f"healthy_{end}_{number}_mm2"
            all_series.append(_line(scene, band, f"healthy {number}, {end}", column, _BAND_RGB))
    for series in all_series:
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    chart.SetTitle("Not comparable throughout" if len(content["runs"]) > 1 else "Mean area of the compared stretch")
    chart.SetXAxisTitle("Years since the first visit")
    chart.SetYAxisTitle("Area (mm²)")
    chart.SetLegendVisibility(True)
    return chart


def _line(scene: Any, table: Any, name: str, column: str, colour: tuple[float, float, float]) -> Any:
    series = _series(scene, table, name, column, colour)
    series.SetLineStyle(series.LineStyleSolid)
    series.SetMarkerStyle(series.MarkerStyleNone)
    series.SetLineWidth(2)
    return series


def _series(scene: Any, table: Any, name: str, column: str, colour: tuple[float, float, float]) -> Any:
    series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetPlotType(series.PlotTypeScatter)
    series.SetXColumnName("years")
    series.SetYColumnName(column)
    series.SetColor(*colour)
    return series
