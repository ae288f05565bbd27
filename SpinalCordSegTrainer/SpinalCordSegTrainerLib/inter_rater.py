"""Two people drew the same cases: where they agree, where not, and one label made of both.

The consensus of a slice lies midway between both outlines: the pixels whose signed distances to the two add up to less
than zero. It does not depend on who is first and equals both where they agree. Slices that only one of them drew have
no middle: they stay empty and are listed, for the two to settle together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SpinalCordSegLib.files import inside, write_text
from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.volume import Volume
from SpinalCordSegTrainerLib.dataset import LabelledCase, load_case
from SpinalCordSegTrainerLib.evaluation import (
    BAD_CASE,
    CaseScore,
    Scored,
    SliceScore,
    find_prediction,
    read_prediction,
    score_loaded,
)
from SpinalCordSegTrainerLib.run_folder import write_table

BOTH, ONLY_FIRST, ONLY_SECOND = 1, 2, 3  # values of a map of disputes


@dataclass(frozen=True)
class DisputeLimits:
    """A slice is listed below ``least_dice``, or with areas apart by more than ``most_area_percent`` of their mean."""

    least_dice: float = 0.85
    most_area_percent: float = 15.0


@dataclass(frozen=True)
class Disagreement:
    """A slice to look at. ``kind``: "only first", "only second" or "outline". ``disputed_mm2``: drawn by one alone.
    ``ras_mm``: middle of the dispute, patient mm. ``dice``: NaN where the first drew nothing."""

    case: str
    slice: int
    kind: str
    dice: float
    first_mm2: float
    second_mm2: float
    disputed_mm2: float
    ras_mm: tuple[float, float, float]


def disagreements(score: CaseScore, first: Volume, second: Volume, limits: DisputeLimits) -> list[Disagreement]:
    """Slices that only one drew, or beyond the limits; the largest dispute first. ``score``: second against first."""
    pixel_mm2 = float(np.prod(first.pixel_mm))
    listed = []
    for one in score.slices:
        kind = _kind(one, limits)
        if not kind:
            continue
        k = one.canonical_slice
        row, column = np.nonzero((first.voxels[k] != 0) ^ (second.voxels[k] != 0))
        place = first.voxel_to_ras @ [k, row.mean(), column.mean(), 1]
        at = (float(place[0]), float(place[1]), float(place[2]))
        disputed_mm2 = len(row) * pixel_mm2
        listed.append(Disagreement(one.case, one.slice, kind, one.dice, one.true_mm2, one.found_mm2, disputed_mm2, at))
    return sorted(listed, key=lambda item: -item.disputed_mm2)


def _kind(one: SliceScore, limits: DisputeLimits) -> str:
    if bool(one.true_mm2) != bool(one.found_mm2):
        return "only first" if one.true_mm2 else "only second"
    if not one.true_mm2:
        return ""
    apart = 100 * abs(one.found_mm2 - one.true_mm2) / ((one.found_mm2 + one.true_mm2) / 2)
    return "outline" if one.dice < limits.least_dice or apart > limits.most_area_percent else ""


def consensus(first: Volume, second: Volume) -> Volume:
    """The midway label, bool, on the grid of ``first``; ``second`` lies on the same."""
    merged = np.zeros(first.shape, bool)
    for n in range(len(merged)):
        a, b = first.voxels[n] != 0, second.voxels[n] != 0
        if a.any() and b.any():
            merged[n] = _signed_mm(a, first.pixel_mm) + _signed_mm(b, first.pixel_mm) < 0
    return first.with_voxels(merged)


def _signed_mm(mask: NDArray[np.bool_], pixel_mm: tuple[float, float]) -> NDArray[np.float64]:
    """Distance to the outline between pixels, negative inside; a pixel at the edge is half a pixel from it."""
    half = min(pixel_mm) / 2
    outside = ndimage.distance_transform_edt(~mask, sampling=pixel_mm) - half
    inside = ndimage.distance_transform_edt(mask, sampling=pixel_mm) - half
    return np.where(mask, -inside, outside)


def disputes(first: Volume, second: Volume) -> Volume:
    """A label map to be settled in ITK-SNAP or Slicer: 1 both, 2 only the first, 3 only the second (uint8)."""
    a, b = first.voxels != 0, second.voxels != 0
    marked = np.zeros(first.shape, np.uint8)
    marked[a & b], marked[a & ~b], marked[b & ~a] = BOTH, ONLY_FIRST, ONLY_SECOND
    return first.with_voxels(marked)


# Both raters' labels read, compared, and what is left to settle written out.


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
    cases: Sequence[LabelledCase],
    second: Path,
    output: Path,
    *,
    label: int | None = None,
    limits: DisputeLimits | None = None,
    tolerant: bool = False,
    scored: Scored | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RaterComparison:
    """``cases``: with the first rater's labels; ``second``: folder of the second's, of the same names.

    Writes ``consensus/NAME_seg.nii.gz`` and ``disputes/NAME_disputes.nii.gz`` of each, ``disagreements.csv`` where
    there are any, and label descriptions for ITK-SNAP. A case of which either label cannot be used is a problem. Raises
    OutputError.
    """
    scores: list[CaseScore] = []
    listed: list[Disagreement] = []
    problems: list[tuple[str, str]] = []
    for number, case in enumerate(cases):
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
