"""The cord of a visit as visits are compared: ruler and areas do not depend on how much of the cord was scanned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.images.volume import Volume, to_canonical
from SpinalCordSegLib.measurement.centreline import fit_local_centreline
from SpinalCordSegLib.measurement.cord_line import CordLine, cord_line
from SpinalCordSegLib.measurement.measures import SliceMeasures

_FEWEST = 4  # slices that must be left when those at the ends are not believed


@dataclass(frozen=True, eq=False)
class VisitCord:
    """``line``: of local lines, not the spline of the case's own report. ``csa_mm2``: (n,), one per slice of it, at a
    right angle to it; NaN where there is none, or where the slice is not believed. ``csa_pv_mm2``: likewise, from the
    probability, which knows of parts of pixels; None unless every slice with an area has one from it."""

    line: CordLine
    csa_mm2: NDArray[np.float64]
    csa_pv_mm2: NDArray[np.float64] | None = None


def visit_cord(mask: Volume, raw_mm2: Mapping[int, float], pv_mm2: Mapping[int, float] | None = None) -> VisitCord:
    """The cord of a cleaned ``mask``. ``raw_mm2``, ``pv_mm2``: area in the slice, by canonical slice, from the mask and
    from the probability.

    Where the mask ends inside the volume, its last slice is cord in a part of its thickness only (in raters' masks of
    5 mm slices its area was 0.45 and 0.72 of its neighbours'), and is left out; at the volume's own ends none is.
    """
    canonical = to_canonical(mask)
    line = cord_line(mask, fit_local_centreline)
    across = canonical.spacing_mm[2] / line.length_mm
    csa, csa_pv = (
        np.array([areas.get(int(k), nan) for k in line.canonical_slice], dtype=np.float64) * across
        for areas in (raw_mm2, pv_mm2 or {})
    )
    has_pv = bool(np.array_equal(np.isfinite(csa), np.isfinite(csa_pv)))
    if np.count_nonzero(np.isfinite(csa)) >= _FEWEST + 2:
        for areas in (csa, csa_pv):
            if line.canonical_slice[0] > 0:
                areas[0] = nan
            if line.canonical_slice[-1] < canonical.shape[2] - 1:
                areas[-1] = nan
    return VisitCord(line, csa, csa_pv if has_pv else None)


def areas_in_slice(slices: Sequence[SliceMeasures]) -> tuple[dict[int, float], dict[int, float]]:
    """Of measured slices the two areas that ``visit_cord`` wants; the second is empty without a probability."""
    whole = [item for item in slices if not item.is_gap]
    raw = {item.canonical_slice: item.csa_raw_mm2 for item in whole}
    stretch = {item.canonical_slice: item.csa_raw_mm2 / item.csa_mm2 for item in whole}
    pv = {
        item.canonical_slice: item.csa_pv_mm2 * stretch[item.canonical_slice]
        for item in whole
        if item.csa_pv_mm2 is not None
    }
    return raw, pv
