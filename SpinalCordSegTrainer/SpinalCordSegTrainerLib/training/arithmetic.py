"""How a step is computed: 32 bits, or 16 where that is safe; and kernels that give the same bits every time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from SpinalCordSegLib.errors import ConfigurationError, DeviceError

# What torch raises when a card stops answering; older versions have no name of its own for it.
_DEVICE_LOST: type[Exception] = getattr(torch, "AcceleratorError", torch.cuda.OutOfMemoryError)


class Arithmetic:
    """Forward and backward in the chosen precision. Weights, loss and statistics stay in float32.

    ``dtype``: None for float32; bfloat16 needs no scaling of the loss, float16 does.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype | None = None) -> None:
        self._device, self._dtype = device, dtype
        self._scaler = torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)

    @classmethod
    def chosen(cls, precision: str, device: torch.device) -> Arithmetic:
        """Raises ConfigurationError for "mixed" where the device has no 16-bit units: there it would be slower."""
        if precision == "float32":
            return cls(device)
        if device.type == "cpu" and cpu_has_bfloat16():
            return cls(device, torch.bfloat16)
        if device.type != "cuda":
            raise ConfigurationError(
                "precision mixed needs a CUDA device or a CPU with AVX512-BF16 or AMX units; this is"
                f" {device.type}: use float32"
            )
        whole = torch.cuda.is_bf16_supported(including_emulation=False)
        return cls(device, torch.bfloat16 if whole else torch.float16)

    def logits(self, network: nn.Module, images: Tensor) -> Tensor:
        """The network's logits in float32."""
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype is not None):
            logits: Tensor = network(images)
        return logits.float()

    def backward(self, loss: Tensor) -> None:
        """Gradients of the scaled loss; call ``unscale`` before looking at them."""
        self._scaler.scale(loss).backward()

    def unscale(self, optimiser: torch.optim.Optimizer) -> None:
        """Gradients as they are; those that overflowed are not finite, and the next scale is smaller."""
        if self._scaler.is_enabled():
            self._scaler.unscale_(optimiser)
            self._scaler.update()

    def saved(self) -> dict[str, Any]:
        """The scale, as plain numbers."""
        return self._scaler.state_dict()

    def restore(self, saved: dict[str, Any]) -> None:
        """Inverse of ``saved``."""
        if saved and self._scaler.is_enabled():
            self._scaler.load_state_dict(saved)


def cpu_has_bfloat16() -> bool:
    """True where the CPU multiplies bfloat16 itself; elsewhere torch emulates it, several times slower than float32."""
    probes = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(probe is not None and bool(probe()) for probe in probes)


@contextmanager
def deterministic_kernels(wanted: bool) -> Iterator[None]:
    """Only kernels that give the same bits every time, TF32 off; what was set before comes back."""
    if not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs for it
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (torch.are_deterministic_algorithms_enabled(), cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32)
    torch.use_deterministic_algorithms(True)
    cudnn.benchmark = cudnn.allow_tf32 = matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before[1:]


@contextmanager
def device_failures(batch_size: int) -> Iterator[None]:
    """A card that is too small or stops answering is told as DeviceError, with what to do."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise DeviceError(
            f"the GPU's memory does not hold a batch of {batch_size}: set recompute to true (RA-U-Net), or lower"
            " batch_size or crop.size"
        ) from error
    except _DEVICE_LOST as error:
        raise DeviceError("the GPU failed: what was saved before goes on with --resume") from error
