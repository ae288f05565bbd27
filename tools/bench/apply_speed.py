"""From Apply to the result: a new child process of the panel against one that waits, on a small phantom."""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import SpinalCordSegLib.worker
from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.model.checkpoint import default_model
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom

if TYPE_CHECKING:
    from SpinalCordSegWidgets.jobs import Worker


_ROUNDS = 3
_READY_S = 20.0  # far more than it takes
_PACKAGES = (Path(SpinalCordSegLib.worker.__file__).resolve().parents[1],)


def apply_speed(folder: Path) -> dict[str, float]:
    """Median seconds from the start (or the order) until the child has ended."""
    sys.path.append(str(_PACKAGES[0]))  # the panel's package is Slicer's, and not installed
    from SpinalCordSegWidgets.jobs import Worker

    work = (folder / "apply").resolve()
    work.mkdir(parents=True, exist_ok=True)
    image = make_phantom(PhantomConfig(shape=(160, 160, 16), spacing_mm=(0.7, 0.7, 3.0))).image
    write_volume(image, work / "volume.nrrd", compress=False)
    model = str(default_model())
    options = ["--output", "results", "--progress", "json", "--force", "--model", model, "--device", "cpu"]
    arguments = ["segment", "volume.nrrd", *options]
    seconds: dict[str, list[float]] = {"a new child": [], "one that waits": []}
    for _ in range(_ROUNDS):
        child = Worker("SpinalCordSegLib.cli", arguments, packages=_PACKAGES, folder=work)
        started = time.perf_counter()
        child.start()
        seconds["a new child"].append(_until_ended(child, started))
        child = Worker("SpinalCordSegLib.cli", [model, "cpu"], packages=_PACKAGES, folder=work, wait=True)
        child.start()
        time.sleep(_READY_S)
        started = time.perf_counter()
        child.order(arguments, work)
        seconds["one that waits"].append(_until_ended(child, started))
    return {name: statistics.median(values) for name, values in seconds.items()}


def _until_ended(child: Worker, started: float) -> float:
    while child.running:
        child.poll()
        time.sleep(0.01)
    if child.exit_code != 0:
        raise RuntimeError(f"the child ended with {child.exit_code}: {child.log}")
    return time.perf_counter() - started
