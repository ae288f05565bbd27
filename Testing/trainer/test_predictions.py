"""Masks made elsewhere, judged by the same code: their names, formats and grids; figures by site and scanner."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from cord_files import GRID, cord_image, cord_label, put_case

from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.volume import Volume
from SpinalCordSegTrainerLib.cli import main
from SpinalCordSegTrainerLib.dataset import find_cases
from SpinalCordSegTrainerLib.evaluation import find_prediction


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for number, name in enumerate(("sub-1", "sub-2", "sub-3", "sub-4")):
        put_case(folder, name, number)
    table = "participant_id\tsite\tcoil\nsub-1\tOslo\tneck\nsub-2\tOslo\thead\nsub-3\tBergen\tneck\n"
    (folder / "participants.tsv").write_text(table, encoding="utf-8")
    return folder


def _half() -> Volume:
    """The right half of the box: Dice 2/3, area -50 %."""
    label = cord_label()
    label.voxels[:, 24:, :] = 0
    return label


def _coarse() -> Volume:
    """The box on voxels twice as large in i and j."""
    grid = GRID.copy()
    grid[:3, :2] *= 2
    grid[:3, 3] += (GRID[:3, 0] + GRID[:3, 1]) / 2
    return Volume(cord_label().voxels[::2, ::2], grid)


def test_masks_of_another_program(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    masks, output = tmp_path / "masks", tmp_path / "out"
    (masks / "sub-2").mkdir(parents=True)
    write_volume(cord_label(), masks / "sub-1_pred.nrrd")
    write_volume(_half(), masks / "sub-2" / "mask.nii.gz")
    write_volume(_coarse(), masks / "sub-3.mha")
    arguments = ["evaluate", str(data), "--predictions", str(masks), "--output", str(output), "--by", "coil"]
    assert main(arguments) == 1
    errors = capsys.readouterr().err
    assert "not judged: sub-3: sub-3.mha lies on another grid" in errors
    assert "not judged: sub-4: no mask sub-4" in errors
    assert main([*arguments, "--tolerant"]) == 1
    told = json.loads((output / "scores.json").read_text(encoding="utf-8"))
    assert told["model"] is None
    assert told["predictions"] == "masks"
    assert [one["case"] for one in told["not_judged"]] == ["sub-4"]
    assert told["groups"]["site"]["Oslo"]["dice_per_case"]["mean"] == pytest.approx((1 + 2 / 3) / 2)
    assert told["groups"]["site"]["Bergen"]["cases"] == 1
    assert set(told["groups"]["coil"]) == {"neck", "head"}
    assert told["area_agreement"]["per_case"]["n"] == 3
    lines = (output / "groups.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 5
    assert {path.name for path in output.iterdir()} == {
        "scores.json", "slices.csv", "cases.csv", "groups.csv", "histogram.png", "bland_altman.png", "worst.png",
    }  # fmt: skip


def test_a_case_too_short_for_the_range_does_not_stop_the_others(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shape = (60, 48, 3)
    put_case(data, "sub-2", 1, cord_label(shape=shape), cord_image(1, shape=shape))
    masks, output = tmp_path / "masks", tmp_path / "out"
    masks.mkdir()
    for path in data.glob("*_seg.nii.gz"):
        shutil.copy(path, masks)
    arguments = ["evaluate", str(data), "--predictions", str(masks), "--output", str(output), "--range"]
    assert main([*arguments, "2:5"]) == 1
    assert "not judged: sub-2: case sub-2: slices 2:5 are not within 0:3" in capsys.readouterr().err
    told = json.loads((output / "scores.json").read_text(encoding="utf-8"))
    assert (told["cases"], told["slices_with_cord"]) == (3, 6)
    assert main([*arguments, "5:2"]) == 2
    assert "--range 5:2" in capsys.readouterr().err


def test_what_cannot_be_judged(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    shared = ["evaluate", str(data), "--predictions", str(masks), "--output", str(tmp_path / "out")]
    assert main(shared) == 2
    assert "no mask can be judged" in capsys.readouterr().err
    assert main([*shared, "--model", "x"]) == 2
    probability = Volume(cord_label().voxels * np.float32(0.5), GRID)
    write_volume(probability, masks / "sub-1.nii.gz")
    assert main(shared) == 2
    assert "threshold it first" in capsys.readouterr().err
    write_volume(cord_label(), masks / "sub-1_seg.nii.gz")
    assert main(shared) == 2
    assert "2 masks could be meant" in capsys.readouterr().err


def test_gipl_masks_take_the_images_orientation(data: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    image = sitk.GetImageFromArray(cord_label().voxels.transpose(2, 1, 0))
    image.SetSpacing((0.6, 0.5, 4.0))
    sitk.WriteImage(image, str(masks / "sub-1_seg.gipl"))
    assert find_prediction(find_cases(data)[0], masks).name == "sub-1_seg.gipl"
    assert main(["evaluate", str(data), "--predictions", str(masks), "--output", str(tmp_path / "out")]) == 1
    told = json.loads((tmp_path / "out" / "scores.json").read_text(encoding="utf-8"))
    assert told["dice_per_case"]["mean"] == 1.0
