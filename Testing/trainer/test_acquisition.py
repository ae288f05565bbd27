"""k-space: a still, noiseless scan keeps place, size and brightness; resolution, noise, folding and rims do as said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from Recipes.simulation.scanner import Scan, acquire, draw_coils

FINE_MM = 0.5
PLAIN = Scan(
    (0, 128, 0, 128), (0.5, 0.5), (0.5, 0.5), 0.0, 0.0, 0.0, phase_axis=0, wrap=False, ceiling=1.0, hot_pixels=0,
    zero_border=0.0,
)  # fmt: skip


def _blob(row_mm: float, column_mm: float, sigma_mm: float = 2.0) -> np.ndarray:
    axis = (np.arange(128) + 0.5) * FINE_MM
    return np.exp(
        -(np.square(axis[:, None] - row_mm) + np.square(axis - column_mm)) / (2 * sigma_mm**2)
    ).astype(np.complex64)  # fmt: skip


def _centre_mm(image: np.ndarray, pixel_mm: tuple[float, float]) -> tuple[float, float]:
    rows, columns = ((np.arange(n) + 0.5) * mm for n, mm in zip(image.shape, pixel_mm, strict=True))
    total = image.sum()
    return float((image * rows[:, None]).sum() / total), float((image * columns).sum() / total)


@pytest.mark.parametrize(
    ("acquired", "stored"), [((0.5, 0.5), (0.5, 0.5)), ((1.0, 0.8), (0.8, 0.8)), ((2.0, 1.0), (0.5, 1.0))]
)
def test_place_and_brightness_stay(acquired: tuple[float, float], stored: tuple[float, float]) -> None:
    scan = replace(PLAIN, acquired_mm=acquired, stored_mm=stored)
    image, pixel_mm = acquire(_blob(30.0, 37.0), FINE_MM, scan, np.random.default_rng(0))
    assert pixel_mm == pytest.approx(stored, rel=0.04)
    assert _centre_mm(image, pixel_mm) == pytest.approx((30.0, 37.0), abs=0.03)
    assert image.sum() * pixel_mm[0] * pixel_mm[1] == pytest.approx(2 * np.pi * 4, rel=0.02)


def test_a_cropped_window_keeps_places_within_it() -> None:
    scan = replace(PLAIN, window=(20, 120, 40, 128))
    image, pixel_mm = acquire(_blob(30.0, 40.0), FINE_MM, scan, np.random.default_rng(0))
    assert image.shape == (100, 88)
    assert _centre_mm(image, pixel_mm) == pytest.approx((20.0, 20.0), abs=0.05)


def test_noise_has_the_asked_for_level_in_air_and_tissue() -> None:
    scan = replace(PLAIN, noise=0.1)
    image, _ = acquire(np.ones((128, 128), np.complex64), FINE_MM, scan, np.random.default_rng(0))
    assert image.std() == pytest.approx(0.1, rel=0.05)


def test_water_and_opposed_fat_cancel_in_one_voxel() -> None:
    signal = np.ones((128, 128), np.complex64)
    signal[:, 64:] = -1
    image, _ = acquire(
        signal, FINE_MM, replace(PLAIN, acquired_mm=(0.5, 2.0), stored_mm=(0.5, 1.0)), np.random.default_rng(0)
    )
    assert image[:, 31:33].mean() < 0.5 and image[:, 14:18].mean() == pytest.approx(1.0, abs=0.1)


def test_what_lies_outside_folds_in_along_the_phase_axis() -> None:
    signal = _blob(8.0, 30.0)  # row 16, above a window of rows 32..96
    folded, pixel_mm = acquire(
        signal, FINE_MM, replace(PLAIN, window=(32, 96, 0, 128), wrap=True), np.random.default_rng(0)
    )
    assert _centre_mm(folded, pixel_mm)[0] == pytest.approx(24.0, abs=0.1)  # (8 - 16 + 32) mm
    cut, _ = acquire(signal, FINE_MM, replace(PLAIN, window=(32, 96, 0, 128)), np.random.default_rng(0))
    assert cut.max() < 0.05


def test_saturation_rim_and_hot_pixels() -> None:
    rng = np.random.default_rng(0)
    clipped, _ = acquire(_blob(30, 30), FINE_MM, replace(PLAIN, ceiling=0.95), rng)
    assert (clipped == clipped.max()).mean() == pytest.approx(0.05, abs=0.01)
    rim, _ = acquire(np.ones((128, 128), np.complex64), FINE_MM, replace(PLAIN, zero_border=0.05), rng)
    assert rim[:6].max() == 0 and rim[:, -6:].max() == 0 and rim[6:-6, 6:-6].min() > 0.9
    hot, _ = acquire(np.ones((128, 128), np.complex64), FINE_MM, replace(PLAIN, hot_pixels=2), rng)
    assert 1 <= (hot > 1.0001).sum() <= 2


def test_ghosts_leave_the_mean() -> None:
    still, _ = acquire(_blob(30, 30), FINE_MM, PLAIN, np.random.default_rng(0))
    moved, _ = acquire(_blob(30, 30), FINE_MM, replace(PLAIN, ghost=0.3), np.random.default_rng(0))
    assert np.abs(moved - still).max() > 0.01
    assert np.abs(moved - still).mean() < 0.05


def test_coils_are_positive_and_smooth() -> None:
    axis = np.linspace(-90, 90, 128, dtype=np.float32)
    x, y = np.broadcast_to(axis, (128, 128)), np.broadcast_to(axis[:, None], (128, 128))
    for seed in range(8):
        field = draw_coils(np.random.default_rng(seed)).field(x, y)
        assert field.min() > 0
        assert np.abs(np.diff(field, axis=0)).max() < 0.35 * field.max()
