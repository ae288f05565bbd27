"""The network alone, against the floor: its operations over the best rate that this machine reached in the same run."""

from __future__ import annotations

import copy
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from SpinalCordSegLib.model.checkpoint import Checkpoint, NetworkConfig
from SpinalCordSegLib.model.cpu_engine import CpuEngine
from SpinalCordSegLib.model.networks import build_network
from SpinalCordSegLib.model.preprocessing import NormalisationConfig

_SIZE = 256
_ROUNDS = 7
_CHANNELS = (32, 64, 128, 256)


def network_speed(width: int, threads: int) -> dict[str, Any]:
    """Seconds a slice of 256², by way, alternating; the floor of the same moments. Several slices at once per round.

    One thread is timed by the processor's clock, which other work disturbs little; several by the wall's.
    """
    clock = time.process_time if threads == 1 else time.perf_counter
    torch.manual_seed(0)
    config = NetworkConfig("ra_unet", width)
    network = build_network(config).eval()
    slices = [torch.rand(1, 1, _SIZE, _SIZE) for _ in range(2 * threads)]
    ways = _ways(network, config, slices, threads)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(slices[0])
    flops = counter.get_total_flops()  # a multiply-add counted as two
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    rates: list[float] = []
    for _ in range(_ROUNDS):
        rates.append(best_rate(threads, clock))
        for way, run in ways.items():
            started = clock()
            run()
            seconds[way].append((clock() - started) / len(slices))
    rate = max(rates)
    return {
        "width": width,
        "threads": threads,
        "gflops_a_slice": flops / 1e9,
        "best_rate_gflops": rate / 1e9,
        "floor_ms": 1e3 * flops / rate,
        "ms_a_slice": {way: 1e3 * statistics.median(values) for way, values in seconds.items()},
        "times_the_floor": {way: statistics.median(values) * rate / flops for way, values in seconds.items()},
    }


def best_rate(threads: int, clock: Callable[[], float]) -> float:
    """Operations a second, a multiply-add counted as two: the best of convolutions and of a matrix product."""
    torch.set_num_threads(threads)
    rates = []
    with torch.inference_mode():
        for channels in _CHANNELS:
            size = max(16, _SIZE * 32 // channels // 2)
            layer = nn.Conv2d(channels, channels, 3, padding=1).to(memory_format=torch.channels_last)
            image = torch.rand(1, channels, size, size).contiguous(memory_format=torch.channels_last)
            rates.append(_rate(lambda: layer(image), 2 * 9 * channels**2 * size**2, clock))  # noqa: B023
        left, right = torch.rand(1024, 1024), torch.rand(1024, 1024)
        rates.append(_rate(lambda: left @ right, 2 * 1024**3, clock))
    return max(rates)


def _rate(run: Callable[[], object], operations: int, clock: Callable[[], float]) -> float:
    run()
    best = 0.0
    for _ in range(3):
        started = clock()
        run()
        best = max(best, operations / (clock() - started))
    return best


def _ways(
    network: nn.Module, config: NetworkConfig, slices: list[Tensor], threads: int
) -> dict[str, Callable[[], object]]:
    last = copy.deepcopy(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    os.environ["OMP_NUM_THREADS"] = str(threads)
    engine = CpuEngine(Checkpoint("bench", "0", config, NormalisationConfig(), dict(network.state_dict())))

    def one_by_one(run: Callable[[Tensor], object]) -> Callable[[], None]:
        def work() -> None:
            torch.set_num_threads(threads)
            with torch.inference_mode():
                for image in slices:
                    run(image)

        return work

    ways: dict[str, Callable[[], object]] = {
        "eager, contiguous": one_by_one(network),
        "eager, channels_last": one_by_one(lambda image: last(image.contiguous(memory_format=torch.channels_last))),
        "ours, onnxruntime": lambda: [engine.logits(image.numpy()) for image in slices],
    }
    return ways
