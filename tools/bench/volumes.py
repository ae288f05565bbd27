"""The volumes that the benchmark works on: phantoms of three common sizes, made once and kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom

COMMON = {
    "256x256x170": PhantomConfig(shape=(256, 256, 170), spacing_mm=(0.7, 0.7, 1.0)),
    "512x512x300": PhantomConfig(shape=(512, 512, 300), spacing_mm=(0.45, 0.45, 0.7)),
    "sagittal 192x260x320": PhantomConfig(shape=(192, 260, 320), spacing_mm=(1.0, 1.0, 1.0), orientation="PSR"),
}
"""By name; shapes towards R, A, S."""

VOLUMES = COMMON | {"tiny": PhantomConfig(shape=(96, 96, 12), spacing_mm=(0.7, 0.7, 4.0))}
"""And one to see that the benchmark itself works."""


def volume_file(name: str, folder: Path) -> Path:
    """The volume as a NIfTI file below ``folder``, in the 16-bit integers of a scanner, made at first use."""
    path = folder / f"{name.replace(' ', '_')}.nii.gz"
    if not path.is_file():
        image = make_phantom(VOLUMES[name]).image
        write_volume(image.with_ijk(np.round(image.ijk).astype(np.int16)), path)
    return path
