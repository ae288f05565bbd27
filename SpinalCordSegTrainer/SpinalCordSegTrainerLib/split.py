"""Who is trained on and who is held out: by patient, at random, in folds, or by a column such as site or scanner."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from SpinalCordSegLib.errors import ConfigurationError, TrainingDataError
from SpinalCordSegLib.files import from_json, parse_json, write_json
from SpinalCordSegTrainerLib.config import check_seed
from SpinalCordSegTrainerLib.dataset import LabelledCase

SPLIT_NAME = "split.json"


@dataclass(frozen=True)
class Split:
    """Patients; nobody is in both. Of a run also: ``cache``, the name of the slice cache whose patients these are, and
    ``kind`` of its slices, "real" or "simulated"."""

    training: tuple[str, ...]
    validation: tuple[str, ...]
    cache: str = ""
    kind: str = ""


def read_split(path: Path) -> Split:
    """A split that a run or ``spinalcordseg-train check --output`` wrote; ``path``: the file, or the folder it lies in.

    Of a run that also had simulated people only the patients count. Raises TrainingDataError when there is none, it
    holds nobody out, or a patient is on both sides.
    """
    parts = read_parts(path)
    patients = [part for part in parts if part.kind != "simulated"] or parts
    training = {patient for part in patients for patient in part.training}
    validation = {patient for part in patients for patient in part.validation}
    both = sorted(training & validation)
    if both:
        raise TrainingDataError(f"{path}: patients on both sides ({', '.join(both[:5])}); mend it")
    if not validation:
        raise TrainingDataError(f"{path}: holds nobody out; give a split with validation patients")
    return Split(tuple(sorted(training)), tuple(sorted(validation)))


def read_parts(path: Path) -> list[Split]:
    """All of a split file, cache by cache where a run wrote it. Raises TrainingDataError."""
    file = Path(path) / SPLIT_NAME if Path(path).is_dir() else Path(path)
    try:
        return [from_json(Split, part) for part in parse_json(file.read_bytes())]
    except (OSError, ValueError, TypeError) as error:
        raise TrainingDataError(
            f"{file}: is no readable split; name the folder of a training run or a split file"
        ) from error


def write_split(parts: Sequence[Split], path: Path) -> None:
    """The splits of a run's caches, or one of patients, as JSON. Raises OutputError."""
    write_json(path, [asdict(part) for part in parts])


def split_by_name(patients: Iterable[str], validation: Iterable[str]) -> Split:
    """Patients split by who is to be held out; whoever is not among ``patients`` does not count."""
    unique, wanted = sorted(set(patients)), set(validation)
    return Split(tuple(one for one in unique if one not in wanted), tuple(one for one in unique if one in wanted))


def split_patients(patients: Iterable[str], fraction: float, seed: int) -> Split:
    """``fraction`` of the patients held out, at random but seeded, at least one on each side.

    Raises TrainingDataError with fewer than two patients. ``fraction`` 0 holds nobody out.
    """
    unique = sorted(set(patients))
    if fraction == 0:
        return Split(tuple(unique), ())
    if len(unique) < 2:
        raise TrainingDataError(
            "a split by patient needs two, of whom one is held out: add cases of another patient, or let a trained"
            " model learn from these (--from MODEL, or no --recipe)"
        )
    count = min(max(1, round(fraction * len(unique))), len(unique) - 1)
    order = np.random.default_rng([seed, 20]).permutation(len(unique))
    return split_by_name(unique, [unique[n] for n in order[:count]])


def folds(patients: Iterable[str], count: int, seed: int) -> list[Split]:
    """``count`` splits, seeded, that hold out every patient exactly once; sizes differ by one at most.

    Raises ConfigurationError for fewer than two folds or fewer patients than folds.
    """
    check_seed(seed)
    unique = sorted(set(patients))
    if not 2 <= count <= len(unique):
        raise ConfigurationError(f"{count} folds of {len(unique)} patients: from 2 to as many as there are patients")
    order = [unique[n] for n in np.random.default_rng([seed, 21]).permutation(len(unique))]
    return [split_by_name(unique, order[n::count]) for n in range(count)]


def split_by_rule(cases: Sequence[LabelledCase], rule: str, seed: int) -> Split:
    """``rule`` "0.2": that share of the patients, at random; "site=Oslo": patients with any case of that value are held
    out with all their cases.

    Raises ConfigurationError for a rule of another form, a column or value that no case has, or one that all have;
    TrainingDataError for a single patient.
    """
    check_seed(seed)
    column, equals, value = (text.strip() for text in rule.partition("="))
    patients = [case.subject for case in cases]
    if not equals:
        try:
            share = float(rule)
        except ValueError:
            share = 0.0
        if not 0 < share < 1:
            raise ConfigurationError(f"--hold-out {rule}: expected a share between 0 and 1, or COLUMN=VALUE")
        return split_patients(patients, share, seed)
    known = {dict(case.facts).get(column.lower(), "") for case in cases} - {""}
    if not value or value not in known:
        values = f"its values are {', '.join(sorted(known))}" if known else "no case has that column"
        raise ConfigurationError(f"--hold-out {rule}: no case has it; {values}")
    split = split_by_name(patients, {case.subject for case in cases if dict(case.facts).get(column.lower()) == value})
    if not split.training:
        raise ConfigurationError(f"--hold-out {rule}: every patient would be held out; choose another value")
    return split
