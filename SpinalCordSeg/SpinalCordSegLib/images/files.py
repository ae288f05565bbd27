"""From files to volumes and back: the one place that knows which reader serves which input."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SpinalCordSegLib.errors import InputFileError, VoxelError
from SpinalCordSegLib.images.case_name import safe_case_name
from SpinalCordSegLib.images.dicom import DicomSeries, find_series, read_series
from SpinalCordSegLib.images.dicom_scan import dicom_files, is_dicom_file
from SpinalCordSegLib.images.finite import check_finite
from SpinalCordSegLib.images.labels import read_labels, select_label
from SpinalCordSegLib.images.volume import Volume
from SpinalCordSegLib.images.volume_file import GridFile, is_volume_file, read_grid, write_volume
from SpinalCordSegLib.writing import atomic_write, file_suffix, write_json, write_text

__all__ = [
    "Image",
    "atomic_write",
    "file_suffix",
    "find_inputs",
    "read_image",
    "read_labels",
    "safe_case_name",
    "select_label",
    "write_json",
    "write_text",
    "write_volume",
]

_OF_A_RESULT = {"report.json", "slices.csv"}  # what the folder of every finished case holds
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Image:
    """A volume to be segmented and where it came from.

    ``volume.voxels``: float32, all finite. ``case_name``: safe for a folder, without patient data.
    ``notes``: what a reader should know about the header (which of two orientations was used), mostly empty.
    """

    volume: Volume
    path: Path
    case_name: str
    dicom: DicomSeries | None = None
    notes: tuple[str, ...] = ()


def read_image(path: Path, series: str | None = None) -> Image:
    """Read one 3D image: NIfTI, NRRD, MetaImage, a DICOM folder (nested too), or one file of a DICOM series.

    ``series`` chooses among several DICOM series by number, description or UID. Raises InputFileError,
    GeometryError, VoxelError or DicomSeriesError; each names the file, what was found, expected and to be done.
    """
    path = Path(path)
    if not path.exists():
        raise InputFileError(f"{path} does not exist; check the path")
    if path.is_dir() or (not is_volume_file(path) and is_dicom_file(path)):
        return _read_dicom(path, series)
    if series is not None:
        _log.warning("%s is not DICOM: the choice of a series does not apply", path.name)
    grid = read_grid(path)
    for note in grid.notes:
        _log.warning("%s: %s", path.name, note)
    return Image(_as_float32(grid, path), path, safe_case_name(path, fields=grid.fields), None, grid.notes)


def _as_float32(grid: GridFile, path: Path) -> Volume:
    with np.errstate(over="ignore"):
        voxels = grid.volume.voxels.astype(np.float32)
    if grid.volume.voxels.dtype == np.float64:  # beyond 3e38 it becomes infinite
        try:
            check_finite(voxels)
        except VoxelError as error:
            raise VoxelError(f"{path.name}: {error}") from error
    return grid.volume.with_voxels(voxels)


def _read_dicom(path: Path, series: str | None) -> Image:
    if path.is_dir() and not _holds_dicom(path):
        n_files = len(_volume_files(path))
        what = f"but {n_files} image files: give one of them" if n_files else "and no image file: check the path"
        raise InputFileError(f"{path} is a folder that holds no DICOM image, {what}")
    found = find_series(path, series)
    return Image(read_series(found), path, safe_case_name(path, found), found)


def _holds_dicom(folder: Path) -> bool:
    return next(dicom_files(folder), None) is not None


def _volume_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and is_volume_file(path))


def find_inputs(paths: Sequence[Path], *, masks: bool = False) -> list[Path]:
    """The single inputs of a batch, in the order given, each once: images, or with ``masks`` label maps.

    A folder of image files gives each of them by name; a folder with DICOM in or below it is one input; without
    either, image files further below are taken, but none in hidden folders, and of results of ours the masks alone,
    where masks are wanted. Of an image and its
    label map in one folder (NAME and NAME_seg) the one that is wanted is taken; given by name either is. Anything else,
    missing paths too, stays as it is, so that reading it raises the reason.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        try:
            found += _inputs_of(path, masks) if path.is_dir() else [path]
        except OSError as error:
            raise InputFileError(f"{path} cannot be read: {error.strerror}; check who may read it") from error
    return list(dict.fromkeys(found))


def _inputs_of(folder: Path, masks: bool) -> list[Path]:
    files = _volume_files(folder)
    if files:
        return _one_of_each(files, masks)
    if _holds_dicom(folder):
        return [folder]
    return _one_of_each(_volume_files_below(folder, masks), masks) or [folder]


def _volume_files_below(folder: Path, masks: bool) -> list[Path]:
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if set(names) >= _OF_A_RESULT:
            folders.clear()
            names = [name for name in names if masks and name.startswith("mask.")]
        found += [path for name in names if is_volume_file(path := Path(parent, name)) and path.is_file()]
    return sorted(found)


def _one_of_each(files: list[Path], masks: bool) -> list[Path]:
    """Of an image NAME and its label maps NAME_seg… and NAME.seg.nrrd in the same folder the maps, or the image."""
    images = {_beside(path) for path in files if file_suffix(path) != ".seg.nrrd"}
    maps = [path for path in files if _image_of(path) in images]
    drawn = {_image_of(path) for path in maps}
    return [path for path in files if (_beside(path) not in drawn or path in maps if masks else path not in maps)]


def _image_of(path: Path) -> tuple[Path, str]:
    """Where the image of a label map would lie, and what it would be called."""
    folder, stem = _beside(path)
    return folder, stem if file_suffix(path) == ".seg.nrrd" else stem.rpartition("_seg")[0]


def _beside(path: Path) -> tuple[Path, str]:
    return path.parent, path.name[: -len(file_suffix(path))]
