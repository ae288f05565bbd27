"""Two people drew the same cases: where they agree, where not, and one label made of both.

The consensus of a slice lies midway between both outlines: the pixels whose signed distances to the two add up to more
than zero (inside is positive). It does not depend on who is first and equals both where they agree. Slices that only
one of them drew have no middle: they stay empty and are listed, for the two to settle together.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from SpinalCordSegLib.metrics import signed_distance_mm
from SpinalCordSegLib.volume import Volume
from SpinalCordSegTrainerLib.evaluation import CaseScore, SliceScore

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
