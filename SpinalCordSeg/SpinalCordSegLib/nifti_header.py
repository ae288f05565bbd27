"""The NIfTI header as stored, to see what SimpleITK passes over in silence.

SimpleITK reads a truncated file as zeros, takes spacing from ``pixdim`` and directions from whichever of sform
and qform it prefers. A wrong spacing is a wrong area, so the header is read and judged here first.
Format: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h and nifti2.h.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.errors import GeometryError, InputFileError, VoxelError
from SpinalCordSegLib.volume import check_grid

_CHUNK_BYTES = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_TEMPLATE_SPACES = (3, 4)  # sform codes Talairach and MNI: a registration, which may well be sheared
_COLOUR = {128: "RGB colour", 2304: "RGBA colour"}
_COMPLEX = (32, 1792, 2048)


@dataclass(frozen=True)
class _Layout:
    """Where the fields lie: byte offset and struct code, by NIfTI version."""

    dim: tuple[int, str]
    datatype: tuple[int, str]
    pixdim: tuple[int, str]
    vox_offset: tuple[int, str]
    codes: tuple[int, str]
    quaternion: tuple[int, str]
    srow: tuple[int, str]


_LAYOUTS = {
    348: _Layout((40, "8h"), (70, "2h"), (76, "8f"), (108, "f"), (252, "2h"), (256, "6f"), (280, "12f")),
    540: _Layout((16, "8q"), (12, "2h"), (104, "8d"), (168, "q"), (344, "2i"), (352, "6d"), (400, "12d")),
}


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """``dim`` and ``pixdim`` as stored (8 values); ``data_end``: bytes the uncompressed file must have."""

    dim: tuple[int, ...]
    pixdim: tuple[float, ...]
    datatype: int
    data_end: int
    qform_code: int
    sform_code: int
    quaternion: tuple[float, ...]
    sform: NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes without trailing ones after the third: a (5, 6, 7, 1) file is 3D."""
        sizes = list(self.dim[1 : 1 + self.dim[0]])
        while len(sizes) > 3 and sizes[-1] == 1:
            sizes.pop()
        return tuple(sizes)

    @property
    def qform(self) -> NDArray[np.float64]:
        """Voxel → RAS mm from quaternion, offset and pixdim (nifti1.h, method 2)."""
        b, c, d, *offset = self.quaternion
        a = np.sqrt(max(0.0, 1.0 - b * b - c * c - d * d))
        rotation = np.array(
            [
                [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
            ]
        )
        qfac = -1.0 if self.pixdim[0] < 0 else 1.0
        matrix = np.eye(4)
        matrix[:3, :3] = rotation * np.array([self.pixdim[1], self.pixdim[2], self.pixdim[3] * qfac])
        matrix[:3, 3] = offset
        return matrix


def read_nifti_header(path: Path) -> NiftiHeader:
    """Parse a .nii or .nii.gz header and make sure that all voxels it announces are there.

    Raises InputFileError for anything that is not NIfTI, is damaged or is cut short.
    """
    head, size = _read_through(path)
    header = _parse(head)
    if header is None:
        raise InputFileError(
            f"{path.name} is not a NIfTI file (no NIfTI header in it); expected a .nii or .nii.gz image: export again"
        )
    if size < header.data_end:
        raise InputFileError(
            f"{path.name} is cut short: {size} bytes of voxels and header found, {header.data_end} expected;"
            " copy or download it again"
        )
    return header


def _read_through(path: Path) -> tuple[bytes, int]:
    """First 540 bytes and the size, both uncompressed; a gzip file is read to its end so that its CRC is checked."""
    with path.open("rb") as file:
        if file.read(2) != _GZIP_MAGIC:
            file.seek(0)
            return file.read(540), path.stat().st_size
    try:
        with gzip.open(path) as stream:
            head = stream.read(540)
            size = len(head)
            while chunk := stream.read(_CHUNK_BYTES):
                size += len(chunk)
    except EOFError as error:
        raise InputFileError(f"{path.name} is cut short: the gzip stream has no end; copy it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputFileError(f"{path.name} is damaged: the gzip stream cannot be undone; copy it again") from error
    return head, size


def _parse(head: bytes) -> NiftiHeader | None:
    for order in "<>":
        layout = _LAYOUTS.get(struct.unpack(order + "i", head[:4])[0]) if len(head) >= 348 else None
        if layout is None or len(head) < layout.srow[0] + struct.calcsize(layout.srow[1]):
            continue
        magic = head[344:348] if layout is _LAYOUTS[348] else head[4:8]
        if magic[:3] not in (b"n+1", b"n+2"):
            continue
        return _unpack(head, layout, order)
    return None


def _unpack(head: bytes, layout: _Layout, order: str) -> NiftiHeader | None:
    def field(place: tuple[int, str]) -> tuple:
        return struct.unpack_from(order + place[1], head, place[0])

    dim = field(layout.dim)
    if not 1 <= dim[0] <= 7 or any(size < 1 for size in dim[1 : 1 + dim[0]]):
        return None
    datatype, bits = field(layout.datatype)
    voxels = int(np.prod(dim[1 : 1 + dim[0]], dtype=object))
    qform_code, sform_code = field(layout.codes)
    return NiftiHeader(
        dim=dim,
        pixdim=field(layout.pixdim),
        datatype=datatype,
        data_end=int(field(layout.vox_offset)[0]) + voxels * bits // 8,
        qform_code=qform_code,
        sform_code=sform_code,
        quaternion=field(layout.quaternion),
        sform=np.vstack([np.reshape(field(layout.srow), (3, 4)), [0, 0, 0, 1]]).astype(np.float64),
    )


def check_nifti_header(header: NiftiHeader) -> tuple[str, ...]:
    """Refuse grids and voxel types that cannot be used; say which orientation is used where two disagree.

    The choice is the one ITK, and so Slicer, makes: sform where its code is 1 or there is no qform, else qform.
    Returns remarks for the user, mostly none. Raises GeometryError or VoxelError without the file's name.
    """
    shape, spacing = header.shape, np.array(header.pixdim[1:4])
    if len(shape) == 3 and (not np.isfinite(spacing).all() or (spacing == 0).any()):
        raise GeometryError(f"the voxel spacing is {_mm(spacing)}; all three must be above zero: the header is damaged")
    if header.datatype in _COLOUR:
        raise VoxelError(f"the voxels are {_COLOUR[header.datatype]}; expected one grey value per voxel: convert it")
    if header.datatype in _COMPLEX:
        raise VoxelError("the voxels are complex numbers; expected magnitudes: export the magnitude image")
    if len(shape) != 3:
        check_grid(shape, np.eye(4))
    return _check_orientation(header, shape)


def _check_orientation(header: NiftiHeader, shape: tuple[int, ...]) -> tuple[str, ...]:
    has_sform, has_qform = header.sform_code > 0, header.qform_code > 0
    if not has_sform and not has_qform:
        return ("the header holds no orientation (sform and qform codes are 0): axes are taken as left, posterior, up",)
    if has_sform and not (has_qform and header.sform_code in _TEMPLATE_SPACES):
        check_grid(shape, header.sform)
        _check_spacing(header)
    if has_qform:
        check_grid(shape, header.qform)
    uses_sform = has_sform and (header.sform_code == 1 or not has_qform)
    if not (has_sform and has_qform):
        return ()
    corner = np.array([*(np.array(shape) - 1), 1])
    apart_mm = max(
        float(np.linalg.norm(((header.sform - header.qform) @ (corner * mask))[:3]))
        for mask in np.ndindex(2, 2, 2, 2)
        if mask[3]
    )
    if apart_mm <= 0.5 * float(np.abs(header.pixdim[1:4]).min()):
        return ()
    used, other = ("sform", "qform") if uses_sform else ("qform", "sform")
    return (
        f"sform and qform of the header disagree by {apart_mm:.2f} mm: {used} is used, as Slicer does, not {other}",
    )


def _check_spacing(header: NiftiHeader) -> None:
    """ITK takes spacing from pixdim even where it takes directions from the sform; they have to say the same."""
    stated, implied = np.abs(header.pixdim[1:4]), np.linalg.norm(header.sform[:3, :3], axis=0)
    if np.abs(stated - implied).max() > 1e-3 * implied.min() + 1e-5:
        raise GeometryError(
            f"the header states two voxel sizes, {_mm(stated)} (pixdim) and {_mm(implied)} (sform);"
            " correct it, or convert the image again from its source"
        )


def _mm(values: NDArray) -> str:
    return "×".join(f"{value:g}" for value in values) + " mm"
