"""From a volume and a model to the probability of cord in every voxel of the volume's own grid.

``predict`` is the way in. On a CPU one slice is computed after the other, most of them in the region of interest around
the cord alone, without torch; a GPU, half precision and networks in training are left to ``torch_inference``.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from SpinalCordSegLib.errors import Cancelled, ConfigurationError, DeviceError, MissingPackageError, VoxelError
from SpinalCordSegLib.model.checkpoint import Checkpoint
from SpinalCordSegLib.model.cpu_engine import HALO, CpuEngine, Window, cpu_engine
from SpinalCordSegLib.model.preprocessing import LOGIT_LIMIT, Array, Placement, normalise, restore
from SpinalCordSegLib.postprocessing import LEAST_PATH_THRESHOLD
from SpinalCordSegLib.volume import Volume

if TYPE_CHECKING:
    from torch import nn

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("float32", "bfloat16", "float16")

_log = logging.getLogger(__name__)

Run = tuple[int, int]
"""Neighbouring slices, half-open, counted from inferior."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """``probability``: float32 0..1 on the input's own grid, exactly 0 where nothing was computed.

    ``device``: the one that really finished the work. ``batch_size``: slices at a time at the end. ``notes``: what
    the user should know (smaller batches, GPU left). ``engine``: what computed the network, with its version.
    ``n_windowed``: slices that were computed around the cord only (``track_cord``).
    """

    probability: Volume
    device: str
    seconds: float
    batch_size: int
    notes: tuple[str, ...] = ()
    engine: str = ""
    n_windowed: int = 0


def predict(
    volume: Volume,
    checkpoint: Checkpoint,
    *,
    device: str = "auto",
    precision: str = "float32",
    track_cord: bool = False,
    batch_size: int | None = None,
    slice_range: tuple[int, int] | None = None,
    network: nn.Module | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Prediction:
    """Probability of cord, slice by slice, for a volume of any orientation.

    ``precision``: "bfloat16" or "float16" let the network compute in half the bits, for GPUs; the mask's edge moves,
    areas change by some per cent. On the CPU it is then run as on a GPU, by torch and without a region of interest.
    ``track_cord``: compute a slice every 5 mm whole, and between two that show the cord and nothing else only the part
    where it must be (the region of interest); on the CPU only. ``batch_size``: slices at a time on a GPU.
    ``slice_range``: half-open, counted from inferior (canonical slices); the rest stays 0. ``network``: takes the
    place of the checkpoint's own weights (a network in training); it is moved to the device, set to evaluation, and
    run as it is by torch. ``progress(done, total)`` is called at 0 and after every batch, ``cancelled()`` before every
    batch. When GPU memory runs out the batch is halved, then the CPU takes over; the notes say so.
    Raises Cancelled, ConfigurationError (range, batch size, precision), DeviceError, MissingPackageError (ONNX Runtime
    for the CPU, torch for a GPU), VoxelError (NaN or infinite).
    """
    started = time.perf_counter()
    if device not in DEVICES:
        raise DeviceError(f"unknown device {device!r}: choose one of {', '.join(DEVICES)}")
    if precision not in PRECISIONS:
        raise ConfigurationError(f"unknown precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
    if batch_size is not None and batch_size < 1:
        raise ConfigurationError(f"the batch size is {batch_size}, expected at least 1")
    work = Work(volume, checkpoint, slice_range, progress, cancelled)
    work.report(0)
    by_engine = network is None and precision == "float32"
    notes: tuple[str, ...] = ()
    on_cpu = by_engine and (device == "cpu" or (device == "auto" and not gpu_is_likely()))
    if not on_cpu:
        try:
            from SpinalCordSegLib.torch_inference import choose_device, predict_with_torch
        except (ImportError, OSError) as error:
            if not by_engine or device != "auto":
                raise MissingPackageError(
                    f"PyTorch cannot be loaded ({error}): pip install torch, or use the device cpu"
                ) from error
            on_cpu, notes = True, (f"the GPU was left aside because PyTorch cannot be loaded ({error})",)
        else:
            chosen, notes = choose_device(device)
            on_cpu = by_engine and chosen.type == "cpu"
    if on_cpu:
        found = _on_cpu(work, checkpoint, track_cord)
    else:
        found = predict_with_torch(work, checkpoint, network, chosen, batch_size, precision)
    seconds = time.perf_counter() - started
    _log.info("%d slices in %.1f s on %s, %s", work.count, seconds, found.device, found.engine)
    return replace(found, seconds=seconds, notes=(*notes, *found.notes))


def gpu_is_likely() -> bool:
    """Whether torch is worth the seconds that it takes to load: it is installed, and so is a GPU's driver."""
    if importlib.util.find_spec("torch") is None:
        return False
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if sys.platform == "win32":
        return Path(os.environ.get("SYSTEMROOT", "C:/Windows"), "System32", "nvcuda.dll").exists()
    return any(Path("/dev", name).exists() for name in ("nvidiactl", "dxg", "kfd"))  # NVIDIA, WSL, AMD


class Work:
    """The slices of a volume, ``first`` to ``last``, and where their probabilities go."""

    def __init__(
        self,
        volume: Volume,
        checkpoint: Checkpoint,
        slice_range: Run | None,
        progress: Callable[[int, int], None] | None,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        self._volume, self._checkpoint = volume, checkpoint
        self._progress, self._cancelled = progress, cancelled
        self._done = 0
        n_slices = volume.shape[0]
        self.first, self.last = slice_range or (0, n_slices)
        if not 0 <= self.first < self.last <= n_slices:
            raise ConfigurationError(
                f"the slice range {self.first}:{self.last} does not fit a volume of {n_slices} axial slices: give two"
                f" numbers with 0 <= first < last <= {n_slices}"
            )
        self.pixel_mm, self.slice_mm = volume.pixel_mm, volume.slice_mm
        self.probability = volume.with_voxels(np.zeros(volume.shape, np.float32))

    @property
    def count(self) -> int:
        return self.last - self.first

    def check(self) -> None:
        if self._cancelled is not None and self._cancelled():
            raise Cancelled(f"cancelled after {self._done} of {self.count} slices; nothing was kept")

    def report(self, done: int) -> None:
        """So many slices are finished."""
        self._done = done
        if self._progress is not None:
            self._progress(done, self.count)

    def pixels(self, run: Run) -> NDArray[np.float32]:
        """These slices, (n, rows, columns). Raises VoxelError (NaN or infinite)."""
        values = np.array(self._volume.voxels[slice(*run)], dtype=np.float32, order="C")
        finite = np.isfinite(values).all(axis=(1, 2))
        if not finite.all():
            bad = self._volume.to_input_slice(run[0] + int(np.argmin(finite)))
            raise VoxelError(f"slice {bad} holds NaN or infinite values: repair the image first")
        return values

    def inputs(self, pixels: Array) -> tuple[Array, Placement]:
        """Network input (n, 1, R, C) of slices in numpy or torch."""
        return normalise(pixels, self.pixel_mm, self._checkpoint.normalisation)

    def calibrated(self, logits: Array) -> Array:
        calibration = self._checkpoint.calibration
        return logits * calibration.scale + calibration.bias


# On the CPU


def _on_cpu(work: Work, checkpoint: Checkpoint, track_cord: bool) -> Prediction:
    slices = _CpuSlices(work, cpu_engine(checkpoint))
    done = n_windowed = 0
    track_cord = track_cord and slices.engine.takes_windows
    whole = whole_slices(work.first, work.last, work.slice_mm) if track_cord else range(work.first, work.last)
    regions = {}
    for number in whole:
        regions[number] = slices.compute(number, keep_region=track_cord)
        done += 1
        work.report(done)
    for below, above in pairwise(whole):
        for number in range(below + 1, above):
            n_windowed += slices.compute_between(number, regions[below], regions[above])
            done += 1
            work.report(done)
    return Prediction(work.probability, "cpu", 0.0, 1, (), slices.engine.name, n_windowed)


class _CpuSlices:
    """Computes single slices and keeps their probabilities."""

    def __init__(self, work: Work, engine: CpuEngine) -> None:
        self._work, self.engine = work, engine

    def compute(self, number: int, keep_region: bool = False) -> Window | None:
        """Compute the whole slice; gives its ``only_region`` where that is wanted."""
        inputs, placement = self._inputs(number)
        logits = self._work.calibrated(self.engine.logits(inputs))
        self._put(number, logits, placement)
        return only_region(logits[0, 0], self._pixel_mm2(placement)) if keep_region else None

    def compute_between(self, number: int, below: Window | None, above: Window | None) -> bool:
        """Compute the window between two such regions; False where it leaves a doubt, and the whole slice was done."""
        inputs, placement = self._inputs(number)
        shape = inputs.shape[2:]
        window = window_between(below, above, shape)
        settled = False
        if window is not None:
            found = self._work.calibrated(self.engine.logits(inputs, window))
            top, bottom, left, right = part = exact_part(window, shape)
            inner = found[..., top - window[0] : bottom - window[0], left - window[2] : right - window[2]]
            settled = is_settled(inner[0, 0], part, shape, self._pixel_mm2(placement))
            logits = np.full_like(inputs, -LOGIT_LIMIT)
            logits[..., top:bottom, left:right] = inner
        if not settled:
            logits = self._work.calibrated(self.engine.logits(inputs))
        self._put(number, logits, placement)
        return settled

    def _inputs(self, number: int) -> tuple[NDArray[np.float32], Placement]:
        self._work.check()
        return self._work.inputs(self._work.pixels((number, number + 1)))

    def _put(self, number: int, logits: NDArray[np.float32], placement: Placement) -> None:
        self._work.probability.voxels[number] = special.expit(restore(logits, placement))[0]

    def _pixel_mm2(self, placement: Placement) -> float:
        return placement.rows.step * self._work.pixel_mm[0] * placement.columns.step * self._work.pixel_mm[1]


# The region of interest: a slice every 5 mm is computed whole, and between two that show the cord and nothing else the
# window where it must be; the whole slice after all where that leaves a doubt.
#
# A window's logits are those of the whole slice (see ``CpuEngine.logits``), so the cord's mask cannot change; what
# can be missed is a stray region outside the window that no slice computed whole shows. Everything here is in pixels of
# the network's grid and on calibrated logits.


_EVERY_MM = 5.0
_MOST_APART = 8
_DOUBTFUL = float(np.log(LEAST_PATH_THRESHOLD / (1 - LEAST_PATH_THRESHOLD)))
_ROOM = 10  # pixels around the regions of both neighbours: some 7 mm, a lean of over 45° between them
_FREE_EDGE = 3  # pixels that must be clear of anything doubtful inside the window
_MOST_AREA_MM2 = 300.0
_LEAST_CONFIDENCE = 0.8


def whole_slices(first: int, last: int, slice_mm: float) -> list[int]:
    """The slices of first..last - 1 to compute whole: one every 5 mm, never two running, and both ends."""
    step = int(np.clip(round(_EVERY_MM / slice_mm), 2, _MOST_APART))
    return sorted({*range(first, last, step), last - 1})


def only_region(logits: NDArray[np.float32], pixel_mm2: float) -> Window | None:
    """The box of the one region of a slice (rows, columns) that may be cord; None where there is none, or more, or it
    is unlike a cord (over 300 mm², or the network was unsure of it): then the slices beside it are computed whole."""
    labels, count = ndimage.label(logits >= _DOUBTFUL, structure=np.ones((3, 3), bool))
    if count != 1:
        return None
    inside = logits[logits >= 0]
    if inside.size == 0 or inside.size * pixel_mm2 > _MOST_AREA_MM2:
        return None
    if float((1 / (1 + np.exp(-inside.astype(np.float64)))).mean()) < _LEAST_CONFIDENCE:
        return None
    rows, columns = ndimage.find_objects(labels)[0]
    return rows.start, rows.stop, columns.start, columns.stop


def window_between(below: Window | None, above: Window | None, shape: tuple[int, int]) -> Window | None:
    """The window for the slices between two with these regions, on a grid of ``shape``; None: compute them whole."""
    if below is None or above is None:
        return None
    reach = _ROOM + HALO
    top, left = (min(below[at], above[at]) - reach for at in (0, 2))
    bottom, right = (max(below[at], above[at]) + reach for at in (1, 3))
    if bottom - top > 0.75 * shape[0] and right - left > 0.75 * shape[1]:
        return None  # nothing is saved
    return (
        max(0, top // 4 * 4),
        min(shape[0], -(-bottom // 4) * 4),
        max(0, left // 4 * 4),
        min(shape[1], -(-right // 4) * 4),
    )


def exact_part(window: Window, shape: tuple[int, int]) -> Window:
    """The part of a window whose logits are right: all but the halo, which is not needed along the slice's borders."""
    top, bottom, left, right = window
    return (
        top + HALO * (top > 0),
        bottom - HALO * (bottom < shape[0]),
        left + HALO * (left > 0),
        right - HALO * (right < shape[1]),
    )


def is_settled(logits: NDArray[np.float32], part: Window, shape: tuple[int, int], pixel_mm2: float) -> bool:
    """True when the exact part of a window shows one region like a cord, clear of the part's edges."""
    box = only_region(logits, pixel_mm2)
    if box is None:
        return False
    top, bottom, left, right = part
    return (
        (top == 0 or box[0] >= _FREE_EDGE)
        and (bottom == shape[0] or box[1] <= bottom - top - _FREE_EDGE)
        and (left == 0 or box[2] >= _FREE_EDGE)
        and (right == shape[1] or box[3] <= right - left - _FREE_EDGE)
    )
