"""Whole commands as a user starts them, each in a process of its own: imports and figures are included."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

_INSTALLED = ("numpy", "scipy", "SimpleITK", "pydicom", "matplotlib", "Jinja2", "onnxruntime", "torch")


def commands(images: dict[str, Path], output: Path) -> dict[str, Any]:
    """By name of the image, with one thread: seconds until the first slice is reported, seconds on the clock and of the
    processor, peak memory; and the MB that the packages take on the disk."""
    return {"runs": {name: _run(path, output) for name, path in images.items()}, "installed_mb": _installed_mb()}


def _run(image: Path, output: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "SpinalCordSegLib", "segment", str(image), "--output", str(output), "--force"]
    started, first = time.perf_counter(), float("nan")
    with subprocess.Popen(
        [*command, "--progress", "json"], stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    ) as process:
        assert process.stdout is not None
        for event in map(json.loads, process.stdout):
            if event["event"] == "progress" and event["stage"] == "segment" and event["done"] and first != first:
                first = time.perf_counter() - started
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return {
        "first_slice_s": first, "seconds": time.perf_counter() - started,
        "processor_s": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10),
    }  # fmt: skip


def _installed_mb() -> dict[str, float]:
    found = {}
    for name in _INSTALLED:
        try:
            files = metadata.files(name) or []
        except metadata.PackageNotFoundError:
            continue
        found[name] = sum(file.size or 0 for file in files) / 2**20
    return found
