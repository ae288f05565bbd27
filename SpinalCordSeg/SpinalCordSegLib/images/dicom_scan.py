"""Which files of a folder are DICOM images, and their headers."""

from __future__ import annotations

import io
import logging
import os
import re
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError

from SpinalCordSegLib.errors import InputFileError

_PREAMBLE_BYTES = 128
# A data set without preamble begins with group 0002 or 0008, little endian.
_BARE_BEGINNINGS = (b"\x02\x00\x00\x00", b"\x02\x00\x01\x00", b"\x02\x00\x10\x00", b"\x08\x00")
_META_BYTES = 1 << 16
_META_LENGTH = b"\x02\x00\x00\x00UL\x04\x00"  # element (0002,0000), which the standard puts first
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_DEFLATED_FREE, _MOST_DEFLATED, _PIECE = 1 << 24, 100, 1 << 20
_DIGITS = re.compile(r"\d+")
# Results about images, not images: they may lie in the same folder and are no series to segment.
_NOT_ACQUIRED = ("SEG", "SR", "PR", "KO", "REG", "DOC", "RTSTRUCT", "RTPLAN", "RTDOSE", "PLAN")


def is_dicom_file(path: Path) -> bool:
    """True when the file begins as DICOM does, with or without preamble; its name does not matter."""
    try:
        with path.open("rb") as file:
            head = file.read(_PREAMBLE_BYTES + 4)
    except OSError:
        return False
    return head[_PREAMBLE_BYTES:] == b"DICM" or (len(head) > 8 and head.startswith(_BARE_BEGINNINGS))


def dicom_files(folder: Path) -> Iterator[Path]:
    """All DICOM files in ``folder`` and the folders below, sorted by path; hidden files are passed over."""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            if not name.startswith(".") and is_dicom_file(path):
                yield path


def check_none_cut(files: Sequence[Path]) -> None:
    """Refuse a series beside whose ``files`` others of their kind lie that hold nothing: a copy that broke off leaves
    them, and at an end of the stack no gap tells. Of their kind: the same suffix or, without one, the same name but for
    its digits. Raises InputFileError that names the first such file and tells how many there are.
    """
    kinds = {(path.parent, _kind_of_name(path)) for path in files}
    known = set(files)
    beside: list[Path] = []
    for folder in sorted({path.parent for path in files}):
        with suppress(OSError):  # not to be listed, or gone: reading the images tells
            beside += sorted(folder.iterdir())
    cut = [
        path
        for path in beside
        if (path.parent, _kind_of_name(path)) in kinds and path not in known and _holds_nothing(path)
    ]
    if cut:
        raise InputFileError(
            f"{cut[0].name} lies beside the images of the series and holds nothing or cannot be read"
            f" ({len(cut)} such {'file' if len(cut) == 1 else 'files'}): copy or export the series again"
        )


def _kind_of_name(path: Path) -> str:
    return path.suffix.casefold() if path.suffix.strip("0123456789.") else _DIGITS.sub("", path.name)


def _holds_nothing(path: Path) -> bool:
    """Empty, zeros from the beginning, or not to be read."""
    if path.name.startswith(".") or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return not file.read(_PREAMBLE_BYTES + 4).strip(b"\0")
    except OSError:
        return True


def read_image_header(path: Path) -> FileDataset | None:
    """The header of an acquired image, pixels left aside; None for a DICOMDIR, a report, a segmentation and the like.

    Raises InputFileError when a file that begins as DICOM cannot be read to the end of its header.
    """
    try:
        with quiet_pydicom():
            dataset = read_dataset(path, pixels=False)
            is_image = "Rows" in dataset and "Columns" in dataset and "SeriesInstanceUID" in dataset
            if not is_image and _says_nothing(dataset):
                raise InvalidDicomError("neither the header nor what stands before it tells what the file is")
            modality = str(dataset.get("Modality", ""))
    except (
        OSError,
        EOFError,
        InvalidDicomError,
        struct.error,
        ValueError,
        OverflowError,
        NotImplementedError,
    ) as error:
        raise InputFileError(
            f"{path.name} begins as DICOM but its header is damaged; copy or export it again"
        ) from error
    return dataset if is_image and modality not in _NOT_ACQUIRED else None


def _says_nothing(dataset: FileDataset) -> bool:
    """A file with DICOM's mark of which pydicom could read nothing: it stops at what it cannot read, without a word."""
    meta = getattr(dataset, "file_meta", {})
    return bool(dataset.preamble) and "SOPClassUID" not in dataset and "MediaStorageSOPClassUID" not in meta


class _BoundedFile(io.BufferedReader):
    """Never asks for more than the file has: Python takes memory for all that is asked for, and the length of a damaged
    element may claim 4 GB."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(str(path)))  # pydicom puts the name into its texts
        self._n_bytes = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self._n_bytes if size is None or size < 0 else min(size, self._n_bytes))


def read_dataset(path: Path, *, pixels: bool) -> FileDataset:
    """The data set of a file that may lack the preamble. Raises what dcmread raises, and InputFileError for one that is
    deflated to far less than an image can be."""
    with _BoundedFile(path) as file:
        _check_deflated(file, path)
        file.seek(0)
        try:
            return dcmread(file, stop_before_pixels=not pixels, force=True)
        except zlib.error as error:
            raise InvalidDicomError("the deflated data set is damaged") from error


def _check_deflated(file: io.BufferedReader, path: Path) -> None:
    """pydicom unpacks a deflated data set whole, into memory, before anything in it is looked at: a few MB of deflate
    can stand for gigabytes of zeros. Unpacked here piece by piece, and only counted."""
    head = file.read(_META_BYTES)
    at = _PREAMBLE_BYTES + 4 if head[_PREAMBLE_BYTES:].startswith(b"DICM") else 0
    if _DEFLATED not in head or not head[at:].startswith(_META_LENGTH):
        return
    file.seek(at + 12 + int.from_bytes(head[at + 8 : at + 12], "little"))
    most = max(_DEFLATED_FREE, _MOST_DEFLATED * os.fstat(file.fileno()).st_size)
    unpacking, unpacked = zlib.decompressobj(-zlib.MAX_WBITS), 0
    try:
        while packed := unpacking.unconsumed_tail or file.read(_PIECE):
            unpacked += len(unpacking.decompress(packed, _PIECE))
            if unpacked > most:
                raise InputFileError(
                    f"{path.name} is deflated to less than a {_MOST_DEFLATED}th of its size, which no image is:"
                    " export it again, uncompressed"
                )
    except zlib.error:
        return  # damaged: dcmread says so


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """pydicom warns of every value that bends the standard, as scanners' do; what matters here is checked here."""
    logger = logging.getLogger("pydicom")
    former = logger.disabled
    logger.disabled = True  # it quotes the values, which may be the patient's
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = former
