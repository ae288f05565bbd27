"""NIfTI, NRRD and MetaImage files through SimpleITK, with its silent corrections refused."""

from __future__ import annotations

import errno
import math
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from SpinalCordSegLib.errors import GeometryError, InputFileError, OutputError, SpinalCordSegError, VoxelError
from SpinalCordSegLib.images.claimed_size import check_claimed_size, check_text_header
from SpinalCordSegLib.images.finite import check_finite
from SpinalCordSegLib.images.nifti_header import check_nifti_header, read_nifti_header
from SpinalCordSegLib.images.nifti_voxels import read_nifti_voxels
from SpinalCordSegLib.images.quiet import quiet_stderr
from SpinalCordSegLib.images.segment_metadata import segment_metadata
from SpinalCordSegLib.images.stated_grid import check_stated_grid
from SpinalCordSegLib.images.volume import Volume, check_grid, lps_to_ras
from SpinalCordSegLib.writing import atomic_write, file_suffix

READ_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".nrrd", ".seg.nrrd", ".nhdr", ".mha", ".mhd")
UNORIENTED_SUFFIXES = (".gipl", ".gipl.gz")  # they say nothing of how the grid lies in the patient
WRITE_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".seg.nrrd", ".mha")
_NIFTI_SUFFIXES = (".nii", ".nii.gz", ".hdr")
_KINDS = "NIfTI (.nii, .nii.gz, .hdr with .img), NRRD (.nrrd, .nhdr), MetaImage (.mha, .mhd) or DICOM"

# How ITK words a header whose geometry it refuses, and what that means to a user.
_GEOMETRY_REFUSALS = {
    "Zero-valued spacing": "the voxel spacing is zero on an axis",
    "determinant is 0": "the axes of the grid are singular (two point the same way)",
    "orthonormal": "the axes of the grid are not at right angles",
}


@dataclass(frozen=True, eq=False)
class GridFile:
    """A 3D scalar file: its volume (voxels in the stored type), remarks on its header, and its text fields.

    ``oriented``: False where the format holds no orientation, so that ``volume`` just lies along the axes.
    """

    volume: Volume
    notes: tuple[str, ...]
    fields: dict[str, str]
    oriented: bool = True


def is_volume_file(path: Path) -> bool:
    """True when the suffix is one that is read here; hidden files (".x", "._x" of macOS) are not."""
    return file_suffix(path) in READ_SUFFIXES and not path.name.startswith(".")


def read_grid(path: Path, *, unoriented: bool = False) -> GridFile:
    """Read one 3D scalar file; ``unoriented`` takes formats without orientation too (Analyze 7.5, GIPL).

    Raises InputFileError (missing, unreadable, cut short, another kind), GeometryError (not 3D, sheared, singular,
    zero spacing, none or two of them) or VoxelError (colour, NaN, infinite); every text begins with the file's name.
    """
    path = Path(path)
    _check_file(path, READ_SUFFIXES + UNORIENTED_SUFFIXES if unoriented else READ_SUFFIXES)
    notes: tuple[str, ...] = ()
    voxels: NDArray | None = None
    oriented = file_suffix(path) not in UNORIENTED_SUFFIXES
    try:
        if file_suffix(path) in _NIFTI_SUFFIXES:
            oriented, notes, voxels = _read_nifti(path, unoriented)
        image, fields = _read_itk(path, header_only=voxels is not None)
        notes = (*notes, *check_stated_grid(path))
        volume = _to_volume(image, voxels)
        check_finite(volume.voxels)
    except (GeometryError, VoxelError) as error:
        raise type(error)(f"{path.name}: {error}") from error
    except OSError as error:
        raise InputFileError(f"{path.name} cannot be read: {error.strerror}") from error
    return GridFile(volume, notes, fields, oriented)


def _check_file(path: Path, suffixes: tuple[str, ...]) -> None:
    _check_spelling(path, InputFileError)
    if not _exists(path):
        raise InputFileError(f"{path} does not exist; check the path")
    if path.is_dir():
        raise InputFileError(f"{path} is a folder; expected one file: {_KINDS}")
    if file_suffix(path) not in suffixes:
        raise InputFileError(f"{path.name} is of a kind that is not read here; expected {_KINDS}: convert it first")
    if not path.is_file():
        raise InputFileError(f"{path.name} is a pipe or a device; expected a file: {_KINDS}")
    if path.stat().st_size == 0:
        raise InputFileError(f"{path.name} is empty (0 bytes); copy or export it again")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise InputFileError(f"{path} cannot be read: {error.strerror}; check who may read it") from error


def _check_spelling(path: Path, kind: type[SpinalCordSegError]) -> None:
    """ITK ends the whole program on a path that is not UTF-8, as old disks and foreign archives have them."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        shown = str(path).encode(errors="replace").decode()
        raise kind(f"{shown}: the name holds letters that are not UTF-8; rename the file or folder") from error


def _read_nifti(path: Path, unoriented: bool) -> tuple[bool, tuple[str, ...], NDArray | None]:
    """Whether it holds an orientation, remarks, and the voxels unless SimpleITK has to read them."""
    header = read_nifti_header(path)
    oriented = header.storage != "analyze"
    if not (oriented or unoriented):
        raise GeometryError("it is Analyze 7.5, which does not hold how the grid lies in the patient: convert it again")
    notes = check_nifti_header(header)
    check_claimed_size(path, header.shape, max(1, header.voxel_bytes // math.prod(header.shape)))
    return oriented, notes, read_nifti_voxels(path, header)


def _read_itk(path: Path, header_only: bool) -> tuple[sitk.Image | sitk.ImageFileReader, dict[str, str]]:
    """The image, or with ``header_only`` the reader, which knows the same of its grid."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet_stderr():
            check_text_header(path)
            reader.ReadImageInformation()
            _check_kind(reader)
            check_claimed_size(path, tuple(reader.GetSize()), _bytes_a_voxel(reader))
            image = reader if header_only else reader.Execute()
    except RuntimeError as error:
        raise _refusal(path, str(error)) from error
    if not header_only and image.GetDimension() == 4:  # one time point only: _check_kind let no other pass
        image = image[:, :, :, 0]
    # a key in a foreign encoding cannot be asked for again, and none that is wanted has one
    return image, {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys() if key.isascii()}


def _check_kind(reader: sitk.ImageFileReader) -> None:
    components, shape = reader.GetNumberOfComponents(), tuple(reader.GetSize())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        check_grid(shape, np.eye(4))
    if "complex" in sitk.GetPixelIDValueAsString(reader.GetPixelID()):
        raise VoxelError("the voxels are complex numbers; expected magnitudes: export the magnitude image")
    if components > 1:
        raise VoxelError(
            f"found {components} values per voxel (colour, a vector or several layers), expected one grey value or"
            " label: export one 3D volume with one value per voxel"
        )


def _bytes_a_voxel(reader: sitk.ImageFileReader) -> int:
    bits = re.match(r"(?:vector of )?(\d+)-bit", sitk.GetPixelIDValueAsString(reader.GetPixelID()))
    return reader.GetNumberOfComponents() * (int(bits[1]) // 8 if bits else 1)


def _refusal(path: Path, itk_text: str) -> SpinalCordSegError:
    for words, meaning in _GEOMETRY_REFUSALS.items():
        if words in itk_text:
            return GeometryError(f"{meaning}: the header is damaged, or the image must be resampled to a right grid")
    short = re.search(r"expected .{0,40}bytes|fread got only|No such file|data not read|unexpected end", itk_text)
    reason = "it is cut short, or the data file beside it is missing" if short else "it is damaged or of another kind"
    return InputFileError(f"{path.name} cannot be read: {reason}; expected {_KINDS}: copy or export it again")


def write_volume(volume: Volume, path: Path, algorithm: str = "SpinalCordSeg", *, compress: bool = True) -> None:
    """Write ``volume`` on its own grid, voxel order unchanged; bool becomes uint8. The suffix tells the format.

    .nii, .nii.gz (sform and qform, both code 1), .nrrd, .mha; .seg.nrrd takes a mask (bool or 0 and 1) and becomes
    one segment "Spinal cord" made by ``algorithm``. ``compress``: smaller, but slower (.nii.gz always is). What was
    written is read back and compared before it counts, since ITK does not notice a full disk. Raises OutputError;
    VoxelError for a .seg.nrrd that is no mask.
    """
    path = Path(path)
    suffix = file_suffix(path)
    if suffix not in WRITE_SUFFIXES:
        raise OutputError(f"cannot write {path.name}: the suffix must be one of {', '.join(WRITE_SUFFIXES)}")
    image = _to_itk(volume)
    if suffix == ".seg.nrrd":
        for key, value in segment_metadata(volume, algorithm).items():
            image.SetMetaData(key, value)
    _check_spelling(path, OutputError)
    with atomic_write(path) as temporary:
        try:
            with quiet_stderr():
                sitk.WriteImage(image, str(temporary), useCompression=compress)
                whole = _same(sitk.ReadImage(str(temporary)), image)
        except RuntimeError as error:
            raise _write_failure(temporary, path, image) from error
        if not whole:
            raise _write_failure(temporary, path, image)


def _same(read: sitk.Image, written: sitk.Image) -> bool:
    a, b = sitk.GetArrayViewFromImage(read), sitk.GetArrayViewFromImage(written)
    return a.shape == b.shape and np.array_equal(a, b, equal_nan=b.dtype.kind == "f")


def _write_failure(temporary: Path, path: Path, image: sitk.Image) -> Exception:
    n_bytes = image.GetNumberOfPixels() * image.GetSizeOfPixelComponent()
    if shutil.disk_usage(temporary.parent).free < min(n_bytes, 1 << 20):
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if not os.access(temporary.parent, os.W_OK):
        return OSError(errno.EACCES, os.strerror(errno.EACCES))
    return OutputError(f"cannot write {path}: the file came out incomplete; check the disk or choose another folder")


def _to_volume(image: sitk.Image | sitk.ImageFileReader, voxels: NDArray | None) -> Volume:
    lps = np.eye(4)
    lps[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    lps[:3, 3] = image.GetOrigin()
    if voxels is None:
        voxels = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    return Volume(voxels, lps_to_ras(lps))


def _to_itk(volume: Volume) -> sitk.Image:
    voxels = volume.voxels
    if voxels.dtype == bool:
        voxels = voxels.astype(np.uint8)
    elif voxels.dtype == np.float16:
        voxels = voxels.astype(np.float32)
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.transpose(2, 1, 0)))
    lps = lps_to_ras(volume.ijk_to_ras)
    image.SetSpacing(volume.spacing_mm)
    image.SetDirection((lps[:3, :3] / volume.spacing_mm).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image
