"""Whole simulated volumes of known area: for validation, repeat visits and atrophy, never for training."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from Recipes.simulation.acquisition import Scan, draw_coils
from Recipes.simulation.atlas import Maps
from Recipes.simulation.canvas import Pose
from Recipes.simulation.necks import HIGHEST_MM, LOWEST_MM, Neck
from Recipes.simulation.signal import Family, draw_signals
from Recipes.simulation.simulate import CANVAS, scan_slice
from Recipes.simulation.tissues import draw_tissues
from SpinalCordSegLib.model.preprocessing import AxisMap
from SpinalCordSegLib.volume import Volume


@dataclass(frozen=True)
class VolumeScan:
    """One visit. ``spacing_mm``: between rows (front to back), columns and slices; the in-plane ones are met to within
    the nearest even matrix over the field of view of 179.2 mm. ``z_range_mm``: from the foramen magnum, lowest and
    highest slice edge. ``noise``: SD against the 95th percentile. ``protocol_seed``: contrast and coils, the same for
    two visits on one scanner; ``visit_seed``: positioning and noise."""

    spacing_mm: tuple[float, float, float] = (0.7, 0.7, 3.0)
    z_range_mm: tuple[float, float] = (-100.0, -6.0)
    family: Family = "paper"
    noise: float = 0.02
    apodise: float = 0.3
    protocol_seed: int = 1
    visit_seed: int = 1


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
    return np.asarray((down @ torch.from_numpy(coverage) @ across.T).numpy())


def _volume(slices: list[NDArray[np.float32]], matrix: NDArray[np.float64]) -> Volume:
    voxels = np.ascontiguousarray(np.stack(slices).transpose(2, 1, 0)[::-1, ::-1])
    centred = matrix.copy()
    centred[:3, 3] = -(np.array(voxels.shape) - 1) / 2 * np.diag(matrix)[:3]
    return Volume(voxels, centred)
