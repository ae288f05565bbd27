"""Does the GPU draw what the CPU draws, and how fast: one run on a machine with a card, a JSON line for each answer.

``python tools/gpu_check.py``; ``--device cpu --quick`` shows elsewhere that it runs. The tests marked ``gpu`` go first.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import Any

import numpy as np
import torch

from SpinalCordSegLib.inference import Prediction, predict
from SpinalCordSegLib.model.checkpoint import default_model, load_checkpoint
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cuda", "mps", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="a tiny volume, no tests")
    arguments = parser.parse_args()
    device, checkpoint = arguments.device, load_checkpoint(default_model())
    shape = (96, 96, 6) if arguments.quick else (256, 256, 170)
    volume = make_phantom(PhantomConfig(shape=shape, spacing_mm=(0.7, 0.7, 1.0), noise=0.05)).image
    _tell("versions", torch=torch.__version__, device=device)
    if not arguments.quick:
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-m", "gpu", "Testing/library"], check=False)
        _tell("tests", exit_code=done.returncode)

    def timed(where: str) -> tuple[Prediction, float]:
        started = time.perf_counter()
        return predict(volume, checkpoint, device=where), time.perf_counter() - started

    first = timed(device)[1]
    found, seconds = timed(device)
    again = timed(device)[0]
    peak_mb = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else None
    _tell("predict", shape=shape, on=found.device, first_s=first, seconds=seconds, peak_mb=peak_mb, notes=found.notes)
    wanted, cpu_seconds = timed("cpu")
    ours, theirs = (one.probability.voxels for one in (found, wanted))
    _tell(
        "against the CPU", cpu_seconds=cpu_seconds, largest_difference=float(np.abs(ours - theirs).max()),
        voxels=int((theirs >= 0.5).sum()), voxels_that_differ=int(((ours >= 0.5) != (theirs >= 0.5)).sum()),
        same_twice=bool((ours == again.probability.voxels).all()),
    )  # fmt: skip


def _tell(what: str, **values: Any) -> None:
    print(json.dumps({"what": what} | values), flush=True)


if __name__ == "__main__":
    main()
