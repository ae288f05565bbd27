"""What the header of a NRRD or MetaImage file states of its grid: ITK takes 1 mm and the patient's axes for what it
does not, without a word."""

from __future__ import annotations

import math
import re
from pathlib import Path

from SpinalCordSegLib.errors import GeometryError
from SpinalCordSegLib.images.claimed_size import text_head
from SpinalCordSegLib.writing import file_suffix

_NRRD, _META = (".nrrd", ".seg.nrrd", ".nhdr"), (".mha", ".mhd")
_FIELD = re.compile(r"^\s*([A-Za-z][A-Za-z ]*?)\s*[:=](?!=)\s*(.*?)\s*$")
_NUMBER = re.compile(r"[-+]?(?:nan|inf(?:inity)?|\d[\d.eE+-]*|\.\d[\deE+-]*)", re.IGNORECASE)
_AS_IT_LIES = "the header does not state how the grid lies in the patient: taken as along the patient's axes"
_SPACING = {
    _NRRD: ("space directions", "spacings"),
    _META: ("ElementSpacing", "ElementSize"),
}
_ORIENTATION = {
    _NRRD: ("space",),
    _META: ("TransformMatrix", "Orientation", "Rotation"),
}


def check_stated_grid(path: Path) -> tuple[str, ...]:
    """Remarks on what the header leaves open; () for a format that is no text, or that states all.

    Raises GeometryError where the size of a voxel is not stated, or is no number: every measure would be wrong.
    """
    kind = next((one for one in (_NRRD, _META) if file_suffix(path) in one), None)
    if kind is None:
        return ()
    stated = _fields(path)
    spacing = [text for name in _SPACING[kind] if (text := stated.get(name.casefold()))]
    if not spacing:
        raise GeometryError(
            "the header does not state the size of a voxel; expected "
            + " or ".join(_SPACING[kind])
            + ": export it again with its spacing"
        )
    numbers = [float(text) for text in _NUMBER.findall(spacing[0])]
    if not numbers or not all(map(math.isfinite, numbers)):
        raise GeometryError(f"the header states no usable size of a voxel ({spacing[0][:60]}): export it again")
    return () if any(name.casefold() in stated for name in _ORIENTATION[kind]) else (_AS_IT_LIES,)


def _fields(path: Path) -> dict[str, str]:
    """The header's fields in lower case; of NRRD the part before the empty line, of MetaImage before its data."""
    found: dict[str, str] = {}
    for line in text_head(path).splitlines():
        text = line.decode("latin-1")
        if not text.strip():
            break
        match = _FIELD.match(text)
        if match:
            found.setdefault(match[1].casefold(), match[2])
            if match[1].casefold() == "elementdatafile":
                break
    return found
