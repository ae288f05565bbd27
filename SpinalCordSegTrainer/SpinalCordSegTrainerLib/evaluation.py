"""How good masks are: per slice and per case, the same figures for every model and for masks made elsewhere.

Dice per slice is taken over slices whose label holds cord. Slices without cord in the label have no Dice; false
cord on them counts in precision, MCC and Dice per case, and their number is told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from SpinalCordSegLib.checkpoint import Checkpoint
from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.mask import MaskConfig, find_cord
from SpinalCordSegLib.predict import predict
from SpinalCordSegLib.scores import ConfusionCounts, csa_error_percent, hd95_mm
from SpinalCordSegLib.volume import Volume, axial_slices, input_slice_index
from SpinalCordSegTrainerLib.cases import Case, load_case

EMPTY_RULE = (
    "Dice per slice: slices whose label holds cord (an undetected cord is 0); slices without cord in the label are"
    " left out, false cord on them counts in precision, MCC and Dice per case. Dice per case: pooled over the case's"
    " voxels; a case without cord in the label is left out."
)


@dataclass(frozen=True)
class SliceScore:
    """One axial slice. ``dice``, ``csa_error_percent``: NaN where the label holds no cord."""

    case: str
    slice: int
    canonical_slice: int
    true_mm2: float
    found_mm2: float
    dice: float
    csa_error_percent: float
    counts: ConfusionCounts


@dataclass(frozen=True)
class CaseScore:
    """One case. ``csa_error_percent``: mean over its slices with cord, signed. NaN where the label is empty;
    ``hd95_mm`` is infinite where only one of the masks is empty."""

    case: str
    dice: float
    hd95_mm: float
    csa_error_percent: float
    volume_error_percent: float
    counts: ConfusionCounts
    slices: tuple[SliceScore, ...]


def score_case(name: str, found: Volume, truth: Volume, slice_range: tuple[int, int] | None = None) -> CaseScore:
    """Score one mask against its label on the same grid; ``slice_range``: canonical slices, half-open."""
    found_slices, true_slices = axial_slices(found), axial_slices(truth)
    first, last = _checked(slice_range, len(true_slices.pixels), name)
    pixel_mm2 = true_slices.pixel_mm[0] * true_slices.pixel_mm[1]
    slices = []
    for number in range(first, last):
        counts = ConfusionCounts.of(found_slices.pixels[number], true_slices.pixels[number])
        true_mm2 = (counts.true_positive + counts.false_negative) * pixel_mm2
        found_mm2 = (counts.true_positive + counts.false_positive) * pixel_mm2
        dice = counts.dice() if true_mm2 else math.nan
        error = float(csa_error_percent(found_mm2, true_mm2))
        index = input_slice_index(truth, number)
        slices.append(SliceScore(name, index, number, true_mm2, found_mm2, dice, error, counts))
    total = sum((one.counts for one in slices), ConfusionCounts())
    true_mm2 = sum(one.true_mm2 for one in slices)
    spacing = (true_slices.slice_mm, *true_slices.pixel_mm)
    distance = hd95_mm(found_slices.pixels[first:last], true_slices.pixels[first:last], spacing)
    return CaseScore(
        name,
        total.dice() if true_mm2 else math.nan,
        distance,
        _mean([one.csa_error_percent for one in slices]),
        float(csa_error_percent(sum(one.found_mm2 for one in slices), true_mm2)),
        total,
        tuple(slices),
    )


def _checked(slice_range: tuple[int, int] | None, count: int, name: str) -> tuple[int, int]:
    if slice_range is None:
        return 0, count
    if not 0 <= slice_range[0] < slice_range[1] <= count:
        raise ConfigurationError(f"case {name}: slices {slice_range[0]}:{slice_range[1]} are not within 0:{count}")
    return slice_range


def evaluate_cases(
    cases: Sequence[Case],
    checkpoint: Checkpoint,
    *,
    label: int | None = None,
    device: str = "auto",
    mask_config: MaskConfig | None = None,
    slice_range: tuple[int, int] | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> list[CaseScore]:
    """Segment each case as the program does for a user, and score it. ``progress``: (cases done, cases)."""
    scores = []
    for number, case in enumerate(cases):
        loaded = load_case(case, label)
        prediction = predict(loaded.image, checkpoint, device=device, cancelled=cancelled)
        found = find_cord(prediction.probability, mask_config).mask
        scores.append(score_case(case.name, found, loaded.mask, slice_range))
        if progress is not None:
            progress(number + 1, len(cases))
    return scores


def summary(scores: Sequence[CaseScore]) -> dict[str, Any]:
    """All figures as plain JSON values; None where there is nothing to average."""
    slices = [one for case in scores for one in case.slices]
    with_cord = [one for one in slices if one.true_mm2]
    without = [one for one in slices if not one.true_mm2]
    counts = sum((case.counts for case in scores), ConfusionCounts())
    return {
        "dice_per_slice": statistics([one.dice for one in with_cord]),
        "dice_per_case": statistics([case.dice for case in scores]),
        "csa_error_percent_per_slice": statistics([one.csa_error_percent for one in with_cord]),
        "volume_error_percent_per_case": statistics([case.volume_error_percent for case in scores]),
        "hd95_mm_per_case": statistics([case.hd95_mm for case in scores]),
        "mcc": counts.mcc(),
        "sensitivity": _plain(counts.sensitivity()),
        "precision": _plain(counts.precision()),
        "slices_with_cord": len(with_cord),
        "slices_missed": sum(one.found_mm2 == 0 for one in with_cord),
        "slices_without_cord": len(without),
        "slices_with_false_cord": sum(one.found_mm2 > 0 for one in without),
        "empty_rule": EMPTY_RULE,
    }


def statistics(values: Sequence[float]) -> dict[str, Any]:
    """n, mean, SD (n - 1), P25, P50, P75 of the finite values, and how many were not finite."""
    finite = np.array([value for value in values if math.isfinite(value)])
    if len(finite) == 0:
        return {"n": 0, "mean": None, "sd": None, "p25": None, "p50": None, "p75": None, "not_finite": len(values)}
    p25, p50, p75 = (float(value) for value in np.percentile(finite, (25, 50, 75)))
    return {
        "n": len(finite),
        "mean": float(finite.mean()),
        "sd": float(finite.std(ddof=1)) if len(finite) > 1 else None,
        "p25": p25,
        "p50": p50,
        "p75": p75,
        "not_finite": len(values) - len(finite),
    }


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
