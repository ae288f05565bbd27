"""Cross-validation of two drawn people: everybody judged once, one summary; a second call trains nothing again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cord_files import put_case

from SpinalCordSegLib.model.checkpoint import Checkpoint, save_checkpoint
from SpinalCordSegLib.model.networks import NetworkConfig, build_network
from SpinalCordSegLib.model.preprocessing import NormalisationConfig
from SpinalCordSegTrainerLib import evaluation
from SpinalCordSegTrainerLib.cli import main

QUICK = [
    "--set", "network.name=deep_unet", "--set", "network.width=1", "--set", "batch_size=2",
    "--set", "updates_per_epoch=1", "--set", "epochs=1", "--set", "normalisation.size=32",
    "--set", "statistics_batches=1", "--device", "cpu", "--threads", "1",
]  # fmt: skip


def test_two_folds_and_one_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, output = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    for number in range(2):
        put_case(data, f"sub-{number}", number)
    arguments = ["crossvalidate", str(data), "--output", str(output), "--folds", "2", *QUICK]
    assert main(arguments) == 0
    told = json.loads((output / "scores.json").read_text(encoding="utf-8"))
    summary = json.loads((output / "folds.json").read_text(encoding="utf-8"))
    assert told["cases"] == 2
    assert [row["patients_held_out"] for row in summary["folds"]] == [1, 1]
    held = [json.loads((output / f"fold{n}" / "split.json").read_text(encoding="utf-8")) for n in (1, 2)]
    assert sorted(part[0]["validation"][0] for part in held) == ["0", "1"]
    assert summary["over_folds"]["dice_per_slice"]["n"] == 2
    monkeypatch.setattr(evaluation.Training, "step", lambda run: pytest.fail("trained again"))
    assert main(arguments) == 0


def test_slices_that_nobody_drew_are_not_judged_when_left_out_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, output = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    for number in range(2):
        put_case(data, f"sub-{number}", number)
    network = NetworkConfig("deep_unet", 1)
    untrained = Checkpoint("m", "1", network, NormalisationConfig(size=32), dict(build_network(network).state_dict()))
    save_checkpoint(untrained, tmp_path / "m.safetensors")
    monkeypatch.setattr(evaluation, "_train", lambda *_: tmp_path / "m.safetensors")
    arguments = ["crossvalidate", str(data), "--output", str(output), "--folds", "2", "--only-labelled", *QUICK]
    assert main(arguments) == 0
    told = json.loads((output / "scores.json").read_text(encoding="utf-8"))
    assert (told["slices_with_cord"], told["slices_without_cord"]) == (6, 0)  # 3 of the 5 slices of each are drawn
