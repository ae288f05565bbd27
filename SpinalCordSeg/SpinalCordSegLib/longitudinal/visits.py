"""A visit of a person: a finished result folder, its day, and the cord as areas along a ruler."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.case_folder import damaged_report, read_result, read_slice_rows
from SpinalCordSegLib.doubts.quality import UNCLEAR_EDGES
from SpinalCordSegLib.doubts.review import ACCEPTED, REJECTED, Review
from SpinalCordSegLib.errors import ConfigurationError, InputFileError
from SpinalCordSegLib.images.labels import read_labels
from SpinalCordSegLib.images.volume import Volume, input_slice_index
from SpinalCordSegLib.longitudinal.comparability import Conditions, conditions_of
from SpinalCordSegLib.longitudinal.visit_cord import VisitCord, visit_cord
from SpinalCordSegLib.measurement.cord_line import CordLine, cord_line
from SpinalCordSegLib.measurement.in_slices import InSlices
from SpinalCordSegLib.measurement.level_measures import parse_disc
from SpinalCordSegLib.measurement.levels import C2_C3, DISC_NAMES

_SAME_VOLUME = 0.005  # a mask that was changed after it was measured differs by more


@dataclass(frozen=True)
class VisitSource:
    """Where a visit lies and what was said of it. ``date``: ISO or DICOM's 20240131; ``day``: days from any zero,
    instead. ``disc``: C2/C3 as "R,A,S" or a slice. ``given``: conditions that no header told."""

    folder: Path
    date: str = ""
    day: str = ""
    disc: str = ""
    image: Path | None = None
    series: str | None = None
    given: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Visit:
    """``cord``: its areas along its line. ``doubts``: flag kinds of each slice. ``is_accepted``: a person has accepted
    the mask in review. ``has_unclear_edges``: the case was flagged so.

    ``disc_mm``: the disc C2/C3 along the line, None where nobody marked it. ``date``: None where only a day is known;
    ``day``: days from a zero that all visits of the person share. ``whole_volume_mm3``, ``whole_length_mm``: of all the
    cord in the image, as measured then.
    """

    folder: Path
    case_name: str
    date: date | None
    day: float
    report: Mapping[str, Any]
    mask: Volume
    cord: VisitCord
    doubts: tuple[tuple[str, ...], ...]
    disc_mm: float | None
    conditions: Conditions
    whole_volume_mm3: float
    whole_length_mm: float
    is_accepted: bool = False
    has_unclear_edges: bool = False
    image: Path | None = None
    series: str | None = None

    @property
    def line(self) -> CordLine:
        return self.cord.line

    @property
    def is_flagged(self) -> NDArray[np.bool_]:
        """Whether each slice along the line carries a flag."""
        return np.array([bool(kinds) for kinds in self.doubts], dtype=bool)


def read_visit(source: VisitSource) -> Visit:
    """Read a result folder of ``segment`` or ``measure``.

    Raises InputFileError (no finished result, no area, mask changed since), ConfigurationError (rejected in review,
    date, disc).
    """
    folder = source.folder
    report = read_result(folder)
    if report is None:
        raise InputFileError(f"{folder} holds no finished result: give a folder that segment or measure wrote")
    with damaged_report(folder):
        state = Review.from_dict(report.get("review")).state
        if state == REJECTED:
            raise ConfigurationError(f"{folder} was rejected in review: correct and accept it, or leave this visit out")
        volume_mm3, length_mm = (_finite(report.get(name) or 0.0) for name in ("volume_mm3", "length_mm"))
        day, known = _day(source, report)
        conditions = conditions_of(report, source.given)
        marked_mm = _marked_disc(report)
        has_unclear_edges = any(flag["kind"] == UNCLEAR_EDGES for flag in report.get("flags") or ())
    mask = _mask(folder, volume_mm3)
    measured, doubts = _slices(folder)
    cord = visit_cord(mask, measured)
    line = cord.line
    if not np.isfinite(cord.csa_mm2).any():
        raise InputFileError(f"{folder} holds no cross-sectional area: no cord was found, or none was reported")
    return Visit(
        folder=folder,
        case_name=str(report.get("case") or ""),
        date=known,
        day=day,
        report=report,
        mask=mask,
        cord=cord,
        doubts=tuple(doubts.get(int(k), ()) for k in line.canonical_slice),
        disc_mm=_disc(source, marked_mm, line, mask),
        conditions=conditions,
        whole_volume_mm3=volume_mm3,
        whole_length_mm=length_mm,
        is_accepted=state == ACCEPTED,
        has_unclear_edges=has_unclear_edges,
        image=source.image,
        series=source.series,
    )


def _mask(folder: Path, stated_mm3: float) -> Volume:
    files = sorted(folder.glob("mask.*"))
    if not files:
        raise InputFileError(f"{folder} holds no mask: measure the visit again")
    labels = read_labels(files[0])
    mask = labels.with_voxels(labels.voxels != 0)
    volume_mm3 = np.count_nonzero(mask.voxels) * mask.voxel_volume_mm3
    if abs(volume_mm3 - stated_mm3) > _SAME_VOLUME * max(volume_mm3, stated_mm3):
        raise InputFileError(
            f"{folder}: the mask has {volume_mm3:.0f} mm³, its report says {stated_mm3:.0f} mm³: measure the mask again"
        )
    return mask


def _slices(folder: Path) -> tuple[InSlices, dict[int, tuple[str, ...]]]:
    """What was measured in the slices, and their kinds of flag, by canonical slice."""
    rows = read_slice_rows(folder)
    try:
        doubts = {int(row["canonical_slice"]): tuple((row["flags"] or "").split()) for row in rows}
        return InSlices.of_rows(rows), doubts
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputFileError(f"{folder / 'slices.csv'} cannot be read: measure the visit again") from error


def _day(source: VisitSource, report: Mapping[str, Any]) -> tuple[float, date | None]:
    if source.day:
        try:
            return _finite(source.day), None
        except ValueError as error:
            raise ConfigurationError(f'"{source.day}" is no number of days') from error
    text = source.date or str((report.get("input") or {}).get("acquisition_date") or "")
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


def _marked_disc(report: Mapping[str, Any]) -> float | None:
    """Where C2/C3 was marked when the visit was measured, mm along that measurement's own line."""
    marked = (report.get("levels") or {}).get("discs") or []
    found = [one["along_cord_mm"] for one in marked if one.get("disc") == DISC_NAMES[C2_C3]]
    return _finite(found[0]) if found else None


def _finite(value: Any) -> float:
    """A number of a report or a manifest. Raises TypeError or ValueError for anything else, NaN included."""
    number = float(value)
    if not isfinite(number):
        raise ValueError("not finite")
    return number


def _disc(source: VisitSource, marked_mm: float | None, line: CordLine, mask: Volume) -> float | None:
    """Along the line: as given now, else as marked when the visit was measured."""
    if not source.disc:
        return None if marked_mm is None else cord_line(mask).position_on(line, marked_mm)
    mark = parse_disc(f"{C2_C3}={source.disc}")
    if mark.ras_mm is not None:
        position_mm, off_mm = line.nearest(mark.ras_mm)
        if off_mm > 30.0:
            raise ConfigurationError(
                f"{source.folder}: disc C2/C3 lies {off_mm:.0f} mm from the cord: give RAS mm of this very image"
            )
        return position_mm
    return line.nearest(line.at_slice(input_slice_index(mask, mark.slice or 0)).tolist())[0]


def check_visits(visits: Sequence[Visit], limits_mm: tuple[float, float] | None = None) -> list[Visit]:
    """The visits by day. Raises ConfigurationError: none, days of one and dates of another, or ``limits_mm`` from a
    disc that no visit has."""
    if not visits:
        raise ConfigurationError("no visit was given: name the result folder of each")
    if len({visit.date is None for visit in visits}) > 1:
        raise ConfigurationError("some visits have a date and others a day: give one kind for all of a person")
    if limits_mm is not None and all(visit.disc_mm is None for visit in visits):
        raise ConfigurationError(
            "a stretch (--range-mm) counts from the disc C2/C3, and no visit has one: mark it in one visit (--disc), or"
            " leave the stretch out"
        )
    return sorted(visits, key=lambda visit: visit.day)


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
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [{k: (v or "").strip() for k, v in row.items() if k} for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputFileError(f"{path.name} cannot be read as CSV in UTF-8: {type(error).__name__}") from error
    persons: dict[str, list[dict[str, str]]] = {}
    for number, row in enumerate(rows, 2):
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
