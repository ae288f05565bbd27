"""Vertebral levels: discs marked in the views, the areas between them, and remarks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import SpinalCordSegError
from SpinalCordSegNodes.editing import changes_since_ai
from SpinalCordSegNodes.results import measured_cord, put_levels, result_of
from SpinalCordSegNodes.segmentations import cropped_mask
from SpinalCordSegNodes.views import (
    add_disc_node,
    begin_placing,
    clear_disc,
    disc_node,
    disc_place,
    end_placing,
    is_placing,
    marked_discs,
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
    from SpinalCordSegLib.vertebral_levels import LevelMeasures, LevelOptions, LevelReport
    from SpinalCordSegWidgets.main_widget import Panel


C2_C3, C7_T1 = 3, 8
_SETTLE_MS = 200  # a point that is dragged moves many times a second
_EVENTS = ("PointModifiedEvent", "PointPositionDefinedEvent", "PointRemovedEvent", "PointPositionUndefinedEvent")


class LevelsPanel(Section):
    """Measures as soon as the disc C2/C3 is marked, and again whenever a mark or the mask changes."""

    def __init__(self, ui: Any, panel: Panel) -> None:
        super().__init__(ui, panel)
        self._observed: list[tuple[Any, int]] = []
        self._settle = single_shot(_SETTLE_MS, self.refresh)
        for name, value in ((_("not given"), ""), (_("female"), "female"), (_("male"), "male")):
            ui.sexBox.addItem(name, value)
        set_up_table(ui.levelTable, [_("Level"), _("Area mm²"), _("Covered"), _("How")], (74, 64, 56))
        on_click(
            ui,
            markUpperButton=lambda: self.mark(C2_C3),
            markLowerButton=lambda: self.mark(C7_T1),
            clearUpperButton=lambda: self.clear(C2_C3),
            clearLowerButton=lambda: self.clear(C7_T1),
        )
        for box in (ui.aroundBox, ui.ageBox):
            box.connect("valueChanged(int)", lambda _value: self._settle.start())  # start(int) would set the interval
        ui.sexBox.connect("currentIndexChanged(int)", self.refresh)
        ui.declareBox.connect("toggled(bool)", self.refresh)

    @property
    def owner(self) -> Any:
        """Whose discs they are: the image's, else the mask's."""
        return self.panel.volume or self.panel.segmentation

    def mark(self, disc: int) -> None:
        """Let the next click in a view say where a disc is; pressed again, nothing is marked."""
        node = disc_node(self.owner, disc)
        if node is not None and is_placing(node):
            end_placing()
        else:
            node = add_disc_node(slicer.mrmlScene, self.owner, disc)
            self._observe()
            begin_placing(node)
            self.panel.show_message(_("Click into the disc in a sagittal view."))
        self.refresh()

    def clear(self, disc: int) -> None:
        clear_disc(self.owner, disc)
        self.refresh()

    def options(self) -> LevelOptions:
        """What is marked and given. Raises ConfigurationError for an impossible age."""
        from SpinalCordSegLib.vertebral_levels import DECLARABLE, DiscMark, LevelOptions, Person

        ui = self.ui
        age, sex = ui.ageBox.value, ui.sexBox.itemData(ui.sexBox.currentIndex)
        return LevelOptions(
            discs=tuple(DiscMark(disc, ras_mm=place) for disc, place in marked_discs(self.owner).items()),
            around_mm=float(ui.aroundBox.value) or None,
            person=Person(float(age) if age else None, sex or None),
            declared=DECLARABLE if ui.declareBox.checked else (),
        )

    def refresh(self) -> None:
        self._observe()
        ui = self.ui
        reason = self.panel.why_no_mask()
        for disc, button, label, clear in (
            (C2_C3, ui.markUpperButton, ui.upperLabel, ui.clearUpperButton),
            (C7_T1, ui.markLowerButton, ui.lowerLabel, ui.clearLowerButton),
        ):
            place = None if reason else disc_place(self.owner, disc)
            node = None if reason else disc_node(self.owner, disc)
            placing = node is not None and is_placing(node)
            grey(button, reason)
            label.setText(_("click in a view…") if placing and place is None else _place_text(place))
            clear.setVisible(place is not None)
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
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed = []

    def _observe(self) -> None:
        """Follow the marks of the current mask."""
        owner = self.owner
        nodes = [] if owner is None else [disc_node(owner, disc) for disc in (C2_C3, C7_T1)]
        wanted = [node for node in nodes if in_scene(node)]
        if [node for node, _tag in self._observed[:: len(_EVENTS)]] == wanted:
            return
        self.close()
        for node in wanted:
            for event in _EVENTS:
                tag = node.AddObserver(getattr(slicer.vtkMRMLMarkupsNode, event), lambda *_: self._settle.start())
                self._observed.append((node, tag))

    def _measure(self) -> tuple[LevelReport | None, str]:
        """The levels, or why there are none ("": nothing is marked)."""
        if not marked_discs(self.owner):
            return None, ""
        from SpinalCordSegLib.morphometry import measure  # scipy: not when the panel opens
        from SpinalCordSegLib.vertebral_levels import measure_levels

        try:
            mask = cropped_mask(self.panel.segmentation, self.panel.segment_id)
            _edited, changes = changes_since_ai(self.panel.segmentation, self.panel.segment_id, mask)
            result = result_of(self.panel.segmentation)
            cord = measured_cord(None if result is None else result.case, mask.mask, changes)
            report = measure_levels(cord.mask, measure(cord, shape=False), self.options())
        except SpinalCordSegError as error:
            return None, str(error)
        if report is not None:
            put_levels(slicer.mrmlScene, self.panel.segmentation, report)
        return report, ""

    def _show(self, report: LevelReport | None, problem: str) -> None:
        ui = self.ui
        rows = () if report is None else report.rows
        cells = [_cells(row) for row in rows]
        tips = [row.remark or row.name for row in rows]
        show_rows(ui.levelTable, cells, flagged=[row.coverage < 0.98 for row in rows], tips=tips)
        ui.levelTable.setVisible(bool(rows))
        remarks = [problem] if problem else [] if report is None else [flag.message for flag in report.flags]
        show_text(ui.levelDoubts, "\n".join(f"• {text}" for text in remarks))
        norm = None if report is None else report.norm
        show_text(ui.normLabel, "" if norm is None else norm["text"])


def _cells(row: LevelMeasures) -> tuple[str, str, str, str]:
    area = "–" if math.isnan(row.mean_csa_mm2) else f"{row.mean_csa_mm2:.1f}"
    how = {"discs": _("two discs"), "fitted": _("fitted"), "approximate": _("approximate"), "disc": _("disc")}
    return row.name, area, f"{100 * row.coverage:.0f} %", how.get(row.basis, row.basis)


def _place_text(place: tuple[float, float, float] | None) -> str:
    return _("not marked") if place is None else "R {:.0f}, A {:.0f}, S {:.0f}".format(*place)
