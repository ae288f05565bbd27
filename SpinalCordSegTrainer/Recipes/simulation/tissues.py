"""Tissues of the neck and their MR properties at 3 T, drawn anew for every person.

Sources: Stanisz et al. 2005, MRM 54:507 (muscle, cord, blood); Gold et al. 2004, AJR 183:343 (fat, marrow,
cartilage); Smith et al. 2008, MRM 60:213 (cord grey and white matter); the rest is set between these.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


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
