"""A table that names the cases: one row each, paths relative to the table."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from SpinalCordSegLib.errors import TrainingDataError
from SpinalCordSegLib.writing import is_plain_name
from SpinalCordSegTrainerLib.datasets.case import Case, MatchedFiles, session_of, stem, subject_of

SUFFIXES = (".csv", ".tsv")
_NAMES = {
    "image": ("image", "image_path", "volume"),
    "label": ("label", "label_path", "segmentation", "mask", "seg"),
    "name": ("name", "case"),
    "subject": ("subject", "patient", "participant_id", "subject_id"),
    "session": ("session", "visit", "session_id"),
    "label_value": ("label_value", "value"),
    "series": ("series",),
}


def read_manifest(path: Path) -> MatchedFiles:
    """Columns ``image`` and ``label``; further ones: ``name``, ``subject``, ``session``, ``label_value`` (the cord's),
    ``series`` (of a DICOM folder). All others (site, scanner, …) are kept as facts. Rows that cannot be a case are
    problems.

    Raises TrainingDataError when the table cannot be read, lacks a column or holds no row.
    """
    rows = read_table(path)
    columns = _columns(path, rows[0][1] if rows else {})
    cases: dict[str, Case] = {}
    problems: list[tuple[Path, str]] = []
    images: dict[tuple[Path, str | None], str] = {}
    for line, row in rows:
        try:
            case = _case(path, row, columns)
            if case.name in cases:
                raise TrainingDataError(f"another row is called {case.name} too; give a column name")
            if (case.image, case.series) in images:
                raise TrainingDataError(f"row {images[case.image, case.series]} names the same image; keep one")
        except TrainingDataError as error:
            problems.append((path.parent / row.get(columns["image"], ""), f"{path.name}, line {line}: {error}"))
            continue
        cases[case.name] = case
        images[case.image, case.series] = case.name
    return MatchedFiles(tuple(cases.values()), tuple(problems))


def read_table(path: Path) -> list[tuple[int, dict[str, str]]]:
    """(line number, row) of a table whose first line names its columns (in lower case here); empty rows are left out.

    Raises TrainingDataError when it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise TrainingDataError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise TrainingDataError(f"{path.name} is not UTF-8 text; save the table as CSV UTF-8") from error
    head = text.partition("\n")[0]
    delimiter = max("\t;,", key=head.count)
    reader = csv.DictReader(text.splitlines(), delimiter=delimiter)
    try:
        return [(reader.line_num, cells) for cells in map(_cells, reader) if any(cells.values())]
    except csv.Error as error:
        raise TrainingDataError(f"{path.name}, line {reader.line_num}: {error}; save the table as CSV UTF-8") from error


def _cells(row: dict[str, str | None]) -> dict[str, str]:
    return {name.strip().lower(): (value or "").strip() for name, value in row.items() if isinstance(name, str)}


def _columns(path: Path, row: dict[str, str]) -> dict[str, str]:
    found = {kind: next((name for name in names if name in row), "") for kind, names in _NAMES.items()}
    missing = [kind for kind in ("image", "label") if not found[kind]]
    if missing:
        told = f"its columns are {', '.join(row)}" if row else "it holds no row"
        raise TrainingDataError(
            f"{path.name}: the column {missing[0]} is missing ({told}); a manifest needs image,label"
        )
    return found


def _case(path: Path, row: dict[str, str], columns: dict[str, str]) -> Case:
    cell = {kind: row.get(name, "") for kind, name in columns.items()}
    if not cell["image"] or not cell["label"]:
        raise TrainingDataError(f"the {'image' if not cell['image'] else 'label'} is missing")
    image, label = path.parent / cell["image"], path.parent / cell["label"]
    for one in (image, label):
        if not one.exists():
            raise TrainingDataError(f"{one.name} does not exist; check the path")
    if image == label:
        raise TrainingDataError("image and label are the same file")
    if cell["label_value"] and not _is_value(cell["label_value"]):
        raise TrainingDataError(f"label_value {cell['label_value']} is not a whole number")
    relative = Path(cell["image"])
    subject, session = cell["subject"] or subject_of(relative), cell["session"] or session_of(relative)
    unique = "_".join(part for part in (cell["subject"], cell["session"], stem(image)) if part)
    name = cell["name"] or unique
    if not is_plain_name(name):  # results are called so
        raise TrainingDataError(f'"{name}" cannot be the name of a case: leave out / and \\')
    return Case(
        name,
        subject,
        image,
        label,
        session,
        int(cell["label_value"]) if cell["label_value"] else None,
        (),
        cell["series"] or None,
        tuple(_facts(row, set(columns.values()))),
    )


def _is_value(text: str) -> bool:
    """A whole number that a label map can hold."""
    return text.isdecimal() and len(text) < 10


def _facts(row: dict[str, str], known: set[str]) -> Iterator[tuple[str, str]]:
    return ((name, value) for name, value in row.items() if name not in known and value)


def read_participants(folder: Path) -> dict[str, tuple[tuple[str, str], ...]]:
    """Subject → facts of a BIDS folder's participants.tsv; empty where there is none."""
    path = folder / "participants.tsv"
    if not path.is_file():
        return {}
    rows = (row for _, row in read_table(path))
    return {
        row["participant_id"].removeprefix("sub-"): tuple(_facts(row, {"participant_id"}))
        for row in rows
        if row.get("participant_id")
    }
