"""Labels drawn by another convention: the contour moved inwards before it is learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.model.preprocessing import NormalisationConfig
from SpinalCordSegLib.volume import Volume
from SpinalCordSegTrainerLib.dataset import LabelledCase, LoadedCase
from SpinalCordSegTrainerLib.slice_cache import case_slices, offset_boundary


def _disc(radius_mm: float, pixel_mm: float) -> np.ndarray:
    rows, columns = (np.mgrid[:64, :64] - 31.3) * pixel_mm
    return np.clip(0.5 + (radius_mm - np.hypot(rows, columns)) / pixel_mm, 0, 1).astype(np.float32)


@pytest.mark.parametrize("pixel_mm", [0.5, 0.7, 1.0])
@pytest.mark.parametrize("boundary_offset_mm", [0.3, 0.5])
def test_a_disc_shrinks_by_the_inset_and_stays_in_place(pixel_mm: float, boundary_offset_mm: float) -> None:
    disc = _disc(5.0, pixel_mm)
    smaller = offset_boundary(disc, pixel_mm, boundary_offset_mm)
    assert smaller.sum() * pixel_mm**2 == pytest.approx(np.pi * (5.0 - boundary_offset_mm) ** 2, rel=0.03)
    middle = [float((grid * smaller).sum() / smaller.sum()) for grid in np.mgrid[:64, :64]]
    assert middle == pytest.approx([31.3, 31.3], abs=0.05)
    assert smaller.min() >= 0 and smaller.max() == 1


def test_nothing_and_no_inset_stay_and_what_is_thinner_vanishes() -> None:
    empty = np.zeros((32, 32), np.float32)
    assert offset_boundary(empty, 0.7, 0.2) is empty
    assert offset_boundary(_disc(1.0, 0.7), 0.7, 1.5).max() == 0
    assert offset_boundary(_disc(5.0, 0.7), 0.7, 0.0).sum() == pytest.approx(_disc(5.0, 0.7).sum(), rel=0.01)


def _case() -> LoadedCase:
    mask = np.zeros((32, 32, 3), bool)
    mask[10:20, 11:21] = True
    affine = np.diag([0.7, 0.7, 3.0, 1.0])
    image = Volume(mask.astype(np.float32) + 0.1, affine)
    return LoadedCase(LabelledCase("a", Path("a.nii"), Path("b.nii"), "a"), image, Volume(mask, affine))


def test_slices_of_a_case_are_inset_on_a_grid_of_fixed_pixels_only() -> None:
    config = NormalisationConfig(kind="fixed_pixel", pixel_mm=0.7, size=64)
    drawn, moved = (list(case_slices(_case(), config, boundary_offset_mm=amount)) for amount in (0.0, 0.35))
    assert drawn[1].coverage.sum() == pytest.approx(100, abs=0.5)
    assert moved[1].coverage.sum() == pytest.approx(81, abs=1.5)  # a square loses its rim, and a little of its corners
    assert np.array_equal(drawn[1].image, moved[1].image)
    with pytest.raises(ConfigurationError, match="fixed_pixel"):
        next(case_slices(_case(), NormalisationConfig(kind="paper"), boundary_offset_mm=0.3))
