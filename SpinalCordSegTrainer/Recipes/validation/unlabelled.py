"""What can be judged on volumes without a label: the same area on every scanner, and where the cord begins and ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, inf, isfinite, nan

import numpy as np

from Recipes.validation import benchmark
from SpinalCordSegLib.flags import Flag
from SpinalCordSegLib.slice_table import SliceTable


@dataclass(frozen=True)
class AreaBelow:
    """``mean_csa_mm2``, ``mean_csa_pv_mm2`` (from the probability): weighted by length along the cord; NaN where
    nothing was measured. ``covered_mm``: cord that was measured of the length asked for."""

    mean_csa_mm2: float
    mean_csa_pv_mm2: float
    covered_mm: float


def area_below(measures: SliceTable, slice_mm: float, point: float, length_mm: float) -> AreaBelow:
    """Mean area over ``length_mm`` of centreline downwards from ``point``, a canonical slice with its fraction.

    A slice counts with the share of it that lies in the stretch. An empty slice counts its thickness as length
    without area, so the stretch does not reach further down for it.
    """
    weights, areas, partial = [], [], []
    left_mm, k = length_mm, floor(point + 0.5)
    share = point + 0.5 - k
    while left_mm > 1e-9 and k >= 0:
        row = measures.row_of(k)
        row = None if row is None or measures.is_gap[row] else row
        long_mm = min(left_mm, share * (slice_mm if row is None else float(measures.length_mm[row])))
        if row is not None:
            weights.append(long_mm)
            areas.append(measures.csa_mm2[row])
            partial.append(measures.csa_pv_mm2[row])
        left_mm -= long_mm
        k, share = k - 1, 1.0
    if sum(weights) <= 0:
        return AreaBelow(nan, nan, 0.0)
    mean, mean_pv = (float(np.average(values, weights=weights)) for values in (areas, partial))
    return AreaBelow(mean, mean_pv, float(sum(weights)))


@dataclass(frozen=True)
class ScannerRow:
    """One scanner. ``empty_slices``: without cord from C2 to C7 (see benchmark), as far as the volume reaches."""

    volume: str
    mean_csa_mm2: float
    mean_csa_pv_mm2: float
    covered_mm: float
    empty_slices: int
    first_slice: int | None
    last_slice: int | None
    flagged_slices: int
    flags: tuple[str, ...]


def scanner_row(
    volume: str, measures: SliceTable, flags: Sequence[Flag], n_slices: int, slice_mm: float, point: float
) -> ScannerRow:
    """Judge one scanner's volume. ``point``: the C2/C3 disc, a canonical slice with its fraction."""
    area = area_below(measures, slice_mm, point, benchmark.SCANNER_LENGTH_MM)
    low = max(0, round(point - benchmark.C7_BELOW_MM / slice_mm))
    high = min(n_slices - 1, round(point + benchmark.C2_ABOVE_MM / slice_mm))
    filled = set(measures.canonical_slice[~measures.is_gap].tolist())
    return ScannerRow(
        volume,
        area.mean_csa_mm2,
        area.mean_csa_pv_mm2,
        area.covered_mm,
        len(set(range(low, high + 1)) - filled),
        min(filled, default=None),
        max(filled, default=None),
        len({flag.canonical_slice for flag in flags if flag.canonical_slice is not None}),
        tuple(sorted({flag.kind for flag in flags})),
    )


def cov_percent(values: Sequence[float]) -> float:
    """100·SD/mean, SD with n - 1; NaN for fewer than two values or one that is not finite."""
    if len(values) < 2 or not all(isfinite(value) for value in values):
        return nan
    return float(100 * np.std(values, ddof=1) / np.mean(values))


@dataclass(frozen=True)
class HeadRow:
    """Where the cord was found in a head: canonical slices, and mm. ``above_foramen_mm``: how far the topmost slice
    lies above the foramen magnum (negative: below; -inf: no cord). ``from_c1_mm``: likewise above C1.
    ``above_last_clear_mm``: how far the lowest slice lies above the last clear one. ``gaps``: empty slices between."""

    first_slice: int | None
    last_slice: int | None
    above_foramen_mm: float
    from_c1_mm: float
    above_last_clear_mm: float
    gaps: int
    flagged_slices: int
    flags: tuple[str, ...]


def head_row(
    measures: SliceTable, flags: Sequence[Flag], slice_mm: float, landmarks: dict[tuple[str, str], float]
) -> HeadRow:
    """Judge the head by its landmarks; no cord gives None and infinite distances. Raises KeyError without them."""
    foramen, c1, last_clear = (
        landmarks[benchmark.HEAD, name] for name in (benchmark.FORAMEN_MAGNUM, benchmark.C1, benchmark.LAST_CLEAR_SLICE)
    )
    filled = measures.canonical_slice[~measures.is_gap].tolist()
    first, last = (filled[0], filled[-1]) if filled else (None, None)
    top, bottom = (-inf, inf) if first is None or last is None else (last, first)
    return HeadRow(
        first,
        last,
        (top - foramen) * slice_mm,
        (top - c1) * slice_mm,
        (bottom - last_clear) * slice_mm,
        int(measures.is_gap.sum()),
        len({flag.canonical_slice for flag in flags if flag.canonical_slice is not None}),
        tuple(sorted({flag.kind for flag in flags})),
    )
