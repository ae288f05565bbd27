"""Masks made elsewhere, judged against the labels by the same code as our own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from SpinalCordSegLib.errors import Cancelled, TrainingDataError
from SpinalCordSegLib.images.files import select_label
from SpinalCordSegLib.images.volume import Volume
from SpinalCordSegLib.writing import file_suffix
from SpinalCordSegTrainerLib.datasets.case import LABEL_ENDINGS, Case, is_label_file, stem
from SpinalCordSegTrainerLib.datasets.cases import LoadedCase, load_case
from SpinalCordSegTrainerLib.datasets.label_map import place_mask, read_label_map
from SpinalCordSegTrainerLib.evaluation.evaluation import BAD_CASE, CaseScore, Scored, score_loaded

_ENDINGS = ("", *LABEL_ENDINGS, "_pred", "_mask", "_prediction")


@dataclass(frozen=True)
class PredictionScores:
    """``problems``: case name and why its mask could not be judged."""

    scores: tuple[CaseScore, ...]
    problems: tuple[tuple[str, str], ...]


def find_prediction(case: Case, folder: Path) -> Path:
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
    read = read_label_map(path)
    mask = select_label(read.labels, label, path.name)
    return place_mask(mask, read.oriented, loaded.image, path.name, tolerant=tolerant).mask


def score_predictions(
    cases: Sequence[Case],
    folder: Path,
    *,
    label: int | None = None,
    prediction_label: int | None = None,
    tolerant: bool = False,
    slice_range: tuple[int, int] | None = None,
    only_labelled: bool = False,
    scored: Scored | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> PredictionScores:
    """Score the mask of each case. ``label``, ``prediction_label``: the cord's value in labels and in masks.

    A case without mask, whose mask or label cannot be used, or that has fewer slices than ``slice_range`` asks for, is
    a problem and has no score; the caller says so.
    Raises TrainingDataError when the folder is missing, or no mask at all can be judged.
    """
    if not folder.is_dir():
        raise TrainingDataError(f"{folder}: is not a folder; give the folder that holds the masks")
    scores: list[CaseScore] = []
    problems: list[tuple[str, str]] = []
    for number, case in enumerate(cases):
        if cancelled is not None and cancelled():
            raise Cancelled("cancelled; nothing was written")
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
    return PredictionScores(tuple(scores), tuple(problems))
