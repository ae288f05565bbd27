"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.errors import GeometryError, InputFileError, OutputError, SpinalCordSegError, VoxelError

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


# JSON from files that anybody may have written.


def parse_json(text: str | bytes) -> Any:
    """As json.loads, but ValueError is all it raises: text nested so deeply that Python gives up is not JSON either."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


# Keep libraries from writing to stderr: a user gets one line, ours.


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Nothing that ITK and the C libraries below it print inside this block is seen.

    They use the process's file descriptor 2, so what other threads write there meanwhile is lost too.
    """
    try:
        kept = os.dup(2)
    except OSError:  # no stderr at all, as under pythonw
        yield
        return
    import SimpleITK as sitk  # half a second: not where only a path is checked

    shows_warnings = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        sitk.ProcessObject.SetGlobalWarningDisplay(shows_warnings)


# What a header claims against what its file can hold: refused before anything is read or memory is taken for it.


_MOST_VOXELS = 1 << 32  # of a volume; the largest MR volumes have a hundredth of it
_MOST_AXES = 10  # MetaIO writes the numbers of more axes than this beyond its memory
_MOST_TIMES = 1100  # bytes that one byte of deflate can stand for, at most 1032
_HEADER_BYTES = 1 << 16
_AXES = re.compile(rb"^\s*NDims\s*=\s*(\S*)", re.MULTILINE)
_DATA_FILE = re.compile(rb"^\s*(?:ElementDataFile\s*=|data ?file:)[ \t]*([^\r\n]*)", re.MULTILINE | re.IGNORECASE)
_MOST_DIGITS = 100
_LONG_NUMBER = re.compile(rb"[-+.0-9eE]{%d}" % (_MOST_DIGITS + 1))
_END = re.compile(rb"\r?\n\r?\n")
_TEXT_SUFFIXES = (".mha", ".mhd", ".nhdr")


def check_text_header(path: Path) -> None:
    """Refuse what ends the program inside ITK's readers of NRRD and MetaImage. Raises InputFileError, OSError."""
    if file_suffix(path) in (".nrrd", ".seg.nrrd", ".nhdr"):
        _check_numbers(path)
    if file_suffix(path) not in (".mha", ".mhd"):
        return
    for found in _AXES.findall(text_head(path)):
        if not (found.isdigit() and len(found) < 3 and 0 < int(found) <= _MOST_AXES):
            raise InputFileError(
                f"{path.name} has NDims = {found[:20].decode(errors='replace')}; expected 3: the header is damaged"
            )


def _check_numbers(path: Path) -> None:
    """ITK's NRRD reader runs out of its stack on a number of thousands of digits. Entries of NAME:=TEXT may be long."""
    fields = [line for line in _END.split(text_head(path), maxsplit=1)[0].splitlines() if b":=" not in line]
    if any(_LONG_NUMBER.search(line) for line in fields):
        raise InputFileError(f"{path.name} holds a number of more than {_MOST_DIGITS} digits: the header is damaged")


def check_claimed_size(path: Path, shape: tuple[int, ...], bytes_a_voxel: int) -> None:
    """Raise GeometryError for more voxels than any MR volume has, InputFileError for more than the file can hold."""
    claimed = math.prod(shape)
    if claimed > _MOST_VOXELS:
        raise GeometryError(
            f"the header claims {'×'.join(map(str, shape))} voxels, more than any MR volume has: the header is damaged"
        )
    available = _available_bytes(path)
    if available is not None and claimed * bytes_a_voxel > available * _MOST_TIMES:
        raise InputFileError(
            f"{path.name} cannot be read: it is cut short: the header claims {claimed * bytes_a_voxel} bytes of voxels,"
            f" there are {available} bytes; copy it again"
        )


def _available_bytes(path: Path) -> int | None:
    """Of the file and, for a detached header, of the file that it names; None where it names several."""
    size = path.stat().st_size
    if file_suffix(path) == ".hdr":
        return size + sum(one.stat().st_size for one in path.parent.glob(f"{path.stem}.[iI]*") if one.is_file())
    if file_suffix(path) not in _TEXT_SUFFIXES:
        return size
    found = _DATA_FILE.search(text_head(path))
    name = found[1].strip().decode("utf-8", "replace") if found else "LOCAL"
    if name.upper() == "LOCAL":
        return size
    if name.upper().startswith("LIST") or "%" in name or "\0" in name or len(name) > 4000:
        return None
    data = path.parent / name
    return size + (data.stat().st_size if data.is_file() else 0)


def text_head(path: Path) -> bytes:
    """The beginning of a file, in which the header of a NRRD or MetaImage file lies. Raises OSError."""
    with path.open("rb") as file:
        return file.read(_HEADER_BYTES)


# Voxels that are not numbers: counted, located and refused.


def check_finite(voxels: NDArray) -> None:
    """Raise VoxelError, without the file's name, when a voxel is NaN or infinite. Integers always pass."""
    if voxels.dtype.kind != "f":
        return
    good = np.isfinite(voxels)
    if good.all():
        return
    n_nan = int(np.isnan(voxels).sum())
    first = np.unravel_index(int(np.argmin(good)), voxels.shape)
    refuse_not_finite(n_nan, int(voxels.size - good.sum()) - n_nan, tuple(map(int, first)))


def refuse_not_finite(n_nan: int, n_infinite: int, first: tuple[int, ...]) -> None:
    """Raise VoxelError for these counts; ``first``: index of the first such voxel."""
    raise VoxelError(
        f"{n_nan} voxels are NaN and {n_infinite} infinite (one at i, j, k = {first});"
        " expected finite numbers: replace them, for instance by 0"
    )


# Why a case failed, in one line that tells nobody's name.


_NO_NAME = re.compile(r"[\W\d_]*[^\W\d_]?[\W\d_]*")  # "07" or "a" stands in every sentence, and is nobody's name
_SHORTEST_BESIDE = 4  # files have longer names; a folder "out" or "T1" is a word of the sentence


def reason(error: BaseException) -> str:
    """One line for a user. Of an unexpected error only its kind: its text could quote the data."""
    if isinstance(error, (SpinalCordSegError, MemoryError)):
        return " ".join(str(error).split())
    if isinstance(error, OSError):
        return f"the system refused: {error.strerror or type(error).__name__}"
    return f"an unexpected {type(error).__name__} inside the program; --verbose shows where"


def without_folders(text: str, path: Path) -> str:
    """``text`` with ``path`` named by its last part alone: the folders above an image are often called after people."""
    for parent in {str(path.parent), os.path.abspath(path.parent)}:
        if parent != ".":
            text = text.replace(parent.rstrip(os.sep) + os.sep, "")
    return text


def without_names(text: str, path: Path) -> str:
    """``text`` without the names of ``path``, of the folders above it and of the files in it or, of a file, beside it:
    scanners and archives make them of the patient's name."""
    is_folder = os.path.isdir(path)
    word = "the folder" if is_folder else "the file"
    full = os.path.abspath(path)
    for whole in (full, str(path)):
        if os.sep in whole:
            text = text.replace(whole, word)
    text = replace_names(without_folders(text, path), [os.path.basename(full)], word)
    names: set[str] = set()
    with suppress(OSError):  # a share that went away: what is there cannot be looked up
        found = path.rglob("*") if is_folder else path.parent.glob("*")
        names = {file.name for file in found if len(file.name) >= _SHORTEST_BESIDE}
    return replace_names(text, names, "a file")


def replace_names(text: str, names: Iterable[str], word: str) -> str:
    """``word`` in the place of each of ``names`` that stands by itself in ``text``; numbers are nobody's name."""
    found = {name for name in names if name in text and not _NO_NAME.fullmatch(name)}
    for name in sorted(found, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", word, text)
    return text
