"""Files that say what is not so: read as what they are, refused, or told of on the case."""

from __future__ import annotations

import gzip
import shutil
import struct
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid
from scipy import ndimage

from SpinalCordSegLib.cli import main
from SpinalCordSegLib.errors import GeometryError, InputFileError, SpinalCordSegError, VoxelError
from SpinalCordSegLib.files import check_claimed_size, without_padding
from SpinalCordSegLib.image_io import Image, read_cord, read_grid, read_image, to_itk, write_volume
from SpinalCordSegLib.phantom import Phantom, PhantomConfig, make_phantom
from SpinalCordSegLib.pipeline import measure_mask
from SpinalCordSegLib.quality_control import contrast_of
from SpinalCordSegLib.volume import Volume


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
    "voxels begin at 0": (lambda n, p: stored(n, p, (108, "f", 0)), VoxelError, "begin at byte 0; expected 352"),
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


def test_a_file_of_a_series_twice_counts_once_and_two_of_one_place_do_not(dicom: Any, tmp_path: Path) -> None:
    dicom.write(tmp_path)
    shutil.copy(tmp_path / "IM71", tmp_path / "copy")
    assert read_image(tmp_path).volume.shape[0] == 4
    content = (tmp_path / "copy").read_bytes()
    (tmp_path / "copy").write_bytes(content[:-1] + b"\7")
    with pytest.raises(SpinalCordSegError, match="two slices lie at the same position"):
        read_image(tmp_path)


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
    assert [contrast_of(one, neck.mask) for one in (neck.image, bright)] == ["T1w-like", "other"]
    cord = neck.mask.voxels > 0
    fluid = ndimage.binary_dilation(cord, np.ones((1, 9, 9)))
    t2w = neck.image.with_voxels(np.select([cord, fluid], [300.0, 900.0], 100.0))
    assert contrast_of(t2w, neck.mask) == "T2w-like"
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
