"""A visit of a person: a finished case, its day, its areas along the cord, and how it was made.

Scanner, field strength, sequence, contrast agent and model break a series: no %/year is given across such a change.
Voxel size, slice orientation, distortion correction, software and hand-editing are flagged, unknowns reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date
from itertools import pairwise
from math import isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.case import Case
from SpinalCordSegLib.errors import ConfigurationError, InputFileError
from SpinalCordSegLib.files import read_table
from SpinalCordSegLib.morphometry import Centreline, centreline, fit_local_centreline
from SpinalCordSegLib.postprocessing import smoothing_reach
from SpinalCordSegLib.review import ACCEPTED, REJECTED
from SpinalCordSegLib.slice_table import SliceTable
from SpinalCordSegLib.vertebral_levels import C2_C3, DISC_NAMES, parse_disc
from SpinalCordSegLib.volume import Volume, to_canonical

# ---- Areas along the cord that do not depend on how much of the cord was scanned


_FEWEST = 4  # slices that must be left when those at the ends are left out
_LEAST_PV = 0.5  # share of the slices that must have an area from the probability, for it to be taken


@dataclass(frozen=True, eq=False)
class VisitCord:
    """``line``: of local lines, not the spline of the case's own report. ``csa_mm2``: (n,), one per slice of it, at a
    right angle to it; NaN where there is none, or where the slice is left out. ``csa_pv_mm2``: likewise, from the
    probability, which knows of parts of pixels, and from the mask in slices that a person drew (``is_drawn``); None
    where no more than half have one from it."""

    line: Centreline
    csa_mm2: NDArray[np.float64]
    csa_pv_mm2: NDArray[np.float64] | None
    is_drawn: NDArray[np.bool_]


def visit_cord(mask: Volume, measured: SliceTable) -> VisitCord:
    """The cord of a cleaned ``mask``, its areas in the slice taken from ``measured``.

    Where the mask ends inside the volume, its last slice is cord in a part of its thickness only (in raters' masks of
    5 mm slices its area was 0.45 and 0.72 of its neighbours'), and is left out; at the volume's own ends none is.
    """
    canonical = to_canonical(mask)
    line = centreline(mask, fit_local_centreline)
    across = canonical.spacing_mm[2] / line.length_mm
    csa, csa_pv = (
        np.array([areas.get(k, nan) for k in line.canonical_slice.tolist()], dtype=np.float64) * across
        for column in (measured.csa_raw_mm2, measured.pv_in_slice_mm2)
        for areas in [dict(zip(measured.canonical_slice.tolist(), column.tolist(), strict=True))]
    )
    if np.count_nonzero(np.isfinite(csa)) >= _FEWEST + 2:
        if line.canonical_slice[0] > 0:
            csa[0] = nan
        if line.canonical_slice[-1] < canonical.shape[2] - 1:
            csa[-1] = nan
    known = np.isfinite(csa)
    seen = known & np.isfinite(csa_pv)
    has_pv = np.count_nonzero(seen) > _LEAST_PV * np.count_nonzero(known)
    return VisitCord(line, csa, np.where(seen, csa_pv, csa) if has_pv else None, known & ~seen)


# ---- How a visit was made, and what differs between two visits that changes areas by itself


BREAKING = ("scanner", "field_strength", "sequence", "contrast_agent", "model")
_TIMES = (
    ("TR", "repetition_time_ms", 0.05), ("TE", "echo_time_ms", 0.05), ("TI", "inversion_time_ms", 0.05),
    ("flip angle", "flip_angle_deg", 0.05),
)  # fmt: skip
_VOXEL_TOLERANCE = 0.03
_DISTORTION = ("DIS3D", "DIS2D", "ND")
_AGENT = {"True": "with", "False": "without"}


@dataclass(frozen=True)
class Conditions:
    """How a visit was made and measured; no identifiers. "" or None: not known.

    ``scanner``: manufacturer and model, or a code the user gave. ``timing``: (name, value) of TR, TE, TI, flip angle.
    ``distortion_correction``: "DIS3D", "DIS2D", "ND" or "". ``made_by``: "AI", "given", "corrected". ``model``: name,
    version and the beginning of the file's SHA-256. ``along_mm``: "1.6 mm", the SD of the smoothing along z, or "none",
    which thick slices have with any setting; and whether unclear outlines were adjusted.
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


def conditions_of(case: Case, given: Mapping[str, str] | None = None) -> Conditions:
    """The conditions that a case states. ``given``: what the user knows better (scanner, field_strength,
    sequence, contrast_agent, distortion_correction), for inputs without a DICOM header."""
    acquisition = case.input.acquisition or {}
    field, model, image_type = acquisition.get("field_strength_t"), case.model, acquisition.get("image_type") or ()
    words = {
        "scanner": " ".join(filter(None, (acquisition.get("manufacturer"), acquisition.get("model")))),
        "field_strength": "" if field is None else f"{field:g} T",
        "sequence": " ".join(filter(None, (acquisition.get("sequence"), acquisition.get("dimension")))),
        "contrast_agent": _AGENT.get(str(acquisition.get("contrast_agent")), ""),
        "distortion_correction": next((word for word in _DISTORTION if word in image_type), ""),
    }
    words |= {name: value.strip() for name, value in (given or {}).items() if value.strip()}
    timing = [(name, acquisition.get(key)) for name, key, _ in _TIMES]
    return Conditions(
        **words,
        timing=tuple((name, float(value)) for name, value in timing if value is not None),
        model="" if model is None else " ".join(filter(None, (model.name, model.version, (model.sha256 or "")[:12]))),
        voxel_mm=case.input.spacing_mm,
        orientation=case.input.orientation,
        made_by=case.mask_state,
        software=case.software_version,
        threshold="" if case.threshold is None else f"{case.threshold:g}",
        along_mm=_smoothing(case),
    )


def _smoothing(case: Case) -> str:
    """How the outline was smoothed and adjusted; "" where no model drew the mask."""
    if case.model is None:
        return ""
    sigma_mm = case.along_mm or 0.0
    axes = zip(case.input.spacing_mm, case.input.orientation, strict=True)
    slice_mm = next(mm for mm, axis in axes if axis in "SI")
    smoothed = f"{sigma_mm:g} mm" if sigma_mm > 0 and smoothing_reach(sigma_mm, slice_mm) > 0 else "none"
    return smoothed if case.slices_adjusted is None else f"{smoothed}, unclear outlines adjusted"


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
    "along_mm": "smoothing along z",
}
_WHY = {
    "scanner": "areas differ by some 2-3 % between scanners",
    "distortion_correction": "without correction in 3D the position in the bore alone moves areas by up to 15 %",
    "contrast_agent": "an agent moves the border that is seen",
    "model": "segment all visits with one model to compare them",
    "along_mm": "it moves the outline of thin and of unclear slices",
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


# ---- A visit


@dataclass(frozen=True)
class VisitSource:
    """Where a visit lies and what the user says of it. ``date``: ISO or DICOM's 20240131; ``day``: days from any zero,
    instead. ``disc``: C2/C3 as "R,A,S" or a slice. ``given``: conditions that no header states."""

    folder: Path
    date: str = ""
    day: str = ""
    disc: str = ""
    image: Path | None = None
    series: str | None = None
    given: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Visit:
    """``cord``: its areas along its centreline; ``is_flagged``: (n,), whether each slice of it carries a flag.

    ``disc_mm``: the disc C2/C3 along the centreline, None where nobody marked it. ``date``: None where only a day is
    known; ``day``: days from a zero that all visits of the person share.
    """

    source: VisitSource
    case: Case
    mask: Volume
    cord: VisitCord
    is_flagged: NDArray[np.bool_]
    disc_mm: float | None
    conditions: Conditions
    date: date | None
    day: float

    @property
    def line(self) -> Centreline:
        return self.cord.line

    @property
    def is_accepted(self) -> bool:
        """Whether a person has accepted the mask in review."""
        return self.case.review.state == ACCEPTED


def read_visit(source: VisitSource) -> Visit:
    """Read a result folder of ``segment`` or ``measure``.

    Raises InputFileError (no finished result, no area, mask changed since), ConfigurationError (rejected in review,
    date, disc).
    """
    case = Case.load(source.folder)
    if case.review.state == REJECTED:
        raise ConfigurationError(
            f"{source.folder} was rejected in review: correct and accept it, or leave this visit out"
        )
    day, known = _day(source, case)
    mask = case.mask
    cord = visit_cord(mask, case.slices)
    if not np.isfinite(cord.csa_mm2).any():
        raise InputFileError(f"{source.folder} holds no cross-sectional area: no cord was found, or none was reported")
    return Visit(
        source=source,
        case=case,
        mask=mask,
        cord=cord,
        is_flagged=np.isin(cord.line.canonical_slice, case.slices.canonical_slice[case.slices.flags != ""]),
        disc_mm=_disc(source, case, cord.line, mask),
        conditions=conditions_of(case, source.given),
        date=known,
        day=day,
    )


def _day(source: VisitSource, case: Case) -> tuple[float, date | None]:
    if source.day:
        try:
            return _finite(source.day), None
        except ValueError as error:
            raise ConfigurationError(f'"{source.day}" is no number of days') from error
    text = source.date or case.input.acquisition_date or ""
    if not text:
        raise ConfigurationError(
            f"{source.folder} does not tell its day: give --date YYYY-MM-DD for each visit, or a date or day column in"
            " the manifest (a DICOM input keeps its date with segment --keep-date)"
        )
    known = parse_date(text)
    return float(known.toordinal()), known


def parse_date(text: str) -> date:
    """ "2024-01-31" or DICOM's "20240131". Raises ConfigurationError."""
    plain = text.strip()
    if len(plain) == 8 and plain.isdecimal():
        plain = f"{plain[:4]}-{plain[4:6]}-{plain[6:]}"
    try:
        return date.fromisoformat(plain)
    except ValueError as error:
        raise ConfigurationError(f'"{text}" is no date: give YYYY-MM-DD') from error


def _finite(value: Any) -> float:
    """Raises ValueError for what is no finite number."""
    number = float(value)
    if not isfinite(number):
        raise ValueError("not finite")
    return number


def _disc(source: VisitSource, case: Case, line: Centreline, mask: Volume) -> float | None:
    """C2/C3 along the line: as given now, else as marked when the visit was measured, along that measurement's line."""
    if not source.disc:
        discs = () if case.levels is None else case.levels.discs
        marked_mm = next((one.along_cord_mm for one in discs if one.disc == DISC_NAMES[C2_C3]), None)
        return None if marked_mm is None else centreline(mask).position_on(line, marked_mm)
    mark = parse_disc(f"{C2_C3}={source.disc}")
    if mark.ras_mm is not None:
        position_mm, off_mm = line.nearest(mark.ras_mm)
        if off_mm > 30.0:
            raise ConfigurationError(
                f"{source.folder}: disc C2/C3 lies {off_mm:.0f} mm from the cord: give RAS mm of this very image"
            )
        return position_mm
    return line.nearest(line.at_slice(mask.to_input_slice(mark.slice or 0)).tolist())[0]


def check_visits(visits: Sequence[Visit], limits_mm: tuple[float, float] | None = None) -> list[Visit]:
    """The visits by day. Raises ConfigurationError: none, days of one and dates of another, or ``limits_mm`` from a
    disc that no visit has."""
    if not visits:
        raise ConfigurationError("no visit was given: name the result folder of each")
    if len({visit.date is None for visit in visits}) > 1:
        raise ConfigurationError("some visits have a date and others a day: give one kind for all of a person")
    if limits_mm is not None and all(visit.disc_mm is None for visit in visits):
        raise ConfigurationError(
            "a range (--range-mm) counts from the disc C2/C3, and no visit has one: mark it in one visit (--disc), or"
            " leave the range out"
        )
    return sorted(visits, key=lambda visit: visit.day)


# ---- The manifest of a cohort


_COLUMNS = ("person", "folder")
_GIVEN = ("scanner", "field_strength", "sequence", "contrast_agent", "distortion_correction")


@dataclass(frozen=True)
class PersonSource:
    """One person of a manifest, visits in the manifest's order. ``age_years``: at the first visit."""

    person: str
    visits: tuple[VisitSource, ...]
    age_years: float | None = None


def read_manifest(path: Path) -> list[PersonSource]:
    """The persons of a CSV manifest, in order of appearance; relative folders are beside the manifest.

    Raises InputFileError when it cannot be read, ConfigurationError for missing columns or values.
    """
    persons: dict[str, list[dict[str, str]]] = {}
    for number, row in read_table(path):
        if missing := [name for name in _COLUMNS if not row.get(name)]:
            raise ConfigurationError(f"{path.name}, line {number}: {' and '.join(missing)} missing")
        persons.setdefault(row["person"], []).append(row)
    if not persons:
        raise ConfigurationError(f"{path.name} lists no visit: columns person, folder and date or day are expected")
    return [
        PersonSource(name, tuple(_source(row, path.parent) for row in own), _age(own)) for name, own in persons.items()
    ]


def _source(row: Mapping[str, str], beside: Path) -> VisitSource:
    return VisitSource(
        folder=beside / row["folder"],
        date=row.get("date", ""),
        day=row.get("day", ""),
        disc=row.get("disc", ""),
        image=beside / row["image"] if row.get("image") else None,
        series=row.get("series") or None,
        given={name: row[name] for name in _GIVEN if row.get(name)},
    )


def _age(rows: list[dict[str, str]]) -> float | None:
    text = next((row["age"] for row in rows if row.get("age")), "")
    try:
        return float(text) if text else None
    except ValueError as error:
        raise ConfigurationError(f'"{text}" is no age in years') from error
