"""Training slices from the library's own phantom: clean geometry that no atlas shape has, areas exactly known."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from SpinalCordSegLib.model.preprocessing import NormalisationConfig, normalise, normalise_coverage
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.volume import axial_slices
from SpinalCordSegTrainerLib.slice_cache import CachedSlice

_SLICES = 6  # of each phantom


def phantom_slices(phantoms: int, seed: int, rule: NormalisationConfig) -> Iterator[CachedSlice]:
    """Normalised slices of random phantoms on the network's grid, six of each, phantom by phantom."""
    grid = (rule.size, rule.size) if rule.kind == "fixed_pixel" else None
    for number in range(phantoms):
        phantom = make_phantom(random_phantom(np.random.default_rng([seed, number])))
        image, share = axial_slices(phantom.image), axial_slices(phantom.coverage)
        pixels = torch.from_numpy(np.ascontiguousarray(image.pixels, dtype=np.float32))
        cord = torch.from_numpy(np.ascontiguousarray(share.pixels, dtype=np.float32))
        normalised, _ = normalise(pixels, image.pixel_mm, rule, grid)
        coverage = normalise_coverage(cord, image.pixel_mm, rule, grid)
        for one, part in zip(normalised[:, 0].numpy(), coverage[:, 0].numpy(), strict=True):
            yield CachedSlice(one, part, f"phantom-{seed}-{number:04d}")


def random_phantom(rng: np.random.Generator) -> PhantomConfig:
    """Any cord the phantom can draw: area 40-110 mm², pixels of 0.45-1.0 mm, slices of 1-5 mm, leaning, noisy."""
    pixel_mm = float(rng.uniform(0.45, 1.0))
    across = round(rng.uniform(110, 175) / pixel_mm)
    return PhantomConfig(
        shape=(across, across, _SLICES),
        spacing_mm=(pixel_mm, pixel_mm, float(rng.uniform(1, 5))),
        centre_ras_mm=(float(rng.normal(0, 5)), float(rng.uniform(-40, -15)), float(rng.uniform(-40, 45))),
        cord_csa_mm2=float(rng.uniform(40, 110)),
        cord_aspect=float(rng.uniform(1.1, 1.9)),
        enlargement=float(rng.uniform(0, 0.2)),
        tilt_deg=(float(rng.normal(0, 6)), float(rng.normal(0, 8))),
        curve_mm=float(rng.uniform(-2, 8)),
        noise=float(rng.uniform(0.005, 0.09)),
        bias=float(rng.uniform(0, 0.6)),
        seed=int(rng.integers(2**31)),
    )
