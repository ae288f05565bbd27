"""The one mask everything is measured on: a single piece of cord in every slice, without holes.

A mask comes with specks, holes (a dark lesion) and gaps (a slice that was missed). First the 26-connected main
component is taken, with the pieces that continue it beyond empty slices; then in each slice its 8-connected
main component, with its holes filled. Nothing changes silently: what went and what came is counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SpinalCordSegLib.volume import Volume, from_canonical, to_canonical

_ALL_NEIGHBOURS = np.ones((3, 3, 3), bool)
_EIGHT = np.ones((3, 3), bool)

# A piece beyond an empty slice is cord when it lies where the cord was heading and is about as large as the cord.
_MAX_GAP_MM = 20.0  # about one vertebral level; one empty slice is always allowed, however thick it is
_HEADING_MM = 20.0  # the stretch of cord before the gap that says where it was heading
_FREE_OFFSET_MM = 4.0  # half a cord: a slice's centroid wanders by 1-2 mm where its outline is poor
_OFFSET_PER_GAP = 0.35  # the cord bends by under 20° over a level
_AREA_RATIO = 4.0  # cord areas differ by a factor of 2 from C1 to the enlargement, and by another in poor slices


@dataclass(frozen=True, eq=False)
class CleanMask:
    """``mask``: bool on the grid of the input. Volumes of what was removed and filled in mm³.

    Per slice, counted from inferior: ``components`` (8-connected, before cleaning), ``removed_pixels`` and
    ``filled_pixels``. ``filled``: bool, canonical [R, A, S], the voxels that were holes.
    """

    mask: Volume
    removed_mm3: float
    filled_mm3: float
    components: NDArray[np.int64]
    removed_pixels: NDArray[np.int64]
    filled_pixels: NDArray[np.int64]
    filled: NDArray[np.bool_]

    @property
    def canonical(self) -> NDArray[np.bool_]:
        """The mask as a view with axes [R, A, S]."""
        return to_canonical(self.mask).voxels


def clean(mask: Volume) -> CleanMask:
    """Reduce a mask (any dtype, cord where not zero) to one piece of cord per slice, holes filled.

    Pieces apart from the main component are kept only when at least one empty slice and at most 20 mm lie
    between, and centroid and area continue the cord. An empty mask stays empty, with zeros. Never raises.
    """
    canonical = to_canonical(mask)
    voxels = canonical.voxels != 0
    n = voxels.shape[2]
    kept, filled = np.zeros_like(voxels), np.zeros_like(voxels)
    components, removed_pixels, filled_pixels = np.zeros((3, n), np.int64)
    box = bounding_box(voxels)
    if box is not None:
        inside = voxels[box]
        cord = keep_cord(inside, canonical.spacing_mm)
        for k in np.flatnonzero(inside.any(axis=(0, 1))):
            number = box[2].start + k
            whole, holes = _clean_slice(cord[:, :, k])
            kept[box[0], box[1], number], filled[box[0], box[1], number] = whole, holes
            components[number] = ndimage.label(inside[:, :, k], _EIGHT)[1]
            removed_pixels[number] = np.count_nonzero(inside[:, :, k] & ~whole)
            filled_pixels[number] = np.count_nonzero(holes)
    voxel_mm3 = mask.voxel_volume_mm3
    return CleanMask(
        mask=from_canonical(kept, mask),
        removed_mm3=float(removed_pixels.sum() * voxel_mm3),
        filled_mm3=float(filled_pixels.sum() * voxel_mm3),
        components=components,
        removed_pixels=removed_pixels,
        filled_pixels=filled_pixels,
        filled=filled,
    )


def bounding_box(voxels: NDArray[np.bool_]) -> tuple[slice, slice, slice] | None:
    """The smallest box that holds every true voxel; None where there is none."""
    used = np.asarray(np.any(voxels, axis=2))
    i, j = np.flatnonzero(np.any(used, axis=1)), np.flatnonzero(np.any(used, axis=0))
    if not i.size:
        return None
    x, y = slice(int(i[0]), int(i[-1]) + 1), slice(int(j[0]), int(j[-1]) + 1)
    k = np.flatnonzero(voxels[x, y].any(axis=(0, 1)))
    return x, y, slice(int(k[0]), int(k[-1]) + 1)


def _clean_slice(pixels: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The largest 8-connected component with its holes filled, and those holes."""
    labels, count = ndimage.label(pixels, _EIGHT)
    main = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:])) if count > 1 else pixels
    whole = ndimage.binary_fill_holes(main)
    return whole, whole & ~main


@dataclass(frozen=True, eq=False)
class _Piece:
    """One 26-connected component: its slices (of the crop), and per slice area (pixels) and centroid (mm)."""

    label: int
    slices: NDArray[np.int64]
    areas: NDArray[np.float64]
    centroids_mm: NDArray[np.float64]


def keep_cord(voxels: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> NDArray[np.bool_]:
    """The largest 26-connected component of [R, A, S] voxels and, slice gap by slice gap, what continues it."""
    labels, count = ndimage.label(voxels, _ALL_NEIGHBOURS)
    if count < 2:
        return voxels
    sizes = np.bincount(labels.ravel())[1:]
    main = 1 + int(np.argmax(sizes))
    boxes = ndimage.find_objects(labels)
    cord = _describe(labels, main, boxes[main - 1], spacing_mm)
    beside = [
        label
        for label, box in enumerate(boxes, start=1)
        if label != main and _beyond(box[2].start, box[2].stop - 1, cord.slices)
    ]
    pieces = [_describe(labels, label, boxes[label - 1], spacing_mm) for label in beside]
    kept = [main]
    while (following := _next_piece(cord, pieces, spacing_mm[2])) is not None:
        pieces.remove(following)
        kept.append(following.label)
        cord = _join(cord, following)
    return np.isin(labels, kept)


def _beyond(first: int, last: int, slices: NDArray[np.int64]) -> bool:
    """True when a piece shares no slice with the cord and does not touch one that has cord."""
    return not np.any((slices >= first - 1) & (slices <= last + 1))


def _describe(
    labels: NDArray[np.integer], label: int, box: tuple[slice, ...], spacing_mm: tuple[float, float, float]
) -> _Piece:
    piece = labels[box] == label
    areas = np.count_nonzero(piece, axis=(0, 1)).astype(np.float64)
    used = np.flatnonzero(areas)
    x = np.einsum("ijk,i->k", piece, np.arange(box[0].start, box[0].stop, dtype=np.float64))
    y = np.einsum("ijk,j->k", piece, np.arange(box[1].start, box[1].stop, dtype=np.float64))
    centroids = np.stack([x[used] * spacing_mm[0], y[used] * spacing_mm[1]], axis=1) / areas[used, None]
    return _Piece(label, used + box[2].start, areas[used], centroids)


def _next_piece(cord: _Piece, pieces: list[_Piece], slice_mm: float) -> _Piece | None:
    """The piece across the smallest gap that continues the cord, the larger one first."""
    offers = []
    for piece in pieces:
        if not _beyond(int(piece.slices[0]), int(piece.slices[-1]), cord.slices):
            continue
        gap = int(np.abs(cord.slices[:, None] - piece.slices).min())
        if _continues(cord, piece, gap, slice_mm):
            offers.append((gap, -float(piece.areas.sum()), piece.label, piece))
    return min(offers)[3] if offers else None


def _continues(cord: _Piece, piece: _Piece, gap: int, slice_mm: float) -> bool:
    if (gap - 1) * slice_mm > _MAX_GAP_MM and gap > 2:
        return False
    apart = np.abs(cord.slices[:, None] - piece.slices)
    nearest_cord, nearest_piece = divmod(int(np.argmin(apart)), apart.shape[1])
    near_cord = np.abs(cord.slices - cord.slices[nearest_cord]) * slice_mm <= _HEADING_MM
    near_piece = np.abs(piece.slices - piece.slices[nearest_piece]) * slice_mm <= _HEADING_MM
    ratio = float(np.median(piece.areas[near_piece]) / np.median(cord.areas[near_cord]))
    if not 1 / _AREA_RATIO <= ratio <= _AREA_RATIO:
        return False
    heading = _extrapolate(
        cord.slices[near_cord] * slice_mm, cord.centroids_mm[near_cord], piece, nearest_piece, slice_mm
    )
    offset_mm = float(np.hypot(*(piece.centroids_mm[nearest_piece] - heading)))
    return offset_mm <= _FREE_OFFSET_MM + _OFFSET_PER_GAP * gap * slice_mm


def _extrapolate(
    z_mm: NDArray[np.float64], centroids_mm: NDArray[np.float64], piece: _Piece, nearest: int, slice_mm: float
) -> NDArray[np.float64]:
    """Straight on through the cord's centroids near the gap; too short a stretch (< 6 mm) has no direction."""
    if np.ptp(z_mm) < 6.0:
        return centroids_mm.mean(axis=0)
    slope, offset = np.polyfit(z_mm, centroids_mm, 1)
    return slope * (piece.slices[nearest] * slice_mm) + offset


def _join(cord: _Piece, piece: _Piece) -> _Piece:
    slices = np.concatenate([cord.slices, piece.slices])
    order = np.argsort(slices)
    areas = np.concatenate([cord.areas, piece.areas])[order]
    centroids = np.concatenate([cord.centroids_mm, piece.centroids_mm])[order]
    return _Piece(cord.label, slices[order], areas, centroids)
