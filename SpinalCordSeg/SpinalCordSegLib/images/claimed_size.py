"""What a header claims against what its file can hold: refused before anything is read or memory is taken for it."""

from __future__ import annotations

import math
import re
from pathlib import Path

from SpinalCordSegLib.errors import GeometryError, InputFileError
from SpinalCordSegLib.writing import file_suffix

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
