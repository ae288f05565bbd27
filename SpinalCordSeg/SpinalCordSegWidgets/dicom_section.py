"""DICOM out: mask, measures and report page as objects of the study that the volume was loaded from."""

from __future__ import annotations

import importlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from SpinalCordSegLib.errors import OutputError
from SpinalCordSegLib.files import atomic_write
from SpinalCordSegNodes.volumes import dicom_database, instance_uids, source_files
from SpinalCordSegWidgets.install import install
from SpinalCordSegWidgets.jobs import CASE, IMAGE, RESULTS, command_job
from SpinalCordSegWidgets.section import Section, ask_folder, grey, on_click

if TYPE_CHECKING:
    from SpinalCordSegWidgets.main_widget import Panel

_SERIES = "series"
_PACKAGES = ("highdicom>=0.27,<1", "matplotlib>=3.8,<4")


class DicomPanel(Section):
    """Writes through the command line ``export``, which checks everything first."""

    def __init__(self, ui: Any, panel: Panel) -> None:
        super().__init__(ui, panel)
        self._folders: dict[Any, Path] = {}  # volume node → folder of its series, as chosen
        for box in (ui.segBox, ui.srBox, ui.pdfBox):
            box.checked = True
            box.connect("toggled(bool)", self.refresh)
        on_click(
            ui,
            dicomSeriesButton=lambda: self._ask(_("Folder of the DICOM series"), self.choose_series),
            dicomButton=lambda: self._ask(_("Folder for the DICOM files"), self.write),
            dicomInstallButton=self._on_install,
        )

    def _ask(self, title: str, then: Callable[[Path], None]) -> None:
        ask_folder(self.ui.section, title, self.panel.for_this_mask(then))

    @property
    def kinds(self) -> tuple[str, ...]:
        boxes = {"seg": self.ui.segBox, "sr": self.ui.srBox, "pdf": self.ui.pdfBox}
        return tuple(kind for kind, box in boxes.items() if box.checked and box.enabled)

    def choose_series(self, folder: Path) -> None:
        """``folder``: of the series that the volume was loaded from."""
        self._folders[self.panel.volume] = folder
        self.refresh()

    def write(self, folder: Path) -> None:
        """Begin to write into ``folder``; the user is asked before a file is replaced."""
        files, series = source_files(self.panel.volume), self._folders.get(self.panel.volume)

        def prepare(scratch: Path) -> None:
            self.panel.write_case(scratch)
            if series is None:
                _copy(files, scratch / _SERIES)

        arguments = ["export", CASE, "--dicom", str(series or _SERIES), "--image", IMAGE, "--output", RESULTS]
        arguments += [f"--only={kind}" for kind in self.kinds]
        if self.ui.drawnByHandBox.checked and self.ui.drawnByHandBox.enabled:
            arguments.append("--drawn-by-hand")
        self.panel.start(lambda: command_job(arguments, prepare, _contents), lambda found: self._keep(found, folder))

    def forget(self) -> None:
        self.ui.drawnByHandBox.checked = False

    def close(self) -> None:
        self._folders = {}

    def refresh(self) -> None:
        ui, volume = self.ui, self.panel.volume
        missing = _missing()
        grey(ui.segBox, missing["seg"])
        grey(ui.srBox, missing["seg"])
        grey(ui.pdfBox, missing["pdf"])
        ui.dicomInstallButton.setVisible(any(missing.values()) and "pydicom" not in missing["seg"])
        given = self.panel.result is not None and self.panel.result.case.model is None
        grey(ui.drawnByHandBox, "" if given else _("The report says that a model made the mask."))
        no_database = "" if dicom_database() is not None else _("Slicer’s DICOM database is not open (module DICOM).")
        grey(ui.intoDatabaseBox, no_database)
        ui.dicomButton.text = self.panel.named(_("Write DICOM of {name}…"))
        ui.dicomSourceLabel.setText(self._source_text(volume))
        ui.dicomSeriesButton.setVisible(volume is not None and not source_files(volume))
        grey(ui.dicomButton, self.why_not())

    def why_not(self) -> str:
        """The reason why nothing can be written; "" when it can be tried."""
        reason, missing = self.panel.why_no_mask(), _missing()
        if not reason and not self.kinds:
            reason = missing["seg"] or missing["pdf"] or _("Choose what to write.")
        reason = reason or self.panel.why_not_measured()
        if reason:
            return reason
        if not source_files(self.panel.volume) and self.panel.volume not in self._folders:
            return _(
                "The volume was not loaded from Slicer’s DICOM database, and DICOM objects belong to the study of a"
                " series. Choose the folder of the series that it was made from, or save the mask as .seg.nrrd."
            )
        return ""

    def _source_text(self, volume: Any) -> str:
        if volume is None:
            return _("No volume.")
        if source_files(volume):
            return _("Source: {n} images in Slicer’s DICOM database.").format(n=len(instance_uids(volume)))
        chosen = self._folders.get(volume)
        if chosen:
            return _("Source: a folder you chose.")
        return _("Source: not known. Choose the folder of the DICOM series that the volume was made from.")

    def _keep(self, found: Mapping[str, bytes], folder: Path) -> None:
        there = [name for name in found if (folder / name).exists()]
        if there and not _may_replace(there):
            self.panel.show_message(_("Nothing was written: {name} exists already.").format(name=there[0]))
            return
        if not self.panel.attempt(lambda: _write_all(found, folder)):
            return
        text = _("Written: {names}.").format(names=", ".join(found))
        if self.ui.intoDatabaseBox.checked and dicom_database() is not None:
            text += " " + _into_database(found)
        self.panel.show_message(text)

    def _on_install(self) -> None:
        self.panel.show_message(
            install(_PACKAGES, _("Download and install highdicom and matplotlib (12 MB)? They write DICOM."))
        )
        self.refresh()


def _missing() -> dict[str, str]:
    """Why objects of a kind cannot be written here; "" where they can."""
    from SpinalCordSegLib.dicom_export import dicom_export_available, pdf_export_available

    return {"seg": dicom_export_available() or "", "pdf": pdf_export_available() or ""}


def _copy(files: tuple[Path, ...], folder: Path) -> None:
    """By numbers: names may be the patient's."""
    try:
        folder.mkdir()
        for number, file in enumerate(files):
            shutil.copyfile(file, folder / f"{number:05d}.dcm")
    except OSError as error:
        raise OutputError(_("The DICOM files cannot be copied: {reason}").format(reason=error.strerror)) from error


def _contents(folder: Path) -> dict[str, bytes]:
    try:
        return {path.name: path.read_bytes() for path in sorted(folder.glob("*.dcm"))}
    except OSError as error:
        raise OutputError(_("What was written cannot be read: {reason}").format(reason=error.strerror)) from error


def _write_all(found: Mapping[str, bytes], folder: Path) -> None:
    for name, content in found.items():
        with atomic_write(folder / name) as temporary:
            temporary.write_bytes(content)


def _may_replace(names: list[str]) -> bool:
    import slicer.util

    return bool(slicer.util.confirmYesNoDisplay(_("Replace {names}?").format(names=", ".join(names))))


def _into_database(found: Mapping[str, bytes]) -> str:
    """Through Slicer's own importer, which copies the files; gives the outcome as text."""
    try:
        importer = importlib.import_module("DICOMLib.DICOMUtils")
    except ModuleNotFoundError:
        return _("This Slicer has no DICOM module: nothing was added to its database.")
    with tempfile.TemporaryDirectory() as folder:
        _write_all(found, Path(folder))
        done = importer.importDicom(folder, dicom_database(), copyFiles=True)
    return _("Added to Slicer’s DICOM database.") if done else _("Slicer’s DICOM database refused the files.")
