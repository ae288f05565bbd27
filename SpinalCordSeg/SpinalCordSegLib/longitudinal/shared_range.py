"""What several visits of a person can be compared on: cord that all of them cover, and that none is in doubt of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.errors import ConfigurationError

_STEP_MM = 0.05
_LEAST_SOUND = 0.5  # of the stretch that all cover: with less, what is left speaks for too little of the cord
SHORT_MM = 20.0  # under it single slices decide


@dataclass(frozen=True, eq=False)
class Profile:
    """Areas along the cord. ``position_mm``: (n,) ascending, from a point that all visits share, superior positive.

    ``length_mm``: (n,) of cord in each slice; ``csa_mm2``: (n,), NaN where a slice has none. ``doubtful``: (n,), True
    for slices that are flagged and that nobody has vouched for; None: no such slice.
    """

    position_mm: NDArray[np.float64]
    length_mm: NDArray[np.float64]
    csa_mm2: NDArray[np.float64]
    doubtful: NDArray[np.bool_] | None = None

    def covers(self, at_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether each position lies in a slice with an area."""
        return self._in_any(at_mm, np.isfinite(self.csa_mm2))

    def doubts(self, at_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether each position lies in a doubtful slice."""
        return np.zeros(len(at_mm), bool) if self.doubtful is None else self._in_any(at_mm, self.doubtful)

    def holds(self, at_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(n,): whether each slice holds any of the positions."""
        return np.asarray(self._inside(at_mm).any(axis=0))

    def _inside(self, at_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
        starts, ends = self.position_mm - self.length_mm / 2, self.position_mm + self.length_mm / 2
        return np.asarray((at_mm[:, None] >= starts - 1e-9) & (at_mm[:, None] <= ends + 1e-9))

    def _in_any(self, at_mm: NDArray[np.float64], slices: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return np.asarray((self._inside(at_mm) & slices).any(axis=1))

    def area_at(self, at_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """That of the slice each position lies in, beyond them the nearest one's.

        A slice's area is its mean over its own thickness. Taken linear between the middles of slices, the half slice at
        an end would change with whether a neighbour was scanned (by 0.2 % of a mean area in the median, 1 % at most).
        """
        known = np.isfinite(self.csa_mm2)
        starts = (self.position_mm - self.length_mm / 2)[known]
        return self.csa_mm2[known][np.searchsorted(starts[1:], at_mm, side="right")]


@dataclass(frozen=True, eq=False)
class SharedRange:
    """``low_mm`` … ``high_mm``: ends of what all visits cover; ``length_mm``: what of it is compared.

    ``mean_csa_mm2``: (visits,), over exactly the same positions in each. ``at_mm``: those positions. Between the ends
    are left out ``gap_mm``, where some visit has no cord, and ``doubtful_mm``, where a slice of some visit is doubtful.
    """

    low_mm: float
    high_mm: float
    length_mm: float
    mean_csa_mm2: NDArray[np.float64]
    at_mm: NDArray[np.float64]
    gap_mm: float = 0.0
    doubtful_mm: float = 0.0

    @property
    def stretches_mm(self) -> list[tuple[float, float]]:
        """Start and end of every unbroken piece that is compared."""
        pieces = np.split(self.at_mm, np.flatnonzero(np.diff(self.at_mm) > 1.5 * _STEP_MM) + 1)
        return [(float(piece[0]) - _STEP_MM / 2, float(piece[-1]) + _STEP_MM / 2) for piece in pieces]

    @property
    def volume_mm3(self) -> NDArray[np.float64]:
        """Of the shared stretch in each visit: area × length."""
        return self.mean_csa_mm2 * self.length_mm


def shared_range(profiles: Sequence[Profile], limits_mm: tuple[float, float] | None = None) -> SharedRange:
    """The positions that all ``profiles`` cover, within ``limits_mm``, and each one's mean area there.

    Where a slice of any of them is doubtful, none is compared: one wrong mask in one visit would pass for a change.
    But with less than half of the stretch or SHORT_MM left, all of it is compared, doubts included. Raises
    ConfigurationError when nothing is shared.
    """
    known = [np.isfinite(one.csa_mm2) for one in profiles]
    low = max(float((p.position_mm - p.length_mm / 2)[k].min()) for p, k in zip(profiles, known, strict=True))
    high = min(float((p.position_mm + p.length_mm / 2)[k].max()) for p, k in zip(profiles, known, strict=True))
    if limits_mm is not None:
        low, high = max(low, limits_mm[0]), min(high, limits_mm[1])
    steps = int((high - low) / _STEP_MM) if high > low else 0
    at = low + (high - low) * (np.arange(steps) + 0.5) / max(steps, 1)
    for profile in profiles:
        at = at[profile.covers(at)]
    if not at.size:
        raise ConfigurationError(
            "the visits share no stretch of cord: check the marked discs, or compare visits that overlap"
        )
    step = (high - low) / steps
    covered, ends = len(at) * step, (float(at[0] - step / 2), float(at[-1] + step / 2))
    sound = at[~np.any([profile.doubts(at) for profile in profiles], axis=0)]
    if len(sound) * step >= max(_LEAST_SOUND * covered, SHORT_MM):
        at = sound
    means = np.array([float(profile.area_at(at).mean()) for profile in profiles])
    length = len(at) * step
    return SharedRange(*ends, length, means, at, gap_mm=ends[1] - ends[0] - covered, doubtful_mm=covered - length)
