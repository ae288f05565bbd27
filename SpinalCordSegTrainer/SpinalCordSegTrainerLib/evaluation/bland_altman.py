"""Agreement of two measurements of the same slices: bias and limits of agreement.

Bland and Altman 1986, Lancet 327:307-310: bias = mean difference, limits = bias ± 1.96 SD of the differences.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from SpinalCordSegTrainerLib.evaluation.evaluation import CaseScore
from SpinalCordSegTrainerLib.training.curves import figure


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
        if axes is None:
            return
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
