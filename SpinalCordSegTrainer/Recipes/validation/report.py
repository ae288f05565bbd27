"""Figures of a validation beside their acceptance criteria, as Markdown, CSV and JSON, and in the model's card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np

from Recipes.validation.public_volumes import (
    HARD,
    HEAD,
    MASKED_SETS,
    MOST_COV_PERCENT,
    MOST_ON_OFF_PERCENT,
    MOST_OUTSIDE_MM,
    MT_PAIR,
    SCANNER_LENGTH_MM,
    SCANNERS,
    AreaAgreement,
    HardRow,
    HeadRow,
    MaskedSet,
    RealScores,
    cov_percent,
)
from Recipes.validation.robustness import RobustnessRow, robustness_figures
from Recipes.validation.simulated_people import INSIDE_BAND, flag_shares
from Recipes.validation.simulated_series import (
    COV,
    COVERAGE,
    EVEN_CALLED,
    FAST_CALLED,
    HALF_WIDTH,
    INSIDE,
    PROJECTED,
    SEEN,
    THROUGH_MODEL,
)
from SpinalCordSegLib.files import write_json, write_text
from SpinalCordSegLib.longitudinal.repeatability import Repeatability
from SpinalCordSegLib.model.checkpoint import REPEATABILITY, Checkpoint, save_checkpoint
from SpinalCordSegTrainerLib.evaluation import CaseScore

# The measured repeatability in a model's card: SpinalCordSegLib.longitudinal.change.


def with_repeatability(
    checkpoint: Checkpoint, setting: str, cov_percent: float, source: str, freedom: int
) -> Checkpoint:
    """The checkpoint with one setting's CoV, rounded to 0.01 %, and its degrees of freedom; the other stays. Raises
    ConfigurationError for a CoV that cannot be one, or without its source."""
    checked = Repeatability(round(cov_percent, 2), source, setting, freedom)
    stated: dict[str, Any] = dict(checkpoint.scores.get(REPEATABILITY) or {})
    stated[setting] = {"cov_percent": checked.cov_percent, "source": checked.source, "freedom": freedom}
    return replace(checkpoint, scores={**checkpoint.scores, REPEATABILITY: stated})


# Each figure beside its acceptance criterion: met, missed, or not measured.


COHORT_LEAST_DICE = 0.96
COHORT_SLOPE, COHORT_INSIDE_BAND = (0.97, 1.03), (0.92, 0.98)
PAIRS_MOST_MEAN_POINTS, PAIRS_MOST_SD_POINTS = 0.5, 1.0
LEAST_BAD_FLAGGED, MOST_GOOD_FLAGGED = 0.90, 0.05
_SLOPES = ("area slope per neck", "area slope per slice")


@dataclass(frozen=True)
class Criterion:
    """``figure`` was measured as ``value`` on ``data``; ``limit`` says what it should be. NaN is never ``met``."""

    data: str
    figure: str
    value: float
    limit: str
    met: bool


def at_least(data: str, figure: str, value: float, limit: float, unit: str = "") -> Criterion:
    return Criterion(data, figure, value, f"≥ {limit:g}{unit}", bool(value >= limit))


def at_most(data: str, figure: str, value: float, limit: float, unit: str = "") -> Criterion:
    return Criterion(data, figure, value, f"≤ {limit:g}{unit}", bool(value <= limit))


def size_at_most(data: str, figure: str, value: float, limit: float, unit: str = "") -> Criterion:
    return Criterion(data, figure, value, f"within ±{limit:g}{unit}", bool(abs(value) <= limit))


def between(data: str, figure: str, value: float, limits: tuple[float, float]) -> Criterion:
    return Criterion(data, figure, value, f"{limits[0]:g} to {limits[1]:g}", bool(limits[0] <= value <= limits[1]))


def real_criteria(scores: RealScores) -> list[Criterion]:
    """The criteria of whatever was measured on real volumes."""
    criteria = []
    for chosen in MASKED_SETS:
        if scores.masked.get(chosen.name):
            criteria += _masked_criteria(chosen, scores.masked[chosen.name], scores.areas[chosen.name])
    if scores.scanners:
        name = SCANNERS
        cov = cov_percent([row.mean_csa_mm2 for row in scores.scanners])
        empty = sum(row.empty_slices for row in scores.scanners)
        figure = f"CoV of the mean area over {SCANNER_LENGTH_MM:g} mm below C2/C3, %"
        criteria.append(at_most(name, figure, cov, MOST_COV_PERCENT))
        criteria.append(at_most(name, "empty cord slices, C2 to C7", empty, 0))
    if isfinite(scores.on_off_percent):
        figure = "worst disagreement of a slice's area with and without magnetisation transfer, %"
        criteria.append(at_most(" / ".join(MT_PAIR), figure, scores.on_off_percent, MOST_ON_OFF_PERCENT))
    criteria += [one for row in scores.hard for one in _hard_criteria(row)]
    return criteria + ([] if scores.head is None else _head_criteria(scores.head))


def _hard_criteria(row: HardRow) -> list[Criterion]:
    criteria = [at_least(row.volume, "slices with cord", row.n_slices, 1)]
    if not np.isnan(row.outline_offset):
        figure = "largest offset of the outline from the half-maximum contour up to C1, pixels"
        criteria.append(at_most(row.volume, figure, round(row.outline_offset, 3), 1.0))
    return criteria


def _masked_criteria(chosen: MaskedSet, cases: Sequence[CaseScore], areas: Sequence[AreaAgreement]) -> list[Criterion]:
    slices = [one for case in cases for one in case.slices]
    criteria = []
    if chosen.least_dice is not None:
        criteria.append(at_least(chosen.name, "Dice", _mean([case.dice for case in cases]), chosen.least_dice))
    if chosen.most_hd95_mm is not None:
        criteria.append(at_most(chosen.name, "HD95, mm", max(case.hd95_mm for case in cases), chosen.most_hd95_mm))
    if chosen.most_bias_percent is not None:
        bias = _mean([one.bias_percent for one in areas])
        criteria.append(size_at_most(chosen.name, "mean signed area error, %", bias, chosen.most_bias_percent))
    if chosen.least_correlation is not None:
        correlation = _mean([one.correlation for one in areas])
        criteria.append(
            at_least(chosen.name, "correlation with the rater's areas", correlation, chosen.least_correlation)
        )
        longest = max(one.longest_run for one in areas)
        criteria.append(at_most(chosen.name, "longest run of slices with one area", longest, 1))
    outside = max((one.outside_mm for one in slices if isfinite(one.outside_mm)), default=nan)
    if chosen.role == "training":
        return criteria
    return [
        *criteria,
        at_most(chosen.name, "most components in a slice", max(one.components for one in slices), 1),
        at_most(chosen.name, "farthest pixel outside the true mask, mm", outside, MOST_OUTSIDE_MM),
        at_most(chosen.name, "cord slices missed", sum(case.missed for case in cases), 0),
    ]


def _head_criteria(head: HeadRow) -> list[Criterion]:
    name = HEAD
    return [
        at_most(name, "top of the cord above the foramen magnum, mm", head.above_foramen_mm, 1),
        at_least(name, "top of the cord above C1, mm", head.from_c1_mm, 0),
        at_most(name, "lowest slice above the last clear one, mm", head.above_last_clear_mm, 0),
        at_most(name, "empty slices between", head.gaps, 0),
    ]


_MOST_RMS = {"blur 0.5 mm": 0.8, "blur 1 mm": 2.0, "pixels": 1.5, "roll": 2.0, "pitch": 2.0, "mirror": 1.0}
_MOST_WORST = {"blur 0.5 mm": 4.0, "blur 1 mm": 4.0}
_LEAST_NOISY_DICE = {"noise 20 %": 0.92, "noise 30 %": 0.85}


def robustness_criteria(rows: Sequence[RobustnessRow]) -> list[Criterion]:
    """The same volumes disturbed: RMS and worst change of the mean area, overlap under noise, and whether it shows."""
    criteria = []
    for kind, figures in robustness_figures(rows).items():
        if kind in _MOST_RMS:
            criteria.append(at_most(kind, "RMS change of the mean area, %", figures["RMS change, %"], _MOST_RMS[kind]))
        if kind in _MOST_WORST:
            criteria.append(at_most(kind, "worst change, %", figures["worst change, %"], _MOST_WORST[kind]))
        if kind in _LEAST_NOISY_DICE:
            criteria.append(at_least(kind, "lowest Dice", figures["lowest Dice"], _LEAST_NOISY_DICE[kind]))
            flagged = min(row.case_flagged or row.flagged > 0 for row in rows if row.kind == kind)
            criteria.append(at_least(kind, "every volume flagged", flagged, 1))
    return criteria


def flag_criteria(scores: RealScores) -> list[Criterion]:
    """Flags against Dice over all slices with a rater's mask and cord."""
    shares = flag_shares([one for cases in scores.masked.values() for case in cases for one in case.slices])
    if not shares.n_good:
        return []
    return [
        at_least(
            "all masked", f"{shares.n_bad} slices with Dice under 0.8 that carry a flag", shares.bad_flagged, 0.85
        ),
        at_most("all masked", f"{shares.n_good} good slices that carry a flag", shares.good_flagged, 0.04),
    ]


def simulated_criteria(figures: Mapping[str, Mapping[str, Any]]) -> list[Criterion]:
    """The criteria of whatever simulated sets were measured; ``figures``: of simulated_figures."""
    criteria = []
    if "cohort" in figures:
        of = figures["cohort"]
        criteria.append(at_least("cohort", "Dice, mean over necks", of["Dice, mean over necks"], COHORT_LEAST_DICE))
        criteria += [between("cohort", name, of[name], COHORT_SLOPE) for name in _SLOPES]
        criteria.append(between("cohort", INSIDE_BAND, of[INSIDE_BAND], COHORT_INSIDE_BAND))
    if "visit pairs" in figures:
        of = figures["visit pairs"]
        for name, limit in (
            ("mean error, points", PAIRS_MOST_MEAN_POINTS),
            ("SD of the error, points", PAIRS_MOST_SD_POINTS),
        ):
            criteria.append(size_at_most("visit pairs", name, of[name], limit))
    if "touching structures" in figures:
        of = figures["touching structures"]
        bad, good = of["share of them flagged"], of["share of those flagged"]
        name = "touching structures"
        criteria.append(at_least(name, "slices with Dice under 0.8 that carry a flag", bad, LEAST_BAD_FLAGGED))
        criteria.append(at_most(name, "good slices that carry a flag", good, MOST_GOOD_FLAGGED))
    return criteria


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else nan


# What following a person by a model's masks must reach, over simulated series.


_INSIDE_PERCENT = (92.0, 98.0)
_MOST_HALF_WIDTH = 1.5
_LEAST_FAST_CALLED, _MOST_EVEN_CALLED = 95.0, 5.0
_MOST_BY_COVERAGE = 0.5


def series_criteria(figures: Mapping[str, Mapping[str, Any]]) -> list[Criterion]:
    """``figures``: of ``series_figures``. The few series through the model and the many that carry its error each
    have their criteria; what is called needs many."""
    few, many = figures[THROUGH_MODEL], figures[PROJECTED]
    criteria = []
    for name, of in ((THROUGH_MODEL, few), (PROJECTED, many)):
        criteria.append(between(name, INSIDE, of[INSIDE], _INSIDE_PERCENT))
        criteria.append(at_most(name, HALF_WIDTH, of[HALF_WIDTH], _MOST_HALF_WIDTH))
    criteria.append(at_least(PROJECTED, FAST_CALLED, many[FAST_CALLED], _LEAST_FAST_CALLED))
    criteria.append(at_most(PROJECTED, EVEN_CALLED, many[EVEN_CALLED], _MOST_EVEN_CALLED))
    criteria.append(at_most(THROUGH_MODEL, COVERAGE, few[COVERAGE], _MOST_BY_COVERAGE))
    return criteria


# The one table of a validation, as Markdown, CSV and JSON.


NOT_KNOWN = (
    "Not known: no patient with multiple sclerosis is among these volumes, few people are, one man made all six scanner"
    " volumes, each label map was drawn by one rater, and the simulated people are drawn by the same rules as those"
    " trained on (other seeds, other cord shapes)."
)
_ROLES = {one.name: one.role for one in MASKED_SETS}


def case_row(data: str, case: CaseScore) -> dict[str, Any]:
    """Of a labelled volume; None where a figure does not exist."""
    with_cord = [one for one in case.slices if one.true_mm2]
    outside = [one.outside_mm for one in case.slices if isfinite(one.outside_mm)]
    return {
        "data": data,
        "role": _ROLES[data],
        "volume": case.case,
        "slices": len(case.slices),
        "dice": plain(case.dice),
        "dice_per_slice": plain(float(np.mean([one.dice for one in with_cord])) if with_cord else nan),
        "lowest_dice": plain(min((one.dice for one in with_cord), default=nan)),
        "hd95_mm": plain(case.hd95_mm, 2),
        "csa_error_percent": plain(case.csa_error_percent, 2),
        "csa_error_sd_percent": plain(float(np.std([one.csa_error_percent for one in with_cord])), 2),
        "outside_mm": plain(max(outside, default=nan), 2),
        "most_components": max((one.components for one in case.slices), default=0),
        "missed": case.missed,
        "false_cord": sum(one.found_mm2 > 0 for one in case.slices if not one.true_mm2),
        "flagged": sum(bool(one.flags) for one in case.slices),
        "flags": " ".join(sorted({kind for one in case.slices for kind in one.flags} | set(case.flags))),
    }


def plain(value: float, digits: int = 4) -> float | None:
    """A number as JSON and CSV take it: rounded, None where it is not finite."""
    return round(float(value), digits) if isfinite(value) else None


def content(
    checkpoint: Checkpoint,
    scores: RealScores,
    simulated: Mapping[str, Mapping[str, Any]],
    criteria: Sequence[Criterion],
    disturbed: Sequence[RobustnessRow] = (),
) -> dict[str, Any]:
    """Everything that was measured, as JSON values. ``simulated``: by set, of simulated_figures."""
    return {
        "model": {"name": checkpoint.name, "version": checkpoint.version, "sha256": checkpoint.sha256},
        "criteria": [{**asdict(one), "value": plain(one.value)} for one in criteria],
        "volumes": [case_row(name, case) for name, cases in scores.masked.items() for case in cases],
        "areas": [_plain_fields(asdict(one), 3) for areas in scores.areas.values() for one in areas],
        SCANNERS: _scanner_figures(scores),
        HARD: [_plain_fields(asdict(one)) for one in scores.hard],
        "robustness": {kind: _plain_fields(of, 3) for kind, of in robustness_figures(disturbed).items()},
        "disturbed": [_plain_fields(asdict(one), 3) for one in disturbed],
        HEAD: None if scores.head is None else _plain_fields(asdict(scores.head)),
        "simulated": {name: _plain_fields(of, 4) for name, of in simulated.items()},
        "not_known": NOT_KNOWN,
    }


def _scanner_figures(scores: RealScores) -> dict[str, Any] | None:
    if not scores.scanners:
        return None
    return {
        "length_mm": SCANNER_LENGTH_MM,
        "cov_percent": plain(cov_percent([row.mean_csa_mm2 for row in scores.scanners]), 2),
        "rows": [_plain_fields(asdict(row)) for row in scores.scanners],
    }


def _plain_fields(fields: Mapping[str, Any], digits: int = 2) -> dict[str, Any]:
    return {name: plain(value, digits) if isinstance(value, float) else value for name, value in fields.items()}


def write_validation(content: Mapping[str, Any], folder: Path) -> None:
    """Write ``validation.json`` and ``validation.md``. Raises OutputError."""
    write_json(folder / "validation.json", content)
    write_text(folder / "validation.md", markdown(content))


def markdown(content: Mapping[str, Any]) -> str:
    """The tables as Markdown: criteria, volumes, scanners, head, simulated sets, and what is not known."""
    model = content["model"]
    lines = [f"Model {model['name']} {model['version']}, SHA-256 `{model['sha256']}`.", ""]
    lines += _table(
        ("data", "figure", "measured", "criterion", ""), [_criterion_cells(one) for one in content["criteria"]]
    )
    if content["volumes"]:
        columns = [name for name in content["volumes"][0] if name not in ("role", "flags")]
        rows = [[row[name] for name in columns] for row in content["volumes"]]
        for row, of in zip(rows, content["volumes"], strict=True):
            row[0] = f"{row[0]} (trained on)" if of["role"] == "training" else row[0]
        lines += _table(columns, rows)
    for rows in (content["areas"], content[HARD], content["disturbed"]):
        if rows:
            lines += _table(list(rows[0]), [list(row.values()) for row in rows])
    scanners = content[SCANNERS]
    if scanners:
        lines += _table(list(scanners["rows"][0]), [list(row.values()) for row in scanners["rows"]])
    if content[HEAD]:
        lines += _table((HEAD, ""), list(content[HEAD].items()))
    for name, figures in (content["robustness"] | content["simulated"]).items():
        lines += _table((name, ""), list(figures.items()))
    return "\n".join([*lines, content["not_known"], ""])


def _criterion_cells(one: Mapping[str, Any]) -> tuple[Any, ...]:
    value = "-" if one["value"] is None else f"{one['value']:.4g}"
    return one["data"], one["figure"], value, one["limit"], "met" if one["met"] else "**missed**"


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    return [_row(header), _row(["---"] * len(header)), *(_row(row) for row in rows), ""]


def _row(cells: Sequence[Any]) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def keep_in_card(checkpoint: Checkpoint, content: dict[str, Any]) -> None:
    """Write the figures into the card of the checkpoint's own file: the model's SHA-256, which they name, stays the
    same. Raises OutputError."""
    assert checkpoint.path is not None  # it was read from a file
    written = replace(checkpoint, scores={**checkpoint.scores, "validation": content})
    scanners = content.get(SCANNERS)
    if scanners and scanners["cov_percent"]:
        source = f"{scanners['length_mm']:g} mm below C2/C3 of one man on {len(scanners['rows'])} scanners"
        written = with_repeatability(
            written, "between scanners", scanners["cov_percent"], source, len(scanners["rows"]) - 1
        )
    save_checkpoint(written, checkpoint.path)


def keep_series_in_card(checkpoint: Checkpoint, figures: dict[str, dict[str, Any]]) -> None:
    """The CoV on one scanner into the card of the checkpoint's own file; no weight changes. Raises OutputError."""
    assert checkpoint.path is not None  # it was read from a file
    of = figures[THROUGH_MODEL]
    source = (
        f"{of['series']} simulated persons, {of['visits']} visits on one scanner each, other position, coverage and"
        f" voxel size; {100 * of[SEEN]:.0f} % of a true change were seen"
    )
    save_checkpoint(
        with_repeatability(checkpoint, "same scanner", of[COV], source, of["visits"] - of["series"]), checkpoint.path
    )


def series_markdown(model: dict[str, Any], figures: dict[str, dict[str, Any]], criteria: Sequence[Criterion]) -> str:
    """The criteria, then all figures, as tables."""
    lines = [f"Model {model['name']} {model['version']} ({str(model['sha256'])[:12]})", ""]
    lines += _table(
        ("series", "figure", "measured", "criterion", ""), [_criterion_cells(asdict(one)) for one in criteria]
    )
    for title, rows in figures.items():
        lines += _table((title, ""), list(rows.items()))
    return "\n".join(lines)
