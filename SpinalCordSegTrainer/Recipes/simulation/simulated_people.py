"""Simulated people for validation: who they are and how they are scanned. Drawn from seeds that training never uses."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from Recipes.simulation.atlas import Maps
from Recipes.simulation.cohort import SimulatedNeck, VolumeScan, simulate_neck
from Recipes.simulation.necks import atrophied, draw_neck, with_touching_masses
from Recipes.simulation.signal import Family
from Recipes.simulation.simulate import VALIDATION_SHAPES
from SpinalCordSegLib.errors import ConfigurationError

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
    scan = VolumeScan(spacing_mm, PAIR_RANGE_MM, family, noise, protocol_seed=1, visit_seed=1)
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
