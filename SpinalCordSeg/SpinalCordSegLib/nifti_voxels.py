"""A NIfTI file's voxels read through once, for what SimpleITK passes over in silence.

It fills a file that is cut short with zeros, does not look at gzip's checksum, and turns NaN and infinity into 0
(as niftilib does): all three would be measured as if they were data.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from SpinalCordSegLib.errors import InputFileError
from SpinalCordSegLib.finite import refuse_not_finite
from SpinalCordSegLib.nifti_header import NiftiHeader, open_nifti, voxel_file

_CHUNK_BYTES = 1 << 20
_FLOATS = {16: "f4", 64: "f8"}  # NIfTI data type codes


def check_nifti_voxels(path: Path, header: NiftiHeader) -> None:
    """Make sure that every voxel the header announces is there, undamaged and finite.

    Raises InputFileError (cut short, damaged gzip stream, no .img beside the header) or VoxelError (NaN, infinite;
    without the file's name).
    """
    header_name, path = path.name, voxel_file(path, header)
    if not path.exists():
        raise InputFileError(f"{header_name} has no {path.name} beside it, which holds its voxels; copy both files")
    kind = _FLOATS.get(header.datatype)
    width = int(kind[1]) if kind else 1
    size, n_nan, n_infinite, first = 0, 0, 0, -1
    for chunk in _chunks(path, header.vox_offset):
        if kind is not None:
            whole = max(0, min(len(chunk), header.voxel_bytes - size)) // width * width
            values = np.frombuffer(chunk[:whole], dtype=header.byte_order + kind)
            bad = ~np.isfinite(values)
            if bad.any():
                first = first if first >= 0 else size // width + int(np.argmax(bad))
                nan_here = int(np.isnan(values).sum())
                n_nan, n_infinite = n_nan + nan_here, n_infinite + int(bad.sum()) - nan_here
        size += len(chunk)
    if size < header.voxel_bytes:
        raise InputFileError(
            f"{path.name} is cut short: {size} bytes of voxels found, {header.voxel_bytes} expected; copy it again"
        )
    if first >= 0:
        place = np.unravel_index(first, header.shape, order="F")
        refuse_not_finite(n_nan, n_infinite, tuple(map(int, place)))


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
