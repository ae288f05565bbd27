"""The numbers measured on a cord: per slice, over a range, of the whole. What they mean is said here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan, sqrt

import numpy as np

from SpinalCordSegLib.flags import Flag


@dataclass(frozen=True)
class SliceMeasures:
    """One slice; a gap (no cord between slices with cord) has NaN everywhere but in its position.

    ``slice``: 0-based index along the input's own slice axis; ``canonical_slice``: counted from inferior;
    ``z_mm``: position of the slice along its normal, superior positive, from the scanner's origin.
    ``csa_mm2``: at a right angle to the cord, area in the slice / √(1+x'²+y'²); ``csa_raw_mm2``: in the slice;
    ``csa_sct_mm2``: as the Spinal Cord Toolbox gives it; ``csa_pv_mm2``: as ``csa_mm2`` but from the sum of the
    probability within 1.5 mm of the mask, None without a probability map; of a segmented image from the network's own,
    before any outline was steadied. Diameters, orientation, eccentricity and solidity: see SliceShape.
    ``angle_ap_deg`` = atan x', ``angle_rl_deg`` = atan y': rotations about AP and RL.
    """

    slice: int
    canonical_slice: int
    z_mm: float
    csa_mm2: float
    csa_raw_mm2: float
    csa_sct_mm2: float
    csa_pv_mm2: float | None
    ap_ellipse_mm: float
    ap_chord_mm: float
    rl_mm: float
    orientation_deg: float
    eccentricity: float
    solidity: float
    angle_ap_deg: float
    angle_rl_deg: float
    length_mm: float

    @property
    def is_gap(self) -> bool:
        return isnan(self.length_mm)


@dataclass(frozen=True)
class RangeMeasures:
    """A stretch of cord. ``mean_csa_mm2``: length-weighted over its measured slices; ``sd_csa_mm2``: likewise, with
    n/(n-1), NaN for one slice. ``n_slices``: measured ones. ``length_mm``: along the cord, measured slices only.
    ``volume_mm3``: of the mask in it. ``coverage``: share 0..1 of the range's slices that have cord. Without any:
    zeros, and NaN for mean and SD.
    """

    mean_csa_mm2: float
    sd_csa_mm2: float
    n_slices: int
    length_mm: float
    volume_mm3: float
    coverage: float


@dataclass(frozen=True)
class CordMeasures:
    """``slices``: from inferior to superior, first to last with cord, gaps included; () where there is none.

    ``volume_mm3``, ``length_mm``: of the whole cord found. ``mean_csa_mm2``, ``sd_csa_mm2``, ``n_slices``,
    ``coverage``, ``range_length_mm``, ``range_volume_mm3``: over ``slice_range`` (canonical, half-open; None: the
    whole cord found), see RangeMeasures. ``removed_mm3``, ``filled_mm3``: what cleaning took away and filled.
    """

    slices: tuple[SliceMeasures, ...]
    volume_mm3: float
    length_mm: float
    mean_csa_mm2: float
    sd_csa_mm2: float
    n_slices: int
    coverage: float
    range_length_mm: float
    range_volume_mm3: float
    slice_range: tuple[int, int] | None
    removed_mm3: float
    filled_mm3: float
    flags: tuple[Flag, ...]


def mean_over(
    slices: Sequence[SliceMeasures], slice_mm: float, slice_range: tuple[int, int] | None = None
) -> RangeMeasures:
    """Mean area, volume and length over canonical slices [first, end), or over all ``slices`` with None.

    ``slice_mm``: thickness of a slice. A range outside the cord: zeros, NaN, coverage 0.
    """
    first, end = slice_range if slice_range is not None else (0, len(slices) and slices[-1].canonical_slice + 1)
    measured = [item for item in slices if first <= item.canonical_slice < end and not item.is_gap]
    if not measured:
        return RangeMeasures(nan, nan, 0, 0.0, 0.0, 0.0)
    areas = np.array([item.csa_mm2 for item in measured])
    lengths = np.array([item.length_mm for item in measured])
    volume_mm3 = sum(item.csa_raw_mm2 for item in measured) * slice_mm
    mean = float(np.average(areas, weights=lengths))
    n = len(measured)
    sd = sqrt(float(np.average((areas - mean) ** 2, weights=lengths)) * n / (n - 1)) if n > 1 else nan
    asked = len(slices) if slice_range is None else end - first
    return RangeMeasures(mean, sd, n, float(lengths.sum()), volume_mm3, n / asked)


def with_pv_areas(measures: CordMeasures, in_slice_mm2: Mapping[int, float]) -> CordMeasures:
    """The same measures, ``csa_pv_mm2`` made of these areas in the slice, by canonical slice; other slices as they
    were."""
    slices = tuple(
        replace(item, csa_pv_mm2=in_slice_mm2[item.canonical_slice] * item.csa_mm2 / item.csa_raw_mm2)
        if item.canonical_slice in in_slice_mm2 and not item.is_gap
        else item
        for item in measures.slices
    )
    return replace(measures, slices=slices)


def without_sections(measures: CordMeasures) -> CordMeasures:
    """The same measures with every cross-sectional area and diameter NaN: volume and length stay."""
    slices = tuple(
        replace(
            item,
            csa_mm2=nan,
            csa_raw_mm2=nan,
            csa_sct_mm2=nan,
            csa_pv_mm2=None,
            ap_ellipse_mm=nan,
            ap_chord_mm=nan,
            rl_mm=nan,
        )
        for item in measures.slices
    )
    return replace(measures, slices=slices, mean_csa_mm2=nan, sd_csa_mm2=nan)
