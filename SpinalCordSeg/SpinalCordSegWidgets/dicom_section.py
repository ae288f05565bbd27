"""DICOM out: mask, measures and report page as objects of the study that the volume was loaded from."""

from __future__ import annotations

import importlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from SpinalCordSegLib.errors import ConfigurationError, OutputError
from SpinalCordSegLib.files import atomic_write
from SpinalCordSegNodes.results import write_result_folder
from SpinalCordSegNodes.volumes import dicom_database, instance_uids, source_files, volume_from_node
from SpinalCordSegWidgets.install import install
from SpinalCordSegWidgets.jobs import RESULTS, command_job
from SpinalCordSegWidgets.section import Section, ask_folder, grey

if TYPE_CHECKING:
    from SpinalCordSegWidgets.main_widget import Panel

_CASE, _SERIES, _IMAGE = "case", "series", "image.nrrd"
_PACKAGES = ("highdicom>=0.27,<1", "matplotlib>=3.8,<4")


class DicomPanel(Section):
    """Writes through the command line ``export``, which checks everything first."""

    def __init__(self, ui: Any, panel: Panel) -> None:
        super().__init__(ui, panel)
        self._folders: dict[str, Path] = {}  # volume node's id → folder of its series, as chosen
        for box in (ui.segBox, ui.srBox, ui.pdfBox):
            box.checked = True
            box.connect("toggled(bool)", self.refresh)
        ui.dicomSeriesButton.connect("clicked()", self._on_series)
        ui.dicomButton.connect("clicked()", self._on_write)
        ui.dicomInstallButton.connect("clicked()", self._on_install)

    @property
    def kinds(self) -> tuple[str, ...]:
        boxes = {"seg": self.ui.segBox, "sr": self.ui.srBox, "pdf": self.ui.pdfBox}
        return tuple(kind for kind, box in boxes.items() if box.checked and box.enabled)

    def choose_series(self, folder: Path) -> None:
        """Say where the series lies that the volume was loaded from."""
        self._folders[self.panel.volume.GetID()] = folder
        self.refresh()

    def write(self, folder: Path) -> None:
        """Begin to write into ``folder``; what is there already is asked about before it is replaced."""
        volume, result, segment_id = self.panel.volume, self.panel.result, self.panel.segment_id
        files, series = source_files(volume), self._folders.get(volume.GetID())

        def prepare(scratch: Path) -> None:
            from SpinalCordSegLib.image_io import write_volume  # SimpleITK: only now

            if result is None:
                raise ConfigurationError(_("Measure the mask first."))
            write_result_folder(result, segment_id, scratch / _CASE)
            write_volume(volume_from_node(volume), scratch / _IMAGE)
            if series is None:
                _copy(files, scratch / _SERIES)

        where = str(series) if series is not None else _SERIES
        arguments = ["export", _CASE, "--dicom", where, "--image", _IMAGE, "--output", RESULTS]
        arguments += [f"--{kind}" for kind in self.kinds]
        if self.ui.drawnByHandBox.checked and self.ui.drawnByHandBox.enabled:
            arguments.append("--drawn-by-hand")
        base = self.panel.logic.scratchBase()
        self.panel.start(
            lambda: command_job(arguments, prepare, _contents, base), lambda found: self._keep(found, folder)
        )

    def refresh(self) -> None:
        ui, volume = self.ui, self.panel.volume
        missing = _missing()
        grey(ui.segBox, missing["seg"], _("DICOM segmentation (SEG)"))
        grey(ui.srBox, missing["seg"], _("Structured report (TID 1500)"))
        grey(ui.pdfBox, missing["pdf"], _("The report page as Encapsulated PDF"))
        ui.dicomInstallButton.setVisible(any(missing.values()) and "pydicom" not in missing["seg"])
        grey(ui.drawnByHandBox, "" if self._is_given() else _("The report says that a model made the mask."))
        no_database = "" if dicom_database() is not None else _("Slicer’s DICOM database is not open (module DICOM).")
        grey(ui.intoDatabaseBox, no_database, _("Add what was written to Slicer’s own DICOM database."))
        source = self._source_text(volume)
        ui.dicomSourceLabel.setText(source)
        ui.dicomSeriesButton.setVisible(volume is not None and not source_files(volume))
        reason = self.why_not()
        grey(ui.dicomButton, reason, _("Into a folder of your choice. Nothing is sent anywhere."))

    def why_not(self) -> str:
        """The reason why nothing can be written; "" when it can be tried."""
        reason = self.panel.why_no_mask()
        if reason:
            return reason
        missing = _missing()
        if not self.kinds:
            return missing["seg"] or missing["pdf"] or _("Choose what to write.")
        volume = self.panel.volume
        if volume is None:
            return _("The mask has no volume, so no study to belong to.")
        if not source_files(volume) and volume.GetID() not in self._folders:
            return _(
                "The volume was not loaded from Slicer’s DICOM database: DICOM objects belong to the study of a DICOM"
                " series. Choose the folder of the series it was made from, or save the mask as .seg.nrrd."
            )
        if self.panel.result is None or self.panel.live.stale:
            return _("The mask was changed since it was measured: measure it first.")
        return ""

    def _is_given(self) -> bool:
        result = self.panel.result
        return result is not None and result.case.model is None

    def _source_text(self, volume: Any) -> str:
        if volume is None:
            return _("No volume.")
        if source_files(volume):
            return _("Source: {n} images in Slicer’s DICOM database.").format(n=len(instance_uids(volume)))
        chosen = self._folders.get(volume.GetID())
        if chosen:
            return _("Source: a folder you chose.")
        return _("Source: not known. Choose the folder of the DICOM series that the volume was made from.")

    def _keep(self, found: Mapping[str, bytes], folder: Path) -> None:
        there = [name for name in found if (folder / name).exists()]
        if there and not _may_replace(there):
            self.panel.show_message(_("Nothing was written: {name} is there already.").format(name=there[0]))
            return
        if not self.panel.attempt(lambda: _write_all(found, folder)):
            return
        text = _("Written: {names}.").format(names=", ".join(found))
        if self.ui.intoDatabaseBox.checked and dicom_database() is not None:
            text += " " + _into_database(found)
        self.panel.show_message(text)

    def _on_series(self) -> None:
        folder = ask_folder(self.ui.section, _("Folder of the DICOM series"))
        if folder is not None:
            self.choose_series(folder)

    def _on_write(self) -> None:
        folder = ask_folder(self.ui.section, _("Folder for the DICOM files"))
        if folder is not None:
            self.write(folder)

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
        return _("This Slicer has no DICOM module: they are not in its database.")
    with tempfile.TemporaryDirectory() as folder:
        _write_all(found, Path(folder))
        done = importer.importDicom(folder, dicom_database(), copyFiles=True)
    return _("They are in Slicer’s DICOM database.") if done else _("Slicer’s DICOM database did not take them.")
