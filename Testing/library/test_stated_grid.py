"""Of a header without the size of a voxel nothing can be measured; one without an orientation is remarked on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from SpinalCordSegLib.errors import GeometryError
from SpinalCordSegLib.image_io import WRITE_SUFFIXES, read_grid, write_volume
from SpinalCordSegLib.volume import Volume

_VOXELS = bytes(range(24))
_NRRD = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 3 4\nencoding: raw\n{}\n"
_META = "ObjectType = Image\nNDims = 3\nDimSize = 2 3 4\n{}ElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
_LPS = "space: left-posterior-superior\nspace directions: (0.5,0,0) (0,0.5,0) (0,0,2)\n"


def _file(folder: Path, suffix: str, fields: str) -> Path:
    path = folder / f"x{suffix}"
    path.write_bytes((_NRRD if "nrrd" in suffix else _META).format(fields).encode() + _VOXELS)
    return path


@pytest.mark.parametrize(
    ("suffix", "fields", "words"),
    [
        (".nrrd", "", "does not state the size of a voxel"),
        (".nrrd", "space: right-anterior-superior\n", "does not state the size of a voxel"),
        (".nrrd", "spacings: 0.5 0.5 nan\n", r"no usable size of a voxel \(0.5 0.5 nan\)"),
        (".mha", "", "expected ElementSpacing or ElementSize"),
        (".mha", "TransformMatrix = 1 0 0 0 1 0 0 0 1\n", "does not state the size of a voxel"),
    ],
)
def test_a_voxel_of_no_size_is_refused(tmp_path: Path, suffix: str, fields: str, words: str) -> None:
    with pytest.raises(GeometryError, match=words):
        read_grid(_file(tmp_path, suffix, fields))


@pytest.mark.parametrize(
    ("suffix", "fields", "remarks"),
    [
        (".nrrd", _LPS, 0),
        (".seg.nrrd", _LPS, 0),
        (".nrrd", "spacings: 0.5 0.5 2\n", 1),
        (".nrrd", "SPACINGS: .5 5e-1 2\n", 1),
        (".mha", "ElementSpacing = 0.5 0.5 2\n", 1),
        (".mha", "ElementSize = 0.5 0.5 2\nOrientation = 1 0 0 0 1 0 0 0 1\n", 0),
    ],
)
def test_what_is_left_open_is_remarked_on(tmp_path: Path, suffix: str, fields: str, remarks: int) -> None:
    grid = read_grid(_file(tmp_path, suffix, fields))
    assert grid.volume.ijk_spacing_mm == (0.5, 0.5, 2.0) and len(grid.notes) == remarks
    assert all("along the patient's axes" in note for note in grid.notes)


@pytest.mark.parametrize(
    ("suffix", "fields"),
    [
        (".nrrd", "space: left-posterior-superior\nspacedirections: (0.5,0,0) (0,0.5,0) (0,0,2)\n"),
        (".nrrd", "".join(f"note{n}:={'x' * 900}\n" for n in range(80)) + _LPS),  # longer than what is looked at
        (".mha", "\nElementSpacing = 0.5 0.5 2\nTransformMatrix = 1 0 0 0 1 0 0 0 1\n"),
    ],
    ids=["alias", "long", "empty line"],
)
def test_headers_that_readers_take_are_no_silent_ones(tmp_path: Path, suffix: str, fields: str) -> None:
    grid = read_grid(_file(tmp_path, suffix, fields))
    assert grid.volume.ijk_spacing_mm == (0.5, 0.5, 2.0) and grid.notes == ()


@pytest.mark.parametrize("suffix", WRITE_SUFFIXES)
def test_what_is_written_here_states_all(tmp_path: Path, suffix: str) -> None:
    write_volume(Volume.from_ijk(np.ones((2, 3, 4), np.uint8), np.diag([-0.5, 0.5, 2.0, 1.0])), tmp_path / f"x{suffix}")
    assert read_grid(tmp_path / f"x{suffix}").notes == ()
