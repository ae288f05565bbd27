"""The engine: ONNX Runtime where it is there and right, torch otherwise, and the reader is told."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from SpinalCordSegLib.errors import ConfigurationError, MissingPackageError
from SpinalCordSegLib.inference import is_out_of_memory, predict
from SpinalCordSegLib.model import cpu_engine as engine_module
from SpinalCordSegLib.model.checkpoint import Checkpoint
from SpinalCordSegLib.model.cpu_engine import choose_engine
from SpinalCordSegLib.model.networks import NetworkConfig, build_network
from SpinalCordSegLib.model.preprocessing import NormalisationConfig
from SpinalCordSegLib.volume import Volume

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


def test_a_note_of_the_engine_reaches_the_prediction(monkeypatch: pytest.MonkeyPatch, network: nn.Module) -> None:
    from SpinalCordSegLib import inference as predict_module

    def choose(*arguments: object) -> engine_module.Engine:
        return engine_module.Engine("torch x", lambda inputs: inputs, ("left aside",))

    monkeypatch.setattr(predict_module, "ready_engine", choose)
    config = NormalisationConfig("fixed_pixel", pixel_mm=0.7)
    checkpoint = Checkpoint("test", "0", NetworkConfig("ra_unet", 1), config, dict(network.state_dict()))
    volume = Volume.from_ijk(np.zeros((8, 8, 2), np.int16), np.eye(4))
    found = predict(volume, checkpoint, device="cpu")
    assert found.notes == ("left aside",) and found.engine == "torch x"
