"""Under load: a batch of many volumes (memory flat, time linear?) and one volume larger than any scanner's today."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.volume import Volume

_HERE = Path(__file__).parent
_POLL_S = 0.5
_SMALL = (96, 96, 12)  # 12 slices of 67 mm: enough for a cord, soon done
_LARGE_TIMES = 4  # each voxel of 256 × 256 × 150 becomes 4 × 4 × 4


def load(folder: Path, count: int, large: bool) -> dict[str, Any]:
    """Figures of the batch of ``count`` volumes and, with ``large``, of 1024 × 1024 × 600 voxels."""
    found: dict[str, Any] = {"batch": _batch(folder / "load", count)}
    if large:
        found["large"] = _large(folder)
    return found


def _batch(folder: Path, count: int) -> dict[str, Any]:
    """The command on a folder of volumes, its memory looked at after every case that it finishes."""
    images = folder / f"images-{count}"
    images.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        config = PhantomConfig(shape=_SMALL, spacing_mm=(0.7, 0.7, 4.0), seed=number)
        path = images / f"case-{number:04d}.nii.gz"
        if not path.is_file():
            write_volume(make_phantom(config).image, path)
    results = folder / f"results-{count}"
    command = [sys.executable, "-m", "SpinalCordSegLib", "segment", str(images), "--output", str(results)]
    started = time.perf_counter()
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen([*command, "--force", "--device", "cpu"], stdout=log, stderr=log)
    seen: dict[int, tuple[float, float, float]] = {}
    began = time.time()
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        done = sum(one.stat().st_mtime >= began for one in results.glob("*/report.json"))
        try:
            resident = watched.memory_info().rss
            if resident:  # 0 of a process that has just ended
                seen[done] = (time.perf_counter() - started, _processor_s(watched), resident / 2**20)
        except psutil.NoSuchProcess:
            break
        time.sleep(_POLL_S)
    if process.returncode != 0:
        raise RuntimeError(f"the batch ended with {process.returncode}: {(folder / 'log.txt').read_text()[-2000:]}")
    return {"volumes": count, "seconds": time.perf_counter() - started} | _tenths(seen, count)


def _processor_s(process: psutil.Process) -> float:
    """What the process and its finished children have used: unlike the clock, the same on a busy machine."""
    used = process.cpu_times()
    return float(used.user + used.system + used.children_user + used.children_system)


def _tenths(seen: dict[int, tuple[float, float, float]], count: int) -> dict[str, Any]:
    """Seconds by the clock and of processors, and MB, when each tenth of the cases was done (the look after)."""
    rows = []
    for tenth in range(1, 11):
        later = [done for done in seen if done >= tenth * count / 10]
        at = seen[min(later)] if later else seen[max(seen)]
        rows.append({"done": round(tenth * count / 10), "seconds": at[0], "processor_s": at[1], "mb": at[2]})
    return {"rows": rows}


def _large(folder: Path) -> dict[str, Any]:
    path = folder / "volumes" / "1024x1024x600.nii"
    if not path.is_file():
        write_volume(_enlarged_phantom(), path)
    arguments = [
        sys.executable,
        str(_HERE / "whole_command.py"),
        "onnxruntime",
        str(path),
        str(folder / "whole" / "large"),
    ]
    ended = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{ended.stderr}")
    measured: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
    return {"shape": [256 * _LARGE_TIMES, 256 * _LARGE_TIMES, 150 * _LARGE_TIMES]} | measured


def _enlarged_phantom() -> Volume:
    base = make_phantom(PhantomConfig(shape=(256, 256, 150), spacing_mm=(0.7, 0.7, 0.9))).image
    voxels = np.round(base.ijk).astype(np.int16)
    for axis in range(3):
        voxels = np.repeat(voxels, _LARGE_TIMES, axis)
    matrix = base.ijk_to_ras.copy()
    matrix[:3, :3] /= _LARGE_TIMES
    return Volume.from_ijk(voxels, matrix)
