"""DICOM series: found in a folder, chosen, and read into a volume by position, never by name or instance number."""

from __future__ import annotations

import filecmp
import io
import logging
import os
import re
import struct
import tempfile
import unicodedata
import warnings
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, SecondaryCaptureImageStorage

from SpinalCordSegLib.errors import DicomSeriesError, GeometryError, InputFileError, VoxelError
from SpinalCordSegLib.files import check_claimed_size, quiet_stderr, without_padding
from SpinalCordSegLib.identity import Identity, known_of
from SpinalCordSegLib.volume import Volume, lps_to_ras

# Which files of a folder are DICOM images, and their headers.


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
    them, and at an end of the stack no gap tells. Raises InputFileError that names the first such file and tells how
    many there are.
    """
    cut = [path for path in _of_their_kind(files) if _holds_nothing(path)]
    if cut:
        raise InputFileError(
            f"{cut[0].name} lies beside the images of the series and holds nothing or cannot be read"
            f" ({len(cut)} such {'file' if len(cut) == 1 else 'files'}): copy or export the series again"
        )


def _of_their_kind(files: Sequence[Path]) -> list[Path]:
    """Other files beside these, with the same suffix or, without one, the same name but for its digits."""

    def kind(path: Path) -> tuple[Path, str]:
        plain = path.suffix.strip("0123456789.")
        return path.parent, path.suffix.casefold() if plain else _DIGITS.sub("", path.name)

    kinds, beside = {kind(path) for path in files}, []
    for folder in sorted({path.parent for path in files}):
        with suppress(OSError):  # not to be listed, or gone: reading the images tells
            beside += sorted(set(folder.iterdir()) - set(files))
    return [path for path in beside if kind(path) in kinds and path.is_file() and not path.name.startswith(".")]


def series_notes(series: DicomSeries) -> tuple[str, ...]:
    """Why slices may be missing at an end of the stack, where no gap tells; tells no file's name."""
    beside = sum(not is_dicom_file(path) for path in _of_their_kind(series.files))
    numbers = {frame.number or 0 for frame in series.frames if frame.index is None}
    first, n = min(numbers, default=1), len(series.frames)
    if beside:
        found = f"files of the same kind beside its images that cannot be read as DICOM: {beside}"
    # consecutive, and fewer missing than there: a second echo's numbers go on behind the first's
    elif 1 < first <= n == len(numbers) == max(numbers) - first + 1:
        found = f"the numbers of the images begin at {first}, not at 1"
    else:
        return ()
    return (f"{found}; slices at an end of the stack may be missing",)


def _holds_nothing(path: Path) -> bool:
    """Empty, zeros from the beginning, or not to be read."""
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
            kind = "SOPClassUID" in dataset or "MediaStorageSOPClassUID" in getattr(dataset, "file_meta", {})
            # pydicom stops, without a word, at what it cannot read
            modality = str(dataset.get("Modality", ""))
            cut = _claims_image(dataset) and modality not in _NOT_ACQUIRED
            if not is_image and dataset.preamble and (cut or not kind):
                raise InvalidDicomError("the header ends before it tells of the image, or tells nothing at all")
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


def _claims_image(dataset: FileDataset) -> bool:
    stated = dataset.file_meta.get("MediaStorageSOPClassUID") or dataset.get("SOPClassUID") or ""
    return UID(stated).name.endswith("Image Storage")


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
    except BytesLengthException as error:
        raise ValueError("an element has a length that its kind cannot have") from error
    finally:
        logger.disabled = former


# One record per DICOM frame: where it lies and how its numbers are scaled, from classic and enhanced files alike.


@dataclass(frozen=True)
class Frame:
    """One slice as stored. Positions and directions in DICOM's LPS mm.

    ``number``: InstanceNumber of the file, or the 1-based frame number in a multi-frame file. ``index``: 0-based
    frame in the file, None for a single-frame file. ``position``, ``directions`` and ``pixel_mm`` (between rows,
    between columns) are None where the header does not hold them. ``thickness_mm``: nominal, None if unknown.
    """

    file: Path
    index: int | None
    number: int | None
    shape: tuple[int, int]
    position: tuple[float, float, float] | None
    directions: tuple[float, float, float, float, float, float] | None
    pixel_mm: tuple[float, float] | None
    thickness_mm: float | None
    slope: float
    intercept: float

    @property
    def name(self) -> str:
        """For error texts: the file's base name, and the frame where there are several."""
        return self.file.name if self.index is None else f"{self.file.name} frame {self.index + 1}"

    def normal(self) -> NDArray[np.float64]:
        """Unit vector from slice to slice, LPS. Raises DicomSeriesError when the orientation is unknown."""
        if self.directions is None:
            raise DicomSeriesError(f"{self.name} has no ImageOrientationPatient: {_NO_PLACE}")
        return np.cross(self.directions[:3], self.directions[3:])

    def along(self, normal: NDArray[np.float64]) -> float:
        """Position along ``normal``, mm. Raises DicomSeriesError when the position is unknown."""
        if self.position is None:
            raise DicomSeriesError(f"{self.name} has no ImagePositionPatient: {_NO_PLACE}")
        return float(np.dot(self.position, normal))


_MOST_FRAMES = 1 << 16  # each is kept in memory before its pixels are known to be there
_NO_PLACE = "a screenshot or a derived image cannot be placed in the patient; choose the acquired series"


def frames_of(dataset: Dataset, file: Path) -> Iterator[Frame]:
    """All frames of one file, in stored order."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    n_frames = whole_number(dataset.get("NumberOfFrames")) or 1
    if per_frame is None and n_frames == 1:
        yield _frame(file, None, whole_number(dataset.get("InstanceNumber")), dataset, [dataset])
        return
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]
    groups = list(per_frame or [])
    if not 1 <= n_frames <= _MOST_FRAMES:
        raise DicomSeriesError(f"{file.name} claims {n_frames} frames: its header is damaged; copy or export it again")
    for index in range(n_frames):
        own = [groups[index]] if index < len(groups) else []
        yield _frame(file, index, index + 1, dataset, [*own, *shared])


def _frame(file: Path, index: int | None, number: int | None, dataset: Dataset, places: list[Dataset]) -> Frame:
    slope, intercept = (
        first_number(look_up(places, "PixelValueTransformationSequence", keyword))
        for keyword in ("RescaleSlope", "RescaleIntercept")
    )
    return Frame(
        file=file,
        index=index,
        number=number,
        shape=(int(dataset.Rows), int(dataset.Columns)),
        position=_numbers(look_up(places, "PlanePositionSequence", "ImagePositionPatient"), 3),
        directions=_numbers(look_up(places, "PlaneOrientationSequence", "ImageOrientationPatient"), 6),
        pixel_mm=_numbers(look_up(places, "PixelMeasuresSequence", "PixelSpacing"), 2),
        thickness_mm=first_number(look_up(places, "PixelMeasuresSequence", "SliceThickness")),
        slope=1.0 if slope is None else slope,
        intercept=intercept or 0.0,
    )


def look_up(places: list[Dataset], sequence: str, keyword: str) -> Any:
    """The first value of ``keyword`` in ``places``, directly or in the first item of ``sequence``; None if absent."""
    for place in places:
        if keyword in place:
            return place.get(keyword)
        items = place.get(sequence)
        if items and keyword in items[0]:
            return items[0].get(keyword)
    return None


def first_number(value: Any) -> float | None:
    """A decimal value, or the first of several; None when absent, empty or not a finite number."""
    numbers = _numbers(value)
    return numbers[0] if numbers else None


def whole_number(value: Any) -> int | None:
    number = first_number(value)
    return None if number is None else int(number)


def _numbers(value: Any, length: int | None = None) -> Any:
    """A tuple of finite floats; None when one is none, or there are not ``length`` of them."""
    try:
        numbers = tuple(
            map(float, value if hasattr(value, "__iter__") and not isinstance(value, (str, bytes)) else [value])
        )
    except (TypeError, ValueError, OverflowError):
        return None
    return numbers if np.isfinite(numbers).all() and length in (None, len(numbers)) else None


# The stored numbers of DICOM files as real values, whatever their compression.


_PADDED_BYTES = 4096  # what may lie behind the pixels
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
            if "TransferSyntaxUID" not in dataset.file_meta:  # a file without a header: as pydicom found it
                implicit = dataset.is_implicit_VR
                dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    except (OSError, EOFError, ValueError, InvalidDicomError) as error:
        raise InputFileError(f"{file.name} cannot be read as DICOM; copy or export it again") from error
    photometric = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    if int(dataset.get("SamplesPerPixel") or 1) != 1 or photometric != "MONOCHROME2":
        raise VoxelError(
            f"{file.name}: the pixels are {photometric}; expected grey values (MONOCHROME2): choose the acquired series"
        )
    try:  # decoders take memory for what the header claims before they look at the data
        claimed = tuple(int(dataset.get(name) or 1) for name in ("NumberOfFrames", "Rows", "Columns"))
        check_claimed_size(file, claimed, max(1, int(dataset.get("BitsAllocated") or 16) // 8))
    except GeometryError as error:
        raise InputFileError(f"{file.name}: {error}; copy it again") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise InputFileError(f"{file.name}: its header does not tell the size of its pixels; copy it again") from error
    syntax = dataset.file_meta.TransferSyntaxUID
    n_bytes = prod(claimed) * int(dataset.get("BitsAllocated") or 16) // 8
    is_plain = syntax.is_transfer_syntax and not syntax.is_compressed
    if is_plain and len(dataset.get("PixelData") or b"") > n_bytes + _PADDED_BYTES + n_bytes // 100:
        raise InputFileError(f"{file.name}: there are more pixels than its header describes; copy it again")
    try:
        with quiet_pydicom():
            pixels = np.asarray(dataset.pixel_array)
    except (RuntimeError, NotImplementedError, ValueError, TypeError, AttributeError, KeyError, OSError) as error:
        if not (syntax.is_transfer_syntax and syntax.is_compressed):
            raise InputFileError(f"{file.name}: the pixel data are missing or cut short; copy it again") from error
        pixels = _decode_with_itk(dataset, syntax, file)
    return pixels.reshape(-1, *claimed[1:])


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


# From single frames to one straight, gap-free stack, or an error that names the file and where it lies.


_SAME_DIRECTION = 1e-3  # of a direction cosine; headers that are rounded to four digits pass
_DRIFT_MM = 0.1  # how far off the normal a position may lie for rounding alone ...
_DRIFT_PER_MM = 1e-3  # ... and per mm along the normal (0.06°, the shear a Volume accepts)


def sort_frames(frames: Sequence[Frame]) -> tuple[Frame, ...]:
    """By position along the slice normal; frames without a place go by number and file, so that a list can be shown."""
    if not frames or any(frame.position is None or frame.directions is None for frame in frames):
        return tuple(sorted(frames, key=lambda frame: (frame.number or 0, str(frame.file), frame.index or 0)))
    normal = frames[0].normal()
    return tuple(sorted(frames, key=lambda frame: (frame.along(normal), str(frame.file), frame.index or 0)))


def stack_matrix(frames: Sequence[Frame]) -> NDArray[np.float64]:
    """ijk→RAS of the sorted frames: i along a row, j along a column, k along the slice normal.

    One frame takes its nominal thickness as slice spacing (1 mm if unknown). Raises DicomSeriesError for frames
    of differing size, pixel spacing or orientation, duplicates, missing slices, uneven steps and gantry tilt.
    """
    _check_alike(frames)
    directions = _directions(frames[0])
    normal = np.cross(directions[0], directions[1])
    along = np.array([frame.along(normal) for frame in frames])
    step_mm = _step(frames, along)
    _check_straight(frames, along, normal)
    pixel_mm = frames[0].pixel_mm
    if pixel_mm is None or min(pixel_mm) <= 0:
        raise DicomSeriesError(f"{frames[0].name} has no usable PixelSpacing: mm cannot be known; export it again")
    lps = np.eye(4)
    lps[:3, 0] = directions[0] * pixel_mm[1]
    lps[:3, 1] = directions[1] * pixel_mm[0]
    lps[:3, 2] = normal * step_mm
    lps[:3, 3] = frames[0].position
    return lps_to_ras(lps)


def _directions(frame: Frame) -> NDArray[np.float64]:
    """Row and column direction, exactly perpendicular and of length 1, shape (2, 3)."""
    frame.normal()  # raises where the orientation is unknown
    row, column = np.array(frame.directions, dtype=np.float64).reshape(2, 3)
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(length - 1) for length in lengths) > 1e-2 or abs(row @ column) > _SAME_DIRECTION:
        raise DicomSeriesError(f"{frame.name} has row and column directions that are not at right angles; export again")
    row /= lengths[0]
    column -= row * (row @ column)
    return np.stack([row, column / np.linalg.norm(column)])


def _check_alike(frames: Sequence[Frame]) -> None:
    """Every frame agrees with the majority in size, pixel spacing and orientation."""
    for what, key in (
        ("size", lambda frame: frame.shape),
        ("pixel spacing", lambda frame: frame.pixel_mm and tuple(round(value, 4) for value in frame.pixel_mm)),
    ):
        usual = Counter(map(key, frames)).most_common(1)[0][0]
        odd = next((frame for frame in frames if key(frame) != usual), None)
        if odd is not None:
            raise DicomSeriesError(
                f"the {what} varies: {odd.name}{_where(odd)} has {key(odd)}, most have {usual};"
                " choose a series of one geometry or export it again"
            )
    normals = np.array([frame.normal() for frame in frames])
    turned = np.array([frame.directions for frame in frames], dtype=np.float64)
    usual_turn = np.median(turned, axis=0)
    if (np.abs(turned - usual_turn).max(axis=1) > _SAME_DIRECTION).mean() > 0.5:
        usual_turn = turned[0]  # several orientations in equal parts, as in a localizer
    apart = np.abs(turned - usual_turn).max(axis=1)
    if apart.max() > _SAME_DIRECTION:
        odd = frames[int(np.argmax(apart > _SAME_DIRECTION))]
        usual_normal = np.cross(usual_turn[:3], usual_turn[3:])
        cosine = np.clip(normals[int(np.argmax(apart > _SAME_DIRECTION))] @ usual_normal, -1, 1)
        raise DicomSeriesError(
            f"the orientation varies: {odd.name}{_where(odd)} is turned against the others"
            f" (slice normals {np.degrees(np.arccos(cosine)):.1f}° apart); a localizer cannot be measured, choose"
            " a series of parallel slices"
        )


def _where(frame: Frame) -> str:
    return "" if frame.position is None or frame.directions is None else f" at {frame.along(frame.normal()):.1f} mm"


def _step(frames: Sequence[Frame], along: NDArray[np.float64]) -> float:
    if len(frames) == 1:
        return frames[0].thickness_mm or 1.0
    steps = np.diff(along)
    usual = float(np.sort(steps)[(len(steps) - 1) // 2])
    for (before, after), step, place in zip(pairwise(frames), steps, along, strict=False):
        if step < max(1e-3, 0.01 * usual):
            raise DicomSeriesError(
                f"two slices lie at the same position: {before.name} and {after.name} at {place:.1f} mm; the series"
                " holds several echoes, time points or copies: keep one slice per position"
            )
    for (before, after), step, place in zip(pairwise(frames), steps, along, strict=False):
        if abs(step - usual) <= 0.05 * usual + 0.01:
            continue
        n_missing = round(step / usual) - 1
        between = f"between {before.name} at {place:.1f} mm and {after.name} at {place + step:.1f} mm"
        if n_missing >= 1 and abs(step / usual - n_missing - 1) < 0.2:
            raise DicomSeriesError(
                f"{n_missing} slice{'s are' if n_missing > 1 else ' is'} missing {between}"
                f" (the usual step is {usual:.2f} mm); export the whole series again"
            )
        raise DicomSeriesError(
            f"the slice spacing varies: {step:.2f} mm {between}, usually {usual:.2f} mm; only evenly spaced slices"
            " can be measured: choose another series or export it again"
        )
    return float((along[-1] - along[0]) / (len(frames) - 1))


def _check_straight(frames: Sequence[Frame], along: NDArray[np.float64], normal: NDArray[np.float64]) -> None:
    positions = np.array([frame.position for frame in frames], dtype=np.float64)
    moved = positions - positions[0]
    drift = np.linalg.norm(moved - np.outer(moved @ normal, normal), axis=1)
    limit = _DRIFT_MM + _DRIFT_PER_MM * np.abs(along - along[0])
    if (drift <= limit).all():
        return
    worst = int(np.argmax(drift - limit))
    angle = np.degrees(np.arctan2(drift[worst], abs(along[worst] - along[0])))
    raise DicomSeriesError(
        f"the stack is tilted (gantry tilt): {frames[worst].name} at {along[worst]:.1f} mm lies {drift[worst]:.1f} mm"
        f" beside the slice normal ({angle:.1f}°); resample the series to a rectangular grid first"
    )


# Whether a text tells who the patient is: the test that keeps names and numbers out of what we write.


_SHORTEST_PART = 3  # "Li" or "02" alone would match half of all file names
_LETTERS = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ı": "i"}
)


def identity_words(texts: Iterable[str]) -> frozenset[str]:
    """The parts of names and identifiers that must not show, in every spelling that is looked for.

    Each text is split at "^", "=", "\\\\", spaces and punctuation; parts under 3 characters count only joined with the
    others ("Li^Na" gives "lina"). Identifiers count without leading zeros too. Nothing known gives an empty set.
    """
    words: set[str] = set()
    for name in (name for text in texts for name in text.split("=")):
        parts = re.findall(r"[^\W_]+", name)
        for spelling in _spellings(parts):
            joined = ["".join(spelling), "".join(reversed(spelling))]
            words.update(word for word in [*spelling, *joined] if _long_enough(word))
            words.update(bare for word in spelling if _long_enough(bare := word.lstrip("0")))
    return frozenset(words)


def _long_enough(word: str) -> bool:
    """Two letters of a script like Chinese are a name; two Latin ones are in every word."""
    return len(word) >= (_SHORTEST_PART if word.isascii() else _SHORTEST_PART - 1)


def tells_identity(text: str, words: Iterable[str]) -> bool:
    """True when ``text`` holds one of ``words``, whatever its case, accents and separators."""
    forms = {"".join(spelling) for spelling in _spellings(re.findall(r"[^\W_]+", text))}
    return any(word in form for word in words for form in forms)


def _spellings(parts: list[str]) -> list[list[str]]:
    """Without accents, once by dropping them (Müller → muller), once as they are transcribed (mueller)."""
    folded = [unicodedata.normalize("NFC", part).casefold() for part in parts]
    return [[_bare(part) for part in folded], [_bare(part.translate(_LETTERS)) for part in folded]]


def _bare(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


_IDENTITY_KEYWORDS = (
    "PatientName",
    "PatientID",
    "OtherPatientNames",
    "OtherPatientIDs",
    "PatientBirthDate",
    "PatientBirthName",
    "PatientMotherBirthName",
    "PatientTelephoneNumbers",
    "AccessionNumber",
)


@dataclass(frozen=True, eq=False)
class DicomSeries:
    """What one series' headers say. Texts are "" and numbers None where the header is silent.

    ``frames``: one per slice, sorted by position along the slice normal; ``sequence``: scanning sequence and
    variant, "GR\\\\SP"; ``dimension``: "2D" or "3D". Identifiers are kept out of ``repr``.
    """

    description: str
    number: int | None
    modality: str
    manufacturer: str
    model: str
    field_strength_t: float | None
    sequence: str
    dimension: str
    repetition_time_ms: float | None
    echo_time_ms: float | None
    inversion_time_ms: float | None
    flip_angle_deg: float | None
    slice_thickness_mm: float | None
    body_part: str
    image_type: tuple[str, ...]
    contrast_agent: bool
    uid: str = field(repr=False)
    identity: Identity | None
    acquisition_date: str = field(repr=False)
    patient_words: frozenset[str] = field(repr=False)
    frames: tuple[Frame, ...] = field(repr=False)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files, each once, in the order of the slices."""
        return tuple(dict.fromkeys(frame.file for frame in self.frames))

    @property
    def instance_numbers(self) -> tuple[int | None, ...]:
        """For each slice (the volume's k): InstanceNumber, or the 1-based frame number of a multi-frame file."""
        return tuple(frame.number for frame in self.frames)

    def title(self) -> str:
        """For lists and error texts: number, description and slice count; no patient data."""
        withheld = tells_identity(self.description, self.patient_words)
        name = "description withheld" if withheld else f'"{self.description or "no description"}"'
        n = len(self.frames)
        return f"{'no number' if self.number is None else self.number} {name} ({n} slice{'' if n == 1 else 's'})"


def list_series(folder: Path) -> list[DicomSeries]:
    """All image series in ``folder`` and below (or of the one file given), by number; [] where there is none.

    Raises InputFileError for a damaged header.
    """
    folder = Path(folder)
    groups: dict[str, list[tuple[Path, FileDataset]]] = defaultdict(list)
    for path in [folder] if folder.is_file() else dicom_files(folder):
        header = read_image_header(path)
        if header is None:
            continue
        group = groups[_uid(header)]
        same = [one for one, other in group if _uid(other, "SOPInstanceUID") == _uid(header, "SOPInstanceUID")]
        if not any(filecmp.cmp(one, path, shallow=False) for one in same):  # a file that lies there twice counts once
            group.append((path, header))
    series = [_describe(uid, members) for uid, members in groups.items()]
    return sorted(series, key=lambda one: (one.number is None, one.number or 0, one.description, one.uid))


def find_series(path: Path, wanted: str | None = None) -> DicomSeries:
    """The one series of a folder, or the one ``wanted`` (number, description or UID); for a file, its whole series.

    Raises DicomSeriesError when there are several or the wanted one is not there, listing them; InputFileError
    when there is no DICOM image at all.
    """
    path = Path(path)
    if path.is_file():
        header = read_image_header(path)
        if header is None:
            raise InputFileError(
                f"{path.name} is DICOM but holds no acquired image; expected an MR image or its folder"
            )
        wanted = _uid(header)
        found = list_series(path.parent)
    else:
        found = list_series(path)
    if not found:
        raise InputFileError(f"{path} holds no DICOM image and no image file; give a NIfTI, NRRD, MHA or DICOM input")
    return _choose(found, wanted, path.name)


def read_series(series: DicomSeries) -> Volume:
    """The series as one volume, float32, rescaled; k runs along the slice normal.

    Raises DicomSeriesError (missing, duplicate or uneven slices, varying orientation, tilt, unreadable
    compression), InputFileError (missing or damaged pixels, files cut to nothing) or VoxelError (colour); each names
    file and position.
    """
    if len(series.files) > 1 or series.frames[0].index is None:  # one file with all frames is whole by itself
        check_none_cut(series.files)
    try:
        matrix = stack_matrix(series.frames)
    except DicomSeriesError as error:
        raise DicomSeriesError(f"series {series.title()}: {error}") from error
    return Volume.from_ijk(without_padding(stack_pixels(series.frames)), matrix)


def _choose(found: Sequence[DicomSeries], wanted: str | None, where: str) -> DicomSeries:
    listed = "; ".join(one.title() for one in found)
    if wanted is None:
        if len(found) == 1:
            return found[0]
        raise DicomSeriesError(f"{where} holds {len(found)} series, choose one with --series NUMBER: {listed}")
    text = wanted.strip().casefold()
    for match in (
        [one for one in found if one.uid == wanted],
        [one for one in found if str(one.number) == text],
        [one for one in found if one.description.casefold() == text],
        [one for one in found if text and text in one.description.casefold()],
    ):
        if len(match) == 1:
            return match[0]
        if match:
            raise DicomSeriesError(
                f"{len(match)} series of {where} match, give the UID or a folder of its own: {listed}"
            )
    raise DicomSeriesError(f"{where} holds no series of that number, description or UID; it holds {listed}")


def _describe(uid: str, members: Sequence[tuple[Path, FileDataset]]) -> DicomSeries:
    path, header = members[0]
    stated = [known_of(partial(_text, one)) for _, one in members]
    if any(len({one[name] for one in stated if name in one}) > 1 for name in ("patient_id", "birth_date", "sex")):
        raise DicomSeriesError(
            f"{path.parent.name} holds one series whose files name several patients: export each patient's again"
        )
    try:
        with quiet_pydicom():
            frames = sort_frames([frame for file, one in members for frame in frames_of(one, file)])
            return _series(uid, header, frames)
    except (ValueError, TypeError, OverflowError, AttributeError, NotImplementedError) as error:
        raise InputFileError(f"{path.name}: a header value cannot be understood; export the series again") from error


def _series(uid: str, header: FileDataset, frames: tuple[Frame, ...]) -> DicomSeries:
    groups = [header.get(f"{name}FunctionalGroupsSequence") or [] for name in ("Shared", "PerFrame")]
    places = [header, *groups[0], *list(groups[1])[:1]]

    def number(sequence: str, *keywords: str) -> float | None:
        values = (first_number(look_up(places, sequence, keyword)) for keyword in keywords)
        return next((value for value in values if value is not None), None)

    timing, agent = "MRTimingAndRelatedParametersSequence", _text(header, "ContrastBolusAgent").casefold()
    persons = [header, *(header.get("OtherPatientIDsSequence") or [])]
    return DicomSeries(
        description=_text(header, "SeriesDescription") or _text(header, "ProtocolName"),
        number=whole_number(header.get("SeriesNumber")),
        modality=_text(header, "Modality"),
        manufacturer=_text(header, "Manufacturer"),
        model=_text(header, "ManufacturerModelName"),
        field_strength_t=first_number(header.get("MagneticFieldStrength")),
        sequence="\\".join(filter(None, (_text(header, "ScanningSequence"), _text(header, "SequenceVariant")))),
        dimension=_text(header, "MRAcquisitionType").upper(),
        repetition_time_ms=number(timing, "RepetitionTime"),
        echo_time_ms=number("MREchoSequence", "EchoTime", "EffectiveEchoTime"),
        inversion_time_ms=number("MRModifierSequence", "InversionTime", "InversionTimes"),
        flip_angle_deg=number(timing, "FlipAngle"),
        slice_thickness_mm=frames[0].thickness_mm,
        body_part=_text(header, "BodyPartExamined").upper(),
        image_type=tuple(_text(header, "ImageType").split("\\")),
        contrast_agent=agent not in ("", "no", "n", "none", "nein", "without", "ohne", "nativ")
        or bool(header.get("ContrastBolusAgentSequence")),
        uid=uid,
        identity=Identity.of(known_of(partial(_text, header))),
        acquisition_date=_text(header, "AcquisitionDate") or _text(header, "StudyDate"),
        patient_words=identity_words(_text(place, keyword) for place in persons for keyword in _IDENTITY_KEYWORDS),
        frames=frames,
    )


def _uid(header: FileDataset, keyword: str = "SeriesInstanceUID") -> str:
    with quiet_pydicom():
        return str(header.get(keyword))


def _text(header: Dataset, keyword: str) -> str:
    value = header.get(keyword)
    if value is None:
        return ""
    if hasattr(value, "__iter__") and not isinstance(value, str) and not hasattr(value, "components"):
        return "\\".join(" ".join(str(item).split()) for item in value)
    return " ".join(str(value).split())
