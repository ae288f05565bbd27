"""The cord of a visit as visits are compared: ruler and areas do not depend on how much of the cord was scanned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.images.volume import Volume, to_canonical
from SpinalCordSegLib.measurement.centreline import fit_local_centreline
from SpinalCordSegLib.measurement.cord_line import CordLine, cord_line

_FEWEST = 4  # slices that must be left when those at the ends are not believed


@dataclass(frozen=True, eq=False)
class VisitCord:
    """``line``: of local lines, not the spline of the case's own report. ``csa_mm2``: (n,), one per slice of it, at a
    right angle to it; NaN where there is none, or where the slice is not believed."""

    line: CordLine
    csa_mm2: NDArray[np.float64]


def visit_cord(mask: Volume, raw_mm2: Mapping[int, float]) -> VisitCord:
    """The cord of a cleaned ``mask``. ``raw_mm2``: area in the slice, by canonical slice.

    Where the mask ends inside the volume, its last slice is cord in a part of its thickness only (in raters' masks of
    5 mm slices its area was 0.45 and 0.72 of its neighbours'), and is left out; at the volume's own ends none is.
    """
    canonical = to_canonical(mask)
    line = cord_line(mask, fit_local_centreline)
    raw = np.array([raw_mm2.get(int(k), nan) for k in line.canonical_slice], dtype=np.float64)
    csa = raw * canonical.spacing_mm[2] / line.length_mm
    if np.count_nonzero(np.isfinite(csa)) >= _FEWEST + 2:
        if line.canonical_slice[0] > 0:
            csa[0] = nan
        if line.canonical_slice[-1] < canonical.shape[2] - 1:
            csa[-1] = nan
    return VisitCord(line, csa)
