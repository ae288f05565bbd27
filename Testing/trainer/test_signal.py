"""The signal equations against values worked out by hand, and what the protocols promise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from Recipes.simulation.anatomy import N_TISSUES, PROPERTIES, Tissue, draw_tissues
from Recipes.simulation.scanner import Sequence, draw_sequence, draw_signals, random_signals, tissue_signals

PAPER = Sequence("spoiled", tr_ms=7.0, te_ms=2.0, flip_deg=12.0)


def _plain() -> object:
    return replace(draw_tissues(np.random.default_rng(0)), inflow=np.zeros(N_TISSUES), fat=np.zeros(N_TISSUES))


def test_every_tissue_has_properties() -> None:
    assert set(PROPERTIES) == set(Tissue) and int(Tissue.AIR) == 0


def test_spoiled_gradient_echo_by_hand() -> None:
    tissues = replace(_plain(), t1_ms=np.full(N_TISSUES, 1000.0), t2star_ms=np.full(N_TISSUES, 40.0))
    tissues = replace(tissues, density=np.full(N_TISSUES, 0.8))
    # E1 = exp(-0.007) = 0.993024; sin 12° = 0.207912; cos 12° = 0.978148; E2* = exp(-0.05) = 0.951229
    # 0.207912 · 0.006976 / (1 - 0.993024 · 0.978148) · 0.951229 · 0.8 = 0.0385
    assert tissue_signals(tissues, PAPER)[Tissue.WHITE].real == pytest.approx(0.0385, abs=1e-4)


def test_the_ernst_angle_is_the_brightest() -> None:
    tissues = _plain()
    ernst = np.degrees(np.arccos(np.exp(-7.0 / tissues.t1_ms[Tissue.WHITE])))
    signal = [
        abs(tissue_signals(tissues, replace(PAPER, flip_deg=a))[Tissue.WHITE])
        for a in (ernst * 0.8, ernst, ernst * 1.25)
    ]
    assert signal[1] == max(signal)


def test_fat_and_water_oppose_at_1_1_ms_and_add_at_2_3_ms() -> None:
    tissues = replace(draw_tissues(np.random.default_rng(0)), fat=np.full(N_TISSUES, 0.5))
    opposed = abs(tissue_signals(tissues, replace(PAPER, te_ms=1.136))[Tissue.MARROW])
    together = abs(tissue_signals(tissues, replace(PAPER, te_ms=2.273))[Tissue.MARROW])
    assert opposed < 0.8 * together


def test_a_transfer_pulse_darkens_muscle_more_than_fluid() -> None:
    tissues = _plain()
    ratio = np.abs(tissue_signals(tissues, replace(PAPER, transfer=1.0))) / np.maximum(
        np.abs(tissue_signals(tissues, PAPER)), 1e-9
    )
    assert ratio[Tissue.MUSCLE] < 0.8 and ratio[Tissue.FLUID] == pytest.approx(1.0)


@pytest.mark.parametrize("family", ["paper", "t1w", "inversion"])
def test_t1_weighting_shows_a_bright_cord_in_dark_fluid(family: str) -> None:
    shown = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        signals = np.abs(draw_signals(rng, draw_tissues(rng), family))  # type: ignore[arg-type]
        shown.append(signals[Tissue.WHITE] > 1.15 * signals[Tissue.FLUID])
    assert np.mean(shown) >= 0.9


def test_random_contrast_keeps_cord_and_fluid_apart_either_way() -> None:
    drawn = np.array([np.abs(random_signals(np.random.default_rng(seed))) for seed in range(60)])
    difference = drawn[:, Tissue.FLUID] - drawn[:, Tissue.WHITE]
    assert np.abs(difference).min() >= 0.119
    assert 0.25 < np.mean(difference > 0) < 0.75


def test_the_papers_protocol() -> None:
    for seed in range(10):
        sequence = draw_sequence(np.random.default_rng(seed), "paper")
        assert 5.6 <= sequence.tr_ms <= 8.2 and 1.7 <= sequence.te_ms <= 2.7
