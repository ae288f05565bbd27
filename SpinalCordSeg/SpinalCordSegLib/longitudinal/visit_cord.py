"""The cord of a visit as visits are compared: ruler and areas do not depend on how much of the cord was scanned."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.images.volume import Volume, to_canonical
from SpinalCordSegLib.measurement.centreline import fit_local_centreline
from SpinalCordSegLib.measurement.cord_line import CordLine, cord_line
from SpinalCordSegLib.measurement.in_slices import InSlices

_FEWEST = 4  # slices that must be left when those at the ends are not believed
_LEAST_SEEN = 0.5  # share of the slices that must have an area from the probability, for it to be taken


@dataclass(frozen=True, eq=False)
class VisitCord:
    """``line``: of local lines, not the spline of the case's own report. ``csa_mm2``: (n,), one per slice of it, at a
    right angle to it; NaN where there is none, or where the slice is not believed. ``csa_pv_mm2``: likewise, from the
    probability, which knows of parts of pixels, and from the mask in slices that a person drew (``is_drawn``); None
    where no more than half have one from it."""

    line: CordLine
    csa_mm2: NDArray[np.float64]
    csa_pv_mm2: NDArray[np.float64] | None
    is_drawn: NDArray[np.bool_]


def visit_cord(mask: Volume, measured: InSlices) -> VisitCord:
    """The cord of a cleaned ``mask``.

    Where the mask ends inside the volume, its last slice is cord in a part of its thickness only (in raters' masks of
    5 mm slices its area was 0.45 and 0.72 of its neighbours'), and is left out; at the volume's own ends none is.
    """
    canonical = to_canonical(mask)
    line = cord_line(mask, fit_local_centreline)
    across = canonical.spacing_mm[2] / line.length_mm
    csa, csa_pv = (
        np.array([areas.get(int(k), nan) for k in line.canonical_slice], dtype=np.float64) * across
        for areas in (measured.raw_mm2, measured.pv_mm2)
    )
    if np.count_nonzero(np.isfinite(csa)) >= _FEWEST + 2:
        if line.canonical_slice[0] > 0:
            csa[0] = nan
        if line.canonical_slice[-1] < canonical.shape[2] - 1:
            csa[-1] = nan
    known = np.isfinite(csa)
    seen = known & np.isfinite(csa_pv)
    has_pv = np.count_nonzero(seen) > _LEAST_SEEN * np.count_nonzero(known)
    return VisitCord(line, csa, np.where(seen, csa_pv, csa) if has_pv else None, known & ~seen)
