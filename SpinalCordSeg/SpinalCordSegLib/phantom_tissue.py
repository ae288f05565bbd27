"""The phantom's tissues other than the cord: a neck of ellipses with T1w gradient-echo signals.

Positions are mm from the cord's centre in the slice (x right, y anterior), sizes are semi-axes in mm, taken
from the usual proportions of an adult neck at C4. Painted in order, later over earlier, with edges one
pixel wide. Signals are relative to fat.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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
        _paint_pair(signal, u_mm, v_mm, sheath)
        _paint_pair(signal, u_mm, v_mm, muscle)
    body = _DISC_PARTS if z_mm % _VERTEBRA_MM < _DISC_MM else _BODY
    for part in _THROAT + body + _BONE_PARTS + _CANAL:
        _paint_pair(signal, u_mm, v_mm, part)
    inside = np.zeros_like(signal)
    _paint(inside, u_mm, v_mm, _Ellipse(1.0, 0, 0, 62, 60))  # the skin's outline
    return _AIR + (signal - _AIR) * inside


def _paint_pair(
    signal: NDArray[np.float64], u_mm: NDArray[np.float64], v_mm: NDArray[np.float64], part: _Ellipse
) -> None:
    _paint(signal, u_mm, v_mm, part)
    if part.paired:
        _paint(signal, u_mm, v_mm, part._replace(x=-part.x, turn_deg=-part.turn_deg))


def _paint(signal: NDArray[np.float64], u_mm: NDArray[np.float64], v_mm: NDArray[np.float64], part: _Ellipse) -> None:
    """Mix one ellipse into ``signal`` in place; its edge is one pixel wide (distance to first order)."""
    pixel = max(_step(u_mm), _step(v_mm))
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


def _step(axis_mm: NDArray[np.float64]) -> float:
    return float(axis_mm[1] - axis_mm[0]) if axis_mm.size > 1 else 1.0


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
