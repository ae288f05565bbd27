"""Odd volumes and a full disk at the command line: an answer with a flag, or one clear line and no file left."""

import json
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest

from SpinalCordSegLib.cli import main

SHAPE = (40, 32, 4)


def _nifti(path: Path, voxels: np.ndarray, pixel_mm: tuple[float, float] = (0.7, 0.9)) -> Path:
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([*pixel_mm, 3.0, 1.0])), path)
    return path


def _refused(capsys, arguments, words, output):
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert captured.err.startswith("spinalcordseg: error: ") and words in captured.err
    assert not output.exists() or list(output.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot limit the size of files")
def test_full_disk_leaves_no_partial_file(tmp_path, capsys, file_size_limit):
    """A limit on file size stands for the disk: the mask fits, the montage does not."""
    mask = _nifti(tmp_path / "mask.nii.gz", np.ones(SHAPE, np.uint8))
    with file_size_limit(4000):
        _refused(capsys, ["measure", mask, "--output", tmp_path / "out"], "cannot write", tmp_path / "out")


def test_altered_weights_are_refused(tiny_model, tmp_path, capsys):
    image = _nifti(tmp_path / "neck.nii.gz", np.zeros(SHAPE, np.float32))
    content = bytearray(tiny_model.read_bytes())
    content[-100] ^= 1
    (tmp_path / "bad.safetensors").write_bytes(content)
    arguments = ["segment", image, "--model", tmp_path / "bad.safetensors", "--output", tmp_path / "out"]
    _refused(capsys, arguments, "altered", tmp_path / "out")


def _report(folder: Path) -> dict:
    content = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert content["flags"], "an odd volume must raise a flag"
    return content


@pytest.mark.parametrize(
    ("voxels", "pixel_mm"),
    [
        (np.full(SHAPE, 7.0), (0.7, 0.9)), (np.random.default_rng(0).random((40, 32, 1)), (0.7, 0.9)),
        (np.zeros((40, 32, 1)), (0.7, 0.9)), (np.random.default_rng(0).integers(0, 200, (1200, 1200, 1)), (0.05, 0.05)),
    ],
    ids=["of one value", "one slice", "black", "very small pixels"],
)  # fmt: skip
def test_odd_images_get_an_answer(voxels, pixel_mm, tiny_model, tmp_path):
    image = _nifti(tmp_path / "odd.nii", voxels.astype(np.float32), pixel_mm)
    arguments = ["segment", image, "--model", tiny_model, "--device", "cpu", "--output", tmp_path / "out"]
    assert main([str(argument) for argument in arguments]) == 0
    content = _report(tmp_path / "out" / "odd")
    assert content["volume_mm3"] >= 0 and content["input"]["shape"] == list(voxels.shape)


@pytest.mark.parametrize(
    ("n_slices", "n_filled", "mean_mm2"),
    [(4, 0, None), (4, 1, pytest.approx(80 * 0.63)), (1, 1, pytest.approx(80 * 0.63))],
)
def test_odd_masks_get_an_answer(n_slices, n_filled, mean_mm2, tmp_path):
    voxels = np.zeros((40, 32, n_slices), np.uint8)
    voxels[15:25, 12:20, :n_filled] = 1
    mask = _nifti(tmp_path / "mask.nii.gz", voxels)
    assert main(["measure", str(mask), "--output", str(tmp_path / "out")]) == 0
    content = _report(tmp_path / "out" / "mask")
    assert (content["mean_csa_mm2"], content["n_slices"]) == (mean_mm2, n_filled)
    assert ("tilt" in {flag["kind"] for flag in content["flags"]}) == bool(n_filled)
