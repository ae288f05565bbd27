"""Simulated people as volumes of known cord area: cohorts, visits of one person, series over years."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from Recipes.simulation.anatomy import Pose, draw_tissues
from Recipes.simulation.atlas import Maps
from Recipes.simulation.necks import HIGHEST_MM, LOWEST_MM, Neck, atrophied, draw_neck, moved, with_touching_masses
from Recipes.simulation.scanner import FINE_MM, Family, Scan, draw_coils, draw_signals
from Recipes.simulation.training_slices import CANVAS, VALIDATION_SHAPES, scan_slice
from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.model.preprocessing import AxisMap
from SpinalCordSegLib.volume import Volume

# Whole simulated volumes of known area: for validation, repeat visits and atrophy, never for training.


@dataclass(frozen=True)
class VolumeScan:
    """One visit. ``spacing_mm``: between rows (front to back), columns and slices; the in-plane ones are met to within
    the nearest even matrix over the field of view of 179.2 mm. ``z_range_mm``: from the foramen magnum, lowest and
    highest slice edge. ``noise``: SD against the 95th percentile. ``protocol_seed``: contrast and coils, the same for
    two visits on one scanner; ``visit_seed``: positioning and noise. ``moves``: texture and shape lie where the person
    lies, as at two visits; else on the canvas."""

    spacing_mm: tuple[float, float, float] = (0.7, 0.7, 3.0)
    z_range_mm: tuple[float, float] = (-100.0, -6.0)
    family: Family = "paper"
    noise: float = 0.02
    apodise: float = 0.3
    protocol_seed: int = 1
    visit_seed: int = 1
    moves: bool = False


@dataclass(frozen=True, eq=False)
class SimulatedNeck:
    """``image``: float32 magnitude. ``coverage``: float32 share of each voxel that is cord, same grid. ``csa_mm2``:
    (n,) analytic area per axial slice, inferior first, mean over the slice's thickness; 0 above the cord's end.
    ``z_mm``: (n,) slice centres from the foramen magnum."""

    image: Volume
    coverage: Volume
    csa_mm2: NDArray[np.float64]
    z_mm: NDArray[np.float64]

    @property
    def mask(self) -> Volume:
        """Voxels at least half cord."""
        return self.coverage.with_voxels(self.coverage.voxels >= 0.5)


def simulate_neck(neck: Neck, maps: Maps, scan: VolumeScan) -> SimulatedNeck:
    """Scan a person's whole neck in axial slices. The volume is RAS, its middle at the origin."""
    visit = np.random.default_rng([neck.seed, 50, scan.visit_seed])
    protocol = np.random.default_rng([neck.seed, 51, scan.protocol_seed])
    signals = draw_signals(protocol, draw_tissues(np.random.default_rng([neck.seed, 40])), scan.family)
    coils = draw_coils(protocol)
    pose = Pose(float(visit.normal(0, 5)), float(visit.normal(10, 5)), float(visit.normal(0, 0.05)))
    if scan.moves:
        neck = moved(neck, (pose.y_mm / FINE_MM, pose.x_mm / FINE_MM), pose.angle_rad)
    heights = _heights(scan, float(visit.uniform(-0.5, 0.5)))
    plane = Scan(
        (0, CANVAS, 0, CANVAS), scan.spacing_mm[:2], scan.spacing_mm[:2], scan.apodise, scan.noise,
        ghost=0.0, phase_axis=0, wrap=False, ceiling=1.0, hot_pixels=0, zero_border=0.0,
    )  # fmt: skip
    images, covers, areas = [], [], []
    middle = np.array(neck.centre_mm(float(heights.mean())))
    for z_mm in heights:
        x, y = np.array(neck.centre_mm(float(z_mm))) - middle
        here = replace(pose, x_mm=pose.x_mm + float(x), y_mm=pose.y_mm + float(y))
        one = scan_slice(neck, maps, float(z_mm), scan.spacing_mm[2], here, signals, coils, plane, visit)
        images.append(one.image)
        covers.append(_averaged(one.coverage, one.image.shape[0], one.image.shape[1]))
        areas.append(one.csa_mm2)
    matrix = np.diag([one.pixel_mm[1], one.pixel_mm[0], scan.spacing_mm[2], 1.0])
    return SimulatedNeck(_volume(images, matrix), _volume(covers, matrix), np.array(areas), heights)


def _heights(scan: VolumeScan, shift: float) -> NDArray[np.float64]:
    """Slice centres, moved by a share of a slice as no two visits lie alike."""
    low, high = scan.z_range_mm
    step = scan.spacing_mm[2]
    count = max(1, int((high - low) / step))
    return np.clip(low + (np.arange(count) + 0.5 + shift) * step, LOWEST_MM, HIGHEST_MM)


def _averaged(coverage: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """Mean over the stored pixels of an array on the fine grid of the same field of view."""
    down, across = (AxisMap(n, to, n / to).overlap() for n, to in zip(coverage.shape, (rows, columns), strict=True))
    return down @ coverage @ across.T


def _volume(slices: list[NDArray[np.float32]], matrix: NDArray[np.float64]) -> Volume:
    voxels = np.ascontiguousarray(np.stack(slices).transpose(2, 1, 0)[::-1, ::-1])
    centred = matrix.copy()
    centred[:3, 3] = -(np.array(voxels.shape) - 1) / 2 * np.diag(matrix)[:3]
    return Volume.from_ijk(voxels, centred)


# Simulated people for validation: who they are and how they are scanned. Drawn from seeds that training never uses.


# Training draws person n of seed s as s·1,000,003 + n: no seed anybody types comes near.
_FIRST_COHORT, _FIRST_PAIR, _FIRST_TOUCHING = 10**15, 2 * 10**15, 3 * 10**15
_FAMILIES: tuple[Family, ...] = ("paper", "t1w", "transfer")
_FAMILY_SHARES = (0.55, 0.35, 0.10)
_LOWEST_EDGE_MM, _HIGHEST_EDGE_MM = -118.0, -4.0
ATROPHY = 0.02
PAIR_RANGE_MM = (-95.0, -15.0)


@dataclass(frozen=True)
class SimulatedConfig:
    """How many ``necks``, ``pairs`` of visits, ``touching`` necks; at most ``slices`` of each; ``seed`` moves all.

    ``pair_slices`` cover PAIR_RANGE_MM, 2 mm each: with the true masks themselves the change over 24 slices of 3.3 mm
    had an SD of 0.8 points, from pixels and heights alone. ``shapes``: cord shapes to draw from, those that training
    leaves out.
    """

    necks: int = 200
    pairs: int = 50
    touching: int = 60
    slices: int = 24
    pair_slices: int = 40
    seed: int = 0
    shapes: tuple[str, ...] = VALIDATION_SHAPES

    def __post_init__(self) -> None:
        if (
            min(self.necks, self.pairs, self.touching) < 0
            or min(self.slices, self.pair_slices) < 4
            or not 0 <= self.seed < 10**6
        ):
            raise ConfigurationError("simulated people: counts from 0, at least 4 slices, a seed from 0 to 999999")


def cohort_person(number: int, maps: Maps, config: SimulatedConfig) -> SimulatedNeck:
    """Person ``number`` of the cohort, lesions and thin cords among them, under a random protocol."""
    seed = _FIRST_COHORT + config.seed * 10**6 + number
    return simulate_neck(
        draw_neck(seed, maps), maps, draw_volume_scan(np.random.default_rng([seed, 60]), config.slices)
    )


def touching_person(number: int, maps: Maps, config: SimulatedConfig) -> SimulatedNeck:
    """A person with three masses of nearly the cord's signal that touch or enter its outline."""
    seed = _FIRST_TOUCHING + config.seed * 10**6 + number
    rng = np.random.default_rng([seed, 60])
    scan = draw_volume_scan(rng, config.slices)
    return simulate_neck(with_touching_masses(draw_neck(seed, maps), rng, scan.z_range_mm), maps, scan)


def visit_pair(number: int, maps: Maps, config: SimulatedConfig) -> tuple[SimulatedNeck, SimulatedNeck]:
    """Two visits on one scanner, 2 % of the cord's area lost between them; other position, other noise."""
    seed = _FIRST_PAIR + config.seed * 10**6 + number
    rng = np.random.default_rng([seed, 60])
    neck = draw_neck(seed, maps)
    side = float(rng.uniform(0.5, 1.0))
    spacing_mm = (side, side, (PAIR_RANGE_MM[1] - PAIR_RANGE_MM[0]) / config.pair_slices)
    family: Family = "paper" if rng.random() < 0.6 else "t1w"
    noise = float(np.exp(rng.uniform(np.log(0.005), np.log(0.04))))
    scan = VolumeScan(spacing_mm, PAIR_RANGE_MM, family, noise, protocol_seed=1, visit_seed=1, moves=True)
    return simulate_neck(neck, maps, scan), simulate_neck(atrophied(neck, ATROPHY), maps, replace(scan, visit_seed=2))


def draw_volume_scan(rng: np.random.Generator, slices: int) -> VolumeScan:
    """The paper's thin slices or thick ones, over a random stretch below the foramen magnum."""
    if rng.random() < 0.4:
        side, thick = rng.uniform(0.43, 1.02), rng.uniform(1.0, 1.5)
    else:
        side, thick = rng.uniform(0.6, 1.0), rng.uniform(2.5, 5.0)
    room = _HIGHEST_EDGE_MM - _LOWEST_EDGE_MM
    extent = min(slices * thick, room)
    high = _HIGHEST_EDGE_MM - float(rng.uniform(0, room - extent))
    family = _FAMILIES[rng.choice(len(_FAMILIES), p=_FAMILY_SHARES)]
    noise = float(np.exp(rng.uniform(np.log(0.005), np.log(0.06))))
    return VolumeScan((float(side), float(side), float(thick)), (high - extent, high), family, noise)


# Simulated persons over years: known atrophy, and at every visit another coverage, grid, orientation and contrast.


_FIRST_SERIES = 4 * 10**15  # see simulated_people.py: no training seed comes near
RATES_PERCENT = (0.0, -1.0, -2.0, -5.0)
VISITS = (2, 3, 4, 5)
DISC_Z_MM = -48.0  # about C2/C3, from the foramen magnum; every visit covers it
_LOW_EDGE_MM, _HIGH_EDGE_MM = (-90.0, -74.0), (-36.0, -24.0)


@dataclass(frozen=True)
class SeriesConfig:
    """``network``: series segmented by the model; ``series``: those that the statistics are made of. ``disc_sd_mm``:
    how far a person is off who marks the disc C2/C3. ``same_scanner``: contrast and noise of the first visit at all of
    them, as where a yearly rate may be given; coverage, voxel size and orientation still differ. ``shapes``: those
    of cords that training leaves out."""

    network: int = 40
    series: int = 500
    disc_sd_mm: float = 1.0
    same_scanner: bool = False
    seed: int = 0
    shapes: tuple[str, ...] = VALIDATION_SHAPES

    def __post_init__(self) -> None:
        if self.network < 4 or self.series < 1 or self.disc_sd_mm < 0 or not 0 <= self.seed < 10**6:
            raise ConfigurationError("simulated series: at least 4 with the model, 1 in all, a seed from 0 to 999999")


@dataclass(frozen=True, eq=False)
class SeriesPerson:
    """``years``: of the visits, the first at 0. ``percent_per_year``: true, of the first area. ``scans``: one each;
    ``storage``: (axis order, flips) in which each visit's voxels are stored; ``disc_off_mm``: error of its mark."""

    number: int
    neck: Neck
    percent_per_year: float
    years: tuple[float, ...]
    scans: tuple[VolumeScan, ...]
    storage: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    disc_off_mm: tuple[float, ...]

    def share(self, visit: int) -> float:
        """Area at a visit over that at the first."""
        return 1 + self.percent_per_year / 100 * self.years[visit]

    def scan(self, visit: int, maps: Maps) -> SimulatedNeck:
        """The image of a visit, straight (right, anterior, superior)."""
        return simulate_neck(atrophied(self.neck, 1 - self.share(visit)), maps, self.scans[visit])

    def stored(self, volume: Volume, visit: int) -> Volume:
        """The same voxels in the visit's own storage order: nothing is resampled."""
        order, flips = self.storage[visit]
        matrix = volume.ijk_to_ras.copy()
        voxels = volume.ijk
        for axis in flips:
            matrix[:, 3] += matrix[:, axis] * (voxels.shape[axis] - 1)
            matrix[:, axis] *= -1
            voxels = np.flip(voxels, axis)
        matrix[:, :3] = matrix[:, list(order)]
        return Volume.from_ijk(np.ascontiguousarray(voxels.transpose(order)), matrix)


def series_person(number: int, maps: Maps, config: SeriesConfig) -> SeriesPerson:
    """Person ``number``: every rate with every number of visits in turn, about a year apart."""
    seed = _FIRST_SERIES + config.seed * 10**6 + number
    rng = np.random.default_rng([seed, 60])
    count = VISITS[number // len(RATES_PERCENT) % len(VISITS)]
    years = np.arange(count) + np.r_[0.0, rng.uniform(-0.1, 0.1, count - 1)]
    scans: list[VolumeScan] = []
    storage = []
    for visit in range(count):
        side, thick = float(rng.uniform(0.6, 1.0)), float(rng.uniform(3.0, 5.0))
        family: Family = "paper" if rng.random() < 0.6 else "t1w"
        noise = float(np.exp(rng.uniform(np.log(0.005), np.log(0.04))))
        edges = float(rng.uniform(*_LOW_EDGE_MM)), float(rng.uniform(*_HIGH_EDGE_MM))
        protocol = visit + 1
        if config.same_scanner and scans:
            family, noise, protocol = scans[0].family, scans[0].noise, 1
        scans.append(VolumeScan((side, side, thick), edges, family, noise, 0.3, protocol, visit + 1, moves=True))
        order = tuple(int(axis) for axis in rng.permutation(3))
        storage.append((order, tuple(int(axis) for axis in np.flatnonzero(rng.random(3) < 0.5))))
    return SeriesPerson(
        number=number,
        neck=draw_neck(seed, maps),
        percent_per_year=RATES_PERCENT[number % len(RATES_PERCENT)],
        years=tuple(float(year) for year in years),
        scans=tuple(scans),
        storage=tuple(storage),
        disc_off_mm=tuple(float(off) for off in rng.normal(0, config.disc_sd_mm, count)),
    )


# Simulated heads, brain in view, to judge the cord's upper end on.


_FIRST_HEAD = 5 * 10**15  # see simulated_people.py: no training seed comes near


def head_scans(number: int, maps: Maps, seed: int = 0) -> tuple[Neck, VolumeScan, VolumeScan]:
    """A person, and two scans on one scanner from the neck into the brain: other voxels, noise and field of view."""
    person = _FIRST_HEAD + seed * 10**6 + number
    rng = np.random.default_rng([person, 60])
    family = _FAMILIES[rng.choice(len(_FAMILIES), p=_FAMILY_SHARES)]
    scans = []
    for visit in (1, 2):
        side, thick = float(rng.uniform(0.7, 1.0)), float(rng.choice([2.0, 3.0, 4.0, 5.0], p=[0.1, 0.3, 0.3, 0.3]))
        noise = float(np.exp(rng.uniform(np.log(0.005), np.log(0.06))))
        edges = float(rng.uniform(-60.0, -36.0)), float(rng.uniform(30.0, 50.0))
        scans.append(VolumeScan((side, side, thick), edges, family, noise, 0.3, 1, visit))
    return draw_neck(person, maps), scans[0], scans[1]
