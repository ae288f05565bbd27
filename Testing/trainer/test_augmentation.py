"""Augmentation: labels stay on their pixels, nothing leaves 0..1, the same generator gives the same batch."""

from dataclasses import fields, replace

import pytest
import torch

from SpinalCordSegTrainerLib.augmentation import (
    augment,
    change_intensities,
    crop,
    k_space_faults,
    remap,
    resample,
    source_positions,
)
from SpinalCordSegTrainerLib.config import AugmentConfig, TrainingConfig

STILL = AugmentConfig(
    **{
        one.name: 0 for one in fields(AugmentConfig)
        if one.name not in ("elastic_cells", "interpolation", "resolution_factor", "motion_px", "ghosting")
    }
)  # fmt: skip


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _cord(n: int = 4, size: int = 96) -> tuple[torch.Tensor, torch.Tensor]:
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    radius = torch.hypot((rows - 50) / 8.0, (columns - 40) / 12.0)
    coverage = ((1 - radius) * 6 + 0.5).clamp(0, 1).expand(n, size, size).contiguous()
    return 0.2 + 0.6 * coverage, coverage


def test_crop_is_exact_and_zero_beyond_the_slice() -> None:
    pixels = torch.arange(64.0).view(1, 8, 8)
    assert torch.equal(crop(pixels, torch.tensor([[3.5, 3.5]]), 4), pixels[:, 2:6, 2:6])
    corner = crop(pixels, torch.tensor([[0.5, 0.5]]), 4)
    assert torch.equal(corner[:, 1:, 1:], pixels[:, :3, :3])
    assert float(corner[:, 0].abs().max()) == 0
    assert crop(pixels, torch.tensor([[3.5, 3.5]]), 8) is pixels


def test_slices_that_stay_in_place_keep_their_pixels_and_are_mirrored_with_their_label() -> None:
    images, coverage = _cord()
    centres = torch.full((4, 2), 40.3)
    config = replace(STILL, flip_probability=1.0)
    changed, label = augment(images, coverage, centres, 32, config, _generator())
    assert torch.equal(label[:, 0], crop(coverage, centres, 32).flip(2))
    torch.testing.assert_close(changed[:, 0], crop(images, centres, 32).flip(2), atol=1e-6, rtol=0)


def test_image_and_label_move_together_and_area_scales() -> None:
    images, coverage = _cord(8)
    config = replace(STILL, rotation_deg=25, scale=0.2, elastic_px=1.5, shift_px=6)
    centres = torch.full((8, 2), 47.5)
    positions = source_positions(centres, 96, config, _generator(3))
    moved, label = resample(torch.stack((images, coverage), dim=1), positions, "bilinear").unbind(1)
    inside = moved > 0.1  # beyond the slice both are 0
    torch.testing.assert_close(moved[inside], (0.2 + 0.6 * label)[inside], atol=0.25, rtol=0)
    assert float((moved - 0.2 - 0.6 * label)[inside].abs().mean()) < 0.01
    ratio = label.sum((1, 2)) / coverage.sum((1, 2))
    assert float(ratio.min()) > 0.5 and float(ratio.max()) < 1.8 and float(ratio.std()) > 0.02
    assert bool(((label > 0.2) & (label < 0.8)).any())  # partial volume survives


@pytest.mark.parametrize("policy", ["standard", "contrast"])
def test_range_shape_and_repeatability(policy: str) -> None:
    config = getattr(TrainingConfig(), policy)
    images, coverage = _cord(6)
    centres = torch.full((6, 2), 45.0)
    first = augment(images, coverage, centres, 64, config, _generator(7))
    again = augment(images, coverage, centres, 64, config, _generator(7))
    for one, other in zip(first, again, strict=True):
        assert one.shape == (6, 1, 64, 64)
        assert one.dtype == torch.float32
        assert torch.equal(one, other)
        assert 0 <= float(one.min()) <= float(one.max()) <= 1
    assert not torch.equal(first[0], augment(images, coverage, centres, 64, config, _generator(8))[0])


def test_low_resolution_loses_detail_and_movement_makes_ghosts_in_place() -> None:
    images, _ = _cord(8)
    stripes = (torch.arange(96) % 2 * 0.2 - 0.1).expand(8, 96, 96)  # the finest detail there is
    coarse = replace(STILL, resolution_probability=1.0)
    left = k_space_faults(images + stripes + 0.1, coarse, _generator(6))
    expected = images + 0.1
    assert float((left - expected).abs().mean()) < 0.01
    moved = k_space_faults(images, replace(STILL, motion_probability=1.0), _generator(6))
    assert 0.001 < float((moved - images).abs().mean()) < 0.1
    torch.testing.assert_close(moved.mean((1, 2)), images.mean((1, 2)), rtol=0.02, atol=0)
    columns = torch.arange(96.0)
    for one, other in zip(moved, images, strict=True):  # the cord stays where its label is
        weights = [((of - 0.2).clamp_min(0.2) - 0.2).sum(0) for of in (one, other)]
        middle, true = (float((weight * columns).sum() / weight.sum()) for weight in weights)
        assert abs(middle - true) < 0.5
    assert k_space_faults(images, STILL, _generator(6)) is images


def test_remapping_keeps_the_cord_visible_and_often_turns_the_contrast() -> None:
    images, coverage = _cord(64)  # cord bright at 0.8 on 0.2
    config = AugmentConfig(remap_probability=1.0, blend_probability=0.0)
    changed = remap(images, coverage, config, _generator(1))
    contrast = changed[:, 50, 40] - changed[:, 50, 80]
    visible = contrast.abs() > 0.05
    assert float(visible.float().mean()) > 0.9
    assert 0.3 < float((contrast > 0).float().mean()) < 0.8


def test_a_cut_field_of_view_cuts_the_label_too() -> None:
    images, coverage = _cord(16)
    config = replace(STILL, field_of_view_probability=1.0)
    seen, label = change_intensities(images, coverage, config, _generator(2))
    assert float(label[seen == 0].abs().max()) == 0
    assert bool((seen == 0).any())
