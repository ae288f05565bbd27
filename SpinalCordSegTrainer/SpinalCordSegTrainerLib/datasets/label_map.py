"""A label map brought onto its image's grid: as it is, in another voxel order, from a format without orientation, or,
where that was allowed, resampled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import ndimage

from SpinalCordSegLib.errors import GeometryError, VoxelError
from SpinalCordSegLib.images.volume import Volume, from_canonical, to_canonical
from SpinalCordSegLib.images.volume_file import read_grid

Match = Literal["same", "reordered", "unoriented", "resampled"]
_LEAST_KEPT = 0.8  # of the cord's volume must lie inside the image
_SAME_SPACING = 0.01  # relative; formats without orientation store it in float32
_NEAR_MM = 0.05
_NEAR_DEG = 0.05


@dataclass(frozen=True, eq=False)
class LabelMap:
    """``labels.voxels``: int32. ``oriented``: False where the format does not hold how the grid lies."""

    labels: Volume
    oriented: bool


@dataclass(frozen=True, eq=False)
class PlacedMask:
    """``mask``: bool, on the image's grid. ``note``: what was done to it, "" where it lay there already."""

    mask: Volume
    match: Match
    note: str = ""


def read_label_map(path: Path) -> LabelMap:
    """Read a label map in any format that ITK-SNAP writes. Raises as read_labels does."""
    grid = read_grid(path, unoriented=True)
    labels = np.rint(grid.volume.voxels).astype(np.int32)
    if not np.array_equal(labels, grid.volume.voxels):
        raise VoxelError(
            f"{path.name} holds values that are not whole numbers, so it is an image or a probability map;"
            " a label map is expected: threshold it first"
        )
    return LabelMap(grid.volume.with_voxels(labels), grid.oriented)


def place_mask(mask: Volume, oriented: bool, image: Volume, name: str, *, tolerant: bool = False) -> PlacedMask:
    """Bring a mask (bool) onto the grid of its image.

    Another order of the same voxels is undone exactly. A format without orientation takes the image's when shape and
    spacing are equal, as ITK-SNAP does. ``tolerant`` resamples any other (linear, at one half) when most of the cord
    lies inside the image. Raises GeometryError, naming what differs.
    """
    if not oriented:
        return _unoriented(mask, image, name)
    if image.same_grid(mask):
        return PlacedMask(image.with_voxels(mask.voxels), "same")
    if to_canonical(image).same_grid(to_canonical(mask)):
        voxels = from_canonical(to_canonical(mask).voxels, image)
        return PlacedMask(voxels, "reordered", f"stored as {mask.orientation}, the image as {image.orientation}")
    if not tolerant:
        raise GeometryError(
            f"{name} lies on another grid than its image ({difference(mask, image)});"
            " resample it to the image, or let --tolerant do that"
        )
    return _resampled(mask, image, name)


def _unoriented(mask: Volume, image: Volume, name: str) -> PlacedMask:
    equal = np.allclose(mask.spacing_mm, image.spacing_mm, rtol=_SAME_SPACING)
    if mask.shape != image.shape or not equal:
        raise GeometryError(
            f"{name} is of a format without orientation, and its grid is not its image's ({difference(mask, image)});"
            " save it as NIfTI or NRRD"
        )
    return PlacedMask(image.with_voxels(mask.voxels), "unoriented", "its format holds no orientation: the image's used")


def _resampled(mask: Volume, image: Volume, name: str) -> PlacedMask:
    step = np.linalg.inv(mask.ijk_to_ras) @ image.ijk_to_ras
    weights = ndimage.affine_transform(
        mask.voxels.astype(np.float32), step[:3, :3], step[:3, 3], output_shape=image.shape, order=1
    )
    placed = image.with_voxels(weights >= 0.5)
    before, after = (float(of.voxels.sum()) * of.voxel_volume_mm3 for of in (mask, placed))
    if after < _LEAST_KEPT * before:
        raise GeometryError(
            f"{name} does not lie on its image: of {before:.0f} mm³ only {after:.0f} mm³ fall inside"
            f" ({difference(mask, image)}); it may belong to another image"
        )
    words = f"resampled to its image ({difference(mask, image)}): {before:.0f} mm³ became {after:.0f} mm³"
    return PlacedMask(placed, "resampled", words)


def difference(label: Volume, image: Volume) -> str:
    """Which of shape, spacing, direction and origin differ, in words, the label's first; "" when none does."""
    said = []
    if label.shape != image.shape:
        said.append(f"shape {_times(label.shape)} instead of {_times(image.shape)}")
    if not np.allclose(label.spacing_mm, image.spacing_mm, rtol=1e-4):
        mm = "{} instead of {} mm".format(*(_times(f"{one:.4g}" for one in of.spacing_mm) for of in (label, image)))
        said.append("spacing " + mm)
    turned = _turned_deg(label, image)
    if label.orientation != image.orientation:
        said.append(f"axes {label.orientation} instead of {image.orientation}")
    elif turned > _NEAR_DEG:
        said.append(f"direction turned by {turned:.1f}°")
    apart_mm = float(np.linalg.norm(label.ijk_to_ras[:3, 3] - image.ijk_to_ras[:3, 3]))
    if apart_mm > _NEAR_MM:
        said.append(f"origin {apart_mm:.1f} mm away")
    return ", ".join(said)


def _turned_deg(label: Volume, image: Volume) -> float:
    first, second = (of.ijk_to_ras[:3, :3] / np.array(of.spacing_mm) for of in (label, image))
    cosines = np.clip((first * second).sum(axis=0), -1, 1)
    return float(np.degrees(np.arccos(cosines)).max())


def _times(values: object) -> str:
    return "×".join(map(str, values))  # type: ignore[call-overload]
