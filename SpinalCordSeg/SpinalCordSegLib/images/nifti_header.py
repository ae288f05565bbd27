"""The NIfTI header as stored, to see what SimpleITK passes over in silence.

It takes spacing from ``pixdim`` and directions from whichever of sform and qform it prefers. A wrong spacing is a
wrong area, so the header is read and judged here first.
Format: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.errors import GeometryError, InputFileError, VoxelError
from SpinalCordSegLib.images.volume import check_grid

Storage = Literal["one file", "pair", "analyze"]
_TEMPLATE_SPACES = (3, 4)  # sform codes Talairach and MNI: a registration, which may well be sheared
_COLOUR = {128: "RGB colour", 2304: "RGBA colour"}
_COMPLEX = (32, 1792, 2048)


# The fields of NIfTI-1 that matter here: byte offset and struct code.
_HEADER_BYTES = 348
_DIM, _DATATYPE_BITS, _PIXDIM, _VOX_OFFSET = (40, "8h"), (70, "2h"), (76, "8f"), (108, "f")
_SCALING = (112, "2f")
_FORM_CODES, _QUATERNION, _SROW, _MAGIC = (252, "2h"), (256, "6f"), (280, "12f"), (344, "3s")
_STORED: dict[bytes, Storage] = {b"n+1": "one file", b"ni1": "pair"}
_NIFTI2_BEGINNINGS = (struct.pack("<i", 540), struct.pack(">i", 540))


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """``dim`` and ``pixdim`` as stored (8 values); ``byte_order``: "<" or ">"; voxels begin at ``vox_offset``.

    ``storage``: voxels behind the header, in an .img file beside it, or that as Analyze 7.5, which knows no
    orientation. ``scaling``: slope and intercept of the values; (0, 0) means none.
    """

    dim: tuple[int, ...]
    pixdim: tuple[float, ...]
    datatype: int
    byte_order: str
    vox_offset: int
    voxel_bytes: int
    qform_code: int
    sform_code: int
    quaternion: tuple[float, ...]
    sform: NDArray[np.float64]
    storage: Storage = "one file"
    scaling: tuple[float, float] = (0.0, 0.0)

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


def open_nifti(path: Path) -> gzip.GzipFile | BufferedReader:
    """The uncompressed bytes; the first two tell gzip, not the name."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if compressed else path.open("rb")


def voxel_file(path: Path, header: NiftiHeader) -> Path:
    """Where the voxels are: the file itself, or for a pair the .img or .img.gz beside the header."""
    if header.storage == "one file":
        return path
    beside = (path.with_suffix(suffix) for suffix in (".img", ".img.gz", ".IMG"))
    return next((one for one in beside if one.exists()), path.with_suffix(".img"))


def read_nifti_header(path: Path) -> NiftiHeader:
    """Parse the header of a .nii, .nii.gz or .hdr file (NIfTI-1 pair, Analyze 7.5).

    Raises InputFileError for anything else.
    """
    try:
        with open_nifti(path) as stream:
            head = stream.read(_HEADER_BYTES)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputFileError(f"{path.name} is cut short or damaged (gzip); copy it again") from error
    if head.startswith(_NIFTI2_BEGINNINGS):
        raise InputFileError(f"{path.name} is NIfTI-2, which SimpleITK does not read; save it as NIfTI-1 or NRRD")
    header = _parse(head, path.suffix.lower() == ".hdr")
    if header is None:
        raise InputFileError(
            f"{path.name} is not a NIfTI file (no NIfTI header in it); expected a .nii or .nii.gz image: export again"
        )
    return header


def _parse(head: bytes, is_pair: bool) -> NiftiHeader | None:
    if len(head) < _HEADER_BYTES:
        return None
    order = next((order for order in "<>" if struct.unpack_from(order + "i", head)[0] == _HEADER_BYTES), None)

    def field(place: tuple[int, str]) -> tuple:
        return struct.unpack_from(f"{order}{place[1]}", head, place[0])

    if order is None:
        return None
    storage = _STORED.get(field(_MAGIC)[0], "analyze")
    if is_pair != (storage != "one file"):
        return None
    dim, offset = field(_DIM), field(_VOX_OFFSET)[0]
    if not (math.isfinite(offset) and 0 <= offset < 1 << 31):
        return None
    if not 1 <= dim[0] <= 7 or any(size < 1 for size in dim[1 : 1 + dim[0]]):
        return None
    datatype, bits = field(_DATATYPE_BITS)
    qform_code, sform_code = (0, 0) if storage == "analyze" else field(_FORM_CODES)
    return NiftiHeader(
        dim=dim,
        pixdim=field(_PIXDIM),
        datatype=datatype,
        byte_order=order,
        vox_offset=int(offset),
        voxel_bytes=math.prod(dim[1 : 1 + dim[0]]) * bits // 8,
        qform_code=qform_code,
        sform_code=sform_code,
        quaternion=field(_QUATERNION),
        sform=np.vstack([np.reshape(field(_SROW), (3, 4)), [0, 0, 0, 1]]).astype(np.float64),
        storage=storage,
        scaling=field(_SCALING),
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
        f"sform and qform of the header disagree by {apart_mm:.4g} mm: {used} is used, as Slicer does, not {other}",
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
