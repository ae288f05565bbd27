"""Levels and measures: the area of every slice, discs marked in the views, and the areas between them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import SpinalCordSegError
from SpinalCordSegNodes.results import measured_cord, put_levels
from SpinalCordSegNodes.segmentations import mask_of_segment
from SpinalCordSegNodes.views import (
    C2_C3,
    C7_T1,
    DISCS,
    Discs,
    begin_placing,
    centre_of_slice,
    end_placing,
    is_placing,
    jump_to,
)
from SpinalCordSegWidgets.section import (
    Section,
    grey,
    in_scene,
    on_click,
    set_up_table,
    show_rows,
    show_text,
    single_shot,
)

if TYPE_CHECKING:
    from SpinalCordSegLib.case import Case
    from SpinalCordSegLib.vertebral_levels import LevelMeasures, LevelOptions, LevelReport
    from SpinalCordSegWidgets.main_widget import Panel


_SETTLE_MS = 200  # a point that is dragged moves many times a second
_RELEASED = "PointEndInteractionEvent"
_EVENTS = (
    "PointModifiedEvent", "PointPositionDefinedEvent", "PointRemovedEvent", "PointPositionUndefinedEvent", _RELEASED,
)  # fmt: skip


_MOST_SLICES = 8  # rows before the table scrolls


def slice_rows(case: Case | None) -> list[tuple[int, str, str, str]]:
    """The input's slice number, area (an imputed one in brackets), AP × RL and kinds of flag; superior first."""
    if case is None:
        return []
    table, rows = case.slices, []
    columns = (table.slice, table.csa_mm2, table.is_imputed, table.ap_ellipse_mm, table.rl_mm, table.flags)
    for index, area, imputed, ap, rl, kinds in zip(*(column.tolist() for column in columns), strict=True):
        diameters = "–" if math.isnan(ap) or math.isnan(rl) else f"{ap:.1f} × {rl:.1f}"
        shown = "–" if math.isnan(area) else f"({area:.1f})" if imputed else f"{area:.1f}"
        rows.append((index, shown, diameters, kinds.replace(" ", ", ").replace("_", " ")))
    return rows[::-1]


class LevelsSection(Section):
    """Levels are measured as soon as the disc C2/C3 is marked, and again whenever a mark or the mask changes."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel, panel.ui.levelsSection)
        ui = self.ui
        self._observed: list[tuple[Any, int]] = []
        self._slices: list[int] = []  # of the table's rows
        self._settle = single_shot(_SETTLE_MS, self.refresh)
        self._dragged = single_shot(0, self._on_dragged)  # not within the point's own event
        for name, value in ((_("not given"), ""), (_("female"), "female"), (_("male"), "male")):
            ui.sexBox.addItem(name, value)
        set_up_table(ui.sliceTable, [_("Slice"), _("Area\nmm²"), _("AP × RL\nmm"), _("Flags")])
        set_up_table(ui.levelTable, [_("Level"), _("Area\nmm²"), _("Covered"), _("How")])
        ui.sliceTable.connect("cellClicked(int,int)", self._on_row)
        on_click(
            ui,
            viewsButton=self._on_views,
            markUpperButton=lambda: self.mark(C2_C3),
            markLowerButton=lambda: self.mark(C7_T1),
            clearUpperButton=lambda: self.clear(C2_C3),
            clearLowerButton=lambda: self.clear(C7_T1),
        )
        for box in (ui.aroundBox, ui.ageBox):
            box.connect("valueChanged(int)", lambda _value: self._settle.start())  # start(int) would set the interval
        ui.sexBox.connect("currentIndexChanged(int)", self.refresh)
        ui.declareBox.connect("toggled(bool)", self.refresh)

    def go_to_slice(self, index: int) -> None:
        """Move the views to one of the input's slices, and say why it is flagged."""
        try:
            jump_to(slicer.mrmlScene, centre_of_slice(mask_of_segment(*self.current.which), index))
        except (SpinalCordSegError, IndexError):  # the mask lies on another grid than when it was measured
            self.panel.show_message(_("This slice is no longer in the mask: measure the mask again."))
        show_text(self.ui.flagLabel, self._flag_text(index))

    def mark(self, disc: int) -> None:
        """Let the next click in a view say where a disc is; pressed again, nothing is marked."""
        node = self.discs.node(disc)
        if node is not None and is_placing(node):
            end_placing()
        else:
            node = self.discs.add(disc)
            self._observe()
            begin_placing(node)
            self.panel.show_message(_("Click into the disc in a sagittal view."))
        self.refresh()

    def clear(self, disc: int) -> None:
        self.discs.clear(disc)
        self.refresh()

    @property
    def discs(self) -> Discs:
        """Of the current mask."""
        return Discs(self.current.owner)

    def options(self) -> LevelOptions:
        """What is marked and given. Raises ConfigurationError for an impossible age."""
        from SpinalCordSegLib.vertebral_levels import DECLARABLE, DiscMark, LevelOptions

        ui = self.ui
        age, sex = ui.ageBox.value, ui.sexBox.itemData(ui.sexBox.currentIndex)
        found, marked = self.discs.found, self.discs.marked
        places = found | marked
        return LevelOptions(
            discs=tuple(DiscMark(disc, ras_mm=place) for disc, place in places.items()),
            automatic=bool(found.keys() - marked.keys()),
            around_mm=float(ui.aroundBox.value) or None,
            age_years=float(age) if age else None,
            sex=sex or None,
            declared=DECLARABLE if ui.declareBox.checked else (),
        )

    def _show_found(self) -> None:
        """The discs that the last run found, as a list whose points can be dragged, and those dragged before."""
        case = self.current.live.case
        if self.current.owner is not None and case is not None:
            asked = case.levels_asked
            marks = asked.discs if asked is not None and asked.automatic else ()
            placed = [(mark, mark.ras_mm) for mark in marks if mark.ras_mm is not None]
            found, marked = ({mark.disc: at for mark, at in placed if mark.by_person is by} for by in (False, True))
            self.discs.show_found(found, marked)

    def _on_dragged(self) -> None:
        self.discs.take_moved()
        self.refresh()

    def refresh(self) -> None:
        self._show_found()
        self._observe()
        ui, case = self.ui, self.current.live.case
        rows = slice_rows(case)
        self._slices = [row[0] for row in rows]
        tips = [self._flag_text(index) or kinds for index, _area, _diameters, kinds in rows]  # the column is narrow
        cells = [(str(index), *others) for index, *others in rows]
        show_rows(ui.sliceTable, cells, flagged=[bool(row[3]) for row in rows], tips=tips, most=_MOST_SLICES)
        grey(ui.viewsButton, "" if self.current.result is not None else _("Measure the mask first."))
        reason = self.panel.why_no_mask()
        discs = Discs(None if reason else self.current.owner)
        marked, found = discs.marked, discs.found
        for disc, button, label, clear in (
            (C2_C3, ui.markUpperButton, ui.upperLabel, ui.clearUpperButton),
            (C7_T1, ui.markLowerButton, ui.lowerLabel, ui.clearLowerButton),
        ):
            node = discs.node(disc)
            placing = node is not None and is_placing(node)
            grey(button, reason)
            state = _("marked") if disc in marked else _("found") if disc in found else _("not marked")
            label.setText(_("click in a view…") if placing and disc not in marked else state)
            clear.setVisible(disc in marked)
        report, problem = (None, "") if reason else self._measure()
        self._show(report, problem)

    def forget_person(self) -> None:
        """The next click in a view is no longer a disc of the image before, nor are age and sex this person's."""
        ui = self.ui
        if any(is_placing(node) for node, _tag in self._observed):
            end_placing()
        ui.ageBox.value, ui.declareBox.checked = 0, False
        ui.sexBox.setCurrentIndex(0)

    def close(self) -> None:
        self._settle.stop()
        self._dragged.stop()
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed = []

    def forget(self) -> None:
        show_text(self.ui.flagLabel, "")

    def _flag_text(self, index: int) -> str:
        """The messages of a slice's flags, a line each."""
        case = self.current.live.case
        return "" if case is None else "\n".join(flag.message for flag in case.flags if flag.slice == index)

    def _on_row(self, row: int, _column: int) -> None:
        if 0 <= row < len(self._slices):
            self.go_to_slice(self._slices[row])

    def _on_views(self) -> None:
        result = self.current.result
        if result is None or result.chart is None or result.slices is None:
            self.panel.show_message(_("Plot or table was deleted: measure the mask again."))
            return
        slicer.modules.plots.logic().ShowChartInLayout(result.chart)
        logic = slicer.app.applicationLogic()
        logic.GetSelectionNode().SetActiveTableID(result.slices.GetID())
        logic.PropagateTableSelection()

    def _observe(self) -> None:
        """Follow the discs of the current mask, marked and found."""
        nodes = [*(self.discs.node(disc) for disc in DISCS), self.discs.found_node]
        wanted = [node for node in nodes if in_scene(node)]
        if [node for node, _tag in self._observed[:: len(_EVENTS)]] == wanted:
            return
        self.close()
        for node in wanted:
            for event in _EVENTS:
                timer = self._dragged if event == _RELEASED else self._settle
                tag = node.AddObserver(getattr(slicer.vtkMRMLMarkupsNode, event), lambda *_, timer=timer: timer.start())
                self._observed.append((node, tag))

    def _measure(self) -> tuple[LevelReport | None, str]:
        """The levels, or why there are none ("": nothing is marked or was looked for)."""
        live, result = self.current.live, self.current.result
        levels = None if live.case is None else live.case.levels
        discs = self.discs.marked or self.discs.found
        if live.mask is None or not (discs or (levels and levels.upper_end)):
            return None, "" if levels is None else levels.reason
        from SpinalCordSegLib.morphometry import measure  # scipy: not when the panel opens
        from SpinalCordSegLib.vertebral_levels import measure_levels

        try:
            cord = measured_cord(None if result is None else result.case, live.mask.mask, live.changes)
            asked = self.options()
            report = measure_levels(cord.mask, measure(cord, shape=False), asked, upper_end=cord.upper_end)
        except SpinalCordSegError as error:
            return None, str(error)
        if report is not None:
            put_levels(slicer.mrmlScene, self.current.node, report)
        return report, "" if discs or levels is None else levels.reason

    def _show(self, report: LevelReport | None, problem: str) -> None:
        ui = self.ui
        rows = () if report is None else report.rows
        cells = [_cells(row) for row in rows]
        tips = [row.remark or row.name for row in rows]
        show_rows(ui.levelTable, cells, flagged=[row.coverage < 0.98 for row in rows], tips=tips)
        remarks = [problem] if problem else [] if report is None else [flag.message for flag in report.flags]
        show_text(ui.levelDoubts, "\n".join(f"• {text}" for text in remarks))
        norm = None if report is None else report.norm
        show_text(ui.normLabel, "" if norm is None else norm["text"])


def _cells(row: LevelMeasures) -> tuple[str, str, str, str]:
    area = "–" if math.isnan(row.mean_csa_mm2) else f"{row.mean_csa_mm2:.1f}"
    how = {"discs": _("two discs"), "fitted": _("fitted"), "approximate": _("approximate"), "disc": _("disc")}
    return row.name, area, f"{100 * row.coverage:.0f} %", how.get(row.basis, row.basis)
