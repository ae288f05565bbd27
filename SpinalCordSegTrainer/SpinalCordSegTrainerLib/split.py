"""Who is trained on and who is held out: by patient, at random, in folds, or by a column such as site or scanner."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from SpinalCordSegLib.errors import ConfigurationError, TrainingDataError
from SpinalCordSegLib.files import parse_json, write_json
from SpinalCordSegTrainerLib.config import check_seed
from SpinalCordSegTrainerLib.dataset import LabelledCase

SPLIT_NAME = "split.json"


@dataclass(frozen=True)
class Split:
    """Patients, sorted; nobody is in both."""

    training: tuple[str, ...]
    validation: tuple[str, ...]


@dataclass(frozen=True)
class CacheSplit(Split):
    """Of the subjects of one slice cache. ``cache``: its folder's name. ``kind``: "real" or "simulated" slices."""

    cache: str = ""
    kind: str = ""

    def as_json(self) -> dict[str, Any]:
        """For the file beside the run."""
        sides = {"training": list(self.training), "validation": list(self.validation)}
        return {"cache": self.cache, "kind": self.kind, **sides}


def read_split(path: Path) -> Split:
    """A split that a run or ``spinalcordseg-train check --output`` wrote; ``path``: the file, or the folder it lies in.

    Of a run that also had simulated people only the patients count. Raises TrainingDataError when there is none, it
    holds nobody out, or a patient is on both sides.
    """
    parts = _read(path)
    patients = [part for part in parts if part.kind != "simulated"] or parts
    training = {subject for part in patients for subject in part.training}
    validation = {subject for part in patients for subject in part.validation}
    both = sorted(training & validation)
    if both:
        raise TrainingDataError(f"{path}: {len(both)} patients are on both sides ({', '.join(both[:5])}); mend it")
    if not validation:
        raise TrainingDataError(f"{path}: holds nobody out; give a split with validation patients")
    return Split(tuple(sorted(training)), tuple(sorted(validation)))


def read_parts(run: Path) -> list[CacheSplit]:
    """Cache by cache, as the run in this folder wrote it; empty where no run did. Raises TrainingDataError."""
    parts = _read(run) if (run / SPLIT_NAME).exists() else []
    return parts if all(part.cache for part in parts) else []


def _read(path: Path) -> list[CacheSplit]:
    file = Path(path) / SPLIT_NAME if Path(path).is_dir() else Path(path)
    try:
        return [
            CacheSplit(
                tuple(str(subject) for subject in part["training"]),
                tuple(str(subject) for subject in part["validation"]),
                str(part.get("cache", "")),
                str(part.get("kind", "")),
            )
            for part in parse_json(file.read_text(encoding="utf-8"))
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainingDataError(
            f"{path}: holds no readable {SPLIT_NAME}; name the folder of a training run or a split file"
        ) from error


def write_split(split: Split, path: Path) -> None:
    """In the form that a run writes beside itself. Raises OutputError."""
    write_json(path, [{"training": list(split.training), "validation": list(split.validation)}])


def held_out(cases: Sequence[LabelledCase], run: Path) -> list[LabelledCase]:
    """The cases whose patient the run in this folder, or this split file, held out, in their order.

    Raises TrainingDataError when there is no split, or none of the cases was held out.
    """
    subjects = set(read_split(run).validation)
    chosen = [case for case in cases if case.subject in subjects]
    if not chosen:
        raise TrainingDataError(f"{run}: held out none of these {len(cases)} cases; evaluate on the data it was given")
    return chosen


def split_subjects(subjects: Sequence[str], fraction: float, seed: int) -> tuple[list[str], list[str]]:
    """Subjects for training and for validation: ``fraction`` of them, at random but seeded, at least one of each.

    Raises TrainingDataError with fewer than two subjects. ``fraction`` 0 gives an empty second list.
    """
    unique = sorted(set(subjects))
    if fraction == 0:
        return unique, []
    if len(unique) < 2:
        raise TrainingDataError(
            f"{len(unique)} subject found: a split by subject needs two; add cases or give validation caches"
        )
    count = min(max(1, round(fraction * len(unique))), len(unique) - 1)
    order = np.random.default_rng([seed, 20]).permutation(len(unique))
    held_out = {unique[n] for n in order[:count]}
    return [one for one in unique if one not in held_out], sorted(held_out)


def split_by_name(subjects: Iterable[str], validation: Iterable[str]) -> tuple[list[str], list[str]]:
    """Subjects split by who is to be held out; whoever is not among ``subjects`` does not count."""
    unique, wanted = sorted(set(subjects)), set(validation)
    return [one for one in unique if one not in wanted], [one for one in unique if one in wanted]


def split_by_fact(cases: Sequence[LabelledCase], rule: str) -> Split:
    """``rule`` "site=Oslo": patients with any case of that value are held out with all their cases.

    Raises ConfigurationError for a rule of another form, a column or value that no case has, or one that all have.
    """
    column, equals, value = (text.strip() for text in rule.partition("="))
    if not (column and equals and value):
        raise ConfigurationError(f"--hold-out {rule}: expected COLUMN=VALUE, as site=Oslo")
    known = {dict(case.facts).get(column.lower(), "") for case in cases} - {""}
    if value not in known:
        values = f"its values are {', '.join(sorted(known))}" if known else "no case has that column"
        raise ConfigurationError(f"--hold-out {rule}: no case has it; {values}")
    wanted = {case.subject for case in cases if dict(case.facts).get(column.lower()) == value}
    kept, out = split_by_name((case.subject for case in cases), wanted)
    if not kept:
        raise ConfigurationError(f"--hold-out {rule}: every patient would be held out; choose another value")
    return Split(tuple(kept), tuple(out))


def folds(subjects: Iterable[str], count: int, seed: int) -> list[Split]:
    """``count`` splits, seeded, that hold out every patient exactly once; sizes differ by one at most.

    Raises ConfigurationError for fewer than two folds or fewer patients than folds.
    """
    unique = sorted(set(subjects))
    if not 2 <= count <= len(unique):
        raise ConfigurationError(f"{count} folds of {len(unique)} patients: from 2 to as many as there are patients")
    order = [unique[n] for n in np.random.default_rng([seed, 21]).permutation(len(unique))]
    splits = (split_by_name(unique, order[n::count]) for n in range(count))
    return [Split(tuple(kept), tuple(out)) for kept, out in splits]


def planned_splits(
    cases: Sequence[LabelledCase], hold_out: str | None, n_folds: int | None, fraction: float, seed: int
) -> dict[str, Split]:
    """By name: "split", or "fold1" and so on. ``hold_out``: a rule as split_by_fact takes it, else a share of the
    patients. Raises ConfigurationError, and TrainingDataError for a single patient."""
    check_seed(seed)
    subjects = [case.subject for case in cases]
    if n_folds is not None:
        return {f"fold{number}": one for number, one in enumerate(folds(subjects, n_folds, seed), 1)}
    if hold_out is not None:
        return {"split": split_by_fact(cases, hold_out)}
    if not 0 < fraction < 1:
        raise ConfigurationError(f"--fraction {fraction}: it must lie between 0 and 1")
    kept, held = split_subjects(subjects, fraction, seed)
    return {"split": Split(tuple(kept), tuple(held))}
