"""BatchSampler: a pure function of the update; shares by weight; every slice once before any comes again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from SpinalCordSegLib.errors import ConfigurationError, TrainingDataError
from SpinalCordSegTrainerLib.batches import BatchSampler, Source
from SpinalCordSegTrainerLib.config import CropConfig, TrainingConfig
from SpinalCordSegTrainerLib.slice_cache import SliceCache

CONFIG = TrainingConfig(batch_size=5)


def _source(cache: SliceCache, weight: float = 1.0, policy: str = "none") -> Source:
    return Source(cache, np.arange(len(cache)), weight, None if policy == "none" else getattr(CONFIG, policy))


def test_whole_slices_bit_for_bit_once_an_epoch(make_cache: Callable[..., SliceCache]) -> None:
    cache = make_cache(n=10, size=64)
    batches = BatchSampler([_source(cache)], CONFIG)
    assert batches.updates_per_epoch() == 2
    sums = Counter(float(one.sum()) for update in (0, 1) for one in batches.batch(update).images)
    expected = Counter(float(torch.from_numpy(one).sum()) for one in cache.read(np.arange(10))[0])
    assert sums == expected
    first, third = batches.batch(0).images, batches.batch(2).images
    assert first.shape == (5, 1, 64, 64)
    assert not torch.equal(first, third)


def test_the_batch_depends_on_the_update_alone(make_cache: Callable[..., SliceCache]) -> None:
    config = replace(CONFIG, crop=CropConfig(size=32, jitter_px=6))
    sources = [_source(make_cache(n=6, size=64), 1, "contrast"), _source(make_cache(n=6, size=96, name="b"), 2)]
    forward, jumped = BatchSampler(sources, config), BatchSampler(sources, config)
    for update in range(7):
        forward.batch(update)
    one, other = forward.batch(7), jumped.batch(7)
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.coverage, other.coverage)
    assert one.images.shape == (5, 1, 32, 32)


def test_shares_follow_the_weights(make_cache: Callable[..., SliceCache]) -> None:
    sources = [_source(make_cache(n=4, size=32), 3), _source(make_cache(n=4, size=32, name="b"), 1)]
    batches = BatchSampler(sources, CONFIG)
    assert batches.drawn(8) == [30, 10]
    for update in range(20):
        assert sum(batches.drawn(update)) == 5 * update
        assert len(batches.batch(update).images) == 5


def test_crops_near_the_cord_hold_it(make_cache: Callable[..., SliceCache]) -> None:
    config = replace(CONFIG, crop=CropConfig(size=64, near_cord=1.0, jitter_px=8))
    batches = BatchSampler([_source(make_cache(n=10, size=128))], config)
    for update in range(4):
        assert (batches.batch(update).coverage.sum((1, 2, 3)) > 50).all()


def test_refusals(make_cache: Callable[..., SliceCache]) -> None:
    small, large = make_cache(n=4, size=32), make_cache(n=4, size=64, name="b")
    with pytest.raises(TrainingDataError, match="no training slices"):
        BatchSampler([], CONFIG)
    with pytest.raises(TrainingDataError, match="crop"):
        BatchSampler([_source(small), _source(large)], CONFIG)
    with pytest.raises(ConfigurationError, match="weight"):
        BatchSampler([_source(small, 0.01), _source(small, 1)], CONFIG)
