"""The networks by name: build one, count it, weigh its work, and refresh its batch statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.network.deep_unet import DeepUNet
from SpinalCordSegLib.network.ra_unet import RAUNet
from SpinalCordSegLib.network.unet import UNet

NETWORKS: dict[str, Callable[[int], nn.Module]] = {"ra_unet": RAUNet, "unet": UNet, "deep_unet": DeepUNet}


@dataclass(frozen=True)
class NetworkConfig:
    """Which network, and how wide: 8 is the published size of all three, channels grow in proportion.

    Raises ConfigurationError for an unknown name or a width that is not a positive whole number.
    """

    name: str = "ra_unet"
    width: int = 8

    def __post_init__(self) -> None:
        if self.name not in NETWORKS:
            raise ConfigurationError(f"unknown network {self.name!r}: choose one of {', '.join(NETWORKS)}")
        if not isinstance(self.width, int) or isinstance(self.width, bool) or not 1 <= self.width <= 64:
            raise ConfigurationError(f"the network width is {self.width!r}, expected a whole number from 1 to 64")


def build_network(config: NetworkConfig) -> nn.Module:
    """A new network in training mode: glorot-uniform weights (from torch's global generator), zero biases.

    It takes (B, 1, H, W) with H and W multiples of 32 and gives logits of the same shape.
    """
    network = NETWORKS[config.name](config.width)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def flops_per_slice(network: nn.Module, size: int = 256) -> int:
    """Floating-point operations of the convolutions for one slice of size², a multiply-add counted as two."""
    parameter = next(network.parameters())
    was_training = network.training
    network.eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros(1, 1, size, size, device=parameter.device, dtype=parameter.dtype))
    network.train(was_training)
    return int(counter.get_total_flops())


def reestimate_batch_statistics(network: nn.Module, batches: Iterable[Tensor]) -> int:
    """Replace the running mean and variance of every BatchNorm by their plain average over ``batches``.

    ``batches``: tensors (B, 1, H, W) on the network's device, best the training batches of this moment. With the
    small momentum the running statistics lag far behind the weights; this makes evaluation mode meet training
    mode. Weights, mode and momentum are left as they were. Gives the number of batches seen; 0 or a network
    without BatchNorm changes nothing.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    if not norms:
        return 0
    modes = {module: module.training for module in network.modules()}
    momenta = [norm.momentum for norm in norms]
    n_batches = 0
    network.eval()  # dropout stays off: only the statistics are wanted
    try:
        for batch in batches:
            for norm in norms:
                if n_batches == 0:
                    norm.reset_running_stats()
                norm.momentum = None  # torch's cumulative average
                norm.train()
            with torch.no_grad():
                network(batch)
            n_batches += 1
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, mode in modes.items():
            module.training = mode
    return n_batches
