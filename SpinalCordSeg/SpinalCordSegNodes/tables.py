"""Measures as table nodes: one row per measure, and one row per slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import vtk

from SpinalCordSegNodes.case_data import SUMMARY_MEASURES, CaseFolder
from SpinalCordSegNodes.segmentations import PREFIX

CSA, POSITION, SLICE, FLAGS, FLAGGED = "csa_mm2", "z_mm", "slice", "flags", "flagged_csa_mm2"
RAW = "csa_raw_mm2"
_UNITS = {"_mm3": "mm3", "_mm2": "mm2", "_mm": "mm", "_deg": "deg"}


def add_summary_table(scene: Any, case: CaseFolder, name: str) -> Any:
    """Columns measure, value (NaN where there is none), unit. Model, version, device and date are attributes."""
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
    fill_table(table, summary_columns(case.report))
    for key, value in asdict(case.provenance()).items():
        table.SetAttribute(PREFIX + key, value)
    return table


def summary_columns(report: Mapping[str, Any]) -> dict[str, list[Any]]:
    """``report``: the content of report.json."""
    values = [report.get(key) for key, _title, _unit in SUMMARY_MEASURES]
    flagged = {flag["slice"] for flag in report.get("flags") or () if flag.get("slice") is not None}
    return {
        "measure": [title for _key, title, _unit in SUMMARY_MEASURES] + ["Flagged slices"],
        "value": [np.nan if value is None else float(value) for value in values] + [float(len(flagged))],
        "unit": [unit for _key, _title, unit in SUMMARY_MEASURES] + [""],
    }


def add_slice_table(scene: Any, case: CaseFolder, name: str) -> Any:
    """The columns of slices.csv, inferior to superior, gaps as NaN, and one more: where the plot marks a flagged slice.

    A column in which every slice is without an answer is left out.
    """
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
    for column in case.slices[0] if case.slices else (SLICE, POSITION, CSA, FLAGS):
        values = [row[column] for row in case.slices]
        if values and all(value == -1 or value != value or (column == "level" and not value) for value in values):
            continue
        _add_column(table, column, values)
    flagged = set(case.flagged_slices)
    areas = [row.get(CSA, np.nan) for row in case.slices]
    _add_column(table, FLAGGED, marks(areas, [row.get(SLICE) in flagged for row in case.slices]))
    return table


def marks(areas: Sequence[float], flagged: Sequence[bool]) -> list[float]:
    """The area at which a flagged slice is marked, NaN elsewhere; a gap is marked between its neighbours."""
    values = np.array(areas, dtype=float)
    known = np.flatnonzero(np.isfinite(values))
    height = np.interp(np.arange(len(values)), known, values[known]) if known.size else np.zeros(len(values))
    return np.where(np.array(flagged, dtype=bool), height, np.nan).tolist()


def read_column(table: Any, column: str) -> list[Any]:
    """A column's values; empty when there is no such column."""
    array = table.GetTable().GetColumnByName(column)
    return [] if array is None else [array.GetValue(row) for row in range(array.GetNumberOfValues())]


def as_csv(table: Any) -> str:
    """The table as CSV with a heading line, "\\n" line ends; numbers in full precision, NaN as an empty field."""
    names = [table.GetColumnName(index) for index in range(table.GetNumberOfColumns())]
    rows = zip(*(read_column(table, name) for name in names), strict=True)
    return "".join(",".join(map(_csv_field, row)) + "\n" for row in [names, *rows])


def _csv_field(value: Any) -> str:
    if isinstance(value, float):
        return "" if value != value else repr(value)
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\n') else text


def fill_table(table: Any, columns: Mapping[str, Sequence[Any]]) -> None:
    """Put these columns in place of what the table holds; whoever shows it is told once."""
    was = table.StartModify()
    table.RemoveAllColumns()
    for name, values in columns.items():
        _add_column(table, name, values)
    table.EndModify(was)


def _add_column(table: Any, name: str, values: Sequence[Any]) -> None:
    array = _array_for(values)
    array.SetName(name)
    array.SetNumberOfValues(len(values))
    for row, value in enumerate(values):
        array.SetValue(row, value)
    table.AddColumn(array)
    unit = next((unit for suffix, unit in _UNITS.items() if name.endswith(suffix)), "")
    if unit:
        table.SetColumnUnitLabel(name, unit)


def _array_for(values: Sequence[Any]) -> Any:
    if values and isinstance(values[0], str):
        return vtk.vtkStringArray()
    return vtk.vtkIntArray() if values and isinstance(values[0], int) else vtk.vtkDoubleArray()


# The area along the cord as a plot, with the flagged slices marked.


_LINE_RGB, _MARK_RGB = (0.0, 0.45, 0.70), (0.84, 0.37, 0.0)  # told apart by colour-blind readers too


def add_area_chart(scene: Any, slice_table: Any, name: str) -> Any:
    """A chart of two series on ``slice_table``: the area (a line, broken at gaps) and the flagged slices (marks)."""
    line = _series(scene, slice_table, f"{name}: area", CSA, _LINE_RGB)
    line.SetLineStyle(line.LineStyleSolid)
    line.SetMarkerStyle(line.MarkerStyleNone)
    line.SetLineWidth(2)
    marks = _series(scene, slice_table, f"{name}: flagged", FLAGGED, _MARK_RGB)
    marks.SetLineStyle(marks.LineStyleNone)
    marks.SetMarkerStyle(marks.MarkerStyleCircle)
    marks.SetMarkerSize(9)
    chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", name)
    for series in (line, marks):
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    chart.SetTitle("Cross-sectional area along the cord")
    chart.SetXAxisTitle("Position, inferior to superior (mm)")
    chart.SetYAxisTitle("Area (mm²)")
    chart.SetLegendVisibility(True)
    return chart


def _series(scene: Any, table: Any, name: str, column: str, colour: tuple[float, float, float]) -> Any:
    series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetPlotType(series.PlotTypeScatter)  # in Slicer a line against an x column is a scatter plot with a line
    series.SetXColumnName(POSITION)
    series.SetYColumnName(column)
    series.SetColor(*colour)
    return series
