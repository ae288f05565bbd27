"""What computes the logits on a CPU: torch, or ONNX Runtime where it is installed and agrees with torch.

onnx and onnxruntime are optional (``pip install onnx onnxruntime``) and imported only here and in ``onnx_graph``.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from SpinalCordSegLib.errors import ConfigurationError, MissingPackageError
from SpinalCordSegLib.network.folded_ra_unet import FoldedRAUNet, Window
from SpinalCordSegLib.network.folding import inference_network
from SpinalCordSegLib.network.ra_unet import RAUNet

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
        import onnx  # noqa: F401 - whether it is there; onnx_graph uses it
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
    from SpinalCordSegLib.inference.onnx_graph import ENDS, INPUT, OUTPUT, STARTS, ra_unet_model

    onnxruntime.disable_telemetry_events()  # its Windows build reports to its maker unless told not to
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
        except errors as error:  # memory that runs out must be told as torch tells it
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
