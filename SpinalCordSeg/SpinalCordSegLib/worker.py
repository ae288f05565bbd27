"""Runs a command line of ours for a parent program, and does not outlive it.

``python -m SpinalCordSegLib.worker MODULE ARGUMENT…`` calls ``MODULE.main([ARGUMENT…])`` and exits with what it gives.
The parent writes one line to standard input and keeps it open: the lifeline. When it is closed (the parent ended, or
crashed, or cancels), the work is interrupted as by Ctrl-C, then ended. A parent that writes nothing gives no lifeline:
programs in between may not pass standard input on, and that must not look like a parent that is gone.

``python -m SpinalCordSegLib.worker --wait MODULE ARGUMENT…`` calls ``MODULE.get_ready([ARGUMENT…])`` and waits for an
order, a second line: {"arguments": […], "folder": …}. Then it goes to the folder and does as above, once. When none
comes for some minutes, or memory grows short meanwhile, it exits with WAITED_IN_VAIN. It prints {"event": "attached"}
when the lifeline has reached it: only then would an order reach it too.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import queue
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SpinalCordSegLib.command_line.free_memory import available_bytes
from SpinalCordSegLib.command_line.scratch import remove_abandoned
from SpinalCordSegLib.command_line.standard_input import read_part
from SpinalCordSegLib.errors import DeviceError, ModelFileError

if TYPE_CHECKING:
    import torch


LIFELINE = b"stay\n"
ATTACHED = "attached"
WAIT = "--wait"
WAITED_IN_VAIN = 75
LEAST_FREE_BYTES = 3 << 30
"""A child that waits holds some 0.5 GB; it is not for machines with less than this to spare."""

_LONGEST_WAIT_S = 600.0
_LOOK_S = 5.0
_Orders = queue.SimpleQueue[bytes]
SCRATCH_VARIABLE = "SPINALCORDSEG_SCRATCH"
_CANCELLED = 130
_TIME_TO_TIDY_S = 5.0


def main(argv: Sequence[str]) -> int:
    """Run ``argv[0]``.main with the rest of ``argv``, or wait for an order; returns its exit code."""
    gone = threading.Event()
    orders = _Orders()
    waits = argv[0] == WAIT
    threading.Thread(target=_watch_lifeline, args=(gone, orders, waits), daemon=True).start()
    code = _CANCELLED
    try:
        code = _wait(argv[1:], orders) if waits else _run(argv[0], argv[1:])
    except KeyboardInterrupt:
        code = _CANCELLED
    finally:
        if gone.is_set():  # nobody else will remove what the parent left behind
            remove_abandoned(_scratch_base())
    return code


def _run(module: str, arguments: Sequence[str]) -> int:
    return int(importlib.import_module(module).main(list(arguments)))


def _wait(argv: Sequence[str], orders: _Orders) -> int:
    importlib.import_module(argv[0]).get_ready(list(argv[1:]))
    order = _ordered(orders)
    if order is None:
        return WAITED_IN_VAIN
    os.chdir(order["folder"])
    return _run(argv[0], order["arguments"])


def _ordered(orders: _Orders) -> dict[str, Any] | None:
    """The order; None when none came in time, or memory grew short first."""
    until = time.monotonic() + _LONGEST_WAIT_S
    while time.monotonic() < until:
        try:
            order: dict[str, Any] = json.loads(orders.get(timeout=_LOOK_S))
        except queue.Empty:
            free = available_bytes()
            if free is not None and free < LEAST_FREE_BYTES // 2:
                return None
        else:
            return order
    return None


def _scratch_base() -> Path:
    return Path(os.environ.get(SCRATCH_VARIABLE) or tempfile.gettempdir())


def _watch_lifeline(gone: threading.Event, orders: _Orders, waits: bool) -> None:
    # Read from the system, not through sys.stdin: a thread that waits in there makes Python abort when it exits.
    lifeline = sys.stdin.fileno() if sys.stdin is not None else -1
    if lifeline < 0 or read_part(lifeline, len(LIFELINE)) != LIFELINE:
        return
    if waits:
        sys.stdout.write(json.dumps({"event": ATTACHED}) + "\n")
        sys.stdout.flush()
    said = b""
    while part := read_part(lifeline):
        said += part
        *lines, said = said.split(b"\n")
        for line in lines:
            orders.put(line)
    gone.set()
    signal.raise_signal(signal.SIGINT)
    threading.Timer(_TIME_TO_TIDY_S, _end).start()


def _end() -> None:
    """Work deep inside a library does not hear Ctrl-C."""
    remove_abandoned(_scratch_base())
    os._exit(_CANCELLED)


# Asks torch, in a process of its own, whether it works, on which devices, and how fast it is with a model.
#
# ``main`` prints one JSON line: {"event": "probe", "state": "ready" | "absent" | "broken", "detail", "torch",
# "devices": [{"name", "label", "seconds_per_slice"}, …]}. Nothing here raises for a torch that is missing or broken:
# that is the answer.


def probe_main(argv: Sequence[str]) -> int:
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
    from SpinalCordSegLib.inference import choose_device

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

    from SpinalCordSegLib.model.checkpoint import checkpoint_network, load_checkpoint

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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
