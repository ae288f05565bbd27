"""DICOM series: found in a folder, chosen, and read into a volume by position, never by name or instance number."""

from __future__ import annotations

import filecmp
import logging
import os
import re
import struct
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby, pairwise
from math import isnan, nan
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, SecondaryCaptureImageStorage

from SpinalCordSegLib.errors import DicomSeriesError, InputFileError, VoxelError
from SpinalCordSegLib.files import check_claimed_size, quiet_stderr
from SpinalCordSegLib.identity import Identity, identity_words, known_of, tells_identity
from SpinalCordSegLib.volume import Volume, lps_to_ras, without_padding

# Which files of a folder are DICOM images, and their headers.


_PREAMBLE_BYTES = 128
# A data set without preamble begins with group 0002 or 0008, little endian.
_BARE_BEGINNINGS = (b"\x02\x00\x00\x00", b"\x02\x00\x01\x00", b"\x02\x00\x10\x00", b"\x08\x00")
_META_BYTES = 1 << 10
_DEFLATED = b"1.2.840.10008.1.2.1.99"
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


def _not_dicom_beside(files: Sequence[Path]) -> int:
    """How many files beside these are no DICOM but of their kind: with the same suffix or, without one, the same name
    but for its digits. A copy that broke off leaves them empty."""

    def kind(path: Path) -> tuple[Path, str]:
        plain = path.suffix.strip("0123456789.")
        return path.parent, path.suffix.casefold() if plain else _DIGITS.sub("", path.name)

    kinds = {kind(path) for path in files}
    beside: set[Path] = set()
    for folder in {path.parent for path in files}:
        with suppress(OSError):  # not to be listed, or gone: reading the images tells
            beside |= set(folder.iterdir()) - set(files)
    visible = (path for path in beside if kind(path) in kinds and path.is_file() and not path.name.startswith("."))
    return sum(not is_dicom_file(path) for path in visible)


def series_notes(series: DicomSeries) -> tuple[str, ...]:
    """Why slices may be missing at an end of the stack, where no gap tells; tells no file's name."""
    beside = _not_dicom_beside(series.files)
    numbers = {frame.number or 0 for frame in series.frames if frame.index is None}
    first, n = min(numbers, default=1), len(series.frames)
    if beside:
        found = f"files of the same kind beside its images that cannot be read as DICOM: {beside}"
    # consecutive, and fewer missing than there: a second echo's numbers go on behind the first's
    elif 1 < first <= n == len(numbers) == max(numbers) - first + 1:
        found = f"the numbers of the images begin at {first}, not at 1"
    # a stated multiple counts the images of several series or echoes
    elif series.n_stated is not None and n < series.n_stated and series.n_stated % n:
        found = f"the header states {series.n_stated} images, and {n} are there"
    else:
        return ()
    return (f"{found}; slices at an end of the stack may be missing",)


def read_image_header(path: Path) -> FileDataset | None:
    """The header of an acquired image, pixels left aside; None for a DICOMDIR, a report, a segmentation and the like.

    Raises InputFileError when a file that begins as DICOM cannot be read to the end of its header.
    """
    with damaged_as(f"{path.name} begins as DICOM but its header is damaged; copy or export it again"):
        dataset = read_dataset(path, pixels=False)
        is_image = "Rows" in dataset and "Columns" in dataset and "SeriesInstanceUID" in dataset
        is_acquired = str(dataset.get("Modality", "")) not in _NOT_ACQUIRED
        stated = getattr(dataset, "file_meta", {}).get("MediaStorageSOPClassUID") or dataset.get("SOPClassUID")
        # pydicom stops, without a word, at what it cannot read
        is_cut = not stated or (is_acquired and UID(stated).name.endswith("Image Storage"))
        if dataset.preamble and not is_image and is_cut:
            raise InvalidDicomError("the header ends before it tells of the image")
    return dataset if is_image and is_acquired else None


def read_dataset(path: Path, *, pixels: bool) -> FileDataset:
    """The data set of a file that may lack the preamble. Raises what dcmread raises, and InputFileError for one that is
    deflated as a whole: a few MB of it can stand for gigabytes, and pydicom unpacks all before it looks."""
    with path.open("rb") as file:
        if _DEFLATED in file.read(_META_BYTES):
            raise InputFileError(f"{path.name} is deflated DICOM, which is not read here; export it uncompressed")
    return dcmread(path, stop_before_pixels=not pixels, force=True)


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


# What pydicom raises of a file that is damaged; a damaged element may claim 4 GB.
_DAMAGED = (
    OSError, EOFError, InvalidDicomError, struct.error, ValueError, TypeError, AttributeError, KeyError, OverflowError,
    MemoryError, NotImplementedError, RuntimeError,
)  # fmt: skip


@contextmanager
def damaged_as(text: str) -> Iterator[None]:
    """What pydicom raises of a damaged file becomes an InputFileError with ``text``."""
    try:
        with quiet_pydicom():
            yield
    except _DAMAGED as error:
        raise InputFileError(text) from error


# One record per DICOM frame: where it lies and how its numbers are scaled, from classic and enhanced files alike.


@dataclass(frozen=True)
class Frame:
    """One slice as stored. Positions and directions in DICOM's LPS mm.

    ``number``: InstanceNumber of the file, or the 1-based frame number in a multi-frame file. ``index``: 0-based
    frame in the file, None for a single-frame file. ``position``, ``directions`` and ``pixel_mm`` (between rows,
    between columns) are None where the header does not hold them. ``thickness_mm``: nominal, None if unknown. ``kind``:
    echo time in ms, image type and time point, which tell the volumes of one series apart.
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
    kind: tuple[float | None, str, int | None] = (None, "", None)

    @property
    def name(self) -> str:
        """For error texts: the file's base name, and the frame where there are several."""
        return self.file.name if self.index is None else f"{self.file.name} frame {self.index + 1}"

    @property
    def along_mm(self) -> float:
        """Position along its own slice normal; NaN without a place."""
        if self.position is None or self.directions is None:
            return nan
        return float(np.dot(self.position, np.cross(self.directions[:3], self.directions[3:])))

    @property
    def where(self) -> str:
        """For error texts: its name and position along the normal."""
        return f"{self.name} at {self.along_mm:.1f} mm"


def frames_of(dataset: Dataset, file: Path) -> Iterator[Frame]:
    """All frames of one file, in stored order. Raises InputFileError where it cannot hold them."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    n_frames = max(1, whole_number(dataset.get("NumberOfFrames")) or 1)
    check_claimed_size(file, (n_frames, int(dataset.Rows), int(dataset.Columns)), 1)
    if per_frame is None and n_frames == 1:
        yield _frame(file, None, whole_number(dataset.get("InstanceNumber")), dataset, [dataset])
        return
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]
    groups = list(per_frame or [])
    for index in range(n_frames):
        yield _frame(file, index, index + 1, dataset, [*groups[index : index + 1], *shared])


def _frame(file: Path, index: int | None, number: int | None, dataset: Dataset, places: list[Dataset]) -> Frame:
    slope, intercept = (
        first_number(look_up(places, "PixelValueTransformationSequence", keyword))
        for keyword in ("RescaleSlope", "RescaleIntercept")
    )
    echoes = (first_number(look_up(places, "MREchoSequence", name)) for name in ("EchoTime", "EffectiveEchoTime"))
    image_type = look_up([*places, dataset], "MRImageFrameTypeSequence", "FrameType") or dataset.get("ImageType")
    moments = (whole_number(dataset.get(name)) for name in ("TemporalPositionIdentifier", "AcquisitionNumber"))
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
        kind=(
            next((ms for ms in echoes if ms is not None), None),
            image_type if isinstance(image_type, str) else "\\".join(map(str, image_type or ())),
            next((number for number in moments if number is not None), None),
        ),
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


_SIZES = {"SamplesPerPixel": 1, "NumberOfFrames": 1, "Rows": 1, "Columns": 1, "BitsAllocated": 16}
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
    with damaged_as(f"{file.name} cannot be read as DICOM; copy or export it again"):
        dataset = read_dataset(file, pixels=True)
        if "TransferSyntaxUID" not in dataset.file_meta:  # a file without a header: as pydicom found it
            implicit = dataset.is_implicit_VR
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        photometric = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
        samples, n_frames, rows, columns, bits = (int(dataset.get(name) or least) for name, least in _SIZES.items())
        syntax = UID(str(dataset.file_meta.TransferSyntaxUID))
        found = len(dataset.get("PixelData") or b"")
    if samples != 1 or photometric != "MONOCHROME2":
        raise VoxelError(
            f"{file.name}: the pixels are {photometric or 'of no kind'}, {samples} values each; expected one grey value"
            " (MONOCHROME2): choose the acquired series"
        )
    is_compressed = syntax.is_transfer_syntax and syntax.is_compressed
    n_bytes = max(1, n_frames) * rows * columns * bits // 8
    if not is_compressed and found > n_bytes + _PADDED_BYTES + n_bytes // 100:
        raise InputFileError(f"{file.name}: there are more pixels than its header describes; copy it again")
    try:
        with quiet_pydicom():
            pixels = np.asarray(dataset.pixel_array)
    except _DAMAGED as error:
        if not is_compressed:
            raise InputFileError(f"{file.name}: the pixel data are missing or cut short; copy it again") from error
        pixels = _decode_with_itk(dataset, syntax, file)
    with damaged_as(f"{file.name}: its pixels are not those that its header describes; copy it again"):
        return pixels.reshape(-1, rows, columns)


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
    """Write a data set with a minimal file header."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    with quiet_pydicom():
        dataset.save_as(path, enforce_file_format=True)


# From single frames to one straight, gap-free stack, or an error that names the file and where it lies.


_SAME_DIRECTION = 1e-3  # of a direction cosine; headers that are rounded to four digits pass
_DRIFT_MM = 0.1  # how far off the normal a position may lie for rounding alone ...
_DRIFT_PER_MM = 1e-3  # ... and per mm along the normal (0.06°, the shear a Volume accepts)


def sort_frames(frames: Sequence[Frame]) -> tuple[Frame, ...]:
    """By position along the slice normal; frames without a place go by number and file, so that a list can be shown."""
    is_placed = not any(isnan(frame.along_mm) for frame in frames)
    return tuple(
        sorted(
            frames,
            key=lambda frame: (frame.along_mm if is_placed else frame.number or 0, str(frame.file), frame.index or 0),
        )
    )


def stack_matrix(frames: Sequence[Frame]) -> NDArray[np.float64]:
    """ijk→RAS of the sorted frames: i along a row, j along a column, k along the slice normal.

    One frame takes its nominal thickness as slice spacing (1 mm if unknown). Raises DicomSeriesError for frames
    of differing size, pixel spacing or orientation, duplicates, missing slices, uneven steps and gantry tilt.
    """
    for frame in frames:
        if frame.position is None or frame.directions is None or min(frame.pixel_mm or (0,)) <= 0:
            raise DicomSeriesError(
                f"{frame.name} has no ImagePositionPatient, ImageOrientationPatient or PixelSpacing: a screenshot or a"
                " derived image cannot be placed in the patient; choose the acquired series"
            )
    _check_alike(frames)
    row, column = np.array(frames[0].directions, dtype=np.float64).reshape(2, 3)
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(length - 1) for length in lengths) > 1e-2 or abs(row @ column) > _SAME_DIRECTION:
        raise DicomSeriesError(
            f"{frames[0].name} has row and column directions that are not at right angles; export again"
        )
    row /= lengths[0]
    column -= row * (row @ column)
    column /= np.linalg.norm(column)
    normal = np.cross(row, column)
    positions = np.array([frame.position for frame in frames], dtype=np.float64)
    pixel_mm = frames[0].pixel_mm or (1.0, 1.0)
    lps = np.eye(4)
    lps[:3, 0] = row * pixel_mm[1]
    lps[:3, 1] = column * pixel_mm[0]
    lps[:3, 2] = normal * _step(frames, positions @ normal)
    lps[:3, 3] = positions[0]
    _check_straight(frames, positions - positions[0], normal)
    return lps_to_ras(lps)


def _check_alike(frames: Sequence[Frame]) -> None:
    """Every frame agrees with the majority in size, pixel spacing and orientation."""
    for what, of, tolerance in (
        ("size", attrgetter("shape"), 0.0),
        ("pixel spacing", attrgetter("pixel_mm"), 1e-4),
        ("orientation", attrgetter("directions"), _SAME_DIRECTION),
    ):
        values = np.array([of(frame) for frame in frames], dtype=np.float64)
        is_odd = np.abs(values - np.median(values, axis=0)).max(axis=1) > tolerance
        if is_odd.mean() > 0.5:  # several in equal parts, as in a localizer
            is_odd = np.abs(values - values[0]).max(axis=1) > tolerance
        if is_odd.any():
            odd, usual = frames[int(np.argmax(is_odd))], frames[int(np.argmin(is_odd))]
            raise DicomSeriesError(
                f"the {what} varies: {odd.where} has {of(odd)}, {usual.where} has {of(usual)}; a localizer cannot be"
                " measured, choose a series of parallel slices or export it again"
            )


def _step(frames: Sequence[Frame], along: NDArray[np.float64]) -> float:
    if len(frames) == 1:
        return frames[0].thickness_mm or 1.0
    steps = np.diff(along)
    usual = float(np.sort(steps)[(len(steps) - 1) // 2])
    for (before, after), step in zip(pairwise(frames), steps, strict=True):
        if step < max(1e-3, 0.01 * usual):
            raise DicomSeriesError(
                f"two slices lie at the same position: {before.name} and {after.where}; the series"
                " holds several echoes, time points or copies: keep one slice per position"
            )
    for (before, after), step in zip(pairwise(frames), steps, strict=True):
        if abs(step - usual) <= 0.05 * usual + 0.01:
            continue
        n_missing = round(step / usual) - 1
        is_gap = n_missing >= 1 and abs(step / usual - n_missing - 1) < 0.2
        raise DicomSeriesError(
            f"the slice spacing varies: {step:.2f} mm between {before.where} and {after.where}, usually {usual:.2f} mm"
            f" ({f'missing slices: {n_missing}' if is_gap else 'only evenly spaced slices can be measured'}): export"
            " the whole series again or choose another"
        )
    return float((along[-1] - along[0]) / (len(frames) - 1))


def _check_straight(frames: Sequence[Frame], moved: NDArray[np.float64], normal: NDArray[np.float64]) -> None:
    along = moved @ normal
    drift = np.linalg.norm(moved - np.outer(along, normal), axis=1)
    beyond = drift - _DRIFT_MM - _DRIFT_PER_MM * np.abs(along)
    worst = int(np.argmax(beyond))
    if beyond[worst] > 0:
        raise DicomSeriesError(
            f"the stack is tilted (gantry tilt): {frames[worst].where} lies {drift[worst]:.1f} mm beside the slice"
            " normal; resample the series to a rectangular grid first"
        )


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

    ``n_stated``: how many images there are by the header. ``frames``: one per slice, sorted by position along the
    slice normal; ``sequence``: scanning sequence and variant, "GR\\\\SP"; ``dimension``: "2D" or "3D". Identifiers are
    kept out of ``repr``.
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
    n_stated: int | None
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
        with damaged_as(f"{path.name}: its UIDs cannot be understood; export the series again"):
            group = groups[_uid(header)]
            same = [one for one, other in group if _uid(other, "SOPInstanceUID") == _uid(header, "SOPInstanceUID")]
        if not any(filecmp.cmp(one, path, shallow=False) for one in same):  # a file that lies there twice counts once
            group.append((path, header))
    series = [one for uid, members in groups.items() for one in volumes_of(_describe(uid, members))]
    return sorted(series, key=lambda one: (one.number is None, one.number or 0, one.description, one.uid))


_APART = ("echo {:g} ms", "{}", "time {}")  # by Frame.kind
_SAME_ECHO = 1.1  # ratio that a scanner's rounding of one echo time stays below


def volumes_of(series: DicomSeries) -> list[DicomSeries]:
    """The volumes of a series that holds several, by echo time, image type or time point, each with that in its
    description; the series itself where it is one, or nothing tells them apart."""
    places = [frame.position for frame in series.frames]
    is_repeated = len(set(places)) < len(places)
    for n, words in enumerate(_APART):
        parts: dict[Any, list[Frame]] = defaultdict(list)
        for frame in series.frames:
            parts[frame.kind[n]].append(frame)
        is_other_echo = n == 0 and None not in parts and max(parts) > _SAME_ECHO * min(parts)
        is_split = 2 <= len(parts) <= len(places) / 2 and None not in parts
        if not is_split or not (is_repeated or is_other_echo):
            continue
        return [
            one
            for kind, frames in sorted(parts.items())
            for one in volumes_of(
                replace(
                    series,
                    description=f"{series.description}, {words.format(kind)}".lstrip(", "),
                    echo_time_ms=kind if n == 0 else series.echo_time_ms,
                    frames=tuple(frames),
                )
            )
        ]
    return [series]


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
        uid = _uid(header)
        found = [one for one in list_series(path.parent) if one.uid == uid]
        found = [one for one in found if path in one.files] or found
    else:
        found = list_series(path)
    if not found:
        raise InputFileError(f"{path} holds no DICOM image and no image file; give a NIfTI, NRRD, MHA or DICOM input")
    return _choose(found, wanted, path.name)


def read_series(series: DicomSeries) -> Volume:
    """The series as one volume, float32, rescaled; k runs along the slice normal.

    Raises DicomSeriesError (missing, duplicate or uneven slices, varying orientation, tilt, unreadable
    compression), InputFileError (missing or damaged pixels) or VoxelError (colour); each names file and position.
    """
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
        # a number is no part of a description: series 2 is not the one called T2
        [one for one in found if text and not text.isdecimal() and text in one.description.casefold()],
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
    with damaged_as(f"{path.name}: a header value cannot be understood; export the series again"):
        frames = sort_frames([frame for file, one in members for frame in frames_of(one, file)])
        return _series(uid, header, frames)


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
        n_stated=whole_number(header.get("ImagesInAcquisition") or header.get("NumberOfSeriesRelatedInstances")),
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
