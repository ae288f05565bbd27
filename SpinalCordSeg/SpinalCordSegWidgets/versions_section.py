"""Versions of the current mask while it is corrected: saved automatically, offered after a crash, restored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import SpinalCordSegError
from SpinalCordSegNodes.editing import replace_mask
from SpinalCordSegNodes.segmentations import mask_of_segment
from SpinalCordSegWidgets.section import Section, ask_folder, grey, on_click, show_text, single_shot

if TYPE_CHECKING:
    from SpinalCordSegLib.mask_versions import MaskVersions, SavedVersion
    from SpinalCordSegWidgets.main_widget import Panel

# From the first stroke that is not saved until it is begun to be saved: with the saving itself well under 30 s.
WAIT_MS = 20_000
_KEPT = 20  # versions of a case; the oldest go
_FOLDER_KEY, _ON_KEY = "SpinalCordSeg/VersionsFolder", "SpinalCordSeg/KeepVersions"


class VersionsPanel(Section):
    """Part of the section Correct, whose widgets ``ui`` are. Nothing is kept until the user has chosen a folder.

    Each case has a code, made from its image's fingerprint: no name is written. Saving takes up to a second.
    """

    def __init__(self, ui: Any, panel: Panel) -> None:
        super().__init__(ui, panel)
        self._in_hand: tuple[Any, str] = (None, "")
        self._code = self._digest = ""
        self._offered: SavedVersion | None = None
        self._timer = single_shot(WAIT_MS, self.save)
        ui.autosaveBox.checked = self.is_on
        ui.autosaveBox.connect("toggled(bool)", self._on_toggled)
        on_click(ui, autosaveButton=self._on_folder, takeBackButton=self.take_back, dismissButton=self.dismiss)
        self._menu = qt.QMenu(ui.recoverButton)
        self._menu.connect("aboutToShow()", self._fill_menu)
        ui.recoverButton.setMenu(self._menu)
        panel.listen(self.follow)

    @property
    def folder(self) -> Path | None:
        """Where versions are kept; None until somebody chose."""
        stored = str(qt.QSettings().value(_FOLDER_KEY) or "")
        return Path(stored) if stored else None

    @property
    def is_on(self) -> bool:
        return self.folder is not None and str(qt.QSettings().value(_ON_KEY) or "") == "true"

    @property
    def store(self) -> MaskVersions | None:
        """Of the current case; None without a folder or a case."""
        from SpinalCordSegLib.mask_versions import MaskVersions

        if self.folder is None or not self._code:
            return None
        return MaskVersions(self.folder / f"{self._code}.corrections", keep=_KEPT)

    def choose(self, folder: Path | None, on: bool = True) -> None:
        """Keep versions in ``folder`` from now on, or not."""
        settings = qt.QSettings()
        settings.setValue(_FOLDER_KEY, "" if folder is None else str(folder))
        settings.setValue(_ON_KEY, "true" if on else "false")
        self.ui.autosaveBox.blockSignals(True)
        self.ui.autosaveBox.checked = self.is_on
        self.ui.autosaveBox.blockSignals(False)
        if not self.is_on:
            self._timer.stop()
        self._in_hand = (None, "")
        self.follow()

    def follow(self) -> None:
        """For another mask, what was kept of it is offered. The same mask, changed, will be saved."""
        panel = self.panel
        in_hand, digest = (panel.segmentation, panel.segment_id), panel.live.digest
        fingerprint = "" if panel.result is None else panel.result.case.input.fingerprint
        code = f"case-{fingerprint[:16]}" if fingerprint else ""
        if in_hand != self._in_hand:
            self.flush()  # a message of that names no mask
            show_text(self.ui.autosaveLabel, "")
            self._in_hand, self._code, self._digest = in_hand, code, digest
            self._offer()
        self._code = code  # it may have been measured meanwhile
        if digest and digest != self._digest:
            self._digest = digest
            if self.is_on and code and not self._timer.isActive():  # further strokes do not put the save off
                self._timer.start()
        self.refresh()

    def refresh(self) -> None:
        ui = self.ui
        reason = _("Choose a folder first.") if self.folder is None else ""
        reason = reason or ("" if self._code else _("Measure the mask first."))
        grey(ui.recoverButton, reason)
        ui.recoveryFrame.setVisible(self._offered is not None)
        if self._offered is not None:
            text = _("A version of this mask was saved on {time}. The current mask does not contain it.")
            ui.recoveryLabel.setText(text.format(time=version_text(self._offered)))
        show_text(ui.autosaveLabel, ui.autosaveLabel.text)

    def save(self) -> None:
        """Save the mask as it is now."""
        self._timer.stop()
        store = self.store
        if store is None or not self.is_on:
            return
        try:
            saved = store.save(mask_of_segment(*self._in_hand))
        except SpinalCordSegError as error:
            text = _("The mask that was changed last was NOT saved: {reason}").format(reason=error)
            self.panel.show_message(text)  # also where the current mask changed meanwhile
        else:
            when = "" if saved is None else saved.when.astimezone().strftime("%H:%M:%S")
            text = _("Saved at {time}.").format(time=when) if saved else _("Saved already.")
        show_text(self.ui.autosaveLabel, text)

    def flush(self) -> None:
        """Save what waits: another mask, another scene, or the end of Slicer comes next."""
        if self._timer.isActive():
            self.save()

    def take_back(self) -> None:
        if self._offered is not None:
            self.restore(self._offered)

    def dismiss(self) -> None:
        """Do not offer that version again."""
        store, version = self.store, self._offered
        if store is not None and version is not None:
            self.panel.attempt(lambda: store.dismiss(version))
        self._offered = None
        self.refresh()

    def restore(self, version: SavedVersion) -> None:
        """Put a version in place of the current mask, as one step of its undo."""
        segmentation, segment_id = self.panel.segmentation, self.panel.segment_id
        self.panel.correct.editor.save_state()
        if self.panel.attempt(lambda: replace_mask(segmentation, segment_id, version.read())):
            self.panel.show_message(_("The version of {time} was restored.").format(time=version_text(version)))
            self._offered = None
        self.refresh()

    def leave(self) -> None:
        self.flush()

    def close(self) -> None:
        self.flush()
        self._code, self._in_hand, self._offered = "", (None, ""), None

    def _offer(self) -> None:
        """Look whether a version is work that is nowhere else."""
        self._offered, store = None, self.store
        if store is None:
            return
        from SpinalCordSegLib.metrics import mask_sha256

        try:
            self._offered = store.recovery(mask_sha256(mask_of_segment(*self._in_hand)))
        except SpinalCordSegError as error:
            show_text(self.ui.autosaveLabel, str(error))

    def _on_toggled(self, on: bool) -> None:
        if on and self.folder is None:
            self._on_folder()
            self.ui.autosaveBox.checked = self.is_on
        else:
            self.choose(self.folder, on)

    def _on_folder(self) -> None:
        ask_folder(self.ui.section, _("Folder for versions"), self.choose)

    def _fill_menu(self) -> None:
        self._menu.clear()
        try:
            versions = () if self.store is None else self.store.versions()
        except SpinalCordSegError as error:
            show_text(self.ui.autosaveLabel, str(error))
            return
        restore = self.panel.for_this_mask(self.restore)
        for version in versions:
            action = self._menu.addAction(version_text(version))
            action.connect("triggered()", lambda chosen=version: restore(chosen))
        if not versions:
            self._menu.addAction(_("No version yet")).enabled = False


def version_text(version: SavedVersion) -> str:
    """ "2024-01-31, 12:03:04" in the user's own time."""
    return version.when.astimezone().strftime("%Y-%m-%d, %H:%M:%S")
