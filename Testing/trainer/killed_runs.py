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
from SpinalCordSegTrainerLib.slice_cache import CachedSlice, SliceCache


def _config(folder: Path) -> TrainingConfig:
    rng = np.random.default_rng(0)
    cord = np.zeros((64, 64))
    cord[26:36, 24:38] = 1
    slices = (CachedSlice(rng.random((64, 64)) * 0.3 + 0.6 * cord, cord, str(n // 2)) for n in range(8))
    cache = SliceCache.write(folder / "cache", slices, pixel_mm=0.7, normalisation={}, kind="simulated", source={})
    return TrainingConfig(
        network=NetworkConfig("unet", 1),  # its dropout draws from torch's own generator
        sources=(SourceConfig(str(cache.folder), policy="contrast"),),
        crop=CropConfig(size=32, jitter_px=6),
        rate=RateConfig(plan="cosine", max_lr=1e-3),
        validation=ValidationConfig(fraction=0.25),
        batch_size=2,
        updates_per_epoch=4,
        epochs=2,
        ema_decay=0.9,
        statistics_batches=1,
    )


def _start(config: TrainingConfig, output: Path) -> int:
    """The process id of a run that goes on where the folder's state is."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        resume = saved_state(output / "state.safetensors") is not None
        trainer.Training(config, output, resume=resume).run()
        code = 0
    finally:
        os._exit(code)


def _weights(output: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(output / "last.safetensors").weights


def kill_runs(folder: Path, kills: int, seed: int = 0) -> dict[str, int | float]:
    """How many of ``kills`` runs were killed before their end, resumed, and ended with the same bits."""
    torch.set_num_threads(1)
    trainer._SAVE_SECONDS = 0  # type: ignore[attr-defined]
    trainer.write_curves = lambda history, folder: None  # type: ignore[assignment]
    config, draw = _config(folder), random.Random(seed)
    started = time.monotonic()
    os.waitpid(_start(config, folder / "whole"), 0)
    lasts = time.monotonic() - started
    whole = _weights(folder / "whole")
    counts: dict[str, int | float] = {"killed": 0, "resumed": 0, "bit_equal": 0, "seconds_a_run": round(lasts, 2)}
    for number in range(kills):
        output = folder / f"run{number}"
        while True:  # a run that ends before its moment comes does not count
            child = _start(config, output)
            time.sleep(draw.uniform(0, lasts))
            os.kill(child, signal.SIGKILL)
            if os.WIFSIGNALED(os.waitpid(child, 0)[1]):
                break
        counts["killed"] += 1
        counts["resumed"] += os.waitpid(_start(config, output), 0)[1] == 0
        found = _weights(output)
        counts["bit_equal"] += all(torch.equal(whole[name], found[name]) for name in whole)
    return counts


if __name__ == "__main__":
    told = kill_runs(Path(sys.argv[1]), int(sys.argv[2]))
    print(json.dumps(told))
    sys.exit(0 if told["killed"] == told["resumed"] == told["bit_equal"] else 1)
