"""A batch computed on several machines through dask.distributed; images are read and results written here.

Nothing but images, the model and results travels, so no folder has to be shared. A dask scheduler runs whatever it is
sent: connect only to one of your own network. Needs the package distributed, here and on the workers.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SpinalCordSegLib.batch import LoadedCase
from SpinalCordSegLib.case_folder import read_result
from SpinalCordSegLib.errors import ConfigurationError, DeviceError, MissingPackageError, SpinalCordSegError
from SpinalCordSegLib.images.files import Image
from SpinalCordSegLib.pipeline import CaseResult, SegmentOptions, canonical_range, fingerprint, segment_image
from SpinalCordSegLib.version import SOFTWARE_VERSION

if TYPE_CHECKING:
    from SpinalCordSegLib.network.checkpoint import Checkpoint

_log = logging.getLogger(__name__)
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
            except Exception as error:  # noqa: BLE001 - raised when its turn comes; now it would end an earlier case
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
