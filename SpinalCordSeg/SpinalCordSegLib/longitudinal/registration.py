"""Two images of one person's neck: rigid registration around the cord, visits aligned, and a mask propagated to another
image of the same study."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import acos, ceil, degrees, isfinite, nan
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from SpinalCordSegLib.errors import ConfigurationError, GeometryError, VoxelError
from SpinalCordSegLib.files import to_json
from SpinalCordSegLib.image_io import to_itk
from SpinalCordSegLib.longitudinal.direct_change import ALIKE, FARTHEST_MM, likeness
from SpinalCordSegLib.longitudinal.visits import Visit
from SpinalCordSegLib.quality_control import check_image_of, contrast_of
from SpinalCordSegLib.report import FLAG, INK, ON_IMAGE, Canvas, CordScene, chosen_slices
from SpinalCordSegLib.volume import Volume, bounding_box, lps_to_ras, mask_sha256, place_on

_REGION_MM = 30.0  # around the cord: vertebrae and discs in, chin and shoulders out
_WORK_MM = 2.0
_STARTS_MM = (0.0, -14.0, 14.0, -28.0, 28.0)  # along the cord: vertebrae repeat every 15-18 mm
_SAME_STUDY_STARTS_MM = (0.0, -14.0, 14.0)  # people move little within a study; the others show whether it is unique
_AMBIGUOUS_MM = 8.0
_NEARLY = 0.97
_SEED = 20_240_131
_BINS = 32
_MOST_OF_CHANCE = 2.5  # fits of noise have 0.2 to 1.9 times the metric of chance, of other scanners 4 and more


# Share of the region's voxels that are sampled, smoothing of both images (mm), iterations, first step (mm).
_Effort = tuple[float, float, int, float]
_ROUGH: _Effort = (0.12, 2.0, 40, 2.0)
_FINE: _Effort = (0.5, 0.0, 60, 0.5)


@dataclass(frozen=True, eq=False)
class Registration:
    """``fixed_to_moving``: 4×4, RAS mm. ``metric``: mutual information of the best fit, larger is better.
    ``ambiguous``: a fit more than 8 mm away is nearly as good. ``sharpness``: the share by which the metric falls when
    the fit is moved by 4 mm in the direction in which it falls least; NaN where it was not computed. ``unrelated``: the
    metric is hardly better than that of noise. ``alike``, ``mirrored``: see ``likeness``, -1..1; NaN where it was not
    computed."""

    fixed_to_moving: NDArray[np.float64]
    metric: float
    ambiguous: bool
    unrelated: bool = False
    sharpness: float = nan
    alike: float = nan
    mirrored: float = nan

    def apply(self, point_ras_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        return (self.fixed_to_moving @ np.append(point_ras_mm, 1.0))[:3]


def register_rigid(
    fixed: Volume, fixed_cord: Volume, moving: Volume, moving_cord: Volume | None = None
) -> Registration:
    """The rigid motion that takes places in ``fixed`` to the same places in ``moving``.

    Mattes mutual information within 30 mm of the cord, from several starts along the cord (vertebrae repeat); the best
    wins. The cords' masks give region and starts, never the fit itself. ``moving_cord`` None: another image of the same
    study, of any contrast; the search starts where the cord was in ``fixed``. The same input gives the same answer.
    Raises GeometryError when the images do not overlap.
    """
    still, region, fixed_cord = _prepared(fixed, fixed_cord)
    here, is_one_study = _centre_lps(fixed_cord), moving_cord is None
    if moving_cord is None:
        other = _coarse(moving)
        shifts = [np.array([0.0, 0.0, step]) for step in _SAME_STUDY_STARTS_MM]
    else:  # the two scans as they lie in the scanner, and cord on cord, at several heights
        other = _coarse(_cut(moving, _window(moving_cord, 2.5 * _REGION_MM)))
        apart = _centre_lps(moving_cord) - here
        shifts = [np.zeros(3), *(apart + np.array([0.0, 0.0, step]) for step in _STARTS_MM)]
    starts = [_shifted(here, shift) for shift in shifts]
    motion, metric, ambiguous, unrelated = _best(still, region, other, starts, here, stay=is_one_study)
    if not isfinite(metric):
        raise GeometryError(
            "the two images do not overlap around the cord: give two images of one study, or one that shows the neck"
        )
    if not is_one_study:
        return Registration(_ras(motion), metric, ambiguous, unrelated)
    beside = []
    for shift in 4.0 * np.vstack([np.eye(3), -np.eye(3)]):
        moved = sitk.Euler3DTransform(motion)
        moved.SetTranslation((np.array(motion.GetTranslation()) + shift).tolist())
        beside.append(_metric(still, region, other, moved))
    sharpness = (metric - max(beside)) / metric if metric > 0 else 0.0
    return Registration(_ras(motion), metric, ambiguous, unrelated, sharpness)


def _prepared(fixed: Volume, cord: Volume) -> tuple[sitk.Image, sitk.Image, Volume]:
    """The image that stays and the region of interest, cut to the cord's surroundings and coarse; the cut mask."""
    near = _window(cord, _REGION_MM + 2 * _WORK_MM)
    cord = _cut(cord, near)
    box = [2 * max(1, round(_REGION_MM / mm)) + 1 for mm in cord.ijk_spacing_mm]
    region = ndimage.maximum_filter(cord.ijk != 0, box)  # a box: exact distances do not matter here
    return _coarse(_cut(fixed, near)), _coarse(cord.with_ijk(region), is_mask=True), cord


def _ras(motion: sitk.Euler3DTransform) -> NDArray[np.float64]:
    """4×4, RAS mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(motion.GetMatrix(), (3, 3))
    centre = np.array(motion.GetCenter())
    matrix[:3, 3] = np.array(motion.GetTranslation()) + centre - matrix[:3, :3] @ centre
    return lps_to_ras(matrix) @ np.diag([-1.0, -1.0, 1.0, 1.0])


def _best(
    fixed: sitk.Image,
    region: sitk.Image,
    moving: sitk.Image,
    starts: list[sitk.Euler3DTransform],
    middle_lps: NDArray[np.float64],
    stay: bool = False,
) -> tuple[sitk.Euler3DTransform, float, bool, bool]:
    """The best fit from all starts, its metric, whether another place fits nearly as well, and whether noise would.

    With ``stay`` a fit within 8 mm of no motion goes before one that is a little better further off; then only a better
    one elsewhere is a rival: vertebrae look alike, and nobody slides by one between two images.
    """
    fits = [_fit(fixed, region, moving, start, _ROUGH) for start in starts]
    fits.sort(key=lambda fit: -fit[1])
    places = [np.array(motion.TransformPoint(middle_lps.tolist())) for motion, *_ in fits]
    near = [n for n, place in enumerate(places) if np.linalg.norm(place - middle_lps) <= _AMBIGUOUS_MM]
    chosen = near[0] if stay and near and fits[near[0]][1] > _NEARLY * fits[0][1] else 0
    rivals = [
        n
        for n, (_, metric, _) in enumerate(fits)
        if metric > _NEARLY * fits[chosen][1] and np.linalg.norm(places[n] - places[chosen]) > _AMBIGUOUS_MM
    ]
    motion, metric, by_chance = _fit(fixed, region, moving, fits[chosen][0], _FINE)
    if stay and chosen in near:
        rivals = [n for n in rivals[:1] if _fit(fixed, region, moving, fits[n][0], _FINE)[1] > metric]
    return motion, metric, bool(rivals), metric < _MOST_OF_CHANCE * by_chance


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
) -> tuple[sitk.Euler3DTransform, float, float]:
    """The fit, its mutual information, and what unrelated images have with as many samples: (bins - 1)² / 2n nats."""
    motion = sitk.Euler3DTransform(start)
    method = _method(region, effort)
    _, _, iterations, step_mm = effort
    method.SetOptimizerAsRegularStepGradientDescent(step_mm, 0.02, iterations, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(motion, inPlace=True)
    try:
        method.Execute(fixed, moving)
        by_chance = (_BINS - 1) ** 2 / (2 * max(1, method.GetMetricNumberOfValidPoints()))
        return motion, -float(method.GetMetricValue()), by_chance
    except RuntimeError:  # ITK: no sample of the region falls into the other image; such a start is no fit
        return motion, float("-inf"), 0.0


def _method(region: sitk.Image, effort: _Effort) -> sitk.ImageRegistrationMethod:
    share, smoothing_mm, _, _ = effort
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricFixedMask(region)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(share, _SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel([1])
    method.SetSmoothingSigmasPerLevel([smoothing_mm])
    method.SetSmoothingSigmasAreSpecifiedInPhysicalUnits(True)
    return method


def _shifted(centre_lps: NDArray[np.float64], shift: NDArray[np.float64]) -> sitk.Euler3DTransform:
    motion = sitk.Euler3DTransform()
    motion.SetCenter(centre_lps.tolist())
    motion.SetTranslation(shift.tolist())
    return motion


def _centre_lps(cord: Volume) -> NDArray[np.float64]:
    middle = np.argwhere(cord.ijk != 0).mean(axis=0)
    r, a, s = (cord.ijk_to_ras @ np.append(middle, 1.0))[:3]
    return np.array([-r, -a, s])


def _window(cord: Volume, reach_mm: float) -> tuple[slice, ...]:
    """The box around the cord, ``reach_mm`` wider on every side, within the grid."""
    reach = [ceil(reach_mm / mm) for mm in cord.ijk_spacing_mm]
    box = bounding_box(cord.ijk) or ()
    return tuple(slice(max(0, part.start - more), part.stop + more) for part, more in zip(box, reach, strict=True))


def _cut(volume: Volume, window: tuple[slice, ...]) -> Volume:
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, :3] @ [one.start for one in window]
    return Volume.from_ijk(volume.ijk[window], matrix)


def _coarse(volume: Volume, is_mask: bool = False) -> sitk.Image:
    """Resampled to about 2 mm, finer axes only."""
    image = to_itk(volume) if is_mask else sitk.Cast(to_itk(volume), sitk.sitkFloat32)
    spacing = [max(_WORK_MM, mm) for mm in image.GetSpacing()]
    size = [
        max(1, round(n * mm / new)) for n, mm, new in zip(image.GetSize(), image.GetSpacing(), spacing, strict=True)
    ]
    start = image.TransformContinuousIndexToPhysicalPoint(
        [(new / mm - 1) / 2 for mm, new in zip(image.GetSpacing(), spacing, strict=True)]
    )
    if not is_mask and min(image.GetSize()) >= 4:
        sigmas = [0.4 * _WORK_MM if mm < _WORK_MM else 1e-3 * mm for mm in image.GetSpacing()]
        image = sitk.SmoothingRecursiveGaussian(image, sigmas)
    interpolator = sitk.sitkNearestNeighbor if is_mask else sitk.sitkLinear
    return sitk.Resample(
        image, size, sitk.Transform(), interpolator, start, spacing, image.GetDirection(), 0.0, image.GetPixelID()
    )


# ---- The same place in every visit: by the disc C2/C3, else by rigid registration of the images. Never by the areas.


_POINT_STEP_MM = 2.0


@dataclass(frozen=True)
class Alignment:
    """``origins_mm``: for each visit, the position along its cord of the place all share, from which positions count.
    ``zero``: that place in words. ``method``: likewise. ``residuals_mm``: after registration, between the cords'
    centrelines (median); () without. ``doubts``: why no change may have a verdict."""

    method: str
    origins_mm: tuple[float, ...]
    zero: str
    residuals_mm: tuple[float, ...] = ()
    remarks: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def from_disc(self) -> bool:
        return self.zero == DISC


DISC, MIDDLE, UPPER_END = "the disc C2/C3", "the middle of the cord at the first visit", "the upper end of the cord"


Lay = Callable[[Visit, Visit], Registration]
"""How the images of two visits lie on each other. Raises GeometryError."""


def align(visits: Sequence[Visit], lay: Lay) -> Alignment:
    """By discs where every visit has one, else by images where every visit has one; from a disc where any has one. With
    neither by the cord's upper end, as the program found it in every visit: then no change has a verdict.

    Raises ConfigurationError when nothing is complete or a registration failed.
    """
    discs = [visit.disc_mm for visit in visits if visit.disc_mm is not None]
    if len(discs) == len(visits):
        return Alignment("distance from the disc C2/C3", tuple(discs), DISC)
    without = [str(n) for n, visit in enumerate(visits, 1) if visit.source.image is None]
    ends = [visit.upper_end_mm for visit in visits if visit.upper_end_mm is not None]
    if without and len(ends) == len(visits):
        doubt = (
            "the visits are aligned by the cord's upper end alone, which the program found: mark the disc C2/C3 in"
            " every visit (--disc), or give every image (--image)"
        )
        return Alignment("distance from the upper end of the cord", tuple(ends), UPPER_END, doubts=(doubt,))
    if without:
        missing = [str(n) for n, visit in enumerate(visits, 1) if visit.disc_mm is None]
        raise ConfigurationError(
            f"the visits cannot be aligned: no disc C2/C3 that a person marked in visit {', '.join(missing)},"
            f" no image of visit {', '.join(without)}; give every image (--image), or mark every disc (--disc)"
        )
    first, shifts, residuals, remarks = visits[0], [0.0], [0.0], []
    for number, visit in enumerate(visits[1:], 2):
        found = lay(first, visit)
        if found.unrelated:
            raise ConfigurationError(
                f"registration of visit {number} failed: about the cord its image and that of visit 1 have little in"
                " common; mark the disc C2/C3 in every visit instead"
            )
        shift, residual = shift_along(first, visit, found)
        if residual > FARTHEST_MM:
            raise ConfigurationError(
                f"registration of visit {number} failed: the cords lie {residual:.1f} mm apart, at most"
                f" {FARTHEST_MM:g} mm are allowed; mark the disc C2/C3 in every visit instead"
            )
        if found.ambiguous:
            remarks.append(f"visit {number}: {_AMBIGUOUS}")
        shifts.append(shift)
        residuals.append(residual)
    origin_mm = first.line.end_mm / 2
    marked = next((n for n, visit in enumerate(visits) if visit.disc_mm is not None), None)
    if marked is not None:
        origin_mm = (visits[marked].disc_mm or 0.0) - shifts[marked]
        remarks.append(f"the disc C2/C3 is that of visit {marked + 1}; in the others registration places it")
    origins = tuple(origin_mm + shift for shift in shifts)
    zero = MIDDLE if marked is None else DISC
    return Alignment("rigid registration of the images", origins, zero, tuple(residuals), tuple(remarks))


def shift_along(first: Visit, other: Visit, found: Registration) -> tuple[float, float]:
    """By how much positions along the other cord are larger, where both have cord, and how far the cords are apart."""
    shifts, apart = [], []
    for position in np.arange(0.0, first.line.end_mm, _POINT_STEP_MM):
        place = found.apply(first.line.point_at(position))
        there, off_mm = other.line.nearest(place.tolist())
        if 0 <= there <= other.line.end_mm:
            shifts.append(there - position)
            apart.append(off_mm)
    return (float(np.median(shifts)), float(np.median(apart))) if shifts else (0.0, float("inf"))


# ---- A mask propagated to another image of the same study (STIR, T2), onto that image's own grid


_AMBIGUOUS = "the images also fit almost as well one vertebra higher or lower"
_FINEST = 4  # samples of a target voxel per axis
_FAR_MM, _TURNED_DEG = 8.0, 8.0  # within a study people swallow and settle; more is another position, or a wrong fit
_LEAST_SHARP = 0.02  # see Registration.sharpness; below it the fit is hardly better than one 4 mm off
_MOSTLY = 0.9


@dataclass(frozen=True, eq=False)
class PropagatedMask:
    """``mask``: bool on the target's own grid. ``moved_mm``, ``turned_deg``: of the cord's middle by the registration.
    ``coverage``: 0..1, the share of the mask's volume that lies within the target. ``warnings``: sentences, () where
    the fit raises none; the picture has to be looked at all the same."""

    mask: Volume = field(metadata={"json": False})
    registration: Registration = field(metadata={"json": False})
    moved_mm: float = field(metadata={"decimals": 2})
    turned_deg: float = field(metadata={"decimals": 2})
    coverage: float = field(metadata={"decimals": 4})
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return to_json(self) | {
            "source_to_target_ras": to_json(self.registration.fixed_to_moving.tolist(), 6),
            "mutual_information": round(self.registration.metric, 5),
            "sharpness": round(self.registration.sharpness, 4),
            "volume_mm3": round(float(np.count_nonzero(self.mask.ijk)) * self.mask.voxel_volume_mm3, 2),
            "mask_sha256": mask_sha256(self.mask),
        }


def propagate_mask(image: Volume, mask: Volume, target: Volume) -> PropagatedMask:
    """Propagate ``mask`` (cord where not zero, on the grid of ``image``) to ``target``, an image of the same study.

    Any contrasts, grids and orientations; both in the scanner's coordinates. Raises VoxelError for an empty mask,
    GeometryError when the mask lies on another grid than its image, or the images do not overlap.
    """
    mask = place_on(mask, image)
    if not np.any(mask.voxels):
        raise VoxelError("the mask is empty: there is nothing to propagate")
    found = register_rigid(image, mask, target)
    propagated = resample_mask(mask, found.fixed_to_moving, target)
    volume_ratio = propagated.voxel_volume_mm3 * np.count_nonzero(propagated.voxels)
    volume_ratio /= mask.voxel_volume_mm3 * np.count_nonzero(mask.voxels)
    cord = np.argwhere(mask.ijk != 0)
    to_target = np.linalg.inv(target.ijk_to_ras) @ found.fixed_to_moving @ mask.ijk_to_ras
    places = cord @ to_target[:3, :3].T + to_target[:3, 3]
    inside = (places >= -0.5) & (places <= np.array(target.ijk_shape) - 0.5)
    coverage = float(inside.all(axis=1).mean())
    middle = (mask.ijk_to_ras @ np.append(cord.mean(axis=0), 1.0))[:3]
    moved_mm = float(np.linalg.norm(found.apply(middle) - middle))
    cosine = (np.trace(found.fixed_to_moving[:3, :3]) - 1) / 2
    turned_deg = degrees(acos(min(1.0, max(-1.0, float(cosine)))))
    warnings = [flag.message for flag in check_image_of(image, mask)]
    if found.ambiguous:
        warnings.append(_AMBIGUOUS)
    if found.unrelated:
        warnings.append(f"the images have little in common (mutual information {found.metric:.3f})")
    if contrast_of(image, mask) == contrast_of(target, propagated) != "":
        alike, *_ = likeness(image, mask, target, propagated, found.fixed_to_moving)
        if alike < ALIKE:
            warnings.append(f"the images have one contrast and may show two persons: alike by {alike:.2f}")
    if found.sharpness < _LEAST_SHARP:
        share = 100 * max(found.sharpness, 0)
        warnings.append(f"the position is uncertain: moved by 4 mm the images fit only {share:.1f} % worse")
    if moved_mm > _FAR_MM or turned_deg > _TURNED_DEG:
        warnings.append(f"the cord was moved by {moved_mm:.1f} mm and {turned_deg:.1f}°, a lot within one study")
    if coverage < _MOSTLY:
        warnings.append(f"only {100 * coverage:.0f} % of the mask lie within the other image")
    elif not 0.9 <= volume_ratio <= 1.1:
        warnings.append(f"the propagated mask has {volume_ratio:.2f} times the volume: its voxels are large for a cord")
    return PropagatedMask(propagated, found, moved_mm, turned_deg, coverage, tuple(warnings))


def resample_mask(mask: Volume, source_to_target: NDArray[np.float64], target: Volume) -> Volume:
    """``mask`` moved by a rigid ``source_to_target`` (4×4, RAS mm) onto the grid of ``target``, bool.

    A target voxel belongs to it when at least half of it lies inside; voxels coarser than the mask's are sampled
    several times per axis, so that a thick slice is no matter of where its middle lies.
    """
    to_source = np.linalg.inv(mask.ijk_to_ras) @ np.linalg.inv(source_to_target) @ target.ijk_to_ras
    found = np.zeros(target.ijk_shape, bool)
    box = bounding_box(mask.ijk) or ()
    corners = np.array([[*corner, 1.0] for corner in product(*((part.start - 1, part.stop) for part in box))])
    reached = (corners @ np.linalg.inv(to_source).T)[:, :3]
    first = np.maximum(np.floor(reached.min(axis=0)).astype(int), 0)
    end = np.minimum(np.ceil(reached.max(axis=0)).astype(int) + 1, target.ijk_shape)
    if np.any(first >= end):
        return target.with_ijk(found)
    window = tuple(slice(int(low), int(high)) for low, high in zip(first, end, strict=True))
    factors = [
        min(_FINEST, max(1, ceil(float(np.linalg.norm(to_source[:3, axis])) - 1e-6))) for axis in range(3)
    ]  # the target's steps in voxels of the mask
    axes = [(np.arange(w.start * f, w.stop * f) + 0.5) / f - 0.5 for w, f in zip(window, factors, strict=True)]
    i, j, k = np.meshgrid(*axes, indexing="ij")
    at = np.einsum("ab,bijk->aijk", to_source[:3, :3], np.stack([i, j, k])) + to_source[:3, 3, None, None, None]
    # "grid-constant" is 0 from the next voxel's middle on; "constant" would be from the outermost one's own, and half a
    # slice of a cord that runs through the whole stack would be lost at each end.
    inside = ndimage.map_coordinates((mask.ijk != 0).astype(np.float32), at, order=1, mode="grid-constant", cval=0.0)
    shape = [n for w, f in zip(window, factors, strict=True) for n in (w.stop - w.start, f)]
    found[window] = inside.reshape(shape).mean(axis=(1, 3, 5)) >= 0.5
    return target.with_ijk(found)


def resample_image(image: Volume, source_to_target: NDArray[np.float64], target: Volume) -> Volume:
    """``target`` seen on the grid of ``image`` after the fit, float32, 0 outside: what the picture of the fit shows."""
    to_target = np.linalg.inv(target.ijk_to_ras) @ source_to_target @ image.ijk_to_ras
    found = ndimage.affine_transform(
        target.ijk.astype(np.float32), to_target[:3, :3], to_target[:3, 3], image.ijk_shape, order=1, cval=0.0
    )
    return image.with_ijk(found)


# ---- The picture of the fit: the same planes of both images, with the same outline


_TILES, _COLUMNS, _TILE_MM, _SCALE = 8, 4, 40.0, 6.0
_PLANE_MM, _PLANE_HEIGHT = 60.0, 514
_GAP, _MARGIN, _HEAD, _LABEL = 10, 20, 64, 24


def propagation_picture(image: Volume, mask: Volume, target: Volume, propagated: PropagatedMask) -> bytes:
    """PNG: above the image that was segmented, below the other one on the same grid after the fit; left the sagittal
    plane along the cord, then axial slices from superior to inferior. Yellow: the outline, the same in both.

    Raises MissingPackageError without matplotlib.
    """
    fitted = resample_image(image, propagated.registration.fixed_to_moving, target)
    scenes = [CordScene.of(one, mask) for one in (image, fitted)]
    filled = np.flatnonzero(scenes[0].mask.any(axis=(1, 2))).tolist()
    numbers = chosen_slices(filled, [], _TILES)[::-1]
    scale = min(_SCALE, _PLANE_HEIGHT / (len(scenes[0].mask) * scenes[0].spacing_mm[0]))
    tile = round(_TILE_MM * _SCALE) + _GAP
    planes = [scene.along(1, _PLANE_MM, scale) for scene in scenes]
    beside = _MARGIN + planes[0].grey.shape[1] + _GAP
    block = max(planes[0].grey.shape[0] + _LABEL, -(-len(numbers) // _COLUMNS) * (tile + _LABEL)) + _GAP
    canvas = Canvas(beside + min(_COLUMNS, len(numbers)) * tile + _MARGIN, _HEAD + 2 * block + _MARGIN)
    words = "; ".join(propagated.warnings) or "no warning; the outline still has to be checked"
    canvas.write(_MARGIN, 26, f"moved {propagated.moved_mm:.1f} mm, turned {propagated.turned_deg:.1f}°", 16, INK)
    canvas.write(_MARGIN, 50, words, 16, FLAG if propagated.warnings else INK)
    names = ("segmented image", "other image, after the fit")
    for number, (scene, plane, name) in enumerate(zip(scenes, planes, names, strict=True)):
        top = _HEAD + number * block
        canvas.write(_MARGIN, top + 16, name, 16, INK)
        canvas.paste(plane.rgb(1), _MARGIN, top + _LABEL)
        for at, k in enumerate(numbers):
            x, y = beside + at % _COLUMNS * tile, top + at // _COLUMNS * (tile + _LABEL)
            canvas.write(x, y + 16, f"slice {mask.to_input_slice(k)}", 16, INK)
            canvas.paste(scene.axial(k, _TILE_MM, _SCALE).rgb(1), x, y + _LABEL)
            canvas.write(x + 5, y + _LABEL + 18, "R", 16, ON_IMAGE)
    return canvas.png()
