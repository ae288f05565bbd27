"""Prior and current visit in linked views: the same level of the cord, the same window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from SpinalCordSegLib.volume import Volume
from SpinalCordSegNodes.segmentations import known_cord_id, mask_of_segment, volume_behind, volume_node_of
from SpinalCordSegNodes.views import LinkedViews, centre_of_slice, grey_ratio, marked_discs, motion_by_discs
from SpinalCordSegNodes.volumes import is_other_patient
from SpinalCordSegWidgets.jobs import Motion, motion_job
from SpinalCordSegWidgets.section import OTHER_PATIENT, Choice, Section, grey, show_text

if TYPE_CHECKING:
    from SpinalCordSegWidgets.main_widget import Panel

_C2_C3 = 3


class ComparePanel(Section):
    """By the disc C2/C3 where it is marked in both, else by rigid registration of the images, in a child process."""

    def __init__(self, ui: Any, panel: Panel) -> None:
        super().__init__(ui, panel)
        self.views = LinkedViews(slicer.mrmlScene)
        self._ratio = 1.0
        self._pair: tuple[Any, ...] = ()  # the masks in the views
        ui.priorSelector.setMRMLScene(slicer.mrmlScene)
        self.choice = Choice(ui.priorSelector, lambda _prior: self._on_change(), panel.lost)
        ui.compareButton.connect("clicked(bool)", self._on_compare)

    @property
    def prior(self) -> Any:
        return self.choice.node

    def refresh(self) -> None:
        reason = "" if self.views.running else self.why_not()
        grey(self.ui.compareButton, reason)
        self.ui.compareButton.checked = self.views.running
        how = _("by the disc C2/C3") if self._by_discs() else _("by registration of the images; discs are not marked")
        show_text(self.ui.compareHow, "" if reason else _("Levels are matched {how}.").format(how=how))
        self.ui.compareFit.setVisible(self.views.running)

    def why_not(self) -> str:
        """The reason why the two cannot be compared; "" when they can."""
        reason = self.panel.why_no_mask()
        if reason:
            return reason
        if self.prior is None or self.prior is self.panel.segmentation:
            return _("Choose the mask of the prior visit.")
        if self.panel.volume is None or volume_node_of(self.prior) is None:
            return _("Both masks need their volume in the scene.")
        if is_other_patient(slicer.mrmlScene, volume_node_of(self.prior), self.panel.volume):
            return OTHER_PATIENT
        if not known_cord_id(self.prior):
            return _("The prior mask has several segments: which is the cord? Keep one.")
        return ""

    def forget_person(self) -> None:
        self.choice.set(None)

    def close(self) -> None:
        self.views.end()
        self._pair = ()

    def _on_change(self) -> None:
        """Other masks, of other persons perhaps, are not what the views show."""
        if self.views.running and self._pair != (self.panel.segmentation, self.prior):
            self.views.end()
        super()._on_change()

    def _by_discs(self) -> bool:
        if self.prior is None or self.panel.volume is None:
            return False
        owners = (self.panel.volume, volume_node_of(self.prior))
        return all(owner is not None and _C2_C3 in marked_discs(owner) for owner in owners)

    def _on_compare(self, wanted: bool) -> None:
        if not wanted:
            self.views.end()
            self.refresh()
            return
        if self._by_discs():
            here, there = (marked_discs(owner)[_C2_C3] for owner in (self.panel.volume, volume_node_of(self.prior)))
            self._show(Motion(motion_by_discs(here, there)))
            return
        current, prior = self.panel.segmentation, self.prior

        def show(motion: Motion) -> None:
            if self.prior is prior:
                self._show(motion)

        run = self.panel.for_this_mask(show)
        self.panel.start(lambda: motion_job(self._visit(current), self._visit(prior)), run)
        self.refresh()

    def _show(self, motion: Motion) -> None:
        """The motion is known: link the views, and go to the middle of the cord."""
        if not self.why_not():
            self.panel.attempt(lambda: self._link(motion))
        self.refresh()

    def _link(self, motion: Motion) -> None:
        """Raises GeometryError."""
        (now, now_mask), (before, before_mask) = self._visit(self.panel.segmentation), self._visit(self.prior)
        self._ratio = grey_ratio(now, now_mask, before, before_mask)
        here = (self.panel.volume, self.panel.segmentation)
        self._pair = (self.panel.segmentation, self.prior)
        self.views.begin(here, (volume_node_of(self.prior), self.prior), motion.current_to_prior, self._ratio)
        self.views.jump(_middle(now_mask))
        self.ui.compareFit.setText(self._fit_text(motion))

    def _visit(self, segmentation: Any) -> tuple[Volume, Volume]:
        """Image and mask on one grid. Raises GeometryError when the image is gone or lies elsewhere."""
        own = segmentation is self.panel.segmentation
        mask = mask_of_segment(segmentation, self.panel.segment_id if own else known_cord_id(segmentation))
        volume = volume_behind(segmentation, mask)
        return (mask if volume is None else volume), mask

    def _fit_text(self, motion: Motion) -> str:
        remarks = []
        if motion.ambiguous:
            remarks.append(_("The vertebra above or below fits nearly as well: check the level, or mark discs."))
        if self._ratio != 1.0:
            remarks.append(
                _("The prior image is {ratio:.2g} times as bright in the cord: its window is scaled by that.").format(
                    ratio=self._ratio
                )
            )
        return "\n".join(remarks) or _("Same window in both.")


def _middle(mask: Volume) -> tuple[float, float, float]:
    """RAS mm of the cord's middle slice; of the grid's without cord."""
    filled = np.flatnonzero((np.asarray(mask.voxels) != 0).any(axis=(1, 2)))
    middle = int(np.median(filled)) if len(filled) else mask.shape[0] // 2
    return centre_of_slice(mask, mask.to_input_slice(middle))
