"""Measures as table nodes: one row per measure, and one row per slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import vtk
from numpy.typing import NDArray

if TYPE_CHECKING:
    from SpinalCordSegLib.case import Case

CSA, POSITION, SLICE, FLAGS, FLAGGED = "csa_mm2", "z_mm", "slice", "flags", "flagged_csa_mm2"
_UNITS = {"_mm3": "mm3", "_mm2": "mm2", "_mm": "mm", "_deg": "deg"}
# field of Case, what it is called, unit
_SUMMARY = (
    ("volume_mm3", "Cord volume", "mm3"),
    ("length_mm", "Length", "mm"),
    ("mean_csa_mm2", "Mean cross-sectional area", "mm2"),
    ("sd_csa_mm2", "SD of the cross-sectional area", "mm2"),
    ("volume_per_length_mm2", "Volume per length", "mm2"),
    ("n_slices", "Slices with cord", ""),
    ("coverage", "Share of slices measured", ""),
    ("removed_mm3", "Removed before measuring", "mm3"),
    ("filled_mm3", "Filled before measuring", "mm3"),
)


def summary_columns(case: Case) -> dict[str, list[Any]]:
    """Measure, value (NaN where there is none), unit."""
    flagged = {flag.slice for flag in case.flags if flag.slice is not None}
    return {
        "measure": [title for _name, title, _unit in _SUMMARY] + ["Flagged slices"],
        "value": [float(getattr(case, name)) for name, _title, _unit in _SUMMARY] + [float(len(flagged))],
        "unit": [unit for _name, _title, unit in _SUMMARY] + [""],
    }


def slice_columns(case: Case) -> dict[str, list[Any]]:
    """The columns of slices.csv but those without any answer, and one more: where the plot marks a flagged slice."""
    from SpinalCordSegLib.slice_table import columns

    values = {column.name: getattr(case.slices, column.name) for column in columns()}
    blank = {column.name: column.blank(len(case.slices)) for column in columns()}
    always = (SLICE, POSITION, CSA, FLAGS)
    answered = {
        name: found.tolist()
        for name, found in values.items()
        if name in always or not np.array_equal(found, blank[name], equal_nan=found.dtype.kind == "f")
    }
    flagged = np.isin(case.slices.slice, [flag.slice for flag in case.flags if flag.slice is not None])
    return answered | {FLAGGED: marks(case.slices.csa_mm2, flagged)}


def marks(areas: NDArray[np.float64], flagged: NDArray[np.bool_]) -> list[float]:
    """The area at which a flagged slice is marked, NaN elsewhere; a gap is marked between its neighbours."""
    known = np.flatnonzero(np.isfinite(areas))
    height = np.interp(np.arange(len(areas)), known, areas[known]) if known.size else np.zeros(len(areas))
    return np.where(flagged, height, np.nan).tolist()


def read_column(table: Any, column: str) -> list[Any]:
    """A column's values; empty when there is no such column."""
    array = table.GetTable().GetColumnByName(column)
    return [] if array is None else [array.GetValue(row) for row in range(array.GetNumberOfValues())]


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
