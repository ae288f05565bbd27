"""NIfTI, NRRD and MetaImage files through SimpleITK, with its silent corrections refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from SpinalCordSegLib.errors import InputFileError, OutputError
from SpinalCordSegLib.volume import Volume, lps_to_ras
from SpinalCordSegLib.writing import atomic_write


def read_grid(path: Path) -> Volume:
    """Read one 3D scalar file, its voxels in the stored type."""
    if not path.exists():
        raise InputFileError(f"{path} does not exist")
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise InputFileError(f"{path.name} cannot be read as an image") from error
    return _to_volume(image)


def write_volume(volume: Volume, path: Path) -> None:
    """Write ``volume`` on its own grid, format by suffix; bool is written as uint8. Raises OutputError."""
    image = _to_itk(volume)
    with atomic_write(path) as temporary:
        try:
            sitk.WriteImage(image, str(temporary), useCompression=True)
        except RuntimeError as error:
            raise OutputError(f"cannot write {path}") from error


def _to_volume(image: sitk.Image) -> Volume:
    lps = np.eye(4)
    lps[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    lps[:3, 3] = image.GetOrigin()
    return Volume(sitk.GetArrayFromImage(image).transpose(2, 1, 0), lps_to_ras(lps))


def _to_itk(volume: Volume) -> sitk.Image:
    voxels = volume.voxels.astype(np.uint8) if volume.voxels.dtype == bool else volume.voxels
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.transpose(2, 1, 0)))
    lps = lps_to_ras(volume.ijk_to_ras)
    image.SetSpacing(volume.spacing_mm)
    image.SetDirection((lps[:3, :3] / volume.spacing_mm).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image
