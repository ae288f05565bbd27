"""The mean of runs from one start; what does not average is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from Recipes.calibration import average_models
from Recipes.cli import main
from SpinalCordSegLib.errors import ModelFileError
from SpinalCordSegLib.model.checkpoint import Calibration, Checkpoint, load_checkpoint, save_checkpoint
from SpinalCordSegLib.model.networks import NetworkConfig, build_network
from SpinalCordSegLib.model.preprocessing import NormalisationConfig


def _model(path: Path, seed: int, width: int = 2) -> Checkpoint:
    torch.manual_seed(seed)
    config = NetworkConfig(name="ra_unet", width=width)
    return save_checkpoint(
        Checkpoint(
            name="one",
            version=str(seed),
            network=config,
            normalisation=NormalisationConfig(kind="fixed_pixel", pixel_mm=0.7),
            weights=dict(build_network(config).state_dict()),
            calibration=Calibration(2.0, 1.0),
            scores={"dice": 0.9},
        ),
        path,
    )


def test_every_weight_is_the_mean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [tmp_path / f"{seed}.safetensors" for seed in range(3)]
    models = [_model(path, seed) for seed, path in enumerate(paths)]
    output = tmp_path / "mean.safetensors"
    assert main(["average", *map(str, paths), "--output", str(output)]) == 0
    mean = load_checkpoint(output)
    assert str(mean.sha256) in capsys.readouterr().out
    for name, tensor in mean.weights.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, torch.stack([model.weights[name] for model in models]).mean(0))
        else:
            assert torch.equal(tensor, models[0].weights[name])
    assert (mean.version, mean.calibration, mean.scores) == ("0", Calibration(), {})
    assert mean.provenance["mean_of"] == [model.sha256 for model in models]


def test_one_model_or_unlike_models_are_refused(tmp_path: Path) -> None:
    _model(tmp_path / "a.safetensors", 1)
    _model(tmp_path / "b.safetensors", 1, width=4)
    with pytest.raises(ModelFileError, match="at least two"):
        average_models([tmp_path / "a.safetensors"], tmp_path / "c.safetensors")
    with pytest.raises(ModelFileError, match=r"b\.safetensors: its network"):
        average_models([tmp_path / "a.safetensors", tmp_path / "b.safetensors"], tmp_path / "c.safetensors")
    assert not (tmp_path / "c.safetensors").exists()
