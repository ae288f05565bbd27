"""A finished case folder of the command line, as the nodes need it: the same files a headless user gets."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from typing import Any

import numpy as np

from SpinalCordSegLib.errors import InputFileError
from SpinalCordSegLib.files import parse_json
from SpinalCordSegLib.volume import Volume
from SpinalCordSegNodes.segmentations import Provenance

# key in report.json, what it is called, unit
SUMMARY_MEASURES = (
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
_WHOLE = ("slice", "canonical_slice", "instance_number")
_TEXT = ("flags", "level")


@dataclass(frozen=True, eq=False)
class CaseFolder:
    """What was measured and found. ``mask``: bool, on the input's own grid. ``slices``: rows of slices.csv from
    inferior to superior, whole numbers, floats (NaN: no answer) and the flags' text; ``html``, ``report_json``: the
    report files' text."""

    mask: Volume
    report: Mapping[str, Any]
    slices: tuple[Mapping[str, Any], ...]
    report_json: str = ""
    html: str = ""
    flags: tuple[Mapping[str, Any], ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "flags", tuple(self.report.get("flags") or ()))

    def number(self, key: str) -> float:
        """A measure of the report; NaN where it has no answer."""
        value = self.report.get(key)
        return nan if value is None else float(value)

    @property
    def flagged_slices(self) -> tuple[int, ...]:
        """The input's slices with at least one flag, each once, ascending."""
        return tuple(sorted({int(flag["slice"]) for flag in self.flags if flag.get("slice") is not None}))

    def provenance(self) -> Provenance:
        model = self.report.get("model") or {}
        return Provenance(
            model=_text(model.get("name")),
            model_sha256=_text(model.get("sha256")),
            model_version=_text(model.get("version")),
            software_version=_text(self.report.get("software_version")),
            device=_text(self.report.get("device")),
            date=_text(self.report.get("created")),
        )


def read_case_folder(folder: Path) -> CaseFolder:
    """Read what ``segment`` or ``measure`` wrote for one case. Raises InputFileError when it is not complete."""
    from SpinalCordSegLib.image_io import read_labels  # SimpleITK: only when a result is there

    masks = sorted(folder.glob("mask.*"))
    if not masks:
        raise InputFileError("the run ended without a mask: run it again, and copy the report if it happens twice")
    labels = read_labels(masks[0])
    try:
        report_json = (folder / "report.json").read_text(encoding="utf-8")
        with (folder / "slices.csv").open(encoding="utf-8", newline="") as file:
            rows = tuple(_row(row) for row in csv.DictReader(file))
        page = folder / "report.html"
        html = page.read_text(encoding="utf-8") if page.is_file() else ""
        report = parse_json(report_json)
    except (OSError, ValueError, csv.Error) as error:
        raise InputFileError(f"the result of the run cannot be read ({error}): run it again") from error
    return CaseFolder(labels.with_voxels(np.asarray(labels.voxels) != 0), report, rows, report_json, html)


def _row(cells: Mapping[str, str]) -> dict[str, Any]:
    return {name: _value(name, cell or "") for name, cell in cells.items() if name}


def _value(name: str, cell: str) -> Any:
    if name in _TEXT:
        return cell
    if name in _WHOLE:
        return int(cell) if cell else -1  # a column of whole numbers has no "none"
    return float(cell) if cell else nan


def _text(value: Any) -> str:
    return "" if value is None else str(value)
