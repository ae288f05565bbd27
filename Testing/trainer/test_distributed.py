"""Several processes compute what one big batch would: gradients, BatchNorm statistics, loss and validation scores."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from SpinalCordSegLib.model.networks import NetworkConfig
from SpinalCordSegTrainerLib.batches import Batch, Prefetcher
from SpinalCordSegTrainerLib.config import LossConfig, SourceConfig, TrainingConfig, ValidationConfig
from SpinalCordSegTrainerLib.distributed import join_processes
from SpinalCordSegTrainerLib.losses import segmentation_loss
from SpinalCordSegTrainerLib.slice_cache import SliceCache
from SpinalCordSegTrainerLib.trainer import Training


def _first_update(run: Training) -> tuple[list[Tensor], list[Tensor], float]:
    """Gradients, running statistics and loss of the first batch in 64 bits, where rounding hides nothing."""
    network, (images, coverage) = run.state.network.double().train(), run.batches.batch(0)
    parallel = run.processes.parallel(network)
    mine = run.processes.part(len(images))
    loss = segmentation_loss(parallel(images[mine].double()), coverage[mine].double(), run.config.loss, run.processes)
    loss.backward()
    gradients = [one.grad for one in network.parameters() if one.grad is not None]
    statistics = [one for name, one in network.named_buffers() if "running" in name]
    return gradients, statistics, float(loss.detach())


def _gap(one: list[Tensor], other: list[Tensor]) -> float:
    """Largest difference, as a share of the largest value."""
    most = max(float(a.abs().max()) for a in one)
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True)) / most


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the other process is forked")
def test_two_processes_equal_one_big_batch(
    make_cache: Callable[..., SliceCache], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gloo on the CPU; one process gets 2 slices of a batch, the other 3."""
    config = TrainingConfig(
        network=NetworkConfig("deep_unet", 1),
        sources=(SourceConfig(str(make_cache(n=8, size=64, per_subject=1).folder), policy="standard"),),
        loss=LossConfig(bce_weight=0.3),
        validation=ValidationConfig(fraction=0.4, batch_size=1),
        batch_size=5,
        updates_per_epoch=1,
        epochs=1,
        statistics_batches=1,
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in (("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", str(port)), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    child = os.fork()
    monkeypatch.setenv("RANK", "0" if child else "1")
    code = 1
    try:
        with join_processes(torch.device("cpu")) as processes:
            together = _first_update(Training(config, tmp_path / "unused", processes=processes))
            result = Training(config, tmp_path / "run", processes=processes).run()
        code = 0
    finally:
        if not child:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    alone = _first_update(Training(config, tmp_path / "unused"))
    assert _gap(alone[0], together[0]) < 1e-9 and _gap(alone[1], together[1]) < 1e-9
    assert together[2] == pytest.approx(alone[2], rel=1e-12)
    (row,), (other,) = result.history, Training(config, tmp_path / "alone").run().history
    for name in ("train_loss", "loss", "mcc", "dice", "area_percent", "n_slices"):
        assert row[name] == pytest.approx(other[name], rel=0.02, abs=1e-3), name
    assert (tmp_path / "run" / "last.safetensors").exists()


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_batches_made_ahead_are_the_same(threads: int) -> None:
    def make(update: int) -> Batch:
        return torch.full((1,), float(update)), torch.zeros(1)

    ahead = Prefetcher(make, threads)
    assert [float(ahead.batch(update)[0]) for update in (4, 5, 6, 9)] == [4, 5, 6, 9]
    ahead.close()
