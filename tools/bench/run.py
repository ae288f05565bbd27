"""The benchmark: ``make bench``. Figures are ratios within one run on one machine; run it while nothing else works.

Parts (``BENCH_ARGS="--only network --only whole"``): network, whole, command, scaling, startup, peers; some
20 minutes. Run by name alone: tracking, which proves that masks stay the same (an hour; called again it goes on where
it was ended), and load (a batch of 500 volumes, one of 1024×1024×600). Results (a table, JSON, pictures) go to
out/bench; a part that is not run keeps its last result there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from command import commands
from network_speed import network_speed
from scaling import scaling
from table import write_table
from volumes import COMMON, VOLUMES, volume_file
from whole_command import WAYS

_HERE = Path(__file__).parent
_COMMON = list(COMMON)
_PAIRED_ROUNDS = 2  # of the first volume, alternating


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="run this part; may be given several times")
    parser.add_argument("--output", type=Path, default=Path("out/bench"))
    parser.add_argument("--quick", action="store_true", help="the first volume only, fewer slices")
    parser.add_argument("--volume", action="append", choices=tuple(VOLUMES), help="for whole: these volumes only")
    parser.add_argument("--peers-python", type=Path, default=Path(".venv-peers/bin/python"))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SPINALCORDSEG_DATA", "../shared/data")))
    parser.add_argument("--simulated", type=int, default=200, help="simulated necks for the part tracking")
    parser.add_argument("--cases", type=int, default=500, help="volumes in one batch, for the part load")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / "bench.json"
    results: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    for name in arguments.only or _USUAL:
        print(f"== {name}", flush=True)
        started, load = time.perf_counter(), os.getloadavg()[0]
        content = PARTS[name](arguments)
        if content is None:
            continue
        seconds = time.perf_counter() - started
        results[name] = {"machine": _machine(load), "seconds": seconds, "results": content}
        path.write_text(json.dumps(results, indent=1))
        print(f"   {seconds:.0f} s", flush=True)
    write_table(results, arguments.output)


def _machine(load: float) -> dict[str, Any]:
    versions = {name: metadata.version(name) for name in ("torch", "numpy")}
    try:
        versions["onnxruntime"] = metadata.version("onnxruntime")
    except metadata.PackageNotFoundError:
        versions["onnxruntime"] = "none"
    return {
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load_before": load,
        "versions": versions,
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _network(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    counts = (1,) if arguments.quick else tuple(dict.fromkeys((1, torch.get_num_threads())))
    return [network_speed(width, threads) for width in (8, 4) for threads in counts]


def _whole(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    names = arguments.volume or (_COMMON[:1] if arguments.quick else _COMMON)
    ways = [way for way in WAYS if torch.cuda.is_available() or not way.startswith("cuda")]
    if not torch.cuda.is_available():
        print("   no GPU here: those ways are left out", flush=True)
    rows = []
    for number, name in enumerate(names):
        rounds = _PAIRED_ROUNDS if number == 0 and not (arguments.quick or arguments.volume) else 1
        found: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way in ways:
                found[way].append(_command(way, volume_file(name, arguments.output / "volumes"), arguments.output))
                print(f"   {name}, {way}: {found[way][-1]['seconds']:.1f} s", flush=True)
        wanted = _mask(arguments.output, "naive")
        for way in ways:
            middle = sorted(found[way], key=lambda row: row["seconds"])[(len(found[way]) - 1) // 2]
            dice = _dice(wanted, _mask(arguments.output, way))
            all_seconds = [row["seconds"] for row in found[way]]
            rows.append(middle | {"volume": name, "dice_with_naive": dice, "all_seconds": all_seconds})
    return rows


def _command(way: str, volume: Path, output: Path) -> dict[str, Any]:
    arguments = [sys.executable, str(_HERE / "whole_command.py"), way, str(volume), str(output / "whole" / way)]
    found: dict[str, Any] = json.loads(_said(arguments))
    return found


def _said(arguments: list[str]) -> str:
    ended = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{ended.stderr}")
    return ended.stdout.strip().splitlines()[-1] if ended.stdout.strip() else ""


def _mask(output: Path, way: str) -> np.ndarray:
    from SpinalCordSegLib.image_io import read_labels

    path = max((output / "whole" / way).glob("*/mask.nii.gz"), key=lambda one: one.stat().st_mtime)
    return read_labels(path).ijk > 0


def _dice(first: np.ndarray, second: np.ndarray) -> float:
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else 1.0


def _whole_commands(arguments: argparse.Namespace) -> dict[str, Any]:
    images = {
        "t1w_masked": arguments.data / "t1w_masked" / "sct-testing_T1w.nii.gz",
        "MT-on": arguments.data / "mt_masked" / "sub-05_acq-MTon_MTS.nii.gz",
    }
    if not arguments.quick:
        images |= {name: volume_file(name, arguments.output / "volumes") for name in VOLUMES}
    return commands({name: path for name, path in images.items() if path.is_file()}, arguments.output / "command")


def _scaling(arguments: argparse.Namespace) -> dict[str, Any]:
    return scaling(quick=arguments.quick)


def _startup(arguments: argparse.Namespace) -> dict[str, float]:
    """Median of five starts, seconds."""
    program = [sys.executable, "-m", "SpinalCordSegLib"]
    ways = {
        "python alone": [sys.executable, "-c", ""],
        "spinalcordseg --help": [*program, "--help"],
        "spinalcordseg models": [*program, "models"],
        "import torch": [sys.executable, "-c", "import torch"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(5):
        for name, command in ways.items():
            started = time.perf_counter()
            _said(command)
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _peers(arguments: argparse.Namespace) -> dict[str, Any] | None:
    if not arguments.peers_python.is_file():
        print(f"   {arguments.peers_python} is not there (make bench-peers): left out", flush=True)
        return None
    names = _COMMON[:1]
    found: dict[str, Any] = {}
    for name in names:
        config = VOLUMES[name]
        grid = (",".join(map(str, config.shape)), ",".join(map(str, config.spacing_mm)))
        rows = json.loads(_said([str(arguments.peers_python), str(_HERE / "peers.py"), *grid]))
        volume = volume_file(name, arguments.output / "volumes")
        ours = [_command("onnxruntime", volume, arguments.output)]
        found[name] = {"peers": rows, "ours": ours}
    return found


def _tracking(arguments: argparse.Namespace) -> dict[str, Any] | None:
    from tracking_equality import tracking_equality

    kept = arguments.output / "tracking.jsonl"
    return tracking_equality(arguments.data, 5 if arguments.quick else arguments.simulated, kept)


def _load(arguments: argparse.Namespace) -> dict[str, Any]:
    from load import load

    return load(arguments.output, 20 if arguments.quick else arguments.cases, not arguments.quick)


PARTS: dict[str, Callable[[argparse.Namespace], Any]] = {
    "network": _network,
    "whole": _whole,
    "command": _whole_commands,
    "scaling": _scaling,
    "startup": _startup,
    "peers": _peers,
    "tracking": _tracking,
    "load": _load,
}
_USUAL = ("network", "whole", "command", "scaling", "startup", "peers")

if __name__ == "__main__":
    main()
