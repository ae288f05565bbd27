"""The network on a CPU: ONNX Runtime computes the architecture's graph with the weights of the model file. No torch.

A graph is what ``torch.onnx.export`` makes of a network, without its numbers (``make graphs``). It holds for every
width and every weights file of the architecture, lies beside the models, and is joined with the weights in memory.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.errors import DeviceError, MissingPackageError, ModelFileError
from SpinalCordSegLib.model.checkpoint import Checkpoint, package_models_folder, wrong_weights

INPUT, WINDOW, OUTPUT = "slices", "window", "logits"  # names in the graphs
HALO = 16  # pixels: six 3×3 convolutions follow the cut, five of them at half the size, and the lot is even
Window = tuple[int, int, int, int]
"""Half-open: top, bottom, left, right."""


class CpuEngine:
    """``name``: with its version, for reports. ``takes_windows``: see ``logits``."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Raises MissingPackageError without ONNX Runtime, ModelFileError for weights of another network."""
        try:
            import onnxruntime
            from onnxruntime.capi import onnxruntime_pybind11_state as state
        except (ImportError, OSError) as error:
            raise MissingPackageError(
                f"ONNX Runtime cannot be loaded ({error}): pip install onnxruntime; measuring a mask works without it"
            ) from error
        # It has a dozen errors of its own, without a common base.
        own = (e for e in vars(state).values() if isinstance(e, type) and issubclass(e, Exception))
        self._errors: tuple[type[Exception], ...] = (MemoryError, RuntimeError, *own)
        onnxruntime.disable_telemetry_events()  # its Windows build reports to its maker otherwise
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cpu_threads()
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # as fast, and 80 MB less for slices of 352²
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(
                onnx_model(checkpoint), options, providers=["CPUExecutionProvider"]
            )
        except self._errors as error:
            raise wrong_weights(checkpoint, error) from error
        self.name = f"onnxruntime {onnxruntime.__version__}"
        self.takes_windows = any(taken.name == WINDOW for taken in self._session.get_inputs())

    def logits(self, inputs: NDArray[np.float32], window: Window | None = None) -> NDArray[np.float32]:
        """(n, 1, R, C) of network input 0..1 to logits of that shape.

        ``window``, in multiples of 4: its logits alone, which are those of the whole slice but for the outermost HALO
        pixels, for about half of the work. Raises DeviceError when memory ran out.
        """
        taken: dict[str, Any] = {INPUT: inputs}
        if self.takes_windows:
            taken[WINDOW] = np.array(window or (0, inputs.shape[2], 0, inputs.shape[3]))
        try:
            return self._session.run([OUTPUT], taken)[0]
        except self._errors as error:
            text = str(error).partition("\n")[0]
            raise DeviceError(
                f"ONNX Runtime failed ({text}): close other programs if memory ran short, or use a smaller model"
            ) from error


@lru_cache(maxsize=1)
def cpu_engine(checkpoint: Checkpoint) -> CpuEngine:
    """The engine for a model, made at the first call and kept for the next case. Raises as ``CpuEngine``."""
    return CpuEngine(checkpoint)


def cpu_threads() -> int:
    """OMP_NUM_THREADS where it is set, else the CPUs that this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked):
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def onnx_model(checkpoint: Checkpoint) -> bytes:
    """The graph with the weights: a serialised ONNX model. Raises ModelFileError when the architecture has no graph.

    The weights are appended: messages of protobuf that follow one another are merged into one.
    """
    path = package_models_folder() / f"{checkpoint.network.name}.onnx"
    try:
        graph = path.read_bytes()
    except OSError as error:
        raise ModelFileError(
            f"{path}: cannot be read ({error.strerror}): install SpinalCordSeg again (a new network: make graphs)"
        ) from error
    tensors: list[bytes | memoryview] = []
    for name, values in checkpoint.weights.items():
        head = _tensor_head(name, values)
        tensors += [_field_head(5, len(head) + values.nbytes), head, np.ascontiguousarray(values).data.cast("B")]
    size = sum(len(part) for part in tensors)
    return b"".join([graph, _field_head(7, size), *tensors])  # ModelProto.graph, GraphProto.initializer


def _tensor_head(name: str, values: NDArray) -> bytes:
    """TensorProto: dims, data_type, name, and raw_data but for the bytes themselves."""
    kind, letters = {"f": 1, "i": 7}[values.dtype.kind], name.encode()
    dims = b"".join(b"\x08" + _varint(size) for size in values.shape)
    return dims + b"\x10" + _varint(kind) + _field_head(8, len(letters)) + letters + _field_head(9, values.nbytes)


def _field_head(number: int, size: int) -> bytes:
    return _varint(number << 3 | 2) + _varint(size)


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])
