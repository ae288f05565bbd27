"""Slices side by side: in their order, stoppable, and no failure lost."""

from __future__ import annotations

import threading

import pytest
import torch

from SpinalCordSegLib.errors import Cancelled
from SpinalCordSegLib.inference import in_order

STRETCHES = [(number, number + 1) for number in range(6)]


def nothing() -> None:
    return


def test_they_come_in_order_though_a_later_one_ends_first() -> None:
    second_done = threading.Event()
    threads: set[int] = set()

    def compute(stretch: tuple[int, int]) -> None:
        threads.add(torch.get_num_threads())
        if stretch[0] == 1:
            second_done.set()
        if stretch[0] == 0:
            assert second_done.wait(10)  # would hang with one at a time

    before = torch.get_num_threads()
    assert list(in_order(STRETCHES, compute, 2, 6, nothing)) == STRETCHES
    assert threads == {3} and torch.get_num_threads() == before


def test_a_failure_ends_the_work_and_is_raised() -> None:
    begun: list[int] = []

    def compute(stretch: tuple[int, int]) -> None:
        begun.append(stretch[0])
        if stretch[0] == 2:
            raise ValueError("slice 2")

    with pytest.raises(ValueError, match="slice 2"):
        list(in_order(STRETCHES, compute, 1, 1, nothing))
    assert 5 not in begun


def test_the_check_is_asked_before_each() -> None:
    asked: list[int] = []

    def check() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise Cancelled("enough")

    done: list[int] = []
    with pytest.raises(Cancelled):
        list(in_order(STRETCHES, lambda stretch: done.append(stretch[0]), 1, 1, check))
    assert sorted(done) in ([0], [0, 1])
