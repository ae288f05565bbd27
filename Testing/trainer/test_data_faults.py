"""What can be wrong with a data set: every fault is named with its reason, and the good case beside it stays usable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from cord_files import GRID, SHAPE, cord_image, cord_label, put_case

from SpinalCordSegLib.errors import TrainingDataError
from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.model.preprocessing import NormalisationConfig
from SpinalCordSegLib.volume import Volume
from SpinalCordSegTrainerLib.dataset import find_cases, match_files
from SpinalCordSegTrainerLib.dataset_check import check_folder, summary
from SpinalCordSegTrainerLib.slice_cache import cache_cases

Fault = Callable[[Path], None]


def _moved(column: int, row: int, to: float) -> np.ndarray:
    grid = GRID.copy()
    grid[row, column] = to
    return grid


def _turned() -> np.ndarray:
    angle = np.radians(10)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn @ GRID


def _write_4d(path: Path) -> None:
    volume = sitk.GetImageFromArray(np.ones((5, 48, 60), np.int16))
    sitk.WriteImage(sitk.JoinSeries([volume, volume]), str(path))


def _write_colour(path: Path) -> None:
    image = sitk.GetImageFromArray(np.zeros((5, 48, 60, 3), np.uint8), isVector=True)
    sitk.WriteImage(image, str(path.with_name("bad.mha")))
    path.unlink()


def _with(folder: Path, image: Volume | None = None, label: Volume | None = None) -> None:
    put_case(folder, "bad", 7, label, image)


def _nan(folder: Path) -> None:
    write_volume(cord_label(), folder / "bad_seg.nii.gz")
    voxels = cord_image(7).voxels.astype(np.float32)
    voxels[3, 4, 2] = np.nan
    write_volume(Volume(voxels, GRID), folder / "bad.mha")


def _label_with(value: int) -> Volume:
    label = cord_label()
    label.voxels[0, 0, 0] = value
    return label


def _replace(folder: Path, name: str, content: bytes) -> None:
    _with(folder)
    (folder / name).write_bytes(content)


def _cut(folder: Path) -> None:
    _with(folder)
    path = folder / "bad.nii.gz"
    path.write_bytes(path.read_bytes()[:2000])


def _only(folder: Path, name: str, volume: Volume) -> None:
    write_volume(volume, folder / name)


def _second_map(folder: Path) -> None:
    _with(folder)
    write_volume(cord_label(), folder / "bad_seg-manual.nii.gz")


def _second_image(folder: Path) -> None:
    _with(folder)
    write_volume(cord_image(8), folder / "bad.nrrd")


def _same_name_below(folder: Path) -> None:
    _with(folder)
    (folder / "below").mkdir()
    put_case(folder / "below", "bad", 9)


def _fractions(folder: Path) -> None:
    _with(folder, label=Volume(cord_label().voxels * np.float32(0.4), GRID))


def _other_file(folder: Path, write: Callable[[Path], None]) -> None:
    _with(folder)
    write(folder / "bad.nii.gz")


def _gipl_of_other_shape(folder: Path) -> None:
    write_volume(cord_image(7), folder / "bad.nii.gz")
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((4, 48, 60), np.uint8)), str(folder / "bad_seg.gipl"))


def _description(folder: Path, text: str) -> None:
    _with(folder, label=_label_with(5))
    (folder / "bad_labels.txt").write_text("# ITK-SnAP Label Description File\n" + text, encoding="utf-8")


FAULTS: dict[str, tuple[Fault, str]] = {
    "image missing": (lambda f: _only(f, "bad_seg.nii.gz", cord_label()), "no image bad belongs"),
    "label missing": (lambda f: _only(f, "bad.nii.gz", cord_image(7)), "no label map"),
    "two label maps": (_second_map, "labels the same image"),
    "two images": (_second_image, "another image of that name"),
    "two cases of one name": (_same_name_below, "two cases are called bad"),
    "text for an image": (lambda f: _replace(f, "bad.nii.gz", b"not an image" * 99), "not a NIfTI"),
    "empty file": (lambda f: _replace(f, "bad_seg.nii.gz", b""), "empty"),
    "truncated gzip": (_cut, "cut short"),
    "NaN": (_nan, "1 voxels are NaN"),
    "4D": (lambda f: _other_file(f, _write_4d), "4 dimensions"),
    "colour": (lambda f: _other_file(f, _write_colour), "colour"),
    "no contrast": (lambda f: _with(f, image=Volume(np.full(SHAPE, 7, np.int16), GRID)), "same value everywhere"),
    "fractions": (_fractions, "not whole numbers"),
    "several labels": (lambda f: _with(f, label=_label_with(2)), "2 labels"),
    "cord and background swapped": (
        lambda f: _with(f, label=Volume(1 - cord_label().voxels, GRID)),
        "96 % of the image|97 % of the image",
    ),
    "another shape": (lambda f: _with(f, label=cord_label(shape=(60, 48, 4))), "shape 60×48×4 instead of 60×48×5"),
    "another spacing": (lambda f: _with(f, label=cord_label(grid=_moved(2, 2, 3.0))), "spacing 0.6×0.5×3 instead"),
    "another origin": (lambda f: _with(f, label=cord_label(grid=_moved(3, 0, -7.0))), "origin 3.0 mm away"),
    "another direction": (lambda f: _with(f, label=cord_label(grid=_turned())), "direction turned by 10.0°"),
    "flipped axis": (lambda f: _with(f, label=cord_label(grid=_moved(2, 2, -4.0))), "axes PRI instead of PRS"),
    "the same voxels as another patient": (lambda f: put_case(f, "bad", 1), "the same voxels as a, as another patient"),
    "format without orientation, other shape": (_gipl_of_other_shape, "format without orientation"),
    "label descriptions damaged": (lambda f: _description(f, "1 cord\n"), "line 2: expected value"),
    "cord named but not drawn": (lambda f: _description(f, '3 0 0 0 1 1 1 "Spinal cord"\n'), "does not hold label 3"),
    "workspace damaged": (lambda f: (f / "bad.itksnap").write_text("<registry>", encoding="utf-8"), "not a workspace"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_and_the_good_case_stays(name: str, tmp_path: Path) -> None:
    make, reason = FAULTS[name]
    put_case(tmp_path, "a", 1)
    make(tmp_path)
    checked = {one.name: one for one in check_folder(tmp_path)}
    assert checked["a"].usable
    refused = [one for one in checked.values() if not one.usable]
    assert len(refused) == 1
    assert refused[0].name.startswith("bad")
    assert any(part in refused[0].reason for part in reason.split("|")), refused[0].reason
    assert "Traceback" not in refused[0].reason
    assert str(tmp_path) not in refused[0].reason
    assert summary(list(checked.values()))["usable"] == len(checked) - 1


@pytest.mark.parametrize("name", ["another origin", "the same voxels as another patient", "truncated gzip"])
def test_training_is_refused_before_it_starts_or_goes_on_without(name: str, tmp_path: Path) -> None:
    make, reason = FAULTS[name]
    put_case(tmp_path, "a", 1)
    make(tmp_path)
    with pytest.raises(TrainingDataError, match=f"case bad.*{reason}"):
        cache_cases(find_cases(tmp_path), tmp_path / "cache", NormalisationConfig(size=32))
    assert not (tmp_path / "cache").exists()
    left = cache_cases(match_files(tmp_path).cases, tmp_path / "cache", NormalisationConfig(size=32), leave_out=True)
    assert left.info.source["cases"] == ["a"]


def test_odd_cases_stay_usable_with_a_remark(tmp_path: Path) -> None:
    put_case(tmp_path, "sub-1_ses-1", 1)
    put_case(tmp_path, "sub-1_ses-2", 1)  # the same patient twice
    put_case(tmp_path, "empty", 2, Volume(np.zeros(SHAPE, np.uint8), GRID))
    gap = cord_label()
    gap.voxels[:, :, 2] = 0
    put_case(tmp_path, "gap", 3, gap)
    centimetres = np.diag([0.1, 0.1, 0.1, 1.0]) @ GRID
    put_case(tmp_path, "small", 4, cord_label(grid=centimetres), cord_image(4, centimetres))
    remarks = {one.name: " ".join(one.remarks) for one in check_folder(tmp_path) if one.usable}
    assert "same voxels as sub-1_ses-1" in remarks["sub-1_ses-2"]
    assert "is empty" in remarks["empty"]
    assert "1 slices without label" in remarks["gap"]
    assert "no cord's" in remarks["small"]


def test_an_area_far_from_the_others_is_told(tmp_path: Path) -> None:
    for number in range(5):
        put_case(tmp_path, f"p{number}", number)
    wide = cord_label()
    wide.voxels[10:40, 10:38, 1:4] = 1
    put_case(tmp_path, "wide", 9, wide)
    outliers = [one.name for one in check_folder(tmp_path) if one.outlier]
    assert outliers == ["wide"]
