"""The network in torch on a GPU, and the choice of a device; the CPU has an engine without torch."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from SpinalCordSegLib.errors import DeviceError
from SpinalCordSegLib.model.checkpoint import checkpoint_network
from SpinalCordSegLib.model.preprocessing import restore

if TYPE_CHECKING:
    from SpinalCordSegLib.inference import Work

_BATCH = 16  # slices; some 650 small kernels a forward: fewer slices leave a GPU waiting for launches

_log = logging.getLogger(__name__)


def predict_with_torch(work: Work, device: torch.device, notes: list[str]) -> tuple[str, str] | None:
    """One batch after the other: preparing, network and restoring all on the device. See ``inference.predict``.

    Gives the names of device and engine; None, with a note, when memory ran out. Raises DeviceError when the device
    failed otherwise.
    """
    network = checkpoint_network(work.checkpoint).eval()
    # cuDNN rounds convolutions to TF32 by default: the mask would depend on the card.
    exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    first, last = work.slice_range
    try:
        with torch.inference_mode(), exact:
            network = network.to(device)
            for start in range(first, last, _BATCH):
                end = min(start + _BATCH, last)
                inputs, placement = work.inputs(torch.from_numpy(work.pixels(start, end)).to(device))
                logits = work.calibrated(network(inputs))
                work.probability.voxels[start:end] = torch.sigmoid(restore(logits, placement)).cpu().numpy()
                work.report(end - first)
    except RuntimeError as error:
        text = str(error).partition("\n")[0]
        if not isinstance(error, torch.cuda.OutOfMemoryError) and not any(part in text.lower() for part in _NO_MEMORY):
            raise DeviceError(f"the device {device.type} failed ({text}): use the device cpu") from error
        notes.append(f"memory of {device_name(device)} ran out: the CPU took over")
        _log.warning(notes[-1])
        return None
    return device_name(device), f"torch {torch.__version__}"


# torch has a class for CUDA only; MPS and cuBLAS have it in their messages
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")


def choose_device(name: str = "auto") -> tuple[torch.device, list[str]]:
    """The device to compute on, and notes for the user (why "auto" left a GPU aside; usually none).

    "auto": CUDA, else Apple's MPS, else the CPU, and the CPU too where the GPU fails a small trial.
    Raises DeviceError for an unknown name, or when the named device is missing or fails the trial.
    """
    candidates = {"auto": ("cuda", "mps"), "cuda": ("cuda",), "mps": ("mps",), "cpu": ()}
    if name not in candidates:
        raise DeviceError(f"unknown device {name!r}: choose one of {', '.join(candidates)}")
    notes: list[str] = []
    for candidate in candidates[name]:
        present = _present(candidate)
        failure = _trial_failure(candidate) if present else f"torch {torch.__version__} finds none"
        if not failure:
            return torch.device(candidate), notes
        if name != "auto":
            raise DeviceError(f"the device {name} cannot be used ({failure}): use the device cpu or auto")
        if present:
            notes.append(f"the GPU ({candidate}) was left aside because it fails a small computation: {failure}")
            _log.warning(notes[-1])
    return torch.device("cpu"), notes


def device_name(device: torch.device) -> str:
    """For reports: "cpu", "mps", or "cuda (name of the card)"."""
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device.type


def _present(name: str) -> bool:
    return torch.cuda.is_available() if name == "cuda" else torch.backends.mps.is_available()


def _trial_failure(name: str) -> str:
    """What went wrong in a small convolution, empty when it worked: torch without kernels for a new card reports it as
    present, and fails only when it computes."""
    try:
        image = torch.ones(1, 1, 8, 8, device=name)
        total = float(torch.nn.functional.conv2d(image, torch.ones(1, 1, 3, 3, device=name)).sum())
    except RuntimeError as error:
        return str(error).partition("\n")[0] or type(error).__name__
    return "" if total == 324.0 else f"a sum of 324 came out as {total:g}"
