"""Kept versions in the section Correct: the folder they go to, what is offered after a crash, and going back to one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import SpinalCordSegError
from SpinalCordSegNodes.corrections import replace_mask
from SpinalCordSegNodes.segmentations import mask_of_segment
from SpinalCordSegWidgets.autosave import Autosave, version_words
from SpinalCordSegWidgets.desk import Desk
from SpinalCordSegWidgets.embedded_editor import EmbeddedEditor
from SpinalCordSegWidgets.file_choice import ask_folder
from SpinalCordSegWidgets.section import Section, grey

if TYPE_CHECKING:
    from SpinalCordSegLib.correction.correction_store import SavedVersion


class VersionsPanel(Section):
    """Lives in the section of ``ui``; each case has its code, made from its image's fingerprint: no name is written."""

    def __init__(self, ui: Any, desk: Desk, editor: EmbeddedEditor) -> None:
        super().__init__(ui, desk)
        self._editor = editor
        self.autosave = Autosave(self._mask, self._told)
        self._in_hand: tuple[Any, str] = (None, "")
        self._digest = ""
        self._offered: SavedVersion | None = None
        ui.autosaveBox.checked = self.autosave.is_on
        ui.autosaveBox.connect("toggled(bool)", self._on_toggled)
        ui.autosaveButton.connect("clicked()", self._on_folder)
        ui.takeBackButton.connect("clicked()", self.take_back)
        ui.dismissButton.connect("clicked()", self.dismiss)
        self._menu = qt.QMenu(ui.recoverButton)
        self._menu.connect("aboutToShow()", self._fill_menu)
        ui.recoverButton.setMenu(self._menu)
        desk.listen(self.follow)

    def choose(self, folder: Path) -> None:
        """Keep versions in ``folder`` from now on."""
        self.autosave.choose(folder, True)
        self.ui.autosaveBox.blockSignals(True)
        self.ui.autosaveBox.checked = True
        self.ui.autosaveBox.blockSignals(False)
        self._in_hand = (None, "")
        self.follow()

    def follow(self) -> None:
        """Another mask in hand: what was kept of it is offered. The same one changed: it will be saved."""
        now = (self.desk.segmentation, self.desk.segment_id)
        if now != self._in_hand:
            self.autosave.flush()
            self._in_hand = now
            self.autosave.code = self._code()
            self._digest = self.desk.live.current.digest
            self._offer()
        elif self.autosave.code != self._code():  # measured meanwhile
            self.autosave.code = self._code()
        digest = self.desk.live.current.digest
        if digest and digest != self._digest:
            self._digest = digest
            self.autosave.edited()
        self.refresh()

    def refresh(self) -> None:
        ui, folder = self.ui, self.autosave.folder
        code = "" if self.autosave.code else _("Measure the mask first.")
        no_folder = "" if folder is not None else _("Choose a folder first.")
        grey(ui.recoverButton, no_folder or code, _("Take an earlier version back, after a crash too."))
        ui.recoveryFrame.setVisible(self._offered is not None)
        if self._offered is not None:
            words = _("A version of this mask was kept on {time} and is not in it.")
            ui.recoveryLabel.setText(words.format(time=version_words(self._offered)))
        ui.autosaveLabel.setVisible(bool(ui.autosaveLabel.text))
        ui.autosaveButton.toolTip = _("Where versions are kept. Nothing else is written there.")

    def take_back(self) -> None:
        if self._offered is not None:
            self.restore(self._offered)

    def dismiss(self) -> None:
        store, version = self.autosave.store, self._offered
        if store is not None and version is not None:
            self.desk.attempt(lambda: store.dismiss(version))
        self._offered = None
        self.refresh()

    def restore(self, version: SavedVersion) -> None:
        """Put a version in place of the mask in hand, as one step of its undo."""
        from SpinalCordSegLib.correction.correction_store import read_version

        segmentation, segment_id = self.desk.segmentation, self.desk.segment_id
        self._editor.save_state()
        if self.desk.attempt(lambda: replace_mask(segmentation, segment_id, read_version(version))):
            self.desk.tell(_("The version of {time} is back.").format(time=version_words(version)))
            self._offered = None
        self.refresh()

    def leave(self) -> None:
        self.autosave.flush()

    def close(self) -> None:
        self.autosave.flush()
        self.autosave.code, self._in_hand, self._offered = "", (None, ""), None

    def _mask(self) -> Any:
        return mask_of_segment(*self._in_hand)

    def _told(self, words: str) -> None:
        self.ui.autosaveLabel.setText(words)
        self.ui.autosaveLabel.setVisible(bool(words))

    def _code(self) -> str:
        result = self.desk.result
        content = {} if result is None else result.report_content()
        fingerprint = str((content.get("input") or {}).get("fingerprint") or "")
        return f"case-{fingerprint[:16]}" if fingerprint else ""

    def _offer(self) -> None:
        """Look whether a version is work that is nowhere else."""
        self._offered = None
        if not self.autosave.code or self.autosave.folder is None:
            return
        from SpinalCordSegLib.measurement.mask_changes import mask_sha256

        try:
            self._offered = self.autosave.recovery(mask_sha256(self._mask()))
        except SpinalCordSegError as error:
            self._told(str(error))

    def _on_toggled(self, on: bool) -> None:
        if on and self.autosave.folder is None:
            self._on_folder()
        else:
            self.autosave.choose(self.autosave.folder, on)
        self.ui.autosaveBox.checked = self.autosave.is_on

    def _on_folder(self) -> None:
        folder = ask_folder(self.ui.section, _("Folder for versions"))
        if folder is not None:
            self.choose(folder)

    def _fill_menu(self) -> None:
        self._menu.clear()
        try:
            versions = self.autosave.versions()
        except SpinalCordSegError as error:
            self._told(str(error))
            return
        for version in versions:
            action = self._menu.addAction(version_words(version))
            action.connect("triggered()", lambda chosen=version: self.restore(chosen))
        if not versions:
            self._menu.addAction(_("None was kept yet")).enabled = False
