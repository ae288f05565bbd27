"""A result's tables while its mask is edited: areas, length and volume follow, and come back with undo."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import nan
from typing import TYPE_CHECKING, Any

from SpinalCordSegNodes.case_folder import SUMMARY_MEASURES
from SpinalCordSegNodes.provenance import PREFIX
from SpinalCordSegNodes.results import Result
from SpinalCordSegNodes.tables import CSA, FLAGGED, FLAGS, POSITION, RAW, SLICE, fill_table, marks, read_column

if TYPE_CHECKING:
    from SpinalCordSegLib.measurement.measures import CordMeasures, SliceMeasures

_MEASURED = PREFIX + "MeasuredColumns"  # JSON; there only while the table holds live numbers
# of the mask alone: what a live measurement says anew; all other flags came with the run
_MASK_FLAGS = ("gap", "several_components", "border_contact", "steep_cut")
_COARSE = "coarse_left_right"  # areas are withheld: SpinalCordSegLib.doubts.suitability


class LiveTables:
    """``show`` writes live numbers into the tables of a result; ``restore`` what the full measurement had written.

    Only the mask in hand has live numbers: a table may be bound to several masks (Slicer's Clone copies references).
    What was measured waits in an attribute of the table, so that a scene saved meanwhile has it too.
    """

    def __init__(self) -> None:
        self._live: list[Any] = []

    def show(self, result: Result, measures: CordMeasures, edited: frozenset[int]) -> Mapping[str, Any]:
        """``edited``: slices of the input that differ from what was measured in full. Gives the report's numbers as
        they are now; the report itself stays as it was."""
        tables = [table for table in (result.slices, result.summary) if table is not None]
        for table in self._live:
            if table not in tables:
                _give_back(table)
        self._live = tables
        content = result.report_content()
        withheld = any(flag.get("kind") == _COARSE for flag in content.get("flags") or ())
        if result.slices is not None:
            former = _keep(result.slices)
            fill_table(result.slices, _slice_columns(former, measures, edited, withheld))
        area, spread = (nan, nan) if withheld else (measures.mean_csa_mm2, measures.sd_csa_mm2)
        numbers: dict[str, Any] = {
            "volume_mm3": measures.volume_mm3,
            "length_mm": measures.length_mm,
            "mean_csa_mm2": _or_none(area),
            "sd_csa_mm2": _or_none(spread),
            "volume_per_length_mm2": _or_none(
                nan if withheld or not measures.length_mm else measures.volume_mm3 / measures.length_mm
            ),
            "n_slices": measures.n_slices,
            "coverage": measures.coverage,
            "removed_mm3": measures.removed_mm3,
            "filled_mm3": measures.filled_mm3,
            "flags": _flags(content, measures, edited),
        }
        if result.summary is not None:
            _keep(result.summary)
            fill_table(result.summary, _summary_columns(numbers))
        return dict(content) | numbers

    def restore(self, result: Result | None = None) -> None:
        """Another mask is in hand, or this one is again as it was measured: then ``result`` is its own."""
        for table in (*self._live, *(() if result is None else (result.slices, result.summary))):
            if table is not None:
                _give_back(table)
        self._live = []


def _keep(table: Any) -> dict[str, list[Any]]:
    """The table's columns as they were measured; from now on it may hold live numbers."""
    kept = table.GetAttribute(_MEASURED)
    if kept:
        return json.loads(kept)
    names = [table.GetColumnName(index) for index in range(table.GetNumberOfColumns())]
    columns = {name: read_column(table, name) for name in names}
    table.SetAttribute(_MEASURED, json.dumps(columns))
    return columns


def _give_back(table: Any) -> None:
    kept = table.GetAttribute(_MEASURED)
    if kept:
        fill_table(table, json.loads(kept))
        table.RemoveAttribute(_MEASURED)


def _slice_columns(
    former: Mapping[str, list[Any]], measures: CordMeasures, edited: frozenset[int], withheld: bool
) -> dict[str, list[Any]]:
    """The table's own columns, a row for each slice that has cord now or lies between such."""
    places = {number: row for row, number in enumerate(former.get(SLICE, []))}
    columns: dict[str, list[Any]] = {name: [] for name in former if name != FLAGGED}
    for item in measures.slices:
        row = places.get(item.slice)
        same = row is not None and item.slice not in edited
        for name, values in columns.items():
            values.append(_cell(name, item, former[name], row if same else None, withheld))
    flags = columns.setdefault(FLAGS, [""] * len(measures.slices))
    own = _kinds_by_slice(measures)
    for number, item in enumerate(measures.slices):
        kept = [kind for kind in flags[number].split() if kind not in _MASK_FLAGS]
        flags[number] = " ".join(dict.fromkeys([*own.get(item.slice, []), *kept]))
    areas = columns.get(CSA, [nan] * len(measures.slices))
    columns[FLAGGED] = marks(areas, [bool(text) for text in flags])
    return columns


def _cell(name: str, item: SliceMeasures, former: list[Any], row: int | None, withheld: bool) -> Any:
    """What follows an edit is measured anew; diameters, form and the run's flags hold only where nothing was edited."""
    if name in (SLICE, "canonical_slice"):
        return getattr(item, name)
    if name in (POSITION, "length_mm", "angle_ap_deg", "angle_rl_deg"):
        return getattr(item, name)
    if name in (CSA, RAW):
        return nan if withheld else getattr(item, name)
    if row is not None:
        return former[row]
    example = former[0] if former else nan
    return "" if isinstance(example, str) else -1 if isinstance(example, int) else nan


def _kinds_by_slice(measures: CordMeasures) -> dict[int, list[str]]:
    kinds: dict[int, list[str]] = {}
    for flag in measures.flags:
        if flag.slice is not None:
            kinds.setdefault(flag.slice, []).append(flag.kind)
    return kinds


def _flags(content: Mapping[str, Any], measures: CordMeasures, edited: frozenset[int]) -> list[dict[str, Any]]:
    """The mask's own anew, and of the run's those that an edit has not settled."""
    own = [{"slice": flag.slice, "kind": flag.kind, "message": flag.message} for flag in measures.flags]
    anew = {"empty", "single_slice", "removed", "holes_filled", "tilted_grid", *_MASK_FLAGS}
    kept = [
        dict(flag)
        for flag in content.get("flags") or ()
        if flag.get("kind") not in anew and flag.get("slice") not in edited
    ]
    return own + kept


def _summary_columns(numbers: Mapping[str, Any]) -> dict[str, list[Any]]:
    rows = [(title, _number(numbers.get(key)), unit) for key, title, unit in SUMMARY_MEASURES]
    flagged = {flag["slice"] for flag in numbers["flags"] if flag["slice"] is not None}
    rows.append(("Flagged slices", float(len(flagged)), ""))
    columns = zip(*rows, strict=True)
    return {name: list(values) for name, values in zip(("measure", "value", "unit"), columns, strict=True)}


def _number(value: Any) -> float:
    return nan if value is None else float(value)


def _or_none(value: float) -> float | None:
    return None if value != value else value
