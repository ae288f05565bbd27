"""Table 1: the rows are the paper's, share data and split, go on where they were, and end in one table."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from Recipes.table1 import (
    BASELINE,
    BEST,
    ROWS,
    experiment_page,
    train_rows,
    write_experiment,
)
from SpinalCordSegLib.errors import Cancelled
from SpinalCordSegTrainerLib.config import CropConfig, SourceConfig, TrainingConfig, ValidationConfig
from SpinalCordSegTrainerLib.slice_cache import SliceCache

MakeCache = Callable[..., SliceCache]


def test_two_rows_stopped_and_resumed(make_cache: MakeCache, tmp_path: Path) -> None:
    base = TrainingConfig(
        sources=(SourceConfig(str(make_cache(n=6, size=64).folder)),),
        crop=CropConfig(size=64),
        batch_size=2,
        updates_per_epoch=1,
        epochs=1,
        statistics_batches=1,
        validation=ValidationConfig(fraction=0.34),
    )
    base = replace(base, network=replace(base.network, width=1))
    rows = [replace(row, network="deep_unet") for row in ROWS if row.key in (BASELINE, BEST)]
    asked = iter([True])
    with pytest.raises(Cancelled):
        train_rows(rows, base, tmp_path / "out", torch.device("cpu"), stopped=lambda: next(asked, False))
    results = train_rows(rows, base, tmp_path / "out", torch.device("cpu"))
    splits = {(tmp_path / "out" / row.key / "split.json").read_text(encoding="utf-8") for row in rows}
    assert len(splits) == 1
    assert [len(result["dice_of_slices"]) for result in results] == [2, 2]
    page = write_experiment(results, "six drawn slices", tmp_path / "out")
    assert "0.904 ± 0.101" in page
    told = json.loads((tmp_path / "out" / "table1.json").read_text(encoding="utf-8"))
    assert [one["row"] for one in told["rows"]] == [BASELINE, BEST]
    assert (tmp_path / "out" / "histograms.png").exists()
    for one, mean in zip(told["rows"], (0.5, 0.4), strict=True):
        one["dice"] |= {"mean": mean, "sd": 0.1, "p25": 0.1, "p50": 0.4, "p75": 0.6}
    assert "is BELOW plain U-Net + TL (0.500)" in experiment_page(told["rows"], "")
