"""Vertebral levels along the cord, from discs that a person marked.

A disc maps to the nearest point of the centreline. Its number is that of the vertebra below it: 3 is the disc C2/C3,
8 is C7/T1. One disc, C2/C3, gives C2 and C3 by the template's lengths; lower levels need a second disc further down,
between which the template's proportions are fitted. What is not between two marked discs is called approximate, and
why is said. These are vertebral levels, not spinal ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.flags import Flag, case_flag
from SpinalCordSegLib.measurement.cord_line import CordLine

C2_C3 = 3
_C7_T1 = 8

# Lengths along the cord in mm, counted once in PAM50_levels.nii.gz (0.5 mm slices): De Leener et al. 2018, NeuroImage
# 165:170-179. The template's C1 ends above without a disc, so its length is a convention.
TEMPLATE_LENGTH_MM = {"C1": 23.0, "C2": 15.5, "C3": 18.5, "C4": 18.5, "C5": 16.5, "C6": 15.5, "C7": 17.0, "T1": 21.5}
_NAMES = tuple(TEMPLATE_LENGTH_MM)
DISC_NAMES = {n + 1: f"{_NAMES[n - 1]}/{_NAMES[n]}" for n in range(1, len(_NAMES))} | {9: "T1/T2"}

_FARTHEST_MM = 30.0  # a disc's front edge lies some 20-25 mm before the cord's middle
_BEYOND_MM = 15.0  # further from the end of the cord found, going straight on is a guess
_PLAUSIBLE_SCALE = (0.7, 1.35)  # a person's neck against the template's


@dataclass(frozen=True)
class DiscLandmark:
    """A marked disc. ``disc``: number of the vertebra below it (2 is C1/C2 … 9 is T1/T2). ``ras_mm``: a point in it."""

    disc: int
    ras_mm: tuple[float, float, float]

    def __post_init__(self) -> None:
        if self.disc not in DISC_NAMES:
            raise ConfigurationError(f"disc {self.disc} is not known: give one of {', '.join(DISC_NAMES.values())}")


@dataclass(frozen=True)
class Level:
    """One vertebral level as positions along the cord, mm (see CordLine), ``low_mm`` < ``high_mm``.

    ``basis``: "discs" (both marked), "fitted" (between two marked discs, by the template's proportions) or
    "approximate" (the template's length from one disc). ``remark``: why it is doubtful; "" for "discs".
    """

    name: str
    low_mm: float
    high_mm: float
    basis: str
    remark: str


@dataclass(frozen=True)
class Levels:
    """``levels``: from superior to inferior, only those that can be told. ``discs_mm``: marked discs along the cord.
    ``flags``: kinds disc_missing, level_approximate, level_doubtful, level_missing."""

    levels: tuple[Level, ...]
    discs_mm: dict[int, float]
    flags: tuple[Flag, ...]

    def at(self, arc_mm: float) -> Level | None:
        """The level of a position along the cord; None outside all of them."""
        return next((level for level in self.levels if level.low_mm <= arc_mm < level.high_mm), None)

    def named(self, name: str) -> Level | None:
        return next((level for level in self.levels if level.name == name), None)

    def between(self, upper: str, lower: str) -> tuple[float, float] | None:
        """Positions [low, high] of a run of levels such as C2-C3; None unless all of them are known."""
        names = _NAMES[_NAMES.index(upper) : _NAMES.index(lower) + 1]
        found = [self.named(name) for name in names]
        if any(level is None for level in found):
            return None
        return min(level.low_mm for level in found if level), max(level.high_mm for level in found if level)


def find_levels(line: CordLine, landmarks: Sequence[DiscLandmark]) -> Levels:
    """The levels that ``landmarks`` allow on this cord. No landmark or no cord: none, without a flag. A disc so far
    beyond the end of the cord found that its place would be a guess is left out, with a flag.

    Raises ConfigurationError: a disc twice, discs in the wrong order along the cord, a point too far from it.
    """
    if not landmarks or not len(line.arc_mm):
        return Levels((), {}, ())
    discs_mm, flags = _place(line, landmarks)
    if not discs_mm:
        return Levels((), {}, (*flags, case_flag("level_missing", "no level: mark a disc beside the cord found")))
    levels = [level for pair in _pairs(discs_mm) for level in _fit(*pair, discs_mm)]
    levels = [*_above(discs_mm), *levels, *_below(discs_mm)]
    return Levels(tuple(levels), discs_mm, (*flags, *_doubts(levels, discs_mm)))


def _place(line: CordLine, landmarks: Sequence[DiscLandmark]) -> tuple[dict[int, float], list[Flag]]:
    """Where the discs lie along the cord, mm, without those that are too far beyond it, and what is doubtful."""
    placed: dict[int, float] = {}
    left_out = set()
    flags = []
    for landmark in sorted(landmarks, key=lambda one: one.disc):
        name = DISC_NAMES[landmark.disc]
        if landmark.disc in placed:
            raise ConfigurationError(f"disc {name} was given twice: give one point for each disc")
        arc_mm, off_mm = line.nearest(landmark.ras_mm)
        beyond_mm = max(-arc_mm, arc_mm - line.end_mm, 0.0)
        # The farther beyond the end, the less it says that the mark lies beside the straight line that goes on there.
        farthest_mm = _FARTHEST_MM + (beyond_mm if beyond_mm > _BEYOND_MM else 0)
        if off_mm > farthest_mm:
            raise ConfigurationError(
                f"disc {name} lies {off_mm:.0f} mm from the cord, expected under {farthest_mm:.0f} mm: give it in RAS"
                " mm (right, anterior, superior positive) of this very image"
            )
        if beyond_mm > _BEYOND_MM:
            left_out.add(landmark.disc)
            text = (
                f"disc {name} lies {beyond_mm:.0f} mm beyond the end of the cord found, at most {_BEYOND_MM:.0f} mm can"
                " be bridged: it is left out"
            )
            flags.append(case_flag("level_doubtful", text))
        elif beyond_mm > 0:
            text = f"disc {name} lies {beyond_mm:.1f} mm beyond the end of the cord found: its place is extrapolated"
            flags.append(case_flag("level_doubtful", text))
        placed[landmark.disc] = arc_mm
    for upper, lower in _pairs(placed):
        if placed[lower] >= placed[upper]:
            raise ConfigurationError(
                f"disc {DISC_NAMES[lower]} lies above disc {DISC_NAMES[upper]} along the cord: check the points"
            )
    return {disc: arc_mm for disc, arc_mm in placed.items() if disc not in left_out}, flags


def _pairs(discs_mm: dict[int, float]) -> list[tuple[int, int]]:
    known = sorted(discs_mm)
    return list(pairwise(known))


def _fit(upper: int, lower: int, discs_mm: dict[int, float]) -> list[Level]:
    """The levels between two marked discs, in the template's proportions where discs between them are missing."""
    names = _NAMES[upper - 1 : lower - 1]
    scale = (discs_mm[upper] - discs_mm[lower]) / sum(TEMPLATE_LENGTH_MM[name] for name in names)
    missing = ", ".join(f"disc {n} ({DISC_NAMES[n]})" for n in range(upper + 1, lower))
    remark = f"{missing} missing: fitted between {DISC_NAMES[upper]} and {DISC_NAMES[lower]}" if missing else ""
    levels, top = [], discs_mm[upper]
    for name in names:
        low = top - scale * TEMPLATE_LENGTH_MM[name]
        levels.append(Level(name, low, top, "fitted" if missing else "discs", remark))
        top = low
    return levels


def _above(discs_mm: dict[int, float]) -> list[Level]:
    """C2 above the disc C2/C3; C1 above that, once the neck's length is known from two discs."""
    levels: list[Level] = []
    top = min(discs_mm)
    start = discs_mm[top]
    names = {3: ["C2"] if len(discs_mm) == 1 else ["C2", "C1"], 2: ["C1"]}.get(top, [])
    for name in names:
        length = TEMPLATE_LENGTH_MM[name]
        remark = f"approximate: the template's length of {length:g} mm above disc {DISC_NAMES[top]}"
        if name == "C1":
            remark = f"approximate: the template's length of {length:g} mm; no disc bounds C1 above"
        levels.insert(0, Level(name, start, start + length, "approximate", remark))
        start += length
    return levels


def _below(discs_mm: dict[int, float]) -> list[Level]:
    """C3 below the disc C2/C3 where that is the lowest one marked."""
    if max(discs_mm) != C2_C3:
        return []
    start, length = discs_mm[C2_C3], TEMPLATE_LENGTH_MM["C3"]
    remark = f"approximate: the template's length of {length:g} mm below disc {DISC_NAMES[C2_C3]}"
    return [Level("C3", start - length, start, "approximate", remark)]


def _doubts(levels: Sequence[Level], discs_mm: dict[int, float]) -> list[Flag]:
    flags = []
    for upper, lower in _pairs(discs_mm):
        between = "–".join(dict.fromkeys((_NAMES[upper - 1], _NAMES[lower - 2])))
        missing = [f"disc {n} missing ({DISC_NAMES[n]})" for n in range(upper + 1, lower)]
        if missing:
            text = f"{', '.join(missing)}: {between} are divided by the template's proportions"
            flags.append(case_flag("disc_missing", text))
        template_mm = sum(TEMPLATE_LENGTH_MM[name] for name in _NAMES[upper - 1 : lower - 1])
        scale = (discs_mm[upper] - discs_mm[lower]) / template_mm
        if not _PLAUSIBLE_SCALE[0] <= scale <= _PLAUSIBLE_SCALE[1]:
            text = f"{between} measure {scale * 100:.0f} % of the template's length: check the marked discs"
            flags.append(case_flag("level_doubtful", text))
    guessed = [level.name for level in levels if level.basis == "approximate"]
    if guessed:
        text = f"{', '.join(guessed)}: approximate, by the template's length from the nearest marked disc"
        flags.append(case_flag("level_approximate", text))
    lowest = max((_NAMES.index(level.name) for level in levels), default=-1)
    if lowest < _C7_T1 - 2:
        first = _NAMES[lowest + 1] if levels else "any level"
        text = f"no level from {first} down: mark a second disc near C7/T1" if levels else "no level: mark disc C2/C3"
        flags.append(case_flag("level_missing", text))
    return flags
