"""Voxels with their geometry, and the one place where axis order, flips, RAS and LPS are decided.

Inside the program every volume has one layout, whatever the file's: voxels (slice, row, column), slice 0 most
inferior, row 0 most anterior, column 0 at the patient's right, as a radiologist looks at it. The input's own order
[i, j, k] is remembered by its matrix, and comes back where files, tables and Slicer's nodes are written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.errors import ConfigurationError, GeometryError

_ENDS = ("SI", "PA", "LR")  # of slices, rows and columns: where they run to, and where from
_MAX_SHEAR = 1e-3  # cosine between two grid axes; file headers in float32 stay under 1e-5
_LARGEST_SPACING_MM = 200.0  # the thickest slabs have half of it
_FARTHEST_MM = 1e5  # from the scanner's middle; no room is so large
_SMALLEST_SPACING_MM = 0.01  # a fifth of what microscopy of a specimen has
_OFF_THE_GRID = 0.02  # of a voxel: headers in float32 stay far below it
_TURNED_DEG = 0.02

# Ties (an axis at 45° between two patient axes) must be settled by anatomy, never by storage order, or the
# same head stored in two ways would be cut in two ways. Looking at the patient from a point 1e-4 rad off
# breaks every tie the same way for all 48 storage orders.
_TIE_BREAKER = np.array([[1.0, -3e-5, 7e-5], [3e-5, 1.0, -1e-4], [-7e-5, 1e-4, 1.0]])


def _layout(ijk_to_ras: NDArray[np.float64]) -> tuple[tuple[int, int, int], tuple[int, ...]]:
    """Which of an input's axes i, j, k are slices, rows and columns, and which of these three (0, 1, 2) run against
    theirs: a permutation with flips, nothing is resampled.

    The one whose summed |cosine| with S, A and R is largest; ties go by anatomy (see above).
    """
    columns = ijk_to_ras[:3, :3]
    cosines = _TIE_BREAKER @ (columns / np.linalg.norm(columns, axis=0))  # rows R, A, S; columns i, j, k
    r, a, s = max(permutations(range(3)), key=lambda axes: sum(abs(cosines[role, n]) for role, n in enumerate(axes)))
    against = cosines[2, s] < 0, cosines[1, a] >= 0, cosines[0, r] >= 0
    return (s, a, r), tuple(at for at in range(3) if against[at])


def _reordered(
    matrix: NDArray[np.float64], axes: Sequence[int], against: Iterable[int], shape: Sequence[int]
) -> NDArray[np.float64]:
    """The 4×4 matrix of an array of this shape whose axes are these of another's, some of them reversed."""
    found = matrix[:, [*axes, 3]]
    for at in against:
        found[:, 3] += found[:, at] * (shape[at] - 1)
        found[:, at] *= -1
    return found


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3D array and where it lies in the patient.

    ``voxels``: (slices, rows, columns) as said above, any real dtype. ``ijk_to_ras``: 4×4 float64, from the input's own
    voxel index [i, j, k] to RAS mm (voxel centres); its axis order and flips are those that files get back. ``axes``:
    which of i, j, k are slices, rows and columns; ``flipped``: which of these three (0, 1, 2) run against theirs.
    Raises GeometryError when the array is not 3D, is empty, or the matrix is singular, sheared or not finite.
    """

    voxels: NDArray
    ijk_to_ras: NDArray[np.float64]
    axes: tuple[int, int, int] = field(init=False, repr=False)
    flipped: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        matrix = np.asarray(self.ijk_to_ras, dtype=np.float64)
        object.__setattr__(self, "ijk_to_ras", matrix)
        check_grid(self.voxels.shape, matrix)
        for name, value in zip(("axes", "flipped"), _layout(matrix), strict=True):
            object.__setattr__(self, name, value)

    @classmethod
    def from_ijk(cls, array: NDArray, ijk_to_ras: NDArray[np.float64]) -> Volume:
        """The volume of an array in the input's own order [i, j, k] (a view: no copy, no resampling)."""
        matrix = np.asarray(ijk_to_ras, dtype=np.float64)
        check_grid(array.shape, matrix)
        axes, flipped = _layout(matrix)
        return cls(np.flip(array.transpose(axes), flipped), matrix)

    @property
    def ijk(self) -> NDArray:
        """The voxels in the input's own order [i, j, k], a view."""
        return np.flip(self.voxels, self.flipped).transpose(np.argsort(self.axes))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of slices, rows and columns."""
        n, rows, columns = self.voxels.shape
        return n, rows, columns

    @property
    def ijk_shape(self) -> tuple[int, int, int]:
        i, j, k = (self.voxels.shape[self.axes.index(axis)] for axis in range(3))
        return i, j, k

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres from slice to slice, row to row, column to column, mm."""
        own = self.ijk_spacing_mm
        n, row, column = (own[axis] for axis in self.axes)
        return n, row, column

    @property
    def pixel_mm(self) -> tuple[float, float]:
        """In a slice: between rows, between columns."""
        return self.spacing_mm[1:]

    @property
    def slice_mm(self) -> float:
        """From slice to slice."""
        return self.spacing_mm[0]

    @property
    def ijk_spacing_mm(self) -> tuple[float, float, float]:
        i, j, k = np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def voxel_to_ras(self) -> NDArray[np.float64]:
        """4×4, from (slice, row, column) to RAS mm."""
        return _reordered(self.ijk_to_ras, self.axes, self.flipped, self.shape)

    @property
    def voxel_volume_mm3(self) -> float:
        return float(abs(np.linalg.det(self.ijk_to_ras[:3, :3])))

    @property
    def orientation(self) -> str:
        """Nearest patient direction of the input's own axes i, j, k, for instance "RAS" or "PSR"."""
        return "".join(_ENDS[at][at in self.flipped] for at in map(self.axes.index, range(3)))

    def to_input_slice(self, k: int) -> int:
        """0-based index along the input's own slice axis of a slice counted from inferior."""
        return self.shape[0] - 1 - k if 0 in self.flipped else k

    def from_input_slice(self, number: int) -> int:
        """The inverse of to_input_slice."""
        return self.to_input_slice(number)

    def from_input_range(self, first: int, end: int) -> tuple[int, int]:
        """A half-open range of the input's own slices as one counted from inferior. Raises ConfigurationError."""
        count = self.shape[0]
        if not 0 <= first < end <= count:
            raise ConfigurationError(
                f"the range {first}:{end} does not fit {count} slices: give FIRST:END with 0 <= FIRST < END <= {count}"
                " (END itself is not measured)"
            )
        ends = self.from_input_slice(first), self.from_input_slice(end - 1)
        return min(ends), max(ends) + 1

    def with_voxels(self, voxels: NDArray) -> Volume:
        """Other voxels (slices, rows, columns) on this very grid. Raises GeometryError when the shape differs."""
        if voxels.shape != self.voxels.shape:
            raise GeometryError(f"an array of shape {voxels.shape} does not fit a grid of shape {self.voxels.shape}")
        return replace(self, voxels=voxels)

    def with_ijk(self, array: NDArray) -> Volume:
        """Other voxels in the input's own order on this very grid. Raises GeometryError when the shape differs."""
        if array.shape != self.ijk_shape:
            raise GeometryError(f"an array of shape {array.shape} does not fit a grid of shape {self.ijk_shape}")
        return Volume.from_ijk(array, self.ijk_to_ras)

    def reoriented(self, orientation: str) -> Volume:
        """The same voxels as an input of another axis order would hold them, for instance "LPS" or "PSR".

        Raises GeometryError for what is not one of the 48 codes.
        """
        order = [at for one in orientation for at, ends in enumerate(_ENDS) if one in ends]
        if len(orientation) != 3 or sorted(order) != [0, 1, 2]:
            raise GeometryError(f'"{orientation}" is not one of the 48 orientations such as "RAS"')
        against = [axis for axis, at in enumerate(order) if orientation[axis] == _ENDS[at][1]]
        shape = [self.shape[at] for at in order]
        return Volume(self.voxels, _reordered(self.voxel_to_ras, order, against, shape))


def check_grid(shape: tuple[int, ...], ijk_to_ras: NDArray[np.float64]) -> None:
    """Raise GeometryError unless this is a non-empty 3D grid with a finite, invertible, unsheared matrix."""
    if len(shape) != 3:
        raise GeometryError(f"found {len(shape)} dimensions {tuple(shape)}, expected 3: give one 3D volume")
    if min(shape) < 1:
        raise GeometryError(f"the volume is empty: shape {tuple(shape)}")
    if ijk_to_ras.shape != (4, 4) or not np.isfinite(ijk_to_ras).all():
        raise GeometryError("the ijk→RAS matrix is not a finite 4×4 matrix: the header is damaged")
    if (farthest_mm := np.abs(ijk_to_ras[:3, 3]).max()) > _FARTHEST_MM:
        raise GeometryError(f"the first voxel lies {farthest_mm:g} mm off the scanner's middle: the header is damaged")
    columns = ijk_to_ras[:3, :3]
    spacing = np.linalg.norm(columns, axis=0)
    if not _SMALLEST_SPACING_MM <= spacing.min() <= spacing.max() <= _LARGEST_SPACING_MM:
        raise GeometryError(
            f"the voxel spacing is {in_mm(spacing)}, which no MR volume has: the header or its unit is wrong"
        )
    directions = columns / spacing
    cosines = np.abs(directions.T @ directions - np.eye(3)).max()
    if cosines > _MAX_SHEAR:
        raise GeometryError(
            f"the grid is sheared: two axes meet at {90 - np.degrees(np.arcsin(min(cosines, 1))):.2f}° instead of 90°;"
            " resample the volume to a rectangular grid first"
        )


def in_mm(values: NDArray) -> str:
    """ "0.5×0.5×3 mm" """
    return _times(f"{value:g}" for value in values) + " mm"


def place_on(mask: Volume, image: Volume, names: tuple[str, str] = ("the mask", "its image")) -> Volume:
    """The voxels of ``mask`` on the grid of ``image``, for whatever order each is stored in; nothing is resampled.

    Taken are the same grid, a part of it in whole voxels (0 elsewhere), and one that reaches beyond it where it is 0,
    as Slicer crops a .seg.nrrd; each voxel's place may be off by 2 % of a voxel. Raises GeometryError for any other
    grid, and for one of the image's very shape that lies beside it: a header gone wrong. ``names`` (of mask and image)
    begin its text.
    """
    if mask.shape == image.shape and np.array_equal(mask.ijk_to_ras, image.ijk_to_ras):
        return mask
    to_image = np.linalg.inv(image.voxel_to_ras) @ mask.voxel_to_ras
    first = np.rint(to_image[:3, 3]).astype(int)
    corners = np.array([*np.ndindex(2, 2, 2)]) * (np.array(mask.shape) - 1)
    off = corners @ (to_image[:3, :3] - np.eye(3)).T + to_image[:3, 3] - first
    same_shape = mask.shape == image.shape
    if np.abs(off).max() > _OFF_THE_GRID or (same_shape and first.any()):
        raise GeometryError(
            f"{names[0]} lies on another grid than {names[1]} ({difference(mask, image)}): resample it to that grid, or"
            " choose the mask of this image"
        )
    if same_shape:
        return image.with_voxels(mask.voxels)
    low, high = np.maximum(first, 0), np.minimum(first + mask.shape, image.shape)
    placed = np.zeros(image.shape, mask.voxels.dtype)
    if (low < high).all():
        inside, own = (tuple(map(slice, low - at, high - at)) for at in (0, first))
        placed[inside] = mask.voxels[own]
    outside = np.count_nonzero(mask.voxels) - np.count_nonzero(placed)
    if outside:
        raise GeometryError(
            f"{names[0]} reaches beyond {names[1]}: {outside} voxels that are not 0 lie outside it"
            f" ({difference(mask, image)}): choose the mask of this image"
        )
    return image.with_voxels(placed)


def difference(mask: Volume, image: Volume) -> str:
    """Which of shape, spacing, direction and place of the first voxel differ, in words; "" when none does."""
    mask = mask.reoriented(image.orientation)
    found = []
    if mask.ijk_shape != image.ijk_shape:
        found.append(f"shape {_times(mask.ijk_shape)} instead of {_times(image.ijk_shape)}")
    own, wanted = np.array(mask.ijk_spacing_mm), np.array(image.ijk_spacing_mm)
    if not np.allclose(own, wanted, rtol=1e-4):
        found.append("spacing {} instead of {} mm".format(*(_times(f"{mm:.6g}" for mm in of) for of in (own, wanted))))
    cosines = (mask.ijk_to_ras[:3, :3] / own * (image.ijk_to_ras[:3, :3] / wanted)).sum(axis=0)
    turned = float(np.degrees(np.arccos(np.clip(cosines, -1, 1))).max())
    if turned > _TURNED_DEG:
        found.append(f"direction turned by {turned:.2g}°")
    apart = mask.ijk_to_ras[:3, 3] - image.ijk_to_ras[:3, 3]
    if np.abs(apart).max() > _OFF_THE_GRID * wanted.min():
        found.append(f"first voxel {np.linalg.norm(apart):.3g} mm away")
    return ", ".join(found)


def _times(values: Iterable[object]) -> str:
    return "×".join(map(str, values))


def bounding_box(voxels: NDArray) -> tuple[slice, slice, slice] | None:
    """The smallest box that holds every voxel that is not zero; None where there is none."""
    used = np.asarray(np.any(voxels, axis=2))
    i, j = np.flatnonzero(np.any(used, axis=1)), np.flatnonzero(np.any(used, axis=0))
    if not i.size:
        return None
    x, y = slice(int(i[0]), int(i[-1]) + 1), slice(int(j[0]), int(j[-1]) + 1)
    k = np.flatnonzero(voxels[x, y].any(axis=(0, 1)))
    return x, y, slice(int(k[0]), int(k[-1]) + 1)


def lps_to_ras(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """A 4×4 matrix into LPS mm (ITK, DICOM) as one into RAS mm, and the other way round."""
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix


def without_padding(voxels: NDArray[np.float32]) -> NDArray[np.float32]:
    """What was never measured (-32768 around the image) is as dark as the darkest that was; else left as it is.

    Padding is what lies further below 0 than the brightest voxel above it.
    """
    brightest = float(voxels.max(initial=0))
    if brightest <= 0 or float(voxels.min(initial=0)) >= -brightest:
        return voxels
    padding = voxels < -brightest
    return np.where(padding, voxels.min(where=~padding, initial=brightest), voxels)


_HASHED_PLANES = 16  # at a time: 16 float32 that lie side by side are one line of the cache


def fingerprint(volume: Volume) -> str:
    """SHA-256 over shape, grid (to 1e-4 mm) and voxels: tells whether a result belongs to this very input."""
    voxels = volume.ijk
    digest = hashlib.sha256(repr((voxels.shape, voxels.dtype.str)).encode())
    digest.update((np.round(volume.ijk_to_ras, 4) + 0.0).tobytes())
    for first in range(0, len(voxels), _HASHED_PLANES):
        digest.update(_in_c_order(voxels[first : first + _HASHED_PLANES]).data)
    return digest.hexdigest()


def mask_sha256(mask: Volume) -> str:
    """SHA-256 over the shape and the mask's voxels (zero or not), in [i, j, k] order, on the grid that it is given.

    The place of the grid is no part of it: writing and reading a header rounds that, and the mask stays the same.
    """
    voxels = np.asarray(mask.ijk)
    filled = np.zeros(voxels.shape, bool)
    box = bounding_box(voxels)
    if box is not None:  # the cord is a thousandth of a volume: only its box is put into [i, j, k] order
        filled[box] = voxels[box] != 0
    digest = hashlib.sha256(repr(filled.shape).encode())
    digest.update(np.packbits(filled).tobytes())
    return digest.hexdigest()


def _in_c_order(block: NDArray) -> NDArray:
    """The same in C order. Copied slice by slice along the axis of the longest steps in memory, which is four times
    as fast as numpy's own copy of an array that lies the other way round, as what was read from a file does."""
    if block.flags.c_contiguous:
        return block
    ordered = np.empty(block.shape, block.dtype)
    farthest = int(np.argmax(block.strides))
    for to, of in zip(np.moveaxis(ordered, farthest, 0), np.moveaxis(block, farthest, 0), strict=True):
        to[...] = of
    return ordered
