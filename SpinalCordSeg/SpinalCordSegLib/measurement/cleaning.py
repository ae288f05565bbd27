"""The one mask everything is measured on: a single piece of cord in every slice, without holes.

A mask comes with specks, holes (a dark lesion) and gaps (a slice that was missed). First the 26-connected main
component is taken, with the pieces that continue it beyond empty slices; then in each slice its 8-connected
main component, with its holes filled. Nothing changes silently: what went and what came is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SpinalCordSegLib.images.volume import Volume, axial_zeros, to_canonical
from SpinalCordSegLib.measurement.cord_pieces import cord_components
from SpinalCordSegLib.measurement.slice_pieces import PieceGraph, SlicePieces, slice_pieces


@dataclass(frozen=True, eq=False)
class CleanSlice:
    """One slice that had mask in it. ``pixels``: bool [right, anterior], the cord kept, the smallest crop (empty where
    none of it is cord); ``window``: where in the slice; ``holes``: bool, of the same crop, what was filled. Before
    cleaning: ``components``, 8-connected; ``removed_pixels``: what went."""

    canonical_slice: int
    pixels: NDArray[np.bool_]
    window: tuple[slice, slice]
    holes: NDArray[np.bool_]
    components: int
    removed_pixels: int

    @property
    def count(self) -> int:
        return int(np.count_nonzero(self.pixels))

    @property
    def filled_pixels(self) -> int:
        return int(np.count_nonzero(self.holes))


@dataclass(frozen=True, eq=False)
class CleanCord:
    """A cleaned mask, slice by slice. ``grid``: the grid alone, its voxels are all False and take no memory.
    ``slices``: those that had mask in them, from inferior to superior."""

    grid: Volume
    slices: tuple[CleanSlice, ...]

    @property
    def sections(self) -> tuple[CleanSlice, ...]:
        """Those with cord left."""
        return tuple(one for one in self.slices if one.pixels.size)

    @property
    def removed_mm3(self) -> float:
        return float(sum(one.removed_pixels for one in self.slices) * self.grid.voxel_volume_mm3)

    @property
    def filled_mm3(self) -> float:
        return float(sum(one.filled_pixels for one in self.slices) * self.grid.voxel_volume_mm3)


@dataclass(frozen=True, eq=False)
class CleanMask:
    """``mask``: bool on the grid of the input; ``cord``: the same slice by slice. Volumes of what was removed and
    filled in mm³.

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
    cord: CleanCord


def clean(mask: Volume) -> CleanMask:
    """Reduce a mask (any dtype, cord where not zero) to one piece of cord per slice, holes filled.

    Pieces apart from the main component are kept only when at least one empty slice and at most 20 mm lie
    between, and centroid and area continue the cord. An empty mask stays empty, with zeros. Never raises.
    """
    cord = clean_cord(grid_of(mask), piece_graph(mask))
    cleaned = axial_zeros(mask, bool)
    kept, filled = to_canonical(cleaned).voxels, to_canonical(axial_zeros(mask, bool)).voxels
    components, removed_pixels, filled_pixels = np.zeros((3, kept.shape[2]), np.int64)
    for one in cord.slices:
        k = one.canonical_slice
        x, y = one.window
        kept[x, y, k], filled[x, y, k] = one.pixels, one.holes
        components[k], removed_pixels[k], filled_pixels[k] = one.components, one.removed_pixels, one.filled_pixels
    return CleanMask(
        mask=cleaned,
        removed_mm3=cord.removed_mm3,
        filled_mm3=cord.filled_mm3,
        components=components,
        removed_pixels=removed_pixels,
        filled_pixels=filled_pixels,
        filled=filled,
        cord=cord,
    )


def grid_of(volume: Volume) -> Volume:
    """The same grid with voxels that are all False and take no memory."""
    return volume.with_voxels(np.broadcast_to(np.False_, volume.shape))


def piece_graph(mask: Volume) -> PieceGraph:
    """The pieces of a mask (cord where not zero), before anything is removed."""
    return PieceGraph.of(pieces_of_slices(mask))


def pieces_of_slices(mask: Volume) -> dict[int, SlicePieces]:
    """The same, not yet linked: one entry for every slice with mask in it, by canonical slice."""
    voxels = to_canonical(mask).voxels
    box = bounding_box(voxels)
    if box is None:
        return {}
    inside, first = np.asarray(voxels[box] != 0), (box[0].start, box[1].start)
    found = (slice_pieces(inside[:, :, at], box[2].start + at, first) for at in range(inside.shape[2]))
    return {one.canonical_slice: one for one in found if one is not None}


def clean_cord(grid: Volume, graph: PieceGraph) -> CleanCord:
    """What of the pieces is cord, slice by slice."""
    components = graph.components()
    kept = cord_components(graph, components, to_canonical(grid).spacing_mm)
    slices = [_clean_slice(piece, np.isin(components[k], kept)) for k, piece in graph.slices.items()]
    return CleanCord(grid, tuple(slices))


def bounding_box(voxels: NDArray) -> tuple[slice, slice, slice] | None:
    """The smallest box that holds every voxel that is not zero; None where there is none."""
    used = np.asarray(np.any(voxels, axis=2))
    i, j = np.flatnonzero(np.any(used, axis=1)), np.flatnonzero(np.any(used, axis=0))
    if not i.size:
        return None
    x, y = slice(int(i[0]), int(i[-1]) + 1), slice(int(j[0]), int(j[-1]) + 1)
    k = np.flatnonzero(voxels[x, y].any(axis=(0, 1)))
    return x, y, slice(int(k[0]), int(k[-1]) + 1)


def _clean_slice(piece: SlicePieces, is_cord: Sequence[bool] | NDArray[np.bool_]) -> CleanSlice:
    """The largest of the slice's pieces that are cord, with its holes filled; nothing where none is."""
    if not np.any(is_cord):
        nothing, nowhere = np.zeros((0, 0), bool), (slice(0, 0), slice(0, 0))
        return CleanSlice(piece.canonical_slice, nothing, nowhere, nothing, piece.count, int(piece.areas.sum()))
    main = piece.labels == 1 + int(np.argmax(np.where(is_cord, piece.areas, 0)))
    x, y = np.flatnonzero(main.any(axis=1)), np.flatnonzero(main.any(axis=0))
    crop = slice(int(x[0]), int(x[-1]) + 1), slice(int(y[0]), int(y[-1]) + 1)
    main = np.ascontiguousarray(main[crop])
    whole = ndimage.binary_fill_holes(main)
    window = tuple(slice(w.start + c.start, w.start + c.stop) for w, c in zip(piece.window, crop, strict=True))
    removed = int(piece.areas.sum()) - int(np.count_nonzero((piece.labels[crop] > 0) & whole))
    return CleanSlice(piece.canonical_slice, whole, (window[0], window[1]), whole & ~main, piece.count, removed)
