"""A mask of the scene as the result folder that the command line would have written: mask, report.json, slices.csv."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from SpinalCordSegLib.errors import InputFileError
from SpinalCordSegLib.images.volume import Volume
from SpinalCordSegLib.writing import atomic_write, write_json, write_text
from SpinalCordSegNodes.cropped_mask import cropped_mask
from SpinalCordSegNodes.results import Result
from SpinalCordSegNodes.segmentations import own_grid
from SpinalCordSegNodes.tables import CSA, FLAGS, RAW, as_csv, read_column
from SpinalCordSegNodes.volumes import world_transform

MASK = "mask.nrrd"
_PICTURE = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=]+)")


def write_result_folder(result: Result, segment_id: str, folder: Path, mask: Volume | None = None) -> None:
    """Write a measured mask into ``folder``, which is made. Raises InputFileError (not measured), OutputError.

    The segment's mask is cleaned as it was before it was measured. ``mask``: another one in its place.
    """
    from SpinalCordSegLib.images.files import write_volume  # SimpleITK: only now

    content = dict(result.report_content())
    if not content or result.slices is None:
        raise InputFileError("the mask was not measured, or its measures were deleted: measure it first")
    folder.mkdir(parents=True, exist_ok=True)
    write_volume(cleaned_mask(result.segmentation, segment_id) if mask is None else mask, folder / MASK)
    write_text(folder / "slices.csv", _with_columns(result.slices))
    files = [MASK, "report.json", "slices.csv"]
    if result.page is not None:
        write_text(folder / "report.html", result.page.GetText())
        files.append("report.html")
        picture = _montage_of(result.page.GetText())
        if picture is not None:
            with atomic_write(folder / "montage.png") as temporary:
                temporary.write_bytes(picture)
            files.append("montage.png")
    write_json(folder / "report.json", content | {"files": sorted(files)})


def _montage_of(page: str) -> bytes | None:
    """The overview picture that a report page carries, PNG; None where it carries none."""
    found = _PICTURE.search(page)
    return None if found is None else base64.b64decode(found.group(1))


def cleaned_mask(node: Any, segment_id: str) -> Volume:
    """The mask on its segmentation's whole grid, in world RAS, as it is measured. Raises GeometryError."""
    from SpinalCordSegLib.measurement.morphometry import clean

    cropped = cropped_mask(node, segment_id)
    cleaned = np.asarray(clean(cropped.mask).mask.voxels)
    grid = own_grid(node)
    voxels = np.zeros(grid.shape, dtype=bool)
    window = tuple(slice(low, low + n) for low, n in zip(cropped.low, cleaned.shape, strict=True))
    voxels[window] = cleaned
    return Volume(voxels, world_transform(node) @ grid.ijk_to_ras)


def _with_columns(table: Any) -> str:
    """The table as CSV, with the columns that a table without an answer in them leaves out."""
    lines = as_csv(table).splitlines()
    missing = [name for name in (CSA, RAW, FLAGS) if not read_column(table, name)]
    head = [",".join([lines[0], *missing])] if lines else []
    return "\n".join(head + [line + "," * len(missing) for line in lines[1:]]) + "\n"


def report_text(content: dict[str, Any]) -> str:
    """A report's content as the text that its node holds."""
    return json.dumps(content, indent=2, ensure_ascii=False)
