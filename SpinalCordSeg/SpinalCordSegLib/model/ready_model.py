"""A model loaded once: its weights and the engine that computes it, kept for the next case and the next run.

Making an engine takes a good part of a second: ``ModelInUse.made_ready`` does it while the first image is read.
"""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from SpinalCordSegLib.errors import MissingPackageError, SpinalCordSegError
from SpinalCordSegLib.model.checkpoint import verified_card

if TYPE_CHECKING:
    from torch import Tensor

    from SpinalCordSegLib.model.checkpoint import Checkpoint
    from SpinalCordSegLib.model.cpu_engine import Engine


_TRIAL_SHAPE = (96, 128)  # of the self-check; small, and its sides differ
_log = logging.getLogger(__name__)
_engines: MutableMapping[Checkpoint, dict[tuple[str, int], Engine]] = WeakKeyDictionary()
_making = threading.Lock()
_last: list[ModelInUse] = []


class ModelInUse:
    """A weights file for any number of cases, loaded (with torch) at first use, in whichever thread that is."""

    def __init__(self, path: Path, sha256: str | None) -> None:
        self._path, self.sha256 = path, sha256
        self._lock = threading.Lock()
        self._checkpoint: Checkpoint | None = None

    def checkpoint(self) -> Checkpoint:
        """Raises ModelFileError, or MissingPackageError where PyTorch is missing or broken."""
        try:
            importlib.import_module("torch")
        except (ImportError, OSError) as error:
            raise MissingPackageError(
                f"PyTorch cannot be loaded ({error}): install torch 2.4 or newer again; measuring a mask works without"
            ) from error
        from SpinalCordSegLib.model.checkpoint import load_checkpoint

        with self._lock:
            if self._checkpoint is None:
                self._checkpoint = load_checkpoint(self._path)
            return self._checkpoint

    @contextmanager
    def made_ready(self, device: str, engine: str) -> Iterator[None]:
        """Get ready what the first case will need, in a thread, while the block runs. What fails there fails again
        where it is needed. The block waits for the thread: left behind, it would load torch in a closing interpreter.
        """
        thread = threading.Thread(target=self.get_ready, args=(device, engine), name="model")
        thread.start()
        try:
            yield
        finally:
            thread.join()

    def get_ready(self, device: str, engine: str) -> None:
        """The same, now."""
        try:
            checkpoint = self.checkpoint()
            from SpinalCordSegLib.inference import choose_device, threads_per_slice

            if choose_device(device)[0].type == "cpu":
                ready_engine(checkpoint, engine, threads_per_slice())
        except SpinalCordSegError as error:
            _log.debug("not made ready: %s", error)


def model_in_use(path: Path) -> ModelInUse:
    """The model in this file, proved whole now; the very one of the last call where the file is still the same.

    Raises ModelFileError.
    """
    sha256 = verified_card(path).sha256
    if not (_last and _last[0].sha256 == sha256):
        _last[:] = [ModelInUse(path, sha256)]
    return _last[0]


def ready_engine(checkpoint: Checkpoint, name: str, threads: int) -> Engine:
    """The engine for a model on the CPU, made and checked at the first call, kept as long as the model is.

    Raises as ``choose_engine``.
    """
    from SpinalCordSegLib.model.checkpoint import checkpoint_network
    from SpinalCordSegLib.model.cpu_engine import choose_engine

    with _making:
        kept = _engines.setdefault(checkpoint, {})
        if (name, threads) not in kept:
            kept[name, threads] = choose_engine(checkpoint_network(checkpoint), _trial(), name, threads)
        return kept[name, threads]


def _trial() -> Tensor:
    """Something to compare two engines on: smooth patches and noise, 0..1, always the same."""
    import torch

    generator = torch.Generator().manual_seed(0)
    patches = torch.rand(1, 1, 6, 8, generator=generator)
    image = torch.nn.functional.interpolate(patches, size=_TRIAL_SHAPE, mode="bilinear", align_corners=False)
    return (image + 0.1 * torch.rand(image.shape, generator=generator)).clamp(0, 1)
