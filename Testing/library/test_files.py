"""Any kind of input gives one Image; a batch's inputs are found in folders."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from SpinalCordSegLib.errors import InputFileError, VoxelError
from SpinalCordSegLib.image_io import find_inputs, read_image, read_labels, select_label, write_volume
from SpinalCordSegLib.volume import Volume

GRID = np.diag([0.5, 0.75, 5.0, 1.0])


def volume(dtype: type = np.int16) -> Volume:
    return Volume.from_ijk(np.arange(120).reshape(4, 5, 6).astype(dtype), GRID)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float64])
def test_files_become_float32(tmp_path: Path, suffix: str, dtype: type) -> None:
    path = tmp_path / "José Pérez" / "ü 1" / f"t1w{suffix}"
    write_volume(volume(dtype), path)
    image = read_image(path)
    assert image.volume.ijk.dtype == np.float32
    np.testing.assert_array_equal(image.volume.ijk, volume().ijk)
    assert (image.path, image.case_name, image.dicom, image.notes) == (path, "t1w", None, ())


def test_a_dicom_folder_and_one_of_its_files(dicom: Any, tmp_path: Path) -> None:
    folder = dicom.write(tmp_path / "study")
    for path in (folder, folder / "IM00"):
        image = read_image(path)
        assert image.volume.ijk_shape == (5, 4, 4)
        assert image.case_name == "T1w-neck-7"
        assert image.dicom is not None
        assert image.dicom.instance_numbers == (100, 99, 98, 97)


def test_folders_without_an_image_and_missing_paths(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputFileError, match="holds no DICOM image, and no image file"):
        read_image(tmp_path / "empty")
    write_volume(volume(), tmp_path / "two" / "a.nii.gz")
    write_volume(volume(), tmp_path / "two" / "b.nii.gz")
    with pytest.raises(InputFileError, match="holds no DICOM image, but 2 image files: give one of them"):
        read_image(tmp_path / "two")
    with pytest.raises(InputFileError, match="does not exist"):
        read_image(tmp_path / "gone")


def test_numbers_too_large_for_float32(tmp_path: Path) -> None:
    write_volume(Volume.from_ijk(np.full((4, 5, 6), 1e300), GRID), tmp_path / "big.nrrd")
    with pytest.raises(VoxelError, match=r"big\.nrrd holds values beyond 3e38"):
        read_image(tmp_path / "big.nrrd")


def test_label_maps_beside_their_images_are_no_inputs_of_a_folder(tmp_path: Path) -> None:
    masks = ["a_seg.nii.gz", "b.seg.nrrd", "b_seg-manual.nii.gz", "c.seg.nrrd", "lone_seg.nii"]
    image = tmp_path / "a.nii.gz"
    for name in (image.name, "b.nrrd", *masks):
        (tmp_path / name).touch()
    assert [path.name for path in find_inputs([tmp_path])] == ["a.nii.gz", "b.nrrd", "c.seg.nrrd", "lone_seg.nii"]
    assert find_inputs([image, tmp_path])[:2] == [image, tmp_path / "b.nrrd"], "each once"
    assert find_inputs([tmp_path / "a_seg.nii.gz"]) == [tmp_path / "a_seg.nii.gz"]
    assert [path.name for path in find_inputs([tmp_path], masks=True)] == masks
    assert find_inputs([image], masks=True) == [image]


def test_inputs_further_below_and_without_any(tmp_path: Path) -> None:
    (tmp_path / "sub-01" / "anat").mkdir(parents=True)
    (tmp_path / "sub-01" / "anat" / "t1w.nii.gz").touch()
    (tmp_path / "empty").mkdir()
    assert find_inputs([tmp_path]) == [tmp_path / "sub-01" / "anat" / "t1w.nii.gz"]
    assert find_inputs([tmp_path / "empty", tmp_path / "gone"]) == [tmp_path / "empty", tmp_path / "gone"]


def test_results_and_hidden_folders_below_are_no_inputs(tmp_path: Path) -> None:
    """A folder that is segmented into a folder below itself, and then again to go on."""
    for name in ("sub-01/t1w.nii.gz", "out/t1w/mask.nii.gz", "out/.t1w.0123456789ab.part/mask.nii.gz"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    for name in ("report.json", "slices.csv"):
        (tmp_path / "out" / "t1w" / name).touch()
    (tmp_path / "out" / "t1w" / "mask_ai.nii.gz").touch()
    assert find_inputs([tmp_path]) == [tmp_path / "sub-01" / "t1w.nii.gz"]
    assert find_inputs([tmp_path / "out"], masks=True) == [tmp_path / "out" / "t1w" / "mask.nii.gz"]


def test_real_volumes_of_three_orientations(shared_data: Path, tmp_path: Path) -> None:
    for name, orientation in (
        ("t1w_masked/sct-testing_T1w.nii.gz", "RAS"),
        ("t2star_masked/sub-9418_run-1_T2starw.nii.gz", "LAS"),
        ("t2_masked/errsm_11_T2w.nii.gz", "PSR"),
    ):
        image = read_image(shared_data / name)
        assert image.volume.orientation == orientation
        write_volume(image.volume, tmp_path / "back.nii")
        back = read_image(tmp_path / "back.nii").volume
        np.testing.assert_array_equal(back.ijk, image.volume.ijk)
        np.testing.assert_allclose(back.ijk_to_ras, image.volume.ijk_to_ras, rtol=1e-6, atol=1e-5)


def test_a_remark_on_the_header_is_logged_and_goes_along(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    image = nib.Nifti1Image(volume().ijk, GRID)
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nib.save(image, tmp_path / "t1w.nii.gz")
    with caplog.at_level(logging.WARNING):
        (note,) = read_image(tmp_path / "t1w.nii.gz").notes
    assert "holds no orientation" in note and f"t1w.nii.gz: {note}" in caplog.text


# Label maps: whole numbers, and a choice where there are several.


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


def test_the_choice_of_a_label() -> None:
    only, two = label_map(0, 255), label_map(0, 1, 7)
    assert select_label(only, None, "x").ijk.sum() == 20 and select_label(only, 255, "x").ijk.dtype == bool
    assert select_label(two, 7, "x").ijk[2].all()
    with pytest.raises(VoxelError, match=r"x holds 2 labels \(1, 7\); .*--label N"):
        select_label(two, None, "x")
    with pytest.raises(VoxelError, match=r"x does not hold label 3; it holds 1, 7"):
        select_label(two, 3, "x")
    for label in (None, 9):
        assert not select_label(label_map(), label, "x").ijk.any(), "an empty map gives an empty mask"
