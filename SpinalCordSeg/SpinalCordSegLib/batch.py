"""Several inputs, one after the other: each its own folder, one summary, resumable; one failure stops nobody else."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from SpinalCordSegLib.case_folder import output_errors, read_result, refuse_foreign, write_case
from SpinalCordSegLib.errors import Cancelled, ModelFileError, OutputError, SpinalCordSegError
from SpinalCordSegLib.images.case_name import check_code
from SpinalCordSegLib.images.files import file_suffix, safe_case_name, write_text
from SpinalCordSegLib.images.volume_file import is_volume_file
from SpinalCordSegLib.pipeline import CaseResult
from SpinalCordSegLib.reporting.report import SUMMARY_COLUMNS, csv_text, failed_row, summary_row
from SpinalCordSegLib.writing import inside

_SHORTEST_FILE_NAME = 4  # "1" or "07" is a number in every sentence, and nobody's name

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedCase:
    """An input that was read: its name, what tells it from others, and the work still to be done."""

    case_name: str
    fingerprint: str
    compute: Callable[[], CaseResult]


@dataclass(frozen=True)
class BatchOptions:
    """``output``: folder that gets one folder per case and summary.csv. ``force``: replace finished results.
    ``code``: what cases are called instead of names made from files and series; then no text names a file either."""

    output: Path
    mask_format: str = "nii.gz"
    save_probability: bool = False
    force: bool = False
    code: str | None = None

    def __post_init__(self) -> None:
        if self.code is not None:
            check_code(self.code)


@dataclass(frozen=True)
class Outcome:
    """How one input ended: "done", "kept" (a finished result was there) or "failed", then with ``error``."""

    case_name: str
    state: str
    folder: Path | None = None
    report: dict[str, Any] | None = None
    error: Exception | None = None


def run_batch(inputs: Sequence[Path], load: Callable[[Path], LoadedCase], options: BatchOptions) -> Iterator[Outcome]:
    """Work through ``inputs`` and yield each one's outcome as it ends; summary.csv is right after every one.

    Raises Cancelled, ModelFileError (no case could be done) and OutputError (summary.csv). With a single input that
    fails nothing is written.
    """
    summary = Summary.open(options.output / "summary.csv")
    claimed: set[str] = set()
    for number, path in enumerate(inputs, 1):
        outcome = _run_case(path, f"input-{number}", load, options, claimed)
        claimed.add(outcome.case_name)
        if outcome.error is None or len(inputs) > 1:
            summary.put(_row(outcome, path, options.code is not None))
        yield outcome


def _run_case(
    path: Path, unnamed: str, load: Callable[[Path], LoadedCase], options: BatchOptions, claimed: set[str]
) -> Outcome:
    # The name of a folder or of a DICOM file may be the patient's, and only a readable series could tell.
    dicom = path.is_dir() or (path.is_file() and not is_volume_file(path))
    case_name = _free_name(options.code or (unnamed if dicom else safe_case_name(path)), claimed)
    try:
        loaded = load(path)
        loaded = replace(loaded, case_name=options.code or loaded.case_name)
        case_name, finished = _place(loaded, options, claimed)
        folder = inside(options.output, case_name)
        if finished is not None and not options.force:
            return Outcome(case_name, "kept", folder, finished)
        refuse_foreign(folder)
        result = loaded.compute()
        content = write_case(
            replace(result, case_name=case_name, fingerprint=loaded.fingerprint),
            folder,
            mask_format=options.mask_format,
            save_probability=options.save_probability,
        )
        return Outcome(case_name, "done", folder, content)
    except (Cancelled, ModelFileError):
        raise
    except MemoryError:
        return Outcome(case_name, "failed", error=MemoryError("memory ran out: close other programs, or cut the image"))
    except SpinalCordSegError as error:
        _log.debug("detail", exc_info=error)
        return Outcome(case_name, "failed", error=error)
    except Exception as error:  # noqa: BLE001 - a fault of ours in one case must not cost the other 299 theirs
        _log.debug("unexpected error", exc_info=error)
        return Outcome(case_name, "failed", error=error)


def reason(error: BaseException) -> str:
    """One line for a user. Of an unexpected error only its kind: its text could quote the data."""
    if isinstance(error, (SpinalCordSegError, MemoryError)):
        return " ".join(str(error).split())
    if isinstance(error, OSError):
        return f"the system refused: {error.strerror or type(error).__name__}"
    return f"an unexpected {type(error).__name__} inside the program; --verbose shows where"


def _place(loaded: LoadedCase, options: BatchOptions, claimed: set[str]) -> tuple[str, dict[str, Any] | None]:
    """The folder's name for a case, and the finished result of this very input where there is one.

    Raises OutputError when the name's folder holds the result of another image and that may not be replaced.
    """
    for name in _names(loaded.case_name):
        finished = read_result(options.output / name)
        if name not in claimed and finished is not None and _belongs(finished, loaded):
            return name, finished
        # A name that this batch gave to a case which failed, or with other capitals, has no folder and is not free.
        if not _is_taken(name, claimed) and not (options.output / name).exists():
            break
    name = _free_name(loaded.case_name, claimed)
    finished = read_result(options.output / name)
    if finished is not None and not options.force:
        raise OutputError(
            f"{options.output / name} holds the result of another image; choose another output folder, or --force"
            " to replace it"
        )
    return name, None


def _belongs(finished: dict[str, Any], loaded: LoadedCase) -> bool:
    source = finished.get("input")
    return isinstance(source, dict) and source.get("fingerprint") == loaded.fingerprint


def _names(case_name: str) -> Iterator[str]:
    yield case_name
    number = 2
    while True:
        yield f"{case_name}_{number}"
        number += 1


def _free_name(case_name: str, claimed: Iterable[str]) -> str:
    """``case_name`` or with the first suffix that this batch has not used."""
    return next(name for name in _names(case_name) if not _is_taken(name, claimed))


def _is_taken(name: str, claimed: Iterable[str]) -> bool:
    """Capitals do not tell names apart."""
    return name.casefold() in {other.casefold() for other in claimed}


def _row(outcome: Outcome, path: Path, coded: bool) -> dict[str, Any]:
    if outcome.report is not None:
        return summary_row(outcome.report)
    text = reason(outcome.error) if outcome.error else ""
    if coded or path.name[: -len(file_suffix(path)) or None] not in outcome.case_name:
        text = _without_names(text, path)
    return failed_row(outcome.case_name, text)


def _without_names(text: str, path: Path) -> str:
    """``text`` without the names of the input and of the files in it: scanners make them of the patient's name."""
    word = "the folder" if path.is_dir() else "the file"
    text = text.replace(str(path), word).replace(path.name, word)
    beside = path.rglob("*") if path.is_dir() else path.parent.glob("*")
    names = {name for file in beside if len(name := file.name) >= _SHORTEST_FILE_NAME and name in text}
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, "a file")
    return text


class Summary:
    """summary.csv: one row per case, kept over several runs into the same folder."""

    def __init__(self, path: Path, rows: dict[str, dict[str, Any]]) -> None:
        self._path = path
        self._rows = rows

    @classmethod
    def open(cls, path: Path) -> Summary:
        """Read what is there. Raises OutputError when it is a table of somebody else's."""
        with output_errors(path):
            if not path.exists():
                return cls(path, {})
        try:
            with output_errors(path), path.open(encoding="utf-8", newline="") as file:
                reader = csv.DictReader(file)
                names = tuple(reader.fieldnames or ())
                rows = {row["case"]: dict(row) for row in reader} if "case" in names else {}
        except (UnicodeDecodeError, csv.Error):
            names, rows = (), {}
        if names[:3] != SUMMARY_COLUMNS[:3]:
            raise OutputError(f"{path} is not a summary of SpinalCordSeg; move it or choose another output folder")
        return cls(path, rows)

    def has(self, case_name: str) -> bool:
        return case_name in self._rows

    def put(self, row: dict[str, Any]) -> None:
        """Add or replace a case's row and write the file. Raises OutputError."""
        self._rows[row["case"]] = row
        write_text(self._path, csv_text(SUMMARY_COLUMNS, self._rows.values()))
