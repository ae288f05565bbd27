"""Engines of a CPU: the rearranged network and ONNX Runtime give the logits of the network; a loaded model is kept."""

from __future__ import annotations

import importlib
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from SpinalCordSegLib.errors import ConfigurationError, MissingPackageError
from SpinalCordSegLib.inference import exact_part, is_out_of_memory, predict
from SpinalCordSegLib.model.checkpoint import Checkpoint
from SpinalCordSegLib.model.cpu_engine import FoldedUnit, Window, choose_engine, inference_network
from SpinalCordSegLib.model.networks import NetworkConfig, ResidualUnit, build_network
from SpinalCordSegLib.model.preprocessing import NormalisationConfig
from SpinalCordSegLib.model.ready_model import ModelInUse
from SpinalCordSegLib.volume import Volume


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


IMAGE = torch.rand(1, 1, 64, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(3)
    network = build_network(NetworkConfig("ra_unet", 1)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(-1, 1.5)
            module.bias.data.normal_(0, 0.3)
    return network


@pytest.fixture
def without_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)


def test_onnx_runtime_is_chosen_where_it_is_installed_and_agrees(network: nn.Module) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    chosen = choose_engine(network, IMAGE)
    assert chosen.name == f"onnxruntime {onnxruntime.__version__}" and chosen.notes == ()
    with torch.inference_mode():
        wanted = network(IMAGE)
    assert wanted.std() > 1e-3 and (chosen.logits(IMAGE) - wanted).abs().max() < 1e-5
    wide = torch.rand(2, 1, 32, 96)  # any size and number, from the same model
    with torch.inference_mode():
        assert (chosen.logits(wide) - network(wide)).abs().max() < 1e-5


def test_both_engines_give_the_same_window(network: nn.Module) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    image, window = torch.rand(1, 1, 96, 128), (16, 84, 24, 100)
    first, second = (choose_engine(network, IMAGE, name).window_logits for name in ("torch", "onnxruntime"))
    assert first is not None and second is not None
    assert first(image, window).shape == (1, 1, 68, 76)
    assert (first(image, window) - second(image, window)).abs().max() < 1e-5


def test_without_the_package_torch_computes_and_says_nothing(network: nn.Module, without_onnxruntime: None) -> None:
    chosen = choose_engine(network, IMAGE)
    assert chosen.name == f"torch {torch.__version__}" and chosen.notes == ()
    with torch.inference_mode():
        assert (chosen.logits(IMAGE) - network(IMAGE)).abs().max() < 1e-5


def test_asked_for_and_missing_says_what_to_install(network: nn.Module, without_onnxruntime: None) -> None:
    with pytest.raises(MissingPackageError, match="pip install onnx onnxruntime"):
        choose_engine(network, IMAGE, "onnxruntime")


class _Session:
    """Stands in for onnxruntime's: wrong numbers, or a failure."""

    result: float | Exception = 0.0

    def __init__(self, *arguments: object, **options: object) -> None:
        if isinstance(self.result, Exception):
            raise self.result

    def run(self, names: object, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [np.full_like(next(iter(inputs.values())), self.result)]


class _Fail(Exception):
    """One of onnxruntime's own errors, which have no base in common."""


@pytest.mark.parametrize(
    ("result", "words"),
    [(50.0, "off those of torch"), (np.nan, "off those of torch"), (_Fail("no such kernel\nmore"), "no such kernel")],
    ids=["wrong", "nan", "fails"],
)
def test_an_engine_that_fails_the_self_check_is_left_aside_with_a_note(
    network: nn.Module, monkeypatch: pytest.MonkeyPatch, result: float | Exception, words: str
) -> None:
    runtime = types.ModuleType("onnxruntime")
    runtime.__dict__.update(
        __version__="0", InferenceSession=type("S", (_Session,), {"result": result}),
        SessionOptions=types.SimpleNamespace, disable_telemetry_events=lambda: None,
    )  # fmt: skip
    state = types.ModuleType("onnxruntime.capi.onnxruntime_pybind11_state")
    state.__dict__["Fail"] = _Fail
    capi = types.ModuleType("onnxruntime.capi")
    capi.__dict__["onnxruntime_pybind11_state"] = state
    for module in (runtime, capi, state, types.ModuleType("onnx")):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    from SpinalCordSegLib.model import cpu_engine

    monkeypatch.setattr(cpu_engine, "ra_unet_model", lambda network, windowed: b"")
    chosen = choose_engine(network, IMAGE)
    assert chosen.name.startswith("torch") and len(chosen.notes) == 1
    assert words in chosen.notes[0] and "torch computed" in chosen.notes[0] and "\n" not in chosen.notes[0]


def test_memory_that_runs_out_in_onnx_runtime_is_told_as_that_of_torch(
    network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So one slice at a time is tried next, and then there is advice: its own errors have no base in common."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX RUNTIME MISSING: its lack of memory was not tested")
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail

    class Session(onnxruntime.InferenceSession):
        full = False

        def run(self, *arguments: object) -> object:
            if Session.full:
                raise Fail("Failed to allocate memory for requested buffer of size 1")
            return super().run(*arguments)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    chosen = choose_engine(network, IMAGE, "onnxruntime")
    Session.full = True
    with pytest.raises(RuntimeError, match="Failed to allocate") as caught:
        chosen.logits(IMAGE)
    assert is_out_of_memory(caught.value)


def test_other_networks_and_unknown_names() -> None:
    other = build_network(NetworkConfig("deep_unet", 1)).eval()
    assert choose_engine(other, IMAGE).name.startswith("torch")
    with pytest.raises(ConfigurationError, match="RA-U-Net only"):
        choose_engine(other, IMAGE, "onnxruntime")
    with pytest.raises(ConfigurationError, match="unknown engine"):
        choose_engine(other, IMAGE, "tensorrt")


def test_the_engine_and_the_number_of_threads_change_no_probability(network: nn.Module) -> None:
    """Also: the note of a left engine reaches the prediction, and torch's thread count is as before."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    config = NormalisationConfig("fixed_pixel", pixel_mm=0.7)
    checkpoint = Checkpoint("test", "0", NetworkConfig("ra_unet", 1), config, dict(network.state_dict()))
    voxels = np.random.default_rng(0).uniform(0, 100, (40, 50, 7)).astype(np.float32)
    volume = Volume.from_ijk(voxels, np.diag([0.8, 0.7, 2.0, 1.0]))
    before = torch.get_num_threads()
    found = {}
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            for name in ("torch", "onnxruntime"):
                found[name, threads] = predict(volume, checkpoint, device="cpu", engine=name)
                assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    first = found["torch", 1].probability.ijk
    assert np.ptp(first) > 1e-3
    for (name, _), prediction in found.items():
        assert prediction.engine.startswith(name)
        assert np.abs(prediction.probability.ijk - first).max() < 1e-5
