"""A finished case as DICOM objects beside its source series: segmentation, measurements, report page.

Everything is checked first, then built, then written: there are all the files asked for, or none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.sr.coding import Code
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import DSfloat, validate_value

from SpinalCordSegLib.case import Case
from SpinalCordSegLib.dicom import DicomSeries, damaged_as, quiet_pydicom, read_dataset, read_series, save_bare
from SpinalCordSegLib.errors import (
    ConfigurationError,
    DicomSeriesError,
    InputFileError,
    MissingPackageError,
    OutputError,
    VoxelError,
)
from SpinalCordSegLib.files import atomic_write
from SpinalCordSegLib.identity import differing
from SpinalCordSegLib.image_io import SEGMENT_COLOUR_RGB, SEGMENT_NAME, is_volume_file, read_image
from SpinalCordSegLib.report import report_pdf
from SpinalCordSegLib.review import ACCEPTED, ON_ANOTHER_MASK, REJECTED
from SpinalCordSegLib.version import SOFTWARE_VERSION
from SpinalCordSegLib.volume import Volume, fingerprint, place_on

# The DICOM series that exported objects refer to. Error texts name files and attributes, never the patient's values.


_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
# What may be empty in DICOM, and is absent from many an anonymised file: there it becomes empty.
_MAY_BE_EMPTY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
# Carried over where they are valid; an invalid one says nothing and would make every object invalid.
_DESCRIPTIONS = (
    "PatientAge", "PatientSize", "PatientWeight", "PatientSexNeutered", "EthnicGroup", "Occupation", "StudyDescription",
    "AdditionalPatientHistory",
)  # fmt: skip
_ONE_OF_ALL = ("StudyInstanceUID", "FrameOfReferenceUID", "SOPClassUID", "PatientName")


@dataclass(frozen=True, eq=False)
class SourceSeries:
    """A series that a segmentation can refer to.

    ``volume``: its voxels on its own grid, k along the slice normal. ``headers``: one data set without pixels per
    file, in the order of the slices, with every attribute that has to be copied, and complete geometry.
    """

    series: DicomSeries
    volume: Volume
    headers: tuple[Dataset, ...] = field(repr=False)

    def frame_array(self, mask: Volume) -> NDArray[np.bool_]:
        """A mask on the series' grid as (frames, rows, columns), in the order of ``headers``, or of a file's frames."""
        stack = np.ascontiguousarray(mask.ijk.transpose(2, 1, 0)).astype(bool)
        stored = [k if frame.index is None else frame.index for k, frame in enumerate(self.series.frames)]
        return stack[np.argsort(stored)]


def read_source(series: DicomSeries) -> SourceSeries:
    """Read and check a series.

    Raises DicomSeriesError when attributes are missing or differ between its files, when it is kept in several
    multi-frame files, and as ``read_series`` does; InputFileError for a file that cannot be read.
    """
    volume = read_series(series)
    if series.frames[0].index is not None and len(series.files) > 1:
        raise DicomSeriesError(
            f"series {series.title()} is kept in {len(series.files)} multi-frame files; a DICOM segmentation refers to"
            " single frames or to one multi-frame file: export the series again, or convert it to single frames"
        )
    headers = []
    for file in series.files:
        with damaged_as(f"{file} cannot be read as DICOM; copy or export it again"):
            headers.append(read_dataset(file, pixels=False))
        _check_identifiers(headers[-1], headers[0], file.name)
    if len({str(header.SOPInstanceUID) for header in headers}) < len(headers):
        raise DicomSeriesError(f"series {series.title()} has two files with one SOPInstanceUID: {_AGAIN}")
    _complete(headers, volume)
    return SourceSeries(series, volume, tuple(headers))


_AGAIN = "export the series again from the scanner or the archive"


def _check_identifiers(header: Dataset, first: Dataset, name: str) -> None:
    for keyword in _UIDS:
        if not UID(str(header.get(keyword) or "")).is_valid:
            raise DicomSeriesError(
                f"{name}: {keyword} is missing or not a valid identifier; without it no DICOM object can refer to the"
                f" image: {_AGAIN}"
            )
    for keyword in _ONE_OF_ALL:
        if str(header.get(keyword) or "") != str(first.get(keyword) or ""):
            raise DicomSeriesError(
                f"the series mixes studies, patients or kinds of image: {keyword} of {name} is another than that of its"
                f" first file; {_AGAIN}"
            )


def _complete(headers: Sequence[Dataset], volume: Volume) -> None:
    """Add, in memory only, what is copied into every object but may be absent, and make frames' geometry shared."""
    for header in headers:
        with quiet_pydicom():
            header.decode()  # texts in the file's own character set become Unicode, which every object is written in
        header.SpecificCharacterSet = "ISO_IR 192"
        for keyword in filter(header.__contains__, _DESCRIPTIONS):
            try:
                validate_value(header[keyword].VR, header[keyword].value, config.RAISE)
            except ValueError:
                del header[keyword]
        for keyword in _MAY_BE_EMPTY:
            header.setdefault(keyword, "")
        if header.get("PerFrameFunctionalGroupsSequence"):
            _share_geometry(header, volume)
            continue
        # slices lie alike, as reading has proved; highdicom compares the digits, which scanners round
        header.ImageOrientationPatient = deepcopy(headers[0].ImageOrientationPatient)
        if header.get("SliceThickness") is None:
            header.SliceThickness = volume.ijk_spacing_mm[2]


def _share_geometry(header: Dataset, volume: Volume) -> None:
    """Pixel size and orientation, which are the same in all frames, where highdicom looks for them."""
    shared = list(header.get("SharedFunctionalGroupsSequence") or []) or [Dataset()]
    first = header.PerFrameFunctionalGroupsSequence[0]
    for sequence in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
        if not shared[0].get(sequence):
            setattr(shared[0], sequence, deepcopy(first.get(sequence) or [Dataset()]))
    orientation = shared[0].PlaneOrientationSequence[0]
    orientation.ImageOrientationPatient = [
        DSfloat(one, auto_format=True) for one in orientation.ImageOrientationPatient
    ]
    measures = shared[0].PixelMeasuresSequence[0]
    measures.PixelSpacing = [DSfloat(one, auto_format=True) for one in measures.PixelSpacing]
    if measures.get("SliceThickness") is None:
        measures.SliceThickness = volume.ijk_spacing_mm[2]
    header.SharedFunctionalGroupsSequence = shared


# Whether a finished case may be exported into the study of a series: made from it, unchanged, and not rejected.


_ROUNDING = 1e-5  # of a value, and of the range of all: a NIfTI's slope and values are float32


def check_origin(content: Case, source: SourceSeries, image: Volume | None = None, is_vouched: bool = False) -> None:
    """Raise DicomSeriesError unless the case was made from these very images, or, for a mask made elsewhere, was
    measured with them as its image. ``image``: what the series was converted to, and the case made from.
    ``is_vouched``: these images in another patient's name are a copy under another ID."""
    made_from = content.input
    differ = differing(made_from.identity, source.series.identity)
    if differ and not is_vouched:
        raise DicomSeriesError(
            f"series {source.series.title()} is not of the case's patient: its header states another"
            f" {' and '.join(differ)}; give the series that the case was made from, or segment this one; for a copy of"
            " it under another ID: --vouch REASON --by NAME"
        )
    # "fingerprint" is of what was read first: of a mask made elsewhere its own, which says nothing of any image.
    of_image = made_from.image_fingerprint if content.mask_state == "given" else made_from.fingerprint
    if of_image == fingerprint(source.volume):
        return
    if image is not None:
        if of_image != fingerprint(image):
            raise DicomSeriesError(
                "the case was not made from this image: segment it again, or measure the mask with it"
            )
        # a rescale slope that is no whole number gives values that differ in the last digit from reader to reader
        there, own = place_on(image, source.volume, ("the image", "the series")).voxels, source.volume.voxels
        if not np.allclose(there, own, rtol=_ROUNDING, atol=_ROUNDING * float(np.ptp(own))):
            raise DicomSeriesError(
                f"the image does not hold the pixels of series {source.series.title()}: it was made from another"
                " series, or changed since it was loaded; give the series it was loaded from, or load that again and"
                " segment it"
            )
        return
    if not made_from.acquisition:
        raise DicomSeriesError(
            "the case was not made from DICOM, so nothing ties it to this series: segment the series itself"
            " (spinalcordseg segment SERIES_FOLDER), or measure the mask with it (measure MASK --image SERIES_FOLDER);"
            " without a series, the mask as .seg.nrrd and report.html say the same"
        )
    raise DicomSeriesError(
        f"series {source.series.title()} is not the one that the case was made from (its pixels differ): give that one,"
        " by --series where the folder holds several"
    )


# The mask as a DICOM Segmentation (binary), written by highdicom.


SOFTWARE = "SpinalCordSeg"
CORD = Code("2748008", "SCT", "Spinal cord")
ANATOMY = Code("123037004", "SCT", "Anatomical Structure")

AUTOMATIC, SEMIAUTOMATIC, MANUAL = "AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"
_OF_STATE = {"AI": AUTOMATIC, "corrected": SEMIAUTOMATIC}
_LONGEST_NAME = 64  # of DICOM's LO


@dataclass(frozen=True)
class Algorithm:
    """Who drew the mask. ``kind``: DICOM's SegmentAlgorithmType; the others say which software and model did, and are
    empty for MANUAL."""

    kind: str
    name: str = ""
    version: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


def algorithm_of(content: Case, drawn_by_hand: bool = False) -> Algorithm:
    """The model alone, or the model and a person after it, as the case says; of a mask made elsewhere a person, where
    ``drawn_by_hand`` says so.

    Raises ConfigurationError when nothing says it, and when ``drawn_by_hand`` contradicts the case.
    """
    model = content.model
    if content.mask_state not in _OF_STATE or not model:
        if not drawn_by_hand:
            raise ConfigurationError(
                "the mask was made elsewhere and the report does not say how: if a person drew it, add --drawn-by-hand;"
                " if other software made it, that software should export it"
            )
        return Algorithm(MANUAL)
    if drawn_by_hand:
        raise ConfigurationError("the report says that a model made the mask: leave --drawn-by-hand out")
    title = f"{model.name} {model.version}"
    parameters = {"model": title, "SHA-256 of the model": str(model.sha256)}
    if content.threshold is not None:
        parameters["threshold"] = f"{content.threshold:g}"
    name = f"{SOFTWARE} {title}"[:_LONGEST_NAME].strip()
    return Algorithm(_OF_STATE[content.mask_state], name, content.software_version, parameters)


@dataclass(frozen=True, eq=False)
class CordExport:
    """What is exported. ``mask``: bool, not empty, on the grid of ``source.volume``; ``picture``: the montage as
    PNG, None where there is none."""

    mask: Volume
    content: Case
    picture: bytes | None
    source: SourceSeries
    algorithm: Algorithm


def segmentation(export: CordExport) -> Dataset:
    """One segment, "Spinal cord", on the frames of the source; frames without cord are left out. UIDs are new."""
    import highdicom as hd

    algorithm, identification = export.algorithm, None
    if algorithm.kind != MANUAL:
        identification = hd.AlgorithmIdentificationSequence(
            name=algorithm.name,
            family=Code("123110", "DCM", "Artificial Intelligence"),
            version=algorithm.version,
            parameters=dict(algorithm.parameters),
        )
    description = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label=SEGMENT_NAME,
        segmented_property_category=ANATOMY,
        segmented_property_type=CORD,
        algorithm_type=algorithm.kind,
        algorithm_identification=identification,
        tracking_uid=generate_uid(prefix=None),  # ties the segment to its measurements
        tracking_id=SEGMENT_NAME,
        display_color=hd.color.CIELabColor.from_rgb(*SEGMENT_COLOUR_RGB),
    )
    return hd.seg.Segmentation(
        source_images=list(export.source.headers),
        pixel_array=export.source.frame_array(export.mask),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[description],
        **_new_series(export, 1),
        device_serial_number=SOFTWARE_VERSION,  # software has no other
        content_description="Spinal cord, research use",
        content_label="SPINAL_CORD",
        series_description=f"Spinal cord segmentation ({SOFTWARE})",
    )


def _new_series(export: CordExport, offset: int) -> dict[str, Any]:
    """For highdicom's classes: the only instance of a new series, made by this software."""
    import highdicom as hd

    return {
        "series_instance_uid": hd.UID(),
        "series_number": _series_number(export.source, offset),
        "sop_instance_uid": hd.UID(),
        "instance_number": 1,
        "manufacturer": SOFTWARE,
        "manufacturer_model_name": SOFTWARE,
        "software_versions": SOFTWARE_VERSION,
    }


def _series_number(source: SourceSeries, offset: int) -> int:
    """Beside the source's: its number and two digits, which scanners leave free."""
    return 100 * min(max(source.series.number or 0, 0), 20_000_000) + offset


# The measures of a case as a DICOM structured report (TID 1500), written by highdicom. A number without an answer is
# left out; what a reader must know beside the numbers stands as a comment.


CERVICAL_SPINE = Code("122494005", "SCT", "Cervical spine")
VOLUME = Code("118565006", "SCT", "Volume")
SUM_OF_VOXELS = Code("126030", "DCM", "Sum of segmented voxel method for volume")
AREA = Code("131184002", "SCT", "Area of defined region")
LENGTH = Code("121211", "DCM", "Path length")
MAJOR_AXIS, MINOR_AXIS = Code("131187009", "SCT", "Major Axis"), Code("131188004", "SCT", "Minor Axis")
MEAN, DEVIATION = Code("373098007", "SCT", "Mean"), Code("386136009", "SCT", "Standard Deviation")
MM3, MM2 = Code("mm3", "UCUM", "cubic millimeter"), Code("mm2", "UCUM", "square millimeter")
MM = Code("mm", "UCUM", "millimeter")
_COMMENT = Code("121106", "DCM", "Comment")
_MR_IMAGING = Code("25056-3", "LN", "MRI unspecified body region")

_DEFINITIONS = (
    "Research use, not for diagnosis.",
    "Area: at a right angle to the cord. Major axis: right-left, minor axis: anterior-posterior, of the ellipse with"
    " the same second moments. Length: along the cord. Volume follows the coverage.",
)

# key in report.json, what it is, unit, how it was got from several values, method
_WHOLE_CORD = (("volume_mm3", VOLUME, MM3, None, SUM_OF_VOXELS), ("length_mm", LENGTH, MM, None, None))
_RANGE = (("range_volume_mm3", VOLUME, MM3, None, SUM_OF_VOXELS), ("range_length_mm", LENGTH, MM, None, None))
_SECTIONS = (
    ("mean_csa_mm2", AREA, MM2, MEAN, None),
    ("sd_csa_mm2", AREA, MM2, DEVIATION, None),
    ("mean_rl_mm", MAJOR_AXIS, MM, MEAN, None),
    ("mean_ap_ellipse_mm", MINOR_AXIS, MM, MEAN, None),
)


def measurement_report(export: CordExport, segmentation: Dataset) -> Dataset:
    """A Comprehensive SR about ``segmentation``.

    With a range of slices there are two groups: the whole cord, and the range with the mean areas. Complete, and
    always unverified: VERIFIED would say that an observer, named with organisation, attests to the content and answers
    for it (PS3.3 C.17.2). The name that a reviewer typed is written as a comment. UIDs are new.
    """
    import highdicom as hd

    observer = hd.sr.ObserverContext(
        observer_type=Code("121007", "DCM", "Device"),
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=hd.UID(), name=SOFTWARE, manufacturer_name=SOFTWARE, model_name=f"{SOFTWARE} {SOFTWARE_VERSION}"
        ),
    )
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=_MR_IMAGING,
        imaging_measurements=_groups(export, segmentation),
        title=Code("126000", "DCM", "Imaging Measurement Report"),
    )
    return hd.sr.ComprehensiveSR(
        evidence=[*export.source.headers, segmentation],
        content=report[0],
        **_new_series(export, 2),
        is_complete=True,
        is_final=True,
        is_verified=False,
        series_description=f"Spinal cord measurements ({SOFTWARE})",
    )


def _groups(export: CordExport, segmentation: Dataset) -> list[Any]:
    """The whole segment (TID 1411) and, where one was asked for, the range of slices in it (TID 1501)."""
    import highdicom as hd

    content = export.content
    review, flagged = content.review, {flag.slice for flag in content.flags if flag.slice is not None}
    reviewed = "Not reviewed by a person to the end."
    if review.state == ACCEPTED:
        who = f" by {review.who}" if review.who else ""
        doubt = f" {ON_ANOTHER_MASK}." if review.is_of_another(content.mask_sha256) else ""
        reviewed = f"Accepted{who} in review; a name that was typed, no signature.{doubt}"
    history = "History: " + "; ".join(map(str, content.history))
    remarks = [*_DEFINITIONS, reviewed, history, *(flag.message for flag in content.flags if flag.slice is None)]
    counts = [
        f"The mean area is of {content.counted_text}, coverage {100 * content.coverage:.0f} %.",
        f"Slices with a quality flag, in the whole cord: {len(flagged)}.",
    ]
    segment = segmentation.SegmentSequence[0]
    whole = {
        "tracking_identifier": hd.sr.TrackingIdentifier(uid=segment.TrackingUID, identifier=segment.TrackingID),
        "referenced_segment": hd.sr.ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=1,
            source_series=hd.sr.SourceSeriesForSegmentation(export.source.headers[0].SeriesInstanceUID),
        ),
    }
    volumetric = hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations
    if content.range is None:
        return [_group(volumetric, whole, (*_WHOLE_CORD, *_SECTIONS), [*remarks, *counts], export)]
    first, end = content.range
    words = f"slices {first} to {end - 1}"
    part = {"tracking_identifier": hd.sr.TrackingIdentifier(uid=hd.UID(), identifier=f"{SEGMENT_NAME}, {words}")}
    counted = f"Range: {words} of the image, counted from 0 along its axis nearest to the body axis."
    of_slices = hd.sr.MeasurementsAndQualitativeEvaluations
    return [
        _group(volumetric, whole, _WHOLE_CORD, remarks, export),
        _group(of_slices, part, (*_RANGE, *_SECTIONS), [counted, *counts], export),
    ]


def _group(kind: Any, about: dict[str, Any], wanted: tuple[Any, ...], remarks: list[str], export: CordExport) -> Any:
    import highdicom as hd

    made, algorithm, numbers = None, export.algorithm, export.content.as_json()
    if algorithm.kind != MANUAL:
        parameters = [f"{name}: {value}" for name, value in algorithm.parameters.items()]
        made = hd.sr.AlgorithmIdentification(algorithm.name, algorithm.version, parameters)
    group = kind(
        **about,
        finding_category=ANATOMY,
        finding_type=CORD,
        finding_sites=[hd.sr.FindingSite(anatomic_location=CERVICAL_SPINE)],
        algorithm_id=made,
        measurements=[
            hd.sr.Measurement(name=name, value=float(numbers[key]), unit=unit, derivation=derivation, method=method)
            for key, name, unit, derivation, method in wanted
            if numbers[key] is not None
        ],
    )
    contains = hd.sr.RelationshipTypeValues.CONTAINS
    comment = hd.sr.TextContentItem(name=_COMMENT, value="\n".join(remarks), relationship_type=contains)
    group[0].ContentSequence.append(comment)
    return group


# A PDF as a DICOM object (Encapsulated PDF) in the study of its source series.


_ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
_OF_THE_STUDY = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize",
    "PatientWeight", "PatientIdentityRemoved", "DeidentificationMethod",
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber",
    "ReferringPhysicianName",
)  # fmt: skip


def encapsulated_pdf(document: bytes, source: SourceSeries) -> Dataset:
    """``document`` (a PDF without the patient's name in it) as a data set without file header. UIDs are new."""
    one = Dataset()
    one.SpecificCharacterSet = "ISO_IR 192"
    one.SOPClassUID, one.SOPInstanceUID = _ENCAPSULATED_PDF, generate_uid(prefix=None)
    header = source.headers[0]
    for keyword in _OF_THE_STUDY:
        if keyword in header:
            setattr(one, keyword, header.get(keyword))
    one.Modality, one.SeriesInstanceUID, one.SeriesNumber = "DOC", generate_uid(prefix=None), _series_number(source, 3)
    one.SeriesDescription, one.InstanceNumber = f"Spinal cord report ({SOFTWARE})", 1
    one.Manufacturer = one.ManufacturerModelName = SOFTWARE
    one.SoftwareVersions, one.ConversionType = SOFTWARE_VERSION, "WSD"
    now = datetime.now()
    one.ContentDate, one.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    date, time = header.get("AcquisitionDate") or header.get("StudyDate"), header.get("AcquisitionTime")
    one.AcquisitionDateTime = str(header.get("AcquisitionDateTime") or (f"{date}{time or ''}" if date else ""))
    one.BurnedInAnnotation = "NO"
    one.SourceInstanceSequence = DicomSequence()
    for each in source.headers:
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = each.SOPClassUID, each.SOPInstanceUID
        one.SourceInstanceSequence.append(reference)
    one.DocumentTitle = "Spinal cord report"
    one.ConceptNameCodeSequence = DicomSequence()
    one.VerificationFlag = "UNVERIFIED"
    one.MIMETypeOfEncapsulatedDocument = "application/pdf"
    one.EncapsulatedDocumentLength = len(document)
    one.EncapsulatedDocument = document + b"\0" * (len(document) % 2)
    return one


SEG, SR, PDF = "seg", "sr", "pdf"
KINDS = (SEG, SR, PDF)


def dicom_export_available() -> str | None:
    """Why segmentation and measurements cannot be exported here, for a grey button; None when they can."""
    return _lacking("highdicom", (0, 27), "DICOM export")


def pdf_export_available() -> str | None:
    """Why the report cannot be exported as a PDF here; None when it can."""
    return _lacking("matplotlib", (3, 8), "the report as PDF")


def _lacking(package: str, oldest: tuple[int, ...], what: str) -> str | None:
    wanted = f"{package} {'.'.join(map(str, oldest))} or newer"
    get_it = "pip install highdicom matplotlib"
    try:
        found = version(package)
    except PackageNotFoundError:
        return f"{what} needs the package {wanted}, which is not installed: {get_it}"
    return f"{what} needs {wanted}, found {found}: {get_it}" if _numbers(found) < oldest else None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def refuse_other_than_dicom(path: Path) -> None:
    """Raise InputFileError for an image file: DICOM objects need a DICOM series to belong to."""
    if path.is_file() and is_volume_file(path):
        raise InputFileError(
            f"{path.name} is not DICOM, and DICOM objects belong to the study of a DICOM series: give the series that"
            " it was converted from, and segment that; without one, keep the mask as .seg.nrrd and the report as HTML"
        )


def load_export(
    folder: Path,
    series: DicomSeries,
    drawn_by_hand: bool = False,
    image: Path | None = None,
    is_vouched: bool = False,
) -> CordExport:
    """Read a finished case and its source series, and check that they belong together.

    ``image``: the file that the case was made from, where the series was converted first (as Slicer does when it loads
    one): its voxels must be those of the series. ``is_vouched``: see check_origin.

    Raises InputFileError (no finished result), DicomSeriesError (another series, no DICOM input, unfit headers),
    GeometryError (other frames), VoxelError (empty or changed mask), ConfigurationError (rejected, or nobody says
    who drew the mask).
    """
    content = Case.load(folder)
    algorithm = algorithm_of(content, drawn_by_hand)
    if content.review.state == REJECTED:
        raise ConfigurationError("the case was rejected in review: correct it and accept it before it is exported")
    source = read_source(series)
    check_origin(content, source, None if image is None else read_image(image).volume, is_vouched)
    mask = content.mask
    if not mask.voxels.any():
        raise VoxelError("the mask is empty: no cord was found, so there is nothing to export")
    picture = folder / "montage.png"
    placed = place_on(mask, source.volume, ("the mask", f"series {series.title()}"))
    return CordExport(placed, content, picture.read_bytes() if picture.is_file() else None, source, algorithm)


def build(export: CordExport, kinds: Sequence[str]) -> dict[str, Dataset]:
    """The DICOM objects, by kind. Measurements refer to a segmentation, so that is built with them.

    Raises MissingPackageError, or DicomSeriesError when a header of the series cannot be carried over.
    """
    wanted = [kind for kind in KINDS if kind in kinds or (kind == SEG and SR in kinds)]
    for kind in wanted:
        lacking = pdf_export_available() if kind == PDF else dicom_export_available()
        if lacking:
            raise MissingPackageError(lacking)
    objects: dict[str, Dataset] = {}
    with _readable_errors(export.source):
        if SEG in wanted:
            objects[SEG] = segmentation(export)
        if SR in wanted:
            objects[SR] = measurement_report(export, objects[SEG])
        for one in objects.values():
            one.SpecificCharacterSet = "ISO_IR 192"  # highdicom 0.27 would write names in Latin-1, or fail to
        if PDF in wanted:
            objects[PDF] = encapsulated_pdf(report_pdf(export.content, export.picture), export.source)
    return objects


@contextmanager
def _readable_errors(source: SourceSeries) -> Iterator[None]:
    try:
        with quiet_pydicom():
            yield
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, NotImplementedError) as error:
        # Not "from error": its text may quote the patient's data.
        where = error.name if isinstance(error, AttributeError) and error.name else type(error).__name__
        raise DicomSeriesError(
            f"the headers of series {source.series.title()} cannot be carried over ({where}): export the series again"
            " from the scanner or the archive"
        ) from None


def write_export(export: CordExport, kinds: Sequence[str], output: Path, force: bool = False) -> dict[str, Path]:
    """Build and write CASE.seg.dcm, CASE.sr.dcm and CASE.pdf.dcm into ``output``; gives the files by kind.

    Raises OutputError when a file is there already and ``force`` is not set, or when it cannot be written; and as
    ``build`` does.
    """
    kinds = [*kinds, SEG] if SR in kinds else list(kinds)
    files = {kind: output / f"{export.content.name}.{kind}.dcm" for kind in KINDS if kind in kinds}
    there = [str(path) for path in files.values() if path.exists()]
    if there and not force:
        raise OutputError(f"{there[0]} is there already; choose another output folder, or --force to replace it")
    objects = build(export, kinds)
    for kind, path in files.items():
        with atomic_write(path) as temporary, _readable_errors(export.source):
            save_bare(objects[kind], ExplicitVRLittleEndian, temporary)
    return files
