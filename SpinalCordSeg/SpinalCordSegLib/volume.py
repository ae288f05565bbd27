"""Voxels with their geometry, and the one place where axis order, flips, RAS and LPS are decided.

Arrays are indexed [i, j, k] as in a NIfTI or Slicer IJK grid; ``ijk_to_ras`` maps voxel centres to patient
millimetres (R, A, S positive). The axial view of any volume is a stack of slices (n, rows, columns):
slice 0 most inferior, row 0 most anterior, column 0 at the patient's right, as a radiologist looks at it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.errors import GeometryError

_AXIS_CODES = (("L", "R"), ("P", "A"), ("I", "S"))
_MAX_SHEAR = 1e-3  # cosine between two grid axes; file headers in float32 stay under 1e-5
_LARGEST_SPACING_MM = 200.0  # the thickest slabs have half of it

# Ties (an axis at 45° between two patient axes) must be settled by anatomy, never by storage order, or the
# same head stored in two ways would be cut in two ways. Looking at the patient from a point 1e-4 rad off
# breaks every tie the same way for all 48 storage orders.
_TIE_BREAKER = np.array([[1.0, -3e-5, 7e-5], [3e-5, 1.0, -1e-4], [-7e-5, 1e-4, 1.0]])


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3D array and where it lies in the patient.

    ``voxels``: shape (I, J, K), any real dtype. ``ijk_to_ras``: 4×4 float64, voxel centre → RAS mm.
    Raises GeometryError when the array is not 3D, is empty, or the matrix is singular, sheared or not finite.
    """

    voxels: NDArray
    ijk_to_ras: NDArray[np.float64]

    def __post_init__(self) -> None:
        matrix = np.asarray(self.ijk_to_ras, dtype=np.float64)
        object.__setattr__(self, "ijk_to_ras", matrix)
        check_grid(self.voxels.shape, matrix)

    @property
    def shape(self) -> tuple[int, int, int]:
        i, j, k = self.voxels.shape
        return i, j, k

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along i, j, k, mm."""
        i, j, k = np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def voxel_volume_mm3(self) -> float:
        return float(abs(np.linalg.det(self.ijk_to_ras[:3, :3])))

    @property
    def orientation(self) -> str:
        """Nearest patient direction of i, j, k, for instance "RAS" or "PSR"."""
        axes = AxialAxes.of(self.ijk_to_ras)
        code = {axis: _AXIS_CODES[role][0 if flip else 1] for role, (axis, flip) in enumerate(axes.ras)}
        return "".join(code[axis] for axis in range(3))

    def with_voxels(self, voxels: NDArray) -> Volume:
        """Other voxels on this very grid. Raises GeometryError when the shape differs."""
        if voxels.shape != self.voxels.shape:
            raise GeometryError(f"an array of shape {voxels.shape} does not fit a grid of shape {self.voxels.shape}")
        return replace(self, voxels=voxels)

    def same_grid(self, other: Volume, tolerance_mm: float = 1e-2) -> bool:
        """True when shapes are equal and all eight corners lie within ``tolerance_mm`` of each other."""
        if self.shape != other.shape:
            return False
        corners = np.array([[i, j, k, 1.0] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
        corners[:, :3] *= np.array(self.shape) - 1
        apart = (corners @ (self.ijk_to_ras - other.ijk_to_ras).T)[:, :3]
        return bool(np.abs(apart).max() <= tolerance_mm)


def check_grid(shape: tuple[int, ...], ijk_to_ras: NDArray[np.float64]) -> None:
    """Raise GeometryError unless this is a non-empty 3D grid with a finite, invertible, unsheared matrix."""
    if len(shape) != 3:
        raise GeometryError(f"found {len(shape)} dimensions {tuple(shape)}, expected 3: give one 3D volume")
    if min(shape) < 1:
        raise GeometryError(f"the volume is empty: shape {tuple(shape)}")
    if ijk_to_ras.shape != (4, 4) or not np.isfinite(ijk_to_ras).all():
        raise GeometryError("the ijk→RAS matrix is not a finite 4×4 matrix: the header is damaged")
    columns = ijk_to_ras[:3, :3]
    spacing = np.linalg.norm(columns, axis=0)
    if spacing.min() < 1e-6:
        raise GeometryError(f"the voxel spacing is zero on an axis (spacing {_mm(spacing)}): the header is damaged")
    if spacing.max() > _LARGEST_SPACING_MM:
        raise GeometryError(f"the voxel spacing is {_mm(spacing)}, more than any MR volume has: the header is damaged")
    directions = columns / spacing
    if abs(np.linalg.det(directions)) < 1e-6:
        raise GeometryError("the axes of the grid are singular (two point the same way): the header is damaged")
    cosines = np.abs(directions.T @ directions - np.eye(3)).max()
    if cosines > _MAX_SHEAR:
        raise GeometryError(
            f"the grid is sheared: two axes meet at {90 - np.degrees(np.arcsin(min(cosines, 1))):.2f}° instead of 90°;"
            " resample the volume to a rectangular grid first"
        )


def _mm(values: NDArray) -> str:
    return "×".join(f"{value:g}" for value in values) + " mm"


@dataclass(frozen=True)
class AxialAxes:
    """Which array axis runs along R, A and S, and whether it must be flipped to do so.

    ``ras``: for each of R, A, S a pair (array axis, flip). A pure permutation with flips: nothing is resampled.
    """

    ras: tuple[tuple[int, bool], tuple[int, bool], tuple[int, bool]]

    @classmethod
    def of(cls, ijk_to_ras: NDArray[np.float64]) -> AxialAxes:
        """The assignment whose summed |cosine| with R, A, S is largest; ties go by anatomy (see above)."""
        columns = ijk_to_ras[:3, :3]
        cosines = _TIE_BREAKER @ (columns / np.linalg.norm(columns, axis=0))  # rows R, A, S; columns i, j, k
        order = max(permutations(range(3)), key=lambda axes: sum(abs(cosines[role, a]) for role, a in enumerate(axes)))
        r, a, s = ((axis, bool(cosines[role, axis] < 0)) for role, axis in enumerate(order))
        return cls((r, a, s))

    def flips(self) -> tuple[int, ...]:
        """Array axes of the canonical [R, A, S] array that have to be reversed."""
        return tuple(role for role, (_, flip) in enumerate(self.ras) if flip)

    def permutation(self) -> tuple[int, int, int]:
        r, a, s = (axis for axis, _ in self.ras)
        return r, a, s


def to_canonical(volume: Volume) -> Volume:
    """The same voxels with axis 0 towards R, 1 towards A, 2 towards S (nearest axes; a view, no resampling)."""
    axes = AxialAxes.of(volume.ijk_to_ras)
    voxels = np.flip(volume.voxels.transpose(axes.permutation()), axes.flips())
    matrix = np.eye(4)
    matrix[:, 3] = volume.ijk_to_ras[:, 3]
    for role, (axis, flip) in enumerate(axes.ras):
        column = volume.ijk_to_ras[:, axis]
        matrix[:, role] = -column if flip else column
        if flip:
            matrix[:, 3] += column * (volume.shape[axis] - 1)
    return Volume(voxels, matrix)


def from_canonical(voxels: NDArray, like: Volume) -> Volume:
    """Inverse of to_canonical: an array [R, A, S] back on the grid of ``like``, its own axis order and flips."""
    axes = AxialAxes.of(like.ijk_to_ras)
    stored = np.flip(voxels, axes.flips()).transpose(np.argsort(axes.permutation()))
    return like.with_voxels(np.ascontiguousarray(stored))


@dataclass(frozen=True, eq=False)
class AxialSlices:
    """The axial view of a volume.

    ``pixels``: (n, rows, columns); slice 0 inferior, row 0 anterior, column 0 the patient's right.
    ``pixel_mm``: (between rows, between columns). ``slice_mm``: between slice centres.
    """

    pixels: NDArray
    pixel_mm: tuple[float, float]
    slice_mm: float


def axial_slices(volume: Volume) -> AxialSlices:
    """Cut a volume of any orientation into axial slices, exactly (a view: no copy, no resampling)."""
    canonical = to_canonical(volume)
    x_mm, y_mm, z_mm = canonical.spacing_mm
    pixels = canonical.voxels[::-1, ::-1, :].transpose(2, 1, 0)
    return AxialSlices(pixels, (y_mm, x_mm), z_mm)


def axial_zeros(like: Volume, dtype: type[np.generic] | type[bool]) -> Volume:
    """Zeros on the grid of ``like``, every axial slice in one piece of memory: what works by slices is faster so."""
    order = AxialAxes.of(like.ijk_to_ras).permutation()[::-1]  # S changes slowest, R fastest
    stored = np.zeros([like.shape[axis] for axis in order], dtype)
    return like.with_voxels(stored.transpose(np.argsort(order)))


def from_axial_slices(pixels: NDArray, like: Volume) -> Volume:
    """Inverse of axial_slices: (n, rows, columns) back on the grid of ``like``."""
    return from_canonical(pixels.transpose(2, 1, 0)[::-1, ::-1, :], like)


def input_slice_index(volume: Volume, canonical_slice: int) -> int:
    """0-based index, along the volume's own slice axis, of a slice counted from inferior."""
    axis, flip = AxialAxes.of(volume.ijk_to_ras).ras[2]
    return volume.shape[axis] - 1 - canonical_slice if flip else canonical_slice


def lps_to_ras(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """A 4×4 matrix into LPS mm (ITK, DICOM) as one into RAS mm, and the other way round."""
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix
