"""Measures as table nodes: one row per measure, and one row per slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import vtk

from SpinalCordSegNodes.case_folder import SUMMARY_MEASURES, CaseFolder
from SpinalCordSegNodes.provenance import PREFIX

CSA, POSITION, SLICE, FLAGS, FLAGGED = "csa_mm2", "z_mm", "slice", "flags", "flagged_csa_mm2"
_UNITS = {"_mm3": "mm3", "_mm2": "mm2", "_mm": "mm", "_deg": "deg"}


def add_summary_table(scene: Any, case: CaseFolder, name: str) -> Any:
    """Columns measure, value (NaN where there is none), unit. Model, version, device and date are attributes."""
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
    rows = [(title, case.number(key), unit) for key, title, unit in SUMMARY_MEASURES]
    rows.append(("Flagged slices", float(len(case.flagged_slices)), ""))
    for name, values in zip(("measure", "value", "unit"), zip(*rows, strict=True), strict=True):
        _add_column(table, name, values)
    for key, value in asdict(case.provenance()).items():
        table.SetAttribute(PREFIX + key, value)
    return table


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
    _add_column(table, FLAGGED, _marks(case))
    return table


def _marks(case: CaseFolder) -> list[float]:
    """The area at which a flagged slice is marked, NaN elsewhere; a gap is marked between its neighbours."""
    if not case.slices:
        return []
    areas = np.array([row.get(CSA, np.nan) for row in case.slices], dtype=float)
    known = np.flatnonzero(np.isfinite(areas))
    flagged = set(case.flagged_slices)
    height = np.interp(np.arange(len(areas)), known, areas[known]) if known.size else np.zeros(len(areas))
    marked = [row.get(SLICE) in flagged for row in case.slices]
    return np.where(marked, height, np.nan).tolist()


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
