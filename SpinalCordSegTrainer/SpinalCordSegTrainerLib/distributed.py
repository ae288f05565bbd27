"""Training on several devices or machines at once, started by ``torchrun``: one process (rank) per device.

All processes see the same batch and compute a part of it. What the loss and BatchNorm sum over a batch is summed over
all processes by a differentiable all-reduce, and torch's DDP averages the gradients: the result is that of one big
batch. torch's own SyncBatchNorm refuses the CPU.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist  # noqa: TID251  (between the processes of torchrun)
from torch.nn.parallel import DistributedDataParallel

from SpinalCordSegLib.errors import ConfigurationError, DeviceError


@dataclass(frozen=True)
class Processes:
    """Who this process is among the ``count`` that train together. The default trains alone; then nothing is sent."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this process writes the files and talks."""
        return self.rank == 0

    def summed(self, value: Tensor) -> Tensor:
        """Sum over all processes, to be differentiated through: the gradients of all processes add up."""
        total: Tensor = value if self.count == 1 else _Summed.apply(value)  # type: ignore[no-untyped-call]
        return total

    def gathered(self, found: dict[int, Any]) -> dict[int, Any]:
        """What each process found, in every process."""
        parts: list[dict[int, Any]] = [found] * self.count
        if self.count > 1:
            dist.all_gather_object(parts, found)
        return {number: one for part in parts for number, one in part.items()}

    def any(self, flag: bool) -> bool:
        """Whether it holds in any process; each waits for the others."""
        if self.count == 1:
            return flag
        holds = torch.tensor(int(flag), device=self.device)
        dist.all_reduce(holds, dist.ReduceOp.MAX)
        return bool(holds)

    def part(self, count: int) -> slice:
        """This process's share of ``count`` things, as equal as can be."""
        return slice(count * self.rank // self.count, count * (self.rank + 1) // self.count)

    def parallel(self, network: nn.Module) -> nn.Module:
        """The network to train with: gradients are averaged over all processes, BatchNorm's statistics are those of
        the whole batch. Parameters are shared with ``network``; alone it is the network itself."""
        if self.count == 1:
            return network
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.__class__ = SyncedBatchNorm
                module.processes = self  # type: ignore[assignment]
        return DistributedDataParallel(network)


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:  # every process's loss depends on every value
        return _Summed.forward(None, gradients[0].contiguous())


ALONE = Processes()


@contextmanager
def join_processes(device: torch.device) -> Iterator[Processes]:
    """Join the processes that torchrun started (its environment variables say so); without it, train alone.

    ``device``: "cuda" becomes this process's own card. NCCL between cards, gloo between CPUs.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(device=device)
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(int(os.environ["RANK"]), count, device)
    finally:
        dist.destroy_process_group()


class SyncedBatchNorm(nn.BatchNorm2d):
    """As nn.BatchNorm2d, with mean and variance over all processes. Same parameters and names."""

    processes: Processes

    def forward(self, features: Tensor) -> Tensor:
        """(n, channels, H, W) → the same; n may differ between processes."""
        if not self.training:
            return super().forward(features)
        values = features.to(torch.promote_types(features.dtype, torch.float32))
        own = values.new_full((1,), values.numel() / values.shape[1])
        sums = self.processes.summed(torch.cat([values.sum((0, 2, 3)), own]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        # Centred first, in a second message: the mean square minus the squared mean loses digits.
        centred = values - mean[None, :, None, None]
        variance = self.processes.summed(centred.square().sum((0, 2, 3))) / count
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
            share = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean.detach(), share)
            self.running_var.lerp_(variance.detach() * (count / (count - 1)), share)
        scaled = centred * (self.weight * torch.rsqrt(variance + self.eps))[None, :, None, None]
        return (scaled + self.bias[None, :, None, None]).to(features.dtype)


# How a step is computed: 32 bits, or bfloat16 where the device has it; and kernels that give the same bits every time.


# What torch raises when a card stops answering; older versions have no name of its own for it.
_DEVICE_LOST: type[Exception] = getattr(torch, "AcceleratorError", torch.cuda.OutOfMemoryError)


def chosen_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """What the network computes in: None for float32. Weights, loss and statistics stay in float32.

    Raises ConfigurationError for "mixed" where the device has no units for bfloat16: there it would be slower.
    """
    if precision == "float32":
        return None
    if device.type == "cpu":
        able = cpu_has_bfloat16()
    else:
        able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if not able:
        raise ConfigurationError(
            "precision mixed needs a CUDA device with bfloat16 or a CPU with AVX512-BF16 or AMX units; this is"
            f" {device.type} without: use float32"
        )
    return torch.bfloat16


def logits_of(network: nn.Module, images: Tensor, dtype: torch.dtype | None) -> Tensor:
    """The network's logits in float32; ``dtype``: as ``chosen_dtype`` gives it."""
    with torch.autocast(images.device.type, dtype, enabled=dtype is not None):
        logits: Tensor = network(images)
    return logits.float()


def cpu_has_bfloat16() -> bool:
    """True where the CPU multiplies bfloat16 itself; elsewhere torch emulates it, several times slower than float32."""
    probes = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(probe is not None and bool(probe()) for probe in probes)


def use_deterministic_kernels() -> None:
    """From now on only kernels that give the same bits every time; TF32 off."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs for it
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


@contextmanager
def device_failures(batch_size: int) -> Iterator[None]:
    """A card that is too small or stops answering becomes a DeviceError that says what to do."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise DeviceError(
            f"the GPU's memory does not hold a batch of {batch_size}: set precision to mixed, or lower batch_size or"
            " crop.size"
        ) from error
    except _DEVICE_LOST as error:
        raise DeviceError("the GPU failed: what was saved before goes on with --resume") from error
