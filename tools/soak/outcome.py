"""What a folder of results holds, without what no second run can repeat: the time of day and how long it took."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import openpyxl

from SpinalCordSegLib.model.checkpoint import load_checkpoint

_TIMES = ("created", "when", "seconds", "seconds_by_stage", "minutes")  # entries of JSON and columns of tables
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00|(?<=, )\d+\.\d s(?=<)")
_SAVED_AT = re.compile(r"_\d{8}T\d{6}Z_")


def outcome(folder: Path, leave_out: tuple[str, ...] = ()) -> dict[str, str]:
    """Relative path → digest of every file that can be seen; those of a name in ``leave_out`` are not compared."""
    found = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and path.name not in leave_out and not any(part.startswith(".") for part in inside.parts):
            found[_SAVED_AT.sub("_", str(inside))] = hashlib.sha256(_lasting(path).encode()).hexdigest()[:16]
    return found


def differences(wanted: dict[str, str], found: dict[str, str]) -> list[str]:
    """The paths that are in one of the two only, or hold something else."""
    changed = [name for name in wanted.keys() & found.keys() if wanted[name] != found[name]]
    told = (("missing", wanted.keys() - found.keys()), ("too many", found.keys() - wanted.keys()), ("changed", changed))
    return [f"{word}: {name}" for word, names in told for name in sorted(names)]


def _lasting(path: Path) -> str:
    if path.suffix == ".json":
        return json.dumps(_timeless(json.loads(path.read_text(encoding="utf-8"))))
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return json.dumps([_timeless(row) for row in csv.DictReader(file)])
    if path.suffix == ".xlsx":
        heads_and_rows = [list(sheet.values) for sheet in openpyxl.load_workbook(path)]
        return json.dumps(
            [_timeless(dict(zip(head, row, strict=True))) for head, *rows in heads_and_rows for row in rows]
        )
    if path.suffix == ".html":
        return _MOMENT.sub("THEN", path.read_text(encoding="utf-8"))
    if path.suffix == ".safetensors":
        model = load_checkpoint(path)
        tensors = {name: one.tobytes().hex() for name, one in model.weights.items()}
        return json.dumps([tensors, _timeless(model.scores), _timeless(model.training), _timeless(model.provenance)])
    return path.read_bytes().hex()


def _timeless(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _timeless(value) for key, value in content.items() if key not in _TIMES}
    return [_timeless(one) for one in content] if isinstance(content, list) else content
