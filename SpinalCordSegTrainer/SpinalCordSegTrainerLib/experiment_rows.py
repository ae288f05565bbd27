"""The rows of the paper's Table 1 (Bueno et al. 2022), its figures beside them, and what is added for comparison."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from SpinalCordSegTrainerLib.config import CropConfig, LossConfig, RateConfig, TrainingConfig


@dataclass(frozen=True)
class PaperScores:
    """What the paper reports on its own 4,260 validation slices, which are private."""

    dice: float
    sd: float
    mcc: float
    p25: float
    p50: float
    p75: float


@dataclass(frozen=True)
class Row:
    """One training. ``rate`` None: the cyclical rate between the bounds that a range test finds for this network."""

    key: str
    network: Literal["ra_unet", "unet", "deep_unet"]
    loss: LossConfig
    rate: RateConfig | None
    paper: PaperScores | None = None


def _loss(name: Literal["focal_tversky", "tversky"], fn_weight: float, gamma: float = 1.33) -> LossConfig:
    return LossConfig(name=name, fn_weight=fn_weight, fp_weight=round(1 - fn_weight, 3), gamma=gamma)


def _fixed(rate: float) -> RateConfig:
    return RateConfig(plan="fixed", base_lr=rate, max_lr=rate)


def _cyclical(base_lr: float, max_lr: float) -> RateConfig:
    return RateConfig(plan="clr", base_lr=base_lr, max_lr=max_lr)


_TL6, _TL7 = _loss("tversky", 0.6), _loss("tversky", 0.7)
_FTL6, _FTL7 = _loss("focal_tversky", 0.6), _loss("focal_tversky", 0.7)
_FTL6_16 = _loss("focal_tversky", 0.6, 1.6)
BEST, FIXED = "9-ra_unet-ftl-clr", "10-ra_unet-ftl-1e-4"
BASELINE = "1-unet-tl"

PAPER_ROWS = (
    Row(BASELINE, "unet", _TL6, _fixed(1e-5), PaperScores(0.66, 0.24, 0.68, 0.57, 0.75, 0.84)),
    Row("2-unet-tl-0.7", "unet", _TL7, _fixed(1e-5), PaperScores(0.68, 0.24, 0.71, 0.61, 0.77, 0.85)),
    Row("3-unet-ftl-0.7", "unet", _FTL7, _fixed(1e-5), PaperScores(0.62, 0.25, 0.64, 0.53, 0.71, 0.81)),
    Row("4-unet-ftl", "unet", _FTL6, _fixed(1e-5), PaperScores(0.68, 0.27, 0.70, 0.62, 0.80, 0.87)),
    Row("5-unet-ftl-1.6", "unet", _FTL6_16, _fixed(1e-5), PaperScores(0.74, 0.23, 0.77, 0.70, 0.82, 0.88)),
    Row("6-ra_unet-ftl", "ra_unet", _FTL6, _fixed(1e-5), PaperScores(0.86, 0.11, 0.89, 0.85, 0.89, 0.92)),
    Row("7-ra_unet-ftl-1.6", "ra_unet", _FTL6_16, _fixed(1e-4), PaperScores(0.80, 0.22, 0.84, 0.82, 0.87, 0.90)),
    Row("8-deep_unet-clr", "deep_unet", _FTL6, _cyclical(1e-4, 1e-2), PaperScores(0.79, 0.25, 0.83, 0.82, 0.89, 0.92)),
    Row(BEST, "ra_unet", _FTL6, _cyclical(1e-5, 1e-3), PaperScores(0.904, 0.101, 0.95, 0.90, 0.92, 0.94)),
)
# The paper's Fig. 10 compares row 9 with a fixed rate; each network with its own rate is the fairer comparison.
ADDED_ROWS = (
    Row(FIXED, "ra_unet", _FTL6, _fixed(1e-4)),
    Row("11-unet-own-rate", "unet", _FTL6, None),
    Row("12-deep_unet-own-rate", "deep_unet", _FTL6, None),
    Row("13-ra_unet-own-rate", "ra_unet", _FTL6, None),
)
ROWS = PAPER_ROWS + ADDED_ROWS


def quick(config: TrainingConfig) -> TrainingConfig:
    """A scaled version for two cores and twenty minutes: a quarter of the width, crops of 64 pixels, few updates.

    Small crops near the cord buy updates: with crops of 128 and half of the updates the first row found nothing.
    """
    return replace(
        config,
        network=replace(config.network, width=2),
        crop=CropConfig(size=64, near_cord=0.8, jitter_px=24),
        batch_size=8,
        epochs=6,
        updates_per_epoch=40,
        patience=None,
        statistics_batches=4,
        validation=replace(config.validation, max_slices=20),
        rate=replace(config.rate, half_cycle_epochs=3.0),
    )


QUICK_SWEEP_UPDATES = 240  # as many as a row is trained for; 60 found no bounds for any network
QUICK_RATE_FACTOR = 10.0  # 240 updates in place of some 31,000: at 1e-5 no network would leave its start


def row_config(row: Row, base: TrainingConfig, rate_factor: float = 1.0) -> TrainingConfig:
    """``base`` with what the row says; data, split, seed and length stay. A rate to be found stays ``base``'s."""
    rate = base.rate
    if row.rate is not None:
        low, high = row.rate.base_lr * rate_factor, row.rate.max_lr * rate_factor
        rate = replace(base.rate, plan=row.rate.plan, base_lr=low, max_lr=high)
    return replace(base, name=row.key, network=replace(base.network, name=row.network), loss=row.loss, rate=rate)
