"""Both raters' labels read, compared, and what is left to settle written out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from SpinalCordSegLib.errors import Cancelled
from SpinalCordSegLib.images.files import write_text, write_volume
from SpinalCordSegLib.writing import inside
from SpinalCordSegTrainerLib.datasets.case import Case
from SpinalCordSegTrainerLib.datasets.cases import load_case
from SpinalCordSegTrainerLib.evaluation.evaluation import BAD_CASE, CaseScore, Scored, score_loaded
from SpinalCordSegTrainerLib.evaluation.predictions import find_prediction, read_prediction
from SpinalCordSegTrainerLib.evaluation.raters import Disagreement, DisputeLimits, consensus, disagreements, disputes
from SpinalCordSegTrainerLib.training.curves import write_table

_DESCRIPTION = """################################################
# ITK-SnAP Label Description File
################################################
    0     0    0    0        0  0  0    "Clear Label"
    1   244  214   49        1  1  1    "Spinal cord, both raters"
    2   230   30   30        1  1  1    "first rater only"
    3    40  110  230        1  1  1    "second rater only"
"""


@dataclass(frozen=True)
class RaterComparison:
    """``scores``: the second rater against the first. ``problems``: case name and why it was not compared."""

    scores: tuple[CaseScore, ...]
    listed: tuple[Disagreement, ...]
    problems: tuple[tuple[str, str], ...]


def compare_labels(
    cases: Sequence[Case],
    second: Path,
    output: Path,
    *,
    label: int | None = None,
    limits: DisputeLimits | None = None,
    tolerant: bool = False,
    scored: Scored | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> RaterComparison:
    """``cases``: with the first rater's labels; ``second``: folder of the second's, of the same names.

    Writes ``consensus/NAME_seg.nii.gz`` and ``disputes/NAME_disputes.nii.gz`` of each, ``disagreements.csv`` where
    there are any, and label descriptions for ITK-SNAP. A case of which either label cannot be used is a problem. Raises
    Cancelled, OutputError.
    """
    scores: list[CaseScore] = []
    listed: list[Disagreement] = []
    problems: list[tuple[str, str]] = []
    for number, case in enumerate(cases):
        if cancelled is not None and cancelled():
            raise Cancelled("cancelled; the cases so far are in the output folder")
        try:
            loaded = load_case(case, label, tolerant=tolerant)
            other = read_prediction(loaded, find_prediction(case, second), label, tolerant)
        except BAD_CASE as error:
            problems.append((case.name, str(error)))
            continue
        scores.append(score_loaded(loaded, other, scored=scored))
        listed += disagreements(scores[-1], loaded.mask, other, limits or DisputeLimits())
        write_volume(consensus(loaded.mask, other), inside(output / "consensus", f"{case.name}_seg.nii.gz"))
        write_volume(disputes(loaded.mask, other), inside(output / "disputes", f"{case.name}_disputes.nii.gz"))
        if progress is not None:
            progress(number + 1, len(cases))
    write_text(output / "disputes" / "labels.txt", _DESCRIPTION)
    if listed:
        write_table([_row(one) for one in listed], output / "disagreements.csv")
    return RaterComparison(tuple(scores), tuple(listed), tuple(problems))


def _row(one: Disagreement) -> dict[str, Any]:
    r, a, s = (round(value, 1) for value in one.ras_mm)
    return {
        "case": one.case,
        "slice": one.slice,
        "kind": one.kind,
        "dice": round(one.dice, 4) if math.isfinite(one.dice) else None,
        "first_mm2": round(one.first_mm2, 2),
        "second_mm2": round(one.second_mm2, 2),
        "disputed_mm2": round(one.disputed_mm2, 2),
        "r_mm": r,
        "a_mm": a,
        "s_mm": s,
    }
