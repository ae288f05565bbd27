"""DICOM series are found, chosen and read by position, never by name or number."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import SimpleITK as sitk
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1, generate_uid

from SpinalCordSegLib.dicom import find_series, list_series, read_series, series_notes
from SpinalCordSegLib.errors import DicomSeriesError, InputFileError, VoxelError
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


def test_a_series_is_chosen_by_number_or_description(dicom: Any, tmp_path: Path) -> None:
    two_series(dicom, tmp_path, {"SeriesNumber": 2, "SeriesDescription": "Localizer"})
    for wanted in ("t1W NECK", "neck", " 7 ", dicom.uid):
        assert_whole(read(tmp_path, wanted))


@pytest.mark.parametrize("left", [b"", bytes(400)])
@pytest.mark.parametrize("name", ["IM{}.dcm", "IM{}", "MR.1.2.{}"])
def test_a_copy_that_broke_off_is_noted(dicom: Any, tmp_path: Path, name: str, left: bytes) -> None:
    for k, path in enumerate(dicom.write(tmp_path, 6, change=lambda k: {"InstanceNumber": k + 1}).iterdir()):
        path.rename(tmp_path / name.format(k))
    (tmp_path / "LOCKFILE").touch()  # what some archives leave is no slice
    (tmp_path / "notes.txt").touch()
    assert series_notes(find_series(tmp_path)) == ()
    for k in (90, 91):
        (tmp_path / name.format(k)).write_bytes(left)
    (note,) = series_notes(find_series(tmp_path))
    assert "cannot be read as DICOM: 2; slices at an end of the stack may be missing" in note


def test_a_choice_that_is_not_there_or_not_clear(dicom: Any, tmp_path: Path) -> None:
    two_series(dicom, tmp_path, {})
    with pytest.raises(DicomSeriesError, match=r"2 series of .* match, give the UID"):
        find_series(tmp_path, "7")
    for wanted in ("8", "1"):  # which is in T1w
        with pytest.raises(DicomSeriesError, match="holds no series of that number, description or UID; it holds 7"):
            find_series(tmp_path, wanted)


def test_several_series_are_listed_without_patient_data(dicom: Any, tmp_path: Path) -> None:
    two_series(dicom, tmp_path, {"SeriesDescription": "neck of PEREZ", "SeriesNumber": 2})
    with pytest.raises(DicomSeriesError) as caught:
        find_series(tmp_path)
    listed = 'choose one with --series NUMBER: 2 description withheld (3 slices); 7 "T1w neck" (4 slices)'
    assert listed in str(caught.value) and len(list_series(tmp_path)) == 2
    texts = [str(caught.value), *map(repr, list_series(tmp_path)[1:]), *(one.title() for one in list_series(tmp_path))]
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


def test_a_real_head(shared_data: Path, tmp_path: Path) -> None:
    for file in sorted((shared_data / "dicom_t1w_head").iterdir())[:40]:
        (tmp_path / file.name).symlink_to(file)
    series = find_series(tmp_path)
    volume = read_series(series)
    assert (series.description, series.number, len(series.frames)) == ("anat-T1w", 401, 40)
    assert volume.ijk_shape == (274, 384, 40)
    assert volume.orientation == "LPS"
    assert volume.ijk_spacing_mm == pytest.approx((0.69999, 0.66667, 0.66667), abs=1e-4)


# Whatever makes a stack crooked or incomplete is named with file and place.


def shift(k: int, along_mm: float = 0.0, aside_mm: float = 0.0) -> dict[str, Any]:
    position = np.array([-10.0, 5.0, 100.0]) + (3 * k + along_mm) * np.array([0, -S, C]) + [aside_mm, 0, 0]
    return {"ImagePositionPatient": position.round(6).tolist()}


CROOKED: dict[str, tuple[Callable[[int], dict[str, Any]], str]] = {
    "duplicate position": (
        lambda k: shift(2) if k == 3 else {},
        r"two slices lie at the same position: IM\d\d and IM\d\d at 98\.3 mm",
    ),
    "gantry tilt": (
        lambda k: shift(k, aside_mm=0.8 * k),
        r"tilted \(gantry tilt\): IM\d5 at \d+\.\d mm lies 4\.0 mm beside the slice normal",
    ),
    "uneven steps": (
        lambda k: shift(k, along_mm=1.0 if k == 3 else 0),
        r"slice spacing varies: 4\.00 mm between IM42 at 98\.3 mm and IM13 at 102\.3 mm, usually 3\.00 mm",
    ),
    "orientation": (
        lambda k: {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]} if k == 1 else {},
        "the orientation varies: IM71 at ",
    ),
    "pixel spacing": (
        lambda k: {"PixelSpacing": [0.75, 0.6]} if k == 2 else {},
        r"the pixel spacing varies: IM42 at 98\.3 mm has \(0\.75, 0\.6\), IM00 at 92\.3 mm has \(0\.75, 0\.5\)",
    ),
    "size": (
        lambda k: {"Rows": 2, "PixelData": b"\0" * 20} if k == 2 else {},
        r"the size varies: IM42 at 98\.3 mm has \(2, 5\), IM00 at 92\.3 mm has \(4, 5\)",
    ),
    "no position": (lambda k: {"ImagePositionPatient": None}, "has no ImagePositionPatient"),
    "crooked directions": (lambda k: {"ImageOrientationPatient": [1, 0, 0, 0.6, 0.8, 0]}, "not at right angles"),
}


@pytest.mark.parametrize("case", CROOKED, ids=CROOKED.keys())
def test_a_crooked_stack_is_refused(dicom: Any, tmp_path: Path, case: str) -> None:
    change, words = CROOKED[case]
    dicom.write(tmp_path, n=6, change=change)
    with pytest.raises(DicomSeriesError, match=words) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("n", "gone", "words"),
    [
        (7, (2,), r"6\.00 mm between IM71 at 95\.3 mm and IM13 at 101\.3 mm, usually 3\.00 mm \(missing slices: 1\)"),
        (7, (2, 3), r"between IM71 at 95\.3 mm and IM84 at 104\.3 mm.*missing slices: 2"),
    ],
)
def test_missing_slices(dicom: Any, tmp_path: Path, n: int, gone: tuple[int, ...], words: str) -> None:
    dicom.write(tmp_path, n=n)
    for k in gone:
        (tmp_path / f"IM{(k * 7) % 10}{k}").unlink()
    with pytest.raises(DicomSeriesError, match=words):
        read(tmp_path)


def test_positions_rounded_as_scanners_do(dicom: Any, tmp_path: Path) -> None:
    def rounded(k: int) -> dict[str, Any]:
        return {"ImagePositionPatient": np.round(shift(k)["ImagePositionPatient"], 2).tolist()}

    dicom.write(tmp_path, n=20, change=rounded)
    np.testing.assert_allclose(read(tmp_path).ijk_to_ras[:3, :3], MATRIX[:3, :3], atol=1e-3)


# Pixels: whatever their compression, the same numbers; what cannot be read is named.


@pytest.mark.parametrize(
    ("kind", "words"), [("RGB", "are RGB, 3 values"), ("MONOCHROME2", "3 values"), ("", "no kind")]
)
def test_colour_is_refused(dicom: Any, tmp_path: Path, kind: str, words: str) -> None:
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": kind, "PixelData": b"\0" * 120}
    dicom.write(tmp_path, change=lambda k: colour)
    with pytest.raises(VoxelError, match=words):
        read(tmp_path)


def lossless_jpeg(values: np.ndarray, folder: Path) -> bytes:
    """Encapsulated pixel data as GDCM makes it."""
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(folder / "packed.dcm"))
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG")
    writer.Execute(sitk.GetImageFromArray(values))
    dataset = dcmread(folder / "packed.dcm")
    (folder / "packed.dcm").unlink()
    assert dataset.file_meta.TransferSyntaxUID == JPEGLosslessSV1
    return dataset.PixelData


def set_encapsulated(dataset: Dataset, data: bytes) -> None:
    dataset.PixelData = data
    dataset["PixelData"].is_undefined_length = True
    dataset["PixelData"].VR = "OB"


def test_lossless_jpeg_is_undone(dicom: Any, tmp_path: Path, save_dicom: Callable[..., Path]) -> None:
    for k in range(4):
        one = dicom.slice(k, RescaleIntercept=-5, RescaleSlope=1)
        set_encapsulated(one, lossless_jpeg(np.frombuffer(one.PixelData, np.int16).reshape(4, 5), tmp_path))
        save_dicom(one, tmp_path / "series" / f"{k}.dcm", JPEGLosslessSV1)
    np.testing.assert_array_equal(read(tmp_path / "series").ijk, expected() - 5)


def test_jpeg_2000_is_undone(dicom: Any, tmp_path: Path, save_dicom: Callable[..., Path]) -> None:
    for k in range(4):
        one, packed = dicom.slice(k, PixelRepresentation=0), io.BytesIO()
        values = np.frombuffer(one.PixelData, np.uint16).reshape(4, 5)
        PIL.Image.fromarray(values).save(packed, "JPEG2000", no_jp2=True, num_resolutions=1)
        set_encapsulated(one, encapsulate([packed.getvalue()]))
        save_dicom(one, tmp_path / f"{k}.dcm", JPEG2000Lossless)
    np.testing.assert_array_equal(read(tmp_path).ijk, expected())


def test_compression_that_cannot_be_undone(
    dicom: Any, tmp_path: Path, save_dicom: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    one = dicom.slice(0)
    set_encapsulated(one, encapsulate([b"rubbish!"]))
    save_dicom(one, tmp_path / "x.dcm", JPEGLosslessSV1)
    with pytest.raises(DicomSeriesError, match=r"x\.dcm is compressed \(JPEG Lossless.*convert the series"):
        read(tmp_path)
    assert capfd.readouterr().err == ""
