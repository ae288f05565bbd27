"""The tables of a folder of cases: what their columns mean, and all of them as one workbook for spreadsheets."""

from __future__ import annotations

import csv
import io
import zipfile  # noqa: TID251  (writes alone)
from collections.abc import Mapping, Sequence
from contextlib import suppress
from html import escape
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from SpinalCordSegLib import cohort
from SpinalCordSegLib.case import SUMMARY_COLUMNS, Case, is_as_measured
from SpinalCordSegLib.errors import OutputError
from SpinalCordSegLib.files import atomic_write
from SpinalCordSegLib.review import REJECTED
from SpinalCordSegLib.slice_table import columns, rounded
from SpinalCordSegLib.vertebral_levels import pam50_vertebrae
from SpinalCordSegLib.work_list import (
    HISTORY_COLUMNS,
    LEVEL_COLUMNS,
    REVIEW_COLUMNS,
    WorkList,
    write_history_table,
    write_level_table,
    write_review_table,
    write_table,
)

PAM50_COLUMNS = {
    "Timestamp": "when the case was made, UTC",
    "SCT Version": "SpinalCordSeg and its version, which made this table in the Spinal Cord Toolbox's layout",
    "Filename": "the input below the folder that all inputs share, else the case's name",
    "Slice (I->S)": "slice of the PAM50 template, from inferior, from 0",
    "VertLevel": "vertebral level of the template there, 2 is C2",
    "DistancePMJ": "empty",
    "MEAN(area)": "csa_sct_mm2, linear between the slices around; empty beside an imputed one, as all below",
    "MEAN(angle_AP)": "angle_ap_deg",
    "MEAN(angle_RL)": "angle_rl_deg",
    "MEAN(diameter_AP)": "ap_ellipse_mm",
    "MEAN(diameter_RL)": "rl_mm",
    "MEAN(eccentricity)": "eccentricity",
    "MEAN(orientation)": "orientation_deg",
    "MEAN(solidity)": "solidity",
    "csa_mm2": "this program's own area, as in slices.csv",
}
"""Of pam50.csv: as ``sct_process_segmentation -normalize-PAM50 1 -perslice 1 -append 1`` has them."""
_OF_PAM50 = {
    "MEAN(area)": "csa_sct_mm2", "MEAN(angle_AP)": "angle_ap_deg", "MEAN(angle_RL)": "angle_rl_deg",
    "MEAN(diameter_AP)": "ap_ellipse_mm", "MEAN(diameter_RL)": "rl_mm", "MEAN(eccentricity)": "eccentricity",
    "MEAN(orientation)": "orientation_deg", "MEAN(solidity)": "solidity", "csa_mm2": "csa_mm2",
}  # fmt: skip
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
    "case",
    "level",
    "source",
    "reason",
    "model",
    "model_version",
    "software_version",
    "reviewer",
    "note",
    "person",
}
"""Columns that hold a text, also where it looks like a number."""


def unit_of(column: str) -> str:
    """By the end of the name; "" for none."""
    return next((unit for end, unit in _UNITS.items() if column.endswith(end)), "")


def write_tables(work: WorkList, folder: Path) -> None:
    """review.csv, history.csv, levels.csv and the dictionary columns.csv of the cases of ``work`` into ``folder``.
    Raises OutputError."""
    write_review_table(work, folder / "review.csv")
    write_history_table(work, folder / "history.csv")
    write_level_table(work, folder / "levels.csv")
    rows = [{"table": "slices.csv", "column": one.name, "unit": one.unit, "meaning": one.meaning} for one in columns()]
    for table, meanings in TABLES.items():
        for name, meaning in meanings.items():
            rows.append({"table": table, "column": name, "unit": unit_of(name), "meaning": meaning})
    write_table(folder / "columns.csv", rows[0], rows)


def pam50_rows(case: Case) -> list[dict[str, Any]]:
    """The case's measures at the whole slices of PAM50 that it covers, by PAM50_COLUMNS; [] where fewer than two discs
    are known. A value that would rest on an imputed slice or a gap is None."""
    rows = np.flatnonzero(np.isfinite(case.slices.pam50_slice))
    if len(rows) < 2:
        return []
    between = np.arange(rows[0], rows[-1] + 1)  # with gaps, which must not be bridged
    at = np.interp(between, rows, case.slices.pam50_slice[rows])
    slices = np.arange(np.ceil(at[0]), np.floor(at[-1]) + 1)
    measured = {}
    for name, column in _OF_PAM50.items():
        values = np.where(case.slices.is_imputed, np.nan, getattr(case.slices, column))[between]
        measured[name] = np.interp(slices, at, values).tolist()
    source = case.input.source
    about = {"Timestamp": case.created, "SCT Version": f"SpinalCordSeg {case.software_version}"}
    about["Filename"] = case.name if source in ("", "…") else source
    return [
        about
        | {"Slice (I->S)": int(slices[n]), "VertLevel": int(level)}
        | {name: rounded(values[n], 4) for name, values in measured.items()}
        for n, level in enumerate(pam50_vertebrae(slices))
    ]


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
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    numbered = list(enumerate(there, 1))
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"><Default Extension="rels"'
        f' ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml"'
        f' ContentType="{kind}.worksheet+xml"/><Override PartName="/xl/workbook.xml"'
        f' ContentType="{kind}.sheet.main+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="rId1"'
        f' Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>'
        + "".join(f'<sheet name="{escape(one.stem)}" sheetId="{n}" r:id="rId{n}"/>' for n, one in numbered)
        + "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">'
        + "".join(
            f'<Relationship Id="rId{n}" Type="{office}/worksheet" Target="worksheets/sheet{n}.xml"/>'
            for n, _ in numbered
        )
        + "</Relationships>",
    }
    for n, one in numbered:
        rows = list(csv.reader(io.StringIO(one.read_text(encoding="utf-8-sig"), newline="")))
        parts[f"xl/worksheets/sheet{n}.xml"] = (
            f'<worksheet xmlns="{main}"><sheetViews><sheetView workbookViewId="0"><pane ySplit="1" topLeftCell="A2"'
            f' activePane="bottomLeft" state="frozen"/></sheetView></sheetViews><sheetData>{_rows(rows)}</sheetData>'
            "</worksheet>"
        )
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in parts.items():
            file.writestr(name, f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n{text}')


def _rows(rows: Sequence[Sequence[str]]) -> str:
    head = rows[0] if rows else []
    return "".join(f"<row>{''.join(map(_cell, row, head))}</row>" for row in rows)


def _cell(text: str, column: str) -> str:
    if column not in _TEXTS and _is_number(text):
        return f"<c><v>{float(text)!r}</v></c>"
    plain = "".join(letter for letter in text if letter.isprintable() or letter == "\n")
    return f'<c t="inlineStr"><is><t xml:space="preserve">{escape(plain)}</t></is></c>'


def _is_number(text: str) -> bool:
    try:
        return isfinite(float(text)) and "_" not in text
    except ValueError:
        return False
