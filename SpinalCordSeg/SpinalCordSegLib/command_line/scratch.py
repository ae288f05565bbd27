"""A temporary folder that holds somebody's images, and is gone afterwards even if the program that made it crashed.

Its owner keeps a lock on a file in it. The system drops the lock when the owner ends, however it ends: from then on
anybody of ours who comes by removes the folder.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

PREFIX = "spinalcordseg-"
_LOCK_NAME = "owner.lock"


class ScratchFolder:
    """A folder of ours below ``base``; names in it are for the caller to choose, in ASCII."""

    def __init__(self, path: Path, lock: IO[bytes]) -> None:
        self.path = path
        self._lock: IO[bytes] | None = lock

    @classmethod
    def create(cls, base: Path | None = None) -> ScratchFolder:
        """A new empty folder below ``base`` (the system's temporary folder without one). Raises OSError."""
        if base is not None:
            base.mkdir(parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        lock = (path / _LOCK_NAME).open("wb")
        _try_lock(lock)
        return cls(path, lock)

    def remove(self) -> None:
        """Remove the folder and all in it; harmless when it is gone already. What cannot be removed yet is left."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        _remove(self.path)


def remove_abandoned(base: Path | None = None) -> int:
    """Remove the folders below ``base`` whose owners are gone; gives how many. Folders in use are left alone."""
    removed = 0
    for path in Path(base or tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if _is_abandoned(path):
            _remove(path)
            removed += not path.exists()
    return removed


def _remove(path: Path) -> None:
    """The lock's file last, and only when nothing else is left: by it the folder is known as ours the next time."""
    left = [one for one in path.glob("*") if one.name != _LOCK_NAME] if path.is_dir() else []
    for one in left:
        if one.is_dir() and not one.is_symlink():
            shutil.rmtree(one, ignore_errors=True)
        else:
            with suppress(OSError):  # open in another program: the next of ours who comes by tries again
                one.unlink()
    if not any(one.exists() for one in left):
        shutil.rmtree(path, ignore_errors=True)


def _is_abandoned(path: Path) -> bool:
    try:
        with (path / _LOCK_NAME).open("rb+") as lock:
            return _try_lock(lock)
    except OSError:  # no such folder of ours, or somebody else's and not for us to open
        return False


def _try_lock(file: IO[bytes]) -> bool:
    """Lock a file until it is closed; False when another process has it."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)  # type: ignore[attr-defined, unused-ignore]
    except OSError:
        return False
    return True
