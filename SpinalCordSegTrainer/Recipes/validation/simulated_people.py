"""A model on simulated people of known anatomy: overlap, area, change between visits, flags where it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from Recipes.simulation.atlas import Maps, read_maps
from Recipes.simulation.people import (
    ATROPHY,
    SimulatedConfig,
    SimulatedNeck,
    cohort_person,
    touching_person,
    visit_pair,
)
from Recipes.validation.public_volumes import BAD_DICE, GOOD_DICE, Validator, areas_by_slice
from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.flags import kinds_of_slice
from SpinalCordSegLib.image_io import Image
from SpinalCordSegLib.longitudinal.change import common_extent
from SpinalCordSegLib.longitudinal.direct_change import direct_change
from SpinalCordSegLib.longitudinal.registration import register_rigid
from SpinalCordSegLib.longitudinal.visits import Profile
from SpinalCordSegTrainerLib.evaluation import CaseScore, Evaluation, SliceScore, write_sheet

INSIDE_BAND = "share of the slices' areas inside their 95 % band"
Draw = Callable[[int, Maps, SimulatedConfig], SimulatedNeck]


@dataclass(frozen=True, eq=False)
class PersonScore:
    """One simulated person. ``true_mm2``: analytic area per slice, inferior first; ``found_mm2``: measured in the
    slice (not corrected for tilt, as the true one), NaN where no cord was found; ``band_mm2``: half its 95 % band."""

    score: CaseScore
    true_mm2: NDArray[np.float64]
    found_mm2: NDArray[np.float64]
    band_mm2: NDArray[np.float64]


@dataclass(frozen=True)
class PairChange:
    """Two visits of a person: measured minus true change of the mean area, in points of percent.

    ``error_points``: where neither visit has a flagged slice; ``error_points_with_flagged``: over all that both cover;
    both NaN where a visit shows no cord, or no height is in both. ``left_out``: share of that stretch that was left
    out, 0..1. ``direct_error_points``, ``direct_se_points``: of the change from both images, NaN where that is refused.
    """

    error_points: float
    error_points_with_flagged: float
    left_out: float
    direct_error_points: float = nan
    direct_se_points: float = nan


@dataclass(frozen=True, eq=False)
class SimulatedScores:
    cohort: tuple[PersonScore, ...]
    pairs: tuple[PairChange, ...]
    touching: tuple[PersonScore, ...]


def validate_simulated(validator: Validator, data: Path, pictures: Path, config: SimulatedConfig) -> SimulatedScores:
    """Draw, segment and score the people of ``config`` from the label maps below ``data``.

    Raises what read_maps, segmenting and writing raise.
    """
    maps = read_maps(data, only=config.shapes)

    def people(name: str, draw: Draw, count: int) -> tuple[PersonScore, ...]:
        necks = (draw(number, maps, config) for number in range(count))
        return _people(validator, necks, name, pictures / f"{name}_worst.png")

    cohort = people("cohort", cohort_person, config.necks)
    changes = [measured_change(validator, visit_pair(number, maps, config)) for number in range(config.pairs)]
    return SimulatedScores(cohort, tuple(changes), people("touching", touching_person, config.touching))


def _people(validator: Validator, necks: Iterable[SimulatedNeck], name: str, picture: Path) -> tuple[PersonScore, ...]:
    people: list[PersonScore] = []
    evaluation = Evaluation()
    for number, neck in enumerate(necks):
        image = Image(neck.image, Path(name), f"{name}-{number:03d}")
        result = validator.segment(image)
        score = evaluation.add(image.case_name, neck.image, result.mask, neck.mask, result.flags)
        found, band = (areas_by_slice(result.slices, len(neck.csa_mm2), name) for name in ("csa_raw_mm2", "csa_95_mm2"))
        people.append(PersonScore(score, neck.csa_mm2, found, band))
    write_sheet(evaluation.tiles, f"simulated {name}: the worst slices, the worst first", picture)
    return tuple(people)


def measured_change(validator: Validator, visits: tuple[SimulatedNeck, SimulatedNeck]) -> PairChange:
    """Both visits segmented and compared over the heights that both cover, as ``follow-up`` does it."""
    profiles, masks = [], []
    for number, visit in enumerate(visits):
        result = validator.segment(Image(visit.image, Path("visit"), f"visit-{number + 1}"))
        heights = visit.z_mm
        masks.append(result.mask)
        areas = areas_by_slice(result.slices, len(heights), "csa_mm2")
        doubtful = np.array([bool(kinds_of_slice(result.flags, k)) for k in range(len(heights))], dtype=bool)
        profiles.append(Profile(heights, np.full(len(heights), heights[1] - heights[0]), areas, doubtful))
    areas_alone = pair_change(profiles)
    if not all(mask.voxels.any() for mask in masks):
        return areas_alone
    first, second = (visit.image for visit in visits)
    motion = register_rigid(first, masks[0], second, masks[1]).fixed_to_moving
    direct = direct_change(first, masks[0], second, masks[1], motion)
    error = direct.percent + 100 * ATROPHY
    return replace(areas_alone, direct_error_points=error, direct_se_points=direct.se_percent)


def pair_change(profiles: Sequence[Profile]) -> PairChange:
    """Of a first and a second visit."""
    if any(not np.isfinite(one.csa_mm2).any() for one in profiles):
        return PairChange(nan, nan, 0.0)
    try:
        sound, whole = common_extent(profiles), common_extent([replace(one, flagged=False) for one in profiles])
    except ConfigurationError:  # no height in common
        return PairChange(nan, nan, 0.0)
    errors = [100 * (one.mean_csa_mm2[1] / one.mean_csa_mm2[0] - 1) + 100 * ATROPHY for one in (sound, whole)]
    return PairChange(float(errors[0]), float(errors[1]), sound.flagged_mm / whole.length_mm)


@dataclass(frozen=True)
class AreaFit:
    """Least squares of measured on true area: ``slope``, ``intercept_mm2``; ``bias_percent``: mean signed error;
    ``sd_percent``: its SD. NaN for fewer than three."""

    slope: float
    intercept_mm2: float
    bias_percent: float
    sd_percent: float
    n: int


def area_fit(true_mm2: NDArray[np.float64], found_mm2: NDArray[np.float64]) -> AreaFit:
    """Fit over the entries where both areas are known and the true one is not 0."""
    known = np.isfinite(found_mm2) & (true_mm2 > 0)
    true, found = true_mm2[known], found_mm2[known]
    if len(true) < 3:
        return AreaFit(nan, nan, nan, nan, len(true))
    slope, intercept = np.polyfit(true, found, 1)
    errors = 100 * (found - true) / true
    return AreaFit(float(slope), float(intercept), float(errors.mean()), float(errors.std(ddof=1)), len(true))


def person_means(
    people: Sequence[PersonScore], unflagged: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean true and found area per person, over the slices where cord was found; NaN where none was.

    ``unflagged``: without the flagged slices.
    """
    true, found = [], []
    for one in people:
        known = np.isfinite(one.found_mm2) & (one.true_mm2 > 0)
        if unflagged:
            flagged = [item.canonical_slice for item in one.score.slices if item.flags]
            known[flagged] = False
        true.append(float(one.true_mm2[known].mean()) if known.any() else nan)
        found.append(float(one.found_mm2[known].mean()) if known.any() else nan)
    return np.array(true), np.array(found)


@dataclass(frozen=True)
class FlagShares:
    """``bad_flagged``: share of the slices with Dice under 0.8 that carry a flag; ``good_flagged``: of those with at
    least 0.9. NaN where there are none."""

    bad_flagged: float
    n_bad: int
    good_flagged: float
    n_good: int


def flag_shares(slices: Sequence[SliceScore]) -> FlagShares:
    """Shares over slices with cord."""
    bad = [bool(one.flags) for one in slices if one.dice < BAD_DICE]
    good = [bool(one.flags) for one in slices if one.dice >= GOOD_DICE]
    return FlagShares(float(np.mean(bad)) if bad else nan, len(bad), float(np.mean(good)) if good else nan, len(good))


def simulated_figures(scores: SimulatedScores) -> dict[str, dict[str, Any]]:
    """All figures by set; values that do not exist are NaN."""
    figures: dict[str, dict[str, Any]] = {}
    if scores.cohort:
        figures["cohort"] = _cohort_figures(scores.cohort)
    if scores.pairs:
        figures["visit pairs"] = _pair_figures(scores.pairs)
    if scores.touching:
        figures["touching structures"] = _touching_figures(scores)
    return figures


def _pair_figures(pairs: Sequence[PairChange]) -> dict[str, Any]:
    known = [one for one in pairs if isfinite(one.error_points)]
    direct = np.array([one.direct_error_points for one in known if isfinite(one.direct_error_points)])
    se = np.array([one.direct_se_points for one in known if isfinite(one.direct_error_points)])
    sound, whole = [one.error_points for one in known], [one.error_points_with_flagged for one in known]
    return {
        "pairs": len(pairs),
        "pairs without cord": len(pairs) - len(known),
        "true change, %": -100 * ATROPHY,
        "mean error, points": float(np.mean(sound)) if sound else nan,
        "SD of the error, points": float(np.std(sound, ddof=1)) if len(sound) > 1 else nan,
        "pairs with flagged slices left out": sum(one.left_out > 0 for one in known),
        "largest share left out": max((one.left_out for one in known), default=nan),
        "mean error with flagged slices, points": float(np.mean(whole)) if whole else nan,
        "SD of the error with flagged slices, points": float(np.std(whole, ddof=1)) if len(whole) > 1 else nan,
        "from both images: pairs refused": len(known) - len(direct),
        "from both images: mean error, points": float(direct.mean()) if len(direct) else nan,
        "from both images: SD of the error, points": float(direct.std(ddof=1)) if len(direct) > 1 else nan,
        "from both images: share of errors under 2 SE": float((abs(direct) < 2 * se).mean()) if len(direct) else nan,
    }


def _cohort_figures(people: Sequence[PersonScore]) -> dict[str, Any]:
    slices = [one for person in people for one in person.score.slices]
    with_cord = [one for one in slices if one.true_mm2]
    dices = [person.score.dice for person in people]
    by_slice = area_fit(*(np.concatenate([getattr(p, name) for p in people]) for name in ("true_mm2", "found_mm2")))
    by_person = area_fit(*person_means(people))
    off = np.concatenate([one.found_mm2 - one.true_mm2 for one in people])
    band, true = (np.concatenate([getattr(p, name) for p in people]) for name in ("band_mm2", "true_mm2"))
    judged = np.isfinite(off + band) & (true > 0)
    return {
        "necks": len(people),
        "slices": len(slices),
        "Dice, mean over necks": float(np.mean(dices)),
        "Dice, lowest neck": float(np.min(dices)),
        "Dice per slice, mean": float(np.mean([one.dice for one in with_cord])),
        "HD95, mm, median": float(np.median([person.score.hd95_mm for person in people])),
        "slices missed": sum(one.found_mm2 == 0 for one in with_cord),
        "slices with Dice under 0.8": sum(one.dice < BAD_DICE for one in with_cord),
        "slices flagged": sum(bool(one.flags) for one in slices),
        "area slope per neck": by_person.slope,
        "area intercept per neck, mm2": by_person.intercept_mm2,
        "area slope per neck without flagged slices": area_fit(*person_means(people, unflagged=True)).slope,
        "area slope per slice": by_slice.slope,
        "area intercept per slice, mm2": by_slice.intercept_mm2,
        "signed area error per slice, %, mean": by_slice.bias_percent,
        "signed area error per slice, %, SD": by_slice.sd_percent,
        INSIDE_BAND: float(np.mean(np.abs(off) <= band, where=judged)) if judged.any() else nan,
    }


def _touching_figures(scores: SimulatedScores) -> dict[str, Any]:
    slices = [one for person in scores.touching for one in person.score.slices]
    shares = flag_shares(slices)
    pooled = flag_shares([*slices, *(one for person in scores.cohort for one in person.score.slices)])
    return {
        "necks": len(scores.touching),
        "slices": len(slices),
        "Dice per slice, mean": float(np.mean([one.dice for one in slices if isfinite(one.dice)])),
        "slices with Dice under 0.8": shares.n_bad,
        "share of them flagged": shares.bad_flagged,
        "slices with Dice of 0.9 or more": shares.n_good,
        "share of those flagged": shares.good_flagged,
        "with the cohort: bad slices": pooled.n_bad,
        "with the cohort: share flagged": pooled.bad_flagged,
        "with the cohort: share of good slices flagged": pooled.good_flagged,
    }
