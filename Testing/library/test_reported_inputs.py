"""Inputs that people reported elsewhere, each rebuilt as a tiny file and given to the command line: read as what it is,
or refused in one line that says what to do. Issues of the repositories named, on GitHub."""

from __future__ import annotations

import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread
from pydicom.uid import generate_uid

from SpinalCordSegLib.case import Case
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.image_io import read_image
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.volume import fingerprint

NECK = make_phantom(PhantomConfig(shape=(40, 44, 12), spacing_mm=(1, 1, 2.0), noise=0.01))
VOXELS, GRID = NECK.image.ijk.astype(np.int16), NECK.image.ijk_to_ras
CORD = NECK.mask.ijk.astype(np.uint8)
SAME, TURNED, NOTHING = "", "read, by its own qform", "no cord found"


def nifti(path: Path, voxels: np.ndarray = VOXELS, grid: np.ndarray = GRID, **fields: Any) -> Path:
    """By nibabel, with fields of the header set."""
    image = nibabel.Nifti1Image(voxels, grid, dtype=voxels.dtype)
    for name, value in fields.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def patched(path: Path, *fields: tuple[int, str, Any], **more: Any) -> Path:
    """The same with bytes of the header overwritten."""
    content = bytearray(nifti(path, **more).read_bytes())
    for offset, code, value in fields:
        struct.pack_into("<" + code, content, offset, *np.atleast_1d(value).tolist())
    path.write_bytes(content)
    return path


def turned(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ GRID


def with_qform(path: Path, grid: np.ndarray, code: int, sform_code: int = 1) -> Path:
    image = nibabel.Nifti1Image(VOXELS, GRID)
    image.set_sform(GRID, sform_code)
    image.set_qform(grid, code)
    nibabel.save(image, path)
    return path


def text(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def gzip_named_plain(path: Path) -> Path:
    plain = nifti(path.with_name("x.nii"))
    return Path(shutil.move(plain, path.with_name("x.nii.gz")))


def cut(path: Path) -> Path:
    content = nifti(path).read_bytes()
    path.write_bytes(content[: len(content) // 3])
    return path


def with_nan(path: Path) -> Path:
    voxels = VOXELS.astype(np.float32)
    voxels[0, 0, 0] = np.nan
    return nifti(path, voxels)


def link(path: Path) -> Path:
    path.symlink_to("../.git/annex/objects/x9/25/MD5E-s152998--c8d2.nii/MD5E-s152998--c8d2.nii")
    return path


def rgb(path: Path) -> Path:
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]), np.eye(4)), path)
    return path


def nrrd(path: Path) -> Path:
    """In RAS, as other programs write it."""
    path = path.with_suffix(".nrrd")
    axes = " ".join("(" + ",".join(f"{x:.9g}" for x in GRID[:3, k]) + ")" for k in range(3))
    origin = ",".join(f"{x:.9g}" for x in GRID[:3, 3])
    head = "NRRD0004\ntype: short\ndimension: 3\nspace: right-anterior-superior\nsizes: 40 44 12"
    head += f"\nspace directions: {axes}\nkinds: domain domain domain\nendian: little\nencoding: raw"
    head += f"\nspace origin: ({origin})\n\n"
    path.write_bytes(head.encode() + VOXELS.astype("<i2").tobytes(order="F"))
    return path


def zipped(path: Path) -> Path:
    with zipfile.ZipFile(path.with_suffix(".zip"), "w") as file:
        file.writestr("a.dcm", b"x")
    return path.with_suffix(".zip")


IMAGES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "spinalcordtoolbox#2106 qform turned against sform": (lambda p: with_qform(p, turned(5), 1), "note: qform|sform"),
    "spinalcordtoolbox#4132 codes 1 and 2, one grid": (lambda p: with_qform(p, GRID, 2), SAME),
    "spinalcordtoolbox#3249 qform of mnc2nii is damaged": (
        lambda p: patched(p, (252, "h", 1), (256, "3f", (3.0, 3.0, 3.0))), "quaternion"),
    "spinalcordtoolbox#1896 two dimensions": (lambda p: nifti(p, VOXELS[:, :, 0]), "expected 3D|3 axes|3D"),
    "nibabel#626 quaternion a hair over 1": (
        lambda p: patched(p, (252, "h", 1), (254, "h", 0), (256, "3f", (0.0, 0.0, 1.0000002))), TURNED),
    "nibabel#898 plain file called .nii.gz": (gzip_named_plain, SAME),
    "SimpleITK#1440 axes that are not at right angles": (
        lambda p: nifti(p, grid=GRID @ np.array([[1, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
                        qform_code=0), "sheared"),
    "Anima-Public#108 voxels from byte 0": (lambda p: patched(p, (108, "f", 0.0)), "expected 352"),
    "afni#336 64-bit whole numbers": (lambda p: nifti(p, VOXELS.astype(np.int64)), SAME),
    "nibabel#84 colours": (rgb, "one grey value|convert"),
    "cornerstone-nifti-image-loader#67 64-bit fractions": (lambda p: nifti(p, VOXELS.astype(np.float64)), SAME),
    "xtk/X#126 complex numbers": (lambda p: nifti(p, VOXELS.astype(np.complex64)), "magnitude"),
    "shimming-toolbox#666 a fourth axis of one": (lambda p: nifti(p, VOXELS[..., None]), SAME),
    "spinalcordtoolbox#4757 three volumes": (lambda p: nifti(p, np.stack([VOXELS] * 3, axis=-1)), "4D|one volume|3D"),
    "MONAI#1846 a voxel that is no number": (with_nan, "NaN or infinite"),
    "fmriprep#2507 no scale": (lambda p: patched(p, (112, "2f", (np.nan, np.nan))), SAME),
    "nibabel#537 cut short": (cut, "cut short"),
    "data-multi-subject#78 a file of git-annex that was not fetched": (
        lambda p: text(p, "../../.git/annex/objects/M8/X8/SHA256E-s26--c3fd.nii.gz/SHA256E-s26--c3fd.nii.gz"),
        "git annex get"),
    "reproin#69 a link of git-annex to nothing": (link, "git annex get"),
    "nibabel#548 a negative size": (lambda p: patched(p, (42, "h", -1)), "damaged|size"),
    "Seg3D#276 NRRD in RAS": (nrrd, SAME),
    "TotalSegmentator#386 a zip of DICOM": (zipped, "unpack|convert it first"),
}  # fmt: skip


def _refused_in_one_line(capfd: Any, words: str) -> None:
    lines = [line for line in capfd.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1 and "Traceback" not in lines[0], lines
    assert any(word in lines[0] for word in words.split("|")), lines


@pytest.mark.parametrize("report", IMAGES)
def test_images(report: str, tiny_model: Path, tmp_path: Path, capfd: Any) -> None:
    make, words = IMAGES[report]
    path = make(tmp_path / "x.nii")
    code = main(["segment", str(path), "--output", str(tmp_path / "out"), "--model", str(tiny_model), "--no-find"])
    is_read = words in (SAME, TURNED) or words.startswith("note:")
    assert code == (0 if is_read else 2)
    if not is_read:
        _refused_in_one_line(capfd, words)
        assert not (tmp_path / "out").exists()
        return
    image = read_image(path)
    assert Case.load(tmp_path / "out" / "x").input.fingerprint == fingerprint(image.volume)
    np.testing.assert_array_equal(image.volume.ijk.astype(np.int64), VOXELS)
    assert len(image.notes) == words.startswith("note:")
    if words == SAME:
        np.testing.assert_allclose(image.volume.ijk_to_ras, GRID, atol=1e-4)


def seg_nrrd(path: Path, voxels: np.ndarray, **segments: str) -> Path:
    image = sitk.GetImageFromArray(voxels.transpose(2, 1, 0))
    lps = np.diag([-1, -1, 1, 1]) @ GRID
    image.SetSpacing((1, 1, 2))
    image.SetDirection((lps[:3, :3] / (1, 1, 2)).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    for key, value in segments.items():
        image.SetMetaData(key, value)
    path = path.with_name("x.seg.nrrd")
    sitk.WriteImage(image, str(path))
    return path


def scaled_by_its_header(path: Path) -> Path:
    return patched(path, (112, "2f", (0.99998, 0.0)), voxels=(7 * CORD).astype(np.int16))


def layered(path: Path) -> Path:
    image = sitk.GetImageFromArray(np.stack([CORD, CORD], axis=-1), isVector=True)
    sitk.WriteImage(image, str(path.with_name("x.seg.nrrd")))
    return path.with_name("x.seg.nrrd")


def cropped(path: Path) -> Path:
    first, last = (np.array(ends) for ends in zip(*((np.min(a), np.max(a) + 1) for a in np.nonzero(CORD)), strict=True))
    grid = GRID.copy()
    grid[:3, 3] = (GRID @ [*first, 1])[:3]
    return nifti(path, CORD[tuple(map(slice, first, last))], grid)


MASKS: dict[str, tuple[Callable[[Path], Path], tuple[str, ...], str]] = {
    "nnUNet#2868 labels as fractions, 14 is the cord": (
        lambda p: nifti(p, np.where(CORD, 14.0, np.roll(CORD, 12, axis=0))), ("--label", "14"), SAME),
    "nnUNet#1777 0 and 255": (lambda p: nifti(p, 255 * CORD), (), SAME),
    "nnUNet#1007 an image in the place of a mask": (lambda p: nifti(p), (), "label"),
    "niimath#16 64-bit whole numbers": (lambda p: nifti(p, CORD.astype(np.int64)), (), SAME),
    "spinalcordtoolbox#3232 a label scaled to 6.99986": (scaled_by_its_header, (), SAME),
    "nnUNet#1287 axes that differ from the image's by 2e-8": (
        lambda p: nifti(p, CORD, turned(np.degrees(2e-8))), ("--image", "IMAGE"), SAME),
    "nnUNet#622 another spacing than the image's": (
        lambda p: nifti(p, CORD, GRID @ np.diag([1.5, 1.5, 1, 1])), ("--image", "IMAGE"), "voxel|grid"),
    "pyradiomics#239 the one label is 7": (lambda p: nifti(p, 7 * CORD), (), SAME),
    "Slicer#7738 a segmentation of slicerio, without extents": (
        lambda p: seg_nrrd(p, CORD, Segment0_Name="cord", Segment0_LabelValue="1", Segment0_Layer="0"), (), SAME),
    "Slicer#8714 a segmentation of zeros": (lambda p: seg_nrrd(p, 0 * CORD, Segment0_Name="cord"), (), NOTHING),
    "slicerio#9 segments in layers": (layered, (), "several layers"),
    "Slicer#5323 cropped to its extent": (cropped, ("--image", "IMAGE"), SAME),
}  # fmt: skip


@pytest.mark.parametrize("report", MASKS)
def test_masks(report: str, tmp_path: Path, capfd: Any) -> None:
    make, options, words = MASKS[report]
    path, image = make(tmp_path / "x.nii"), nifti(tmp_path / "image.nii")
    more = [str(image) if option == "IMAGE" else option for option in options]
    code = main(["measure", str(path), "--output", str(tmp_path / "out"), "--no-find", *more])
    assert code == (0 if words in (SAME, NOTHING) else 2)
    if code:
        _refused_in_one_line(capfd, words)
        return
    (case,) = (Case.load(folder.parent) for folder in (tmp_path / "out").glob("*/report.json"))
    assert case.volume_mm3 == pytest.approx(0 if words == NOTHING else 2.0 * CORD.sum())
    assert words in capfd.readouterr().out


Change = Callable[[int], dict[str, Any]]


def series(dicom: Any, folder: Path, change: Change | None = None, n: int = 6) -> Path:
    return dicom.write(folder, n, change)


def moved(k: int, mm: float) -> list[float]:
    return (
        np.array([-10.0, 5.0, 100.0]) + mm * np.array([0.0, -np.sin(np.radians(20)), np.cos(np.radians(20))])
    ).tolist()


def with_second(dicom: Any, folder: Path, **changes: Any) -> Path:
    """Every slice twice in the series, in other pixels."""
    series(dicom, folder, lambda k: {"EchoTime": 14.2, "ImageType": ["DERIVED", "MEAN"]})
    for path in list(folder.iterdir()):
        one = dcmread(path)
        one.SOPInstanceUID = generate_uid()
        for name, value in changes.items():
            setattr(one, name, value)
        one.PixelData = (np.frombuffer(one.PixelData, np.int16) + 7).tobytes()
        one.save_as(folder / f"{path.name}_2")
    return folder


def copied(dicom: Any, folder: Path) -> Path:
    for path in list(series(dicom, folder).iterdir()):
        for n in (1, 2):
            shutil.copy(path, folder / f"{path.name}({n}).dcm")
    return folder


def without_preamble(dicom: Any, folder: Path) -> Path:
    for path in series(dicom, folder).iterdir():
        content = path.read_bytes()
        path.write_bytes(content[132:])
    return folder


def one_of_them(dicom: Any, folder: Path) -> Path:
    return sorted(series(dicom, folder).iterdir())[2]


def mixed(dicom: Any, folder: Path) -> Path:
    """Three slices of one echo, the others of another: a copy lost the rest."""
    return series(
        dicom, folder, lambda k: {"EchoTime": 4.92 if k in (1, 3) else 7.38, "EchoNumbers": 1 + (k in (1, 3))}
    )


DICOM: dict[str, tuple[Callable[[Any, Path], Path], str]] = {
    "dcm2niix#168 one instance number and time for all": (
        lambda d, p: series(d, p, lambda k: {"InstanceNumber": 1, "AcquisitionTime": "101010"}), SAME),
    "dcm2niix#216 positions rounded to 2e-6": (
        lambda d, p: series(d, p, lambda k: {"ImagePositionPatient": moved(k, 3 * k + (2e-6 if k == 1 else 0))}), SAME),
    "dcm2niix#300 two derived images in one series": (
        lambda d, p: with_second(d, p, ImageType=["DERIVED", "RMS"]), 'DERIVED\\RMS" (6 slices)'),
    "dcm2niix#692 two echoes in one series": (
        lambda d, p: with_second(d, p, EchoTime=54.64), '--series NUMBER: 7 "T1w neck, echo 14.2'),
    "dcm2niix#82 an echo of which slices are lost": (mixed, 'echo 4.92 ms" (2 slices)'),
    "dcm2niix#468 slices missing within": (
        lambda d, p: series(d, p, lambda k: {"ImagePositionPatient": moved(k, 3 * k + 60 * (k > 3))}), "missing"),
    "dcm2niix#539 one position twice, one missing": (
        lambda d, p: series(d, p, lambda k: {"ImagePositionPatient": moved(k, 3 * k * (k != 1))}), "same position"),
    "dcm2niix#837 each file three times": (copied, SAME),
    "dcm2niix#253 a gantry that was tilted": (
        lambda d, p: series(d, p, lambda k: {"ImagePositionPatient": [-10, 5 + 0.6 * k, 100 + 3.0 * k]}), "tilt"),
    "pydicom#150 without preamble and DICM": (without_preamble, SAME),
    "Slicer#3999 letters of other languages in the path": (lambda d, p: series(d, p / "Müller ÅŁ 颈椎"), SAME),
    "TotalSegmentator#282 one file of a series": (one_of_them, SAME),
    "dcm2niix#463 a file that is no image among them": (
        lambda d, p: text(series(d, p) / "IM-0165-0952.dcm", "not DICOM").parent, SAME),
}  # fmt: skip


@pytest.mark.parametrize("report", DICOM)
def test_dicom(report: str, dicom: Any, tiny_model: Path, tmp_path: Path, capfd: Any) -> None:
    make, words = DICOM[report]
    path = make(dicom, tmp_path / "study")
    code = main(["segment", str(path), "--output", str(tmp_path / "out"), "--model", str(tiny_model), "--no-find"])
    assert code == (0 if words == SAME else 2), capfd.readouterr().err
    if words != SAME:
        _refused_in_one_line(capfd, words)
        return
    right = read_image(dicom.write(tmp_path / "right", 6))
    (case,) = (Case.load(folder.parent) for folder in (tmp_path / "out").glob("*/report.json"))
    assert case.input.shape == right.volume.ijk_shape
    np.testing.assert_array_equal(read_image(path).volume.ijk, right.volume.ijk)
    np.testing.assert_allclose(np.array(case.input.ijk_to_ras), right.volume.ijk_to_ras, atol=1e-3)


def test_one_of_several_volumes_is_chosen_by_words_or_by_a_file(dicom: Any, tmp_path: Path) -> None:
    folder = with_second(dicom, tmp_path / "study", EchoTime=54.64)
    right = read_image(dicom.write(tmp_path / "right", 6)).volume.ijk
    second = sorted(folder.glob("*_2"))[1]
    for path, words, added in ((folder, "echo 14.2", 0), (folder, "echo 54.64", 7), (second, None, 7)):
        image = read_image(path, words)
        np.testing.assert_array_equal(image.volume.ijk, right + added)
        assert image.dicom is not None and image.dicom.echo_time_ms == (54.64 if added else 14.2)
