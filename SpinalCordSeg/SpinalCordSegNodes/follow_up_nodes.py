"""A finished follow-up as nodes: a table of visits, a curve with the healthy band, and the texts of its files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import numpy as np

from SpinalCordSegLib.errors import InputFileError
from SpinalCordSegNodes.results import add_text
from SpinalCordSegNodes.tables import fill_table

_PREFIX = "SpinalCordSeg.FollowUp."
MARK = "SpinalCordSeg.FollowUp"
_BAND, _CHART = _PREFIX + "Band", _PREFIX + "Chart"
FILES = {
    "json": "follow_up.json",
    "csv": "follow_up.csv",
    "html": "follow_up.html",
    "shapes": "follow_up.drawings.json",
}
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
    bound = {_BAND: band, _CHART: chart}
    bound |= {_PREFIX + key: add_text(scene, f"{name} {key}", text) for key, text in found.texts.items()}
    for role, node in bound.items():
        table.SetNodeReferenceID(role, node.GetID())
    return table


def follow_up_of(table: Any) -> FollowUpTexts | None:
    """The texts bound to a follow-up's table; None when it is none, or some were deleted."""
    if table is None or not table.GetAttribute(MARK):
        return None
    nodes = {key: table.GetNodeReference(_PREFIX + key) for key in FILES}
    if any(node is None for node in nodes.values()):
        return None
    return FollowUpTexts({key: node.GetText() for key, node in nodes.items()})


def chart_of(table: Any) -> Any:
    return table.GetNodeReference(_CHART)


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
    from SpinalCordSegLib.longitudinal.follow_up_plot import healthy_band

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
