"""The loop: it learns, it resumes bit for bit, it stops when told, and what it saves is a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from SpinalCordSegLib.errors import Cancelled, ConfigurationError, OutputError, TrainingDataError
from SpinalCordSegLib.model.checkpoint import checkpoint_network, load_checkpoint
from SpinalCordSegLib.model.networks import NetworkConfig
from SpinalCordSegTrainerLib import trainer
from SpinalCordSegTrainerLib.batches import HeldOut, open_sources, validate
from SpinalCordSegTrainerLib.config import (
    CropConfig,
    LossConfig,
    RateConfig,
    SourceConfig,
    TrainingConfig,
    ValidationConfig,
)
from SpinalCordSegTrainerLib.run_folder import load_state, save_state
from SpinalCordSegTrainerLib.slice_cache import SliceCache
from SpinalCordSegTrainerLib.trainer import Progress, Training

MakeCache = Callable[..., SliceCache]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """One thread, and the picture of the curves (half a second an epoch) only where a test looks for it."""
    torch.set_num_threads(1)
    if request.node.name != "test_a_run_leaves_a_model_and_its_story":
        monkeypatch.setattr(trainer, "write_curves", lambda history, folder: None)


def _small(cache: SliceCache, **more: object) -> TrainingConfig:
    """A run of seconds: the narrowest network, crops of 32, augmented, averaged, rate by cosine."""
    settings: dict = {
        "network": NetworkConfig("deep_unet", 1),
        "sources": (SourceConfig(str(cache.folder), policy="contrast"),),
        "crop": CropConfig(size=32, jitter_px=6),
        "rate": RateConfig(plan="cosine", max_lr=1e-3),
        "batch_size": 4,
        "updates_per_epoch": 3,
        "epochs": 2,
        "ema_decay": 0.9,
        "statistics_batches": 2,
        "validation": ValidationConfig(fraction=0.25),
    }
    return TrainingConfig(**settings | more)


def _weights(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path).weights


@pytest.mark.slow
def test_learns_eight_slices(make_cache: MakeCache, tmp_path: Path) -> None:
    """f = 4 on 8 slices of 128²: Dice ≥ 0.95 in evaluation mode, with the paper's loss."""
    cache = make_cache(n=8, size=128, per_subject=1)
    config = TrainingConfig(
        network=NetworkConfig("ra_unet", 4),
        sources=(SourceConfig(str(cache.folder)),),
        validation=ValidationConfig(fraction=0.0),
        rate=RateConfig(plan="cosine", base_lr=1e-4, max_lr=6e-3, warmup_updates=10),
        batch_size=4,
        updates_per_epoch=60,
        epochs=1,
        statistics_batches=2,
    )
    result = Training(config, tmp_path / "run").run()
    network = checkpoint_network(load_checkpoint(result.best))
    scores = validate(network, [HeldOut(cache, np.arange(8))], LossConfig(), 8, CPU)
    assert scores.dice >= 0.95
    assert scores.mcc >= 0.95


def test_a_run_leaves_a_model_and_its_story(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache(n=8, size=64)
    seen: list[Progress] = []
    result = Training(_small(cache, name="small"), tmp_path / "run", report=seen.append).run()
    assert result.reason == "all epochs done"
    names = {"config.json", "split.json", "run.json", "epochs.csv", "curves.png", "best.md", "last.md"}
    assert {path.name for path in result.best.parent.iterdir()} == names | {
        "state.safetensors",
        "state_previous.safetensors",
        "best.safetensors",
        "last.safetensors",
    }
    checkpoint = load_checkpoint(result.last)
    assert checkpoint.name == "small"
    assert checkpoint.training["updates"] == 6
    assert checkpoint.provenance["sources"][0]["slices"] == 6  # the 2 held out taught nothing
    assert checkpoint.provenance["sources"][0]["source"]["cases"] == 1
    assert "Doe" not in json.dumps([checkpoint.training, checkpoint.provenance])
    assert str(tmp_path) not in json.dumps([checkpoint.training, checkpoint.provenance])
    assert [one.update for one in seen] == [1, 2, 3, 3, 4, 5, 6, 6]
    assert [row["epoch"] for row in result.history] == [1, 2]
    split = json.loads((tmp_path / "run" / "split.json").read_text(encoding="utf-8"))
    assert len(split[0]["validation"]) == 1
    assert not set(split[0]["training"]) & set(split[0]["validation"])


@pytest.mark.parametrize("network", ["deep_unet", "unet"])
def test_resumes_bit_for_bit(make_cache: MakeCache, tmp_path: Path, network: str) -> None:
    """Stopped in the middle of an epoch and taken up again, twice; U-Net draws dropout from torch's own generator."""
    config = _small(make_cache(n=8, size=64), network=NetworkConfig(network, 1))
    whole = Training(config, tmp_path / "whole").run()
    for stop in (2, 4):
        run = Training(config, tmp_path / "parts", resume=stop > 2)
        run._stopped = lambda run=run, stop=stop: run.state.update == stop  # type: ignore[misc]
        with pytest.raises(Cancelled):
            run.run()
        torch.rand(5)  # somebody else uses the generator in between
    parts = Training(config, tmp_path / "parts", resume=True).run()
    for name in ("best", "last"):
        one, other = _weights(getattr(whole, name)), _weights(getattr(parts, name))
        assert all(torch.equal(one[key], other[key]) for key in one)
    times = {"minutes"}
    plain = [[{k: v for k, v in row.items() if k not in times} for row in run.history] for run in (whole, parts)]
    assert plain[0] == plain[1]


def test_a_run_killed_between_files_repeats_its_epoch(make_cache: MakeCache, tmp_path: Path) -> None:
    config = _small(make_cache(n=8, size=64))
    run = Training(config, tmp_path / "run")
    run._epoch()
    saved = (tmp_path / "run" / "state.safetensors").read_bytes()
    run._epoch()
    after = _weights(tmp_path / "run" / "last.safetensors")
    (tmp_path / "run" / "state.safetensors").write_bytes(saved)  # the checkpoint is of epoch 2, the state of epoch 1
    result = Training(config, tmp_path / "run", resume=True).run()
    again = _weights(result.last)
    assert all(torch.equal(after[key], again[key]) for key in after)


def test_a_finished_run_goes_on_only_when_given_more(make_cache: MakeCache, tmp_path: Path) -> None:
    config = _small(make_cache(n=8, size=64), rate=RateConfig(plan="fixed"))
    Training(config, tmp_path / "run").run()
    again = Training(config, tmp_path / "run", resume=True)
    assert again.run().reason == "all epochs done"
    assert again.state.update == 6
    longer = Training(replace(config, epochs=3), tmp_path / "run", resume=True)
    longer.run()
    assert longer.state.update == 9
    with pytest.raises(ConfigurationError, match="batch_size"):
        Training(replace(config, batch_size=5), tmp_path / "run", resume=True)
    with pytest.raises(OutputError, match="--resume"):
        Training(config, tmp_path / "run")


def test_nothing_to_resume_and_a_damaged_state(make_cache: MakeCache, tmp_path: Path) -> None:
    config = _small(make_cache(n=8, size=64))
    with pytest.raises(TrainingDataError, match="no saved run"):
        Training(config, tmp_path / "run", resume=True)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "state.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(TrainingDataError, match="not a saved run"):
        Training(config, tmp_path / "run", resume=True)


def test_early_stopping_waits_for_one_full_cycle(make_cache: MakeCache, tmp_path: Path) -> None:
    config = _small(make_cache(n=8, size=64), epochs=30, patience=1, updates_per_epoch=1)
    run = Training(replace(config, rate=RateConfig(half_cycle_epochs=2)), tmp_path / "run")
    run.state.best, run.state.best_epoch = 1e9, 0  # nothing can be better
    result = run.run()
    assert len(result.history) == 4
    assert "no better loss" in result.reason


def test_a_long_epoch_is_saved_on_the_way(
    make_cache: MakeCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "_SAVE_SECONDS", 0)
    config = _small(make_cache(n=8, size=64))
    run = Training(config, tmp_path / "run")
    run.step()
    run._save_now_and_then()
    assert Training(config, tmp_path / "run", resume=True).state.update == 1


def test_time_is_up(make_cache: MakeCache, tmp_path: Path) -> None:
    config = _small(make_cache(n=8, size=64), max_minutes=1e-6, updates_per_epoch=1000)
    result = Training(config, tmp_path / "run").run()
    assert result.reason == "time is up"
    assert result.history[0]["update"] == 1
    assert result.last.exists()


def test_updates_that_are_not_finite_change_nothing_and_end_with_advice(make_cache: MakeCache, tmp_path: Path) -> None:
    run = Training(_small(make_cache(n=8, size=64), updates_per_epoch=50), tmp_path / "run")
    before = {name: one.clone() for name, one in run.state.network.named_parameters()}
    run._on_device = lambda images: images * float("nan")  # type: ignore[method-assign]
    with pytest.raises(ConfigurationError, match="20 updates in a row"):
        run.run()
    assert run.state.skipped == 20
    assert all(torch.equal(before[name], one) for name, one in run.state.network.named_parameters())


def test_sources_must_fit_the_model_and_stay_apart(make_cache: MakeCache) -> None:
    cache = make_cache(n=8, size=64)
    config = _small(cache)
    same = replace(config, validation=ValidationConfig(caches=(str(cache.folder),)))
    with pytest.raises(TrainingDataError, match="also trained on"):
        open_sources(same)
    details = json.loads((cache.folder / "cache.json").read_text(encoding="utf-8"))
    details["normalisation"] = {"kind": "fixed_pixel", "pixel_mm": 0.7}
    (cache.folder / "cache.json").write_text(json.dumps(details), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="fixed_pixel"):
        open_sources(config)
    with pytest.raises(ConfigurationError, match="no sources"):
        open_sources(TrainingConfig())


def test_validation_scores_by_hand(make_cache: MakeCache) -> None:
    """A network that marks every pixel above 0.55 grey: counts, Dice and area can be worked out."""
    cache = make_cache(n=6, size=64)

    class Threshold(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return (images - 0.55) * 100

    images, coverage = cache.read(np.arange(6))
    found, true = images > 0.55, coverage >= 0.5
    tp, fp = (found & true).sum(), (found & ~true).sum()
    fn, tn = (~found & true).sum(), (~found & ~true).sum()
    denominator = np.sqrt(float(tp + fp) * float(tp + fn) * float(tn + fp) * float(tn + fn))
    scores = validate(Threshold(), [HeldOut(cache, np.arange(6))], LossConfig(), 4, CPU)
    assert scores.mcc == pytest.approx((float(tp) * float(tn) - float(fp) * float(fn)) / denominator, rel=1e-9)
    apart = [2 * (f & t).sum() / (f.sum() + t.sum()) for f, t in zip(found, true, strict=True)]
    assert scores.dice == pytest.approx(np.mean(apart))
    assert scores.area_percent == pytest.approx(100 * (found.sum() / coverage.sum() - 1), rel=1e-5)
    assert scores.n_slices == 6


def test_recomputing_keeps_little_and_changes_nothing(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache(n=8, size=32)
    plain = _small(cache, network=NetworkConfig("ra_unet", 1), batch_size=2)
    kept, weights = [], []
    for recompute in (False, True):
        run = Training(replace(plain, recompute=recompute), tmp_path / "none")
        sizes: dict[int, int] = {}
        with saved_tensors_hooks(lambda one, sizes=sizes: _noted(one, sizes), lambda one: one):
            run.step()
        run.close()
        kept.append(sum(sizes.values()))
        weights.append(list(run.state.network.parameters()))
    assert kept[1] < 0.6 * kept[0]
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))
    save_state(run.state, replace(plain, recompute=True), tmp_path / "state.safetensors")
    assert load_state(plain, tmp_path / "state.safetensors", CPU).update == 1  # memory may change on the way
    with pytest.raises(ConfigurationError, match="RA-U-Net"):
        Training(_small(cache, recompute=True), tmp_path / "none")


def _noted(one: torch.Tensor, sizes: dict[int, int]) -> torch.Tensor:
    sizes[one.data_ptr()] = one.nbytes
    return one
