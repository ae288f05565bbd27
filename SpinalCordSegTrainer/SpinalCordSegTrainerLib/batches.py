"""From slice caches to batches: who is trained on and held out, the batch of any update, scores on the slices held out.

A batch is a pure function of its update, so that a resumed run draws alike.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from SpinalCordSegLib.errors import ConfigurationError, TrainingDataError
from SpinalCordSegLib.files import to_json
from SpinalCordSegLib.metrics import ConfusionCounts, csa_error_percent
from SpinalCordSegTrainerLib.augmentation import augment
from SpinalCordSegTrainerLib.config import AugmentConfig, LossConfig, SourceConfig, TrainingConfig
from SpinalCordSegTrainerLib.distributed import ALONE, Processes
from SpinalCordSegTrainerLib.losses import segmentation_loss
from SpinalCordSegTrainerLib.slice_cache import SliceCache, check_normalisation, evenly, slices_of
from SpinalCordSegTrainerLib.split import Split, split_by_name, split_patients

_log = logging.getLogger(__name__)
_BESIDE_A_GPU = 4


@dataclass(frozen=True, eq=False)
class Slices:
    """Some slices of one cache, held out or to be trained on; then also how often and how changed they come."""

    cache: SliceCache
    indices: NDArray[np.int64]
    weight: float = 1.0
    augmentation: AugmentConfig | None = None

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and coverage (n, 1, S, S) in 0..1, in order, at most ``size`` at a time."""
        for start in range(0, len(self.indices), size):
            images, coverage = self.cache.read(self.indices[start : start + size])
            yield torch.from_numpy(images)[:, None], torch.from_numpy(coverage)[:, None]


@dataclass(frozen=True, eq=False)
class OpenedSources:
    """``split``: per cache the patients for training and for validation, to be written beside the run.
    ``provenance``: what the slices trained on are, for the model card. ``patients``: whose these are, real people only,
    each counted once."""

    training: tuple[Slices, ...]
    held_out: tuple[Slices, ...]
    split: list[Split]
    provenance: list[dict[str, Any]]
    patients: int


def open_sources(config: TrainingConfig, begun: Sequence[Split] = ()) -> OpenedSources:
    """Open all caches. ``begun``: the split of a run that goes on, which it keeps.

    Raises TrainingDataError for a cache that cannot be used, a patient on both sides, or caches of other
    patients than those of ``begun``; ConfigurationError for a cache that was normalised otherwise than the model.
    """
    if not config.sources:
        raise ConfigurationError("no sources: name at least one slice cache to train from")
    caches = [_open(source.path, config) for source in config.sources]
    held_caches = [_open(path, config) for path in config.validation.caches]
    parts = _as_begun(begun, [*caches, *held_caches]) if begun else _drawn(caches, held_caches, config)
    _check_split(parts, config)
    held_out = [Slices(cache, np.arange(len(cache))) for cache in held_caches]
    training, provenance = [], []
    policies = {"none": None, "standard": config.standard, "contrast": config.contrast}
    for source, cache, part in zip(config.sources, caches, parts, strict=False):
        kept = slices_of(cache, part.training)
        if part.validation:
            held_out.append(Slices(cache, slices_of(cache, part.validation)))
        if len(kept):
            own = [slices_of(cache, [patient]) for patient in part.training] if config.even_patients else [kept]
            drawn = np.concatenate([np.resize(one, max(map(len, own))) for one in own])
            training.append(Slices(cache, drawn, source.weight, policies[source.policy]))
            provenance.append(_provenance(cache, source, len(kept), len(part.training)))
        else:
            _log.warning("%s: all of its patients are held out; nothing of it is trained on", cache.folder)
    most = config.validation.max_slices
    patients = len({patient for part in parts if part.kind == "real" for patient in part.training})
    return OpenedSources(tuple(training), _limited(held_out, most), parts, provenance, patients)


def _open(path: str, config: TrainingConfig) -> SliceCache:
    cache = SliceCache.open(path)
    check_normalisation(cache, config.normalisation)
    return cache


def _drawn(caches: Sequence[SliceCache], held_caches: Sequence[SliceCache], config: TrainingConfig) -> list[Split]:
    """Drawn once from all caches of a kind together: one person's slices may lie in several."""
    fraction = 0.0 if config.validation.caches else config.validation.fraction
    held: dict[str, Sequence[str]] = {}
    for kind in sorted({cache.info.kind for cache in caches}):
        everybody = [one for cache in caches if cache.info.kind == kind for one in cache.info.subjects]
        held[kind] = config.validation.subjects or split_patients(everybody, fraction, config.seed).validation
    parts = [_of_cache(cache, split_by_name(cache.info.subjects, held[cache.info.kind])) for cache in caches]
    return parts + [_of_cache(cache, Split((), tuple(sorted(set(cache.info.subjects))))) for cache in held_caches]


def _as_begun(begun: Sequence[Split], caches: Sequence[SliceCache]) -> list[Split]:
    if len(begun) != len(caches):
        raise ConfigurationError(f"the run was begun with {len(begun)} slice caches, not {len(caches)}: give the same")
    for cache, part in zip(caches, begun, strict=True):
        if set(cache.info.subjects) != {*part.training, *part.validation}:
            raise TrainingDataError(f"{cache.folder}: holds other patients than when the run began; begin a new run")
    return [_of_cache(cache, part) for cache, part in zip(caches, begun, strict=True)]


def _of_cache(cache: SliceCache, part: Split) -> Split:
    return replace(part, cache=cache.folder.name, kind=cache.info.kind)


def _check_split(parts: Sequence[Split], config: TrainingConfig) -> None:
    """Raise TrainingDataError when a patient is on both sides, or the patients asked to be held out leave one empty.
    A simulated person is nobody's namesake among the patients."""
    trained = {(part.kind, patient) for part in parts for patient in part.training}
    for part in parts:
        both = sum((part.kind, patient) in trained for patient in part.validation)
        if both:
            raise TrainingDataError(
                f"{part.cache}: {both} of the patients held out there are also trained on; hold out others, and begin a"
                " new run"
            )
    if not config.validation.subjects:
        return
    if not any(part.validation for part in parts):
        raise TrainingDataError("none of the patients of the given split is in this data; give the split of this data")
    if not trained:
        raise TrainingDataError("the given split holds out every patient of this data; nobody is left to train on")


def _provenance(cache: SliceCache, source: SourceConfig, slices: int, patients: int) -> dict[str, Any]:
    # A model is handed on; the names of the cases it learned from, which may be patients', stay in the cache.
    made_from = {name: len(value) if name == "cases" else value for name, value in cache.info.source.items()}
    return {
        "cache": cache.folder.name,
        "kind": cache.info.kind,
        "slices": slices,
        "subjects": patients,
        "weight": source.weight,
        "policy": source.policy,
        "source": made_from,
    }


def _limited(held_out: list[Slices], count: int | None) -> tuple[Slices, ...]:
    total = sum(len(part.indices) for part in held_out)
    if count is None or total <= count:
        return tuple(held_out)
    # Shared among the parts in proportion, at least one slice each.
    shares = [max(1, round(count * len(part.indices) / total)) for part in held_out]
    return tuple(Slices(p.cache, evenly(p.indices, n)) for p, n in zip(held_out, shares, strict=True))


# Batches


Batch = tuple[Tensor, Tensor]
"""Images and coverage, (n, 1, H, W) float32 in 0..1."""


class BatchSampler:
    """Draws the batch of any update. Each source is gone through in a new random order again and again."""

    def __init__(self, sources: Sequence[Slices], config: TrainingConfig) -> None:
        """Raises TrainingDataError when a source is empty or sizes do not fit, ConfigurationError for weights so
        unequal that a source would give less than one slice a batch."""
        if not sources or any(len(source.indices) == 0 for source in sources):
            raise TrainingDataError("no training slices: give at least one source, each with slices left to train on")
        total = sum(source.weight for source in sources)
        if min(source.weight for source in sources) * config.batch_size < total:
            raise ConfigurationError("a source's weight gives it less than one slice a batch: raise it or the batch")
        sizes = {source.cache.info.size for source in sources}
        self.size = config.crop.size or min(sizes)
        if (config.crop.size is None and len(sizes) > 1) or self.size > min(sizes):
            raise TrainingDataError(f"slices of {sorted(sizes)} pixels cannot be batched at {self.size}: set crop.size")
        self._sources, self._config = tuple(sources), config
        self._bounds = np.cumsum([0.0] + [source.weight / total for source in sources])
        self._bounds[-1] = 1.0

    def updates_per_epoch(self) -> int:
        """Batches that all slices fill (rounded up), unless the configuration says otherwise."""
        if self._config.updates_per_epoch is not None:
            return self._config.updates_per_epoch
        return math.ceil(sum(len(source.indices) for source in self._sources) / self._config.batch_size)

    def drawn(self, update: int) -> list[int]:
        """How many slices each source has given before this update; their sum is update · batch size."""
        marks = [math.floor(update * self._config.batch_size * bound + 0.5) for bound in self._bounds]
        return [end - start for start, end in pairwise(marks)]

    def batch(self, update: int) -> Batch:
        """The batch of this update (0-based)."""
        before, after = self.drawn(update), self.drawn(update + 1)
        rng = np.random.default_rng([self._config.seed, 2, update])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        parts = []
        for number, source in enumerate(self._sources):
            if after[number] > before[number]:
                count, seed = len(source.indices), self._config.seed
                positions = range(before[number], after[number])
                picked = [_order(seed, number, at // count, count)[at % count] for at in positions]
                parts.append(self._part(source, source.indices[picked], rng, generator))
        return torch.cat([images for images, _ in parts]), torch.cat([coverage for _, coverage in parts])

    def _part(
        self, source: Slices, indices: NDArray[np.int64], rng: np.random.Generator, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        images, coverage = source.cache.read(indices)
        centres = torch.from_numpy(np.stack([self._centre(source.cache, int(index), rng) for index in indices]))
        return augment(
            torch.from_numpy(images),
            torch.from_numpy(coverage),
            centres.float(),
            self.size,
            source.augmentation,
            generator,
        )

    def _centre(self, cache: SliceCache, index: int, rng: np.random.Generator) -> NDArray[np.float64]:
        # Half-way between pixels for an even crop, so that a crop that is not augmented falls on whole pixels.
        side, crop = cache.info.size, self._config.crop
        draw, near = rng.random(3), cache.info.centres[index]
        room = side - self.size
        if room == 0:
            return np.full(2, (side - 1) / 2)
        if near is not None and draw[0] < crop.near_cord:
            corner = np.array(near) + (2 * draw[1:] - 1) * crop.jitter_px - (self.size - 1) / 2
        else:
            corner = draw[1:] * (room + 1) - 0.5
        return np.clip(np.rint(corner), 0, room) + (self.size - 1) / 2


@lru_cache(maxsize=64)
def _order(seed: int, source: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, 1, source, epoch]).permutation(count)


# Batches made by threads while the network computes


def batch_threads(device: torch.device) -> int:
    """How many threads to make batches with. On the CPU one, where the network computes on one core and another is
    left over; none where it computes on several, since a second pool of threads would take the network's own time."""
    if device.type != "cpu":
        return _BESIDE_A_GPU
    return 1 if torch.get_num_threads() == 1 and (os.cpu_count() or 1) > 1 else 0


class Prefetcher:
    """``batch(update)`` gives what ``make(update)`` gives, made ahead of time by ``threads``; 0 makes it when asked.

    A batch depends on its update alone, so the result is the same for any number of threads.
    """

    def __init__(self, make: Callable[[int], Batch], threads: int) -> None:
        self._make = make
        self._depth = 2 * threads
        self._pool = ThreadPoolExecutor(threads, "batches") if threads else None
        self._pending: dict[int, Future[Batch]] = {}

    def batch(self, update: int) -> Batch:
        """The batch of this update; the next ones are begun."""
        if self._pool is None:
            return self._make(update)
        for number in range(update, update + self._depth):
            if number not in self._pending:
                self._pending[number] = self._pool.submit(self._make, number)
        return self._pending.pop(update).result()

    def close(self) -> None:
        """What was begun in vain is dropped."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pending.clear()


# Scores on held-out slices after each epoch


def on_device(images: Tensor, device: torch.device) -> Tensor:
    """Images as a network reads them fastest."""
    return images.to(device).contiguous(memory_format=torch.channels_last)


SliceCounts = tuple[ConfusionCounts, float, float]
"""Of a slice: exact counts at threshold 0.5; area of its coverage in pixels; the logit above which the pixels near the
cord have that area, NaN where Dice is under 0.5: a cord that was missed says nothing about the outline."""
_NEAR_PX, _LEAST_DICE = 8, 0.5


def _counts_of(logits: Tensor, coverage: Tensor) -> SliceCounts:
    counts, area = ConfusionCounts.of((logits > 0).numpy(), coverage.numpy() >= 0.5), float(coverage.sum())
    size, near = round(area), functional.max_pool2d(coverage, 2 * _NEAR_PX + 1, stride=1, padding=_NEAR_PX) > 0
    if not counts.true_positive or counts.dice() < _LEAST_DICE or size >= int(near.sum()):
        return counts, area, math.nan
    return counts, area, float(logits[near].topk(size + 1).values[-2:].mean())


def slice_counts(
    network: nn.Module,
    held_out: Sequence[Slices],
    loss: LossConfig,
    batch_size: int,
    device: torch.device,
    processes: Processes = ALONE,
) -> tuple[list[float], list[SliceCounts]]:
    """The loss of each batch of whole slices, and the counts of each slice. In evaluation mode; the network's mode is
    left as it was. Several processes take the batches in turn, and each gets the scores of all."""
    was_training = network.training
    network.eval()
    found = {}
    with torch.inference_mode():
        for number, (images, coverage) in enumerate(batch for part in held_out for batch in part.batches(batch_size)):
            if number % processes.count == processes.rank:
                logits = network(on_device(images, device)).float().cpu()
                counted = [_counts_of(one, share) for one, share in zip(logits, coverage, strict=True)]
                found[number] = float(segmentation_loss(logits, coverage, loss)), counted
    network.train(was_training)
    batches = [one for _, one in sorted(processes.gathered(found).items())]
    return [loss for loss, _ in batches], [one for _, counted in batches for one in counted]


def validate(losses: Sequence[float], counted: Sequence[SliceCounts]) -> dict[str, Any]:
    """Scores of what ``slice_counts`` gives.

    ``loss``: mean over batches. ``mcc``: from counts pooled over all slices. ``dice``: mean over slices with cord.
    ``area_percent``: signed error of the summed area on those slices, against the coverage. All of masks as the network
    draws them, nothing cleaned. ``area_logit``: above which the area of the median slice is right. ``n_slices``. None
    where no slice holds cord, ``mcc`` where there is no slice.
    """
    with_cord = [(one, area) for one, area, _ in counted if one.true_positive + one.false_negative]
    thresholds = [logit for _, _, logit in counted if math.isfinite(logit)]
    found_area = sum(one.true_positive + one.false_positive for one, _ in with_cord)
    true_area = sum(area for _, area in with_cord)
    scores = {
        "loss": float(np.mean(losses)) if losses else None,
        "mcc": sum((one for one, *_ in counted), ConfusionCounts()).mcc() if counted else None,
        "dice": float(np.mean([one.dice() for one, _ in with_cord])) if with_cord else None,
        "area_percent": float(csa_error_percent(found_area, true_area)),
        "area_logit": float(np.median(thresholds)) if thresholds else None,
        "n_slices": len(counted),
    }
    finite: dict[str, Any] = to_json(scores)
    return finite
