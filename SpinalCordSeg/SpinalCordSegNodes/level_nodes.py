"""Areas by vertebral level as a table node, bound to the mask it was measured on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from SpinalCordSegNodes.hierarchy import place_with
from SpinalCordSegNodes.tables import fill_table

if TYPE_CHECKING:
    from SpinalCordSegLib.measurement.level_measures import LevelReport

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
