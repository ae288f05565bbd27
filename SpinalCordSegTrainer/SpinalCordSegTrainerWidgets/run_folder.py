"""What lies in a training run's folder, read back for the panel. No Qt, no torch."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from SpinalCordSegLib.network.card import load_card
from SpinalCordSegLib.network.models import user_models_folder
from SpinalCordSegLib.writing import atomic_write

BEST, STATE = "best.safetensors", "state.safetensors"


@dataclass(frozen=True)
class Sweep:
    """A range test: rates and losses; the two bounds, ``found`` False when they are the paper's; ``note`` why."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    base_lr: float
    max_lr: float
    found: bool
    note: str


def can_resume(folder: Path) -> bool:
    return (folder / STATE).is_file()


def has_model(folder: Path) -> bool:
    return (folder / BEST).is_file()


def read_epochs(folder: Path) -> list[dict[str, float]]:
    """A row of numbers per finished epoch, NaN where there is none; [] before the first."""
    return [{name: _number(text) for name, text in row.items()} for row in _rows(folder / "epochs.csv")]


def read_sweep(folder: Path) -> Sweep | None:
    """None where no range test was made, or not all of it is there."""
    rows = _rows(folder / "range_test.csv")
    try:
        bounds = json.loads((folder / "range_test.json").read_text(encoding="utf-8"))
        columns = [tuple(_number(row[name]) for row in rows) for name in ("rate", "loss", "smoothed")]
        return Sweep(*columns, bounds["base_lr"], bounds["max_lr"], bounds["found"], bounds["note"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def publish_model(folder: Path) -> Path:
    """Copy the run's best weights to the user's own models; gives the new file. None that is there is overwritten.

    Raises ModelFileError when there are none, OutputError when the folder cannot be written.
    """
    card = load_card(folder / BEST)
    stem = re.sub(r"[^\w.-]+", "-", card.name).strip("-.") or "model"
    models = user_models_folder()
    target, number = models / f"{stem}.safetensors", 2
    while target.exists():
        target, number = models / f"{stem}-{number}.safetensors", number + 1
    with atomic_write(target) as temporary:
        shutil.copyfile(folder / BEST, temporary)
    return target


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except OSError:
        return []


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return {"True": 1.0, "False": 0.0}.get(text or "", math.nan)
