"""Vertebral levels along the cord, from discs that a person marked or the program found.

A disc maps to the nearest point of the centreline. Its number is that of the vertebra below it: 3 is the disc C2/C3,
8 is C7/T1. One disc, C2/C3, gives C2 and C3 by the template's lengths; lower levels need a second disc further down,
between which the template's proportions are fitted. Levels outside two marked discs are reported as approximate, with
the reason. These are vertebral levels, not spinal ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from math import isfinite, nan
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.errors import ConfigurationError, InputFileError
from SpinalCordSegLib.flags import Flag, case_flag, merge_flags
from SpinalCordSegLib.morphometry import COMPLETE, Centreline, CordMeasures, mean_band_mm2, mean_csa
from SpinalCordSegLib.slice_table import SliceTable
from SpinalCordSegLib.volume import Volume

C2_C3 = 3
_C7_T1 = 8

# Lengths along the cord in mm, counted once in PAM50_levels.nii.gz (0.5 mm slices): De Leener et al. 2018, NeuroImage
# 165:170-179. The template's C1 ends above without a disc, so its length is a convention.
TEMPLATE_LENGTH_MM = {"C1": 23.0, "C2": 15.5, "C3": 18.5, "C4": 18.5, "C5": 16.5, "C6": 15.5, "C7": 17.0, "T1": 21.5}
_NAMES = tuple(TEMPLATE_LENGTH_MM)
DISC_NAMES = {n + 1: f"{_NAMES[n - 1]}/{_NAMES[n]}" for n in range(1, len(_NAMES))} | {9: "T1/T2"}
# Number of a disc → its place among the template's slices, counted from inferior; 1: the upper end of C1.
_PAM50_SLICE = dict(enumerate(984.5 - 2 * np.cumsum([0.0, *TEMPLATE_LENGTH_MM.values()]), start=1))
_BY_NAME = {name.casefold(): number for number, name in DISC_NAMES.items()}

_FARTHEST_MM = 30.0  # a disc's front edge lies some 20-25 mm before the cord's middle
_INSIDE_CORD_MM = 4.0  # from its middle
_BEYOND_MM = 15.0  # further from the end of the cord found, going straight on is a guess
_PLAUSIBLE_SCALE = (0.7, 1.35)  # a person's neck against the template's
_BASES = ("discs", "fitted", "approximate")  # from the surest to the weakest

# Without discs: below the cord's upper end at the foramen magnum. By PAM50's lengths it is C1 and the dens, which scans
# of the head show where C2/C3 lies outside them. Liu et al. 2015 (Multiple Sclerosis and Related Disorders 4) found
# such a level, 2.5 cm below the pons, more reliable than C2/C3 in scans of the head.
BELOW_UPPER_END_MM = (10.0, 30.0)
BELOW_UPPER_END = "{:g} to {:g} mm below the upper end".format(*BELOW_UPPER_END_MM)
UPPER_END = "upper end"
"""Basis of what is measured below it."""
UPPER_END_95_MM = 5.0
"""95 % of the upper ends found in simulated heads lie this near to the foramen magnum (docs/measurements.md)."""
_UPPER_END_ABOVE_C2_C3_MM = (22.0, 65.0)  # from a small child's to the longest neck's


@dataclass(frozen=True)
class DiscMark:
    """A disc as a person marked it: a point in RAS mm, or a slice of the input (then its middle is the cord's).
    ``disc``: number of the vertebra below it (2 is C1/C2 … 9 is T1/T2). ``from_points``: from a label map of points
    that may as well be the middles of vertebrae. ``by_person``: placed by hand beside others that were found."""

    disc: int
    ras_mm: tuple[float, float, float] | None = None
    slice: int | None = None
    from_points: bool = field(default=False, metadata={"json": False})
    by_person: bool = False

    def __post_init__(self) -> None:
        if self.disc not in DISC_NAMES:
            raise ConfigurationError(f"disc {self.disc} is not known: give one of {', '.join(DISC_NAMES.values())}")


_AUTOMATIC = "the discs were found by the program: look at them, or mark them yourself"


@dataclass(frozen=True)
class LevelOptions:
    """``around_mm``: also the mean area within this distance, along the cord, of the disc C2/C3. ``declared``: what
    the user vouches for where no DICOM header tells ("t1w", "corrected-3d"). ``age_years`` at the examination, ``sex``
    ("male", "female"): of the person, to compare with healthy adults; not kept in a report. ``was_compared``: the case
    was compared before. ``find``: look for discs in the image where none is given; ``automatic``: they were found so,
    but for those ``by_person``; ``not_found``: why they were not."""

    discs: tuple[DiscMark, ...] = ()
    around_mm: float | None = None
    declared: tuple[str, ...] = ()
    automatic: bool = False
    find: bool = field(default=False, metadata={"json": False})
    not_found: str = field(default="", metadata={"json": False})
    age_years: float | None = field(default=None, metadata={"json": False})
    sex: str | None = field(default=None, metadata={"json": False})
    was_compared: bool = field(default=False, metadata={"json": False})

    def __post_init__(self) -> None:
        if self.around_mm is not None and not 0 < self.around_mm <= 100:
            raise ConfigurationError(f"a length of {self.around_mm:g} mm around C2/C3 is out of range (0 to 100)")
        if unknown := set(self.declared) - set(DECLARABLE):
            raise ConfigurationError(f"cannot declare {', '.join(unknown)}: choose among {', '.join(DECLARABLE)}")
        if self.sex is not None and self.sex not in SEXES:
            raise ConfigurationError(f"sex {self.sex} is not in the table of norms: give male or female")
        if self.age_years is not None and not 0 <= self.age_years < 130:
            raise ConfigurationError(f"an age of {self.age_years:g} years is impossible")


@dataclass(frozen=True)
class Level:
    """One vertebral level as positions along the cord, mm (see Centreline), ``low_mm`` < ``high_mm``.

    ``basis``: "discs" (both marked), "fitted" (between two marked discs, by the template's proportions), "approximate"
    (the template's length from one disc), "disc" (around one) or "upper end" (below the cord's, whatever the discs
    are). ``remark``: what is doubtful; "" for nothing.
    """

    name: str
    low_mm: float
    high_mm: float
    basis: str
    remark: str = ""


@dataclass(frozen=True)
class LevelMeasures:
    """A level, C2-C3, or the interval around the disc C2/C3; ``name``, ``basis``, ``remark``: see Level.

    ``mean_csa_mm2``: weighted by length, imputed slices left out; ``sd_csa_mm2``: likewise, with n/(n-1), NaN for one
    slice; ``mean_csa_95_mm2``: half of the mean's 95 % band. ``n_slices``: those that the mean rests on.
    ``length_mm``, ``volume_mm3``: along and of the cord in it.
    ``coverage``: share 0..1 of the level's length that has an area. Without cord: zeros, and NaN for mean and SD; where
    there is cord whose area is withheld (too coarse voxels), NaN for length and volume too.
    """

    mean_csa_mm2: float
    sd_csa_mm2: float
    n_slices: int
    length_mm: float
    volume_mm3: float
    coverage: float
    name: str
    basis: str
    remark: str
    mean_csa_95_mm2: float = nan


@dataclass(frozen=True)
class UpperEnd:
    """The cord's upper end in the image, at the foramen magnum, as the program found it (see ``ends_below_brain``); no
    disc is needed for it. ``slice``: the input's own, the last one with cord; ``at_mm``: its upper face along the
    cord, see Centreline. ``within_mm``: of the foramen magnum, in 95 % of simulated heads."""

    slice: int
    at_mm: float
    within_mm: float


@dataclass(frozen=True, eq=False)
class LevelReport:
    """Areas by vertebral level, and below the cord's upper end. ``discs_mm``: marked discs by name, along the line that
    the case was measured on. ``norm``: the comparison with healthy adults, see ``c2_percentile``; None where it was not
    asked for. ``reason``: why no disc was found in the image; "" otherwise. ``upper_end``: None where it is not known.

    In memory only: ``places``, the levels along the cord from superior to inferior, only those that can be located;
    ``by_slice``: canonical slice → name of the level its middle lies in; ``pam50_slice``: likewise → see
    ``pam50_slices``; ``below_upper_end_mm``: likewise; ``flags``, of kind "levels".
    """

    discs_mm: dict[str, float] = field(default_factory=dict, metadata={"decimals": 3})
    rows: tuple[LevelMeasures, ...] = field(default=(), metadata={"key": "levels"})
    norm: dict[str, Any] | None = None
    reason: str = ""
    upper_end: UpperEnd | None = None
    places: tuple[Level, ...] = field(default=(), metadata={"json": False})
    by_slice: dict[int, str] = field(default_factory=dict, metadata={"json": False})
    pam50_slice: dict[int, float] = field(default_factory=dict, metadata={"json": False})
    below_upper_end_mm: dict[int, float] = field(default_factory=dict, metadata={"json": False})
    flags: tuple[Flag, ...] = field(default=(), metadata={"json": False})


def measure_levels(
    mask: Volume,
    measures: CordMeasures,
    options: LevelOptions,
    *,
    facts: Mapping[str, bool | None] | None = None,
    upper_end: int | None = None,
) -> LevelReport | None:
    """The levels of a cleaned mask and its measures; None where no disc is marked, none was looked for, and the cord's
    upper end is not known.

    ``facts``: "t1w", "corrected_3d", "contrast_agent" as far as a header tells. ``upper_end``: see CordMask. Raises
    ConfigurationError.
    """
    report = _by_discs(mask, measures, options, facts or {})
    return report if upper_end is None else _with_upper_end(report or LevelReport(), mask, measures, upper_end)


def _with_upper_end(report: LevelReport, mask: Volume, measures: CordMeasures, canonical_slice: int) -> LevelReport:
    """The same with what lies below the cord's upper end; a place that the disc C2/C3 contradicts is none."""
    line = measures.line
    row = canonical_slice - int(line.canonical_slice[0])
    at_mm = float(line.arc_mm[row] + line.length_mm[row] / 2)
    disc_mm, (least_mm, most_mm) = report.discs_mm.get(DISC_NAMES[C2_C3]), _UPPER_END_ABOVE_C2_C3_MM
    if disc_mm is not None and not least_mm <= at_mm - disc_mm <= most_mm:
        text = f"the cord ends {at_mm - disc_mm:.0f} mm above the disc C2/C3, expected {least_mm:g} to {most_mm:g}:"
        return replace(report, flags=merge_flags(report.flags, [case_flag("levels", f"{text} check both")]))
    within_mm = round(float(np.hypot(UPPER_END_95_MM, mask.slice_mm / 2)), 1)
    end = UpperEnd(mask.to_input_slice(canonical_slice), at_mm, within_mm)
    low_mm, high_mm = (at_mm - mm for mm in reversed(BELOW_UPPER_END_MM))
    remark = f"the upper end found by the program, within {end.within_mm:.0f} mm of the foramen magnum; no disc needed"
    below = _measured(line, measures.slices, Level(BELOW_UPPER_END, low_mm, high_mm, UPPER_END, remark))
    text = f"the cord's upper end (slice {end.slice}) was found by the program: look at it"
    return replace(
        report,
        rows=(*report.rows, below),
        upper_end=end,
        below_upper_end_mm=dict(zip(line.canonical_slice.tolist(), (at_mm - line.arc_mm).tolist(), strict=True)),
        flags=merge_flags(report.flags, [case_flag("levels", text)]),
    )


def _by_discs(
    mask: Volume, measures: CordMeasures, options: LevelOptions, facts: Mapping[str, bool | None]
) -> LevelReport | None:
    if not options.discs:
        reason = options.not_found
        return LevelReport(reason=reason, norm=_norm((), options, facts)) if reason else None
    line = measures.line
    if not len(line.arc_mm):
        return LevelReport(flags=(case_flag("levels", "no cord was found, so no level"),))
    if any(mark.from_points and line.nearest(mark.ras_mm or ())[1] < _INSIDE_CORD_MM for mark in options.discs):
        raise ConfigurationError(
            "points of the label map lie inside the cord: they may be discs or the middles of vertebrae; give"
            " --disc discs=FILE or --disc vertebrae=FILE"
        )
    found = find_levels(line, [(mark.disc, _point(mark, line, mask)) for mark in options.discs])
    rows = [_measured(line, measures.slices, place) for place in _with_unions(found, options.around_mm)]
    numbers = line.canonical_slice.tolist()
    arcs = zip(numbers, line.arc_mm.tolist(), strict=True)
    by_slice = {k: level.name for k, arc in arcs for level in found.places if level.low_mm <= arc < level.high_mm}
    in_pam50 = pam50_slices({_BY_NAME[name.casefold()]: mm for name, mm in found.discs_mm.items()}, line.arc_mm)
    absent = [row.name for row in rows if row.coverage == 0]
    partial = [f"{row.name} ({100 * row.coverage:.0f} %)" for row in rows if 0 < row.coverage < COMPLETE]
    texts = [f"without an area: {', '.join(absent)}"] if absent else []
    texts += [f"only partly covered: {', '.join(partial)}"] if partial else []
    texts += [_AUTOMATIC] if options.automatic else []
    flags = merge_flags(found.flags, (case_flag("levels", text) for text in texts))
    return replace(
        found,
        rows=tuple(rows),
        norm=_norm(rows, options, facts),
        by_slice=by_slice,
        pam50_slice=dict(zip(numbers, in_pam50.tolist(), strict=True)),
        flags=flags,
    )


def _point(mark: DiscMark, line: Centreline, mask: Volume) -> Sequence[float]:
    """RAS mm; of a mark in a slice: the cord's middle in it."""
    if mark.ras_mm is not None:
        return mark.ras_mm
    number, count = mark.slice or 0, mask.shape[0]
    if not 0 <= number < count:
        raise ConfigurationError(f"disc {DISC_NAMES[mark.disc]} is marked in slice {number}: expected 0 to {count - 1}")
    return line.at_slice(mask.from_input_slice(number)).tolist()


def find_levels(line: Centreline, discs: Sequence[tuple[int, Sequence[float]]]) -> LevelReport:
    """Where the levels are that ``discs`` (number, RAS mm) allow on this cord. A disc so far beyond the end of the cord
    found that its place would be a guess is left out, with a flag.

    Raises ConfigurationError: a disc twice, discs in the wrong order along the cord, a point too far from it.
    """
    discs_mm, texts = _place(line, discs)
    levels: list[Level] = []
    for upper, lower in pairwise(sorted(discs_mm)):
        names, top = _NAMES[upper - 1 : lower - 1], discs_mm[upper]
        between = "–".join(dict.fromkeys((names[0], names[-1])))
        scale = (top - discs_mm[lower]) / sum(TEMPLATE_LENGTH_MM[name] for name in names)
        missing, remark = range(upper + 1, lower), ""
        if missing:
            discs_missing = ", ".join(f"disc {n} missing ({DISC_NAMES[n]})" for n in missing)
            texts.append(f"{discs_missing}: {between} are divided by the template's proportions")
            remark = ", ".join(f"disc {n} ({DISC_NAMES[n]})" for n in missing)
            remark += f" missing: fitted between {DISC_NAMES[upper]} and {DISC_NAMES[lower]}"
        if not _PLAUSIBLE_SCALE[0] <= scale <= _PLAUSIBLE_SCALE[1]:
            texts.append(f"{between} measure {scale * 100:.0f} % of the template's length: check the marked discs")
        for name in names:
            low = top - scale * TEMPLATE_LENGTH_MM[name]
            levels.append(Level(name, low, top, "fitted" if missing else "discs", remark))
            top = low
    above, below = _beyond(discs_mm)
    levels = [*above, *levels, *below]
    if above or below:
        guessed = ", ".join(level.name for level in (*above, *below))
        texts.append(f"{guessed}: approximate, by the template's length from the nearest disc")
    if not discs_mm:
        texts.append("no level: mark a disc beside the cord found")
    elif not levels:
        texts.append("no level: mark disc C2/C3")
    elif (lowest := _NAMES.index(levels[-1].name)) < _C7_T1 - 2:
        texts.append(f"no level from {_NAMES[lowest + 1]} down: mark a second disc near C7/T1")
    flags = tuple(case_flag("levels", text) for text in texts)
    return LevelReport({DISC_NAMES[n]: mm for n, mm in discs_mm.items()}, places=tuple(levels), flags=flags)


def _place(line: Centreline, discs: Sequence[tuple[int, Sequence[float]]]) -> tuple[dict[int, float], list[str]]:
    """Where the discs lie along the cord, mm, without those that are too far beyond it, and what is doubtful."""
    placed: dict[int, float] = {}
    left_out, texts = set(), []
    for disc, ras_mm in sorted(discs):
        name = DISC_NAMES[disc]
        if disc in placed:
            raise ConfigurationError(f"disc {name} was given twice: give one point for each disc")
        arc_mm, off_mm = line.nearest(ras_mm)
        beyond_mm = max(-arc_mm, arc_mm - line.end_mm, 0.0)
        # The farther beyond the end, the less it says that the mark lies beside the straight line that goes on there.
        farthest_mm = _FARTHEST_MM + (beyond_mm if beyond_mm > _BEYOND_MM else 0)
        if off_mm > farthest_mm:
            raise ConfigurationError(
                f"disc {name} lies {off_mm:.0f} mm from the cord, expected under {farthest_mm:.0f} mm: give it in RAS"
                " mm (right, anterior, superior positive) of this very image"
            )
        if beyond_mm > _BEYOND_MM:
            left_out.add(disc)
            text = f"disc {name} lies {beyond_mm:.0f} mm beyond the end of the cord found, at most"
            texts.append(f"{text} {_BEYOND_MM:.0f} mm can be bridged: it is left out")
        elif beyond_mm > 0:
            text = f"disc {name} lies {beyond_mm:.1f} mm beyond the end of the cord found: its place is extrapolated"
            texts.append(text)
        placed[disc] = arc_mm
    for upper, lower in pairwise(sorted(placed)):
        if placed[lower] >= placed[upper]:
            raise ConfigurationError(
                f"disc {DISC_NAMES[lower]} lies above disc {DISC_NAMES[upper]} along the cord: check the points"
            )
    return {disc: arc_mm for disc, arc_mm in placed.items() if disc not in left_out}, texts


def _beyond(discs_mm: Mapping[int, float]) -> tuple[list[Level], list[Level]]:
    """Levels above the uppermost and below the lowest marked disc, by the template's lengths: C2 above C2/C3, C1 where
    the neck's length is known from two discs or C1/C2 is marked, and C3 below C2/C3."""
    above: list[Level] = []
    upper, lower = min(discs_mm, default=0), max(discs_mm, default=0)
    names = {C2_C3: ("C2", "C1") if len(discs_mm) > 1 else ("C2",), 2: ("C1",)}.get(upper, ())
    for name in names:
        low, length = above[0].high_mm if above else discs_mm[upper], TEMPLATE_LENGTH_MM[name]
        where = "; no disc bounds C1 above" if name == "C1" else f" above disc {DISC_NAMES[upper]}"
        remark = f"approximate: the template's length of {length:g} mm{where}"
        above.insert(0, Level(name, low, low + length, "approximate", remark))
    if lower != C2_C3:
        return above, []
    high, length = discs_mm[C2_C3], TEMPLATE_LENGTH_MM["C3"]
    remark = f"approximate: the template's length of {length:g} mm below disc {DISC_NAMES[C2_C3]}"
    return above, [Level("C3", high - length, high, "approximate", remark)]


def pam50_slices(discs_mm: Mapping[int, float], arc_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Which slice of PAM50 (0.5 mm, from 0 at its inferior end, with fractions) each position along the cord is.

    Linear between discs. One vertebra further on either side the mean scale of all between the discs goes on, as in the
    Spinal Cord Toolbox's ``-normalize-PAM50``; NaN beyond, and everywhere with fewer than two discs.
    """
    if len(discs_mm) < 2:
        return np.full(len(arc_mm), nan)
    discs = sorted(discs_mm, reverse=True)  # from inferior
    mm, z = np.array([discs_mm[n] for n in discs]), np.array([_PAM50_SLICE[n] for n in discs])
    scale = (z[-1] - z[0]) / (mm[-1] - mm[0])
    found = np.interp(arc_mm, mm, z) + scale * (arc_mm - np.clip(arc_mm, mm[0], mm[-1]))
    low, high = _PAM50_SLICE.get(discs[0] + 1, z[0]), _PAM50_SLICE[discs[-1] - 1]
    return np.where((found >= low) & (found <= high), found, nan)


def pam50_vertebrae(slices: NDArray) -> NDArray[np.int64]:
    """Number of the vertebra (2 is C2) that each slice of PAM50 lies in."""
    return np.searchsorted(-np.array(list(_PAM50_SLICE.values())), -np.asarray(slices), side="right")


def _with_unions(found: LevelReport, around_mm: float | None) -> list[Level]:
    """The levels, C2 and C3 as one, and what lies around the disc C2/C3."""
    places = list(found.places)
    upper, lower = (next((level for level in places if level.name == name), None) for name in ("C2", "C3"))
    if upper is not None and lower is not None:
        weakest = max((upper.basis, lower.basis), key=_BASES.index)
        remark = "; ".join(dict.fromkeys(level.remark for level in (upper, lower) if level.remark))
        places.append(Level("C2-C3", lower.low_mm, upper.high_mm, weakest, remark))
    disc_mm = found.discs_mm.get(DISC_NAMES[C2_C3])
    if around_mm is not None and disc_mm is not None:
        places.append(Level(f"C2/C3 ±{around_mm:g} mm", disc_mm - around_mm, disc_mm + around_mm, "disc"))
    return places


def _measured(line: Centreline, slices: SliceTable, level: Level) -> LevelMeasures:
    """Slices at the ends count with the part inside."""
    csa = slices.csa_mm2
    starts, ends = line.arc_mm - line.length_mm / 2, line.arc_mm + line.length_mm / 2
    inside = np.clip(np.minimum(ends, level.high_mm) - np.maximum(starts, level.low_mm), 0, None)
    used = np.isfinite(csa) & (inside > 1e-9)
    length, volume = float(inside[used].sum()), float(csa[used] @ inside[used])
    if not used.any() and (~slices.is_gap & (inside > 1e-9)).any():
        length = volume = nan
    coverage = min(1.0, length / (level.high_mm - level.low_mm)) if used.any() else 0.0
    band = mean_band_mm2(slices.csa_95_mm2, np.where(slices.is_imputed, 0, inside))
    about = level.name, level.basis, level.remark
    return LevelMeasures(*mean_csa(slices, inside), length, volume, coverage, *about, mean_csa_95_mm2=band)


# Where an area lies among healthy adults: T1w at vertebral level C2, by age band and sex, and nothing else.
#
# The table is aggregated (PAM50-normalized-metrics; licence and citation are in the file). It was measured with the
# Spinal Cord Toolbox; as long as this software's own offset against that is not known, a percentile is a range over an
# offset of -5 to +5 %, called uncalibrated. It is context, not a diagnosis.


DECLARABLE = ("t1w", "corrected-3d")
OFFSET_PERCENT = 5.0
AGES = (18.0, 90.0)
SEXES = {"male": "men", "female": "women"}
_Z95 = 1.6448536269514722
_SILENT_ENDS = (1.0, 99.0)  # some hundred persons a group do not tell more
_FORGOTTEN = (
    "age and sex are not kept, so the corrected mask was not compared again (measure it with --disc, --age and --sex)"
)


def norms_file() -> Path:
    """``Resources/Norms`` beside the package in a checkout and in an installed Slicer, ``Norms`` inside a wheel's."""
    package = Path(__file__).resolve().parent
    inside = package / "Norms" / "norms.json"
    return inside if inside.is_file() else package.parent / "Resources" / "Norms" / "norms.json"


@cache
def load_norms() -> Mapping[str, Any]:
    """The table as it ships. Raises InputFileError when it is missing or damaged."""
    path = norms_file()
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputFileError(f"{path} cannot be read: install SpinalCordSeg again") from error


def _norm(
    rows: Sequence[LevelMeasures], options: LevelOptions, facts: Mapping[str, bool | None]
) -> dict[str, Any] | None:
    if options.age_years is None and options.sex is None:
        return _no_norm(_FORGOTTEN) if options.was_compared else None
    # a header knows better than a declaration
    declared = {word.replace("-", "_"): True for word in options.declared}
    known = declared | {name: fact for name, fact in facts.items() if fact is not None}
    c2 = next((row for row in rows if row.name == "C2"), None)
    csa_mm2, coverage = (nan, None) if c2 is None else (c2.mean_csa_mm2, c2.coverage)
    norm = c2_percentile(csa_mm2, coverage, options.age_years, options.sex, known)
    if options.automatic:
        norm["text"] += "; the discs were found by the program"
    return norm


def _no_norm(*reasons: str) -> dict[str, Any]:
    return {"text": "No comparison with healthy adults: " + "; ".join(reasons), "reasons": list(reasons)}


def c2_percentile(
    csa_mm2: float, coverage: float | None, age: float | None, sex: str | None, facts: Mapping[str, bool | None]
) -> dict[str, Any]:
    """The percentile range of a C2 area, or every reason why it would not be honest to give one; JSON-ready.

    ``coverage``: 0..1 of the level; None: no disc tells where it is. ``facts``: see ``measure_levels``. Gives "text", a
    sentence, and "reasons", or of the healthy persons of that age and sex "low" and "high", percentiles 1..99 of the
    area 5 % smaller and 5 % larger (ends mean "or beyond"), "band_years", "sex", "n_persons", "mean_mm2", "p5_mm2",
    "p95_mm2".
    """
    t1w, corrected = facts.get("t1w"), facts.get("corrected_3d")
    reasons = []
    if coverage is None:
        reasons.append("no area at vertebral level C2 (mark the disc C2/C3)")
    elif not coverage or not isfinite(csa_mm2):
        reasons.append("no area at vertebral level C2")
    elif coverage < COMPLETE:
        reasons.append(f"only {100 * coverage:.0f} % of C2 is covered")
    if t1w is None:
        reasons.append("it is not known whether the image is T1-weighted as the table is")
    elif not t1w:
        reasons.append("the image is not T1-weighted as the table is, and areas of other contrasts differ by some 10 %")
    if facts.get("contrast_agent"):
        reasons.append("a contrast agent was given")
    if not corrected:
        state = "is not known" if corrected is None else "is off"
        reasons.append(f"3D distortion correction {state}, and without it areas move by up to 15 %")
    if age is None:
        reasons.append("the age is not given")
    elif not AGES[0] <= age <= AGES[1]:
        reasons.append(f"the table goes from {AGES[0]:g} to {AGES[1]:g} years")
    if sex is None:
        reasons.append("the sex is not given")
    if reasons or age is None or sex is None:
        return _no_norm(*reasons)
    bands = load_norms()["t1w_c2"]["by_age_years"]
    band = next((band for band in bands if float(band.split("-")[0]) <= age < float(band.split("-")[1])), None)
    if band is None:
        raise InputFileError(f"{norms_file()} has no band for {age:g} years: install SpinalCordSeg again")
    row, share = bands[band][sex], OFFSET_PERCENT / 100
    low, high = (_percentile(csa_mm2 * (1 + sign * share), row) for sign in (-1, 1))
    lowest = "under 1" if low <= _SILENT_ENDS[0] else f"{low:.0f}"
    highest = "over 99" if high >= _SILENT_ENDS[1] else f"{high:.0f}"
    text = (
        f"C2 area: percentile {lowest} to {highest} of {row['n']} healthy {SEXES[sex]} of {band} years"
        f" (uncalibrated: over an offset of ±{OFFSET_PERCENT:g} %); context, not a diagnosis"
    )
    return {
        "text": text, "low": low, "high": high, "band_years": band, "sex": sex, "n_persons": row["n"],
        "mean_mm2": row["mean"], "p5_mm2": row["p5"], "p95_mm2": row["p95"],
    }  # fmt: skip


def _percentile(csa_mm2: float, row: Mapping[str, float]) -> float:
    """1..99, by a normal curve on either side of the median that passes through the 5th and 95th percentile."""
    tail = row["p5"] if csa_mm2 < row["p50"] else row["p95"]
    sd = abs(tail - row["p50"]) / _Z95
    percentile = 100 * NormalDist().cdf((csa_mm2 - row["p50"]) / sd)
    return min(max(percentile, _SILENT_ENDS[0]), _SILENT_ENDS[1])


# Marked discs in a command, and in a label map.


def parse_disc(text: str) -> DiscMark:
    """ "C2/C3=R,A,S" (mm) or "C2/C3=44" (slice of the input); the number of the lower vertebra also serves ("3=44").

    Raises ConfigurationError.
    """
    name, _, place = text.partition("=")
    disc = disc_number(name)
    try:
        values = [float(part) for part in place.split(",")]
    except ValueError:
        values = []
    if len(values) == 1 and values[0].is_integer():
        return DiscMark(disc, slice=int(values[0]))
    if len(values) == 3 and all(isfinite(value) for value in values):
        return DiscMark(disc, ras_mm=(values[0], values[1], values[2]))
    raise ConfigurationError(f'"{text}" is not a disc: give LABEL=R,A,S in mm or LABEL=SLICE, such as C2/C3=1.5,-20,33')


def disc_number(name: str) -> int:
    """The number of a disc named "C2/C3", "C2-C3", "C2C3" or "3". Raises ConfigurationError."""
    plain = name.strip().casefold()
    spelled = re.fullmatch(r"([ct]\d)[/\-_ ]?([ct]\d)", plain)
    number = _BY_NAME.get("/".join(spelled.groups()) if spelled else "")
    if number is None and plain.isdecimal():
        number = int(plain)
    if number not in DISC_NAMES:
        raise ConfigurationError(f'"{name}" is not a disc known here: give one of {", ".join(DISC_NAMES.values())}')
    return number
