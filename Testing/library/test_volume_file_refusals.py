"""Volume files that cannot be used are refused in one line that names them, with nothing else on stderr."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from SpinalCordSegLib.errors import GeometryError, InputFileError, VoxelError
from SpinalCordSegLib.image_io import read_grid

STRAIGHT = np.array([[0.5, 0, 0, -10.25], [0, 0.75, 0, 20.5], [0, 0, 5, 30], [0, 0, 0, 1]])


def nifti(path: Path, voxels: np.ndarray, matrix: np.ndarray = STRAIGHT) -> Path:
    nib.save(nib.Nifti1Image(voxels, matrix), path)
    return path


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 1000, shape).astype(np.int16)


def with_pixdim(path: Path, axis: int, value: float) -> Path:
    """Spacing of one axis changed in the header of an uncompressed NIfTI."""
    content = bytearray(path.read_bytes())
    content[76 + 4 * axis : 80 + 4 * axis] = np.float32(value).tobytes()
    path.write_bytes(content)
    return path


def truncated(path: Path, share: float = 0.6) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def metaimage(path: Path, spacing: str = "0.5 0.75 5", directions: str = "1 0 0 0 1 0 0 0 1") -> Path:
    header = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
        f"TransformMatrix = {directions}\nOffset = 0 0 0\nElementSpacing = {spacing}\nDimSize = 4 5 6\n"
        "ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    path.write_bytes(header.encode() + noise(4, 5, 6).tobytes())
    return path


def nrrd(path: Path, directions: str) -> Path:
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 4 5 6\n"
        f"space directions: {directions}\nkinds: domain domain domain\nendian: little\nencoding: raw\n"
        "space origin: (0,0,0)\n\n"
    )
    path.write_bytes(header.encode() + noise(4, 5, 6).tobytes())
    return path


def itk(voxels: np.ndarray) -> sitk.Image:
    return sitk.GetImageFromArray(voxels.transpose(2, 1, 0))


def written(path: Path, image: sitk.Image) -> Path:
    sitk.WriteImage(image, str(path))
    return path


def text(path: Path) -> Path:
    path.write_text("this is no image\n" * 40)
    return path


def crc_damaged(path: Path) -> Path:
    content = bytearray(path.read_bytes())
    content[-8] ^= 0xFF
    path.write_bytes(content)
    return path


def sheared() -> np.ndarray:
    matrix = STRAIGHT.copy()
    matrix[0, 1] = 0.2
    return matrix


def not_finite(dtype: type = np.float32) -> np.ndarray:
    voxels = np.zeros((4, 5, 6), dtype)
    voxels[1, 2, 3], voxels[3, 2, 4] = np.nan, -np.inf
    return voxels


def mixed_forms(path: Path, sform_code: int, sform: np.ndarray) -> Path:
    image = nib.Nifti1Image(noise(4, 5, 6), STRAIGHT)
    image.set_qform(STRAIGHT, 1)
    image.set_sform(sform, sform_code)
    nib.save(image, path)
    return path


RGB = np.zeros((4, 5, 6), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
NOT_FINITE = r"1 voxels are NaN and 1 infinite \(one at i, j, k = \(1, 2, 3\)\)"
BAD: dict[str, tuple[Callable[[Path], Path], type[Exception], str]] = {
    "text called .nii.gz": (lambda d: text(d / "x.nii.gz"), InputFileError, "is not a NIfTI file"),
    "text called .nii": (lambda d: text(d / "x.nii"), InputFileError, "is not a NIfTI file"),
    "text called .nrrd": (lambda d: text(d / "x.nrrd"), InputFileError, "damaged or of another kind"),
    "text called .mha": (lambda d: text(d / "x.mha"), InputFileError, "damaged or of another kind"),
    "another kind": (lambda d: text(d / "x.txt"), InputFileError, "of a kind that is not read here"),
    "missing": (lambda d: d / "x.nii.gz", InputFileError, "does not exist"),
    "truncated .nii.gz": (
        lambda d: truncated(nifti(d / "x.nii.gz", noise(40, 50, 60))),
        InputFileError,
        "cut short: the gzip stream has no end",
    ),
    "truncated .nii": (lambda d: truncated(nifti(d / "x.nii", noise(4, 5, 6))), InputFileError, "is cut short: "),
    "damaged .nii.gz": (
        lambda d: crc_damaged(nifti(d / "x.nii.gz", noise(4, 5, 6))),
        InputFileError,
        "is damaged: the gzip stream",
    ),
    "truncated .nrrd": (
        lambda d: truncated(nrrd(d / "x.nrrd", "(1,0,0) (0,1,0) (0,0,1)")),
        InputFileError,
        "cut short",
    ),
    "truncated .mha": (lambda d: truncated(metaimage(d / "x.mha"), 0.9), InputFileError, "cut short"),
    "4D": (lambda d: nifti(d / "x.nii.gz", noise(4, 5, 6, 3)), GeometryError, "found 4 dimensions"),
    "2D": (lambda d: nifti(d / "x.nii.gz", noise(4, 5)), GeometryError, "found 2 dimensions"),
    "2D .mha": (
        lambda d: written(d / "x.mha", sitk.Image(4, 5, sitk.sitkUInt8)),
        GeometryError,
        "found 2 dimensions",
    ),
    "RGB": (lambda d: nifti(d / "x.nii.gz", RGB), VoxelError, "RGB colour"),
    "RGB .nrrd": (
        lambda d: written(d / "x.nrrd", sitk.Image([4, 5, 6], sitk.sitkVectorUInt8, 3)),
        VoxelError,
        "3 values per voxel",
    ),
    "complex": (lambda d: nifti(d / "x.nii.gz", np.zeros((4, 5, 6), np.complex64)), VoxelError, "complex"),
    "complex .nrrd": (
        lambda d: written(d / "x.nrrd", sitk.Image([4, 5, 6], sitk.sitkComplexFloat32)),
        VoxelError,
        "complex numbers",
    ),
    "NaN": (lambda d: nifti(d / "x.nii.gz", not_finite()), VoxelError, NOT_FINITE),
    "NaN in doubles": (lambda d: nifti(d / "x.nii", not_finite(np.float64)), VoxelError, NOT_FINITE),
    "NaN .nrrd": (lambda d: written(d / "x.nrrd", itk(not_finite())), VoxelError, NOT_FINITE),
    "sheared": (lambda d: nifti(d / "x.nii.gz", noise(4, 5, 6), sheared()), GeometryError, "sheared"),
    "sheared sform beside a good qform": (lambda d: mixed_forms(d / "x.nii", 2, sheared()), GeometryError, "sheared"),
    "sheared .nrrd": (lambda d: nrrd(d / "x.nrrd", "(1,0,0) (0.3,1,0) (0,0,1)"), GeometryError, "sheared"),
    "sheared .mha": (
        lambda d: metaimage(d / "x.mha", directions="1 0 0 0.3 1 0 0 0 1"),
        GeometryError,
        "sheared",
    ),
    "singular .nrrd": (lambda d: nrrd(d / "x.nrrd", "(1,0,0) (1,0,0) (0,0,1)"), GeometryError, "singular"),
    "zero spacing": (
        lambda d: with_pixdim(nifti(d / "x.nii", noise(4, 5, 6)), 1, 0.0),
        GeometryError,
        "the voxel spacing is 0×0.75×5 mm",
    ),
    "zero spacing .mha": (lambda d: metaimage(d / "x.mha", spacing="0 1 1"), GeometryError, "spacing is zero"),
    "zero spacing .nrrd": (lambda d: nrrd(d / "x.nrrd", "(0,0,0) (0,1,0) (0,0,1)"), GeometryError, "spacing is zero"),
    "two spacings": (
        lambda d: with_pixdim(nifti(d / "x.nii", noise(4, 5, 6)), 1, 0.6),
        GeometryError,
        r"two voxel sizes, 0.6×0.75×5 mm \(pixdim\) and 0.5×0.75×5 mm \(sform\)",
    ),
}


@pytest.mark.parametrize("case", BAD, ids=BAD.keys())
def test_bad_files_are_refused_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str], case: str) -> None:
    make, kind, words = BAD[case]
    path = make(tmp_path)
    with pytest.raises(kind, match=words) as caught:
        read_grid(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""  # ITK's C libraries write there by themselves
