"""The whole ``segment`` command in a process of its own: seconds by stage and peak memory, as one line of JSON.

``python tools/bench/whole_command.py WAY VOLUME FOLDER`` with WAY one of WAYS. The results are left below FOLDER.
Time counts from after the imports.
"""

from __future__ import annotations

import contextlib
import io
import json
import resource
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from naive import naive_predict
from stopwatch import Stopwatch

from SpinalCordSegLib import batch, image_io, inference, pipeline, volume
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.model.cpu_engine import CpuEngine, cpu_threads

WAYS = {
    "naive": ["--device", "cpu"],
    "onnxruntime": ["--device", "cpu"],
    "cuda": ["--device", "cuda"],
}
"""By name, the arguments of the command; "naive" takes the place of ``predict``."""


def measured(way: str, volume: Path, folder: Path) -> dict[str, Any]:
    """Run the command; seconds, stages, MB above the imports, threads. Raises RuntimeError when it fails."""
    import PIL.Image  # noqa: F401 - the imports belong to the start-up
    import scipy.ndimage  # noqa: F401
    import SimpleITK  # noqa: F401

    if way.startswith("onnxruntime"):
        import onnxruntime  # noqa: F401
    watch = Stopwatch()
    _watch_stages(watch, way)
    imported = psutil.Process().memory_info().rss
    said = io.StringIO()
    started = time.perf_counter()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(["segment", str(volume), "--output", str(folder), "--force", *WAYS[way]])
    total = time.perf_counter() - started
    if code != 0:
        raise RuntimeError(f"the command ended with {code}: {said.getvalue()}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "way": way,
        "seconds": total,
        "stages": _wall_stages(watch.seconds, total),
        "threads": cpu_threads(),
        "peak_mb_above_imports": (peak - imported) / 2**20,
        "imports_mb": imported / 2**20,
    }


def _watch_stages(watch: Stopwatch, way: str) -> None:
    watch.wrap(image_io, "read_image", "read")
    watch.wrap(volume, "fingerprint", "read")
    watch.wrap(batch, "save_case", "report")
    watch.wrap(pipeline, "find_cord", "measure")
    watch.wrap(pipeline, "_measured", "measure")
    if way == "naive":
        inference.predict = partial(naive_predict, watch)
    else:
        watch.wrap(inference, "normalise", "prepare")
        watch.wrap(inference, "restore", "restore")
        watch.wrap(CpuEngine, "logits", "network")
        watch.wrap(inference, "cpu_engine", "set up")
        if way == "cuda":
            from SpinalCordSegLib import torch_inference
            from SpinalCordSegLib.model.networks import RAUNet

            watch.wrap(torch_inference, "restore", "restore")
            watch.wrap(RAUNet, "forward", "network")
    watch.wrap(inference, "predict", "predict")


def _wall_stages(seconds: dict[str, float], total: float) -> dict[str, float]:
    """Stages on the clock: what threads did at once is given its share of the time that prediction took."""
    inner = {stage: seconds.get(stage, 0.0) for stage in ("prepare", "network", "restore")}
    set_up = seconds.get("set up", 0.0)
    share = (seconds["predict"] - set_up) / sum(inner.values())
    stages = {"read": seconds["read"], "set up": set_up}
    stages |= {stage: value * share for stage, value in inner.items()}
    stages |= {"measure": seconds["measure"], "report": seconds["report"]}
    return stages | {"other": total - sum(stages.values())}


if __name__ == "__main__":
    print(json.dumps(measured(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))))
