"""Small slice caches of drawn necks, and label maps with known shapes for the simulated ones."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from Recipes.simulation.atlas import Maps, read_maps
from SpinalCordSegTrainerLib import evaluation, trainer
from SpinalCordSegTrainerLib.slice_cache import CachedSlice, SliceCache

MakeCache = Callable[..., SliceCache]


@pytest.fixture
def pictures() -> None:
    """Pictures are drawn, which takes half a second each."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    torch.set_num_threads(1)
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr(trainer, "write_curves", lambda *_: None)
        for name in ("_draw_agreement", "write_sheet"):
            monkeypatch.setattr(evaluation, name, lambda *_: None)


def drawn_slice(rng: np.random.Generator, size: int, subject: str) -> CachedSlice:
    """An elliptic cord (half axes 5-7 × 4-5 px) in a ring of fluid, off the middle; soft edges."""
    rows, columns = np.mgrid[:size, :size].astype(np.float64)
    row, column = rng.uniform(0.35, 0.65, 2) * size
    radius = np.hypot((columns - column) / rng.uniform(5, 7), (rows - row) / rng.uniform(4, 5))
    cord, canal = np.clip((1 - radius) * 5 + 0.5, 0, 1), radius < 1.8
    body = np.hypot(rows - size / 2, columns - size / 2) < 0.45 * size
    image = 0.7 * body * ~canal + 0.5 * cord + 0.03 * rng.standard_normal((size, size))
    return image.clip(0, 1), cord, subject


@pytest.fixture
def make_cache(tmp_path: Path) -> MakeCache:
    """make_cache(n=8, size=128, name="cache", per_subject=2, seed=0) writes a cache under tmp_path."""

    def make(n: int = 8, size: int = 128, name: str = "cache", per_subject: int = 2, seed: int = 0) -> SliceCache:
        rng = np.random.default_rng(seed)
        slices = (drawn_slice(rng, size, f"{name}{number // per_subject}") for number in range(n))
        return SliceCache.write(
            tmp_path / name,
            slices,
            normalisation={},
            kind="simulated",
            source={"drawn": n, "cases": ["Doe_John"]},
        )

    return make


CORD_AXES_MM = (6.0, 4.0)
CANAL_AXES_MM = (9.0, 7.0)


def _write_map(path: Path, slices: np.ndarray, spacing_mm: tuple[float, float, float]) -> None:
    """Slices (n, rows, columns), inferior first, anterior row first, as a label map stored in LPS order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(slices)
    image.SetSpacing(spacing_mm)
    sitk.WriteImage(image, str(path))


@pytest.fixture(scope="session")
def label_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """atlas/ and shapes/ of a neck that can be checked by eye: the cord an ellipse of half axes 6 × 4 mm, the canal
    9 × 7 mm, vertebral bodies as boxes in front with gaps of 4 mm every 18 mm; 1 × 1 × 2 mm, top of the canal at
    slice 106 of 115. One more shape, a cord of 7 × 5 mm without fluid."""
    folder = tmp_path_factory.mktemp("maps")
    rows, columns = np.mgrid[:71, :71] - 35.0
    heights = np.arange(115) * 2.0

    def ellipse(axes: tuple[float, float]) -> np.ndarray:
        return np.hypot(columns / axes[0], rows / axes[1]) <= 1

    cord = np.repeat(ellipse(CORD_AXES_MM)[None], 115, 0).astype(np.uint8)
    fluid = np.repeat((ellipse(CANAL_AXES_MM) & ~ellipse(CORD_AXES_MM))[None], 115, 0).astype(np.uint8)
    fluid[107:] = 0
    box = (rows > -22) & (rows < -9) & (np.abs(columns) < 12)
    bone = (box[None] & (heights % 18 >= 4)[:, None, None]).astype(np.uint8)
    grey = np.repeat(ellipse((2.0, 1.5))[None], 115, 0).astype(np.float32)
    for name, slices in (("cord", cord), ("csf", fluid), ("spine", bone), ("gm", grey)):
        _write_map(folder / "atlas" / f"PAM50_{name}.nii.gz", slices, (1.0, 1.0, 2.0))
    whole = np.repeat(ellipse((7.0, 5.0))[None], 100, 0).astype(np.uint8)
    _write_map(folder / "shapes" / "anna_T1w_seg-manual.nii.gz", whole, (1.0, 1.0, 1.5))
    return folder


@pytest.fixture(scope="session")
def maps(label_folder: Path) -> Maps:
    """The label maps of ``label_folder``, read."""
    return read_maps(label_folder)
