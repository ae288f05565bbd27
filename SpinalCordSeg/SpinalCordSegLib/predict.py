"""From a volume and a model to the probability of cord in every voxel of the volume's own grid."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from SpinalCordSegLib.checkpoint import Calibration, Checkpoint, checkpoint_network
from SpinalCordSegLib.device import choose_device, device_name
from SpinalCordSegLib.errors import Cancelled, ConfigurationError, DeviceError, VoxelError
from SpinalCordSegLib.normalise import NormalisationConfig, Placement, normalise, restore
from SpinalCordSegLib.volume import Volume, axial_slices, input_slice_index

_CPU_BATCH = 2  # more slices at a time are no faster there, and take memory
_GPU_BATCH = 16  # some 650 small kernels a forward: fewer slices leave a GPU waiting for launches
_CHUNK_PIXELS = 1 << 21  # full-size slices held in float32 at a time: 8 MB, or one slice where that is larger

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Prediction:
    """``probability``: float32 0..1 on the input's own grid, exactly 0 where nothing was computed.

    ``device``: the one that really finished the work. ``batch_size``: slices at a time at the end. ``notes``: what
    the user should know (smaller batches, GPU left).
    """

    probability: Volume
    device: str
    seconds: float
    batch_size: int
    notes: tuple[str, ...] = ()


def predict(
    volume: Volume,
    checkpoint: Checkpoint,
    *,
    device: str = "auto",
    batch_size: int | None = None,
    slice_range: tuple[int, int] | None = None,
    network: nn.Module | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Prediction:
    """Probability of cord, slice by slice, for a volume of any orientation.

    ``slice_range``: half-open, counted from inferior (canonical slices); the rest stays 0. ``network``: takes the
    place of the checkpoint's own weights (a network in training); it is moved to the device and set to evaluation.
    ``progress(done, total)`` is called at 0 and after every batch, ``cancelled()`` before every batch.
    When GPU memory runs out the batch is halved, then the CPU takes over; the notes say so.
    Raises Cancelled, ConfigurationError (range or batch size), DeviceError, VoxelError (NaN or infinite).
    """
    started = time.perf_counter()
    chosen, notes = choose_device(device)
    first, last = _checked_range(slice_range, volume)
    runner = _Runner(network or checkpoint_network(checkpoint), chosen, _checked_batch(batch_size), list(notes))
    pixels = axial_slices(volume)
    # Written through its own axial view, so that no second array of the volume's size is ever needed.
    probability = volume.with_voxels(np.zeros(volume.shape, np.float32))
    target = axial_slices(probability).pixels
    done = first
    _report(progress, 0, last - first)
    while done < last:
        if cancelled is not None and cancelled():
            raise Cancelled(f"cancelled after {done - first} of {last - first} slices; nothing was kept")
        stop = min(done + runner.batch_size, last)
        inputs, placement = _network_input(
            volume, pixels.pixels, pixels.pixel_mm, (done, stop), checkpoint.normalisation
        )
        logits = runner.logits(inputs)
        _restore_into(target[done:stop], logits, placement, checkpoint.calibration)
        done = stop
        _report(progress, done - first, last - first)
    seconds = time.perf_counter() - started
    name = device_name(runner.device)
    _log.info("%d slices in %.1f s on %s, %d at a time", last - first, seconds, name, runner.batch_size)
    return Prediction(probability, name, seconds, runner.batch_size, tuple(runner.notes))


def _report(progress: Callable[[int, int], None] | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)


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


def _network_input(
    volume: Volume,
    pixels: NDArray,
    pixel_mm: tuple[float, float],
    stretch: tuple[int, int],
    config: NormalisationConfig,
) -> tuple[Tensor, Placement]:
    batch = pixels[stretch[0] : stretch[1]]
    parts = []
    for chunk in _chunks(batch.shape):
        values = np.array(batch[chunk], dtype=np.float32, order="C")
        finite = np.isfinite(values).all(axis=(1, 2))
        if not finite.all():
            bad = input_slice_index(volume, stretch[0] + chunk.start + int(np.argmin(finite)))
            raise VoxelError(f"slice {bad} holds NaN or infinite values: repair the image first")
        part, placement = normalise(torch.from_numpy(values), pixel_mm, config)
        parts.append(part)
    return torch.cat(parts), placement


def _restore_into(target: NDArray, logits: Tensor, placement: Placement, calibration: Calibration) -> None:
    calibrated = logits * calibration.scale + calibration.bias
    for chunk in _chunks(target.shape):
        target[chunk] = torch.sigmoid(restore(calibrated[chunk], placement)).numpy()


class _Runner:
    """The network on a device, with the retreat when memory runs out: half the batch, at last the CPU."""

    def __init__(self, network: nn.Module, device: torch.device, batch_size: int | None, notes: list[str]) -> None:
        self.network = network.eval()
        self.device = device
        self.notes = notes
        self.batch_size = batch_size or (_CPU_BATCH if device.type == "cpu" else _GPU_BATCH)
        if not self._move_to(device):
            self._take_the_cpu()

    def logits(self, inputs: Tensor) -> Tensor:
        """(n, 1, R, C) on the CPU, for inputs of that shape on the CPU."""
        done: list[Tensor] = []
        start = 0
        while start < len(inputs):
            part = self._forward(inputs[start : start + self.batch_size])
            if part is None:
                self._retreat()
            else:
                done.append(part)
                start += len(part)
        return torch.cat(done)

    def _forward(self, inputs: Tensor) -> Tensor | None:
        """None when memory ran out. The error must be gone before the retreat: its frames hold the memory."""
        # cuDNN rounds convolutions to TF32 unless told not to: the mask would depend on the card.
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
        try:
            with torch.inference_mode(), exact:
                return self.network(self._on_device(inputs)).float().cpu()
        except RuntimeError as error:
            self._raise_unless_out_of_memory(error)
        return None

    def _on_device(self, inputs: Tensor) -> Tensor:
        if self.device.type == "cpu":
            return inputs.contiguous(memory_format=torch.channels_last)
        return inputs.to(self.device)

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
            raise DeviceError("memory ran out with one slice at a time: close other programs, or use a smaller model")
        self.batch_size = _CPU_BATCH
        self._note("GPU memory ran out with one slice at a time: the CPU took over")

    def _raise_unless_out_of_memory(self, error: RuntimeError) -> None:
        if _is_out_of_memory(error):
            return
        if self.device.type == "cpu":
            raise error  # not the machine's fault
        first_line = str(error).partition("\n")[0]
        raise DeviceError(f"the device {self.device.type} failed ({first_line}): use the device cpu") from error

    def _note(self, text: str) -> None:
        _log.warning(text)
        self.notes.append(text)


def _is_out_of_memory(error: RuntimeError) -> bool:
    """torch has a class for CUDA only; MPS, the CPU's allocator and cuBLAS say it in words."""
    text = str(error).lower()
    words = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(word in text for word in words)
