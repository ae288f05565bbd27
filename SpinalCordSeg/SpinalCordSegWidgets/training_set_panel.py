"""Learn from corrections: a reviewed case goes into a folder that the trainer takes as it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from SpinalCordSegLib.doubts.review import ACCEPTED, CORRECTED, Review
from SpinalCordSegLib.errors import ConfigurationError, SpinalCordSegError
from SpinalCordSegNodes.result_folder import write_result_folder
from SpinalCordSegNodes.review_tags import read_review
from SpinalCordSegNodes.volumes import volume_from_node
from SpinalCordSegWidgets.desk import Desk
from SpinalCordSegWidgets.file_choice import ask_folder
from SpinalCordSegWidgets.section import Section, grey
from SpinalCordSegWidgets.task_run import task_run

_CASE, _IMAGE = "case", "volume.nrrd"
_CODE = re.compile(r"[A-Za-z0-9]{1,40}")


class TrainingSetPanel(Section):
    """Lives in the section of ``ui``; writes through the command line ``training-set``, in a child process."""

    def __init__(self, ui: Any, desk: Desk) -> None:
        super().__init__(ui, desk)
        ui.subjectEdit.connect("textChanged(QString)", self.refresh)
        ui.trainingButton.connect("clicked()", self._on_add)

    @property
    def subject(self) -> str:
        return str(self.ui.subjectEdit.text).strip()

    def add(self, folder: Path) -> None:
        """Begin to write the case in hand into ``folder``; what stands in the way is told."""
        result, segment_id, volume = self.desk.result, self.desk.segment_id, self.desk.volume

        def prepare(scratch: Path) -> None:
            from SpinalCordSegLib.images.files import write_volume  # SimpleITK: only now

            if result is None:
                raise ConfigurationError(_("Measure the mask first."))
            write_result_folder(result, segment_id, scratch / _CASE)
            write_volume(volume_from_node(volume), scratch / _IMAGE)

        arguments = ["training-set", _CASE, "--image", _IMAGE, "--subject", self.subject, "--output", str(folder)]
        arguments += ["--force"] if self.ui.replaceBox.checked else []
        base = self.desk.logic.scratchBase()
        self.desk.start(lambda: task_run(arguments, prepare, lambda _results: folder, base), self._on_added)

    def refresh(self) -> None:
        words = _(
            "Image and label map as ITK-SNAP would write them. Train with: spinalcordseg-train train --from MODEL"
        )
        grey(self.ui.trainingButton, self.why_not(), words)

    def why_not(self) -> str:
        """The reason why nothing can be added; "" when it can be tried."""
        reason = self.desk.why_no_mask()
        if reason:
            return reason
        if self.desk.volume is None:
            return _("The mask has no volume to learn from.")
        if self.desk.result is None or self.desk.live.stale:
            return _("The mask was changed since it was measured: measure it first.")
        if self._review().state not in (ACCEPTED, CORRECTED):
            return _("Only what a person corrected or accepted is learnt from.")
        return "" if _CODE.fullmatch(self.subject) else _("Give a subject code of letters and digits, never a name.")

    def _review(self) -> Review:
        try:
            return read_review(self.desk.segmentation, self.desk.segment_id)
        except SpinalCordSegError:  # told in the section Review
            return Review()

    def _on_add(self) -> None:
        folder = ask_folder(self.ui.section, _("Folder of the training set"))
        if folder is not None:
            self.add(folder)

    def _on_added(self, folder: Path) -> None:
        self.desk.tell(_("The case is in the training set {name}.").format(name=folder.name))
