"""DICOM series: found in a folder, chosen, and read into a volume by position, never by name or instance number."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset, FileDataset

from SpinalCordSegLib.errors import DicomSeriesError, InputFileError
from SpinalCordSegLib.images.dicom_frames import Frame, first_number, frames_of, look_up, whole_number
from SpinalCordSegLib.images.dicom_pixels import stack_pixels
from SpinalCordSegLib.images.dicom_scan import check_none_cut, dicom_files, quiet_pydicom, read_image_header
from SpinalCordSegLib.images.dicom_stack import sort_frames, stack_matrix
from SpinalCordSegLib.images.identity import identity_words, tells_identity
from SpinalCordSegLib.images.volume import Volume

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
        return f"{'no number' if self.number is None else self.number} {name} ({len(self.frames)} slices)"


def list_series(folder: Path) -> list[DicomSeries]:
    """All image series in ``folder`` and below (or of the one file given), by number; [] where there is none.

    Raises InputFileError for a damaged header.
    """
    folder = Path(folder)
    groups: dict[str, list[tuple[Path, FileDataset]]] = defaultdict(list)
    for path in [folder] if folder.is_file() else dicom_files(folder):
        header = read_image_header(path)
        if header is not None:
            groups[_uid(header)].append((path, header))
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
        alone = "PerFrameFunctionalGroupsSequence" in header
        found = list_series(path if alone else path.parent)
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
    if series.frames[0].index is None:  # one file with all frames is whole by itself
        check_none_cut(series.files)
    try:
        matrix = stack_matrix(series.frames)
    except DicomSeriesError as error:
        raise DicomSeriesError(f"series {series.title()}: {error}") from error
    return Volume(stack_pixels(series.frames), matrix)


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
    try:
        with quiet_pydicom():
            frames = sort_frames([frame for file, one in members for frame in frames_of(one, file)])
            return _series(uid, header, frames)
    except (ValueError, TypeError, OverflowError, AttributeError, NotImplementedError) as error:
        raise InputFileError(f"{path.name}: a header value cannot be understood; export the series again") from error


def _series(uid: str, header: FileDataset, frames: tuple[Frame, ...]) -> DicomSeries:
    places = [header, *(header.get("SharedFunctionalGroupsSequence") or []), *_first_frame_group(header)]

    def number(sequence: str, *keywords: str) -> float | None:
        values = (first_number(look_up(places, sequence, keyword)) for keyword in keywords)
        return next((value for value in values if value is not None), None)

    timing = "MRTimingAndRelatedParametersSequence"
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
        contrast_agent=_has_contrast_agent(header),
        uid=uid,
        acquisition_date=_text(header, "AcquisitionDate") or _text(header, "StudyDate"),
        patient_words=identity_words(_identity_texts(header)),
        frames=frames,
    )


def _identity_texts(header: FileDataset) -> list[str]:
    others = header.get("OtherPatientIDsSequence") or []
    return [_text(place, keyword) for place in (header, *others) for keyword in _IDENTITY_KEYWORDS]


def _first_frame_group(header: FileDataset) -> list:
    return list(header.get("PerFrameFunctionalGroupsSequence") or [])[:1]


def _uid(header: FileDataset) -> str:
    with quiet_pydicom():
        return str(header.SeriesInstanceUID)


def _text(header: Dataset, keyword: str) -> str:
    value = header.get(keyword)
    if value is None:
        return ""
    if hasattr(value, "__iter__") and not isinstance(value, str) and not hasattr(value, "components"):
        return "\\".join(" ".join(str(item).split()) for item in value)
    return " ".join(str(value).split())


def _has_contrast_agent(header: FileDataset) -> bool:
    """An agent is named, or an enhanced header lists one; "none" and the like are no agent."""
    named = _text(header, "ContrastBolusAgent").casefold()
    return named not in ("", "no", "n", "none", "nein", "without", "ohne", "nativ") or bool(
        header.get("ContrastBolusAgentSequence")
    )
