"""A small slanted cord with answers that can be counted, as a volume and as a finished case."""

from collections.abc import Callable
from math import nan
from typing import Any

import numpy as np
import slicer
import slicer.util
from slicer_standins.desktop import wait_until

from SpinalCordSegLib.case import Case, CaseInput, ModelSummary
from SpinalCordSegLib.flags import Flag, case_flag
from SpinalCordSegLib.quality_control import rank_slices
from SpinalCordSegLib.slice_table import SliceTable
from SpinalCordSegLib.volume import Volume, mask_sha256
from SpinalCordSegNodes.editing import changes_since_ai
from SpinalCordSegNodes.segmentations import cord_segment_id, cropped_mask, mask_of_segment

SHAPE, SPACING_MM = (24, 20, 12), (0.7, 0.9, 3.3)
FLAGGED_SLICE, GAP_SLICE = 4, 8


def rotation(axis: tuple[float, float, float], degrees: float) -> np.ndarray:
    """3×3 rotation about an axis (Rodrigues)."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def grid(degrees: float = 20.0, left_handed: bool = False) -> np.ndarray:
    """ijk→RAS of an oblique anisotropic grid away from the origin."""
    matrix = np.eye(4)
    spacing = np.array(SPACING_MM) * [-1 if left_handed else 1, 1, 1]
    matrix[:3, :3] = rotation((1, 2, 0.5), degrees) @ np.diag(spacing)
    matrix[:3, 3] = (-12.5, 33.1, -71.0)
    return matrix


def cord_mask(ijk_to_ras: np.ndarray | None = None) -> Volume:
    """A slanted cord of 7×5 voxels a slice in slices 1 to 10, none in slice 8 (a gap): 9 × 35 = 315 voxels."""
    voxels = np.zeros(SHAPE, dtype=bool)
    for k in range(1, 11):
        if k != GAP_SLICE:
            voxels[6 + k // 3 : 13 + k // 3, 7:12, k] = True
    return Volume.from_ijk(voxels, grid() if ijk_to_ras is None else ijk_to_ras)


def grey_volume(mask: Volume) -> Volume:
    """A picture to go with a mask: bright cord on a ramp."""
    ramp = np.arange(mask.ijk.size, dtype=np.int16).reshape(mask.ijk_shape) % 97
    return mask.with_ijk((ramp + 300 * mask.ijk).astype(np.int16))


def finished_case(mask: Volume, **known: Any) -> Case:
    """A case of this mask: about 23.5 mm² a slice but for the gap, slices 4 and 8 flagged. ``known``: other fields."""
    k = np.arange(1, 11)
    gap = k == GAP_SLICE
    flags = (
        case_flag("acquisition", "a gap between slices"),
        Flag(FLAGGED_SLICE, FLAGGED_SLICE, "area", "area 20 % above its neighbours"),
        Flag(GAP_SLICE, GAP_SLICE, "gap", "no cord in this slice"),
    )
    slices = SliceTable.of(
        10,
        slice=k,
        canonical_slice=k,
        z_mm=3.3 * k,
        csa_mm2=np.where(gap, np.nan, 22.0 + k / 3),
        length_mm=np.where(gap, np.nan, 3.3),
        ap_ellipse_mm=np.where(gap, np.nan, 4.5),
        rl_mm=np.where(gap, np.nan, 6.5),
        flags=[" ".join(flag.kind for flag in flags if flag.slice == number) for number in k],
    )
    fields: dict[str, Any] = {
        "name": "t1",
        "mask_state": "AI",
        "mask_sha256": mask_sha256(mask),
        "created": "2026-05-04T03:02:01+00:00",
        "software_version": "0.1.0",
        "volume_mm3": float(mask.ijk.sum()) * mask.voxel_volume_mm3,
        "length_mm": 29.7,
        "volume_per_length_mm2": 22.1,
        "mean_csa_mm2": 23.5,
        "sd_csa_mm2": nan,
        "mean_ap_ellipse_mm": nan,
        "mean_rl_mm": nan,
        "n_slices": 9,
        "coverage": 0.9,
        "range_volume_mm3": 655.0,
        "range_length_mm": 29.7,
        "removed_mm3": 0.0,
        "filled_mm3": 0.0,
        "flags": flags,
        "queue": rank_slices(flags, {"canonical_slice": np.zeros(0)}),
        "threshold": 0.5,
        "smooth_z_mm": 0.0,
        "device": "cpu",
        "model": ModelSummary("cord: a|b", "3", "ab" * 32, "Apache-2.0"),
        "input": CaseInput.of(mask),
        "seconds_by_stage": {"segment": 12.5},
        "slices": slices,
        "drawn": mask,
    }
    return Case(**(fields | known))


def set_voxels(node: Any, segment_id: str, voxels: np.ndarray, volume_node: Any) -> None:
    """An edit as a person makes it, through Slicer's own function."""
    array = np.ascontiguousarray(voxels.astype(np.uint8).transpose())
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, segment_id, volume_node)


def paint(panel: Any, change: Callable[[np.ndarray], Any], node: Any = None) -> np.ndarray:
    """As a brush does, in the cord of the current mask: the panel hears of it. Gives the voxels as they are now."""
    node = panel.panel.current.node if node is None else node
    voxels = mask_of_segment(node, cord_segment_id(node)).ijk.copy()
    change(voxels)
    panel.panel.review.editor.save_state()
    set_voxels(node, cord_segment_id(node), voxels, panel.panel.current.volume)
    wait_until(lambda: not panel.panel.current.settle.isActive())
    return voxels


def erase(number: int) -> Callable[[np.ndarray], None]:
    """Of one of the input's slices."""
    return lambda voxels: voxels[:, :, number].fill(False)


def is_edited(node: Any) -> bool:
    """Whether the cord of a segmentation is another one than was written."""
    segment_id = cord_segment_id(node)
    return changes_since_ai(node, segment_id, cropped_mask(node, segment_id))[0]


def read_column(table: Any, column: str) -> list[Any]:
    """A column's values; empty when there is no such column."""
    array = table.GetTable().GetColumnByName(column)
    return [] if array is None else [array.GetValue(row) for row in range(array.GetNumberOfValues())]
