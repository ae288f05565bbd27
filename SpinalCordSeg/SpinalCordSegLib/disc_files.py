"""Discs read from files: label maps of discs, of levels along the cord or of vertebrae, markups, and tables of a batch.

The same numbers mean different things in different programs, so a map is recognised by what it holds: points, bodies,
and in which order their numbers run along the spine. An ambiguous file is refused with the two ways to name it, and an
implausible one with what does not fit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from math import isfinite
from pathlib import Path, PureWindowsPath

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from SpinalCordSegLib.errors import ConfigurationError, InputFileError
from SpinalCordSegLib.files import file_stem, read_table
from SpinalCordSegLib.image_io import read_labels
from SpinalCordSegLib.vertebral_levels import (
    DISC_NAMES,
    TEMPLATE_LENGTH_MM,
    DiscMark,
    LevelOptions,
    disc_number,
    parse_disc,
)
from SpinalCordSegLib.volume import Volume

DISCS, VERTEBRAE = "discs", "vertebrae"  # what the points of a label map are
_POINT_MM = 8.0  # larger in some direction: a body
_LEAST_RUN_MM = 4.0  # of a vertebral level along the cord
_MIDLINE_MM = 6.0  # of a vertebra: what lies further aside are joints
_FACING_MM = 3.0
_GAP_SCALE = (0.4, 1.8)  # between two discs, of the template's
# Vertebra (1 is C1 … 9 is T2) of a label in each program's map of vertebrae or of levels along the cord.
_SCHEMES: dict[str, Callable[[int], int]] = {
    "SCT": lambda label: label,
    "TotalSegmentator vertebrae_mr": lambda label: 26 - label,
    "TotalSpineSeg": lambda label: 8 if label == 21 else label - 10 if 11 <= label <= 17 else 0,
    "TotalSpineSeg of 2024": lambda label: 42 - label,
}
_SPINESEG_DISCS = range(60, 101)  # labels that TotalSpineSeg alone has beside its vertebrae
_NAMES, _LENGTHS_MM = list(TEMPLATE_LENGTH_MM), np.array(list(TEMPLATE_LENGTH_MM.values()))  # C1 … T1
_ENDS_MM = np.cumsum(_LENGTHS_MM)  # of each vertebra, along the template's cord from the upper end of C1


def read_discs(path: Path, points: str | None = None) -> tuple[DiscMark, ...]:
    """The discs C1/C2 to T1/T2 of a file: Slicer's markups (.json), or a label map of points (3 is the disc C2/C3),
    of levels filling the cord (SCT), or of vertebrae (TotalSegmentator vertebrae_mr, TotalSpineSeg, SCT's numbers).

    ``points``: what the points of a label map are, DISCS or VERTEBRAE (their middles, as SCT's vertebral levels); None:
    discs, marked so that they are refused later where they lie inside the cord, where both are possible.
    Raises as read_labels, InputFileError for damaged markups, and ConfigurationError where the file holds no discs or
    impossible ones.
    """
    undecided = False
    if path.name.lower().endswith(".json"):
        found = _of_markups(path)
    else:
        labels = read_labels(path)
        places = {int(n): _places(labels, n) for n in np.unique(labels.voxels) if n > 0}
        if all(np.ptp(mm, axis=0).max() <= _POINT_MM for mm in places.values()):
            undecided = points is None
            middles = {n: mm.mean(axis=0) for n, mm in places.items()}
            found = _between_middles(middles, path) if points == VERTEBRAE else middles
        else:
            found = _between_bodies(places, path)
    found = {n: found[n] for n in sorted(found) if n in DISC_NAMES}
    if not found:
        raise ConfigurationError(f"{path.name} holds no disc: labels 2 (C1/C2) to 9 (T1/T2) are expected")
    _check(found, path)
    return tuple(
        DiscMark(n, ras_mm=(float(mm[0]), float(mm[1]), float(mm[2])), from_points=undecided) for n, mm in found.items()
    )


def _places(labels: Volume, number: int) -> NDArray[np.float64]:
    """(n, 3), RAS mm, of a label's voxels."""
    return np.argwhere(labels.voxels == number) @ labels.voxel_to_ras[:3, :3].T + labels.voxel_to_ras[:3, 3]


def _of_markups(path: Path) -> dict[int, NDArray[np.float64]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found: dict[int, NDArray[np.float64]] = {}
        for markup in content["markups"]:
            to_ras = [1, 1, 1] if markup.get("coordinateSystem", "LPS") in ("RAS", "0", 0) else [-1, -1, 1]
            for point in markup["controlPoints"]:
                place = np.array(point["position"], dtype=np.float64) * to_ras
                if point.get("positionStatus", "defined") != "defined":
                    continue
                if place.shape != (3,) or not np.isfinite(place).all():
                    raise ValueError("a position is not three numbers")
                number = disc_number(str(point["label"]))
                if number in found:
                    raise ConfigurationError(f"{path.name} holds disc {DISC_NAMES[number]} twice")
                found[number] = place
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputFileError(f"{path.name} cannot be read as markups of Slicer ({error})") from error
    return found


def _between_middles(middles: dict[int, NDArray[np.float64]], path: Path) -> dict[int, NDArray[np.float64]]:
    """Discs from points in the middle of vertebrae, by the template's lengths; half a vertebra beyond the last ones."""
    known = sorted(n for n in middles if 1 <= n <= len(_NAMES))
    if len(known) < 2:
        raise ConfigurationError(f"{path.name} holds the middle of {len(known)} vertebrae: at least 2 are needed")
    along = (_ENDS_MM - _LENGTHS_MM / 2)[np.array(known) - 1]
    ras = np.array([middles[n] for n in known])
    found = {}
    for disc in range(max(known[0], 2), known[-1] + 2):
        at = _ENDS_MM[disc - 2]
        i = int(np.clip(np.searchsorted(along, at) - 1, 0, len(known) - 2))
        share = (at - along[i]) / (along[i + 1] - along[i])
        found[disc] = ras[i] + share * (ras[i + 1] - ras[i])
    return found


def _between_bodies(places: dict[int, NDArray[np.float64]], path: Path) -> dict[int, NDArray[np.float64]]:
    """Discs between vertebrae, or between levels of the cord, whose numbers run as one of the programs has them."""
    best: dict[int, NDArray[np.float64]] = {}
    for name, vertebra_of in _SCHEMES.items():
        if name == "TotalSpineSeg" and not places.keys() & set(_SPINESEG_DISCS):
            continue
        bodies = {vertebra_of(n): mm for n, mm in places.items() if 1 <= vertebra_of(n) <= 9}
        heights = [bodies[n][:, 2].mean() for n in sorted(bodies)]
        if len(bodies) > max(1, len(best)) and all(upper > lower for upper, lower in pairwise(heights)):
            best = bodies
    if not best:
        raise ConfigurationError(
            f"{path.name}: its labels {', '.join(map(str, sorted(places)[:20]))} are neither discs (points) nor levels"
            " of the cord or vertebrae as SCT, TotalSegmentator (vertebrae_mr) or TotalSpineSeg number them"
        )
    if thin := [n for n, mm in best.items() if np.ptp(mm[:, 2]) < _LEAST_RUN_MM and n not in (min(best), max(best))]:
        raise ConfigurationError(f"{path.name}: level {thin[0]} is under {_LEAST_RUN_MM:g} mm high: is it a disc?")
    return {n: _facing(best[n - 1], best[n]) for n in sorted(best) if n - 1 in best}


def _facing(upper: NDArray[np.float64], lower: NDArray[np.float64]) -> NDArray[np.float64]:
    """The middle between two bodies where they face each other; of vertebrae, between what lies in front."""
    both = np.concatenate([upper, lower])
    middle, front = np.median(both[:, 0]), np.mean(both[:, 1])
    is_vertebra = np.ptp(both[:, 0]) > 25  # mm, wider than any cord
    ends = []
    for one in (upper, lower):
        kept = one[(np.abs(one[:, 0] - middle) < _MIDLINE_MM) & (one[:, 1] > front)] if is_vertebra else one
        ends.append(kept if len(kept) else one)
    apart = cKDTree(ends[1]).query(ends[0])[0]
    back = cKDTree(ends[0]).query(ends[1])[0]
    nearest = apart.min()
    sides = ends[0][apart <= nearest + _FACING_MM], ends[1][back <= nearest + _FACING_MM]
    return (sides[0].mean(axis=0) + sides[1].mean(axis=0)) / 2


def _check(found: dict[int, NDArray[np.float64]], path: Path) -> None:
    """Raises ConfigurationError where two discs lie as no spine has them."""
    for upper, lower in pairwise(found):
        gap = float(np.linalg.norm(found[upper] - found[lower]))
        expected = _LENGTHS_MM[upper - 1 : lower - 1].sum()
        low, high = (share * expected for share in _GAP_SCALE)
        if not (isfinite(gap) and low <= gap <= high and found[upper][2] > found[lower][2]):
            raise ConfigurationError(
                f"{path.name}: {DISC_NAMES[lower]} lies {gap:.0f} mm from {DISC_NAMES[upper]}, expected {low:.0f} to"
                f" {high:.0f} mm below it: are these labels discs?"
            )


# Discs, age and sex of the inputs of a batch, from one table.


TABLE_SUFFIXES = (".csv", ".tsv")
INPUT_COLUMNS = ("image", "file", "volume", "input", "case")
_DISC_COLUMN = re.compile(r"[ct]\d[/\-_ ]?[ct]\d")
_SEXES = {"m": "male", "f": "female"}


def levels_by_input(table: Path, inputs: Sequence[Path], common: LevelOptions) -> tuple[dict[Path, LevelOptions], str]:
    """What ``table`` asks for each of ``inputs``, beside what is ``common`` to all; and which rows name none of them
    and which inputs have no row, as a sentence, "" for none.

    A row names its input in a column image, file, volume, input or case: the end of the path, with or without suffix.
    It holds one disc (disc, and R_mm, A_mm, S_mm or slice), or any number in columns called after them ("C2/C3", as
    "R,A,S" or a slice), or a file of discs (discs, beside the table); optional age, sex. Raises ConfigurationError, and
    what ``read_table`` and ``read_discs`` raise.
    """
    rows: dict[tuple[str, ...], list[tuple[int, Mapping[str, str]]]] = {}
    for line, row in read_table(table):
        name = next((row[column] for column in INPUT_COLUMNS if row.get(column)), "")
        if not name:
            raise ConfigurationError(
                f"{table.name}, line {line}: no input named, in a column {', '.join(INPUT_COLUMNS)}"
            )
        rows.setdefault(path_parts(name), []).append((line, row))
    found, taken = {}, dict[tuple[str, ...], Path]()
    for path in inputs:
        parts = path_parts(str(path.absolute()))
        keys = [key for key in rows if parts[-len(key) :] == key]
        key = max(keys, key=len, default=())
        if key in taken:
            raise ConfigurationError(
                f"{table.name}, line {rows[key][0][0]}: {'/'.join(key)} may be {taken[key]} or {path}: write more of"
                " the path"
            )
        if key:
            taken[key] = path
        found[path] = _with_rows(common, rows.get(key, ()), table)
    texts = []
    if left := ["/".join(key) for key in rows if key not in taken]:
        texts.append(f"{len(left)} names in {table.name} are no input: {', '.join(left[:10])}{' …' * (len(left) > 10)}")
    if n := len(inputs) - len(taken):
        texts.append(f"{n} of {len(inputs)} inputs are not in {table.name}")
    return found, "; ".join(texts)


def path_parts(text: str) -> tuple[str, ...]:
    """Of a path in either kind of slashes, without the suffix of a file and without capitals."""
    path = PureWindowsPath(text)  # takes both kinds of slash
    return *(part.casefold() for part in path.parts[:-1] if part != "."), file_stem(Path(path.name)).casefold()


def _with_rows(options: LevelOptions, rows: Sequence[tuple[int, Mapping[str, str]]], table: Path) -> LevelOptions:
    marks: list[DiscMark] = list(options.discs)
    for line, row in rows:
        try:
            marks += _marks(row, table.parent)
            age = _age(row["age"]) if row.get("age") else options.age_years
            sex = _SEXES.get(row.get("sex", "").lower(), row.get("sex", "").lower()) or options.sex
            if (options.age_years, options.sex) not in ((None, None), (age, sex)):
                raise ConfigurationError("another age or sex than in a row above for the same input")
            options = replace(options, age_years=age, sex=sex)
        except ConfigurationError as error:
            raise ConfigurationError(f"{table.name}, line {line}: {error}") from error
    return replace(options, discs=tuple(marks))


def _age(text: str) -> float:
    try:
        return float(text.replace(",", "."))
    except ValueError as error:
        raise ConfigurationError(f'"{text}" is not an age in years: give a number') from error


def _marks(row: Mapping[str, str], folder: Path) -> list[DiscMark]:
    name, point = row.get("disc", ""), [row.get(f"{axis}_mm", "").replace(",", ".") for axis in "ras"]
    places = {column: text for column, text in row.items() if text and _DISC_COLUMN.fullmatch(column)}
    if name and all(point):
        places[name] = ",".join(point)
    elif name and row.get("slice"):
        places[name] = row["slice"]
    elif any(point):
        raise ConfigurationError("a disc has a name (disc) and all of R_mm, A_mm and S_mm")
    elif name:  # as in the manifest of follow-up
        places["C2/C3"] = name
    marks = [parse_disc(f"{disc}={place}") for disc, place in places.items()]
    return [*marks, *(read_discs(folder / row["discs"]) if row.get("discs") else ())]
