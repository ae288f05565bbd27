"""Damaged, hostile and odd files, tables and headers, and such as say what is not so: each is read as what it is, told
of on the case, or refused in one clear line with nothing half-written."""

import contextlib
import errno
import gzip
import json
import os
import struct
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless, generate_uid
from scipy import ndimage

from SpinalCordSegLib.case import save_case
from SpinalCordSegLib.case_folder import restore_interrupted
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.errors import (
    DicomSeriesError,
    GeometryError,
    InputFileError,
    OutputError,
    VoxelError,
)
from SpinalCordSegLib.files import check_claimed_size, read_table, remove_abandoned_parts
from SpinalCordSegLib.identity import safe_case_name
from SpinalCordSegLib.image_io import Image, read_cord, read_grid, read_image, to_itk, write_volume
from SpinalCordSegLib.phantom import Phantom, PhantomConfig, make_phantom
from SpinalCordSegLib.pipeline import measure_mask
from SpinalCordSegLib.quality_control import contrast_of
from SpinalCordSegLib.training_set import add_to_training_set
from SpinalCordSegLib.volume import Volume, without_padding
from SpinalCordSegLib.work_list import read_work_list

MASK = make_phantom(PhantomConfig(shape=(40, 32, 3), spacing_mm=(0.7, 0.9, 4.0))).mask
_NRRD = (
    "NRRD0004\ntype: {}\ndimension: 3\nspace: left-posterior-superior\nsizes: {}\nspace directions: (1,0,0) (0,1,0)"
    " (0,0,1)\nkinds: domain domain domain\nendian: little\nencoding: raw\nspace origin: (0,0,0)\n\n"
)
_META = (
    "ObjectType = Image\nNDims = {}\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
    "DimSize = {}\nElementSpacing = 1 1 1\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
)
DEEP = "[" * 100_000


def _refused(capsys, path: Path, words: str, output: Path) -> None:
    assert main(["measure", str(path), "--output", str(output)]) in (1, 2)
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and words in error and "unexpected" not in error, error
    assert not output.exists() or not any(output.iterdir())


def _text(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def _nifti(path: Path, **fields: tuple[int, str, float]) -> Path:
    write_volume(MASK, path)
    data = bytearray(path.read_bytes())
    for offset, code, value in fields.values():
        struct.pack_into("<" + code, data, offset, value)
    path.write_bytes(bytes(data))
    return path


_BAD = {
    "NRRD of 8 GB": (lambda at: _text(at / "x.nrrd", _NRRD.format("short", "2000 2000 1000")), "cut short"),
    "MetaImage of 10^12 voxels": (lambda at: _text(at / "x.mha", _META.format(3, "10000 10000 10000")), "claims"),
    "MetaImage of 32767 axes": (lambda at: _text(at / "x.mha", _META.format(32767, "4 4 4")), "NDims"),
    "NIfTI whose voxels begin at NaN": (
        lambda at: _nifti(at / "x.nii", begin=(108, "f", float("nan"))),
        "begin at byte nan",
    ),
}


@pytest.mark.parametrize("kind", _BAD)
def test_headers_that_claim_the_impossible(kind: str, tmp_path: Path, capsys) -> None:
    make, words = _BAD[kind]
    _refused(capsys, make(tmp_path), words, tmp_path / "out")


@pytest.mark.skipif(os.name != "posix", reason="pipes, and names that are no text, as POSIX has them")
def test_pipes_devices_and_names_that_are_no_text(tmp_path: Path, capsys) -> None:
    os.mkfifo(tmp_path / "pipe.nii.gz")
    _refused(capsys, tmp_path / "pipe.nii.gz", "a pipe or a device", tmp_path / "out")
    (tmp_path / "zero.nii.gz").symlink_to("/dev/zero")
    _refused(capsys, tmp_path / "zero.nii.gz", "a pipe or a device", tmp_path / "out")
    foreign = tmp_path / os.fsdecode(b"neck\xff.nii.gz")
    foreign.write_bytes(b"x" * 400)
    _refused(capsys, foreign, "not UTF-8", tmp_path / "out")
    with pytest.raises(InputFileError, match="not UTF-8"):
        read_grid(foreign)
    with pytest.raises(OutputError, match="not UTF-8"):
        write_volume(MASK, tmp_path / os.fsdecode(b"\xff.nii.gz"))


def test_a_result_taken_away_and_not_replaced_comes_back(tmp_path: Path) -> None:
    """What kill -9 leaves between the two renames of a replacement."""
    case = tmp_path / "neck"
    save_case(measure_mask(MASK, "neck"), case, has_pictures=False)
    (case / "mine.txt").write_text("mine")
    hidden = case.with_name(".neck.0123456789ab.old")
    case.rename(hidden)
    assert [item.case for item in read_work_list(tmp_path).items] == ["neck"]
    assert (case / "mine.txt").read_text() == "mine" and not hidden.exists()
    # and where the new one was in place already, only what is not ours comes along
    hidden.mkdir()
    for name in ("other.txt", "slices.csv"):
        (hidden / name).write_text("old")
    restore_interrupted(tmp_path)
    assert (case / "other.txt").read_text() == "old" != (case / "slices.csv").read_text() and not hidden.exists()


def test_only_old_remains_of_ours_are_removed(tmp_path: Path) -> None:
    names = (".neck.0123456789ab.part", ".0123456789ab.part.csv", ".part", "neck.part", ".mine.part")
    for name in names:
        _text(tmp_path / name, "x")
    half = tmp_path / ".neck.abcdef012345.part"
    half.mkdir()
    _text(half / "mask.nii.gz", "x")
    remove_abandoned_parts(tmp_path)
    remove_abandoned_parts(tmp_path / "gone")
    assert len(list(tmp_path.iterdir())) == len(names) + 1  # they may be somebody's who is writing
    remove_abandoned_parts(tmp_path, age_s=-1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.part", ".part", "neck.part"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, r"cannot be read \(No such file"),
        ("disc;mm\nC2/C3 für;4".encode("latin-1"), "not UTF-8 text; save"),
        (b"disc;mm\nC2/C3;4\0", "zero byte"),
        (b"case,group,Group\na,1,2\n", "two columns group"),
    ],
)
def test_a_table_that_cannot_be_read(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputFileError, match=words):
        read_table(tmp_path / "t.csv")


def test_an_image_is_read_without_a_stderr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under pythonw."""

    def refuse(_: int) -> int:
        raise OSError(errno.EBADF, "bad file descriptor")

    write_volume(MASK, tmp_path / "x.nrrd")
    monkeypatch.setattr(os, "dup", refuse)
    assert np.array_equal(read_image(tmp_path / "x.nrrd").volume.voxels, MASK.voxels)


def test_a_gzip_whose_header_claims_more_than_any_volume_has_is_not_unpacked(tmp_path: Path, capsys) -> None:
    write_volume(MASK, tmp_path / "x.nii")
    data = bytearray((tmp_path / "x.nii").read_bytes())
    struct.pack_into("<4h", data, 40, 3, 32767, 32767, 32767)
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(bytes(data) + bytes(1 << 22), 1))
    _refused(capsys, tmp_path / "bomb.nii.gz", "claims 32767×32767×32767 voxels", tmp_path / "out")


def test_deflated_dicom_is_refused_before_it_is_unpacked(tmp_path: Path, dicom) -> None:
    for path in dicom.write(tmp_path).iterdir():
        one = dcmread(path)
        one.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        one.save_as(path)
    with pytest.raises(InputFileError, match="deflated DICOM"):
        read_image(tmp_path)


def test_compressed_dicom_whose_header_claims_gigabytes(tmp_path: Path, dicom) -> None:
    for path in dicom.write(tmp_path).iterdir():
        one = dcmread(path)
        one.compress(RLELossless)
        one.Rows = one.Columns = 65535
        one.save_as(path)
    with pytest.raises(InputFileError, match="claims"):
        read_image(tmp_path)


@pytest.mark.parametrize("table", ["person,folder\nP1," + "a" * 200_000, "", "person\n", "person,folder\n,x\n"])
def test_manifests_of_visits_that_are_no_table(tmp_path: Path, capsys: Any, table: str) -> None:
    (tmp_path / "visits.csv").write_text(table)
    assert main(["follow-up", str(tmp_path / "visits.csv"), "--output", str(tmp_path / "t")]) == 2
    assert "visits.csv" in capsys.readouterr().err and not (tmp_path / "t").exists()


def test_side_files_nested_without_end(tmp_path: Path) -> None:
    write_volume(MASK, tmp_path / "neck.nii.gz")
    (tmp_path / "neck.json").write_text(DEEP)
    assert safe_case_name(tmp_path / "neck.nii.gz") == "neck"
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "sub-P1_ses-1.json").write_text(DEEP)
    assert add_to_training_set(tmp_path / "set", MASK, MASK, "P1").added


def test_a_dicom_file_of_a_thousand_million_frames(dicom: Any, tmp_path: Path, save_dicom: Any) -> None:
    one = dicom.enhanced()
    one.NumberOfFrames = 1_000_000_000
    save_dicom(one, tmp_path / "x.dcm", ExplicitVRLittleEndian)
    with pytest.raises(InputFileError, match="claims 1000000000×4×5 voxels"):
        read_image(tmp_path)


@pytest.mark.parametrize(
    "changes", [{"Rows": 2}, {"Columns": 10, "Rows": 2}, {"BitsAllocated": 8}, {"NumberOfFrames": 3}]
)
def test_dicom_pixels_that_are_not_those_of_the_header(dicom: Any, tmp_path: Path, changes: dict[str, int]) -> None:
    dicom.write(tmp_path, change=lambda k: changes if k == 1 else {})
    with pytest.raises((InputFileError, DicomSeriesError)):
        read_image(tmp_path)


@pytest.mark.parametrize("keyword", ["InstanceNumber", "SeriesNumber", "NumberOfFrames"])
def test_a_dicom_number_that_is_infinite(dicom: Any, tmp_path: Path, keyword: str) -> None:
    """As text in a field of whole numbers: whether it is refused or passed over, it is no crash."""
    dicom.write(tmp_path)
    for path in tmp_path.iterdir():
        one = dcmread(path)
        tag = Tag(keyword)
        one._dict[tag] = RawDataElement(tag, "IS", 6, b"1e999 ", 0, False, True)
        one.save_as(path)
    with contextlib.suppress(InputFileError, DicomSeriesError):
        assert read_image(tmp_path).volume.ijk_shape == (5, 4, 4)


def test_a_number_of_thousands_of_digits_in_an_nrrd(tmp_path: Path) -> None:
    """It ended the whole program, inside ITK."""
    header = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nspacings: 1 {} 1\nencoding: raw\nendian: little\n"
    (tmp_path / "x.nrrd").write_bytes((header.format("9" * 5000) + "\n").encode() + bytes(8))
    with pytest.raises(InputFileError, match="100 digits"):
        read_image(tmp_path / "x.nrrd")
    (tmp_path / "y.nrrd").write_bytes((header.format("1") + "remark:=" + "9" * 5000 + "\n\n").encode() + bytes(8))
    assert read_image(tmp_path / "y.nrrd").volume.ijk_shape == (2, 2, 2)


# Odd volumes and a full disk: an answer with a flag, or one clear line and no file left.


SHAPE = (40, 32, 4)


def _stored(path: Path, voxels: np.ndarray, pixel_mm: tuple[float, float] = (0.7, 0.9)) -> Path:
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([*pixel_mm, 3.0, 1.0])), path)
    return path


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot limit the size of files")
def test_full_disk_leaves_no_partial_file(tmp_path, capsys, file_size_limit):
    """A limit on file size stands for the disk: the mask fits, the montage does not."""
    mask = _stored(tmp_path / "mask.nii.gz", np.ones(SHAPE, np.uint8))
    with file_size_limit(4000):
        _refused(capsys, mask, "cannot write", tmp_path / "out")


def _report(folder: Path) -> dict:
    content = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert content["flags"], "an odd volume must raise a flag"
    return content


@pytest.mark.parametrize(
    ("voxels", "pixel_mm"),
    [
        (np.full(SHAPE, 7.0), (0.7, 0.9)), (np.random.default_rng(0).random((40, 32, 1)), (0.7, 0.9)),
        (np.zeros((40, 32, 1)), (0.7, 0.9)), (np.random.default_rng(0).integers(0, 200, (1200, 1200, 1)), (0.05, 0.05)),
    ],
    ids=["of one value", "one slice", "black", "very small pixels"],
)  # fmt: skip
def test_odd_images_get_an_answer(voxels, pixel_mm, tiny_model, tmp_path):
    image = _stored(tmp_path / "odd.nii", voxels.astype(np.float32), pixel_mm)
    arguments = ["segment", image, "--model", tiny_model, "--device", "cpu", "--output", tmp_path / "out"]
    assert main([str(argument) for argument in arguments]) == 0
    content = _report(tmp_path / "out" / "odd")
    assert content["volume_mm3"] >= 0 and content["input"]["shape"] == list(voxels.shape)


@pytest.mark.parametrize(
    ("n_slices", "n_filled", "mean_mm2"),
    [(4, 0, None), (4, 1, pytest.approx(80 * 0.63)), (1, 1, pytest.approx(80 * 0.63))],
)
def test_odd_masks_get_an_answer(n_slices, n_filled, mean_mm2, tmp_path):
    voxels = np.zeros((40, 32, n_slices), np.uint8)
    voxels[15:25, 12:20, :n_filled] = 1
    mask = _stored(tmp_path / "mask.nii.gz", voxels)
    assert main(["measure", str(mask), "--output", str(tmp_path / "out")]) == 0
    content = _report(tmp_path / "out" / "mask")
    assert (content["mean_csa_mm2"], content["n_slices"]) == (mean_mm2, n_filled)
    assert ("tilt" in {flag["kind"] for flag in content["flags"]}) == bool(n_filled)


# Files that say what is not so: read as what they are, refused, or told of on the case.


@pytest.fixture(scope="module")
def neck() -> Phantom:
    """76 mm of cord of 73 mm², as on a T1w image."""
    return make_phantom(PhantomConfig(shape=(48, 56, 38), spacing_mm=(1, 1, 2.0), cord_csa_mm2=70, noise=0.01))


def stored(neck: Phantom, path: Path, *fields: tuple[int, str, float], scale: float = 1.0) -> Path:
    """The neck as int16 NIfTI, its grid in a unit of 1/``scale`` mm, and fields of its header overwritten."""
    matrix = np.diag([scale, scale, scale, 1]) @ neck.image.ijk_to_ras
    image = neck.image.with_voxels(neck.image.voxels.astype(np.int16))
    write_volume(image, path)
    content = bytearray(path.read_bytes())
    if scale != 1:
        struct.pack_into("<3f", content, 80, *(scale * np.array(image.ijk_spacing_mm)))
        struct.pack_into("<12f", content, 280, *matrix[:3].ravel())
        struct.pack_into("<3f", content, 268, *matrix[:3, 3])
    for offset, code, value in fields:
        struct.pack_into("<" + code, content, offset, value)
    path.write_bytes(content)
    return path


def packed(neck: Phantom, path: Path) -> Path:
    stored(neck, path)
    path.write_bytes(gzip.compress(path.read_bytes(), 1))
    return path


def sheared(neck: Phantom, path: Path) -> Path:
    """By 0.09° in the sform, beside a good qform."""
    stored(neck, path)
    first = struct.unpack_from("<f", path.read_bytes(), 280)[0]
    return stored(neck, path, (284, "f", float(first * np.tan(np.radians(0.09)))))


READ: dict[str, Callable[[Phantom, Path], Path]] = {
    "as it is": lambda neck, path: stored(neck, path),
    "gzip called .nii": packed,
    "sform sheared by a hair": sheared,
    "micrometres": lambda neck, path: stored(neck, path, (123, "B", 3), scale=1000.0),
    "metres": lambda neck, path: stored(neck, path, (123, "B", 1), scale=0.001),
}


@pytest.mark.parametrize("kind", READ)
def test_read_as_what_it_is(neck: Phantom, tmp_path: Path, kind: str) -> None:
    image = read_image(READ[kind](neck, tmp_path / "neck.nii"))
    np.testing.assert_array_equal(image.volume.ijk, neck.image.ijk.astype(np.int16))
    np.testing.assert_allclose(image.volume.ijk_to_ras, neck.image.ijk_to_ras, atol=2e-3)
    assert image.notes == ()


def behind(neck: Phantom, path: Path) -> Path:
    packed(neck, path)
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(10_000), 1))
    return path


REFUSED: dict[str, tuple[Callable[[Phantom, Path], Path], type[Exception], str]] = {
    "voxels begin at 176": (lambda n, p: stored(n, p, (108, "f", 176)), VoxelError, "begin at byte 176"),
    "mm called micrometres": (lambda n, p: stored(n, p, (123, "B", 3)), GeometryError, "which no MR volume has"),
    "mm called metres": (lambda n, p: stored(n, p, (123, "B", 1)), GeometryError, "which no MR volume has"),
    "more voxels than announced": (behind, InputFileError, "its header is damaged"),
    "fewer rows announced": (
        lambda n, p: stored(n, p, (44, "h", 7)),
        InputFileError,
        "cut short, or its header is damaged",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(neck: Phantom, tmp_path: Path, kind: str) -> None:
    make, error, words = REFUSED[kind]
    with pytest.raises(error, match=rf"x\.nii:? .*{words}"):
        read_grid(make(neck, tmp_path / "x.nii"))


@pytest.mark.parametrize(("side", "is_refused"), [(1025, True), (1024, False)])
def test_gigabytes_in_a_small_file(tmp_path: Path, side: int, is_refused: bool) -> None:
    """A mask of 1024³ may be packed to a 600th; what is larger and packed so is no image."""
    (tmp_path / "x.nrrd").write_bytes(bytes(side**3 // 600))
    with pytest.raises(InputFileError, match="claims") if is_refused else nullcontext():
        check_claimed_size(tmp_path / "x.nrrd", (side, side, side), 1)


@pytest.mark.parametrize(
    ("values", "right"),
    [
        ([-32768, 5, 0, 900], [0, 5, 0, 900]),
        ([-2000, -40, 900], [-40, -40, 900]),
        ([-800, 5, 900], [-800, 5, 900]),  # a filter's overshoot, or air in CT
        ([-5, -3, -900], [-5, -3, -900]),
        ([0, 5, 9], [0, 5, 9]),
    ],
)
def test_padding_is_as_dark_as_the_darkest(values: list[float], right: list[float]) -> None:
    np.testing.assert_array_equal(without_padding(np.array(values, np.float32)), right)


# DICOM series.


def test_padding_of_a_series(dicom: Any, tmp_path: Path) -> None:
    def padded(k: int) -> dict[str, Any]:
        one = dicom.slice(k)
        values = np.frombuffer(one.PixelData, np.int16).copy()
        values[:5] = -32768
        return {"PixelData": values.tobytes(), "PixelPaddingValue": -32768}

    assert read_image(dicom.write(tmp_path, change=padded)).volume.voxels.min() == 10


def test_one_frame_a_file(dicom: Any, tmp_path: Path, save_dicom: Callable[..., Path]) -> None:
    whole = dicom.enhanced()
    frames, pixels = whole.PerFrameFunctionalGroupsSequence, np.frombuffer(whole.PixelData, np.int16).reshape(4, -1)
    for n in range(4):
        whole.NumberOfFrames, whole.SOPInstanceUID = 1, generate_uid()
        whole.PerFrameFunctionalGroupsSequence = Sequence([frames[n]])
        whole.PixelData = pixels[n].tobytes()
        save_dicom(whole, tmp_path / f"IM{n}")
    assert read_image(tmp_path / "IM1").volume.shape[0] == 4


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "begins otherwise": (
        lambda content: b"\xff" * 300 + content[300:],
        "that cannot be read as DICOM: 1; slices at an",
    ),
    "cut in its header": (lambda content: content[:200], "begins as DICOM but its header is damaged"),
    "nothing to read": (lambda content: content[:132] + b"\xff" * 40, "begins as DICOM but its header is damaged"),
    "cut in its pixels": (lambda content: content[:-20], "the pixel data are missing or cut short"),
    "gone": (lambda content: b"", "begin at 2, not at 1; slices at an end"),
}


@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_slice_at_an_end(dicom: Any, tmp_path: Path, place: int, kind: str) -> None:
    damage, words = DAMAGE[kind]
    dicom.write(tmp_path, 6, change=lambda k: {"InstanceNumber": k + 1 if place == 0 else 6 - k})
    assert read_image(tmp_path).notes == ()
    file = read_image(tmp_path).dicom.files[place]  # type: ignore[union-attr]
    content = damage(file.read_bytes())
    file.write_bytes(content) if content else file.unlink()
    try:
        image = read_image(tmp_path)
    except InputFileError as error:
        assert words in str(error)
    else:
        assert [words in note and "IM" not in note for note in image.notes] == [True]


@pytest.mark.parametrize(
    ("keyword", "stated", "words"),
    [
        ("ImagesInAcquisition", 6, "states 6 images, and 5 are there"),
        ("NumberOfSeriesRelatedInstances", 6, "states 6 images, and 5 are there"),
        ("ImagesInAcquisition", 5, ""), ("ImagesInAcquisition", 10, ""),
    ],
)  # fmt: skip
def test_a_stated_number_of_images_tells_that_the_last_is_missing(
    dicom: Any, tmp_path: Path, keyword: str, stated: int, words: str
) -> None:
    dicom.write(tmp_path, 5, change=lambda k: {keyword: stated, "InstanceNumber": k + 1})
    assert [words in note for note in read_image(tmp_path).notes] == [True] * bool(words)


def test_a_second_echo_misses_no_slice(dicom: Any, tmp_path: Path) -> None:
    dicom.write(tmp_path, 4, change=lambda k: {"InstanceNumber": 5 + k})
    assert read_image(tmp_path).notes == ()


# Sizes that no neck has, and other contrasts.


def kinds(neck: Phantom, scale: tuple[float, float, float], image: Volume | None = None) -> set[str]:
    matrix = neck.mask.ijk_to_ras @ np.diag([*scale, 1.0])
    mask = Volume(neck.mask.voxels, matrix)
    behind_it = None if image is None else Image(Volume(image.voxels, matrix), Path("x.nii"), "x")
    return {flag.kind for flag in measure_mask(mask, "x", image=behind_it).flags}


@pytest.mark.parametrize(
    ("scale", "is_told"),
    [
        ((1, 1, 1), False), ((0.9, 0.9, 1), False), ((1.1, 1.1, 1), False), ((0.7, 0.7, 1), True),
        ((1.3, 1.3, 1), True), ((1, 1, 3), True), ((1, 1, 1.5), False),
    ],
)  # fmt: skip
def test_a_wrong_voxel_size_where_anatomy_tells(
    neck: Phantom, scale: tuple[float, float, float], is_told: bool
) -> None:
    assert ("implausible_size" in kinds(neck, scale)) == is_told


def test_the_sizes_of_healthy_people_are_no_surprise(shared_data: Path) -> None:
    long = shared_data / "t2_masked" / "errsm_18_T2w_seg-manual.nii.gz"
    for path in (*shared_data.glob("shapes/sub-*_T1w_seg*"), long):
        told = [flag for flag in measure_mask(read_cord(path)[0], "x").flags if flag.kind == "implausible_size"]
        assert told == [], path.name
    for path in shared_data.glob("shapes/*_csfseg*.nii.gz"):  # the sac with its fluid, called cord
        flags = measure_mask(read_cord(path)[0], "x").flags
        assert "implausible_size" in {flag.kind for flag in flags}, path.name


def test_bright_fluid_is_no_t1w(neck: Phantom) -> None:
    assert "contrast" not in kinds(neck, (1, 1, 1), neck.image)
    bright = neck.image.with_voxels(1000 - neck.image.voxels)
    assert "contrast" in kinds(neck, (1, 1, 1), bright)
    assert [contrast_of(one, neck.mask) for one in (neck.image, bright)] == ["T1w-like", "T2*w-like"]
    cord = neck.mask.voxels > 0
    fluid = ndimage.binary_dilation(cord, np.ones((1, 9, 9)))
    t2w, with_mt = (
        neck.image.with_voxels(np.select([cord, fluid], [300.0, grey], tissue))
        for grey, tissue in ((900.0, 100.0), (400.0, 390.0))
    )
    assert [contrast_of(one, neck.mask) for one in (t2w, with_mt)] == ["T2w-like", "other"]
    assert contrast_of(t2w, neck.mask.with_voxels(cord & False)) == ""


# Masks.


def segments(neck: Phantom, path: Path, *names: str) -> Path:
    """Label 2 is the cord, label 1 a block beside it."""
    labels = 2 * neck.mask.voxels.astype(np.uint8)
    labels[:, 2:20, 2:20] = 1
    image = to_itk(neck.mask.with_voxels(labels))
    for n, name in enumerate(names):
        for key, value in (("ID", f"S{n}"), ("Name", name), ("LabelValue", str(n + 1)), ("Layer", "0")):
            image.SetMetaData(f"Segment{n}_{key}", value)
    sitk.WriteImage(image, str(path), useCompression=True)
    return path


@pytest.mark.parametrize(
    ("names", "label", "is_cord", "words"),
    [
        (("CSF", "Spinal cord"), None, True, ""),
        (("CSF", "Spinal cord"), 2, True, ""),
        (("CSF", "Spinal cord"), 1, False, "label 1 was measured, but the file names label 2 as the spinal cord"),
        (("CSF", "Segment_2"), 1, False, "label 1 was measured, but the file names it not as the spinal cord"),
        (("Segment_1", "Segment_2"), 2, True, ""),
    ],
)
def test_the_cord_by_its_name(
    neck: Phantom, tmp_path: Path, names: tuple[str, ...], label: int | None, is_cord: bool, words: str
) -> None:
    mask, notes = read_cord(segments(neck, tmp_path / "x.seg.nrrd", *names), label)
    assert np.array_equal(mask.voxels, neck.mask.voxels) == is_cord
    assert "; ".join(notes) == words


def test_names_that_tell_nothing_leave_the_choice(neck: Phantom, tmp_path: Path) -> None:
    with pytest.raises(VoxelError, match="say which one is the cord with --label N"):
        read_cord(segments(neck, tmp_path / "x.seg.nrrd", "Segment_1", "Segment_2"))


def test_a_soft_mask_is_measured_at_one_half_and_says_so(neck: Phantom, tmp_path: Path, capsys: Any) -> None:
    write_volume(neck.coverage, tmp_path / "soft.nii.gz")
    assert main(["measure", str(tmp_path / "soft.nii.gz"), "--output", str(tmp_path / "out")]) == 0
    np.testing.assert_array_equal(read_cord(tmp_path / "out" / "soft" / "mask.nii.gz")[0].voxels, neck.mask.voxels)
    assert "at least 0.5 is measured as cord" in (tmp_path / "out" / "soft" / "report.json").read_text()
    write_volume(neck.coverage.with_voxels(neck.coverage.voxels + np.float32(0.001)), tmp_path / "map.nii.gz")
    assert main(["measure", str(tmp_path / "map.nii.gz"), "--output", str(tmp_path / "out")]) == 2
    assert "a label map is expected: threshold it first" in capsys.readouterr().err
