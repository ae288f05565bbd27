"""Several inputs, one after the other: each its own folder, one summary, resumable; one failure stops nobody else."""

from __future__ import annotations

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SpinalCordSegLib.case import Case, check_replaceable, is_as_measured, save_case
from SpinalCordSegLib.case_folder import Summary, failed_row
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
from SpinalCordSegLib.files import file_stem, inside, reason, without_folders, without_names
from SpinalCordSegLib.identity import (
    Identity,
    check_code,
    differing,
    names_with_folders,
    safe_case_name,
    tells_identity,
)
from SpinalCordSegLib.image_io import Image, is_volume_file
from SpinalCordSegLib.pipeline import SegmentOptions, canonical_range, segment_image
from SpinalCordSegLib.version import SOFTWARE_VERSION
from SpinalCordSegLib.vertebral_levels import LevelOptions
from SpinalCordSegLib.volume import fingerprint

if TYPE_CHECKING:
    from SpinalCordSegLib.model.checkpoint import Checkpoint


_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedCase:
    """An input that was read: its name, what tells it from others, and the work still to be done. ``identity``: whose
    it is; ``words``: what no name may hold; ``levels``: asked for, which a finished result must have to be kept."""

    case_name: str
    fingerprint: str
    compute: Callable[[LevelOptions], Case]
    identity: Identity | None = None
    words: frozenset[str] = frozenset()
    levels: LevelOptions = field(default_factory=LevelOptions)


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
    batch = _Batch(inputs, options)
    finished = finished_folders(options.output)
    for number, path in enumerate(inputs, 1):
        outcome = batch.run(path, f"input-{number}", load)
        batch.claimed.add(outcome.case_name)
        if (folder := outcome.folder) is not None and outcome.case is not None:
            same = finished.setdefault(outcome.case.input.fingerprint, set())
            outcome = replace(outcome, twins=tuple(sorted(same - {folder})))
            same.add(folder)
        if outcome.error is None or len(inputs) > 1:
            batch.put(outcome, path)
        yield outcome
    batch.summary.finish()


class _Batch:
    """The state of a batch. ``claimed``: names that it has given. ``common``: the folder that holds all inputs, for
    one input that of its folder, of BIDS that of its subjects; ``repeated``: names of several files, without
    capitals."""

    def __init__(self, inputs: Sequence[Path], options: BatchOptions) -> None:
        self.options, self.n = options, len(inputs)
        self.summary = Summary(options.output / "summary.csv")
        self.claimed: set[str] = set()
        try:
            common = Path(os.path.commonpath([path.absolute().parent for path in inputs]))
        except ValueError:  # none, or on several drives
            common = Path()
        self.common = common.parent if len(inputs) == 1 else common  # a file's own folder tells whose it is
        # of BIDS, with all sessions or one, the place in the data set, so that a subject is called alike in every run
        place = (common, *common.parents[:2])
        self.common = next((one.parent for one in place if one.name.startswith("sub-")), self.common)
        names: Counter[str] = Counter()
        for path in {path.absolute() for path in inputs if is_volume_file(path)}:
            with suppress(OSError):  # a file that cannot be opened fails when its turn comes
                names[safe_case_name(path).casefold()] += 1
        self.repeated = {name for name, n in names.items() if n > 1}

    def run(self, path: Path, unnamed: str, load: Callable[[Path], LoadedCase]) -> Outcome:
        options = self.options
        case_name = self._free_name(options.code or unnamed)
        mark = None
        try:
            # The name of a folder or of a DICOM file may be the patient's, and only a readable series could tell.
            is_dicom = path.is_dir() or (path.is_file() and not is_volume_file(path))
            if options.code is None and not is_dicom:
                case_name = self._free_name(self._names(path, safe_case_name(path))[0])
            loaded = load(path)
            mark = loaded.fingerprint
            loaded = replace(loaded, case_name=options.code or loaded.case_name)
            who = "" if loaded.identity is None else loaded.identity.patient_id[:4]
            names = [options.code] if options.code else self._names(path, loaded.case_name, loaded.words, who)
            source = "" if options.code else self._source(path, loaded.words)
            case_name, finished = self._place(loaded, names, source)
            folder = inside(options.output, case_name)
            may_stand = not (options.force or options.renew)
            may_stand = may_stand and finished is not None and finished.has_levels(loaded.levels)
            # one of which files are gone is made anew, but a person's
            is_whole = finished is not None and (finished.is_by_person or not (finished.lost or finished.altered))
            if finished is not None and may_stand and is_whole and is_as_measured(finished):
                return Outcome(case_name, "kept", folder, finished)
            check_replaceable(folder)  # before the long work
            result = loaded.compute(loaded.levels if finished is None else finished.with_marked_discs(loaded.levels))
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
        # It must not take the row of a result that stands: not of its own earlier one, nor of another image.
        standing = _finished(options.output / case_name)
        if standing is not None and mark is not None and standing.input.fingerprint != mark:
            case_name, standing = next(name for name in _numbered(case_name) if self._is_free(name)), None
        return Outcome(case_name, "failed", case=standing, error=failure)

    def put(self, outcome: Outcome, path: Path) -> None:
        """Write its row; later, where the table is open elsewhere."""
        try:
            self.summary.put(self._row(outcome, path))
        except OutputError as error:
            if isinstance(outcome.error, OutputError) and not isinstance(outcome.error, WouldReplaceError):
                raise
            _log.warning("%s; the cases go on, and their rows are written later", error)

    def _row(self, outcome: Outcome, path: Path) -> dict[str, Any]:
        if outcome.error is None and outcome.case is not None:
            return outcome.case.summary_row()
        text = reason(outcome.error) if outcome.error else ""
        # Only what the case is called by, with or without a number, is known to name nobody.
        stem, name = file_stem(path), outcome.case_name
        is_called_so = _is_volume(path) and stem in (name, name.rpartition("_")[0])
        shows_file = is_called_so and self.options.code is None
        text = without_folders(text, path) if shows_file else without_names(text, path)
        if outcome.case is not None:
            return outcome.case.summary_row() | {"reason": text}
        return failed_row(outcome.case_name, text)

    def _names(self, path: Path, name: str, words: frozenset[str] = frozenset(), who: str = "") -> list[str]:
        """For an input, the preferred first: its own name alone only where no other input has that; the folder tells
        files apart, and a piece of the patient's hash DICOM series. None depends on the order of the inputs."""
        if not _is_volume(path):
            return [f"{name}_{who}"] if who and self.n > 1 else [name, *([f"{name}_{who}"] if who else [])]
        longer = names_with_folders(path, name, words)
        return longer if longer and name.casefold() in self.repeated else [name, *longer]

    def _source(self, path: Path, words: frozenset[str]) -> str:
        """Where an input lies within the common folder; "…" where that tells the patient, or a DICOM header does not
        say who that is."""
        whole = path.absolute()
        relative = whole.relative_to(self.common).as_posix() if whole.is_relative_to(self.common) else ""
        is_known = bool(words) or _is_volume(path)
        return relative if is_known and relative and not tells_identity(relative, words) else "…"

    def _place(self, loaded: LoadedCase, names: Sequence[str], source: str) -> tuple[str, Case | None]:
        """The folder's name for a case, the first of ``names`` that is free, and the finished result of this very input
        where there is one, whatever it was called when it was made.

        Raises WouldReplaceError when the folders hold results of other images and those may not be replaced.
        """
        output, force = self.options.output, self.options.force
        for start in dict.fromkeys([loaded.case_name, *names]):
            for name in _numbered(start):
                finished = _finished(output / name)
                is_own = finished is not None and finished.input.fingerprint == loaded.fingerprint
                if name not in self.claimed and is_own:
                    return name, finished
                # A name that was given to a case which failed, or with other capitals, has no folder and is not free.
                if self._is_free(name):
                    break
        for name in names:
            finished = _finished(output / name)
            was_there = finished is not None and source not in ("", "…") and finished.input.source == source
            if was_there and not force and not self._is_taken(name):
                raise WouldReplaceError(
                    f"{output / name} holds the result of another image that lay at this place, {source}: where the"
                    " file was replaced, give --force; else choose another output folder"
                )
            is_changed = force and finished is not None and finished.input.source == source  # the file itself
            if not self._is_taken(name) and (finished is None or is_changed):
                return name, None
        name = self._free_name(names[0])
        if not force and _finished(output / name) is not None:
            raise WouldReplaceError(
                f"{output / name} holds the result of another image; choose another output folder, or --force to"
                " replace it"
            )
        return name, None

    def _is_taken(self, name: str) -> bool:
        """Whether this batch has given it; capitals do not tell names apart."""
        return name.casefold() in {other.casefold() for other in self.claimed}

    def _is_free(self, name: str) -> bool:
        return not self._is_taken(name) and not (self.options.output / name).exists()

    def _free_name(self, name: str) -> str:
        return next(one for one in _numbered(name) if not self._is_taken(one))


def _is_volume(path: Path) -> bool:
    return is_volume_file(path) and not os.path.isdir(path)


def _finished(folder: Path) -> Case | None:
    try:
        return Case.load(folder, needs_slices=False)
    except InputFileError:
        return None


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}_{number}" for number in count(2))


# A batch computed on several machines through dask.distributed; images are read and results written here.
#
# Nothing but images, the model and results travels, so no folder has to be shared. A dask scheduler runs whatever it is
# sent: connect only to one of your own network. Needs the package distributed, here and on the workers.


_CONNECT_SECONDS = 20
_AHEAD = 2  # images sent for each thread of the workers: enough that none waits, bounded memory here
_LOST = "the workers or the scheduler were lost: start some, and run again; what is finished is kept"
_NO_WORKER_SECONDS = 60.0  # within which a worker that ended is started again, by whoever started it


def worker_version() -> str:
    """Run on a worker: the version of SpinalCordSeg there."""
    return SOFTWARE_VERSION


def _itself(checkpoint: Checkpoint) -> Checkpoint:
    """Run on a worker: a task that gives the model can be repeated where the worker that held it is lost."""
    return checkpoint


def segment_on_worker(image: Image, checkpoint: Checkpoint, options: SegmentOptions) -> Case:
    """Run on a worker; the image stays behind, whoever sent it has it."""
    return replace(segment_image(image, checkpoint, options), image=None)


class Cluster:
    """A connection to a scheduler. Use as a context; what was sent in vain is cancelled at its end."""

    def __init__(self, address: str) -> None:
        """Raises MissingPackageError without the package, ConfigurationError when no scheduler answers, it has no
        workers, or a worker has another version of SpinalCordSeg or none."""
        try:
            from distributed import Client  # noqa: TID251  (the scheduler that --scheduler names)
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
        levels: Mapping[Path, LevelOptions] | None = None,
    ) -> Callable[[Path], LoadedCase]:
        """What run_batch takes to load an input: called in the order of ``inputs``, it sends the next images ahead.

        ``finished``: fingerprints of inputs that have their result; they are not sent before they are asked for.
        ``levels``: of each input; None: those of ``options``.
        """
        model = self._client.submit(_itself, checkpoint, pure=False)
        waiting, sent = deque(inputs), deque[LoadedCase | Exception]()

        def submit(image: Image, asked: LevelOptions) -> Any:
            own = replace(options, levels=asked)
            if self._client.status == "closed":
                raise DeviceError(_LOST)
            return self._client.submit(segment_on_worker, image, model, own, pure=False)

        def send(path: Path) -> LoadedCase | Exception:
            asked = options.levels if levels is None else levels[path]
            try:
                image = read(path)
                canonical_range(image.volume, options.slice_range)
                mark = fingerprint(image.volume)
                future = None if mark in finished else submit(image, asked)
            except Exception as error:  # noqa: BLE001
                return error

            def work(levels: LevelOptions) -> Case:
                return self._result(future if future and levels == asked else submit(image, levels), image)

            return LoadedCase(image.case_name, mark, work, image.identity, image.words, asked)

        def load(_path: Path) -> LoadedCase:
            while waiting and len(sent) < max(1, _AHEAD * self.threads):
                sent.append(send(waiting.popleft()))
            case = sent.popleft()
            if isinstance(case, Exception):
                raise case
            return case

        return load

    def _result(self, future: Any, image: Image) -> Case:
        """Wait for a worker. Raises what it raised, DeviceError when it was lost, or no worker is left: then the
        connection is closed, as every case that follows would wait too."""
        from distributed import CancelledError, KilledWorker, TimeoutError  # noqa: TID251  (of --scheduler)

        while True:
            try:
                result: Case = future.result(timeout=_NO_WORKER_SECONDS)
                return replace(result, image=image)
            except TimeoutError as error:
                if not self._client.nthreads():
                    self._client.close()
                    raise DeviceError(_LOST) from error
            except (KilledWorker, CancelledError, OSError) as error:
                raise DeviceError(f"{_LOST} ({type(error).__name__})") from error


def finished_folders(output: Path) -> dict[str, set[Path]]:
    """The folders of the finished results in the output folder, by the fingerprint of their input."""
    folders = [folder for folder in output.iterdir() if folder.is_dir()] if output.is_dir() else []
    found: dict[str, set[Path]] = {}
    for folder in folders:
        if not folder.name.startswith(".") and (case := _finished(folder)) is not None:
            found.setdefault(case.input.fingerprint, set()).add(folder)
    return found
