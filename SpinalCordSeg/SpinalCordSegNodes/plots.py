"""The area along the cord as a plot, with the flagged slices marked."""

from __future__ import annotations

from typing import Any

from SpinalCordSegNodes.tables import CSA, FLAGGED, POSITION

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
