"""What an evaluation leaves on disk: tables, one JSON of all figures, histograms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from SpinalCordSegLib.network.checkpoint import Checkpoint
from SpinalCordSegLib.writing import write_json
from SpinalCordSegTrainerLib.evaluation.bland_altman import area_agreement, draw_agreement
from SpinalCordSegTrainerLib.evaluation.evaluation import CaseScore, grouped, summary
from SpinalCordSegTrainerLib.training.curves import figure, write_table

GROUPED_BY = ("site", "scanner")


def write_evaluation(
    scores: Sequence[CaseScore],
    checkpoint: Checkpoint | None,
    folder: Path,
    *,
    group_by: Sequence[str] = GROUPED_BY,
    told_too: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write ``slices.csv``, ``cases.csv``, ``scores.json``, ``histogram.png`` and ``bland_altman.png``; gives what
    scores.json holds. ``checkpoint`` None: the masks were made elsewhere. ``group_by``: facts by which the figures are
    given apart as well (``groups.csv``). ``told_too``: further entries of scores.json.

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
        **(told_too or {}),
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
        if axes is None:
            return
        edges = [number / 40 for number in range(41)]
        for axis, values, name in ((axes[0], per_slice, "slices"), (axes[1], per_case, "cases")):
            axis.hist(values, bins=edges)
            axis.set_xlabel(f"Dice of {len(values)} {name}")
            axis.set_ylabel(name)
        axes[2].hist([min(max(value, -50), 50) for value in errors], bins=50, range=(-50, 50))
        axes[2].set_xlabel("signed area error of slices, % (beyond ±50 in the last bins)")
        axes[2].set_ylabel("slices")
