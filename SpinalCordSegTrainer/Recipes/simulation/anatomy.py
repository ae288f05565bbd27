"""Axial slices of a simulated neck: every structure drawn as a share of each pixel, the cord's area known exactly."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from Recipes.simulation.atlas import N_ANGLES, Maps
from Recipes.simulation.necks import Field, Neck

# Tissues of the neck and their MR properties at 3 T, drawn anew for every person.


class Tissue(IntEnum):
    """What a pixel of the label canvas is. AIR is 0, so an empty canvas is air."""

    AIR = 0
    MUSCLE = 1
    FAT = 2
    SKIN = 3
    MARROW = 4
    CORTICAL = 5
    DISC = 6
    FLUID = 7
    WHITE = 8
    GREY = 9
    ARTERY = 10
    VEIN = 11
    GLAND = 12
    MUCOSA = 13
    EPIDURAL = 14
    NERVE = 15
    CARTILAGE = 16
    BRAIN_WHITE = 17
    BRAIN_GREY = 18
    FASCIA = 19
    TONGUE = 20
    TOOTH = 21
    LYMPH = 22
    LIGAMENT = 23


N_TISSUES = len(Tissue)


@dataclass(frozen=True)
class Properties:
    """``density``: protons against water, 0..1. ``t1_ms``, ``t2star_ms``: of the water. ``fat``: share of the protons
    that are fat's. ``bound``: share of the signal that a magnetisation-transfer pulse takes."""

    density: float
    t1_ms: float
    t2star_ms: float
    fat: float = 0.0
    bound: float = 0.0


PROPERTIES: dict[Tissue, Properties] = {
    Tissue.AIR: Properties(0.0, 1000, 1),
    Tissue.MUSCLE: Properties(0.80, 1420, 28, 0.04, 0.45),
    Tissue.FAT: Properties(0.95, 900, 25, 0.93, 0.03),
    Tissue.SKIN: Properties(0.70, 900, 12, 0.15, 0.3),
    Tissue.MARROW: Properties(0.65, 1000, 5, 0.45, 0.15),
    Tissue.CORTICAL: Properties(0.15, 500, 1.2, 0.05, 0.3),
    Tissue.DISC: Properties(0.75, 1200, 22, 0.0, 0.3),
    Tissue.FLUID: Properties(1.00, 4100, 300, 0.0, 0.0),
    Tissue.WHITE: Properties(0.72, 900, 36, 0.0, 0.50),
    Tissue.GREY: Properties(0.79, 1020, 42, 0.0, 0.40),
    Tissue.ARTERY: Properties(0.85, 1930, 60, 0.0, 0.1),
    Tissue.VEIN: Properties(0.85, 1800, 35, 0.0, 0.1),
    Tissue.GLAND: Properties(0.85, 1050, 25, 0.05, 0.3),
    Tissue.MUCOSA: Properties(0.85, 1300, 25, 0.05, 0.25),
    Tissue.EPIDURAL: Properties(0.75, 1100, 20, 0.35, 0.2),
    Tissue.NERVE: Properties(0.75, 1050, 30, 0.05, 0.35),
    Tissue.CARTILAGE: Properties(0.60, 1100, 15, 0.10, 0.3),
    Tissue.BRAIN_WHITE: Properties(0.70, 850, 48, 0.0, 0.45),
    Tissue.BRAIN_GREY: Properties(0.82, 1350, 50, 0.0, 0.3),
    Tissue.FASCIA: Properties(0.70, 1000, 14, 0.50, 0.3),
    Tissue.TONGUE: Properties(0.80, 1350, 26, 0.12, 0.4),
    Tissue.TOOTH: Properties(0.03, 500, 1),
    Tissue.LYMPH: Properties(0.80, 1150, 35, 0.1, 0.3),
    Tissue.LIGAMENT: Properties(0.35, 900, 6, 0.05, 0.4),
}

_SPREAD = {"density": 0.06, "t1_ms": 0.10, "t2star_ms": 0.25, "bound": 0.2}


@dataclass(frozen=True, eq=False)
class TissueTable:
    """One person's tissues as arrays over Tissue, shape (N_TISSUES,) each; ``inflow`` 0..1 is the share of blood that
    comes fresh into the slab and so has not been saturated."""

    density: NDArray[np.float64]
    t1_ms: NDArray[np.float64]
    t2star_ms: NDArray[np.float64]
    fat: NDArray[np.float64]
    bound: NDArray[np.float64]
    inflow: NDArray[np.float64]
    fat_t1_ms: float


def draw_tissues(rng: np.random.Generator) -> TissueTable:
    """A person's tissues: the literature's values with log-normal spread."""
    columns = {}
    for name in ("density", "t1_ms", "t2star_ms", "fat", "bound"):
        values = np.array([getattr(PROPERTIES[tissue], name) for tissue in Tissue])
        columns[name] = values * np.exp(rng.normal(0, _SPREAD.get(name, 0.2), N_TISSUES))
    columns["fat"] = np.minimum(columns["fat"], 0.97)
    columns["fat"][Tissue.MARROW] = rng.uniform(0.2, 0.7)
    columns["density"][Tissue.MARROW] *= rng.uniform(0.5, 1.2)
    columns["fat"][Tissue.FASCIA] = rng.uniform(0.15, 0.9)
    columns["fat"][Tissue.FAT] = rng.uniform(0.85, 0.97)
    columns["fat"][Tissue.EPIDURAL] = rng.uniform(0.0, 0.8)
    t1_ms = columns["t1_ms"]  # white matter is much the same in cord and brain of one person
    t1_ms[Tissue.GREY] = t1_ms[Tissue.WHITE] * rng.uniform(1.04, 1.25)
    t1_ms[Tissue.BRAIN_WHITE] = t1_ms[Tissue.WHITE] * rng.uniform(0.85, 1.02)
    inflow = np.zeros(N_TISSUES)
    inflow[Tissue.ARTERY] = rng.beta(1.5, 2)
    inflow[Tissue.VEIN] = rng.beta(1, 3)
    inflow[Tissue.FLUID] = rng.beta(1, 90)  # at 12° fresh fluid is 16 times as bright as saturated fluid
    return TissueTable(**columns, inflow=inflow, fat_t1_ms=float(370 * np.exp(rng.normal(0, 0.08))))


# A fine grid of tissue labels on which one axial slice of a neck is drawn, in the person's own coordinates.


_WARP_MARGIN_MM = 8.0
_KEEP_MM = 14.0  # the elastic warp fades out towards the cord, whose area must stay as drawn


@dataclass(frozen=True)
class Pose:
    """Where the person lies: the cord's centre against the canvas's middle (mm), rotation in the plane (rad)."""

    x_mm: float = 0.0
    y_mm: float = 0.0
    angle_rad: float = 0.0


@dataclass(eq=False)
class Canvas:
    """(size, size) tissue labels. ``x``, ``y``: mm from the cord's centre per pixel; ``x_warped``, ``y_warped``:
    the same after the person's elastic deformation, for everything but cord and canal."""

    size: int
    pixel_mm: float
    pose: Pose
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    x_warped: NDArray[np.float32]
    y_warped: NDArray[np.float32]
    labels: NDArray[np.uint8] = field(repr=False)

    @classmethod
    def blank(
        cls, size: int, pixel_mm: float, pose: Pose, warp: tuple[Field, Field], z_mm: float, warp_mm: float
    ) -> Canvas:
        axis = ((np.arange(size) - (size - 1) / 2) * pixel_mm).astype(np.float32)
        columns, rows = axis[None, :] - np.float32(pose.x_mm), axis[:, None] - np.float32(pose.y_mm)
        cos, sin = np.float32(np.cos(pose.angle_rad)), np.float32(np.sin(pose.angle_rad))
        x, y = cos * columns + sin * rows, cos * rows - sin * columns
        distance = x * x + y * y
        fade = np.float32(warp_mm) * distance / (distance + np.float32(_KEEP_MM**2))
        x_warped, y_warped = x + fade * warp[0].at(z_mm, size), y + fade * warp[1].at(z_mm, size)
        return cls(size, pixel_mm, pose, x, y, x_warped, y_warped, np.zeros((size, size), np.uint8))

    def window(self, x_mm: float, y_mm: float, reach_mm: float) -> tuple[slice, slice]:
        """Rows and columns within ``reach_mm`` of a point of the person, cut at the canvas."""
        cos, sin = np.cos(self.pose.angle_rad), np.sin(self.pose.angle_rad)
        column_mm = cos * x_mm - sin * y_mm + self.pose.x_mm
        row_mm = sin * x_mm + cos * y_mm + self.pose.y_mm
        return self._cut(row_mm, reach_mm), self._cut(column_mm, reach_mm)

    def _cut(self, middle_mm: float, reach_mm: float) -> slice:
        middle = middle_mm / self.pixel_mm + (self.size - 1) / 2
        first, last = middle - reach_mm / self.pixel_mm, middle + reach_mm / self.pixel_mm
        return slice(int(np.clip(first, 0, self.size)), int(np.clip(last + 2, 0, self.size)))

    def ellipse(
        self,
        tissue: Tissue,
        x_mm: float,
        y_mm: float,
        radius_x_mm: float,
        radius_y_mm: float | None = None,
        turn_rad: float = 0.0,
        only_on: tuple[Tissue, ...] = (),
    ) -> None:
        """Fill an ellipse (axes turned by ``turn_rad``), optionally only over some tissues; nothing for radius 0."""
        radius_y_mm = radius_x_mm if radius_y_mm is None else radius_y_mm
        if min(radius_x_mm, radius_y_mm) <= 0:
            return
        where = self.window(x_mm, y_mm, max(radius_x_mm, radius_y_mm) + _WARP_MARGIN_MM)
        x, y = self.x_warped[where] - np.float32(x_mm), self.y_warped[where] - np.float32(y_mm)
        if turn_rad:
            cos, sin = np.float32(np.cos(turn_rad)), np.float32(np.sin(turn_rad))
            x, y = cos * x + sin * y, cos * y - sin * x
        inside = np.square(x / np.float32(radius_x_mm)) + np.square(y / np.float32(radius_y_mm)) < 1
        labels = self.labels[where]
        if only_on:
            inside &= np.isin(labels, only_on)
        labels[inside] = tissue

    def fill(self, tissue: Tissue, inside: NDArray[np.bool_]) -> None:
        self.labels[inside] = tissue


@dataclass(frozen=True, eq=False)
class Polar:
    """Part of a canvas in polar coordinates about the cord's centre: ``angle`` as index 0..N_ANGLES (float)."""

    where: tuple[slice, slice]
    radius_mm: NDArray[np.float32]
    angle: NDArray[np.float32]
    pixel_mm: float

    @classmethod
    def around_cord(cls, canvas: Canvas, reach_mm: float) -> Polar:
        where = canvas.window(0.0, 0.0, reach_mm)
        x, y = canvas.x[where], canvas.y[where]
        angle = np.arctan2(y, x) * np.float32(N_ANGLES / (2 * np.pi))
        return cls(where, np.hypot(x, y), np.where(angle < 0, angle + N_ANGLES, angle), canvas.pixel_mm)

    def edge_mm(self, radii_mm: NDArray[np.float64]) -> NDArray[np.float32]:
        """Signed distance of each pixel to the contour (positive inside), to first order."""
        closed = np.append(radii_mm, radii_mm[0])
        slope = (np.roll(radii_mm, -1) - np.roll(radii_mm, 1)) * N_ANGLES / (4 * np.pi)
        tilt = np.sqrt(1 + np.square(np.append(slope, slope[0]) / closed))
        nodes = np.arange(N_ANGLES + 1)
        edge = np.interp(self.angle, nodes, closed) - self.radius_mm
        return (edge / np.interp(self.angle, nodes, tilt)).astype(np.float32)

    def coverage(self, radii_mm: NDArray[np.float64]) -> NDArray[np.float32]:
        """Share 0..1 of each pixel inside the contour."""
        return np.clip(0.5 + self.edge_mm(radii_mm) / np.float32(self.pixel_mm), 0, 1)


def enlarged(values: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """A small square array stretched bilinearly to (size, size)."""
    grid = torch.from_numpy(np.ascontiguousarray(values))[None, None]
    return torch.nn.functional.interpolate(grid, size=(size, size), mode="bilinear", align_corners=False)[0, 0].numpy()


# The neck around the spine, drawn from outside in: outline, fat, muscles, airway, jaw, vessels, lungs, brain.


_OUTLINE_Z = (-190, -150, -128, -108, -90, -60, -30, 0, 40, 90, 130)
_HALF_WIDTH = (195, 185, 150, 95, 64, 61, 67, 74, 76, 74, 58)
_FRONT = (100, 92, 80, 70, 62, 68, 88, 104, 102, 88, 66)
_BACK = (85, 78, 72, 64, 58, 57, 64, 74, 86, 92, 78)
_COARSE = 128
_SOFT = (Tissue.MUSCLE, Tissue.FASCIA, Tissue.FAT, Tissue.GLAND, Tissue.LYMPH, Tissue.MUCOSA)
_HARD = (Tissue.CORTICAL,)


def _level(z_mm: float, heights: tuple[float, ...], values: tuple[float, ...]) -> float:
    return float(np.interp(z_mm, heights, values))


def draw_body(canvas: Canvas, neck: Neck, z_mm: float) -> None:
    """Outline with skin, fat under the skin and muscle; the rest of the canvas stays air."""
    rng = np.random.default_rng([neck.seed, 1])
    width, front, back = rng.normal(1, 0.07, 3) * neck.size
    power, waves = rng.uniform(2.0, 2.6), rng.uniform(0.005, 0.03)
    step = canvas.size // _COARSE
    part = (slice(step // 2, None, step), slice(step // 2, None, step))
    x, y = canvas.x_warped[part], canvas.y_warped[part] + np.float32(4)
    wave = neck.warp[0].at(z_mm, _COARSE)
    half_width = _level(z_mm, _OUTLINE_Z, _HALF_WIDTH) * width
    # The neck is narrower in front, where the larynx is, than behind, where the trapezius is.
    half_width = half_width * (1 + rng.uniform(0.0, 0.3) * np.clip(y / 60, -1, 1))
    depth = np.where(y < 0, _level(z_mm, _OUTLINE_Z, _FRONT) * front, _level(z_mm, _OUTLINE_Z, _BACK) * back)
    ratio = (np.abs(x / half_width) ** power + np.abs(y / depth) ** power) ** (1 / power)
    ratio = ratio + waves * wave
    below = np.hypot(x, y) * (1 / np.maximum(ratio, 0.05) - 1)
    thick = neck.fat_mm * (1 + 0.3 * neck.warp[1].at(z_mm, _COARSE)) * np.where(y > 0, 1.2, 0.8)
    below_mm = enlarged(below.astype(np.float32), canvas.size)
    beyond_fat_mm = enlarged((below - thick).astype(np.float32), canvas.size)
    canvas.fill(Tissue.SKIN, below_mm > 0)
    canvas.fill(Tissue.FAT, below_mm > rng.uniform(1.0, 2.2))
    canvas.fill(Tissue.MUSCLE, (beyond_fat_mm > 0) & (below_mm > 0))


def draw_muscles(canvas: Canvas, neck: Neck, z_mm: float) -> None:
    """Muscle bellies as cells around wandering axes, mirrored left and right, with fat planes between; in front of the
    spine some cells are glands, lymph nodes, fat or vessels."""
    rng = np.random.default_rng([neck.seed, 2])
    half = rng.integers(14, 26)
    x = rng.uniform(3, 75, half)
    y = rng.uniform(-70, 70, half)
    lean = rng.normal(0, 0.12, (2, half))
    jitter = rng.normal(0, 2.5, (4, half))
    kinds = rng.choice(
        [Tissue.MUSCLE, Tissue.GLAND, Tissue.FAT, Tissue.LYMPH, Tissue.MUCOSA], half, p=[0.5, 0.16, 0.16, 0.1, 0.08]
    )
    kinds = np.where((y > -18) | (rng.random(half) < 0.2), Tissue.MUSCLE, kinds)
    rise = z_mm + 60
    x, y = x + lean[0] * rise, y + lean[1] * rise
    seeds_x = np.concatenate([x + jitter[0], -(x + jitter[1])]).astype(np.float32)
    seeds_y = np.concatenate([y + jitter[2], y + jitter[3]]).astype(np.float32)
    step = canvas.size // _COARSE
    part = (slice(step // 2, None, step), slice(step // 2, None, step))
    rough_x, rough_y = canvas.x_warped[part], canvas.y_warped[part]
    apart = np.square(rough_x - seeds_x[:, None, None]) + np.square(rough_y - seeds_y[:, None, None])
    nearest = apart.argmin(0)
    first = np.sqrt(apart.min(0))
    np.put_along_axis(apart, nearest[None], np.float32(np.inf), axis=0)
    gap = enlarged(np.sqrt(apart.min(0)) - first, canvas.size)
    cells = np.concatenate([kinds, kinds]).astype(np.uint8)[nearest]
    cells = np.repeat(np.repeat(cells, step, 0), step, 1)[: canvas.size, : canvas.size]
    muscle = canvas.labels == Tissue.MUSCLE
    canvas.labels[muscle] = cells[muscle]
    plane = np.exp(rng.normal(-0.6, 0.5)) * (1 + 0.7 * neck.texture[1].at(z_mm, canvas.size))
    streak = neck.texture[2].at(z_mm, canvas.size) > rng.uniform(1.7, 3.2)
    canvas.fill(Tissue.FASCIA, muscle & ((gap < plane) | streak))
    _draw_septa(canvas, neck, z_mm, muscle, rng)


def _draw_septa(canvas: Canvas, neck: Neck, z_mm: float, muscle: NDArray[np.bool_], rng: np.random.Generator) -> None:
    """Fine winding sheets of connective tissue, denser near the spine, layers around it, and the midline septum."""
    x, y = canvas.x_warped, canvas.y_warped
    dense, layers, midline = rng.uniform(0, 0.16), rng.uniform(0, 1.2), rng.uniform(0, 2.5)
    sheet = rng.choice([Tissue.FASCIA, Tissue.LIGAMENT, Tissue.FAT], p=[0.5, 0.3, 0.2])
    distance = np.hypot(x, y - 5)
    wind = neck.texture[1].at(z_mm, canvas.size)
    near = np.float32(dense) * (0.5 + 1.2 / (1 + np.square(distance / 35)))
    rings = (distance + 3 * neck.texture[0].at(z_mm + 60, canvas.size)) % np.float32(rng.uniform(8, 15))
    here = np.abs(wind) < near
    here |= (rings < layers) & (wind > -0.3) & (y > 0)
    here |= (np.abs(x + wind) < midline * 0.5) & (y > 18)
    canvas.fill(Tissue(sheet), muscle & here)


def draw_airway(canvas: Canvas, neck: Neck, z_mm: float) -> None:
    """Trachea or larynx with cartilage, gullet, thyroid; higher up pharynx and nose."""
    rng = np.random.default_rng([neck.seed, 3])
    s = neck.size
    depth, size, flat, shut = rng.normal(0, 4), rng.uniform(0.7, 1.25), rng.uniform(0.6, 1.2), rng.random()
    y = s * _level(z_mm, (-190, -120, -85, -60, -20, 15), (-44, -46, -46, -42, -36, -40)) + depth
    if z_mm < -72:
        if z_mm < -95:
            for side in (-1, 1):
                canvas.ellipse(Tissue.GLAND, side * 15 * s, y + 4, 8 * s, 11 * s)
        canvas.ellipse(Tissue.MUCOSA, 0, y + 17 * s, 9 * s, 4.5 * s)
        canvas.ellipse(Tissue.CARTILAGE, 0, y, 12.5 * size * s, 13 * size * s)
        canvas.ellipse(Tissue.MUCOSA, 0, y, 10.5 * size * s, 11 * size * s)
        canvas.ellipse(Tissue.AIR, 0, y, 8 * size * s * (1 - 0.5 * (z_mm > -88) * shut), 9 * size * s)
    elif z_mm < 20:
        canvas.ellipse(Tissue.MUCOSA, 0, y, 21 * s, 9 * flat * s)
        canvas.ellipse(Tissue.AIR, 0, y, 16 * size * s, 5 * flat * s * (0.3 if shut < 0.15 else 1))
    if -15 < z_mm < 45:
        for side in (-1, 0, 1):
            canvas.ellipse(Tissue.AIR, side * 27 * s, -78 * s + depth, (11 if side else 7) * s * size, 14 * s)


def draw_jaw(canvas: Canvas, neck: Neck, z_mm: float) -> None:
    """Lower jaw as an arch of bone, teeth, tongue, parotid glands; nothing away from the mouth."""
    rng = np.random.default_rng([neck.seed, 4])
    s, low, high = neck.size, rng.uniform(-72, -50), rng.uniform(-8, 5)
    width, reach, metal = rng.uniform(36, 46), rng.uniform(40, 55), rng.random()
    front = rng.uniform(-100, -86)
    if not low < z_mm < high:
        return
    canvas.ellipse(Tissue.FAT, 0, front + 30, 34 * s, 32 * s, only_on=(Tissue.AIR,))
    canvas.ellipse(Tissue.TONGUE, 0, (front + 36) * s, 23 * s, 24 * s)
    canvas.ellipse(Tissue.FAT, 0, (front + 36) * s, 1.2 * s, 17 * s)
    thick = 5.5 * min(1.0, (z_mm - low) / 12 + 0.3)
    steps = np.linspace(-1, 1, 31)
    for grow, tissue in ((1.4, Tissue.CORTICAL), (0.0, Tissue.MARROW)):
        for t in steps:
            canvas.ellipse(tissue, width * s * t, (front + reach * t * t * abs(t) ** 0.3) * s, (thick + grow) * s)
    if z_mm > low + 22:
        for t in steps[7:24]:
            canvas.ellipse(Tissue.TOOTH, 0.8 * width * s * t, (front + 3 + reach * t * t) * s, 3.4 * s)
        if metal < 0.1:
            canvas.ellipse(Tissue.AIR, 18 * s, (front + 12) * s, 14 * s)
    for side in (-1, 1):
        canvas.ellipse(Tissue.GLAND, side * 50 * s, -14 * s, 9 * s, 14 * s, only_on=_SOFT)


_CAROTID = ((-170, -120, -85, -55, -20, 5), (16, 22, 27, 29, 26, 24), (-36, -38, -34, -32, -24, -20))
_VERTEBRAL = ((-150, -125, -40, -18, -6, 6), (20, 15.5, 15, 22, 15, 8), (-18, -9, -7, -4, 8, -8))


def draw_vessels(canvas: Canvas, neck: Neck, z_mm: float) -> None:
    """Carotid, jugular and vertebral vessels on both sides and small ones anywhere; blood bright or dark at random."""
    rng = np.random.default_rng([neck.seed, 5])
    s = neck.size
    blood = (Tissue.ARTERY, Tissue.VEIN)
    for side in (-1, 1):
        off, wide = rng.normal(0, 2.0, 4), rng.uniform(0.75, 1.3, 4)
        wave = rng.uniform(0, 2 * np.pi, 2)
        as_artery = Tissue.ARTERY if rng.random() < 0.9 else Tissue.VEIN
        as_vein = Tissue.VEIN if rng.random() < 0.7 else Tissue.ARTERY
        x = side * (_level(z_mm, _CAROTID[0], _CAROTID[1]) * s + off[0] + 2 * np.sin(z_mm / 25 + wave[0]))
        y = _level(z_mm, _CAROTID[0], _CAROTID[2]) * s + off[1] + 2 * np.sin(z_mm / 30 + wave[1])
        if z_mm < 12:
            canvas.ellipse(as_vein, x + side * 9 * s, y + 4 * s, 5.5 * wide[0] * s, 4 * wide[1] * s, wave[0])
            canvas.ellipse(Tissue.SKIN, x, y, 4.2 * wide[2] * s)
            canvas.ellipse(as_artery, x, y, 3.2 * wide[2] * s)
            if z_mm > -60:
                canvas.ellipse(as_artery, x - side * 2, y - 11 * s, 2.4 * wide[3] * s)
    count = rng.integers(6, 22)
    for x, y, radius, lean, middle, reach, kind in zip(
        rng.uniform(-65, 65, count), rng.uniform(-70, 65, count), np.exp(rng.normal(0.2, 0.4, count)),
        rng.normal(0, 0.5, count), rng.uniform(-150, 0, count), rng.uniform(15, 60, count),
        rng.integers(0, 2, count), strict=True,
    ):  # fmt: skip
        if abs(z_mm - middle) < reach and np.hypot(x, y) > 20:
            at = x + lean * (z_mm - middle)
            canvas.ellipse(
                blood[kind], at, y, radius, radius * 1.3, lean, only_on=(Tissue.MUSCLE, Tissue.FASCIA, Tissue.FAT)
            )


def draw_vertebral_arteries(canvas: Canvas, neck: Neck, z_mm: float) -> None:
    """The pair beside the cord, in the bone's foramina; drawn after the bone."""
    rng = np.random.default_rng([neck.seed, 6])
    for side in (-1, 1):
        wide, off, dark = rng.uniform(0.6, 1.4), rng.normal(0, 1.2, 2), rng.random() < 0.2
        x = side * _level(z_mm, _VERTEBRAL[0], _VERTEBRAL[1]) * neck.size + off[0]
        y = _level(z_mm, _VERTEBRAL[0], _VERTEBRAL[2]) * neck.size + off[1]
        if z_mm < 15:
            canvas.ellipse(Tissue.FAT if dark else Tissue.VEIN, x, y, 3.0 * wide)
            canvas.ellipse(Tissue.VEIN if dark else Tissue.ARTERY, x, y, 2.1 * wide)


def draw_shoulders(canvas: Canvas, neck: Neck, z_mm: float) -> None:
    """Lung tops, ribs and collar bones, from about C7 down."""
    rng = np.random.default_rng([neck.seed, 7])
    s, top = neck.size, rng.uniform(-140, -122)
    rib, bone_y = rng.uniform(4, 6), rng.normal(0, 6, 4)
    down = top - z_mm
    for side in (-1, 1):
        if down > 0:
            radius = min(28.0, 5 * np.sqrt(down)) * s
            canvas.ellipse(Tissue.AIR, side * (42 + 0.1 * down) * s, 4 * s, radius * 0.8, radius)
        if down > -12:
            for n, (x, y) in enumerate(((58, 10), (75, -15), (52, -48), (88, 30))):
                turn = side * (0.5 + 0.3 * n)
                canvas.ellipse(Tissue.CORTICAL, side * x * s, (y + bone_y[n]) * s, 3 * rib * s, rib * s, turn, _SOFT)
                canvas.ellipse(
                    Tissue.MARROW, side * x * s, (y + bone_y[n]) * s, 2.6 * rib * s, 0.65 * rib * s, turn, _HARD
                )


def draw_brain(canvas: Canvas, neck: Neck, z_mm: float) -> None:
    """Skull with brain above the foramen magnum: fluid, grey and white matter, brain stem below 55 mm."""
    rng = np.random.default_rng([neck.seed, 8])
    s, wall, curl = neck.size, rng.uniform(4, 9), rng.uniform(1.0, 1.8)
    if z_mm < 4:
        return
    wide = s * _level(z_mm, (4, 15, 40, 60, 110, 130), (22, 42, 54, 64, 58, 38))
    long = s * _level(z_mm, (4, 15, 40, 60, 110, 130), (20, 34, 44, 82, 72, 48))
    y = s * _level(z_mm, (4, 15, 40, 60, 130), (14, 22, 26, 2, 4))
    for grow, tissue in (
        (wall, Tissue.CORTICAL),
        (wall - 1.5, Tissue.MARROW),
        (1.5, Tissue.CORTICAL),
        (0.0, Tissue.FLUID),
    ):
        canvas.ellipse(tissue, 0, y, wide + grow, long + grow)
    where = canvas.labels == Tissue.FLUID
    folds = neck.texture[1].at(z_mm, canvas.size) * np.float32(curl) + neck.texture[2].at(
        z_mm, canvas.size
    ) * np.float32(0.5)
    ratio = np.hypot(canvas.x_warped / np.float32(wide), (canvas.y_warped - np.float32(y)) / np.float32(long))
    brain = where & (ratio + 0.05 * folds < 0.95)
    canvas.fill(Tissue.BRAIN_GREY, brain)
    canvas.fill(Tissue.BRAIN_WHITE, brain & (np.abs(folds) > 0.5 - 2.5 * (0.75 - ratio)))
    canvas.fill(Tissue.FLUID, brain & (np.abs(folds) < 0.12) & (ratio > 0.55))
    if z_mm > 55:
        for side in (-1, 1):
            canvas.ellipse(Tissue.FLUID, side * 9 * s, y - 12 * s, 5 * s, 22 * s, side * 0.2)
    elif z_mm > 25:
        canvas.ellipse(Tissue.FLUID, 0, -4, 20 * s, 16 * s)
        canvas.ellipse(Tissue.BRAIN_WHITE, 0, -4, 16 * s, 13 * s)
        canvas.ellipse(Tissue.FLUID, 0, 12 * s, 6 * s, 4 * s)
    for side in (-1, 1):
        canvas.ellipse(Tissue.CORTICAL, side * 46 * s, -12 * s, 16 * s, 9 * s if z_mm < 40 else 0.0, side * 0.5)


# One axial slice of a simulated neck on a fine grid: tissue labels around, exact cord and canal inside.


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
