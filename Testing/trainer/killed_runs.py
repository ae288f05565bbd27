"""Kill short training runs at random moments, resume them, and compare their final weights with those of a run that
nobody disturbed. Every run is a process of its own, forked from this one so that torch is imported once.

python Testing/trainer/killed_runs.py FOLDER KILLS    prints one JSON object; exit code 0 when all are bit-equal
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from SpinalCordSegLib.model.checkpoint import load_checkpoint
from SpinalCordSegLib.model.networks import NetworkConfig
from SpinalCordSegTrainerLib import trainer
from SpinalCordSegTrainerLib.config import CropConfig, RateConfig, SourceConfig, TrainingConfig, ValidationConfig
from SpinalCordSegTrainerLib.run_folder import saved_state
from SpinalCordSegTrainerLib.slice_cache import SliceCache

_EPOCHS, _UPDATES_PER_EPOCH = 2, 4
_UPDATES = _EPOCHS * _UPDATES_PER_EPOCH


def _config(folder: Path) -> TrainingConfig:
    rng = np.random.default_rng(0)
    cord = np.zeros((64, 64))
    cord[26:36, 24:38] = 1
    slices = ((rng.random((64, 64)) * 0.3 + 0.6 * cord, cord, str(n // 2)) for n in range(8))
    cache = SliceCache.write(folder / "cache", slices, normalisation={}, kind="simulated", source={})
    return TrainingConfig(
        network=NetworkConfig("unet", 1),  # its dropout draws from torch's own generator
        sources=(SourceConfig(str(cache.folder), policy="contrast"),),
        crop=CropConfig(size=32, jitter_px=6),
        rate=RateConfig(plan="cosine", max_lr=1e-3),
        validation=ValidationConfig(fraction=0.25),
        batch_size=2,
        updates_per_epoch=_UPDATES_PER_EPOCH,
        epochs=_EPOCHS,
        ema_decay=0.9,
        statistics_batches=1,
    )


def _start(config: TrainingConfig, output: Path, stays: bool = False) -> tuple[int, int]:
    """A run that goes on where the folder's state is: its process id, and a pipe that gets a byte for every update.

    ``stays``: once it has ended it waits to be killed, so that a kill always finds it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    code = 1
    try:
        resume = saved_state(output / "state.safetensors") is not None
        training = trainer.Training(config, output, resume=resume, report=lambda _: os.write(writing, b"."))
        training.run()
        code = 0
        if stays:
            os.write(writing, b"." * _UPDATES)  # none is missed
            signal.pause()
    finally:
        os._exit(code)


def _finish(child: int, pipe: int) -> bool:
    """Whether the run ended well."""
    while os.read(pipe, 1024):
        pass
    os.close(pipe)
    return os.waitpid(child, 0)[1] == 0


def _weights(output: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(output / "last.safetensors").weights


def kill_runs(folder: Path, kills: int, seed: int = 0) -> dict[str, int]:
    """How many of ``kills`` runs were killed, resumed, and ended with the same bits."""
    torch.set_num_threads(1)
    trainer._SAVE_SECONDS = 0  # type: ignore[attr-defined]
    trainer.write_curves = lambda history, folder: None  # type: ignore[assignment]
    config, draw = _config(folder), random.Random(seed)
    started = time.monotonic()
    assert _finish(*_start(config, folder / "whole"))
    an_update_s = (time.monotonic() - started) / _UPDATES
    whole = _weights(folder / "whole")
    counts = {"killed": 0, "resumed": 0, "bit_equal": 0}
    for number in range(kills):
        output = folder / f"run{number}"
        child, pipe = _start(config, output, stays=True)
        for _ in range(draw.randrange(_UPDATES)):
            os.read(pipe, 1)
        time.sleep(draw.uniform(0, an_update_s))  # anywhere within an update, its saving included
        os.kill(child, signal.SIGKILL)
        os.close(pipe)
        counts["killed"] += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        counts["resumed"] += _finish(*_start(config, output))
        found = _weights(output)
        counts["bit_equal"] += all(np.array_equal(whole[name], found[name]) for name in whole)
    return counts


if __name__ == "__main__":
    told = kill_runs(Path(sys.argv[1]), int(sys.argv[2]))
    print(json.dumps(told))
    sys.exit(0 if told["killed"] == told["resumed"] == told["bit_equal"] else 1)
