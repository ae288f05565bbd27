"""The numbers of the mask in hand while it is edited: they follow the brush until it is measured in full again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from SpinalCordSegLib.errors import GeometryError
from SpinalCordSegNodes.cropped_mask import CroppedMask
from SpinalCordSegNodes.current_mask import CurrentMask
from SpinalCordSegNodes.live_tables import LiveTables
from SpinalCordSegNodes.results import Result, is_measured
from SpinalCordSegNodes.segmentations import cord_segment_id, mark_corrected

if TYPE_CHECKING:
    from SpinalCordSegLib.measurement.mask_changes import MaskChanges


class LiveNumbers:
    """``look`` at every change; then ``words`` for the user ("" for none), ``stale``: not the mask that was measured,
    ``edited``: not the mask that the AI drew, ``changes``: against the AI's own, None where there is none."""

    def __init__(self) -> None:
        self.current = CurrentMask()
        self.words = ""
        self.stale = self.edited = False
        self.changes: MaskChanges | None = None
        self._tables = LiveTables()
        self._report: Mapping[str, Any] | None = None
        self._measured: CroppedMask | None = None

    def look(self, segmentation: Any, segment_id: str, result: Result | None) -> None:
        """Bring everything up to date with the mask as it is now; the result's tables follow it."""
        self.words, self.stale, self.edited, self.changes, self._report = "", False, False, None, None
        if segmentation is None or not segment_id:
            self.forget()
            return
        if result is None:  # what was never measured has no numbers to follow
            return
        try:
            self.current.look(segmentation, segment_id)
        except GeometryError as error:
            self.words = str(error)
            return
        self.changes = self.current.changes()
        self.edited = bool(self.changes.slices) if self.changes is not None else _edited(segmentation, segment_id)
        if self.edited:
            mark_corrected(segmentation, segment_id)
        self.stale = not is_measured(result, self.current.digest)
        measures = self.current.measures()
        if self.stale and measures is not None:
            self._report = self._tables.show(result, measures, self._edited_slices())
        else:
            self._measured = self.current.mask
            self._tables.restore(result)
        self.words = self._words()

    def _edited_slices(self) -> frozenset[int]:
        """Those that differ from what was measured in full; where that is not known, from what the AI drew."""
        now, measured = self.current.mask, self._measured
        if now is not None and measured is not None and now.grid_shape == measured.grid_shape:
            return now.slices_apart(measured)
        return frozenset() if self.changes is None else frozenset(one.slice for one in self.changes.slices)

    def report(self, result: Result) -> Mapping[str, Any]:
        """The report's content with the numbers as they are now."""
        return result.report_content() if self._report is None else self._report

    def forget(self) -> None:
        """Another mask is taken in hand, or none: the tables hold what was measured."""
        self.current.forget()
        self._tables.restore()
        self._report = self._measured = None

    def _words(self) -> str:
        changes = self.changes
        if not self.edited or changes is None:
            words = _("Changed since it was measured: the numbers follow. Measure it again for all.")
            return words if self.stale else ""
        words = _("Corrected by hand: {added:.0f} mm³ added, {removed:.0f} mm³ removed against the AI.").format(
            added=changes.added_mm3, removed=changes.removed_mm3
        )
        return words + " " + _("The numbers follow; measure it again for the full report.") if self.stale else words


def _edited(segmentation: Any, segment_id: str) -> bool:
    """By the fingerprint in the segment's tag, where the AI's own copy was deleted."""
    from SpinalCordSegNodes.edits import edits_since_run  # scipy: not when the panel opens

    if segment_id != cord_segment_id(segmentation):
        return False
    edits = edits_since_run(segmentation)
    return edits is not None and edits.edited
