"""How good masks are: per slice and per case, the same figures for every model and for masks made elsewhere.

Dice per slice is taken over slices whose label holds cord. Slices without cord in the label have no Dice; false
cord on them counts in precision, MCC and Dice per case, and their number is given.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from SpinalCordSegLib.errors import DicomSeriesError, GeometryError, InputFileError, TrainingDataError, VoxelError
from SpinalCordSegLib.files import file_stem, to_json, write_json
from SpinalCordSegLib.flags import Flag, kinds_of_slice
from SpinalCordSegLib.image_io import Image, is_volume_file
from SpinalCordSegLib.metrics import ConfusionCounts, csa_error_percent, hd95_mm, signed_distance_mm
from SpinalCordSegLib.model.checkpoint import Checkpoint
from SpinalCordSegLib.pipeline import SegmentOptions, segment_image
from SpinalCordSegLib.volume import Volume
from SpinalCordSegTrainerLib.dataset import (
    CORD_ENDING,
    LABEL_ENDINGS,
    LabelledCase,
    LoadedCase,
    load_case,
    read_cord,
)
from SpinalCordSegTrainerLib.run_folder import figure, write_table

# What may be wrong with one case while the others are good.
_BAD_CASE = (TrainingDataError, InputFileError, GeometryError, VoxelError, DicomSeriesError)
EMPTY_RULE = (
    "Dice per slice: slices whose label holds cord (an undetected cord is 0); slices without cord in the label are"
    " left out, false cord on them counts in precision, MCC and Dice per case. Dice per case: pooled over the case's"
    " voxels; a case without cord in the label is left out."
)
GROUPED_BY = ("site", "scanner")

Masks = Callable[[LoadedCase], tuple[Volume, Sequence[Flag]]]
"""Gives the mask of a case (bool, on its grid) and its flags."""


@dataclass(frozen=True)
class SliceScore:
    """One axial slice. ``dice``, ``csa_error_percent``: NaN where the label holds no cord. ``components``: 8-connected
    ones found. ``outside_mm``: how far the outermost found pixel lies from the true ones of its slice, 0 where none is
    outside, NaN where either is empty. ``flags``: kinds raised on it."""

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

    @property
    def missed(self) -> int:
        """Slices with cord in which none was found."""
        return sum(one.found_mm2 == 0 for one in self.slices if one.true_mm2)


def score_case(
    name: str,
    found: Volume,
    truth: Volume,
    *,
    judged: Sequence[int] | None = None,
    flags: Sequence[Flag] = (),
) -> CaseScore:
    """Score one mask against its label on the same grid.

    ``judged``: the canonical slices that count; None: all. ``flags``: those raised on ``found``.
    """
    chosen = np.zeros(truth.shape[0], bool)
    chosen[slice(None) if judged is None else list(judged)] = True
    real, mask = ((of.voxels != 0) & chosen[:, None, None] for of in (truth, found))
    slices = tuple(_score_slice(name, truth, n, mask[n], real[n], flags) for n in np.flatnonzero(chosen).tolist())
    total = sum((one.counts for one in slices), ConfusionCounts())
    true_mm2 = sum(one.true_mm2 for one in slices)
    errors = [one.csa_error_percent for one in slices if math.isfinite(one.csa_error_percent)]
    return CaseScore(
        name,
        total.dice() if true_mm2 else math.nan,
        hd95_mm(mask, real, truth.spacing_mm),
        float(np.mean(errors)) if errors else math.nan,
        float(csa_error_percent(sum(one.found_mm2 for one in slices), true_mm2)),
        total,
        slices,
        tuple(dict.fromkeys(flag.kind for flag in flags if flag.canonical_slice is None)),
    )


def _score_slice(
    name: str, truth: Volume, number: int, mask: NDArray[np.bool_], real: NDArray[np.bool_], flags: Sequence[Flag]
) -> SliceScore:
    counts, pixel_mm = ConfusionCounts.of(mask, real), truth.pixel_mm
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


# Masks of a model, and masks made elsewhere.


def model_masks(checkpoint: Checkpoint, device: str = "auto", cancelled: Callable[[], bool] | None = None) -> Masks:
    """Masks as the program makes them for a user."""
    options = SegmentOptions(device=device)

    def segmented(loaded: LoadedCase) -> tuple[Volume, Sequence[Flag]]:
        image = Image(loaded.image, loaded.case.image, loaded.case.name)
        result = segment_image(image, checkpoint, options, cancelled=cancelled)
        return result.mask, result.flags

    return segmented


def folder_masks(folder: Path, cases: Sequence[LabelledCase]) -> Masks:
    """Masks made elsewhere, read as the case's label map; those with one label, whatever its value. ``cases``: all that
    are judged; a mask may have the name of a label map where no two of them share it.

    Raises TrainingDataError when the folder is missing.
    """
    if not folder.is_dir():
        raise TrainingDataError(f"{folder}: is not a folder; give the folder that holds the masks")

    labels = Counter(file_stem(case.label) for case in cases)

    def read(loaded: LoadedCase) -> tuple[Volume, Sequence[Flag]]:
        case = loaded.case
        path = _prediction(case, folder, {name for name in (file_stem(case.label),) if labels[name] == 1})
        try:
            return read_cord(path, loaded.image, None, tolerant=case.tolerant)[0], ()
        except VoxelError:
            return read_cord(path, loaded.image, case.label_value, tolerant=case.tolerant)[0], ()

    return read


def _prediction(case: LabelledCase, folder: Path, also: set[str]) -> Path:
    """NAME with or without an ending (_seg, _pred, _mask, …), one of ``also``, or NAME/mask as ``spinalcordseg
    segment`` writes it.

    Raises TrainingDataError when there is none, or several.
    """
    endings = ("", *LABEL_ENDINGS, CORD_ENDING, "_pred", "_prediction")

    def fits(stem: str) -> bool:
        return stem in also or (stem.startswith(case.name) and stem[len(case.name) :].lower() in endings)

    places: dict[Path, Callable[[str], bool]] = {folder: fits, folder / case.name: "mask".__eq__}
    found = [
        path
        for place, is_it in places.items()
        if place.is_dir()
        for path in sorted(place.iterdir())
        if is_volume_file(path) and is_it(file_stem(path))
    ]
    if len(found) != 1:
        there = f"{len(found)} ({', '.join(path.name for path in found)})" if found else "none"
        raise TrainingDataError(f"expected one mask {case.name} among the masks of {folder}, found {there}")
    return found[0]


# All that is judged together.


@dataclass
class Evaluation:
    """Scores of cases, and pictures of their worst slices.

    ``only_labelled``: slices whose label is empty are left out, as where nobody drew. ``problems``: name of each case
    that could not be judged, and why. ``tiles``: the worst slices so far.
    """

    only_labelled: bool = False
    scores: list[CaseScore] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    tiles: list[Tile] = field(default_factory=list)

    def add(
        self,
        name: str,
        image: Volume,
        found: Volume,
        truth: Volume,
        flags: Sequence[Flag] = (),
        facts: tuple[tuple[str, str], ...] = (),
        judged: Sequence[int] | None = None,
    ) -> CaseScore:
        """Score one mask on the grid of its image and its label. ``judged``: as score_case takes it."""
        if self.only_labelled:
            judged = np.flatnonzero(truth.voxels.any(axis=(1, 2))).tolist()
        score = replace(score_case(name, found, truth, judged=judged, flags=flags), facts=facts)
        self.scores.append(score)
        worst = sorted(score.slices, key=badness, reverse=True)[:_PICTURES]
        new = [_tile(one, image.voxels, found.voxels != 0, truth.voxels != 0, image.pixel_mm) for one in worst]
        self.tiles = sorted([*self.tiles, *new], key=lambda tile: badness(tile[0]), reverse=True)[:_PICTURES]
        return score

    def judge(
        self,
        cases: Sequence[LabelledCase],
        masks: Masks,
        *,
        judged: Callable[[LoadedCase, Volume, CaseScore], None] | None = None,
        progress: Callable[[int, int], None] = lambda _done, _of: None,
    ) -> None:
        """Read each case and score its mask.

        A case that cannot be used, or that has no mask, goes into ``problems``. ``judged`` is called with each other,
        its mask and its score; ``progress``: (cases done, cases). Raises TrainingDataError when none can be judged.
        """
        for number, case in enumerate(cases):
            try:
                loaded = load_case(case)
                found, flags = masks(loaded)
                score = self.add(case.name, loaded.image, found, loaded.mask, flags, loaded.case.facts)
                if judged is not None:
                    judged(loaded, found, score)
            except _BAD_CASE as error:
                self.problems.append((case.name, str(error)))
            progress(number + 1, len(cases))
        if not self.scores:
            raise TrainingDataError("no case can be judged; " + "; ".join(": ".join(one) for one in self.problems[:5]))

    def write(self, folder: Path, checkpoint: Checkpoint | None = None, **more: Any) -> dict[str, Any]:
        """Write ``slices.csv``, ``cases.csv``, ``scores.json`` (also by site and by scanner) and pictures; gives what
        scores.json holds.

        ``checkpoint`` None: the masks were made elsewhere. ``more``: further entries of scores.json. Raises
        OutputError.
        """
        model = checkpoint and {"name": checkpoint.name, "version": checkpoint.version, "sha256": checkpoint.sha256}
        groups = {fact: found for fact in GROUPED_BY if (found := _grouped(self.scores, fact))}
        agreement = area_agreement(self.scores)
        content = {"cases": len(self.scores), **summary(self.scores), "area_agreement": agreement, "groups": groups}
        figures: dict[str, Any] = to_json({"model": model, **content, **more})
        write_table([_slice_row(one) for case in self.scores for one in case.slices], folder / "slices.csv")
        write_table([_case_row(case) for case in self.scores], folder / "cases.csv")
        write_json(folder / "scores.json", figures)
        _draw_agreement(self.scores, folder / "bland_altman.png")
        write_sheet(self.tiles, "the worst slices, the worst first", folder / "worst.png")
        return figures


def summary(scores: Sequence[CaseScore]) -> dict[str, Any]:
    """All figures; None or NaN where there is nothing to average."""
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
        "sensitivity": counts.sensitivity(),
        "precision": counts.precision(),
        "slices_with_cord": len(with_cord),
        "slices_missed": sum(case.missed for case in scores),
        "slices_without_cord": len(without),
        "slices_with_false_cord": sum(one.found_mm2 > 0 for one in without),
        "empty_rule": EMPTY_RULE,
    }


def statistics(values: Sequence[float]) -> dict[str, Any]:
    """n, mean, SD (n - 1), P25, P50, P75 of the finite values, and how many were not finite."""
    finite = np.array([value for value in values if math.isfinite(value)])
    n = len(finite)
    quartiles = np.percentile(finite, (25, 50, 75)).tolist() if n else (None, None, None)
    return {
        "n": n,
        "mean": float(finite.mean()) if n else None,
        "sd": float(finite.std(ddof=1)) if n > 1 else None,
        **dict(zip(("p25", "p50", "p75"), quartiles, strict=True)),
        "not_finite": len(values) - n,
    }


FIGURES = ("dice_per_slice", "dice_per_case", "csa_error_percent_per_slice", "hd95_mm_per_case")


def _grouped(scores: Sequence[CaseScore], fact: str) -> dict[str, dict[str, Any]]:
    """Figures by the value of a fact; cases without it are left out."""
    figures = {}
    for value in sorted({dict(case.facts).get(fact, "") for case in scores} - {""}):
        group = [case for case in scores if dict(case.facts).get(fact) == value]
        one = summary(group)
        figures[value] = {"cases": len(group), **{name: one[name] for name in (*FIGURES, "mcc")}}
    return figures


def _slice_row(one: SliceScore) -> dict[str, Any]:
    values = {name: _cell(value) for name, value in vars(one).items() if name not in ("flags", "counts")}
    return {**values, "flags": " ".join(one.flags), **asdict(one.counts)}


def _case_row(case: CaseScore) -> dict[str, Any]:
    scores = ("dice", "hd95_mm", "csa_error_percent", "volume_error_percent")
    return {
        "case": case.case,
        **{name: _cell(getattr(case, name)) for name in scores},
        **{name: _cell(getattr(case.counts, name)()) for name in ("sensitivity", "precision", "mcc")},
        "slices_with_cord": sum(one.true_mm2 > 0 for one in case.slices),
        "slices_missed": case.missed,
        "slices_flagged": sum(bool(one.flags) for one in case.slices),
        "flags": " ".join(case.flags),
        **asdict(case.counts),
    }


def _cell(value: Any) -> Any:
    """Numbers with 4 decimals; NaN is an empty cell."""
    if not isinstance(value, float):
        return value
    return None if math.isnan(value) else round(value, 4) if math.isfinite(value) else "inf"


def bland_altman(first_mm2: ArrayLike, second_mm2: ArrayLike) -> dict[str, Any]:
    """Bias and 95 % limits of agreement (bias ± 1.96 SD of the differences), second minus first, in mm². Fewer than
    two pairs: SD and limits are None; no pair: the bias, too. Bland and Altman 1986, Lancet 327:307-310."""
    differences = np.asarray(second_mm2, float) - np.asarray(first_mm2, float)
    n = len(differences)
    bias, sd = float(differences.mean()) if n else None, float(differences.std(ddof=1)) if n > 1 else None
    limits = (None, None) if bias is None or sd is None else (bias - 1.96 * sd, bias + 1.96 * sd)
    return {"n": n, "bias_mm2": bias, "sd_mm2": sd, "lower_mm2": limits[0], "upper_mm2": limits[1]}


def _area_pairs(*scores: CaseScore) -> NDArray[np.float64]:
    """True and found area, mm² (2, n), of the slices where both masks hold cord: a missed slice is no measurement."""
    areas = [(one.true_mm2, one.found_mm2) for case in scores for one in case.slices if one.true_mm2 and one.found_mm2]
    return np.reshape(areas, (-1, 2)).T


def area_agreement(scores: Sequence[CaseScore]) -> dict[str, Any]:
    """Of slices, and of cases by their mean area."""
    means = [pair.mean(axis=1) for pair in map(_area_pairs, scores) if pair.size]
    per_case = bland_altman(*np.array(means).reshape(-1, 2).T)
    return {"per_slice": bland_altman(*_area_pairs(*scores)), "per_case": per_case}


def _draw_agreement(scores: Sequence[CaseScore], path: Path) -> None:
    """Difference over mean of each slice's areas, a colour a case; bias and limits. Nothing to draw: no file."""
    agreement = bland_altman(*_area_pairs(*scores))
    if not agreement["n"]:
        return
    with figure(path, 1) as (axis,):
        for case in scores:
            one, other = _area_pairs(case)
            axis.plot((one + other) / 2, other - one, ".", markersize=4, alpha=0.6)
        for name, style in (("bias_mm2", "-"), ("lower_mm2", "--"), ("upper_mm2", "--")):
            value = agreement[name]
            if value is not None:
                axis.axhline(value, linestyle=style, color="black", linewidth=1)
                axis.annotate(
                    f"{value:+.1f}", (1.01, value), xycoords=("axes fraction", "data"), va="center", fontsize=8
                )
        axis.axhline(0, color="grey", linewidth=0.5)
        axis.set_xlabel("mean of label and mask, mm²")
        axis.set_ylabel("mask - label, mm²")
        axis.set_title(f"Area of {agreement['n']} slices: bias and 95 % limits of agreement", fontsize=9)


# Pictures of the worst slices: the slice, and beside it where it agrees with the label.


_PICTURES, _PAIRS_A_ROW = 16, 4
_LEAST_MM, _MOST_MM = 40.0, 120.0
# Strong where they differ, thin where they agree; blue and red stay apart for eyes that take red for green.
_MATCH, _TOO_MUCH, _MISSED = ((0.16, 0.78, 0.24), 0.35), ((0.92, 0.12, 0.12), 0.75), ((0.16, 0.47, 1.0), 0.75)
LEGEND = "green: found and true   red: found, not true   blue: true, not found   the patient's right is on the left"


Tile = tuple[SliceScore, NDArray[np.float32], tuple[float, float]]
"""A slice; its picture (rows, 2·columns, 3) in 0..1, plain and with agreement in colour; height and width in mm."""


def badness(score: SliceScore) -> float:
    """How bad a slice is, the larger the worse: 1 - Dice; false cord where there is none counts as a miss."""
    return 1 - score.dice if math.isfinite(score.dice) else float(score.found_mm2 > 0)


def _tile(one: SliceScore, pictures: NDArray, masks: NDArray, labels: NDArray, pixel_mm: tuple[float, float]) -> Tile:
    mask, label = masks[one.canonical_slice], labels[one.canonical_slice]
    outside_mm = one.outside_mm if math.isfinite(one.outside_mm) else 0
    side_mm = float(np.clip(_LEAST_MM + 2 * outside_mm, _LEAST_MM, _MOST_MM))
    cut = []
    for at, n, mm in zip(np.nonzero(label if label.any() else mask), mask.shape, pixel_mm, strict=True):
        middle = at.mean() if at.size else (n - 1) / 2
        cut.append(slice(max(0, round(middle - side_mm / 2 / mm)), round(middle + side_mm / 2 / mm) + 1))
    picture = pictures[one.canonical_slice][tuple(cut)].astype(np.float32)
    mask, label = mask[tuple(cut)], label[tuple(cut)]
    low, high = np.percentile(picture, (1, 99))
    shown = np.clip((picture - low) / max(float(high - low), 1e-6), 0, 1)
    plain = shown[:, :, None].repeat(3, axis=2)
    coloured = plain.copy()
    for where, (colour, opacity) in ((mask & label, _MATCH), (mask & ~label, _TOO_MUCH), (label & ~mask, _MISSED)):
        coloured[where] = (1 - opacity) * coloured[where] + opacity * np.array(colour, np.float32)
    pair = np.concatenate([plain, coloured], axis=1)
    return one, pair, (pair.shape[0] * pixel_mm[0], pair.shape[1] * pixel_mm[1])


def write_sheet(tiles: Sequence[Tile], title: str, path: Path) -> None:
    """One PNG of pairs: the slice, and the slice with agreement in colour. No tiles: nothing is written."""
    if not tiles:
        return
    with figure(path, len(tiles), _PAIRS_A_ROW) as axes:
        axes[0].figure.suptitle(f"{title}\n{LEGEND}", fontsize=8)
        for axis, (score, pair, (height_mm, width_mm)) in zip(axes, tiles, strict=True):
            axis.imshow(pair, extent=(0, width_mm, height_mm, 0))
            axis.set_axis_off()
            axis.set_title(_caption(score), fontsize=6)


def _caption(one: SliceScore) -> str:
    scores = "no cord in the label"
    if math.isfinite(one.dice):
        scores = f"Dice {one.dice:.3f}, area {one.csa_error_percent:+.0f} %"
    if math.isfinite(one.outside_mm):
        scores += f", {one.outside_mm:.1f} mm outside"
    return f"{one.case[:44]}  slice {one.slice}\n{scores}  {' '.join(one.flags)[:40]}"


# Two people drew the same cases: where they agree, where not, and one label made of both.
#
# The consensus of a slice lies midway between both outlines: the pixels whose signed distances to the two add up to
# more than zero (inside is positive). It does not depend on who is first and equals both where they agree. Slices that
# only one of them drew have no middle: they stay empty and are listed, for the two to settle together.


LEAST_DICE = 0.85
_MOST_AREA_PERCENT = 15.0  # of the mean of both areas


def disagreements(
    score: CaseScore, first: Volume, second: Volume, least_dice: float = LEAST_DICE
) -> list[dict[str, Any]]:
    """Rows of the slices that only one drew, or below ``least_dice``, or with areas apart by more than 15 % of their
    mean; the largest dispute first. ``score``: second against first. A row has the area that one drew alone
    (``disputed_mm2``), and the middle of the dispute in patient mm."""
    listed = []
    for one in score.slices:
        kind = _kind(one, least_dice)
        if not kind:
            continue
        k = one.canonical_slice
        row, column = np.nonzero((first.voxels[k] != 0) ^ (second.voxels[k] != 0))
        r, a, s = (round(float(value), 1) for value in (first.voxel_to_ras @ [k, row.mean(), column.mean(), 1])[:3])
        disputed_mm2 = len(row) * float(np.prod(first.pixel_mm))
        values = {
            "case": one.case,
            "slice": one.slice,
            "kind": kind,
            "dice": round(one.dice, 4) if math.isfinite(one.dice) else None,
            "first_mm2": round(one.true_mm2, 2),
            "second_mm2": round(one.found_mm2, 2),
            "disputed_mm2": round(disputed_mm2, 2),
            "r_mm": r,
            "a_mm": a,
            "s_mm": s,
        }
        listed.append((disputed_mm2, values))
    return [values for _, values in sorted(listed, key=lambda item: -item[0])]


def _kind(one: SliceScore, least_dice: float) -> str:
    if bool(one.true_mm2) != bool(one.found_mm2):
        return "only first" if one.true_mm2 else "only second"
    if not one.true_mm2:
        return ""
    apart = 100 * abs(one.found_mm2 - one.true_mm2) / ((one.found_mm2 + one.true_mm2) / 2)
    return "outline" if one.dice < least_dice or apart > _MOST_AREA_PERCENT else ""


def consensus(first: Volume, second: Volume) -> Volume:
    """The midway label, bool, on the grid of ``first``; ``second`` lies on the same."""
    merged = np.zeros(first.shape, bool)
    for n in range(len(merged)):
        a, b = first.voxels[n] != 0, second.voxels[n] != 0
        if a.any() and b.any():
            merged[n] = signed_distance_mm(a, first.pixel_mm) + signed_distance_mm(b, first.pixel_mm) > 0
    return first.with_voxels(merged)
