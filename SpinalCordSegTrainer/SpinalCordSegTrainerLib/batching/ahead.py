"""Batches made by threads while the network computes."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from SpinalCordSegTrainerLib.batching.batches import Batch

_BESIDE_A_GPU = 4


def batch_threads(device: torch.device) -> int:
    """How many threads to make batches with. On the CPU one, where the network computes on one core and another is
    left over; none where it computes on several, since a second pool of threads would take the network's own time."""
    if device.type != "cpu":
        return _BESIDE_A_GPU
    return 1 if torch.get_num_threads() == 1 and (os.cpu_count() or 1) > 1 else 0


class Ahead:
    """``batch(update)`` gives what ``make(update)`` gives, made ahead of time by ``threads``; 0 makes it when asked.

    A batch depends on its update alone, so the result is the same for any number of threads.
    """

    def __init__(self, make: Callable[[int], Batch], threads: int) -> None:
        self._make = make
        self._depth = 2 * threads
        self._pool = ThreadPoolExecutor(threads, "batches") if threads else None
        self._pending: dict[int, Future[Batch]] = {}

    def batch(self, update: int) -> Batch:
        """The batch of this update; the next ones are begun."""
        if self._pool is None:
            return self._make(update)
        for number in range(update, update + self._depth):
            if number not in self._pending:
                self._pending[number] = self._pool.submit(self._make, number)
        return self._pending.pop(update).result()

    def close(self) -> None:
        """What was begun in vain is dropped."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pending.clear()
