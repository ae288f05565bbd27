"""A visit of a person: a finished case, its day, its areas along the cord, and how it was made.

Scanner, field strength, sequence, contrast agent and model break a series: no %/year is given across such a change.
Voxel size, slice orientation, distortion correction, software and hand-editing are flagged, unknowns reported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import combinations
from math import isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.bids import scan_date
from SpinalCordSegLib.case import Case, CaseInput
from SpinalCordSegLib.cohort import cohort_scans
from SpinalCordSegLib.errors import ConfigurationError, InputFileError
from SpinalCordSegLib.files import MISSING_WORDS, read_table
from SpinalCordSegLib.identity import PATIENT_ID, Identity, differing
from SpinalCordSegLib.image_io import read_identity
from SpinalCordSegLib.morphometry import Centreline, centreline, fit_local_lines
from SpinalCordSegLib.review import REJECTED
from SpinalCordSegLib.slice_table import SliceTable
from SpinalCordSegLib.vertebral_levels import C2_C3, DISC_NAMES, parse_disc
from SpinalCordSegLib.volume import Volume
from SpinalCordSegLib.work_list import WorkList, failed_inputs

# ---- Areas along the cord that do not depend on how much of the cord was scanned


_FEWEST = 4  # slices that must be left when those at the ends are left out


@dataclass(frozen=True, eq=False)
class Profile:
    """Areas along the cord. ``position_mm``: (n,) ascending, from a point that all visits share, superior positive.

    ``length_mm``: (n,) of cord in each slice; ``csa_mm2``: (n,), NaN where a slice has none. ``flagged``: (n,), True
    for slices that are not to be compared; False: no such slice. ``ap_over_rl``: (n,) ratio of the diameters.
    ``is_drawn``: (n,), slices that a person drew, their area that of the mask's pixels.
    """

    position_mm: NDArray[np.float64]
    length_mm: NDArray[np.float64]
    csa_mm2: NDArray[np.float64]
    flagged: NDArray[np.bool_] | bool = False
    ap_over_rl: NDArray[np.float64] | float = nan
    is_drawn: NDArray[np.bool_] | bool = False

    def inside(self, at_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(positions, n): whether each position lies in each slice."""
        starts, ends = self.position_mm - self.length_mm / 2, self.position_mm + self.length_mm / 2
        return np.asarray((at_mm[:, None] >= starts - 1e-9) & (at_mm[:, None] <= ends + 1e-9))

    def area_at(self, at_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """That of the slice each position lies in, beyond them the nearest one's.

        A slice's area is its mean over its own thickness. Taken linear between the middles of slices, the half slice at
        an end would change with whether a neighbour was scanned (by 0.2 % of a mean area in the median, 1 % at most).
        """
        known = np.isfinite(self.csa_mm2)
        starts = (self.position_mm - self.length_mm / 2)[known]
        return self.csa_mm2[known][np.searchsorted(starts[1:], at_mm, side="right")]


def cord_profile(mask: Volume, measured: SliceTable) -> tuple[Centreline, Profile]:
    """The local lines through a cleaned ``mask``, not the spline of the case's own report, and the profile along them
    from their lower end: areas in the slice as ``measured``, without imputed ones, at a right angle to the line.

    Where the mask ends inside the volume, its last slice is cord in a part of its thickness only (in raters' masks of
    5 mm slices its area was 0.45 and 0.72 of its neighbours'), and is left out; at the volume's own ends none is.
    """
    line = centreline(mask, fit_local_lines)
    table = measured.rows(np.isin(measured.canonical_slice, line.canonical_slice))
    csa = np.where(table.is_imputed, nan, table.csa_raw_mm2) * (mask.slice_mm / line.length_mm)
    if np.count_nonzero(np.isfinite(csa)) >= _FEWEST + 2:
        if line.canonical_slice[0] > 0:
            csa[0] = nan
        if line.canonical_slice[-1] < mask.shape[0] - 1:
            csa[-1] = nan
    is_drawn = np.isfinite(csa) & np.isnan(table.network_area_mm2)
    ratio = table.ap_ellipse_mm / table.rl_mm
    return line, Profile(line.arc_mm, line.length_mm, csa, table.flags != "", ratio, is_drawn)


# ---- How a visit was made, and what differs between two visits that changes areas by itself


CONDITIONS = {
    "scanner": ("scanner", True, "areas differ by 2 to 3 % between scanners"),
    "field_strength": ("field strength", True, ""),
    "sequence": ("sequence", True, ""),
    "contrast": ("contrast", True, "the border of the cord lies elsewhere in images of another contrast"),
    "contrast_agent": ("contrast agent", True, "contrast agent moves the visible border"),
    "model": ("model", True, "segment all visits with one model to compare them"),
    "orientation": ("slice orientation", False, ""),
    "distortion_correction": (
        "distortion correction", False,
        "without 3D correction the position in the bore alone changes areas by up to 15 %",
    ),
    "made_by": ("mask", False, "a person draws the border differently from a model"),
    "software": ("software version", False, ""),
    "threshold": ("threshold", False, ""),
    "smooth_z_mm": ("smoothing along z", False, "it moves the outline of thin slices"),
    "voxel_mm": ("voxel size", False, ""),
}  # fmt: skip
"""By key: its name, whether a change of it breaks the series, and what a change does."""
STATED = ("scanner", "field_strength", "sequence", "contrast_agent", "distortion_correction")
"""What a DICOM header states, or the user where there is none; without it a visit cannot be judged comparable."""

_TIMES = (
    ("TR", "repetition_time_ms"), ("TE", "echo_time_ms"), ("TI", "inversion_time_ms"), ("flip angle", "flip_angle_deg"),
)  # fmt: skip
_TIME_TOLERANCE, _VOXEL_TOLERANCE = 0.05, 0.03
_DISTORTION = ("DIS3D", "DIS2D", "ND")
_AGENT = {"True": "with", "False": "without"}


Conditions = dict[str, Any]
"""How a visit was made and measured, by the keys of CONDITIONS and "timing"; no identifiers; "" or empty: not known.

``scanner``: manufacturer and model, or a code the user gave. ``timing``: TR, TE, TI, flip angle. ``made_by``: "AI",
"given", "corrected". ``model``: name, version and the beginning of the file's SHA-256. ``smooth_z_mm``: the SD of the
smoothing along z, "0.8 mm"."""


@dataclass(frozen=True)
class Difference:
    """``kind``: a key of CONDITIONS, or "unknown". ``breaks``: no %/year across it."""

    kind: str
    message: str
    breaks: bool


def conditions_of(case: Case, given: Mapping[str, str] | None = None) -> Conditions:
    """The conditions that a case states. ``given``: what the user knows better, by names of STATED."""
    acquisition = case.input.acquisition or {}
    tesla, model, image_type = acquisition.get("field_strength_t"), case.model, acquisition.get("image_type") or ()
    stated = {
        "scanner": " ".join(filter(None, (acquisition.get("manufacturer"), acquisition.get("model")))),
        "field_strength": "" if tesla is None else f"{tesla:g} T",
        "sequence": " ".join(filter(None, (acquisition.get("sequence"), acquisition.get("dimension")))),
        "contrast_agent": _AGENT.get(str(acquisition.get("contrast_agent")), ""),
        "distortion_correction": next((word for word in _DISTORTION if word in image_type), ""),
    }
    made_with = () if model is None else (model.name, model.version, (model.sha256 or "")[:12])
    stated |= {name: value.strip() for name, value in (given or {}).items() if value.strip()}
    return {
        **stated,
        "timing": {name: float(acquisition[key]) for name, key in _TIMES if acquisition.get(key) is not None},
        "model": " ".join(filter(None, made_with)),
        "contrast": case.contrast,
        "voxel_mm": case.input.spacing_mm,
        "orientation": case.input.orientation,
        "made_by": case.mask_state,
        "software": case.software_version,
        "threshold": "" if case.threshold is None else f"{case.threshold:g}",
        "smooth_z_mm": "" if model is None else f"{case.smooth_z_mm or 0.0:g} mm",
    }


def differences(before: Conditions, after: Conditions) -> tuple[Difference, ...]:
    """What changed from one visit to the next, breaking changes first. Known on one side only is no change."""
    found = []
    for kind, (name, breaks, why) in CONDITIONS.items():
        old, new = before.get(kind), after.get(kind)
        if not old or not new:
            continue
        if kind == "voxel_mm":
            if not np.allclose(sorted(new), sorted(old), rtol=_VOXEL_TOLERANCE, atol=0):
                was, now = ("×".join(f"{mm:.3g}" for mm in voxel) for voxel in (old, new))
                found.append(Difference(kind, f"{name} changed from {was} to {now} mm", breaks))
        elif old.casefold() != new.casefold():
            text = f"{name} changed from {old} to {new}"
            found.append(Difference(kind, f"{text}: {why}" if why else text, breaks))
    for name, old in before.get("timing", {}).items():
        new = after.get("timing", {}).get(name, old)
        if abs(new - old) > _TIME_TOLERANCE * abs(old):
            found.append(Difference("sequence", f"sequence changed: {name} from {old:g} to {new:g}", True))
    return tuple(sorted(found, key=lambda one: not one.breaks))


def unknowns(conditions: Conditions) -> tuple[Difference, ...]:
    """What of a visit is not known and would have to be, to judge it comparable."""
    names = [CONDITIONS[name][0] for name in STATED if not conditions.get(name)]
    if not names:
        return ()
    return (Difference("unknown", f"not known: {', '.join(names)}; a change would not be noticed", False),)


def changes(conditions: Sequence[Conditions]) -> list[tuple[Difference, ...]]:
    """For each visit, what changed from all that is known before it, so that a visit without a header hides no change;
    () for the first."""
    found: list[tuple[Difference, ...]] = []
    known: Conditions = {}
    for one in conditions:
        found.append(differences(known, one))
        known |= {name: value for name, value in one.items() if value}
    return found


# ---- A visit


@dataclass(frozen=True)
class VisitSource:
    """Where a visit lies and what the user knows of it. ``date``: ISO or DICOM's 20240131; ``day``: days from any zero,
    instead. ``disc``: C2/C3 as "R,A,S" or a slice. ``given``: conditions by names of STATED."""

    folder: Path
    date: str = ""
    day: str = ""
    disc: str = ""
    image: Path | None = None
    series: str | None = None
    given: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Visit:
    """``line``, ``profile``: see ``cord_profile``; a slice is flagged when it carries any flag. ``disc_mm``: the disc
    C2/C3 along the line, None where nobody marked it; ``upper_end_mm``: the cord's upper end likewise, None where the
    program did not find it. ``date``: None where only a day is known; ``day``: days from a
    zero that all visits of the person share."""

    source: VisitSource
    case: Case
    mask: Volume
    line: Centreline
    profile: Profile
    disc_mm: float | None
    conditions: Conditions
    date: date | None
    day: float
    upper_end_mm: float | None = None


def read_visit(source: VisitSource) -> Visit:
    """Read a result folder of ``segment`` or ``measure``.

    Raises InputFileError (failed, no finished result, no area, mask changed since), ConfigurationError (rejected in
    review, date, disc).
    """
    if not source.folder.exists() and (why := dict(failed_inputs(source.folder.parent)).get(source.folder.name)):
        raise InputFileError(
            f"{source.folder} does not exist, as its segmentation failed ({why}): mend that and segment it again, or"
            " leave this visit out"
        )
    case = Case.load(source.folder)
    if case.review.state == REJECTED:
        raise ConfigurationError(
            f"{source.folder} was rejected in review: correct and accept it, or leave this visit out"
        )
    day, known = _day(source, case)
    mask = case.mask
    line, profile = cord_profile(mask, case.slices)
    if not np.isfinite(profile.csa_mm2).any():
        raise InputFileError(f"{source.folder} holds no cross-sectional area: no cord was found, or none was reported")
    disc_mm, conditions = _disc(source, case, line, mask), conditions_of(case, source.given)
    upper_end_mm = None if case.upper_end_in(mask) is None else line.end_mm
    return Visit(source, case, mask, line, profile, disc_mm, conditions, known, day, upper_end_mm)


_FIRST_SCAN = date(1980, 1, 1)  # no neck was scanned before; an anonymised header says 1900
_LONGEST_DAYS = 36500


def _day(source: VisitSource, case: Case) -> tuple[float, date | None]:
    if source.day:
        try:
            day = float(source.day)
        except ValueError:
            day = nan
        if not isfinite(day):
            raise ConfigurationError(f'"{source.day}" is not a number of days')
        return day, None
    kept = case.input.acquisition_date or ""
    text = (source.date or kept).strip()
    if not text:
        raise ConfigurationError(
            f"{source.folder} has no date: give --date YYYY-MM-DD for each visit, or a date or day column in"
            " the manifest (a DICOM input keeps its date with segment --keep-date)"
        )
    known = _date(text)
    if kept and known != _date(kept):
        raise ConfigurationError(
            f"{source.folder}: the date given is not that of the scan, which its report keeps: leave it out, or give"
            " days apart in the manifest's column day"
        )
    if not _FIRST_SCAN <= known <= date.today():
        raise ConfigurationError(
            f"{source.folder}: no scan was made in {known.year}: give the day of the scan, between {_FIRST_SCAN} and"
            " today, as --date YYYY-MM-DD or in the manifest"
        )
    return float(known.toordinal()), known


def _date(text: str) -> date:
    is_dicom = len(text) == 8 and text.isdecimal()
    dotted = re.fullmatch(r"(\d\d?)\.(\d\d?)\.(\d{4})", text)  # with slashes the month may come first
    try:
        if dotted is not None:
            day, month, year = map(int, dotted.groups())
            return date(year, month, day)
        return date.fromisoformat(f"{text[:4]}-{text[4:6]}-{text[6:]}" if is_dicom else text)
    except ValueError as error:
        raise ConfigurationError(f'"{text}" is not a date: give YYYY-MM-DD, or DD.MM.YYYY') from error


def _disc(source: VisitSource, case: Case, line: Centreline, mask: Volume) -> float | None:
    """C2/C3 along the line: as given now, else as marked when the visit was measured, along that measurement's line."""
    if not source.disc:
        asked = case.levels_asked  # what was found is 3 mm off at worst: not for a change
        was_found = (
            asked is not None and asked.automatic and not any(m.disc == C2_C3 and m.by_person for m in asked.discs)
        )
        marked_mm = None if case.levels is None or was_found else case.levels.discs_mm.get(DISC_NAMES[C2_C3])
        return None if marked_mm is None else centreline(mask).position_on(line, marked_mm)
    mark = parse_disc(f"{C2_C3}={source.disc}")
    if mark.ras_mm is not None:
        position_mm, off_mm = line.nearest(mark.ras_mm)
        if off_mm > 30.0:
            raise ConfigurationError(
                f"{source.folder}: disc C2/C3 lies {off_mm:.0f} mm from the cord: give RAS mm of this very image"
            )
        return position_mm
    return line.nearest(line.at_slice(mask.from_input_slice(mark.slice or 0)).tolist())[0]


def check_visits(visits: Sequence[Visit], limits_mm: tuple[float, float] | None = None) -> list[Visit]:
    """The visits by day. Raises ConfigurationError: none, days of one and dates of another, or ``limits_mm`` from a
    disc that no visit has."""
    if not visits:
        raise ConfigurationError("no visit was given: name the result folder of each")
    if len({visit.date is None for visit in visits}) > 1:
        raise ConfigurationError("some visits have a date and others a day: give one kind for all of a person")
    days = [visit.day for visit in visits]
    if max(days) - min(days) > _LONGEST_DAYS:
        raise ConfigurationError(
            f"the visits lie {(max(days) - min(days)) / 365.25:.0f} years apart, at most {_LONGEST_DAYS // 365} are"
            " possible: check the dates or days"
        )
    if limits_mm is not None and all(visit.disc_mm is None for visit in visits):
        raise ConfigurationError(
            "a range (--range-mm) counts from the disc C2/C3, and no visit has one: mark it in one visit (--disc), or"
            " leave the range out"
        )
    return sorted(visits, key=lambda visit: visit.day)


def check_one_person(visits: Sequence[Visit], same_person: bool = False) -> list[str]:
    """What the headers of cases and of images given with them say: remarks that have to stand beside the rate.

    Raises ConfigurationError where visits are of different patients. ``same_person``: the user vouches that a changed
    patient ID is the same person's.
    """
    stated = [(n, one) for n, visit in enumerate(visits, 1) for one in _identities(visit)]
    changed = False
    for (n, one), (k, other) in sorted(combinations(stated, 2), key=lambda pair: pair[0][0] != pair[1][0]):
        differ = differing(one, other)
        if not differ:
            continue
        if not same_person or differ != [PATIENT_ID]:
            which = f"visit {n}: the case and its image" if n == k else f"visits {n} and {k}"
            vouch = "; where only the ID was changed, vouch for it by --same-person" if differ == [PATIENT_ID] else ""
            raise ConfigurationError(
                f"{which} are of different patients: their headers state another {' and '.join(differ)}; give the"
                f" visits of one person{vouch}"
            )
        changed = True
    return ["another patient ID, said to be the same person's"] if changed else []


def _identities(visit: Visit) -> list[Identity]:
    image = visit.source.image
    found = [visit.case.input.identity, None if image is None else read_identity(image, visit.source.series)]
    return [one for one in found if one is not None]


def same_data(visits: Sequence[Visit]) -> list[tuple[int, int]]:
    """Pairs of visits (numbers, from 1) that hold the same image or the same mask."""
    pairs = combinations(enumerate(visits, 1), 2)
    return [(n, k) for (n, one), (k, other) in pairs if _data_of(one.case) & _data_of(other.case)]


def _data_of(case: Case) -> set[str]:
    return {case.mask_sha256 if case.n_slices else "", case.input.fingerprint, case.input.image_fingerprint} - {""}


def one_patient_twice(persons: Sequence[PersonSource]) -> dict[str, str]:
    """Persons who share a patient ID, or the data of a visit, with another person of the manifest: who that is."""
    found: dict[str, str] = {}
    whose: dict[str, str] = {}
    for person in persons:
        for visit in person.visits:
            try:
                case = Case.load(visit.folder, needs_slices=False)
            except InputFileError:  # which is reported where the visit is read
                continue
            who = case.input.identity
            for mark in _data_of(case) | ({f"{who.salt} {who.patient_id}"} if who and who.patient_id else set()):
                other = whose.setdefault(mark, person.person)
                if other != person.person:
                    found |= {person.person: other, other: person.person}
    return found


def check_once(person: str, twice: Mapping[str, str]) -> None:
    """Raise ConfigurationError where the person is in ``twice``, as of one_patient_twice."""
    if other := twice.get(person):
        raise ConfigurationError(
            f"{person} and {other} have the same patient ID or the same data: give all visits of a person one code"
        )


# ---- The manifest of a cohort


@dataclass(frozen=True)
class PersonSource:
    """One person of a manifest, visits in the manifest's order. ``age_years``: at the first visit; ``group``, ``sex``,
    ``site``: as the manifest spells them, "" where it does not."""

    person: str
    visits: tuple[VisitSource, ...]
    age_years: float | None = None
    group: str = ""
    sex: str = ""
    site: str = ""


_OF_PERSON = ("group", "sex", "site")


def read_manifest(path: Path) -> list[PersonSource]:
    """The persons of a CSV manifest, in order of appearance; relative folders are beside the manifest.

    Raises InputFileError when it cannot be read, ConfigurationError for missing columns or values.
    """
    visits: dict[str, list[VisitSource]] = {}
    whose: dict[Path, str] = {}
    spelt: dict[str, str] = {}
    ages: dict[str, float] = {}
    of_persons: dict[str, dict[str, str]] = {}
    spellings: dict[tuple[str, str], str] = {}
    for number, row in read_table(path):
        if missing := [name for name in ("person", "folder") if not row.get(name)]:
            raise ConfigurationError(f"{path.name}, line {number}: {' and '.join(missing)} missing")
        source = VisitSource(
            folder=path.parent / row["folder"],
            date=row.get("date", ""),
            day=row.get("day", ""),
            disc=row.get("disc", ""),
            image=path.parent / row["image"] if row.get("image") else None,
            series=row.get("series") or None,
            given={name: row[name] for name in STATED if row.get(name)},
        )
        if whose.setdefault(source.folder.resolve(), row["person"]) != row["person"]:
            raise ConfigurationError(f"{path.name}, line {number}: this folder is a visit of another person too")
        # a spreadsheet makes 1 or 1.0 of 01, and some disks hold P1 and p1 for one folder
        bare = re.sub(r"\.0+$", "", row["person"].casefold()).lstrip("0")
        if (known := spelt.setdefault(bare, row["person"])) != row["person"]:
            raise ConfigurationError(
                f'{path.name}, line {number}: is "{row["person"]}" the person "{known}"? Give each person one code, and'
                " two persons codes that differ in more than capitals and zeros"
            )
        visits.setdefault(row["person"], []).append(source)
        for name in _OF_PERSON:
            text = row.get(name, "")
            text = "" if text.lower() in MISSING_WORDS else text
            if (known := spellings.setdefault((name, text.casefold()), text)) != text:
                raise ConfigurationError(f'{path.name}, line {number}: {name} "{text}" is "{known}" above: spell it so')
            if of_persons.setdefault(row["person"], {}).setdefault(name, text) != text:
                raise ConfigurationError(f"{path.name}, line {number}: another {name} than in this person's first line")
        if row.get("age", "").lower() not in MISSING_WORDS:
            try:
                ages.setdefault(row["person"], float(row["age"].replace(",", ".")))
            except ValueError as error:
                raise ConfigurationError(
                    f'{path.name}, line {number}: "{row["age"]}" is not an age in years'
                ) from error
    if not visits:
        raise ConfigurationError(f"{path.name} lists no visit: columns person, folder and date or day are expected")
    return [PersonSource(name, tuple(own), ages.get(name), **of_persons[name]) for name, own in visits.items()]


MANIFEST_COLUMNS = ("person", "session", "folder", "day", "date", "image", *_OF_PERSON, "age")


def manifest_rows(work: WorkList, root: Path, keep_dates: bool = False) -> tuple[list[dict[str, str]], list[str]]:
    """A manifest, by MANIFEST_COLUMNS, of a folder's cases of persons (as ``cohort`` knows them) who have several; and
    what is left out, and why. ``root``: where the images lie, of BIDS with its tables of participants and dates.
    Without ``keep_dates`` it holds days apart; none of a person of whom a date is missing."""
    scans, remarks = cohort_scans(work)
    failed = failed_inputs(work.items[0].folder.parent, {scan.case for scan in scans})
    left_out = [(scan.case, scan.left_out) for scan in scans if scan.left_out]
    left_out += [(case, f"failed: {why}") for case, why in failed]
    table, rows = root / "participants.tsv", list[dict[str, str]]()
    stated = {row.get("participant_id"): row for _, row in (read_table(table) if table.is_file() else ())}
    persons: dict[str, list[tuple[str, Path, CaseInput]]] = {}
    for item, scan in zip(work.items, scans, strict=True):
        if scan.content is not None and not scan.left_out:
            persons.setdefault(scan.person, []).append((scan.session, item.folder, scan.content.input))
    for person, visits in persons.items():
        if len(visits) == 1:
            left_out.append((visits[0][1].name, f"the only one of {person}"))
            continue
        row = stated.get(person.rpartition("/")[2], {})
        about = {name: row.get(name, "") for name in (*_OF_PERSON, "age")}
        about["person"] = re.sub(r"[^\w.+-]+", "-", person)
        dates = [
            _date(of.acquisition_date) if of.acquisition_date else scan_date(root / of.source) for *_, of in visits
        ]
        known = [day for day in dates if day is not None]
        for day, (session, folder, of) in zip(dates, visits, strict=True):
            image = root.absolute() / of.source
            row = {"session": session, "folder": str(folder.absolute()), "image": str(image) if image.is_file() else ""}
            if day is not None and keep_dates:
                row["date"] = day.isoformat()
            elif day is not None and len(known) == len(visits):
                row["day"] = str((day - min(known)).days)
            rows.append(about | row)
    return rows, [*remarks, *(f"no visit: {case}: {why}" for case, why in left_out)]
