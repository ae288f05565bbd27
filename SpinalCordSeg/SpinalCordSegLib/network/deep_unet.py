"""Deep U-Net (Li et al. 2018): constant narrow width, six levels, a residual sum in every block."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from SpinalCordSegLib.network.layers import batch_norm, check_input


class _Block(nn.Module):
    """Conv3(2c)-BN-ReLU, Conv3(c)-BN, plus a summand: the value before the block's ReLU."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, 2 * channels, 3, padding=1),
            batch_norm(2 * channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(2 * channels, channels, 3, padding=1),
            batch_norm(channels),
        )

    def forward(self, x: Tensor, summand: Tensor) -> Tensor:
        return self.body(x) + summand


class DeepUNet(nn.Module):
    """Six Down and six Up blocks of 4f channels; f = 8 gives 32 and about 0.594 M parameters.

    In: (B, 1, H, W), H and W multiples of 32. Out: (B, 1, H, W) logits. Where the sixth pooling meets an odd size
    it rounds up, and the way back takes the size of the skip. Raises ConfigurationError on other shapes.
    """

    depth = 6

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        channels = 4 * width
        self.stem = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, 2 * channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(2 * channels, channels, 3, padding=1),
        )
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.down = nn.ModuleList(_Block(channels, channels) for _ in range(self.depth))
        self.up = nn.ModuleList(_Block(2 * channels, channels) for _ in range(self.depth))
        self.head = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        check_input(x)
        skips = [self.stem(x)]  # kept before their ReLU, as published
        for block in self.down:
            pooled = self.pool(functional.relu(skips[-1]))
            skips.append(block(pooled, pooled))
        x = functional.relu(skips.pop())
        for block in self.up:
            skip = skips.pop()
            x = functional.interpolate(x, size=skip.shape[-2:], mode="nearest")
            x = functional.relu(block(torch.cat([x, skip], dim=1), x))
        return self.head(x)
