"""How good masks are: per slice and per case, the same figures for every model and for masks made elsewhere.

Dice per slice is taken over slices whose label holds cord. Slices without cord in the label have no Dice; false
cord on them counts in precision, MCC and Dice per case, and their number is told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
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
from SpinalCordSegLib.files import file_suffix, write_json
from SpinalCordSegLib.flags import Flag, kinds_of_slice
from SpinalCordSegLib.image_io import Image
from SpinalCordSegLib.metrics import ConfusionCounts, csa_error_percent, hd95_mm
from SpinalCordSegLib.model.checkpoint import Checkpoint, load_checkpoint
from SpinalCordSegLib.pipeline import SegmentOptions, segment_image
from SpinalCordSegLib.volume import Volume
from SpinalCordSegTrainerLib.config import TrainingConfig
from SpinalCordSegTrainerLib.dataset import (
    LABEL_ENDINGS,
    LabelledCase,
    LoadedCase,
    is_label_file,
    load_case,
    read_cord,
    stem,
)
from SpinalCordSegTrainerLib.run_folder import figure, saved_state, write_table
from SpinalCordSegTrainerLib.split import Split, folds
from SpinalCordSegTrainerLib.trainer import Progress, Training

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
    first, last = _checked(slice_range, truth.shape[0], name)
    judged = [n for n in range(first, last) if not only_labelled or truth.voxels[n].any()]
    real, mask = (np.asarray(of.voxels[first:last] != 0) for of in (truth, found))
    mask = mask & np.isin(np.arange(first, last), judged)[:, None, None]
    slices = tuple(
        _score_slice(name, truth, number, mask[number - first], real[number - first], truth.pixel_mm, flags)
        for number in judged
    )
    total = sum((one.counts for one in slices), ConfusionCounts())
    true_mm2 = sum(one.true_mm2 for one in slices)
    distance = hd95_mm(mask, real, truth.spacing_mm)
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
        truth.to_input_slice(number),
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
    cases: Sequence[LabelledCase],
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


# Masks made elsewhere, judged against the labels by the same code as our own.


_ENDINGS = ("", *LABEL_ENDINGS, "_pred", "_mask", "_prediction")


def find_prediction(case: LabelledCase, folder: Path) -> Path:
    """NAME with or without an ending (_seg, _pred, _mask, …), or NAME/mask as ``spinalcordseg segment`` writes it.

    Raises TrainingDataError when there is none, or several.
    """
    wanted = {case.name + ending for ending in _ENDINGS} | {stem(case.label)}
    found = [path for path in sorted(folder.iterdir()) if is_label_file(path) and stem(path) in wanted]
    own = folder / case.name
    if own.is_dir():
        found += [path for path in sorted(own.iterdir()) if is_label_file(path) and stem(path) == "mask"]
    if not found:
        raise TrainingDataError(f"no mask {case.name}{file_suffix(case.label)} among the predictions")
    if len(found) > 1:
        raise TrainingDataError(
            f"{len(found)} masks could be meant ({', '.join(path.name for path in found)}); keep one"
        )
    return found[0]


def read_prediction(loaded: LoadedCase, path: Path, label: int | None, tolerant: bool) -> Volume:
    """The mask on the case's grid, bool. Raises what reading and placing raise."""
    return read_cord(path, loaded.image, label, tolerant=tolerant).mask


def score_predictions(
    cases: Sequence[LabelledCase],
    folder: Path,
    *,
    label: int | None = None,
    prediction_label: int | None = None,
    tolerant: bool = False,
    slice_range: tuple[int, int] | None = None,
    only_labelled: bool = False,
    scored: Scored | None = None,
    problems: list[tuple[str, str]],
    progress: Callable[[int, int], None] | None = None,
) -> list[CaseScore]:
    """Score the mask of each case. ``label``, ``prediction_label``: the cord's value in labels and in masks.

    A case without mask, whose mask or label cannot be used, or that has fewer slices than ``slice_range`` asks for,
    goes into ``problems`` with its reason.
    Raises TrainingDataError when the folder is missing, or no mask at all can be judged.
    """
    if not folder.is_dir():
        raise TrainingDataError(f"{folder}: is not a folder; give the folder that holds the masks")
    scores: list[CaseScore] = []
    for number, case in enumerate(cases):
        try:
            loaded = load_case(case, label, tolerant=tolerant)
            found = read_prediction(loaded, find_prediction(case, folder), prediction_label, tolerant)
            scores.append(score_loaded(loaded, found, slice_range, only_labelled=only_labelled, scored=scored))
        except BAD_CASE as error:
            problems.append((case.name, str(error)))
        if progress is not None:
            progress(number + 1, len(cases))
    if not scores:
        raise TrainingDataError(
            f"{folder}: no mask can be judged; " + "; ".join(": ".join(one) for one in problems[:5])
        )
    return scores


# Agreement of two measurements of the same slices: bias and limits of agreement.
#
# Bland and Altman 1986, Lancet 327:307-310: bias = mean difference, limits = bias ± 1.96 SD of the differences.


@dataclass(frozen=True)
class BlandAltman:
    """Of the areas of ``n`` slices in mm², second minus first; None where there are too few."""

    n: int
    bias_mm2: float | None
    sd_mm2: float | None
    lower_mm2: float | None
    upper_mm2: float | None


def bland_altman(first_mm2: Sequence[float], second_mm2: Sequence[float]) -> BlandAltman:
    """Bias and 95 % limits of agreement. Fewer than two pairs: no SD and no limits; none: no bias either."""
    differences = np.asarray(second_mm2, float) - np.asarray(first_mm2, float)
    if len(differences) < 2:
        return BlandAltman(len(differences), float(differences[0]) if len(differences) else None, None, None, None)
    bias, sd = float(differences.mean()), float(differences.std(ddof=1))
    return BlandAltman(len(differences), bias, sd, bias - 1.96 * sd, bias + 1.96 * sd)


def area_pairs(scores: Sequence[CaseScore]) -> tuple[list[float], list[float]]:
    """True and found area, mm², of the slices where both masks hold cord: a missed slice is no measurement."""
    both = [one for case in scores for one in case.slices if one.true_mm2 and one.found_mm2]
    return [one.true_mm2 for one in both], [one.found_mm2 for one in both]


def area_agreement(scores: Sequence[CaseScore]) -> dict[str, Any]:
    """Of slices, and of cases by their mean area."""
    cases = [_means(case) for case in scores]
    known = [pair for pair in cases if pair is not None]
    return {
        "per_slice": asdict(bland_altman(*area_pairs(scores))),
        "per_case": asdict(bland_altman([pair[0] for pair in known], [pair[1] for pair in known])),
    }


def _means(case: CaseScore) -> tuple[float, float] | None:
    true, found = area_pairs([case])
    return (float(np.mean(true)), float(np.mean(found))) if true else None


def draw_agreement(scores: Sequence[CaseScore], path: Path, names: tuple[str, str] = ("label", "mask")) -> None:
    """The plot: difference over mean of each slice's areas, a colour a case; bias and limits. Nothing to draw: no file.

    Raises OutputError.
    """
    first, second = area_pairs(scores)
    if not first:
        return
    told = bland_altman(first, second)
    with figure(path, 1) as axes:
        (axis,) = axes
        for case in scores:
            one, other = (np.array(of) for of in area_pairs([case]))
            axis.plot((one + other) / 2, other - one, ".", markersize=4, alpha=0.6)
        for value, style in ((told.bias_mm2, "-"), (told.lower_mm2, "--"), (told.upper_mm2, "--")):
            if value is not None and math.isfinite(value):
                axis.axhline(value, linestyle=style, color="black", linewidth=1)
                axis.annotate(
                    f"{value:+.1f}", (1.01, value), xycoords=("axes fraction", "data"), va="center", fontsize=8
                )
        axis.axhline(0, color="grey", linewidth=0.5)
        axis.set_xlabel(f"mean of {names[0]} and {names[1]}, mm²")
        axis.set_ylabel(f"{names[1]} - {names[0]}, mm²")
        axis.set_title(f"Area of {told.n} slices: bias and 95 % limits of agreement", fontsize=9)


# What an evaluation leaves on disk: tables, one JSON of all figures, histograms.


GROUPED_BY = ("site", "scanner")


def write_evaluation(
    scores: Sequence[CaseScore],
    checkpoint: Checkpoint | None,
    folder: Path,
    *,
    group_by: Sequence[str] = GROUPED_BY,
    more: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write ``slices.csv``, ``cases.csv``, ``scores.json``, ``histogram.png`` and ``bland_altman.png``; gives what
    scores.json holds. ``checkpoint`` None: the masks were made elsewhere. ``group_by``: facts by which the figures are
    given apart as well (``groups.csv``). ``more``: further entries of scores.json.

    Raises OutputError.
    """
    model = checkpoint and {"name": checkpoint.name, "version": checkpoint.version, "sha256": checkpoint.sha256}
    groups = {fact: found for fact in group_by if (found := grouped(scores, fact))}
    told = {
        "model": model,
        "cases": len(scores),
        **summary(scores),
        "area_agreement": area_agreement(scores),
        "groups": {fact: {value: _few(of) for value, of in found.items()} for fact, found in groups.items()},
        **(more or {}),
    }
    write_table([_slice_row(one) for case in scores for one in case.slices], folder / "slices.csv")
    write_table([_case_row(case) for case in scores], folder / "cases.csv")
    write_json(folder / "scores.json", told)
    _histograms(scores, folder / "histogram.png")
    draw_agreement(scores, folder / "bland_altman.png")
    rows = [_group_row(fact, value, figures) for fact, of in told["groups"].items() for value, figures in of.items()]
    if rows:
        write_table(rows, folder / "groups.csv")
    return told


def _few(scores: Sequence[CaseScore]) -> dict[str, Any]:
    told = summary(scores)
    kept = ("dice_per_slice", "dice_per_case", "csa_error_percent_per_slice", "hd95_mm_per_case", "mcc")
    return {"cases": len(scores), **{name: told[name] for name in kept}}


def _group_row(fact: str, value: str, figures: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"by": fact, "value": value, "cases": figures["cases"], "mcc": figures["mcc"]}
    for name in ("dice_per_slice", "dice_per_case", "csa_error_percent_per_slice", "hd95_mm_per_case"):
        row |= {f"{name}_mean": figures[name]["mean"], f"{name}_sd": figures[name]["sd"]}
    return row


def _slice_row(one: Any) -> dict[str, Any]:
    return {
        "case": one.case,
        "slice": one.slice,
        "canonical_slice": one.canonical_slice,
        "true_mm2": round(one.true_mm2, 3),
        "found_mm2": round(one.found_mm2, 3),
        "dice": _cell(one.dice),
        "csa_error_percent": _cell(one.csa_error_percent, 2),
        "components": one.components,
        "outside_mm": _cell(one.outside_mm, 2),
        "flags": " ".join(one.flags),
    } | _counts(one.counts)


def _case_row(case: CaseScore) -> dict[str, Any]:
    with_cord = [one for one in case.slices if one.true_mm2]
    return {
        "case": case.case,
        "dice": _cell(case.dice),
        "hd95_mm": _cell(case.hd95_mm, 3),
        "csa_error_percent": _cell(case.csa_error_percent, 2),
        "volume_error_percent": _cell(case.volume_error_percent, 2),
        "sensitivity": _cell(case.counts.sensitivity()),
        "precision": _cell(case.counts.precision()),
        "mcc": _cell(case.counts.mcc()),
        "slices_with_cord": len(with_cord),
        "slices_missed": sum(one.found_mm2 == 0 for one in with_cord),
        "slices_flagged": sum(bool(one.flags) for one in case.slices),
        "flags": " ".join(case.flags),
    } | _counts(case.counts)


def _counts(counts: Any) -> dict[str, int]:
    return {
        "true_positive": counts.true_positive,
        "true_negative": counts.true_negative,
        "false_positive": counts.false_positive,
        "false_negative": counts.false_negative,
    }


def _cell(value: float, digits: int = 4) -> float | str | None:
    if math.isnan(value):
        return None
    return round(value, digits) if math.isfinite(value) else "inf"


def _histograms(scores: Sequence[CaseScore], path: Path) -> None:
    per_slice = [one.dice for case in scores for one in case.slices if not math.isnan(one.dice)]
    per_case = [case.dice for case in scores if not math.isnan(case.dice)]
    errors = [one.csa_error_percent for case in scores for one in case.slices if not math.isnan(one.csa_error_percent)]
    with figure(path, 3) as axes:
        edges = [number / 40 for number in range(41)]
        for axis, values, name in ((axes[0], per_slice, "slices"), (axes[1], per_case, "cases")):
            axis.hist(values, bins=edges)
            axis.set_xlabel(f"Dice of {len(values)} {name}")
            axis.set_ylabel(name)
        axes[2].hist([min(max(value, -50), 50) for value in errors], bins=50, range=(-50, 50))
        axes[2].set_xlabel("signed area error of slices, % (beyond ±50 in the last bins)")
        axes[2].set_ylabel("slices")


# K-fold cross-validation: every patient judged once, by the one model that never saw them.


SUMMARY_NAME = "folds.json"
_FIGURES = ("dice_per_slice", "dice_per_case", "csa_error_percent_per_slice", "hd95_mm_per_case")


def cross_validate(
    cases: Sequence[LabelledCase],
    config: TrainingConfig,
    output: Path,
    count: int,
    *,
    label: int | None = None,
    only_labelled: bool = False,
    tolerant: bool = False,
    device: torch.device | None = None,
    report: Callable[[Progress], None] | None = None,
    stopped: Callable[[], bool] | None = None,
    scored: Scored | None = None,
) -> tuple[list[CaseScore], dict[str, Any]]:
    """Train ``count`` models, each in ``output``/foldN, and score each on the cases it held out.

    ``config``: one source, the cache of these cases; its seed also draws the folds. ``only_labelled``: slices without
    label are not judged, as they were not trained on. A fold that ended is not trained again, one that was interrupted
    goes on. Writes the pooled evaluation and ``folds.json`` (each fold, and mean ± SD over the folds).
    Raises what Training and evaluate_cases raise.
    """
    splits = folds((case.subject for case in cases), count, config.seed)
    scores: list[CaseScore] = []
    rows: list[dict[str, Any]] = []
    for number, split in enumerate(splits, 1):
        folder = output / f"fold{number}"
        model = _train(config, folder, split, device, report, stopped)
        held = [case for case in cases if case.subject in set(split.validation)]
        found = evaluate_cases(
            held,
            load_checkpoint(model),
            label=label,
            only_labelled=only_labelled,
            tolerant=tolerant,
            device="auto" if device is None else device.type,
            scored=scored,
            cancelled=stopped,
        )
        told = write_evaluation(found, load_checkpoint(model), folder / "evaluation")
        rows.append({"fold": number, "patients_held_out": len(split.validation), **_fold_means(told)})
        scores += found
    pooled = {"folds": rows, "over_folds": _over(rows)}
    write_json(output / SUMMARY_NAME, {**pooled, "pooled": summary(scores)})
    return scores, pooled


def _train(
    config: TrainingConfig,
    folder: Path,
    split: Split,
    device: torch.device | None,
    report: Callable[[Progress], None] | None,
    stopped: Callable[[], bool] | None,
) -> Path:
    chosen = replace(config, validation=replace(config.validation, subjects=split.validation))
    resume = saved_state(folder / "state.safetensors") is not None
    return Training(chosen, folder, resume=resume, device=device, report=report, stopped=stopped).run().best


def _fold_means(told: dict[str, Any]) -> dict[str, float | None]:
    return {**{name: told[name]["mean"] for name in _FIGURES}, "mcc": told["mcc"]}


def _over(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and SD (n - 1) of the folds' figures."""
    told = {}
    for name in (*_FIGURES, "mcc"):
        values = [row[name] for row in rows if row[name] is not None and math.isfinite(row[name])]
        sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
        told[name] = {"n": len(values), "mean": float(np.mean(values)) if values else None, "sd": sd}
    return told
