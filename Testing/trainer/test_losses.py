"""The loss against its written formula, the learning rate over a run, and its bounds from curves of known answer."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.model.checkpoint import NetworkConfig
from SpinalCordSegTrainerLib.config import (
    CropConfig,
    LossConfig,
    RateConfig,
    SourceConfig,
    TrainingConfig,
    ValidationConfig,
)
from SpinalCordSegTrainerLib.losses import learning_rate, segmentation_loss, triangular_rate
from SpinalCordSegTrainerLib.lr_finder import (
    Bounds,
    fall,
    find_bounds,
    range_test,
    smooth,
    sweep_rates,
    write_range_test,
)
from SpinalCordSegTrainerLib.slice_cache import SliceCache


def _written_formula(probability: Tensor, target: Tensor, config: LossConfig) -> float:
    tp = float((probability * target).sum())
    fn = float(((1 - probability) * target).sum())
    fp = float((probability * (1 - target)).sum())
    index = (tp + 1) / (tp + config.fn_weight * fn + config.fp_weight * fp + 1)
    return (1 - index) ** (1 / config.gamma) if config.name == "focal_tversky" else 1 - index


@pytest.mark.parametrize("name", ["focal_tversky", "tversky"])
def test_written_formula(name: str) -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(3, 1, 8, 8), (torch.rand(3, 1, 8, 8) > 0.7).float()
    config = LossConfig(name=name)  # type: ignore[arg-type]
    assert float(segmentation_loss(logits, target, config)) == pytest.approx(
        _written_formula(torch.sigmoid(logits), target, config), rel=1e-5
    )


def test_worked_by_hand() -> None:
    # p = 0.5 everywhere, 2 of 4 pixels cord: TP = 1, FN = 1, FP = 1; 1 - 2/(1 + 0.6 + 0.4 + 1) = 1/3.
    target = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    assert float(segmentation_loss(torch.zeros(1, 1, 2, 2), target, LossConfig(name="tversky"))) == pytest.approx(1 / 3)
    focal = float(segmentation_loss(torch.zeros(1, 1, 2, 2), target, LossConfig()))
    assert focal == pytest.approx((1 / 3) ** (1 / 1.33))


@pytest.mark.parametrize("cord", [0.0, 1.0])
@pytest.mark.parametrize("size", [60.0, 200.0])
def test_gradient_of_a_saturated_perfect_and_of_an_empty_batch(cord: float, size: float) -> None:
    target = torch.zeros(2, 1, 8, 8)
    target[:, :, 2:5, 2:5] = cord
    logits = ((target * 2 - 1) * size).requires_grad_()
    loss = segmentation_loss(logits, target, LossConfig(bce_weight=0.5))
    loss.backward()
    assert float(loss.detach()) < 1e-4
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_half_precision_sums_do_not_overflow() -> None:
    logits = torch.zeros(15, 1, 256, 256, dtype=torch.float16)
    assert torch.isfinite(segmentation_loss(logits, torch.ones_like(logits), LossConfig()))


def test_cross_entropy_draws_a_half_filled_pixel_to_one_half() -> None:
    coverage = torch.full((1, 1, 4, 4), 0.5)
    logits = torch.zeros(1, 1, 4, 4, requires_grad=True)
    only_entropy = LossConfig(bce_weight=1.0, fn_weight=0.0, fp_weight=0.0)
    segmentation_loss(logits, coverage, only_entropy).backward()
    assert logits.grad is not None
    assert float(logits.grad.abs().max()) < 1e-6


def test_the_triangle_by_hand() -> None:
    for update, rate in ((0, 1e-5), (7, 1e-3), (14, 1e-5), (21, 1e-3), (3, 1e-5 + 3 / 7 * 9.9e-4)):
        assert triangular_rate(update, 1e-5, 1e-3, 7) == pytest.approx(rate, rel=1e-9)


def test_cosine_with_warm_up() -> None:
    config = RateConfig(plan="cosine", base_lr=0.1, max_lr=1.1, warmup_updates=4)
    assert learning_rate(config, 0, 10, 0.0) == pytest.approx(1.1 / 4)
    assert learning_rate(config, 4, 10, 0.5) == pytest.approx(0.6)
    assert learning_rate(config, 9, 10, 1.0) == pytest.approx(0.1)
    assert learning_rate(config, 9, 10, 1.7) == pytest.approx(0.1)


def _curve(start: float, lowest: float, noise: float = 1e-4, drop: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Loss 0.97 until the rate ``start``, falling (in log rate) to ``lowest``, then rising to 1."""
    rates = sweep_rates(1001)
    x = np.log10(rates)
    down = np.clip((x - np.log10(start)) / (np.log10(lowest) - np.log10(start)), 0, 1)
    up = np.clip((x - np.log10(lowest)) / 0.5, 0, 1)
    loss = 0.97 - drop * down + (drop + 0.03) * up
    return rates, loss + noise * np.random.default_rng(0).standard_normal(len(rates))


def test_bounds_of_a_clear_curve() -> None:
    one = fall(*_curve(start=1e-4, lowest=1e-2))
    assert one == pytest.approx((10**-3.9, 10**-2.5), rel=0.02)  # 5 % and 75 % of two decades
    assert find_bounds([one, one]) == Bounds(1.3e-4, 3.2e-3, True, "")
    assert find_bounds([(1e-3, 0.5), (1e-3, 0.5)]).max_lr == 1e-2  # no more by Adam


def test_two_sweeps_that_differ_are_reported() -> None:
    assert find_bounds([(1e-4, 1e-3), (4e-4, 2e-3)]) == Bounds(2e-4, 1.4e-3, True, "")
    apart = find_bounds([(1e-4, 1e-3), (1e-4, 4e-3)])
    assert not apart.found and apart.max_lr == 2e-3 and "1.0e-03 and 4.0e-03" in apart.note


@pytest.mark.parametrize("drop", [0.0, 0.02])
def test_a_flat_or_noisy_curve_falls_back_and_says_so(drop: float) -> None:
    assert fall(*_curve(start=1e-5, lowest=1e-2, noise=0.02, drop=drop)) is None
    rates, loss = _curve(start=1e-5, lowest=1e-2)
    assert fall(rates, loss[:300]) is None  # the loss was not finite early on
    bounds = find_bounds([(1e-4, 1e-3), None])
    assert not bounds.found and (bounds.base_lr, bounds.max_lr) == (1e-5, 1e-3)


def test_smoothing_is_unbiased_and_moves_nothing() -> None:
    np.testing.assert_allclose(smooth([0.5] * 10, 2090), 0.5)
    step = smooth([1.0] * 100 + [0.0] * 100, 200)
    np.testing.assert_allclose(step + step[::-1], 1.0)
    assert step[99] > 0.5 > step[100]


def test_a_sweep_and_what_it_leaves(make_cache: Callable[..., SliceCache], tmp_path: Path) -> None:
    cache = make_cache(n=8, size=64)
    config = TrainingConfig(
        network=NetworkConfig("deep_unet", 1),
        sources=(SourceConfig(str(cache.folder)),),
        validation=ValidationConfig(fraction=0.0),
        crop=CropConfig(size=32, jitter_px=4),
        batch_size=2,
    )
    bounds, rows = range_test(config, torch.device("cpu"), updates=300)
    assert len(rows) <= 300 and {row["sweep"] for row in rows} == {1, 2}
    with pytest.raises(ConfigurationError, match="at least 300"):
        range_test(config, torch.device("cpu"), updates=299)
    write_range_test(bounds, rows, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "range_test.csv",
        "range_test.json",
        "range_test.png",
    }
