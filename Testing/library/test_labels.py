"""Label maps: whole numbers, and a choice where there are several."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from SpinalCordSegLib.errors import VoxelError
from SpinalCordSegLib.image_io import read_labels, select_label, write_volume
from SpinalCordSegLib.volume import Volume

GRID = np.diag([0.5, 0.75, 5.0, 1.0])


def label_map(*values: int) -> Volume:
    voxels = np.zeros((3, 4, 5), np.int16)
    for index, value in enumerate(values):
        voxels[index] = value
    return Volume.from_ijk(voxels, GRID)


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_whole_numbers_of_any_stored_type(tmp_path: Path, dtype: type) -> None:
    labels = label_map(0, 7, 3)
    write_volume(labels.with_ijk(labels.ijk.astype(dtype)), tmp_path / "x_seg.nii.gz")
    read = read_labels(tmp_path / "x_seg.nii.gz")
    assert read.ijk.dtype == np.int32
    np.testing.assert_array_equal(read.ijk, labels.ijk)
    assert np.allclose(read.voxel_to_ras, labels.voxel_to_ras, atol=1e-4)


def test_a_probability_map_is_no_label_map(tmp_path: Path) -> None:
    write_volume(Volume.from_ijk(np.full((3, 4, 5), 0.5, np.float32), GRID), tmp_path / "p.nii.gz")
    with pytest.raises(VoxelError, match=r"p\.nii\.gz .*not whole numbers.*threshold"):
        read_labels(tmp_path / "p.nii.gz")


def test_the_only_label_needs_no_choice() -> None:
    assert select_label(label_map(0, 255), None, "x").ijk.sum() == 20
    assert select_label(label_map(0, 255), 255, "x").ijk.dtype == bool


def test_several_labels_need_a_choice() -> None:
    with pytest.raises(VoxelError, match=r"x holds 2 labels \(1, 7\); .*--label N"):
        select_label(label_map(0, 1, 7), None, "x")
    assert select_label(label_map(0, 1, 7), 7, "x").ijk[2].all()


def test_a_label_that_is_not_there() -> None:
    with pytest.raises(VoxelError, match=r"x does not hold label 3; it holds 1, 7"):
        select_label(label_map(0, 1, 7), 3, "x")


@pytest.mark.parametrize("label", [None, 1, 9])
def test_an_empty_map_gives_an_empty_mask(label: int | None) -> None:
    assert not select_label(label_map(), label, "x").ijk.any()
