"""Simulated persons over years: known atrophy, and at every visit another coverage, grid, orientation and contrast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from Recipes.simulation.atlas import Maps
from Recipes.simulation.cohort import SimulatedNeck, VolumeScan, simulate_neck
from Recipes.simulation.necks import Neck, atrophied, draw_neck
from Recipes.simulation.signal import Family
from Recipes.simulation.simulate import VALIDATION_SHAPES
from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.volume import Volume

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
        voxels = volume.voxels
        for axis in flips:
            matrix[:, 3] += matrix[:, axis] * (voxels.shape[axis] - 1)
            matrix[:, axis] *= -1
            voxels = np.flip(voxels, axis)
        matrix[:, :3] = matrix[:, list(order)]
        return Volume(np.ascontiguousarray(voxels.transpose(order)), matrix)


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
        scans.append(VolumeScan((side, side, thick), edges, family, noise, 0.3, protocol, visit + 1))
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
