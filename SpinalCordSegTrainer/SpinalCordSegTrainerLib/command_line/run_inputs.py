"""What a command works on: cases or slice caches of a folder, and the configuration that its options make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegTrainerLib.command_line.options import LearningOptions
from SpinalCordSegTrainerLib.command_line.progress import ProgressStyle, step_display
from SpinalCordSegTrainerLib.config import SourceConfig, TrainingConfig, read_config, with_settings
from SpinalCordSegTrainerLib.dataset import Case, find_cases, match_files
from SpinalCordSegTrainerLib.dataset_check import check_folder
from SpinalCordSegTrainerLib.run_folder import training_begun
from SpinalCordSegTrainerLib.slice_cache import FILES, SliceCache, cache_cases, changes, different_normalisation
from SpinalCordSegTrainerLib.split import read_split
from SpinalCordSegTrainerLib.trainer import fine_tuning_config, validation_for

_MOST_TOLD = 5


@dataclass(frozen=True)
class CaseOptions:
    """What the options of a command say about its cases: --label, --only-labelled, --usable, --tolerant, --progress,
    --inset-mm."""

    label: int | None = None
    only_labelled: bool = False
    usable: bool = False
    tolerant: bool = False
    style: ProgressStyle = ProgressStyle.TEXT
    inset_mm: float = 0.0

    @classmethod
    def of(cls, options: LearningOptions) -> CaseOptions:
        return cls(options.label, options.only_labelled, options.usable, options.tolerant, options.style)

    def made_with(self) -> dict[str, Any]:
        """As cache_cases takes them and a cache keeps them."""
        return {
            "label": self.label,
            "slices": "with_label" if self.only_labelled else "all",
            "leave_out": self.usable,
            "tolerant": self.tolerant,
            "inset_mm": self.inset_mm,
        }

    def find(self, data: Path) -> list[Case]:
        """The cases of a data set. Raises TrainingDataError, naming each that cannot be used; with ``usable`` they are
        left out, and all are read for that."""
        if not self.usable:
            return find_cases(data)
        names = {one.name for one in check_folder(data, self.label, tolerant=self.tolerant) if one.usable}
        return [case for case in match_files(data).cases if case.name in names]


def write_slices(
    data: Path, folder: Path, config: TrainingConfig, options: CaseOptions, *, replacing: bool = False
) -> str:
    """Cache the slices of a data folder, ``replacing`` those there or not; gives what was written, in words."""
    cases = match_files(data).cases if options.usable else find_cases(data)
    with step_display("cases", options.style) as display:
        written = cache_cases(
            cases,
            folder,
            config.normalisation,
            **options.made_with(),
            replacing=replacing,
            progress=display.step,
        )
    used, subjects = len(written.info.source["cases"]), len(set(written.info.subjects))
    return f"{len(written)} slices of {used} cases, {subjects} subjects: {folder}"


def base_configuration(config: Path | None, settings: Sequence[str] | None) -> TrainingConfig:
    """A configuration file, or the defaults, with the settings put in."""
    return with_settings(TrainingConfig() if config is None else read_config(config), settings or ())


def configuration(
    options: LearningOptions,
    data: Path | None,
    output: Path,
    *,
    augment: bool = False,
    model: Path | None = None,
    split: Path | None = None,
) -> TrainingConfig:
    """The configuration with its sources; a data folder is cached inside the output folder and becomes the source.

    ``augment``: sources without a policy get the standard one. ``model``: starts from it; its network and normalisation
    hold where none were asked for. ``split``: holds out the patients that it names. A start from a model may have a
    single patient, of whom nothing is held out.
    """
    chosen = base_configuration(options.config, options.settings)
    if split is not None:
        chosen = replace(chosen, validation=replace(chosen.validation, subjects=read_split(split).validation))
    if model is not None:
        asked = any(one.startswith(("network", "normalisation")) for one in options.settings or ())
        asked = asked or options.config is not None
        chosen = replace(chosen, from_model=str(model)) if asked else fine_tuning_config(chosen, model)
    if data is not None and (data / "cache.json").exists():
        chosen = replace(chosen, sources=(SourceConfig(str(data)),))
    elif data is not None:
        folder = output / "cache"
        own_cache(data, folder, chosen, CaseOptions.of(options))
        chosen = replace(chosen, sources=(SourceConfig(str(folder)),))
    elif not chosen.sources:
        raise ConfigurationError("nothing to train on: give a data folder, or --config with sources")
    if augment:
        chosen = _augmented(chosen)
    return chosen if chosen.from_model is None else replace(chosen, validation=validation_for(chosen))


def _augmented(config: TrainingConfig) -> TrainingConfig:
    """Sources that come as they are get the standard policy; those that have a policy keep theirs."""
    changed = (replace(one, policy="standard") if one.policy == "none" else one for one in config.sources)
    return replace(config, sources=tuple(changed))


def slice_cache(folder: Path, cache: Path, config: TrainingConfig, options: CaseOptions) -> Path:
    """``folder`` where it is a slice cache; else its cases are cached in ``cache``, once."""
    if (folder / "cache.json").exists():
        return folder
    own_cache(folder, cache, config, replace(options, only_labelled=False, usable=False))
    return cache


def own_cache(data: Path, folder: Path, config: TrainingConfig, options: CaseOptions) -> None:
    """The slices of ``data`` in ``folder``, which lies in a command's output folder: those that are there where they
    were made alike, else made anew; they stay until the new ones are complete. Raises what tell_anew and writing raise,
    and ConfigurationError for slices that no command has put there for such data."""
    there = (folder / "cache.json").exists()
    if there:
        changed = _changes(data, SliceCache.open(folder), config, options)
        if not changed:
            return
        tell_anew(folder, changed)
    typer.echo(write_slices(data, folder, config, options, replacing=there), err=True)


def tell_anew(folder: Path, changed: Sequence[str]) -> None:
    """Tell that a command's own slice cache is not what is asked for now. Raises ConfigurationError, naming what has
    ``changed``, where a run in the output folder has begun to learn from it."""
    told = "; ".join(changed[:_MOST_TOLD]) + (f"; and {len(changed) - _MOST_TOLD} more" * (len(changed) > _MOST_TOLD))
    if training_begun(folder.parent):
        raise ConfigurationError(
            f"{folder}: a run here has begun on slices that were made otherwise: {told}; go on with the same data and"
            " options, or choose another output folder"
        )
    typer.echo(f"{folder} is made anew: {told}", err=True)


def _changes(data: Path, cache: SliceCache, config: TrainingConfig, options: CaseOptions) -> list[str]:
    source, cases = cache.info.source, match_files(data).cases
    known, names = isinstance(source.get(FILES), dict), {case.name for case in cases}
    then = set(source[FILES] if known else source.get("cases", ()))
    # An earlier version kept the cases' names alone.
    if cache.info.kind != "real" or (then.isdisjoint(names) if known else not then <= names):
        raise ConfigurationError(
            f"{cache.folder}: holds slices of other data than {data}; choose another output folder"
        )
    inset_mm = source.get("inset_mm", 0.0)
    if inset_mm != options.inset_mm:
        raise ConfigurationError(f"{cache.folder}: was made with --inset-mm {inset_mm}; choose another output folder")
    if known:
        different = different_normalisation(cache, config.normalisation)
        return [*changes(source, cases, options.made_with()), *([different] if different else [])]
    # Of an earlier version: a run that has begun goes on with it.
    return [] if training_begun(cache.folder.parent) else ["nothing in it tells what it was made from"]


def read_slice_range(text: str | None) -> tuple[int, int] | None:
    """ "3:9" → (3, 9). Raises ConfigurationError for anything else, and for a range that holds no slice."""
    if text is None:
        return None
    first, colon, last = text.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal() and int(first) < int(last)):
        raise ConfigurationError(f"--range {text}: expected two slice numbers Z0:Z1, Z0 below Z1")
    return int(first), int(last)
