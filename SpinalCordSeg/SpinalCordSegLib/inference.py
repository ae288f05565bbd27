"""From a volume and a model to the probability of cord in every voxel of the volume's own grid."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

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
from SpinalCordSegLib.volume import Volume, axial_slices, axial_zeros, input_slice_index

# Which device computes: chosen once, tried before it is trusted, and named in the result.


DEVICES = ("auto", "cpu", "cuda", "mps")


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


# A network on a device, with the retreat when memory runs out: half the batch, at last the CPU.


PRECISIONS = ("float32", "bfloat16", "float16")
_CPU_BATCH = 2  # more slices at a time are no faster there, and take memory
_GPU_BATCH = 16  # some 650 small kernels a forward: fewer slices leave a GPU waiting for launches


def half_type(precision: str) -> torch.dtype | None:
    """None for float32. Raises ConfigurationError unless ``precision`` is one of PRECISIONS."""
    if precision not in PRECISIONS:
        raise ConfigurationError(f"unknown precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
    return None if precision == "float32" else getattr(torch, precision)


class DeviceNetwork:
    """``batch_size``: slices at a time from here on. ``notes``: for the user (smaller batches, GPU left)."""

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        batch_size: int | None,
        notes: list[str],
        precision: str = "float32",
    ) -> None:
        """``precision``: one of PRECISIONS. Raises ConfigurationError for any other."""
        self._half = half_type(precision)
        self.network = network.eval()
        self.device = device
        self.notes = notes
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


# Stretches of slices worked on side by side by threads, and handed back in their order.


Stretch = tuple[int, int]
"""Half-open, in canonical slices."""


def in_order(
    stretches: Sequence[Stretch],
    compute: Callable[[Stretch], None],
    workers: int,
    threads: int,
    check: Callable[[], None],
) -> Iterator[Stretch]:
    """Yield each stretch once it and all before it are computed; ``check`` runs before each is begun, and may raise.

    ``threads`` of torch are shared out evenly among the ``workers``. What ``compute`` raises is raised here, after the
    stretches already begun have ended; none is begun after that.
    """
    former = torch.get_num_threads()
    each = max(1, threads // workers)
    pool = ThreadPoolExecutor(workers, "slices", torch.set_num_threads, (each,))
    begun: deque[tuple[Stretch, Future[None]]] = deque()
    try:
        for stretch in stretches:
            if len(begun) == workers + 1:  # one in waiting, so that no worker idles
                yield _ended(begun)
            check()
            begun.append((stretch, pool.submit(compute, stretch)))
        while begun:
            yield _ended(begun)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(former)  # threads that start later would take over the workers' number


def _ended(begun: deque[tuple[Stretch, Future[None]]]) -> Stretch:
    stretch, future = begun.popleft()
    future.result()
    return stretch


# Where the cord must be in the slices between two that were computed whole: the window that is computed there.
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


@dataclass(frozen=True)
class Box:
    """The bounding box of what is doubtful or cord, half-open."""

    top: int
    bottom: int
    left: int
    right: int


def whole_slices(first: int, last: int, slice_mm: float) -> list[int]:
    """The slices of first..last - 1 to compute whole: one every 5 mm, never two running, and both ends."""
    step = int(np.clip(round(_EVERY_MM / slice_mm), 2, _MOST_APART))
    return sorted({*range(first, last, step), last - 1})


def only_region(logits: NDArray[np.float32], pixel_mm2: float) -> Box | None:
    """The one region of a slice (rows, columns) that may be cord; None where there is none, or more, or it is unlike
    a cord (over 300 mm², or the network was unsure of it): then nothing can be said of the slices beside it."""
    labels, count = ndimage.label(logits >= _DOUBTFUL, structure=np.ones((3, 3), bool))
    if count != 1:
        return None
    inside = logits[logits >= 0]
    if inside.size == 0 or inside.size * pixel_mm2 > _MOST_AREA_MM2:
        return None
    if float((1 / (1 + np.exp(-inside.astype(np.float64)))).mean()) < _LEAST_CONFIDENCE:
        return None
    rows, columns = ndimage.find_objects(labels)[0]
    return Box(rows.start, rows.stop, columns.start, columns.stop)


def window_between(below: Box | None, above: Box | None, shape: tuple[int, int]) -> Window | None:
    """The window for the slices between two with these regions, on a grid of ``shape``; None: compute them whole."""
    if below is None or above is None:
        return None
    reach = _ROOM + HALO
    top, left = min(below.top, above.top) - reach, min(below.left, above.left) - reach
    bottom, right = max(below.bottom, above.bottom) + reach, max(below.right, above.right) + reach
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
        (top == 0 or box.top >= _FREE_EDGE)
        and (bottom == shape[0] or box.bottom <= bottom - top - _FREE_EDGE)
        and (left == 0 or box.left >= _FREE_EDGE)
        and (right == shape[1] or box.right <= right - left - _FREE_EDGE)
    )


def windows(whole: Sequence[int], regions: Sequence[Box | None], shape: tuple[int, int]) -> dict[int, Window | None]:
    """For every slice between those computed whole, its window or None."""
    found: dict[int, Window | None] = {}
    for at in range(len(whole) - 1):
        window = window_between(regions[at], regions[at + 1], shape)
        found.update(dict.fromkeys(range(whole[at] + 1, whole[at + 1]), window))
    return found


# Slices computed with cord tracking: some of them whole, those between where the cord must be, whole after all where
# that leaves a doubt.


class Slices(Protocol):
    """What is needed of the volume in work."""

    first: int
    last: int
    slice_mm: float
    pixel_mm: tuple[float, float]

    def inputs(self, stretch: Stretch, device: torch.device) -> tuple[Tensor, Placement]: ...
    def calibrated(self, logits: Tensor) -> Tensor: ...
    def put(self, stretch: Stretch, calibrated: Tensor, placement: Placement) -> None: ...
    def check(self) -> None: ...


class TrackedSlices:
    """``n_windowed``: slices so far that were computed in a window only."""

    def __init__(self, slices: Slices, engine: Engine, workers: int, threads: int) -> None:
        self._slices, self._engine = slices, engine
        self._workers, self._threads = workers, threads
        self._regions: dict[int, Box | None] = {}
        self._windows: dict[int, Window | None] = {}
        self._shape = (0, 0)
        self._in_window: list[int] = []  # appended to by several threads

    @property
    def n_windowed(self) -> int:
        return len(self._in_window)

    def run(self) -> Iterator[int]:
        """Compute all slices; yields the number of those finished. Raises what computing and checking raise."""
        slices = self._slices
        whole = whole_slices(slices.first, slices.last, slices.slice_mm)
        count = 0
        for _ in self._computed(whole, self._whole):
            count += 1
            yield count
        self._windows = windows(whole, [self._regions[number] for number in whole], self._shape)
        for _ in self._computed(sorted(self._windows), self._between):
            count += 1
            yield count

    def _computed(self, numbers: list[int], compute: Callable[[Stretch], None]) -> Iterator[Stretch]:
        stretches = [(number, number + 1) for number in numbers]
        return in_order(stretches, compute, self._workers, self._threads, self._slices.check)

    def _whole(self, stretch: Stretch) -> None:
        with torch.inference_mode():
            inputs, placement = self._slices.inputs(stretch, torch.device("cpu"))
            logits = self._slices.calibrated(self._engine.logits(inputs))
            self._shape = (int(logits.shape[2]), int(logits.shape[3]))
            self._regions[stretch[0]] = only_region(logits[0, 0].numpy(), self._pixel_mm2(placement))
            self._slices.put(stretch, logits, placement)

    def _between(self, stretch: Stretch) -> None:
        window = self._windows[stretch[0]]
        if window is None or self._engine.window_logits is None:
            self._whole(stretch)
            return
        with torch.inference_mode():
            inputs, placement = self._slices.inputs(stretch, torch.device("cpu"))
            found = self._slices.calibrated(self._engine.window_logits(inputs, window))
            top, bottom, left, right = exact_part(window, self._shape)
            inner = found[..., top - window[0] : bottom - window[0], left - window[2] : right - window[2]]
            pixel_mm2 = self._pixel_mm2(placement)
            if is_settled(inner[0, 0].numpy(), (top, bottom, left, right), self._shape, pixel_mm2):
                logits = torch.full_like(inputs, -LOGIT_LIMIT)
                logits[..., top:bottom, left:right] = inner
                self._in_window.append(stretch[0])
            else:
                logits = self._slices.calibrated(self._engine.logits(inputs))
            self._slices.put(stretch, logits, placement)

    def _pixel_mm2(self, placement: Placement) -> float:
        row_mm, column_mm = self._slices.pixel_mm
        return placement.rows.step * row_mm * placement.columns.step * column_mm


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
