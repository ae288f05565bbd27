"""The tables of a folder of cases: what their columns mean, and all of them as one workbook for spreadsheets."""

from __future__ import annotations

import csv
import zipfile  # noqa: TID251  (writes alone)
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from html import escape
from math import isfinite
from pathlib import Path

from SpinalCordSegLib import cohort
from SpinalCordSegLib.bids import PAM50_COLUMNS, pam50_rows
from SpinalCordSegLib.case import is_as_measured
from SpinalCordSegLib.case_folder import SUMMARY_COLUMNS
from SpinalCordSegLib.errors import OutputError
from SpinalCordSegLib.files import atomic_write
from SpinalCordSegLib.review import REJECTED
from SpinalCordSegLib.slice_table import columns
from SpinalCordSegLib.work_list import (
    HISTORY_COLUMNS,
    LEVEL_COLUMNS,
    REVIEW_COLUMNS,
    WorkList,
    history_rows,
    level_rows,
    review_rows,
    write_table,
)

TABLES: Mapping[str, Mapping[str, str]] = {
    "summary.csv": SUMMARY_COLUMNS,
    "levels.csv": LEVEL_COLUMNS,
    "review.csv": REVIEW_COLUMNS,
    "history.csv": HISTORY_COLUMNS,
    cohort.CASES: cohort.CASE_COLUMNS,
    cohort.STATISTICS: cohort.STATISTIC_COLUMNS,
    "pam50.csv": PAM50_COLUMNS,
}
"""By file: the meaning of each column, beside slices.csv, whose columns are SliceTable's."""
_UNITS = {"_mm2": "mm²", "_mm3": "mm³", "_mm": "mm", "seconds": "s"}
_MADE_BY = "docProps/app.xml"
"""What every spreadsheet program writes into a workbook, and we do not."""
_TEXTS = {
    "case", "level", "source", "reason", "model", "model_version", "software_version", "reviewer", "note", "person",
    "group", "site", "session", "Filename",
}  # fmt: skip
"""Columns that hold a text, also where it looks like a number."""


def unit_of(column: str) -> str:
    """By the end of the name; "" for none."""
    return next((unit for end, unit in _UNITS.items() if column.endswith(end)), "")


def write_tables(work: WorkList, folder: Path) -> None:
    """review.csv, history.csv, levels.csv and the dictionary columns.csv of the cases of ``work`` into ``folder``.
    Raises OutputError."""
    for name, rows in {"review.csv": review_rows, "history.csv": history_rows, "levels.csv": level_rows}.items():
        write_table(folder / name, TABLES[name], rows(work))
    meanings = [("slices.csv", one.name, one.unit, one.meaning) for one in columns()]
    for table, of_columns in TABLES.items():
        meanings += [(table, name, unit_of(name), text) for name, text in of_columns.items()]
    names = ("table", "column", "unit", "meaning")
    write_table(folder / "columns.csv", names, (dict(zip(names, row, strict=True)) for row in meanings))


def write_pam50_table(work: WorkList, path: Path) -> None:
    """One row for every slice of PAM50 that a case covers, all cases but rejected ones and those of which the mask was
    changed since. Raises OutputError."""
    cases = [item.content for item in work.items if item.content is not None and item.state != REJECTED]
    write_table(path, PAM50_COLUMNS, (row for case in cases if is_as_measured(case) for row in pam50_rows(case)))


def write_workbook(_work: WorkList, folder: Path) -> None:
    """tables.xlsx, with the tables that are in ``folder`` as sheets. A number is stored as one, so that no spreadsheet
    reads the point of 71.234 as its country's separator of thousands, or 12.3 as a day. Raises OutputError, also where
    a person saved the workbook since."""
    path = folder / "tables.xlsx"
    with suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as file:
        if _MADE_BY in file.namelist():
            raise OutputError(f"{path} was saved by another program and would be replaced: move it away")
    there = [folder / name for name in (*TABLES, "columns.csv") if (folder / name).is_file()]
    ids = range(1, len(there) + 1)
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types"><Default Extension="rels"'
        f' ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml"'
        f' ContentType="{_KIND}.worksheet+xml"/><Override PartName="/xl/workbook.xml"'
        f' ContentType="{_KIND}.sheet.main+xml"/></Types>',
        "_rels/.rels": _relations([("officeDocument", "xl/workbook.xml")]),
        "xl/_rels/workbook.xml.rels": _relations([("worksheet", f"worksheets/sheet{n}.xml") for n in ids]),
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>'
        + "".join(f'<sheet name="{there[n - 1].stem}" sheetId="{n}" r:id="rId{n}"/>' for n in ids)
        + "</sheets></workbook>",
    }
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in parts.items():
            file.writestr(name, _XML + text)
        for n in ids:
            with file.open(f"xl/worksheets/sheet{n}.xml", "w") as sheet:
                sheet.writelines(text.encode() for text in _sheet(there[n - 1]))


_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_KIND = "application/vnd.openxmlformats-officedocument.spreadsheetml"


def _relations(targets: Sequence[tuple[str, str]]) -> str:
    parts = [
        f'<Relationship Id="rId{n}" Type="{_OFFICE}/{kind}" Target="{target}"/>'
        for n, (kind, target) in enumerate(targets, 1)
    ]
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{"".join(parts)}</Relationships>'


def _sheet(table: Path) -> Iterator[str]:
    yield f'{_XML}<worksheet xmlns="{_MAIN}"><sheetViews><sheetView workbookViewId="0"><pane ySplit="1"'
    yield ' topLeftCell="A2" activePane="bottomLeft" state="frozen"/></sheetView></sheetViews><sheetData>'
    head: list[str] = []
    with table.open(encoding="utf-8-sig", newline="") as file:
        try:
            for row in csv.reader(file):
                head = head or row
                yield f"<row>{''.join(map(_cell, row, head))}</row>"
        except (UnicodeDecodeError, csv.Error) as error:
            raise OutputError(
                f"{table} is no longer CSV UTF-8, another program saved it so: tables.xlsx stays as it was until"
                f" {table.name} is saved as CSV UTF-8 or deleted"
            ) from error
    yield "</sheetData></worksheet>"


def _cell(text: str, column: str) -> str:
    if not text:
        return "<c/>"
    if column not in _TEXTS and _is_number(text):
        return f"<c><v>{float(text)!r}</v></c>"
    plain = "".join(letter for letter in text if letter.isprintable() or letter == "\n")
    return f'<c t="inlineStr"><is><t xml:space="preserve">{escape(plain)}</t></is></c>'


def _is_number(text: str) -> bool:
    try:
        return isfinite(float(text)) and "_" not in text
    except ValueError:
        return False
