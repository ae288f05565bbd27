"""What computes the logits on a CPU: torch, or ONNX Runtime where it is installed and agrees with torch.

Three parts: RA-U-Net rearranged for torch (``inference_network``), the choice of the engine (``choose_engine``), and
RA-U-Net as an ONNX model (``ra_unet_model``). onnx and onnxruntime are optional and imported only here.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from SpinalCordSegLib.errors import ConfigurationError, MissingPackageError
from SpinalCordSegLib.model.networks import AttentionModule, RAUNet, ResidualUnit, SoftMask, check_input

# RA-U-Net rearranged for inference on a CPU: the same function of the image, in fewer passes over memory.
#
# What is changed, all of it exact but for rounding:
#
# - BatchNorm after a convolution is part of that convolution.
# - BatchNorm and ReLU at the start of a unit, relu(s·x + t), are s·clamp(x) + t with a bound of -t/s for each channel;
#   s and t go into the 1×1 convolution that follows, and one pass over the image is left.
# - 1×1 convolutions are matrix products over (pixels, channels); the second adds up a unit's two branches.
# - What works on single pixels (1×1 convolutions, sigmoid) commutes with nearest up-sampling ×2: it is done before, on
#   a quarter of the pixels, and the large array is made once, where it is added or multiplied.
# - A 3×3 convolution of an array doubled in size is a transposed 4×4 convolution of the small array, stride 2.
# - The last convolution, to one channel, is one matrix product to nine maps, added up with their shifts.
#
# Arrays here are (B, rows, columns, channels).

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


# The modules and the weights file stay as they are: folding reads a network and gives another one, which cannot be
# trained and has no weights file. Logits are equal to 1e-5.


def inference_network(network: nn.Module) -> nn.Module:
    """A copy for inference on the CPU: (B, 1, H, W) float32 in, logits of that shape out; ``network`` is not touched.

    RA-U-Net is rearranged (see ``FoldedRAUNet``); in any other network each BatchNorm that directly follows a
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


# The choice of the engine: ONNX Runtime has to give torch's own logits for a trial before it is trusted.

ENGINES = ("auto", "torch", "onnxruntime")
_MOST_APART = 1e-3  # of a logit, or of the largest one where that is above 1: rounding stays a hundred times below

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Engine:
    """``logits``: (n, 1, R, C) float32 in 0..1 to logits of that shape; may be called from several threads at once.

    ``name``: with its version, for reports. ``notes``: why the engine of choice was left aside; usually none.
    ``window_logits``: of a window alone, see ``FoldedRAUNet.forward``; None for networks that cannot do that.
    """

    name: str
    logits: Callable[[Tensor], Tensor]
    notes: tuple[str, ...] = ()
    window_logits: Callable[[Tensor, Window], Tensor] | None = None


def check_engine(name: str) -> None:
    """Raise ConfigurationError unless ``name`` is one of ENGINES."""
    if name not in ENGINES:
        raise ConfigurationError(f"unknown engine {name!r}: choose one of {', '.join(ENGINES)}")


def choose_engine(network: nn.Module, trial: Tensor, name: str = "auto", threads: int = 1) -> Engine:
    """The engine for ``network`` (which is not touched), ``threads`` of them for one call.

    "auto": ONNX Runtime for an RA-U-Net where onnx and onnxruntime are installed and its logits for ``trial``, network
    input of at least one slice, are those of torch; else torch. Raises ConfigurationError for an unknown name or an
    engine that cannot do this network, MissingPackageError where the one asked for is not installed.
    """
    check_engine(name)
    plain = _torch_engine(network)
    if name == "torch" or (name == "auto" and not isinstance(network, RAUNet)):
        return plain
    if not isinstance(network, RAUNet):
        raise ConfigurationError("the engine onnxruntime is for RA-U-Net only: use the engine torch or auto")
    try:
        import onnx  # noqa: F401 - whether it is there; ra_unet_model uses it
        import onnxruntime
    except ImportError as error:
        if name == "auto":
            _log.debug("ONNX Runtime is not used: %s", error)
            return plain
        raise MissingPackageError(
            "the engine onnxruntime needs the packages onnx and onnxruntime: pip install onnx onnxruntime"
        ) from error
    failure, engine = _tried(onnxruntime, network, plain, trial, threads)
    if engine is not None:
        return engine
    note = f"ONNX Runtime was left aside ({failure}): torch computed"
    _log.warning(note)
    return replace(plain, notes=(note,))


def _torch_engine(network: nn.Module) -> Engine:
    folded = inference_network(network)

    def logits(inputs: Tensor) -> Tensor:
        with torch.inference_mode():
            return folded(inputs).float()

    def window_logits(inputs: Tensor, window: Window) -> Tensor:
        with torch.inference_mode():
            return folded(inputs, window).float()

    can = isinstance(folded, FoldedRAUNet)
    return Engine(f"torch {torch.__version__}", logits, window_logits=window_logits if can else None)


def _tried(onnxruntime: Any, network: RAUNet, plain: Engine, trial: Tensor, threads: int) -> tuple[str, Engine | None]:
    """What is wrong with ONNX Runtime here, or the engine."""
    errors = _errors_of(onnxruntime)
    try:
        engine = _onnx_engine(onnxruntime, network, threads)
        found = engine.logits(trial[:1])
    except errors as error:
        return str(error).partition("\n")[0], None
    wanted = plain.logits(trial[:1])
    apart = float((found - wanted).abs().max())
    allowed = _MOST_APART * max(1.0, float(wanted.abs().max()))
    if not apart <= allowed:  # NaN too
        return f"its logits for one slice are {apart:.2g} off those of torch", None
    return "", engine


def _onnx_engine(onnxruntime: Any, network: RAUNet, threads: int) -> Engine:
    onnxruntime.disable_telemetry_events()  # its Windows build reports to its maker otherwise
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3

    def session(windowed: bool) -> Any:
        return onnxruntime.InferenceSession(
            ra_unet_model(network, windowed), options, providers=["CPUExecutionProvider"]
        )

    whole = session(False)
    window_session = _Once(lambda: session(True))
    errors = _errors_of(onnxruntime)

    def run(get: Callable[[], Any], inputs: dict[str, NDArray[Any]]) -> Tensor:
        try:
            return torch.from_numpy(get().run([OUTPUT], inputs)[0])
        except errors as error:  # memory that runs out is a RuntimeError, as torch's is
            raise RuntimeError(str(error)) from error

    def logits(inputs: Tensor) -> Tensor:
        return run(lambda: whole, {INPUT: inputs.contiguous().numpy()})

    def window_logits(inputs: Tensor, window: Window) -> Tensor:
        top, bottom, left, right = window
        places = {STARTS: np.array([top, left]), ENDS: np.array([bottom, right])}
        return run(window_session, {INPUT: inputs.contiguous().numpy(), **places})

    return Engine(f"onnxruntime {onnxruntime.__version__}", logits, window_logits=window_logits)


class _Once:
    """Makes a thing at its first use, once for all threads."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make, self._made, self._lock = make, None, threading.Lock()

    def __call__(self) -> Any:
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made


def _errors_of(onnxruntime: Any) -> tuple[type[BaseException], ...]:
    """It has a dozen of them, without a common base of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = [item for item in vars(state).values() if isinstance(item, type) and issubclass(item, Exception)]
    return (RuntimeError, ValueError, *own)


# RA-U-Net as an ONNX model, written node by node in a fraction of a second from the weights at hand.
#
# Made in memory whenever it is needed, so no second file can go stale. torch's own exporter takes many seconds, needs
# more packages, and its graph is slower (33.6 ms a slice against 30.4): here BatchNorm is folded, what works on single
# pixels stands before the up-sampling, and a decoder never sees the two arrays that it joins as one.

INPUT, OUTPUT = "slices", "logits"
STARTS, ENDS = "starts", "ends"
_OPSET, _IR_VERSION = 17, 8  # understood by every onnxruntime since 1.14


def ra_unet_model(network: RAUNet, windowed: bool = False) -> bytes:
    """The serialised model: ``slices`` (n, 1, rows, columns) float32 to ``logits`` of that shape, multiples of 32.

    ``windowed``: it takes ``starts`` and ``ends`` too, (row, column) int64 in multiples of 4, and gives the logits of
    that window alone, right as those of ``FoldedRAUNet.forward`` are. Raises ImportError where onnx is missing.
    """
    from onnx import TensorProto, helper

    graph = _Graph(windowed)
    graph.add_network(network)
    taken = [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", 1, "rows", "columns"])]
    if windowed:
        taken += [helper.make_tensor_value_info(name, TensorProto.INT64, [2]) for name in (STARTS, ENDS)]
    given = [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", 1, "rows", "columns"])]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "RA-U-Net", taken, given, graph.constants),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="SpinalCordSeg",
    )
    return model.SerializeToString()


class _Graph:
    """The nodes so far. Most methods give the name of the array they add, (n, channels, rows, columns)."""

    def __init__(self, windowed: bool) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._windowed = windowed
        self._double = self._constant(np.array([1, 1, 2, 2]))
        self._one = self._constant(np.ones(1))

    def add_network(self, network: RAUNet) -> None:
        stem = self._relu(self._convolution(INPUT, *with_norm(network.stem[0], network.stem[1])))
        skips = []
        x = stem
        for encode in network.encoder:
            x = self._unit(encode, self._pooled(x))
            skips.append(x)
        x = self._units(network.middle, self._pooled(x))
        for level in reversed(range(len(skips))):
            skip = self._attention(network.attention[level], skips[level], cut=level == 0)
            small = self._cut(x, 4) if level == 0 else x
            x = self._joining_unit(network.decoder[level], small, skip)
        x = self._node("Concat", self._doubled(x), self._cut(stem), axis=1)
        x = self._relu(self._convolution(x, *with_norm(network.tail[0], network.tail[1])))
        self._convolution(x, *weight_and_bias(network.tail[3]), name=OUTPUT)

    def _unit(self, unit: Any, x: str) -> str:
        inner = self._scaled(x, *scale_and_shift(unit.body[0]))
        inner = self._convolution(inner, *with_norm(unit.body[2], unit.body[3]))
        return self._finished(unit, inner, self._convolution(x, *weight_and_bias(unit.shortcut)))

    def _units(self, units: Any, x: str) -> str:
        for unit in units:
            x = self._unit(unit, x)
        return x

    def _joining_unit(self, unit: Any, small: str, x: str) -> str:
        """A unit on the channels of ``small`` up-sampled, then those of ``x``, joined only behind the convolutions."""
        scale, shift = scale_and_shift(unit.body[0])
        weight, bias = with_norm(unit.body[2], unit.body[3])
        beside, beside_bias = weight_and_bias(unit.shortcut)
        n_small = len(scale) - _n_skip_channels(unit)
        few, many = slice(0, n_small), slice(n_small, None)
        inner = self._node(
            "Add",
            self._convolution(self._scaled(x, scale[many], shift[many]), weight[:, many], bias),
            self._doubled(self._convolution(self._scaled(small, scale[few], shift[few]), weight[:, few])),
        )
        outer = self._node(
            "Add",
            self._convolution(x, beside[:, many], beside_bias),
            self._doubled(self._convolution(small, beside[:, few])),
        )
        return self._finished(unit, inner, outer)

    def _finished(self, unit: Any, inner: str, outer: str) -> str:
        inner = self._relu(self._convolution(self._relu(inner), *with_norm(unit.body[5], unit.body[6])))
        return self._node("Add", self._convolution(inner, *weight_and_bias(unit.body[8])), outer)

    def _attention(self, attention: Any, x: str, cut: bool) -> str:
        x = self._unit(attention.before, x)
        mask = self._mask(attention.mask, x)
        if cut:
            mask, x = self._cut(mask, 4), self._cut(x, 2)
        opened = self._doubled(self._node("Add", mask, self._one))
        return self._unit(attention.after, self._node("Mul", opened, self._units(attention.trunk, x)))

    def _mask(self, mask: SoftMask, x: str) -> str:
        """At half the size of ``x``."""
        x = self._unit(mask.first, self._pooled(x))
        kept = []
        for skip, down in zip(mask.skips, mask.down, strict=True):
            kept.append(self._unit(skip, x))
            x = self._unit(down, self._pooled(x))
        for up in mask.up:
            x = self._node("Add", self._doubled(self._unit(up, x)), kept.pop())
        return self._node("Sigmoid", self._convolution(self._unit(mask.last, x), *joined_head(mask)))

    def _cut(self, x: str, by: int = 1) -> str:
        """The window of an array whose pixels are ``by`` times as large as the input's."""
        if not self._windowed:
            return x
        ends = (STARTS, ENDS)
        if by > 1:
            factor = self._whole_numbers([by])
            ends = (self._node("Div", STARTS, factor), self._node("Div", ENDS, factor))
        return self._node("Slice", x, *ends, self._whole_numbers([2, 3]))

    def _scaled(self, x: str, scale: Tensor, shift: Tensor) -> str:
        """relu(x·scale + shift), as the one node that onnxruntime joins with what follows."""
        zeros, ones = np.zeros(len(scale)), np.ones(len(scale))
        numbers = [self._constant(values) for values in (scale, shift, zeros, ones)]
        return self._relu(self._node("BatchNormalization", x, *numbers, epsilon=0.0))

    def _convolution(self, x: str, weight: Tensor, bias: Tensor | None = None, name: str | None = None) -> str:
        size = weight.shape[-1]
        numbers = [self._constant(weight)] + ([] if bias is None else [self._constant(bias)])
        return self._node("Conv", x, *numbers, name=name, kernel_shape=[size, size], pads=[size // 2] * 4)

    def _relu(self, x: str) -> str:
        return self._node("Relu", x)

    def _pooled(self, x: str) -> str:
        return self._node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])

    def _doubled(self, x: str) -> str:
        rule = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self._node("Resize", x, "", self._double, mode="nearest", **rule)

    def _node(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        from onnx import helper

        output = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def _constant(self, values: Any) -> str:
        return self._stored(np.ascontiguousarray(values, np.float32))

    def _whole_numbers(self, values: list[int]) -> str:
        return self._stored(np.array(values, np.int64))

    def _stored(self, values: NDArray) -> str:
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name


def _n_skip_channels(unit: ResidualUnit) -> int:
    """Of a decoder's input: the skip has as many channels as the decoder gives."""
    return unit.shortcut.out_channels
