"""Areas as they are in the slices, not at a right angle to the cord: what is the same whichever centreline is laid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import nan

from SpinalCordSegLib.measurement.measures import SliceMeasures


@dataclass(frozen=True)
class InSlices:
    """Area in the slice, mm², by canonical slice, from the mask (``raw_mm2``) and from the probability (``pv_mm2``),
    which lacks the slices that a person drew and is empty without a network."""

    raw_mm2: Mapping[int, float]
    pv_mm2: Mapping[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, slices: Sequence[SliceMeasures]) -> InSlices:
        """Of measured slices; gaps have none."""
        whole = {item.canonical_slice: item for item in slices if not item.is_gap}
        pv_mm2 = {
            k: item.csa_pv_mm2 * item.csa_raw_mm2 / item.csa_mm2
            for k, item in whole.items()
            if item.csa_pv_mm2 is not None
        }
        return cls({k: item.csa_raw_mm2 for k, item in whole.items()}, pv_mm2)

    @classmethod
    def of_rows(cls, rows: Iterable[Mapping[str, str]]) -> InSlices:
        """Of the rows of slices.csv; NaN where the mask has no area. Raises KeyError, TypeError, ValueError or
        ZeroDivisionError for a table that is not as it was written."""
        raw_mm2, pv_mm2 = {}, {}
        for row in rows:
            k = int(row["canonical_slice"])
            raw_mm2[k] = float(row["csa_raw_mm2"] or nan)
            if row.get("csa_pv_mm2"):
                pv_mm2[k] = float(row["csa_pv_mm2"]) * raw_mm2[k] / float(row["csa_mm2"])
        return cls(raw_mm2, pv_mm2)

    def within(self, first: int, end: int) -> InSlices:
        """Of the slices from ``first`` to before ``end``, counted from ``first``."""
        both = (self.raw_mm2, self.pv_mm2)
        return InSlices(*({k - first: area for k, area in one.items() if first <= k < end} for one in both))
