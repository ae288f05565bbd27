"""DICOM series are found, chosen and read by position, never by name or number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian, generate_uid

from SpinalCordSegLib.dicom import find_series, list_series, read_series
from SpinalCordSegLib.errors import DicomSeriesError, InputFileError
from SpinalCordSegLib.volume import Volume

# The stack of conftest.py in RAS: x and y of DICOM's LPS turned round.
C, S = np.cos(np.radians(20)), np.sin(np.radians(20))
MATRIX = np.array([[-0.5, 0, 0, 10], [0, -0.75 * C, 3 * S, -5], [0, 0.75 * S, 3 * C, 100], [0, 0, 0, 1]])


def expected(n: int = 4) -> np.ndarray:
    i, j, k = np.mgrid[0:5, 0:4, 0:n]
    return k * 100.0 + j * 10 + i


def read(path: Path, wanted: str | None = None) -> Volume:
    return read_series(find_series(path, wanted))


def assert_whole(volume: Volume, n: int = 4) -> None:
    np.testing.assert_array_equal(volume.ijk, expected(n))
    np.testing.assert_allclose(volume.ijk_to_ras, MATRIX, atol=1e-5)
    assert volume.ijk.dtype == np.float32


def test_slices_are_sorted_by_position(dicom: Any, tmp_path: Path) -> None:
    series = find_series(dicom.write(tmp_path / "José Pérez" / "ü 1"))
    assert_whole(read_series(series))
    assert series.instance_numbers == (100, 99, 98, 97)
    assert [file.name for file in series.files] == ["IM00", "IM71", "IM42", "IM13"]


def test_a_nested_folder_with_other_files(dicom: Any, tmp_path: Path, save_dicom: Callable[..., Path]) -> None:
    dicom.write(tmp_path / "study" / "series")
    (tmp_path / "study" / "notes.txt").write_text("no image" * 100)
    (tmp_path / ".DS_Store").write_bytes(b"\0" * 200)
    directory = Dataset()
    directory.SOPClassUID, directory.SOPInstanceUID = "1.2.840.10008.1.3.10", generate_uid()
    save_dicom(directory, tmp_path / "DICOMDIR")
    report = dicom.slice(9, SeriesInstanceUID=generate_uid(), Modality="SR", Rows=None, PixelData=None)
    save_dicom(report, tmp_path / "study" / "report.dcm")
    assert_whole(read(tmp_path))


def test_one_file_stands_for_its_series(dicom: Any, tmp_path: Path, save_dicom: Callable[..., Path]) -> None:
    dicom.write(tmp_path)
    save_dicom(dicom.slice(0, SeriesInstanceUID=generate_uid(), SeriesNumber=1), tmp_path / "localizer.dcm")
    assert_whole(read(tmp_path / "IM42"))


def test_implicit_vr_and_a_file_without_preamble(dicom: Any, tmp_path: Path, save_dicom: Callable[..., Path]) -> None:
    for k in range(4):
        path = save_dicom(dicom.slice(k), tmp_path / f"{k}", ImplicitVRLittleEndian)
        if k == 2:  # as old archives leave it: neither preamble nor file header
            content = path.read_bytes()
            path.write_bytes(content[content.index(b"\x08\x00\x05\x00") :])
    assert_whole(read(tmp_path))


def test_an_enhanced_file_is_sorted_and_rescaled_frame_by_frame(
    dicom: Any, tmp_path: Path, save_dicom: Callable[..., Path]
) -> None:
    save_dicom(dicom.enhanced(), tmp_path / "enhanced.dcm")
    series = find_series(tmp_path / "enhanced.dcm")
    volume = read_series(series)
    np.testing.assert_array_equal(volume.ijk, 2 * expected() - np.arange(4))
    np.testing.assert_allclose(volume.ijk_to_ras, MATRIX, atol=1e-5)
    assert series.instance_numbers == (2, 4, 1, 3)  # frames as stored, counted from 1
    assert (series.echo_time_ms, series.repetition_time_ms, series.flip_angle_deg) == (2.7, 8.2, 12)
    assert series.files == (tmp_path / "enhanced.dcm",)


def test_rescale_slope_and_intercept_of_each_slice(dicom: Any, tmp_path: Path) -> None:
    dicom.write(tmp_path, change=lambda k: {"RescaleSlope": k + 1, "RescaleIntercept": -10})
    np.testing.assert_array_equal(read(tmp_path).ijk, expected() * np.arange(1, 5) - 10)


def test_one_slice_takes_its_thickness(dicom: Any, tmp_path: Path) -> None:
    volume = read(dicom.write(tmp_path, n=1))
    assert volume.ijk_shape == (5, 4, 1)
    assert volume.ijk_spacing_mm == pytest.approx((0.5, 0.75, 3.0))


def two_series(dicom: Any, folder: Path, other: dict[str, Any]) -> Path:
    dicom.write(folder / "a")
    uid = generate_uid()
    type(dicom)().write(folder / "b", 3, lambda k: {"SeriesInstanceUID": uid, **other})
    return folder


def test_several_series_are_listed_and_one_is_asked_for(dicom: Any, tmp_path: Path) -> None:
    two_series(dicom, tmp_path, {"SeriesNumber": 2, "SeriesDescription": "Localizer"})
    with pytest.raises(DicomSeriesError) as caught:
        find_series(tmp_path)
    assert 'choose one with --series NUMBER: 2 "Localizer" (3 slices); 7 "T1w neck" (4 slices)' in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(list_series(tmp_path)) == 2


@pytest.mark.parametrize("wanted", ["7", "T1w neck", "t1W NECK", "neck", " 7 "])
def test_a_series_is_chosen_by_number_or_description(dicom: Any, tmp_path: Path, wanted: str) -> None:
    two_series(dicom, tmp_path, {"SeriesNumber": 2, "SeriesDescription": "Localizer"})
    assert_whole(read(tmp_path, wanted))
    assert_whole(read(tmp_path, dicom.uid))


def test_one_file_with_all_frames_is_whole_by_itself(
    dicom: Any, save_dicom: Callable[..., Path], tmp_path: Path
) -> None:
    save_dicom(dicom.enhanced(), tmp_path / "all.dcm")
    (tmp_path / "of-another.dcm").touch()
    assert read(tmp_path).ijk_shape[2] == 4


@pytest.mark.parametrize("left", [b"", bytes(400)])
@pytest.mark.parametrize("name", ["IM{}.dcm", "IM{}", "MR.1.2.{}"])
def test_a_copy_that_broke_off_is_no_shorter_series(dicom: Any, tmp_path: Path, name: str, left: bytes) -> None:
    for k, path in enumerate(dicom.write(tmp_path, 6).iterdir()):
        path.rename(tmp_path / name.format(k))
    (tmp_path / "LOCKFILE").touch()  # what some archives leave is no slice
    (tmp_path / "notes.txt").touch()
    assert read(tmp_path).ijk_shape[2] == 6
    for k in (90, 91):
        (tmp_path / name.format(k)).write_bytes(left)
    with pytest.raises(InputFileError, match=r"90.* holds nothing or cannot be read \(2 such files\)"):
        read(tmp_path)


def test_a_slice_of_which_nothing_can_be_read_is_told(dicom: Any, tmp_path: Path) -> None:
    """At an end of the stack no gap would tell of it."""
    dicom.write(tmp_path)
    (tmp_path / "IM99").write_bytes(bytes(128) + b"DICM" + b"\xff" * 40)
    with pytest.raises(InputFileError, match="IM99 begins as DICOM but its header is damaged"):
        read(tmp_path)


def test_a_choice_that_is_not_there_or_not_clear(dicom: Any, tmp_path: Path) -> None:
    two_series(dicom, tmp_path, {})
    with pytest.raises(DicomSeriesError, match=r"2 series of .* match, give the UID"):
        find_series(tmp_path, "7")
    with pytest.raises(DicomSeriesError, match="holds no series of that number, description or UID; it holds 7"):
        find_series(tmp_path, "8")


def test_no_patient_data_in_lists_and_reprs(dicom: Any, tmp_path: Path) -> None:
    two_series(dicom, tmp_path, {"SeriesDescription": "neck of PEREZ", "SeriesNumber": 2})
    with pytest.raises(DicomSeriesError) as caught:
        find_series(tmp_path)
    texts = [str(caught.value), *map(repr, list_series(tmp_path)[1:]), *(one.title() for one in list_series(tmp_path))]
    assert "2 description withheld (3 slices)" in texts[0]
    assert not any(word in text.casefold() for text in texts for word in ("perez", "pérez", "josé", "123456"))


def test_a_folder_without_images_and_a_file_without_image(
    dicom: Any, tmp_path: Path, save_dicom: Callable[..., Path]
) -> None:
    with pytest.raises(InputFileError, match="holds no DICOM image"):
        find_series(tmp_path)
    path = save_dicom(dicom.slice(0, Modality="SR", Rows=None, PixelData=None), tmp_path / "report.dcm")
    with pytest.raises(InputFileError, match=r"report\.dcm is DICOM but holds no acquired image"):
        find_series(path)


@pytest.mark.filterwarnings("ignore:Invalid value for VR")  # pydicom, while the test writes them
def test_odd_header_values_stay_quiet_and_on_one_line(
    dicom: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    dicom.write(tmp_path / "a", change=lambda k: {"SeriesDescription": "neck\nfor\tPEREZ^JOSE"})
    odd = {"SeriesInstanceUID": "1.02.x", "SeriesDescription": "two\nlines", "SeriesNumber": None}
    dicom.write(tmp_path / "b", change=lambda k: odd)
    with pytest.raises(DicomSeriesError) as caught:
        find_series(tmp_path)
    assert str(caught.value).endswith('7 description withheld (4 slices); no number "two lines" (4 slices)')
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_a_contrast_agent_is_seen(dicom: Any, tmp_path: Path) -> None:
    for name, agent in (("a", "Gadovist"), ("b", "NONE"), ("c", "")):
        dicom.write(tmp_path / name, change=lambda k, agent=agent: {"ContrastBolusAgent": agent})
    assert [find_series(tmp_path / name).contrast_agent for name in "abc"] == [True, False, False]


def test_a_real_head(shared_data: Path) -> None:
    series = find_series(shared_data / "dicom_t1w_head")
    volume = read_series(series)
    assert (series.description, series.number, len(series.frames)) == ("anat-T1w", 401, 384)
    assert volume.ijk_shape == (274, 384, 384)
    assert volume.orientation == "LPS"
    assert volume.ijk_spacing_mm == pytest.approx((0.69999, 0.66667, 0.66667), abs=1e-4)
    assert (volume.ijk.min(), volume.ijk.max()) == (0, 278)
