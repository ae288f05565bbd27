"""Tissue properties and a pulse sequence → complex signal of every tissue.

Spoiled gradient echo (Ernst): S = M0 · sin α · (1 - E1) / (1 - E1 cos α) · E2*, E1 = exp(-TR/T1), E2* = exp(-TE/T2*).
Water and fat add as complex numbers, fat turned by 2π·Δf·TE (Δf 440 Hz at 3 T), so opposed-phase edges come out.
Inversion-prepared gradient echo: |1 - (2 exp(-TI/T1)) / (1 + exp(-TR/T1))| of M0 before a small flip angle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from Recipes.simulation.tissues import N_TISSUES, Tissue, TissueTable

_FAT_SHIFT_HZ = 440.0
Family = Literal["paper", "t1w", "transfer", "inversion", "random"]


@dataclass(frozen=True)
class Sequence:
    """``kind``: "spoiled" or "inversion". Times in ms, flip angle in degrees. ``ti_ms`` only for inversion.
    ``transfer``: strength 0..1 of a magnetisation-transfer pulse. ``fat_left``: share of fat signal left by fat
    suppression, 1 without."""

    kind: Literal["spoiled", "inversion"]
    tr_ms: float
    te_ms: float
    flip_deg: float
    ti_ms: float = 0.0
    transfer: float = 0.0
    fat_left: float = 1.0


def draw_sequence(rng: np.random.Generator, family: Family) -> Sequence:
    """A protocol of a family: the paper's (TR 5.6-8.2, TE 1.7-2.7, 12°), other T1w gradient echoes, those with and
    without magnetisation transfer, or inversion-prepared ones."""
    fat_left = rng.uniform(0.35, 1.0) if rng.random() < 0.85 else rng.uniform(0.02, 0.3)
    if family == "paper":
        return Sequence("spoiled", rng.uniform(5.6, 8.2), rng.uniform(1.7, 2.7), rng.uniform(10, 14), fat_left=fat_left)
    if family == "transfer":
        transfer = rng.uniform(0.6, 1.1) if rng.random() < 0.6 else 0.0
        return Sequence(
            "spoiled", rng.uniform(25, 60), rng.uniform(2.3, 8), rng.uniform(5, 12), 0.0, transfer, fat_left
        )
    if family == "inversion":
        times = rng.uniform(1600, 2400), rng.uniform(2, 4.5), rng.uniform(7, 12), rng.uniform(850, 1150)
        return Sequence("inversion", *times, fat_left=fat_left)
    return Sequence("spoiled", rng.uniform(9, 50), rng.uniform(2.0, 6.0), rng.uniform(12, 30), fat_left=fat_left)


def tissue_signals(tissues: TissueTable, sequence: Sequence) -> NDArray[np.complex64]:
    """(N_TISSUES,) complex signal, air 0, in units of fully relaxed water."""
    water = _longitudinal(tissues.t1_ms, sequence) * (1 - np.clip(tissues.bound * sequence.transfer, 0, 0.9))
    fresh = np.sin(np.radians(sequence.flip_deg))
    water = water * (1 - tissues.inflow) + fresh * tissues.inflow
    water = water * np.exp(-sequence.te_ms / tissues.t2star_ms) * tissues.density * (1 - tissues.fat)
    fat = _longitudinal(np.array([tissues.fat_t1_ms]), sequence) * np.exp(-sequence.te_ms / 35.0)
    fat = fat * tissues.density * tissues.fat * sequence.fat_left
    turn = np.exp(2j * np.pi * _FAT_SHIFT_HZ * sequence.te_ms * 1e-3)
    return (water + fat * turn).astype(np.complex64)


def _longitudinal(t1_ms: NDArray[np.float64], sequence: Sequence) -> NDArray[np.float64]:
    angle = np.radians(sequence.flip_deg)
    if sequence.kind == "inversion":
        relaxed = 1 - 2 * np.exp(-sequence.ti_ms / t1_ms) / (1 + np.exp(-sequence.tr_ms / t1_ms))
        return np.asarray(np.abs(relaxed) * np.sin(angle))
    e1 = np.exp(-sequence.tr_ms / t1_ms)
    return np.asarray(np.sin(angle) * (1 - e1) / (1 - e1 * np.cos(angle)))


def random_signals(rng: np.random.Generator) -> NDArray[np.complex64]:
    """(N_TISSUES,) signals of no known sequence, 0..1, real; fluid differs from the cord by 0.12 at least.

    Bright fluid (as in T2w) comes as often as dark fluid.
    """
    signal = rng.uniform(0.05, 1.0, N_TISSUES)
    signal[[Tissue.AIR, Tissue.TOOTH]] = 0
    signal[[Tissue.CORTICAL, Tissue.LIGAMENT]] *= 0.35
    cord = rng.uniform(0.25, 0.9)
    signal[Tissue.WHITE] = cord
    signal[Tissue.GREY] = cord * np.exp(rng.normal(0, 0.08))
    dark = rng.random() < 0.5
    signal[Tissue.FLUID] = rng.uniform(0.02, cord - 0.12) if dark else rng.uniform(cord + 0.12, cord + 0.6)
    signal[Tissue.BRAIN_WHITE], signal[Tissue.BRAIN_GREY] = cord * rng.uniform(0.8, 1.2, 2)
    signal[Tissue.NERVE] = cord * rng.uniform(0.7, 1.1)
    return signal.astype(np.complex64)


def draw_signals(rng: np.random.Generator, tissues: TissueTable, family: Family) -> NDArray[np.complex64]:
    """Signals for one scan, a tenth of spread on every tissue so that no protocol is a fixed point."""
    if family == "random":
        return random_signals(rng)
    signals = tissue_signals(tissues, draw_sequence(rng, family)) * np.exp(rng.normal(0, 0.1, N_TISSUES))
    if rng.random() < 0.25:  # marrow that cannot be told from cord by its grey value
        signals[Tissue.MARROW] = signals[Tissue.WHITE] * rng.uniform(0.85, 1.35)
    return signals.astype(np.complex64)
