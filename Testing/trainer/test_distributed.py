"""Several processes compute what one big batch would: gradients, BatchNorm statistics, loss and validation scores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from SpinalCordSegTrainerLib.batches import Batch, Prefetcher
from SpinalCordSegTrainerLib.distributed import ALONE, Processes, SyncedBatchNorm


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forked")
def test_two_processes_equal_one_big_batch(tmp_path: Path) -> None:
    script = Path(__file__).with_name("two_processes.py")
    done = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    print(told)
    assert told["other_rank_failed"] == 0
    assert told["gradient_gap"] < 1e-9  # in 64 bits; in 32 bits two processes may round no worse than one does
    assert told["rounding_together"] < max(1e-5, 3 * told["rounding_alone"])
    assert told["statistics_gap"] < 1e-5
    assert told["loss_gap"] < 1e-5
    assert told["scores_equal"]
    assert told["epochs"] == 1
    assert "last.safetensors" in told["files"]


@pytest.mark.parametrize("momentum", [0.01, None])
def test_our_batch_norm_is_torchs_own_where_one_rank_sees_all(momentum: float | None) -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3, eps=1e-3, momentum=momentum)
    nn.init.uniform_(norm.weight)
    ours = SyncedBatchNorm(3, eps=1e-3, momentum=momentum)
    ours.load_state_dict(norm.state_dict())
    ours.processes = ALONE
    features = torch.randn(4, 3, 5, 6) * 7 + 2
    inputs = [features.clone().requires_grad_() for _ in range(2)]
    for module, given in ((norm, inputs[0]), (ours, inputs[1])):
        for _ in range(2):
            module(given).square().sum().backward()
    assert torch.allclose(inputs[0].grad, inputs[1].grad, atol=1e-3)
    for name, one in norm.state_dict().items():
        assert torch.allclose(one, ours.state_dict()[name], rtol=1e-5), name
    assert torch.allclose(norm.eval()(features), ours.eval()(features), atol=1e-5)


def test_a_batch_is_shared_out_whole() -> None:
    for count in (1, 2, 3, 4):
        parts = [Processes(rank, count).part(7) for rank in range(count)]
        assert [n for part in parts for n in range(7)[part]] == list(range(7))


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_batches_made_ahead_are_the_same(threads: int) -> None:
    def make(update: int) -> Batch:
        return torch.full((1,), float(update)), torch.zeros(1)

    ahead = Prefetcher(make, threads)
    assert [float(ahead.batch(update)[0]) for update in (4, 5, 6, 9)] == [4, 5, 6, 9]
    ahead.close()
