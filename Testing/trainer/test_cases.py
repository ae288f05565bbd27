"""Which label belongs to which image, whose it is, and slices of an anisotropic oblique case on the model's grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from SpinalCordSegLib.errors import TrainingDataError
from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.model.preprocessing import NormalisationConfig
from SpinalCordSegLib.volume import Volume
from SpinalCordSegTrainerLib.dataset import find_cases, load_case, subject_of
from SpinalCordSegTrainerLib.slice_cache import cache_cases

GRID = np.array([[0, 0.5, 0, -10], [-0.6, 0, 0, 20], [0, 0, 4.0, 5], [0, 0, 0, 1]], dtype=float)  # i → P, j → R


def _image(shape: tuple[int, int, int] = (60, 48, 5)) -> Volume:
    voxels = np.random.default_rng(0).integers(100, 900, shape).astype(np.int16)
    return Volume(voxels, GRID)


def _label(value: int = 1, shape: tuple[int, int, int] = (60, 48, 5), matrix: np.ndarray = GRID) -> Volume:
    voxels = np.zeros(shape, np.uint8)
    voxels[20:30, 16:32, 1:4] = value  # 10 × 0.6 mm = 6 mm front to back, 16 × 0.5 mm = 8 mm across
    return Volume(voxels, matrix)


def _put(folder: Path, image: str, label: str, volume: Volume | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_volume(_image(), folder / image)
    write_volume(volume or _label(), folder / label)


def test_pairs_in_one_folder(tmp_path: Path) -> None:
    _put(tmp_path, "b.nii.gz", "b_seg.nii.gz")
    _put(tmp_path, "a.nrrd", "a_seg-manual.nii.gz")
    _put(tmp_path, "c.nii.gz", "c.seg.nrrd")
    write_volume(_image(), tmp_path / "unlabelled.nii.gz")
    assert [(case.name, case.label.name) for case in find_cases(tmp_path)] == [
        ("a", "a_seg-manual.nii.gz"),
        ("b", "b_seg.nii.gz"),
        ("c", "c.seg.nrrd"),
    ]


def test_bids(tmp_path: Path) -> None:
    anat = Path("sub-07") / "ses-01" / "anat"
    (tmp_path / "derivatives" / "labels" / anat).mkdir(parents=True)
    _put(tmp_path / anat, "sub-07_ses-01_T1w.nii.gz", "../x.nii.gz")
    (tmp_path / anat / "../x.nii.gz").rename(
        tmp_path / "derivatives" / "labels" / anat / "sub-07_ses-01_T1w_seg-manual.nii.gz"
    )
    (case,) = find_cases(tmp_path)
    assert (case.name, case.subject) == ("sub-07_ses-01_T1w", "07")


@pytest.mark.parametrize(
    ("path", "subject"),
    [
        ("sub-9709Ses1_run-1_T2starw.nii.gz", "9709"),
        ("sub-9709Ses2_run-1_T2starw.nii.gz", "9709"),
        ("sub-05_ses-02_T1w.nii.gz", "05"),
        ("sub-03/anat/t1.nii.gz", "03"),
        ("patient3_ses-02.nii.gz", "patient3"),
        ("P07_ses-1_T1w.nii.gz", "P07"),
        ("P07-Session2-run-1.nii.gz", "P07"),
        ("P07_ses_3_T1w.nii.gz", "P07"),
        ("P07_ses-pre_T1w.nii.gz", "P07"),
        ("MS_session1_001.nii.gz", "MS_session1_001"),
        ("study_ses-01_P07_T1w.nii.gz", "study_ses-01_P07_T1w"),
        ("Kumar_Sesha_T1.nii.gz", "Kumar_Sesha_T1"),
        ("Kumar_Sesha.nii.gz", "Kumar_Sesha"),
        ("P07_Sesha_T1.nii.gz", "P07_Sesha_T1"),
        ("moses_2_T1w.nii.gz", "moses_2_T1w"),
        ("ses-1_P07.nii.gz", "ses-1_P07"),
        ("errsm_11_T2w.nii.gz", "errsm_11_T2w"),
    ],
)
def test_subjects(path: str, subject: str) -> None:
    assert subject_of(Path(path)) == subject


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match="not a folder"):
        find_cases(tmp_path / "none")
    with pytest.raises(TrainingDataError, match="no image with a label map"):
        find_cases(tmp_path)
    write_volume(_label(), tmp_path / "a_seg.nii.gz")
    with pytest.raises(TrainingDataError, match="no image a belongs"):
        find_cases(tmp_path)
    write_volume(_image(), tmp_path / "a.nii.gz")
    write_volume(_label(), tmp_path / "a_seg-manual.nii.gz")
    with pytest.raises(TrainingDataError, match="labels the same image"):
        find_cases(tmp_path)


def test_another_grid_several_labels_and_a_broken_file_are_named(tmp_path: Path) -> None:
    shifted = GRID.copy()
    shifted[0, 3] += 1
    _put(tmp_path / "g", "a.nii.gz", "a_seg.nii.gz", _label(matrix=shifted))
    with pytest.raises(TrainingDataError, match=r"a_seg\.nii\.gz lies on another grid"):
        load_case(find_cases(tmp_path / "g")[0])
    two = _label()
    two.voxels[0, 0, 0] = 2
    _put(tmp_path / "l", "a.nii.gz", "a_seg.nii.gz", two)
    case = find_cases(tmp_path / "l")[0]
    with pytest.raises(TrainingDataError, match="2 labels"):
        load_case(case)
    assert load_case(case, label=2).mask.voxels.sum() == 1
    case.image.write_bytes(b"nothing")
    with pytest.raises(TrainingDataError, match="case a"):
        load_case(case, label=2)


def test_slices_on_a_grid_of_fixed_pixels_keep_area_and_place(tmp_path: Path) -> None:
    _put(tmp_path, "a.nii.gz", "a_seg.nii.gz")
    config = NormalisationConfig(kind="fixed_pixel", pixel_mm=0.4, size=96)
    cases = find_cases(tmp_path)
    cache = cache_cases(cases, tmp_path / "c", config, slices="with_label")
    assert len(cache) == 3
    assert cache.info.pixel_mm == 0.4
    _, coverage = cache.read(np.arange(3))
    np.testing.assert_allclose(coverage.sum((1, 2)) * 0.4**2, 48.0, rtol=0.01)  # 6 × 8 mm
    # i runs to posterior: the field is 36 mm deep, the cord from 12 to 18 mm, so its centre is 3 mm before the middle.
    # j runs to the right, columns start at the right: 24 mm wide, cord centre 12 mm from the left, the middle.
    row, column = cache.info.centres[0] or (0, 0)
    assert row == pytest.approx((96 - 1) / 2 - 3 / 0.4, abs=0.05)
    assert column == pytest.approx((96 - 1) / 2, abs=0.05)
    assert len(cache_cases(cases, tmp_path / "all", config)) == 5


def test_every_bad_case_is_named_before_anything_is_kept(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        _put(tmp_path, f"{name}.nii.gz", f"{name}_seg.nii.gz")
    for name in ("a", "c"):
        (tmp_path / f"{name}_seg.nii.gz").write_bytes(b"x")
    with pytest.raises(TrainingDataError, match=r"case a.*; case c"):
        cache_cases(find_cases(tmp_path), tmp_path / "cache", NormalisationConfig())
    assert not (tmp_path / "cache").exists()
