"""Measures of the cord: area, diameters and form of every slice; volume, length and mean area over a range.

Everything is measured on one cleaned mask (``cleaning``), in the grid's own axes nearest to right, anterior and
superior, so that orientation and obliquity of the grid change no number: tilts are against the slice normal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import atan, ceil, cos, degrees, floor, hypot, isnan, nan, radians, sin, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import interpolate, ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull

from SpinalCordSegLib.errors import GeometryError
from SpinalCordSegLib.flags import Flag, case_flag, merge_flags
from SpinalCordSegLib.postprocessing import partial_volume_mm2, reach_mm
from SpinalCordSegLib.slice_table import SliceTable
from SpinalCordSegLib.volume import Volume, axial_zeros, input_slice_index, to_canonical

# The numbers measured on a cord: per slice, over a range, of the whole. What they mean is said here.


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


# A mask as pieces: the 8-connected pieces of every slice, and which of them hang together through the slices.
#
# Pieces of neighbouring slices that touch (26-connected) make one component of the volume, so that what one edited
# slice
# changes is found without going through the others' pixels again.


_EIGHT = np.ones((3, 3), bool)


@dataclass(frozen=True, eq=False)
class SlicePieces:
    """One slice with mask in it. ``labels``: [right, anterior], the smallest crop, 0 outside, 1…n the 8-connected
    pieces; ``window``: where in the slice. Per piece: ``areas`` in pixels; ``sums``: (n, 2), of its pixels' indices.
    """

    canonical_slice: int
    labels: NDArray[np.int32]
    window: tuple[slice, slice]
    areas: NDArray[np.int64]
    sums: NDArray[np.int64]

    @property
    def count(self) -> int:
        return len(self.areas)


def slice_pieces(pixels: NDArray[np.bool_], canonical_slice: int, origin: tuple[int, int]) -> SlicePieces | None:
    """The pieces of one slice; None where it is empty. ``pixels``: [right, anterior]; ``origin``: its corner."""
    x, y = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    if not x.size:
        return None
    crop = np.ascontiguousarray(pixels[x[0] : x[-1] + 1, y[0] : y[-1] + 1])
    first = origin[0] + int(x[0]), origin[1] + int(y[0])
    window = slice(first[0], first[0] + crop.shape[0]), slice(first[1], first[1] + crop.shape[1])
    labels, count = ndimage.label(crop, _EIGHT)
    i, j = np.nonzero(labels)
    piece = labels[i, j] - 1
    sums = [np.bincount(piece, weights=at + start, minlength=count) for at, start in zip((i, j), first, strict=True)]
    areas = np.bincount(piece, minlength=count).astype(np.int64)
    return SlicePieces(canonical_slice, labels, window, areas, np.stack(sums, axis=1).astype(np.int64))


def touching(below: SlicePieces, above: SlicePieces) -> NDArray[np.int64]:
    """(m, 2): numbers (from 0) of the pieces of two neighbouring slices that touch by a face, edge or corner."""
    first = [max(a.start, b.start) - 1 for a, b in zip(below.window, above.window, strict=True)]
    end = [min(a.stop, b.stop) + 1 for a, b in zip(below.window, above.window, strict=True)]
    if first[0] >= end[0] or first[1] >= end[1]:
        return np.zeros((0, 2), np.int64)
    lower, upper = _cut(below, first, end), _cut(above, first, end)
    if below.count == above.count == 1:  # nearly every slice of a cord
        return np.zeros((int(_dilated_meets(lower > 0, upper > 0)), 2), np.int64)
    pairs = []
    for dx in (-1, 0, 1):
        for dy in (-1, 0, 1):
            one, other = _overlap(lower, upper, dx, dy)
            both = (one > 0) & (other > 0)
            pairs.append(np.stack([one[both], other[both]], axis=1))
    return np.unique(np.concatenate(pairs), axis=0).astype(np.int64) - 1


def _dilated_meets(lower: NDArray[np.bool_], upper: NDArray[np.bool_]) -> bool:
    return any((a & b).any() for dx in (0, -1, 1) for dy in (0, -1, 1) for a, b in [_overlap(lower, upper, dx, dy)])


def _cut(piece: SlicePieces, first: list[int], end: list[int]) -> NDArray[np.int32]:
    """The labels in a window that may reach beyond the crop."""
    found = np.zeros((end[0] - first[0], end[1] - first[1]), np.int32)
    low = [max(f, w.start) for f, w in zip(first, piece.window, strict=True)]
    high = [min(e, w.stop) for e, w in zip(end, piece.window, strict=True)]
    inside = tuple(slice(a - w.start, b - w.start) for a, b, w in zip(low, high, piece.window, strict=True))
    found[low[0] - first[0] : high[0] - first[0], low[1] - first[1] : high[1] - first[1]] = piece.labels[inside]
    return found


def _overlap(one: NDArray, other: NDArray, dx: int, dy: int) -> tuple[NDArray, NDArray]:
    """Views in which pixel (x, y) of the first lies over (x + dx, y + dy) of the second."""
    rows, columns = one.shape
    first = one[max(0, -dx) : rows - max(0, dx), max(0, -dy) : columns - max(0, dy)]
    second = other[max(0, dx) : rows - max(0, -dx), max(0, dy) : columns - max(0, -dy)]
    return first, second


@dataclass(frozen=True, eq=False)
class PieceGraph:
    """All pieces of a mask. ``slices``: the non-empty ones by canonical slice, ascending. ``links``: for a slice k the
    touching pieces of k and k+1, where both are there."""

    slices: Mapping[int, SlicePieces]
    links: Mapping[int, NDArray[np.int64]]

    @classmethod
    def of(cls, slices: Mapping[int, SlicePieces]) -> PieceGraph:
        ordered = {k: slices[k] for k in sorted(slices)}
        return cls(ordered, {k: touching(ordered[k], ordered[k + 1]) for k in ordered if k + 1 in ordered})

    def replaced(self, changed: Mapping[int, SlicePieces | None]) -> PieceGraph:
        """The same with some slices new (None: now empty); only what touches them is looked at again."""
        slices = dict(self.slices)
        links = dict(self.links)
        for k, piece in changed.items():
            if piece is None:
                slices.pop(k, None)
            else:
                slices[k] = piece
        slices = {k: slices[k] for k in sorted(slices)}
        for k in {at for number in changed for at in (number - 1, number)}:
            links.pop(k, None)
            if k in slices and k + 1 in slices:
                links[k] = touching(slices[k], slices[k + 1])
        return PieceGraph(slices, links)

    def components(self) -> dict[int, NDArray[np.int64]]:
        """For every slice the number of the 26-connected component that each piece belongs to.

        Components are numbered from 0 by their lowest piece, so storage order settles nothing.
        """
        first: dict[int, int] = {}
        total = 0
        for k, piece in self.slices.items():
            first[k] = total
            total += piece.count
        if not total:
            return {}
        pairs = [link + np.array([first[k], first[k + 1]]) for k, link in self.links.items() if len(link)]
        ends = np.concatenate(pairs) if pairs else np.zeros((0, 2), np.int64)
        graph = coo_array((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape=(total, total))
        _, found = connected_components(graph, directed=False)
        _, order = np.unique(found, return_index=True)
        rank = np.argsort(np.argsort(order))
        numbered = rank[found]
        return {k: numbered[first[k] : first[k] + piece.count] for k, piece in self.slices.items()}


# Which components of a mask are the cord: the main one, and what continues it beyond empty slices.


# A piece beyond an empty slice is cord when it lies where the cord was heading and is about as large as the cord.
_MAX_GAP_MM = 20.0  # about one vertebral level; one empty slice is always allowed, however thick it is
_HEADING_MM = 20.0  # the stretch of cord before the gap that says where it was heading
_FREE_OFFSET_MM = 4.0  # half a cord: a slice's centroid wanders by 1-2 mm where its outline is poor
_OFFSET_PER_GAP = 0.35  # the cord bends by under 20° over a level
_AREA_RATIO = 4.0  # cord areas differ by a factor of 2 from C1 to the enlargement, and by another in poor slices


@dataclass(frozen=True, eq=False)
class _Piece:
    """One 26-connected component: its slices, and per slice area (pixels) and centroid (mm)."""

    label: int
    slices: NDArray[np.int64]
    areas: NDArray[np.float64]
    centroids_mm: NDArray[np.float64]


def cord_components(
    graph: PieceGraph, components: Mapping[int, NDArray[np.int64]], spacing_mm: tuple[float, float, float]
) -> list[int]:
    """The numbers of the components that are cord: the largest and, slice gap by slice gap, what continues it.

    Of equally large ones the lowest counts. No component: [].
    """
    if not components:
        return []
    table = _Table.of(graph, components, spacing_mm)
    sizes = np.bincount(table.component, weights=table.areas).astype(np.int64)
    if len(sizes) < 2:
        return [0]
    main = int(np.argmax(sizes))
    cord = table.piece(main)
    low, high = table.extents()
    has_cord = np.zeros(int(high.max()) + 3, bool)  # shifted by one, so that a slice below 0 can be asked for
    has_cord[cord.slices + 1] = True
    before = np.concatenate([[0], np.cumsum(has_cord)])
    # Beside the cord: no slice with cord in it or next to it.
    free = before[high + 3] - before[low] == 0
    pieces = [table.piece(int(label)) for label in np.flatnonzero(free) if label != main]
    kept = [main]
    while (following := _next_piece(cord, pieces, spacing_mm[2])) is not None:
        pieces.remove(following)
        kept.append(following.label)
        cord = _join(cord, following)
    return kept


@dataclass(frozen=True, eq=False)
class _Table:
    """Every piece of every slice: its slice, component, area (pixels) and summed position (mm)."""

    slices: NDArray[np.int64]
    component: NDArray[np.int64]
    areas: NDArray[np.int64]
    sums_mm: NDArray[np.float64]
    order: NDArray[np.int64]
    starts: NDArray[np.int64]

    @classmethod
    def of(
        cls, graph: PieceGraph, components: Mapping[int, NDArray[np.int64]], spacing_mm: tuple[float, float, float]
    ) -> _Table:
        slices = np.concatenate([np.full(piece.count, k) for k, piece in graph.slices.items()])
        component = np.concatenate([components[k] for k in graph.slices])
        areas = np.concatenate([piece.areas for piece in graph.slices.values()])
        sums = np.concatenate([piece.sums for piece in graph.slices.values()])
        order = np.argsort(component, kind="stable")  # within a component from inferior to superior
        starts = np.searchsorted(component[order], np.arange(int(component.max()) + 2))
        return cls(slices, component, areas, sums * np.array(spacing_mm[:2]), order, starts)

    def extents(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First and last slice of every component."""
        return self.slices[self.order[self.starts[:-1]]], self.slices[self.order[self.starts[1:] - 1]]

    def piece(self, component: int) -> _Piece:
        rows = self.order[self.starts[component] : self.starts[component + 1]]
        slices, at = np.unique(self.slices[rows], return_inverse=True)
        areas = np.zeros(len(slices))
        np.add.at(areas, at, self.areas[rows])
        sums = np.zeros((len(slices), 2))
        np.add.at(sums, at, self.sums_mm[rows])
        return _Piece(component, slices, areas, sums / areas[:, None])


def _beyond(first: int, last: int, slices: NDArray[np.int64]) -> bool:
    """True when a piece shares no slice with the cord and does not touch one that has cord."""
    return not np.any((slices >= first - 1) & (slices <= last + 1))


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


# The one mask everything is measured on: a single piece of cord in every slice, without holes.
#
# A mask comes with specks, holes (a dark lesion) and gaps (a slice that was missed). First the 26-connected main
# component is taken, with the pieces that continue it beyond empty slices; then in each slice its 8-connected
# main component, with its holes filled. Nothing changes silently: what went and what came is counted.


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


# The centreline of the cord and its tilt against the slices.
#
# Two fits: the smoothing spline that a case is measured by, comparable with the Spinal Cord Toolbox's; and local lines
# for comparing visits, because the spline spends one budget on the whole cord, so that its tilt in a slice depends on
# where the scan ends (on 4 mm slices with centroids 0.2 mm off, by up to 2 % of a mean area).


_BUDGET_MM2 = 10.0  # residual budget per mm of slice thickness: 30/3, as the Spinal Cord Toolbox's at 1 mm pixels
_REACH_MM = 15.0  # of a local line: at 10 mm rough slices tilt it, at 25 mm it cuts the corners of a bent neck
_REACH_SPARE = 1.25  # beyond the third nearest slice, where slices are thick or missing


@dataclass(frozen=True, eq=False)
class Centreline:
    """Position and slope of the cord at the asked heights, all arrays of one length.

    ``x_mm``, ``y_mm``: along the grid's right and anterior axes from the centre of voxel (0, 0).
    ``slope_x``, ``slope_y``: dx/dz and dy/dz, mm per mm along the slice normal, so an oblique grid needs nothing more.
    """

    x_mm: NDArray[np.float64]
    y_mm: NDArray[np.float64]
    slope_x: NDArray[np.float64]
    slope_y: NDArray[np.float64]

    @property
    def stretch(self) -> NDArray[np.float64]:
        """√(1 + x'² + y'²) ≥ 1: cord length per mm of slice normal, and how much larger a slice cuts the cord."""
        return np.sqrt(1.0 + self.slope_x**2 + self.slope_y**2)


def fit_centreline(
    slices: NDArray[np.int64], x_mm: ArrayLike, y_mm: ArrayLike, slice_mm: float, at: NDArray[np.int64]
) -> Centreline:
    """Smooth the centroids (``x_mm``, ``y_mm``) of the non-empty ``slices`` and evaluate at the slices ``at``.

    Cubic smoothing splines (FITPACK, linear for up to 3 points) whose residual sum of squares may reach
    (n_points/n_slices)²·10 mm²·(slice_mm/1 mm), n_slices from the first to the last non-empty slice. One point: a
    straight line along the slice normal. Raises ValueError without any point.
    """
    z_mm = np.asarray(slices, dtype=np.float64) * slice_mm
    at_mm = np.asarray(at, dtype=np.float64) * slice_mm
    if not z_mm.size:
        raise ValueError("a centreline needs at least one slice with cord")
    density = len(z_mm) / (slices[-1] - slices[0] + 1)
    budget = density**2 * _BUDGET_MM2 * slice_mm
    x, slope_x = _smooth(z_mm, np.asarray(x_mm, dtype=np.float64), budget, at_mm)
    y, slope_y = _smooth(z_mm, np.asarray(y_mm, dtype=np.float64), budget, at_mm)
    return Centreline(x, y, slope_x, slope_y)


def _smooth(
    z_mm: NDArray[np.float64], values: NDArray[np.float64], budget: float, at_mm: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if len(z_mm) == 1:
        return np.full(at_mm.shape, values[0]), np.zeros(at_mm.shape)
    spline = interpolate.splrep(z_mm, values, k=3 if len(z_mm) > 3 else 1, s=budget)
    return interpolate.splev(at_mm, spline), interpolate.splev(at_mm, spline, der=1)


def fit_local_centreline(
    slices: NDArray[np.int64], x_mm: ArrayLike, y_mm: ArrayLike, slice_mm: float, at: NDArray[np.int64]
) -> Centreline:
    """As ``fit_centreline``, but every place is answered by the slices near it alone, wherever the cord ends.

    Straight lines by least squares with tricube weights (Cleveland 1979, doi 10.1080/01621459.1979.10481038) over
    15 mm to either side, or as far as the three nearest slices lie. One point: a straight line along the slice normal.
    Raises ValueError without any point.
    """
    z_mm = np.asarray(slices, dtype=np.float64) * slice_mm
    at_mm = np.asarray(at, dtype=np.float64) * slice_mm
    if not z_mm.size:
        raise ValueError("a centreline needs at least one slice with cord")
    away = z_mm[None, :] - at_mm[:, None]
    nearest = np.sort(np.abs(away), axis=1)[:, : min(3, len(z_mm))]
    reach = np.maximum(_REACH_MM, _REACH_SPARE * nearest[:, -1])
    weights = np.clip(1 - (np.abs(away) / reach[:, None]) ** 3, 0, None) ** 3
    x, slope_x = _local_lines(away, weights, np.asarray(x_mm, dtype=np.float64))
    y, slope_y = _local_lines(away, weights, np.asarray(y_mm, dtype=np.float64))
    return Centreline(x, y, slope_x, slope_y)


def _local_lines(
    away: NDArray[np.float64], weights: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Value and slope at each place; ``away``, ``weights``: (places, points)."""
    total = weights.sum(axis=1)
    middle, mean = (weights * away).sum(axis=1) / total, weights @ values / total
    apart = away - middle[:, None]
    spread = (weights * apart**2).sum(axis=1)
    slope = np.divide((weights * apart) @ values, spread, out=np.zeros_like(spread), where=spread > 0)
    return mean - slope * middle, slope


# Shape of the cord in one slice, as seen at a right angle to the cord: diameters, orientation, form.
#
# The slice is shrunk by the cosines of the cord's two tilt angles, up-sampled to 0.1 mm and binarised, so that
# diameters do not jump by whole pixels. The definitions are those of the published norms (Spinal Cord Toolbox);
# shrinking and up-sampling are both separable, hence two small matrices a slice.


_FINE_MM = 0.1
_MOST_FINE_PIXELS = 1000  # per axis: 100 mm, so that a mask that is no cord at all cannot take minutes
_CHORD_HALF_WIDTH_MM = 1.5
_EDGE_MIDPOINTS = np.array([[0.5, 0.0], [-0.5, 0.0], [0.0, 0.5], [0.0, -0.5]])


@dataclass(frozen=True)
class SliceShape:
    """``shrunk_area_mm2``: grey sum of the shrunk slice, the Spinal Cord Toolbox's own area.

    ``rl_mm``, ``ap_ellipse_mm``: diameters 4√λ of the ellipse of equal second moments; ``rl_mm`` is the one within
    45° of the right-left axis. ``ap_chord_mm``: mean extent over the central 3 mm, across the rl axis.
    ``orientation_deg``: of the rl axis, -45..45, positive where its right end points anterior.
    ``eccentricity`` 0..1 and ``solidity`` (area over the area of its hull). All NaN where nothing is left.
    """

    shrunk_area_mm2: float
    rl_mm: float
    ap_ellipse_mm: float
    ap_chord_mm: float
    orientation_deg: float
    eccentricity: float
    solidity: float


NO_SHAPE = SliceShape(nan, nan, nan, nan, nan, nan, nan)


def measure_shape(
    pixels: NDArray[np.bool_],
    origin: tuple[int, int],
    pixel_mm: tuple[float, float],
    cosines: tuple[float, float],
) -> SliceShape:
    """Shape of one slice.

    ``pixels``: [right, anterior], a crop that holds the whole cord; ``origin``: index of its first pixel in the
    full slice (shrinking is about voxel (0, 0) of the full slice, whatever the crop); ``pixel_mm``: along both
    axes; ``cosines``: of the tilt within the right-superior and the anterior-superior plane. Empty: NO_SHAPE.
    """
    if not pixels.any():
        return NO_SHAPE
    shrink = [_shrink_matrix(pixels.shape[axis], origin[axis], cosines[axis]) for axis in range(2)]
    grey = shrink[0] @ pixels.astype(np.float64) @ shrink[1].T
    shrunk_area_mm2 = float(grey.sum()) * pixel_mm[0] * pixel_mm[1]
    finest = [max(1, _MOST_FINE_PIXELS // count) for count in grey.shape]
    factors = [max(1, min(ceil(pixel_mm[axis] / _FINE_MM - 1e-6), finest[axis])) for axis in range(2)]
    enlarge = [_enlarge_matrix(grey.shape[axis], factors[axis]) for axis in range(2)]
    fine = enlarge[0] @ grey @ enlarge[1].T > 0.5
    fine_mm = (pixel_mm[0] / factors[0], pixel_mm[1] / factors[1])
    if not fine.any():
        return SliceShape(shrunk_area_mm2, nan, nan, nan, nan, nan, nan)
    return _describe(fine, fine_mm, shrunk_area_mm2)


def _shrink_matrix(count: int, first: int, cosine: float) -> NDArray[np.float64]:
    """Rows: pixels i of the shrunk slice, which sample the full one at i/cosine; columns: the crop's pixels.

    One pixel of zeros is kept on both sides, so that up-sampling sees the mask's own edge.
    """
    low = max(0, floor((first - 1) * cosine)) - 1
    high = ceil((first + count) * cosine) + 1
    return _linear_weights(np.arange(low, high + 1) / cosine - first, count)


def _enlarge_matrix(count: int, factor: int) -> NDArray[np.float64]:
    return _linear_weights((np.arange(count * factor) + 0.5) / factor - 0.5, count)


def _linear_weights(positions: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """(positions, count): linear interpolation between ``count`` samples, zero outside them."""
    return np.clip(1.0 - np.abs(positions[:, None] - np.arange(count)), 0.0, None)


def _describe(fine: NDArray[np.bool_], fine_mm: tuple[float, float], shrunk_area_mm2: float) -> SliceShape:
    i, j = np.nonzero(fine)
    x_mm, y_mm = i * fine_mm[0], j * fine_mm[1]
    centre = float(x_mm.mean()), float(y_mm.mean())
    xx, yy, xy = float(x_mm.var()), float(y_mm.var()), float(((x_mm - centre[0]) * (y_mm - centre[1])).mean())
    middle, spread = (xx + yy) / 2, hypot((xx - yy) / 2, xy)
    major, minor = middle + spread, max(middle - spread, 0.0)
    angle = degrees(np.arctan2(2 * xy, xx - yy)) / 2  # of the major axis, -90..90
    rl_variance, ap_variance = major, minor
    if abs(angle) >= 45:
        rl_variance, ap_variance = minor, major
        angle -= 90 if angle > 0 else -90
    return SliceShape(
        shrunk_area_mm2=shrunk_area_mm2,
        rl_mm=4 * sqrt(rl_variance),
        ap_ellipse_mm=4 * sqrt(ap_variance),
        ap_chord_mm=_chord_mm(fine, fine_mm, centre, angle),
        orientation_deg=angle,
        eccentricity=sqrt(1 - minor / major) if major > 0 else 0.0,
        solidity=len(i) * fine_mm[0] * fine_mm[1] / _hull_area_mm2(fine, fine_mm),
    )


def _chord_mm(
    fine: NDArray[np.bool_], fine_mm: tuple[float, float], centre_mm: tuple[float, float], angle_deg: float
) -> float:
    """Mean extent across the rl axis over the central 3 mm; over all there is where the mask is narrower."""
    along = np.arange(-_CHORD_HALF_WIDTH_MM, _CHORD_HALF_WIDTH_MM + _FINE_MM / 2, _FINE_MM)
    corners = [[0.0, count * mm] for count, mm in zip(fine.shape, fine_mm, strict=True)]
    reach_mm = max(hypot(x - centre_mm[0], y - centre_mm[1]) for x in corners[0] for y in corners[1])
    across = np.arange(-ceil(reach_mm / _FINE_MM), ceil(reach_mm / _FINE_MM) + 1) * _FINE_MM
    u, v = np.meshgrid(along, across, indexing="ij")
    turn = cos(radians(angle_deg)), sin(radians(angle_deg))
    x = (centre_mm[0] + u * turn[0] - v * turn[1]) / fine_mm[0]
    y = (centre_mm[1] + u * turn[1] + v * turn[0]) / fine_mm[1]
    inside = ndimage.map_coordinates(fine.astype(np.float32), [x, y], order=1)
    extents_mm = inside.sum(axis=1, dtype=np.float64) * _FINE_MM
    extents_mm = extents_mm[inside.max(axis=1) > 0.5]
    return float(extents_mm.mean()) if extents_mm.size else nan


def _hull_area_mm2(fine: NDArray[np.bool_], fine_mm: tuple[float, float]) -> float:
    """Area of the convex hull over the midpoints of the pixels' edges; only the ends of the columns matter."""
    columns = np.flatnonzero(fine.any(axis=1))
    low = fine[columns].argmax(axis=1)
    high = fine.shape[1] - 1 - fine[columns, ::-1].argmax(axis=1)
    ends = np.concatenate([np.stack([columns, low], axis=1), np.stack([columns, high], axis=1)])
    points = (ends[:, None, :] + _EDGE_MIDPOINTS).reshape(-1, 2)
    return float(ConvexHull(points).volume) * fine_mm[0] * fine_mm[1]


# Areas as they are in the slices, not at a right angle to the cord: what is the same whichever centreline is laid.


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
    def of_table(cls, table: SliceTable) -> InSlices:
        """NaN where the mask has no area."""
        k, pv_mm2 = table.canonical_slice.tolist(), table.pv_in_slice_mm2.tolist()
        known = {one: area for one, area in zip(k, pv_mm2, strict=True) if not isnan(area)}
        return cls(dict(zip(k, table.csa_raw_mm2.tolist(), strict=True)), known)

    def within(self, first: int, end: int) -> InSlices:
        """Of the slices from ``first`` to before ``end``, counted from ``first``."""
        both = (self.raw_mm2, self.pv_mm2)
        return InSlices(*({k - first: area for k, area in one.items() if first <= k < end} for one in both))


# What a mask itself gives to doubt, whoever drew it: empty, one slice, gaps, pieces, borders, steep cuts.


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


# Measures that follow the brush: after an edited slice only that slice is looked at again, the rest is refitted.
#
# The numbers equal those of the full measurement (``measure`` with shape=False), which goes through the same functions:
# what is kept between edits are the pieces of every slice, from which cleaning, centreline and areas are cheap.


@dataclass(frozen=True, eq=False)
class LiveMeasures:
    """A mask being edited. Every step gives a new one and leaves this as it was, so undo is the one before.

    ``edited``: canonical slices that the last step changed, () at the beginning.
    """

    _grid: Volume
    _graph: PieceGraph
    edited: tuple[int, ...] = ()

    @classmethod
    def of(cls, mask: Volume) -> LiveMeasures:
        """Look at the whole mask once (cord where not zero). An empty mask is an answer."""
        return cls(grid_of(mask), piece_graph(mask))

    def follow(self, mask: Volume) -> LiveMeasures:
        """The mask as it is now: finds the slices that changed. Raises GeometryError for another grid."""
        if not mask.same_grid(self._grid):
            raise GeometryError(
                f"the mask (shape {mask.shape}) lies on another grid than the one that is followed (shape"
                f" {self._grid.shape}): begin anew"
            )
        found = pieces_of_slices(mask)
        numbers = sorted(found.keys() | self._graph.slices.keys())
        changed = {k: found.get(k) for k in numbers if not _same(found.get(k), self._graph.slices.get(k))}
        return self._with(changed)

    def measures(self, slice_range: tuple[int, int] | None = None) -> CordMeasures:
        """Equal to ``measure(mask, slice_range=slice_range, shape=False)``: areas, length, volume and the mask's own
        flags; diameters and form are NaN. ``slice_range``: canonical, half-open."""
        return measure_cord(clean_cord(self._grid, self._graph), slice_range=slice_range, shape=False)

    def _with(self, changed: Mapping[int, SlicePieces | None]) -> LiveMeasures:
        return LiveMeasures(self._grid, self._graph.replaced(changed), tuple(sorted(changed)))


def _same(one: SlicePieces | None, other: SlicePieces | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.window == other.window and np.array_equal(one.labels, other.labels)
