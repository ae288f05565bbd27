"""The cord's centreline as a ruler: where along it, in mm, a slice or a point beside the cord lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.images.volume import Volume, to_canonical
from SpinalCordSegLib.measurement.centreline import Centreline, fit_centreline
from SpinalCordSegLib.measurement.measures import SliceMeasures


@dataclass(frozen=True, eq=False)
class CordLine:
    """One entry per slice from the first to the last with cord, gaps included, inferior to superior.

    ``canonical_slice``: (n,). ``ras_mm``: (n, 3), the centreline in the slice. ``arc_mm``: (n,), distance along the
    cord from the lower face of the first slice to the middle of each; ``length_mm``: (n,), cord in each slice.
    """

    canonical_slice: NDArray[np.int64]
    ras_mm: NDArray[np.float64]
    arc_mm: NDArray[np.float64]
    length_mm: NDArray[np.float64]

    @property
    def end_mm(self) -> float:
        """The whole length, mm; 0 without cord."""
        return float(self.length_mm.sum())

    def nearest(self, point_ras_mm: Sequence[float]) -> tuple[float, float]:
        """Position along the cord of the point of the centreline nearest to ``point_ras_mm``, and how far off it is.

        Beyond its ends the line goes straight on, so positions under 0 and over ``end_mm`` are possible; one slice
        goes on along S. Both mm. Raises ValueError on a line without points.
        """
        if not len(self.arc_mm):
            raise ValueError("a line without points has no nearest one")
        point = np.asarray(point_ras_mm, dtype=np.float64)
        if len(self.arc_mm) == 1:
            apart = point - self.ras_mm[0]
            return float(self.arc_mm[0] + apart[2]), float(np.hypot(apart[0], apart[1]))
        steps = np.diff(self.ras_mm, axis=0)
        share = np.einsum("ij,ij->i", point - self.ras_mm[:-1], steps) / np.einsum("ij,ij->i", steps, steps)
        low, high = np.zeros(len(share)), np.ones(len(share))
        low[0], high[-1] = -np.inf, np.inf
        share = np.clip(share, low, high)
        offsets_mm = np.linalg.norm(self.ras_mm[:-1] + share[:, None] * steps - point, axis=1)
        best = int(np.argmin(offsets_mm))
        arc = self.arc_mm[best] + share[best] * (self.arc_mm[best + 1] - self.arc_mm[best])
        return float(arc), float(offsets_mm[best])

    def point_at(self, arc_mm: float) -> NDArray[np.float64]:
        """RAS mm of a position along the cord; beyond the ends: the end."""
        return np.array([np.interp(arc_mm, self.arc_mm, self.ras_mm[:, axis]) for axis in range(3)])

    def position_on(self, other: CordLine, arc_mm: float) -> float:
        """Where a position along this line is on ``other``, a line through the same slices; beyond the ends as far.

        Raises ValueError on a line without points.
        """
        if not len(self.arc_mm):
            raise ValueError("a line without points has no positions")
        beyond = min(0.0, arc_mm - self.arc_mm[0]) + max(0.0, arc_mm - self.arc_mm[-1])
        return float(np.interp(arc_mm, self.arc_mm, other.arc_mm) + beyond)

    def at_slice(self, canonical_slice: int) -> NDArray[np.float64]:
        """RAS mm of the centreline in a slice; beyond its ends straight on. Raises ValueError without points."""
        if not len(self.arc_mm):
            raise ValueError("a line without points lies in no slice")
        beyond = canonical_slice - int(np.clip(canonical_slice, self.canonical_slice[0], self.canonical_slice[-1]))
        if beyond == 0:
            return self.ras_mm[canonical_slice - int(self.canonical_slice[0])]
        if len(self.arc_mm) == 1:
            return self.ras_mm[0] + [0.0, 0.0, beyond * float(self.length_mm[0])]
        end, inner = (-1, -2) if beyond > 0 else (0, 1)
        return self.ras_mm[end] + abs(beyond) * (self.ras_mm[end] - self.ras_mm[inner])


def cord_line(mask: Volume, fit: Callable[..., Centreline] = fit_centreline) -> CordLine:
    """The ruler of a cleaned mask (cord where not zero). ``fit``: one of ``centreline``. An empty mask gives arrays of
    length 0."""
    canonical = to_canonical(mask)
    voxels = canonical.voxels != 0
    counts = np.count_nonzero(voxels, axis=(0, 1))
    filled = np.flatnonzero(counts)
    if not filled.size:
        nothing = np.zeros(0)
        return CordLine(np.zeros(0, np.int64), np.zeros((0, 3)), nothing, nothing)
    spacing = canonical.spacing_mm
    along_x, along_y = voxels.sum(axis=1)[:, filled], voxels.sum(axis=0)[:, filled]
    x = np.arange(voxels.shape[0]) @ along_x / counts[filled]
    y = np.arange(voxels.shape[1]) @ along_y / counts[filled]
    span = np.arange(filled[0], filled[-1] + 1)
    line = fit(filled, x * spacing[0], y * spacing[1], spacing[2], at=span)
    ijk = np.stack([line.x_mm / spacing[0], line.y_mm / spacing[1], span, np.ones(len(span))])
    length_mm = spacing[2] * line.stretch
    return CordLine(span, (canonical.ijk_to_ras @ ijk)[:3].T, np.cumsum(length_mm) - length_mm / 2, length_mm)


@dataclass(frozen=True)
class StretchMeasures:
    """The cord between two positions along it.

    ``mean_csa_mm2``: weighted by the length of each slice inside; ``sd_csa_mm2`` likewise, with n/(n-1). ``n_slices``:
    slices with an area that reach into it. ``length_mm``: of cord with an area; ``volume_mm3`` = area × length.
    ``coverage``: 0..1, the share of the stretch with an area. Without cord: NaN, zeros; where there is cord whose area
    is withheld (too coarse voxels), length and volume are NaN too.
    """

    mean_csa_mm2: float
    sd_csa_mm2: float
    n_slices: int
    length_mm: float
    volume_mm3: float
    coverage: float


def measure_stretch(line: CordLine, slices: Sequence[SliceMeasures], low_mm: float, high_mm: float) -> StretchMeasures:
    """Mean area over positions [low, high] along the cord; slices at the ends count with the part inside.

    ``slices``: as ``measure`` gives them for the same mask. Raises ValueError unless low < high.
    """
    if not low_mm < high_mm:
        raise ValueError(f"a stretch from {low_mm} to {high_mm} mm has no length")
    areas = {item.canonical_slice: item.csa_mm2 for item in slices}
    csa = np.array([areas.get(int(k), nan) for k in line.canonical_slice], dtype=np.float64)
    starts, ends = line.arc_mm - line.length_mm / 2, line.arc_mm + line.length_mm / 2
    inside = np.clip(np.minimum(ends, high_mm) - np.maximum(starts, low_mm), 0, None)
    used = np.isfinite(csa) & (inside > 1e-9)
    if not used.any():
        cord = {item.canonical_slice for item in slices if not item.is_gap}
        withheld = any(int(k) in cord for k in line.canonical_slice[inside > 1e-9])
        nothing = nan if withheld else 0.0
        return StretchMeasures(nan, nan, 0, nothing, nothing, 0.0)
    csa, inside = csa[used], inside[used]
    mean, length, n = float(np.average(csa, weights=inside)), float(inside.sum()), int(used.sum())
    sd = sqrt(float(np.average((csa - mean) ** 2, weights=inside)) * n / (n - 1)) if n > 1 else nan
    return StretchMeasures(mean, sd, n, length, mean * length, min(1.0, length / (high_mm - low_mm)))
