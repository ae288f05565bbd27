"""Phantom slices: on the network's grid, with the cord's exact area."""

from __future__ import annotations

import numpy as np
import pytest

from Recipes.simulation.training_slices import phantom_slices, random_phantom
from SpinalCordSegLib.model.preprocessing import NormalisationConfig
from SpinalCordSegLib.phantom import make_phantom

RULE = NormalisationConfig(kind="fixed_pixel", pixel_mm=0.7, intensity="percentile")


def test_coverage_sums_to_the_phantoms_area() -> None:
    slices = list(phantom_slices(1, 5, RULE))
    phantom = make_phantom(random_phantom(np.random.default_rng([5, 0])))
    assert len(slices) == 6
    for one, voxels in zip(slices, np.moveaxis(phantom.coverage.voxels, 2, 0), strict=True):
        pixel_mm2 = phantom.coverage.spacing_mm[0] * phantom.coverage.spacing_mm[1]
        assert one.image.shape == one.coverage.shape == (256, 256)
        assert one.image.min() >= 0 and one.image.max() <= 1
        assert one.coverage.sum() * 0.49 == pytest.approx(voxels.sum() * pixel_mm2, rel=2e-3)


def test_the_seed_fixes_every_phantom() -> None:
    first, again = (random_phantom(np.random.default_rng([7, 3])) for _ in range(2))
    assert first == again != random_phantom(np.random.default_rng([7, 4]))
