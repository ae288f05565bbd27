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
    """``origins_mm``: for each visit, the position along its cord of the place all share, from which positions count.
    ``from_disc``: that place is the disc C2/C3, else the middle of the first visit's cord. ``method``: in words.
    ``residuals_mm``: after registration, between the cords' centrelines (median); () for discs."""

    method: str
    origins_mm: tuple[float, ...]
    from_disc: bool
    residuals_mm: tuple[float, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def zero(self) -> str:
        """The place that positions count from, in words."""
        return "the disc C2/C3" if self.from_disc else "the middle of the cord at the first visit"


def align(visits: Sequence[Visit], read_volume: Callable[[Visit], Volume]) -> Alignment:
    """By discs where every visit has one, else by images where every visit has one; from a disc where any has one.

    ``read_volume`` reads a visit's image. Raises ConfigurationError when neither is complete or a registration failed.
    """
    discs = [visit.disc_mm for visit in visits if visit.disc_mm is not None]
    if len(discs) == len(visits):
        return Alignment("distance from the disc C2/C3", tuple(discs), from_disc=True)
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
    shifts, residuals, remarks = [0.0], [0.0], []
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
        shifts.append(shift)
        residuals.append(residual)
    origin_mm, marked = _origin(visits, shifts)
    if marked is not None:
        remarks.append(f"the disc C2/C3 is that of visit {marked}; in the others it lies where registration puts it")
    origins = tuple(origin_mm + shift for shift in shifts)
    return Alignment("rigid registration of the images", origins, marked is not None, tuple(residuals), tuple(remarks))


def _origin(visits: Sequence[Visit], shifts_mm: Sequence[float]) -> tuple[float, int | None]:
    """The shared place along the first visit's cord, and the number of the visit whose disc it is: the first that has
    one; None where none has, then it is the middle of that cord."""
    for number, (visit, shift_mm) in enumerate(zip(visits, shifts_mm, strict=True), 1):
        if visit.disc_mm is not None:
            return visit.disc_mm - shift_mm, number
    return visits[0].line.end_mm / 2, None


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
