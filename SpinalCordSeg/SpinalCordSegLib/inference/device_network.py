"""A network on a device, with the retreat when memory runs out: half the batch, at last the CPU."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

from SpinalCordSegLib.errors import ConfigurationError, DeviceError
from SpinalCordSegLib.inference.device import device_name

PRECISIONS = ("float32", "bfloat16", "float16")
_CPU_BATCH = 2  # more slices at a time are no faster there, and take memory
_GPU_BATCH = 16  # some 650 small kernels a forward: fewer slices leave a GPU waiting for launches

_log = logging.getLogger(__name__)


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
