"""The networks: published sizes, shapes, initial values, and batch statistics that follow the weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.model.checkpoint import NETWORKS
from SpinalCordSegLib.model.networks import (
    NetworkConfig,
    build_network,
)


@pytest.mark.parametrize(
    ("name", "width", "parameters", "gflops"),
    [
        ("ra_unet", 8, 2_916_337, 5.04),
        ("ra_unet", 4, 737_897, 1.28),
        ("unet", 8, 31_030_593, 109.07),
        ("deep_unet", 8, 593_729, 16.15),
    ],
)
def test_published_size_and_work(name: str, width: int, parameters: int, gflops: float) -> None:
    with torch.device("meta"):
        network = build_network(NetworkConfig(name, width))
        assert sum(parameter.numel() for parameter in network.parameters()) == parameters
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            network.eval()(torch.zeros(1, 1, 256, 256))
    assert counter.get_total_flops() / 1e9 == pytest.approx(gflops, abs=0.005)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", [(1, 1, 100, 96), (1, 2, 64, 64), (1, 64, 64), (0, 1, 64, 64)])
def test_other_shapes_are_refused_with_the_reason(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigurationError, match="multiples of 32"):
        build_network(NetworkConfig(name, 1))(torch.zeros(shape))


@pytest.mark.parametrize("name", NETWORKS)
def test_glorot_weights_zero_biases_keras_batch_normalisation(name: str) -> None:
    network = build_network(NetworkConfig(name, 4))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out, fan_in, *kernel = module.weight.shape
            limit = (6 / ((fan_in + fan_out) * kernel[0] * kernel[1])) ** 0.5
            assert module.weight.abs().max() <= limit
            assert module.weight.abs().max() > 0.5 * limit
            assert module.bias is not None and not module.bias.any()
        if isinstance(module, nn.BatchNorm2d):
            assert (module.eps, module.momentum) == (1e-3, 0.01)


@pytest.mark.parametrize("fields", [{"name": "vnet"}, {"width": 0}, {"width": 2.5}, {"width": True}])
def test_bad_configuration_is_refused(fields: dict) -> None:
    with pytest.raises(ConfigurationError):
        NetworkConfig(**fields)
