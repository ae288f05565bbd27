"""Ctrl-C during a long run: the first one ends it in order, the second at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stop_on_interrupt() -> Iterator[list[int]]:
    """Gives a list that is empty until Ctrl-C or a request to end comes: the step at hand can finish and be saved.

    A second one raises KeyboardInterrupt at once. Only for the main thread; the handlers of before come back after.
    """
    received: list[int] = []

    def note(number: int, _frame: object) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
