"""Training on several devices or machines at once, started by ``torchrun``: one process (rank) per device.

All ranks see the same batch and compute a part of it. What the loss and BatchNorm sum over a batch is summed over all
ranks by a differentiable all-reduce, and gradients are averaged at the end: the result is that of one big batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist


class _Sum(torch.autograd.Function):
    """Sum over all ranks. Backward: every rank's loss depends on this rank's value, so their gradients add up."""

    @staticmethod
    def forward(_context: Any, value: Tensor) -> Tensor:
        total = value.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


@dataclass(frozen=True)
class Ranks:
    """Who this process is among the ``count`` that train together. The default trains alone; then nothing is sent."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this process writes the files and talks."""
        return self.rank == 0

    def summed(self, value: Tensor) -> Tensor:
        """Sum over all ranks, to be differentiated through: see _Sum."""
        total: Tensor = value if self.count == 1 else _Sum.apply(value)
        return total

    def add_up(self, value: Tensor) -> Tensor:
        """Sum over all ranks of a tensor on any device, without gradient; exact for integers."""
        if self.count == 1:
            return value
        total = value.detach().to(self.device, copy=True)
        dist.all_reduce(total)
        return total.to(value.device)

    def from_first(self, values: Sequence[float]) -> list[float]:
        """What the first rank says, on every rank: clocks differ."""
        if self.count == 1:
            return list(values)
        told = torch.tensor(values if self.first else [0.0] * len(values), dtype=torch.float64)
        return [float(value) for value in self.add_up(told)]

    def any(self, flag: bool) -> bool:
        """Whether it holds on any rank."""
        return bool(self.add_up(torch.tensor(int(flag))))

    def part(self, count: int) -> slice:
        """This rank's share of ``count`` things, as equal as can be."""
        return slice(count * self.rank // self.count, count * (self.rank + 1) // self.count)

    def average_gradients(self, network: nn.Module) -> None:
        """After backward: every rank gets the mean of all ranks' gradients, in one message."""
        if self.count == 1:
            return
        gradients = [one.grad for one in network.parameters() if one.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.count
        for gradient, values in zip(gradients, flat.split([one.numel() for one in gradients]), strict=True):
            gradient.copy_(values.view(gradient.shape))

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.count > 1:
            self.any(False)


ALONE = Ranks()


@contextmanager
def join_ranks(device: torch.device) -> Iterator[Ranks]:
    """Join the processes that torchrun started (its environment variables tell); without it, train alone.

    ``device``: "cuda" becomes this process's own card. NCCL between cards, gloo between CPUs.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Ranks(device=device)
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(int(os.environ["RANK"]), count, device)
    finally:
        dist.destroy_process_group()
