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

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from SpinalCordSegLib.case_folder import read_result, read_slice_rows
from SpinalCordSegLib.errors import (
    DicomSeriesError,
    InputFileError,
    MissingPackageError,
    OutputError,
)
from SpinalCordSegLib.export.dicom_belonging import check_mask, check_origin, refuse_rejected
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
from SpinalCordSegLib.reporting.report_pdf import report_pdf
from SpinalCordSegLib.writing import atomic_write

SEG, SR, PDF = "seg", "sr", "pdf"
KINDS = (SEG, SR, PDF)
_OLDEST_PYDICOM, _OLDEST_HIGHDICOM = (3, 0, 1), (0, 27)


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
    mask = _read_mask(folder, content)
    check_mask(mask, content)
    picture = folder / "montage.png"
    return CordExport(
        on_series_grid(mask, source),
        content,
        read_slice_rows(folder),
        picture.read_bytes() if picture.is_file() else None,
        source,
        algorithm,
    )


def _read_mask(folder: Path, content: Mapping[str, Any]) -> Volume:
    name = next((str(name) for name in content["files"] if str(name).startswith("mask.")), None)
    if name is None:
        raise InputFileError(f"{folder} holds no mask; segment again with --force")
    labels = read_labels(folder / name)
    return labels.with_voxels(labels.voxels != 0)


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
