"""Four small labelled necks and one that cannot be used, for the training panel: quick to train on, easy to find."""

from pathlib import Path

import numpy as np

from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.volume import Volume

SPACING_MM = (0.8, 0.9, 3.0)
# A network of a few seconds: width 1 on slices of 64², two updates an epoch.
QUICK = "network.width=1 normalisation.size=64 updates_per_epoch=3 statistics_batches=1"


def write_cases(folder: Path, count: int = 4) -> Path:
    """``count`` people with 6 slices each, cord as label 1; and sub-9, whose label map lies on another grid."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(4)
    grid = np.diag([*SPACING_MM, 1.0])
    for number in range(1, count + 1):
        label = np.zeros((48, 44, 6), np.uint8)
        label[18 + number : 29 + number, 16:25, :] = 1
        image = rng.integers(20, 90, label.shape).astype(np.int16)
        image[label == 1] += 200
        write_volume(Volume.from_ijk(image, grid), folder / f"sub-{number}_T1w.nii.gz")
        write_volume(Volume.from_ijk(label, grid), folder / f"sub-{number}_T1w_seg.nii.gz")
    shifted = grid.copy()
    shifted[2, 3] = 7.0
    write_volume(Volume.from_ijk(image, grid), folder / "sub-9_T1w.nii.gz")
    write_volume(Volume.from_ijk(label, shifted), folder / "sub-9_T1w_seg.nii.gz")
    return folder
