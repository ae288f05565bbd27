"""What the three networks share: their batch normalisation, up-sampling and the check of their input."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from SpinalCordSegLib.errors import ConfigurationError

SIZE_STEP = 32  # five poolings


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Batch normalisation with the Keras defaults of the paper's time (momentum in torch's sense)."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def double(x: Tensor) -> Tensor:
    """Nearest-neighbour up-sampling ×2 of (B, C, H, W)."""
    return functional.interpolate(x, scale_factor=2, mode="nearest")


def check_input(x: Tensor) -> None:
    """Raise ConfigurationError unless ``x`` is (B, 1, H, W) with H and W multiples of 32."""
    if x.dim() != 4 or x.shape[1] != 1 or x.shape[2] % SIZE_STEP or x.shape[3] % SIZE_STEP or x.numel() == 0:
        raise ConfigurationError(
            f"the network was given an array of shape {tuple(x.shape)}, it takes (B, 1, H, W) with H and W multiples"
            f" of {SIZE_STEP}: choose such a slice size"
        )
