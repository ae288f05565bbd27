"""From a volume and a model to the probability of cord in every voxel of the volume's own grid.

``predict`` is the way in. On a CPU one slice is computed after the other, most of them in a window about the cord
alone, without torch; a GPU is left to ``torch_inference``.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import platform
import sys
import time
from bisect import bisect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import special

from SpinalCordSegLib.errors import Cancelled, MissingPackageError, VoxelError
from SpinalCordSegLib.model.checkpoint import Checkpoint
from SpinalCordSegLib.model.cpu_engine import HALO, CpuEngine, Window, cpu_engine
from SpinalCordSegLib.model.preprocessing import LOGIT_LIMIT, Array, Placement, normalise, restore
from SpinalCordSegLib.postprocessing import Region, best_path, find_regions
from SpinalCordSegLib.volume import Volume

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Prediction:
    """``probability``: float32 0..1 on the input's own grid, exactly 0 where nothing was computed.

    ``device``: the one that really finished the work. ``engine``: what computed the network, with its version.
    ``notes``: what the user should know (GPU left). ``seconds``: of the whole prediction.
    """

    probability: Volume
    device: str
    engine: str
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


def predict(
    volume: Volume,
    checkpoint: Checkpoint,
    *,
    device: str = "auto",
    track_cord: bool = False,
    slice_range: tuple[int, int] | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Prediction:
    """Probability of cord, slice by slice, for a volume of any orientation.

    ``device``: "auto", "cpu", "cuda", "mps". ``track_cord``: compute a slice every 20 mm whole, and between two
    that surely show the cord only the window where it must be; on the CPU only.
    ``slice_range``: half-open, counted from inferior (canonical slices); the rest stays 0. ``progress(done, total)`` is
    called at 0 and after every batch, ``cancelled()`` before every batch. When GPU memory runs out, the CPU takes over,
    with a note. Raises Cancelled, DeviceError, MissingPackageError (ONNX Runtime for the CPU, torch for a GPU),
    VoxelError (NaN or infinite).
    """
    started = time.perf_counter()
    work = Work(volume, checkpoint, slice_range or (0, volume.shape[0]), progress, cancelled)
    work.report(0)
    found, notes = None, []
    if device != "cpu" and (device != "auto" or gpu_is_likely()):
        try:
            from SpinalCordSegLib.torch_inference import choose_device, predict_with_torch
        except (ImportError, OSError) as error:
            if device != "auto":
                raise MissingPackageError(
                    f"PyTorch cannot be loaded ({error}): pip install torch, or use the device cpu"
                ) from error
            notes.append(f"the GPU was left aside because PyTorch cannot be loaded ({error})")
        else:
            chosen, notes = choose_device(device)
            if chosen.type != "cpu" and (names := predict_with_torch(work, chosen, notes)):
                found = Prediction(work.probability, *names)
    found = found or _predict_on_cpu(work, track_cord)
    seconds = time.perf_counter() - started
    _log.info("%d slices in %.1f s on %s, %s", work.count, seconds, found.device, found.engine)
    return replace(found, seconds=seconds, notes=tuple(notes))


def gpu_is_likely() -> bool:
    """Whether torch is worth the seconds that it takes to load: it is installed, and so is a GPU's driver."""
    if importlib.util.find_spec("torch") is None:
        return False
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if sys.platform == "win32":
        return Path(os.environ.get("SYSTEMROOT", "C:/Windows"), "System32", "nvcuda.dll").exists()
    return any(Path("/dev", name).exists() for name in ("nvidiactl", "dxg", "kfd"))  # NVIDIA, WSL, AMD


@dataclass
class Work:
    """The slices of a volume within ``slice_range``, and where their ``probability`` goes."""

    volume: Volume
    checkpoint: Checkpoint
    slice_range: tuple[int, int]
    progress: Callable[[int, int], None] | None = None
    cancelled: Callable[[], bool] | None = None
    probability: Volume = field(init=False)
    done: int = 0

    def __post_init__(self) -> None:
        self.probability = self.volume.with_voxels(np.zeros(self.volume.shape, np.float32))

    @property
    def count(self) -> int:
        return self.slice_range[1] - self.slice_range[0]

    def report(self, done: int) -> None:
        """So many slices are finished."""
        self.done = done
        if self.progress is not None:
            self.progress(done, self.count)

    def pixels(self, first: int, end: int) -> NDArray[np.float32]:
        """These slices, (n, rows, columns). Raises Cancelled, VoxelError (NaN or infinite)."""
        if self.cancelled is not None and self.cancelled():
            raise Cancelled(f"cancelled after {self.done} of {self.count} slices; nothing was kept")
        values = np.array(self.volume.voxels[first:end], dtype=np.float32, order="C")
        finite = np.isfinite(values).all(axis=(1, 2))
        if not finite.all():
            bad = self.volume.to_input_slice(first + int(np.argmin(finite)))
            raise VoxelError(f"slice {bad} holds NaN or infinite values: repair the image first")
        return values

    def inputs(self, pixels: Array) -> tuple[Array, Placement]:
        """Network input (n, 1, R, C) of slices in numpy or torch."""
        return normalise(pixels, self.volume.pixel_mm, self.checkpoint.normalisation)

    def calibrated(self, logits: Array) -> Array:
        calibration = self.checkpoint.calibration
        return logits * calibration.scale + calibration.bias


# Find, then look: a slice every 20 mm is computed whole, and the cord's path through them tells in which window it must
# be in the slices between; such a slice is computed whole after all where its window leaves a doubt.
#
# A window's logits are those of the whole slice (see ``CpuEngine.logits``), so the cord's mask cannot change; what
# can be missed is a stray region outside the window. Windows are in pixels of the network's grid.

LEAST_PATH_THRESHOLD = 0.1
"""Windows are for thresholds from here on."""
_EVERY_MM = 20.0
_ROOM = 10  # pixels around the regions of both neighbours: some 7 mm
_FREE_EDGE = 3  # pixels that must be clear of anything doubtful inside the window's exact part
_DOUBTFUL = float(np.log(LEAST_PATH_THRESHOLD / (1 - LEAST_PATH_THRESHOLD)))
_LEAST_CONFIDENCE = 0.8  # of the network in a slice that tells where to look


def _predict_on_cpu(work: Work, track_cord: bool) -> Prediction:
    engine = cpu_engine(work.checkpoint)
    first, end = work.slice_range
    apart = max(2, round(_EVERY_MM / work.probability.slice_mm)) if track_cord and engine.takes_windows else 1
    whole = sorted({*range(first, end, apart), end - 1})
    regions: list[Region] = []

    def compute(number: int, place: Region | None = None, other: Region | None = None) -> None:
        inputs, placement = work.inputs(work.pixels(number, number + 1))
        logits = None
        if place is not None and other is not None:
            logits = _logits_of_cord(work, engine, inputs, window_around(place, other, inputs.shape[2:]))
        if logits is None:
            logits = work.calibrated(engine.logits(inputs))
        if apart > 1 and number in whole:
            row_mm, column_mm = work.probability.pixel_mm
            step_mm = placement.rows.step * row_mm, placement.columns.step * column_mm
            regions.extend(find_regions(special.expit(logits[0, 0]), whole.index(number), 0.5, step_mm))
        work.probability.voxels[number] = special.expit(restore(logits, placement))[0]
        work.report(work.done + 1)

    for number in whole:
        compute(number)
    path = best_path(regions, apart * work.probability.slice_mm)
    places = {region.k: region for region in path if region.confidence >= _LEAST_CONFIDENCE}
    for number in sorted(set(range(first, end)).difference(whole)):
        above = bisect(whole, number)
        compute(number, places.get(above - 1), places.get(above))
    return Prediction(work.probability, "cpu", engine.name)


def window_around(below: Region, above: Region, shape: tuple[int, int]) -> Window | None:
    """The window for the slices between two with these regions, on a grid of ``shape``; None: nothing is saved."""
    reach, window = _ROOM + HALO, []
    for one, other, n in zip(below.window, above.window, shape, strict=True):
        window.append(max(0, (min(one.start, other.start) - reach) // 4 * 4))
        window.append(min(n, -(-(max(one.stop, other.stop) + reach) // 4) * 4))
    top, bottom, left, right = window
    saves = bottom - top <= 0.75 * shape[0] or right - left <= 0.75 * shape[1]
    return (top, bottom, left, right) if saves else None


def _logits_of_cord(
    work: Work, engine: CpuEngine, inputs: NDArray[np.float32], window: Window | None
) -> NDArray[np.float32] | None:
    """The slice with the window's logits and no cord around; None where there is no window, or none of the cord in it,
    or something like it at its edge."""
    if window is None:
        return None
    top, bottom, left, right = window
    found, edge = work.calibrated(engine.logits(inputs, window)), HALO + _FREE_EDGE
    doubtful = found[0, 0] >= _DOUBTFUL
    if doubtful.sum() != doubtful[edge:-edge, edge:-edge].sum() or not (found >= 0).any():
        return None
    logits = np.full_like(inputs, -LOGIT_LIMIT)
    logits[..., top:bottom, left:right] = found
    return logits
