"""RA-U-Net rearranged for inference on a CPU: the same function of the image, in fewer passes over memory.

What is changed, all of it exact but for rounding:

- BatchNorm after a convolution is part of that convolution.
- BatchNorm and ReLU at the start of a unit, relu(s·x + t), are s·clamp(x) + t with a bound of -t/s for each channel;
  s and t go into the 1×1 convolution that follows, and one pass over the image is left.
- 1×1 convolutions are matrix products over (pixels, channels); the sum of a unit's two branches is made by the second.
- What works on single pixels (1×1 convolutions, sigmoid) commutes with nearest up-sampling ×2: it is done before, on a
  quarter of the pixels, and the large array is made once, where it is added or multiplied.
- A 3×3 convolution of an array doubled in size is a transposed 4×4 convolution of the small array, stride 2.
- The last convolution, to one channel, is one matrix product to nine maps, added up with their shifts.

Arrays here are (B, rows, columns, channels).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from SpinalCordSegLib.network.layers import check_input
from SpinalCordSegLib.network.ra_unet import AttentionModule, RAUNet, ResidualUnit, SoftMask

HALO = 16  # pixels: six 3×3 convolutions follow the cut, five of them at half the size, and the lot is even
Window = tuple[int, int, int, int]
"""Half-open: top, bottom, left, right."""

_FLAT = 1e-12  # a channel scaled by less than this is constant


def scale_and_shift(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """What a BatchNorm2d does in evaluation, x·scale + shift, float64 (channels,)."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return scale, norm.bias.detach().double() - norm.running_mean.double() * scale


def with_norm(convolution: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias, float64, of one convolution that does what the two do one after the other."""
    scale, shift = scale_and_shift(norm)
    weight, bias = weight_and_bias(convolution)
    return weight * scale[:, None, None, None], bias * scale + shift


def weight_and_bias(convolution: nn.Module) -> tuple[Tensor, Tensor]:
    """Of a Conv2d, both in float64."""
    assert isinstance(convolution, nn.Conv2d) and convolution.bias is not None
    return convolution.weight.detach().double(), convolution.bias.detach().double()


def _matrix(weight: Tensor) -> Tensor:
    """(channels in, channels out) of a 1×1 convolution's weight."""
    return weight[:, :, 0, 0].T


class _Folded(nn.Module):
    """Keeps its numbers as float32 buffers."""

    def keep(self, name: str, value: Tensor) -> None:
        memory = torch.channels_last if value.dim() == 4 else torch.contiguous_format
        self.register_buffer(name, value.detach().to(torch.float32, memory_format=memory, copy=True))


class FoldedUnit(_Folded):
    """A residual unit. ``small``: what is up-sampled ×2 and put before ``x``'s channels, where there is any."""

    first: Tensor
    first_bias: Tensor
    middle: Tensor
    middle_bias: Tensor
    last: Tensor
    shortcut: Tensor
    bias: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, unit: ResidualUnit) -> None:
        super().__init__()
        norm, _, first, first_norm, _, middle, middle_norm, _, last = unit.body
        scale, shift = scale_and_shift(norm)
        weight, bias = with_norm(first, first_norm)
        flat = scale.abs() < _FLAT
        bound = torch.where(flat, 0.0, -shift / torch.where(flat, 1.0, scale))
        self.keep("low", torch.where(scale > 0, bound, -torch.inf).masked_fill(flat, 0.0))
        self.keep("high", torch.where(scale > 0, torch.inf, bound).masked_fill(flat, 0.0))
        into = _matrix(weight)
        self.keep("first", into * scale.masked_fill(flat, 0.0)[:, None])
        self.keep("first_bias", bias + torch.where(flat, shift.clamp_min(0), shift) @ into)
        weight, bias = with_norm(middle, middle_norm)
        self.keep("middle", weight)
        self.keep("middle_bias", bias)
        weight, bias = weight_and_bias(last)
        beside, beside_bias = weight_and_bias(unit.shortcut)
        self.keep("last", _matrix(weight))
        self.keep("shortcut", _matrix(beside))
        self.keep("bias", bias + beside_bias)

    def forward(self, x: Tensor, small: Tensor | None = None) -> Tensor:
        batch, rows, columns, channels = x.shape
        above = self.first.shape[0] - channels
        pixels = x.reshape(-1, channels)
        inner = torch.addmm(self.first_bias, self._clamped(pixels, slice(above, None)), self.first[above:])
        outer = torch.addmm(self.bias, pixels, self.shortcut[above:])
        if small is not None:
            few = small.reshape(-1, above)
            _add_doubled(inner, self._clamped(few, slice(0, above)) @ self.first[:above], x.shape)
            _add_doubled(outer, few @ self.shortcut[:above], x.shape)
        image = inner.relu_().view(batch, rows, columns, -1).permute(0, 3, 1, 2)
        image = functional.conv2d(image, self.middle, self.middle_bias, padding=1).relu_()
        outer.addmm_(image.permute(0, 2, 3, 1).reshape(len(outer), -1), self.last)
        return outer.view(batch, rows, columns, -1)

    def _clamped(self, pixels: Tensor, channels: slice) -> Tensor:
        return torch.clamp(pixels, self.low[channels], self.high[channels])


class _FoldedMask(_Folded):
    """The mask branch at half the size of ``x``: its last up-sampling is left to the product."""

    weight: Tensor
    bias: Tensor

    def __init__(self, mask: SoftMask) -> None:
        super().__init__()
        self.first, self.last = FoldedUnit(mask.first), FoldedUnit(mask.last)
        self.skips = nn.ModuleList(map(_folded, mask.skips))
        self.down = nn.ModuleList(map(_folded, mask.down))
        self.up = nn.ModuleList(map(_folded, mask.up))
        weight, bias = joined_head(mask)
        self.keep("weight", _matrix(weight))
        self.keep("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        mask = self.first(_pooled(x))
        kept = []
        for skip, down in zip(self.skips, self.down, strict=True):
            kept.append(skip(mask))
            mask = down(_pooled(mask))
        for up in self.up:
            larger = kept.pop()
            _add_doubled(larger, up(mask), larger.shape)
            mask = larger
        mask = self.last(mask)
        logits = torch.addmm(self.bias, mask.reshape(-1, mask.shape[-1]), self.weight)
        return logits.sigmoid_().view(mask.shape)


def joined_head(mask: SoftMask) -> tuple[Tensor, Tensor]:
    """The two 1×1 convolutions before the sigmoid as one, float64."""
    (first, first_bias), (second, second_bias) = weight_and_bias(mask.head[0]), weight_and_bias(mask.head[1])
    joined = second[:, :, 0, 0] @ first[:, :, 0, 0]
    return joined[:, :, None, None], second[:, :, 0, 0] @ first_bias + second_bias


class _FoldedAttention(nn.Module):
    def __init__(self, attention: AttentionModule) -> None:
        super().__init__()
        self.before, self.after = FoldedUnit(attention.before), FoldedUnit(attention.after)
        self.trunk = nn.Sequential(*map(_folded, attention.trunk))
        self.mask = _FoldedMask(attention.mask)

    def forward(self, x: Tensor, window: Window | None = None) -> Tensor:
        """``window``: all but the mask is computed there only."""
        x = self.before(x)
        opened = _cut(self.mask(x).add_(1.0), window, 2)
        trunk = self.trunk(_cut(x, window))
        _in_twos(trunk, trunk.shape).mul_(opened[:, :, None, :, None])
        return self.after(trunk)


class FoldedRAUNet(_Folded):
    """In: (B, 1, H, W), H and W multiples of 32, values 0..1. Out: (B, 1, H, W) logits. Raises ConfigurationError."""

    stem: Tensor
    stem_bias: Tensor
    tail_small: Tensor
    tail_stem: Tensor
    tail_bias: Tensor
    taps: Tensor
    bias: Tensor

    def __init__(self, network: RAUNet) -> None:
        super().__init__()
        weight, bias = with_norm(network.stem[0], network.stem[1])
        self.keep("stem", weight)
        self.keep("stem_bias", bias)
        self.encoder = nn.ModuleList(map(_folded, network.encoder))
        self.middle = nn.Sequential(*map(_folded, network.middle))
        self.attention = nn.ModuleList(map(_folded_attention, network.attention))
        self.decoder = nn.ModuleList(map(_folded, network.decoder))
        weight, bias = with_norm(network.tail[0], network.tail[1])
        n_small = weight.shape[1] - self.stem.shape[0]
        self.keep("tail_small", _of_doubled(_of_doubled(weight[:, :n_small], 2), 3).transpose(0, 1))
        self.keep("tail_stem", weight[:, n_small:])
        self.keep("tail_bias", bias)
        weight, bias = weight_and_bias(network.tail[3])
        self.keep("taps", weight[0].flatten(1))
        self.keep("bias", bias)

    def forward(self, x: Tensor, window: Window | None = None) -> Tensor:
        """With a ``window``, (top, bottom, left, right) in multiples of 4, its logits alone: those of the whole image
        but for the outermost HALO pixels (image borders excepted), for about half of the work."""
        check_input(x)
        stem = functional.conv2d(x, self.stem, self.stem_bias, padding=1).relu_().permute(0, 2, 3, 1)
        skips = []
        x = stem
        for encode in self.encoder:
            x = encode(_pooled(x))
            skips.append(x)
        x = self.middle(_pooled(x))
        for level in reversed(range(1, len(skips))):
            x = self.decoder[level](self.attention[level](skips.pop()), x)
        skip = self.attention[0](skips.pop(), None if window is None else _scaled(window, 2))
        x = self.decoder[0](skip, _cut(x, window, 4))
        return self._tail(x.permute(0, 3, 1, 2), _cut(stem, window).permute(0, 3, 1, 2))

    def _tail(self, small: Tensor, stem: Tensor) -> Tensor:
        image = functional.conv2d(stem, self.tail_stem, self.tail_bias, padding=1)
        image += functional.conv_transpose2d(small, self.tail_small, stride=2, padding=1)
        batch, channels, rows, columns = image.shape
        maps = image.relu_().permute(0, 2, 3, 1).reshape(-1, channels) @ self.taps
        padded = functional.pad(maps.view(batch, rows, columns, 9), (0, 0, 1, 1, 1, 1))
        logits = self.bias.expand(batch, rows, columns).clone()
        for tap in range(9):
            down, right = divmod(tap, 3)
            logits += padded[:, down : down + rows, right : right + columns, tap]
        return logits[:, None]


def _folded(unit: nn.Module) -> FoldedUnit:
    assert isinstance(unit, ResidualUnit)
    return FoldedUnit(unit)


def _folded_attention(module: nn.Module) -> _FoldedAttention:
    assert isinstance(module, AttentionModule)
    return _FoldedAttention(module)


def _of_doubled(weight: Tensor, axis: int) -> Tensor:
    """Three taps over doubled pixels as four taps of a transposed convolution of stride 2, along ``axis``.

    Output pixel 2i + j - 1 meets input pixel i through those of the taps -1, 0, 1 that land on its two copies.
    """
    before, centre, after = weight.unbind(axis)
    return torch.stack([after, centre + after, before + centre, before], axis)


def _pooled(x: Tensor) -> Tensor:
    return functional.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


def _scaled(window: Window, by: int) -> Window:
    top, bottom, left, right = window
    return top // by, bottom // by, left // by, right // by


def _cut(x: Tensor, window: Window | None, by: int = 1) -> Tensor:
    """The window, given in pixels ``by`` times smaller than those of ``x``, as an array of its own."""
    if window is None:
        return x
    top, bottom, left, right = _scaled(window, by)
    return x[:, top:bottom, left:right].contiguous()


def _in_twos(x: Tensor, shape: torch.Size) -> Tensor:
    """(B, rows/2, 2, columns/2, 2, channels): pixels with the one of half the size that covers them."""
    return x.view(shape[0], shape[1] // 2, 2, shape[2] // 2, 2, -1)


def _add_doubled(x: Tensor, small: Tensor, shape: torch.Size) -> None:
    """Add ``small`` up-sampled ×2 to ``x`` of (B, rows, columns, any channels), in place."""
    _in_twos(x, shape).add_(small.view(shape[0], shape[1] // 2, 1, shape[2] // 2, 1, -1))
