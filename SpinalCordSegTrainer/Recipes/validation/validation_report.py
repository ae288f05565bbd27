"""The one table of a validation, as Markdown, CSV and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from math import isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np

from Recipes.validation import benchmark
from Recipes.validation.benchmark import MASKED_SETS
from Recipes.validation.unlabelled import cov_percent
from Recipes.validation.validate_model import RealScores
from Recipes.validation.validation_bars import Bar
from SpinalCordSegLib.files import write_json, write_text
from SpinalCordSegLib.model.checkpoint import Checkpoint
from SpinalCordSegTrainerLib.evaluation import CaseScore
from SpinalCordSegTrainerLib.run_folder import write_table

NOT_KNOWN = (
    "Not known: no patient with multiple sclerosis is among these volumes, few people are, one man made all six scanner"
    " volumes, each label map was drawn by one rater, and the simulated people are drawn by the same rules as those"
    " trained on (other seeds, other cord shapes)."
)
_ROLES = {one.name: one.role for one in MASKED_SETS}


def volume_rows(scores: RealScores) -> list[dict[str, Any]]:
    """One row per labelled volume; None where a figure does not exist."""
    return [case_row(name, _ROLES[name], case) for name, cases in scores.masked.items() for case in cases]


def case_row(data: str, role: str, case: CaseScore) -> dict[str, Any]:
    with_cord = [one for one in case.slices if one.true_mm2]
    outside = [one.outside_mm for one in case.slices if isfinite(one.outside_mm)]
    return {
        "data": data,
        "role": role,
        "volume": case.case,
        "slices": len(case.slices),
        "dice": plain(case.dice),
        "dice_per_slice": plain(float(np.mean([one.dice for one in with_cord])) if with_cord else nan),
        "lowest_dice": plain(min((one.dice for one in with_cord), default=nan)),
        "hd95_mm": plain(case.hd95_mm, 2),
        "csa_error_percent": plain(case.csa_error_percent, 2),
        "csa_error_sd_percent": plain(float(np.std([one.csa_error_percent for one in with_cord])), 2),
        "outside_mm": plain(max(outside, default=nan), 2),
        "most_components": max((one.components for one in case.slices), default=0),
        "missed": sum(one.found_mm2 == 0 for one in with_cord),
        "false_cord": sum(one.found_mm2 > 0 for one in case.slices if not one.true_mm2),
        "flagged": sum(bool(one.flags) for one in case.slices),
        "flags": " ".join(sorted({kind for one in case.slices for kind in one.flags} | set(case.flags))),
    }


def plain(value: float, digits: int = 4) -> float | None:
    """A number as JSON and CSV take it: rounded, None where it is not finite."""
    return round(float(value), digits) if isfinite(value) else None


def told(
    checkpoint: Checkpoint, scores: RealScores, simulated: Mapping[str, Mapping[str, Any]], bars: Sequence[Bar]
) -> dict[str, Any]:
    """Everything that was measured, as JSON values. ``simulated``: by set, of simulated_figures."""
    return {
        "model": {"name": checkpoint.name, "version": checkpoint.version, "sha256": checkpoint.sha256},
        "bars": [{**asdict(bar), "value": plain(bar.value)} for bar in bars],
        "volumes": volume_rows(scores),
        benchmark.SCANNERS: _scanner_figures(scores),
        benchmark.HEAD: None if scores.head is None else _plain_fields(asdict(scores.head)),
        "simulated": {name: _plain_fields(of, 4) for name, of in simulated.items()},
        "not_known": NOT_KNOWN,
    }


def _scanner_figures(scores: RealScores) -> dict[str, Any] | None:
    if not scores.scanners:
        return None
    return {
        "length_mm": benchmark.SCANNER_LENGTH_MM,
        "cov_percent": plain(cov_percent([row.mean_csa_mm2 for row in scores.scanners]), 2),
        "cov_percent_from_probability": plain(cov_percent([row.mean_csa_pv_mm2 for row in scores.scanners]), 2),
        "rows": [_plain_fields(asdict(row)) for row in scores.scanners],
    }


def _plain_fields(fields: Mapping[str, Any], digits: int = 2) -> dict[str, Any]:
    return {name: plain(value, digits) if isinstance(value, float) else value for name, value in fields.items()}


def write_validation(content: Mapping[str, Any], folder: Path) -> None:
    """Write ``validation.json``, ``validation.md`` and ``volumes.csv`` (if there are volumes). Raises OutputError."""
    write_json(folder / "validation.json", content)
    write_text(folder / "validation.md", markdown(content))
    if content["volumes"]:
        write_table(content["volumes"], folder / "volumes.csv")


def markdown(content: Mapping[str, Any]) -> str:
    """The tables as Markdown: bars, volumes, scanners, head, simulated sets, and what is not known."""
    model = content["model"]
    lines = [f"Model {model['name']} {model['version']}, SHA-256 `{model['sha256']}`.", ""]
    lines += _table(("data", "figure", "measured", "bar", ""), [_bar_cells(bar) for bar in content["bars"]])
    if content["volumes"]:
        columns = [name for name in content["volumes"][0] if name not in ("role", "flags")]
        rows = [[row[name] for name in columns] for row in content["volumes"]]
        for row, of in zip(rows, content["volumes"], strict=True):
            row[0] = f"{row[0]} (trained on)" if of["role"] == "training" else row[0]
        lines += _table(columns, rows)
    scanners = content[benchmark.SCANNERS]
    if scanners:
        lines += _table(list(scanners["rows"][0]), [list(row.values()) for row in scanners["rows"]])
    if content[benchmark.HEAD]:
        lines += _table((benchmark.HEAD, ""), list(content[benchmark.HEAD].items()))
    for name, figures in content["simulated"].items():
        lines += _table((name, ""), list(figures.items()))
    return "\n".join([*lines, content["not_known"], ""])


def _bar_cells(bar: Mapping[str, Any]) -> tuple[Any, ...]:
    value = "-" if bar["value"] is None else f"{bar['value']:.4g}"
    return bar["data"], bar["figure"], value, bar["limit"], "met" if bar["met"] else "**missed**"


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    lines = [_row(header), _row(["---"] * len(header)), *(_row(row) for row in rows), ""]
    return lines


def _row(cells: Sequence[Any]) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
