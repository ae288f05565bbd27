"""What several visits of a person can be compared on: the stretch of cord that every one of them covers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.errors import ConfigurationError

_STEP_MM = 0.05
SHORT_MM = 20.0  # under it single slices decide


@dataclass(frozen=True, eq=False)
class Profile:
    """Areas along the cord. ``position_mm``: (n,) ascending, from a point that all visits share, superior positive.

    ``length_mm``: (n,) of cord in each slice; ``csa_mm2``: (n,), NaN where a slice has none.
    """

    position_mm: NDArray[np.float64]
    length_mm: NDArray[np.float64]
    csa_mm2: NDArray[np.float64]

    def covers(self, at_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether each position lies in a slice with an area."""
        starts, ends = self.position_mm - self.length_mm / 2, self.position_mm + self.length_mm / 2
        inside = (at_mm[:, None] >= starts - 1e-9) & (at_mm[:, None] <= ends + 1e-9) & np.isfinite(self.csa_mm2)
        return np.asarray(inside.any(axis=1))

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
    """``low_mm`` … ``high_mm``: ends of what is shared; ``length_mm``: of it, gaps of any visit left out.

    ``mean_csa_mm2``: (visits,), over exactly the same positions in each. ``at_mm``: those positions.
    """

    low_mm: float
    high_mm: float
    length_mm: float
    mean_csa_mm2: NDArray[np.float64]
    at_mm: NDArray[np.float64]

    @property
    def volume_mm3(self) -> NDArray[np.float64]:
        """Of the shared stretch in each visit: area × length."""
        return self.mean_csa_mm2 * self.length_mm


def shared_range(profiles: Sequence[Profile], limits_mm: tuple[float, float] | None = None) -> SharedRange:
    """The positions that all ``profiles`` cover, within ``limits_mm``, and each one's mean area there.

    Raises ConfigurationError when nothing is shared.
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
    means = np.array([float(profile.area_at(at).mean()) for profile in profiles])
    step = (high - low) / steps
    return SharedRange(float(at[0] - step / 2), float(at[-1] + step / 2), len(at) * step, means, at)
