"""A finished case becomes nodes, bound to its segmentation by references, and is found again by them.

The references, tables, plot and report texts are saved with the scene: after loading an .mrb everything is there.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from SpinalCordSegLib.errors import GeometryError, InputFileError, SpinalCordSegError
from SpinalCordSegLib.files import atomic_write, write_json, write_text
from SpinalCordSegLib.flags import kinds_from
from SpinalCordSegLib.volume import Volume
from SpinalCordSegNodes.case_data import CaseFolder, read_case_folder
from SpinalCordSegNodes.segmentations import PREFIX, VOLUME, add_segmentation, cord_segment_id, cropped_mask, own_grid
from SpinalCordSegNodes.tables import (
    CSA,
    FLAGGED,
    FLAGS,
    POSITION,
    RAW,
    add_area_chart,
    add_slice_table,
    add_summary_table,
    fill_table,
    marks,
    read_column,
    summary_columns,
)
from SpinalCordSegNodes.volumes import node_from_volume, place_with, world_transform

if TYPE_CHECKING:
    from SpinalCordSegLib.case import Case
    from SpinalCordSegLib.dicom import DicomSeries
    from SpinalCordSegLib.morphometry import CordMeasures
    from SpinalCordSegLib.slice_table import SliceTable
    from SpinalCordSegLib.vertebral_levels import LevelReport


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

    def case(self) -> Case | None:
        """The report as it was measured; None when its node is gone. Raises InputFileError."""
        from SpinalCordSegLib.case import Case  # SimpleITK: only when a result is there

        content = self.report_content()
        return Case.from_json(content) if content else None


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
    former = result_of(segmentation)
    if former is not None:
        show_measured(former)
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


# A mask of the scene as the result folder that the command line would have written: mask, report.json, slices.csv.


MASK = "mask.nrrd"
_PICTURE = re.compile(r'alt="Pictures" src="data:image/png;base64,([A-Za-z0-9+/=]+)"')


def write_result_folder(result: Result, segment_id: str, folder: Path, mask: Volume | None = None) -> None:
    """Write a measured mask into ``folder``, which is made. Raises InputFileError (not measured), OutputError.

    The segment's mask is cleaned as it was before it was measured. ``mask``: another one in its place.
    """
    from SpinalCordSegLib.image_io import write_volume  # SimpleITK: only now

    content = dict(result.report_content())
    if not content or result.slices is None:
        raise InputFileError("the mask was not measured, or its measures were deleted: measure it first")
    folder.mkdir(parents=True, exist_ok=True)
    write_volume(cleaned_mask(result.segmentation, segment_id) if mask is None else mask, folder / MASK)
    write_text(folder / "slices.csv", slice_table_of(result.slices).csv())
    files = [MASK, "report.json", "slices.csv"]
    if result.page is not None:
        write_text(folder / "report.html", result.page.GetText())
        files.append("report.html")
        picture = montage_of(result.page.GetText())
        if picture is not None:
            with atomic_write(folder / "montage.png") as temporary:
                temporary.write_bytes(picture)
            files.append("montage.png")
    write_json(folder / "report.json", content | {"files": sorted(files)})


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


def slice_table_of(table: Any) -> SliceTable:
    from SpinalCordSegLib.slice_table import SliceTable, columns

    known = {column.name: values for column in columns() if (values := read_column(table, column.name))}
    return SliceTable.of(len(read_column(table, "slice")), **known)


def report_text(content: dict[str, Any]) -> str:
    """A report's content as the text that its node holds."""
    return json.dumps(content, indent=2, ensure_ascii=False)


# The images that the cases of a work list were made from, found again by name and by the input's fingerprint.


_Read = Callable[[], Volume]
_Candidate = tuple[str, Path, _Read]


@dataclass(frozen=True, eq=False)
class FoundImage:
    """``path``: what the command line takes as this image; of a DICOM series one of its files."""

    path: Path
    volume: Volume


class ImageFolder:
    """``find`` looks into the files first, then into DICOM series in the folder and below.

    A series is looked for in the files of one folder. Headers are read once. In an archive with a folder for each
    series one header a folder is enough to know where to look; 500 headers take about a second.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[Path, list[Path]] | None = None  # folder → its own DICOM files
        self._first: dict[Path, list[DicomSeries]] = {}  # folder → what its first file tells
        self._listed: dict[Path, list[DicomSeries]] = {}
        self._fingerprints: dict[Path, str] = {}  # of what was read: no image is read twice to be passed over twice

    def find(self, case: str, fingerprint: str = "") -> FoundImage | None:
        """The input of a case. None where there is none of its name, or several, and none has the ``fingerprint``.

        Raises SpinalCordSegError where the only one cannot be read.
        """
        from SpinalCordSegLib.pipeline import fingerprint as fingerprint_of

        named: list[Callable[[], FoundImage]] = []
        problem: SpinalCordSegError | None = None
        for name, path, read in _likeliest_first(case, self._candidates(case)):
            if fingerprint and self._fingerprints.get(path, fingerprint) != fingerprint:
                if name == case:
                    named.append(partial(_found, path, read))
                continue
            try:
                found = _found(path, read)
            except SpinalCordSegError as error:
                problem = problem or error
                continue
            if fingerprint:
                self._fingerprints[path] = fingerprint_of(found.volume)
                if self._fingerprints[path] == fingerprint:
                    return found
            if name == case:
                named.append(partial(_itself, found))
        if not named and problem is not None:
            raise problem
        return named[0]() if len(named) == 1 else None

    def _candidates(self, case: str) -> Iterator[_Candidate]:
        """Name, path and how to read it, of each that a batch may have called ``case``."""
        from SpinalCordSegLib.dicom import read_series
        from SpinalCordSegLib.image_io import find_inputs, safe_case_name

        files = [path for path in find_inputs([self._folder]) if path.is_file()]
        names = {path: safe_case_name(path) for path in files}
        for path in sorted(names, key=lambda path: names[path] != case):
            if _may_be_called(case, names[path]):
                yield names[path], path, partial(_read_file, path)
        for series in self._series(case):
            yield _name(series), series.files[0], partial(read_series, series)

    def _series(self, case: str) -> Iterator[DicomSeries]:
        """Those of such a name, from where the first file is of one first."""
        if self._files is None:
            self._files = _files_by_folder(self._folder)
            self._first = {folder: _list(files[:1]) for folder, files in self._files.items()}
        for folder in sorted(self._files, key=lambda folder: not _fitting(case, self._first[folder])):
            if folder not in self._listed:
                self._listed[folder] = _list(self._files[folder])
            yield from _fitting(case, self._listed[folder])


def _found(path: Path, read: _Read) -> FoundImage:
    return FoundImage(path, read())


def _itself(found: FoundImage) -> FoundImage:
    return found


def _likeliest_first(case: str, candidates: Iterator[_Candidate]) -> Iterator[_Candidate]:
    """NAME_3 is mostly the third image called NAME: that one before the others; what is called NAME_3 before it."""
    number = re.search(r"_(\d+)$", case)
    before: list[_Candidate] = []
    for candidate in candidates:
        if number is None or candidate[0] == case:
            yield candidate
            continue
        before.append(candidate)
        if len(before) == int(number[1]):
            yield before.pop()
            break
    yield from before
    yield from candidates


def _read_file(path: Path) -> Volume:
    from SpinalCordSegLib.image_io import read_image

    return read_image(path).volume


def _files_by_folder(root: Path) -> dict[Path, list[Path]]:
    from SpinalCordSegLib.dicom import dicom_files

    found: dict[Path, list[Path]] = {}
    for path in dicom_files(root):
        found.setdefault(path.parent, []).append(path)
    return found


def _list(files: list[Path]) -> list[DicomSeries]:
    """The series of these files, in the order of their first ones; a damaged file is left out, the others may be of
    use."""
    from SpinalCordSegLib.dicom import list_series, sort_frames

    groups: dict[str, list[DicomSeries]] = {}
    for path in files:
        try:
            for part in list_series(path):
                groups.setdefault(part.uid, []).append(part)
        except InputFileError:
            continue
    return [
        replace(parts[0], frames=sort_frames([frame for part in parts for frame in part.frames]))
        for parts in groups.values()
    ]


def _fitting(case: str, found: list[DicomSeries]) -> list[DicomSeries]:
    return [series for series in found if _may_be_called(case, _name(series))]


def _name(series: DicomSeries) -> str:
    from SpinalCordSegLib.image_io import safe_case_name

    return safe_case_name(series.files[0], series)


def _may_be_called(case: str, name: str) -> bool:
    """A batch calls the second of a name NAME_2."""
    return case == name or re.fullmatch(rf"{re.escape(name)}_\d+", case) is not None


# A case of a work list in the scene: its mask, measures and review, on its image where that is found.


@dataclass(frozen=True, eq=False)
class OpenedCase:
    """``image``: the file that the volume came from, None where only the mask is there; then ``problem`` says why."""

    result: Result
    image: Path | None
    problem: str = ""


def open_case(scene: Any, folder: Path, case: str, images: ImageFolder | None) -> OpenedCase:
    """Read a finished case into the scene. ``images``: where its image is looked for.

    Raises InputFileError when the case cannot be read.
    """
    found = read_case_folder(folder)
    image, volume, problem = _image_of(found, case, images)
    if volume is None:  # something to scroll through: the mask's own voxels
        volume = found.mask.with_voxels(np.asarray(found.mask.voxels).astype(np.uint8))
    node = node_from_volume(scene, volume, case if image is not None else f"{case} (mask only)")
    return OpenedCase(add_result(scene, found, node, _ai_mask(folder)), image, problem)


def _image_of(found: CaseFolder, case: str, images: ImageFolder | None) -> tuple[Path | None, Volume | None, str]:
    if images is None:
        return None, None, "no folder of images was chosen: only the mask is shown"
    source = found.report.get("input") or {}  # of a given mask the first is of its image, the other its own
    try:
        image = images.find(case, str(source.get("image_fingerprint") or source.get("fingerprint") or ""))
        if image is None:
            return None, None, "the folder of images holds none of this case's name: only the mask is shown"
        if not image.volume.same_grid(found.mask):
            raise GeometryError("its image lies on another grid than its mask")
    except SpinalCordSegError as error:
        return None, None, f"{error}: only the mask is shown"
    return image.path, image.volume, ""


def _ai_mask(folder: Path) -> Volume | None:
    """What the AI had drawn, where a person corrected the case."""
    from SpinalCordSegLib.case import AI_MASK, read_mask

    return read_mask(folder, AI_MASK)


# A result's tables while its mask is edited: areas, length and volume follow, and come back with undo.


_MEASURED_COLUMNS = PREFIX + "MeasuredColumns"  # JSON; there only while the table holds live numbers
_COARSE = "coarse_voxels"  # areas are withheld
_LIVE_COLUMNS = ("slice", "canonical_slice", POSITION, CSA, RAW, "angle_ap_deg", "angle_rl_deg", "length_mm")


def show_live(result: Result, measures: CordMeasures) -> Mapping[str, Any]:
    """Write the measures of the mask as it is now into the result's tables; gives the report's content with them.

    ``measures``: without diameters and form. The report itself stays as it was. What was measured in full waits in an
    attribute of each table, so that a scene saved meanwhile has it too, until ``show_measured``.
    """
    content = dict(result.report_content())
    flags: list[dict[str, Any]] = [
        {"slice": flag.slice, "kind": flag.kind, "message": flag.message} for flag in measures.flags
    ]
    flags += [flag for flag in content.get("flags") or () if flag.get("kind") not in kinds_from("mask")]
    withheld = any(flag["kind"] == _COARSE for flag in flags)
    content |= {
        "volume_mm3": measures.volume_mm3,
        "length_mm": measures.length_mm,
        "mean_csa_mm2": None if withheld or isnan(measures.mean_csa_mm2) else measures.mean_csa_mm2,
        "sd_csa_mm2": None if withheld or isnan(measures.sd_csa_mm2) else measures.sd_csa_mm2,
        "volume_per_length_mm2": (
            None if withheld or not measures.length_mm else measures.volume_mm3 / measures.length_mm
        ),
        "n_slices": measures.n_slices,
        "coverage": measures.coverage,
        "removed_mm3": measures.removed_mm3,
        "filled_mm3": measures.filled_mm3,
        "flags": flags,
    }
    columns: dict[str, list[Any]] = {name: [getattr(item, name) for item in measures.slices] for name in _LIVE_COLUMNS}
    if withheld:
        del columns[CSA], columns[RAW]
    columns[FLAGS] = [
        " ".join(dict.fromkeys(flag["kind"] for flag in flags if flag["slice"] == item.slice))
        for item in measures.slices
    ]
    areas = columns.get(CSA) or [nan] * len(measures.slices)
    columns[FLAGGED] = marks(areas, [bool(kinds) for kinds in columns[FLAGS]])
    for table, live in ((result.slices, columns), (result.summary, summary_columns(content))):
        if table is not None:
            if not table.GetAttribute(_MEASURED_COLUMNS):
                names = [table.GetColumnName(index) for index in range(table.GetNumberOfColumns())]
                table.SetAttribute(_MEASURED_COLUMNS, json.dumps({name: read_column(table, name) for name in names}))
            fill_table(table, live)
    return content


def show_measured(result: Result) -> None:
    """What was measured in full, where the tables hold live numbers."""
    for table in (result.slices, result.summary):
        measured = None if table is None else table.GetAttribute(_MEASURED_COLUMNS)
        if measured:
            fill_table(table, json.loads(measured))
            table.RemoveAttribute(_MEASURED_COLUMNS)


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
