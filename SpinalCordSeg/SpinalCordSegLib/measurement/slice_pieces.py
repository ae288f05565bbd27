"""A mask as pieces: the 8-connected pieces of every slice, and which of them hang together through the slices.

Pieces of neighbouring slices that touch (26-connected) make one component of the volume, so that what one edited slice
changes is found without going through the others' pixels again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

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
