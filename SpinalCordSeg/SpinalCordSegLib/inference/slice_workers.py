"""Stretches of slices worked on side by side by threads, and handed back in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch

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
