"""What slices look like, in a few numbers: to hold simulated ones against real ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from SpinalCordSegLib.image_io import read_image
from SpinalCordSegLib.model.preprocessing import NormalisationConfig, normalise
from SpinalCordSegLib.volume import axial_slices

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_BODY = 0.06  # normalised intensity that air stays under


@dataclass(frozen=True)
class AppearanceStatistics:
    """Of normalised slices (0..1), means over slices.

    ``body_share``: pixels above air. ``quantiles``: of the body's intensities at 5, 25, 50, 75, 95 %.
    ``gradient``: mean magnitude of the gradient in the body, per pixel. ``roughness``: mean absolute Laplacian there.
    ``cord_to_ring``, ``cord_to_far``: (a - b)/(a + b) of the cord's mean against the ring 1.4-3.5 mm outside, and
    against 7-20 mm outside; NaN without masks; with their spread (SD) in ``ring_sd`` and ``far_sd``.
    """

    body_share: float
    quantiles: tuple[float, ...]
    gradient: float
    roughness: float
    cord_to_ring: float
    ring_sd: float
    cord_to_far: float
    far_sd: float


def appearance(
    images: NDArray[np.float32], coverage: NDArray[np.float32] | None, pixel_mm: float
) -> AppearanceStatistics:
    """Statistics of slices (n, S, S) in 0..1; ``coverage`` the same shape or None. Slices of air are left out.

    Returns NaN in every field when no slice is left.
    """
    rows = []
    for index, image in enumerate(images):
        body = image > _BODY
        if body.sum() < 200:
            continue
        inner = ndimage.binary_erosion(body, iterations=2)
        gradient = np.hypot(*np.gradient(image))
        laplacian = np.abs(ndimage.laplace(image))
        near, far = _contrasts(image, coverage[index], pixel_mm) if coverage is not None else (np.nan, np.nan)
        quantiles = np.quantile(image[body], _QUANTILES)
        if inner.any():
            rows.append([body.mean(), *quantiles, gradient[inner].mean(), laplacian[inner].mean(), near, far])
    table = np.array(rows, dtype=np.float64).reshape(len(rows), 5 + len(_QUANTILES))
    mean, spread = (_over_slices(table, function) for function in (np.mean, np.std))
    return AppearanceStatistics(
        mean[0], tuple(mean[1:6]), mean[6], mean[7], mean[8], spread[8], mean[9], spread[9]
    )  # fmt: skip


def _over_slices(table: NDArray[np.float64], function) -> list[float]:  # type: ignore[no-untyped-def]
    columns = [column[np.isfinite(column)] for column in table.T]
    return [float(function(column)) if len(column) else float("nan") for column in columns]


def _contrasts(image: NDArray[np.float32], coverage: NDArray[np.float32], pixel_mm: float) -> tuple[float, float]:
    cord = coverage > 0.95
    if cord.sum() < 15:
        return float("nan"), float("nan")
    away = ndimage.distance_transform_edt(coverage < 0.05) * pixel_mm
    inside = image[cord].mean()
    around = (image[(away > low) & (away < high)].mean() for low, high in ((1.4, 3.5), (7.0, 20.0)))
    near, far = (float((inside - outside) / (inside + outside + 1e-6)) for outside in around)
    return near, far


def real_slices(path: Path, rule: NormalisationConfig, size: int, count: int) -> NDArray[np.float32]:
    """(count or fewer, size, size): evenly spaced axial slices of a volume on the network's grid."""
    slices = axial_slices(read_image(path).volume)
    picked = np.unique(np.linspace(0, len(slices.pixels) - 1, count).round().astype(int))
    pixels = torch.from_numpy(np.ascontiguousarray(slices.pixels[picked], dtype=np.float32))
    return np.asarray(normalise(pixels, slices.pixel_mm, rule, (size, size))[0][:, 0].numpy())
