"""The same place in every visit: by the disc C2/C3, else by rigid registration of the images. Never by the areas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.images.volume import Volume
from SpinalCordSegLib.longitudinal.registration import Registration, register_rigid
from SpinalCordSegLib.longitudinal.visits import Visit

_FARTHEST_MM = 6.0  # a cord's width and a half: beyond it, cord lies on something else
_POINT_STEP_MM = 2.0


@dataclass(frozen=True)
class Alignment:
    """``origins_mm``: for each visit, the position along its cord of the place all share. ``method``: in words.
    ``residuals_mm``: after registration, between the cords' centrelines (median); () for discs."""

    method: str
    origins_mm: tuple[float, ...]
    residuals_mm: tuple[float, ...] = ()
    remarks: tuple[str, ...] = ()


def align(visits: Sequence[Visit], read_volume: Callable[[Visit], Volume]) -> Alignment:
    """By discs where every visit has one, else by images where every visit has one.

    ``read_volume`` reads a visit's image. Raises ConfigurationError when neither is complete or a registration failed.
    """
    discs = [visit.disc_mm for visit in visits if visit.disc_mm is not None]
    if len(discs) == len(visits):
        return Alignment("distance from the disc C2/C3", tuple(discs))
    without = [str(n) for n, visit in enumerate(visits, 1) if visit.image is None]
    if without:
        missing = [str(n) for n, visit in enumerate(visits, 1) if visit.disc_mm is None]
        raise ConfigurationError(
            f"the visits cannot be laid over each other: visit {', '.join(missing)} has no disc C2/C3 and visit"
            f" {', '.join(without)} no image; mark the disc in every visit (--disc), or give every image (--image)"
        )
    return _by_images(visits, read_volume)


def _by_images(visits: Sequence[Visit], read_volume: Callable[[Visit], Volume]) -> Alignment:
    first = visits[0]
    fixed = read_volume(first)
    _check_grid(fixed, first, 1)
    origin = first.line.end_mm / 2
    origins, residuals, remarks = [origin], [0.0], []
    for number, visit in enumerate(visits[1:], 2):
        moving = read_volume(visit)
        _check_grid(moving, visit, number)
        found = register_rigid(fixed, first.mask, moving, visit.mask)
        shift, residual = _shift(first, visit, found)
        if residual > _FARTHEST_MM:
            raise ConfigurationError(
                f"registration of visit {number} failed: the cords lie {residual:.1f} mm apart, at most"
                f" {_FARTHEST_MM:g} mm are allowed; mark the disc C2/C3 in every visit instead"
            )
        if found.ambiguous:
            remarks.append(f"visit {number}: registration fits a vertebra further up or down nearly as well")
        origins.append(origin + shift)
        residuals.append(residual)
    return Alignment("rigid registration of the images", tuple(origins), tuple(residuals), tuple(remarks))


def _shift(first: Visit, other: Visit, found: Registration) -> tuple[float, float]:
    """By how much positions along the other cord are larger, where both have cord, and how far the cords are apart."""
    shifts, apart = [], []
    for position in np.arange(0.0, first.line.end_mm, _POINT_STEP_MM):
        place = found.apply(first.line.point_at(position))
        there, off_mm = other.line.nearest(place.tolist())
        if 0 <= there <= other.line.end_mm:
            shifts.append(there - position)
            apart.append(off_mm)
    if not shifts:
        return 0.0, float("inf")
    return float(np.median(shifts)), float(np.median(apart))


def _check_grid(image: Volume, visit: Visit, number: int) -> None:
    if not image.same_grid(visit.mask):
        raise ConfigurationError(
            f"the image of visit {number} lies on another grid than its mask: give the image that was segmented"
        )
