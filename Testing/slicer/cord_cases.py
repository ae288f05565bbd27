"""A small slanted cord with answers that can be counted, as a volume and as a finished case folder's content."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from SpinalCordSegLib.volume import Volume
from SpinalCordSegNodes.case_data import CaseFolder
from SpinalCordSegNodes.editing import changes_since_ai
from SpinalCordSegNodes.segmentations import cord_segment_id, cropped_mask

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
    return Volume(voxels, grid() if ijk_to_ras is None else ijk_to_ras)


def grey_volume(mask: Volume) -> Volume:
    """A picture to go with a mask: bright cord on a ramp."""
    ramp = np.arange(mask.voxels.size, dtype=np.int16).reshape(mask.shape) % 97
    return mask.with_voxels((ramp + 300 * mask.voxels).astype(np.int16))


def finished_case(mask: Volume, **report: Any) -> CaseFolder:
    """What reading a case folder gives for this mask: 23.5 mm² a slice but for the gap, slices 4 and 8 flagged."""
    rows = tuple(_row(k) for k in range(1, 11))
    content = {
        "volume_mm3": float(mask.voxels.sum()) * mask.voxel_volume_mm3,
        "length_mm": 29.7,
        "mean_csa_mm2": 23.5,
        "sd_csa_mm2": None,
        "n_slices": 9,
        "flags": [
            {"slice": None, "kind": "field_of_view", "message": "no neck above C2"},
            {"slice": FLAGGED_SLICE, "kind": "area", "message": "area 20 % above its neighbours"},
            {"slice": GAP_SLICE, "kind": "gap", "message": "no cord in this slice"},
        ],
        "device": "cpu",
        "model": {"name": "cord: a|b", "sha256": "ab" * 32, "version": "3", "licence": "Apache-2.0"},
        "software_version": "0.1.0",
        "created": "2026-05-04T03:02:01+00:00",
        "input": {"shape": list(mask.shape), "spacing_mm": list(mask.spacing_mm), "orientation": mask.orientation},
        "seconds": 12.5,
    }
    text = json.dumps(content | report)
    return CaseFolder(mask, json.loads(text), rows, text, "<html><body>µ ² é</body></html>")


def _row(k: int) -> dict[str, Any]:
    gap = k == GAP_SLICE
    return {
        "slice": k,
        "canonical_slice": k,
        "z_mm": 3.3 * k,
        "csa_mm2": float("nan") if gap else 22.0 + k / 3,
        "csa_pv_mm2": float("nan"),
        "flags": "gap" if gap else "area" if k == FLAGGED_SLICE else "",
        "instance_number": -1,
    }


def is_edited(node: Any) -> bool:
    """Whether the cord of a segmentation is another one than was written."""
    segment_id = cord_segment_id(node)
    return changes_since_ai(node, segment_id, cropped_mask(node, segment_id))[0]
