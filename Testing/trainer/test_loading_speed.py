"""The loading benchmark: what it measures is told, the cache is made once, memory that was read is given back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from Recipes.cli import main
from SpinalCordSegTrainerLib import slice_cache
from SpinalCordSegTrainerLib.slice_cache import SliceCache

SMALL = [
    "--slices", "100", "--size", "32", "--updates", "5", "--device", "cpu", "--set", "batch_size=2",
    "--set", "network.name=deep_unet", "--set", "network.width=1",
]  # fmt: skip


def test_reading_is_timed_against_one_repeated_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.set_num_threads(1)
    assert main(["bench-loading", "--output", str(tmp_path), *SMALL]) == 0
    assert "100 slices" in capsys.readouterr().out
    told = json.loads((tmp_path / "loading.json").read_text(encoding="utf-8"))
    assert (told["slices"], told["batch_size"], told["updates"]) == (100, 2, 5)
    assert told["share"] == pytest.approx(told["repeated_ms"] / told["update_ms"], rel=0.2)
    written = (tmp_path / "cache" / "images.npy").stat().st_mtime_ns
    assert main(["bench-loading", "--output", str(tmp_path), *SMALL, "--augment", "--progress", "json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["event"] == "result"
    assert (tmp_path / "cache" / "images.npy").stat().st_mtime_ns == written


def test_what_was_read_is_given_back_and_can_be_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["bench-loading", "--output", str(tmp_path), *SMALL]) == 0
    cache = SliceCache.open(tmp_path / "cache")
    before = cache.read(np.arange(100))
    monkeypatch.setattr(slice_cache, "_GIVE_BACK_BYTES", 10 * 32 * 32)
    for _ in range(3):
        again = cache.read(np.arange(100))
        assert cache._mapped.count == 0
        assert all(np.array_equal(one, other) for one, other in zip(before, again, strict=True))
