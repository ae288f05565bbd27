"""One axial slice of a simulated neck on a fine grid: tissue labels around, exact cord and canal inside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from Recipes.simulation.atlas import N_ANGLES, Maps
from Recipes.simulation.canvas import Canvas, Polar, Pose
from Recipes.simulation.necks import Neck
from Recipes.simulation.structures import (
    draw_airway,
    draw_body,
    draw_brain,
    draw_jaw,
    draw_muscles,
    draw_shoulders,
    draw_vertebral_arteries,
    draw_vessels,
)
from Recipes.simulation.tissues import Tissue

_BONE_REACH_MM = 40.0
_CORD_REACH_MM = 22.0
_WARP_MM = 1.8
# What looks like cord at its edge and is left out by those who draw T1w images: pia, its vessels, the first of the
# roots, the blur of a bright cord in dark fluid. It is painted with the cord's own signal, or the model would look for
# a rim that real images do not show. Five persons drawn both in T1w and in T2w (shapes and t2_masked of the public
# data) have T1w areas of 0.86 of their T2w areas, on average; those T2w contours have 0.85 this far inside.
RIM_MM = 0.3


@dataclass(frozen=True, eq=False)
class SliceAnatomy:
    """``labels``: (size, size) Tissue of everything around the canal. The other arrays are the part ``where``:
    ``canal``, ``cord`` (share of the pixel inside, the medulla counts as cord), ``with_rim`` (the same with the rim of
    RIM_MM that is not counted as cord), ``grey`` (share of grey matter in the cord), ``nerve`` (share of roots in the
    fluid), ``change`` (relative signal change by lesions), ``wall`` (share of the dura). ``is_cord``: False above the
    foramen magnum, where the same tissue has another name. ``x_mm``, ``y_mm`` of the canvas are kept for the coils."""

    canvas: Canvas
    where: tuple[slice, slice]
    canal: NDArray[np.float32]
    cord: NDArray[np.float32]
    with_rim: NDArray[np.float32]
    grey: NDArray[np.float32]
    nerve: NDArray[np.float32]
    change: NDArray[np.float32]
    wall: NDArray[np.float32]
    is_cord: bool

    def coverage(self) -> NDArray[np.float32]:
        """(size, size) share of each pixel that is spinal cord."""
        full = np.zeros_like(self.canvas.x)
        if self.is_cord:
            full[self.where] = self.cord
        return full


def draw_slice(neck: Neck, maps: Maps, z_mm: float, size: int, pixel_mm: float, pose: Pose) -> SliceAnatomy:
    """Draw the person's slice at ``z_mm`` (mm from the foramen magnum, LOWEST_MM..HIGHEST_MM)."""
    canvas = Canvas.blank(size, pixel_mm, pose, neck.warp, z_mm, _WARP_MM)
    draw_body(canvas, neck, z_mm)
    draw_muscles(canvas, neck, z_mm)
    draw_shoulders(canvas, neck, z_mm)
    draw_jaw(canvas, neck, z_mm)
    draw_airway(canvas, neck, z_mm)
    draw_vessels(canvas, neck, z_mm)
    draw_brain(canvas, neck, z_mm)
    _draw_bone(canvas, neck, maps, z_mm)
    if z_mm < 25:
        draw_vertebral_arteries(canvas, neck, z_mm)
    return _draw_canal(canvas, neck, maps, z_mm)


def _draw_bone(canvas: Canvas, neck: Neck, maps: Maps, z_mm: float) -> None:
    """Vertebrae with a dark rim and discs from the atlas, scaled to the person; nothing above the atlas's top."""
    rng = np.random.default_rng([neck.seed, 20])
    stretch, wide, deep, mirror = rng.uniform(0.9, 1.1), rng.normal(1, 0.05), rng.normal(1, 0.05), rng.random() < 0.5
    rim_low = rng.uniform(70, 110)
    rim_high = rng.uniform(130, 185) if rng.random() < 0.75 else rim_low + rng.uniform(2, 20)  # some rims hardly show
    index = int(np.searchsorted(maps.z_mm, z_mm / stretch))
    if z_mm > 2 or index >= len(maps.z_mm):
        return
    where = canvas.window(0, 0, _BONE_REACH_MM * neck.size)
    half = (maps.bone.shape[1] - 1) / 2
    columns = canvas.x_warped[where] / (maps.pixel_mm * neck.size * wide) * (-1 if mirror else 1) + half
    rows = canvas.y_warped[where] / (maps.pixel_mm * neck.size * deep) + half
    bone = ndimage.map_coordinates(maps.bone[index], [rows, columns], order=1)
    labels = canvas.labels[where]
    if maps.disc[index].any():
        disc = ndimage.map_coordinates(maps.disc[index], [rows, columns], order=1)
        labels[disc > 60] = Tissue.LIGAMENT
        labels[disc > 128] = Tissue.DISC
    labels[bone > rim_low] = Tissue.CORTICAL
    labels[bone > rim_high] = Tissue.MARROW


def _draw_canal(canvas: Canvas, neck: Neck, maps: Maps, z_mm: float) -> SliceAnatomy:
    rng = np.random.default_rng([neck.seed, 21])
    polar = Polar.around_cord(canvas, _CORD_REACH_MM)
    if z_mm > 25:
        empty = np.zeros_like(polar.radius_mm)
        return SliceAnatomy(canvas, polar.where, empty, empty, empty, empty, empty, empty, empty, False)
    canal_mm = neck.canal_radii(z_mm)
    edge = polar.edge_mm(canal_mm)
    front, back, ligament = max(0.0, rng.uniform(-1.5, 1.2)), rng.uniform(0.0, 3.5), rng.uniform(0.5, 2.2)
    wave = 0.5 + 0.5 * np.sin(z_mm / rng.uniform(3, 7) + rng.uniform(0, 6))
    # Behind the dura the fat is a wedge in the midline, in front a thin layer of veins.
    upright = canvas.y[polar.where] / np.maximum(polar.radius_mm, 0.1)
    epidural = np.where(upright > 0, back * wave * upright**3, front * np.abs(upright))
    labels = canvas.labels[polar.where]
    labels[edge > -(epidural + ligament)] = Tissue.LIGAMENT
    labels[edge > -epidural] = Tissue.EPIDURAL
    if z_mm > 2:
        labels[edge > -epidural - ligament] = Tissue.FLUID
    cord_mm = neck.medulla_radii(z_mm) * _medulla_form(rng, z_mm)
    inner = polar.edge_mm(cord_mm)
    cord = np.clip(0.5 + inner / np.float32(canvas.pixel_mm), 0, 1)
    with_rim = np.clip(0.5 + (inner + np.float32(RIM_MM)) / np.float32(canvas.pixel_mm), 0, 1)
    canal = np.maximum(np.clip(0.5 + edge / np.float32(canvas.pixel_mm), 0, 1), with_rim)
    return SliceAnatomy(
        canvas,
        polar.where,
        canal,
        cord,
        with_rim,
        _grey(polar, maps, cord_mm, z_mm),
        np.maximum(_roots(canvas, polar, neck, cord_mm, canal_mm, z_mm), _masses(canvas, polar, neck, cord_mm, z_mm)),
        _lesions(canvas, polar, neck, z_mm),
        np.clip(1 - np.abs(edge) / np.float32(0.4), 0, 1) * np.float32(rng.uniform(0, 0.7)),
        z_mm <= 0,
    )


def _medulla_form(rng: np.random.Generator, z_mm: float) -> NDArray[np.float64]:
    """(N_ANGLES,) factors on the cord's radii: above the foramen magnum it widens to twice its area within 25 mm and
    grows lobes (pyramids, olives); 1 below."""
    high = max(0.0, z_mm)
    angle = np.arange(N_ANGLES) * (2 * np.pi / N_ANGLES)
    sizes, turns = rng.normal(0, 0.06, 3), rng.uniform(0, 2 * np.pi, 3)
    lobes = sum(size * np.cos(order * angle + turn) for order, size, turn in zip((2, 3, 4), sizes, turns, strict=True))
    return np.asarray((1 + high * rng.uniform(0.010, 0.020)) * (1 + min(high / 15, 1.0) * lobes))


def _grey(polar: Polar, maps: Maps, cord_mm: NDArray[np.float64], z_mm: float) -> NDArray[np.float32]:
    table = maps.grey[int(np.argmin(np.abs(maps.z_mm - min(z_mm, 0.0))))]
    closed = np.append(cord_mm, cord_mm[0])
    relative = polar.radius_mm / np.interp(polar.angle, np.arange(len(closed)), closed)
    angles = np.concatenate([table, table[:, :1]], axis=1)
    positions = [relative * len(table) - 0.5, polar.angle]
    return np.asarray(ndimage.map_coordinates(angles, positions, order=1, mode="nearest") * (relative < 1))


def _roots(
    canvas: Canvas, polar: Polar, neck: Neck, cord_mm: NDArray[np.float64], canal_mm: NDArray[np.float64], z_mm: float
) -> NDArray[np.float32]:
    """Nerve roots: thin straight bands from the cord's surface, front and back of both sides, to the canal's wall."""
    rng = np.random.default_rng([neck.seed, 22])
    share = np.zeros_like(polar.radius_mm)
    x, y = canvas.x[polar.where], canvas.y[polar.where]
    for side in (-1, 1):
        for back in (-1, 1):
            start, end, width = rng.uniform(35, 70), rng.uniform(-10, 30), rng.uniform(0.3, 1.1)
            phase, often = rng.uniform(0, 2 * np.pi), rng.uniform(-0.6, 0.9)
            if np.sin(2 * np.pi * z_mm / 15 + phase) > often:
                continue
            ends = []
            for degrees, radii in ((start, cord_mm), (end, canal_mm)):
                angle = np.radians(back * degrees) if side > 0 else np.pi - np.radians(back * degrees)
                reach = radii[round(angle / (2 * np.pi) * len(radii)) % len(radii)]
                ends.append((reach * np.cos(angle), reach * np.sin(angle)))
            (x0, y0), (x1, y1) = ends
            dx, dy = x1 - x0, y1 - y0
            along = np.clip(((x - x0) * dx + (y - y0) * dy) / max(dx * dx + dy * dy, 1e-6), 0, 1)
            away = np.hypot(x - x0 - along * dx, y - y0 - along * dy)
            share = np.maximum(share, np.clip(0.5 + (width / 2 - away) / canvas.pixel_mm, 0, 1))
    return share.astype(np.float32)


def _masses(canvas: Canvas, polar: Polar, neck: Neck, cord_mm: NDArray[np.float64], z_mm: float) -> NDArray[np.float32]:
    share = np.zeros_like(polar.radius_mm)
    for mass in neck.masses:
        height = 1 - ((z_mm - mass.z_mm) / (mass.length_mm / 2)) ** 2
        if height <= 0:
            continue
        radius = mass.radius_mm * np.sqrt(height)
        reach = cord_mm[round(mass.angle_rad / (2 * np.pi) * len(cord_mm)) % len(cord_mm)] + mass.gap_mm + radius
        x = canvas.x[polar.where] - reach * np.cos(mass.angle_rad)
        y = canvas.y[polar.where] - reach * np.sin(mass.angle_rad)
        share = np.maximum(share, np.clip(0.5 + (radius - np.hypot(x, y)) / canvas.pixel_mm, 0, 1))
    return share.astype(np.float32)


def _lesions(canvas: Canvas, polar: Polar, neck: Neck, z_mm: float) -> NDArray[np.float32]:
    change = np.zeros_like(polar.radius_mm)
    for lesion in neck.lesions:
        height = 1 - ((z_mm - lesion.z_mm) / (lesion.length_mm / 2)) ** 2
        if height <= 0:
            continue
        radius = lesion.radius_mm * np.sqrt(height)
        away = np.hypot(canvas.x[polar.where] - lesion.x_mm, canvas.y[polar.where] - lesion.y_mm)
        change += lesion.change * np.clip((radius - away) / 0.5, 0, 1)
    return change.astype(np.float32)
