"""The DICOM series that exported objects refer to: its headers, proved fit to be referred to.

Error texts name files and attributes, never their values: those are the patient's.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID
from pydicom.valuerep import DSfloat, validate_value

from SpinalCordSegLib.errors import DicomSeriesError, GeometryError, InputFileError
from SpinalCordSegLib.images.dicom import DicomSeries, read_series
from SpinalCordSegLib.images.dicom_scan import quiet_pydicom, read_dataset
from SpinalCordSegLib.images.volume import Volume, from_canonical, to_canonical

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
_ONE_OF_EACH = {
    "PatientID": "patients",
    "PatientName": "patients",
    "PatientBirthDate": "patients",
    "StudyInstanceUID": "studies",
    "FrameOfReferenceUID": "positions of the patient (frames of reference)",
    "SOPClassUID": "kinds of image",
}
_GRID_TOLERANCE_MM = 0.05  # masks written to NIfTI keep their place to float32


@dataclass(frozen=True, eq=False)
class SourceSeries:
    """A series that a segmentation can refer to.

    ``volume``: its voxels on its own grid, k along the slice normal. ``headers``: one data set without pixels per
    file, in the order of the slices, with every attribute that has to be copied, and complete geometry.
    """

    series: DicomSeries
    volume: Volume
    headers: tuple[Dataset, ...] = field(repr=False)

    @property
    def is_multiframe(self) -> bool:
        return self.series.frames[0].index is not None

    def frame_array(self, mask: Volume) -> NDArray[np.bool_]:
        """A mask on the series' grid as (frames, rows, columns), in the order of ``headers``, or of a file's frames."""
        stack = np.ascontiguousarray(mask.voxels.transpose(2, 1, 0)).astype(bool)
        if not self.is_multiframe:
            return stack
        stored = np.empty_like(stack)
        stored[[frame.index or 0 for frame in self.series.frames]] = stack
        return stored


def read_source(series: DicomSeries) -> SourceSeries:
    """Read and check a series.

    Raises DicomSeriesError when attributes are missing or differ between its files, when it is kept in several
    multi-frame files, and as ``read_series`` does; InputFileError for a file that cannot be read.
    """
    volume = read_series(series)
    files = series.files
    if series.frames[0].index is not None and len(files) > 1:
        raise DicomSeriesError(
            f"series {series.title()} is kept in {len(files)} multi-frame files; a DICOM segmentation refers to single"
            " frames or to one multi-frame file: export the series again, or convert it to single frames"
        )
    headers = [_header(file) for file in files]
    _check_identifiers(headers, [file.name for file in files], series.title())
    _complete(headers, volume)
    return SourceSeries(series, volume, tuple(headers))


def on_series_grid(mask: Volume, source: SourceSeries) -> Volume:
    """The mask's voxels in the series' own order of axes; nothing is resampled.

    Raises GeometryError when the two grids differ by more than the order and direction of their axes.
    """
    if mask.same_grid(source.volume, _GRID_TOLERANCE_MM):
        return source.volume.with_voxels(mask.voxels)
    turned = to_canonical(mask)
    if not turned.same_grid(to_canonical(source.volume), _GRID_TOLERANCE_MM):
        raise GeometryError(
            f"the mask ({_grid_words(mask)}) does not lie on the frames of series {source.series.title()}"
            f" ({_grid_words(source.volume)}): give the series that was segmented, or segment this one"
        )
    return from_canonical(turned.voxels, source.volume)


def _grid_words(volume: Volume) -> str:
    size = "×".join(map(str, volume.shape))
    origin = ", ".join(f"{mm:.1f}" for mm in volume.ijk_to_ras[:3, 3])
    return f"{size} voxels of {'×'.join(f'{mm:.3g}' for mm in volume.spacing_mm)} mm from RAS {origin} mm"


def _header(file: Path) -> Dataset:
    try:
        with quiet_pydicom():
            return read_dataset(file, pixels=False)
    except (OSError, EOFError, InvalidDicomError) as error:
        raise InputFileError(f"{file} cannot be read as DICOM; copy or export it again") from error


def _check_identifiers(headers: Sequence[Dataset], names: Sequence[str], title: str) -> None:
    again = "export the series again from the scanner or the archive"
    for header, name in zip(headers, names, strict=True):
        for keyword in _UIDS:
            value = str(header.get(keyword) or "")
            if not value or not UID(value).is_valid:
                state = "is not a valid identifier" if value else "is missing"
                raise DicomSeriesError(
                    f"{name}: {keyword} {state}; without it no DICOM object can refer to the image: {again}"
                )
        for keyword, what in _ONE_OF_EACH.items():
            if str(header.get(keyword) or "") != str(headers[0].get(keyword) or ""):
                raise DicomSeriesError(
                    f"series {title} mixes images of different {what}: {keyword} of {name} is another than that of"
                    f" {names[0]}; {again}"
                )
    if len({str(header.SOPInstanceUID) for header in headers}) < len(headers):
        raise DicomSeriesError(f"series {title} has two files with one SOPInstanceUID: {again}")


def _complete(headers: Sequence[Dataset], volume: Volume) -> None:
    """Add, in memory only, what is copied into every object but may be absent, and make frames' geometry shared."""
    _share_orientation(headers)
    for header in headers:
        with quiet_pydicom():
            header.decode()  # texts in the file's own character set become Unicode, which every object is written in
        header.SpecificCharacterSet = "ISO_IR 192"
        for keyword in _DESCRIPTIONS:
            if keyword in header and not _is_valid(header, keyword):
                del header[keyword]
        for keyword in _MAY_BE_EMPTY:
            if keyword not in header:
                setattr(header, keyword, "")
        if header.get("PerFrameFunctionalGroupsSequence"):
            _share_geometry(header, volume)
        elif header.get("SliceThickness") is None:
            header.SliceThickness = volume.spacing_mm[2]


def _share_orientation(headers: Sequence[Dataset]) -> None:
    """Slices that lie alike, as reading the series has proved, say so to the last digit, by the first one's words:
    highdicom compares them exactly, and scanners write them with rounding."""
    if headers[0].get("PerFrameFunctionalGroupsSequence"):
        return
    for header in headers[1:]:
        header.ImageOrientationPatient = deepcopy(headers[0].ImageOrientationPatient)


def _is_valid(header: Dataset, keyword: str) -> bool:
    element = header[keyword]
    try:
        validate_value(element.VR, element.value, config.RAISE)
    except ValueError:
        return False
    return True


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
        measures.SliceThickness = volume.spacing_mm[2]
    header.SharedFunctionalGroupsSequence = shared
