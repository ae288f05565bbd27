"""The split that a run wrote: which of a folder's cases it never trained on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from SpinalCordSegLib.errors import TrainingDataError
from SpinalCordSegTrainerLib.cases import Case

SPLIT_NAME = "split.json"


def held_out(cases: Sequence[Case], run: Path) -> list[Case]:
    """The cases whose patient the run in this folder held out, in their order.

    Raises TrainingDataError when the folder holds no split, or none of the cases was held out.
    """
    try:
        parts = json.loads((Path(run) / SPLIT_NAME).read_text(encoding="utf-8"))
        subjects = {subject for part in parts for subject in part["validation"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingDataError(f"{run}: holds no readable {SPLIT_NAME}; name the folder of a training run") from error
    chosen = [case for case in cases if case.subject in subjects]
    if not chosen:
        raise TrainingDataError(f"{run}: held out none of these {len(cases)} cases; evaluate on the data it was given")
    return chosen
