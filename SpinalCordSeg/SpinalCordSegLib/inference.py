"""From a volume and a model to the probability of cord in every voxel of the volume's own grid.

``predict`` is the way in. On a CPU several slices are computed side by side, most of them in the region of interest
around the cord alone; on a GPU one batch after the other.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from SpinalCordSegLib.errors import Cancelled, ConfigurationError, DeviceError, VoxelError
from SpinalCordSegLib.model.checkpoint import Checkpoint, checkpoint_network
from SpinalCordSegLib.model.cpu_engine import HALO, Engine, Window, check_engine
from SpinalCordSegLib.model.preprocessing import LOGIT_LIMIT, Placement, normalise, restore
from SpinalCordSegLib.model.ready_model import ready_engine
from SpinalCordSegLib.postprocessing import LEAST_PATH_THRESHOLD
from SpinalCordSegLib.volume import Volume

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("float32", "bfloat16", "float16")
_CPU_BATCH = 2  # more slices at a time are no faster there, and take memory
_GPU_BATCH = 16  # some 650 small kernels a forward: fewer slices leave a GPU waiting for launches
_MOST_WORKERS = 8  # each holds one slice in all its layers: some 100 MB
_CHUNK_PIXELS = 1 << 21  # full-size slices held in float32 at a time: 8 MB, or one slice where that is larger

_log = logging.getLogger(__name__)

Run = tuple[int, int]
"""Neighbouring slices, half-open, counted from inferior."""


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
    region of interest.
    ``track_cord``: compute a slice every 5 mm whole, and between two that show the cord and nothing else only the part
    where it must be (the region of interest); on the CPU only.
    ``slice_range``: half-open, counted from inferior (canonical slices); the rest stays 0. ``network``: takes the
    place of the checkpoint's own weights (a network in training); it is moved to the device, set to evaluation, and
    run as it is, one batch after the other. ``progress(done, total)`` is called at 0 and after every batch,
    ``cancelled()`` before every batch. When GPU memory runs out the batch is halved, then the CPU takes over; when the
    CPU's runs out, one slice at a time; the notes say so.
    Raises Cancelled, ConfigurationError (range, batch size, engine, precision), DeviceError, MissingPackageError
    (engine asked for), VoxelError (NaN or infinite).
    """
    started = time.perf_counter()
    chosen, device_notes = choose_device(device)
    check_engine(engine)
    exact = half_type(precision) is None
    if batch_size is not None and batch_size < 1:
        raise ConfigurationError(f"the batch size is {batch_size}, expected at least 1")
    work = _Work(volume, checkpoint, slice_range, progress, cancelled)
    work.report(0)
    if exact and network is None and chosen.type == "cpu":
        found = _on_cpu(work, checkpoint, engine, batch_size or 1, track_cord)
    else:
        runner = DeviceNetwork(network or checkpoint_network(checkpoint), chosen, batch_size, precision)
        found = _on_device(work, runner)
    seconds = time.perf_counter() - started
    _log.info("%d slices in %.1f s on %s, %s", work.count, seconds, found.device, found.engine)
    return replace(found, seconds=seconds, notes=(*device_notes, *found.notes))


class _Work:
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

    def runs(self, first: int, batch_size: int) -> list[Run]:
        return [(start, min(start + batch_size, self.last)) for start in range(first, self.last, batch_size)]

    def check(self) -> None:
        if self._cancelled is not None and self._cancelled():
            raise Cancelled(f"cancelled after {self._done} of {self.count} slices; nothing was kept")

    def report(self, done: int) -> None:
        """So many slices are finished."""
        self._done = done
        if self._progress is not None:
            self._progress(done, self.count)

    def inputs(
        self, run: Run, device: torch.device, move: Callable[[Tensor], Tensor] | None = None
    ) -> tuple[Tensor, Placement]:
        """Network input of these slices."""
        batch = self._volume.voxels[slice(*run)]
        parts = []
        for chunk in _chunks(batch.shape):
            values = np.array(batch[chunk], dtype=np.float32, order="C")
            finite = np.isfinite(values).all(axis=(1, 2))
            if not finite.all():
                bad = self._volume.to_input_slice(run[0] + chunk.start + int(np.argmin(finite)))
                raise VoxelError(f"slice {bad} holds NaN or infinite values: repair the image first")
            pixels = torch.from_numpy(values)
            pixels = pixels if move is None else move(pixels)
            part, placement = normalise(pixels, self.pixel_mm, self._checkpoint.normalisation)
            parts.append(part)
        return torch.cat(parts), placement

    def calibrated(self, logits: Tensor) -> Tensor:
        calibration = self._checkpoint.calibration
        return logits * calibration.scale + calibration.bias

    def put(self, run: Run, calibrated: Tensor, placement: Placement) -> None:
        """Restore and keep the probabilities of these slices."""
        target = self.probability.voxels[slice(*run)]
        for chunk in _chunks(target.shape):
            target[chunk] = torch.sigmoid(restore(calibrated[chunk], placement)).cpu().numpy()


def _chunks(shape: tuple[int, ...]) -> list[slice]:
    """Cut (n, rows, columns) into runs of slices of bounded size."""
    per_chunk = max(1, _CHUNK_PIXELS // (shape[1] * shape[2]))
    return [slice(start, min(start + per_chunk, shape[0])) for start in range(0, shape[0], per_chunk)]


# On the CPU: slices side by side, each in a thread of its own, so that no thread waits for another inside a layer.


def threads_per_slice(n_runs: int = _MOST_WORKERS) -> int:
    """How many of torch's threads work on one run of slices on the CPU."""
    return max(1, torch.get_num_threads() // _workers(n_runs))


def _workers(n_runs: int) -> int:
    return max(1, min(torch.get_num_threads(), _MOST_WORKERS, n_runs))


def _on_cpu(work: _Work, checkpoint: Checkpoint, engine_name: str, batch_size: int, track_cord: bool) -> Prediction:
    runs = work.runs(work.first, batch_size)
    engine = ready_engine(checkpoint, engine_name, threads_per_slice(len(runs)))
    side_by_side = partial(in_order, workers=_workers(len(runs)), threads=torch.get_num_threads(), check=work.check)
    notes = list(engine.notes)
    windowed: list[int] = []  # appended to by several threads
    track_cord = track_cord and engine.window_logits is not None
    done = 0
    try:
        if track_cord:
            batch_size = 1
            for done in _by_region_of_interest(work, engine, side_by_side, windowed):
                work.report(done)
        else:
            for run in side_by_side(runs, partial(_compute, work, engine)):
                done = run[1] - work.first
                work.report(done)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        notes.append("memory ran short: one slice at a time from there on")
        batch_size = 1
        windowed = []
        _one_by_one(work, engine, 0 if track_cord else done)
    return Prediction(work.probability, "cpu", 0.0, batch_size, tuple(notes), engine.name, len(windowed))


def _compute(work: _Work, engine: Engine, run: Run) -> tuple[Tensor, Placement]:
    """Put the probabilities of these slices where they belong; gives the calibrated logits, too."""
    with torch.inference_mode():
        inputs, placement = work.inputs(run, torch.device("cpu"))
        logits = work.calibrated(engine.logits(inputs))
        work.put(run, logits, placement)
        return logits, placement


def _one_by_one(work: _Work, engine: Engine, done: int) -> None:
    """Raises DeviceError when there is no memory for that either."""
    for run in work.runs(work.first + done, 1):
        work.check()
        try:
            _compute(work, engine, run)
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise out_of_memory() from error
            raise
        work.report(run[1] - work.first)


def in_order(
    runs: Sequence[Run],
    compute: Callable[[Run], object],
    workers: int,
    threads: int,
    check: Callable[[], None],
) -> Iterator[Run]:
    """Yield each run once it and all before it are computed; ``check`` runs before each is begun, and may raise.

    ``threads`` of torch are shared out evenly among the ``workers``. What ``compute`` raises is raised here, after the
    runs already begun have ended; none is begun after that.
    """
    former = torch.get_num_threads()
    each = max(1, threads // workers)
    pool = ThreadPoolExecutor(workers, "slices", torch.set_num_threads, (each,))
    begun: deque[tuple[Run, Future[object]]] = deque()
    try:
        for run in runs:
            if len(begun) == workers + 1:  # one in waiting, so that no worker idles
                yield _ended(begun)
            check()
            begun.append((run, pool.submit(compute, run)))
        while begun:
            yield _ended(begun)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(former)  # threads that start later would take over the workers' number


def _ended(begun: deque[tuple[Run, Future[object]]]) -> Run:
    run, future = begun.popleft()
    future.result()
    return run


# The region of interest: a slice every 5 mm is computed whole, and between two that show the cord and nothing else the
# window where it must be; the whole slice after all where that leaves a doubt.
#
# A window's logits are those of the whole slice (see ``FoldedRAUNet.forward``), so the cord's mask cannot change; what
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


def _by_region_of_interest(
    work: _Work, engine: Engine, side_by_side: Callable[..., Iterator[Run]], windowed: list[int]
) -> Iterator[int]:
    """Compute all slices; yields the number of those finished, and adds to ``windowed`` those computed in a window.
    Raises what computing and checking raise."""
    boxes: dict[int, Window | None] = {}
    shapes: list[tuple[int, int]] = []
    windows: dict[int, Window | None] = {}
    slice_window_logits = engine.window_logits
    assert slice_window_logits is not None

    def pixel_mm2(placement: Placement) -> float:
        return placement.rows.step * work.pixel_mm[0] * placement.columns.step * work.pixel_mm[1]

    def compute_whole(run: Run) -> None:
        logits, placement = _compute(work, engine, run)
        shapes.append((int(logits.shape[2]), int(logits.shape[3])))
        boxes[run[0]] = only_region(logits[0, 0].numpy(), pixel_mm2(placement))

    def compute_between(run: Run) -> None:
        window = windows[run[0]]
        if window is None:
            _compute(work, engine, run)
            return
        with torch.inference_mode():
            inputs, placement = work.inputs(run, torch.device("cpu"))
            shape = int(inputs.shape[2]), int(inputs.shape[3])
            found = work.calibrated(slice_window_logits(inputs, window))
            top, bottom, left, right = part = exact_part(window, shape)
            inner = found[..., top - window[0] : bottom - window[0], left - window[2] : right - window[2]]
            if is_settled(inner[0, 0].numpy(), part, shape, pixel_mm2(placement)):
                logits = torch.full_like(inputs, -LOGIT_LIMIT)
                logits[..., top:bottom, left:right] = inner
                windowed.append(run[0])
            else:
                logits = work.calibrated(engine.logits(inputs))
            work.put(run, logits, placement)

    whole = whole_slices(work.first, work.last, work.slice_mm)
    count = 0
    for _ in side_by_side([(k, k + 1) for k in whole], compute_whole):
        count += 1
        yield count
    for below, above in pairwise(whole):
        window = window_between(boxes[below], boxes[above], shapes[0])
        windows.update(dict.fromkeys(range(below + 1, above), window))
    for _ in side_by_side([(k, k + 1) for k in sorted(windows)], compute_between):
        count += 1
        yield count


# On a GPU (or in half precision): a network on a device, with the retreat when memory runs out: half the batch, at last
# the CPU.


def half_type(precision: str) -> torch.dtype | None:
    """None for float32. Raises ConfigurationError unless ``precision`` is one of PRECISIONS."""
    if precision not in PRECISIONS:
        raise ConfigurationError(f"unknown precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
    return None if precision == "float32" else getattr(torch, precision)


def _on_device(work: _Work, runner: DeviceNetwork) -> Prediction:
    """One batch after the other: preparing, network and restoring all on the device."""
    done = work.first
    while done < work.last:
        work.check()
        run = (done, min(done + runner.batch_size, work.last))

        def compute(on: DeviceNetwork, run: Run = run) -> None:
            inputs, placement = work.inputs(run, on.device, on.on_device)
            work.put(run, work.calibrated(on.logits(inputs)), placement)

        if runner.attempt(compute):
            done = run[1]
            work.report(done - work.first)
    name = f"torch {torch.__version__}" + ("" if runner.precision == "float32" else f", {runner.precision}")
    place = device_name(runner.device)
    return Prediction(work.probability, place, 0.0, runner.batch_size, tuple(runner.notes), name)


class DeviceNetwork:
    """``batch_size``: slices at a time from here on. ``notes``: for the user (smaller batches, GPU left)."""

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        batch_size: int | None,
        precision: str = "float32",
    ) -> None:
        """``precision``: one of PRECISIONS. Raises ConfigurationError for any other."""
        self._half = half_type(precision)
        self.network = network.eval()
        self.device = device
        self.precision = precision
        self.notes: list[str] = []
        self.batch_size = batch_size or (_CPU_BATCH if device.type == "cpu" else _GPU_BATCH)
        if not self._move_to(device):
            self._take_the_cpu()

    def attempt(self, work: Callable[[DeviceNetwork], None]) -> bool:
        """Do ``work``; False when memory ran out, then it has to be done anew, with ``batch_size`` as it is now.

        Raises DeviceError when memory ran out for good, or a GPU failed otherwise.
        """
        if self._done(work):
            return True
        # Out of the handler: the error's frames would hold the memory.
        self._retreat()
        return False

    def logits(self, inputs: Tensor) -> Tensor:
        """(n, 1, R, C) on the device for inputs of that shape there."""
        if self.device.type == "cpu":
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        if self._half is None:
            return self.network(inputs).float()
        with torch.autocast(self.device.type, self._half):
            return self.network(inputs).float()

    def on_device(self, values: Tensor) -> Tensor:
        return values.to(self.device)

    def _done(self, work: Callable[[DeviceNetwork], None]) -> bool:
        # cuDNN rounds convolutions to TF32 unless told not to: the mask would depend on the card.
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
        products = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = False
        try:
            with torch.inference_mode(), exact:
                work(self)
        except RuntimeError as error:
            self._raise_unless_out_of_memory(error)
            return False
        finally:
            torch.backends.cuda.matmul.allow_tf32 = products
        return True

    def _move_to(self, device: torch.device) -> bool:
        """False when memory ran out."""
        self.device = device
        try:
            self.network.to(device)
        except RuntimeError as error:
            self._raise_unless_out_of_memory(error)
            return False
        if device.type == "cpu":
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return True

    def _retreat(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if self.batch_size > 1:
            self.batch_size //= 2
            self._note(f"memory of {device_name(self.device)} ran out: {self.batch_size} slices at a time from here on")
        else:
            self._take_the_cpu()

    def _take_the_cpu(self) -> None:
        if self.device.type == "cpu" or not self._move_to(torch.device("cpu")):
            raise out_of_memory()
        self.batch_size = _CPU_BATCH
        self._note("GPU memory ran out with one slice at a time: the CPU took over")

    def _raise_unless_out_of_memory(self, error: RuntimeError) -> None:
        if is_out_of_memory(error):
            return
        if self.device.type == "cpu":
            raise error  # not the machine's fault
        first_line = str(error).partition("\n")[0]
        raise DeviceError(f"the device {self.device.type} failed ({first_line}): use the device cpu") from error

    def _note(self, text: str) -> None:
        _log.warning(text)
        self.notes.append(text)


def out_of_memory() -> DeviceError:
    return DeviceError("memory ran out with one slice at a time: close other programs, or use a smaller model")


def is_out_of_memory(error: Exception) -> bool:
    """torch has a class for CUDA only; MPS, the CPU's allocator, cuBLAS and ONNX Runtime say it in words."""
    text = str(error).lower()
    words = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed", "failed to allocate memory")
    return isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)) or any(word in text for word in words)


# Which device computes: chosen once, tried before it is trusted, and named in the result.


def choose_device(name: str = "auto") -> tuple[torch.device, tuple[str, ...]]:
    """The device to compute on, and notes for the user (why "auto" left a GPU aside; usually none).

    "auto": CUDA, else Apple's MPS, else the CPU, and the CPU too where the GPU fails a small trial.
    Raises DeviceError for an unknown name, or when the named device is missing or fails the trial.
    """
    if name not in DEVICES:
        raise DeviceError(f"unknown device {name!r}: choose one of {', '.join(DEVICES)}")
    if name == "cpu":
        return torch.device("cpu"), ()
    if name != "auto":
        if not _present(name):
            raise DeviceError(
                f"the device {name} was asked for but torch {torch.__version__} finds none: use the device cpu or auto"
            )
        failure = _trial_failure(name)
        if failure:
            raise DeviceError(f"the device {name} fails a small computation ({failure}): use the device cpu")
        return torch.device(name), ()
    notes: list[str] = []
    for candidate in ("cuda", "mps"):
        if _present(candidate):
            failure = _trial_failure(candidate)
            if not failure:
                return torch.device(candidate), tuple(notes)
            notes.append(f"the GPU ({candidate}) was left aside because it fails a small computation: {failure}")
            _log.warning(notes[-1])
    return torch.device("cpu"), tuple(notes)


def device_name(device: torch.device) -> str:
    """For reports: "cpu", "mps", or "cuda (name of the card)"."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return device.type


def _present(name: str) -> bool:
    return torch.cuda.is_available() if name == "cuda" else torch.backends.mps.is_available()


def _trial_failure(name: str) -> str:
    """The first line of what went wrong in a small convolution, empty when it worked.

    A torch built without kernels for a new card reports it as present, and fails only when it computes.
    """
    try:
        image = torch.ones(1, 1, 8, 8, device=name)
        kernel = torch.ones(1, 1, 3, 3, device=name)
        total = float(torch.nn.functional.conv2d(image, kernel).sum())
    except RuntimeError as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return "" if total == 324.0 else f"a sum of 324 came out as {total:g}"
