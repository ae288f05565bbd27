"""The same network rearranged for inference on a CPU: equal logits (to 1e-5), fewer and cheaper steps.

Batch normalisation becomes part of the convolution before it. The modules and the weights file stay as they are:
folding reads a network and gives another one, which cannot be trained and has no weights file.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from SpinalCordSegLib.network.folded_ra_unet import FoldedRAUNet
from SpinalCordSegLib.network.ra_unet import RAUNet


def inference_network(network: nn.Module) -> nn.Module:
    """A copy for inference on the CPU: (B, 1, H, W) float32 in, logits of that shape out; ``network`` is not touched.

    RA-U-Net is rearranged (see ``folded_ra_unet``); in any other network each BatchNorm that directly follows a
    convolution of the same Sequential is folded into it.
    """
    if type(network) is RAUNet:
        return FoldedRAUNet(network).eval()
    return _folded_sequences(network)


class _ChannelsLast(nn.Module):
    """Puts the input into the memory layout in which the CPU's convolutions are fastest."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.contiguous(memory_format=torch.channels_last))


def _folded_sequences(network: nn.Module) -> nn.Module:
    folded = copy.deepcopy(network).eval()
    for sequence in folded.modules():
        if not isinstance(sequence, nn.Sequential):
            continue
        for index in range(len(sequence) - 1):
            first, second = sequence[index], sequence[index + 1]
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                sequence[index] = torch.nn.utils.fuse_conv_bn_eval(first, second)
                sequence[index + 1] = nn.Identity()
    folded.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return _ChannelsLast(folded)
