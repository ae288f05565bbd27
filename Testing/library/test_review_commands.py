"""``review`` and ``correct`` from the command line, as a headless user works through a folder."""

import csv
import io
import shutil

import numpy as np
import pytest
from threshold_model import neck_image, write_threshold_model

from SpinalCordSegLib.case import AI_MASK, read_mask, read_result
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.image_io import read_labels, write_volume


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_threshold_model(tmp_path_factory.mktemp("model") / "threshold.safetensors")


@pytest.fixture(scope="module")
def segmented(model, tmp_path_factory):
    """Three necks, segmented; a bright bar crosses slice 10 of the second, as sure as the cord."""
    folder = tmp_path_factory.mktemp("necks")
    for name in ("a", "b", "c"):
        image = neck_image(np.diag([-0.8, 0.9, 4.0, 1.0]))  # stored from left to right; not averaged along the cord
        if name == "b":
            image.voxels[30:46, 26:31, 10] = 900
        write_volume(image, folder / "in" / f"{name}.nii.gz")
    command = ["segment", str(folder / "in"), "--model", str(model), "--output", str(folder / "out")]
    assert main(command) == 0
    return folder


@pytest.fixture
def results(segmented, tmp_path):
    """A copy to work on, beside the images."""
    shutil.copytree(segmented, tmp_path, dirs_exist_ok=True)
    return tmp_path / "out"


def _table(results):
    text = (results / "review.csv").read_text(encoding="utf-8")
    return {row["case"]: row for row in csv.DictReader(io.StringIO(text))}


def test_a_folder_is_worked_through(results, capsys) -> None:
    assert main(["review", str(results)]) == 0
    told = capsys.readouterr().out
    assert "3 cases: 3 ai" in told and told.index("a: not reviewed") < told.index("c: not reviewed")
    assert main(["review", str(results), "--case", "b"]) == 0
    assert "slice 10 (" in capsys.readouterr().out.split("\nb: ")[-1].splitlines()[1]
    assert main(["review", str(results), "--case", "b", "--seen", "10", "--reject", "--by", "A. Meyer"]) == 0
    assert "b: rejected by A. Meyer on 2" in capsys.readouterr().out
    row = _table(results)["b"]
    assert (row["state"], row["reviewer"], row["decided_on_this_mask"]) == ("rejected", "A. Meyer", "True")
    assert int(row["n_unseen"]) == int(row["n_flagged"]) - 1
    assert main(["review", str(results), "--accept", "--by", "A. Meyer", "--seen", "all"]) == 0  # the next open one
    assert main(["review", str(results), "--accept", "--by", "A. Meyer"]) == 0
    capsys.readouterr()
    assert main(["review", str(results)]) == 0
    assert "nothing is left to review" in capsys.readouterr().out
    assert [row["state"] for row in _table(results).values()] == ["accepted", "rejected", "accepted"]
    assert main(["review", str(results), "--case", "b", "--reopen"]) == 0
    assert read_result(results / "b")["review"]["state"] == "in review"


def test_a_slice_is_corrected_in_every_way(results, model, tmp_path, capsys) -> None:
    folder, image = results / "b", tmp_path / "in" / "b.nii.gz"
    ai = read_mask(folder)
    assert main(["correct", str(folder), "--fill", "9:11", "--by", "C"]) == 0
    assert "1 slices differ" in capsys.readouterr().out
    filled = read_mask(folder).voxels
    assert 55 <= filled[:, :, 10].sum() <= 70 < ai.voxels[:, :, 10].sum()
    content = read_result(folder)
    summary = (results / "summary.csv").read_text(encoding="utf-8")
    assert f"b,done,,{content['volume_mm3']}," in summary and "a,done" in summary
    assert content["mask_state"] == "corrected" and content["review"]["events"][-1]["who"] == "C"
    assert main(["correct", str(folder), "--smooth", "8:12"]) == 0
    assert main(["correct", str(folder), "--rerun", "10:11", "--image", str(image), "--model", str(model)]) == 0
    assert np.array_equal(read_mask(folder).voxels[:, :, 10], ai.voxels[:, :, 10])
    write_volume(ai.with_voxels(filled.astype(np.uint8) * 3), tmp_path / "mine.nrrd")
    assert main(["correct", str(folder), str(tmp_path / "mine.nrrd"), "--image", str(image)]) == 0
    assert np.array_equal(read_mask(folder).voxels, filled)
    assert np.array_equal(read_mask(folder, AI_MASK).voxels, ai.voxels)
    assert main(["segment", str(image), "--model", str(model), "--output", str(results), "--force"]) == 2
    assert "never replaced by the machine" in capsys.readouterr().err


def test_a_second_look_uses_what_the_case_was_segmented_with(model, tmp_path, monkeypatch, capsys) -> None:
    """Threshold, averaging and model of the case's report, and the corrected report states them still."""
    image = neck_image(np.diag([-0.8, 0.9, 1.0, 1.0]))
    image.voxels[:, :, 11] = 40  # by itself no cord; averaged with its neighbours there would be one
    write_volume(image, tmp_path / "thin.nii.gz")
    own, case = ["--threshold", "0.4", "--smooth-z", "0"], tmp_path / "out" / "thin"
    command = ["segment", str(tmp_path / "thin.nii.gz"), "--model", str(model), "--output", str(tmp_path / "out")]
    assert main([*command, *own]) == 0
    ai = read_mask(case).voxels
    assert not ai[:, :, 11].any() and ai[:, :, 10].any()
    again = ["correct", str(case), "--rerun", "9:13", "--image", str(tmp_path / "thin.nii.gz")]
    monkeypatch.setenv("SPINALCORDSEG_MODELS", str(tmp_path))
    assert main(again) == 2
    assert "not among the models here: name its weights file by --model" in capsys.readouterr().err
    monkeypatch.setenv("SPINALCORDSEG_MODELS", str(model.parent))
    assert main(again) == 0
    assert np.array_equal(read_mask(case).voxels, ai)
    content = read_result(case)
    assert (content["threshold"], content["along_mm"], content["mask_state"]) == (0.4, 0, "corrected")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["review", "{out}", "--case", "x"], 'no case "x"'),
        (["review", "{out}", "--accept"], "give the reviewer's name"),
        (["review", "{out}", "--seen", "ten"], "is no slice"),
        (["review", "{out}/a/mask.nii.gz"], "is no folder"),
        (["correct", "{out}", "--fill", "1:5"], "holds no mask"),
        (["correct", "{out}/a", "--fill", "5:5"], "not a range"),
        (["correct", "{out}/a", "--rerun", "5:6"], "needs the image"),
        (["correct", "{out}/a", "--smooth", "5:60"], "does not fit 24 slices"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(results, capsys, arguments: list[str], words: str) -> None:
    assert main([word.format(out=results) for word in arguments]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_a_mask_changed_behind_our_back_is_not_accepted(results, capsys) -> None:
    mask = read_labels(results / "a" / "mask.nii.gz")
    write_volume(mask.with_voxels(np.roll(mask.voxels, 1, axis=0)), results / "a" / "mask.nii.gz")
    assert main(["review", str(results), "--case", "a", "--accept", "--by", "A"]) == 2
    assert "changed after it was measured" in capsys.readouterr().err
