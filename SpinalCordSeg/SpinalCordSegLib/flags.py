"""Flags: remarks on a result that a reader must see. What is doubtful, where, and why.

``KINDS`` is the list of all kinds; documentation, panels and the rules of a correction are made from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class FlagKind:
    """``origin``: what it is judged from, so what has to be there to judge it again: "input" (file and run), "header"
    (DICOM), "image" (voxels), "grid", "mask" (alone), "slices" (a slice against the others), "network", "discs".
    ``severity``: of one flag in the ranking of slices; 1 is just beyond a limit."""

    title: str
    origin: str
    severity: float
    meaning: str


_TABLE = """
header | input | 0.5 | File header | The file's header is incomplete or contradicts itself.
device | input | 0.5 | Device | The GPU or engine of choice was left, or memory ran short.
model | input | 0.5 | Model | The model was validated with a Dice too low for measuring.
acquisition | header | 0.5 | Acquisition | The header names what the method was not made for.
coarse_voxels | grid | 0.5 | Coarse voxels | Voxels are too wide from left to right: areas and diameters are withheld.
empty | mask | 0.5 | No cord | No cord was found, or the mask is empty.
cleaned | mask | 1.5 | Cleaned | Regions apart from the cord were removed, or holes filled, before measuring.
gap | mask | 3.0 | Gap | A slice without cord between slices with cord.
border_contact | mask | 2.5 | At the image border | The cord touches a side of the image: its area is too small.
other_image | mask | 0.5 | Another image | Inside the mask the image is as uneven as beside it: drawn on another one?
contrast | image | 0.5 | Contrast | The fluid around the cord is bright: not the T1-weighted image of the method.
tilt | mask | 0.7 | Tilt | Slices lie far off a right angle to the cord or the scanner, or the tilt is unknown.
range | mask | 0.5 | Range | The slices asked for have cord in part or not at all.
area | slices | 1.3 | Area jump | The area differs from the neighbours' by more than a cord's does.
position | slices | 1.3 | Position jump | The centre lies off the line of the neighbours' centres (not the network's).
shape | slices | 0.7 | Shape | Diameters unlike the neighbours', or an outline unlike a cord's (not the network's).
implausible_area | slices | 3.0 | Implausible area | The area is outside what a cord can have.
implausible_size | slices | 0.5 | Implausible size | No neck has this area or length of cord: is the voxel size right?
many_flags | slices | 0.5 | Many flags | So many slices are flagged that the whole mask must be looked at.
low_confidence | network | 1.5 | Low confidence | The network was unsure.
unclear_edge | network | 1.3 | Unclear edge | The image shows little of the outline, or an imputed one was moved far.
cord_end | network | 2.5 | End of the cord | The mask ends where a cord goes on, or where the network became unsure.
levels | discs | 0.5 | Levels | A level is missing, partly covered or approximate, or a disc or the upper end doubtful.
"""

KINDS: dict[str, FlagKind] = {
    kind: FlagKind(title, origin, float(severity), meaning)
    for kind, origin, severity, title, meaning in (line.split(" | ") for line in _TABLE.strip().splitlines())
}


@dataclass(frozen=True)
class Flag:
    """One remark on a case (no slice) or on one slice.

    ``slice``: 0-based index along the input's own slice axis; ``canonical_slice``: the same slice counted
    from inferior; both None when the whole case is meant. ``kind``: one of KINDS. ``message``: one plain sentence with
    the number behind it, no patient data.
    """

    slice: int | None
    canonical_slice: int | None
    kind: str
    message: str


def case_flag(kind: str, message: str) -> Flag:
    """A flag on the whole case."""
    return Flag(None, None, kind, message)


def kinds_from(*origins: str) -> frozenset[str]:
    """The kinds that are judged from one of ``origins``."""
    return frozenset(kind for kind, described in KINDS.items() if described.origin in origins)


def merge_flags(*groups: Iterable[Flag]) -> tuple[Flag, ...]:
    """All flags: case flags first, then from inferior to superior, in order of arrival within a slice.

    Flags of one kind on the same slice, or on the whole case, are one with all their messages.
    """
    messages: dict[tuple[int | None, str], dict[str, None]] = {}
    first: dict[tuple[int | None, str], Flag] = {}
    for group in groups:
        for flag in group:
            key = flag.canonical_slice, flag.kind
            first.setdefault(key, flag)
            messages.setdefault(key, {})[flag.message] = None
    merged = [replace(flag, message="; ".join(messages[key])) for key, flag in first.items()]
    return tuple(sorted(merged, key=lambda flag: -1 if flag.canonical_slice is None else flag.canonical_slice))


def kinds_of_slice(flags: Iterable[Flag], canonical_slice: int) -> tuple[str, ...]:
    """The kinds raised on one slice, each once, in order."""
    return tuple(dict.fromkeys(flag.kind for flag in flags if flag.canonical_slice == canonical_slice))
