"""From files to volumes and back: the one place that knows which reader serves which input."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SpinalCordSegLib.labels import read_labels, select_label
from SpinalCordSegLib.volume import Volume
from SpinalCordSegLib.volume_file import read_grid, write_volume
from SpinalCordSegLib.writing import atomic_write, file_suffix, write_json, write_text

__all__ = [
    "Image",
    "atomic_write",
    "read_image",
    "read_labels",
    "select_label",
    "write_json",
    "write_text",
    "write_volume",
]


@dataclass(frozen=True, eq=False)
class Image:
    """A volume to be segmented and where it came from. ``volume.voxels``: float32, all finite."""

    volume: Volume
    path: Path
    case_name: str
    dicom: None = None


def read_image(path: Path, series: str | None = None) -> Image:
    """Read one 3D image. Raises InputFileError, GeometryError, VoxelError or DicomSeriesError, naming the file."""
    path = Path(path)
    volume = read_grid(path)
    volume = volume.with_voxels(volume.voxels.astype(np.float32))
    return Image(volume, path, path.name[: len(path.name) - len(file_suffix(path))])
