"""Odd names, links, pipes, folders that may not be read or written, impossible sizes: a good file where nobody expects it.

Each place is a function that prepares a folder and gives the input; ``expected``: the exit codes that are right.
"""

from __future__ import annotations

import gzip
import os
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_LONG = "a" * 240
NAMES = (
    "neck two.nii.gz", "José Pérez ü.nii.gz", "頸髄.nii.gz", "\U0001f9e0.nii.gz", "-neck.nii.gz", "--output.nii.gz",
    "a\nb.nii.gz", "a\tb.nii.gz", "con.nii.gz", "nul.nii.gz", "..nii.gz", "...nii.gz", "x..nii.gz", "a;b&c|d.nii.gz",
    "$(touch gone).nii.gz", "`id`.nii.gz", "%s%d.nii.gz", "{0}.nii.gz", "<b>x<b>.nii.gz", "a'b\"c.nii.gz", "a\\b.nii.gz",
    "a,b.nii.gz", "=1+1.nii.gz", "@x.nii.gz", "neck.NII.GZ", f"{_LONG}.nii.gz", "ü" * 120 + ".nii.gz", "\u202eneck.nii.gz",
    "e\u0301.nii.gz", "neck .nii.gz", " neck.nii.gz", "neck..nii.gz", b"neck\xff\xfe.nii.gz", b"\xe9t\xe9.nii.gz", "1.nii.gz",
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """``prepare(source, at, out)``: gives the input and the output folder; ``nobody``: the command runs as a user
    without rights, so that a forbidden folder is forbidden to root's tests too."""

    name: str
    prepare: Callable[[Path, Path, Path], tuple[Path, Path]]
    expected: tuple[int, ...] = (2,)
    nobody: bool = False
    label_map: str = "neck.nii.gz"


def named(name: str | bytes) -> Place:
    """The good file under another name: there is nothing wrong with it."""
    text = os.fsdecode(name)

    def prepare(source: Path, at: Path, out: Path) -> tuple[Path, Path]:
        shutil.copy(source, at / text)
        return at / text, out

    return Place(f"named {text[:30]!r}", prepare, (0,) if isinstance(name, str) else (2,))


def in_folder(name: str | bytes) -> Place:
    """In a folder of an odd name, and the results into another one."""
    text = os.fsdecode(name).removesuffix(".nii.gz") or "x"

    def prepare(source: Path, at: Path, out: Path) -> tuple[Path, Path]:
        (at / text).mkdir(exist_ok=True)
        shutil.copy(source, at / text / "neck.nii.gz")
        return at / text, out / text

    return Place(f"in folder {text[:30]!r}", prepare, (0,) if isinstance(name, str) else (2,))


def _pipe(source: Path, at: Path, out: Path) -> tuple[Path, Path]:
    os.mkfifo(at / "neck.nii.gz")
    return at / "neck.nii.gz", out


def _linked(to: str, name: str = "neck.nii.gz") -> Callable[[Path, Path, Path], tuple[Path, Path]]:
    def prepare(source: Path, at: Path, out: Path) -> tuple[Path, Path]:
        (at / name).symlink_to(to if to else source)
        return at / name, out

    return prepare


def _loop_of_folders(source: Path, at: Path, out: Path) -> tuple[Path, Path]:
    shutil.copy(source, at / "neck.nii.gz")
    (at / "below").symlink_to(at)
    return at, out


def _deep(source: Path, at: Path, out: Path) -> tuple[Path, Path]:
    """Folders below each other, as deep as a path may be long."""
    deep = at
    while len(str(deep)) < 3900:
        deep = deep / ("d" * 100)
    deep.mkdir(parents=True)
    shutil.copy(source, deep / "neck.nii.gz")
    return at, out


def _forbidden_file(source: Path, at: Path, out: Path) -> tuple[Path, Path]:
    shutil.copy(source, at / "neck.nii.gz")
    (at / "neck.nii.gz").chmod(0)
    return at / "neck.nii.gz", out


def _forbidden_folder(source: Path, at: Path, out: Path) -> tuple[Path, Path]:
    (at / "closed").mkdir()
    shutil.copy(source, at / "closed" / "neck.nii.gz")
    (at / "closed").chmod(0)
    return at / "closed", out


def _file_in_forbidden_folder(source: Path, at: Path, out: Path) -> tuple[Path, Path]:
    _forbidden_folder(source, at, out)
    return at / "closed" / "neck.nii.gz", out


def _output(make: Callable[[Path], Path]) -> Callable[[Path, Path, Path], tuple[Path, Path]]:
    def prepare(source: Path, at: Path, out: Path) -> tuple[Path, Path]:
        shutil.copy(source, at / "neck.nii.gz")
        out.mkdir(parents=True)
        return at / "neck.nii.gz", make(out)

    return prepare


def _read_only(out: Path) -> Path:
    out.chmod(0o555)
    return out


def _file(out: Path) -> Path:
    (out / "taken").write_text("mine")
    return out / "taken"


def _below_file(out: Path) -> Path:
    return _file(out) / "results"


def _dangling(out: Path) -> Path:
    (out / "link").symlink_to(out / "nowhere" / "at" / "all")
    return out / "link"


def _ring(out: Path) -> Path:
    (out / "link").symlink_to(out / "link")
    return out / "link"


def _too_long(out: Path) -> Path:
    return out / ("x" * 300)


def _case_in_the_way(out: Path) -> Path:
    (out / "neck").write_text("mine")
    return out


def _case_link_outside(out: Path) -> Path:
    """The case's folder is a link to a folder of somebody's: its files are not ours."""
    (out.parent / "elsewhere").mkdir(exist_ok=True)
    (out.parent / "elsewhere" / "mine.txt").write_text("mine")
    (out / "neck").symlink_to(out.parent / "elsewhere")
    return out


def _huge(header: str, name: str, *, sparse: int = 0) -> Callable[[Path, Path, Path], tuple[Path, Path]]:
    """A header that promises 10^12 voxels and more, with few or no data behind it."""

    def prepare(source: Path, at: Path, out: Path) -> tuple[Path, Path]:
        with (at / name).open("wb") as file:
            file.write(header.encode().replace(b"|", b"\n"))
            if sparse:
                file.truncate(sparse)
        return at / name, out

    return prepare


def _huge_nifti(compressed: bool) -> Callable[[Path, Path, Path], tuple[Path, Path]]:
    def prepare(source: Path, at: Path, out: Path) -> tuple[Path, Path]:
        data = bytearray(gzip.decompress(source.read_bytes()))
        struct.pack_into("<8h", data, 40, 3, 32767, 32767, 32767, 1, 1, 1, 1)
        path = at / ("huge.nii.gz" if compressed else "huge.nii")
        path.write_bytes(gzip.compress(bytes(data) + bytes(1 << 24), 1) if compressed else bytes(data))
        return path, out

    return prepare


_NRRD = (
    "NRRD0004|type: {}|dimension: 3|space: left-posterior-superior|sizes: {}|space directions: (1,0,0) (0,1,0) (0,0,1)"
)
_NRRD += "|kinds: domain domain domain|endian: little|encoding: {}|space origin: (0,0,0)||"
_META = "ObjectType = Image|NDims = 3|BinaryData = True|BinaryDataByteOrderMSB = False|CompressedData = {}|TransformMatrix ="
_META += (
    " 1 0 0 0 1 0 0 0 1|Offset = 0 0 0|ElementSpacing = 1 1 1|DimSize = {}|ElementType = {}|ElementDataFile = LOCAL|"
)

PLACES: tuple[Place, ...] = (
    *map(named, NAMES),
    *(in_folder(name) for name in NAMES if not str(name).startswith("..")),
    Place("pipe", _pipe),
    Place("link to the file", _linked(""), (0,)),
    Place("link to nowhere", _linked("nowhere.nii.gz")),
    Place("link to itself", _linked("neck.nii.gz")),
    Place("link to /dev/zero", _linked("/dev/zero")),
    Place("link to /dev/zero, DICOM", _linked("/dev/zero", "IM0")),
    Place("link to /dev/null", _linked("/dev/null")),
    Place("folders in a ring", _loop_of_folders, (0,)),
    Place("deep folders", _deep, (0, 2)),
    Place("file without permission", _forbidden_file, nobody=True),
    Place("folder without permission", _forbidden_folder, nobody=True),
    Place("file in a folder without permission", _file_in_forbidden_folder, nobody=True),
    Place("output without permission", _output(_read_only), nobody=True),
    Place("output is a file", _output(_file)),
    Place("output below a file", _output(_below_file)),
    Place("output is a link to nowhere", _output(_dangling), (0, 2)),
    Place("output is a link to itself", _output(_ring)),
    Place("output of a name too long", _output(_too_long)),
    Place("a file where the case goes", _output(_case_in_the_way)),
    Place("a link where the case goes", _output(_case_link_outside)),
    *(
        Place(f"NRRD of {sizes} {kind}, {encoding}", _huge(_NRRD.format(kind, sizes, encoding), "huge.nrrd"))
        for sizes in ("1000000 1000000 1", "10000 10000 10000", "2000 2000 1000", "1000000000000 1 1", "4294967296 4294967296 1")
        for kind, encoding in (("short", "raw"), ("double", "gzip"), ("uchar", "ascii"))
    ),
    *(
        Place(f"MetaImage of {sizes} {kind}, {packed}", _huge(_META.format(packed, sizes, kind), "huge.mha"))
        for sizes in ("1000000 1000000 1", "10000 10000 10000", "2000 2000 1000", "1000000000000 1 1", "4294967296 4294967296 1")
        for kind, packed in (("MET_SHORT", "False"), ("MET_DOUBLE", "True"))
    ),
    Place("NRRD of 10^12 in a sparse file", _huge(_NRRD.format("uchar", "10000 10000 10000", "raw"), "huge.nrrd", sparse=10**12 + 1000)),
    Place("MetaImage of 10^12 in a sparse file", _huge(_META.format("False", "10000 10000 10000", "MET_UCHAR"), "huge.mha", sparse=10**12 + 1000)),
    Place("NIfTI of 3·10^13", _huge_nifti(False)),
    Place("NIfTI of 3·10^13, gzip", _huge_nifti(True)),
)  # fmt: skip
