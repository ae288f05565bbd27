"""Export: the result as a case folder, as a sentence for a report, and as DICOM objects of the study that the volume
was loaded from."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import qt
import slicer.util
from slicer.i18n import tr as _

from SpinalCordSegLib.files import free_path
from SpinalCordSegNodes.results import write_result_folder
from SpinalCordSegNodes.volumes import copy_source_files, source_files, volume_from_node
from SpinalCordSegWidgets.jobs import CASE, IMAGE, PROGRAM, Job
from SpinalCordSegWidgets.section import Section, ask_folder, grey, on_click

if TYPE_CHECKING:
    from SpinalCordSegLib.case import Case
    from SpinalCordSegWidgets.main_widget import Panel

_SERIES = "series"


class ExportSection(Section):
    """DICOM is written by the command ``export``, which checks everything first."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel, panel.ui.exportSection)
        ui = self.ui
        for box in (ui.segBox, ui.srBox, ui.pdfBox):
            box.checked = True
            box.connect("toggled(bool)", self.refresh)
        on_click(
            ui,
            copyTextButton=self._on_copy,
            exportButton=lambda: self._ask(_("Where to put the case folder"), self.save_case),
            dicomButton=self._on_dicom,
        )

    def forget(self) -> None:
        self.ui.drawnByHandBox.checked = False

    def refresh(self) -> None:
        ui, result = self.ui, self.current.result
        grey(ui.copyTextButton, "" if result is not None else _("Measure the mask first."))
        ui.exportButton.text = self.panel.named(_("Save {name}…"))
        grey(ui.exportButton, self.panel.why_not_measured())
        missing = _missing()
        grey(ui.segBox, missing["seg"])
        grey(ui.srBox, missing["seg"])
        grey(ui.pdfBox, missing["pdf"])
        given = result is not None and result.case.model is None
        grey(ui.drawnByHandBox, "" if given else _("The report says that a model made the mask."))
        ui.dicomButton.text = self.panel.named(_("DICOM of {name}…"))
        grey(ui.dicomButton, self.why_no_dicom())

    def _on_copy(self) -> None:
        live = self.current.live
        if live.case is not None:
            qt.QApplication.clipboard().setText(report_sentence(live.case, live.edited))
            self.panel.show_message(self.panel.named(_("The report text of {name} is on the clipboard.")))

    def _ask(self, title: str, then: Callable[[Path], None]) -> None:
        ask_folder(self.button, title, self.panel.for_this_mask(then))

    def save_case(self, folder: Path) -> None:
        """Write the case folder, as the command line would have, into ``folder``; nothing that is there is replaced."""
        result, segment_id, reason = self.current.result, self.current.segment_id, self.panel.why_not_measured()
        if result is None or reason:
            self.panel.show_message(reason)
            return
        target, image = free_path(folder / result.case.name), volume_from_node(self.current.volume)
        if self.panel.attempt(
            lambda: write_result_folder(result, segment_id, target, image=image, mask_format="nii.gz")
        ):
            self.panel.show_message(_("Saved: {name}.").format(name=target.name))

    # DICOM.

    @property
    def kinds(self) -> tuple[str, ...]:
        boxes = {"seg": self.ui.segBox, "sr": self.ui.srBox, "pdf": self.ui.pdfBox}
        return tuple(kind for kind, box in boxes.items() if box.checked and box.enabled)

    def _on_dicom(self) -> None:
        """The series behind the volume is asked for where Slicer's database does not know it."""
        where = _("Folder for the DICOM files")
        if source_files(self.current.volume):
            self._ask(where, self.write_dicom)
        else:
            self._ask(
                _("Folder of the DICOM series that the volume was made from"),
                lambda series: self._ask(where, lambda folder: self.write_dicom(folder, series)),
            )

    def write_dicom(self, folder: Path, series: Path | None = None) -> None:
        """Begin to write into ``folder``; the user is asked before a file is replaced. ``series``: folder of the DICOM
        series, None: from Slicer's database."""
        result = self.current.result
        if result is None:
            return
        kinds = {*self.kinds, *(("seg",) if "sr" in self.kinds else ())}  # the measures refer to the mask
        written = [folder / f"{result.case.name}.{kind}.dcm" for kind in sorted(kinds)]
        there = [path.name for path in written if path.exists()]
        question = _("Replace {names}?").format(names=", ".join(there))
        if there and not slicer.util.confirmYesNoDisplay(question):
            self.panel.show_message(_("Nothing was written: {name} exists already.").format(name=there[0]))
            return
        files = source_files(self.current.volume)

        def prepare(scratch: Path) -> None:
            self.panel.write_case(scratch)
            if series is None:
                copy_source_files(files, scratch / _SERIES)

        arguments = ["export", CASE, "--dicom", str(series or _SERIES), "--image", IMAGE, "--output", str(folder)]
        arguments += ["--force"] * bool(there) + [f"--only={kind}" for kind in self.kinds]
        arguments += ["--drawn-by-hand"] * (self.ui.drawnByHandBox.checked and self.ui.drawnByHandBox.enabled)
        text = _("Written: {names}.").format(names=", ".join(path.name for path in written))
        self.panel.start(lambda: Job(PROGRAM, arguments, lambda *_: text, prepare=prepare), self.panel.show_message)

    def why_no_dicom(self) -> str:
        """The reason why nothing can be written; "" when it can be tried."""
        reason, missing = self.panel.why_no_mask(), _missing()
        if not reason and not self.kinds:
            reason = missing["seg"] or missing["pdf"] or _("Choose what to write.")
        return reason or self.panel.why_not_measured()


def _missing() -> dict[str, str]:
    """Why objects of a kind cannot be written here; "" where they can."""
    from SpinalCordSegLib.dicom_export import dicom_export_available, pdf_export_available

    return {"seg": dicom_export_available() or "", "pdf": pdf_export_available() or ""}


def report_sentence(case: Case, edited: bool = False) -> str:
    """One sentence for a clinical report, with numbers, units and limits. ``edited``: a person corrected the mask."""
    if not case.n_slices:
        found = _("No spinal cord was found")
    else:
        area = _quantity(case.mean_csa_mm2, "mm²", 1)
        if not math.isnan(case.mean_csa_mm2) and not math.isnan(case.sd_csa_mm2):
            area = area.replace(" ", f" ± {case.sd_csa_mm2:.1f} ", 1)
        found = _("Spinal cord volume {volume}, over a length of {length} ({n} slices), mean area {area}").format(
            volume=_quantity(case.volume_mm3, "mm³", 0),
            length=_quantity(case.length_mm, "mm", 1),
            n=case.n_slices,
            area=area,
        )
    flagged = len({flag.slice for flag in case.flags if flag.slice is not None})
    review = _("1 slice flagged for review") if flagged == 1 else _("{n} slices flagged for review").format(n=flagged)
    if case.model is None:
        text = _("mask drawn or made elsewhere, measured with SpinalCordSeg {version}")
        maker = text.format(version=case.software_version)
    else:
        text = _("found automatically by SpinalCordSeg {version} with model {model} {model_version}")
        maker = text.format(version=case.software_version, model=case.model.name, model_version=case.model.version)
    parts = [found, review, maker]
    if edited:
        parts.append(_("mask corrected by hand"))
    parts.append(_("volume depends on the coverage of the image"))
    return "; ".join(parts) + ". " + _("Research use, not for diagnosis.")


def _quantity(value: float, unit: str, decimals: int) -> str:
    return _("not reported") if math.isnan(value) else f"{value:.{decimals}f} {unit}"
