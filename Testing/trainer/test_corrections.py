"""A model learns from a few corrected cases, beside rehearsal slices, and is offered only where it is better."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from cord_files import SHORT, put_case, tiny_model

from SpinalCordSegLib.model.checkpoint import default_model, load_card, load_checkpoint
from SpinalCordSegTrainerLib import corrections
from SpinalCordSegTrainerLib.cli import main
from SpinalCordSegTrainerLib.config import CropConfig
from SpinalCordSegTrainerLib.corrections import Effect, read_rehearsal, verdict
from SpinalCordSegTrainerLib.slice_cache import CacheInfo, SliceCache, check_normalisation


def test_the_rehearsal_slices_are_as_the_shipped_model_sees_them() -> None:
    rehearsal = read_rehearsal()
    check_normalisation(rehearsal, load_card(default_model()).normalisation)
    with_cord = (rehearsal.coverage >= 128).any(axis=(1, 2))
    assert len(rehearsal) >= 300 and 0.8 < with_cord.mean() < 1
    assert rehearsal.folder.with_suffix(".npz").stat().st_size < 3 << 20


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two corrected cases and a tiny model, whose own rehearsal and recipe are as short as can be."""
    for number in (1, 2):
        put_case(tmp_path / "data", f"sub-{number}_T2w", number)
    model = tiny_model(tmp_path / "m.safetensors", 64)
    rule = asdict(load_checkpoint(model).normalisation)
    rng = np.random.default_rng(0)
    images, cord = rng.integers(0, 255, (10, 32, 32), np.uint8), np.zeros((10, 32, 32), np.uint8)
    cord[:, 12:20, 12:22] = 255
    info = CacheInfo(32, rule, "simulated", {}, tuple(f"neck-{n}" for n in range(10)), (None,) * 10)
    monkeypatch.setattr(corrections, "read_rehearsal", lambda: SliceCache(Path("rehearsal"), images, cord, info))
    short = replace(corrections.RECIPE, crop=CropConfig(32, 1.0, 4), batch_size=3, updates_per_epoch=3)
    monkeypatch.setattr(corrections, "RECIPE", short)
    return tmp_path


@pytest.mark.parametrize("contrast", ["T1w-like", "T2*w-like"])
def test_two_corrected_cases_teach_the_model(small: Path, contrast: str, capsys, monkeypatch) -> None:
    monkeypatch.setattr(corrections, "contrast_of", lambda image, mask: contrast)
    words = ["train", str(small / "data"), "--from", str(small / "m.safetensors"), "--output", str(small / "run")]
    assert main([*words, "--device", "cpu"]) == 0
    text = capsys.readouterr().out
    assert "2 cases, under 50" in text and "On 2 corrected cases" in text
    base, learnt = load_checkpoint(small / "m.safetensors"), load_checkpoint(small / "run" / "best.safetensors")
    statistics = [name for name in base.weights if "running_" in name]
    assert statistics and all(np.array_equal(base.weights[name], learnt.weights[name]) for name in statistics)
    assert any(not np.array_equal(one, learnt.weights[name]) for name, one in base.weights.items())
    moved = learnt.calibration.bright_fluid_threshold != base.calibration.bright_fluid_threshold
    assert moved == (contrast == "T2*w-like")
    assert learnt.licence == base.licence and learnt.provenance["started_from"]["sha256"] == base.sha256
    assert learnt.scores["corrections"]["new"]["count"] == 2 and learnt.training["patients"] == 2
    assert main([*words, "--device", "cpu"]) == 2 and "holds a model already" in capsys.readouterr().err


def test_other_cases_are_trained_as_published(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where anything is asked for that only the paper's recipe has, that is what runs."""
    assert main(["train", str(small / "data"), "--output", str(small / "run"), *SHORT]) == 0
    assert (small / "run" / "last.safetensors").exists() and "corrected" not in capsys.readouterr().out


@pytest.mark.parametrize("other", [["--epochs", "3"], ["--split", "held_out.json"], ["--resume"], ["--augment"]])
def test_corrections_refuse_what_they_would_not_heed(small: Path, capsys, other: list[str]) -> None:
    """Whom --split holds out, say, would be learnt from."""
    words = ["train", str(small / "data"), "--recipe", "corrections", "--from", str(small / "m.safetensors")]
    (small / "run").mkdir()
    (small / "run" / "config.json").write_text("{}", encoding="utf-8")  # for --resume
    assert main([*words, "--output", str(small / "run"), *other]) == 2
    assert "--recipe corrections has settings of its own" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("new", "old", "offered", "text"),
    [
        (((0.95, 0.965), (-6.0, -1.0)), ((0.94, 0.939), (-1.0, -1.4)), True, "better on your images"),
        (((0.95, 0.948), (-6.0, -1.0)), ((0.94, 0.940), (-1.0, -1.0)), False, "no better on your images"),
        (((0.95, 0.965), (-1.0, 6.0)), ((0.94, 0.940), (-1.0, -1.0)), False, "no better on your images"),
        (((0.95, 0.965), (-6.0, -1.0)), ((0.94, 0.940), (-1.0, 1.0)), False, "+2.0 % in area"),
        (((0.95, 0.965), (-6.0, -1.0)), ((0.94, 0.930), (-1.0, -1.0)), False, "Dice -0.010"),
        (None, ((0.94, 0.940), (-1.0, -1.0)), True, "not tried on images"),
    ],
)
def test_a_model_is_offered_where_it_is_better_and_loses_nothing(new, old, offered: bool, text: str) -> None:
    decided, said = verdict(None if new is None else Effect(*new, 2), Effect(*old, 72))
    assert decided is offered and text in said
