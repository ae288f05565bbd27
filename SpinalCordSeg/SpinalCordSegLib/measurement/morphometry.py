"""Measures of the cord: area, diameters and form of every slice; volume, length and mean area over a range.

Everything is measured on one cleaned mask (``cleaning``), in the grid's own axes nearest to right, anterior and
superior, so that orientation and obliquity of the grid change no number: tilts are against the slice normal.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import atan, degrees, nan, sqrt

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.errors import GeometryError
from SpinalCordSegLib.flags import merge_flags
from SpinalCordSegLib.images.volume import Volume, input_slice_index, to_canonical
from SpinalCordSegLib.inference.partial_volume import partial_volume_mm2, reach_mm
from SpinalCordSegLib.measurement.centreline import Centreline, fit_centreline
from SpinalCordSegLib.measurement.cleaning import (
    CleanCord,
    CleanMask,
    CleanSlice,
    clean,
    clean_cord,
    grid_of,
    piece_graph,
)
from SpinalCordSegLib.measurement.mask_flags import judge_mask, judge_range
from SpinalCordSegLib.measurement.measures import CordMeasures, RangeMeasures, SliceMeasures, mean_over
from SpinalCordSegLib.measurement.shape import NO_SHAPE, SliceShape, measure_shape

__all__ = [
    "CleanMask", "CordMeasures", "RangeMeasures", "SliceMeasures", "clean", "mean_over", "measure", "measure_cord",
]  # fmt: skip


def measure(
    mask: Volume | CleanMask,
    *,
    probability: Volume | None = None,
    slice_range: tuple[int, int] | None = None,
    shape: bool = True,
) -> CordMeasures:
    """Measure a mask: cord where it is not zero, any orientation, straight or oblique.

    ``mask``: cleaned first unless it is a CleanMask. ``probability``: 0..1 on the same grid. ``slice_range``:
    half-open, counted from inferior. ``shape`` False leaves out what is slow (diameters, orientation, form, the
    comparison area: NaN), for areas that follow a brush. Empty mask: volume 0, NaN areas, flag "empty". Kinds of
    flag: empty, single_slice, gap, several_components, border_contact, removed, holes_filled, tilted_grid, steep_cut;
    of a cord that ``slice_range`` holds not or in part: range_empty, range_partial.
    Raises GeometryError when the probability lies on another grid.
    """
    cord = mask.cord if isinstance(mask, CleanMask) else clean_cord(grid_of(mask), piece_graph(mask))
    return measure_cord(cord, probability=probability, slice_range=slice_range, shape=shape)


def measure_cord(
    cord: CleanCord,
    *,
    probability: Volume | None = None,
    slice_range: tuple[int, int] | None = None,
    shape: bool = True,
) -> CordMeasures:
    """The same for a mask that is cleaned already, slice by slice; see ``measure``."""
    grid = cord.grid
    if probability is not None and not probability.same_grid(grid):
        raise GeometryError(f"the probability map (shape {probability.shape}) lies on another grid than the mask")
    slices = _measure_slices(cord, probability, shape)
    slice_mm = to_canonical(grid).spacing_mm[2]
    whole = mean_over(slices, slice_mm)
    chosen = whole if slice_range is None else mean_over(slices, slice_mm, slice_range)
    of_range = [] if slice_range is None or not slices else judge_range(chosen, slice_range)
    return CordMeasures(
        slices=slices,
        volume_mm3=whole.volume_mm3,
        length_mm=whole.length_mm,
        mean_csa_mm2=chosen.mean_csa_mm2,
        sd_csa_mm2=chosen.sd_csa_mm2,
        n_slices=chosen.n_slices,
        coverage=chosen.coverage,
        range_length_mm=chosen.length_mm,
        range_volume_mm3=chosen.volume_mm3,
        slice_range=slice_range,
        removed_mm3=cord.removed_mm3,
        filled_mm3=cord.filled_mm3,
        flags=merge_flags(of_range, judge_mask(cord, slices)),
    )


def centroid(section: CleanSlice) -> tuple[float, float]:
    """Unweighted, in voxels of the slice."""
    x, y = np.nonzero(section.pixels)
    return float(x.mean()) + section.window[0].start, float(y.mean()) + section.window[1].start


def _measure_slices(cord: CleanCord, probability: Volume | None, shape: bool) -> tuple[SliceMeasures, ...]:
    canonical = to_canonical(cord.grid)
    x_mm, y_mm, slice_mm = canonical.spacing_mm
    sections = cord.sections
    if not sections:
        return ()
    filled = np.array([section.canonical_slice for section in sections])
    centroids_mm = np.array([centroid(section) for section in sections]) * (x_mm, y_mm)
    span = np.arange(filled[0], filled[-1] + 1)
    line = fit_centreline(filled, centroids_mm[:, 0], centroids_mm[:, 1], slice_mm, at=span)
    heights = _heights_mm(canonical)
    chances = None if probability is None else to_canonical(probability).voxels
    by_slice = {section.canonical_slice: section for section in sections}
    rows = []
    for at, k in enumerate(span.tolist()):
        position = input_slice_index(cord.grid, k), k, float(heights[k])
        section = by_slice.get(k)
        if section is None:
            rows.append(SliceMeasures(*position, nan, nan, nan, None if chances is None else nan, *[nan] * 9))
            continue
        tilt = _Tilt.of(line, at)
        form = _form(section, (x_mm, y_mm), tilt) if shape else NO_SHAPE
        partial_mm2 = None
        if chances is not None:
            partial_mm2 = _partial_mm2(section, chances[:, :, k], (x_mm, y_mm))
        rows.append(_row(position, section.count * x_mm * y_mm, partial_mm2, tilt, form, slice_mm))
    return tuple(rows)


def _form(section: CleanSlice, pixel_mm: tuple[float, float], tilt: _Tilt) -> SliceShape:
    origin = section.window[0].start, section.window[1].start
    return measure_shape(section.pixels, origin, pixel_mm, tilt.cosines)


@dataclass(frozen=True)
class _Tilt:
    """How the cord leans in one slice: slopes x', y' and the stretch √(1+x'²+y'²)."""

    slope_x: float
    slope_y: float
    stretch: float

    @classmethod
    def of(cls, line: Centreline, at: int) -> _Tilt:
        return cls(float(line.slope_x[at]), float(line.slope_y[at]), float(line.stretch[at]))

    @property
    def cosines(self) -> tuple[float, float]:
        return 1 / sqrt(1 + self.slope_x**2), 1 / sqrt(1 + self.slope_y**2)


def _row(
    position: tuple[int, int, float],
    raw_mm2: float,
    partial_mm2: float | None,
    tilt: _Tilt,
    form: SliceShape,
    slice_mm: float,
) -> SliceMeasures:
    number, canonical_slice, z_mm = position
    return SliceMeasures(
        slice=number,
        canonical_slice=canonical_slice,
        z_mm=z_mm,
        csa_mm2=raw_mm2 / tilt.stretch,
        csa_raw_mm2=raw_mm2,
        csa_sct_mm2=form.shrunk_area_mm2,
        csa_pv_mm2=None if partial_mm2 is None else partial_mm2 / tilt.stretch,
        ap_ellipse_mm=form.ap_ellipse_mm,
        ap_chord_mm=form.ap_chord_mm,
        rl_mm=form.rl_mm,
        orientation_deg=form.orientation_deg,
        eccentricity=form.eccentricity,
        solidity=form.solidity,
        angle_ap_deg=degrees(atan(tilt.slope_x)),
        angle_rl_deg=degrees(atan(tilt.slope_y)),
        length_mm=slice_mm * tilt.stretch,
    )


def _partial_mm2(section: CleanSlice, probability: NDArray[np.floating], pixel_mm: tuple[float, float]) -> float:
    """Area in the slice from the probability of the whole slice. A filled hole counts in full."""
    margins = [int(reach_mm(pixel_mm) / size + 1e-6) for size in pixel_mm]
    wide = [slice(max(0, w.start - m), w.stop + m) for w, m in zip(section.window, margins, strict=True)]
    chance = np.array(probability[wide[0], wide[1]])
    mask = np.zeros(chance.shape, bool)
    inner = tuple(slice(w.start - o.start, w.stop - o.start) for w, o in zip(section.window, wide, strict=True))
    mask[inner] = section.pixels
    chance[inner] = np.maximum(chance[inner], section.holes)
    return partial_volume_mm2(mask, chance, pixel_mm)


def _heights_mm(canonical: Volume) -> NDArray[np.float64]:
    """Position of every slice along the slice normal, mm, superior positive, 0 at the scanner's origin."""
    matrix = canonical.ijk_to_ras
    normal = np.cross(matrix[:3, 0], matrix[:3, 1])
    normal *= np.sign(normal @ matrix[:3, 2]) / np.linalg.norm(normal)
    steps = np.arange(canonical.shape[2], dtype=np.float64)
    return steps * float(normal @ matrix[:3, 2]) + float(normal @ matrix[:3, 3])
