"""summary.csv: one row per case, kept over several runs into the same folder, and right while people correct cases."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from SpinalCordSegLib.case_folder import output_errors
from SpinalCordSegLib.errors import OutputError
from SpinalCordSegLib.images.files import write_text
from SpinalCordSegLib.reporting.report import SUMMARY_COLUMNS, csv_text


class Summary:
    """The table of a folder of cases. It is read anew for every row that is put: in between a person may have corrected
    a case, or another run into the folder may have ended one."""

    def __init__(self, path: Path) -> None:
        """Raises OutputError when there is a table of somebody else's."""
        self._path = path
        self._unwritten: dict[str, dict[str, Any]] = {}
        self._read()

    def has(self, case_name: str) -> bool:
        return case_name in self._read()

    def put(self, row: dict[str, Any]) -> None:
        """Add or replace a case's row. Raises OutputError when it cannot be written (the table is open in Excel): then
        it is kept, and written with the next row or by ``finish``."""
        self._unwritten[row["case"]] = row
        self.finish()

    def finish(self) -> None:
        """Write what could not be written before. Raises OutputError."""
        if not self._unwritten:
            return
        write_text(self._path, csv_text(SUMMARY_COLUMNS, (self._read() | self._unwritten).values()))
        self._unwritten = {}

    def _read(self) -> dict[str, dict[str, Any]]:
        with output_errors(self._path):
            if not self._path.exists():
                return {}
        try:
            with output_errors(self._path), self._path.open(encoding="utf-8", newline="") as file:
                reader = csv.DictReader(file)
                names = tuple(reader.fieldnames or ())
                rows = {row["case"]: dict(row) for row in reader} if "case" in names else {}
        except (UnicodeDecodeError, csv.Error):
            names, rows = (), {}
        if names[:3] != SUMMARY_COLUMNS[:3]:
            raise OutputError(
                f"{self._path} is not a summary of SpinalCordSeg; move it or choose another output folder"
            )
        return rows
