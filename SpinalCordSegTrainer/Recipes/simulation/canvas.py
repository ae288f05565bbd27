"""A fine grid of tissue labels on which one axial slice of a neck is drawn, in the person's own coordinates."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from Recipes.simulation.atlas import N_ANGLES
from Recipes.simulation.necks import Field
from Recipes.simulation.tissues import Tissue

_WARP_MARGIN_MM = 8.0
_KEEP_MM = 14.0  # the elastic warp fades out towards the cord, whose area must stay as drawn


@dataclass(frozen=True)
class Pose:
    """Where the person lies: the cord's centre against the canvas's middle (mm), rotation in the plane (rad)."""

    x_mm: float = 0.0
    y_mm: float = 0.0
    angle_rad: float = 0.0


@dataclass(eq=False)
class Canvas:
    """(size, size) tissue labels. ``x``, ``y``: mm from the cord's centre per pixel; ``x_warped``, ``y_warped``:
    the same after the person's elastic deformation, for everything but cord and canal."""

    size: int
    pixel_mm: float
    pose: Pose
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    x_warped: NDArray[np.float32]
    y_warped: NDArray[np.float32]
    labels: NDArray[np.uint8] = field(repr=False)

    @classmethod
    def blank(
        cls, size: int, pixel_mm: float, pose: Pose, warp: tuple[Field, Field], z_mm: float, warp_mm: float
    ) -> Canvas:
        axis = ((np.arange(size) - (size - 1) / 2) * pixel_mm).astype(np.float32)
        columns, rows = axis[None, :] - np.float32(pose.x_mm), axis[:, None] - np.float32(pose.y_mm)
        cos, sin = np.float32(np.cos(pose.angle_rad)), np.float32(np.sin(pose.angle_rad))
        x, y = cos * columns + sin * rows, cos * rows - sin * columns
        distance = x * x + y * y
        fade = np.float32(warp_mm) * distance / (distance + np.float32(_KEEP_MM**2))
        x_warped, y_warped = x + fade * warp[0].at(z_mm, size), y + fade * warp[1].at(z_mm, size)
        return cls(size, pixel_mm, pose, x, y, x_warped, y_warped, np.zeros((size, size), np.uint8))

    def window(self, x_mm: float, y_mm: float, reach_mm: float) -> tuple[slice, slice]:
        """Rows and columns within ``reach_mm`` of a point of the person, cut at the canvas."""
        cos, sin = np.cos(self.pose.angle_rad), np.sin(self.pose.angle_rad)
        column_mm = cos * x_mm - sin * y_mm + self.pose.x_mm
        row_mm = sin * x_mm + cos * y_mm + self.pose.y_mm
        return self._cut(row_mm, reach_mm), self._cut(column_mm, reach_mm)

    def _cut(self, middle_mm: float, reach_mm: float) -> slice:
        middle = middle_mm / self.pixel_mm + (self.size - 1) / 2
        first, last = middle - reach_mm / self.pixel_mm, middle + reach_mm / self.pixel_mm
        return slice(int(np.clip(first, 0, self.size)), int(np.clip(last + 2, 0, self.size)))

    def ellipse(
        self,
        tissue: Tissue,
        x_mm: float,
        y_mm: float,
        radius_x_mm: float,
        radius_y_mm: float | None = None,
        turn_rad: float = 0.0,
        only_on: tuple[Tissue, ...] = (),
    ) -> None:
        """Fill an ellipse (axes turned by ``turn_rad``), optionally only over some tissues; nothing for radius 0."""
        radius_y_mm = radius_x_mm if radius_y_mm is None else radius_y_mm
        if min(radius_x_mm, radius_y_mm) <= 0:
            return
        where = self.window(x_mm, y_mm, max(radius_x_mm, radius_y_mm) + _WARP_MARGIN_MM)
        x, y = self.x_warped[where] - np.float32(x_mm), self.y_warped[where] - np.float32(y_mm)
        if turn_rad:
            cos, sin = np.float32(np.cos(turn_rad)), np.float32(np.sin(turn_rad))
            x, y = cos * x + sin * y, cos * y - sin * x
        inside = np.square(x / np.float32(radius_x_mm)) + np.square(y / np.float32(radius_y_mm)) < 1
        labels = self.labels[where]
        if only_on:
            inside &= np.isin(labels, only_on)
        labels[inside] = tissue

    def fill(self, tissue: Tissue, inside: NDArray[np.bool_]) -> None:
        self.labels[inside] = tissue


@dataclass(frozen=True, eq=False)
class Polar:
    """Part of a canvas in polar coordinates about the cord's centre: ``angle`` as index 0..N_ANGLES (float)."""

    where: tuple[slice, slice]
    radius_mm: NDArray[np.float32]
    angle: NDArray[np.float32]
    pixel_mm: float

    @classmethod
    def around_cord(cls, canvas: Canvas, reach_mm: float) -> Polar:
        where = canvas.window(0.0, 0.0, reach_mm)
        x, y = canvas.x[where], canvas.y[where]
        angle = np.arctan2(y, x) * np.float32(N_ANGLES / (2 * np.pi))
        return cls(where, np.hypot(x, y), np.where(angle < 0, angle + N_ANGLES, angle), canvas.pixel_mm)

    def edge_mm(self, radii_mm: NDArray[np.float64]) -> NDArray[np.float32]:
        """Signed distance of each pixel to the contour (positive inside), to first order."""
        closed = np.append(radii_mm, radii_mm[0])
        slope = (np.roll(radii_mm, -1) - np.roll(radii_mm, 1)) * N_ANGLES / (4 * np.pi)
        tilt = np.sqrt(1 + np.square(np.append(slope, slope[0]) / closed))
        nodes = np.arange(N_ANGLES + 1)
        edge = np.interp(self.angle, nodes, closed) - self.radius_mm
        return (edge / np.interp(self.angle, nodes, tilt)).astype(np.float32)

    def coverage(self, radii_mm: NDArray[np.float64]) -> NDArray[np.float32]:
        """Share 0..1 of each pixel inside the contour."""
        return np.clip(0.5 + self.edge_mm(radii_mm) / np.float32(self.pixel_mm), 0, 1)


def enlarged(values: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """A small square array stretched bilinearly to (size, size)."""
    grid = torch.from_numpy(np.ascontiguousarray(values))[None, None]
    return torch.nn.functional.interpolate(grid, size=(size, size), mode="bilinear", align_corners=False)[0, 0].numpy()
