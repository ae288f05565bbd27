"""A NIfTI file's voxels, read once, with an eye on what SimpleITK passes over in silence.

It fills a file that is cut short with zeros, does not look at gzip's checksum, and turns NaN and infinity into 0
(as niftilib does): all three would be measured as if they were data.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.errors import InputFileError
from SpinalCordSegLib.images.finite import refuse_not_finite
from SpinalCordSegLib.images.nifti_header import NiftiHeader, open_nifti, voxel_file

_CHUNK_BYTES = 1 << 20
_MOST_COMPRESSED = 1100  # times; what gzip reaches at the very best
_PLAIN = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}
_FLOATS = {16: "f4", 64: "f8"}  # NIfTI data type codes


def read_nifti_voxels(path: Path, header: NiftiHeader) -> NDArray | None:
    """The voxels (i, j, k) as stored, once every voxel the header announces is there, undamaged and finite.

    None where SimpleITK is to make them: it scales them (slope and intercept), or their type is a rarer one. Raises
    InputFileError (cut short, damaged gzip stream, no .img beside the header) or VoxelError (NaN, infinite;
    without the file's name).
    """
    header_name, path = path.name, voxel_file(path, header)
    if not path.exists():
        raise InputFileError(f"{header_name} has no {path.name} beside it, which holds its voxels; copy both files")
    kind = _FLOATS.get(header.datatype)
    width = int(kind[1]) if kind else 1
    size, n_nan, n_infinite, first = 0, 0, 0, -1
    stored = _plain_type(header) if _fits(path, header.voxel_bytes) else None
    room = None if stored is None else np.empty(header.voxel_bytes, np.uint8)
    for chunk in _chunks(path, header.vox_offset):
        if kind is not None:
            whole = max(0, min(len(chunk), header.voxel_bytes - size)) // width * width
            values = np.frombuffer(chunk[:whole], dtype=header.byte_order + kind)
            bad = ~np.isfinite(values)
            if bad.any():
                first = first if first >= 0 else size // width + int(np.argmax(bad))
                nan_here = int(np.isnan(values).sum())
                n_nan, n_infinite = n_nan + nan_here, n_infinite + int(bad.sum()) - nan_here
        if room is not None:
            part = np.frombuffer(chunk, np.uint8)[: max(0, header.voxel_bytes - size)]
            room[size : size + part.size] = part
        size += len(chunk)
    if size < header.voxel_bytes:
        raise InputFileError(
            f"{path.name} is cut short: {size} bytes of voxels found, {header.voxel_bytes} expected; copy it again"
        )
    if first >= 0:
        place = np.unravel_index(first, header.shape, order="F")
        refuse_not_finite(n_nan, n_infinite, tuple(map(int, place)))
    if room is None or stored is None:
        return None
    voxels = room.view(stored).reshape(header.shape, order="F")
    return voxels.astype(voxels.dtype.newbyteorder("="), copy=False)


def _plain_type(header: NiftiHeader) -> np.dtype | None:
    """How the voxels are stored, where they are the values as they are and the header is clear about them."""
    if header.datatype not in _PLAIN or header.scaling not in ((0.0, 0.0), (1.0, 0.0)) or header.storage == "analyze":
        return None
    stored = np.dtype(header.byte_order + _PLAIN[header.datatype])
    clear = header.dim[0] == 3 and header.voxel_bytes == prod(header.shape) * stored.itemsize
    return stored if clear else None


def _fits(path: Path, voxel_bytes: int) -> bool:
    """False where the file cannot hold what a damaged header announces: no memory is asked for then."""
    return voxel_bytes <= _MOST_COMPRESSED * path.stat().st_size


def _chunks(path: Path, offset: int) -> Iterator[bytes]:
    """Everything after ``offset``; a gzip stream is read to its end, so that its checksum is compared."""
    try:
        with open_nifti(path) as stream:
            stream.read(offset)
            while chunk := stream.read(_CHUNK_BYTES):
                yield chunk
    except EOFError as error:
        raise InputFileError(f"{path.name} is cut short: the gzip stream has no end; copy it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputFileError(f"{path.name} is damaged: the gzip stream cannot be undone; copy it again") from error
