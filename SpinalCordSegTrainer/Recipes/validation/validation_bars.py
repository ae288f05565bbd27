"""Each figure beside the bar it is held against: met, missed, or not measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any

import numpy as np

from Recipes.validation import benchmark
from Recipes.validation.benchmark import MASKED_SETS, MaskedSet
from Recipes.validation.unlabelled import HeadRow, cov_percent
from Recipes.validation.validate_model import RealScores
from SpinalCordSegTrainerLib.evaluation import CaseScore

_SLOPES = ("area slope per neck", "area slope per slice")


@dataclass(frozen=True)
class Bar:
    """``figure`` was measured as ``value`` on ``data``; ``limit`` says what it should be. NaN is never ``met``."""

    data: str
    figure: str
    value: float
    limit: str
    met: bool


def at_least(data: str, figure: str, value: float, limit: float, unit: str = "") -> Bar:
    return Bar(data, figure, value, f"≥ {limit:g}{unit}", bool(value >= limit))


def at_most(data: str, figure: str, value: float, limit: float, unit: str = "") -> Bar:
    return Bar(data, figure, value, f"≤ {limit:g}{unit}", bool(value <= limit))


def size_at_most(data: str, figure: str, value: float, limit: float, unit: str = "") -> Bar:
    return Bar(data, figure, value, f"within ±{limit:g}{unit}", bool(abs(value) <= limit))


def between(data: str, figure: str, value: float, limits: tuple[float, float]) -> Bar:
    return Bar(data, figure, value, f"{limits[0]:g} to {limits[1]:g}", bool(limits[0] <= value <= limits[1]))


def real_bars(scores: RealScores) -> list[Bar]:
    """The bars of whatever was measured on real volumes."""
    bars = []
    for chosen in MASKED_SETS:
        if chosen.role == "judging" and scores.masked.get(chosen.name):
            bars += _masked_bars(chosen, scores.masked[chosen.name])
    if scores.scanners:
        name = benchmark.SCANNERS
        cov = cov_percent([row.mean_csa_mm2 for row in scores.scanners])
        empty = sum(row.empty_slices for row in scores.scanners)
        figure = f"CoV of the mean area over {benchmark.SCANNER_LENGTH_MM:g} mm below C2/C3, %"
        bars.append(at_most(name, figure, cov, benchmark.MOST_COV_PERCENT))
        bars.append(at_most(name, "empty cord slices, C2 to C7", empty, 0))
    return bars + ([] if scores.head is None else _head_bars(scores.head))


def _masked_bars(chosen: MaskedSet, cases: Sequence[CaseScore]) -> list[Bar]:
    slices = [one for case in cases for one in case.slices]
    bars = []
    if chosen.least_dice is not None:
        bars.append(at_least(chosen.name, "Dice", _mean([case.dice for case in cases]), chosen.least_dice))
    if chosen.most_hd95_mm is not None:
        bars.append(at_most(chosen.name, "HD95, mm", max(case.hd95_mm for case in cases), chosen.most_hd95_mm))
    if chosen.most_bias_percent is not None:
        bias = _mean([case.csa_error_percent for case in cases])
        bars.append(size_at_most(chosen.name, "mean signed area error, %", bias, chosen.most_bias_percent))
    outside = max((one.outside_mm for one in slices if isfinite(one.outside_mm)), default=nan)
    return [
        *bars,
        at_most(chosen.name, "most components in a slice", max(one.components for one in slices), 1),
        at_most(chosen.name, "farthest pixel outside the true mask, mm", outside, benchmark.MOST_OUTSIDE_MM),
        at_most(chosen.name, "cord slices missed", sum(one.true_mm2 > 0 and one.found_mm2 == 0 for one in slices), 0),
    ]


def _head_bars(head: HeadRow) -> list[Bar]:
    name = benchmark.HEAD
    return [
        at_most(name, "top of the cord above the foramen magnum, mm", head.above_foramen_mm, 0),
        at_least(name, "top of the cord above C1, mm", head.from_c1_mm, 0),
        at_most(name, "lowest slice above the last clear one, mm", head.above_last_clear_mm, 0),
        at_most(name, "empty slices between", head.gaps, 0),
    ]


def simulated_bars(figures: Mapping[str, Mapping[str, Any]]) -> list[Bar]:
    """The bars of whatever simulated sets were measured; ``figures``: of simulated_figures."""
    bars = []
    if "cohort" in figures:
        of = figures["cohort"]
        bars.append(
            at_least("cohort", "Dice, mean over necks", of["Dice, mean over necks"], benchmark.COHORT_LEAST_DICE)
        )
        bars += [between("cohort", name, of[name], benchmark.COHORT_SLOPE) for name in _SLOPES]
    if "visit pairs" in figures:
        of = figures["visit pairs"]
        for name, limit in (
            ("mean error, points", benchmark.PAIRS_MOST_MEAN_POINTS),
            ("SD of the error, points", benchmark.PAIRS_MOST_SD_POINTS),
        ):
            bars.append(size_at_most("visit pairs", name, of[name], limit))
    if "touching structures" in figures:
        of = figures["touching structures"]
        bad, good = of["share of them flagged"], of["share of those flagged"]
        name = "touching structures"
        bars.append(at_least(name, "slices with Dice under 0.8 that carry a flag", bad, benchmark.LEAST_BAD_FLAGGED))
        bars.append(at_most(name, "good slices that carry a flag", good, benchmark.MOST_GOOD_FLAGGED))
    return bars


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else nan
