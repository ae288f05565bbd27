"""Slices onto the model's grid and back: the paper's rule to the letter, and discs that keep place and size."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.model.preprocessing import NormalisationConfig, normalise, normalise_coverage, place, restore

PAPER = NormalisationConfig()
FIXED = NormalisationConfig("fixed_pixel", pixel_mm=0.7, intensity="percentile")
PIXELS_MM = [(0.43, 0.43), (0.5, 0.5), (0.7, 0.7), (1.02, 1.02), (0.5, 0.9), (1.0, 0.6)]


def distance_to_disc_mm(
    shape: tuple[int, int], pixel_mm: tuple[float, float], radius_mm: float, centre_mm: tuple[float, float]
) -> torch.Tensor:
    """Signed distance to the edge, positive inside; ``centre_mm`` from the middle of the field of view."""
    y = (np.arange(shape[0]) + 0.5 - shape[0] / 2) * pixel_mm[0] - centre_mm[0]
    x = (np.arange(shape[1]) + 0.5 - shape[1] / 2) * pixel_mm[1] - centre_mm[1]
    return torch.from_numpy(radius_mm - np.hypot(y[:, None], x[None, :])).float()


def moments_mm(weights: torch.Tensor, pixel_mm: tuple[float, float]) -> tuple[float, float, float]:
    """Area, and centroid from the middle of the field of view."""
    weights = weights.double()
    y = (torch.arange(weights.shape[0]) + 0.5 - weights.shape[0] / 2) * pixel_mm[0]
    x = (torch.arange(weights.shape[1]) + 0.5 - weights.shape[1] / 2) * pixel_mm[1]
    total = weights.sum()
    return (
        float(total) * pixel_mm[0] * pixel_mm[1],
        float((weights.sum(1) * y).sum() / total),
        float((weights.sum(0) * x).sum() / total),
    )


@pytest.mark.parametrize("n_pixels", [100, 256, 512])
def test_paper_rule_is_torch_bicubic_then_min_max(n_pixels: int) -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).uniform(-50, 900, (2, n_pixels, n_pixels))).float()
    ours, _ = normalise(pixels, (0.8, 0.8), PAPER)
    theirs = functional.interpolate(pixels[:, None], size=256, mode="bicubic", align_corners=False)
    low, high = theirs.amin((2, 3), keepdim=True), theirs.amax((2, 3), keepdim=True)
    assert (ours - (theirs - low) / (high - low)).abs().max() < 4e-6
    assert ours.shape == (2, 1, 256, 256)


def test_paper_rule_pads_a_narrow_field_with_the_minimum() -> None:
    pixels = torch.full((1, 128, 64), 7.0)
    pixels[0, 0, 0], pixels[0, 127, 63] = 3.0, 11.0
    ours, placement = normalise(pixels, (1.0, 1.0), PAPER)
    assert not ours[0, 0, :, :62].any() and not ours[0, 0, :, -62:].any()
    assert ours[0, 0, 100:150, 70:180].sub(0.5).abs().max() < 0.1
    assert (placement.rows.step, placement.columns.step) == (0.5, 0.5)


@pytest.mark.parametrize("intensity", ["minmax", "percentile"])
def test_constant_slice_becomes_zeros_and_range_is_0_to_1(intensity: str) -> None:
    config = NormalisationConfig(intensity=intensity)
    pixels = torch.stack([torch.full((50, 60), -4.0), torch.rand(50, 60) * 1e4])
    grid, _ = normalise(pixels, (1.0, 0.5), config)
    assert not grid[0].any()
    assert grid[1].min() >= 0 and grid[1].max() <= 1


@pytest.mark.parametrize("config", [PAPER, FIXED], ids=["paper", "fixed"])
def test_numpy_and_torch_give_the_same_within_rounding(config: NormalisationConfig) -> None:
    """What numpy is given comes back as numpy, for the CPU; a tensor as a tensor, for GPU and trainer."""
    pixels = np.random.default_rng(3).uniform(-50, 900, (2, 90, 130)).astype(np.float32)
    ours, placement = normalise(pixels, (0.8, 0.6), config)
    theirs, placed = normalise(torch.from_numpy(pixels), (0.8, 0.6), config)
    assert isinstance(ours, np.ndarray) and ours.dtype == np.float32 and placed == placement
    assert np.abs(ours - theirs.numpy()).max() < 2e-6
    back, back_of_torch = restore(40 * ours - 20, placement), restore(40 * torch.from_numpy(ours) - 20, placement)
    assert back.dtype == np.float32 and back.shape == pixels.shape
    assert np.abs(back - back_of_torch.numpy()).max() < 2e-5
    labels = (pixels > 400).astype(np.uint8)
    ours, theirs = (normalise_coverage(one, (0.8, 0.6), config) for one in (labels, torch.from_numpy(labels)))
    assert np.abs(ours - theirs.numpy()).max() < 2e-6


@pytest.mark.parametrize(
    ("shape", "pixel_mm", "expected"),
    [
        ((76, 42), (1.0, 1.0), (128, 96)),  # 109×60 network pixels
        ((64, 64), (0.7, 0.7), (96, 96)),  # the smallest
        ((256, 256), (0.7, 0.7), (256, 256)),
        ((512, 512), (0.6, 0.6), (384, 384)),  # 439 pixels: cropped
        ((3000, 3000), (0.05, 0.05), (224, 224)),
        ((10, 5), (20.0, 1.0), (288, 96)),
    ],
)
def test_fixed_pixel_grid_sizes(
    shape: tuple[int, int], pixel_mm: tuple[float, float], expected: tuple[int, int]
) -> None:
    placement = place(shape, pixel_mm, FIXED)
    assert (placement.rows.n_grid, placement.columns.n_grid) == expected
    assert placement.rows.step * pixel_mm[0] == pytest.approx(0.7)
    assert placement.columns.step * pixel_mm[1] == pytest.approx(0.7)


@pytest.mark.parametrize("config", [PAPER, FIXED], ids=["paper", "fixed"])
@pytest.mark.parametrize("pixel_mm", PIXELS_MM)
def test_a_disc_comes_back_in_place_and_size(config: NormalisationConfig, pixel_mm: tuple[float, float]) -> None:
    """Logits as a confident network gives them (from 0.02 to 0.98 within 2 mm), back on the image's own pixels.

    The soft area has no pixel noise of its own; 24 positions average out what a threshold has.
    """
    shape = (round(90 / pixel_mm[0]), round(101 / pixel_mm[1]))
    placement = place(shape, pixel_mm, config)
    step_mm = placement.rows.step * pixel_mm[0]
    size = (placement.rows.n_grid, placement.columns.n_grid)
    shifts, soft_errors, hard_errors = [], [], []
    for centre_mm in np.random.default_rng(1).uniform(-3, 3, (24, 2)):
        centre = (float(centre_mm[0]), float(centre_mm[1]))
        logits = distance_to_disc_mm(size, (step_mm, step_mm), 5.0, centre) * 4
        wanted = torch.sigmoid((4 * distance_to_disc_mm(shape, pixel_mm, 5.0, centre)).clamp(-12, 12))
        back = torch.sigmoid(restore(logits[None, None], placement)[0])
        area, y, x = moments_mm(back, pixel_mm)
        area_wanted, y_wanted, x_wanted = moments_mm(wanted, pixel_mm)
        shifts.append(((y - y_wanted) / pixel_mm[0], (x - x_wanted) / pixel_mm[1]))
        soft_errors.append(100 * (area / area_wanted - 1))
        hard_errors.append(100 * (float((back > 0.5).sum()) / float((wanted > 0.5).sum()) - 1))
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.01
    assert np.abs(shifts).max() < 0.02
    assert np.abs(soft_errors).max() < 0.5
    assert abs(np.mean(hard_errors)) < 0.5


def test_beyond_the_grid_the_probability_is_exactly_zero() -> None:
    config = NormalisationConfig("fixed_pixel", pixel_mm=1.0, min_size=32, max_size=32)
    placement = place((50, 20), (1.0, 1.0), config)
    back = torch.sigmoid(restore(torch.full((1, 1, 32, 32), 30.0), placement))[0]
    assert not back[:9].any() and not back[41:].any()
    assert (back[9:41] > 0.99).all()


def test_coverage_is_the_share_of_the_grid_pixel() -> None:
    labels = torch.zeros(1, 64, 64)
    labels[0, 20:23, 30] = 1
    config = NormalisationConfig("fixed_pixel", pixel_mm=2.0, min_size=32)
    grid = normalise_coverage(labels, (1.0, 1.0), config)
    assert grid[0, 0, 10, 15] == 0.5 and grid[0, 0, 11, 15] == 0.25
    assert float(grid.sum()) == pytest.approx(0.75)


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "other"},
        {"intensity": "z-score"},
        {"size": 250},
        {"kind": "fixed_pixel"},
        {"kind": "fixed_pixel", "pixel_mm": 0.0},
        {"low_percentile": 60.0, "high_percentile": 40.0},
        {"min_size": 512},
    ],
)
def test_bad_configuration_is_refused(fields: dict) -> None:
    with pytest.raises(ConfigurationError):
        NormalisationConfig(**fields)
