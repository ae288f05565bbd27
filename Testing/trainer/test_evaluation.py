"""Scores of masks whose overlap can be counted by hand, on voxels of 0.5 × 0.6 × 4 mm in a turned grid."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from SpinalCordSegLib.errors import ConfigurationError, TrainingDataError
from SpinalCordSegLib.flags import Flag
from SpinalCordSegLib.model.checkpoint import Checkpoint
from SpinalCordSegLib.model.networks import NetworkConfig
from SpinalCordSegLib.model.preprocessing import NormalisationConfig
from SpinalCordSegLib.volume import Volume
from SpinalCordSegTrainerLib.evaluation import score_case, statistics, summary, write_evaluation

GRID = np.array([[0, 0, 0.5, 0], [-0.6, 0, 0, 0], [0, -4.0, 0, 9], [0, 0, 0, 1]], dtype=float)  # "PIR"


def _masks() -> tuple[Volume, Volume]:
    """Five slices along j (superior first): cord in array slices 1, 2, 3 of 4 × 5 = 20 pixels."""
    truth, found = np.zeros((12, 5, 12), bool), np.zeros((12, 5, 12), bool)
    truth[4:8, 1:4, 3:8] = True
    found[4:8, 1, 3:8] = True  # slice 1: right
    found[4:8, 2, 3:9] = True  # slice 2: one column of 4 too many
    found[0, 4, 0] = True  # slice 4: false cord; slice 3: missed
    return Volume(found, GRID), Volume(truth, GRID)


def test_scores_by_hand() -> None:
    found, truth = _masks()
    case = score_case("a", found, truth)
    by_slice = {one.slice: one for one in case.slices}
    assert [one.slice for one in case.slices] == [4, 3, 2, 1, 0]  # from inferior
    assert by_slice[1].true_mm2 == pytest.approx(20 * 0.3)
    assert [by_slice[n].dice for n in (1, 2, 3)] == pytest.approx([1.0, 40 / 44, 0.0])
    assert [by_slice[n].csa_error_percent for n in (1, 2, 3)] == pytest.approx([0.0, 20.0, -100.0])
    assert math.isnan(by_slice[4].dice)
    assert case.dice == pytest.approx(2 * 40 / (60 + 45))
    assert case.csa_error_percent == pytest.approx(-80 / 3)
    assert case.volume_error_percent == pytest.approx(100 * (45 - 60) / 60)
    told = summary([case])
    assert told["dice_per_slice"]["n"] == 3
    assert told["dice_per_slice"]["p50"] == pytest.approx(40 / 44)
    assert (told["slices_missed"], told["slices_without_cord"], told["slices_with_false_cord"]) == (1, 2, 1)
    assert told["precision"] == pytest.approx(40 / 45)
    assert told["sensitivity"] == pytest.approx(40 / 60)


def test_a_range_of_slices() -> None:
    found, truth = _masks()
    case = score_case("a", found, truth, (3, 4))  # canonical 3 is array slice 1
    assert (case.dice, case.hd95_mm, case.volume_error_percent) == (1.0, 0.0, 0.0)
    with pytest.raises(TrainingDataError, match="not within"):  # another case may be long enough
        score_case("a", found, truth, (3, 9))
    with pytest.raises(ConfigurationError, match="holds no slice"):
        score_case("a", found, truth, (4, 4))


def test_what_lies_outside_and_the_flags_of_a_slice() -> None:
    found, truth = _masks()
    found.voxels[0, 2, 3] = True  # array slice 2: a second piece, 4 rows of 0.6 mm beside the cord
    flags = [Flag(2, 2, "area", "."), Flag(None, None, "tilt", ".")]
    case = score_case("a", found, truth, flags=flags)
    by_slice = {one.slice: one for one in case.slices}
    assert [by_slice[n].components for n in (1, 2, 3)] == [1, 2, 0]
    assert by_slice[1].outside_mm == 0.0
    assert by_slice[2].outside_mm == pytest.approx(4 * 0.6)
    assert math.isnan(by_slice[3].outside_mm)
    assert (by_slice[2].flags, by_slice[1].flags, case.flags) == (("area",), (), ("tilt",))


def test_slices_that_nobody_drew_can_be_left_out() -> None:
    case = score_case("a", *_masks(), only_labelled=True)
    assert [one.slice for one in case.slices] == [3, 2, 1]
    assert (case.counts.false_positive, case.counts.false_negative) == (4, 20)


def test_empty_masks_give_no_dice_and_no_error() -> None:
    found, truth = _masks()
    empty = truth.with_voxels(np.zeros_like(truth.voxels))
    assert math.isnan(score_case("a", empty, empty).dice)
    missed = score_case("a", empty, truth)
    assert (missed.dice, missed.hd95_mm) == (0.0, math.inf)
    told = summary([missed, score_case("b", found, empty)])
    assert told["dice_per_case"]["n"] == 1
    assert told["hd95_mm_per_case"] == {
        "n": 0, "mean": None, "sd": None, "p25": None, "p50": None, "p75": None, "not_finite": 2,
    }  # fmt: skip


def test_statistics_by_hand() -> None:
    told = statistics([1.0, 2.0, 3.0, math.nan])
    assert (told["n"], told["mean"], told["sd"], told["p25"], told["p75"]) == (3, 2.0, 1.0, 1.5, 2.5)
    assert statistics([4.0])["sd"] is None


def test_files(tmp_path: Path) -> None:
    checkpoint = Checkpoint("m", "2", NetworkConfig(), NormalisationConfig(), {})
    write_evaluation([score_case("a", *_masks())], checkpoint, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "slices.csv", "cases.csv", "scores.json", "histogram.png", "bland_altman.png",
    }  # fmt: skip
    told = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert told["model"]["name"] == "m"
    assert "left out" in told["empty_rule"]
    assert len((tmp_path / "slices.csv").read_text(encoding="utf-8").splitlines()) == 6
