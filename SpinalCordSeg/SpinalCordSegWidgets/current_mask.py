"""The current mask: the segment that the user chose, and its numbers as they are now, whoever paints in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import slicer
import vtk
from slicer.i18n import tr as _

from SpinalCordSegNodes.editing import LiveNumbers, live_numbers
from SpinalCordSegNodes.results import Result, is_measured_on, result_of, take_own_result
from SpinalCordSegNodes.segmentations import known_cord_id, segment_ids, volume_node_of
from SpinalCordSegNodes.volumes import image_state
from SpinalCordSegWidgets.section import Choice, single_shot

if TYPE_CHECKING:
    from SpinalCordSegLib.metrics import MaskChanges
    from SpinalCordSegWidgets.main_widget import Panel

_SETTLE_MS = 250


def _change_text(changes: MaskChanges) -> str:
    text = _(
        "Slices corrected by hand: {n}; {added:.0f} mm³ added, {removed:.0f} mm³ removed, Dice against the AI"
        " {dice:.4f}."
    )
    return text.format(n=len(changes.slices), added=changes.added_mm3, removed=changes.removed_mm3, dice=changes.dice)


class CurrentMask:
    """What mask selector and segment box show; the panel hears of another one, and of each look at it."""

    def __init__(self, panel: Panel) -> None:
        self._panel, self._box, self._caption = panel, panel.ui.segmentBox, panel.ui.segmentCaption
        self.live = LiveNumbers()
        self._observed: list[tuple[Any, int]] = []
        self._followed: Any = None
        self._image: tuple[Any, str] = (None, "")  # the image and its state, hashed: it takes a tenth of a second
        self.settle = single_shot(_SETTLE_MS, self.refresh)  # a brush stroke changes the mask many times
        self.choice = Choice(panel, panel.ui.maskSelector, self._follow)
        self._box.connect("currentIndexChanged(int)", self._on_other)

    @property
    def node(self) -> Any:
        """Its segmentation; None without one."""
        return self.choice.node

    @property
    def segment_id(self) -> str:
        return str(self._box.itemData(self._box.currentIndex) or "") if self._box.count else ""

    @property
    def which(self) -> tuple[Any, str]:
        return self.node, self.segment_id

    @property
    def volume(self) -> Any:
        """The image behind it; None where there is none."""
        return None if self.node is None else volume_node_of(self.node)

    @property
    def owner(self) -> Any:
        """Whose discs and name they are: the image's, else the mask's."""
        return self.volume or self.node

    @property
    def result(self) -> Result | None:
        return result_of(self.node)

    def set(self, segmentation: Any) -> None:
        """Make another mask the current one; it stays so when the user leaves the module and comes back."""
        self.choice.set(segmentation)
        self.refresh()

    def refresh(self) -> None:
        """Look at the mask as it is now."""
        self._fill_segments()
        result = self.result
        other_image = result is not None and not is_measured_on(result, self._state_of_image())
        self.live = live_numbers(*self.which, result, other_image)
        self._panel.changed()

    @property
    def why_stale(self) -> str:
        """Why nothing may be decided on it; "" where its image is the one that was measured."""
        text = _("The image was changed since the mask was measured on it: look at the mask, and measure it again.")
        return text if self.live.is_other_image else ""

    @property
    def message(self) -> str:
        """What a person changed, and whether the numbers follow; "" of the mask that was measured."""
        live, up_to_date = self.live, _("Volume and areas are up to date; measure again for the full report.")
        changed = "" if live.changes is None or not live.edited else _change_text(live.changes)
        return " ".join(filter(None, (live.problem, changed, self.why_stale or (up_to_date if live.stale else ""))))

    def close(self) -> None:
        """Stop following nodes."""
        self.settle.stop()
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed, self._followed, self._image = [], None, (None, "")

    def _follow(self, node: Any) -> None:
        if node is self._followed:  # it has another name
            return
        self.close()
        self._followed = node
        if node is not None:
            take_own_result(node)
            # a stroke; and undo, which puts the segment of before in its place
            events = (slicer.vtkSegmentation.SourceRepresentationModified, slicer.vtkSegmentation.SegmentModified)
            self._observed = [(node, node.AddObserver(event, lambda *_: self.settle.start())) for event in events]
            volume = volume_node_of(node)
            if volume is not None:  # another name, or other voxels
                events = (vtk.vtkCommand.ModifiedEvent, slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent)
                self._observed += [(volume, volume.AddObserver(event, self._on_image)) for event in events]
        self._fill_segments()
        self._on_other()

    def _on_other(self) -> None:
        self._panel.on_other_mask()
        self.refresh()

    def _on_image(self, _volume: Any, _event: str) -> None:
        self._image = (None, "")
        self.settle.start()

    def _state_of_image(self) -> str:
        if self._image[0] is not self.volume:
            self._image = (self.volume, image_state(self.volume))
        return self._image[1]

    def _fill_segments(self) -> None:
        box, chosen, node = self._box, self.segment_id, self.node
        ids = [] if node is None else segment_ids(node)
        box.blockSignals(True)
        box.clear()
        for segment_id in ids:
            box.addItem(node.GetSegmentation().GetSegment(segment_id).GetName(), segment_id)
        wanted = chosen if chosen in ids else (known_cord_id(node) if node is not None else "")
        box.setCurrentIndex(box.findData(wanted))  # none where nobody can know which is the cord
        box.blockSignals(False)
        box.setVisible(len(ids) > 1)
        self._caption.setVisible(len(ids) > 1)
