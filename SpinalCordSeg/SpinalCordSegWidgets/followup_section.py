"""Follow-up: a prior and the current visit in linked views, and any number of visits compared by the command
``follow-up``; what makes them not comparable is shown first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from SpinalCordSegLib.files import free_path
from SpinalCordSegNodes.results import FollowUpTexts, add_follow_up, follow_up_of, latest_follow_up, read_follow_up
from SpinalCordSegNodes.segmentations import volume_node_of
from SpinalCordSegNodes.views import C2_C3, Discs, LinkedViews
from SpinalCordSegNodes.visits import Visit, disc_of, kept_day
from SpinalCordSegNodes.volumes import is_other_patient, label_of, study_date
from SpinalCordSegWidgets.jobs import PROGRAM, RESULTS, Job
from SpinalCordSegWidgets.section import (
    OTHER_PATIENT,
    Picture,
    Section,
    ask_folder,
    grey,
    in_scene,
    on_click,
    set_up_table,
    short,
    show_rows,
    show_text,
)

if TYPE_CHECKING:
    from SpinalCordSegWidgets.main_widget import Panel


def outcome_rows(content: Mapping[str, Any]) -> tuple[list[tuple[str, ...]], list[str]]:
    """Visit, day or years, area, change with the minimum detectable one; and what the change means, or why there is
    none."""
    rows: list[tuple[str, ...]] = []
    tips: list[str] = []
    for visit in content["visits"]:
        change = visit["change"]
        text = "–" if change is None else f"{change['percent']:+.1f} % / ±{change['mdc95_percent']:.1f} %"
        text += _(" in doubt") if change is not None and content["doubts"] else ""
        day = visit.get("date") or f"{visit['years']:.2f}"
        rows.append((str(visit["visit"]), day, f"{visit['mean_csa_mm2']:.1f}", text))
        tip, direct = str((change or {}).get("verdict") or visit["no_change"]), visit.get("direct")
        if direct is not None:
            by_images = _("from the images {percent:+.1f} % ± {reach:.1f} %")
            percent, se = direct["percent"], direct["se_percent"]
            none = _("no change from the images: {why}").format(why=direct["refused"])
            tip += "\n" + (none if percent is None else by_images.format(percent=percent, reach=1.96 * se))
            if visit.get("sharpness_percent") is not None:
                tip += "\n" + _("areas at one sharpness {percent:+.1f} %").format(percent=visit["sharpness_percent"])
        tips.append(tip)
    return rows, tips


_DAY = 1
_PICTURE_HEIGHT = 190
_RED = "QFrame#breakFrame {border: 2px solid #b3261e; background: #fcebea} QLabel {color: #8c1d18}"


class FollowUpSection(Section):
    """``visits``: as listed. Comparisons stay in the scene; the last one that includes the current mask is shown."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel, panel.ui.followUpSection)
        ui = self.ui
        self.visits: list[Visit] = []
        self.views = LinkedViews(slicer.mrmlScene)
        self._pair: tuple[Any, ...] = ()  # the masks in the views
        self._picture = Picture(ui.coursePicture, _PICTURE_HEIGHT)
        ui.breakFrame.styleSheet = _RED
        set_up_table(ui.visitTable, [_("Visit"), _("YYYY-MM-DD"), _("Disc\nC2/C3")])
        set_up_table(ui.outcomeTable, [_("Visit"), _("Years"), _("Area\nmm²"), _("Change / MDC")])
        ui.visitTable.connect("cellChanged(int,int)", self._on_day)
        ui.visitTable.connect("itemSelectionChanged()", self._on_row)
        ui.compareButton.connect("clicked(bool)", self._on_compare)
        on_click(
            ui,
            addMaskButton=self.add_mask,
            addFolderButton=lambda: ask_folder(self.button, _("Result folder of one visit"), self.add_folder),
            removeVisitButton=self._on_remove,
            trackButton=self.compare,
            followUpExportButton=lambda: ask_folder(self.button, _("Where to put the follow-up"), self.export),
        )

    def changed(self) -> None:
        """Other masks, of other persons perhaps, are not what the linked views show."""
        if self.views.running and (self.current.node is not self._pair[0] or not all(map(in_scene, self._pair))):
            self.views.end()
        super().changed()

    def refresh(self) -> None:
        self._keep([visit for visit in self.visits if visit.segmentation is None or in_scene(visit.segmentation)])
        discs = [_("marked") if v.disc else _("reported") if v.folder else _("not yet") for v in self.visits]
        rows = [(short(visit.name, 12), visit.day, disc) for visit, disc in zip(self.visits, discs, strict=True)]
        show_rows(self.ui.visitTable, rows, tips=[visit.name for visit in self.visits], editable=_DAY)
        self._show_buttons()
        self._show_outcome(self._shown())
        self._show_views()

    def close(self) -> None:
        self._keep([])
        self.views.end()
        self._pair = ()

    def add_mask(self) -> None:
        """The current mask becomes a visit; its day is the study's, where the subject hierarchy knows it."""
        mask = self.current.node
        if mask is not None and all(visit.segmentation is not mask for visit in self.visits):
            self.visits.append(Visit(study_date(slicer.mrmlScene, volume_node_of(mask)), mask))
        self.refresh()

    def add_folder(self, folder: Path) -> None:
        """A result folder becomes a visit; its day is the one its report keeps."""
        self.visits.append(Visit(kept_day(folder), folder=folder))
        self.refresh()

    def compare(self) -> None:
        visits = tuple(self.visits)

        def prepare(folder: Path) -> None:
            for number, visit in enumerate(visits, 1):
                if visit.segmentation is not None:
                    visit.write(folder, number)

        arguments = self.arguments()
        masks = [visit.segmentation for visit in visits if visit.segmentation is not None]
        self.panel.start(
            lambda: Job(PROGRAM, arguments, lambda at, _event: read_follow_up(at / RESULTS), prepare=prepare),
            lambda found: self._on_compared(found, masks),
        )

    def arguments(self) -> list[str]:
        """The command line; names relative to the folder that it runs in."""
        ui, visits = self.ui, list(enumerate(self.visits, 1))
        arguments = ["follow-up", *(str(visit.folder or f"visit{n}") for n, visit in visits)]
        arguments += [f"--date={visit.day}" for visit in self.visits]
        arguments += [f"--disc={visit.disc}" for visit in self.visits]
        if all(visit.has_image for visit in self.visits):
            arguments += [f"--image=image{n}.nrrd" for n, _visit in visits]
        arguments += ["--person", ui.personEdit.text.strip() or "person", "--output", RESULTS]
        arguments += ["--age", str(ui.followUpAgeBox.value)] if ui.followUpAgeBox.value else []
        return arguments + (["--keep-dates"] if ui.keepDatesBox.checked else [])

    def why_not(self) -> str:
        """The reason why the visits cannot be compared; "" when it can be tried."""
        if self.panel.control.running or len(self.visits) < 2:
            return self.panel.why_busy() or _("Add at least two visits.")
        first, *others = [visit.volume or visit.segmentation for visit in self.visits if visit.segmentation] or [None]
        if any(is_other_patient(slicer.mrmlScene, first, other) for other in others):
            return OTHER_PATIENT
        without = [visit.name for visit in self.visits if not visit.day]
        return _("Give the day of: {names}.").format(names=", ".join(without)) if without else ""

    def export(self, folder: Path) -> None:
        """Write the files of the shown comparison into a new folder in ``folder``."""
        found, target = self._shown(), free_path(folder / "follow-up")
        if found is not None and self.panel.attempt(lambda: found.write(target)):
            self.panel.show_message(_("Saved: {name}.").format(name=target.name))

    def _keep(self, visits: list[Visit]) -> None:
        """Code and age go with the last visit of a person."""
        if self.visits and not visits:
            self.ui.personEdit.text, self.ui.followUpAgeBox.value = "", 0
        self.visits = visits

    def _shown(self) -> FollowUpTexts | None:
        """The last comparison that includes the current mask."""
        return follow_up_of(latest_follow_up(slicer.mrmlScene, self.current.node))

    def _show_buttons(self) -> None:
        ui, row = self.ui, self.ui.visitTable.currentRow()
        chosen = "" if 0 <= row < len(self.visits) else _("Choose a visit in the list first.")
        ui.addMaskButton.text = self.panel.named(_("Add {name}"))
        grey(ui.addMaskButton, self.panel.why_no_mask())
        grey(ui.removeVisitButton, chosen)
        grey(ui.trackButton, self.why_not())

    def _show_outcome(self, found: FollowUpTexts | None) -> None:
        ui = self.ui
        ui.runsLabel.setVisible(found is not None)
        ui.coursePicture.setVisible(found is not None)
        grey(ui.followUpExportButton, "" if found else _("Nothing was compared yet."))
        breaks, remarks = (found.breaks, found.remarks) if found else ([], [])
        doubts = found.content.get("doubts", []) if found else []
        ui.breakFrame.setVisible(bool(breaks or doubts))
        warnings = []
        for head, texts in (
            (_("IN DOUBT, so no change has a verdict: one person, at the same level?"), doubts),
            (_("NOT COMPARABLE: no yearly rate is given across these changes."), breaks),
        ):
            warnings += [head, *(f"• {text}" for text in texts)] if texts else []
        ui.breakLabel.setText("\n".join(warnings))
        lines = [_("Remarks:"), *(f"• {text}" for text in remarks)]
        show_text(ui.followUpDoubts, "\n".join(lines) if remarks else "")
        if found is None:
            show_rows(ui.outcomeTable, ())
            return
        ui.runsLabel.setText("\n".join(found.rates))
        from SpinalCordSegLib.longitudinal.report import draw_course  # its modules are slow to load
        from SpinalCordSegLib.report import drawn_png

        def draw(width: int, height: int) -> bytes:
            return drawn_png(lambda axes: draw_course(axes, found.content, 8.0), (width / 100, height / 100), 100)

        self._picture.show(draw)
        content = found.content
        rows, tips = outcome_rows(content)
        show_rows(ui.outcomeTable, rows, tips=tips)

    def _on_compared(self, found: FollowUpTexts, masks: list[Any]) -> None:
        add_follow_up(slicer.mrmlScene, found, [mask for mask in masks if in_scene(mask)])
        self.refresh()
        self.panel.show_message(_("Compared. Not all visits are comparable.") if found.breaks else _("Compared."))

    def _on_day(self, row: int, column: int) -> None:
        if column == _DAY and 0 <= row < len(self.visits):
            self.visits[row].day = self.ui.visitTable.item(row, column).text().strip()
            self._show_buttons()

    def _on_remove(self) -> None:
        row = self.ui.visitTable.currentRow()
        self._keep(self.visits[:row] + self.visits[row + 1 :])
        self.refresh()

    # A prior visit of the list and the current mask in linked views, at the level of the disc C2/C3.

    @property
    def prior(self) -> Any:
        """The mask of the chosen visit; None without one."""
        row = self.ui.visitTable.currentRow()
        return self.visits[row].segmentation if 0 <= row < len(self.visits) else None

    def why_no_views(self) -> str:
        """The reason why the two cannot be compared; "" when they can."""
        reason = self.panel.why_no_mask()
        if reason:
            return reason
        if self.prior is None or self.prior is self.current.node:
            return _("Add the mask of the prior visit, and choose it in the list.")
        if self.current.volume is None or volume_node_of(self.prior) is None:
            return _("Both masks need their volume in the scene.")
        if is_other_patient(slicer.mrmlScene, volume_node_of(self.prior), self.current.volume):
            return OTHER_PATIENT
        without = [mask for mask in (self.current.node, self.prior) if disc_of(mask) is None]
        names = ", ".join(label_of(slicer.mrmlScene, volume_node_of(mask)) for mask in without)
        return _("Mark the disc C2/C3 of {names} (Levels and measures).").format(names=names) if without else ""

    def _show_views(self) -> None:
        ui = self.ui
        reason = "" if self.views.running else self.why_no_views()
        grey(ui.compareButton, reason)
        ui.compareButton.checked = self.views.running
        found = _("The disc C2/C3 was found by the program: look whether it is the same in both.")
        both = () if reason else (self.current.volume, volume_node_of(self.prior))
        show_text(ui.compareHow, found if any(C2_C3 not in Discs(volume).marked for volume in both) else "")

    def _on_row(self) -> None:
        self._show_buttons()
        self._show_views()

    def _on_compare(self, wanted: bool) -> None:
        if wanted and not self.why_no_views():
            here, there = disc_of(self.current.node), disc_of(self.prior)
            assert here is not None and there is not None  # see why_no_views
            self._pair = (self.current.node, self.prior)
            visits = [(volume_node_of(mask), mask) for mask in self._pair]
            self.views.begin(visits[0], visits[1], here, there)
        else:
            self.views.end()
        self._show_views()
