"""The rate of every update, against torch's own cyclical rate."""

from __future__ import annotations

import pytest
import torch

from SpinalCordSegTrainerLib.config import RateConfig
from SpinalCordSegTrainerLib.losses import learning_rate, triangular_rate


def test_triangle_equals_torch() -> None:
    optimiser = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=1.0)
    cyclic = torch.optim.lr_scheduler.CyclicLR(optimiser, 1e-5, 1e-3, step_size_up=7, cycle_momentum=False)
    for update in range(40):
        assert triangular_rate(update, 1e-5, 1e-3, 7) == pytest.approx(cyclic.get_last_lr()[0], rel=1e-9)
        optimiser.step()
        cyclic.step()


def test_triangle_by_eye() -> None:
    rates = [learning_rate(RateConfig(base_lr=1, max_lr=5, half_cycle_epochs=2), n, 2, 0.0) for n in range(9)]
    assert rates == [1, 2, 3, 4, 5, 4, 3, 2, 1]


def test_cosine_with_warm_up() -> None:
    config = RateConfig(plan="cosine", base_lr=0.1, max_lr=1.1, warmup_updates=4)
    assert learning_rate(config, 0, 10, 0.0) == pytest.approx(1.1 / 4)
    assert learning_rate(config, 4, 10, 0.5) == pytest.approx(0.6)
    assert learning_rate(config, 9, 10, 1.0) == pytest.approx(0.1)
    assert learning_rate(config, 9, 10, 1.7) == pytest.approx(0.1)


def test_fixed() -> None:
    assert learning_rate(RateConfig(plan="fixed", max_lr=1e-4), 123, 10, 0.3) == 1e-4
