"""Export: the result as files, as a sentence for a report, and as DICOM objects of the study that the volume was loaded
from."""

from __future__ import annotations

import importlib
import math
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import OutputError
from SpinalCordSegLib.files import write_text
from SpinalCordSegNodes.segmentations import mask_of_segment
from SpinalCordSegNodes.volumes import dicom_database, instance_uids, source_files
from SpinalCordSegWidgets.jobs import CASE, IMAGE, PROGRAM, Job
from SpinalCordSegWidgets.section import Section, ask_folder, ask_new_file, fill_menu, grey, on_click

if TYPE_CHECKING:
    from SpinalCordSegLib.case import Case
    from SpinalCordSegWidgets.main_widget import Panel

FORMATS = {
    ".csv": _("Measures per slice (CSV)"),
    ".json": _("All measures (JSON)"),
    ".html": _("Report page (HTML)"),
    ".nii.gz": _("Mask (NIfTI)"),
}
_SERIES = "series"


class ExportSection(Section):
    """DICOM is written by the command ``export``, which checks everything first."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel, panel.ui.exportSection)
        ui = self.ui
        self._folders: dict[Any, Path] = {}  # volume node → folder of its series, as chosen
        for box in (ui.segBox, ui.srBox, ui.pdfBox):
            box.checked = True
            box.connect("toggled(bool)", self.refresh)
        fill_menu(ui.exportButton, self._formats)
        on_click(
            ui,
            copyTextButton=self._on_copy,
            dicomSeriesButton=lambda: self._ask(_("Folder of the DICOM series"), self.choose_series),
            dicomButton=lambda: self._ask(_("Folder for the DICOM files"), self.write_dicom),
        )

    def forget(self) -> None:
        self.ui.drawnByHandBox.checked = False

    def close(self) -> None:
        self._folders = {}

    def refresh(self) -> None:
        ui, result, volume = self.ui, self.current.result, self.current.volume
        none = "" if result is not None else _("Measure the mask first.")
        ui.exportButton.text = self.panel.named(_("Export {name}…"))
        grey(ui.exportButton, none)
        grey(ui.copyTextButton, none)
        missing = _missing()
        grey(ui.segBox, missing["seg"])
        grey(ui.srBox, missing["seg"])
        grey(ui.pdfBox, missing["pdf"])
        given = result is not None and result.case.model is None
        grey(ui.drawnByHandBox, "" if given else _("The report says that a model made the mask."))
        no_database = "" if dicom_database() is not None else _("Slicer’s DICOM database is not open (module DICOM).")
        grey(ui.intoDatabaseBox, no_database)
        ui.dicomButton.text = self.panel.named(_("DICOM of {name}…"))
        ui.dicomSourceLabel.setText(self._source_text(volume))
        ui.dicomSeriesButton.setVisible(volume is not None and not source_files(volume))
        grey(ui.dicomButton, self.why_no_dicom())

    # Files, and a sentence.

    def _on_copy(self) -> None:
        live = self.current.live
        if live.case is not None:
            qt.QApplication.clipboard().setText(report_sentence(live.case, live.edited))
            self.panel.show_message(self.panel.named(_("The report text of {name} is on the clipboard.")))

    def _formats(self) -> list[tuple[str, Callable[[], Any] | None]]:
        return [
            (title, None if self.why_no_file(suffix) else lambda name=f"cord{suffix}": self._ask_where(name))  # type: ignore[misc]
            for suffix, title in FORMATS.items()
        ]

    def _ask_where(self, name: str) -> None:
        ask_new_file(self.button, _("Export"), name, self.panel.for_this_mask(self.export))

    def why_no_file(self, suffix: str) -> str:
        """The reason why the result cannot be saved as that; "" when it can."""
        result = self.current.result
        if result is None:
            return _("Measure the mask first.")
        if suffix not in FORMATS:
            return _("choose one of {formats}").format(formats=" ".join(FORMATS))
        if self.current.live.stale and suffix in (".json", ".html"):  # these do not follow the brush
            return _("The mask was changed since the report was written: press Measure, then export.")
        page_is_gone = suffix == ".html" and result.page is None
        return _("The report page was deleted: measure the mask again.") if page_is_gone else ""

    def export(self, path: Path) -> None:
        """Write the result to a file, whose suffix decides what; the status line shows what came of it."""
        suffix = next((known for known in FORMATS if path.name.lower().endswith(known)), path.suffix)
        reason = self.why_no_file(suffix)
        if reason:
            self.panel.show_message(f"{path.name}: {reason}")
        elif self.panel.attempt(lambda: self._write(path, suffix)):
            self.panel.show_message(_("Saved {name}.").format(name=path.name))

    def _write(self, path: Path, suffix: str) -> None:
        """Raises OutputError, GeometryError; the scene is not changed."""
        result, case = self.current.result, self.current.live.case
        assert result is not None and case is not None  # see why_no_file
        if suffix == ".csv":
            write_text(path, case.slices.csv())
        elif suffix == ".nii.gz":
            from SpinalCordSegLib.image_io import write_volume  # SimpleITK: only now

            write_volume(mask_of_segment(*self.current.which), path)
        else:
            write_text(path, (result.report if suffix == ".json" else result.page).GetText())

    # DICOM.

    def _ask(self, title: str, then: Callable[[Path], None]) -> None:
        ask_folder(self.button, title, self.panel.for_this_mask(then))

    @property
    def kinds(self) -> tuple[str, ...]:
        boxes = {"seg": self.ui.segBox, "sr": self.ui.srBox, "pdf": self.ui.pdfBox}
        return tuple(kind for kind, box in boxes.items() if box.checked and box.enabled)

    def choose_series(self, folder: Path) -> None:
        """``folder``: of the series that the volume was loaded from."""
        self._folders[self.current.volume] = folder
        self.refresh()

    def write_dicom(self, folder: Path) -> None:
        """Begin to write into ``folder``; the user is asked before a file is replaced."""
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
        files, series = source_files(self.current.volume), self._folders.get(self.current.volume)

        def prepare(scratch: Path) -> None:
            self.panel.write_case(scratch)
            if series is None:
                _copy(files, scratch / _SERIES)

        arguments = ["export", CASE, "--dicom", str(series or _SERIES), "--image", IMAGE, "--output", str(folder)]
        arguments += ["--force"] * bool(there) + [f"--only={kind}" for kind in self.kinds]
        arguments += ["--drawn-by-hand"] * (self.ui.drawnByHandBox.checked and self.ui.drawnByHandBox.enabled)
        self.panel.start(lambda: Job(PROGRAM, arguments, lambda *_: written, prepare=prepare), self._on_written)

    def _on_written(self, written: list[Path]) -> None:
        text = _("Written: {names}.").format(names=", ".join(path.name for path in written))
        if self.ui.intoDatabaseBox.checked and dicom_database() is not None:
            text += " " + _into_database(written)
        self.panel.show_message(text)

    def why_no_dicom(self) -> str:
        """The reason why nothing can be written; "" when it can be tried."""
        reason, missing = self.panel.why_no_mask(), _missing()
        if not reason and not self.kinds:
            reason = missing["seg"] or missing["pdf"] or _("Choose what to write.")
        reason = reason or self.panel.why_not_measured()
        if not reason and not source_files(self.current.volume) and self.current.volume not in self._folders:
            return _(
                "The volume was not loaded from Slicer’s DICOM database, and DICOM objects belong to the study of a"
                " series. Choose the folder of the series that it was made from, or save the mask as .seg.nrrd."
            )
        return reason

    def _source_text(self, volume: Any) -> str:
        if volume is None:
            return _("No volume.")
        if source_files(volume):
            return _("Source: {n} images in Slicer’s DICOM database.").format(n=len(instance_uids(volume)))
        if volume in self._folders:
            return _("Source: a folder you chose.")
        return _("Source: not known. Choose the folder of the DICOM series that the volume was made from.")


def _missing() -> dict[str, str]:
    """Why objects of a kind cannot be written here; "" where they can."""
    from SpinalCordSegLib.dicom_export import dicom_export_available, pdf_export_available

    return {"seg": dicom_export_available() or "", "pdf": pdf_export_available() or ""}


def _copy(files: tuple[Path, ...], folder: Path) -> None:
    """By numbers: names may be the patient's. Raises OutputError."""
    try:
        folder.mkdir()
        for number, file in enumerate(files):
            shutil.copyfile(file, folder / f"{number:05d}.dcm")
    except OSError as error:
        raise OutputError(_("The DICOM files cannot be copied: {reason}").format(reason=error.strerror)) from error


def _into_database(written: list[Path]) -> str:
    """Through Slicer's own importer, which copies the files; gives the outcome as text."""
    try:
        importer = importlib.import_module("DICOMLib.DICOMUtils")
    except ModuleNotFoundError:
        return _("This Slicer has no DICOM module: nothing was added to its database.")
    with tempfile.TemporaryDirectory() as folder:
        for path in written:
            shutil.copy(path, folder)
        done = importer.importDicom(folder, dicom_database(), copyFiles=True)
    return _("Added to Slicer’s DICOM database.") if done else _("Slicer’s DICOM database refused the files.")


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
