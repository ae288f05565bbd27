"""Measures as table nodes: one row per measure, and one row per slice."""

from __future__ import annotations

import csv
import io
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
    ("n_slices", "Slices of the mean", ""),
    ("coverage", "Share of slices with cord", ""),
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


def fill_table(table: Any, columns: Mapping[str, Sequence[Any]]) -> None:
    """Put these columns in place of what the table holds; observers are notified once."""
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


def columns_of_csv(text: str) -> dict[str, list[Any]]:
    """Columns of numbers (NaN for an empty field) where all fields are, else of texts."""
    columns: dict[str, list[Any]] = {}
    names, *rows = csv.reader(io.StringIO(text))
    for name, *cells in zip(names, *rows, strict=True):
        try:
            columns[name] = [float(cell) if cell else np.nan for cell in cells]
        except ValueError:
            columns[name] = list(cells)
    return columns


_SERIES = (("area", CSA, (0.0, 0.45, 0.70)), ("flagged", FLAGGED, (0.84, 0.37, 0.0)))  # differ for colour-blind readers


def add_area_chart(scene: Any, table: Any, name: str) -> Any:
    """The area along the cord, a line that is broken at gaps, with the flagged slices marked."""
    chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", name)
    for label, column, colour in _SERIES:
        is_line = column == CSA
        series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", f"{name}: {label}")
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetPlotType(series.PlotTypeScatter)  # a line against an x column is a scatter plot with a line
        series.SetXColumnName(POSITION)
        series.SetYColumnName(column)
        series.SetColor(*colour)
        series.SetLineStyle(series.LineStyleSolid if is_line else series.LineStyleNone)
        series.SetLineWidth(2)
        series.SetMarkerStyle(series.MarkerStyleNone if is_line else series.MarkerStyleCircle)
        series.SetMarkerSize(9)
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    chart.SetTitle("Cross-sectional area along the cord")
    chart.SetXAxisTitle("Position, inferior to superior (mm)")
    chart.SetYAxisTitle("Area (mm²)")
    chart.SetLegendVisibility(True)
    return chart
