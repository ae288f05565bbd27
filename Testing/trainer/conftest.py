"""Small slice caches of drawn necks: a bright body, dark fluid, a cord of known place and size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from SpinalCordSegTrainerLib.loader import CachedSlice, SliceCache

MakeCache = Callable[..., SliceCache]


def drawn_slice(rng: np.random.Generator, size: int, subject: str) -> CachedSlice:
    """An elliptic cord (half axes 5-7 × 4-5 px) in a ring of fluid, off the middle; soft edges."""
    rows, columns = np.mgrid[:size, :size].astype(np.float64)
    row, column = rng.uniform(0.35, 0.65, 2) * size
    radius = np.hypot((columns - column) / rng.uniform(5, 7), (rows - row) / rng.uniform(4, 5))
    cord, canal = np.clip((1 - radius) * 5 + 0.5, 0, 1), radius < 1.8
    body = np.hypot(rows - size / 2, columns - size / 2) < 0.45 * size
    image = 0.7 * body * ~canal + 0.5 * cord + 0.03 * rng.standard_normal((size, size))
    return CachedSlice(image.clip(0, 1), cord, subject)


@pytest.fixture
def make_cache(tmp_path: Path) -> MakeCache:
    """make_cache(n=8, size=128, name="cache", per_subject=2, seed=0) writes a cache under tmp_path."""

    def make(n: int = 8, size: int = 128, name: str = "cache", per_subject: int = 2, seed: int = 0) -> SliceCache:
        rng = np.random.default_rng(seed)
        slices = (drawn_slice(rng, size, f"{name}{number // per_subject}") for number in range(n))
        return SliceCache.write(
            tmp_path / name, slices, pixel_mm=0.7, normalisation={}, kind="simulated", source={"drawn": n}
        )

    return make
