"""Bands of areas: of discs whose edge, noise and contrast are known."""

from __future__ import annotations

import numpy as np
import pytest

from SpinalCordSegLib.uncertainty import area_band_mm2, mean_band_mm2

RADIUS_MM, PIXEL_MM = 5.0, (0.5, 0.5)


def band(edge_mm: float = 0.3, noise: float = 0.0, contrast: float = 100.0) -> float:
    """Of a disc whose log-odds fall by 1 in every ``edge_mm``, in an image of this noise and contrast."""
    at = (np.arange(64) - 31.5) * 0.5
    inside_mm = RADIUS_MM - np.hypot(at[:, None], at)
    grey = np.where(inside_mm > 0, 200.0, 200.0 - contrast) + np.random.default_rng(1).normal(0, noise, (64, 64))
    return area_band_mm2(inside_mm > 0, 1 / (1 + np.exp(-inside_mm / edge_mm)), grey, 0.5, PIXEL_MM)


def test_a_wider_ramp_and_more_noise_widen_the_band() -> None:
    ramp_mm2 = 2 * np.pi * RADIUS_MM * 0.3  # what one unit of log-odds moves
    assert band() == pytest.approx(0.94 * ramp_mm2, rel=0.02)
    assert band(edge_mm=0.4) == pytest.approx(4 / 3 * band(), rel=0.04)
    noise_mm2 = 0.30 * 0.1 * np.pi * RADIUS_MM**2
    assert band(noise=10) == pytest.approx(np.hypot(band(), noise_mm2), rel=0.15)
    assert band(noise=10, contrast=20) > 1.5 * band(noise=10)
    assert np.isfinite(band(contrast=0))


def test_bands_of_a_mean() -> None:
    assert mean_band_mm2(np.array([4.0]), np.ones(1)) == 4
    many = mean_band_mm2(np.full(1000, 4.0), np.ones(1000))
    assert 2 < many < mean_band_mm2(np.full(4, 4.0), np.ones(4)) < 4  # what all slices have in common stays
    assert mean_band_mm2(np.array([4.0, np.nan]), np.array([1.0, 0.0])) == 4
    assert np.isnan(mean_band_mm2(np.array([4.0, np.nan]), np.ones(2)))
    assert np.isnan(mean_band_mm2(np.zeros(0), np.zeros(0)))
