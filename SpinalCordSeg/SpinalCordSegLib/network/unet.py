"""The U-Net of Ronneberger et al. 2015 in the form of the paper's baseline: no batch normalisation, dropout below."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from SpinalCordSegLib.network.layers import check_input, double


def _two_convolutions(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels_out, channels_out, 3, padding=1),
        nn.ReLU(inplace=True),
    )


def _half_channels(channels_in: int, channels_out: int) -> nn.Sequential:
    """2×2 convolution that keeps the size, the odd padding at the far side (as Keras does)."""
    return nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(channels_in, channels_out, 2), nn.ReLU(inplace=True))


class UNet(nn.Module):
    """Five levels of 8f, 16f, 32f, 64f, 128f channels; f = 8 gives 64 to 1024 and about 31.03 M parameters.

    In: (B, 1, H, W), H and W multiples of 32. Out: (B, 1, H, W) logits. Dropout of ``dropout`` at the two deepest
    levels. Up-sampling is nearest ×2 and a 2×2 convolution. Raises ConfigurationError on other shapes.
    """

    def __init__(self, width: int = 8, dropout: float = 0.5) -> None:
        super().__init__()
        levels = [8 * width * 2**level for level in range(5)]
        self.pool = nn.MaxPool2d(2)
        self.encoder = nn.ModuleList(map(_two_convolutions, [1, *levels[:-1]], levels))
        self.dropout = nn.Dropout(dropout)
        pairs = list(pairwise(levels))
        self.up = nn.ModuleList(_half_channels(below, here) for here, below in pairs)
        self.decoder = nn.ModuleList(_two_convolutions(2 * here, here) for here, _ in pairs)
        self.head = nn.Conv2d(levels[0], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        check_input(x)
        skips = []
        deepest = len(self.encoder) - 1
        for level, encode in enumerate(self.encoder):
            x = encode(self.pool(x) if level else x)
            if level >= deepest - 1:
                x = self.dropout(x)
            skips.append(x)
        x = skips.pop()
        for level in reversed(range(deepest)):
            x = self.decoder[level](torch.cat([self.up[level](double(x)), skips.pop()], dim=1))
        return self.head(x)
