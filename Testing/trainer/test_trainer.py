"""A run learns, resumes bit for bit, survives kills and full disks, starts from a model, and is shared by processes."""

import errno
import json
import os
import random
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cord_files import NETWORK, tiny_model
from torch import Tensor

from SpinalCordSegLib.errors import Cancelled, ConfigurationError, DeviceError, OutputError, TrainingDataError
from SpinalCordSegLib.model.checkpoint import NetworkConfig, checkpoint_network, load_card, load_checkpoint
from SpinalCordSegLib.model.preprocessing import NormalisationConfig
from SpinalCordSegTrainerLib import trainer
from SpinalCordSegTrainerLib.batches import Batch, Prefetcher, Slices, open_sources, slice_counts, validate
from SpinalCordSegTrainerLib.config import (
    CropConfig,
    LossConfig,
    RateConfig,
    SourceConfig,
    TrainingConfig,
    ValidationConfig,
)
from SpinalCordSegTrainerLib.distributed import chosen_dtype, device_failures, join_processes, logits_of
from SpinalCordSegTrainerLib.losses import segmentation_loss
from SpinalCordSegTrainerLib.run_folder import STATE, load_state, new_state, save_state
from SpinalCordSegTrainerLib.slice_cache import SliceCache
from SpinalCordSegTrainerLib.trainer import Progress, Training, starting_weights

MakeCache = Callable[..., SliceCache]
CPU = torch.device("cpu")


def _small(cache: SliceCache, **more: object) -> TrainingConfig:
    """A run of seconds: the narrowest network, crops of 32, augmented, averaged, rate by cosine."""
    settings: dict = {
        "network": NETWORK,
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


def test_learns_four_slices(make_cache: MakeCache, tmp_path: Path) -> None:
    """RA-U-Net, the paper's loss, 24 updates: most of the cord is found in evaluation mode."""
    cache = make_cache(n=4, size=32)
    config = TrainingConfig(
        network=NetworkConfig("ra_unet", 2),
        sources=(SourceConfig(str(cache.folder)),),
        validation=ValidationConfig(fraction=0.0),
        rate=RateConfig(plan="cosine", base_lr=1e-4, max_lr=0.012, warmup_updates=5),
        batch_size=4,
        updates_per_epoch=24,
        epochs=1,
        statistics_batches=2,
    )
    run = Training(config, tmp_path / "run")
    run.run()
    network = checkpoint_network(load_checkpoint(run.best))
    scores = validate(*slice_counts(network, [Slices(cache, np.arange(4))], LossConfig(), 8, CPU))
    assert scores["dice"] >= 0.75 and scores["mcc"] >= 0.75


@pytest.mark.usefixtures("pictures")
def test_a_run_leaves_a_model_and_its_story(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache(n=8, size=64)
    seen: list[Progress] = []
    run = Training(_small(cache, name="small"), tmp_path / "run", report=seen.append)
    result = run.run()
    assert result.finished == "all epochs done"
    names = ("config.json", "split.json", "run.json", "epochs.csv", "curves.png")
    weights = (f"{name}.safetensors" for name in ("state", "best", "last"))
    assert {path.name for path in run.best.parent.iterdir()} == {*names, *weights}
    checkpoint = load_checkpoint(run.last)
    assert checkpoint.name == "small"
    assert checkpoint.training["updates"] == 6
    assert checkpoint.provenance["sources"][0]["slices"] == 6  # the 2 held out taught nothing
    assert checkpoint.provenance["sources"][0]["source"]["cases"] == 1
    assert "Doe" not in json.dumps([checkpoint.training, checkpoint.provenance])
    assert str(tmp_path) not in json.dumps([checkpoint.training, checkpoint.provenance])
    assert [one.update for one in seen] == [1, 2, 3, 3, 4, 5, 6, 6]
    assert [row["epoch"] for row in result.history] == [1, 2]
    (start,) = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["starts"]
    assert (start["after_update"], start["device"]) == (0, "cpu") and start["packages"]["torch"] in torch.__version__
    split = json.loads((tmp_path / "run" / "split.json").read_text(encoding="utf-8"))
    assert len(split[0]["validation"]) == 1
    assert not set(split[0]["training"]) & set(split[0]["validation"])


def test_resumes_bit_for_bit(make_cache: MakeCache, tmp_path: Path) -> None:
    """Stopped in the middle of an epoch and taken up again, twice; U-Net draws dropout from torch's own generator."""
    config = _small(make_cache(n=8, size=64), network=NetworkConfig("unet", 1))
    whole = Training(config, tmp_path / "whole")
    whole.run()
    for stop in (2, 4):
        run = Training(config, tmp_path / "parts", resume=stop > 2)
        run._stopped = lambda run=run, stop=stop: run.state.update == stop  # type: ignore[misc]
        with pytest.raises(Cancelled):
            run.run()
        torch.rand(5)  # somebody else uses the generator in between
    parts = Training(config, tmp_path / "parts", resume=True)
    parts.run()
    for name in ("best", "last"):
        one, other = _weights(getattr(whole, name)), _weights(getattr(parts, name))
        assert all(np.array_equal(one[key], other[key]) for key in one)
    times = {"minutes"}
    plain = [[{k: v for k, v in row.items() if k not in times} for row in run.state.history] for run in (whole, parts)]
    assert plain[0] == plain[1]


def test_a_finished_run_goes_on_only_when_given_more(make_cache: MakeCache, tmp_path: Path) -> None:
    config = _small(make_cache(n=8, size=64), rate=RateConfig(plan="fixed"))
    Training(config, tmp_path / "run").run()
    again = Training(config, tmp_path / "run", resume=True)
    assert again.run().finished == "all epochs done"
    assert again.state.update == 6
    longer = Training(replace(config, epochs=3), tmp_path / "run", resume=True)
    longer.run()
    assert longer.state.update == 9
    with pytest.raises(ConfigurationError, match="3 epochs behind it"):
        Training(config, tmp_path / "run", resume=True)
    with pytest.raises(ConfigurationError, match="batch_size"):
        Training(replace(config, batch_size=5), tmp_path / "run", resume=True)
    with pytest.raises(OutputError, match="--resume"):
        Training(config, tmp_path / "run")


def test_early_stopping_waits_for_one_full_cycle(make_cache: MakeCache, tmp_path: Path) -> None:
    config = _small(make_cache(n=8, size=64), epochs=30, patience=1, updates_per_epoch=1)
    run = Training(replace(config, rate=RateConfig(half_cycle_epochs=2)), tmp_path / "run")
    run.state.best, run.state.best_epoch = 1e9, 0  # nothing can be better
    result = run.run()
    assert len(result.history) == 4
    assert "no better loss" in result.finished


def test_updates_that_are_not_finite_change_nothing_and_end_with_advice(make_cache: MakeCache, tmp_path: Path) -> None:
    run = Training(_small(make_cache(n=8, size=64), updates_per_epoch=50), tmp_path / "run")
    before = {name: one.clone() for name, one in run.state.network.named_parameters()}
    run._prefetcher._make = lambda _: (torch.full((4, 1, 32, 32), torch.nan), torch.zeros(4, 1, 32, 32))
    with pytest.raises(ConfigurationError, match="20 updates in a row"):
        run.run()
    assert run.state.skipped == 20
    assert all(torch.equal(before[name], one) for name, one in run.state.network.named_parameters())


def test_weights_that_overflow_end_with_advice_and_leave_no_model(make_cache: MakeCache, tmp_path: Path) -> None:
    run = Training(_small(make_cache(n=8, size=64), ema_decay=0.0), tmp_path / "run")
    with torch.no_grad():
        next(run.state.network.parameters()).fill_(torch.inf)
    with pytest.raises(ConfigurationError, match="learning rate"):
        run.run()
    assert not list(tmp_path.glob("run/*t.safetensors"))


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
    scores = validate(*slice_counts(Threshold(), [Slices(cache, np.arange(6))], LossConfig(), 4, CPU))
    assert scores["mcc"] == pytest.approx((float(tp) * float(tn) - float(fp) * float(fn)) / denominator, rel=1e-9)
    apart = [2 * (f & t).sum() / (f.sum() + t.sum()) for f, t in zip(found, true, strict=True)]
    assert scores["dice"] == pytest.approx(np.mean(apart))
    assert scores["area_percent"] == pytest.approx(100 * (found.sum() / coverage.sum() - 1), rel=1e-5)
    assert scores["n_slices"] == 6
    seen = replace(cache, images=cache.coverage)  # the network sees the cord itself
    at = validate(*slice_counts(Threshold(), [Slices(seen, np.arange(6))], LossConfig(), 4, CPU))["area_logit"]
    surplus = ((coverage - 0.55) * 100 > at).sum((1, 2)) - coverage.sum((1, 2))
    assert abs(np.median(surplus)) <= 1  # pixels: above that logit the median slice has its area


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "old.safetensors")


def test_starts_from_the_weights_of_a_model(make_cache: MakeCache, model: Path, tmp_path: Path) -> None:
    config = _small(make_cache(n=8, size=64), from_model=str(model))
    run = trainer.Training(config, tmp_path / "run")
    start = load_checkpoint(model).weights
    assert all(np.array_equal(one, start[name]) for name, one in run.state.network.state_dict().items())
    run.run()
    card = load_card(run.last)
    logit = run.state.history[-1]["area_logit"]  # the median slice held out has its area
    assert logit is None or load_checkpoint(run.last).calibration.bias == -logit
    assert card.training["from_model"] == "old.safetensors"
    assert card.provenance["split"] == [{"cache": "cache", "subjects_training": 3, "subjects_validation": 1}]
    assert str(tmp_path) not in json.dumps([card.training, card.scores, card.provenance])
    model.unlink()  # a resumed run needs it no more
    longer = trainer.Training(replace(config, epochs=3), tmp_path / "run", resume=True)
    assert len(longer.run().history) == 3


def test_a_model_that_does_not_fit_is_refused(make_cache: MakeCache, model: Path) -> None:
    with pytest.raises(ConfigurationError, match="no sources"):
        open_sources(TrainingConfig())
    cache = make_cache(n=4, size=64)
    other = _small(cache, from_model=str(model), network=NetworkConfig("deep_unet", 2),
                    normalisation=NormalisationConfig(kind="fixed_pixel", pixel_mm=0.7))  # fmt: skip
    with pytest.raises(ConfigurationError, match=r"network.width is 1 there and 2 here.*normalisation.kind"):
        starting_weights(other)
    assert starting_weights(_small(cache)) is None
    assert starting_weights(_small(cache, from_model=str(model))) is not None


def test_mixed_precision(make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss and weights stay in 32 bits; only where the CPU has units for it."""
    state = new_state(_small(make_cache(n=4, size=64)), CPU)
    images = torch.rand(2, 1, 64, 64)
    logits, whole = (logits_of(state.network, images, dtype) for dtype in (torch.bfloat16, None))
    assert logits.dtype == torch.float32
    assert 0 < (logits - whole).abs().mean() < 0.1 * whole.std()
    logits.sum().backward()
    assert {one.grad.dtype for one in state.network.parameters() if one.grad is not None} == {torch.float32}
    monkeypatch.setattr("SpinalCordSegTrainerLib.distributed.cpu_has_bfloat16", lambda: True)
    assert (chosen_dtype("float32", CPU), chosen_dtype("mixed", CPU)) == (None, torch.bfloat16)
    monkeypatch.setattr("SpinalCordSegTrainerLib.distributed.cpu_has_bfloat16", lambda: False)
    with pytest.raises(ConfigurationError, match="CUDA"):
        chosen_dtype("mixed", CPU)


def test_a_card_that_is_too_small_is_reported() -> None:
    with pytest.raises(DeviceError, match="batch of 15"), device_failures(15):
        raise torch.cuda.OutOfMemoryError("full")


KILLS = int(os.environ.get("SPINALCORDSEG_KILLS", "2"))  # make soak: 20


def _start(config: TrainingConfig, output: Path, stays: bool = False) -> tuple[int, int]:
    """A run, in a process of its own, that goes on where the folder's state is: its process id, and a pipe that gets a
    byte for every update. ``stays``: once it has ended it waits to be killed, so that a kill always finds it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    code = 1
    try:
        resume = (output / STATE).exists()
        Training(config, output, resume=resume, report=lambda _: os.write(writing, b".")).run()
        code = 0
        if stays:
            os.write(writing, b"." * 100)  # none is missed
            signal.pause()
    finally:
        os._exit(code)


def _ended_well(child: int, pipe: int) -> bool:
    while os.read(pipe, 1024):
        pass
    os.close(pipe)
    return os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the runs are forked")
def test_killed_at_random_moments(make_cache: MakeCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed anywhere within an update, its saving included, and resumed: the weights of a run that nobody disturbed.
    U-Net draws dropout from torch's own generator."""
    monkeypatch.setattr(trainer, "_SAVE_SECONDS", 0)
    config = _small(make_cache(n=8, size=64), network=NetworkConfig("unet", 1), batch_size=2, statistics_batches=1)
    updates, draw, started = config.epochs * 3, random.Random(0), time.monotonic()
    assert _ended_well(*_start(config, tmp_path / "whole"))
    an_update_s = (time.monotonic() - started) / updates
    whole = _weights(tmp_path / "whole" / "last.safetensors")
    for number in range(KILLS):
        output = tmp_path / f"run{number}"
        child, pipe = _start(config, output, stays=True)
        for _ in range(draw.randrange(updates)):
            os.read(pipe, 1)
        time.sleep(draw.uniform(0, an_update_s))
        os.kill(child, signal.SIGKILL)
        os.close(pipe)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        assert _ended_well(*_start(config, output))
        found = _weights(output / "last.safetensors")
        assert all(np.array_equal(whole[name], found[name]) for name in whole)


CONFIG = TrainingConfig(network=NETWORK)


def test_a_full_disk_leaves_what_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, state = tmp_path / STATE, new_state(CONFIG, CPU)
    with pytest.raises(TrainingDataError, match="no saved run"):
        load_state(CONFIG, path, CPU)
    state.update = 6
    save_state(state, CONFIG, path)

    def full(self: Path, content: bytes) -> int:
        with open(self, "wb") as file:
            file.write(content[:500])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OutputError, match="disk is full"):
            save_state(state, CONFIG, path)
    assert list(tmp_path.iterdir()) == [path]
    assert load_state(CONFIG, path, CPU).update == 6
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(TrainingDataError, match="not a saved run"):
        load_state(CONFIG, path, CPU)


def _first_update(run: Training) -> tuple[list[Tensor], list[Tensor], float]:
    """Gradients, running statistics and loss of the first batch in 64 bits, where rounding hides nothing."""
    network, (images, coverage) = run.state.network.double().train(), run.batches.batch(0)
    parallel = run.processes.parallel(network)
    mine = run.processes.part(len(images))
    loss = segmentation_loss(parallel(images[mine].double()), coverage[mine].double(), run.config.loss, run.processes)
    loss.backward()
    gradients = [one.grad for one in network.parameters() if one.grad is not None]
    statistics = [one for name, one in network.named_buffers() if "running" in name]
    return gradients, statistics, float(loss.detach())


def _gap(one: list[Tensor], other: list[Tensor]) -> float:
    """Largest difference, as a share of the largest value."""
    most = max(float(a.abs().max()) for a in one)
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True)) / most


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the other process is forked")
def test_two_processes_equal_one_big_batch(
    make_cache: Callable[..., SliceCache], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gloo on the CPU; one process gets 2 slices of a batch, the other 3."""
    config = TrainingConfig(
        network=NetworkConfig("deep_unet", 1),
        sources=(SourceConfig(str(make_cache(n=8, size=64, per_subject=1).folder), policy="standard"),),
        loss=LossConfig(bce_weight=0.3),
        validation=ValidationConfig(fraction=0.4, batch_size=1),
        batch_size=5,
        updates_per_epoch=1,
        epochs=1,
        statistics_batches=1,
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in (("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", str(port)), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    child = os.fork()
    monkeypatch.setenv("RANK", "0" if child else "1")
    code = 1
    try:
        with join_processes(torch.device("cpu")) as processes:
            together = _first_update(Training(config, tmp_path / "unused", processes=processes))
            result = Training(config, tmp_path / "run", processes=processes).run()
        code = 0
    finally:
        if not child:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    alone = _first_update(Training(config, tmp_path / "unused"))
    assert _gap(alone[0], together[0]) < 1e-9 and _gap(alone[1], together[1]) < 1e-9
    assert together[2] == pytest.approx(alone[2], rel=1e-12)
    (row,), (other,) = result.history, Training(config, tmp_path / "alone").run().history
    for name in ("train_loss", "loss", "mcc", "dice", "area_percent", "n_slices"):
        assert row[name] == pytest.approx(other[name], rel=0.02, abs=1e-3), name
    assert (tmp_path / "run" / "last.safetensors").exists()


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_batches_made_ahead_are_the_same(threads: int) -> None:
    def make(update: int) -> Batch:
        return torch.full((1,), float(update)), torch.zeros(1)

    ahead = Prefetcher(make, threads)
    assert [float(ahead.batch(update)[0]) for update in (4, 5, 6, 9)] == [4, 5, 6, 9]
    ahead.close()
