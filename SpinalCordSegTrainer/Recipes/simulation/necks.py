"""One simulated person: contours of cord and canal with exactly known areas, and the random numbers of the rest.

Heights z are mm relative to the foramen magnum (0), negative in the neck; see atlas.py for the frame of a slice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from Recipes.simulation.atlas import N_ANGLES, CordShape, Maps, area_mm2

LOWEST_MM, HIGHEST_MM = -190.0, 130.0
CORD_TOP_MM = 0.0
_HEIGHTS = np.arange(LOWEST_MM, 31.0)
CSA_RANGE_MM2 = (30.0, 128.0)


@dataclass(frozen=True, eq=False)
class Field:
    """Smooth random numbers over (z, y, x): unit variance at the nodes, spline between them."""

    nodes: NDArray[np.float32]
    z_step_mm: float

    @classmethod
    def draw(cls, rng: np.random.Generator, cells: int, z_step_mm: float) -> Field:
        count = int((HIGHEST_MM - LOWEST_MM) / z_step_mm) + 3
        return cls(rng.standard_normal((count, cells, cells), dtype=np.float32), z_step_mm)

    def at(self, z_mm: float, size: int) -> NDArray[np.float32]:
        """(size, size) values in the slice at ``z_mm``, stretched over the whole canvas."""
        position = np.clip((z_mm - LOWEST_MM) / self.z_step_mm, 0, len(self.nodes) - 1.001)
        below = int(position)
        part = np.float32(position - below)
        # Dividing keeps the variance at one between two nodes.
        mixed = (self.nodes[below] * (1 - part) + self.nodes[below + 1] * part) / np.hypot(1 - part, part)
        spline = _spline(self.nodes.shape[1], size)
        return np.asarray(spline @ mixed.astype(np.float32) @ spline.T)


@dataclass(frozen=True)
class MovedField(Field):
    """The same where the person lies elsewhere on the canvas, by rows and columns of ``shift_px``, and turned."""

    shift_px: tuple[float, float] = (0.0, 0.0)
    angle_rad: float = 0.0

    def at(self, z_mm: float, size: int) -> NDArray[np.float32]:
        values = torch.from_numpy(super().at(z_mm, size))[None, None]
        places = _moved_grid(size, *self.shift_px, self.angle_rad)
        moved = torch.nn.functional.grid_sample(values, places, padding_mode="border", align_corners=False)
        return np.asarray(moved[0, 0].numpy())


@lru_cache(maxsize=8)
def _moved_grid(size: int, rows: float, columns: float, angle_rad: float) -> torch.Tensor:
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    turn = np.array([[cos, sin], [-sin, cos]])  # of (column, row)
    matrix = np.column_stack([turn, turn @ [-2 * columns / size, -2 * rows / size]])
    return torch.nn.functional.affine_grid(torch.tensor(matrix[None], dtype=torch.float32), [1, 1, size, size], False)


@lru_cache(maxsize=32)
def _spline(cells: int, size: int) -> NDArray[np.float32]:
    """(size, cells) weights of a cubic spline through ``cells`` nodes stretched over ``size`` pixels."""
    positions = (np.arange(size) + 0.5) * cells / size - 0.5
    columns = [ndimage.map_coordinates(row, [positions], order=3, mode="nearest") for row in np.eye(cells)]
    return np.array(columns, np.float32).T.copy()


@dataclass(frozen=True)
class Lesion:
    """An ellipsoid inside the cord. ``change``: relative change of the signal."""

    z_mm: float
    length_mm: float
    x_mm: float
    y_mm: float
    radius_mm: float
    change: float


@dataclass(frozen=True)
class Mass:
    """Something of nearly the cord's signal that touches it inside the canal (protruding disc, thick ligament, tumour,
    low tonsil): an ellipsoid at ``angle_rad``, its edge ``gap_mm`` from the cord's."""

    z_mm: float
    length_mm: float
    angle_rad: float
    radius_mm: float
    gap_mm: float


@dataclass(frozen=True, eq=False)
class Neck:
    """A person. ``cord_mm``, ``canal_mm``: (heights, N_ANGLES) radii every millimetre of ``_HEIGHTS``, about the
    cord's centre. ``seed`` settles everything that is drawn later (vessels, muscles), so that slices agree."""

    seed: int
    name: str
    shapes: tuple[str, ...]
    cord_mm: NDArray[np.float64]
    canal_mm: NDArray[np.float64]
    size: float
    fat_mm: float
    lesions: tuple[Lesion, ...]
    masses: tuple[Mass, ...]
    warp: tuple[Field, Field]
    texture: tuple[Field, Field, Field]
    path_mm: NDArray[np.float64]

    def cord_radii(self, z_mm: float) -> NDArray[np.float64] | None:
        """(N_ANGLES,) radii of the cord, None above its end at the foramen magnum."""
        return self._between(self.cord_mm, z_mm) if z_mm <= CORD_TOP_MM else None

    def medulla_radii(self, z_mm: float) -> NDArray[np.float64]:
        """The same contour carried on above the foramen magnum, for the image."""
        return self._between(self.cord_mm, z_mm)

    def canal_radii(self, z_mm: float) -> NDArray[np.float64]:
        return self._between(self.canal_mm, z_mm)

    def csa_mm2(self, z_mm: float) -> float:
        """Cross-sectional area of the cord in the slice, ½∮r²dθ, 0 where there is none."""
        radii = self.cord_radii(z_mm)
        return float(area_mm2(radii)) if radii is not None else 0.0

    def centre_mm(self, z_mm: float) -> tuple[float, float]:
        """(x, y) of the cord against the middle of the neck: the curve of the spine."""
        x, y = self._between(self.path_mm, z_mm)
        return float(x), float(y)

    def _between(self, table: NDArray[np.float64], z_mm: float) -> NDArray[np.float64]:
        position = float(np.clip(z_mm - LOWEST_MM, 0, len(_HEIGHTS) - 1.001))
        below = int(position)
        part = position - below
        return np.asarray(table[below] * (1 - part) + table[below + 1] * part)


def atrophied(neck: Neck, share: float) -> Neck:
    """The same person at a later visit: cord areas times (1 - ``share``), canal unchanged."""
    return replace(neck, cord_mm=neck.cord_mm * np.sqrt(1 - share))


def moved(neck: Neck, shift_px: tuple[float, float], angle_rad: float) -> Neck:
    """The person with texture and shape where the person lies; without it they stay on the canvas. See MovedField."""
    x, y, *texture = (MovedField(one.nodes, one.z_step_mm, shift_px, angle_rad) for one in (*neck.warp, *neck.texture))
    coarse, middle, fine = texture
    return replace(neck, warp=(x, y), texture=(coarse, middle, fine))


def with_touching_masses(neck: Neck, rng: np.random.Generator, z_range_mm: tuple[float, float]) -> Neck:
    """Three masses within the range, each 8-25 mm long, up to 1 mm into the cord's outline."""
    masses = tuple(
        Mass(
            z_mm=float(rng.uniform(*z_range_mm)),
            length_mm=float(rng.uniform(8, 25)),
            angle_rad=float(rng.uniform(-np.pi, np.pi)),
            radius_mm=float(rng.uniform(2.5, 5.0)),
            gap_mm=float(rng.uniform(-1.0, 0.0)),
        )
        for _ in range(3)
    )
    return replace(neck, masses=masses)


def draw_neck(
    seed: int, maps: Maps, csa_mm2: float | None = None, csa_range_mm2: tuple[float, float] = CSA_RANGE_MM2
) -> Neck:
    """Person number ``seed``. ``csa_mm2``: wanted mean area at C2-C3 (z -60..-40), drawn at random when None.
    ``csa_range_mm2``: areas that are possible at any height."""
    rng = np.random.default_rng([seed, 0])
    picked = [maps.shapes[n] for n in rng.integers(len(maps.shapes), size=2)]
    wanted = csa_mm2 if csa_mm2 is not None else _draw_csa(rng)
    cord = _cord(rng, picked, wanted, csa_range_mm2)
    canal = _canal(rng, maps, picked, cord)
    return Neck(
        seed=seed,
        name=f"simulated-{seed:06d}",
        shapes=tuple(shape.name for shape in picked),
        cord_mm=cord,
        canal_mm=canal,
        size=float(np.clip(rng.normal(1.0, 0.09), 0.78, 1.25)),
        fat_mm=float(np.exp(rng.normal(np.log(4.5), 0.6))),
        lesions=_lesions(rng, cord),
        masses=_masses(rng),
        warp=(Field.draw(rng, 7, 30), Field.draw(rng, 7, 30)),
        texture=(Field.draw(rng, 10, 15), Field.draw(rng, 28, 6), Field.draw(rng, 80, 2)),
        path_mm=_smooth(rng, 40, 2).T * np.array([1.0, 4.0]),
    )


def _draw_csa(rng: np.random.Generator) -> float:
    """Mostly even over thin and thick cords: a network that sees few of either draws all of them near the mean."""
    if rng.random() < 0.25:
        return float(np.clip(rng.normal(72, 10), 42, 108))
    return float(rng.uniform(36, 114))


def _smooth(rng: np.random.Generator, length_mm: float, count: int) -> NDArray[np.float64]:
    """(count, heights) random walks along the cord, unit SD, correlation length ``length_mm``."""
    noise = rng.standard_normal((count, len(_HEIGHTS) + 200))
    smooth = ndimage.gaussian_filter1d(noise, length_mm, axis=1)[:, 100:-100]
    return np.asarray(smooth * np.sqrt(2 * np.sqrt(np.pi) * length_mm))


def _wobble(rng: np.random.Generator, orders: int, share: float) -> NDArray[np.float64]:
    """(heights, N_ANGLES) factors about 1: Fourier orders 1..orders, falling off, drifting along the cord."""
    weights = share / np.arange(1, orders + 1)
    real, imaginary = _smooth(rng, 12, orders), _smooth(rng, 12, orders)
    spectrum = np.zeros((len(_HEIGHTS), N_ANGLES // 2 + 1), complex)
    spectrum[:, 1 : orders + 1] = ((real + 1j * imaginary) * weights[:, None]).T * N_ANGLES / 2
    return 1 + np.fft.irfft(spectrum, N_ANGLES, axis=1)


def _resampled(shape: CordShape, radii: NDArray[np.float64], stretch: float) -> NDArray[np.float64]:
    """Contours of a shape at every height of ``_HEIGHTS``, its own length stretched; the ends are carried on."""
    columns = [np.interp(_HEIGHTS, shape.z_mm * stretch, column) for column in radii.T]
    return ndimage.gaussian_filter1d(np.array(columns).T, 2.0, axis=0)


def _cord(
    rng: np.random.Generator, picked: list[CordShape], wanted_mm2: float, csa_range_mm2: tuple[float, float]
) -> NDArray[np.float64]:
    mix, stretch = rng.random(), rng.uniform(0.88, 1.12)
    first, second = (_resampled(shape, shape.cord_mm, stretch) for shape in picked)
    form = mix * first + (1 - mix) * second
    mirror = rng.random() < 0.5
    if mirror:
        form = form[:, (N_ANGLES // 2 - np.arange(N_ANGLES)) % N_ANGLES]
    profile = ndimage.gaussian_filter1d(area_mm2(form), 4.0) * np.exp(_smooth(rng, 15, 1)[0] * 0.06)
    near = (_HEIGHTS > -60) & (_HEIGHTS < -40)
    profile = profile / profile[near].mean()
    form = form * _wobble(rng, 6, rng.uniform(0.01, 0.05))
    flat = rng.normal(0, 0.07)  # flatter or rounder than the shapes drawn
    angle = np.arange(N_ANGLES) * (2 * np.pi / N_ANGLES)
    form = form * (1 + flat * np.cos(2 * angle))
    area = np.clip(profile * wanted_mm2, *csa_range_mm2)
    return np.asarray(form * np.sqrt(area / area_mm2(form))[:, None])


def _canal(rng: np.random.Generator, maps: Maps, picked: list[CordShape], cord: NDArray) -> NDArray[np.float64]:
    with_canal = [shape for shape in picked if shape.canal_mm is not None] or list(maps.shapes)
    sources = [shape for shape in with_canal if shape.canal_mm is not None]
    if sources:
        source = sources[rng.integers(len(sources))]
        assert source.canal_mm is not None
        canal = _resampled(source, source.canal_mm, 1.0) * np.exp(rng.normal(0.0, 0.09))
    else:
        canal = cord * 1.5
    canal = canal * _wobble(rng, 4, rng.uniform(0.02, 0.08))
    if rng.random() < 0.15:  # a tight canal over part of the neck: the cord touches its wall
        canal = canal * (1 - rng.uniform(0.1, 0.3) * np.clip(_smooth(rng, 10, 1)[0], 0, 1))[:, None]
    # The cord wanders in its canal; a network that always saw it in the middle would learn a shrunken canal.
    sideways, forward = _smooth(rng, 25, 2) * np.array([[0.5], [1.1]])
    angle = np.arange(N_ANGLES) * (2 * np.pi / N_ANGLES)
    canal = canal + sideways[:, None] * np.cos(angle) + forward[:, None] * np.sin(angle)
    return np.maximum(canal, cord + rng.uniform(0.1, 0.8))


def _lesions(rng: np.random.Generator, cord: NDArray[np.float64]) -> tuple[Lesion, ...]:
    if rng.random() > 0.3:
        return ()
    lesions = []
    for _ in range(rng.integers(1, 5)):
        z = rng.uniform(-130, -5)
        reach = float(cord[int(z - LOWEST_MM)].mean())
        angle, at = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.8) * reach
        change = float(rng.choice([-1, 1], p=[0.75, 0.25]) * rng.uniform(0.08, 0.4))
        place = float(at * np.cos(angle)), float(at * np.sin(angle))
        lesions.append(Lesion(float(z), rng.uniform(4, 20), *place, rng.uniform(1.0, 2.8), change))
    return tuple(lesions)


def _masses(rng: np.random.Generator) -> tuple[Mass, ...]:
    if rng.random() > 0.25:
        return ()
    return tuple(
        Mass(
            float(rng.uniform(-130, -5)),
            float(rng.uniform(5, 30)),
            float(rng.choice([-np.pi / 2, np.pi / 2, rng.uniform(-np.pi, np.pi)])),
            float(rng.uniform(1.5, 4.5)),
            float(rng.uniform(-0.5, 1.0)),
        )
        for _ in range(rng.integers(1, 4))
    )
