"""Earlier masks of the current case, to be restored: autosaves while it is corrected, offered after a crash, and the
versions that its case folder keeps of what a person accepted or stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import SpinalCordSegError
from SpinalCordSegLib.volume import Volume
from SpinalCordSegNodes.segmentations import mask_of_segment
from SpinalCordSegWidgets.section import ask_folder, fill_menu, on_click, show_text, single_shot

if TYPE_CHECKING:
    from SpinalCordSegLib.mask_versions import MaskVersions, SavedVersion
    from SpinalCordSegWidgets.main_widget import Panel

# From the first stroke that is not saved until it is begun to be saved: with the saving itself well under 30 s.
WAIT_MS = 20_000
_KEPT = 20  # autosaves of a case; the oldest go
_KEY = "SpinalCordSeg/VersionsFolder"


class Versions:
    """Nothing is kept until the user has chosen a folder, which Slicer's settings remember.

    Each case has a code, made from its image's fingerprint: no name is written. Saving takes up to a second.
    """

    def __init__(self, panel: Panel, restore: Callable[[Volume], bool]) -> None:
        """``restore``: puts a mask in place of the current one, as one step of its undo; False where it cannot."""
        self._panel, self._ui, self._current, self._restore = panel, panel.ui, panel.current, restore
        self._which: tuple[Any, str] = (None, "")
        self._code = self._digest = ""
        self._offered: SavedVersion | None = None
        self._timer = single_shot(WAIT_MS, self.save)
        fill_menu(self._ui.versionsButton, self._actions)
        on_click(self._ui, takeBackButton=self.take_back, dismissButton=self.dismiss)

    @property
    def folder(self) -> Path | None:
        """Where autosaves are kept; None while none are."""
        stored = str(qt.QSettings().value(_KEY) or "")
        return Path(stored) if stored else None

    @property
    def store(self) -> MaskVersions | None:
        """Of the current case; None without a folder or a case."""
        from SpinalCordSegLib.mask_versions import MaskVersions

        if self.folder is None or not self._code:
            return None
        return MaskVersions(self.folder / f"{self._code}.corrections", keep=_KEPT)

    def choose(self, folder: Path | None) -> None:
        """Keep autosaves in ``folder`` from now on; None: keep none."""
        qt.QSettings().setValue(_KEY, "" if folder is None else str(folder))
        self._timer.stop()
        self._which = (None, "")
        self.follow()

    def follow(self) -> None:
        """For another mask, what was kept of it is offered. The same mask, changed, will be saved."""
        current, digest = self._current, self._current.live.digest
        fingerprint = "" if current.result is None else current.result.case.input.fingerprint
        code = f"case-{fingerprint[:16]}" if fingerprint else ""
        if current.which != self._which:
            self.flush()  # a message of that names no mask
            show_text(self._ui.versionsLabel, "")
            self._which, self._code, self._digest = current.which, code, digest
            self._offer()
        self._code = code  # it may have been measured meanwhile
        if digest and digest != self._digest:
            self._digest = digest
            if self.store is not None and not self._timer.isActive():  # further strokes do not put the save off
                self._timer.start()

    def save(self) -> None:
        """Save the mask as it is now."""
        self._timer.stop()
        store = self.store
        if store is None:
            return
        try:
            saved = store.save(mask_of_segment(*self._which))
        except SpinalCordSegError as error:
            text = _("The mask that was changed last was NOT saved: {reason}").format(reason=error)
            self._panel.show_message(text)  # also where the current mask changed meanwhile
        else:
            when = "" if saved is None else saved.when.astimezone().strftime("%H:%M:%S")
            text = _("Saved at {time}.").format(time=when) if saved else _("Saved already.")
        show_text(self._ui.versionsLabel, text)

    def flush(self) -> None:
        """Save what waits: another mask, another scene, or the end of Slicer comes next."""
        if self._timer.isActive():
            self.save()

    def take_back(self) -> None:
        if self._offered is not None:
            self.restore(self._offered)

    def dismiss(self) -> None:
        """Do not offer that autosave again."""
        store, version = self.store, self._offered
        if store is not None and version is not None:
            self._panel.attempt(lambda: store.dismiss(version))
        self._show_offer(None)

    def restore(self, version: SavedVersion) -> None:
        read: list[Volume] = []
        if self._panel.attempt(lambda: read.append(version.read())) and self._restore(read[0]):
            self._panel.show_message(_("The mask of {time} was restored.").format(time=version_text(version)))
            self._show_offer(None)

    def close(self) -> None:
        self.flush()
        self._code, self._which = "", (None, "")
        self._show_offer(None)

    def _offer(self) -> None:
        """Look whether an autosave is work that is nowhere else."""
        offered, store = None, self.store
        if store is not None:
            from SpinalCordSegLib.metrics import mask_sha256

            try:
                offered = store.recovery(mask_sha256(mask_of_segment(*self._which)))
            except SpinalCordSegError as error:
                show_text(self._ui.versionsLabel, str(error))
        self._show_offer(offered)

    def _show_offer(self, version: SavedVersion | None) -> None:
        self._offered = version
        self._ui.recoveryFrame.setVisible(version is not None)
        if version is not None:
            text = _("This mask was autosaved on {time}. The current mask does not contain it.")
            self._ui.recoveryLabel.setText(text.format(time=version_text(version)))

    def _actions(self) -> list[tuple[str, Callable[[], Any] | None]]:
        """Of the menu: where autosaves are kept, and what can be restored of the current case."""
        actions: list[tuple[str, Callable[[], Any] | None]] = [(_("Autosave in a folder…"), self._ask_folder)]
        if self.folder is not None:
            actions.append((_("Autosave no more"), lambda: self.choose(None)))
            kept = self._restoring(self.store, _("Restore {time}"))
            actions += kept or [(_("No autosave yet"), None)]
        return actions + self._restoring(self._of_case(), _("Version {number}, {time}, {who}"))

    def _of_case(self) -> MaskVersions | None:
        """What the current case's own folder keeps; None for a mask that the work list did not open."""
        from SpinalCordSegLib.case import versions

        case = self._panel.work_list.case_of(self._current.node)
        return None if case is None or case.folder is None else versions(case.folder)

    def _restoring(self, store: MaskVersions | None, title: str) -> list[tuple[str, Callable[[], Any] | None]]:
        found: list[SavedVersion] = []
        if store is not None:
            self._panel.attempt(lambda: found.extend(store.versions()))
        restore = self._panel.for_this_mask(self.restore)
        return [
            (
                title.format(number=one.number, time=version_text(one), who=" ".join(filter(None, one.maker()))),
                lambda chosen=one: restore(chosen),  # type: ignore[misc]
            )
            for one in found
        ]

    def _ask_folder(self) -> None:
        ask_folder(self._ui.versionsButton, _("Folder for autosaves"), self.choose)


def version_text(version: SavedVersion) -> str:
    """ "2024-01-31, 12:03:04" in the user's own time."""
    return version.when.astimezone().strftime("%Y-%m-%d, %H:%M:%S")
