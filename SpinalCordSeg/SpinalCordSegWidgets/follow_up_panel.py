"""Follow-up: visits compared by the same code as ``spinalcordseg track``; what speaks against it is said first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from SpinalCordSegLib.reporting.drawing import from_plain
from SpinalCordSegLib.writing import write_text
from SpinalCordSegNodes.follow_up_nodes import (
    FollowUpTexts,
    add_follow_up,
    chart_of,
    follow_up_of,
    latest_follow_up,
    read_follow_up,
)
from SpinalCordSegNodes.hierarchy import study_date
from SpinalCordSegNodes.segmentations import volume_node_of
from SpinalCordSegWidgets.desk import Desk, in_scene
from SpinalCordSegWidgets.drawing_picture import draw
from SpinalCordSegWidgets.file_choice import ask_file, ask_folder, ask_new_file
from SpinalCordSegWidgets.follow_up_visits import FollowUpRequest, Visit
from SpinalCordSegWidgets.follow_up_words import outcome_rows, outcome_tips, run_words
from SpinalCordSegWidgets.resizing_picture import ResizingPicture
from SpinalCordSegWidgets.section import Section, grey
from SpinalCordSegWidgets.table_rows import set_up_table, show_rows
from SpinalCordSegWidgets.task_run import task_run

_DAY = 1
_FORMATS = {".csv": "csv", ".json": "json", ".html": "html"}
_RED = "QFrame#breakFrame {border: 2px solid #b3261e; background: #fcebea} QLabel {color: #8c1d18}"


class FollowUpPanel(Section):
    """``visits``: as listed. The last comparison stays in the scene and is shown until another one is made."""

    def __init__(self, ui: Any, desk: Desk) -> None:
        super().__init__(ui, desk)
        self.visits: list[Visit] = []
        self._picture = ResizingPicture(ui.coursePicture)
        ui.breakFrame.styleSheet = _RED
        set_up_table(ui.visitTable, [_("Visit"), _("Day"), _("Disc C2/C3")], (112, 84))
        set_up_table(ui.outcomeTable, [_("Visit"), _("Years"), _("Area mm²"), _("Change / MDC")], (36, 44, 62))
        ui.visitTable.connect("cellChanged(int,int)", self._on_day)
        ui.visitTable.connect("itemSelectionChanged()", self._show_buttons)
        ui.addMaskButton.connect("clicked()", self.add_mask)
        ui.addFolderButton.connect("clicked()", self._on_add_folder)
        ui.visitImageButton.connect("clicked()", self._on_image)
        ui.removeVisitButton.connect("clicked()", self._on_remove)
        ui.trackButton.connect("clicked()", self.compare)
        ui.followUpViewsButton.connect("clicked()", self._on_views)
        menu = qt.QMenu(ui.followUpExportButton)
        for suffix in _FORMATS:
            menu.addAction(suffix[1:].upper()).connect("triggered()", lambda chosen=suffix: self._on_export(chosen))
        ui.followUpExportButton.setMenu(menu)

    @property
    def request(self) -> FollowUpRequest:
        ui = self.ui
        person = ui.personEdit.text.strip() or "person"
        return FollowUpRequest(tuple(self.visits), person, ui.followUpAgeBox.value, ui.keepDatesBox.checked)

    def add_mask(self) -> None:
        """The mask in hand becomes a visit; its day is the study's, where the subject hierarchy knows it."""
        mask = self.desk.segmentation
        if mask is not None and all(visit.segmentation is not mask for visit in self.visits):
            self.visits.append(Visit(study_date(slicer.mrmlScene, volume_node_of(mask)), mask))
        self.refresh()

    def add_folder(self, folder: Path) -> None:
        """A result folder becomes a visit; its day is the one its report keeps."""
        self.visits.append(Visit(_kept_day(folder), folder=folder))
        self.refresh()

    def give_image(self, row: int, image: Path) -> None:
        self.visits[row].image = image
        self.refresh()

    def compare(self) -> None:
        request = self.request
        self.desk.start(
            lambda: task_run(request.arguments(), request.prepare, read_follow_up, self.desk.logic.scratchBase()),
            self._on_compared,
        )

    def export(self, path: Path) -> bool:
        """Write the shown comparison; its suffix says what. What went wrong is told."""
        found = self._shown()
        key = _FORMATS.get(path.suffix.lower())
        if found is None or key is None:
            return False
        done = self.desk.attempt(lambda: write_text(path, found.texts[key]))
        if done:
            self.desk.tell(_("Saved {name}.").format(name=path.name))
        return done

    def refresh(self) -> None:
        self.visits = [visit for visit in self.visits if visit.segmentation is None or in_scene(visit.segmentation)]
        discs = [_("marked") if v.disc else _("as reported") if v.folder else _("not marked") for v in self.visits]
        rows = [(visit.name, visit.day, disc) for visit, disc in zip(self.visits, discs, strict=True)]
        show_rows(self.ui.visitTable, rows, editable=_DAY)
        self._show_buttons()
        self._show_outcome(self._shown())

    def close(self) -> None:
        self.visits = []

    def _shown(self) -> FollowUpTexts | None:
        return follow_up_of(latest_follow_up(slicer.mrmlScene))

    def _show_buttons(self) -> None:
        ui, row = self.ui, self.ui.visitTable.currentRow()
        chosen = "" if 0 <= row < len(self.visits) else _("Choose a visit in the list first.")
        grey(ui.addMaskButton, self.desk.why_no_mask(), _("The mask of the section Measures, as a visit."))
        grey(ui.removeVisitButton, chosen, _("Take the chosen visit out of the list."))
        grey(ui.visitImageButton, chosen, _("The image that the visit was segmented on, where no disc is marked."))
        busy = _("Wait until the run has ended, or cancel it.") if self.desk.busy else ""
        reason = self.request.why_not()
        grey(ui.trackButton, busy or reason, _("On the stretch that all visits cover; what speaks against it is said."))

    def _show_outcome(self, found: FollowUpTexts | None) -> None:
        ui = self.ui
        for widget in (ui.runsLabel, ui.coursePicture, ui.outcomeTable):
            widget.setVisible(found is not None)
        for button in (ui.followUpViewsButton, ui.followUpExportButton):
            grey(button, "" if found else _("Nothing was compared yet."), "")
        breaks, doubts = (found.breaks, found.doubts) if found else ([], [])
        ui.breakFrame.setVisible(bool(breaks))
        head = _("NOT COMPARABLE: no yearly rate is given across these changes.")
        ui.breakLabel.setText("\n".join([head, *(f"• {text}" for text in breaks)]))
        ui.followUpDoubts.setText(_("To be weighed:") + "\n" + "\n".join(f"• {text}" for text in doubts))
        ui.followUpDoubts.setVisible(bool(doubts))
        if found is None:
            return
        ui.runsLabel.setText("\n".join(run_words(run) for run in found.content["runs"]))
        course = from_plain(json.loads(found.texts["shapes"])["course"])
        self._picture.show(lambda width, _palette: draw(course, max(200, width)))
        show_rows(ui.outcomeTable, outcome_rows(found.content), tips=outcome_tips(found.content))

    def _on_compared(self, found: FollowUpTexts) -> None:
        add_follow_up(slicer.mrmlScene, found)
        self.refresh()
        self.desk.tell(_("Compared. Not comparable throughout!") if found.breaks else _("Compared."))

    def _on_day(self, row: int, column: int) -> None:
        if column == _DAY and 0 <= row < len(self.visits):
            self.visits[row].day = self.ui.visitTable.item(row, column).text().strip()
            self._show_buttons()

    def _on_add_folder(self) -> None:
        folder = ask_folder(self.ui.section, _("Result folder of one visit"))
        if folder is not None:
            self.add_folder(folder)

    def _on_image(self) -> None:
        image = ask_file(self.ui.section, _("Image of the visit"))
        if image is not None:
            self.give_image(self.ui.visitTable.currentRow(), image)

    def _on_remove(self) -> None:
        del self.visits[self.ui.visitTable.currentRow()]
        self.refresh()

    def _on_views(self) -> None:
        table = latest_follow_up(slicer.mrmlScene)
        slicer.modules.plots.logic().ShowChartInLayout(chart_of(table))
        slicer.app.applicationLogic().GetSelectionNode().SetActiveTableID(table.GetID())
        slicer.app.applicationLogic().PropagateTableSelection()

    def _on_export(self, suffix: str) -> None:
        path = ask_new_file(self.ui.section, _("Export the follow-up"), f"follow-up{suffix}", f"*{suffix}")
        if path is not None:
            self.export(path)


def _kept_day(folder: Path) -> str:
    """The day a report keeps (``segment --keep-date``); "" where it keeps none, or is no report."""
    try:
        content = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    day = str((content.get("input") or {}).get("acquisition_date") or "")
    return f"{day[:4]}-{day[4:6]}-{day[6:]}" if len(day) == 8 and day.isdecimal() else day
