"""What a person did to a case outlasts whatever the machine is asked to do with it afterwards."""

from __future__ import annotations

import numpy as np
import pytest

from SpinalCordSegLib.case import read_mask, read_result, read_review, store_correction
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.volume import Volume


@pytest.fixture
def measured(tmp_path):
    """A mask made elsewhere, measured: the mask's file and the case's folder."""
    x, y, z = np.ogrid[:30, :30, :20]
    mask = Volume(np.hypot(x - 15, y - 15) + 0 * z <= 6, np.diag([0.8, 0.8, 2.0, 1.0]))
    write_volume(mask, tmp_path / "m.nii.gz")
    assert main(["measure", str(tmp_path / "m.nii.gz"), "--output", str(tmp_path / "out")]) == 0
    return tmp_path / "m.nii.gz", tmp_path / "out" / "m"


@pytest.mark.parametrize("how", [["--force"], ["--disc", "C2/C3=10"]])
def test_a_corrected_mask_stays_when_its_review_is_opened_again(measured, how, capsys) -> None:
    file, folder = measured
    mask = read_mask(folder)
    voxels = mask.voxels.copy()
    voxels[:, :, 5] = np.roll(voxels[:, :, 5], 2, axis=0)
    store_correction(folder, mask.with_voxels(voxels), "A. Meyer")
    assert main(["review", str(folder.parent), "--case", "m", "--reopen", "--by", "A. Meyer"]) == 0
    assert main(["measure", str(file), "--output", str(folder.parent), *how]) != 0
    assert "a person has corrected" in capsys.readouterr().err
    assert np.array_equal(read_mask(folder).voxels, voxels)


def test_what_was_seen_of_a_mask_stays_seen_when_it_is_measured_again(measured) -> None:
    file, folder = measured
    assert main(["review", str(folder.parent), "--case", "m", "--seen", "4", "--seen", "6", "--by", "A. Meyer"]) == 0
    before = read_review(folder)
    assert before.seen == (4, 6)
    assert main(["measure", str(file), "--output", str(folder.parent), "--disc", "C2/C3=10"]) == 0
    assert read_result(folder)["levels"] is not None and read_review(folder) == before
    mask = read_mask(folder)
    voxels = mask.voxels.copy()
    voxels[:, :, 0] = False
    write_volume(mask.with_voxels(voxels), file)
    assert main(["measure", str(file), "--output", str(folder.parent), "--force"]) == 0
    assert read_review(folder).seen == (), "another mask: nobody has seen it"
