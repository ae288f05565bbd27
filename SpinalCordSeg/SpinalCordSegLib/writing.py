"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from SpinalCordSegLib.errors import OutputError

_PART = re.compile(r"\.(.+\.)?[0-9a-f]{12}\.part(\..+)?", re.DOTALL)
_ABANDONED_S = 3600.0  # what is half-written so long belongs to a program that was killed
_WINDOWS_IN_USE = (32, 33)  # sharing and lock violation
_OPEN_ELSEWHERE = "it is open in another program: close it there (Excel holds tables)"
_DOUBLE_SUFFIXES = (".seg.nrrd", ".nii.gz", ".gipl.gz", ".img.gz")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` (same suffix); what was written there replaces ``path`` at the end.

    Missing parent folders are made. On any error the temporary file is removed and ``path`` stays as it was.
    Raises OutputError for what the system refuses: no permission, full disk, a folder of that name.
    """
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(6)}.part{file_suffix(path)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {explain(error)}") from error
    finally:
        _remove(temporary)


def is_plain_name(name: str) -> bool:
    """True for what names one file or folder and leads nowhere else, on any system: no separator, drive or ".."."""
    parts = PurePosixPath(name).parts, PureWindowsPath(name).parts
    return bool(name) and "\0" not in name and name not in (".", "..") and parts == ((name,), (name,))


def inside(folder: Path, name: str) -> Path:
    """``folder``/``name``, to be written. Raises OutputError where that would be anywhere else than in ``folder``:
    another path in the name, or a link in its place that leads away."""
    path = folder / name
    if not is_plain_name(name):
        raise OutputError(f'cannot write into {folder}: "{name}" is no name for a file; use another name')
    # not Path.resolve(), which raises for links in a ring
    if path.is_symlink() or os.path.dirname(os.path.realpath(path)) != os.path.realpath(folder):
        raise OutputError(f"cannot write {path}: a link leads elsewhere; remove it or choose another output folder")
    return path


def remove_abandoned_parts(folder: Path, age_s: float = _ABANDONED_S) -> None:
    """Remove half-written files and folders of ours in ``folder`` that nobody wrote to for ``age_s`` seconds: what
    killed programs left. What cannot be removed stays."""
    try:
        parts = [path for path in folder.iterdir() if _PART.fullmatch(path.name)]
        left = [path for path in parts if _last_written_s(path) < time.time() - age_s]
    except OSError:
        return
    for path in left:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            _remove(path)


def _last_written_s(path: Path) -> float:
    """When something was last written to a file, or into a folder: its own time stands still while its files grow."""
    inside = path.iterdir() if path.is_dir() and not path.is_symlink() else ()
    return max(one.lstat().st_mtime for one in (path, *inside))


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # the folder itself is gone or unreachable; then nothing was left in it by us
        return


def file_suffix(path: Path) -> str:
    """The suffix that tells the format, ".nii.gz" and ".seg.nrrd" counted as one; "" where there is none."""
    name = path.name.lower()
    return next((double for double in _DOUBLE_SUFFIXES if name.endswith(double)), path.suffix.lower())


def explain(error: OSError) -> str:
    """What the system refused, and what to do about it."""
    windows_error = getattr(error, "winerror", None)  # there, a file that is open elsewhere is refused as if forbidden
    if error.errno == errno.EBUSY or windows_error in _WINDOWS_IN_USE:
        return _OPEN_ELSEWHERE
    if error.errno == errno.EACCES and windows_error is not None:
        return f"no permission, or {_OPEN_ELSEWHERE}, or choose a folder you may write to"
    known = {
        errno.ENOSPC: "the disk is full; free some space or choose another output folder",
        errno.EDQUOT: "the disk quota is used up; free some space or choose another output folder",
        errno.EFBIG: "the file is larger than this disk or account allows; choose another output folder",
        errno.EACCES: "no permission; choose a folder you may write to",
        errno.EPERM: "no permission; choose a folder you may write to",
        errno.EROFS: "the disk is read-only; choose another output folder",
        errno.EISDIR: "a folder of that name is in the way; remove it or choose another output folder",
        errno.EEXIST: "a file is where a folder is needed; choose another output folder",
        errno.ENOTDIR: "a file is where a folder is needed; choose another output folder",
        errno.ENOTEMPTY: "another program wrote there in the meantime; choose another output folder",
        errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    }
    return known.get(error.errno or 0, error.strerror or type(error).__name__)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with "\\n" line ends, atomically. Raises OutputError."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, content: Any) -> None:
    """Write JSON (UTF-8, indented), atomically. NaN and infinity are refused by ValueError: map them to null first.

    Raises OutputError.
    """
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
