"""Two raters whose masks differ by whole pixels of 0.6 × 0.5 × 4 mm: agreement, list, consensus, by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from cord_files import GRID, SHAPE, cord_label, put_case

from SpinalCordSegLib.image_io import read_labels, write_volume
from SpinalCordSegLib.volume import Volume
from SpinalCordSegTrainerLib.cli import main
from SpinalCordSegTrainerLib.evaluation import bland_altman, score_case
from SpinalCordSegTrainerLib.inter_rater import consensus, disagreements


def _mask(rows: tuple[int, int] = (20, 30), columns: tuple[int, int] = (16, 32), slices: range = range(1, 4)) -> Volume:
    voxels = np.zeros(SHAPE, bool)
    for k in slices:
        voxels[rows[0] : rows[1], columns[0] : columns[1], k] = True
    return Volume.from_ijk(voxels, GRID)


def test_bland_altman_by_hand() -> None:
    told = bland_altman([70, 80, 90], [71, 80, 92])
    assert (told["n"], told["bias_mm2"], told["sd_mm2"]) == (3, 1.0, 1.0)
    assert (told["lower_mm2"], told["upper_mm2"]) == pytest.approx((1 - 1.96, 1 + 1.96))
    assert bland_altman([70], [72])["bias_mm2"] == 2.0
    assert bland_altman([70], [72])["sd_mm2"] is None
    assert bland_altman([], [])["bias_mm2"] is None


def test_the_consensus_lies_midway_and_is_symmetric() -> None:
    first, second = _mask(), _mask((18, 32), (14, 34))  # two pixels larger all round
    merged = consensus(first, second)
    np.testing.assert_array_equal(merged.ijk, consensus(second, first).ijk)
    np.testing.assert_array_equal(consensus(first, first).ijk, first.ijk)
    assert (merged.ijk >= first.ijk).all()
    assert (merged.ijk <= second.ijk).all()
    straight = merged.ijk[:, 24, 2].nonzero()[0]
    assert (straight.min(), straight.max()) == (19, 30)  # one pixel larger where the outline is straight


def test_slices_of_one_rater_stay_empty_and_are_listed_with_their_place() -> None:
    first, second = _mask(slices=range(1, 4)), _mask((20, 30), (16, 20), range(2, 5))
    score = score_case("a", second, first)
    listed = disagreements(score, first, second)
    assert [(one["slice"], one["kind"]) for one in listed] == [
        (1, "only first"),
        (2, "outline"),
        (3, "outline"),
        (4, "only second"),
    ]
    assert [one["disputed_mm2"] for one in listed] == pytest.approx([48, 36, 36, 12])
    place = [listed[0][name] for name in ("r_mm", "a_mm", "s_mm")]
    np.testing.assert_allclose(place, (GRID @ [24.5, 23.5, 1, 1])[:3], atol=0.05)
    assert not consensus(first, second).ijk[:, :, [1, 4]].any()
    assert disagreements(score_case("a", first, first), first, first) == []


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, output = tmp_path / "first", tmp_path / "second", tmp_path / "out"
    for name in ("a", "b", "c"):
        put_case(first, name, ord(name))
    write_volume(_mask(), second / "a_seg.nii.gz")
    write_volume(_mask((20, 30), (16, 30), range(1, 5)), second / "b.nrrd")
    assert main(["raters", str(first), str(second), "--output", str(output), "--least-dice", "0.97"]) == 1
    assert "c: not judged: expected one mask c" in capsys.readouterr().err
    told = json.loads((output / "scores.json").read_text(encoding="utf-8"))
    assert (told["cases"], told["disagreements"]) == (2, 4)
    assert told["area_agreement"]["per_slice"]["n"] == 6
    assert told["area_agreement"]["per_slice"]["bias_mm2"] == pytest.approx(-3.0)  # 0 mm² thrice, 10 × 2 × 0.3 thrice
    with (output / "disagreements.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["case"] for row in rows} == {"b"}
    np.testing.assert_array_equal(read_labels(output / "consensus" / "a_seg.nii.gz").ijk, cord_label().ijk)
