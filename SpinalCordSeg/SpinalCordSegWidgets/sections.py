"""The panel's further sections: each has a file of its own and a .ui file of its own, and sees only the desk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
import slicer.util

from SpinalCordSegWidgets.compare_panel import ComparePanel
from SpinalCordSegWidgets.correct_panel import CorrectPanel
from SpinalCordSegWidgets.desk import Desk
from SpinalCordSegWidgets.dicom_panel import DicomPanel
from SpinalCordSegWidgets.follow_up_panel import FollowUpPanel
from SpinalCordSegWidgets.levels_panel import LevelsPanel
from SpinalCordSegWidgets.review_panel import ReviewPanel
from SpinalCordSegWidgets.training_set_panel import TrainingSetPanel
from SpinalCordSegWidgets.versions_panel import VersionsPanel
from SpinalCordSegWidgets.work_list_panel import WorkListPanel


class Sections:
    """``below``: the panel's top widget; the sections go in front of ``before``. ``folder``: of the .ui files."""

    def __init__(self, panel: Any, below: Any, before: Any, folder: str) -> None:
        self._layout, self._before, self._folder = below.layout(), before, Path(folder)
        self.desk = Desk(panel)
        self._panel = panel
        current = panel.measures.live.current
        self.work_list = WorkListPanel(self._load("WorkList"), self.desk)
        self.review = ReviewPanel(self._load("Review"), self.desk)
        correct = self._load("Correct")
        self.correct = CorrectPanel(correct, self.desk)
        self.versions = VersionsPanel(correct, self.desk, self.correct.editor)
        self.training_set = TrainingSetPanel(correct, self.desk)
        self.levels = LevelsPanel(self._load("Levels"), self.desk, current)
        self.follow_up = FollowUpPanel(self._load("FollowUp"), self.desk)
        self.compare = ComparePanel(self._load("Compare"), self.desk)
        self.dicom = DicomPanel(self._load("Dicom"), self.desk, current)
        self._all: tuple[Any, ...] = (
            self.versions, self.review, self.correct, self.levels, self.work_list, self.follow_up, self.compare,
            self.dicom, self.training_set,
        )  # fmt: skip
        panel.reviewer = lambda: self.review.reviewer.name
        self.review.changed = self.work_list.note_review
        panel.measure_elsewhere, panel.measured = self.work_list.measure_run, self.work_list.note_measured
        panel.first_volume = lambda: None if self.work_list.case else panel.logic.firstVolume()  # of whom?
        self.desk.listen(self.review.note_edit)
        panel.changed = self.desk.changed
        panel.measures.refreshed = self.desk.changed
        self.desk.changed()

    def enter(self) -> None:
        """The user comes to the module."""
        for section in self._all:
            section.enter()
        self.desk.changed()

    def leave(self) -> None:
        for section in self._all:
            section.leave()
        self._panel.warm.end()

    def scene_is_closing(self) -> None:
        """Let go of every node, before the panel does."""
        for section in self._all:
            section.close()
        self._panel.scene_is_closing()

    def scene_is_closed(self) -> None:
        self._panel.scene_is_closed()
        self.desk.changed()

    def close(self) -> None:
        """Slicer ends."""
        self.leave()
        self.scene_is_closing()

    def _load(self, name: str) -> Any:
        """The section's widgets as attributes, its own put into the panel."""
        widget = slicer.util.loadUI(str(self._folder / f"{name}.ui"))
        self._layout.insertWidget(self._layout.indexOf(self._before), widget)
        ui = slicer.util.childWidgetVariables(widget)
        ui.section = widget
        return ui
