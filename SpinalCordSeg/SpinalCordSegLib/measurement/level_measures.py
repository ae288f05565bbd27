"""Areas by vertebral level: what was asked for, and the table that answers it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.flags import Flag, case_flag, merge_flags
from SpinalCordSegLib.images.labels import read_labels
from SpinalCordSegLib.images.volume import AxialAxes, Volume, input_slice_index
from SpinalCordSegLib.measurement.cord_line import CordLine, cord_line, measure_stretch
from SpinalCordSegLib.measurement.levels import C2_C3, DISC_NAMES, DiscLandmark, Levels, find_levels
from SpinalCordSegLib.measurement.measures import CordMeasures
from SpinalCordSegLib.measurement.norms import C2Area, NoNorm, NormRange, Person, c2_percentile

_COMPLETE = 0.98
_FORGOTTEN = (
    "age and sex are not kept, so the corrected mask was not compared again (measure it with --disc, --age and --sex)"
)
_BY_NAME = {name.casefold(): number for number, name in DISC_NAMES.items()}
DECLARABLE = ("t1w", "corrected-3d")


@dataclass(frozen=True)
class DiscMark:
    """A disc as a person marked it: a point in RAS mm, or a slice of the input (then its middle is the cord's)."""

    disc: int
    ras_mm: tuple[float, float, float] | None = None
    slice: int | None = None


@dataclass(frozen=True)
class LevelOptions:
    """``around_mm``: also the mean area within this distance, along the cord, of the disc C2/C3. ``declared``: what
    the user vouches for where no DICOM header tells ("t1w", "corrected-3d"). ``was_compared``: the case was compared
    with healthy adults before, by an age and a sex that no report holds."""

    discs: tuple[DiscMark, ...] = ()
    around_mm: float | None = None
    person: Person = field(default_factory=Person)
    declared: frozenset[str] = frozenset()
    was_compared: bool = False

    def __post_init__(self) -> None:
        if self.around_mm is not None and not 0 < self.around_mm <= 100:
            raise ConfigurationError(f"a length of {self.around_mm:g} mm around C2/C3 is out of range (0 to 100)")
        if unknown := self.declared - set(DECLARABLE):
            raise ConfigurationError(f"cannot declare {', '.join(unknown)}: choose among {', '.join(DECLARABLE)}")


@dataclass(frozen=True)
class LevelMeasures:
    """One row of the table: a level, C2-C3, or the stretch around the disc C2/C3.

    ``coverage``: 0..1 of the level's length that has an area; NaN and 0 where there is none (see StretchMeasures).
    ``basis``: see Level, and "disc" around a disc; of a run of levels the weakest of them. ``remark``: what is
    doubtful, "" for nothing.
    """

    name: str
    mean_csa_mm2: float
    sd_csa_mm2: float
    n_slices: int
    length_mm: float
    volume_mm3: float
    coverage: float
    basis: str
    remark: str


@dataclass(frozen=True, eq=False)
class LevelReport:
    """``by_slice``: canonical slice → name of the level its middle lies in. ``norm``: None unless age or sex is
    given, or was before a correction."""

    levels: Levels
    rows: tuple[LevelMeasures, ...]
    by_slice: dict[int, str]
    norm: NormRange | NoNorm | None
    flags: tuple[Flag, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready without NaN; lengths and areas to 0.001."""
        norm = None if self.norm is None else {"text": self.norm.sentence()} | asdict(self.norm)
        return {
            "discs": [{"disc": DISC_NAMES[n], "along_cord_mm": round(mm, 3)} for n, mm in self.levels.discs_mm.items()],
            "levels": [
                {name: _plain(value) for name, value in asdict(row).items()} for row in self.rows
            ],
            "norm": norm,
        }  # fmt: skip


def _plain(value: Any) -> Any:
    return (round(value, 4) if isfinite(value) else None) if isinstance(value, float) else value


def measure_levels(
    mask: Volume, measures: CordMeasures, options: LevelOptions, *, facts: Mapping[str, bool | None] | None = None
) -> LevelReport | None:
    """The levels of a cleaned mask and its measures; None where no disc is marked.

    ``facts``: "t1w", "corrected_3d", "contrast_agent" as far as a header tells. Raises ConfigurationError.
    """
    if not options.discs:
        return None
    line = cord_line(mask)
    if not len(line.arc_mm):
        flag = case_flag("level_missing", "no cord was found, so no level")
        return LevelReport(Levels((), {}, ()), (), {}, None, (flag,))
    levels = find_levels(line, [_landmark(mark, line, mask) for mark in options.discs])
    rows = _rows(line, measures, levels, options.around_mm)
    arcs = zip(line.canonical_slice.tolist(), line.arc_mm.tolist(), strict=True)
    by_slice = {k: found.name for k, arc in arcs if (found := levels.at(arc)) is not None}
    norm = _norm(rows, options, facts or {})
    flags = merge_flags(levels.flags, _coverage_flags(rows))
    return LevelReport(levels, tuple(rows), by_slice, norm, flags)


def _landmark(mark: DiscMark, line: CordLine, mask: Volume) -> DiscLandmark:
    if mark.ras_mm is not None:
        return DiscLandmark(mark.disc, mark.ras_mm)
    number, count = mark.slice or 0, mask.shape[AxialAxes.of(mask.ijk_to_ras).ras[2][0]]
    if not 0 <= number < count:
        raise ConfigurationError(f"disc {DISC_NAMES[mark.disc]} is marked in slice {number}; there are {count} slices")
    r, a, s = line.at_slice(input_slice_index(mask, number)).tolist()
    return DiscLandmark(mark.disc, (r, a, s))


def _rows(line: CordLine, measures: CordMeasures, levels: Levels, around_mm: float | None) -> list[LevelMeasures]:
    spans = [(level.name, level.low_mm, level.high_mm, level.basis, level.remark) for level in levels.levels]
    both = levels.between("C2", "C3")
    if both is not None:
        members = [level for level in levels.levels if level.name in ("C2", "C3")]
        weakest = max(members, key=lambda level: ("discs", "fitted", "approximate").index(level.basis))
        spans.append(("C2-C3", *both, weakest.basis, "; ".join(dict.fromkeys(m.remark for m in members if m.remark))))
    if around_mm is not None and C2_C3 in levels.discs_mm:
        disc_mm = levels.discs_mm[C2_C3]
        spans.append((f"C2/C3 ±{around_mm:g} mm", disc_mm - around_mm, disc_mm + around_mm, "disc", ""))
    rows = []
    for name, low, high, basis, remark in spans:
        found = measure_stretch(line, measures.slices, low, high)
        rows.append(LevelMeasures(name=name, basis=basis, remark=remark, **asdict(found)))
    return rows


def _coverage_flags(rows: Sequence[LevelMeasures]) -> list[Flag]:
    absent = [row.name for row in rows if row.coverage == 0]
    partial = [f"{row.name} ({100 * row.coverage:.0f} %)" for row in rows if 0 < row.coverage < _COMPLETE]
    flags = []
    if absent:
        flags.append(case_flag("level_missing", f"without an area: {', '.join(absent)}"))
    if partial:
        flags.append(case_flag("level_partial", f"only partly covered: {', '.join(partial)}"))
    return flags


def _norm(
    rows: Sequence[LevelMeasures], options: LevelOptions, facts: Mapping[str, bool | None]
) -> NormRange | NoNorm | None:
    if options.person == Person():
        return NoNorm((_FORGOTTEN,)) if options.was_compared else None
    c2 = next((row for row in rows if row.name == "C2"), None)

    def known(fact: str, word: str) -> bool | None:
        told = facts.get(fact)
        return True if told is None and word in options.declared else told

    area = C2Area(
        csa_mm2=float("nan") if c2 is None else c2.mean_csa_mm2,
        coverage=0.0 if c2 is None else c2.coverage,
        t1w=known("t1w", "t1w"),
        corrected_3d=known("corrected_3d", "corrected-3d"),
        contrast_agent=bool(facts.get("contrast_agent")),
        is_placed=c2 is not None,
    )
    return c2_percentile(area, options.person)


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
    raise ConfigurationError(f'"{text}" is no disc: give LABEL=R,A,S in mm or LABEL=SLICE, such as C2/C3=1.5,-20,33')


def disc_number(name: str) -> int:
    """The number of a disc named "C2/C3", "C2-C3", "C2C3" or "3". Raises ConfigurationError."""
    plain = name.strip().casefold()
    spelled = re.fullmatch(r"([ct]\d)[/\-_ ]?([ct]\d)", plain)
    number = _BY_NAME.get("/".join(spelled.groups()) if spelled else "")
    if number is None and plain.isdecimal():
        number = int(plain)
    if number not in DISC_NAMES:
        raise ConfigurationError(f'"{name}" is no disc known here: give one of {", ".join(DISC_NAMES.values())}')
    return number


def read_discs(path: Path) -> tuple[DiscMark, ...]:
    """Discs of a label map: label n is the disc above vertebra n (3 is C2/C3), at the middle of its voxels.

    Labels outside 2..9 are passed over. Raises as read_labels does, and ConfigurationError when none is left.
    """
    labels = read_labels(path)
    marks = []
    for number in DISC_NAMES:
        ijk = np.argwhere(labels.voxels == number)
        if len(ijk):
            r, a, s = (labels.ijk_to_ras @ [*ijk.mean(axis=0), 1.0])[:3].tolist()
            marks.append(DiscMark(number, ras_mm=(r, a, s)))
    if not marks:
        raise ConfigurationError(f"{path.name} holds no disc: labels 2 (C1/C2) to 9 (T1/T2) are expected")
    return tuple(marks)
