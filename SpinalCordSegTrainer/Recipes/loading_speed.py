"""Whether reading slices keeps up with the network: the training loop on a large cache against one repeated batch."""

from __future__ import annotations

import gc
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from SpinalCordSegTrainerLib.batches import Batch
from SpinalCordSegTrainerLib.config import SourceConfig, TrainingConfig
from SpinalCordSegTrainerLib.slice_cache import CachedSlice, SliceCache
from SpinalCordSegTrainerLib.trainer import Training

_PATTERNS = 64  # drawn; the other slices are these, shifted, since only their reading is timed
_BLOCK = 5  # updates timed in a row, before the other loop has its turn
_READ_BATCHES = 50


@dataclass(frozen=True)
class LoadingSpeed:
    """``share``: speed of training from the cache over that on one repeated batch, by the medians of their updates.
    ``share_one_core``: the same by processor time, had the network to wait for every batch: the least that is to be
    expected on one core, and what can be measured on a busy machine.

    ``read_ms``: making one batch, alone; ``read_cpu_ms``, ``repeated_cpu_ms``: processor time of a batch, of an
    update. ``cold``: the cache was dropped from the system's memory before. ``peak_mb``: the most memory the process
    had resident, network included, None where the system does not say; ``peak_read_mb`` up to the end of reading
    alone, before the network's first update.
    """

    slices: int
    cache_mb: float
    batch_size: int
    updates: int
    cold: bool
    read_ms: float
    update_ms: float
    repeated_ms: float
    share: float
    read_cpu_ms: float
    repeated_cpu_ms: float
    share_one_core: float
    peak_read_mb: float | None
    peak_mb: float | None


def large_cache(folder: Path, count: int, size: int, progress: Callable[[int, int], None]) -> SliceCache:
    """A cache of ``count`` slices of size²: noise around an elliptic cord of 16 × 12 pixels. Made once."""
    if (folder / "cache.json").exists():
        return SliceCache.open(folder)

    def slices() -> Iterator[CachedSlice]:
        rng = np.random.default_rng(0)
        rows, columns = np.mgrid[:size, :size] - size / 2
        cord = (np.hypot(rows / 6, columns / 8) <= 1).astype(np.float32)
        patterns = (0.5 * rng.random((_PATTERNS, size, size)) + 0.4 * cord).astype(np.float32)
        shifts = rng.integers(-size // 4, size // 4, (count, 2))
        for number, (down, across) in enumerate(shifts.tolist()):
            image, share = (np.roll(one, (down, across), (0, 1)) for one in (patterns[number % _PATTERNS], cord))
            yield CachedSlice(image, share, f"subject{number // 170}")
            progress(number + 1, count)

    return SliceCache.write(folder, slices(), pixel_mm=0.7, normalisation={}, kind="simulated", source={"noise": count})


def loading_speed(
    config: TrainingConfig, cache: SliceCache, output: Path, device: torch.device, *, updates: int, augment: bool
) -> LoadingSpeed:
    """Time ``updates`` updates of either loop, in turns, so that a busy machine slows both alike.

    ``config`` says network, batch and crop; nothing is validated or saved. Raises what Training raises.
    """
    source = SourceConfig(str(cache.folder), policy="standard" if augment else "none")
    config = replace(config, sources=(source,), validation=replace(config.validation, fraction=0.0, caches=()))
    cold = _drop_from_memory(cache.folder)
    reading, repeated = Training(config, output, device=device), _Repeated(config, output, device=device)
    first = 1_000_000  # batches that training itself does not come to
    read, read_cpu_s = _timed([partial(reading.batches.batch, first + number) for number in range(_READ_BATCHES)])
    peak_read_mb = peak_memory_mb()
    repeated.step()  # the first one chooses kernels and fills the optimiser
    _, repeated_cpu_s = _timed([repeated.step] * _BLOCK, device)
    reading.step()
    times: dict[Training, list[float]] = {reading: [], repeated: []}
    try:
        while len(times[repeated]) < updates:
            for run, taken in times.items():
                taken += _timed([run.step] * _BLOCK, device)[0]
    finally:
        reading.close()
    update_s, repeated_s = (statistics.median(taken) for taken in times.values())
    return LoadingSpeed(
        slices=len(cache),
        cache_mb=round(sum(path.stat().st_size for path in cache.folder.iterdir()) / 1e6, 1),
        batch_size=config.batch_size,
        updates=len(times[repeated]),
        cold=cold,
        read_ms=round(1e3 * statistics.median(read), 2),
        update_ms=round(1e3 * update_s, 1),
        repeated_ms=round(1e3 * repeated_s, 1),
        share=round(repeated_s / update_s, 4),
        read_cpu_ms=round(1e3 * read_cpu_s, 2),
        repeated_cpu_ms=round(1e3 * repeated_cpu_s, 1),
        share_one_core=round(repeated_cpu_s / (repeated_cpu_s + read_cpu_s), 4),
        peak_read_mb=peak_read_mb,
        peak_mb=peak_memory_mb(),
    )


class _Repeated(Training):
    """The same loop without any reading."""

    _batch: Batch | None = None

    def next_batch(self) -> Batch:
        if self._batch is None:
            self._batch = self.batches.batch(0)
        return self._batch


def _timed(work: Sequence[Callable[[], Any]], device: torch.device | None = None) -> tuple[list[float], float]:
    """Seconds of each piece of work, and the mean processor time of all the process's threads."""
    taken, started_cpu = [], time.process_time()
    for one in work:
        started = time.perf_counter()
        one()
        if device is not None and device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - started)
    return taken, (time.process_time() - started_cpu) / len(work)


def _drop_from_memory(folder: Path) -> bool:
    """Ask the system to forget the files, so that they are read from the disk; whether it could be asked."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for path in folder.glob("*.npy"):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def peak_memory_mb() -> float | None:
    """The most memory that this process has had resident, in MB; None on Windows."""
    gc.collect()
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)


def summary_text(speed: LoadingSpeed) -> str:
    """Three lines for a person."""
    lines = [
        "{slices} slices, {cache_mb:.0f} MB: making a batch of {batch_size} takes {read_ms:.1f} ms; an update"
        " {update_ms:.0f} ms, on one repeated batch {repeated_ms:.0f} ms",
        "training from the cache runs at {share:.1%} of the speed without reading; by processor time on one core at"
        " {share_one_core:.1%} ({read_cpu_ms:.1f} ms a batch, {repeated_cpu_ms:.0f} ms an update)",
    ]
    if speed.peak_mb is not None:
        lines.append("resident memory: {peak_read_mb:.0f} MB after reading alone, {peak_mb:.0f} MB in all")
    return "\n".join(lines).format(**asdict(speed))
