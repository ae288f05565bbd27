"""What the probe answers when a device works and its memory is another program's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from threshold_model import write_threshold_model

from SpinalCordSegLib.model import checkpoint
from SpinalCordSegLib.worker import probe


def test_a_busy_device_is_ready_and_its_pace_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_threshold_model(tmp_path / "threshold.safetensors")
    devices = probe(model)["devices"]
    assert devices[-1]["name"] == "cpu" and devices[-1]["seconds_per_slice"] > 0

    def full(_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(checkpoint, "checkpoint_network", full)
    answer = probe(model)
    assert answer["state"] == "ready" and answer["devices"][-1]["seconds_per_slice"] is None
