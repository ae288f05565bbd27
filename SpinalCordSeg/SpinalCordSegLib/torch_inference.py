"""The network in torch: on a GPU, in half precision, and networks in training. The CPU has an engine without torch.

When memory runs out the batch is halved, and at last the CPU takes over.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

from SpinalCordSegLib.errors import DeviceError
from SpinalCordSegLib.inference import DEVICES, Prediction, Run, Work
from SpinalCordSegLib.model.checkpoint import Checkpoint, checkpoint_network
from SpinalCordSegLib.model.preprocessing import restore

_CPU_BATCH = 2  # more slices at a time are no faster there, and take memory
_GPU_BATCH = 16  # some 650 small kernels a forward: fewer slices leave a GPU waiting for launches

_log = logging.getLogger(__name__)


def predict_with_torch(
    work: Work,
    checkpoint: Checkpoint,
    network: nn.Module | None,
    device: torch.device,
    batch_size: int | None,
    precision: str,
) -> Prediction:
    """One batch after the other: preparing, network and restoring all on the device. See ``inference.predict``."""
    runner = DeviceNetwork(network or checkpoint_network(checkpoint), device, batch_size, precision)
    done = work.first
    while done < work.last:
        work.check()
        run = (done, min(done + runner.batch_size, work.last))

        def compute(run: Run = run) -> None:
            inputs, placement = work.inputs(runner.on_device(torch.from_numpy(work.pixels(run))))
            logits = work.calibrated(runner.logits(inputs))
            work.probability.voxels[slice(*run)] = torch.sigmoid(restore(logits, placement)).cpu().numpy()

        if runner.attempt(compute):
            done = run[1]
            work.report(done - work.first)
    name = f"torch {torch.__version__}" + ("" if precision == "float32" else f", {precision}")
    place = device_name(runner.device)
    return Prediction(work.probability, place, 0.0, runner.batch_size, tuple(runner.notes), name)


class DeviceNetwork:
    """A network on a device. ``batch_size``: slices at a time from here on. ``notes``: for the user (smaller batches,
    GPU left). ``precision``: one of PRECISIONS."""

    def __init__(self, network: nn.Module, device: torch.device, batch_size: int | None, precision: str) -> None:
        self._half: torch.dtype | None = None if precision == "float32" else getattr(torch, precision)
        self.network = network.eval()
        self.device = device
        self.notes: list[str] = []
        self.batch_size = batch_size or (_CPU_BATCH if device.type == "cpu" else _GPU_BATCH)
        if not self._move_to(device):
            self._take_the_cpu()

    def attempt(self, work: Callable[[], None]) -> bool:
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

    def _done(self, work: Callable[[], None]) -> bool:
        # cuDNN rounds convolutions to TF32 unless told not to: the mask would depend on the card.
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
        products = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = False
        try:
            with torch.inference_mode(), exact:
                work()
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
            raise DeviceError("memory ran out with one slice at a time: close other programs, or use a smaller model")
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


def is_out_of_memory(error: Exception) -> bool:
    """torch has a class for CUDA only; MPS, the CPU's allocator and cuBLAS say it in words."""
    text = str(error).lower()
    words = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")
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
