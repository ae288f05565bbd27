"""Which device computes: chosen once, tried before it is trusted, and named in the result."""

from __future__ import annotations

import logging

import torch

from SpinalCordSegLib.errors import DeviceError

DEVICES = ("auto", "cpu", "cuda", "mps")

_log = logging.getLogger(__name__)


def choose_device(name: str = "auto") -> tuple[torch.device, tuple[str, ...]]:
    """The device to compute on, and notes for the user (why "auto" left a GPU aside; usually none).

    "auto": CUDA, else Apple's MPS, else the CPU, and the CPU too where the GPU fails a small trial.
    Raises DeviceError for an unknown name, or when the named device is missing or fails the trial.
    """
    if name not in DEVICES:
        raise DeviceError(f"unknown device {name!r}: choose one of {', '.join(DEVICES)}")
    if name == "cpu":
        return torch.device("cpu"), ()
    if name != "auto":
        if not _present(name):
            raise DeviceError(
                f"the device {name} was asked for but torch {torch.__version__} finds none: use the device cpu or auto"
            )
        failure = _trial_failure(name)
        if failure:
            raise DeviceError(f"the device {name} fails a small computation ({failure}): use the device cpu")
        return torch.device(name), ()
    notes: list[str] = []
    for candidate in ("cuda", "mps"):
        if _present(candidate):
            failure = _trial_failure(candidate)
            if not failure:
                return torch.device(candidate), tuple(notes)
            notes.append(f"the GPU ({candidate}) was left aside because it fails a small computation: {failure}")
            _log.warning(notes[-1])
    return torch.device("cpu"), tuple(notes)


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
