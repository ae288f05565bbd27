"""``spinalcordseg-train bench-loading``: does the data keep up with the network on this machine?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from SpinalCordSegLib.files import write_json
from SpinalCordSegLib.inference import choose_device, device_name
from SpinalCordSegTrainerLib.command_line.options import Augment, Config, Device, Output, Settings, Style, Threads
from SpinalCordSegTrainerLib.command_line.progress import ProgressStyle, step_display, tell_result
from SpinalCordSegTrainerLib.command_line.run_inputs import base_configuration


def bench_loading(
    output: Output,
    config: Config = None,
    settings: Settings = None,
    slices: Annotated[int, typer.Option("--slices", min=100, help="Slices of the cache that is read.")] = 20_000,
    size: Annotated[int, typer.Option("--size", min=32, help="Pixels of the square slices.")] = 256,
    updates: Annotated[int, typer.Option("--updates", min=5, help="Updates to time of either loop.")] = 20,
    augment: Augment = False,
    device: Device = "auto",
    threads: Threads = None,
    style: Style = ProgressStyle.TEXT,
) -> None:
    """Time training from a large slice cache against training on one repeated batch; memory too.

    The cache (131 kB a slice of 256², 2.6 GB in all) is made once, in the output folder; writes loading.json.
    """
    from SpinalCordSegTrainerLib.cli import in_words, large_cache, loading_speed

    chosen, where = base_configuration(config, settings), choose_device(device)[0]
    with step_display("slices", style) as display:
        cache = large_cache(output / "cache", slices, size, display.step)
    speed = loading_speed(chosen, cache, output / "run", where, updates=updates, augment=augment)
    told = {**asdict(speed), "device": device_name(where)}
    write_json(output / "loading.json", told)
    tell_result(style, in_words(speed), **told)
