"""The networks. A new one is added here, by name in ``checkpoint.NETWORKS``, and as a graph by ``make graphs``.

Every network takes (B, 1, H, W) with H and W multiples of 32, values 0..1, and gives logits of that shape; it raises
ConfigurationError on other shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.model.preprocessing import SIZE_STEP

if TYPE_CHECKING:
    from SpinalCordSegLib.model.checkpoint import NetworkConfig

# What the networks share: batch normalisation, up-sampling and the check of their input.


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


# RA-U-Net: a U-Net of pre-activated residual units with attention on its skips (Bueno et al. 2022).
#
# Re-described from the published drawings: residual units as in the paper's Fig. 3 with a convolutional shortcut,
# attention modules after Wang et al. 2017 (p = 1, t = 2, r = 1), the layout after Jin et al. 2018.


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

    def forward(self, x: Tensor, window: Tensor | None = None) -> Tensor:
        """``window``: all but the mask is computed there only."""
        x = self.before(x)
        mask = self.mask(x)
        return self.after((1.0 + _cut(mask, window, 2)) * self.trunk(_cut(x, window, 2)))


def _cut(x: Tensor, window: Tensor | None, by: int = 1) -> Tensor:
    """The window of ``x``, whose pixels are ``by`` times as large as those of the network's input."""
    if window is None:
        return x
    top, bottom, left, right = (window // by).unbind()
    return x[:, :, top:bottom, left:right]


class RAUNet(nn.Module):
    """The hybrid residual attention-aware U-Net.

    ``width`` is the paper's smallest bottleneck f; its drawings have f = 8 (2,916,337 parameters).
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

    def forward(self, x: Tensor, window: Tensor | None = None) -> Tensor:
        """With a ``window`` (top, bottom, left, right in multiples of 4, int64) its logits alone: those of the whole
        image but for the outermost ``cpu_engine.HALO`` pixels (image borders excepted), for about half of the work."""
        check_input(x)
        stem = self.stem(x)
        skips = []
        x = stem
        for encode in self.encoder:
            x = encode(self.pool(x))
            skips.append(x)
        x = self.middle(self.pool(x))
        for level in reversed(range(1, len(skips))):
            skip = self.attention[level](skips.pop())
            x = self.decoder[level](torch.cat([double(x), skip], dim=1))
        skip = self.attention[0](skips.pop(), window)
        x = self.decoder[0](torch.cat([double(_cut(x, window, 4)), skip], dim=1))
        return self.tail(torch.cat([double(x), _cut(stem, window)], dim=1))


# The U-Net of Ronneberger et al. 2015 in the form of the paper's baseline: no batch normalisation, dropout below.


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

    Dropout of ``dropout`` at the two deepest levels. Up-sampling is nearest ×2 and a 2×2 convolution.
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


# Deep U-Net (Li et al. 2018): constant narrow width, six levels, a residual sum in every block.


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

    Where the sixth pooling meets an odd size it rounds up, and the way back takes the size of the skip.
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


_CLASSES: dict[str, Callable[[int], nn.Module]] = {"ra_unet": RAUNet, "unet": UNet, "deep_unet": DeepUNet}


def build_network(config: NetworkConfig) -> nn.Module:
    """A new network in training mode: glorot-uniform weights (from torch's global generator), zero biases."""
    network = _CLASSES[config.name](config.width)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network
