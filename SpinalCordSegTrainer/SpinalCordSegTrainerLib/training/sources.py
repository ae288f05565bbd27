"""From the configuration to slices to train on and slices held out, split by subject."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from SpinalCordSegLib.errors import ConfigurationError, TrainingDataError
from SpinalCordSegTrainerLib.batching.batches import Source
from SpinalCordSegTrainerLib.batching.loader import SliceCache, check_normalisation, evenly, slices_of, split_subjects
from SpinalCordSegTrainerLib.batching.origin import FILES
from SpinalCordSegTrainerLib.config import AugmentConfig, SourceConfig, TrainingConfig
from SpinalCordSegTrainerLib.datasets.split import CacheSplit, split_by_name
from SpinalCordSegTrainerLib.training.validation import HeldOut

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class OpenedSources:
    """``split``: per cache the subjects for training and for validation, to be written beside the run.
    ``provenance``: what the slices trained on are, for the model card. ``patients``: whose these are, real people only,
    each counted once. ``old``: what a starting model could do before. ``on_both_sides``: subjects trained on and held
    out, by the split of an earlier version."""

    training: tuple[Source, ...]
    held_out: tuple[HeldOut, ...]
    split: list[dict[str, Any]]
    provenance: list[dict[str, Any]]
    patients: int
    old: tuple[HeldOut, ...] = ()
    on_both_sides: int = 0


def open_sources(config: TrainingConfig, begun: Sequence[CacheSplit] = ()) -> OpenedSources:
    """Open all caches. ``begun``: the split of a run that goes on, which it keeps; the log tells whether subjects are
    on both of its sides.

    Raises TrainingDataError for a cache that cannot be used, a subject on both sides of a new split, or caches of other
    subjects than ``begun`` tells; ConfigurationError for a cache that was normalised otherwise than the model.
    """
    if not config.sources:
        raise ConfigurationError("no sources: name at least one slice cache to train from")
    caches = [_open(source.path, config) for source in config.sources]
    held_caches = [_open(path, config) for path in config.validation.caches]
    both = 0
    if begun:
        parts = _as_begun(begun, [*caches, *held_caches])
        both = _on_both_sides(parts)
    else:
        parts = _drawn(caches, config)
        parts += [_part(cache, (), sorted(set(cache.info.subjects))) for cache in held_caches]
        _check_split(parts, config)
    held_out = [HeldOut(cache, np.arange(len(cache))) for cache in held_caches]
    training, provenance = [], []
    for source, cache, part in zip(config.sources, caches, parts, strict=False):
        kept = slices_of(cache, part.training)
        if part.validation:
            held_out.append(HeldOut(cache, slices_of(cache, part.validation)))
        if len(kept):
            training.append(Source(cache, kept, source.weight, _policy(source, config)))
            provenance.append(_provenance(cache, source, len(kept), len(part.training)))
        else:
            _log.warning("%s: all of its subjects are held out; nothing of it is trained on", cache.folder)
    most = config.validation.max_slices
    old = [HeldOut(cache, np.arange(len(cache))) for cache in (_open(path, config) for path in config.old_caches)]
    patients = len({subject for part in parts if part.kind == "real" for subject in part.training})
    told = [part.told() for part in parts]
    return OpenedSources(
        tuple(training), _limited(held_out, most), told, provenance, patients, _limited(old, most), both
    )


def _drawn(caches: Sequence[SliceCache], config: TrainingConfig) -> list[CacheSplit]:
    """Drawn once from all caches of a kind together: one person's slices may lie in several."""
    fraction = 0.0 if config.validation.caches else config.validation.fraction
    held: dict[str, Sequence[str]] = {}
    for kind in sorted({cache.info.kind for cache in caches}):
        everybody = [one for cache in caches if cache.info.kind == kind for one in cache.info.subjects]
        held[kind] = config.validation.subjects or split_subjects(everybody, fraction, config.seed)[1]
    return [_part(cache, *split_by_name(cache.info.subjects, held[cache.info.kind])) for cache in caches]


def _as_begun(begun: Sequence[CacheSplit], caches: Sequence[SliceCache]) -> list[CacheSplit]:
    if len(begun) != len(caches):
        raise ConfigurationError(f"the run was begun with {len(begun)} slice caches, not {len(caches)}: give the same")
    for cache, part in zip(caches, begun, strict=True):
        if set(cache.info.subjects) != {*part.training, *part.validation}:
            raise TrainingDataError(f"{cache.folder}: holds other subjects than when the run began; begin a new run")
    return [_part(cache, part.training, part.validation) for cache, part in zip(caches, begun, strict=True)]


def _on_both_sides(parts: Sequence[CacheSplit]) -> int:
    """How many subjects are; told in the log."""
    trained = {(part.kind, subject) for part in parts for subject in part.training}
    both = len(trained & {(part.kind, subject) for part in parts for subject in part.validation})
    if both:
        _log.warning(
            "%d subjects are on both sides of the split that this run began with: its scores are too good; begin a new"
            " run to hold them out",
            both,
        )
    return both


def _part(cache: SliceCache, training: Sequence[str], validation: Sequence[str]) -> CacheSplit:
    return CacheSplit(tuple(training), tuple(validation), cache.folder.name, cache.info.kind)


def _check_split(parts: Sequence[CacheSplit], config: TrainingConfig) -> None:
    """Raise TrainingDataError when a subject is on both sides, or the patients asked to be held out leave one empty.
    A simulated subject is nobody's namesake among the patients."""
    trained = {(part.kind, subject) for part in parts for subject in part.training}
    for part in parts:
        both = sum((part.kind, subject) in trained for subject in part.validation)
        if both:
            raise TrainingDataError(
                f"{part.cache}: {both} of the subjects held out there are also trained on; hold out others, and begin a"
                " new run"
            )
    if not config.validation.subjects:
        return
    if not any(part.validation for part in parts):
        raise TrainingDataError("none of the patients of the given split is in this data; give the split of this data")
    if not trained:
        raise TrainingDataError("the given split holds out every patient of this data; nobody is left to train on")


def _open(path: str, config: TrainingConfig) -> SliceCache:
    cache = SliceCache.open(path)
    check_normalisation(cache, config.normalisation)
    return cache


def _policy(source: SourceConfig, config: TrainingConfig) -> AugmentConfig | None:
    return {"none": None, "standard": config.standard, "contrast": config.contrast}[source.policy]


def _provenance(cache: SliceCache, source: SourceConfig, slices: int, subjects: int) -> dict[str, Any]:
    info = cache.info
    return {
        "cache": cache.folder.name,
        "kind": info.kind,
        "slices": slices,
        "subjects": subjects,
        "weight": source.weight,
        "policy": source.policy,
        # A model is handed on; the names of the cases it learned from, which may be patients', stay in the cache.
        "source": {
            name: len(value) if name == "cases" else value for name, value in info.source.items() if name != FILES
        },
    }


def _limited(held_out: list[HeldOut], count: int | None) -> tuple[HeldOut, ...]:
    total = sum(len(part.indices) for part in held_out)
    if count is None or total <= count:
        return tuple(held_out)
    # Shared among the parts in proportion, at least one slice each.
    shares = [max(1, round(count * len(part.indices) / total)) for part in held_out]
    return tuple(HeldOut(p.cache, evenly(p.indices, n)) for p, n in zip(held_out, shares, strict=True))
