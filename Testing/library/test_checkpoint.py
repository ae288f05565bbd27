"""Model files: what is written is read, and everything else is refused with the reason and never executed. And
networks."""

import hashlib
import json
import pickle
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from headers import split_header
from safetensors.numpy import load_file, save
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from SpinalCordSegLib.errors import ConfigurationError, ModelFileError, OutputError
from SpinalCordSegLib.model.checkpoint import (
    MODELS_VARIABLE,
    NETWORKS,
    Calibration,
    Checkpoint,
    NetworkConfig,
    checkpoint_network,
    default_model,
    find_model,
    load_card,
    load_checkpoint,
    save_checkpoint,
    signed_file,
)
from SpinalCordSegLib.model.networks import build_network
from SpinalCordSegLib.model.preprocessing import NormalisationConfig


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    torch.manual_seed(5)
    network = NetworkConfig("deep_unet", 1)
    return Checkpoint(
        name="tiny",
        version="0.1",
        network=network,
        normalisation=NormalisationConfig("fixed_pixel", pixel_mm=0.7, intensity="percentile"),
        weights=build_network(network).state_dict(),
        calibration=Calibration(1.5, -0.25),
        training={"epochs": 3, "rate": [1e-5, 1e-3]},
        scores={"dice": 0.9},
        provenance={"data": "phantoms"},
        licence="Apache-2.0",
        software_version="0.1.0",
    )


@pytest.fixture
def path(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    save_checkpoint(checkpoint, tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


def rewrite(path: Path, checkpoint: Checkpoint, change: dict, weights: dict | None = None) -> None:
    """A file that is whole and well signed, but whose card says something else."""
    header, _ = split_header(path.read_bytes())
    card = json.loads(header["__metadata__"]["card"])
    card.update(change)
    text = json.dumps({name: value for name, value in card.items() if value is not None})
    weights = weights or checkpoint.weights
    table, data = split_header(save(weights))
    path.write_bytes(signed_file(text, table, data))


def test_round_trip(checkpoint: Checkpoint, path: Path) -> None:
    loaded = load_checkpoint(path)
    for field in ("name", "version", "network", "normalisation", "calibration", "training", "scores", "provenance"):
        assert getattr(loaded, field) == getattr(checkpoint, field)
    assert (loaded.licence, loaded.software_version, loaded.path) == ("Apache-2.0", "0.1.0", path)
    assert loaded.weights.keys() == checkpoint.weights.keys()
    assert all(np.array_equal(loaded.weights[name], checkpoint.weights[name]) for name in loaded.weights)
    assert len(loaded.sha256 or "") == 64


def test_another_reader_finds_the_same_weights(checkpoint: Checkpoint, path: Path) -> None:
    theirs = load_file(path)
    assert theirs.keys() == checkpoint.weights.keys()
    assert all(np.array_equal(theirs[name], checkpoint.weights[name]) for name in theirs)


def test_hashes_of_the_file_and_of_the_model(checkpoint: Checkpoint, path: Path) -> None:
    wanted, loaded = hashlib.sha256(path.read_bytes()).hexdigest(), load_checkpoint(path)
    assert loaded.file_sha256 == save_checkpoint(checkpoint, path).file_sha256 == wanted  # writing is reproducible
    assert load_card(path).sha256 is None
    assert load_card(path).card() == checkpoint.card()
    renamed = save_checkpoint(replace(checkpoint, name="other", scores={"dice": 1}), path)
    assert renamed.sha256 == loaded.sha256 and renamed.file_sha256 != wanted
    assert save_checkpoint(replace(checkpoint, calibration=Calibration(2.0)), path).sha256 != loaded.sha256


def test_a_malicious_pickle_is_refused_and_never_opened(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "owned",))

    for protocol in (0, 2, 4):
        path = tmp_path / f"evil{protocol}.safetensors"
        path.write_bytes(pickle.dumps(Evil(), protocol=protocol))
        for reader in (load_card, load_checkpoint):
            with pytest.raises(ModelFileError, match="pickle" if protocol else "not a weights file"):
                reader(path)
    zipped = tmp_path / "zip.safetensors"
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Evil()))
    with pytest.raises(ModelFileError, match="pickle"):
        load_checkpoint(zipped)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("kept", [0, 4, 8, 100, 5000, -1])
def test_truncated(path: Path, kept: int) -> None:
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelFileError, match="truncated"):
        load_checkpoint(path)


def test_one_flipped_byte_anywhere(path: Path) -> None:
    content = path.read_bytes()
    n_header = 8 + struct.unpack("<Q", content[:8])[0]
    places = [*range(8), *range(8, n_header, max(1, n_header // 40)), n_header, len(content) // 2, len(content) - 1]
    for place in places:
        altered = bytearray(content)
        altered[place] ^= 0x10
        path.write_bytes(altered)
        with pytest.raises(ModelFileError):
            load_checkpoint(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format_version": 2}, "newer"),
        ({"format": "another"}, "not one of SpinalCordSeg"),
        ({"licence": None}, "'licence'"),
        ({"normalisation": None}, "'normalisation'"),
        ({"scores": [1]}, "'scores'"),
        ({"network": {"name": "vnet", "width": 1}}, "vnet"),
        ({"network": {"name": "deep_unet", "width": 2}}, "not those of deep_unet of width 2"),
        ({"network": {"name": "ra_unet", "width": 1}}, "not those of ra_unet"),
        ({"network": {"name": "ra_unet", "width": 1, "norm": "group"}}, "norm"),
        ({"normalisation": {"kind": "other"}}, "other"),
        ({"calibration": {"scale": 0.0, "bias": 0.0}}, "calibration"),
        ({"calibration": {"scale": "1"}}, 'scale: .* number.* "1"'),
    ],
)
def test_cards_that_do_not_fit(checkpoint: Checkpoint, path: Path, change: dict, reason: str) -> None:
    rewrite(path, checkpoint, change)
    with pytest.raises(ModelFileError, match=reason) as caught:
        checkpoint_network(load_checkpoint(path))
    assert str(path) in str(caught.value)


def test_weights_that_do_not_fit(checkpoint: Checkpoint, path: Path) -> None:
    first, *others = checkpoint.weights
    for weights, reason in [
        ({name: checkpoint.weights[name] for name in others}, "Missing key"),
        ({**checkpoint.weights, "extra": np.zeros(1, np.float32)}, "extra"),
        ({**checkpoint.weights, first: np.zeros((2, 2), np.float32)}, "size mismatch"),
        ({**checkpoint.weights, first: checkpoint.weights[first] * np.float32(np.nan)}, "NaN"),
    ]:
        rewrite(path, checkpoint, {}, weights)
        with pytest.raises(ModelFileError, match=reason):
            checkpoint_network(load_checkpoint(path))
        with pytest.raises(ModelFileError, match=reason):
            save_checkpoint(replace(checkpoint, weights=weights), path)


def test_a_model_is_too_poor_by_its_own_validation(checkpoint: Checkpoint) -> None:
    for dice, expected in ((0.628, True), (0.95, False), (None, False), ("?", False)):
        assert replace(checkpoint, scores={"validation": {"dice": dice}}).is_too_poor is expected
    assert not replace(checkpoint, scores={"validation": []}).is_too_poor


def test_safetensors_of_others(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    path.write_bytes(save({"a": np.zeros(3)}, metadata={"format": "pt"}))
    with pytest.raises(ModelFileError, match="not a weights file"):
        load_checkpoint(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for name in ("none.safetensors", "a\0b"):
        with pytest.raises(ModelFileError, match="no such weights file"):
            load_checkpoint(tmp_path / name)
    with pytest.raises(ModelFileError, match="cannot be read"):
        load_checkpoint(tmp_path)


def test_failed_writing_leaves_nothing(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(OutputError):
        save_checkpoint(checkpoint, tmp_path / "taken" / "a.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(OutputError):
        save_checkpoint(checkpoint, tmp_path / "folder.safetensors")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.safetensors", "taken"]


def test_no_model_is_said_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MODELS_VARIABLE, str(tmp_path / "none"))
    monkeypatch.setattr("SpinalCordSegLib.model.checkpoint.package_models_folder", lambda: tmp_path / "nothing")
    with pytest.raises(ModelFileError, match=MODELS_VARIABLE):
        default_model()


def test_a_model_is_named_by_its_listed_name_or_its_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MODELS_VARIABLE, str(path.parent))
    assert find_model("Tiny") == path and find_model(str(path)) == path
    run = path.parent / "run1.0"
    run.mkdir()
    with pytest.raises(ModelFileError, match="no model of this name"):
        find_model(run)
    (run / "best.safetensors").touch()
    assert find_model(run) == run / "best.safetensors"
    assert find_model() == default_model()
    assert find_model("not/there.safetensors") == Path("not/there.safetensors")  # whoever opens it reports it
    with pytest.raises(ModelFileError, match="no model of this name"):
        find_model("nobody")


# The networks: published sizes, shapes, initial values.


@pytest.mark.parametrize(
    ("name", "width", "parameters", "gflops"),
    [
        ("ra_unet", 8, 2_916_337, 5.04),
        ("ra_unet", 4, 737_897, 1.28),
        ("unet", 8, 31_030_593, 109.07),
        ("deep_unet", 8, 593_729, 16.15),
    ],
)
def test_published_size_and_work(name: str, width: int, parameters: int, gflops: float) -> None:
    network = build_network(NetworkConfig(name, width))
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network.eval()(torch.zeros(1, 1, 32, 32))
    assert counter.get_total_flops() * 8**2 / 1e9 == pytest.approx(gflops, abs=0.005)  # a slice of 256²


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", [(1, 1, 100, 96), (1, 2, 64, 64), (1, 64, 64), (0, 1, 64, 64)])
def test_other_shapes_are_refused_with_the_reason(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigurationError, match="multiples of 32"):
        build_network(NetworkConfig(name, 1))(torch.zeros(shape))


@pytest.mark.parametrize("name", NETWORKS)
def test_glorot_weights_zero_biases_keras_batch_normalisation(name: str) -> None:
    network = build_network(NetworkConfig(name, 4))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out, fan_in, *kernel = module.weight.shape
            limit = (6 / ((fan_in + fan_out) * kernel[0] * kernel[1])) ** 0.5
            assert module.weight.abs().max() <= limit
            assert module.weight.abs().max() > 0.5 * limit
            assert module.bias is not None and not module.bias.any()
        if isinstance(module, nn.BatchNorm2d):
            assert (module.eps, module.momentum) == (1e-3, 0.01)


@pytest.mark.parametrize("fields", [{"name": "vnet"}, {"width": 0}, {"width": 2.5}, {"width": True}])
def test_bad_configuration_is_refused(fields: dict) -> None:
    with pytest.raises(ConfigurationError):
        NetworkConfig(**fields)
