"""Measures that follow the brush: after an edited slice only that slice is looked at again, the rest is refitted.

The numbers equal those of the full measurement (``measure`` with shape=False), which goes through the same functions:
what is kept between edits are the pieces of every slice, from which cleaning, centreline and areas are cheap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from SpinalCordSegLib.errors import GeometryError
from SpinalCordSegLib.images.volume import Volume
from SpinalCordSegLib.measurement.cleaning import clean_cord, grid_of, piece_graph, pieces_of_slices
from SpinalCordSegLib.measurement.measures import CordMeasures
from SpinalCordSegLib.measurement.morphometry import measure_cord
from SpinalCordSegLib.measurement.slice_pieces import PieceGraph, SlicePieces


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
