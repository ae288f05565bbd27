"""A simple neck with known answers: T1w-like axial images of a cord whose area and volume are exact.

Used by the demo and the tests; needs no data. All anatomy is parametric and stated along the image axes
(x to the patient's right, y anterior, z superior, mm from the middle of the volume), and the grid is then
placed obliquely and stored in any orientation. The cord is defined by its cross-section at a right angle
to its own centreline, an ellipse; a slice cuts it stretched by 1/cos(tilt) along the direction of tilt.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, cos, pi, radians, sin, tan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.volume import Volume

# The tissues other than the cord: a neck of ellipses with T1w gradient-echo signals.
#
# Positions are mm from the cord's centre in the slice (x right, y anterior), sizes are semi-axes in mm, taken
# from the usual proportions of an adult neck at C4. Painted in order, later over earlier, with edges one
# pixel wide. Signals are relative to fat.


_AIR, _FAT, _MUSCLE, _BONE, _MARROW, _DISC, _CSF, _CORD, _GREY = 0.01, 1.0, 0.42, 0.10, 0.66, 0.34, 0.16, 0.60, 0.55
_ARTERY, _VEIN, _LIGAMENT, _GLAND, _FILLING = 0.85, 0.30, 0.16, 0.52, 0.62
_VERTEBRA_MM, _DISC_MM = 17.0, 5.0  # a vertebra with its disc, and the disc alone
_SIGNAL_OF_FAT = 800.0


class _Ellipse(NamedTuple):
    signal: float
    x: float
    y: float
    semi_x: float
    semi_y: float
    turn_deg: float = 0.0
    paired: bool = False  # also at -x, mirrored


_MUSCLES = (  # each in a thin sheath of fat
    _Ellipse(_MUSCLE, 0, 36, 17, 8),  # pharynx
    _Ellipse(_MUSCLE, 21, -46, 24, 5, 24, True),  # trapezius
    _Ellipse(_MUSCLE, 14, -37, 13, 8, 16, True),  # splenius
    _Ellipse(_MUSCLE, 11, -24, 9.5, 12, 10, True),  # multifidus and semispinalis
    _Ellipse(_MUSCLE, 30, -20, 11, 17, -18, True),  # levator, longissimus
    _Ellipse(_MUSCLE, 28, 2, 9, 10, -20, True),  # scalenes
    _Ellipse(_MUSCLE, 44, 12, 7, 22, 22, True),  # sternocleidomastoid
    _Ellipse(_MUSCLE, 7, 28, 7, 4, -20, True),  # longus colli
)
_THROAT = (
    _Ellipse(_GLAND, 19, 43, 8, 11, -15, True),  # thyroid, submandibular gland
    _Ellipse(_LIGAMENT, 0, 44, 10.5, 11),
    _Ellipse(_AIR, 0, 44, 8.5, 9),  # airway
    _Ellipse(_ARTERY, 23, 29, 3.2, 3.2, 0, True),  # carotid, bright by inflow
    _Ellipse(_VEIN, 31, 26, 5, 4, 20, True),  # jugular
)
_BONE_PARTS = (
    _Ellipse(_BONE, 16, 3.5, 8, 7.5, 0, True),  # lateral masses
    _Ellipse(_MARROW, 16, 3.5, 6.6, 6, 0, True),
    _Ellipse(_BONE, 0, -9, 15, 6.5),  # laminae
    _Ellipse(_MARROW, 9, -10.5, 6, 2, -28, True),
    _Ellipse(_BONE, 0, -22, 4.2, 10),  # spinous process
    _Ellipse(_MARROW, 0, -22, 2.6, 8.2),
    _Ellipse(_ARTERY, 16, 13, 2, 2, 0, True),  # vertebral arteries
)
_BODY = (_Ellipse(_BONE, 0, 17, 14, 9.5), _Ellipse(_MARROW, 0, 17, 12.6, 8.2))
_DISC_PARTS = (_Ellipse(_LIGAMENT, 0, 17, 14, 9.5), _Ellipse(_DISC, 0, 17, 12, 7.6))
_CANAL = (
    _Ellipse(_FAT * 0.9, 0, -7.2, 5, 3),  # epidural fat behind the sac
    _Ellipse(_LIGAMENT, 0, 0.5, 12.2, 8.6),
    _Ellipse(_CSF, 0, 0.5, 11.3, 7.7),
)


def paint_neck(
    x_mm: NDArray[np.float64],
    y_mm: NDArray[np.float64],
    layers: list[tuple[float, tuple[float, float]]],
    cord: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Signal (n_x, n_y) of one slice, relative to fat.

    ``layers``: heights z in mm within the slice's thickness, each with the cord's centre there; averaged.
    ``cord``: (n_x, n_y) share of each pixel that is cord, 0..1.
    """
    slices = [_paint_layer(x_mm, y_mm, z, centre) for z, centre in layers]
    centre_x, centre_y = layers[len(layers) // 2][1]
    cord_signal = np.full(cord.shape, _CORD)
    for side in (-1, 1):  # grey matter: barely darker, as on T1w
        _paint(cord_signal, x_mm - centre_x, y_mm - centre_y, _Ellipse(_GREY, 2.2 * side, 0, 0.8, 2.4, -20 * side))
    return np.mean(slices, axis=0) * (1.0 - cord) + cord_signal * cord


def _paint_layer(
    x_mm: NDArray[np.float64], y_mm: NDArray[np.float64], z_mm: float, centre: tuple[float, float]
) -> NDArray[np.float64]:
    signal = np.full((x_mm.size, y_mm.size), _FAT)
    u_mm, v_mm = x_mm - centre[0], y_mm - centre[1]
    _paint(signal, u_mm, v_mm, _Ellipse(_FILLING, 0, -3, 54, 49))
    for muscle in _MUSCLES:
        sheath = muscle._replace(signal=_FAT, semi_x=muscle.semi_x + 0.9, semi_y=muscle.semi_y + 0.9)
        _paint(signal, u_mm, v_mm, sheath)
        _paint(signal, u_mm, v_mm, muscle)
    body = _DISC_PARTS if z_mm % _VERTEBRA_MM < _DISC_MM else _BODY
    for part in _THROAT + body + _BONE_PARTS + _CANAL:
        _paint(signal, u_mm, v_mm, part)
    inside = np.zeros_like(signal)
    _paint(inside, u_mm, v_mm, _Ellipse(1.0, 0, 0, 62, 60))  # the skin's outline
    return _AIR + (signal - _AIR) * inside


def _paint(signal: NDArray[np.float64], u_mm: NDArray[np.float64], v_mm: NDArray[np.float64], part: _Ellipse) -> None:
    """Mix one ellipse, or a pair, into ``signal`` in place; its edge is one pixel wide (distance to first order)."""
    if part.paired:
        alone = part._replace(paired=False)
        _paint(signal, u_mm, v_mm, alone)
        _paint(signal, u_mm, v_mm, alone._replace(x=-part.x, turn_deg=-part.turn_deg))
        return
    pixel = max(float(axis[1] - axis[0]) if axis.size > 1 else 1.0 for axis in (u_mm, v_mm))
    reach = max(part.semi_x, part.semi_y) + pixel
    u0, u1 = np.searchsorted(u_mm, [part.x - reach, part.x + reach])
    v0, v1 = np.searchsorted(v_mm, [part.y - reach, part.y + reach])
    if u0 == u1 or v0 == v1:
        return
    angle = np.radians(part.turn_deg)
    u, v = u_mm[u0:u1, None] - part.x, v_mm[None, v0:v1] - part.y
    across = (np.cos(angle) * u + np.sin(angle) * v) / part.semi_x
    along = (np.cos(angle) * v - np.sin(angle) * u) / part.semi_y
    radius = np.sqrt(across**2 + along**2) + 1e-9
    gradient = np.sqrt((across / part.semi_x) ** 2 + (along / part.semi_y) ** 2) / radius + 1e-9
    share = np.clip((1.0 - radius) / gradient / pixel + 0.5, 0.0, 1.0)
    window = signal[u0:u1, v0:v1]
    window += share * (part.signal - window)


def receive(
    signal: NDArray[np.float32],
    axes_mm: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    *,
    bias: float,
    noise: float,
    random: np.random.Generator,
) -> NDArray[np.float32]:
    """What the coil sees of ``signal`` (x, y, z): tissue texture, smooth bias field, fall-off, Rician noise."""
    x, y, z = (axis / 60.0 for axis in axes_mm)
    tilt, bend = random.uniform(-0.5, 0.5, 2)
    field = 1.0 - bias * 0.5 * (0.6 * y[None, :, None] + tilt * x[:, None, None] + 0.3 * bend * z[None, None, :])
    field = field - bias * 0.25 * (x[:, None, None] ** 2 + 0.5 * y[None, :, None] ** 2)
    texture = 1.0 + 0.5 * noise * random.standard_normal(signal.shape)
    ideal = _SIGNAL_OF_FAT * signal * np.maximum(field, 0.05) * texture
    real = ideal + _SIGNAL_OF_FAT * noise * random.standard_normal(signal.shape)
    imaginary = _SIGNAL_OF_FAT * noise * random.standard_normal(signal.shape)
    return np.hypot(real, imaginary).astype(np.float32)


_BOW_LENGTH_MM = 120.0  # half period of the cervical bow (lordosis)
_ENLARGEMENT_MM = 30.0  # spread of the cervical enlargement along the cord
_IN_PLANE_SAMPLES = 8  # per pixel side, for partial volume at the cord's edge
_THROUGH_SAMPLES = 7


@dataclass(frozen=True)
class PhantomConfig:
    """Grid, cord and image of a phantom.

    ``shape``, ``spacing_mm``: towards R, A, S, whatever ``orientation`` the volume is stored in (one of the
    48 codes such as "RAS" or "PSR"). ``oblique_deg``: rotation of the whole grid about R, A, S, each under
    45°. ``tilt_deg``: the cord's lean against the slice normal as (atan dx/dz, atan dy/dz), under 60°.
    ``cord_csa_mm2``: area at a right angle to the cord away from the enlargement, which adds the share
    ``enlargement`` around ``enlargement_z_mm``. ``cord_aspect``: RL over AP diameter. ``curve_mm``: how far
    the cord bows forward. ``cord_slices``: canonical slices [first, end) that hold cord (None: all).
    ``noise``: standard deviation over the signal of fat. ``bias``: share of the signal lost across the field.
    """

    shape: tuple[int, int, int] = (192, 192, 32)
    spacing_mm: tuple[float, float, float] = (0.7, 0.7, 3.0)
    orientation: str = "RAS"
    oblique_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    centre_ras_mm: tuple[float, float, float] = (2.0, -30.0, 15.0)
    cord_csa_mm2: float = 75.0
    cord_aspect: float = 1.5
    enlargement: float = 0.12
    enlargement_z_mm: float = -20.0
    tilt_deg: tuple[float, float] = (0.0, 0.0)
    curve_mm: float = 3.0
    cord_slices: tuple[int, int] | None = None
    noise: float = 0.02
    bias: float = 0.3
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Phantom:
    """``image``: float32, about 0..1000. ``mask``: bool, at least half of the voxel is cord; same grid.

    ``coverage``: float32 0..1, the share of each voxel that is cord. ``truth_volume_mm3``: the cord between
    the outer faces of its first and last slice. ``truth_csa_mm2``: (n slices,) from inferior to superior,
    at a right angle to the cord, mean over the slice's thickness, 0 in slices without cord.
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
        apart = (z - self.config.enlargement_z_mm) / _ENLARGEMENT_MM
        return self.config.cord_csa_mm2 * (1.0 + self.config.enlargement * float(np.exp(-apart * apart)))

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

    def volume_mm3(self, low_mm: float, high_mm: float) -> float:
        """∫ CSA · √(1+x'²+y'²) dz, by quadrature to 1e-9 relative."""
        return float(quad(lambda z: self.csa_mm2(z) * self.stretch(z), low_mm, high_mm, epsrel=1e-9)[0])

    def mean_csa_mm2(self, low_mm: float, high_mm: float) -> float:
        length_mm = quad(self.stretch, low_mm, high_mm, epsrel=1e-9)[0]
        return self.volume_mm3(low_mm, high_mm) / float(length_mm)


def make_phantom(config: PhantomConfig | None = None) -> Phantom:
    """Build the phantom; the same configuration gives the same voxels.

    Raises ConfigurationError when the cord does not fit into the field of view.
    """
    config = config or PhantomConfig()
    cord = _Cord(config)
    x_mm, y_mm, z_mm = (
        np.asarray((np.arange(n) - (n - 1) / 2) * step, np.float64)
        for n, step in zip(config.shape, config.spacing_mm, strict=True)
    )
    first, end = config.cord_slices or (0, config.shape[2])
    coverage = np.zeros(config.shape, np.float32)
    signal = np.zeros(config.shape, np.float32)
    thick = config.spacing_mm[2]
    csa = np.zeros(config.shape[2])
    random = np.random.default_rng(config.seed)
    for k, z in enumerate(z_mm):
        if first <= k < end:
            coverage[:, :, k] = _coverage(cord, x_mm, y_mm, list(_through(z, thick, _THROUGH_SAMPLES)))
            csa[k] = cord.mean_csa_mm2(z - thick / 2, z + thick / 2)
        layers = [(at, cord.centre_mm(at)) for at in _through(z, thick, min(3, ceil(thick / 2)))]
        signal[:, :, k] = paint_neck(x_mm, y_mm, layers, coverage[:, :, k])
    image = receive(signal, (x_mm, y_mm, z_mm), bias=config.bias, noise=config.noise, random=random)
    grid = _grid(config)

    def placed(array: NDArray) -> Volume:
        return Volume.from_ijk(array, grid).reoriented(config.orientation)

    return Phantom(
        image=placed(image),
        mask=placed(coverage >= 0.5),
        coverage=placed(coverage),
        truth_volume_mm3=cord.volume_mm3(z_mm[first] - thick / 2, z_mm[end - 1] + thick / 2),
        truth_csa_mm2=csa,
    )


def _through(z: float, thick: float, count: int) -> Iterator[float]:
    return (z + thick * ((s + 0.5) / count - 0.5) for s in range(count))


def _coverage(
    cord: _Cord, x_mm: NDArray[np.float64], y_mm: NDArray[np.float64], samples: list[float]
) -> NDArray[np.float64]:
    """Share of each pixel (x, y) of one slice that is cord, averaged over the heights in ``samples``."""
    step_x, step_y = cord.config.spacing_mm[:2]
    within = (np.arange(_IN_PLANE_SAMPLES) + 0.5) / _IN_PLANE_SAMPLES - 0.5
    share = np.zeros((x_mm.size, y_mm.size))
    for z in samples:
        section, (centre_x, centre_y) = cord.section(z), cord.centre_mm(z)
        reach_x, reach_y = np.linalg.norm(section, axis=1)  # half extent of the ellipse along x and y
        xs = np.flatnonzero(np.abs(x_mm - centre_x) <= reach_x + step_x)
        ys = np.flatnonzero(np.abs(y_mm - centre_y) <= reach_y + step_y)
        if not _inside(x_mm, centre_x, reach_x, step_x) or not _inside(y_mm, centre_y, reach_y, step_y):
            raise ConfigurationError("phantom: the cord leaves the field of view; enlarge the shape or lessen the tilt")
        fine_x = (x_mm[xs, None] + within * step_x).ravel() - centre_x
        fine_y = (y_mm[ys, None] + within * step_y).ravel() - centre_y
        inverse = np.linalg.inv(section)
        across = inverse[0, 0] * fine_x[:, None] + inverse[0, 1] * fine_y
        along = inverse[1, 0] * fine_x[:, None] + inverse[1, 1] * fine_y
        inside = (across * across + along * along <= 1.0).reshape(xs.size, within.size, ys.size, within.size)
        share[np.ix_(xs, ys)] += inside.mean(axis=(1, 3))
    coverage: NDArray[np.float64] = share / len(samples)
    return coverage


def _inside(axis_mm: NDArray[np.float64], centre: float, reach: float, step: float) -> bool:
    return bool(axis_mm[0] - step / 2 <= centre - reach and centre + reach <= axis_mm[-1] + step / 2)


def _grid(config: PhantomConfig) -> NDArray[np.float64]:
    """From voxels towards R, A and S to RAS mm: rotated about the middle, which is ``centre_ras_mm``."""
    rotation = np.eye(3)
    for axis, degrees in enumerate(config.oblique_deg):
        turn, (one, two) = np.eye(3), ((axis + 1) % 3, (axis + 2) % 3)
        turn[one, one] = turn[two, two] = cos(radians(degrees))
        turn[two, one], turn[one, two] = sin(radians(degrees)), -sin(radians(degrees))
        rotation = turn @ rotation
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * config.spacing_mm
    matrix[:3, 3] = np.array(config.centre_ras_mm) - matrix[:3, :3] @ ((np.array(config.shape) - 1) / 2)
    return matrix
