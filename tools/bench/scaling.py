"""Cost as slices double and as pixels double: seconds of ``predict`` on noise, with straight lines through them."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from SpinalCordSegLib.inference import predict
from SpinalCordSegLib.model.checkpoint import default_model, load_checkpoint
from SpinalCordSegLib.volume import Volume

_PIXEL_MM = 0.7  # the shipped model's own, so that pixels of the image are pixels of the network
_ROUNDS = 3


def scaling(quick: bool = False) -> dict[str, Any]:
    """Rows of slices or pixels a slice against the least seconds of three; R² of the straight line through them."""
    checkpoint = load_checkpoint(default_model())
    counts = (8, 16, 32) if quick else (16, 32, 64, 128, 256)
    sides = (128, 192, 256) if quick else (128, 192, 256, 320, 384)
    by_slices = {count: (256, count) for count in counts}
    by_pixels = {side * side: (side, counts[0]) for side in sides}
    found: dict[str, Any] = {}
    for name, sizes in (("slices", by_slices), ("pixels a slice", by_pixels)):
        seconds: dict[int, list[float]] = {key: [] for key in sizes}
        for _ in range(_ROUNDS):
            for key, (side, count) in sizes.items():
                voxels = np.random.default_rng(0).uniform(0, 1000, (side, side, count)).astype(np.float32)
                volume = Volume.from_ijk(voxels, np.diag([_PIXEL_MM, _PIXEL_MM, 1.0, 1.0]))
                started = time.perf_counter()
                predict(volume, checkpoint, device="cpu")
                seconds[key].append(time.perf_counter() - started)
        best = [min(values) for values in seconds.values()]
        found[name] = {"x": list(sizes), "seconds": best} | _line(list(sizes), best)
    return found


def _line(x: list[int], y: list[float]) -> dict[str, float]:
    slope, start = np.polyfit(x, y, 1)
    rest = np.asarray(y) - (slope * np.asarray(x) + start)
    return {"slope": float(slope), "start": float(start), "r_squared": float(1 - rest.var() / np.var(y))}
