"""Where a mask came from, kept as tags of its segment: they travel with .mrb, .seg.nrrd and the scene."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import vtk

from SpinalCordSegLib.images.segment_metadata import SEGMENT_TERMINOLOGY
from SpinalCordSegLib.images.volume import Volume
from SpinalCordSegNodes.oriented_images import geometry_text

PREFIX = "SpinalCordSeg."
_FINGERPRINT, _GRID = PREFIX + "MaskSHA256", PREFIX + "Grid"
_ALGORITHM_TYPE, _ALGORITHM_NAME = "DICOM.SegmentAlgorithmType", "DICOM.SegmentAlgorithmName"
_UNSAFE = str.maketrans({":": "-", "|": " ", "\n": " "})  # they part tags in a .seg.nrrd


@dataclass(frozen=True)
class Provenance:
    """What made a mask. All plain text; "" where it is not known. ``date``: UTC, ISO 8601."""

    model: str = ""
    model_sha256: str = ""
    model_version: str = ""
    software_version: str = ""
    device: str = ""
    date: str = ""

    @property
    def algorithm(self) -> str:
        """DICOM's SegmentAlgorithmName."""
        return " ".join(word for word in ("SpinalCordSeg", self.software_version, self.model) if word)


def write_tags(segment: Any, mask: Volume, provenance: Provenance) -> None:
    """Terminology, DICOM algorithm, provenance, and the fingerprint by which a later edit is told."""
    from SpinalCordSegLib.measurement.mask_changes import mask_sha256  # scipy: not when the panel opens

    tags = {
        segment.GetTerminologyEntryTagName(): SEGMENT_TERMINOLOGY,
        _ALGORITHM_TYPE: "AUTOMATIC",
        _ALGORITHM_NAME: provenance.algorithm.translate(_UNSAFE),
        _FINGERPRINT: mask_sha256(mask),
        _GRID: geometry_text(mask),
    }
    for field in fields(provenance):
        tags[_tag_of(field.name)] = str(getattr(provenance, field.name)).translate(_UNSAFE)
    for key, value in tags.items():
        segment.SetTag(key, value)


def read_provenance(segment: Any) -> Provenance | None:
    """What ``write_tags`` wrote; None for a segment that is not ours."""
    if not read_tag(segment, _FINGERPRINT):
        return None
    return Provenance(**{field.name: read_tag(segment, _tag_of(field.name)) for field in fields(Provenance)})


def read_tag(segment: Any, key: str) -> str:
    """A segment's tag; "" when it has none of that name."""
    value = vtk.reference("")
    return str(value) if segment.GetTag(key, value) else ""


def stored_fingerprint(segment: Any) -> str:
    return read_tag(segment, _FINGERPRINT)


def stored_grid(segment: Any) -> str:
    """The grid the mask was written on, as ``oriented_images.grid_from_text`` reads it."""
    return read_tag(segment, _GRID)


def mark_edited(segment: Any) -> None:
    """Say in DICOM's words that a person had a hand in it."""
    if read_tag(segment, _ALGORITHM_TYPE) != "SEMIAUTOMATIC":  # setting a tag tells everybody who follows the segment
        segment.SetTag(_ALGORITHM_TYPE, "SEMIAUTOMATIC")


def _tag_of(field_name: str) -> str:
    """ "model_version" → "SpinalCordSeg.ModelVersion"."""
    return PREFIX + "".join(word.upper() if word == "sha256" else word.capitalize() for word in field_name.split("_"))
