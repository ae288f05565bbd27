"""Versions of the mask in hand while it is corrected: saved by themselves, offered after a crash."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import SpinalCordSegError
from SpinalCordSegLib.images.volume import Volume

if TYPE_CHECKING:  # they bring SimpleITK along: not when the panel opens
    from SpinalCordSegLib.correction.correction_store import CorrectionStore, SavedVersion

# From the first stroke that is not saved until it is begun to be saved: with the saving itself well under 30 s.
WAIT_MS = 20_000
_POLL_MS = 200
_FOLDER_KEY, _ON_KEY = "SpinalCordSeg/VersionsFolder", "SpinalCordSeg/KeepVersions"


class Autosave:
    """``mask``: gives the mask as it is now. ``told``: called with the outcome of a save, in words.

    A save runs beside the user's work, in a thread; ``finish`` waits for it. Off until the user chose a folder.
    """

    def __init__(self, mask: Callable[[], Volume], told: Callable[[str], None]) -> None:
        self._mask, self._told = mask, told
        self.code = ""
        self._thread: threading.Thread | None = None
        self._said: list[str] = []
        self._timer, self._poll = qt.QTimer(), qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(WAIT_MS)
        self._timer.connect("timeout()", self.save)
        self._poll.setInterval(_POLL_MS)
        self._poll.connect("timeout()", self._look)

    @property
    def folder(self) -> Path | None:
        """Where versions are kept; None until somebody chose."""
        stored = str(qt.QSettings().value(_FOLDER_KEY) or "")
        return Path(stored) if stored else None

    @property
    def is_on(self) -> bool:
        return self.folder is not None and str(qt.QSettings().value(_ON_KEY) or "") == "true"

    @property
    def waiting(self) -> bool:
        """Whether a stroke is not saved yet."""
        return bool(self._timer.isActive())

    @property
    def store(self) -> CorrectionStore | None:
        """Of the case in hand; None without a folder or a case."""
        from SpinalCordSegLib.correction.correction_store import CorrectionStore

        return CorrectionStore(self.folder, self.code) if self.folder is not None and self.code else None

    def choose(self, folder: Path | None, on: bool) -> None:
        """Keep versions in ``folder`` from now on, or not."""
        settings = qt.QSettings()
        settings.setValue(_FOLDER_KEY, "" if folder is None else str(folder))
        settings.setValue(_ON_KEY, "true" if on else "false")
        if not self.is_on:
            self._timer.stop()

    def edited(self) -> None:
        """The mask was changed. Further strokes do not put the save off."""
        if self.is_on and self.code and not self._timer.isActive():
            self._timer.start()

    def save(self) -> None:
        """Begin to save the mask as it is now."""
        self._timer.stop()
        store = self.store
        if store is None or not self.is_on:
            return
        self.finish()
        try:
            mask = self._mask()
        except SpinalCordSegError as error:  # the mask is gone; there is nothing to keep
            self._told(str(error))
            return
        self._thread = threading.Thread(target=self._save, args=(store, mask), daemon=False)
        self._thread.start()
        self._poll.start()

    def flush(self) -> None:
        """Save what is waiting, and wait for it: another mask, another scene, or the end of Slicer comes next."""
        if self._timer.isActive():
            self.save()
        self.finish()

    def finish(self) -> None:
        if self._thread is not None:
            self._thread.join()
        self._look()

    def recovery(self, sha256: str) -> SavedVersion | None:
        """The newest version, where it is not the mask in hand (its mask_sha256) and nobody dismissed it.

        Raises OutputError when the folder cannot be read.
        """
        store = self.store
        return None if store is None else store.recovery(sha256)

    def versions(self) -> tuple[SavedVersion, ...]:
        """Of the case in hand, the newest first. Raises OutputError."""
        store = self.store
        return () if store is None else store.versions()

    def _save(self, store: CorrectionStore, mask: Volume) -> None:
        try:
            saved = store.save(mask)
        except SpinalCordSegError as error:
            self._said.append(_("NOT kept: {reason}").format(reason=error))
        else:
            when = "" if saved is None else saved.when.astimezone().strftime("%H:%M:%S")
            self._said.append(_("Kept at {time}.").format(time=when) if saved else _("Kept already."))

    def _look(self) -> None:
        if self._thread is not None and not self._thread.is_alive():
            self._thread = None
            self._poll.stop()
            for words in self._said:
                self._told(words)
            self._said.clear()


def version_words(version: Any) -> str:
    """ "31 Jan 2024, 12:03:04" in the user's own time."""
    return str(version.when.astimezone().strftime("%Y-%m-%d, %H:%M:%S"))
