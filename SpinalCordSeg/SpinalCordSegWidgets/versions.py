"""Earlier masks of the current case, to be restored: autosaves made while it is corrected, and the versions that its
case folder keeps of what a person accepted or stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import SpinalCordSegError
from SpinalCordSegLib.volume import Volume, mask_sha256
from SpinalCordSegNodes.segmentations import mask_of_segment
from SpinalCordSegWidgets.section import ask_folder, fill_menu, show_text, single_shot

if TYPE_CHECKING:
    from SpinalCordSegLib.mask_versions import MaskVersions, SavedVersion
    from SpinalCordSegWidgets.main_widget import Panel

# From the first stroke that is not saved until it is begun to be saved: with the saving itself well under 30 s.
WAIT_MS = 20_000
_KEPT = 20  # autosaves of a case; the oldest go
_KEY = "SpinalCordSeg/VersionsFolder"


class Versions:
    """Nothing is autosaved until the user has chosen a folder, which Slicer's settings remember.

    Each case has a code, made from its image's fingerprint: no name is written. Saving takes up to a second.
    """

    def __init__(self, panel: Panel, restore: Callable[[Volume], bool]) -> None:
        """``restore``: puts a mask in place of the current one, as one step of its undo; False where it cannot."""
        self._panel, self._current, self._restore = panel, panel.current, restore
        self._label, self._button = panel.ui.versionsLabel, panel.ui.versionsButton
        self._which: tuple[Any, str] = (None, "")
        self._code = self._digest = ""
        self._timer = single_shot(WAIT_MS, self.save)
        fill_menu(self._button, self._actions)

    @property
    def folder(self) -> Path | None:
        """Where autosaves are kept; None while none are."""
        stored = str(qt.QSettings().value(_KEY) or "")
        return Path(stored) if stored else None

    @property
    def store(self) -> MaskVersions | None:
        """Autosaves of the current case; None without a folder or a case."""
        from SpinalCordSegLib.mask_versions import MaskVersions

        if self.folder is None or not self._code:
            return None
        return MaskVersions(self.folder / f"{self._code}.corrections", keep=_KEPT)

    def choose(self, folder: Path | None) -> None:
        """Keep autosaves in ``folder`` from now on; None: keep none."""
        qt.QSettings().setValue(_KEY, "" if folder is None else str(folder))
        self.forget()
        self.follow()

    def follow(self) -> None:
        """For another mask, an autosave that it does not contain is named. The same mask, changed, will be saved."""
        current, digest = self._current, self._current.live.digest
        fingerprint = "" if current.result is None else current.result.case.input.fingerprint
        code = f"case-{fingerprint[:16]}" if fingerprint else ""
        if current.which != self._which:
            self.flush()
            self._which, self._code, self._digest = current.which, code, digest
            show_text(self._label, self._not_in_mask())
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
            text = _("Saved already.") if saved is None else _("Saved: {time}.").format(time=time_text(saved))
        show_text(self._label, text)

    def flush(self) -> None:
        """Save what waits: another mask, another scene, or the end of Slicer comes next."""
        if self._timer.isActive():
            self.save()

    def forget(self) -> None:
        """Follow no mask, and save nothing of it any more."""
        self._timer.stop()
        self._code, self._which = "", (None, "")

    def restore(self, version: SavedVersion) -> None:
        read = self._panel.attempt(version.read)
        if read and self._restore(read[0]):
            text = _("The mask of {time} was restored.").format(time=time_text(version))
            self._panel.show_message(text)
            show_text(self._label, text)

    def _not_in_mask(self) -> str:
        """A sentence about an autosave that is work that is nowhere else; "" without one."""
        store = self.store
        if store is None:
            return ""

        try:
            found = store.recovery(mask_sha256(mask_of_segment(*self._which)))
        except SpinalCordSegError as error:
            return str(error)
        text = _("This mask does not contain its autosave of {time}: “Earlier masks” restores it.")
        return "" if found is None else text.format(time=time_text(found))

    def _actions(self) -> list[tuple[str, Callable[[], Any] | None]]:
        """Of the menu: where autosaves are kept, and what can be restored of the current case."""
        from SpinalCordSegLib.case_folder import versions

        actions: list[tuple[str, Callable[[], Any] | None]] = [
            (_("Autosave in a folder…"), lambda: ask_folder(self._button, _("Folder for autosaves"), self.choose))
        ]
        if self.folder is not None:
            actions.append((_("Autosave no more"), lambda: self.choose(None)))
            actions += self._restoring(self.store, _("Restore {time}")) or [(_("No autosave yet"), None)]
        case = self._panel.work_list.case_of(self._current.node)
        if case is not None and case.folder is not None:
            actions += self._restoring(versions(case.folder), _("Version {number}, {time}, {who}"))
        return actions

    def _restoring(self, store: MaskVersions | None, title: str) -> list[tuple[str, Callable[[], Any] | None]]:
        listed = () if store is None else self._panel.attempt(store.versions)
        restore = self._panel.for_this_mask(self.restore)
        return [
            (
                title.format(number=one.number, time=time_text(one), who=" ".join(filter(None, one.maker()))),
                lambda chosen=one: restore(chosen),  # type: ignore[misc]
            )
            for one in (listed[0] if listed else ())
        ]


def time_text(version: SavedVersion) -> str:
    """ "2024-01-31, 12:03:04" in the user's own time."""
    return version.when.astimezone().strftime("%Y-%m-%d, %H:%M:%S")
