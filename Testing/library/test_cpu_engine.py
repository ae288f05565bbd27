"""The CPU's engine gives torch's logits for every network and window, needs no torch, and says what it lacks."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from SpinalCordSegLib.errors import DeviceError, MissingPackageError, ModelFileError
from SpinalCordSegLib.image_io import read_image, read_labels, write_volume
from SpinalCordSegLib.inference import Prediction, Work
from SpinalCordSegLib.model.checkpoint import (
    NETWORKS,
    Checkpoint,
    NetworkConfig,
    checkpoint_network,
    default_model,
    load_checkpoint,
)
from SpinalCordSegLib.model.cpu_engine import HALO, CpuEngine, Window
from SpinalCordSegLib.model.networks import build_network
from SpinalCordSegLib.model.preprocessing import NormalisationConfig
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.pipeline import segment_image
from SpinalCordSegLib.torch_inference import predict_with_torch


def lived_in(name: str, width: int = 1) -> Checkpoint:
    """As after training: statistics and scales of all sizes and both signs, one channel of each norm switched off."""
    torch.manual_seed(5)
    config = NetworkConfig(name, width)
    network = build_network(config)
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
    weights = {key: values.numpy() for key, values in network.state_dict().items()}
    return Checkpoint("test", "0", config, NormalisationConfig("fixed_pixel", pixel_mm=0.7), weights)


def torch_logits(checkpoint: Checkpoint, image: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return checkpoint_network(checkpoint)(torch.from_numpy(image)).numpy()


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).random(shape, np.float32)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_graph_has_the_logits_of_torch_at_any_width_and_size(name: str) -> None:
    """A network that was changed needs its graph anew: make graphs."""
    checkpoint = lived_in(name, 3 if name == "ra_unet" else 1)
    engine = CpuEngine(checkpoint)
    for shape in ((1, 1, 64, 32), (2, 1, 32, 96)):
        wanted = torch_logits(checkpoint, image(*shape))
        assert wanted.std() > 1e-3
        assert np.abs(engine.logits(image(*shape)) - wanted).max() < 1e-5 * max(1.0, np.abs(wanted).max())


@pytest.mark.parametrize("window", [(32, 96, 24, 92), (0, 64, 64, 128)])
def test_a_window_has_the_logits_of_the_whole_but_for_its_halo(window: Window) -> None:
    checkpoint, (top, bottom, left, right) = lived_in("ra_unet"), window
    found = CpuEngine(checkpoint).logits(image(1, 1, 128, 128), window)
    wanted = torch_logits(checkpoint, image(1, 1, 128, 128))[..., top:bottom, left:right]
    assert found.shape == wanted.shape
    inner = (..., slice(HALO, -HALO), slice(HALO, -HALO))
    assert np.abs(found[inner] - wanted[inner]).max() < 1e-5


def test_a_missing_engine_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPackageError, match=r"ONNX Runtime cannot be loaded \(.*\): pip install onnxruntime"):
        CpuEngine(lived_in("ra_unet"))


def test_weights_of_another_network_are_refused() -> None:
    one, other = lived_in("ra_unet"), lived_in("deep_unet")
    mixed = Checkpoint("test", "0", one.network, one.normalisation, other.weights, path=Path("mixed.safetensors"))
    with pytest.raises(ModelFileError, match=r"mixed\.safetensors: the weights are not those of ra_unet of width 1"):
        CpuEngine(mixed)


def test_memory_that_runs_out_is_a_device_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own errors have no base in common."""
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail

    class Session(onnxruntime.InferenceSession):
        def run(self, *arguments: object) -> object:
            raise Fail("Failed to allocate memory for requested buffer of size 1")

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    with pytest.raises(DeviceError, match=r"Failed to allocate memory.*close other programs"):
        CpuEngine(lived_in("ra_unet")).logits(image(1, 1, 32, 32))


_SEGMENT = """
import sys
from importlib.machinery import PathFinder

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, *more):
        return None if name in ("torch", "safetensors", "onnx") else super().find_spec(name, *more)

sys.meta_path = [Finder if one is PathFinder else one for one in sys.meta_path]
from SpinalCordSegLib.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_machine_without_torch_segments_a_phantom_as_torch_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phantom = make_phantom(PhantomConfig(shape=(80, 76, 6), spacing_mm=(0.7, 0.7, 2.5)))
    write_volume(phantom.image, tmp_path / "neck.nii.gz")
    command = ["segment", str(tmp_path / "neck.nii.gz"), "--output", str(tmp_path / "out"), "--code", "neck"]
    subprocess.run([sys.executable, "-c", _SEGMENT, *command], check=True, capture_output=True, timeout=150)
    report = json.loads((tmp_path / "out" / "neck" / "report.json").read_text(encoding="utf-8"))
    assert report["device"] == "cpu" and report["engine"].startswith("onnxruntime")
    found = read_labels(tmp_path / "out" / "neck" / "mask.nii.gz").voxels != 0
    checkpoint = load_checkpoint(default_model())
    work = Work(phantom.image, checkpoint, (0, phantom.image.shape[0]))
    by_torch = Prediction(work.probability, *predict_with_torch(work, torch.device("cpu"), []) or ())
    monkeypatch.setattr("SpinalCordSegLib.inference.predict", lambda *arguments, **options: by_torch)
    wanted = segment_image(read_image(tmp_path / "neck.nii.gz"), checkpoint).mask.voxels != 0
    assert wanted.sum() > 500 and 2 * (found & wanted).sum() / (found.sum() + wanted.sum()) > 0.999
