"""What was run: versions, machine and state of the code at every start of a run, kept in the run's folder.

Nothing personal: no user, no name of the machine, no folder.
"""

from __future__ import annotations

import platform
import subprocess
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from SpinalCordSegLib.inference.device import device_name
from SpinalCordSegLib.plain_json import parse_json
from SpinalCordSegLib.version import SOFTWARE_VERSION
from SpinalCordSegLib.writing import write_json
from SpinalCordSegTrainerLib.training.ranks import Ranks

RECORD_NAME = "run.json"
_PACKAGES = ("torch", "numpy", "scipy", "SimpleITK", "safetensors")


def record_start(folder: Path, update: int, ranks: Ranks) -> dict[str, Any]:
    """Add one start to ``run.json``: when, after which update, with what. Gives it. Raises OutputError."""
    start = {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "after_update": update,
        "software_version": SOFTWARE_VERSION,
        "git": git_state(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
        "device": device_name(ranks.device),
        "ranks": ranks.count,
        "threads": torch.get_num_threads(),
    }
    write_json(folder / RECORD_NAME, {"starts": [*_earlier(folder / RECORD_NAME), start]})
    return start


def git_state() -> dict[str, Any] | None:
    """Commit of the checkout that this code lies in, and whether files differ from it; None outside a checkout."""
    place = Path(__file__).resolve().parents[1]
    commit, changes = _git(place, "rev-parse", "HEAD"), _git(place, "status", "--porcelain", "--", str(place))
    if commit is None:
        return None
    return {"commit": commit.strip(), "changed_files": len((changes or "").splitlines())}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _earlier(path: Path) -> list[dict[str, Any]]:
    try:
        told = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    earlier = told.get("starts") if isinstance(told, dict) else None
    return earlier if isinstance(earlier, list) else []


def remove_remains(folder: Path) -> None:
    """Delete the half-written files that a killed process left in the folder. Raises OSError."""
    for path in folder.glob(".*.part*"):
        path.unlink(missing_ok=True)
