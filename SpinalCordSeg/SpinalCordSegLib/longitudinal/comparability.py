"""What differs between two visits that changes areas by itself, and which of it forbids a yearly rate.

Scanner, field strength, sequence, contrast agent and model break a series: no %/year is printed across such a change.
Voxel size, slice orientation, distortion correction, software and hand-editing are flagged. What is not known is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

from SpinalCordSegLib.inference.along_cord import reach_slices

BREAKING = ("scanner", "field_strength", "sequence", "contrast_agent", "model")
_TIMES = (
    ("TR", "repetition_time_ms", 0.05), ("TE", "echo_time_ms", 0.05), ("TI", "inversion_time_ms", 0.05),
    ("flip angle", "flip_angle_deg", 0.05),
)  # fmt: skip
_VOXEL_TOLERANCE = 0.03
_AGENT = {"True": "with", "False": "without"}


@dataclass(frozen=True)
class Conditions:
    """How a visit was made and measured; no identifiers. "" or None: not known.

    ``scanner``: manufacturer and model, or a code the user gave. ``timing``: (name, value) of TR, TE, TI, flip angle.
    ``distortion_correction``: "DIS3D", "DIS2D", "ND" or "". ``made_by``: "AI", "given", "corrected". ``model``: name,
    version and the beginning of the file's SHA-256. ``along_mm``: "1.6 mm", the SD of the averaging along the
    cord, or "none", which thick slices have with any setting; and whether doubtful slices were steadied.
    """

    scanner: str = ""
    field_strength: str = ""
    sequence: str = ""
    timing: tuple[tuple[str, float], ...] = ()
    contrast_agent: str = ""
    model: str = ""
    voxel_mm: tuple[float, ...] = ()
    orientation: str = ""
    distortion_correction: str = ""
    made_by: str = ""
    software: str = ""
    threshold: str = ""
    along_mm: str = ""


@dataclass(frozen=True)
class Difference:
    """``kind``: a field of Conditions, or "unknown_<field>". ``breaks``: no %/year across it."""

    kind: str
    message: str
    breaks: bool


def conditions_of(report: Mapping[str, Any], given: Mapping[str, str] | None = None) -> Conditions:
    """The conditions that a report.json states. ``given``: what the user knows better (scanner, field_strength,
    sequence, contrast_agent, distortion_correction), for inputs without a DICOM header."""
    source = report.get("input") or {}
    acquisition = source.get("acquisition") or {}
    model = report.get("model") or {}
    field = acquisition.get("field_strength_t")
    words = {
        "scanner": " ".join(filter(None, (acquisition.get("manufacturer"), acquisition.get("model")))),
        "field_strength": "" if field is None else f"{field:g} T",
        "sequence": " ".join(filter(None, (acquisition.get("sequence"), acquisition.get("dimension")))),
        "contrast_agent": _AGENT.get(str(acquisition.get("contrast_agent")), ""),
        "distortion_correction": _distortion(acquisition.get("image_type") or ()),
    }
    words |= {name: value.strip() for name, value in (given or {}).items() if value.strip()}
    timing = [(name, acquisition.get(key)) for name, key, _ in _TIMES]
    sha = str(model.get("sha256") or "")[:12]
    return Conditions(
        **words,
        timing=tuple((name, float(value)) for name, value in timing if value is not None),
        model=" ".join(filter(None, (model.get("name"), model.get("version"), sha))),
        voxel_mm=tuple(float(mm) for mm in source.get("spacing_mm") or ()),
        orientation=str(source.get("orientation") or ""),
        made_by=str(report.get("mask_state") or ""),
        software=str(report.get("software_version") or ""),
        threshold="" if report.get("threshold") is None else f"{report['threshold']:g}",
        along_mm=_averaged(report),
    )


def _averaged(report: Mapping[str, Any]) -> str:
    """What was averaged over, in words; "" where no model drew the mask. Reports from before averaging state none."""
    source = report.get("input") or {}
    spacing_mm, orientation = source.get("spacing_mm") or (), str(source.get("orientation") or "")
    if not report.get("model"):
        return ""
    sigma_mm = float(report.get("along_mm") or 0)
    slice_mm = next((float(mm) for mm, axis in zip(spacing_mm, orientation, strict=False) if axis in "SI"), 0.0)
    averages = sigma_mm > 0 and (slice_mm <= 0 or reach_slices(sigma_mm, slice_mm) > 0)
    averaged = f"{sigma_mm:g} mm" if averages else "none"
    return averaged if report.get("slices_steadied") is None else f"{averaged}, doubtful slices steadied"


def _distortion(image_type: Sequence[str]) -> str:
    return next((word for word in ("DIS3D", "DIS2D", "ND") if word in image_type), "")


_NAMES = {
    "scanner": "scanner",
    "field_strength": "field strength",
    "sequence": "sequence",
    "contrast_agent": "contrast agent",
    "model": "model",
    "orientation": "slice orientation",
    "distortion_correction": "distortion correction",
    "made_by": "mask made by",
    "software": "software version",
    "threshold": "threshold",
    "along_mm": "averaging along the cord",
}
_WHY = {
    "scanner": "areas differ by some 2-3 % between scanners",
    "distortion_correction": "without correction in 3D the position in the bore alone moves areas by up to 15 %",
    "contrast_agent": "an agent moves the border that is seen",
    "model": "segment all visits with one model to compare them",
    "along_mm": "it moves the outline of thin and of doubtful slices",
    "made_by": "a hand moves borders differently from a model",
}


def differences(before: Conditions, after: Conditions) -> tuple[Difference, ...]:
    """What changed from one visit to the next, breaking changes first. Known on one side only counts as unknown."""
    found = []
    for name, words in _NAMES.items():
        old, new = getattr(before, name), getattr(after, name)
        if old and new and old.casefold() != new.casefold():
            why = f": {_WHY[name]}" if name in _WHY else ""
            found.append(Difference(name, f"{words} changed from {old} to {new}{why}", name in BREAKING))
    found += [Difference("sequence", text, True) for text in _timing(before, after)]
    found += _voxels(before, after)
    return tuple(sorted(found, key=lambda one: not one.breaks))


def _timing(before: Conditions, after: Conditions) -> list[str]:
    old, new = dict(before.timing), dict(after.timing)
    return [
        f"sequence changed: {name} from {old[name]:g} to {new[name]:g}"
        for name, _, tolerance in _TIMES
        if name in old and name in new and abs(new[name] - old[name]) > tolerance * max(abs(old[name]), 1e-9)
    ]


def _voxels(before: Conditions, after: Conditions) -> list[Difference]:
    old, new = sorted(before.voxel_mm), sorted(after.voxel_mm)
    if len(old) != len(new) or all(abs(b - a) <= _VOXEL_TOLERANCE * a for a, b in zip(old, new, strict=True)):
        return []
    was, now = ("×".join(f"{mm:.3g}" for mm in each.voxel_mm) for each in (before, after))
    return [Difference("voxel_mm", f"voxel size changed from {was} to {now} mm", False)]


_MUST_BE_KNOWN = ("scanner", "field_strength", "sequence", "contrast_agent", "distortion_correction")


def unknowns(conditions: Conditions) -> tuple[Difference, ...]:
    """What of a visit is not known and would have to be, to judge it comparable."""
    names = [name for name in _MUST_BE_KNOWN if not getattr(conditions, name)]
    if not names:
        return ()
    listed = ", ".join(_NAMES[name] for name in names)
    return (Difference("unknown", f"not known: {listed}; a change of it would go unseen", False),)


def runs(conditions: Sequence[Conditions]) -> list[tuple[int, int]]:
    """The series cut at every breaking change: half-open index ranges, in order. [] for none.

    Each visit is held against all that is known of its run so far, so a visit without a header hides no change.
    """
    edges, known = [0], conditions[0] if conditions else Conditions()
    for n, one in enumerate(conditions[1:], 1):
        if any(difference.breaks for difference in differences(known, one)):
            edges.append(n)
            known = one
        else:
            known = filled(known, one)
    edges.append(len(conditions))
    return [(first, end) for first, end in pairwise(edges) if first < end]


def filled(known: Conditions, later: Conditions) -> Conditions:
    """``known``, with what only ``later`` states."""
    return replace(known, **{f.name: getattr(later, f.name) for f in fields(known) if not getattr(known, f.name)})


def same_scanner(conditions: Sequence[Conditions]) -> bool:
    """True only when every visit's scanner is known and they agree."""
    names = {one.scanner.casefold() for one in conditions}
    return len(names) == 1 and names != {""}


def as_dict(conditions: Conditions) -> dict[str, Any]:
    """JSON-ready, "" and () where not known."""
    return {field.name: getattr(conditions, field.name) for field in fields(conditions)} | {
        "timing": dict(conditions.timing),
        "voxel_mm": list(conditions.voxel_mm),
    }
