"""The network rearranged for a CPU gives the logits it came from; a model is loaded in a thread that never stays."""

from __future__ import annotations

import importlib
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from SpinalCordSegLib.errors import ConfigurationError, MissingPackageError
from SpinalCordSegLib.inference import exact_part
from SpinalCordSegLib.model.cpu_engine import FoldedUnit, Window, inference_network
from SpinalCordSegLib.model.networks import NetworkConfig, ResidualUnit, build_network
from SpinalCordSegLib.model.ready_model import ModelInUse


def lived_in(network: nn.Module) -> nn.Module:
    """As after training: statistics and scales of all sizes and both signs, one channel of each norm switched off."""
    torch.manual_seed(5)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.3, 2)
            module.weight.data.uniform_(-1, 1.5)
            module.weight.data[0] = 0
            module.bias.data.normal_(0, 0.3)
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            module.bias.data.normal_(0, 0.1)
    return network.eval()


def logits(network: nn.Module, image: Tensor) -> Tensor:
    with torch.inference_mode():
        return network(image)


@pytest.mark.parametrize("name", ["ra_unet", "unet", "deep_unet"])
def test_the_logits_stay_to_1e_5(name: str) -> None:
    network = lived_in(build_network(NetworkConfig(name, 1)))
    image = torch.rand(2, 1, 64, 96)
    wanted = logits(network, image)
    assert wanted.std() > 1e-3
    assert (logits(inference_network(network), image) - wanted).abs().max() < 1e-5 * max(1.0, float(wanted.abs().max()))


def test_the_network_itself_is_left_as_it_was() -> None:
    network = lived_in(build_network(NetworkConfig("ra_unet", 1))).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    inference_network(network)(torch.rand(1, 1, 32, 32))
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_unit_on_joined_channels_needs_no_joined_array() -> None:
    unit = lived_in(ResidualUnit(4 + 8, 8))
    small, x = torch.randn(1, 4, 3, 5), torch.randn(1, 8, 6, 10)
    wanted = logits(unit, torch.cat([small.repeat_interleave(2, 2).repeat_interleave(2, 3), x], 1))
    assert isinstance(unit, ResidualUnit)
    with torch.inference_mode():
        found = FoldedUnit(unit)(x.permute(0, 2, 3, 1), small.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    assert (found - wanted).abs().max() < 1e-5


@pytest.mark.parametrize("window", [(32, 96, 24, 92), (0, 64, 64, 128), (0, 128, 0, 128)])
def test_a_window_has_the_logits_of_the_whole_but_for_its_halo(window: Window) -> None:
    network = lived_in(build_network(NetworkConfig("ra_unet", 1)))
    image = torch.rand(1, 1, 128, 128)
    top, bottom, left, right = exact_part(window, (128, 128))
    wanted = logits(network, image)[..., top:bottom, left:right]
    with torch.inference_mode():
        found = inference_network(network)(image, window)
    assert found.shape[2:] == (window[1] - window[0], window[3] - window[2])
    found = found[..., top - window[0] : bottom - window[0], left - window[2] : right - window[2]]
    assert (found - wanted).abs().max() < 1e-5


def test_a_size_that_does_not_fit_is_refused_as_before() -> None:
    with pytest.raises(ConfigurationError, match="multiples of 32"):
        inference_network(build_network(NetworkConfig("ra_unet", 1)))(torch.rand(1, 1, 40, 32))


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What was made ready, after a while."""
    made: list[tuple[str, str]] = []

    def get_ready(_model: ModelInUse, device: str, engine: str) -> None:
        time.sleep(0.1)
        made.append((device, engine))

    monkeypatch.setattr(ModelInUse, "get_ready", get_ready)
    return made


def test_the_block_runs_beside_and_waits_at_its_end(slow: list[tuple[str, str]]) -> None:
    with ModelInUse(Path("a.safetensors"), None).made_ready("cpu", "torch"):
        assert slow == []
    assert slow == [("cpu", "torch")]


def test_an_input_that_is_not_there_leaves_no_thread_behind(slow: list[tuple[str, str]]) -> None:
    """Else torch would be loaded in an interpreter that is closing, with a traceback below the error's line."""
    with pytest.raises(FileNotFoundError), ModelInUse(Path("a.safetensors"), None).made_ready("cpu", "torch"):
        raise FileNotFoundError("neck.nii.gz")
    assert slow == [("cpu", "torch")]


@pytest.mark.parametrize("error", [ModuleNotFoundError("No module named 'torch'"), OSError("libtorch_cpu.so: damaged")])
def test_a_missing_or_broken_torch_is_said_in_a_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_name: str) -> None:
        raise error

    monkeypatch.setattr(importlib, "import_module", refuse)
    model = ModelInUse(Path("a.safetensors"), None)
    with pytest.raises(MissingPackageError, match=r"PyTorch cannot be loaded \(.*\): install torch 2.4"):
        model.checkpoint()
    with model.made_ready("cpu", "torch"):  # the same in the thread is told there where it is needed
        pass
