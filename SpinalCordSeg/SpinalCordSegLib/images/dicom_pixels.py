"""The stored numbers of DICOM files as real values, whatever their compression."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, SecondaryCaptureImageStorage

from SpinalCordSegLib.errors import DicomSeriesError, GeometryError, InputFileError, VoxelError
from SpinalCordSegLib.images.claimed_size import check_claimed_size
from SpinalCordSegLib.images.dicom_frames import Frame
from SpinalCordSegLib.images.dicom_scan import quiet_pydicom, read_dataset
from SpinalCordSegLib.images.quiet import quiet_stderr

_PIXEL_KEYWORDS = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
)


def stack_pixels(frames: Sequence[Frame]) -> NDArray[np.float32]:
    """Rescaled values, shape (columns, rows, frames) = [i, j, k], float32.

    Each frame's own rescale slope and intercept are applied. Raises VoxelError for colour, DicomSeriesError for a
    compression that cannot be undone here, InputFileError for missing or damaged pixels; each names the file.
    """
    shape = frames[0].shape
    stack: NDArray[np.float32] | None = None  # made once the first pixels are there: a header alone may claim any size
    for file, members in groupby(enumerate(frames), key=lambda member: member[1].file):
        stored = stored_pixels(file)
        for k, frame in members:
            index = frame.index or 0
            if index >= len(stored) or stored.shape[1:] != shape:
                raise InputFileError(f"{file.name}: its pixels are not those that its header describes; copy it again")
            if stack is None:
                stack = np.empty((len(frames), *shape), dtype=np.float32)
            stack[k] = stored[index].astype(np.float64) * frame.slope + frame.intercept
    if stack is None:
        raise InputFileError("the series holds no pixels; copy or export it again")
    return stack.transpose(2, 1, 0)


def stored_pixels(file: Path) -> NDArray:
    """The stored values of all frames of one file, shape (frames, rows, columns)."""
    try:
        with quiet_pydicom():
            dataset = read_dataset(file, pixels=True)
    except (OSError, EOFError, InvalidDicomError) as error:
        raise InputFileError(f"{file.name} cannot be read as DICOM; copy or export it again") from error
    photometric = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    if int(dataset.get("SamplesPerPixel") or 1) != 1 or photometric != "MONOCHROME2":
        raise VoxelError(
            f"{file.name}: the pixels are {photometric}; expected grey values (MONOCHROME2): choose the acquired series"
        )
    _check_claim(dataset, file)
    pixels = _decode(dataset, file)
    return pixels.reshape(-1, int(dataset.Rows), int(dataset.Columns))


def _check_claim(dataset: FileDataset, file: Path) -> None:
    """Decoders take memory for what the header claims before they look at the data. Raises InputFileError."""
    try:
        claimed = tuple(int(dataset.get(name) or 1) for name in ("NumberOfFrames", "Rows", "Columns"))
        bits = int(dataset.get("BitsAllocated") or 16)
        check_claimed_size(file, claimed, max(1, bits // 8))
    except GeometryError as error:
        raise InputFileError(f"{file.name}: {error}; copy it again") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise InputFileError(f"{file.name}: its header does not tell the size of its pixels; copy it again") from error


def _decode(dataset: FileDataset, file: Path) -> NDArray:
    syntax = _transfer_syntax(dataset)
    try:
        with quiet_pydicom():
            return np.asarray(dataset.pixel_array)
    except (RuntimeError, NotImplementedError, ValueError, TypeError, AttributeError, KeyError, OSError) as error:
        if not (syntax.is_transfer_syntax and syntax.is_compressed):
            raise InputFileError(f"{file.name}: the pixel data are missing or cut short; copy it again") from error
        return _decode_with_itk(dataset, syntax, file)


def _transfer_syntax(dataset: FileDataset) -> UID:
    """As stated; for a file without header as pydicom found it, which it wants to be told again."""
    if "TransferSyntaxUID" not in dataset.file_meta:
        with quiet_pydicom():
            implicit = dataset.is_implicit_VR
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return dataset.file_meta.TransferSyntaxUID


def _decode_with_itk(dataset: Dataset, syntax: UID, file: Path) -> NDArray:
    """Lossless JPEG and others that pydicom leaves to packages which are not everywhere: SimpleITK knows them.

    It gets a copy of the pixels alone: no patient data on disk, and no rescaling, which GDCM applies for some
    kinds of image and not for others.
    """
    bare = Dataset()
    for keyword in _PIXEL_KEYWORDS:
        if keyword in dataset:
            bare[keyword] = dataset[keyword]
    bare.SOPClassUID = SecondaryCaptureImageStorage  # the kind that needs no other element
    bare.SOPInstanceUID = "1.2.3"
    try:
        with tempfile.TemporaryDirectory() as folder, quiet_stderr():
            path = Path(folder) / "pixels.dcm"
            save_bare(bare, syntax, path)
            return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    except (RuntimeError, OSError) as error:
        raise DicomSeriesError(
            f"{file.name} is compressed ({syntax.name}) and cannot be decompressed here; convert the series to"
            " uncompressed DICOM first (for instance gdcmconv --raw, or dcm2niix to NIfTI)"
        ) from error


def save_bare(dataset: Dataset, syntax: str, path: Path) -> None:
    """Write a data set with a minimal file header, through pydicom 2.4 and 3 alike."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    with quiet_pydicom():
        dataset.is_little_endian = True
        dataset.is_implicit_VR = dataset.file_meta.TransferSyntaxUID.is_implicit_VR
        dataset.save_as(path, write_like_original=False)
