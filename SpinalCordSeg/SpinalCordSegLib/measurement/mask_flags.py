"""What a mask itself gives to doubt, whoever drew it: empty, one slice, gaps, pieces, borders, steep cuts."""

from __future__ import annotations

from collections.abc import Sequence
from math import degrees, sqrt

import numpy as np

from SpinalCordSegLib.flags import Flag, case_flag, merge_flags
from SpinalCordSegLib.images.volume import Volume, to_canonical
from SpinalCordSegLib.measurement.cleaning import CleanCord, CleanSlice
from SpinalCordSegLib.measurement.measures import RangeMeasures, SliceMeasures

_COMPLETE = 0.98  # of a range's slices, as of a vertebral level's length
_TILTED_GRID_DEG = 10.0  # positioning by hand stays under it; axial slabs set square to the neck reach 20°-30°
_STEEP_CUT_DEG = 40.0  # the area is corrected by more than 30 %, and every error of the tilt with it


def judge_mask(cord: CleanCord, slices: Sequence[SliceMeasures]) -> tuple[Flag, ...]:
    """Flags of a cleaned mask and its measured ``slices`` (first to last with cord).

    Kinds: empty, single_slice, removed, holes_filled, tilted_grid (whole case); gap, several_components,
    border_contact (sides of the image only: that the cord runs out of the first or last slice is its coverage),
    steep_cut (one slice).
    """
    voxel_mm3 = cord.grid.voxel_volume_mm3
    whole = []
    if not slices:
        whole.append(case_flag("empty", "the mask is empty: the volume is 0 and there is no area"))
    if len(slices) == 1:
        whole.append(case_flag("single_slice", "only one slice has cord: its tilt is unknown and taken as none"))
    if cord.removed_mm3 > 0:
        pieces = sum(1 for one in cord.slices if one.removed_pixels)
        whole.append(case_flag("removed", f"{cord.removed_mm3:.1f} mm³ in {pieces} slices were no part of the cord"))
    if cord.filled_mm3 > 0:
        holes = sum(1 for one in cord.slices if one.filled_pixels)
        whole.append(case_flag("holes_filled", f"{cord.filled_mm3:.1f} mm³ of holes in {holes} slices were filled"))
    tilt_deg = _grid_tilt_deg(cord.grid)
    if slices and tilt_deg > _TILTED_GRID_DEG:
        text = f"the slices are tilted by {tilt_deg:.0f}° against the scanner's axial plane; z is along their normal"
        whole.append(case_flag("tilted_grid", text))
    by_slice = {one.canonical_slice: one for one in cord.slices}
    size = to_canonical(cord.grid).shape[:2]
    return merge_flags(
        whole, *(_slice_flags(by_slice.get(item.canonical_slice), size, item, voxel_mm3) for item in slices)
    )


def judge_range(found: RangeMeasures, slice_range: tuple[int, int]) -> list[Flag]:
    """Flags of a range of slices that was asked for. Kinds: range_empty, range_partial (whole case)."""
    asked = slice_range[1] - slice_range[0]
    if not found.n_slices:
        text = f"no cord in the {asked} slices of the range asked for: there is no mean area"
        return [case_flag("range_empty", text)]
    if found.coverage >= _COMPLETE:
        return []
    text = f"cord in {found.n_slices} of the {asked} slices of the range asked for: the mean area is of these"
    return [case_flag("range_partial", text)]


def _slice_flags(
    section: CleanSlice | None, size: tuple[int, int], item: SliceMeasures, voxel_mm3: float
) -> list[Flag]:
    k = item.canonical_slice
    found: list[tuple[str, str]] = []
    if item.is_gap:
        found.append(("gap", "no cord in this slice, between slices with cord: no area here"))
    if section is not None and section.components > 1 and not item.is_gap:
        removed = section.removed_pixels * voxel_mm3
        found.append(("several_components", f"{section.components} pieces; the cord kept, {removed:.1f} mm³ removed"))
    if section is not None and _touches_border(section, size):
        found.append(("border_contact", "the cord touches the edge of the image: the area is too small"))
    stretch = sqrt(1 + np.tan(np.radians(item.angle_ap_deg)) ** 2 + np.tan(np.radians(item.angle_rl_deg)) ** 2)
    if stretch * np.cos(np.radians(_STEEP_CUT_DEG)) > 1:
        angle = degrees(np.arccos(1 / stretch))
        found.append(
            ("steep_cut", f"the slice cuts the cord {angle:.0f}° off a right angle: its area depends on the tilt")
        )
    return [Flag(item.slice, k, kind, message) for kind, message in found]


def _touches_border(section: CleanSlice, size: tuple[int, int]) -> bool:
    """The window is the smallest crop: it reaches the edge exactly where a pixel does."""
    return bool(section.pixels.size) and any(
        w.start == 0 or w.stop == count for w, count in zip(section.window, size, strict=True)
    )


def _grid_tilt_deg(grid: Volume) -> float:
    column = to_canonical(grid).ijk_to_ras[:3, 2]
    return degrees(np.arccos(min(1.0, column[2] / float(np.linalg.norm(column)))))
