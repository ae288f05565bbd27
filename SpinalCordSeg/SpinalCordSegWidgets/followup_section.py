"""Follow-up: visits compared by the same code as ``spinalcordseg follow-up``; what speaks against it comes first."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import qt
import slicer
from numpy.typing import NDArray
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import ConfigurationError, InputFileError
from SpinalCordSegLib.files import write_text
from SpinalCordSegLib.volume import Volume
from SpinalCordSegNodes.results import (
    FollowUpTexts,
    add_follow_up,
    chart_of,
    follow_up_of,
    latest_follow_up,
    read_follow_up,
    result_of,
    write_result_folder,
)
from SpinalCordSegNodes.segmentations import known_cord_id, mask_of_segment, volume_behind, volume_node_of
from SpinalCordSegNodes.views import LinkedViews, centre_of_slice, grey_ratio, marked_discs, motion_by_discs
from SpinalCordSegNodes.volumes import study_date, volume_from_node
from SpinalCordSegWidgets.jobs import RESULTS, Motion, command_job, motion_job
from SpinalCordSegWidgets.pictures import ResizingPicture, figure
from SpinalCordSegWidgets.section import (
    Section,
    ask_file,
    ask_folder,
    ask_new_file,
    grey,
    in_scene,
    set_up_table,
    show_rows,
)

if TYPE_CHECKING:
    from SpinalCordSegWidgets.main_widget import Panel

# The visits that were chosen for a follow-up, and the command line that compares them. No Qt.


_C2_C3 = 3


@dataclass
class Visit:
    """A mask of the scene (``segmentation``) or a result folder. ``day``: YYYY-MM-DD, "" while nobody gave it.

    ``image``: a file to lay the visit over the others by, where no disc is marked; a mask of the scene has its own.
    """

    day: str = ""
    segmentation: Any = None
    folder: Path | None = None
    image: Path | None = None

    @property
    def name(self) -> str:
        if self.segmentation is not None:
            return str((volume_node_of(self.segmentation) or self.segmentation).GetName())
        return "" if self.folder is None else self.folder.name

    @property
    def disc(self) -> tuple[float, float, float] | None:
        """The disc C2/C3 where it was marked in the scene."""
        if self.segmentation is None:
            return None
        return marked_discs(volume_node_of(self.segmentation) or self.segmentation).get(_C2_C3)


@dataclass(frozen=True)
class FollowUpRequest:
    """What is asked of ``follow-up``."""

    visits: tuple[Visit, ...]
    person: str
    age_years: int = 0
    keep_dates: bool = False

    def why_not(self) -> str:
        """The reason why it cannot be compared; "" when it can be tried."""
        if len(self.visits) < 2:
            return _("Add at least two visits.")
        without = [visit.name for visit in self.visits if not visit.day]
        return _("Give the day of: {names}.").format(names=", ".join(without)) if without else ""

    def arguments(self) -> list[str]:
        """The command line; names relative to the folder that ``prepare`` fills."""
        arguments: list[str] = ["follow-up"]
        arguments += [str(visit.folder or f"visit{n}") for n, visit in enumerate(self.visits, 1)]
        arguments += [f"--date={visit.day}" for visit in self.visits]
        arguments += [f"--disc={_numbers(visit.disc)}" for visit in self.visits]
        images = [self._image(n, visit) for n, visit in enumerate(self.visits, 1)]
        if all(images):
            arguments += [f"--image={image}" for image in images]
        arguments += ["--person", self.person, "--output", RESULTS]
        arguments += ["--age", str(self.age_years)] if self.age_years else []
        return arguments + (["--keep-dates"] if self.keep_dates else [])

    def prepare(self, folder: Path) -> None:
        """Write the visits that are in the scene. Raises InputFileError, GeometryError, OutputError."""
        from SpinalCordSegLib.image_io import write_volume  # SimpleITK: only now

        for number, visit in enumerate(self.visits, 1):
            if visit.segmentation is None:
                continue
            result = result_of(visit.segmentation)
            if result is None:
                raise InputFileError(_("{name} was not measured: measure it first").format(name=visit.name))
            write_result_folder(result, _cord_of(visit), folder / f"visit{number}")
            if volume_node_of(visit.segmentation) is not None:
                volume = volume_from_node(volume_node_of(visit.segmentation))
                write_volume(volume, folder / _image_name(number))

    def _image(self, number: int, visit: Visit) -> str:
        if visit.image is not None:
            return str(visit.image)
        there = visit.segmentation is not None and volume_node_of(visit.segmentation) is not None
        return _image_name(number) if there else ""


def _image_name(number: int) -> str:
    return f"image{number}.nrrd"


def _numbers(place: Sequence[float] | None) -> str:
    return "" if place is None else ",".join(f"{value:.3f}" for value in place)


def _cord_of(visit: Visit) -> str:
    """The segment's id. Raises ConfigurationError."""
    segment_id = known_cord_id(visit.segmentation)
    if not segment_id:
        raise ConfigurationError(_("{name} has several segments: which is the cord? Keep one.").format(name=visit.name))
    return segment_id


# A follow-up as text: its yearly rates, and the rows of its table. No Qt.


def run_text(run: Mapping[str, Any]) -> str:
    """The yearly rate of a run of visits, or why there is none. ``run``: of follow_up.json."""
    first, last, rate = run["first"], run["last"], run["rate"]
    which = (
        _("Visit {first}").format(first=first)
        if first == last
        else _("Visits {first} to {last}").format(first=first, last=last)
    )
    if rate is None:
        why = _("a single visit") if first == last else _("within two weeks")
        return _("{which}: no yearly rate ({why})").format(which=which, why=why)
    text = _(
        "{which}: {rate:+.1f} % per year (95 % CI {low:+.1f} to {high:+.1f}), {verdict} (±{limit:.1f} % per year;"
        " CoV {cov:g} %, {source})"
    )
    return text.format(
        which=which, rate=rate["percent_per_year"], low=rate["low"], high=rate["high"], verdict=rate["verdict"],
        limit=rate["limit"], cov=run["cov_percent"], source=run["cov_source"],
    )  # fmt: skip


def outcome_rows(content: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Visit, years, area, change with the minimum detectable one."""
    rows = []
    for visit in content["visits"]:
        change = visit["change"]
        text = "–" if change is None else f"{change['percent']:+.1f} % / ±{change['mdc95_percent']:.1f} %"
        day = visit.get("date") or f"{visit['years']:.2f}"
        rows.append((str(visit["visit"]), day, f"{visit['mean_csa_mm2']:.1f}", text))
    return rows


def outcome_tips(content: Mapping[str, Any]) -> list[str]:
    """What each visit's change means, or why there is none."""
    return [str((visit["change"] or {}).get("verdict") or visit["no_change"]) for visit in content["visits"]]


_DAY = 1
_FORMATS = {".csv": "csv", ".json": "json", ".html": "html"}
_RED = "QFrame#breakFrame {border: 2px solid #b3261e; background: #fcebea} QLabel {color: #8c1d18}"


class FollowUpPanel(Section):
    """``visits``: as listed. The last comparison stays in the scene and is shown until another one is made."""

    def __init__(self, ui: Any, panel: Panel) -> None:
        super().__init__(ui, panel)
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
        mask = self.panel.segmentation
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
        self.panel.start(
            lambda: command_job(request.arguments(), request.prepare, read_follow_up, self.panel.logic.scratchBase()),
            self._on_compared,
        )

    def export(self, path: Path) -> bool:
        """Write the shown comparison; its suffix says what. What went wrong is shown."""
        found = self._shown()
        key = _FORMATS.get(path.suffix.lower())
        if found is None or key is None:
            return False
        done = self.panel.attempt(lambda: write_text(path, found.texts[key]))
        if done:
            self.panel.show_message(_("Saved {name}.").format(name=path.name))
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
        grey(ui.addMaskButton, self.panel.why_no_mask(), _("The mask of the section Measures, as a visit."))
        grey(ui.removeVisitButton, chosen, _("Take the chosen visit out of the list."))
        grey(ui.visitImageButton, chosen, _("The image that the visit was segmented on, where no disc is marked."))
        busy = self.panel.why_busy()
        reason = self.request.why_not()
        grey(ui.trackButton, busy or reason, _("On the extent that all visits cover. What speaks against it is shown."))

    def _show_outcome(self, found: FollowUpTexts | None) -> None:
        ui = self.ui
        for widget in (ui.runsLabel, ui.coursePicture, ui.outcomeTable):
            widget.setVisible(found is not None)
        for button in (ui.followUpViewsButton, ui.followUpExportButton):
            grey(button, "" if found else _("Nothing was compared yet."), "")
        breaks, remarks = (found.breaks, found.remarks) if found else ([], [])
        ui.breakFrame.setVisible(bool(breaks))
        head = _("NOT COMPARABLE: no yearly rate is given across these changes.")
        ui.breakLabel.setText("\n".join([head, *(f"• {text}" for text in breaks)]))
        ui.followUpDoubts.setText(_("To be weighed:") + "\n" + "\n".join(f"• {text}" for text in remarks))
        ui.followUpDoubts.setVisible(bool(remarks))
        if found is None:
            return
        ui.runsLabel.setText("\n".join(run_text(run) for run in found.content["runs"]))
        from SpinalCordSegLib.longitudinal.report import draw_course  # its modules are slow to load

        content = found.content
        self._picture.show(lambda width, _palette: figure(lambda axes: draw_course(axes, content, 8.0), width, 190))
        show_rows(ui.outcomeTable, outcome_rows(found.content), tips=outcome_tips(found.content))

    def _on_compared(self, found: FollowUpTexts) -> None:
        add_follow_up(slicer.mrmlScene, found)
        self.refresh()
        self.panel.show_message(_("Compared. Not comparable throughout!") if found.breaks else _("Compared."))

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


# Prior and current visit in linked views: the same level of the cord, the same window.


class ComparePanel(Section):
    """By the disc C2/C3 where it is marked in both, else by rigid registration of the images, in a child process."""

    def __init__(self, ui: Any, panel: Panel) -> None:
        super().__init__(ui, panel)
        self.views = LinkedViews(slicer.mrmlScene)
        self._ratio = 1.0
        self._pair: tuple[Any, ...] = ()  # the masks in the views
        ui.priorSelector.setMRMLScene(slicer.mrmlScene)
        ui.priorSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.refresh)
        ui.compareButton.connect("clicked(bool)", self._on_compare)

    @property
    def prior(self) -> Any:
        return self.ui.priorSelector.currentNode()

    def refresh(self) -> None:
        reason = "" if self.views.running else self.why_not()
        grey(self.ui.compareButton, reason, _("Press again to go back to the former layout."))
        self.ui.compareButton.checked = self.views.running
        how = _("by the disc C2/C3") if self._by_discs() else _("by registration of the images; discs are not marked")
        self.ui.compareHow.setText(_("Levels are matched {how}.").format(how=how))
        self.ui.compareHow.setVisible(not reason)
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
        if not known_cord_id(self.prior):
            return _("The prior mask has several segments: which is the cord? Keep one.")
        return ""

    def leave(self) -> None:
        """The views stay linked while another module is used."""

    def close(self) -> None:
        self.views.end()
        self._pair = ()

    def _on_change(self) -> None:
        """Another mask in hand, of another person perhaps, is not what the current views show."""
        if self.views.running and self._pair and self.panel.segmentation is not self._pair[0]:
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
        current, prior, base = self.panel.segmentation, self.prior, self.panel.logic.scratchBase()

        def found(motion: Motion) -> None:
            if self.panel.segmentation is current and self.prior is prior:
                self._show(motion)
            else:
                self.panel.show_message(_("Other masks were chosen meanwhile: compare again."))

        self.panel.start(lambda: motion_job(self._visit(current), self._visit(prior), base), found)
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
            remarks.append(_("A vertebra further up or down fits nearly as well: check the level, or mark discs."))
        if self._ratio != 1.0:
            remarks.append(
                _("The prior image is {ratio:.2g} times as bright in the cord: its window is scaled by that.").format(
                    ratio=self._ratio
                )
            )
        return "\n".join(remarks) or _("Same window in both.")


def _middle(mask: Volume) -> tuple[float, float, float]:
    """RAS mm of the cord's middle slice; of the grid's without cord."""
    filled: NDArray[np.int64] = np.argwhere(np.asarray(mask.ijk) != 0)

    axis = mask.slice_axis
    index = int(np.median(filled[:, axis])) if len(filled) else mask.ijk_shape[axis] // 2
    return centre_of_slice(mask, index)
