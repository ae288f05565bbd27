"""Rigid registration of two images of one person's neck, within a region around the cord."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from SpinalCordSegLib.volume import Volume, lps_to_ras

_REGION_MM = 30.0  # around the cord: vertebrae and discs in, chin and shoulders out
_WORK_MM = 2.0
_STARTS_MM = (0.0, -14.0, 14.0, -28.0, 28.0)  # along the cord: vertebrae repeat every 15-18 mm
_AMBIGUOUS_MM = 8.0
_NEARLY = 0.97
_SEED = 20_240_131
_FRACTION = 0.4


@dataclass(frozen=True, eq=False)
class Registration:
    """``fixed_to_moving``: 4×4, RAS mm. ``metric``: mutual information of the best fit, larger is better.
    ``ambiguous``: True when a fit more than 8 mm away is nearly as good."""

    fixed_to_moving: NDArray[np.float64]
    metric: float
    ambiguous: bool

    def apply(self, point_ras_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        return (self.fixed_to_moving @ np.append(point_ras_mm, 1.0))[:3]


def register_rigid(fixed: Volume, fixed_cord: Volume, moving: Volume, moving_cord: Volume) -> Registration:
    """Find the rigid motion that takes places in ``fixed`` to the same places in ``moving``.

    Mattes mutual information within 30 mm of the cord, from several starts along the cord (vertebrae repeat); the best
    wins. The cords' masks give region and start, never the fit itself. The same input gives the same answer.
    """
    region = _around(fixed_cord)
    still, region_image = _image(fixed, sitk.sitkFloat32), _image(region, sitk.sitkUInt8)
    still, region_image = _coarse(still, sitk.sitkLinear), _coarse(region_image, sitk.sitkNearestNeighbor)
    other = _coarse(_image(moving, sitk.sitkFloat32), sitk.sitkLinear)
    fits = [_fit(still, region_image, other, start) for start in _starts(fixed_cord, moving_cord)]
    fits.sort(key=lambda fit: -fit[1])
    middle = np.append(_centre_lps(fixed_cord), 1.0)
    best, metric = fits[0]
    places = [(matrix @ middle)[:3] for matrix, _ in fits]
    rivals = [
        value > _NEARLY * metric and np.linalg.norm(place - places[0]) > _AMBIGUOUS_MM
        for place, (_, value) in zip(places, fits, strict=True)
    ]
    return Registration(lps_to_ras(best) @ np.diag([-1.0, -1.0, 1.0, 1.0]), metric, any(rivals))


def _fit(
    fixed: sitk.Image, region: sitk.Image, moving: sitk.Image, start: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> tuple[NDArray[np.float64], float]:
    centre, shift = start
    motion = sitk.Euler3DTransform()
    motion.SetCenter(centre.tolist())
    motion.SetTranslation(shift.tolist())
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricFixedMask(region)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(_FRACTION, _SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 0.02, 60, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([2.0, 0.0])
    method.SetSmoothingSigmasAreSpecifiedInPhysicalUnits(True)
    method.SetInitialTransform(motion, inPlace=True)
    try:
        method.Execute(fixed, moving)
        metric = -float(method.MetricEvaluate(fixed, moving))
    except RuntimeError:  # ITK: no sample of the region falls into the other image; such a start is no fit
        metric = float("-inf")
    return _matrix(motion), metric


def _matrix(motion: sitk.Euler3DTransform) -> NDArray[np.float64]:
    """4×4 in LPS mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(motion.GetMatrix(), (3, 3))
    centre = np.array(motion.GetCenter())
    matrix[:3, 3] = np.array(motion.GetTranslation()) + centre - matrix[:3, :3] @ centre
    return matrix


def _starts(
    fixed_cord: Volume, moving_cord: Volume
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:  # fmt: skip
    """Cord on cord, at several heights, and the two scans as they lie in the scanner."""
    here, there = _centre_lps(fixed_cord), _centre_lps(moving_cord)
    shifts = [there - here + np.array([0.0, 0.0, step]) for step in _STARTS_MM]
    return [(here, np.zeros(3)), *((here, shift) for shift in shifts)]


def _centre_lps(cord: Volume) -> NDArray[np.float64]:
    middle = np.argwhere(cord.voxels != 0).mean(axis=0)
    r, a, s = (cord.ijk_to_ras @ np.append(middle, 1.0))[:3]
    return np.array([-r, -a, s])


def _around(cord: Volume) -> Volume:
    """Voxels within the region's reach of the cord, as boxes: exact distances do not matter here."""
    from scipy import ndimage

    reach = [max(1, round(_REGION_MM / mm)) for mm in cord.spacing_mm]
    grown = cord.voxels != 0
    for axis, size in enumerate(reach):
        grown = ndimage.maximum_filter1d(grown, 2 * size + 1, axis=axis)
    return cord.with_voxels(grown.astype(np.uint8))


def _image(volume: Volume, kind: int) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.voxels.transpose(2, 1, 0)))
    lps = lps_to_ras(volume.ijk_to_ras)
    image.SetSpacing(volume.spacing_mm)
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / np.array(volume.spacing_mm)).ravel().tolist())
    return sitk.Cast(image, kind)


def _coarse(image: sitk.Image, interpolator: int) -> sitk.Image:
    """Resampled to about 2 mm, finer axes only."""
    spacing = [max(_WORK_MM, mm) for mm in image.GetSpacing()]
    size = [
        max(1, round(n * mm / new)) for n, mm, new in zip(image.GetSize(), image.GetSpacing(), spacing, strict=True)
    ]
    smooth = image
    if interpolator == sitk.sitkLinear:
        sigmas = [0.4 * _WORK_MM if mm < _WORK_MM else 1e-3 * mm for mm in image.GetSpacing()]
        smooth = sitk.SmoothingRecursiveGaussian(image, sigmas) if min(image.GetSize()) >= 4 else image
    start = image.TransformContinuousIndexToPhysicalPoint(
        [(new / mm - 1) / 2 for mm, new in zip(image.GetSpacing(), spacing, strict=True)]
    )
    return sitk.Resample(
        smooth, size, sitk.Transform(), interpolator, start, spacing, image.GetDirection(), 0.0, image.GetPixelID()
    )
