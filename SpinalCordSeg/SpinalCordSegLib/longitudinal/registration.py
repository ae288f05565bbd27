"""Rigid registration of two images of one person's neck, within a region around the cord."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, nan

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from SpinalCordSegLib.errors import GeometryError
from SpinalCordSegLib.images.volume import Volume, lps_to_ras

_REGION_MM = 30.0  # around the cord: vertebrae and discs in, chin and shoulders out
_WORK_MM = 2.0
_STARTS_MM = (0.0, -14.0, 14.0, -28.0, 28.0)  # along the cord: vertebrae repeat every 15-18 mm
_SAME_STUDY_STARTS_MM = (0.0, -14.0, 14.0)  # people move little within a study; the others show whether it is unique
_AMBIGUOUS_MM = 8.0
_NEARLY = 0.97
_SEED = 20_240_131


@dataclass(frozen=True)
class _Effort:
    """Share of the region's voxels that are sampled, smoothing of both images, and how long is looked."""

    share: float
    smoothing_mm: float
    iterations: int
    step_mm: float


_ROUGH, _FINE = _Effort(0.12, 2.0, 40, 2.0), _Effort(0.5, 0.0, 60, 0.5)


@dataclass(frozen=True, eq=False)
class Registration:
    """``fixed_to_moving``: 4×4, RAS mm. ``metric``: mutual information of the best fit, larger is better.
    ``ambiguous``: True when a fit more than 8 mm away is nearly as good. ``sharpness``: by which share the metric falls
    when the fit is moved by 4 mm in the direction in which it falls least; NaN where it was not asked for."""

    fixed_to_moving: NDArray[np.float64]
    metric: float
    ambiguous: bool
    sharpness: float = nan

    def apply(self, point_ras_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        return (self.fixed_to_moving @ np.append(point_ras_mm, 1.0))[:3]


def register_same_study(fixed: Volume, fixed_cord: Volume, moving: Volume) -> Registration:
    """Find how the person moved between two images of one study, of any two contrasts, in the scanner's coordinates.

    As ``register_rigid``, but the cord in ``moving`` is not known: it is looked for about where it was in ``fixed``.
    Raises GeometryError when the images do not overlap.
    """
    near = _window(fixed_cord, _REGION_MM + 2 * _WORK_MM)
    fixed, fixed_cord = _cut(fixed, near), _cut(fixed_cord, near)
    still = _coarse(_image(fixed, sitk.sitkFloat32), sitk.sitkLinear)
    region = _coarse(_image(_around(fixed_cord), sitk.sitkUInt8), sitk.sitkNearestNeighbor)
    other = _coarse(_image(moving, sitk.sitkFloat32), sitk.sitkLinear)
    here = _centre_lps(fixed_cord)
    starts = [_shifted(here, np.array([0.0, 0.0, step])) for step in _SAME_STUDY_STARTS_MM]
    motion, metric, ambiguous = _best(still, region, other, starts, here, stay=True)
    if not isfinite(metric):
        raise GeometryError(
            "the two images do not overlap around the cord: give two images of one study, or one that shows the neck"
        )
    moved = [_metric(still, region, other, _also(motion, shift)) for shift in 4.0 * np.vstack([np.eye(3), -np.eye(3)])]
    sharpness = (metric - max(moved)) / metric if metric > 0 else 0.0
    return Registration(_ras(motion), metric, ambiguous, sharpness)


def register_rigid(fixed: Volume, fixed_cord: Volume, moving: Volume, moving_cord: Volume) -> Registration:
    """Find the rigid motion that takes places in ``fixed`` to the same places in ``moving``.

    Mattes mutual information within 30 mm of the cord, from several starts along the cord (vertebrae repeat); the best
    wins. The cords' masks give region and start, never the fit itself. The same input gives the same answer.
    """
    near = _window(fixed_cord, _REGION_MM + 2 * _WORK_MM)
    fixed, fixed_cord = _cut(fixed, near), _cut(fixed_cord, near)
    moving = _cut(moving, _window(moving_cord, 2.5 * _REGION_MM))
    region = _around(fixed_cord)
    still, region_image = _image(fixed, sitk.sitkFloat32), _image(region, sitk.sitkUInt8)
    still, region_image = _coarse(still, sitk.sitkLinear), _coarse(region_image, sitk.sitkNearestNeighbor)
    other = _coarse(_image(moving, sitk.sitkFloat32), sitk.sitkLinear)
    starts = _starts(fixed_cord, moving_cord)
    motion, metric, ambiguous = _best(still, region_image, other, starts, _centre_lps(fixed_cord))
    return Registration(_ras(motion), metric, ambiguous)


def _ras(motion: sitk.Euler3DTransform) -> NDArray[np.float64]:
    return lps_to_ras(_matrix(motion)) @ np.diag([-1.0, -1.0, 1.0, 1.0])


def _best(
    fixed: sitk.Image,
    region: sitk.Image,
    moving: sitk.Image,
    starts: list[sitk.Euler3DTransform],
    middle_lps: NDArray[np.float64],
    stay: bool = False,
) -> tuple[sitk.Euler3DTransform, float, bool]:
    """The best fit from all starts, its metric, and whether another place fits nearly as well.

    With ``stay`` a fit within 8 mm of no motion goes before one that is a little better further off; then only a better
    one elsewhere is a rival: vertebrae look alike, and nobody slides by one between two images.
    """
    fits = [_fit(fixed, region, moving, start, _ROUGH) for start in starts]
    fits.sort(key=lambda fit: -fit[1])
    places = [np.array(motion.TransformPoint(middle_lps.tolist())) for motion, _ in fits]
    near = [n for n, place in enumerate(places) if np.linalg.norm(place - middle_lps) <= _AMBIGUOUS_MM]
    chosen = near[0] if stay and near and fits[near[0]][1] > _NEARLY * fits[0][1] else 0
    rivals = [
        n
        for n, (_, metric) in enumerate(fits)
        if metric > _NEARLY * fits[chosen][1] and np.linalg.norm(places[n] - places[chosen]) > _AMBIGUOUS_MM
    ]
    motion, metric = _fit(fixed, region, moving, fits[chosen][0], _FINE)
    if stay and chosen in near:
        rivals = [n for n in rivals[:1] if _fit(fixed, region, moving, fits[n][0], _FINE)[1] > metric]
    return motion, metric, bool(rivals)


def _metric(fixed: sitk.Image, region: sitk.Image, moving: sitk.Image, motion: sitk.Euler3DTransform) -> float:
    """Mutual information at a motion, sampled as in the fine fit."""
    method = _method(region, _FINE)
    method.SetInitialTransform(motion, inPlace=True)
    try:
        return -float(method.MetricEvaluate(fixed, moving))
    except RuntimeError:  # ITK: no sample of the region falls into the other image
        return float("-inf")


def _fit(
    fixed: sitk.Image, region: sitk.Image, moving: sitk.Image, start: sitk.Euler3DTransform, effort: _Effort
) -> tuple[sitk.Euler3DTransform, float]:
    motion = sitk.Euler3DTransform(start)
    method = _method(region, effort)
    method.SetOptimizerAsRegularStepGradientDescent(effort.step_mm, 0.02, effort.iterations, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(motion, inPlace=True)
    try:
        method.Execute(fixed, moving)
        return motion, -float(method.GetMetricValue())
    except RuntimeError:  # ITK: no sample of the region falls into the other image; such a start is no fit
        return motion, float("-inf")


def _method(region: sitk.Image, effort: _Effort) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricFixedMask(region)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(effort.share, _SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel([1])
    method.SetSmoothingSigmasPerLevel([effort.smoothing_mm])
    method.SetSmoothingSigmasAreSpecifiedInPhysicalUnits(True)
    return method


def _matrix(motion: sitk.Euler3DTransform) -> NDArray[np.float64]:
    """4×4 in LPS mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(motion.GetMatrix(), (3, 3))
    centre = np.array(motion.GetCenter())
    matrix[:3, 3] = np.array(motion.GetTranslation()) + centre - matrix[:3, :3] @ centre
    return matrix


def _starts(fixed_cord: Volume, moving_cord: Volume) -> list[sitk.Euler3DTransform]:
    """The two scans as they lie in the scanner, and cord on cord, at several heights."""
    here, there = _centre_lps(fixed_cord), _centre_lps(moving_cord)
    shifts = [np.zeros(3), *(there - here + np.array([0.0, 0.0, step]) for step in _STARTS_MM)]
    return [_shifted(here, shift) for shift in shifts]


def _shifted(centre_lps: NDArray[np.float64], shift: NDArray[np.float64]) -> sitk.Euler3DTransform:
    motion = sitk.Euler3DTransform()
    motion.SetCenter(centre_lps.tolist())
    motion.SetTranslation(shift.tolist())
    return motion


def _also(motion: sitk.Euler3DTransform, shift: NDArray[np.float64]) -> sitk.Euler3DTransform:
    moved = sitk.Euler3DTransform(motion)
    moved.SetTranslation((np.array(motion.GetTranslation()) + shift).tolist())
    return moved


def _centre_lps(cord: Volume) -> NDArray[np.float64]:
    middle = np.argwhere(cord.voxels != 0).mean(axis=0)
    r, a, s = (cord.ijk_to_ras @ np.append(middle, 1.0))[:3]
    return np.array([-r, -a, s])


def _window(cord: Volume, reach_mm: float) -> tuple[slice, ...]:
    """The box around the cord, ``reach_mm`` wider on every side, within the grid."""
    found = np.argwhere(cord.voxels != 0)
    reach = [int(np.ceil(reach_mm / mm)) for mm in cord.spacing_mm]
    return tuple(
        slice(max(0, int(low) - more), int(high) + more + 1)
        for low, high, more in zip(found.min(axis=0), found.max(axis=0), reach, strict=True)
    )


def _cut(volume: Volume, window: tuple[slice, ...]) -> Volume:
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, :3] @ [one.start for one in window]
    return Volume(volume.voxels[window], matrix)


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
