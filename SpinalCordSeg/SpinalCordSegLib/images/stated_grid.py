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
    stated, is_whole = _fields(path, kind)
    spacing = [text for name in _SPACING[kind] if (text := stated.get(_plain(name)))]
    if not spacing and not is_whole:
        return ()
    if not spacing:
        raise GeometryError(
            "the header does not state the size of a voxel; expected "
            + " or ".join(_SPACING[kind])
            + ": export it again with its spacing"
        )
    numbers = [float(text) for text in _NUMBER.findall(spacing[0])]
    if not numbers or not all(map(math.isfinite, numbers)):
        raise GeometryError(f"the header states no usable size of a voxel ({spacing[0][:60]}): export it again")
    left_open = is_whole and not any(_plain(name) in stated for name in _ORIENTATION[kind])
    return (_AS_IT_LIES,) if left_open else ()


def _plain(name: str) -> str:
    """Readers take "spacedirections" and "Space Directions" alike."""
    return name.replace(" ", "").casefold()


def _fields(path: Path, kind: tuple[str, ...]) -> tuple[dict[str, str], bool]:
    """The header's fields, of NRRD before the empty line, of MetaImage before its data; and whether they are all: a
    header may be longer than what is looked at."""
    found: dict[str, str] = {}
    head = text_head(path)
    for line in head.splitlines():
        text = line.decode("latin-1")
        if kind is _NRRD and not text.strip():
            return found, True
        match = _FIELD.match(text)
        if match:
            found.setdefault(_plain(match[1]), match[2])
            if _plain(match[1]) == "elementdatafile":
                return found, True
    return found, len(head) == path.stat().st_size
