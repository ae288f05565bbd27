"""Asks torch, in a process of its own, whether it works, on which devices, and how fast it is with a model.

``main`` prints one JSON line: {"event": "probe", "state": "ready" | "absent" | "broken", "detail", "torch",
"devices": [{"name", "label", "seconds_per_slice"}, …]}. Nothing here raises for a torch that is missing or broken:
that is the answer.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SpinalCordSegLib.errors import DeviceError, ModelFileError

if TYPE_CHECKING:
    import torch


def main(argv: Sequence[str]) -> int:
    """``--model FILE``: time this model too. Exit code 0 whatever the answer is."""
    parser = argparse.ArgumentParser(prog="probe")
    parser.add_argument("--model", type=Path)
    answer = probe(parser.parse_args(argv).model)
    sys.stdout.write(json.dumps({"event": "probe", **answer}) + "\n")
    sys.stdout.flush()
    return 0


def probe(model: Path | None = None) -> dict[str, Any]:
    """The answer without the event's name."""
    empty: dict[str, Any] = {"torch": "", "devices": []}
    try:
        import safetensors.torch
        import torch
    except ModuleNotFoundError as error:
        return {"state": "absent", "detail": error.name or "torch", **empty}
    except (ImportError, OSError, RuntimeError, AttributeError) as error:  # half an install, or a library that is gone
        text = str(error).splitlines()
        return {"state": "broken", "detail": text[0] if text else type(error).__name__, **empty}
    del safetensors
    devices = [_device(name, model) for name in ("cuda", "mps", "cpu")]
    return {"state": "ready", "detail": "", "torch": torch.__version__, "devices": [d for d in devices if d]}


def _device(name: str, model: Path | None) -> dict[str, Any] | None:
    from SpinalCordSegLib.inference.device import choose_device

    try:
        device, _ = choose_device(name)
    except DeviceError:
        return None
    return {"name": name, "label": _label(device), "seconds_per_slice": _seconds_per_slice(device, model)}


def _label(device: torch.device) -> str:
    """ "NVIDIA RTX 3060, 12 GB", "Apple GPU" or "CPU"."""
    import torch

    if device.type == "cuda":
        gigabytes = torch.cuda.get_device_properties(device).total_memory / 2**30
        return f"{torch.cuda.get_device_name(device)}, {gigabytes:.0f} GB"
    return "Apple GPU" if device.type == "mps" else "CPU"


def _seconds_per_slice(device: torch.device, model: Path | None) -> float | None:
    """Of one slice, measured once warm; None without a model, with one that cannot be loaded, or where another program
    holds the device's memory: the device itself works."""
    if model is None:
        return None
    import torch

    from SpinalCordSegLib.network.checkpoint import checkpoint_network, load_checkpoint

    try:
        checkpoint = load_checkpoint(model)
        network = checkpoint_network(checkpoint).to(device)
        size = checkpoint.normalisation.size
        image = torch.zeros(1, 1, size, size, device=device)
        with torch.inference_mode():
            float(network(image).sum())
            started = time.perf_counter()
            float(network(image).sum())  # taking the number waits for the device
    except (ModelFileError, RuntimeError):  # torch raises the latter, or a kind of it, when memory runs out
        return None
    return round(time.perf_counter() - started, 4)
