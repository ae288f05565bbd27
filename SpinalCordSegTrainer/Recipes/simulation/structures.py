"""The neck around the spine, drawn from outside in: outline, fat, muscles, airway, jaw, vessels, lungs, brain.

Everything is a smooth function of the height z (mm from the foramen magnum) and of the person's seed, so that
neighbouring slices of a person agree. Sizes follow textbook sections of an adult and vary from person to person.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from Recipes.simulation.canvas import Canvas, enlarged
from Recipes.simulation.necks import Neck
from Recipes.simulation.tissues import Tissue

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
