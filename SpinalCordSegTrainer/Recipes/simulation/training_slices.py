"""Training slices from simulated people and from the library's phantoms, streamed into a slice cache."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from math import inf
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from Recipes.simulation.anatomy import Pose, Tissue, TissueTable, draw_slice, draw_tissues
from Recipes.simulation.atlas import Maps, read_maps
from Recipes.simulation.necks import HIGHEST_MM, Neck, draw_neck, with_touching_masses
from Recipes.simulation.scanner import (
    FINE_MM,
    Coils,
    Family,
    Scan,
    acquire,
    away_window,
    draw_coils,
    draw_scan,
    draw_signals,
    draw_window,
    dropouts,
    paint,
)
from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.files import atomic_write, to_json
from SpinalCordSegLib.model.preprocessing import NormalisationConfig, normalise, normalise_coverage
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegTrainerLib.config import check_seed
from SpinalCordSegTrainerLib.corrections import read_rehearsal
from SpinalCordSegTrainerLib.slice_cache import CachedSlice, CacheInfo, SliceCache

# Training slices from the library's own phantom: clean geometry that no atlas shape has, areas exactly known.


_SLICES = 6  # of each phantom


def phantom_slices(phantoms: int, seed: int, rule: NormalisationConfig) -> Iterator[CachedSlice]:
    """Normalised slices of random phantoms on the network's grid, six of each, phantom by phantom."""
    grid = (rule.size, rule.size) if rule.kind == "fixed_pixel" else None
    for number in range(phantoms):
        phantom = make_phantom(random_phantom(np.random.default_rng([seed, number])))
        image, share = phantom.image, phantom.coverage
        pixels = torch.from_numpy(np.ascontiguousarray(image.voxels, dtype=np.float32))
        cord = torch.from_numpy(np.ascontiguousarray(share.voxels, dtype=np.float32))
        normalised, _ = normalise(pixels, image.pixel_mm, rule, grid)
        coverage = normalise_coverage(cord, image.pixel_mm, rule, grid)
        for one, part in zip(normalised[:, 0].numpy(), coverage[:, 0].numpy(), strict=True):
            yield one, part, f"phantom-{seed}-{number:04d}"


def random_phantom(rng: np.random.Generator) -> PhantomConfig:
    """Any cord the phantom can draw: area 40-110 mm², pixels of 0.45-1.0 mm, slices of 1-5 mm, leaning, noisy."""
    pixel_mm = float(rng.uniform(0.45, 1.0))
    across = round(rng.uniform(110, 175) / pixel_mm)
    return PhantomConfig(
        shape=(across, across, _SLICES),
        spacing_mm=(pixel_mm, pixel_mm, float(rng.uniform(1, 5))),
        centre_ras_mm=(float(rng.normal(0, 5)), float(rng.uniform(-40, -15)), float(rng.uniform(-40, 45))),
        cord_csa_mm2=float(rng.uniform(40, 110)),
        cord_aspect=float(rng.uniform(1.1, 1.9)),
        enlargement=float(rng.uniform(0, 0.2)),
        tilt_deg=(float(rng.normal(0, 6)), float(rng.normal(0, 8))),
        curve_mm=float(rng.uniform(-2, 8)),
        noise=float(rng.uniform(0.005, 0.09)),
        bias=float(rng.uniform(0, 0.6)),
        seed=int(rng.integers(2**31)),
    )


# Training slices from simulated people, streamed into a slice cache.


_log = logging.getLogger(__name__)

CANVAS = 512
_TRIALS = 40
_WITH_MASSES_MM = (-125.0, -5.0)
_BEYOND_MM2 = (20.0, 160.0)
_N_BRIGHT = 6  # the sixth brightest tissue has about the signal of an image's 95th percentile
# Never in training slices. The people of the errsm series are no choice: their T2w masks are trained on.
VALIDATION_SHAPES = ("sub-hamburg01", "sub-sapienza05", "sub-strasbourg04", "sub-tokyoSkyra06")
_FAMILIES: tuple[Family, ...] = ("paper", "t1w", "transfer", "inversion", "random")


@dataclass(frozen=True)
class SimulateConfig:
    """``count`` slices, ``slices_per_neck`` of each person; the seed fixes every pixel. ``kind``: of the normalisation
    that the slices stand for ("paper": a field of view of ``size`` pixels). ``hold_out``: cord shapes for validation.
    ``families``: shares of the protocols paper, t1w, transfer, inversion, random.
    ``no_cord``: share of slices above the foramen magnum, beside the cord, or of nothing but noise. ``phantoms``: so
    many of the library's phantoms follow, six slices each. ``least_contrast``: between cord and fluid, against the
    brighter of the two; ``least_cnr``: between them, against the noise's SD (the bright tissues' signal stands for the
    image's 95th percentile). Protocols below either are drawn again: a boundary that nobody can see teaches nothing.
    ``most_cnr``: the upper limit (0: none), for a set of nothing but faint boundaries.
    ``heavy_noise``: share of slices whose noise (SD against the 95th percentile) lies between 0.05 and 0.16.
    ``touching``: share of people who get three masses that touch the cord. ``beyond_csa``: share of people with an area
    drawn from _BEYOND_MM2: at the ends of what it has seen a network draws every cord nearer the mean."""

    count: int = 6000
    seed: int = 1
    slices_per_neck: int = 6
    size: int = 256
    pixel_mm: float = 0.7
    kind: str = "fixed_pixel"
    intensity: str = "percentile"
    hold_out: tuple[str, ...] = VALIDATION_SHAPES
    families: tuple[float, ...] = (0.23, 0.29, 0.18, 0.12, 0.18)
    no_cord: float = 0.2
    phantoms: int = 0
    least_contrast: float = 0.0
    least_cnr: float = 0.0
    most_cnr: float = 0.0
    heavy_noise: float = 0.25
    touching: float = 0.0
    beyond_csa: float = 0.0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if len(self.families) != len(_FAMILIES) or min(self.families) < 0 or sum(self.families) <= 0:
            raise ConfigurationError(f"families: {len(_FAMILIES)} shares are needed ({', '.join(_FAMILIES)})")
        shares = (self.no_cord, self.heavy_noise, self.touching, self.beyond_csa)
        if not 0 <= min(shares) <= max(shares) <= 1:
            raise ConfigurationError("no_cord, heavy_noise, touching and beyond_csa are shares: 0 to 1")

    def normalisation(self) -> NormalisationConfig:
        pixel_mm = self.pixel_mm if self.kind == "fixed_pixel" else None
        return NormalisationConfig(self.kind, pixel_mm=pixel_mm, intensity=self.intensity)


@dataclass(frozen=True, eq=False)
class SimulatedSlice:
    """``image``: (rows, columns) magnitude, arbitrary units. ``pixel_mm``: (between rows, between columns).
    ``coverage``: share of each *fine* pixel (FINE_MM) of the same field of view that is cord. ``csa_mm2``: analytic
    mean over the slice's thickness."""

    image: NDArray[np.float32]
    pixel_mm: tuple[float, float]
    coverage: NDArray[np.float32]
    csa_mm2: float


def simulate_cache(
    maps: Path,
    output: Path,
    config: SimulateConfig,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> SliceCache:
    """Write ``config.count`` simulated slices to ``output``. Raises what read_maps and SliceCache.write raise."""
    read = read_maps(maps, hold_out=config.hold_out)
    source = {
        "simulation": asdict(config),
        "maps": [shape.name for shape in read.shapes],
        "atlas": "PAM50",
    }
    return SliceCache.write(
        output,
        training_slices(read, config, progress),
        normalisation=asdict(config.normalisation()),
        kind="simulated",
        source=source,
    )


REHEARSAL = SimulateConfig(
    count=360, seed=901, slices_per_neck=3, families=(0.2, 0.25, 0.2, 0.1, 0.25), no_cord=0.12, touching=0.2
)
_REHEARSAL_PX = 96


def write_rehearsal(
    slices: Iterable[CachedSlice], config: SimulateConfig, path: Path, size: int = _REHEARSAL_PX
) -> SliceCache:
    """Slices that ship with the models for learning from corrections: ``size``² about the cord, one compressed file."""
    images, covers, subjects = [], [], []
    for number, (image, coverage, subject) in enumerate(slices):
        rng = np.random.default_rng([config.seed, 3, number])
        found = np.argwhere(coverage >= 0.5)
        middle = found.mean(axis=0) if len(found) else np.full(2, (len(image) - 1) / 2)
        corner = np.clip(np.rint(middle + rng.uniform(-16, 16, 2) - size / 2), 0, len(image) - size).astype(int)
        part = (slice(corner[0], corner[0] + size), slice(corner[1], corner[1] + size))
        images.append(np.rint(np.clip(image[part], 0, 1) * 255).astype(np.uint8))
        covers.append(np.rint(np.clip(coverage[part], 0, 1) * 255).astype(np.uint8))
        subjects.append(subject)
    rule, source = asdict(config.normalisation()), {"simulation": asdict(config), "atlas": "PAM50"}
    info = CacheInfo(size, rule, "simulated", source, tuple(subjects), (None,) * len(subjects))
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file, images=np.stack(images), coverage=np.stack(covers), info=np.array(json.dumps(to_json(info)))
        )
    return read_rehearsal(path)


def training_slices(
    maps: Maps, config: SimulateConfig, progress: Callable[[int, int], None] | None = None
) -> Iterator[CachedSlice]:
    """Normalised slices on the network's grid, person by person, then phantom by phantom."""
    for number in range(config.count):
        person, part = divmod(number, config.slices_per_neck)
        if part == 0:
            neck = _person(config.seed * 1_000_003 + person, maps, config)
        rng = np.random.default_rng([config.seed, number])
        yield _cached(random_slice(neck, maps, rng, config), neck.name, config)
        if progress is not None:
            progress(number + 1, config.count)
    yield from phantom_slices(config.phantoms, config.seed, config.normalisation())


def _person(seed: int, maps: Maps, config: SimulateConfig) -> Neck:
    rng = np.random.default_rng([seed, 70])
    touching, beyond = rng.random(2) < (config.touching, config.beyond_csa)
    neck = draw_neck(seed, maps, float(rng.uniform(*_BEYOND_MM2)), _BEYOND_MM2) if beyond else draw_neck(seed, maps)
    return with_touching_masses(neck, rng, _WITH_MASSES_MM) if touching else neck


def _cached(one: SimulatedSlice, subject: str, config: SimulateConfig) -> CachedSlice:
    grid = (config.size, config.size)
    rule = replace(config, kind="fixed_pixel").normalisation()
    image, _ = normalise(torch.from_numpy(one.image)[None], one.pixel_mm, rule, grid)
    coverage = normalise_coverage(torch.from_numpy(one.coverage)[None], (FINE_MM, FINE_MM), rule, grid)
    return image[0, 0].numpy(), coverage[0, 0].numpy(), subject


def random_slice(neck: Neck, maps: Maps, rng: np.random.Generator, config: SimulateConfig) -> SimulatedSlice:
    """One place of a person under a random protocol, position and field of view."""
    z_mm, beside = _draw_height(rng, config.no_cord)
    if np.isnan(z_mm):
        return _noise_only(rng)
    pose = Pose(float(rng.normal(0, 9)), float(rng.normal(8, 14)), float(rng.normal(0, 0.1)))
    middle = (CANVAS - 1) / 2
    centre = (middle + pose.y_mm / FINE_MM, middle + pose.x_mm / FINE_MM)
    window = away_window(rng, CANVAS, centre) if beside else draw_window(rng, CANVAS, centre)
    scan, thickness = draw_scan(rng, window, config.heavy_noise)
    family = _FAMILIES[rng.choice(len(_FAMILIES), p=np.array(config.families) / sum(config.families))]
    person = np.random.default_rng([neck.seed, 40])
    signals = _visible_signals(rng, draw_tissues(person), family, config, scan.noise)
    return scan_slice(neck, maps, z_mm, thickness, pose, signals, draw_coils(rng), scan, rng)


def _visible_signals(
    rng: np.random.Generator, tissues: TissueTable, family: Family, config: SimulateConfig, noise: float
) -> NDArray[np.complex64]:
    """Signals under which cord and fluid differ as ``config`` asks, or the last of _TRIALS draws."""
    for _ in range(_TRIALS):
        signals = draw_signals(rng, tissues, family)
        cord, fluid = np.abs(signals[[Tissue.WHITE, Tissue.FLUID]])
        bright = np.sort(np.abs(signals))[-_N_BRIGHT]
        least = max(config.least_contrast * max(cord, fluid), config.least_cnr * noise * bright)
        most = config.most_cnr * noise * bright if config.most_cnr else inf
        if least <= abs(cord - fluid) <= most:
            break
    return signals


def _draw_height(rng: np.random.Generator, no_cord: float) -> tuple[float, bool]:
    """Height of a slice and whether its field of view lies beside the cord; NaN for a slice of nothing."""
    kind = rng.random() / no_cord if no_cord > 0 else 2.0
    if kind >= 1:
        return float(rng.uniform(-112, 0) if rng.random() < 0.75 else rng.uniform(-160, -80)), False
    if kind < 0.55:  # the medulla: the hardest to tell from cord, and from the foramen magnum on it is none
        return float(rng.uniform(0, 30)), False
    if kind < 0.75:
        return float(rng.uniform(30, HIGHEST_MM)), False
    return (float(rng.uniform(-160, 0)), True) if kind < 0.94 else (float("nan"), False)


def _noise_only(rng: np.random.Generator) -> SimulatedSlice:
    rows, columns = (2 * int(n) for n in rng.integers(60, 128, 2))
    noise = np.hypot(*rng.standard_normal((2, rows, columns), dtype=np.float32))
    spacing = 179.2 / max(rows, columns)
    fine = np.zeros((round(rows * spacing / FINE_MM), round(columns * spacing / FINE_MM)), np.float32)
    return SimulatedSlice(noise, (spacing, spacing), fine, 0.0)


def scan_slice(
    neck: Neck,
    maps: Maps,
    z_mm: float,
    thickness_mm: float,
    pose: Pose,
    signals: NDArray[np.complex64],
    coils: Coils,
    scan: Scan,
    rng: np.random.Generator,
) -> SimulatedSlice:
    """The mean of thin slices over the thickness, through the coils into k-space."""
    count = 1 if thickness_mm < 1.6 else 2 if thickness_mm < 3 else 3
    offsets = ((np.arange(count) + 0.5) / count - 0.5) * thickness_mm
    here = np.array(neck.centre_mm(z_mm))
    total = np.zeros((CANVAS, CANVAS), np.complex64)
    coverage = np.zeros((CANVAS, CANVAS), np.float32)
    for offset in offsets:
        x, y = np.array(neck.centre_mm(z_mm + offset)) - here + (pose.x_mm, pose.y_mm)
        anatomy = draw_slice(neck, maps, z_mm + offset, CANVAS, FINE_MM, Pose(float(x), float(y), pose.angle_rad))
        total += paint(anatomy, neck, signals, z_mm + offset)
        coverage += anatomy.coverage()
    total *= coils.field(anatomy.canvas.x, anatomy.canvas.y)
    lost = dropouts(anatomy, z_mm, rng)
    if lost is not None:
        total *= lost
    top, bottom, left, right = scan.window
    share = coverage[top:bottom, left:right] / np.float32(count)
    csa = float(np.mean([neck.csa_mm2(z_mm + offset) for offset in offsets]))
    image, pixel_mm = acquire(total, FINE_MM, scan, rng)
    return SimulatedSlice(image, pixel_mm, share, csa)
