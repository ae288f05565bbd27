"""The network in torch on a GPU, and the choice of a device; the CPU has an engine without torch."""

from __future__ import annotations

import logging

import torch
from torch import nn

from SpinalCordSegLib.errors import DeviceError
from SpinalCordSegLib.inference import DEVICES, Prediction, Work
from SpinalCordSegLib.model.checkpoint import Checkpoint, checkpoint_network
from SpinalCordSegLib.model.preprocessing import restore

_BATCH = 16  # slices; some 650 small kernels a forward: fewer slices leave a GPU waiting for launches

_log = logging.getLogger(__name__)


def predict_with_torch(work: Work, checkpoint: Checkpoint, device: torch.device, notes: list[str]) -> Prediction | None:
    """One batch after the other: preparing, network and restoring all on the device. See ``inference.predict``.

    When memory runs out the batch is halved; None: it ran out with one slice at a time. Both are noted in ``notes``.
    """
    network, batch, done = checkpoint_network(checkpoint).eval(), _BATCH, work.first
    while done < work.last:
        end = min(done + batch, work.last)
        if compute_slices(work, network, device, done, end):
            done = end
            work.report(done - work.first)
            continue
        # Out of the handler of the error, whose frames held the memory.
        if device.type == "cuda":
            torch.cuda.empty_cache()
        batch //= 2
        text = f"memory of {device_name(device)} ran out: {batch} slices at a time from here on"
        notes.append(text if batch else "GPU memory ran out with one slice at a time: the CPU took over")
        _log.warning(notes[-1])
        if not batch:
            return None
    return Prediction(work.probability, device_name(device), f"torch {torch.__version__}", batch)


def compute_slices(work: Work, network: nn.Module, device: torch.device, first: int, end: int) -> bool:
    """Compute these slices; False when memory ran out. Raises DeviceError when the device failed otherwise."""
    pixels = torch.from_numpy(work.pixels(first, end))
    # cuDNN rounds convolutions to TF32 by default: the mask would depend on the card.
    exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    try:
        with torch.inference_mode(), exact:
            inputs, placement = work.inputs(pixels.to(device))
            logits = work.calibrated(network.to(device)(inputs))
            work.probability.voxels[first:end] = torch.sigmoid(restore(logits, placement)).cpu().numpy()
    except RuntimeError as error:
        if is_out_of_memory(error):
            return False
        first_line = str(error).partition("\n")[0]
        raise DeviceError(f"the device {device.type} failed ({first_line}): use the device cpu") from error
    return True


def is_out_of_memory(error: Exception) -> bool:
    """torch has a class for CUDA only; MPS and cuBLAS say it in words."""
    text = str(error).lower()
    words = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(word in text for word in words)


def choose_device(name: str = "auto") -> tuple[torch.device, list[str]]:
    """The device to compute on, and notes for the user (why "auto" left a GPU aside; usually none).

    "auto": CUDA, else Apple's MPS, else the CPU, and the CPU too where the GPU fails a small trial.
    Raises DeviceError for an unknown name, or when the named device is missing or fails the trial.
    """
    if name not in DEVICES:
        raise DeviceError(f"unknown device {name!r}: choose one of {', '.join(DEVICES)}")
    notes: list[str] = []
    for candidate in {"auto": ("cuda", "mps"), "cpu": ()}.get(name, (name,)):
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
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return device.type


def _present(name: str) -> bool:
    return torch.cuda.is_available() if name == "cuda" else torch.backends.mps.is_available()


def _trial_failure(name: str) -> str:
    """The first line of what went wrong in a small convolution, empty when it worked.

    A torch built without kernels for a new card reports it as present, and fails only when it computes.
    """
    try:
        image = torch.ones(1, 1, 8, 8, device=name)
        kernel = torch.ones(1, 1, 3, 3, device=name)
        total = float(torch.nn.functional.conv2d(image, kernel).sum())
    except RuntimeError as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return "" if total == 324.0 else f"a sum of 324 came out as {total:g}"
