"""From a volume and a model to the probability of cord in every voxel of the volume's own grid."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from SpinalCordSegLib.errors import Cancelled, ConfigurationError, VoxelError
from SpinalCordSegLib.images.volume import Volume, axial_slices, axial_zeros, input_slice_index
from SpinalCordSegLib.inference.device import choose_device, device_name
from SpinalCordSegLib.inference.device_network import DeviceNetwork, half_type, is_out_of_memory, out_of_memory
from SpinalCordSegLib.inference.engine import Engine, check_engine
from SpinalCordSegLib.inference.ready_model import ready_engine
from SpinalCordSegLib.inference.slice_workers import Stretch, in_order
from SpinalCordSegLib.inference.tracked_slices import TrackedSlices
from SpinalCordSegLib.network.checkpoint import Checkpoint, checkpoint_network
from SpinalCordSegLib.network.normalise import Placement, normalise, restore

_MOST_WORKERS = 8  # each holds one slice in all its layers: some 100 MB
_CHUNK_PIXELS = 1 << 21  # full-size slices held in float32 at a time: 8 MB, or one slice where that is larger

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Prediction:
    """``probability``: float32 0..1 on the input's own grid, exactly 0 where nothing was computed.

    ``device``: the one that really finished the work. ``batch_size``: slices at a time at the end. ``notes``: what
    the user should know (smaller batches, GPU or engine left). ``engine``: what computed the network, with its version.
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
    engine: str = "auto",
    precision: str = "float32",
    track_cord: bool = False,
    batch_size: int | None = None,
    slice_range: tuple[int, int] | None = None,
    network: nn.Module | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Prediction:
    """Probability of cord, slice by slice, for a volume of any orientation.

    On the CPU the network is folded or given to ONNX Runtime (``engine``, see there) and several slices are worked on
    at once, one thread each: torch.get_num_threads() of them, at most 8.
    ``precision``: "bfloat16" or "float16" let the network compute in half the bits, for GPUs; the mask's edge moves,
    areas change by some per cent. On the CPU it is then run as on a GPU: no engine, no threads side by side, no
    tracking.
    ``track_cord``: compute a slice every 5 mm whole, and between two that show the cord and nothing else only the part
    where it must be, see ``cord_windows``; on the CPU only.
    ``slice_range``: half-open, counted from inferior (canonical slices); the rest stays 0. ``network``: takes the
    place of the checkpoint's own weights (a network in training); it is moved to the device, set to evaluation, and
    run as it is, one batch after the other. ``progress(done, total)`` is called at 0 and after every batch,
    ``cancelled()`` before every batch. When GPU memory runs out the batch is halved, then the CPU takes over; when the
    CPU's runs out, one slice at a time; the notes say so.
    Raises Cancelled, ConfigurationError (range, batch size, engine, precision), DeviceError, MissingPackageError
    (engine asked for), VoxelError (NaN or infinite).
    """
    started = time.perf_counter()
    chosen, notes = choose_device(device)
    check_engine(engine)
    exact = half_type(precision) is None
    work = _Work(volume, checkpoint, _checked_range(slice_range, volume), progress, cancelled)
    size = _checked_batch(batch_size)
    work.tell(0)
    if exact and network is None and chosen.type == "cpu":
        finished = _on_cpu(work, checkpoint, engine, size or 1, track_cord)
    else:
        runner = DeviceNetwork(network or checkpoint_network(checkpoint), chosen, size, list(notes), precision)
        finished = _on_device(work, runner)
        if not exact:
            finished = replace(finished, engine=f"{finished.engine}, {precision}")
    seconds = time.perf_counter() - started
    count = work.last - work.first
    _log.info("%d slices in %.1f s on %s, %s", count, seconds, finished.device, finished.engine)
    notes = (*notes, *finished.notes) if exact and network is None and chosen.type == "cpu" else finished.notes
    return Prediction(
        work.probability, finished.device, seconds, finished.batch_size, notes, finished.engine, finished.n_windowed
    )


@dataclass(frozen=True)
class _Finished:
    device: str
    engine: str
    batch_size: int
    notes: tuple[str, ...]
    n_windowed: int = 0


def threads_per_slice(n_stretches: int = _MOST_WORKERS) -> int:
    """How many of torch's threads work on one stretch of slices on the CPU."""
    return max(1, torch.get_num_threads() // _workers(n_stretches))


def _workers(n_stretches: int) -> int:
    return max(1, min(torch.get_num_threads(), _MOST_WORKERS, n_stretches))


def _on_cpu(work: _Work, checkpoint: Checkpoint, engine_name: str, batch_size: int, track_cord: bool) -> _Finished:
    """Slices side by side, each in a thread of its own: no thread waits for another inside a layer."""
    stretches = work.stretches(work.first, batch_size)
    threads, workers = torch.get_num_threads(), _workers(len(stretches))
    engine = ready_engine(checkpoint, engine_name, threads_per_slice(len(stretches)))
    notes = list(engine.notes)
    tracked = TrackedSlices(work, engine, workers, threads)
    done = 0
    try:
        if track_cord and engine.window_logits is not None:
            for done in tracked.run():
                work.tell(done)
            return _Finished("cpu", engine.name, 1, tuple(notes), tracked.n_windowed)
        for stretch in in_order(stretches, partial(_compute, work, engine), workers, threads, work.check):
            done = stretch[1] - work.first
            work.tell(done)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        notes.append("memory ran short: one slice at a time from there on")
        batch_size = 1
        _one_by_one(work, engine, 0 if track_cord else done)
    return _Finished("cpu", engine.name, batch_size, tuple(notes))


def _compute(work: _Work, engine: Engine, stretch: Stretch) -> None:
    with torch.inference_mode():
        inputs, placement = work.inputs(stretch, torch.device("cpu"))
        work.put(stretch, work.calibrated(engine.logits(inputs)), placement)


def _one_by_one(work: _Work, engine: Engine, done: int) -> None:
    """Raises DeviceError when there is no memory for that either."""
    for stretch in work.stretches(work.first + done, 1):
        work.check()
        try:
            _compute(work, engine, stretch)
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise out_of_memory() from error
            raise
        work.tell(stretch[1] - work.first)


def _on_device(work: _Work, runner: DeviceNetwork) -> _Finished:
    """One batch after the other: preparing, network and restoring all on the device."""
    done = work.first
    while done < work.last:
        work.check()
        stretch = (done, min(done + runner.batch_size, work.last))

        def compute(on: DeviceNetwork, stretch: Stretch = stretch) -> None:
            inputs, placement = work.inputs(stretch, on.device, on.on_device)
            work.put(stretch, work.calibrated(on.logits(inputs)), placement)

        if runner.attempt(compute):
            done = stretch[1]
            work.tell(done - work.first)
    name = f"torch {torch.__version__}"
    return _Finished(device_name(runner.device), name, runner.batch_size, tuple(runner.notes))


class _Work:
    """The slices of a volume, ``first`` to ``last``, and where their probabilities go."""

    def __init__(
        self,
        volume: Volume,
        checkpoint: Checkpoint,
        slice_range: tuple[int, int],
        progress: Callable[[int, int], None] | None,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        self.first, self.last = slice_range
        self._volume, self._checkpoint = volume, checkpoint
        self._progress, self._cancelled = progress, cancelled
        self._done = 0
        self._slices = axial_slices(volume)
        self.pixel_mm, self.slice_mm = self._slices.pixel_mm, self._slices.slice_mm
        # Written through its own axial view, so that no second array of the volume's size is ever needed.
        self.probability = axial_zeros(volume, np.float32)
        self._target = axial_slices(self.probability).pixels

    def stretches(self, first: int, batch_size: int) -> list[Stretch]:
        return [(start, min(start + batch_size, self.last)) for start in range(first, self.last, batch_size)]

    def check(self) -> None:
        if self._cancelled is not None and self._cancelled():
            total = self.last - self.first
            raise Cancelled(f"cancelled after {self._done} of {total} slices; nothing was kept")

    def tell(self, done: int) -> None:
        """So many slices are finished."""
        self._done = done
        if self._progress is not None:
            self._progress(done, self.last - self.first)

    def inputs(
        self, stretch: Stretch, device: torch.device, move: Callable[[Tensor], Tensor] | None = None
    ) -> tuple[Tensor, Placement]:
        """Network input of these slices."""
        batch = self._slices.pixels[slice(*stretch)]
        parts = []
        for chunk in _chunks(batch.shape):
            values = np.array(batch[chunk], dtype=np.float32, order="C")
            finite = np.isfinite(values).all(axis=(1, 2))
            if not finite.all():
                bad = input_slice_index(self._volume, stretch[0] + chunk.start + int(np.argmin(finite)))
                raise VoxelError(f"slice {bad} holds NaN or infinite values: repair the image first")
            pixels = torch.from_numpy(values)
            pixels = pixels if move is None else move(pixels)
            part, placement = normalise(pixels, self._slices.pixel_mm, self._checkpoint.normalisation)
            parts.append(part)
        return torch.cat(parts), placement

    def calibrated(self, logits: Tensor) -> Tensor:
        calibration = self._checkpoint.calibration
        return logits * calibration.scale + calibration.bias

    def put(self, stretch: Stretch, calibrated: Tensor, placement: Placement) -> None:
        """Restore and keep the probabilities of these slices."""
        target = self._target[slice(*stretch)]
        for chunk in _chunks(target.shape):
            target[chunk] = torch.sigmoid(restore(calibrated[chunk], placement)).cpu().numpy()


def _checked_range(slice_range: tuple[int, int] | None, volume: Volume) -> tuple[int, int]:
    n_slices = axial_slices(volume).pixels.shape[0]
    if slice_range is None:
        return 0, n_slices
    first, last = slice_range
    if not 0 <= first < last <= n_slices:
        raise ConfigurationError(
            f"the slice range {first}:{last} does not fit a volume of {n_slices} axial slices: give two numbers with"
            f" 0 <= first < last <= {n_slices}"
        )
    return first, last


def _checked_batch(batch_size: int | None) -> int | None:
    if batch_size is not None and batch_size < 1:
        raise ConfigurationError(f"the batch size is {batch_size}, expected at least 1")
    return batch_size


def _chunks(shape: tuple[int, ...]) -> list[slice]:
    """Cut (n, rows, columns) into runs of slices of bounded size."""
    per_chunk = max(1, _CHUNK_PIXELS // (shape[1] * shape[2]))
    return [slice(start, min(start + per_chunk, shape[0])) for start in range(0, shape[0], per_chunk)]
