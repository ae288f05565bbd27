"""Results as files: measures as CSV, JSON and HTML, the mask as NIfTI and .seg.nrrd. No Qt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import OutputError
from SpinalCordSegLib.writing import atomic_write, write_text
from SpinalCordSegNodes.results import Result
from SpinalCordSegNodes.segmentations import mask_of_segment
from SpinalCordSegNodes.tables import as_csv

# suffix → what the user reads
FORMATS = {
    ".csv": _("Measures per slice (CSV)"),
    ".json": _("All measures (JSON)"),
    ".html": _("Report page (HTML)"),
    ".nii.gz": _("Mask (NIfTI)"),
    ".seg.nrrd": _("Mask (Slicer segmentation)"),
}

REPORTS = (".json", ".html")  # written when the mask was measured; the numbers follow the brush, these do not


def available(result: Result) -> tuple[str, ...]:
    """The suffixes that this result can be saved with: what was deleted from the scene cannot."""
    there = {".csv": result.slices, ".json": result.report, ".html": result.page}
    return tuple(suffix for suffix in FORMATS if there.get(suffix, result.segmentation) is not None)


def export(result: Result, segment_id: str, path: Path) -> None:
    """Write ``path``; its suffix says what. Raises OutputError, GeometryError; the scene is not changed."""
    suffix = next((known for known in FORMATS if path.name.lower().endswith(known)), "")
    if suffix not in available(result):
        raise OutputError(
            _("{name}: choose one of {formats}").format(name=path.name, formats=" ".join(available(result)))
        )
    if suffix == ".csv":
        write_text(path, as_csv(result.slices))
    elif suffix == ".nii.gz":
        from SpinalCordSegLib.images.files import write_volume  # SimpleITK: only now

        write_volume(mask_of_segment(result.segmentation, segment_id), path)
    elif suffix == ".seg.nrrd":
        _write_segmentation(result.segmentation, path)
    else:
        write_text(path, (result.report if suffix == ".json" else result.page).GetText())


def _write_segmentation(node: Any, path: Path) -> None:
    """By a storage node of our own: the one of the scene, and where the user saved, stay as they are."""
    storage = slicer.vtkMRMLSegmentationStorageNode()
    with atomic_write(path) as temporary:
        storage.SetFileName(str(temporary))
        if not storage.WriteData(node):
            raise OutputError(_("{name} could not be written: choose another folder").format(name=path.name))
