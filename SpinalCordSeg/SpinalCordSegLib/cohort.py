"""A report on the areas of a folder of cases: distribution, outliers, scanners, groups, repeats, sample sizes.

A person counts once in a mean, with the mean of the person's scans. No date and no identifier; persons go by the codes
of a table or of BIDS names, else by a piece of their patient ID's hash.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from math import isfinite, nan, sqrt
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from SpinalCordSegLib.case import Case, is_as_measured
from SpinalCordSegLib.cohort_statistics import (
    OUTLIER_Z,
    Estimate,
    difference_of_means,
    icc,
    mean_of,
    rms_cov_percent,
    robust_z,
    sample_size,
    sd_of,
    within_sd,
)
from SpinalCordSegLib.disc_files import INPUT_COLUMNS, path_parts
from SpinalCordSegLib.errors import ConfigurationError, InputFileError
from SpinalCordSegLib.files import MISSING_WORDS, read_table, write_text
from SpinalCordSegLib.identity import Identity, differing
from SpinalCordSegLib.report import CURVE, FLAG, INK, QUIET, Section, html_page, refuse_strangers_page, style_axes
from SpinalCordSegLib.review import REJECTED, UNTOUCHED
from SpinalCordSegLib.slice_table import counted, rounded
from SpinalCordSegLib.work_list import WorkItem, WorkList, failed_inputs, write_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAGE, CASES, STATISTICS = "cohort.html", "cohort_cases.csv", "cohort_statistics.csv"
_HEADING = "Areas of a cohort"
MEASURES = {"c2_c3_mean_csa_mm2": "mean area C2-C3", "mean_csa_mm2": "mean area of the whole cord found"}
CASE_COLUMNS = {
    "case": "name of the case",
    "person": "by the table, else the BIDS subject, a piece of the patient ID's hash, or the case itself",
    "group": "by the table",
    "site": "by the table, else the scanner of the DICOM header",
    "session": "by the table, else the BIDS session",
    "left_out": "why the case is no part of any statistic; empty for those that are",
    "review_state": "as in summary.csv",
    "c2_c3_mean_csa_mm2": "as in summary.csv",
    "c2_c3_robust_z": "(area − median) / (1.4826·MAD) in the group, or in all cases where it has fewer than 10;"
    " beyond ±3.5 an outlier",
    "c2_c3_coverage": "as in summary.csv",
    "disc": "as in summary.csv",
    "mean_csa_mm2": "as in summary.csv",
    "robust_z": "likewise, of the whole cord",
    "imputed_share": "as in summary.csv",
}
STATISTIC_COLUMNS = {
    "measure": "column of summary.csv",
    "statistic": "mean, sd (between persons), median, robust_sd (1.4826·MAD), minimum, maximum, difference,"
    " difference_percent, cov_percent (within persons), icc_1_1, icc_2_1, icc_3_1, n_per_group (persons)",
    "group": "that it is of, “A - B” for a difference; empty for all",
    "site": "likewise; of an ICC, what its occasions are: session, site or, empty, in no order",
    "effect_percent": "difference of the group means, in % of the mean, that n_per_group detects",
    "power": "of that test, two-sided, alpha 0.05",
    "n_cases": "scans that it rests on",
    "n_persons": "persons that it rests on",
    "value": "mm² where nothing else is named",
    "low_95": "lower end of the 95 % interval",
    "high_95": "upper end",
}
_BIDS = {name: re.compile(rf"(?:^|[/_])({name}-[A-Za-z0-9]+)") for name in ("sub", "ses")}
_TABLE = {
    "person": ("person", "participant_id", "subject", "patient"),
    "group": ("group", "diagnosis"),
    "site": ("site", "scanner"),
    "session": ("session", "session_id", "visit"),
}
_ENOUGH_IN_GROUP, _WHOLE_COVERAGE, _MOST_NAMED = 10, 0.98, 10
EFFECTS_PERCENT = (2.0, 5.0, 10.0)


@dataclass(frozen=True)
class Scan:
    """A case with what it belongs to. ``areas``: mm², by MEASURES, NaN for none; ``z``: likewise, see robust_z;
    ``line``: what draws its outline, on which contrast."""

    case: str
    person: str
    content: Case | None = None
    group: str = ""
    site: str = ""
    session: str = ""
    left_out: str = ""
    areas: tuple[float, ...] = (nan, nan)
    z: tuple[float, ...] = (nan, nan)

    @property
    def line(self) -> str:
        case = self.content
        if case is None:
            return ""
        by = "given masks" if case.model is None else f"{case.model.name} {case.model.version}"
        return f"{case.contrast or 'contrast not known'}, {by}"

    @property
    def occasions(self) -> set[str]:
        """The day and the session, as far as they are known; {""} where neither is."""
        day = "" if self.content is None else self.content.input.acquisition_date or ""
        return {day, self.session} - {""} or {""}

    @property
    def is_reviewed(self) -> bool:
        return self.content is not None and self.content.review.state not in UNTOUCHED

    def row(self) -> dict[str, Any]:
        """By CASE_COLUMNS."""
        summary = {} if self.content is None else self.content.summary_row()
        own = {name: getattr(self, name) for name in ("case", "person", "group", "site", "session", "left_out")}
        z = {name: rounded(value, 2) for name, value in zip(("c2_c3_robust_z", "robust_z"), self.z, strict=True)}
        return {name: summary.get(name) for name in CASE_COLUMNS} | own | z


def write_cohort(
    work: WorkList, folder: Path, people: Path | None = None, effects_percent: Sequence[float] = EFFECTS_PERCENT
) -> list[str]:
    """Write cohort.html, cohort_cases.csv and cohort_statistics.csv of the cases of ``work`` into ``folder``; gives
    what has to be known of them, a line each.

    ``people``: a table with a case, image or person in each row, and person, group, site and session. Raises
    ConfigurationError, InputFileError (the table), OutputError, MissingPackageError.
    """
    refuse_strangers_page(folder / PAGE, _HEADING)
    if work.items[0].folder == folder:
        raise InputFileError(f"{folder} is one case: give the folder that holds the cases")
    scans, remarks = cohort_scans(work, people)
    of_person = {scan.person.rpartition("/")[2]: scan for scan in scans}
    for case, reason in failed_inputs(folder, {scan.case for scan in scans}):
        sub = found[1] if (found := _BIDS["sub"].search(f"/{case}")) else ""
        other = of_person.get(sub, Scan(case, sub))  # another visit, which has a case
        scans.append(Scan(case, other.person, group=other.group, left_out=f"failed: {reason}"))
    rows = statistics(scans, effects_percent)
    remarks += _remarks(scans)
    write_table(folder / CASES, CASE_COLUMNS, (scan.row() for scan in scans))
    write_table(folder / STATISTICS, STATISTIC_COLUMNS, rows)
    footer = "Areas of one model and contrast are compared, not those of other programs."
    write_text(folder / PAGE, html_page(_HEADING, _sections(scans, rows, remarks), footer))
    return remarks


# Which case is whose.


def cohort_scans(work: WorkList, people: Path | None = None) -> tuple[list[Scan], list[str]]:
    """Every case with person, group, site and session, its areas, and why it is left out; and what is doubtful."""
    scans = [_scan(item) for item in work.items]
    remarks: list[str] = []
    if people is not None:
        scans, remarks = _with_table(scans, people)
    of_person, of_patient = dict[str, Scan](), dict[str, Scan]()
    for scan in scans:
        identity = _identity(scan)
        one = of_person.setdefault(scan.person, scan)
        if differ := differing(_identity(one), identity):
            remarks.append(f"{one.case} and {scan.case} are {scan.person}, but their headers state another {differ[0]}")
        one = of_patient.setdefault(identity.patient_id, scan) if identity and identity.patient_id else scan
        if one.person != scan.person:
            remarks.append(f"{one.case} and {scan.case} have one patient ID, but are {one.person} and {scan.person}")
    known = [who for scan in scans if scan.person.startswith("patient ") and (who := _identity(scan))]
    if len({who.salt for who in known}) > 1:
        remarks.append("cases of several users: their patients cannot be compared, and may count twice; give --people")
    first: dict[str, int] = {}
    for n, scan in sorted(enumerate(scans), key=lambda one: not one[1].is_reviewed):
        if scan.content is not None and not scan.left_out and (mark := scan.content.input.fingerprint):
            other = scans[m := first.setdefault(mark, n)]
            if other is scan:
                continue
            scans[n] = replace(scan, left_out=f"the same image as {other.case}")
            if scan.person != other.person and scan.person != scan.case and other.person != other.case:
                whose = f"one image under two persons, {other.case} and {scan.case}: whose is it?"
                scans[n], scans[m] = replace(scan, left_out=whose), replace(other, left_out=whose)
    lines = Counter(scan.line for scan in scans if not scan.left_out).most_common()
    for n, scan in enumerate(scans):
        if not scan.left_out and scan.line != lines[0][0]:
            scans[n] = replace(scan, left_out=f"{scan.line}: its areas are not those of {lines[0][0]}")
    return _with_z(scans), remarks[:_MOST_NAMED] + ["…"] * (len(remarks) > _MOST_NAMED)


def _identity(scan: Scan) -> Identity | None:
    return None if scan.content is None else scan.content.input.identity


def _scan(item: WorkItem) -> Scan:
    case = item.content
    if case is None:
        return Scan(item.case, item.case, left_out=item.problem)
    text = f"{case.input.source if case.input.source != '…' else ''}/{case.name}"
    found = {name: match[1] for name, one in _BIDS.items() if (match := one.search(text))}
    if "sub" in found:  # of several data sets, each has its own sub-01
        found["sub"] = text[: text.index(found["sub"])].lstrip("/") + found["sub"]
    identity = case.input.identity
    hashed = f"patient {identity.patient_id[:8]}" if identity is not None and identity.patient_id else item.case
    left_out = "rejected in review" if case.review.state == REJECTED else ""
    if not left_out and not is_as_measured(case):
        left_out = "the mask was changed after it was measured"
    left_out = left_out or ("" if case.volume_mm3 else "no cord was found")
    levels = {} if case.levels is None else {row.name: row.mean_csa_mm2 for row in case.levels.rows}
    return Scan(
        item.case, found.get("sub", hashed), case, site=case.scanner, session=found.get("ses", ""), left_out=left_out,
        areas=(levels.get("C2-C3", nan), case.mean_csa_mm2),
    )  # fmt: skip


def _with_table(scans: list[Scan], people: Path) -> tuple[list[Scan], list[str]]:
    rows, unknown, columns = dict[int, dict[str, Any]](), list[str](), dict[str, str]()
    for line, row in read_table(people):
        columns |= row
        name = next((row[column] for column in (*INPUT_COLUMNS, *_TABLE["person"]) if row.get(column)), "")
        if not name:
            named = ", ".join((*INPUT_COLUMNS, *_TABLE["person"]))
            raise ConfigurationError(f"{people.name}, line {line}: no case or person named, in a column {named}")
        of_cases = [n for n, scan in enumerate(scans) if _is_named(scan, path_parts(name))]
        if len(of_cases) > 1:
            both = " or ".join(scans[n].case for n in of_cases[:2])
            raise ConfigurationError(f"{people.name}, line {line}: {name} may be {both}: write more of the path")
        person = name.casefold().removeprefix("sub-")
        codes = (scan.person.casefold() for scan in scans)
        meant = of_cases or [
            n for n, code in enumerate(codes) if person in (code, code.rpartition("/")[2].removeprefix("sub-"))
        ]
        if not meant:
            unknown.append(name)
        if len(persons := sorted({scans[n].person for n in meant})) > 1:
            raise ConfigurationError(f"{people.name}, line {line}: {name} may be {' or '.join(persons)}: write it so")
        given = {field: next(filter(None, map(row.get, names)), "") for field, names in _TABLE.items()}
        given = {field: text for field, text in given.items() if text.lower() not in MISSING_WORDS}
        session = given.get("session", "").removeprefix("ses-")
        if session and not of_cases and any(scans[n].session for n in meant):  # a row a session of a person
            meant = [n for n in meant if scans[n].session.removeprefix("ses-") == session]
            unknown += [f"{name} {given['session']}"] * (not meant)
            given = {field: text for field, text in given.items() if field != "session"}
        for n in meant:
            there = rows.setdefault(n, {})
            if any(there.get(field, text) != text for field, text in given.items()) or (of_cases and there):
                raise ConfigurationError(f"{people.name}, line {line}: {scans[n].case} has a row above")
            there |= given or {"group": ""}
    found = [replace(scan, **rows.get(n, {})) for n, scan in enumerate(scans)]
    of_person: dict[str, str] = {}
    for scan in found:
        if scan.group and of_person.setdefault(scan.person, scan.group) != scan.group:
            raise ConfigurationError(f"{people.name}: {scan.person} is in two groups, of {scan.case} and another case")
    found = [replace(scan, group=of_person.get(scan.person, "")) for scan in found]
    missing = [scan.case for n, scan in enumerate(scans) if n not in rows]
    known = {*INPUT_COLUMNS, *(name for names in _TABLE.values() for name in names)}
    unused = [] if known & {*_TABLE["group"]} & {*columns} else sorted({*columns} - known)
    texts = (
        (unknown, f"in {people.name}, but no finished case"),
        (missing, f"cases that {people.name} does not name"),
        (unused, f"{people.name} has no column group; columns that are not used"),
    )
    return found, [f"{what} ({len(names)}): {_named(names)}" for names, what in texts if names]


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + " …" * (len(names) > _MOST_NAMED)


def _is_named(scan: Scan, key: tuple[str, ...]) -> bool:
    """Whether a row's name is the case's name, the end of its input, or an absolute path that ends with that."""
    source = "" if scan.content is None else scan.content.input.source
    own = path_parts(source) if source not in ("", "…") else ()
    is_whole = len(own) > 1 and key[-len(own) :] == own
    return is_whole or key in ((scan.case.casefold(),), own[-len(key) :])


def _with_z(scans: list[Scan]) -> list[Scan]:
    z = np.full((len(scans), len(MEASURES)), nan)
    for m in range(len(MEASURES)):
        used = [n for n, scan in enumerate(scans) if not scan.left_out and isfinite(scan.areas[m])]
        of_all = dict(zip(used, robust_z([scans[n].areas[m] for n in used]), strict=True))
        for group in {scan.group for scan in scans}:
            own = [n for n in used if scans[n].group == group]
            is_enough = len(own) >= _ENOUGH_IN_GROUP
            z[own, m] = robust_z([scans[n].areas[m] for n in own]) if is_enough else [of_all[n] for n in own]
    return [replace(scan, z=tuple(row)) for scan, row in zip(scans, z.tolist(), strict=True)]


# The statistics, one row each.

Values = dict[str, list[float]]


def statistics(scans: Sequence[Scan], effects_percent: Sequence[float] = EFFECTS_PERCENT) -> list[dict[str, Any]]:
    """Rows by STATISTIC_COLUMNS, of the scans that are not left out and have the area."""
    rows: list[dict[str, Any]] = []
    for m, measure in enumerate(MEASURES):
        used = [scan for scan in scans if not scan.left_out and isfinite(scan.areas[m])]

        def add(name: str, found: Estimate, of: Iterable[Sequence[float]], measure: str = measure, **more: Any) -> None:
            sizes = [len(values) for values in of]
            ends = {"low_95": rounded(found.low, 4), "high_95": rounded(found.high, 4)}
            about = {"n_cases": sum(sizes), "n_persons": len(sizes), "value": rounded(found.value, 4)}
            rows.append({"measure": measure, "statistic": name} | more | about | ends)

        everybody = _by_person(used, m)
        groups = {name: _by_person([s for s in used if s.group == name], m) for name in sorted({s.group for s in used})}
        sites = {name: _by_person([s for s in used if s.site == name], m) for name in sorted({s.site for s in used})}
        if not everybody:
            continue
        parts = [({}, everybody), *(({"group": name}, part) for name, part in groups.items() if name)]
        parts += [({"site": name}, part) for name, part in sites.items() if name and len(sites) > 1]
        for about, part in parts:
            means = np.array([np.mean(values) for values in part.values()])
            median, sd = float(np.median(means)), float(means.std(ddof=1)) if len(means) > 1 else nan
            robust_sd = 1.4826 * float(np.median(np.abs(means - median))) if len(means) > 1 else nan
            add("mean", mean_of(means), part.values(), **about)
            add("sd", sd_of(sd, len(means) - 1), part.values(), **about)
            for name, value in (
                ("median", median), ("robust_sd", robust_sd),
                ("minimum", float(means.min())), ("maximum", float(means.max())),
            ):  # fmt: skip
                add(name, Estimate(value), part.values(), **about)
        for one, other in combinations([name for name in groups if name], 2):
            pair = [[float(np.mean(v)) for v in groups[name].values()] for name in (one, other)]
            both, about = [*groups[one].values(), *groups[other].values()], {"group": f"{one} - {other}"}
            found = difference_of_means(*pair)
            add("difference", found, both, **about)
            add("difference_percent", found.times(100 / float(np.mean(pair[1]))), both, **about)
        _add_repeats(used, m, add)
        sd, df = _sd_of_one_scan(everybody, groups)
        mean = float(np.mean([np.mean(values) for values in everybody.values()]))
        for effect in effects_percent:
            for power in (0.8, 0.9):
                spread = sd_of(sd, df)
                sizes = [sample_size(one, effect / 100 * mean, power) or nan for one in (sd, spread.low, spread.high)]
                add("n_per_group", Estimate(*sizes), everybody.values(), effect_percent=effect, power=power)
    return rows


def _by_person(scans: Iterable[Scan], m: int) -> Values:
    found: Values = {}
    for scan in scans:
        found.setdefault(scan.person, []).append(scan.areas[m])
    return found


def _repeats(scans: Iterable[Scan]) -> list[Scan]:
    """Of each person with several scans of one day or session those of the one with most; the others are visits."""
    found, most = dict[tuple[str, str], list[Scan]](), dict[str, list[Scan]]()
    for scan in scans:
        for occasion in sorted(scan.occasions):
            found.setdefault((scan.person, occasion), []).append(scan)
    for (person, _), own in found.items():
        if len(own) > max(1, len(most.get(person, ()))):
            most[person] = own
    return [scan for own in most.values() for scan in own]


def _add_repeats(scans: Sequence[Scan], m: int, add: Callable[..., None]) -> None:
    used = _repeats(scans)
    repeated = _by_person(used, m)
    if not repeated:
        return
    add("cov_percent", rms_cov_percent(repeated.values()), repeated.values())
    cells: dict[tuple[str, str], list[float]] = {}
    for scan in used:
        cells.setdefault((scan.person, scan.site), []).append(scan.areas[m])
    same = [values for (_, site), values in cells.items() if site and len(values) > 1]
    if same and len(same) != len(repeated):
        add("cov_percent", rms_cov_percent(same), same, site="one scanner")
    occasions, table = _occasions(used, m)
    for name, found in icc(table).items():
        if occasions or name == "1,1":  # without names nothing tells one occasion from another
            add(f"icc_{name.replace(',', '_')}", found, table, site=occasions)


def _occasions(scans: Sequence[Scan], m: int) -> tuple[str, list[list[float]]]:
    """What the occasions are called ("session", "site", "" for no names), and the areas (persons × occasions) of those
    who have all of the most common set."""
    for name in ("session", "site"):
        found: dict[str, dict[str, float]] = {}
        for scan in scans:
            found.setdefault(scan.person, {})[getattr(scan, name)] = scan.areas[m]
        if sum(map(len, found.values())) == len(scans) and all("" not in own for own in found.values()):
            common = Counter(frozenset(own) for own in found.values()).most_common(1)[0][0]
            return name, [[own[key] for key in sorted(common)] for own in found.values() if own.keys() >= common]
    by_person = _by_person(scans, m)
    k = Counter(map(len, by_person.values())).most_common(1)[0][0]
    return "", [values for values in by_person.values() if len(values) == k]


def _sd_of_one_scan(everybody: Values, groups: dict[str, Values]) -> tuple[float, int]:
    """The SD between persons within their groups, for one scan each, and its degrees of freedom: the variance of the
    persons' means, and of that within persons what their mean took away."""
    between, df = within_sd([[np.mean(values) for values in part.values()] for part in groups.values()])
    within, n = within_sd(everybody.values())
    lost = 1 - float(np.mean([1 / len(values) for values in everybody.values()]))
    return sqrt(between**2 + (lost * within**2 if n else 0.0)), df


# The page.


def _remarks(scans: Sequence[Scan]) -> list[str]:
    used = [scan for scan in scans if not scan.left_out and scan.content is not None]
    cases = [scan.content for scan in used if scan.content is not None]
    partial = [
        scan.case for scan, case in zip(used, cases, strict=True) for row in (case.levels.rows if case.levels else ())
        if row.name == "C2-C3" and row.coverage < _WHOLE_COVERAGE
    ]  # fmt: skip
    shares = [case.imputed_share for case in cases if case.imputed_share > 0]
    persons = counted(len({scan.person for scan in used}), "person")
    counts = (
        (sum(not scan.is_reviewed for scan in used), f"of {counted(len(used), 'case')} nobody has reviewed; the figures"
         " hold them, drawn hollow"),
        (sum(not isfinite(scan.areas[0]) for scan in used), f"of {len(used)} have no area C2-C3, as no disc is known"),
        (sum(case.discs_from == "found, not confirmed" for case in cases), f"of {len(used)} have discs that the program"
         " found and nobody confirmed"),
        (len(shares), f"of {len(used)} have imputed slices, up to {100 * max(shares, default=0):.0f} % of a case: no"
         " area here holds one"),
        (sum(n > 1 for n in Counter(scan.person for scan in used).values()), f"of {persons} have several cases: the"
         " mean of each person counts"),
        (sum(n > 1 for n in Counter(scan.person for scan in used if scan.occasions == {""}).values()), f"of {persons}"
         " have several scans of unknown day and session, taken for repeats: a column session (--people) tells visits"),
    )  # fmt: skip
    found = [f"{n} {text}" for n, text in counts if n]
    if n := len(scans) - len(used):
        named = _named([scan.case for scan in scans if scan.left_out])
        found.append(f"{counted(n, 'case')} left out, see the table of cases: {named}")
    if n := len(_outliers(scans)):
        found.append(f"the figures hold {counted(n, 'outlier')}: look at them, and reject what is wrong")
    if partial:
        found.append(f"C2-C3 is not wholly covered in {_named(partial)}")
    for field in ("person", "group"):
        spellings: dict[str, set[str]] = {}
        for name in {getattr(scan, field) for scan in used}:
            spellings.setdefault(name.casefold().removeprefix("sub-").lstrip("0"), set()).add(name)
        if alike := [" and ".join(sorted(names)) for names in spellings.values() if len(names) > 1]:
            found.append(f"{', '.join(alike)} count as different {field}s, and differ only in capitals or zeros")
    sites = {group: {scan.site for scan in used if scan.group == group} for group in {scan.group for scan in used}}
    for one, other in combinations(sorted(filter(None, sites)), 2):
        if not sites[one] & sites[other]:
            found.append(f"{one} and {other} have no scanner in common: their difference may be the scanners'")
    if any(not scan.site for scan in used):
        found.append("the scanner of some cases is not known: areas differ by 2 to 3 % between scanners")
    return found


def _outliers(scans: Sequence[Scan]) -> list[tuple[str, str]]:
    """Case and text, the farthest first."""
    found = []
    for scan in sorted(scans, key=lambda scan: -np.nanmax(np.abs([0.0, *scan.z]))):
        far = zip(MEASURES.values(), scan.areas, scan.z, strict=True)
        if texts := [f"{title} {area:.1f} mm², robust z {z:+.1f}" for title, area, z in far if abs(z) > OUTLIER_Z]:
            found.append((scan.case, "; ".join(texts)))
    return found


def _sections(scans: Sequence[Scan], rows: Sequence[dict[str, Any]], remarks: Sequence[str]) -> list[Section]:
    found = [Section("boxes", items=_boxes(scans, rows))]
    if remarks:
        found.append(Section("flags", "To be known first", [("", text) for text in remarks]))
    note = (
        "Each mark is a case, each colour a scanner or site. Hollow: not reviewed by a person. Cross: left out. Orange"
        f" ring and name: outlier (robust z beyond ±{OUTLIER_Z}). Bar: mean of the persons with its 95 % interval."
    )
    for m, title in enumerate(MEASURES.values()):
        if any(isfinite(scan.areas[m]) for scan in scans):
            picture = partial(draw_areas, scans=scans, m=m)
            found.append(Section("picture", title[0].upper() + title[1:], note=note, picture=picture))
    outliers = _outliers(scans)
    clear = [f"No case has a robust z beyond ±{OUTLIER_Z} (cases with too few to compare have none)."]
    found.append(Section("flags", "Outliers: look at these", outliers) if outliers else Section("clear", items=clear))
    found += _tables(rows)
    titles = ("case", "person", "group", "site", "C2-C3, mm²", "z", "covered", "discs", "whole, mm²", "z", "imputed",
              "review", "left out")  # fmt: skip
    names = ("case", "person", "group", "site", "c2_c3_mean_csa_mm2", "c2_c3_robust_z", "c2_c3_coverage", "disc",
             "mean_csa_mm2", "robust_z", "imputed_share", "review_state", "left_out")  # fmt: skip
    table = [[_cell(row[name], name) for name in names] for row in (scan.row() for scan in scans)]
    marked = {n for n, scan in enumerate(scans) if scan.left_out}
    found.append(Section("table", f"Cases ({len(scans)})", table, "Marked: left out.", titles, marked, folded=True))
    found.append(Section("entries", "Method", _METHOD, folded=True))
    return found


def _cell(value: Any, name: str = "") -> str:
    if value is None or value == "":
        return "–"
    if name in ("c2_c3_coverage", "imputed_share"):
        return f"{100 * value:.0f} %"
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _interval(row: dict[str, Any], form: str = "{:.1f}") -> str:
    if row["value"] is None:
        return "–"
    text = form.format(row["value"])
    ends = row["low_95"], row["high_95"]
    return text if None in ends else f"{text} ({form.format(ends[0])} to {form.format(ends[1])})"


def _boxes(scans: Sequence[Scan], rows: Sequence[dict[str, Any]]) -> list[tuple[str, str, str]]:
    used = [scan for scan in scans if not scan.left_out]
    persons = counted(len({scan.person for scan in used}), "person")
    boxes = [("Cases", str(len(used)), f"of {persons}; {len(scans) - len(used)} left out")]
    of_all = {(row["measure"], row["statistic"]): row for row in rows if not row.keys() & {"group", "site", "power"}}
    for measure, title in MEASURES.items():
        if row := of_all.get((measure, "mean")):
            ends = f", 95 % interval {row['low_95']:.1f} to {row['high_95']:.1f}" if row["low_95"] is not None else ""
            of = counted(row["n_persons"], "person")
            boxes.append((title[0].upper() + title[1:], f"{row['value']:.1f} mm²", f"of {of}{ends}"))
        if row := of_all.get((measure, "cov_percent")):
            of = f"{counted(row['n_cases'], 'scan')} of {counted(row['n_persons'], 'person')}"
            boxes.append((f"CoV of repeats, {title.removeprefix('mean ')}", f"{row['value']:.2f} %", of))
    return boxes


def _tables(rows: Sequence[dict[str, Any]]) -> list[Section]:
    def of(*names: str, **wanted: bool) -> list[dict[str, Any]]:
        return [row for row in rows if row["statistic"] in names and all((k in row) == v for k, v in wanted.items())]

    found: list[Section] = []

    def add(title: str, heads: Sequence[str], table: list[list[str]], note: str) -> None:
        if table:
            found.append(Section("table", title, table, note, heads))

    for field, title in (("group", "Groups"), ("site", "Scanners or sites")):
        table = []
        for row in of("mean", **{field: True}) or (of("mean", group=False, site=False) if field == "group" else []):
            keys = {key: row.get(key) for key in ("measure", "group", "site")}
            about = {one["statistic"]: one for one in rows if all(one.get(key) == value for key, value in keys.items())}
            median, low, high = (f"{about[name]['value']:.1f}" for name in ("median", "minimum", "maximum"))
            cells = [row.get(field) or "all", MEASURES[row["measure"]], str(row["n_persons"]), str(row["n_cases"])]
            table.append([*cells, _interval(row), _interval(about["sd"]), median, f"{low} to {high}"])
        add(
            title, (field, "", "persons", "cases", "mean, mm² (95 %)", "SD, mm² (95 %)", "median", "range"), table,
            "Not adjusted for age, sex or scanner. The whole cord's area depends on how much of it was scanned too.",
        )  # fmt: skip
    pairs = [
        [row["group"], MEASURES[row["measure"]], _interval(row, "{:+.1f}"), _interval(percent, "{:+.1f}")]
        for row, percent in zip(of("difference"), of("difference_percent"), strict=True)
    ]
    heads = ("groups", "", "difference, mm² (95 %)", "% of the second (95 %)")
    add("Differences between groups", heads, pairs, "Intervals by Welch.")
    titles = {"cov_percent": "CoV, %", "icc_1_1": "ICC(1,1)", "icc_2_1": "ICC(2,1)", "icc_3_1": "ICC(3,1)"}
    repeats = []
    for row in of(*titles):
        name = ", ".join(filter(None, (titles[row["statistic"]], row.get("site"))))
        sizes = str(row["n_persons"]), str(row["n_cases"])
        repeats.append([name, MEASURES[row["measure"]], _interval(row, "{:.2f}"), *sizes])
    add(
        "Repeated scans", ("", "", "value (95 %)", "persons", "scans"), repeats,
        "Scans of a person on one day or in one session; where neither is known, all scans. Where scanners or sequences"
        " differ, that is in it.",
    )  # fmt: skip
    needed = [
        [f"{row['effect_percent']:g} %", f"{100 * row['power']:.0f} %", MEASURES[row["measure"]],
         _interval(row, "{:.0f}")]
        for row in of("n_per_group") if row["value"] is not None
    ]  # fmt: skip
    add(
        "Persons in each of two groups", ("difference", "power", "", "persons (95 %)"), needed,
        "One scan each, two-sided test at 5 %; the interval is that of the SD. Add who will drop out.",
    )  # fmt: skip
    return found


_METHOD = (
    ("Unit", "a person counts once in means, with the mean of the person's scans; outliers are cases"),
    ("Left out", "rejected, failed and unreadable cases, masks changed since, a second case of one image, and what"
     " another model or contrast than the most common has drawn. Imputed slices are no part of any area"),
    ("Outliers", "robust z = (x − median)/(1.4826·MAD) in the group, in all cases where it has fewer than 10; limit 3.5"
     " (Iglewicz and Hoaglin 1993)"),
    ("Intervals", "95 %; means by Student's t, differences by Welch (1947), SD and CoV by chi-square"),
    ("CoV", "root mean square over persons, by degrees of freedom (Glüer et al. 1995)"),
    ("ICC", "single measurements (Shrout and Fleiss 1979; interval of ICC(2,1): McGraw and Wong 1996): persons with all"
     " sessions, or all scanners, of the most common set; ICC(1,1) alone where neither has a name"),
    ("Persons needed", "2·((z(0.975) + z(power))·SD/difference)² + z(0.975)²/4 (Guenther 1981); SD between persons"
     " within groups, for one scan each"),
)  # fmt: skip
_COLOURS = (CURVE, "#4c8a5a", "#8a4fa3", "#0f8b8d", "#a0740a", "#5b6875", "#b3261e", "#7a8a2a")


def draw_areas(axes: Axes, scans: Sequence[Scan], m: int) -> None:
    """Every case's area by group, or by scanner where there are no groups, with the mean of the persons."""
    shown = [scan for scan in scans if isfinite(scan.areas[m])]
    by = "group" if any(scan.group for scan in shown) else "site"
    names, sites = (sorted({getattr(scan, field) for scan in shown}) for field in (by, "site"))
    colours = {site: _COLOURS[n % len(_COLOURS)] for n, site in enumerate(sites)}
    for at, name in enumerate(names):
        own = [scan for scan in shown if getattr(scan, by) == name]
        mean = mean_of([np.mean(values) for values in _by_person((s for s in own if not s.left_out), m).values()])
        axes.plot([at - 0.36, at + 0.36], [mean.value] * 2, color=INK, linewidth=1.6)
        axes.plot([at + 0.36] * 2, [mean.low, mean.high], color=INK, linewidth=1.6)
    order = np.argsort([scan.areas[m] for scan in shown])
    scatter = np.empty(len(shown))  # of neighbours in area far apart, whatever their number
    scatter[order] = (np.arange(len(shown)) * 0.618034) % 1
    x = np.array([names.index(getattr(scan, by)) for scan in shown]) + 0.56 * (scatter - 0.5)
    y, colour = np.array([scan.areas[m] for scan in shown]), np.array([colours[scan.site] for scan in shown])
    face = np.where([scan.is_reviewed for scan in shown], colour, "white")
    is_out = np.array([bool(scan.left_out) for scan in shown])
    is_far = ~is_out & (np.abs([scan.z[m] for scan in shown]) > OUTLIER_Z)
    axes.scatter(x[~is_out], y[~is_out], 30, edgecolors=colour[~is_out], facecolors=face[~is_out], zorder=3)
    axes.scatter(x[is_out], y[is_out], 30, marker="x", color=QUIET)
    axes.scatter(x[is_far], y[is_far], 100, facecolors="none", edgecolors=FLAG, linewidths=1.5, zorder=3)
    for n in np.flatnonzero(is_far).tolist():
        side, away = ("left", 8) if x[n] > round(x[n]) else ("right", -8)
        axes.annotate(
            shown[n].case, (x[n], y[n]), (away, 0), textcoords="offset points", fontsize=8, color=FLAG,
            ha=side, va="center",
        )  # fmt: skip
    axes.set_xticks(range(len(names)), [fill(name or f"{by} not known", 18) for name in names])
    axes.set_xlim(-0.6, len(names) - 0.4)
    if by == "group" and len(sites) > 1:
        marks = [axes.plot([], [], "o", color=colour, markersize=5)[0] for colour in colours.values()]
        axes.legend(marks, [site or "not known" for site in sites], fontsize=7, frameon=False)
    style_axes(axes, "", "area, mm²")
