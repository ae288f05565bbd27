"""Where an area lies among healthy adults: T1w at vertebral level C2, by age band and sex, and nothing else.

The table is aggregated (PAM50-normalized-metrics; licence and citation are in the file). It was measured with the
Spinal Cord Toolbox; as long as this software's own offset against that is not known, a percentile is a range over an
offset of -5 to +5 %, called uncalibrated. It is context, not a diagnosis.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import isfinite
from pathlib import Path
from statistics import NormalDist
from typing import Any

from SpinalCordSegLib.errors import ConfigurationError, InputFileError

OFFSET_PERCENT = 5.0
AGES = (18.0, 90.0)
SEXES = ("male", "female")
_COMPLETE = 0.98
_Z95 = 1.6448536269514722
_SILENT_ENDS = (1.0, 99.0)  # some hundred persons a group do not tell more


@dataclass(frozen=True)
class Person:
    """Whom the area is compared with. ``age_years``: at the examination. ``sex``: "male" or "female"; None: unknown."""

    age_years: float | None = None
    sex: str | None = None

    def __post_init__(self) -> None:
        if self.sex is not None and self.sex not in SEXES:
            raise ConfigurationError(f"sex {self.sex} is not in the table of norms: give male or female")
        if self.age_years is not None and not 0 <= self.age_years < 130:
            raise ConfigurationError(f"an age of {self.age_years:g} years is impossible")


@dataclass(frozen=True)
class C2Area:
    """What was measured at vertebral level C2, and how. ``t1w``, ``corrected_3d``: None where it is not known.

    ``coverage``: 0..1 of the level; ``is_placed``: whether the marked discs tell where the level is.
    """

    csa_mm2: float
    coverage: float
    t1w: bool | None
    corrected_3d: bool | None
    contrast_agent: bool = False
    is_placed: bool = True


@dataclass(frozen=True)
class NormRange:
    """``low``, ``high``: percentiles 1..99 of the area 5 % smaller and 5 % larger; ends mean "or beyond"."""

    low: float
    high: float
    band_years: str
    sex: str
    n_persons: int
    mean_mm2: float
    p5_mm2: float
    p95_mm2: float

    def sentence(self) -> str:
        ends = ["under 1" if self.low <= _SILENT_ENDS[0] else f"{self.low:.0f}"]
        ends.append("over 99" if self.high >= _SILENT_ENDS[1] else f"{self.high:.0f}")
        return (
            f"C2 area: percentile {ends[0]} to {ends[1]} of {self.n_persons} healthy {_PLURAL[self.sex]} of"
            f" {self.band_years} years (uncalibrated: over an offset of ±{OFFSET_PERCENT:g} %);"
            " context, not a diagnosis"
        )


_PLURAL = {"male": "men", "female": "women"}


@dataclass(frozen=True)
class NoNorm:
    """Why no percentile is given, every reason at once."""

    reasons: tuple[str, ...]

    def sentence(self) -> str:
        return "No comparison with healthy adults: " + "; ".join(self.reasons)


def norms_file() -> Path:
    """``Resources/Norms`` beside the package in a checkout and in an installed Slicer, ``Norms`` inside a wheel's."""
    package = Path(__file__).resolve().parents[1]
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


def c2_percentile(area: C2Area, person: Person) -> NormRange | NoNorm:
    """The percentile range of a C2 area, or why it would not be honest to give one."""
    reasons = _refusals(area, person)
    if reasons or person.age_years is None or person.sex is None:
        return NoNorm(tuple(reasons))
    band, row = _row(person.age_years, person.sex)
    share = OFFSET_PERCENT / 100
    low, high = (_percentile(area.csa_mm2 * (1 + sign * share), row) for sign in (-1, 1))
    return NormRange(low, high, band, person.sex, row["n"], row["mean"], row["p5"], row["p95"])


def _refusals(area: C2Area, person: Person) -> list[str]:
    reasons = []
    if not isfinite(area.csa_mm2) or area.coverage <= 0:
        reasons.append("no area at vertebral level C2" + ("" if area.is_placed else " (mark the disc C2/C3)"))
    elif area.coverage < _COMPLETE:
        reasons.append(f"only {100 * area.coverage:.0f} % of C2 is covered")
    if area.t1w is False:
        reasons.append("the image is not T1-weighted as the table is, and areas of other contrasts differ by some 10 %")
    if area.t1w is None:
        reasons.append("it is not known whether the image is T1-weighted as the table is")
    if area.contrast_agent:
        reasons.append("a contrast agent was given")
    if area.corrected_3d is not True:
        known = "is off" if area.corrected_3d is False else "is not known"
        reasons.append(f"3D distortion correction {known}, and without it areas move by up to 15 %")
    if person.age_years is None:
        reasons.append("the age is not given")
    elif not AGES[0] <= person.age_years <= AGES[1]:
        reasons.append(f"the table goes from {AGES[0]:g} to {AGES[1]:g} years")
    if person.sex is None:
        reasons.append("the sex is not given")
    return reasons


def _row(age_years: float, sex: str) -> tuple[str, Mapping[str, Any]]:
    bands = load_norms()["t1w_c2"]["by_age_years"]
    for name, row in bands.items():
        low, high = map(float, name.split("-"))
        if low <= age_years < high:
            return name, row[sex]
    raise InputFileError(f"{norms_file()} has no band for {age_years:g} years: install SpinalCordSeg again")


def _percentile(csa_mm2: float, row: Mapping[str, float]) -> float:
    """1..99, by a normal curve on either side of the median that passes through the 5th and 95th percentile."""
    tail = row["p5"] if csa_mm2 < row["p50"] else row["p95"]
    sd = abs(tail - row["p50"]) / _Z95
    percentile = 100 * NormalDist().cdf((csa_mm2 - row["p50"]) / sd)
    return min(max(percentile, _SILENT_ENDS[0]), _SILENT_ENDS[1])
