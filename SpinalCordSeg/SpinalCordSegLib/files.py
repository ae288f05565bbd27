"""Files appear whole or not at all; locks, names, JSON of dataclasses, and texts that quote no name."""

from __future__ import annotations

import csv
import errno
import io
import json
import math
import os
import re
import secrets
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import NoneType, UnionType
from typing import IO, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from SpinalCordSegLib.errors import InputFileError, OutputError, SpinalCordSegError

_PART = re.compile(r"\.(.+\.)?[0-9a-f]{12}\.part(\..+)?", re.DOTALL)
_ABANDONED_S = 3600.0  # what is half-written so long belongs to a program that was killed
_WINDOWS_IN_USE = (32, 33)  # sharing and lock violation
_OPEN_ELSEWHERE = "it is open in another program: close it there (Excel holds tables)"
_DOUBLE_SUFFIXES = (".seg.nrrd", ".nii.gz", ".gipl.gz", ".img.gz")


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """What the system refuses inside becomes an OutputError that names ``path``."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {explain(error)}") from error


def free_path(path: Path) -> Path:
    """``path``, or NAME-2, NAME-3, … with its suffix, whichever is not there yet."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` (same suffix); what was written there replaces ``path`` at the end.

    Missing parent folders are made. On any error the temporary file is removed and ``path`` stays as it was.
    Raises OutputError for what the system refuses: no permission, full disk, a folder of that name.
    """
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(6)}.part{file_suffix(path)}")
    with output_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb+") as written:
                os.fsync(written.fileno())
            os.replace(temporary, path)
        finally:
            _remove(temporary)


def user_folder() -> Path:
    """The user's own, in the platform's data folder: models, and the salt of identities. It may not exist."""
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return base / "SpinalCordSeg"


def is_plain_name(name: str) -> bool:
    """True for what names one file or folder and leads nowhere else, on any system: no separator, drive or ".."."""
    parts = PurePosixPath(name).parts, PureWindowsPath(name).parts
    return bool(name) and "\0" not in name and name not in (".", "..") and parts == ((name,), (name,))


def inside(folder: Path, name: str) -> Path:
    """``folder``/``name``, to be written. Raises OutputError where that would be anywhere else than in ``folder``:
    another path in the name, or a link in its place that leads away."""
    path = folder / name
    if not is_plain_name(name):
        raise OutputError(f'cannot write into {folder}: "{name}" is not a name for a file; use another name')
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
    with suppress(OSError):  # the folder itself is gone or unreachable; then nothing was left in it by us
        path.unlink(missing_ok=True)


def file_suffix(path: Path) -> str:
    """The suffix that tells the format, ".nii.gz" and ".seg.nrrd" counted as one; "" where there is none."""
    name = path.name.lower()
    return next((double for double in _DOUBLE_SUFFIXES if name.endswith(double)), path.suffix.lower())


def file_stem(path: Path) -> str:
    """Its name without ``file_suffix``."""
    return path.name[: len(path.name) - len(file_suffix(path))]


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
    """Write JSON (UTF-8, indented), atomically. Raises OutputError, and ValueError for NaN and infinity."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def parse_json(text: str | bytes) -> Any:
    """As json.loads, but ValueError is all it raises: text nested so deeply that Python gives up is not JSON either."""
    try:
        return json.loads(text)
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8 text") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def json_object(path: Path) -> dict[str, Any]:
    """What a JSON file holds; {} where there is none that can be read, or it holds no object."""
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def now_utc() -> str:
    """ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def read_table(path: Path) -> list[tuple[int, dict[str, str]]]:
    """(line number, row) of a table (comma, semicolon or tab) whose first line names its columns, here in lower case.

    Cells are stripped; empty rows are left out. Raises InputFileError when it cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except OSError as error:
        why = "it is a folder: give a table" if path.is_dir() else explain(error)
        raise InputFileError(f"{path}: cannot be read ({why})") from error
    except UnicodeDecodeError as error:
        raise InputFileError(f"{path.name} is not UTF-8 text; save the table as CSV UTF-8") from error
    if "\0" in text:  # which csv refused before Python 3.11, and no path holds
        raise InputFileError(f"{path.name} holds a zero byte, so it is damaged or no text; save the table as CSV UTF-8")
    head = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max("\t;,", key=head.count))
    try:
        names = Counter(name.strip().lower() for name in reader.fieldnames or ())
        if twice := [name for name, n in names.items() if name and n > 1]:
            raise InputFileError(f"{path.name} has two columns {twice[0]}: keep the one that is meant")
        return [(reader.line_num, cells) for cells in map(_cells, reader) if any(cells.values())]
    except csv.Error as error:
        raise InputFileError(
            f"{path.name}, line {reader.line_num}: a cell is not closed, or not text; save the table as CSV UTF-8"
        ) from error


MISSING_WORDS = ("", "n/a", "na", "nan", "none")
_DISARMED = ("'=", "'+", "'-", "'@")


def _cells(row: dict[str, str | None]) -> dict[str, str]:
    """Without the apostrophe that our own tables put before what a spreadsheet would run."""
    cells = {name.strip().lower(): (value or "").strip() for name, value in row.items() if isinstance(name, str)}
    return {name: value[1:] if value.startswith(_DISARMED) else value for name, value in cells.items()}


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


# What a header claims of voxels.


_MOST_BYTES = 1 << 34  # of a volume; the largest MR volumes have a hundredth of it
_FREE_BYTES = 1 << 30  # so many may well be packed to a 1000th, as a mask is
_MOST_TIMES = 100
_DETACHED = (".hdr", ".nhdr", ".mhd")  # a header whose voxels lie in another file of its folder


def check_claimed_size(path: Path, shape: tuple[int, ...], bytes_a_voxel: int) -> None:
    """Raise InputFileError for more voxels than the file can hold, before memory is taken for them."""
    beside = path.parent.iterdir() if file_suffix(path) in _DETACHED else (path,)
    size = sum(one.stat().st_size for one in beside if one.is_file())
    claimed = math.prod(shape) * bytes_a_voxel
    if claimed > min(_MOST_BYTES, max(_FREE_BYTES, _MOST_TIMES * size)):
        raise InputFileError(
            f"{path.name} is refused: its header claims {'×'.join(map(str, shape))} voxels, {claimed} bytes, and the"
            f" file has {size}: it is cut short or damaged; export it again, uncompressed"
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


# One program at a time: a lock of the operating system, which drops it when its holder ends, however that was.


_LOCK_WAIT_S = 30.0  # whoever holds one replaces a few files, in seconds
_REPORT_AFTER_S = 2.0  # of waiting
_IS_WINDOWS = os.name == "nt"
_HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)


report_waiting: list[Callable[[str], None]] = []
"""Called with a sentence when a lock is waited for; a program puts in what shows it."""


@contextmanager
def locked(path: Path, wait_s: float = _LOCK_WAIT_S) -> Iterator[None]:
    """Nobody else who asks for the lock of ``path`` has it meanwhile, on this computer or on others of a network disk.

    It is on a file beside ``path``, which goes again. Raises OutputError when another program keeps it for ``wait_s``.
    """
    lock, end, is_reported = _lock_file(path), time.monotonic() + wait_s, False
    with output_errors(path):
        while (held := _open_locked(lock)) is None:
            left_s = end - time.monotonic()
            if left_s < 0:
                raise OutputError(
                    f"{path} is being changed by another program: wait until it has ended, then try again"
                )
            if left_s < wait_s - _REPORT_AFTER_S and not is_reported:
                is_reported = True
                for report in report_waiting:
                    report(f"waiting for {path}: another program changes it")
            time.sleep(0.05)
    with held:
        try:
            yield
        finally:
            if _IS_WINDOWS:  # removes no file that is open
                held.close()
            _remove(lock)


def is_locked(path: Path) -> bool:
    """Whether a program holds the lock of ``path``."""
    try:
        with _lock_file(path).open("rb+") as file:
            return not try_lock(file)
    except OSError:
        return False


def try_lock(file: IO[bytes]) -> bool:
    """Lock a file until it is closed; False when somebody has it. On a disk without locks everybody gets it."""
    try:
        if _IS_WINDOWS:
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)  # type: ignore[attr-defined, unused-ignore]
    except OSError as error:
        return error.errno not in _HELD
    return True


def _lock_file(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _open_locked(lock: Path) -> IO[bytes] | None:
    """None where somebody has it, or has just removed the file that was locked here."""
    file = lock.open("ab")
    with suppress(FileNotFoundError):
        if try_lock(file) and os.path.samestat(os.fstat(file.fileno()), lock.stat()):
            return file
    file.close()
    return None


# Dataclasses as JSON and back.


def to_json(value: Any, decimals: int | None = None) -> Any:
    """JSON-ready: dataclasses by their fields, NaN and infinity as None, floats rounded to ``decimals``.

    A field's metadata may say ``key`` (its name in JSON), ``decimals`` (of it and all within), ``json`` False (left
    out).
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {
            one.metadata.get("key", one.name): to_json(getattr(value, one.name), one.metadata.get("decimals", decimals))
            for one in fields(value)
            if one.metadata.get("json", True)
        }
    if isinstance(value, Mapping):
        return {str(key): to_json(one, decimals) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_json(one, decimals) for one in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return value if decimals is None else round(value, decimals) + 0.0
    return value


_Kind = TypeVar("_Kind")


def from_json(kind: type[_Kind], value: Any) -> _Kind:
    """The dataclass ``kind`` of what ``to_json`` gave. Fields that are not there have their default.

    Raises ValueError, saying which field, for another kind of value; what the dataclass itself raises passes.
    """
    result: _Kind = _typed(kind, value, "")
    return result


_EXPECTED = {int: "a whole number", float: "a number", str: "text", bool: "true or false", tuple: "a list"}


def _typed(kind: Any, value: Any, where: str) -> Any:
    if kind is Any:
        return value
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return None if value is None else _typed(next(one for one in inner if one is not NoneType), value, where)
    if origin is tuple and isinstance(value, list):
        kinds = [inner[0]] * len(value) if inner[1:] == (Ellipsis,) else inner
        if len(kinds) != len(value):
            raise ValueError(f"{where}: expected {len(kinds)} values, found {len(value)}")
        return tuple(_typed(one, item, where) for one, item in zip(kinds, value, strict=True))
    elif origin in (dict, Mapping) and isinstance(value, dict):
        return {key: _typed(inner[1], one, f"{where}.{key}".lstrip(".")) for key, one in value.items()}
    elif is_dataclass(kind) and isinstance(value, dict):
        return _dataclass(kind, value, where)
    elif kind is float and value is None:
        return math.nan
    elif kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if abs(value) <= sys.float_info.max:  # not NaN, and no whole number that no float holds
            return float(value)
    elif (origin is Literal and value in inner) or (kind in (int, str, bool) and type(value) is kind):
        return value
    if origin is Literal:
        raise ValueError(f"{where}: {value!r} is not one of {', '.join(map(repr, inner))}")
    expected = _EXPECTED.get(origin or kind, "an object")
    raise ValueError(f"{where or 'the whole'}: expected {expected}, found {json.dumps(value)[:20]}")


def _dataclass(kind: Any, value: dict[str, Any], where: str) -> Any:
    kinds = _hints(kind)
    found = {}
    for one in fields(kind):
        key = one.metadata.get("key", one.name)
        if one.metadata.get("json", True) and key in value:
            found[one.name] = _typed(kinds[one.name], value[key], f"{where}.{key}".lstrip("."))
    try:
        return kind(**found)
    except TypeError as error:
        raise ValueError(f"{where or 'the whole'} lacks an entry") from error


@lru_cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)
