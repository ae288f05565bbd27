"""Several inputs, one after the other: each its own folder, one summary, resumable; one failure stops nobody else."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from SpinalCordSegLib.case_folder import read_result, refuse_foreign, write_case
from SpinalCordSegLib.errors import Cancelled, ModelFileError, OutputError, SpinalCordSegError, WouldReplaceError
from SpinalCordSegLib.images.case_name import check_code
from SpinalCordSegLib.images.files import file_suffix, safe_case_name
from SpinalCordSegLib.images.volume_file import is_volume_file
from SpinalCordSegLib.pipeline import CaseResult
from SpinalCordSegLib.reasons import reason, without_folders, without_names
from SpinalCordSegLib.reporting.report import failed_row, summary_row
from SpinalCordSegLib.summary import Summary
from SpinalCordSegLib.writing import inside

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedCase:
    """An input that was read: its name, what tells it from others, and the work still to be done."""

    case_name: str
    fingerprint: str
    compute: Callable[[], CaseResult]


@dataclass(frozen=True)
class BatchOptions:
    """``output``: folder that gets one folder per case and summary.csv. ``force``: replace finished results, also those
    of other images in the way; ``renew``: only those of the inputs themselves. ``code``: what cases are called instead
    of names made from files and series; then no text names a file either."""

    output: Path
    mask_format: str = "nii.gz"
    save_probability: bool = False
    force: bool = False
    renew: bool = False
    code: str | None = None

    def __post_init__(self) -> None:
        if self.code is not None:
            check_code(self.code)


@dataclass(frozen=True)
class Outcome:
    """How one input ended: "done", "kept" (a finished result was there) or "failed", then with ``error``.

    ``report``: of the finished result; of a failed case that of its earlier result, which stands, else None."""

    case_name: str
    state: str
    folder: Path | None = None
    report: dict[str, Any] | None = None
    error: Exception | None = None


def run_batch(inputs: Sequence[Path], load: Callable[[Path], LoadedCase], options: BatchOptions) -> Iterator[Outcome]:
    """Work through ``inputs`` and yield each one's outcome as it ends; summary.csv is right after every one.

    Raises Cancelled, ModelFileError (no case could be done) and OutputError: where summary.csv is somebody else's,
    where nothing can be written to the folder at all, and after the last case where summary.csv alone could not be.
    With a single input that fails nothing is written.
    """
    summary = Summary(options.output / "summary.csv")
    claimed: set[str] = set()
    for number, path in enumerate(inputs, 1):
        outcome = _run_case(path, f"input-{number}", load, options, claimed)
        claimed.add(outcome.case_name)
        if outcome.error is None or len(inputs) > 1:
            _put(summary, outcome, path, options)
        yield outcome
    summary.finish()


def _put(summary: Summary, outcome: Outcome, path: Path, options: BatchOptions) -> None:
    try:
        summary.put(_row(outcome, path, options.code is not None))
    except OutputError as error:
        if isinstance(outcome.error, OutputError) and not isinstance(outcome.error, WouldReplaceError):
            raise
        _log.warning("%s; the cases go on, and their rows are written later", error)


def _run_case(
    path: Path, unnamed: str, load: Callable[[Path], LoadedCase], options: BatchOptions, claimed: set[str]
) -> Outcome:
    case_name = _free_name(options.code or unnamed, claimed)
    mark = None
    try:
        # The name of a folder or of a DICOM file may be the patient's, and only a readable series could tell.
        is_dicom = path.is_dir() or (path.is_file() and not is_volume_file(path))
        if options.code is None and not is_dicom:
            case_name = _free_name(safe_case_name(path), claimed)
        loaded = load(path)
        mark = loaded.fingerprint
        loaded = replace(loaded, case_name=options.code or loaded.case_name)
        case_name, finished = _place(loaded, options, claimed)
        folder = inside(options.output, case_name)
        if finished is not None and not options.force and not options.renew:
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
        told: Exception = MemoryError("memory ran out: close other programs, or cut the image")
    except SpinalCordSegError as error:
        _log.debug("detail", exc_info=error)
        told = error
    except Exception as error:  # noqa: BLE001 - a fault of ours in one case must not cost the other 299 theirs
        _log.debug("unexpected error", exc_info=error)
        told = error
    return _failed(case_name, told, mark, options, claimed)


def _failed(case_name: str, error: Exception, mark: str | None, options: BatchOptions, claimed: set[str]) -> Outcome:
    """A failed case must not take the row of a result that stands: not of its own earlier one, nor of another image."""
    standing = read_result(options.output / case_name)
    if standing is not None and mark is not None and not _belongs(standing, mark):
        names = _names(case_name)
        case_name = next(n for n in names if not _is_taken(n, claimed) and not (options.output / n).exists())
        standing = None
    return Outcome(case_name, "failed", report=standing, error=error)


def _place(loaded: LoadedCase, options: BatchOptions, claimed: set[str]) -> tuple[str, dict[str, Any] | None]:
    """The folder's name for a case, and the finished result of this very input where there is one.

    Raises WouldReplaceError when the name's folder holds the result of another image and that may not be replaced.
    """
    for name in _names(loaded.case_name):
        finished = read_result(options.output / name)
        if name not in claimed and finished is not None and _belongs(finished, loaded.fingerprint):
            return name, finished
        # A name that this batch gave to a case which failed, or with other capitals, has no folder and is not free.
        if not _is_taken(name, claimed) and not (options.output / name).exists():
            break
    name = _free_name(loaded.case_name, claimed)
    finished = read_result(options.output / name)
    if finished is not None and not options.force:
        raise WouldReplaceError(
            f"{options.output / name} holds the result of another image; choose another output folder, or --force"
            " to replace it"
        )
    return name, None


def _belongs(finished: dict[str, Any], mark: str) -> bool:
    source = finished.get("input")
    return isinstance(source, dict) and source.get("fingerprint") == mark


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
    if outcome.error is None and outcome.report is not None:
        return summary_row(outcome.report)
    text = reason(outcome.error) if outcome.error else ""
    # Only what the case is called by is known to name nobody.
    is_called_so = is_volume_file(path) and not os.path.isdir(path) and _stem(path) in _parts_of(outcome.case_name)
    text = without_folders(text, path) if is_called_so and not coded else without_names(text, path)
    if outcome.report is not None:
        return summary_row(outcome.report) | {"reason": text}
    return failed_row(outcome.case_name, text)


def _stem(path: Path) -> str:
    return path.name[: -len(file_suffix(path)) or None]


def _parts_of(case_name: str) -> tuple[str, str]:
    """A case's name, with and without the number that tells it from others of its name."""
    return case_name, case_name.rpartition("_")[0]
