"""The mask in hand as it is at this moment: measured again as it is edited, and compared with what the AI drew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from SpinalCordSegLib.errors import GeometryError
from SpinalCordSegNodes.cropped_mask import CroppedMask, cropped_mask, same_window
from SpinalCordSegNodes.segmentations import AI_COPY, cord_segment_id

if TYPE_CHECKING:  # they bring scipy and SimpleITK along: not when the panel opens
    from SpinalCordSegLib.measurement.level_measures import LevelOptions, LevelReport
    from SpinalCordSegLib.measurement.live_measures import LiveMeasures
    from SpinalCordSegLib.measurement.mask_changes import MaskChanges
    from SpinalCordSegLib.measurement.measures import CordMeasures


@dataclass(frozen=True, eq=False)
class _Seen:
    node: Any
    segment_id: str
    cropped: CroppedMask
    live: LiveMeasures
    digest: str


class CurrentMask:
    """``look`` first; then the other properties are those of the mask as it was at that moment, None without one."""

    def __init__(self) -> None:
        self._seen: _Seen | None = None

    def look(self, node: Any, segment_id: str) -> None:
        """Bring everything up to date; what costs time is done only where the mask has changed.

        Raises GeometryError when the segment or its geometry is gone.
        """
        from SpinalCordSegLib.measurement.live_measures import LiveMeasures

        seen = self._seen
        if seen is not None and (seen.node is not node or seen.segment_id != segment_id):
            seen = None
        now = cropped_mask(node, segment_id, None if seen is None else seen.cropped)
        if seen is not None and same_window(now, seen.cropped) and now.mask.same_grid(seen.cropped.mask):
            if np.array_equal(now.mask.voxels, seen.cropped.mask.voxels):
                return
            live = seen.live.follow(now.mask)
        else:
            live = LiveMeasures.of(now.mask)
        self._seen = _Seen(node, segment_id, now, live, now.digest())

    def forget(self) -> None:
        self._seen = None

    @property
    def mask(self) -> CroppedMask | None:
        return None if self._seen is None else self._seen.cropped

    @property
    def digest(self) -> str:
        """Tells two states of the mask apart; "" without a mask."""
        return "" if self._seen is None else self._seen.digest

    def measures(self) -> CordMeasures | None:
        """Areas, length, volume and the mask's own flags; diameters and form are NaN."""
        return None if self._seen is None else self._seen.live.measures()

    def levels(self, options: LevelOptions) -> LevelReport | None:
        """The levels on this mask; None without a mask or a marked disc. Raises ConfigurationError."""
        from SpinalCordSegLib.measurement.cleaning import clean
        from SpinalCordSegLib.measurement.level_measures import measure_levels

        if self._seen is None:
            return None
        return measure_levels(clean(self._seen.cropped.mask).mask, self._seen.live.measures(), options)

    def changes(self) -> MaskChanges | None:
        """Against the AI's own copy; None where there is none, or it lies on another grid."""
        from SpinalCordSegLib.measurement.mask_changes import mask_changes

        if self._seen is None:
            return None
        copy = self._seen.node.GetNodeReference(AI_COPY)
        copy_id = cord_segment_id(copy) if copy is not None else ""
        if not copy_id or self._seen.segment_id != cord_segment_id(self._seen.node):
            return None
        ai = cropped_mask(copy, copy_id, self._seen.cropped)
        now = self._seen.cropped if same_window(ai, self._seen.cropped) else None
        now = now or cropped_mask(self._seen.node, self._seen.segment_id, ai)
        try:
            return mask_changes(now.mask, _on(now, ai))
        except GeometryError:
            return None


def _on(now: CroppedMask, ai: CroppedMask) -> Any:
    """The AI's voxels on the grid of now: parent transforms of the two nodes do not matter."""
    if not same_window(now, ai):
        raise GeometryError("the AI's own copy lies on another grid than the mask")
    return now.mask.with_voxels(ai.mask.voxels)
