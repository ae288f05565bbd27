"""Two processes (gloo, CPU) against one process on the whole batch; BatchNorm's statistics are those of both processes.

python Testing/trainer/two_processes.py FOLDER    prints one JSON object
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from SpinalCordSegLib.model.networks import NetworkConfig
from SpinalCordSegTrainerLib import trainer
from SpinalCordSegTrainerLib.batches import slice_counts, validate
from SpinalCordSegTrainerLib.config import CropConfig, LossConfig, SourceConfig, TrainingConfig, ValidationConfig
from SpinalCordSegTrainerLib.distributed import ALONE, Processes, join_processes
from SpinalCordSegTrainerLib.losses import segmentation_loss
from SpinalCordSegTrainerLib.slice_cache import SliceCache


def _config(folder: Path) -> TrainingConfig:
    rng = np.random.default_rng(0)
    cord = np.zeros((96, 96))
    cord[40:52, 38:54] = 1
    slices = ((rng.random((96, 96)) * 0.4 + 0.5 * cord, cord, str(n)) for n in range(8))
    cache = SliceCache.write(folder / "cache", slices, normalisation={}, kind="simulated", source={})
    return TrainingConfig(
        network=NetworkConfig("deep_unet", 1),
        sources=(SourceConfig(str(cache.folder), policy="standard"),),
        crop=CropConfig(size=64),
        loss=LossConfig(bce_weight=0.3),
        validation=ValidationConfig(fraction=0.4, batch_size=1),
        batch_size=5,  # 2 slices for one rank, 3 for the other
        updates_per_epoch=2,
        epochs=1,
        statistics_batches=1,
    )


def _one_update(run: trainer.Training) -> tuple[list[Tensor], list[Tensor], float]:
    """Gradients, running statistics and loss of the first update."""
    loss, _ = run.step()
    network = run.state.network
    statistics = [one.clone() for name, one in network.named_buffers() if "running" in name]
    return [one.grad.clone() for one in network.parameters() if one.grad is not None], statistics, loss


def _exact_gradients(run: trainer.Training) -> list[Tensor]:
    """Gradients of the first batch in 64 bits, where rounding hides nothing."""
    network, (images, coverage) = run.state.network.double().train(), run.batches.batch(0)
    mine = run.processes.part(len(images))
    logits = network(images[mine].double())
    segmentation_loss(logits, coverage[mine].double(), run.config.loss, run.processes).backward()
    run.processes.average_gradients(network)
    return [one.grad for one in network.parameters() if one.grad is not None]


def _scores(run: trainer.Training, processes: Processes) -> dict[str, float]:
    torch.manual_seed(5)
    network = trainer.new_state(run.config, torch.device("cpu")).network
    device = torch.device("cpu")
    return validate(*slice_counts(network, run.sources.held_out, run.config.loss, 1, device, processes))


def _gap(one: list[Tensor], other: list[Tensor]) -> float:
    """Largest difference, as a share of the largest value."""
    most = max(float(a.abs().max()) for a in one)
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True)) / most


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    trainer.write_curves = lambda history, output: None  # type: ignore[assignment]
    config = _config(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    child = os.fork()
    os.environ["RANK"] = "0" if child else "1"
    with join_processes(torch.device("cpu")) as processes:
        together = _one_update(trainer.Training(config, folder / "unused", processes=processes))
        exact = _exact_gradients(trainer.Training(config, folder / "unused", processes=processes))
        scores = _scores(trainer.Training(config, folder / "unused", processes=processes), processes)
        result = trainer.Training(config, folder / "run", processes=processes).run()
    if not child:
        os._exit(0)
    code = os.waitpid(child, 0)[1]
    alone = trainer.Training(config, folder / "unused")
    reference = _one_update(alone)
    truth = _exact_gradients(trainer.Training(config, folder / "unused"))
    rounded = [one.float() for one in truth]
    told = {
        "other_rank_failed": code,
        "gradient_gap": _gap(truth, exact),
        "rounding_together": _gap(rounded, together[0]),
        "rounding_alone": _gap(rounded, reference[0]),
        "statistics_gap": _gap(reference[1], together[1]),
        "loss_gap": abs(reference[2] - together[2]),
        "scores_equal": scores == _scores(alone, ALONE),
        "epochs": len(result.history),
        "files": sorted(path.name for path in (folder / "run").iterdir()),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
