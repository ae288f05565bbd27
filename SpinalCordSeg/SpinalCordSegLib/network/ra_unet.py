"""RA-U-Net: a U-Net of pre-activated residual units with attention on its skips (Bueno et al. 2022).

Re-described from the published drawings: residual units as in the paper's Fig. 3 with a convolutional shortcut,
attention modules after Wang et al. 2017 (p = 1, t = 2, r = 1), the layout after Jin et al. 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from SpinalCordSegLib.network.layers import batch_norm, check_input, double


class ResidualUnit(nn.Module):
    """R(ci→co): BN-ReLU-Conv1×1, BN-ReLU-Conv3×3, BN-ReLU-Conv1×1 through co/4 channels, plus Conv1×1 of the input."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        middle = channels_out // 4
        self.body = nn.Sequential(
            batch_norm(channels_in),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels_in, middle, 1),
            batch_norm(middle),
            nn.ReLU(inplace=True),
            nn.Conv2d(middle, middle, 3, padding=1),
            batch_norm(middle),
            nn.ReLU(inplace=True),
            nn.Conv2d(middle, channels_out, 1),
        )
        self.shortcut = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)


class SoftMask(nn.Module):
    """The mask branch of an attention module: an hourglass of ``depth`` poolings, values 0..1, size of the input."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.first = ResidualUnit(channels, channels)
        self.skips = nn.ModuleList(ResidualUnit(channels, channels) for _ in range(depth - 1))
        self.down = nn.ModuleList(ResidualUnit(channels, channels) for _ in range(depth - 1))
        self.up = nn.ModuleList(ResidualUnit(channels, channels) for _ in range(depth - 1))
        self.last = ResidualUnit(channels, channels)
        self.head = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        mask = self.first(self.pool(x))
        kept = []
        for skip, down in zip(self.skips, self.down, strict=True):
            kept.append(skip(mask))
            mask = down(self.pool(mask))
        for up in self.up:
            mask = double(up(mask)) + kept.pop()
        return self.head(double(self.last(mask)))


class AttentionModule(nn.Module):
    """A(c, d): R((1 + M)·T) with the trunk T and the soft mask M both fed from one residual unit; 3d + 3 units."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.before = ResidualUnit(channels, channels)
        self.trunk = nn.Sequential(ResidualUnit(channels, channels), ResidualUnit(channels, channels))
        self.mask = SoftMask(channels, depth)
        self.after = ResidualUnit(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        return self.after((1.0 + self.mask(x)) * self.trunk(x))


class RAUNet(nn.Module):
    """The hybrid residual attention-aware U-Net.

    In: (B, 1, H, W), H and W multiples of 32, values 0..1. Out: (B, 1, H, W) logits. ``width`` is the paper's
    smallest bottleneck f; its drawings have f = 8 (2,916,337 parameters). Raises ConfigurationError on other shapes.
    """

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        stem = 4 * width
        levels = (4 * width, 8 * width, 16 * width, 32 * width)
        deepest = 64 * width
        self.pool = nn.MaxPool2d(2)
        self.stem = nn.Sequential(nn.Conv2d(1, stem, 3, padding=1), batch_norm(stem), nn.ReLU(inplace=True))
        self.encoder = nn.ModuleList(map(ResidualUnit, (stem, *levels[:-1]), levels))
        self.middle = nn.Sequential(ResidualUnit(levels[-1], deepest), ResidualUnit(deepest, deepest))
        # The shallower the level, the deeper its mask branch, so that every mask sees the same coarsest size.
        self.attention = nn.ModuleList(AttentionModule(c, 4 - level) for level, c in enumerate(levels))
        above = (*levels[1:], deepest)
        self.decoder = nn.ModuleList(ResidualUnit(up + c, c) for up, c in zip(above, levels, strict=True))
        self.tail = nn.Sequential(
            nn.Conv2d(levels[0] + stem, stem, 3, padding=1),
            batch_norm(stem),
            nn.ReLU(inplace=True),
            nn.Conv2d(stem, 1, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        check_input(x)
        stem = self.stem(x)
        skips = []
        x = stem
        for encode in self.encoder:
            x = encode(self.pool(x))
            skips.append(x)
        x = self.middle(self.pool(x))
        for level in reversed(range(len(skips))):
            skip = self.attention[level](skips.pop())
            x = self.decoder[level](torch.cat([double(x), skip], dim=1))
        return self.tail(torch.cat([double(x), stem], dim=1))
