"""A run that is killed at any moment goes on and ends with the very weights of an undisturbed one."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from SpinalCordSegLib.errors import OutputError, TrainingDataError
from SpinalCordSegLib.model.networks import NetworkConfig
from SpinalCordSegTrainerLib.config import TrainingConfig
from SpinalCordSegTrainerLib.distributed import ALONE
from SpinalCordSegTrainerLib.run_folder import (
    load_state,
    new_state,
    previous,
    record_start,
    remove_remains,
    save_state,
    saved_state,
)

CPU = torch.device("cpu")
KILLS = os.environ.get("SPINALCORDSEG_KILLS", "3")  # make soak: 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the runs are forked")
def test_killed_at_random_moments(tmp_path: Path) -> None:
    script = Path(__file__).with_name("killed_runs.py")
    done = subprocess.run([sys.executable, str(script), str(tmp_path), KILLS], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    told = json.loads(done.stdout)
    print(told)
    assert told["killed"] == told["resumed"] == told["bit_equal"] == int(KILLS)


def _config() -> TrainingConfig:
    return TrainingConfig(network=NetworkConfig("deep_unet", 1))


def _saved_twice(path: Path) -> None:
    state = new_state(_config(), CPU)
    for state.update in (5, 6):
        save_state(state, _config(), path)


def test_the_two_newest_states_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    assert saved_state(path) is None
    _saved_twice(path)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["state.safetensors", "state_previous.safetensors"]
    assert load_state(_config(), path, CPU).update == 6
    path.write_bytes(path.read_bytes()[:1000])  # the newest is damaged
    assert load_state(_config(), path, CPU).update == 5
    path.unlink()  # or was never moved into place
    assert saved_state(path) == previous(path)
    assert load_state(_config(), path, CPU).update == 5
    previous(path).unlink()
    with pytest.raises(TrainingDataError, match="no saved run"):
        load_state(_config(), path, CPU)


def test_a_full_disk_leaves_what_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.safetensors"
    _saved_twice(path)

    def full(self: Path, content: bytes) -> int:
        with open(self, "wb") as file:
            file.write(content[:500])
        raise OSError(errno.ENOSPC, "No space left on device")

    state = new_state(_config(), CPU)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OutputError, match="disk is full"):
            save_state(state, _config(), path)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["state.safetensors", "state_previous.safetensors"]
    assert load_state(_config(), path, CPU).update == 6


def test_remains_of_a_killed_process_go_and_every_start_is_recorded(tmp_path: Path) -> None:
    (tmp_path / ".0a1b2c.part.safetensors").write_bytes(b"half")
    remove_remains(tmp_path)
    assert list(tmp_path.iterdir()) == []
    for update in (0, 7):
        record_start(tmp_path, update, ALONE)
    starts = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["starts"]
    assert [one["after_update"] for one in starts] == [0, 7]
    assert starts[0]["packages"]["torch"] == torch.__version__ or starts[0]["packages"]["torch"] in torch.__version__
    assert starts[0]["device"] == "cpu"
    assert starts[0]["git"] is None or len(starts[0]["git"]["commit"]) == 40
