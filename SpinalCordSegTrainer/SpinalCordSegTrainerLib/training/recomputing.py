"""Training in less memory: a residual unit keeps its input alone, and its inside is computed again for the gradients.

The gradients are the same bit for bit; every unit's forward pass is computed twice. Chen et al. 2016, arXiv:1604.06174.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.network.ra_unet import ResidualUnit


class RecomputedUnit(ResidualUnit):
    """As ResidualUnit, same parameters and names. BatchNorm's running statistics see every training batch twice, which
    changes nothing: they are estimated anew before they are used."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels in, H, W) → (n, channels out, H, W)."""
        if not (self.training and torch.is_grad_enabled()):
            return super().forward(x)
        # Nothing in a unit is random, so torch's generator need not be wound back.
        unit: Tensor = checkpoint(super().forward, x, use_reentrant=False, preserve_rng_state=False)
        return unit


def recompute_units(network: nn.Module) -> nn.Module:
    """Make every residual unit of the network one that keeps its input alone, in place.

    Raises ConfigurationError for a network without such units: U-Net and Deep U-Net have none.
    """
    units = [module for module in network.modules() if isinstance(module, ResidualUnit)]
    if not units:
        raise ConfigurationError("recompute is for RA-U-Net: set recompute to false, or network.name to ra_unet")
    for module in units:
        module.__class__ = RecomputedUnit
    return network
