"""Which components of a mask are the cord: the main one, and what continues it beyond empty slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.measurement.slice_pieces import PieceGraph

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
