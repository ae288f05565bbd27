"""The same volumes blurred, resampled, turned, mirrored and made noisy: what becomes of area, mask and flags."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from Recipes.validation.public_volumes import MASKED_SETS, SCANNERS, Validator, areas_by_slice, scanner_volumes
from SpinalCordSegLib.case import Case
from SpinalCordSegLib.image_io import Image, read_image
from SpinalCordSegLib.volume import Volume
from SpinalCordSegTrainerLib.dataset import load_case

Disturbed = tuple[Volume, Volume | None]
Disturb = Callable[[Volume, Volume | None], Disturbed]

WIDTHS_MM = (0.5, 1.0)
PIXELS_MM = (0.43, 0.7, 1.0, 1.4)
ANGLES_DEG = (10.0, 20.0)
NOISES = (0.2, 0.3)


def blurred(image: Volume, mask: Volume | None, sd_mm: float) -> Disturbed:
    """In-plane Gaussian blur."""
    sd = (0.0, *(sd_mm / size for size in image.pixel_mm))
    return image.with_voxels(ndimage.gaussian_filter(image.voxels.astype(np.float32), sd)), mask


def mirrored(image: Volume, mask: Volume | None) -> Disturbed:
    """Left and right exchanged, on the same grid."""
    exchanged = [None if of is None else of.with_voxels(of.voxels[:, :, ::-1].copy()) for of in (image, mask)]
    return exchanged[0] or image, exchanged[1]


def noisy(image: Volume, mask: Volume | None, share: float, seed: int = 0) -> Disturbed:
    """Rician noise, its SD a share of the cord's median signal."""
    assert mask is not None, "the cord's signal is not known"
    rng = np.random.default_rng(seed)
    voxels = image.voxels.astype(np.float32)
    sd = share * float(np.median(voxels[mask.voxels != 0]))
    real, imaginary = (rng.normal(0, sd, voxels.shape) for _ in range(2))
    return image.with_voxels(np.hypot(voxels + real, imaginary).astype(np.float32)), mask


def resampled(image: Volume, mask: Volume | None, pixel_mm: float) -> Disturbed:
    """Other pixels in plane by cubic splines, blurred before where they are coarser, as a scanner would average."""
    steps = [pixel_mm / size for size in image.pixel_mm]
    shape = (image.shape[0], *(int((n - 1) / step) + 1 for n, step in zip(image.shape[1:], steps, strict=True)))
    sd = (0.0, *(0.42 * max(step**2 - 1, 0) ** 0.5 for step in steps))
    matrix = image.voxel_to_ras.copy()
    matrix[:, 1:3] *= steps
    # [column, row, slice] as the input's own order: any will do, and this one needs no flip of the voxels.
    to_ras = matrix[:, [2, 1, 0, 3]]

    def drawn(voxels: NDArray, order: int) -> Volume:
        found = ndimage.affine_transform(voxels, [1.0, *steps], output_shape=shape, order=order, mode="nearest")
        return Volume.from_ijk(found.transpose(2, 1, 0), to_ras)

    smooth = ndimage.gaussian_filter(image.voxels.astype(np.float32), sd)
    if mask is None:
        return drawn(smooth, 3), None
    cover = drawn((mask.voxels != 0).astype(np.float32), 1)
    return drawn(smooth, 3), cover.with_voxels(cover.voxels >= 0.5)


def turned(image: Volume, mask: Volume | None, axis: int, angle_deg: float) -> Disturbed:
    """Turned about the middle of the mask, on the same grid. ``axis``: 0 (slices) is a roll, 2 (columns) a pitch."""
    assert mask is not None, "the place of the cord is not known"
    spacing = np.array(image.spacing_mm)
    first, second = (one for one in range(3) if one != axis)
    angle = np.radians(angle_deg)
    turn = np.eye(3)
    turn[[first, second], [first, second]] = np.cos(angle)
    turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
    middle = np.argwhere(mask.voxels).mean(axis=0) * spacing
    matrix, offset = turn * spacing / spacing[:, None], (middle - turn @ middle) / spacing
    voxels = ndimage.affine_transform(image.voxels.astype(np.float32), matrix, offset, order=3, mode="nearest")
    cover = ndimage.affine_transform((mask.voxels != 0).astype(np.float32), matrix, offset, order=1)
    return image.with_voxels(voxels), mask.with_voxels(cover >= 0.5)


@dataclass(frozen=True)
class Disturbance:
    """``kind``: under which bar it falls. ``volumes``: names of the sets it is judged on."""

    kind: str
    setting: float
    apply: Disturb
    volumes: tuple[str, ...]


_MASKED = ("t1w_masked", "mt_on")
_ALL = (*_MASKED, "mt_off", SCANNERS)
DISTURBANCES = (
    *(Disturbance(f"blur {sd:g} mm", sd, partial(blurred, sd_mm=sd), _ALL) for sd in WIDTHS_MM),
    *(Disturbance("pixels", mm, partial(resampled, pixel_mm=mm), (*_MASKED, SCANNERS)) for mm in PIXELS_MM),
    *(Disturbance("roll", deg, partial(turned, axis=0, angle_deg=deg), _MASKED) for deg in ANGLES_DEG),
    # Slices of 5 mm do not hold what a pitched slice of them would show.
    *(Disturbance("pitch", deg, partial(turned, axis=2, angle_deg=deg), ("t1w_masked",)) for deg in ANGLES_DEG),
    Disturbance("mirror", 0, mirrored, _ALL),
    *(Disturbance(f"noise {100 * share:g} %", share, partial(noisy, share=share), _MASKED) for share in NOISES),
)


@dataclass(frozen=True)
class RobustnessRow:
    """One volume under one disturbance. ``change_percent``: of the mean area over the slices measured with and without
    it; for a turned one, of the area over the rater's. ``dice``: NaN without a rater's mask. ``flagged``: share of the
    slices with cord that carry a flag; ``case_flagged``: the whole case carries one."""

    kind: str
    setting: float
    volume: str
    change_percent: float
    dice: float
    flagged: float
    case_flagged: bool


def robustness(validator: Validator, data: Path) -> tuple[RobustnessRow, ...]:
    """Every disturbance on its volumes. Raises what reading and segmenting raise."""
    rows = []
    for set_name, name, image, mask, judged in _volumes(data):
        case = validator.segment(Image(image, Path(name), name))
        for one in DISTURBANCES:
            if set_name in one.volumes:
                other, truth = one.apply(image, mask)
                found = validator.segment(Image(other, Path(name), f"{name}, {one.kind}"))
                rows.append(_row(one, name, (case, mask), (found, truth), judged))
    return tuple(rows)


def _volumes(data: Path) -> Iterator[tuple[str, str, Volume, Volume | None, NDArray[np.int64]]]:
    """Set, name, image, rater's mask, slices to judge."""
    for chosen in MASKED_SETS:
        if chosen.name in _ALL:
            for labelled in chosen.cases(data):
                loaded = load_case(labelled)
                judged = np.arange(*(chosen.slice_range or (0, loaded.image.shape[0])))
                yield chosen.name, labelled.name, loaded.image, loaded.mask, judged
    for path in scanner_volumes(data):
        image = read_image(path).volume
        yield SCANNERS, path.name.split(".")[0], image, None, np.arange(image.shape[0])


def _row(
    one: Disturbance,
    name: str,
    before: tuple[Case, Volume | None],
    after: tuple[Case, Volume | None],
    judged: NDArray[np.int64],
) -> RobustnessRow:
    case, truth = after
    areas = [areas_by_slice(result.slices, result.mask.shape[0], "csa_mm2") for result, _ in (before, after)]
    known = judged[np.isfinite(areas[0][judged]) & np.isfinite(areas[1][judged])]
    change = 100 * (areas[1][known].mean() / areas[0][known].mean() - 1) if known.size else np.nan
    dice = np.nan
    if truth is not None:
        found, real = case.mask.voxels[judged] != 0, truth.voxels[judged] != 0
        dice = 2 * np.count_nonzero(found & real) / max(1, np.count_nonzero(found) + np.count_nonzero(real))
        if one.kind in ("roll", "pitch"):
            shares = [_share_of_the_raters(result, of) for result, of in (before, after)]
            change = 100 * (shares[1] / shares[0] - 1)
    slices = {flag.canonical_slice for flag in case.flags if flag.canonical_slice is not None}
    flagged = len(slices) / max(1, int(np.count_nonzero(~case.slices.is_gap)))
    whole = any(flag.canonical_slice is None for flag in case.flags)
    return RobustnessRow(one.kind, one.setting, name, float(change), float(dice), float(flagged), whole)


def _share_of_the_raters(case: Case, truth: Volume | None) -> float:
    assert truth is not None
    areas = areas_by_slice(case.slices, truth.shape[0], "csa_raw_mm2")
    real = truth.voxels.sum(axis=(1, 2)) * truth.pixel_mm[0] * truth.pixel_mm[1]
    both = np.isfinite(areas) & (real > 0)
    return float(areas[both].sum() / real[both].sum())


def robustness_figures(rows: Sequence[RobustnessRow]) -> dict[str, dict[str, Any]]:
    """By kind: mean, RMS and worst change, lowest Dice, least share of flagged slices."""
    figures = {}
    for kind in dict.fromkeys(row.kind for row in rows):
        chosen = [row for row in rows if row.kind == kind]
        changes = np.array([row.change_percent for row in chosen])
        figures[kind] = {
            "volumes": len(chosen),
            "mean change, %": float(changes.mean()),
            "RMS change, %": float(np.sqrt((changes**2).mean())),
            "worst change, %": float(np.abs(changes).max()),
            "lowest Dice": float(np.nanmin([1.0 if np.isnan(row.dice) else row.dice for row in chosen])),
            "least share of slices flagged": min(row.flagged for row in chosen),
        }
    return figures
