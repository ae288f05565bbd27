"""Label maps: whole numbers on a grid, and the choice of one of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from SpinalCordSegLib.errors import VoxelError
from SpinalCordSegLib.images.volume import Volume
from SpinalCordSegLib.images.volume_file import read_grid


def read_labels(path: Path) -> Volume:
    """Read a label map; voxels int32, 0 is background. Raises as read_image does, and VoxelError for fractions."""
    path = Path(path)
    volume = read_grid(path).volume
    labels = np.rint(volume.voxels).astype(np.int32)
    if not np.array_equal(labels, volume.voxels):
        raise VoxelError(
            f"{path.name} holds values that are not whole numbers, so it is an image or a probability map;"
            " a label map is expected: threshold it first"
        )
    return volume.with_voxels(labels)


def select_label(labels: Volume, label: int | None, name: str) -> Volume:
    """The voxels of one label, bool. ``name`` is the file's name for the error text.

    ``label`` None takes the only label there is; a map without any gives an empty mask, with or without a choice.
    Raises VoxelError when several labels are there and none was chosen, or when the chosen one is not there.
    """
    present = [int(value) for value in np.unique(labels.voxels) if value != 0]
    listed = ", ".join(map(str, present[:20])) + (" …" if len(present) > 20 else "")
    if label is None and len(present) > 1:
        raise VoxelError(f"{name} holds {len(present)} labels ({listed}); say which one is the cord with --label N")
    if label is not None and present and label not in present:
        raise VoxelError(f"{name} does not hold label {label}; it holds {listed}")
    chosen = label if label is not None else next(iter(present), 1)
    return labels.with_voxels(labels.voxels == chosen)
