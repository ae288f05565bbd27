"""Label maps → what the simulated necks are made of: bone, discs, grey matter, shapes of cord and canal.

Frame of every slice: x mm towards the patient's left (columns), y mm towards posterior (rows), origin at the
cord's centre, angle θ = atan2(y, x). Height z in mm relative to the foramen magnum, negative in the neck.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from SpinalCordSegLib.errors import InputFileError, TrainingDataError
from SpinalCordSegLib.volume import Volume, lps_to_ras

_log = logging.getLogger(__name__)

N_ANGLES = 128
ANGLES = np.arange(N_ANGLES) * (2 * np.pi / N_ANGLES)
_ORDERS = 8  # Fourier orders kept of a contour: enough for the cord's flat front, too few for voxel stairs
_REACH_MM = 20.0
_LOWEST_MM = -210.0
_N_RADII = 16


@dataclass(frozen=True, eq=False)
class CordShape:
    """Contours of one person. ``z_mm``: (n,) ascending; ``cord_mm``: (n, N_ANGLES) radii; ``canal_mm``: the same, or
    None where no mask of the cerebrospinal fluid exists."""

    name: str
    z_mm: NDArray[np.float64]
    cord_mm: NDArray[np.float64]
    canal_mm: NDArray[np.float64] | None


@dataclass(frozen=True, eq=False)
class Maps:
    """What is read from the label maps, cut to the neck.

    ``bone``, ``disc``: (nz, ny, nx) uint8, 255 = fully inside, blurred by half a millimetre; spacing ``pixel_mm`` in
    all axes, the cord's centre at the middle pixel; ``z_mm``: (nz,) heights. ``grey``: (nz, radii, N_ANGLES)
    share of grey matter over relative radius 0..1 and angle. ``shapes``: never empty, the atlas first.
    """

    bone: NDArray[np.uint8]
    disc: NDArray[np.uint8]
    grey: NDArray[np.float32]
    z_mm: NDArray[np.float64]
    pixel_mm: float
    shapes: tuple[CordShape, ...]


def area_mm2(radii_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area inside a star-shaped contour, ½∮r²dθ; (..., N_ANGLES) → (...)."""
    return np.asarray(0.5 * np.square(radii_mm).sum(-1) * (2 * np.pi / radii_mm.shape[-1]))


def read_maps(folder: Path, hold_out: tuple[str, ...] = (), only: tuple[str, ...] = ()) -> Maps:
    """Read ``folder``/atlas (PAM50_cord, _csf, _spine, _gm) and ``folder``/shapes (``NAME_T1w_seg-manual`` with, where
    it exists, ``NAME_T2w_csfseg-manual``).

    ``hold_out``: names of shapes to leave out (anatomy kept for validation); ``only``: keep just these. The atlas's
    bones are always used, its cord shape only where "PAM50" is not left out. Raises InputFileError when a map is
    missing or unreadable, TrainingDataError when no cord shape is left.
    """
    atlas = folder / "atlas"
    cord, csf, spine, grey = (_read(atlas / f"PAM50_{name}.nii.gz") for name in ("cord", "csf", "spine", "gm"))
    top = _top_of_canal(csf)
    z_mm = (np.arange(len(cord.voxels), dtype=np.float64) - top) * cord.spacing_mm[0]
    keep = z_mm >= _LOWEST_MM
    shapes = [_shape("PAM50", cord, csf, z_mm)]
    for path in sorted((folder / "shapes").glob("*_T1w_seg-manual.nii.gz")):
        shapes.append(_read_shape(path))
    chosen = tuple(s for s in shapes if s.name not in hold_out and (not only or s.name in only))
    if not chosen:
        raise TrainingDataError(f"no cord shape is left in {folder} after leaving out {sorted(hold_out)}")
    bone = _recentred(spine.voxels[keep] > 0, cord.voxels[keep] > 0)
    shape = shapes[0]
    return Maps(
        _blurred(bone, cord.pixel_mm[0]),
        _blurred(_discs(bone, cord.spacing_mm[0], cord.pixel_mm[0]), cord.pixel_mm[0]),
        _grey_table(grey, shape, z_mm)[keep],
        z_mm[keep],
        cord.pixel_mm[0],
        chosen,
    )


def _read(path: Path) -> Volume:
    if not path.is_file():
        raise InputFileError(f"{path}: label map not found; give the folder that holds atlas/ and shapes/")
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise InputFileError(f"{path}: cannot be read as an image") from error
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    matrix[:3, 3] = image.GetOrigin()
    return Volume.from_ijk(sitk.GetArrayFromImage(image).transpose(2, 1, 0), lps_to_ras(matrix))


def _top_of_canal(csf: Volume) -> int:
    """First slice above the spinal canal: the atlas's fluid ends at the foramen magnum."""
    slices = np.flatnonzero((csf.voxels > 0).any(axis=(1, 2)))
    return int(slices[-1]) + 1 if len(slices) else len(csf.voxels)


def _read_shape(path: Path) -> CordShape:
    cord = _read(path)
    fluid_path = path.with_name(path.name.replace("_T1w_seg", "_T2w_csfseg"))
    fluid = _read(fluid_path) if fluid_path.is_file() else None
    rows = np.flatnonzero((cord.voxels > 0).any(axis=(1, 2)))
    # The uppermost slice of a hand-drawn cord lies near the foramen magnum when the whole cord was drawn, and a
    # few slices lower where thick slices end at C1-C2.
    top_mm = -2.0 if cord.spacing_mm[0] < 2 else -12.0
    z_mm = (np.arange(len(cord.voxels)) - rows[-1]) * cord.spacing_mm[0] + top_mm
    return _shape(path.name.split("_T1w")[0], cord, fluid, z_mm)


def _shape(name: str, cord: Volume, fluid: Volume | None, z_mm: NDArray[np.float64]) -> CordShape:
    heights, cords, canals = [], [], []
    for index, mask in enumerate(cord.voxels > 0):
        if z_mm[index] < _LOWEST_MM or mask.sum() * cord.pixel_mm[0] * cord.pixel_mm[1] < 20:
            continue
        canal = mask | (fluid.voxels[index] > 0) if fluid is not None else mask
        if fluid is not None and canal.sum() < 1.3 * mask.sum():
            continue
        centre = ndimage.center_of_mass(mask)
        heights.append(z_mm[index])
        cords.append(_radii(mask, centre, cord.pixel_mm))
        canals.append(_radii(canal, centre, cord.pixel_mm))
    if not heights:
        raise TrainingDataError(f"the cord mask of {name} is empty")
    _log.debug("%s: %d contours", name, len(heights))
    return CordShape(name, np.array(heights), np.array(cords), np.array(canals) if fluid is not None else None)


def _radii(mask: NDArray, centre: tuple[float, ...], pixel_mm: tuple[float, float]) -> NDArray[np.float64]:
    """Radius per angle: length of the ray inside the mask, smoothed to the first Fourier orders."""
    steps = np.arange(0.05, _REACH_MM, 0.1)
    rows = centre[0] + np.sin(ANGLES)[:, None] * steps / pixel_mm[0]
    columns = centre[1] + np.cos(ANGLES)[:, None] * steps / pixel_mm[1]
    inside = ndimage.map_coordinates(mask.astype(np.float32), [rows, columns], order=1)
    spectrum = np.fft.rfft(inside.sum(1) * 0.1)
    spectrum[_ORDERS + 1 :] = 0
    return np.maximum(np.fft.irfft(spectrum, N_ANGLES), 0.5)


def _recentred(bone: NDArray, cord: NDArray) -> NDArray:
    """Put the cord's mean centre on the middle pixel."""
    _, rows, columns = ndimage.center_of_mass(cord)
    middle = ((bone.shape[1] - 1) / 2, (bone.shape[2] - 1) / 2)
    return np.roll(bone, (round(middle[0] - rows), round(middle[1] - columns)), axis=(1, 2))


def _blurred(mask: NDArray, pixel_mm: float) -> NDArray[np.uint8]:
    soft = np.stack([ndimage.gaussian_filter(m.astype(np.float32) * 255, 0.5 / pixel_mm) for m in mask])
    return soft.astype(np.uint8)


def _discs(bone: NDArray, slice_mm: float, pixel_mm: float) -> NDArray:
    """Gaps of up to 9 mm between vertebral bodies, in front of the canal: closing along the height."""
    size = 2 * round(4.5 / slice_mm) + 1
    closed = ndimage.minimum_filter1d(ndimage.maximum_filter1d(bone.astype(np.uint8), size, axis=0), size, axis=0) > 0
    rows = np.arange(bone.shape[1]) < bone.shape[1] // 2 - 5.0 / pixel_mm
    columns = np.abs(np.arange(bone.shape[2]) - bone.shape[2] // 2) < 14.0 / pixel_mm
    return ndimage.binary_opening(closed & ~bone & rows[:, None] & columns, np.ones((1, 3, 5), bool))


def _grey_table(grey: Volume, shape: CordShape, z_mm: NDArray[np.float64]) -> NDArray[np.float32]:
    """Grey matter share per height, relative radius (_N_RADII of 0..1) and angle, in the atlas cord's own contour."""
    relative = (np.arange(_N_RADII) + 0.5) / _N_RADII
    table = np.zeros((len(z_mm), _N_RADII, N_ANGLES), np.float32)
    middle = ((grey.voxels.shape[1] - 1) / 2, (grey.voxels.shape[2] - 1) / 2)
    for height, radii in zip(shape.z_mm, shape.cord_mm, strict=True):
        index = int(np.argmin(np.abs(z_mm - height)))
        share = grey.voxels[index]
        total = share.sum()
        centre = ndimage.center_of_mass(share) if total > 0 else middle
        reach = relative[:, None] * radii[None]
        rows = centre[0] + reach * np.sin(ANGLES) / grey.pixel_mm[0]
        columns = centre[1] + reach * np.cos(ANGLES) / grey.pixel_mm[1]
        table[index] = ndimage.map_coordinates(share, [rows, columns], order=1)
    return table
