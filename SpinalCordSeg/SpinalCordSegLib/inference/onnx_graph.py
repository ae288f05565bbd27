"""RA-U-Net as an ONNX model, written node by node in a fraction of a second from the weights at hand.

Made in memory whenever it is needed, so no second file can go stale. torch's own exporter takes many seconds, needs
more packages, and its graph is slower: here BatchNorm is folded, what works on single pixels stands before the
up-sampling, and a decoder never sees the two arrays that it joins as one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from SpinalCordSegLib.network.folded_ra_unet import joined_head, scale_and_shift, weight_and_bias, with_norm
from SpinalCordSegLib.network.ra_unet import RAUNet, ResidualUnit, SoftMask

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
