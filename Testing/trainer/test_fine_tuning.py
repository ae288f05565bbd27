"""Starting from a model: its weights, refusal where they do not fit, forgetting in numbers, and the card of it all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from SpinalCordSegLib.cli import main as explain
from SpinalCordSegLib.errors import ConfigurationError, DeviceError
from SpinalCordSegLib.model.checkpoint import Checkpoint, load_card, load_checkpoint, save_checkpoint
from SpinalCordSegLib.model.networks import NetworkConfig, build_network
from SpinalCordSegLib.model.preprocessing import NormalisationConfig
from SpinalCordSegTrainerLib import trainer
from SpinalCordSegTrainerLib.config import CropConfig, SourceConfig, TrainingConfig, ValidationConfig
from SpinalCordSegTrainerLib.distributed import Precision, deterministic_kernels, device_failures
from SpinalCordSegTrainerLib.run_folder import new_state
from SpinalCordSegTrainerLib.slice_cache import SliceCache
from SpinalCordSegTrainerLib.trainer import fine_tuning_config, starting_weights, validation_for

MakeCache = Callable[..., SliceCache]
NETWORK = NetworkConfig("deep_unet", 1)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.set_num_threads(1)
    torch.manual_seed(3)
    weights = dict(build_network(NETWORK).state_dict())
    save_checkpoint(Checkpoint("old", "1", NETWORK, NormalisationConfig(), weights), tmp_path / "old.safetensors")
    return tmp_path / "old.safetensors"


def _config(cache: SliceCache, **more: object) -> TrainingConfig:
    settings: dict = {
        "network": NETWORK,
        "sources": (SourceConfig(str(cache.folder)),),
        "crop": CropConfig(size=32),
        "batch_size": 2,
        "updates_per_epoch": 2,
        "epochs": 2,
        "statistics_batches": 1,
        "validation": ValidationConfig(fraction=0.25),
    }
    return TrainingConfig(**settings | more)


def test_starts_from_the_weights_and_tells_what_was_forgotten(
    make_cache: MakeCache,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(trainer, "write_curves", lambda history, folder: None)
    new, old = make_cache(n=8, size=64), make_cache(n=4, size=64, name="old", seed=9)
    config = _config(new, from_model=str(model), old_caches=(str(old.folder),))
    run = trainer.Training(config, tmp_path / "run")
    start = load_checkpoint(model).weights
    assert all(torch.equal(one, start[name]) for name, one in run.state.network.state_dict().items())
    result = run.run()
    assert result.old_before["n_slices"] == 4
    card = load_card(result.last)
    assert card.scores["old_cases"]["before"] == result.old_before
    assert card.scores["old_cases"]["after"]["dice"] == result.history[-1]["old_dice"]
    assert card.scores["old_cases"]["after"]["loss"] != result.old_before["loss"]
    assert card.training["from_model"] == "old.safetensors"
    assert card.provenance["split"] == [{"cache": "cache", "subjects_training": 3, "subjects_validation": 1}]
    assert str(tmp_path) not in json.dumps([card.training, card.scores, card.provenance])
    page = result.last.with_suffix(".md").read_text(encoding="utf-8")
    for words in ("Fine-tuned from old.safetensors", "## Intended use", "## Limits", "simulated slices only",
                  "Old cases, before and after", "![curves](curves.png)", "| cache | 3 | 1 |"):  # fmt: skip
        assert words in page
    assert explain(["models", str(result.last)]) == 0
    told = capsys.readouterr().out
    for words in ("intended use: Research", "  - Masks have to be looked at", "subjects validation: 1", "before:"):
        assert words in told
    model.unlink()  # a resumed run needs it no more
    longer = trainer.Training(replace(config, epochs=3), tmp_path / "run", resume=True)
    assert longer.run().old_before == result.old_before


def test_a_model_that_does_not_fit_is_refused(make_cache: MakeCache, model: Path) -> None:
    cache = make_cache(n=4, size=64)
    other = _config(cache, from_model=str(model), network=NetworkConfig("deep_unet", 2),
                    normalisation=NormalisationConfig(kind="fixed_pixel", pixel_mm=0.7))  # fmt: skip
    with pytest.raises(ConfigurationError, match=r"network.width is 1 there and 2 here.*normalisation.kind"):
        starting_weights(other)
    assert starting_weights(_config(cache)) is None
    taken = fine_tuning_config(other, model)
    assert asdict(taken.network) == asdict(NETWORK)
    assert starting_weights(taken) is not None


def test_few_corrected_cases_of_one_patient_are_all_trained_on(make_cache: MakeCache) -> None:
    one, two = make_cache(n=2, size=64, name="one"), make_cache(n=4, size=64, name="two")
    assert validation_for(_config(one)).fraction == 0
    assert validation_for(_config(two)).fraction == 0.25


def test_mixed_precision_keeps_loss_and_weights_in_32_bits(make_cache: MakeCache) -> None:
    torch.set_num_threads(1)
    state = new_state(_config(make_cache(n=4, size=64)), torch.device("cpu"))
    arithmetic = Precision(torch.device("cpu"), torch.bfloat16)
    images = torch.rand(2, 1, 64, 64)
    logits = arithmetic.logits(state.network, images)
    whole = Precision(torch.device("cpu")).logits(state.network, images)
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, whole)
    assert (logits - whole).abs().mean() < 0.1 * whole.std()
    arithmetic.backward(logits.sum())
    assert {one.grad.dtype for one in state.network.parameters() if one.grad is not None} == {torch.float32}


@pytest.mark.parametrize("able", [True, False])
def test_mixed_precision_only_where_the_cpu_has_units_for_it(able: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("SpinalCordSegTrainerLib.distributed.cpu_has_bfloat16", lambda: able)
    if able:
        logits = Precision.chosen("mixed", torch.device("cpu")).logits(torch.nn.Conv2d(1, 1, 3), torch.rand(1, 1, 8, 8))
        assert logits.dtype == torch.float32
        return
    with pytest.raises(ConfigurationError, match="CUDA"):
        Precision.chosen("mixed", torch.device("cpu"))


def test_deterministic_mode_is_put_back() -> None:
    with deterministic_kernels(True):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_card_that_is_too_small_or_lost_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lost(RuntimeError):
        pass

    monkeypatch.setattr("SpinalCordSegTrainerLib.distributed._DEVICE_LOST", Lost)
    for error, words in ((torch.cuda.OutOfMemoryError("full"), "batch of 15: .*recompute"), (Lost("gone"), "--resume")):
        with pytest.raises(DeviceError, match=words), device_failures(15):
            raise error
