"""The table of checked cases: what each holds, or why it cannot be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

_REFUSED, _REMARK = (178, 34, 34), (193, 80, 0)


class CaseTable:
    """Fills a QTableWidget; a click on a row shows all that is known of that case in ``detail_label``."""

    def __init__(self, table: Any, detail_label: Any) -> None:
        self._table, self._detail = table, detail_label
        self._cases: list[Mapping[str, Any]] = []
        table.setColumnCount(4)
        table.setHorizontalHeaderLabels([_("Case"), _("Slices"), _("mm²"), _("Verdict")])
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setDefaultSectionSize(20)
        table.horizontalHeader().setStretchLastSection(True)
        for column, width in enumerate((96, 48, 40)):
            table.setColumnWidth(column, width)
        table.connect("cellClicked(int,int)", self._on_click)

    def show(self, cases: Sequence[Mapping[str, Any]]) -> None:
        """``cases``: as ``spinalcordseg-train check --json`` tells them."""
        self._cases = list(cases)
        self._table.setRowCount(len(self._cases))
        for row, case in enumerate(self._cases):
            colour = _REFUSED if case["reason"] else _REMARK if case["remarks"] else None
            for column, text in enumerate(cells(case)):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(details(case))
                if colour is not None:
                    item.setForeground(qt.QBrush(qt.QColor(*colour)))
                self._table.setItem(row, column, item)
        self._table.setVisible(bool(self._cases))
        refused = [case for case in self._cases if case["reason"]]
        self._detail.setText("\n".join(details(case) for case in refused[:1]))
        self._detail.setVisible(bool(refused))

    def _on_click(self, row: int, _column: int) -> None:
        if 0 <= row < len(self._cases):
            self._detail.setText(details(self._cases[row]))
            self._detail.setVisible(True)


def cells(case: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Name, slices with cord, mean area, verdict."""
    area = case["mean_csa_mm2"]
    verdict = "; ".join(case["remarks"]) or _("ok")
    if case["reason"]:
        verdict = _("refused: {reason}").format(reason=case["reason"])
    slices = "–" if not case["n_slices"] else f"{case['n_cord_slices']}/{case['n_slices']}"
    return str(case["name"]), slices, "–" if area is None else f"{area:.0f}", verdict


def details(case: Mapping[str, Any]) -> str:
    """Everything about a case, a line each."""
    lines = [_("{case}, patient {subject}").format(case=case["name"], subject=case["subject"] or "–")]
    if case["reason"]:
        reason = str(case["reason"]).replace("--tolerant", _("“Resample label maps”"))  # the panel has no flags
        lines.append(_("Cannot be used: {reason}").format(reason=reason))
    lines += case["remarks"]
    if case["grid"]:
        lines.append(_("Image: {grid}").format(grid=case["grid"]))
    if case["label_grid"]:
        lines.append(_("Label map: {grid}").format(grid=case["label_grid"]))
    if case["labels"]:
        lines.append(_("Labels found: {labels}").format(labels=", ".join(map(str, case["labels"]))))
    if case["volume_mm3"] is not None:
        lines.append(_("Volume {mm3:.0f} mm³").format(mm3=case["volume_mm3"]))
    return "\n".join(lines)


def summary_words(result: Mapping[str, Any]) -> str:
    patients = _("1 patient") if result["subjects"] == 1 else _("{n} patients").format(n=result["subjects"])
    words = _("{usable} of {cases} cases can be used: {patients}, {slices} slices with cord.")
    return words.format(
        usable=result["usable"], cases=result["cases"], patients=patients, slices=result["slices_with_cord"]
    )
