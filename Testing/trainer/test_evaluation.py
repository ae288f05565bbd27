"""Scores by hand, masks of other programs, cross-validation, two raters."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from cord_files import GRID, SHAPE, SHORT, cord_label, put_case
from PIL import Image as PillowImage

from SpinalCordSegLib.errors import TrainingDataError
from SpinalCordSegLib.flags import Flag
from SpinalCordSegLib.image_io import read_labels, write_volume
from SpinalCordSegLib.volume import Volume
from SpinalCordSegTrainerLib import trainer
from SpinalCordSegTrainerLib.cli import main
from SpinalCordSegTrainerLib.evaluation import (
    Evaluation,
    bland_altman,
    consensus,
    disagreements,
    folder_masks,
    score_case,
    summary,
    write_sheet,
)

PIR = np.array([[0, 0, 0.5, 0], [-0.6, 0, 0, 0], [0, -4.0, 0, 9], [0, 0, 0, 1]], dtype=float)  # "PIR"


def _masks() -> tuple[Volume, Volume]:
    """Five slices along j (superior first): cord in array slices 1, 2, 3 of 4 × 5 = 20 pixels."""
    truth, found = np.zeros((12, 5, 12), bool), np.zeros((12, 5, 12), bool)
    truth[4:8, 1:4, 3:8] = True
    found[4:8, 1, 3:8] = True  # slice 1: right
    found[4:8, 2, 3:9] = True  # slice 2: one column of 4 too many
    found[0, 4, 0] = True  # slice 4: false cord; slice 3: missed
    return Volume.from_ijk(found, PIR), Volume.from_ijk(truth, PIR)


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
    case = score_case("a", *_masks(), judged=range(3, 4))  # canonical 3 is array slice 1
    assert (case.dice, case.hd95_mm, case.volume_error_percent) == (1.0, 0.0, 0.0)


def test_what_lies_outside_and_the_flags_of_a_slice() -> None:
    found, truth = _masks()
    found.ijk[0, 2, 3] = True  # array slice 2: a second piece, 4 rows of 0.6 mm beside the cord
    flags = [Flag(2, 2, "area", "."), Flag(None, None, "tilt", ".")]
    case = score_case("a", found, truth, flags=flags)
    by_slice = {one.slice: one for one in case.slices}
    assert [by_slice[n].components for n in (1, 2, 3)] == [1, 2, 0]
    assert by_slice[1].outside_mm == 0.0
    assert by_slice[2].outside_mm == pytest.approx(4 * 0.6)
    assert math.isnan(by_slice[3].outside_mm)
    assert (by_slice[2].flags, by_slice[1].flags, case.flags) == (("area",), (), ("tilt",))


def test_slices_that_nobody_drew_can_be_left_out() -> None:
    found, truth = _masks()
    case = Evaluation(only_labelled=True).add("a", truth, found, truth)
    assert [one.slice for one in case.slices] == [3, 2, 1]
    assert (case.counts.false_positive, case.counts.false_negative) == (4, 20)


def test_nothing_drawn_leaves_figures_without_tables_of_slices(tmp_path: Path) -> None:
    found, truth = _masks()
    judged = Evaluation(only_labelled=True)
    judged.add("a", truth, found, truth.with_ijk(np.zeros_like(truth.ijk)))
    assert judged.write(tmp_path)["dice_per_slice"]["n"] == 0
    assert (tmp_path / "cases.csv").exists() and not (tmp_path / "slices.csv").exists()
    with pytest.raises(TrainingDataError, match="no case can be judged"):
        Evaluation().judge([], folder_masks(tmp_path, []))


def test_empty_masks_give_no_dice_and_no_error() -> None:
    found, truth = _masks()
    empty = truth.with_ijk(np.zeros_like(truth.ijk))
    assert math.isnan(score_case("a", empty, empty).dice)
    missed = score_case("a", empty, truth)
    assert (missed.dice, missed.hd95_mm) == (0.0, math.inf)
    told = summary([missed, score_case("b", found, empty)])
    assert told["dice_per_case"]["n"] == 1
    assert told["hd95_mm_per_case"] == {
        "n": 0, "mean": None, "sd": None, "p25": None, "p50": None, "p75": None, "not_finite": 2,
    }  # fmt: skip


def test_worst_slices_come_first_and_show_three_colours(tmp_path: Path) -> None:
    label = np.zeros((40, 36, 6), bool)
    label[15:27, 14:22] = True
    truth = Volume.from_ijk(label, np.diag([0.8, 1.0, 5.0, 1.0]))
    moved = label.copy()
    moved[:, :, 2] = np.roll(moved[:, :, 2], 3, axis=0)
    moved[:, :, 4] = False
    judged = Evaluation()
    judged.add("a", truth, truth.with_ijk(moved), truth)
    judged.add("b", truth, truth, truth)
    assert [(score.case, score.slice) for score, *_ in judged.tiles][:3] == [("a", 4), ("a", 2), ("a", 0)]
    write_sheet(judged.tiles, "worst", tmp_path / "sheet.png")
    pixels = np.asarray(PillowImage.open(tmp_path / "sheet.png")).astype(int)
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    assert ((green > red + 40) & (green > blue + 40)).any()
    assert ((red > green + 60) & (blue < 200)).any()
    write_sheet([], "none", tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for number in range(1, 5):
        put_case(folder, f"sub-{number}", number)
    table = "participant_id\tsite\nsub-1\tOslo\nsub-2\tOslo\nsub-3\tBergen\n"
    (folder / "participants.tsv").write_text(table, encoding="utf-8")
    return folder


def _half() -> Volume:
    """The right half of the box: Dice 2/3, area -50 %."""
    label = cord_label()
    label.ijk[:, 24:, :] = 0
    return label


@pytest.mark.usefixtures("pictures")
def test_masks_of_another_program(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    masks, output = tmp_path / "masks", tmp_path / "out"
    write_volume(cord_label(), masks / "sub-1_pred.nrrd")
    write_volume(_half(), masks / "sub-2" / "mask.nii.gz")
    write_volume(cord_label(), masks / "sub-3.mha")
    arguments = ["evaluate", str(data), "--predictions", str(masks), "--output", str(output)]
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert "sub-4: not judged: expected one mask sub-4" in said and "--only-labelled" not in said
    told = json.loads((output / "scores.json").read_text(encoding="utf-8"))
    assert told["model"] is None
    assert told["predictions"] == "masks"
    assert [one["case"] for one in told["not_judged"]] == ["sub-4"]
    assert told["groups"]["site"]["Oslo"]["dice_per_case"]["mean"] == pytest.approx((1 + 2 / 3) / 2)
    assert told["groups"]["site"]["Bergen"]["cases"] == 1
    assert told["area_agreement"]["per_case"]["n"] == 3
    assert {path.name for path in output.iterdir()} == {
        "scores.json", "slices.csv", "cases.csv", "bland_altman.png", "worst.png",
    }  # fmt: skip


def test_cord_on_slices_that_nobody_drew_is_told(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = cord_label()
    whole.ijk[20:30, 16:32] = 1
    write_volume(whole, tmp_path / "masks" / "sub-1.nii.gz")
    write_volume(cord_label(), tmp_path / "masks" / "sub-2.nii.gz")
    arguments = ["evaluate", str(data), "--predictions", str(tmp_path / "masks"), "--output", str(tmp_path / "out")]
    assert main(arguments) == 1
    assert "(sub-1) and counts as false" in capsys.readouterr().err
    assert main([*arguments, "--only-labelled"]) == 1
    assert "--only-labelled" not in capsys.readouterr().err


def test_two_folds_and_one_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, output = tmp_path / "data", tmp_path / "out"
    for number in range(2):
        put_case(data, f"sub-{number}", number)
    options = ["--output", str(output), "--folds", "2", "--only-labelled", *SHORT, "--set", "normalisation.size=32"]
    arguments = ["train", str(data), *options]
    assert main(arguments) == 0
    told = json.loads((output / "scores.json").read_text(encoding="utf-8"))
    assert told["cases"] == 2
    assert (told["slices_with_cord"], told["slices_without_cord"]) == (6, 0)  # 3 of the 5 slices of each are drawn
    assert [row["patients_held_out"] for row in told["folds"]] == [1, 1]
    held = [json.loads((output / f"fold{n}" / "split.json").read_text(encoding="utf-8")) for n in (1, 2)]
    assert sorted(part[0]["validation"][0] for part in held) == ["0", "1"]
    assert told["over_folds"]["dice_per_slice"]["n"] == 2
    monkeypatch.setattr(trainer.Training, "step", lambda run: pytest.fail("trained again"))
    assert main(arguments) == 0


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
