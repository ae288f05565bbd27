"""Several inputs, one after the other: each its own folder, one summary, resumable; one failure stops nobody else."""

from __future__ import annotations

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SpinalCordSegLib.case import Summary, output_errors, read_result, refuse_foreign, restore_interrupted, write_case
from SpinalCordSegLib.errors import (
    Cancelled,
    ConfigurationError,
    DeviceError,
    InputFileError,
    MissingPackageError,
    ModelFileError,
    OutputError,
    SpinalCordSegError,
    WouldReplaceError,
)
from SpinalCordSegLib.files import inside, reason, without_folders, without_names
from SpinalCordSegLib.image_io import Image, check_code, file_suffix, is_volume_file, safe_case_name, write_text
from SpinalCordSegLib.pipeline import CaseResult, SegmentOptions, canonical_range, fingerprint, segment_image
from SpinalCordSegLib.quality_control import queue_of_report, unseen
from SpinalCordSegLib.report import csv_text, failed_row, summary_row
from SpinalCordSegLib.review import STATES, Review
from SpinalCordSegLib.version import SOFTWARE_VERSION

if TYPE_CHECKING:
    from SpinalCordSegLib.model.checkpoint import Checkpoint


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
    except Exception as error:  # noqa: BLE001
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


# A folder of finished cases as a work list: what is left to review, next and previous, one table.
#
# Nothing is remembered beside the cases: each folder holds its own state, so a list can be left and taken up anywhere.


UNREADABLE = "unreadable"
REVIEW_TABLE = "review.csv"
REVIEW_COLUMNS = (
    "case", "state", "reviewer", "when", "mask_state", "n_flagged", "n_unseen", "highest_doubt", "slices_edited",
    "dice_against_ai", "volume_mm3", "length_mm", "mean_csa_mm2", "decided_on_this_mask", "problem",
)  # fmt: skip


@dataclass(frozen=True)
class WorkItem:
    """A case of the list. ``n_flagged`` slices, of them ``n_unseen`` not looked at; ``highest_doubt``: score of the
    worst unseen one, 0 without. ``problem``: why its folder cannot be read, "" for a good one (then the rest holds)."""

    case: str
    folder: Path
    review: Review = field(default_factory=Review)
    mask_state: str = ""
    n_flagged: int = 0
    n_unseen: int = 0
    highest_doubt: float = 0.0
    volume_mm3: float | None = None
    length_mm: float | None = None
    mean_csa_mm2: float | None = None
    slices_edited: int | None = None
    dice_against_ai: float | None = None
    decided_on_this_mask: bool | None = None
    problem: str = ""

    @property
    def is_open(self) -> bool:
        """True while somebody has to look at it."""
        return not self.problem and not self.review.is_finished

    def row(self) -> dict[str, Any]:
        """By REVIEW_COLUMNS."""
        own = {name: getattr(self, name) for name in REVIEW_COLUMNS if hasattr(self, name)}
        state = UNREADABLE if self.problem else self.review.state
        return own | {"state": state, "reviewer": self.review.who or None, "when": self.review.when or None}


@dataclass(frozen=True)
class WorkList:
    """``items``: in the order of their names."""

    items: tuple[WorkItem, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many cases are in each state; states without a case are there with 0."""
        found = Counter(UNREADABLE if item.problem else item.review.state for item in self.items)
        return {state: found.get(state, 0) for state in (*STATES, *([UNREADABLE] if found.get(UNREADABLE) else []))}

    def item(self, case: str) -> WorkItem:
        """Raises ConfigurationError for a case that is not in the list."""
        for item in self.items:
            if item.case == case:
                return item
        raise ConfigurationError(f'there is no case "{case}" in the list: {len(self.items)} cases are')

    def next(self, case: str) -> WorkItem | None:
        """The one after ``case``; None at the end."""
        at = self.items.index(self.item(case)) + 1
        return self.items[at] if at < len(self.items) else None

    def previous(self, case: str) -> WorkItem | None:
        """The one before ``case``; None at the beginning."""
        at = self.items.index(self.item(case))
        return self.items[at - 1] if at else None

    def next_open(self, case: str | None = None) -> WorkItem | None:
        """The next one that is neither accepted nor rejected, after ``case`` and around to it; None when all are."""
        at = 0 if case is None else self.items.index(self.item(case)) + 1
        return next((item for item in (*self.items[at:], *self.items[:at]) if item.is_open), None)


def read_work_list(folder: Path) -> WorkList:
    """The finished cases in the folders directly inside ``folder`` (or ``folder`` itself, where it is one case).

    A case that cannot be read stays in the list with its problem. Raises InputFileError where there is no case at all.
    """
    if not folder.is_dir():
        raise InputFileError(f"{folder} is no folder: give the one that segment wrote its results into")
    with output_errors(folder):
        restore_interrupted(folder)
        inside = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        candidates = [folder] if (folder / "report.json").is_file() else sorted(inside)
    items = [_item(path) for path in candidates if (path / "report.json").is_file()]
    if not items:
        raise InputFileError(f"{folder} holds no finished case: give the folder that segment wrote its results into")
    return WorkList(tuple(items))


def write_review_table(work_list: WorkList, path: Path) -> None:
    """One row a case as CSV. Raises OutputError."""
    write_text(path, csv_text(REVIEW_COLUMNS, (item.row() for item in work_list.items)))


def _item(folder: Path) -> WorkItem:
    content = read_result(folder)
    if content is None:
        return WorkItem(folder.name, folder, problem="not a complete result: segment again with --force")
    try:
        return _read(folder, content)
    except (ConfigurationError, KeyError, TypeError, ValueError) as error:
        known = str(error) if isinstance(error, ConfigurationError) else "report.json is damaged: segment again"
        return WorkItem(folder.name, folder, problem=known)


def _read(folder: Path, content: Mapping[str, Any]) -> WorkItem:
    review = Review.from_dict(content.get("review"))
    queue = queue_of_report(content)
    left = unseen(queue, review)
    changes = content.get("changes")
    same = None
    if review.mask_sha256 and content.get("mask_sha256"):
        same = review.mask_sha256 == content["mask_sha256"]
    return WorkItem(
        case=str(content["case"]),
        folder=folder,
        review=review,
        mask_state=str(content["mask_state"]),
        n_flagged=len(queue),
        n_unseen=len(left),
        highest_doubt=left[0].score if left else 0.0,
        volume_mm3=content.get("volume_mm3"),
        length_mm=content.get("length_mm"),
        mean_csa_mm2=content.get("mean_csa_mm2"),
        slices_edited=None if changes is None else len(changes["slices"]),
        dice_against_ai=None if changes is None else round(float(changes["dice"]), 4),
        decided_on_this_mask=same,
    )


# A batch computed on several machines through dask.distributed; images are read and results written here.
#
# Nothing but images, the model and results travels, so no folder has to be shared. A dask scheduler runs whatever it is
# sent: connect only to one of your own network. Needs the package distributed, here and on the workers.


_CONNECT_SECONDS = 20
_AHEAD = 2  # images sent for each thread of the workers: enough that none waits, bounded memory here


def worker_version() -> str:
    """Run on a worker: the version of SpinalCordSeg there."""
    return SOFTWARE_VERSION


def segment_on_worker(image: Image, checkpoint: Checkpoint, options: SegmentOptions) -> CaseResult:
    """Run on a worker; the image stays behind, whoever sent it has it."""
    return replace(segment_image(image, checkpoint, options), image=None)


class Cluster:
    """A connection to a scheduler. Use as a context; what was sent in vain is cancelled at its end."""

    def __init__(self, address: str) -> None:
        """Raises MissingPackageError without the package, ConfigurationError when no scheduler answers, it has no
        workers, or a worker has another version of SpinalCordSeg or none."""
        try:
            from distributed import Client
        except ImportError as error:
            raise MissingPackageError("--scheduler needs the package distributed: pip install distributed") from error
        try:
            self._client: Any = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"no scheduler answers at {address}: start one (dask scheduler)") from error
        try:
            self._check_workers()
        except SpinalCordSegError:
            self._client.close()
            raise

    def _check_workers(self) -> None:
        self.threads = sum(self._client.nthreads().values())
        if not self.threads:
            raise ConfigurationError("the scheduler has no workers: start some (dask worker ADDRESS)")
        try:
            versions = set(self._client.run(worker_version).values())
        except ImportError as error:
            raise ConfigurationError("a worker lacks SpinalCordSeg: install it there, in the same version") from error
        if versions != {SOFTWARE_VERSION}:
            raise ConfigurationError(
                f"the workers have SpinalCordSeg {', '.join(sorted(versions))}, this is {SOFTWARE_VERSION}:"
                " results could differ; install the same version"
            )

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def loader(
        self,
        inputs: Sequence[Path],
        read: Callable[[Path], Image],
        checkpoint: Checkpoint,
        options: SegmentOptions,
        finished: Collection[str] = (),
    ) -> Callable[[Path], LoadedCase]:
        """What run_batch takes to load an input: called in the order of ``inputs``, it sends the next images ahead.

        ``finished``: fingerprints of inputs that have their result; they are not sent before they are asked for.
        """
        model = self._client.scatter(checkpoint, broadcast=True, hash=False)
        waiting, sent = deque(inputs), deque[LoadedCase | Exception]()

        def submit(image: Image) -> Any:
            return self._client.submit(segment_on_worker, image, model, options, pure=False)

        def send(path: Path) -> LoadedCase | Exception:
            try:
                image = read(path)
                canonical_range(image.volume, options.slice_range)
                mark = fingerprint(image.volume)
                future = None if mark in finished else submit(image)
            except Exception as error:  # noqa: BLE001
                return error
            return LoadedCase(image.case_name, mark, lambda: _result(future or submit(image), image))

        def load(_path: Path) -> LoadedCase:
            while waiting and len(sent) < max(1, _AHEAD * self.threads):
                sent.append(send(waiting.popleft()))
            case = sent.popleft()
            if isinstance(case, Exception):
                raise case
            return case

        return load


def _result(future: Any, image: Image) -> CaseResult:
    """Wait for a worker. Raises what it raised, DeviceError when it was lost."""
    from distributed import CancelledError, KilledWorker

    try:
        result: CaseResult = future.result()
    except (KilledWorker, CancelledError, OSError) as error:
        raise DeviceError(
            f"a worker or the scheduler was lost ({type(error).__name__}): run again, what is finished is kept"
        ) from error
    return replace(result, image=image)


def finished_fingerprints(output: Path) -> set[str]:
    """Of the inputs that have a finished result in the output folder."""
    if not output.is_dir():
        return set()
    sources = [(read_result(folder) or {}).get("input") for folder in output.iterdir() if folder.is_dir()]
    return {str(source.get("fingerprint")) for source in sources if isinstance(source, dict)}
