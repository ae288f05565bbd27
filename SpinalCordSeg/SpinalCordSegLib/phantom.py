"""A simple neck with known answers: T1w-like axial images of a cord whose area and volume are exact.

Used by the demo and the tests; needs no data. All anatomy is parametric and stated along the image axes
(x to the patient's right, y anterior, z superior, mm from the middle of the volume), and the grid is then
placed obliquely and stored in any orientation. The cord is defined by its cross-section at a right angle
to its own centreline, an ellipse; a slice cuts it stretched by 1/cos(tilt) along the direction of tilt.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, radians, sin, tan

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.spatial.transform import Rotation

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.volume import Volume

# The tissues other than the cord: ellipses with T1w gradient-echo signals relative to fat, in the usual proportions of
# an adult neck at C4. Each: signal, middle (x right, y anterior) from the cord's centre and semi-axes, mm. Painted in
# order, later over earlier.

_AIR, _CORD, _SIGNAL_OF_FAT = 0.01, 0.60, 800.0
_VERTEBRA_MM, _DISC_MM = 17.0, 5.0  # a vertebra with its disc, and the disc alone
_Ellipse = tuple[float, float, float, float, float]
_SOFT: tuple[_Ellipse, ...] = (
    (0.62, 0, -3, 54, 49),
    (0.42, 18, -30, 20, 16),  # muscles
    (0.42, -18, -30, 20, 16),
    (0.42, 38, 4, 12, 20),
    (0.42, -38, 4, 12, 20),
    (0.42, 0, 36, 17, 8),
    (_AIR, 0, 44, 8.5, 9),  # airway
    (0.85, 23, 29, 3.2, 3.2),  # carotids, bright by inflow
    (0.85, -23, 29, 3.2, 3.2),
)
_VERTEBRA: tuple[_Ellipse, ...] = ((0.10, 0, 17, 14, 9.5), (0.66, 0, 17, 12.6, 8.2))
_DISC: tuple[_Ellipse, ...] = ((0.16, 0, 17, 14, 9.5), (0.34, 0, 17, 12, 7.6))
_CANAL: tuple[_Ellipse, ...] = (
    (0.10, 16, 3.5, 8, 7.5),  # lateral masses, bone and marrow
    (0.66, 16, 3.5, 6.6, 6),
    (0.10, -16, 3.5, 8, 7.5),
    (0.66, -16, 3.5, 6.6, 6),
    (0.10, 0, -9, 15, 6.5),  # laminae
    (0.66, 8.5, -10.5, 6, 3),
    (0.66, -8.5, -10.5, 6, 3),
    (0.10, 0, -22, 4.2, 10),  # spinous process
    (0.66, 0, -22, 2.6, 8.2),
    (0.90, 0, -7.2, 5, 3),  # epidural fat
    (0.16, 0, 0.5, 12.2, 8.6),  # dura
    (0.16, 0, 0.5, 11.3, 7.7),  # cerebrospinal fluid
)


def _neck(x_mm: NDArray[np.float64], y_mm: NDArray[np.float64], z_mm: float) -> NDArray[np.float64]:
    """Signal (n_x, n_y) without the cord, relative to fat; mm from the cord's centre, edges one pixel wide."""
    signal = np.ones((x_mm.size, y_mm.size))  # fat below the skin
    pixel_mm = max(float(axis[1] - axis[0]) for axis in (x_mm, y_mm))
    for value, x, y, semi_x, semi_y in _SOFT + (_DISC if z_mm % _VERTEBRA_MM < _DISC_MM else _VERTEBRA) + _CANAL:
        u, v = (x_mm[:, None] - x) / semi_x, (y_mm[None, :] - y) / semi_y
        radius = np.sqrt(u**2 + v**2) + 1e-9
        gradient = np.sqrt((u / semi_x) ** 2 + (v / semi_y) ** 2) / radius + 1e-9
        signal += np.clip((1.0 - radius) / gradient / pixel_mm + 0.5, 0.0, 1.0) * (value - signal)
    return signal


def _received(signal: NDArray[np.float32], y_mm: NDArray[np.float64], config: PhantomConfig) -> NDArray[np.float32]:
    """What the coil sees of ``signal`` (x, y, z): less to anterior, tissue texture, Rician noise."""
    random, noise = np.random.default_rng(config.seed), config.noise
    field = 1.0 - 0.005 * config.bias * y_mm[None, :, None]
    ideal = signal * np.maximum(field, 0.05) * (1.0 + 0.5 * noise * random.standard_normal(signal.shape))
    real, imaginary = (noise * random.standard_normal(signal.shape) for _ in range(2))
    return (_SIGNAL_OF_FAT * np.hypot(ideal + real, imaginary)).astype(np.float32)


_BOW_LENGTH_MM = 120.0  # half period of the cervical bow (lordosis)
_ENLARGEMENT_MM = -20.0, 30.0  # middle of the cervical enlargement, and its spread along the cord
_IN_PLANE_SAMPLES = 8  # per pixel side, for partial volume at the cord's edge
_THROUGH_SAMPLES = 7


@dataclass(frozen=True)
class PhantomConfig:
    """Grid, cord and image of a phantom.

    ``shape``, ``spacing_mm``: towards R, A, S, whatever ``orientation`` the volume is stored in (one of the
    48 codes such as "RAS" or "PSR"). ``oblique_deg``: rotation of the whole grid about R, A, S, each under
    45°. ``tilt_deg``: the cord's lean against the slice normal as (atan dx/dz, atan dy/dz), under 60°.
    ``cord_csa_mm2``: area at a right angle to the cord away from the enlargement, which adds the share
    ``enlargement``. ``cord_aspect``: RL over AP diameter. ``curve_mm``: how far the cord bows forward. ``noise``:
    standard deviation over the signal of fat. ``bias``: share of the signal lost across the field.
    """

    shape: tuple[int, int, int] = (192, 192, 32)
    spacing_mm: tuple[float, float, float] = (0.7, 0.7, 3.0)
    orientation: str = "RAS"
    oblique_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    centre_ras_mm: tuple[float, float, float] = (2.0, -30.0, 15.0)
    cord_csa_mm2: float = 80.0
    cord_aspect: float = 1.5
    enlargement: float = 0.12
    tilt_deg: tuple[float, float] = (0.0, 0.0)
    curve_mm: float = 3.0
    noise: float = 0.02
    bias: float = 0.3
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Phantom:
    """``image``: float32, about 0..1000. ``mask``: bool, at least half of the voxel is cord; same grid.

    ``coverage``: float32 0..1, the share of each voxel that is cord. ``truth_volume_mm3``: the cord between
    the outer faces of the first and last slice. ``truth_csa_mm2``: (n slices,) from inferior to superior, at a right
    angle to the cord, mean over the slice's thickness.
    """

    image: Volume
    mask: Volume
    coverage: Volume
    truth_volume_mm3: float
    truth_csa_mm2: NDArray[np.float64]


@dataclass(frozen=True)
class _Cord:
    """The cord as functions of z (mm)."""

    config: PhantomConfig

    def centre_mm(self, z: float) -> tuple[float, float]:
        lean_x, lean_y = (tan(radians(angle)) for angle in self.config.tilt_deg)
        bow = self.config.curve_mm * (cos(pi * z / _BOW_LENGTH_MM) - 0.5)
        return lean_x * z, lean_y * z + bow

    def slope(self, z: float) -> tuple[float, float]:
        lean_x, lean_y = (tan(radians(angle)) for angle in self.config.tilt_deg)
        return lean_x, lean_y - self.config.curve_mm * pi / _BOW_LENGTH_MM * sin(pi * z / _BOW_LENGTH_MM)

    def stretch(self, z: float) -> float:
        """1/cos of the angle between cord and slice normal."""
        return float(np.sqrt(1.0 + np.square(self.slope(z)).sum()))

    def csa_mm2(self, z: float) -> float:
        apart = (z - _ENLARGEMENT_MM[0]) / _ENLARGEMENT_MM[1]
        return self.config.cord_csa_mm2 * (1.0 + self.config.enlargement * float(np.exp(-apart * apart)))

    def volume_mm3(self, low_mm: float, high_mm: float) -> float:
        """∫ CSA · √(1+x'²+y'²) dz, by quadrature to 1e-9 relative."""
        return float(quad(lambda z: self.csa_mm2(z) * self.stretch(z), low_mm, high_mm, epsrel=1e-9)[0])

    def section(self, z: float) -> NDArray[np.float64]:
        """2×2 matrix that takes the unit disc to the cord's section with the slice plane, mm."""
        semi_ap = np.sqrt(self.csa_mm2(z) / pi / self.config.cord_aspect)
        axes = np.diag([semi_ap * self.config.cord_aspect, semi_ap])
        slope = np.array(self.slope(z))
        steep = float(slope @ slope)
        if steep == 0.0:
            return axes
        lean = np.eye(2) + (self.stretch(z) - 1.0) * np.outer(slope, slope) / steep
        return lean @ axes


def make_phantom(config: PhantomConfig | None = None) -> Phantom:
    """Build the phantom; the same configuration gives the same voxels.

    Raises ConfigurationError when the cord does not fit into the field of view.
    """
    config = config or PhantomConfig()
    cord, half_mm = _Cord(config), config.spacing_mm[2] / 2
    x_mm, y_mm, z_mm = (
        np.asarray((np.arange(n) - (n - 1) / 2) * step, np.float64)
        for n, step in zip(config.shape, config.spacing_mm, strict=True)
    )
    coverage, signal = np.zeros((2, *config.shape), np.float32)
    for k, z in enumerate(z_mm.tolist()):
        coverage[:, :, k] = _coverage(cord, x_mm, y_mm, z)
        centre_x, centre_y = cord.centre_mm(z)
        signal[:, :, k] = _neck(x_mm - centre_x, y_mm - centre_y, z)
    signal += coverage * (_CORD - signal)
    grid = _grid(config)

    def placed(array: NDArray) -> Volume:
        return Volume.from_ijk(array, grid).reoriented(config.orientation)

    faces = [(z - half_mm, z + half_mm) for z in z_mm.tolist()]
    volumes = [cord.volume_mm3(*ends) for ends in faces]
    lengths = [quad(cord.stretch, *ends, epsrel=1e-9)[0] for ends in faces]
    return Phantom(
        image=placed(_received(signal, y_mm, config)),
        mask=placed(coverage >= 0.5),
        coverage=placed(coverage),
        truth_volume_mm3=sum(volumes),
        truth_csa_mm2=np.array(volumes) / lengths,
    )


def _coverage(cord: _Cord, x_mm: NDArray[np.float64], y_mm: NDArray[np.float64], z_mm: float) -> NDArray[np.float64]:
    """Share of each pixel (x, y) of one slice that is cord, over its thickness."""
    step_x, step_y, thick_mm = cord.config.spacing_mm
    within = (np.arange(_IN_PLANE_SAMPLES) + 0.5) / _IN_PLANE_SAMPLES - 0.5
    share = np.zeros((x_mm.size, y_mm.size))
    for z in z_mm + thick_mm * ((np.arange(_THROUGH_SAMPLES) + 0.5) / _THROUGH_SAMPLES - 0.5):
        section, (centre_x, centre_y) = cord.section(z), cord.centre_mm(z)
        reach_x, reach_y = np.linalg.norm(section, axis=1)  # half extent of the ellipse along x and y
        if not _inside(x_mm, centre_x, reach_x, step_x) or not _inside(y_mm, centre_y, reach_y, step_y):
            raise ConfigurationError("phantom: the cord leaves the field of view; enlarge the shape or lessen the tilt")
        xs = np.flatnonzero(np.abs(x_mm - centre_x) <= reach_x + step_x)
        ys = np.flatnonzero(np.abs(y_mm - centre_y) <= reach_y + step_y)
        fine_x = (x_mm[xs, None] + within * step_x).ravel() - centre_x
        fine_y = (y_mm[ys, None] + within * step_y).ravel() - centre_y
        inverse = np.linalg.inv(section)
        across = inverse[0, 0] * fine_x[:, None] + inverse[0, 1] * fine_y
        along = inverse[1, 0] * fine_x[:, None] + inverse[1, 1] * fine_y
        inside = (across * across + along * along <= 1.0).reshape(xs.size, within.size, ys.size, within.size)
        share[np.ix_(xs, ys)] += inside.mean(axis=(1, 3))
    coverage: NDArray[np.float64] = share / _THROUGH_SAMPLES
    return coverage


def _inside(axis_mm: NDArray[np.float64], centre: float, reach: float, step: float) -> bool:
    return bool(axis_mm[0] - step / 2 <= centre - reach and centre + reach <= axis_mm[-1] + step / 2)


def _grid(config: PhantomConfig) -> NDArray[np.float64]:
    """From voxels towards R, A and S to RAS mm: rotated about the middle, which is ``centre_ras_mm``."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", config.oblique_deg, degrees=True).as_matrix() * config.spacing_mm
    matrix[:3, 3] = np.array(config.centre_ras_mm) - matrix[:3, :3] @ ((np.array(config.shape) - 1) / 2)
    return matrix
