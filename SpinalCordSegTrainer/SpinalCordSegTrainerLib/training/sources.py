"""From the configuration to slices to train on and slices held out, split by subject."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from SpinalCordSegLib.errors import ConfigurationError, TrainingDataError
from SpinalCordSegTrainerLib.batching.batches import Source
from SpinalCordSegTrainerLib.batching.loader import SliceCache, check_normalisation, evenly, slices_of, split_subjects
from SpinalCordSegTrainerLib.config import AugmentConfig, SourceConfig, TrainingConfig
from SpinalCordSegTrainerLib.datasets.split import split_by_name
from SpinalCordSegTrainerLib.training.validation import HeldOut


@dataclass(frozen=True, eq=False)
class OpenedSources:
    """``split``: per cache the subjects for training and for validation, to be written beside the run.
    ``provenance``: what the slices are, for the model card. ``old``: what a starting model could do before."""

    training: tuple[Source, ...]
    held_out: tuple[HeldOut, ...]
    split: list[dict[str, Any]]
    provenance: list[dict[str, Any]]
    old: tuple[HeldOut, ...] = ()


def open_sources(config: TrainingConfig) -> OpenedSources:
    """Open all caches. Raises TrainingDataError for a cache that cannot be used or shares a subject with a cache
    held out, ConfigurationError for one that was normalised otherwise than the model."""
    if not config.sources:
        raise ConfigurationError("no sources: name at least one slice cache to train from")
    held_caches = [_open(path, config) for path in config.validation.caches]
    held_out = [HeldOut(cache, np.arange(len(cache))) for cache in held_caches]
    training, split, provenance = [], [], []
    for source in config.sources:
        cache = _open(source.path, config)
        kept, out = _split(cache, config)
        if out:
            held_out.append(HeldOut(cache, slices_of(cache, out)))
        training.append(Source(cache, slices_of(cache, kept), source.weight, _policy(source, config)))
        split.append({"cache": cache.folder.name, "training": kept, "validation": out})
        provenance.append(_provenance(cache, source))
    _check_split(split, config)
    for cache in held_caches:
        _check_apart(cache, split)
        split.append({"cache": cache.folder.name, "training": [], "validation": sorted(set(cache.info.subjects))})
    most = config.validation.max_slices
    old = [HeldOut(cache, np.arange(len(cache))) for cache in (_open(path, config) for path in config.old_caches)]
    return OpenedSources(tuple(training), _limited(held_out, most), split, provenance, _limited(old, most))


def _split(cache: SliceCache, config: TrainingConfig) -> tuple[list[str], list[str]]:
    if config.validation.subjects:
        return split_by_name(cache.info.subjects, config.validation.subjects)
    return split_subjects(
        cache.info.subjects, 0.0 if config.validation.caches else config.validation.fraction, config.seed
    )


def _check_split(split: list[dict[str, Any]], config: TrainingConfig) -> None:
    """Raise TrainingDataError when the patients asked to be held out leave one side empty."""
    if not config.validation.subjects:
        return
    if not any(one["validation"] for one in split):
        raise TrainingDataError("none of the patients of the given split is in this data; give the split of this data")
    if not any(one["training"] for one in split):
        raise TrainingDataError("the given split holds out every patient of this data; nobody is left to train on")


def _open(path: str, config: TrainingConfig) -> SliceCache:
    cache = SliceCache.open(path)
    check_normalisation(cache, config.normalisation)
    return cache


def _policy(source: SourceConfig, config: TrainingConfig) -> AugmentConfig | None:
    return {"none": None, "standard": config.standard, "contrast": config.contrast}[source.policy]


def _provenance(cache: SliceCache, source: SourceConfig) -> dict[str, Any]:
    info = cache.info
    return {
        "cache": cache.folder.name,
        "kind": info.kind,
        "slices": len(cache),
        "subjects": len(set(info.subjects)),
        "weight": source.weight,
        "policy": source.policy,
        # A model is handed on; the names of the cases it learned from, which may be patients', stay in the cache.
        "source": {name: len(value) if name == "cases" else value for name, value in info.source.items()},
    }


def _check_apart(cache: SliceCache, split: list[dict[str, Any]]) -> None:
    for part in split:
        both = set(cache.info.subjects) & set(part["training"])
        if both:
            raise TrainingDataError(
                f"{cache.folder}: {len(both)} of its subjects are also trained on (cache {part['cache']}):"
                " hold out other subjects"
            )


def _limited(held_out: list[HeldOut], count: int | None) -> tuple[HeldOut, ...]:
    total = sum(len(part.indices) for part in held_out)
    if count is None or total <= count:
        return tuple(held_out)
    # Shared among the parts in proportion, at least one slice each.
    shares = [max(1, round(count * len(part.indices) / total)) for part in held_out]
    return tuple(HeldOut(p.cache, evenly(p.indices, n)) for p, n in zip(held_out, shares, strict=True))
