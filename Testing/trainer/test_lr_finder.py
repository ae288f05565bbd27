"""The two bounds from curves whose answer is known, and a sweep that leaves no trace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from SpinalCordSegLib.model.networks import NetworkConfig
from SpinalCordSegTrainerLib.config import CropConfig, SourceConfig, TrainingConfig, ValidationConfig
from SpinalCordSegTrainerLib.lr_finder import find_bounds, range_test, smooth, sweep_rates, write_range_test
from SpinalCordSegTrainerLib.slice_cache import SliceCache

PLANNED = 1100


def _curve(start: float, lowest: float, noise: float = 1e-4, drop: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Loss 0.97 until the rate ``start``, falling (in log rate) to ``lowest``, then rising to 1."""
    rates = sweep_rates(PLANNED)
    x = np.log10(rates)
    down = np.clip((x - np.log10(start)) / (np.log10(lowest) - np.log10(start)), 0, 1)
    up = np.clip((x - np.log10(lowest)) / 0.5, 0, 1)
    loss = 0.97 - drop * down + (drop + 0.03) * up
    return rates, loss + noise * np.random.default_rng(0).standard_normal(PLANNED)


def test_bounds_of_a_clear_curve() -> None:
    rates, loss = _curve(start=1e-5, lowest=1e-2)
    bounds = find_bounds(rates, loss, PLANNED)
    assert bounds.found
    assert (bounds.base_lr, bounds.max_lr) == (1e-5, 1e-3)


@pytest.mark.parametrize("drop", [0.0, 0.02])
def test_a_flat_or_noisy_curve_falls_back_and_says_so(drop: float) -> None:
    rates, loss = _curve(start=1e-5, lowest=1e-2, noise=0.02, drop=drop)
    bounds = find_bounds(rates, loss, PLANNED)
    assert not bounds.found
    assert (bounds.base_lr, bounds.max_lr) == (1e-5, 1e-3)
    assert "not fall clearly" in bounds.note


def test_smoothing_is_unbiased_and_scales_with_the_sweep() -> None:
    np.testing.assert_allclose(smooth([0.5] * 10, 2090), 0.5)
    # At the paper's length β is 0.98: the second value is (0.98·1 + 0) weighted 0.02 / (1 - 0.98²).
    assert smooth([1.0, 0.0], 2090)[1] == pytest.approx(0.02 * 0.98 / (1 - 0.98**2))
    assert smooth([1.0, 0.0], 209)[1] < smooth([1.0, 0.0], 2090)[1]


def test_a_sweep_and_what_it_leaves(make_cache: Callable[..., SliceCache], tmp_path: Path) -> None:
    cache = make_cache(n=8, size=64)
    config = TrainingConfig(
        network=NetworkConfig("deep_unet", 1),
        sources=(SourceConfig(str(cache.folder)),),
        validation=ValidationConfig(fraction=0.0),
        crop=CropConfig(size=32, jitter_px=4),
        batch_size=2,
    )
    bounds, rows = range_test(config, torch.device("cpu"), updates=30)
    assert len(rows) <= 30 and set(rows[0]) == {"rate", "loss", "smoothed"}
    write_range_test(bounds, rows, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "range_test.csv",
        "range_test.json",
        "range_test.png",
    }
