"""What was measured slice by slice: one array a column, and what each column means, in one place.

A column is a field of SliceTable. Its name, unit, decimals, title and meaning make the header of slices.csv, the tables
of the page and of the panel, and the data dictionary; a new column is one more field.
"""

# ruff: noqa: RUF009  (what these defaults call makes fields of a dataclass)

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache, partial
from math import isfinite
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.errors import InputFileError
from SpinalCordSegLib.flags import Flag

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Texts = NDArray[np.str_]
NONE = -1  # of whole numbers: no answer


@dataclass(frozen=True)
class Column:
    """``decimals``: of numbers with a fraction, in files. ``kind``: float (NaN: no answer), int (-1: none) or str.
    ``on_page``: whether the report page shows it, where any slice has an answer. ``is_section``: an area or diameter
    of the cross-section, left out where voxels are too coarse for one. ``is_evidence``: only a run of the network can
    give it, beside the image it saw."""

    name: str
    unit: str
    decimals: int
    title: str
    meaning: str
    kind: type = float
    on_page: bool = True
    is_section: bool = False
    is_evidence: bool = False

    def texts(self, values: NDArray) -> list[str]:
        """As in slices.csv; "" for no answer."""
        if self.kind is str:
            return [str(value) for value in values]
        if self.kind is int:
            return ["" if value == NONE else str(value) for value in values.tolist()]
        return ["" if (value := rounded(x, self.decimals)) is None else str(value) for x in values.tolist()]

    def values(self, texts: Sequence[str]) -> NDArray:
        """Of the texts of slices.csv. Raises ValueError."""
        if self.kind is str:
            return np.array(texts, dtype=np.str_)
        if self.kind is int:
            return np.array([int(text) if text else NONE for text in texts], dtype=np.int64)
        values = np.array([float(text) if text else np.nan for text in texts], dtype=np.float64)
        if np.isinf(values).any():
            raise ValueError(f"{self.name} holds an infinite number")
        return values

    def blank(self, n: int) -> NDArray:
        """``n`` times no answer."""
        if self.kind is str:
            return np.full(n, "", dtype=np.str_)
        return np.full(n, NONE, dtype=np.int64) if self.kind is int else np.full(n, np.nan)


def _float(title: str, unit: str, decimals: int, meaning: str, kind: type = float, **more: bool) -> Any:
    return field(metadata={"column": Column("", unit, decimals, title, meaning, kind, **more)})


def _int(title: str, meaning: str, kind: type = int, **more: bool) -> Any:
    return _float(title, "", 0, meaning, kind, **more)


_section, _evidence = partial(_float, is_section=True), partial(_float, is_evidence=True)
_str = partial(_int, kind=str)


@dataclass(frozen=True, eq=False)
class SliceTable:
    """Slices from inferior to superior, the first to the last with cord; a gap between them has no answer but its
    place. Without a cord all columns are empty."""

    slice: Ints = _int("slice", "the input's own slice number, from 0")
    canonical_slice: Ints = _int("from inferior", "the same slice counted from inferior, from 0", on_page=False)
    z_mm: Floats = _float("z", "mm", 3, "position along the slice normal, superior positive, from the scanner's origin")
    csa_mm2: Floats = _section("area", "mm²", 3, "area at a right angle to the cord: area in the slice / √(1+x'²+y'²)")
    csa_raw_mm2: Floats = _section(
        "area in slice", "mm²", 3,
        "area in the slice itself: inside the network's contour, with parts of pixels; of the mask's pixels where a"
        " person drew it, or where it is imputed",
    )  # fmt: skip
    csa_95_mm2: Floats = _section(
        "area, 95 %", "mm²", 3,
        "half of the 95 % band of the area in the slice, from edge contrast, noise and the network; none where it is"
        " imputed or a person drew it",
        is_evidence=True,
    )  # fmt: skip
    csa_sct_mm2: Floats = _section(
        "area, SCT", "mm²", 3, "the mask's area times the cosines of both angles, as the Spinal Cord Toolbox has it"
    )
    imputed: Ints = _int(
        "imputed",
        "1 where the image shows an edge along less than three quarters of the outline, and the area follows the other"
        " slices': no part of means",
        is_evidence=True,
    )
    seen_edge: Floats = _evidence("edge seen", "", 3, "share of the outline along which the image shows an edge")
    confidence: Floats = _evidence("certainty", "", 3, "mean probability inside the network's outline", on_page=False)
    network_area_mm2: Floats = _evidence(
        "area, network", "mm²", 3, "area in the slice inside the network's own contour, before any outline was moved",
        is_section=True,
    )  # fmt: skip
    ap_ellipse_mm: Floats = _section("AP", "mm", 3, "AP diameter of the ellipse with the same second moments")
    ap_chord_mm: Floats = _section("AP chord", "mm", 3, "mean AP extent over the central 3 mm")
    rl_mm: Floats = _section("RL", "mm", 3, "RL diameter of the ellipse with the same second moments")
    orientation_deg: Floats = _float("turn", "°", 2, "angle of the ellipse's long axis to right-left", on_page=False)
    eccentricity: Floats = _float("eccentricity", "", 4, "of the ellipse, 0 for a circle", on_page=False)
    solidity: Floats = _float("solidity", "", 4, "area over the area of the convex hull", on_page=False)
    angle_ap_deg: Floats = _float(
        "tilt AP", "°", 2, "angle of the cord to the slice normal, towards anterior", on_page=False
    )
    angle_rl_deg: Floats = _float(
        "tilt RL", "°", 2, "angle of the cord to the slice normal, towards right", on_page=False
    )
    length_mm: Floats = _float("length", "mm", 4, "length of the cord within the slice", on_page=False)
    flags: Texts = _str("flags", "kinds of flag on this slice, separated by blanks")
    instance_number: Ints = _int("instance", "DICOM InstanceNumber, where the slices are a series' images")
    level: Texts = _str("level", "vertebral level of the slice's middle, where discs are known")
    below_upper_end_mm: Floats = _float(
        "below upper end", "mm", 2,
        "distance along the cord from its upper end, at the foramen magnum, down to the slice's middle, where the"
        " program found that end in the image, brain in view above it; a person has to confirm it",
        on_page=False,
    )  # fmt: skip
    pam50_slice: Floats = _float(
        "PAM50 slice", "", 2,
        "slice of the PAM50 template (0.5 mm, from inferior, from 0) that the slice's middle corresponds to, with"
        " fractions: linear between discs, on by their mean scale for one vertebra; none with fewer than two discs",
        on_page=False,
    )  # fmt: skip

    @classmethod
    def of(cls, n: int = 0, **known: Any) -> SliceTable:
        """``n`` slices with these columns; the others have no answer."""
        given = {
            column.name: np.asarray(known[column.name], column.blank(0).dtype.type)
            if column.name in known
            else column.blank(n)
            for column in columns()
        }
        return cls(**given)

    def __len__(self) -> int:
        return len(self.slice)

    @property
    def is_gap(self) -> NDArray[np.bool_]:
        return np.isnan(self.length_mm)

    @property
    def is_imputed(self) -> NDArray[np.bool_]:
        return np.asarray(self.imputed == 1)

    def evidence(self, n_slices: int, changed: Collection[int] = ()) -> dict[str, NDArray]:
        """What the network and the image said of each of a volume's ``n_slices``, by column; no answer in the slices
        (canonical) that were ``changed`` since: their area is that of the mask's pixels."""
        kept = ~np.isin(self.canonical_slice, list(changed))
        found = {column.name: column.blank(n_slices) for column in columns() if column.is_evidence}
        for name, values in found.items():
            values[self.canonical_slice[kept]] = getattr(self, name)[kept]
        return found

    def row_of(self, canonical_slice: int) -> int | None:
        """The row of a slice; None where it is none of the table's."""
        row = canonical_slice - int(self.canonical_slice[0]) if len(self) else -1
        return row if 0 <= row < len(self) else None

    def with_flags(self, flags: Iterable[Flag]) -> SliceTable:
        """The same with the kinds of these flags on each slice."""
        kinds: dict[int | None, dict[str, None]] = {}
        for flag in flags:
            kinds.setdefault(flag.canonical_slice, {})[flag.kind] = None
        texts = [" ".join(kinds.get(k, ())) for k in self.canonical_slice.tolist()]
        return replace(self, flags=np.array(texts, dtype=np.str_))

    def rows(self, chosen: NDArray[np.bool_]) -> SliceTable:
        """The chosen rows alone."""
        return SliceTable(**{column.name: getattr(self, column.name)[chosen] for column in columns()})

    def texts(self) -> dict[str, list[str]]:
        """By column, as in slices.csv."""
        return {column.name: column.texts(getattr(self, column.name)) for column in columns()}

    def csv(self) -> str:
        """The text of slices.csv."""
        cells = self.texts()
        return csv_text(cells, (dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)))

    @classmethod
    def read(cls, path: Path) -> SliceTable:
        """Raises InputFileError for a file that is not there, or not as it was written."""
        try:
            return cls.parse(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, InputFileError) as error:
            raise InputFileError(
                f"{path} cannot be read: expected the table that segment or measure wrote; measure again"
            ) from error

    @classmethod
    def parse(cls, text: str) -> SliceTable:
        """Of what ``csv`` gave; a column that an earlier release did not have has no answer. Raises InputFileError."""
        try:
            rows = list(csv.reader(io.StringIO(text, newline="")))
            names, cells = rows[0], [*zip(*rows[1:], strict=True)] if rows[1:] else [()] * len(rows[0])
            by_name = dict(zip(names, cells, strict=True))
            n = len(by_name["canonical_slice"])
            found = cls(
                **{
                    one.name: one.values(by_name[one.name]) if one.name in by_name else one.blank(n)
                    for one in columns()
                }
            )
        except (KeyError, IndexError, ValueError, OverflowError, csv.Error) as error:
            raise InputFileError(f"no table of slices: {error}") from error
        if len(found) and not np.array_equal(found.canonical_slice, np.arange(len(found)) + found.canonical_slice[0]):
            raise InputFileError("no table of slices: some are missing")
        return found


@lru_cache(maxsize=1)
def columns() -> tuple[Column, ...]:
    """All columns, in the order of the table."""
    return tuple(replace(one.metadata["column"], name=one.name) for one in fields(SliceTable))


def csv_text(names: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """See write_csv."""
    buffer = io.StringIO()
    write_csv(buffer, names, rows)
    return buffer.getvalue()


def write_csv(file: TextIO, names: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Comma-separated, "\\n" line ends, None as an empty field; text that a spreadsheet would run is disarmed."""
    names = list(names)
    writer = csv.DictWriter(file, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _disarmed(row.get(name)) for name in names} for row in rows)


def _disarmed(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula; negative numbers stay as they are."""
    if not isinstance(value, str) or value[:1] not in ("=", "+", "-", "@"):
        return value
    try:
        is_number = isfinite(float(value))
    except ValueError:
        is_number = False
    return value if is_number else "'" + value


def counted(n: int, noun: str) -> str:
    """ "1 slice", "2 slices"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def rounded(value: float, decimals: int) -> float | None:
    """Rounded for reading, never -0; None for NaN and infinity."""
    return round(float(value), decimals) + 0.0 if isfinite(value) else None
