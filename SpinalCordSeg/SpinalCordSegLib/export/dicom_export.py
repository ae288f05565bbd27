"""A finished case as DICOM objects beside its source series: segmentation, measurements, report page.

Everything is checked first, then built, then written: there are all the files asked for, or none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from SpinalCordSegLib.case_folder import read_result, read_slice_rows
from SpinalCordSegLib.errors import (
    ConfigurationError,
    DicomSeriesError,
    InputFileError,
    MissingPackageError,
    OutputError,
    VoxelError,
)
from SpinalCordSegLib.export.dicom_pdf import encapsulated_pdf
from SpinalCordSegLib.export.dicom_seg import Algorithm, algorithm_of, segmentation
from SpinalCordSegLib.export.dicom_source import SourceSeries, on_series_grid, read_source
from SpinalCordSegLib.export.dicom_sr import measurement_report
from SpinalCordSegLib.images.dicom import DicomSeries
from SpinalCordSegLib.images.dicom_pixels import save_bare
from SpinalCordSegLib.images.dicom_scan import quiet_pydicom
from SpinalCordSegLib.images.files import read_image, read_labels
from SpinalCordSegLib.images.volume import Volume
from SpinalCordSegLib.images.volume_file import is_volume_file
from SpinalCordSegLib.pipeline import fingerprint
from SpinalCordSegLib.reporting.report_pdf import report_pdf
from SpinalCordSegLib.writing import atomic_write

SEG, SR, PDF = "seg", "sr", "pdf"
KINDS = (SEG, SR, PDF)
_OLDEST_PYDICOM, _OLDEST_HIGHDICOM = (3, 0, 1), (0, 27)
_VOLUME_TOLERANCE = 1e-4  # relative; report.json rounds to 0.01 mm³


def dicom_export_available() -> str | None:
    """Why segmentation and measurements cannot be exported here, for a grey button; None when they can."""
    if _numbers(pydicom.__version__) < _OLDEST_PYDICOM:
        return (
            f"DICOM export needs pydicom 3.0.1 or newer, found {pydicom.__version__}, as 3D Slicer 5.10 has it:"
            " use 3D Slicer 5.12 or newer, or the command line in an environment of its own"
        )
    return _lacking("highdicom", _OLDEST_HIGHDICOM, "DICOM export")


def pdf_export_available() -> str | None:
    """Why the report cannot be exported as a PDF here; None when it can."""
    return _lacking("reportlab", (4, 0), "the report as PDF")


def _lacking(package: str, oldest: tuple[int, ...], what: str) -> str | None:
    wanted = f"{package} {'.'.join(map(str, oldest))} or newer"
    get_it = "pip install highdicom reportlab"
    try:
        found = version(package)
    except PackageNotFoundError:
        return f"{what} needs the package {wanted}, which is not installed: {get_it}"
    return f"{what} needs {wanted}, found {found}: {get_it}" if _numbers(found) < oldest else None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


@dataclass(frozen=True, eq=False)
class CordExport:
    """What is exported. ``mask``: bool, not empty, on the grid of ``source.volume``; ``content``: of report.json;
    ``slices``: rows of slices.csv; ``picture``: the montage as PNG, None where there is none."""

    mask: Volume
    content: Mapping[str, Any]
    slices: Sequence[Mapping[str, str]]
    picture: bytes | None
    source: SourceSeries
    algorithm: Algorithm


def refuse_other_than_dicom(path: Path) -> None:
    """Raise InputFileError for an image file: DICOM objects need a DICOM series to belong to."""
    if path.is_file() and is_volume_file(path):
        raise InputFileError(
            f"{path.name} is not DICOM, and DICOM objects belong to the study of a DICOM series: give the series that"
            " it was converted from, and segment that; without one, keep the mask as .seg.nrrd and the report as HTML"
        )


def load_export(
    folder: Path, series: DicomSeries, drawn_by_hand: bool = False, image: Path | None = None
) -> CordExport:
    """Read a finished case and its source series, and check that they belong together.

    ``image``: the file that the case was made from, where the series was converted first (as Slicer does when it loads
    one): its voxels must be those of the series.

    Raises InputFileError (no finished result), DicomSeriesError (another series, no DICOM input, unfit headers),
    GeometryError (other frames), VoxelError (empty or changed mask), ConfigurationError (rejected, or nobody says
    who drew the mask).
    """
    content = read_result(folder)
    if content is None:
        raise InputFileError(
            f"{folder} holds no finished result; give the folder of one case, with mask and report.json in it"
        )
    algorithm = algorithm_of(content, drawn_by_hand)
    refuse_rejected(content)
    source = read_source(series)
    check_origin(content, source, None if image is None else read_image(image).volume)
    mask = on_series_grid(_read_mask(folder, content), source)
    check_mask(mask, content)
    picture = folder / "montage.png"
    return CordExport(
        mask, content, read_slice_rows(folder), picture.read_bytes() if picture.is_file() else None, source, algorithm
    )


def _read_mask(folder: Path, content: Mapping[str, Any]) -> Volume:
    name = next((str(name) for name in content["files"] if str(name).startswith("mask.")), None)
    if name is None:
        raise InputFileError(f"{folder} holds no mask; segment again with --force")
    labels = read_labels(folder / name)
    return labels.with_voxels(labels.voxels != 0)


def refuse_rejected(content: Mapping[str, Any]) -> None:
    """Raise ConfigurationError when a person rejected the case."""
    review = content.get("review")
    states = {content.get("mask_state"), review.get("state") if isinstance(review, dict) else review}
    if "rejected" in states:
        raise ConfigurationError("the case was rejected in review: correct it and accept it before it is exported")


def check_origin(content: Mapping[str, Any], source: SourceSeries, image: Volume | None = None) -> None:
    """Raise DicomSeriesError unless the case was made from these very images, or, for a mask made elsewhere, was
    measured with this series as its image. ``image``: what the series was converted to, and the case made from."""
    made_from = content.get("input") or {}
    if made_from.get("fingerprint") == fingerprint(source.volume):
        return
    if image is not None:
        _check_conversion(made_from, content.get("mask_state") == "given", image, source)
        return
    acquisition = made_from.get("acquisition")
    if not acquisition:
        raise DicomSeriesError(
            "the case was not made from DICOM, so nothing ties it to this series: segment the series itself"
            " (spinalcordseg segment SERIES_FOLDER), or measure the mask with it (measure MASK --image SERIES_FOLDER);"
            " without a series, the mask as .seg.nrrd and report.html say the same"
        )
    differs = [key for key, value in acquisition.items() if _told(source.series, key) != value]
    if content.get("mask_state") == "given" and not differs:
        return
    raise DicomSeriesError(
        f"series {source.series.title()} is not the one that the case was made from"
        f" ({'its ' + ', '.join(differs) + ' differ' if differs else 'its pixels differ'}): give that one, by --series"
        " where the folder holds several"
    )


def _check_conversion(made_from: Mapping[str, Any], given: bool, image: Volume, source: SourceSeries) -> None:
    if not given and made_from.get("fingerprint") != fingerprint(image):
        raise DicomSeriesError("the case was not made from this image: segment it again")
    if not np.array_equal(on_series_grid(image, source).voxels, source.volume.voxels):
        raise DicomSeriesError(
            f"the image does not hold the pixels of series {source.series.title()}: it was made from another series, or"
            " changed since it was loaded; give the series it was loaded from, or load that again and segment it"
        )


def _told(series: DicomSeries, key: str) -> Any:
    value = getattr(series, key, None)
    return list(value) if isinstance(value, tuple) else value


def check_mask(mask: Volume, content: Mapping[str, Any]) -> None:
    """Raise VoxelError when the mask is empty or is no longer the one that was measured."""
    n_voxels = int(np.count_nonzero(mask.voxels))
    if not n_voxels:
        raise VoxelError("the mask is empty: no cord was found, so there is nothing to export")
    found, measured = n_voxels * mask.voxel_volume_mm3, float(content.get("volume_mm3") or 0.0)
    if abs(found - measured) > _VOLUME_TOLERANCE * found + 0.01:
        raise VoxelError(
            f"the mask has {found:.2f} mm³ and the report says {measured:.2f} mm³: it was changed after it was"
            " measured; measure it again first"
        )


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
            objects[SEG] = segmentation(
                export.mask, export.source, export.algorithm, generate_uid(prefix=None), _series_number(export, 1)
            )
        if SR in wanted:
            objects[SR] = measurement_report(
                export.content, export.source, objects[SEG], export.algorithm, _series_number(export, 2)
            )
        for one in objects.values():
            one.SpecificCharacterSet = "ISO_IR 192"  # highdicom 0.27 would write names in Latin-1, or fail to
        if PDF in wanted:
            document = report_pdf(export.content, export.slices, export.picture)
            objects[PDF] = encapsulated_pdf(document, export.source, _series_number(export, 3))
    return objects


def _series_number(export: CordExport, offset: int) -> int:
    """Beside the source's: its number and two digits, which scanners leave free."""
    return 100 * min(max(export.source.series.number or 0, 0), 20_000_000) + offset


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
    files = {kind: output / f"{export.content['case']}.{kind}.dcm" for kind in KINDS if kind in kinds}
    there = [str(path) for path in files.values() if path.exists()]
    if there and not force:
        raise OutputError(f"{there[0]} is there already; choose another output folder, or --force to replace it")
    objects = build(export, kinds)
    for kind, path in files.items():
        with atomic_write(path) as temporary, _readable_errors(export.source):
            save_bare(objects[kind], ExplicitVRLittleEndian, temporary)
    return files
