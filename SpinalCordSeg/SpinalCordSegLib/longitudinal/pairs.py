"""Two visits laid over each other by their images: one person at one level? And how did the cord's area change?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from math import isfinite, log1p, pi, sqrt

import numpy as np
from scipy.special import chdtri

from SpinalCordSegLib.disc_finder import find_discs
from SpinalCordSegLib.errors import GeometryError, MissingPackageError
from SpinalCordSegLib.longitudinal.direct_change import ALIKE, DirectChange, direct_change, likeness
from SpinalCordSegLib.longitudinal.registration import Lay, Registration, register_rigid, shift_along
from SpinalCordSegLib.longitudinal.repeatability import KNOWN, Repeatability, reach_95
from SpinalCordSegLib.longitudinal.visits import Visit, differences, same_data
from SpinalCordSegLib.morphometry import centreline
from SpinalCordSegLib.vertebral_levels import C2_C3, DISC_NAMES
from SpinalCordSegLib.volume import Volume, place_on

SHARPNESS_MM2 = 0.3  # a difference from here on moves the area by about 1 %
_AREA_PER_MM2 = 0.8 * pi  # mm² of area that an edge loses for each mm² by which its variance is larger
ACROSS_SCANNERS = {"scanner", "field_strength"}  # one neck looks alike across these, and areas may be compared
_ALIKE_ACROSS = 0.4  # on two scanners
_MIRRORED = 0.05  # by so much more alike with left and right exchanged
_ONE_IMAGE = 0.9995  # correlation: two scans differ by their noise at least
_OTHER_LEVEL_MM = 8.0  # about half the way to the next disc


@dataclass(frozen=True, eq=False)
class PairChange:
    """Visits ``first`` and ``second`` (numbers, from 1): ``percent`` of area with its standard error, None where
    ``refused`` says why. ``blur_mm2``: see DirectChange; None where nothing was measured. ``doubts``: why it may not be
    one person at one level."""

    first: int
    second: int
    percent: float | None = field(metadata={"decimals": 3})
    se_percent: float | None = field(metadata={"decimals": 3})
    blur_mm2: float | None = field(metadata={"decimals": 3})
    refused: str
    found: DirectChange | None = field(metadata={"json": False})
    doubts: tuple[str, ...] = field(default=(), metadata={"json": False})

    def at_one_sharpness(self, area_percent: float, area_mm2: float) -> float | None:
        """A change of the areas without that which sharpness alone makes, ``area_mm2`` being the first; None where the
        images are as sharp as each other."""
        if self.blur_mm2 is None or abs(self.blur_mm2) < SHARPNESS_MM2:
            return None
        return area_percent + 100 * _AREA_PER_MM2 * self.blur_mm2 / area_mm2


def lay_images(first: Volume, first_cord: Volume, second: Volume, second_cord: Volume) -> Registration:
    """Registration of two visits, see ``register_rigid``, and how alike they are so; cord on cord where it failed."""
    found = register_rigid(first, first_cord, second, second_cord)
    alike, mirrored, motion = likeness(first, first_cord, second, second_cord, found.fixed_to_moving)
    if motion is found.fixed_to_moving:
        return replace(found, alike=alike, mirrored=mirrored)
    return Registration(motion, found.metric, False, alike=alike, mirrored=mirrored)


def compare_images(visits: Sequence[Visit], read_volume: Callable[[Visit], Volume], lay: Lay) -> tuple[PairChange, ...]:
    """Every pair of the visits that were given with their images. ``read_volume`` reads one."""
    seen = [(n, visit) for n, visit in enumerate(visits, 1) if visit.source.image is not None]
    twins = same_data(visits)
    return tuple(
        PairChange(n, k, None, None, None, "the same data twice", None)
        if (n, k) in twins
        else _compared((n, one), (k, other), read_volume, lay)
        for (n, one), (k, other) in combinations(seen, 2)
    )


def _compared(
    first: tuple[int, Visit], second: tuple[int, Visit], read_volume: Callable[[Visit], Volume], lay: Lay
) -> PairChange:
    (n, one), (k, other) = first, second
    changed = [change for change in differences(one.conditions, other.conditions) if change.breaks]
    # Another model is no reason: the contour is shared, and the images are what is compared.
    breaks = [change.message for change in changed if change.kind != "model"]
    which, why, doubts = f"visits {n} and {k}", next(iter(breaks), ""), []
    try:
        laid = lay(one, other)
    except GeometryError as error:  # the discs may align them all the same
        doubt = f"{which}: their images do not overlap about the cord"
        return PairChange(n, k, None, None, None, why or str(error), None, (doubt,))
    here, there = read_volume(one), read_volume(other)
    cords = place_on(one.mask, here), place_on(other.mask, there)
    kinds = {change.kind for change in changed} - {"model"}
    if kinds <= ACROSS_SCANNERS:
        doubts += _of_other_necks(which, laid, _ALIKE_ACROSS if kinds else ALIKE)
    if one.disc_mm is not None and other.disc_mm is not None and not doubts:
        off_mm = other.disc_mm - one.disc_mm - shift_along(one, other, laid)[0]
        if abs(off_mm) > _OTHER_LEVEL_MM:
            doubts.append(
                f"{which}: the marks of the disc C2/C3 lie {abs(off_mm):.0f} mm apart where their images lie on each"
                " other: is one of another disc?"
            )
    if why:
        return PairChange(n, k, None, None, None, why, None, tuple(doubts))
    found = direct_change(here, cords[0], there, cords[1], laid.fixed_to_moving)
    if found.correlation > _ONE_IMAGE:
        doubts.append(f"{which} show the same image to its noise: one scan given twice?")
    percent, se, blur_mm2 = (
        value if isfinite(value) else None for value in (found.percent, found.se_percent, found.blur_mm2)
    )
    return PairChange(n, k, percent, se, blur_mm2, "; ".join(found.refused), found, tuple(doubts))


def _of_other_necks(which: str, laid: Registration, least: float) -> list[str]:
    alike, mirrored = laid.alike, laid.mirrored
    if mirrored > alike + _MIRRORED and mirrored > least:
        return [f"{which} look more alike with left and right exchanged in one ({mirrored:.2f}, else {alike:.2f})"]
    if alike < least:
        return [
            f"{which} may show two persons: about the cord their images are alike by {alike:.2f}, those of one person"
            f" by {least:g} and more"
        ]
    return []


def marks_in_doubt(visits: Sequence[Visit], read_volume: Callable[[Visit], Volume]) -> list[str]:
    """Where the disc C2/C3 that somebody marked is not where the program finds it in the image, or found it."""
    found = [(n, visit, _found_mm(visit, read_volume)) for n, visit in enumerate(visits, 1)]
    return [
        f"visit {n}: the disc C2/C3 is marked {abs(visit.disc_mm - seen_mm):.0f} mm from where the image shows it"
        for n, visit, seen_mm in found
        if visit.disc_mm is not None and seen_mm is not None and abs(visit.disc_mm - seen_mm) > _OTHER_LEVEL_MM
    ]


def _found_mm(visit: Visit, read_volume: Callable[[Visit], Volume]) -> float | None:
    asked, levels = visit.case.levels_asked, visit.case.levels
    if asked is not None and asked.automatic and levels is not None:
        kept_mm = levels.discs_mm.get(DISC_NAMES[C2_C3])
        return None if kept_mm is None else centreline(visit.mask).position_on(visit.line, kept_mm)
    if visit.disc_mm is None or visit.source.image is None:
        return None
    try:
        return find_discs(read_volume(visit), visit.line).discs_mm.get(C2_C3)
    except MissingPackageError:
        return None


# ---- The yearly rate of all pairs together

BELOW = "below the minimum detectable change"
LOSS = "loss beyond the minimum detectable change"
GAIN = "gain beyond the minimum detectable change: check comparability, a cord does not grow"
SCATTERED = "no verdict: the visits scatter more than their error explains"


def verdict_of(percent: float, limit: float) -> str:
    if abs(percent) < limit:
        return BELOW
    return LOSS if percent < 0 else GAIN


@dataclass(frozen=True)
class DirectRate:
    """The yearly rate of ``n_pairs`` pairs of images together, with its 95 % CI ``low`` … ``high``. ``verdict``: BELOW,
    LOSS, GAIN or SCATTERED."""

    percent_per_year: float
    low: float
    high: float
    n_pairs: int
    verdict: str = ""


def direct_rate(
    pairs: Sequence[PairChange], years: Sequence[float], repeatability: Repeatability | None = None
) -> DirectRate | None:
    """In % of the first area; ``years``: of every visit. None without a change between two days.

    Weighted least squares on the changes of log area. Errors are taken to be the visits' own, so that pairs with a
    visit in common err together; they are not taken to be smaller than repeated scans of ``repeatability`` show, nor,
    from three visits on, than they show about the line.
    """
    known = [pair for pair in pairs if pair.percent is not None]
    apart = np.array([years[pair.second - 1] - years[pair.first - 1] for pair in known])
    if not apart.any():
        return None
    logs = np.array([100 * log1p((pair.percent or 0) / 100) for pair in known])
    variances = np.array([(pair.se_percent or 0) ** 2 for pair in known])
    shares = apart / variances / float((apart**2 / variances).sum())
    slope = float(shares @ logs)
    of_visits = np.zeros(len(years))
    for pair, share in zip(known, shares, strict=True):
        of_visits[[pair.second - 1, pair.first - 1]] += share, -share
    variance, reach, verdict = float(variances.mean()) / 2, reach_95(KNOWN), ""
    if repeatability is not None and repeatability.direct_sd_percent**2 / 2 > variance:
        variance, reach = repeatability.direct_sd_percent**2 / 2, reach_95(repeatability.direct_freedom)
    freedom = len({n for pair in known for n in (pair.first, pair.second)}) - 2
    if freedom > 0:
        seen = float(((logs - slope * apart) ** 2).mean()) * (freedom + 1) / freedom / 2
        verdict = SCATTERED if seen > variance * float(chdtri(freedom, 0.01)) / freedom else ""
        variance = max(variance, seen)
    limit = reach * sqrt(variance * float(of_visits @ of_visits))
    return DirectRate(slope, slope - limit, slope + limit, len(known), verdict or verdict_of(slope, limit))
