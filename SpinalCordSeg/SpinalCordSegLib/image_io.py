"""From files to volumes and back: the one place that knows which reader serves which input."""

from __future__ import annotations

import errno
import gzip
import logging
import math
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from SpinalCordSegLib.errors import (
    GeometryError,
    InputFileError,
    OutputError,
    SpinalCordSegError,
    VoxelError,
)
from SpinalCordSegLib.files import atomic_write, check_claimed_size, file_stem, file_suffix, quiet_stderr
from SpinalCordSegLib.identity import Identity, patient_words, safe_case_name, stated_identity
from SpinalCordSegLib.volume import Volume, bounding_box, check_grid, in_mm, lps_to_ras, without_padding

if TYPE_CHECKING:
    from SpinalCordSegLib.dicom import DicomSeries

READ_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".nrrd", ".seg.nrrd", ".nhdr", ".mha", ".mhd")
WRITE_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".seg.nrrd", ".mha")
_KINDS = "NIfTI-1 (.nii, .nii.gz, .hdr with .img), NRRD (.nrrd, .nhdr), MetaImage (.mha, .mhd) or DICOM"


@dataclass(frozen=True, eq=False)
class GridFile:
    """A 3D scalar file: its volume (voxels in the stored type), remarks on its header, and its text fields."""

    volume: Volume
    notes: tuple[str, ...]
    fields: dict[str, str]


def is_volume_file(path: Path) -> bool:
    """True when the suffix is one that is read here; hidden files (".x", "._x" of macOS) are not."""
    return file_suffix(path) in READ_SUFFIXES and not path.name.startswith(".")


def read_grid(path: Path) -> GridFile:
    """Read one 3D scalar file.

    Raises InputFileError (missing, unreadable, cut short, another kind), GeometryError (not 3D, sheared, singular,
    zero spacing, none or two of them) or VoxelError (colour, NaN, infinite); every text begins with the file's name.
    """
    path = Path(path)
    try:
        _check_file(path)
        notes = _check_text_header(path)
        header = _nifti_header(path) if file_suffix(path) in _NIFTI_SUFFIXES else None
        with _named_as_packed(path) as named:
            reader, fields = _read_header(named)
        if header is not None:
            volume, notes = _read_nifti(path, header, reader)
        else:
            with _itk_errors(path):
                voxels = sitk.GetArrayFromImage(reader.Execute())
            volume = Volume.from_ijk(voxels.reshape(_shape(reader)[::-1]).transpose(2, 1, 0), _matrix(reader))
            _check_finite(volume.ijk)
    except (GeometryError, VoxelError) as error:
        raise type(error)(f"{path.name}: {error}") from error
    except OSError as error:
        raise InputFileError(
            f"{path.name} cannot be read: {error.strerror} ({Path(error.filename or path).name})"
        ) from error
    return GridFile(volume, notes, fields)


_POINTER_BYTES = 1000  # what git-annex and git LFS leave in the place of a file is shorter
_FETCH = "fetch it (git annex get, datalad get or git lfs pull), or copy the file itself"


def _check_file(path: Path) -> None:
    _check_spelling(path, InputFileError)
    _check_exists(path)
    if path.is_dir():
        raise InputFileError(f"{path} is a folder; expected one file: {_KINDS}")
    if file_suffix(path) not in READ_SUFFIXES:
        raise InputFileError(f"{path.name} is of a kind that is not read here; expected {_KINDS}: convert it first")
    if not path.is_file():
        raise InputFileError(f"{path.name} is a pipe or a device; expected a file: {_KINDS}")
    if path.stat().st_size == 0:
        raise InputFileError(f"{path.name} is empty (0 bytes); copy or export it again")
    if path.stat().st_size < _POINTER_BYTES and re.search(rb"annex/objects|git-lfs", path.read_bytes()):
        raise InputFileError(f"{path.name} only points to the image, which is not here: {_FETCH}")


def _check_exists(path: Path) -> None:
    if not path.exists():
        reason = (
            f"is a link to a file that is not here: {_FETCH}" if path.is_symlink() else "does not exist; check the path"
        )
        raise InputFileError(f"{path} {reason}")


def _check_spelling(path: Path, kind: type[SpinalCordSegError]) -> None:
    """ITK ends the whole program on a path that is not UTF-8, as old disks and foreign archives have them."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        shown = str(path).encode(errors="replace").decode()
        raise kind(f"{shown}: the name holds letters that are not UTF-8; rename the file or folder") from error


# What ITK reads of a header, and its refusals in a user's words.


@contextmanager
def _itk_errors(path: Path) -> Iterator[None]:
    try:
        with quiet_stderr():
            yield
    except RuntimeError as error:
        if re.search("Zero-valued spacing|determinant is 0|orthonormal", str(error)):
            raise GeometryError(
                "the voxel spacing is zero on an axis, or the axes are sheared or singular: the header is damaged, or"
                " the image must be resampled to a right grid"
            ) from error
        short = re.search(r"expected .{0,40}bytes|fread got only|No such file|data not read|unexpected end", str(error))
        reason = "cut short, or without the data file beside it" if short else "damaged or of another kind"
        raise InputFileError(
            f"{path.name} cannot be read: it is {reason}; expected {_KINDS}: copy or export it again"
        ) from error


def _read_header(path: Path) -> tuple[sitk.ImageFileReader, dict[str, str]]:
    """The grid, which is 3D and has one grey value a voxel, and the text fields."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with _itk_errors(path):
        reader.ReadImageInformation()
        components, kind = reader.GetNumberOfComponents(), sitk.GetPixelIDValueAsString(reader.GetPixelID())
    check_grid(_shape(reader), np.eye(4))
    if "complex" in kind:
        raise VoxelError("the voxels are complex numbers; expected magnitudes: export the magnitude image")
    if components > 1:
        raise VoxelError(
            f"found {components} values per voxel (colour, a vector or several layers), expected one grey value"
            " or label: export one 3D volume with one value per voxel"
        )
    bits = re.match(r"(\d+)-bit", kind)
    check_claimed_size(path, _shape(reader), int(bits[1]) // 8 if bits else 1)
    # a key in a foreign encoding cannot be asked for again, and none that is wanted has one
    return reader, {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys() if key.isascii()}


def _shape(reader: sitk.ImageFileReader) -> tuple[int, ...]:
    """Without trailing ones after the third: a (5, 6, 7, 1) file is 3D."""
    sizes = list(reader.GetSize())
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    return tuple(sizes)


def _matrix(reader: sitk.ImageFileReader) -> NDArray[np.float64]:
    """ijk→RAS."""
    lps, n = np.eye(4), reader.GetDimension()
    lps[:3, :3] = np.array(reader.GetDirection()).reshape(n, n)[:3, :3] * np.array(reader.GetSpacing()[:3])
    lps[:3, 3] = reader.GetOrigin()[:3]
    return lps_to_ras(lps)


def _check_finite(voxels: NDArray) -> None:
    """Raise VoxelError, without the file's name, when a voxel is NaN or infinite."""
    good = np.isfinite(voxels)
    if not good.all():
        first = tuple(map(int, np.unravel_index(int(np.argmin(good)), voxels.shape)))
        raise VoxelError(
            f"{voxels.size - np.count_nonzero(good)} voxels are NaN or infinite (one at i, j, k = {first}); expected"
            " finite numbers: replace them, for instance by 0"
        )


# NRRD and MetaImage. ITK takes 1 mm and the patient's axes for what the header does not state, without a word.


_HEADER_BYTES = 1 << 20
# End of the header; fields of the voxel size, and of the orientation, in small letters and without spaces.
_NRRD = (rb"\r?\n\r?\n", ("spacedirections", "spacings"), ("space",))
_META = (rb"\n\s*ElementDataFile", ("elementspacing", "elementsize"), ("transformmatrix", "orientation", "rotation"))
_TEXT_HEADERS = {".nrrd": _NRRD, ".seg.nrrd": _NRRD, ".nhdr": _NRRD, ".mha": _META, ".mhd": _META}


def _check_text_header(path: Path) -> tuple[str, ...]:
    """Remarks on what the header leaves open; () for other formats.

    Raises GeometryError where the size of a voxel is not stated: every measure would be wrong; InputFileError for
    what would end the program inside ITK.
    """
    if file_suffix(path) not in _TEXT_HEADERS:
        return ()
    end, of_size, of_place = _TEXT_HEADERS[file_suffix(path)]
    with path.open("rb") as file:
        text = re.split(end, file.read(_HEADER_BYTES), maxsplit=1)[0].decode("latin-1")
    stated: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = re.sub("[=:]", "\0", line, count=1).partition("\0")
        if ":=" not in line:
            stated.setdefault(key.replace(" ", "").lower(), value.strip())
    words = [value for key, value in stated.items() if key not in ("datafile", "elementdatafile", "content")]
    if any(re.search(r"\S{101}", value) for value in words) or len(stated.get("ndims", "")) > 1:
        raise InputFileError(f"{path.name} states what no image has (NDims, or 100 digits in a row): it is damaged")
    if not stated.keys() & {"sizes", "dimsize"}:
        return ()  # no such header: ITK says so
    size = next((stated[name] for name in of_size if name in stated), "")
    if not re.search(r"\d", size) or re.search("nan|inf", size, re.IGNORECASE):
        raise GeometryError(
            f'the header does not state the size of a voxel ("{size[:60]}"); expected {" or ".join(of_size)}:'
            " export it again with its spacing"
        )
    is_placed = not stated.keys().isdisjoint(of_place)
    return () if is_placed else ("the header does not state how the grid lies: taken as along the patient's axes",)


# NIfTI-1. ITK gives the grid, as Slicer has it. The voxels are read here, because ITK fills a file that is cut short
# with zeros, ignores gzip's checksum and takes NaN for 0.
# Format: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h


_NIFTI_SUFFIXES = (".nii", ".nii.gz", ".hdr")
_FIELDS = {  # of the header: byte offset and type
    "datatype": (70, "i2"), "pixdim": (76, "8f4"), "begin": (108, "f4"), "scaling": (112, "2f4"), "units": (123, "u1"),
    "qform_code": (252, "i2"), "sform_code": (254, "i2"), "quaternion": (256, "3f4"), "offset": (268, "3f4"),
    "sform": (280, "(3,4)f4"), "magic": (344, "S3"),
}  # fmt: skip
_HEADER = np.dtype(
    {
        "names": list(_FIELDS),
        "offsets": [offset for offset, _ in _FIELDS.values()],
        "formats": [kind for _, kind in _FIELDS.values()],
        "itemsize": 348,
    }
)
_STORED = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_MM = {1: 1000.0, 3: 0.001}  # of the units that a header may state: metres and micrometres
_MAGIC = (b"n+1", b"ni1")  # one file, and a pair
_MOST_BEGIN, _LARGEST = 1 << 24, 1e7  # of a number of the grid, in whatever unit
_QUATERNION_OVER = 1e-3  # of the squared length, by rounding
_BEHIND_BYTES = 4096  # what may lie behind the voxels, as disks and tapes padded it


def _is_gzip(path: Path) -> bool:
    """By its first bytes, whatever its name says."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _unpacked(path: Path, most: int) -> bytes:
    """Up to ``most`` bytes; gzip is undone, and its checksum compared where the stream ends before."""
    try:
        with gzip.open(path) if _is_gzip(path) else path.open("rb") as stream:
            return stream.read(most)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputFileError(
            f"{path.name} is cut short or damaged: the gzip stream cannot be undone; copy it again"
        ) from error


@contextmanager
def _named_as_packed(path: Path) -> Iterator[Path]:
    """A copy called .nii.gz of what is gzip and only called .nii: there ITK goes by the name."""
    if file_suffix(path) != ".nii" or not _is_gzip(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(shutil.copyfile(path, Path(folder) / "image.nii.gz"))


def _nifti_header(path: Path) -> Any:
    """The fields above. Raises InputFileError without a header, GeometryError for a grid on which ITK never ends."""
    head = _unpacked(path, _HEADER.itemsize)
    order: Literal["<", ">"] = "<" if head.startswith(b"\x5c\x01") else ">"
    if len(head) < _HEADER.itemsize:
        raise InputFileError(f"{path.name} is cut short within its header; copy or export it again")
    header = np.frombuffer(head, _HEADER.newbyteorder(order))[0]
    stated = [header["pixdim"][1:4]]
    stated += [header["sform"]] if header["sform_code"] > 0 else []
    stated += [header["quaternion"], header["offset"]] if header["qform_code"] > 0 else []
    if header["magic"] in _MAGIC and not all((np.abs(one) < _LARGEST).all() for one in stated):
        raise GeometryError("the header states a grid that is not finite, or larger than any: the header is damaged")
    return header


def _read_nifti(path: Path, header: Any, reader: sitk.ImageFileReader) -> tuple[Volume, tuple[str, ...]]:
    """The volume on the grid that ITK read, and remarks.

    Raises InputFileError unless exactly the voxels that the header announces are there, GeometryError or VoxelError
    (without the file's name) for what ITK passes over.
    """
    if header["magic"] not in _MAGIC:
        raise GeometryError("it is Analyze 7.5, which does not hold how the grid lies in the patient: convert it again")
    data, least = path, _HEADER.itemsize
    if header["magic"] == b"ni1":
        beside = [path.with_suffix(suffix) for suffix in (".img", ".img.gz", ".IMG")]
        data, least = next((one for one in beside if one.exists()), beside[0]), 0
    if not least <= header["begin"] < _MOST_BEGIN:
        raise VoxelError(
            f"the header says that the voxels begin at byte {header['begin']:g}; expected 352: the header is damaged,"
            " export it again"
        )
    if int(header["datatype"]) not in _STORED:
        raise VoxelError(f"its voxels are of NIfTI type {header['datatype']}, which is not read here: convert it")
    kind = np.dtype(_STORED[int(header["datatype"])]).newbyteorder(header["pixdim"].dtype.byteorder)
    begin, n_bytes = int(header["begin"]), math.prod(_shape(reader)) * kind.itemsize
    most = begin + n_bytes + n_bytes // 100 + _BEHIND_BYTES
    content = _unpacked(data, most + 1)
    if not begin + n_bytes <= len(content) <= most:
        raise InputFileError(
            f"{data.name} is cut short, or its header is damaged: {len(content) - begin} bytes of voxels found,"
            f" {n_bytes} expected; copy or export it again"
        )
    stored = np.frombuffer(content, kind, n_bytes // kind.itemsize, begin).reshape(_shape(reader), order="F")
    voxels: NDArray = stored.astype(kind.newbyteorder("="))
    _check_finite(voxels)
    slope, intercept = (float(one) if np.isfinite(one) else 0.0 for one in header["scaling"])
    if (slope or 1.0, intercept) != (1.0, 0.0):
        scaled = voxels.astype(np.float64 if kind.itemsize == 8 and kind.kind == "f" else np.float32)
        voxels = (scaled.astype(np.float64) * (slope or 1.0) + intercept).astype(scaled.dtype)
    volume = Volume.from_ijk(voxels, _matrix(reader))
    return volume, _check_orientation(header, volume)


def _check_orientation(header: Any, volume: Volume) -> tuple[str, ...]:
    """Remarks where the header holds no orientation, or two. The choice is ITK's, and so Slicer's.

    Raises GeometryError for what ITK passes over: no voxel size, or two.
    """
    spacing = np.array(volume.ijk_spacing_mm)
    if not (np.isfinite(header["pixdim"][1:4]) & (header["pixdim"][1:4] != 0)).all():
        raise GeometryError(f"the voxel spacing is {in_mm(header['pixdim'][1:4])}: the header is damaged")
    to_mm, forms = _MM.get(int(header["units"]) & 7, 1.0), {}
    if header["sform_code"] > 0:
        forms["sform"] = header["sform"].astype(np.float64) * to_mm
    if header["qform_code"] > 0:
        b, c, d = header["quaternion"].astype(np.float64)
        versor = sitk.VersorTransform((b, c, d, math.sqrt(max(0.0, 1.0 - b * b - c * c - d * d))))
        turn = np.reshape(versor.GetMatrix(), (3, 3))
        axes = turn * spacing * [1, 1, -1 if header["pixdim"][0] < 0 else 1]
        forms["qform"] = np.c_[axes, header["offset"].astype(np.float64) * to_mm]
    if not forms:
        return ("the header holds no orientation (sform and qform codes are 0): axes are taken as left, posterior, up",)
    corners = np.c_[np.array([*np.ndindex(2, 2, 2)]) * (np.array(volume.ijk_shape) - 1), np.ones(8)]
    off_mm = {
        name: float(np.linalg.norm(corners @ (form - volume.ijk_to_ras[:3]).T, axis=1).max())
        for name, form in forms.items()
    }
    used = min(off_mm, key=lambda name: off_mm[name])
    if used == "qform" and (header["quaternion"].astype(np.float64) ** 2).sum() > 1 + _QUATERNION_OVER:
        raise GeometryError(
            "the qform of its header is no rotation (its quaternion is longer than 1): the header is damaged; convert"
            " the image again from its source, or write its sform into the qform"
        )
    stated = np.linalg.norm(forms[used][:, :3], axis=0)
    if not np.abs(spacing - stated).max() <= 1e-3 * stated.min() + 1e-5:
        raise GeometryError(
            f"the header states two voxel sizes, {in_mm(spacing)} (pixdim) and {in_mm(stated)} ({used});"
            " correct it, or convert the image again from its source"
        )
    apart_mm = max(off_mm.values())
    if apart_mm <= 0.5 * spacing.min():
        return ()
    return (f"sform and qform of the header disagree by {apart_mm:.4g} mm: {used} is used, as Slicer does",)


# Writing.


def write_volume(volume: Volume, path: Path, *, compress: bool = True) -> None:
    """Write ``volume`` on its own grid, voxel order unchanged; bool becomes uint8. The suffix tells the format.

    .nii, .nii.gz (sform and qform, both code 1), .nrrd, .mha; .seg.nrrd takes a mask (bool or 0 and 1) and becomes
    one segment "Spinal cord". ``compress``: smaller, but slower (.nii.gz always is). What was
    written is read back and compared before it counts, since ITK does not notice a full disk. Raises OutputError;
    VoxelError for a .seg.nrrd that is no mask.
    """
    path = Path(path)
    suffix = file_suffix(path)
    if suffix not in WRITE_SUFFIXES:
        raise OutputError(f"cannot write {path.name}: the suffix must be one of {', '.join(WRITE_SUFFIXES)}")
    _check_spelling(path, OutputError)
    image = to_itk(volume)
    if suffix == ".seg.nrrd":
        for key, value in _segment_metadata(volume).items():
            image.SetMetaData(key, value)
    with atomic_write(path) as temporary:
        temporary.touch()  # ITK does not report that a folder is read-only; this does
        try:
            with quiet_stderr():
                sitk.WriteImage(image, str(temporary), useCompression=compress)
                whole = _same(sitk.ReadImage(str(temporary)), image)
        except RuntimeError:
            whole = False
        if not whole:
            if shutil.disk_usage(temporary.parent).free < 1 << 20:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise OutputError(
                f"cannot write {path}: the file came out incomplete; check the disk or choose another folder"
            )


def _same(read: sitk.Image, written: sitk.Image) -> bool:
    a, b = sitk.GetArrayViewFromImage(read), sitk.GetArrayViewFromImage(written)
    return a.shape == b.shape and np.array_equal(a, b, equal_nan=b.dtype.kind == "f")


def to_itk(volume: Volume) -> sitk.Image:
    """On the input's own grid, voxel order unchanged; bool becomes uint8, and float16 float32."""
    voxels = volume.ijk
    voxels = voxels.astype({"bool": np.uint8, "float16": np.float32}.get(voxels.dtype.name, voxels.dtype), copy=False)
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.transpose(2, 1, 0)))
    lps = lps_to_ras(volume.ijk_to_ras)
    image.SetSpacing(volume.ijk_spacing_mm)
    image.SetDirection((lps[:3, :3] / volume.ijk_spacing_mm).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


SEGMENT_NAME = "Spinal cord"
SEGMENT_COLOUR_RGB = (244, 214, 49)  # of 255; Slicer's anatomy colour of the cord
SEGMENT_TERMINOLOGY = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    "~SCT^2748008^Spinal cord~^^~Anatomic codes - DICOM master list~^^~^^"
)


def _segment_metadata(mask: Volume) -> dict[str, str]:
    """What Slicer expects in a .seg.nrrd beside the voxels: one segment, label value 1, layer 0. The extent of an empty
    mask is that of the whole grid."""
    voxels = mask.ijk
    if voxels.dtype.kind not in "bui" or not 0 <= int(voxels.min()) <= int(voxels.max()) <= 1:
        raise VoxelError("a .seg.nrrd holds a mask of 0 and 1 here; found other values: write .nrrd or .nii.gz instead")
    box = bounding_box(voxels) or tuple(slice(0, n) for n in voxels.shape)
    tags = {
        "TerminologyEntry": SEGMENT_TERMINOLOGY,
        "DICOM.SegmentAlgorithmType": "AUTOMATIC",
        "DICOM.SegmentAlgorithmName": "SpinalCordSeg",
    }
    return {
        "Segment0_ID": "SpinalCord",
        "Segment0_Name": SEGMENT_NAME,
        "Segment0_NameAutoGenerated": "0",
        "Segment0_Color": " ".join(f"{value / 255:.6f}" for value in SEGMENT_COLOUR_RGB),
        "Segment0_ColorAutoGenerated": "0",
        "Segment0_LabelValue": "1",
        "Segment0_Layer": "0",
        "Segment0_Extent": " ".join(f"{one.start} {one.stop - 1}" for one in box),
        "Segment0_Tags": "".join(f"{key}:{value}|" for key, value in tags.items()),
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_SourceRepresentation": "Binary labelmap",
        "Segmentation_MasterRepresentation": "Binary labelmap",  # the key's name before Slicer 5.3
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }


# Label maps: whole numbers on a grid, and the choice of one of them.


_ROUNDING = 0.01  # NIfTI files with a slope hold 0.99998 for 1


def read_labels(path: Path) -> Volume:
    """Read a label map; voxels int32, 0 is background. Raises as read_grid does, and VoxelError for fractions."""
    return _labels_of(read_grid(path), path)


def _labels_of(grid: GridFile, path: Path) -> Volume:
    voxels = grid.volume.voxels
    labels = (voxels if voxels.dtype.kind in "bui" else np.rint(voxels)).astype(np.int32)
    if np.abs(labels - voxels).max() > _ROUNDING:
        raise VoxelError(
            f"{path.name} holds values that are not whole numbers, so it is an image or a probability map;"
            " a label map is expected: threshold it first"
        )
    return grid.volume.with_voxels(labels)


def select_label(labels: Volume, label: int | None, name: str) -> Volume:
    """The voxels of one label, bool. ``name`` is the file's name for the error text.

    ``label`` None takes the only label there is; a map without any gives an empty mask, with or without a choice.
    Raises VoxelError when several labels are there and none was chosen, or when the chosen one is not there.
    """
    present = np.unique(labels.voxels[labels.voxels != 0]).tolist()
    listed = ", ".join(map(str, present[:20])) + (" …" if len(present) > 20 else "")
    if label is None and len(present) > 1:
        raise VoxelError(f"{name} holds {len(present)} labels ({listed}); say which one is the cord with --label N")
    if label is not None and present and label not in present:
        raise VoxelError(f"{name} does not hold label {label}; it holds {listed}")
    chosen = label if label is not None else next(iter(present), 1)
    return labels.with_voxels(labels.voxels == chosen)


_CORD = re.compile(r"(?<![a-z])(spinal[ _-]?cord|cord|sc|myelon|medulla[ _-]spinalis)(?![a-z])")
_NOT_CORD = re.compile(r"canal|csf|fluid|lesion|grey|gray|white|vertebra|disc|level|edge|not")
_SEGMENT_FIELD = re.compile(r"(Segment\d+)_LabelValue")
_LEAST_EMPTY = 0.9  # of a soft mask: an image, or a network's probability, is hardly ever exactly 0


def cord_value(names: Iterable[tuple[int, str]]) -> int | None:
    """The only value whose name says spinal cord; None when none or several do."""
    found = [value for value, name in names if _CORD.search(name.lower()) and not _NOT_CORD.search(name.lower())]
    return found[0] if len(found) == 1 else None


def read_cord(path: Path, label: int | None = None) -> tuple[Volume, tuple[str, ...]]:
    """The cord of a mask file, bool, and what a reader of its figures should know, mostly nothing.

    ``label``, or of several labels the one that the file itself names as the cord's (.seg.nrrd). A soft mask (shares
    of a voxel, 0 to 1) is cord from one half on. Raises as read_labels and select_label do.
    """
    path = Path(path)
    grid = read_grid(path)
    voxels = grid.volume.voxels
    is_soft = voxels.dtype.kind == "f" and voxels.min() == 0 and voxels.max() <= 1 and not np.isin(voxels, (0, 1)).all()
    if is_soft and (voxels == 0).mean() > _LEAST_EMPTY:
        soft = "the mask holds shares of voxels between 0 and 1: what is at least 0.5 is measured as cord"
        return grid.volume.with_voxels(voxels >= 0.5), (*grid.notes, soft)
    labels = _labels_of(grid, path)
    found = {
        grid.fields[key]: grid.fields.get(f"{match[1]}_Name", "")
        for key in grid.fields
        if (match := _SEGMENT_FIELD.fullmatch(key))
    }
    names = {int(value): name for value, name in found.items() if value.isdecimal() and len(value) < 10}
    named = cord_value(names.items())
    present = set(np.unique(labels.voxels[labels.voxels != 0]).tolist())
    chosen = named if label is None and named in present else label
    used = chosen if chosen is not None or len(present) != 1 else next(iter(present))
    notes = grid.notes
    if used is not None and (named not in (None, used) or _NOT_CORD.search(names.get(used, "").lower())):
        other = "not as the spinal cord" if named is None else f"label {named} as the spinal cord"
        notes = (*notes, f"label {used} was measured, but the file names {'it ' if named is None else ''}{other}")
    return select_label(labels, chosen, path.name), notes


# An image with what its header states.


_MASK_OF_BIDS = re.compile(
    r"sub-.*_(label-.*|(desc-[A-Za-z0-9]+_)?(mask|defacemask|dseg|probseg|discseg))\.nii(\.gz)?$"
)
_OF_A_RESULT = {"report.json", "slices.csv"}  # what the folder of every finished case holds
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Image:
    """A volume to be segmented and where it came from.

    ``volume.voxels``: float32, all finite. ``case_name``: safe for a folder, without patient data.
    ``notes``: what a reader should know about the header (which of two orientations was used), mostly empty.
    ``identity``: whose it is, where a header or the JSON file beside it states that; ``words``: of it, what no name may
    hold.
    """

    volume: Volume
    path: Path
    case_name: str
    dicom: DicomSeries | None = None
    notes: tuple[str, ...] = ()
    identity: Identity | None = None
    words: frozenset[str] = field(default=frozenset(), repr=False)


def read_image(path: Path, series: str | None = None) -> Image:
    """Read one 3D image: NIfTI, NRRD, MetaImage, a DICOM folder (nested too), or one file of a DICOM series.

    ``series`` chooses among several DICOM series by number, description or UID. Raises InputFileError,
    GeometryError, VoxelError or DicomSeriesError; each names the file, what was found, expected and to be done.
    """
    path = Path(path)
    _check_exists(path)
    if path.is_dir() or (not is_volume_file(path) and _dicom().is_dicom_file(path)):
        if path.is_dir() and not _holds_dicom(path):
            n_files = len(_volume_files(path))
            what = f"but {n_files} image files: give one of them" if n_files else "and no image file: check the path"
            raise InputFileError(f"{path} is a folder that holds no DICOM image, {what}")
        found = _dicom().find_series(path, series)
        name, notes = safe_case_name(path, found), _dicom().series_notes(found)
        return Image(_dicom().read_series(found), path, name, found, notes, found.identity, found.patient_words)
    if series is not None:
        _log.warning("%s is not DICOM: the choice of a series does not apply", path.name)
    grid = read_grid(path)
    for note in grid.notes:
        _log.warning("%s: %s", path.name, note)
    with np.errstate(over="ignore"):
        voxels = grid.volume.voxels.astype(np.float32, copy=False)
    if not np.isfinite(voxels).all():
        raise VoxelError(f"{path.name} holds values beyond 3e38: the file is damaged, or convert its unit")
    name = safe_case_name(path, fields=grid.fields)
    identity, words = stated_identity(path, grid.fields), patient_words(path, grid.fields)
    return Image(grid.volume.with_voxels(without_padding(voxels)), path, name, None, grid.notes, identity, words)


def read_identity(path: Path, series: str | None = None) -> Identity | None:
    """As read_image, but whose it is alone, without the voxels."""
    if path.is_dir() or not is_volume_file(path):
        return _dicom().find_series(path, series).identity
    with _named_as_packed(path) as named:
        return stated_identity(path, _read_header(named)[1])


def _dicom() -> ModuleType:
    from SpinalCordSegLib import dicom  # a tenth of a second for pydicom: not where the input is no DICOM

    return dicom


def _holds_dicom(folder: Path) -> bool:
    return next(_dicom().dicom_files(folder), None) is not None


def _volume_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _may_be_volume(path))


def _may_be_volume(path: Path) -> bool:
    """A link to nothing too, so that its case fails with the reason instead of missing."""
    return is_volume_file(path) and (path.is_file() or (path.is_symlink() and not path.exists()))


def find_inputs(paths: Sequence[Path], *, masks: bool = False) -> list[Path]:
    """The single inputs of a batch, in the order given, each once: images, or with ``masks`` label maps.

    A folder of image files gives each of them by name; a folder with DICOM in or below it is one input; without
    either, image files further below are taken, but none in hidden folders, and of results of ours the masks alone,
    where masks are wanted. Where images are wanted, masks of BIDS are none. Of an image and its label map in one folder
    (NAME and NAME_seg) the one that is wanted is taken; given by name either is. Anything else, missing paths too,
    stays as it is, so that reading it raises the reason.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        try:
            found += _inputs_of(path, masks) if path.is_dir() else [path]
        except OSError as error:
            raise InputFileError(f"{path} cannot be read: {error.strerror}; check who may read it") from error
    return list(dict.fromkeys(found))


def _inputs_of(folder: Path, masks: bool) -> list[Path]:
    files = _volume_files(folder)
    if not files and not _holds_dicom(folder):
        files = _volume_files_below(folder, masks)
    files = [path for path in files if masks or not _MASK_OF_BIDS.match(path.name)]
    return _one_of_each(files, masks) or [folder]


def _volume_files_below(folder: Path, masks: bool) -> list[Path]:
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if set(names) >= _OF_A_RESULT:
            folders.clear()
            names = [name for name in names if masks and name.startswith("mask.")]
        found += [path for name in names if _may_be_volume(path := Path(parent, name))]
    return sorted(found)


def _one_of_each(files: list[Path], masks: bool) -> list[Path]:
    """Of an image NAME and its label maps NAME_seg… and NAME.seg.nrrd in the same folder the maps, or the image."""
    images = {_beside(path) for path in files if file_suffix(path) != ".seg.nrrd"}
    maps = [path for path in files if _image_of(path) in images]
    drawn = {_image_of(path) for path in maps}
    return [path for path in files if (_beside(path) not in drawn or path in maps if masks else path not in maps)]


def _image_of(path: Path) -> tuple[Path, str]:
    """Where the image of a label map would lie, and what it would be called."""
    folder, stem = _beside(path)
    return folder, stem if file_suffix(path) == ".seg.nrrd" else stem.rpartition("_seg")[0]


def _beside(path: Path) -> tuple[Path, str]:
    """Folder, and name without suffix."""
    return path.parent, file_stem(path)
