"""Several inputs, one after the other: each its own folder, one summary, resumable; one failure stops nobody else."""

from __future__ import annotations

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SpinalCordSegLib.case import (
    Case,
    Summary,
    check_replaceable,
    failed_row,
    is_as_measured,
    save_case,
)
from SpinalCordSegLib.dicom import tells_identity
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
from SpinalCordSegLib.files import file_suffix, inside, reason, without_folders, without_names
from SpinalCordSegLib.identity import Identity, differing
from SpinalCordSegLib.image_io import Image, check_code, is_volume_file, names_with_folders, safe_case_name
from SpinalCordSegLib.pipeline import SegmentOptions, canonical_range, fingerprint, segment_image
from SpinalCordSegLib.version import SOFTWARE_VERSION

if TYPE_CHECKING:
    from SpinalCordSegLib.model.checkpoint import Checkpoint


_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedCase:
    """An input that was read: its name, what tells it from others, and the work still to be done. ``identity``: whose
    it is; ``words``: what no name may hold."""

    case_name: str
    fingerprint: str
    compute: Callable[[], Case]
    identity: Identity | None = None
    words: frozenset[str] = frozenset()


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

    ``case``: the finished one; of a failed input its earlier one, which stands, else None. ``twins``: other folders of
    the output with a case of this very image, as where one was renamed or copied."""

    case_name: str
    state: str
    folder: Path | None = None
    case: Case | None = None
    error: Exception | None = None
    twins: tuple[Path, ...] = ()


def run_batch(inputs: Sequence[Path], load: Callable[[Path], LoadedCase], options: BatchOptions) -> Iterator[Outcome]:
    """Work through ``inputs`` and yield each one's outcome as it ends; summary.csv is right after every one.

    Raises Cancelled, ModelFileError (no case could be done) and OutputError: where summary.csv is somebody else's,
    where nothing can be written to the folder at all, and after the last case where summary.csv alone could not be.
    With a single input that fails nothing is written.
    """
    summary = Summary(options.output / "summary.csv")
    claimed: set[str] = set()
    finished = finished_folders(options.output)
    among = _Among.of(inputs)
    for number, path in enumerate(inputs, 1):
        outcome = _run_case(path, f"input-{number}", load, options, claimed, among)
        claimed.add(outcome.case_name)
        if (folder := outcome.folder) is not None and outcome.case is not None:
            same = finished.setdefault(outcome.case.input.fingerprint, set())
            outcome = replace(outcome, twins=tuple(sorted(same - {folder})))
            same.add(folder)
        if outcome.error is None or len(inputs) > 1:
            _put(summary, outcome, path, options)
        yield outcome
    summary.finish()


@dataclass(frozen=True)
class _Among:
    """The inputs of a batch. ``common``: the folder that holds all, for one input that of its folder; ``repeated``:
    names of several files, without capitals."""

    common: Path
    repeated: frozenset[str]
    n: int

    @classmethod
    def of(cls, inputs: Sequence[Path]) -> _Among:
        try:
            common = Path(os.path.commonpath([path.absolute().parent for path in inputs]))
        except ValueError:  # none, or on several drives
            common = Path()
        common = common.parent if len(inputs) == 1 else common  # a file's own folder tells whose it is
        names: Counter[str] = Counter()
        for path in {path.absolute() for path in inputs if is_volume_file(path)}:
            with suppress(OSError):  # a file that cannot be opened fails when its turn comes
                names[safe_case_name(path).casefold()] += 1
        return cls(common, frozenset(name for name, n in names.items() if n > 1), len(inputs))

    def names(self, path: Path, name: str, words: frozenset[str] = frozenset(), who: str = "") -> list[str]:
        """For an input, the preferred first: its own name alone only where no other input has that; the folder tells
        files apart, and a piece of the patient's hash DICOM series. None depends on the order of the inputs."""
        if not is_volume_file(path) or os.path.isdir(path):
            return [f"{name}_{who}"] if who and self.n > 1 else [name, *([f"{name}_{who}"] if who else [])]
        longer = names_with_folders(path, name, words)
        return longer if longer and name.casefold() in self.repeated else [name, *longer]

    def source(self, path: Path, words: frozenset[str]) -> str:
        """Where an input lies within the common folder; "…" where that tells the patient, or a DICOM header does not
        say who that is."""
        whole = path.absolute()
        known = bool(words) or (is_volume_file(path) and not os.path.isdir(path))
        relative = whole.relative_to(self.common).as_posix() if whole.is_relative_to(self.common) else ""
        return relative if known and relative and not tells_identity(relative, words) else "…"


def _put(summary: Summary, outcome: Outcome, path: Path, options: BatchOptions) -> None:
    try:
        summary.put(_row(outcome, path, options.code is not None))
    except OutputError as error:
        if isinstance(outcome.error, OutputError) and not isinstance(outcome.error, WouldReplaceError):
            raise
        _log.warning("%s; the cases go on, and their rows are written later", error)


def _run_case(
    path: Path,
    unnamed: str,
    load: Callable[[Path], LoadedCase],
    options: BatchOptions,
    claimed: set[str],
    among: _Among,
) -> Outcome:
    case_name = _free_name(options.code or unnamed, claimed)
    mark = None
    try:
        # The name of a folder or of a DICOM file may be the patient's, and only a readable series could tell.
        is_dicom = path.is_dir() or (path.is_file() and not is_volume_file(path))
        if options.code is None and not is_dicom:
            case_name = _free_name(among.names(path, safe_case_name(path))[0], claimed)
        loaded = load(path)
        mark = loaded.fingerprint
        loaded = replace(loaded, case_name=options.code or loaded.case_name)
        who = "" if loaded.identity is None else loaded.identity.patient_id[:4]
        names = [options.code] if options.code else among.names(path, loaded.case_name, loaded.words, who)
        source = "" if options.code else among.source(path, loaded.words)
        case_name, finished = _place(loaded, names, source, options, claimed)
        folder = inside(options.output, case_name)
        # one of which files are gone is made anew, but a person's
        is_kept = finished is not None and (finished.is_by_person or not (finished.lost or finished.altered))
        if finished is not None and is_kept and not options.force and not options.renew and is_as_measured(finished):
            return Outcome(case_name, "kept", folder, finished)
        check_replaceable(folder)  # before the long work
        result = loaded.compute()
        differ = [] if finished is None else differing(finished.input.identity, result.input.identity)
        if differ and not options.force:
            raise WouldReplaceError(
                f"{folder} was measured with an image of another patient ({' and '.join(differ)} differ): give that"
                " patient's image, or --force to replace it"
            )
        made_from = replace(result.input, fingerprint=loaded.fingerprint, source=source)
        case = replace(result, name=case_name, input=made_from)
        case = save_case(case, folder, mask_format=options.mask_format, save_probability=options.save_probability)
        return Outcome(case_name, "done", folder, case)
    except (Cancelled, ModelFileError):
        raise
    except MemoryError:
        failure: Exception = MemoryError("memory ran out: close other programs, or cut the image")
    except Exception as error:  # noqa: BLE001
        _log.debug("detail", exc_info=error)
        failure = error
    return _failed(case_name, failure, mark, options, claimed)


def _failed(case_name: str, error: Exception, mark: str | None, options: BatchOptions, claimed: set[str]) -> Outcome:
    """A failed case must not take the row of a result that stands: not of its own earlier one, nor of another image."""
    standing = _finished(options.output / case_name)
    if standing is not None and mark is not None and standing.input.fingerprint != mark:
        names = _names(case_name)
        case_name = next(n for n in names if not _is_taken(n, claimed) and not (options.output / n).exists())
        standing = None
    return Outcome(case_name, "failed", case=standing, error=error)


def _place(
    loaded: LoadedCase, names: Sequence[str], source: str, options: BatchOptions, claimed: set[str]
) -> tuple[str, Case | None]:
    """The folder's name for a case, the first of ``names`` that is free, and the finished result of this very input
    where there is one, whatever it was called when it was made.

    Raises WouldReplaceError when the folders hold results of other images and those may not be replaced.
    """
    for start in dict.fromkeys([loaded.case_name, *names]):
        for name in _names(start):
            finished = _finished(options.output / name)
            if name not in claimed and finished is not None and finished.input.fingerprint == loaded.fingerprint:
                return name, finished
            # A name that this batch gave to a case which failed, or with other capitals, has no folder and is not free.
            if not _is_taken(name, claimed) and not (options.output / name).exists():
                break
    for name in names:
        finished = _finished(options.output / name)
        is_changed = options.force and finished is not None and finished.input.source == source  # the file itself
        if not _is_taken(name, claimed) and (finished is None or is_changed):
            return name, None
    name = _free_name(names[0], claimed)
    finished = _finished(options.output / name)
    if finished is not None and not options.force:
        raise WouldReplaceError(
            f"{options.output / name} holds the result of another image; choose another output folder, or --force"
            " to replace it"
        )
    return name, None


def _finished(folder: Path) -> Case | None:
    try:
        return Case.load(folder, needs_slices=False)
    except InputFileError:
        return None


def _names(case_name: str) -> Iterator[str]:
    yield case_name
    yield from (f"{case_name}_{number}" for number in count(2))


def _is_taken(name: str, claimed: Iterable[str]) -> bool:
    """Whether this batch has given it; capitals do not tell names apart."""
    return name.casefold() in {other.casefold() for other in claimed}


def _free_name(case_name: str, claimed: Iterable[str]) -> str:
    return next(name for name in _names(case_name) if not _is_taken(name, claimed))


def _row(outcome: Outcome, path: Path, coded: bool) -> dict[str, Any]:
    if outcome.error is None and outcome.case is not None:
        return outcome.case.summary_row()
    text = reason(outcome.error) if outcome.error else ""
    # Only what the case is called by, with or without a number, is known to name nobody.
    stem, name = path.name[: -len(file_suffix(path)) or None], outcome.case_name
    is_called_so = is_volume_file(path) and not os.path.isdir(path) and stem in (name, name.rpartition("_")[0])
    text = without_folders(text, path) if is_called_so and not coded else without_names(text, path)
    if outcome.case is not None:
        return outcome.case.summary_row() | {"reason": text}
    return failed_row(outcome.case_name, text)


# A batch computed on several machines through dask.distributed; images are read and results written here.
#
# Nothing but images, the model and results travels, so no folder has to be shared. A dask scheduler runs whatever it is
# sent: connect only to one of your own network. Needs the package distributed, here and on the workers.


_CONNECT_SECONDS = 20
_AHEAD = 2  # images sent for each thread of the workers: enough that none waits, bounded memory here


def worker_version() -> str:
    """Run on a worker: the version of SpinalCordSeg there."""
    return SOFTWARE_VERSION


def segment_on_worker(image: Image, checkpoint: Checkpoint, options: SegmentOptions) -> Case:
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
            work = lambda: _result(future or submit(image), image)  # noqa: E731
            return LoadedCase(image.case_name, mark, work, image.identity, image.words)

        def load(_path: Path) -> LoadedCase:
            while waiting and len(sent) < max(1, _AHEAD * self.threads):
                sent.append(send(waiting.popleft()))
            case = sent.popleft()
            if isinstance(case, Exception):
                raise case
            return case

        return load


def _result(future: Any, image: Image) -> Case:
    """Wait for a worker. Raises what it raised, DeviceError when it was lost."""
    from distributed import CancelledError, KilledWorker

    try:
        result: Case = future.result()
    except (KilledWorker, CancelledError, OSError) as error:
        raise DeviceError(
            f"a worker or the scheduler was lost ({type(error).__name__}): run again, what is finished is kept"
        ) from error
    return replace(result, image=image)


def finished_folders(output: Path) -> dict[str, set[Path]]:
    """The folders of the finished results in the output folder, by the fingerprint of their input."""
    folders = [folder for folder in output.iterdir() if folder.is_dir()] if output.is_dir() else []
    found: dict[str, set[Path]] = {}
    for folder in folders:
        if not folder.name.startswith(".") and (case := _finished(folder)) is not None:
            found.setdefault(case.input.fingerprint, set()).add(folder)
    return found
