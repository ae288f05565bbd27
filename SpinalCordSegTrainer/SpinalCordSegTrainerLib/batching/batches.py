"""Training batches from several slice caches: a pure function of the update, so that a resumed run draws alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import ceil, floor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from SpinalCordSegLib.errors import ConfigurationError, TrainingDataError
from SpinalCordSegTrainerLib.batching.augment import augment
from SpinalCordSegTrainerLib.batching.loader import SliceCache
from SpinalCordSegTrainerLib.config import AugmentConfig, TrainingConfig


@dataclass(frozen=True)
class Batch:
    """``images``, ``coverage``: (n, 1, H, W) float32 in 0..1."""

    images: Tensor
    coverage: Tensor


@dataclass(frozen=True, eq=False)
class Source:
    """The slices of one cache that may be trained on, and how often and how changed they come."""

    cache: SliceCache
    indices: NDArray[np.int64]
    weight: float
    augmentation: AugmentConfig | None


@lru_cache(maxsize=64)
def _order(seed: int, source: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, 1, source, epoch]).permutation(count)


class Batches:
    """Draws the batch of any update. Each source is gone through in a new random order again and again."""

    def __init__(self, sources: Sequence[Source], config: TrainingConfig) -> None:
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
        return ceil(sum(len(source.indices) for source in self._sources) / self._config.batch_size)

    def drawn(self, update: int) -> list[int]:
        """How many slices each source has given before this update; their sum is update · batch size."""
        marks = [floor(update * self._config.batch_size * bound + 0.5) for bound in self._bounds]
        return [end - start for start, end in pairwise(marks)]

    def batch(self, update: int) -> Batch:
        """The batch of this update (0-based)."""
        before, after = self.drawn(update), self.drawn(update + 1)
        rng = np.random.default_rng([self._config.seed, 2, update])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        parts = []
        for number, source in enumerate(self._sources):
            if after[number] > before[number]:
                indices = self._indices(number, range(before[number], after[number]))
                parts.append(self._part(source, indices, rng, generator))
        return Batch(torch.cat([images for images, _ in parts]), torch.cat([coverage for _, coverage in parts]))

    def span(self, start: int, stop: int) -> Iterator[Batch]:
        for update in range(start, stop):
            yield self.batch(update)

    def _indices(self, number: int, positions: range) -> NDArray[np.int64]:
        allowed = self._sources[number].indices
        count = len(allowed)
        picked = [_order(self._config.seed, number, at // count, count)[at % count] for at in positions]
        return allowed[picked]

    def _part(
        self, source: Source, indices: NDArray[np.int64], rng: np.random.Generator, generator: torch.Generator
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
