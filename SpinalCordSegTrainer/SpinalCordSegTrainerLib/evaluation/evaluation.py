"""How good masks are: per slice and per case, the same figures for every model and for masks made elsewhere.

Dice per slice is taken over slices whose label holds cord. Slices without cord in the label have no Dice; false
cord on them counts in precision, MCC and Dice per case, and their number is told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SpinalCordSegLib.errors import (
    ConfigurationError,
    DicomSeriesError,
    GeometryError,
    InputFileError,
    TrainingDataError,
    VoxelError,
)
from SpinalCordSegLib.flags import Flag, kinds_of_slice
from SpinalCordSegLib.images.files import Image
from SpinalCordSegLib.images.volume import Volume, axial_slices, input_slice_index
from SpinalCordSegLib.measurement.scores import ConfusionCounts, csa_error_percent, hd95_mm
from SpinalCordSegLib.network.checkpoint import Checkpoint
from SpinalCordSegLib.pipeline import SegmentOptions, segment_image
from SpinalCordSegTrainerLib.datasets.cases import Case, LoadedCase, load_case

# What may be wrong with one case while the others are good.
BAD_CASE = (TrainingDataError, InputFileError, GeometryError, VoxelError, DicomSeriesError)
EMPTY_RULE = (
    "Dice per slice: slices whose label holds cord (an undetected cord is 0); slices without cord in the label are"
    " left out, false cord on them counts in precision, MCC and Dice per case. Dice per case: pooled over the case's"
    " voxels; a case without cord in the label is left out."
)


@dataclass(frozen=True)
class SliceScore:
    """One axial slice. ``dice``, ``csa_error_percent``: NaN where the label holds no cord. ``components``: 8-connected
    ones found. ``outside_mm``: how far the outermost found pixel lies from the true ones of its slice, 0 where none is
    outside, NaN where either is empty. ``flags``: kinds of doubt raised on it."""

    case: str
    slice: int
    canonical_slice: int
    true_mm2: float
    found_mm2: float
    dice: float
    csa_error_percent: float
    counts: ConfusionCounts
    components: int = 0
    outside_mm: float = math.nan
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class CaseScore:
    """One case. ``csa_error_percent``: mean over its slices with cord, signed. NaN where the label is empty;
    ``hd95_mm`` is infinite where only one of the masks is empty. ``flags``: kinds raised on the case as a whole.
    ``facts``: what is known of its image, as ("site", "Oslo")."""

    case: str
    dice: float
    hd95_mm: float
    csa_error_percent: float
    volume_error_percent: float
    counts: ConfusionCounts
    slices: tuple[SliceScore, ...]
    flags: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()


Scored = Callable[[LoadedCase, Volume, CaseScore], None]  # a case, the mask found (bool, its grid), its score


def score_case(
    name: str,
    found: Volume,
    truth: Volume,
    slice_range: tuple[int, int] | None = None,
    *,
    only_labelled: bool = False,
    flags: Sequence[Flag] = (),
) -> CaseScore:
    """Score one mask against its label on the same grid.

    ``slice_range``: canonical slices, half-open. ``only_labelled``: slices whose label is empty are left out, as where
    nobody drew. ``flags``: those raised on ``found``. Raises ConfigurationError for a range that holds no slice,
    TrainingDataError for one that reaches beyond this case.
    """
    true_slices, found_slices = axial_slices(truth), axial_slices(found)
    first, last = _checked(slice_range, len(true_slices.pixels), name)
    judged = [n for n in range(first, last) if not only_labelled or true_slices.pixels[n].any()]
    real, mask = (np.asarray(of.pixels[first:last] != 0) for of in (true_slices, found_slices))
    mask = mask & np.isin(np.arange(first, last), judged)[:, None, None]
    slices = tuple(
        _score_slice(name, truth, number, mask[number - first], real[number - first], true_slices.pixel_mm, flags)
        for number in judged
    )
    total = sum((one.counts for one in slices), ConfusionCounts())
    true_mm2 = sum(one.true_mm2 for one in slices)
    distance = hd95_mm(mask, real, (true_slices.slice_mm, *true_slices.pixel_mm))
    return CaseScore(
        name,
        total.dice() if true_mm2 else math.nan,
        distance,
        _mean([one.csa_error_percent for one in slices]),
        float(csa_error_percent(sum(one.found_mm2 for one in slices), true_mm2)),
        total,
        slices,
        tuple(dict.fromkeys(flag.kind for flag in flags if flag.canonical_slice is None)),
    )


def _score_slice(
    name: str,
    truth: Volume,
    number: int,
    mask: NDArray[np.bool_],
    real: NDArray[np.bool_],
    pixel_mm: tuple[float, float],
    flags: Sequence[Flag],
) -> SliceScore:
    counts = ConfusionCounts.of(mask, real)
    true_mm2 = (counts.true_positive + counts.false_negative) * pixel_mm[0] * pixel_mm[1]
    found_mm2 = (counts.true_positive + counts.false_positive) * pixel_mm[0] * pixel_mm[1]
    outside = math.nan
    if true_mm2 and found_mm2:
        outside = float(ndimage.distance_transform_edt(~real, sampling=pixel_mm)[mask].max())
    return SliceScore(
        name,
        input_slice_index(truth, number),
        number,
        true_mm2,
        found_mm2,
        counts.dice() if true_mm2 else math.nan,
        float(csa_error_percent(found_mm2, true_mm2)),
        counts,
        int(ndimage.label(mask, np.ones((3, 3), bool))[1]),
        outside,
        kinds_of_slice(flags, number),
    )


def _checked(slice_range: tuple[int, int] | None, count: int, name: str) -> tuple[int, int]:
    if slice_range is None:
        return 0, count
    first, last = slice_range
    if not 0 <= first < last:
        raise ConfigurationError(f"the range {first}:{last} holds no slice: give Z0:Z1 with Z0 below Z1")
    if last > count:
        raise TrainingDataError(f"case {name}: slices {first}:{last} are not within 0:{count}")
    return slice_range


def evaluate_cases(
    cases: Sequence[Case],
    checkpoint: Checkpoint,
    *,
    label: int | None = None,
    device: str = "auto",
    threshold: float = 0.5,
    slice_range: tuple[int, int] | None = None,
    only_labelled: bool = False,
    tolerant: bool = False,
    scored: Scored | None = None,
    problems: list[tuple[str, str]] | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> list[CaseScore]:
    """Segment each case as the program does for a user, and score it.

    ``tolerant``: as load_case takes it. ``scored`` is called with each; ``progress``: (cases done, cases).
    ``problems`` takes name and reason of a case that cannot be judged, and the others go on; None: the first such case
    ends it with its error. Raises TrainingDataError when none can be judged.
    """
    options = SegmentOptions(threshold=threshold, device=device)
    scores = []
    for number, case in enumerate(cases):
        try:
            loaded = load_case(case, label, tolerant=tolerant)
            image = Image(loaded.image, case.image, case.name)
            result = segment_image(image, checkpoint, options, cancelled=cancelled)
            found = score_loaded(
                loaded, result.mask, slice_range, only_labelled=only_labelled, flags=result.flags, scored=scored
            )
        except BAD_CASE as error:
            if problems is None:
                raise
            problems.append((case.name, str(error)))
        else:
            scores.append(found)
        if progress is not None:
            progress(number + 1, len(cases))
    if problems and not scores:
        raise TrainingDataError("no case can be judged; " + "; ".join(": ".join(one) for one in problems[:5]))
    return scores


def score_loaded(
    loaded: LoadedCase,
    found: Volume,
    slice_range: tuple[int, int] | None = None,
    *,
    only_labelled: bool = False,
    flags: Sequence[Flag] = (),
    scored: Scored | None = None,
) -> CaseScore:
    """Score a mask against a case that was read; the case's facts go along. ``scored`` is called with it."""
    score = score_case(loaded.case.name, found, loaded.mask, slice_range, only_labelled=only_labelled, flags=flags)
    score = replace(score, facts=loaded.facts)
    if scored is not None:
        scored(loaded, found, score)
    return score


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


def grouped(scores: Sequence[CaseScore], fact: str) -> dict[str, list[CaseScore]]:
    """Cases by the value of a fact ("site", "scanner"); those without it are left out."""
    groups: dict[str, list[CaseScore]] = {}
    for case in scores:
        value = dict(case.facts).get(fact)
        if value:
            groups.setdefault(value, []).append(case)
    return dict(sorted(groups.items()))


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
