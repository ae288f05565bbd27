"""Discs, age and sex of the inputs of a batch, from one table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PureWindowsPath

from SpinalCordSegLib.case import Case
from SpinalCordSegLib.disc_files import read_discs
from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.files import file_stem, read_table
from SpinalCordSegLib.vertebral_levels import DiscMark, LevelOptions, parse_disc

SUFFIXES = (".csv", ".tsv")
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


def is_measured_as(case: Case, asked: LevelOptions) -> bool:
    """Whether a finished case has the levels that are ``asked``, so that it need not be made again."""
    if asked == LevelOptions(find=asked.find):
        return True
    had = case.levels_asked
    if had is None or (had.around_mm, had.declared) != (asked.around_mm, asked.declared):
        return False
    marks = [replace(mark, from_points=False) for mark in asked.discs]
    if marks and (had.automatic or marks != list(had.discs)):
        return False
    if asked.age_years is None and asked.sex is None:
        return True
    norm = (case.levels and case.levels.norm) or {}  # holds the band of ages alone, which is all that counts
    low, _, high = norm.get("band_years", "").partition("-")
    return bool(low) and norm["sex"] == asked.sex and float(low) <= (asked.age_years or -1.0) < float(high)
