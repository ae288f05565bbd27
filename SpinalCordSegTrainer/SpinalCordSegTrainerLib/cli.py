"""``spinalcordseg-train``: the trainer on the command line.

Exit codes: 0 done, 1 some case failed, 2 usage or unusable input, 130 cancelled. Errors are one line on stderr.
"""

from __future__ import annotations

import gc
import logging
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from SpinalCordSegLib.errors import Cancelled, SpinalCordSegError
from SpinalCordSegLib.files import explain
from SpinalCordSegLib.inference import choose_device
from SpinalCordSegTrainerLib.batches import Batch
from SpinalCordSegTrainerLib.command_line.bench_loading_command import bench_loading
from SpinalCordSegTrainerLib.command_line.check_command import check
from SpinalCordSegTrainerLib.command_line.crossvalidate_command import crossvalidate
from SpinalCordSegTrainerLib.command_line.evaluate_command import evaluate
from SpinalCordSegTrainerLib.command_line.find_lr_command import find_lr
from SpinalCordSegTrainerLib.command_line.options import (
    Config,
    Data,
    Device,
    Label,
    OnlyLabelled,
    Output,
    Settings,
    Threads,
    Tolerant,
)
from SpinalCordSegTrainerLib.command_line.progress import emit, step_display
from SpinalCordSegTrainerLib.command_line.raters_command import compare_raters
from SpinalCordSegTrainerLib.command_line.run_inputs import CaseOptions, base_configuration, write_slices
from SpinalCordSegTrainerLib.command_line.split_command import split
from SpinalCordSegTrainerLib.command_line.table1_command import table1
from SpinalCordSegTrainerLib.command_line.train_command import train
from SpinalCordSegTrainerLib.command_line.validate_command import validate
from SpinalCordSegTrainerLib.command_line.validate_series_command import validate_series
from SpinalCordSegTrainerLib.config import SourceConfig, TrainingConfig
from SpinalCordSegTrainerLib.slice_cache import CachedSlice, SliceCache
from SpinalCordSegTrainerLib.trainer import Training

# Typer brings click along as a package of its own or inside itself, by its version; its errors have one base.
_UsageError: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

app = typer.Typer(
    help="Train, judge and calibrate spinal cord segmentation models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _common(verbose: Annotated[bool, typer.Option("--verbose", help="More detail on stderr.")] = False) -> None:
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")


app.command()(check)
app.command()(split)
app.command()(train)
app.command("find-lr")(find_lr)
app.command()(validate)
app.command("validate-series")(validate_series)
app.command()(table1)
app.command("bench-loading")(bench_loading)
app.command()(evaluate)
app.command()(crossvalidate)
app.command("raters")(compare_raters)


@app.command()
def calibrate(
    model: Annotated[Path, typer.Argument(help="Weights file to calibrate.")],
    cache: Annotated[Path, typer.Option("--cache", help="Slice cache that was not trained on.")],
    output: Annotated[Path | None, typer.Option("--output", help="Weights file to write; MODEL if left out.")] = None,
    max_slices: Annotated[int, typer.Option("--max-slices", min=1, help="At most so many, evenly spread.")] = 400,
    area_percent: Annotated[
        float, typer.Option("--area-percent", help="Median area error to reach: the raters' convention.")
    ] = 0.0,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Fit scale and bias of the logit so that the area at probability 0.5 is right; kept in the weights file."""
    from SpinalCordSegLib.model.checkpoint import load_checkpoint
    from SpinalCordSegTrainerLib.batches import HeldOut
    from SpinalCordSegTrainerLib.calibration import calibrate_checkpoint
    from SpinalCordSegTrainerLib.slice_cache import evenly

    opened = SliceCache.open(cache)
    held_out = HeldOut(opened, evenly(np.arange(len(opened)), max_slices))
    chosen = choose_device(device)[0]
    fit = calibrate_checkpoint(load_checkpoint(model), held_out, chosen, output or model, area_percent)
    before, after = fit.area_percent_before, fit.area_percent_after
    typer.echo(
        f"scale {fit.calibration.scale:.3f}, bias {fit.calibration.bias:+.3f}: median area error {before:+.2f} %"
        f" -> {after:+.2f} % on {fit.n_slices} slices ({fit.n_left_out} left out)"
    )


@app.command()
def average(
    models: Annotated[list[Path], typer.Argument(help="Weights files of runs from the same weights: two or more.")],
    output: Annotated[Path, typer.Option("--output", help="Weights file to write.")],
) -> None:
    """One model from several runs that began at the same weights: the mean of their weights. Calibrate it after."""
    from SpinalCordSegTrainerLib.calibration import average_models

    mean = average_models(models, output)
    typer.echo(f"mean of {len(models)} models: {output} (SHA-256 {mean.sha256})")


@app.command("cache")
def write_cache(
    data: Data,
    output: Output,
    config: Config = None,
    settings: Settings = None,
    label: Label = None,
    only_labelled: OnlyLabelled = False,
    tolerant: Tolerant = False,
    inset_mm: Annotated[
        float, typer.Option("--inset-mm", min=0.0, help="How far inside the label's contour the model is to draw.")
    ] = 0.0,
) -> None:
    """Read images and label maps once and keep their slices, normalised for the model, for training."""
    chosen = base_configuration(config, settings)
    options = CaseOptions(label, only_labelled, tolerant=tolerant, inset_mm=inset_mm)
    typer.echo(write_slices(data, output, chosen, options))


@app.command()
def simulate(
    output: Output,
    maps: Annotated[Path, typer.Option("--maps", help="Folder that holds atlas/ and shapes/ (label maps).")],
    count: Annotated[int, typer.Option("--count", min=1, help="Slices to draw.")] = 6000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same slices.")] = 1,
    pixel_mm: Annotated[float, typer.Option("--pixel-mm", help="Pixel of the model's grid, mm.")] = 0.7,
    size: Annotated[int, typer.Option("--size", help="Pixels of the square slices, a multiple of 32.")] = 256,
    hold_out: Annotated[
        list[str] | None, typer.Option("--hold-out", help="Cord shape kept for validation; repeatable.")
    ] = None,
    phantoms: Annotated[int, typer.Option("--phantoms", min=0, help="Phantoms to add, six slices each.")] = 0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE of the simulation; repeatable.")
    ] = None,
) -> None:
    """Draw simulated axial necks of known cord area into a slice cache."""
    from Recipes.simulation.simulate import VALIDATION_SHAPES, SimulateConfig, simulate_cache
    from SpinalCordSegTrainerLib.config import with_settings

    held_out = tuple(hold_out or VALIDATION_SHAPES)
    chosen = SimulateConfig(count=count, seed=seed, size=size, pixel_mm=pixel_mm, hold_out=held_out, phantoms=phantoms)
    chosen = with_settings(chosen, settings or [])
    with step_display("slices") as display:
        written = simulate_cache(maps, output, chosen, progress=display.step)
    typer.echo(f"{len(written)} slices, {len(set(written.info.subjects))} necks: {output}")


def _failed(arguments: Sequence[str], error: BaseException, code: int) -> int:
    message = " ".join((getattr(error, "format_message", error.__str__)() or "cancelled").split())
    if {"--json", "--progress=json"} & set(arguments) or ("--progress", "json") in pairwise(arguments):
        emit("error", kind=type(error).__name__, message=message)
    typer.echo(f"spinalcordseg-train: {message}", err=True)
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = app(arguments, standalone_mode=False, prog_name="spinalcordseg-train")
    except typer.Exit as error:
        return int(error.exit_code)
    except _UsageError as error:
        return _failed(arguments, error, 2)
    except (Cancelled, KeyboardInterrupt, typer.Abort) as error:
        return _failed(arguments, error, 130)
    except SpinalCordSegError as error:
        return _failed(arguments, error, 2)
    except MemoryError:
        return _failed(arguments, MemoryError("memory ran out: close other programs, or make batches smaller"), 2)
    except OSError as error:
        logging.getLogger(__name__).debug("detail", exc_info=error)
        return _failed(arguments, OSError(f"{error.filename or 'the system'}: {explain(error)}"), 2)
    return int(code or 0)


# Whether reading slices keeps up with the network: the training loop on a large cache against one repeated batch.


_PATTERNS = 64  # drawn; the other slices are these, shifted, since only their reading is timed
_BLOCK = 5  # updates timed in a row, before the other loop has its turn
_READ_BATCHES = 50


@dataclass(frozen=True)
class LoadingSpeed:
    """``share``: speed of training from the cache over that on one repeated batch, by the medians of their updates.
    ``share_one_core``: the same by processor time, had the network to wait for every batch: the least that is to be
    expected on one core, and what can be measured on a busy machine.

    ``read_ms``: making one batch, alone; ``read_cpu_ms``, ``repeated_cpu_ms``: processor time of a batch, of an
    update. ``cold``: the cache was dropped from the system's memory before. ``peak_mb``: the most memory the process
    had resident, network included, None where the system does not tell; ``peak_read_mb`` up to the end of reading
    alone, before the network's first update.
    """

    slices: int
    cache_mb: float
    batch_size: int
    updates: int
    cold: bool
    read_ms: float
    update_ms: float
    repeated_ms: float
    share: float
    read_cpu_ms: float
    repeated_cpu_ms: float
    share_one_core: float
    peak_read_mb: float | None
    peak_mb: float | None


def large_cache(folder: Path, count: int, size: int, progress: Callable[[int, int], None]) -> SliceCache:
    """A cache of ``count`` slices of size²: noise around an elliptic cord of 16 × 12 pixels. Made once."""
    if (folder / "cache.json").exists():
        return SliceCache.open(folder)

    def slices() -> Iterator[CachedSlice]:
        rng = np.random.default_rng(0)
        rows, columns = np.mgrid[:size, :size] - size / 2
        cord = (np.hypot(rows / 6, columns / 8) <= 1).astype(np.float32)
        patterns = (0.5 * rng.random((_PATTERNS, size, size)) + 0.4 * cord).astype(np.float32)
        shifts = rng.integers(-size // 4, size // 4, (count, 2))
        for number, (down, across) in enumerate(shifts.tolist()):
            image, share = (np.roll(one, (down, across), (0, 1)) for one in (patterns[number % _PATTERNS], cord))
            yield CachedSlice(image, share, f"subject{number // 170}")
            progress(number + 1, count)

    return SliceCache.write(folder, slices(), pixel_mm=0.7, normalisation={}, kind="simulated", source={"noise": count})


def loading_speed(
    config: TrainingConfig, cache: SliceCache, output: Path, device: torch.device, *, updates: int, augment: bool
) -> LoadingSpeed:
    """Time ``updates`` updates of either loop, in turns, so that a busy machine slows both alike.

    ``config`` says network, batch and crop; nothing is validated or saved. Raises what Training raises.
    """
    source = SourceConfig(str(cache.folder), policy="standard" if augment else "none")
    config = replace(config, sources=(source,), validation=replace(config.validation, fraction=0.0, caches=()))
    cold = _drop_from_memory(cache.folder)
    reading, repeated = Training(config, output, device=device), _Repeated(config, output, device=device)
    first = 1_000_000  # batches that training itself does not come to
    read, read_cpu_s = _timed([partial(reading.batches.batch, first + number) for number in range(_READ_BATCHES)])
    peak_read_mb = peak_memory_mb()
    repeated.step()  # the first one chooses kernels and fills the optimiser
    _, repeated_cpu_s = _timed([repeated.step] * _BLOCK, device)
    reading.step()
    times: dict[Training, list[float]] = {reading: [], repeated: []}
    try:
        while len(times[repeated]) < updates:
            for run, taken in times.items():
                taken += _timed([run.step] * _BLOCK, device)[0]
    finally:
        reading.close()
    update_s, repeated_s = (statistics.median(taken) for taken in times.values())
    return LoadingSpeed(
        slices=len(cache),
        cache_mb=round(sum(path.stat().st_size for path in cache.folder.iterdir()) / 1e6, 1),
        batch_size=config.batch_size,
        updates=len(times[repeated]),
        cold=cold,
        read_ms=round(1e3 * statistics.median(read), 2),
        update_ms=round(1e3 * update_s, 1),
        repeated_ms=round(1e3 * repeated_s, 1),
        share=round(repeated_s / update_s, 4),
        read_cpu_ms=round(1e3 * read_cpu_s, 2),
        repeated_cpu_ms=round(1e3 * repeated_cpu_s, 1),
        share_one_core=round(repeated_cpu_s / (repeated_cpu_s + read_cpu_s), 4),
        peak_read_mb=peak_read_mb,
        peak_mb=peak_memory_mb(),
    )


class _Repeated(Training):
    """The same loop without any reading."""

    _batch: Batch | None = None

    def next_batch(self) -> Batch:
        if self._batch is None:
            self._batch = self.batches.batch(0)
        return self._batch


def _timed(work: Sequence[Callable[[], Any]], device: torch.device | None = None) -> tuple[list[float], float]:
    """Seconds of each piece of work, and the mean processor time of all the process's threads."""
    taken, started_cpu = [], time.process_time()
    for one in work:
        started = time.perf_counter()
        one()
        if device is not None and device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - started)
    return taken, (time.process_time() - started_cpu) / len(work)


def _drop_from_memory(folder: Path) -> bool:
    """Ask the system to forget the files, so that they are read from the disk; whether it could be asked."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for path in folder.glob("*.npy"):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def peak_memory_mb() -> float | None:
    """The most memory that this process has had resident, in MB; None on Windows."""
    gc.collect()
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)


def in_words(speed: LoadingSpeed) -> str:
    """Three lines for a person."""
    told = asdict(speed)
    lines = [
        "{slices} slices, {cache_mb:.0f} MB: making a batch of {batch_size} takes {read_ms:.1f} ms; an update"
        " {update_ms:.0f} ms, on one repeated batch {repeated_ms:.0f} ms",
        "training from the cache runs at {share:.1%} of the speed without reading; by processor time on one core at"
        " {share_one_core:.1%} ({read_cpu_ms:.1f} ms a batch, {repeated_cpu_ms:.0f} ms an update)",
    ]
    if speed.peak_mb is not None:
        lines.append("resident memory: {peak_read_mb:.0f} MB after reading alone, {peak_mb:.0f} MB in all")
    return "\n".join(lines).format(**told)


if __name__ == "__main__":
    sys.exit(main())
