"""What users really feed it: a refusal is one clear line and exit code 2 with no file left; the rest gets an answer."""

import json
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest

from SpinalCordSegLib.cli import main
from SpinalCordSegLib.model.checkpoint import Checkpoint, save_checkpoint
from SpinalCordSegLib.model.networks import NetworkConfig, build_network
from SpinalCordSegLib.model.preprocessing import NormalisationConfig

SHAPE = (40, 32, 4)
AFFINE = np.diag([0.7, 0.9, 3.0, 1.0])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    network = NetworkConfig("ra_unet", width=1)
    weights = build_network(network).state_dict()
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_checkpoint(Checkpoint("tiny", "0", network, NormalisationConfig(kind="paper", size=64), weights), path)
    return path


def _nifti(path: Path, voxels: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
    return path


def _voxels(value: float | None = None) -> np.ndarray:
    voxels = np.random.default_rng(0).random(SHAPE, np.float32)
    if value is not None:
        voxels[3, 4, 2] = value
    return voxels


def _folder(path: Path) -> Path:
    (path / "empty").mkdir()
    (path / "empty" / "notes.txt").write_text("no image")
    return path / "empty"


_REFUSED = {
    "missing file": (lambda path: path / "x.nii.gz", "does not exist"),
    "folder without images": (_folder, "no DICOM image"),
    "NaN": (lambda path: _nifti(path / "x.nii.gz", _voxels(np.nan)), "NaN"),
}


def _refused(capsys, arguments, words, output):
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    assert captured.err.startswith("spinalcordseg: error: ")
    assert words in captured.err
    assert "Traceback" not in captured.err
    assert not output.exists() or list(output.iterdir()) == []


@pytest.mark.parametrize("kind", _REFUSED)
def test_unusable_images_are_refused(kind, model, tmp_path, capsys):
    make, words = _REFUSED[kind]
    arguments = ["segment", make(tmp_path), "--model", model, "--device", "cpu", "--output", tmp_path / "out"]
    _refused(capsys, arguments, words, tmp_path / "out")


def test_mask_on_another_grid_is_refused(tmp_path, capsys):
    image = _nifti(tmp_path / "image.nii.gz", _voxels())
    mask = _nifti(tmp_path / "mask.nii.gz", np.ones((40, 32, 5), np.uint8))
    arguments = ["measure", mask, "--image", image, "--output", tmp_path / "out"]
    _refused(capsys, arguments, "reaches beyond image.nii.gz", tmp_path / "out")


def test_several_labels_need_a_choice(tmp_path, capsys):
    labels = np.zeros(SHAPE, np.uint8)
    labels[10:20, 10:20], labels[25:30, 10:20] = 3, 7
    mask = _nifti(tmp_path / "mask.nii.gz", labels)
    arguments = ["measure", mask, "--output", tmp_path / "out"]
    _refused(capsys, arguments, "(3, 7)", tmp_path / "out")
    assert main([*map(str, arguments), "--label", "7"]) == 0


def test_unwritable_output_is_refused(tmp_path, capsys):
    mask = _nifti(tmp_path / "mask.nii.gz", np.ones(SHAPE, np.uint8))
    (tmp_path / "file").write_text("in the way")
    _refused(capsys, ["measure", mask, "--output", tmp_path / "file" / "out"], "cannot write", tmp_path / "no")


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot limit the size of files")
def test_full_disk_leaves_no_partial_file(tmp_path, capsys, file_size_limit):
    """A limit on file size stands for the disk: the mask fits, the montage does not."""
    mask = _nifti(tmp_path / "mask.nii.gz", np.ones(SHAPE, np.uint8))
    with file_size_limit(4000):
        _refused(capsys, ["measure", mask, "--output", tmp_path / "out"], "cannot write", tmp_path / "out")


def _flipped(model: Path, path: Path) -> Path:
    content = bytearray(model.read_bytes())
    content[-100] ^= 1
    path.write_bytes(bytes(content))
    return path


def _pickle(model: Path, path: Path) -> Path:
    """Protocol 4, with a call of os.mkdir that must never run."""
    marker = str(path.parent / "was-run").encode()
    path.write_bytes(b"\x80\x04cos\nmkdir\n(V" + marker + b"\ntR.")
    return path


@pytest.mark.parametrize(("make", "words"), [(_flipped, "altered"), (_pickle, "pickle")])
def test_bad_weights_are_refused(make, words, model, tmp_path, capsys):
    image = _nifti(tmp_path / "neck.nii.gz", _voxels())
    weights = make(model, tmp_path / "bad.safetensors")
    arguments = ["segment", image, "--model", weights, "--output", tmp_path / "out"]
    _refused(capsys, arguments, words, tmp_path / "out")
    assert not (tmp_path / "was-run").exists()


def _report(folder: Path) -> dict:
    content = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert content["flags"], "an odd volume must raise a flag"
    return content


def _cord(shape, last=None):
    mask = np.zeros(shape, np.uint8)
    mask[15:25, 12:20, :last] = 1
    return mask


@pytest.mark.parametrize(("shape", "value"), [(SHAPE, 7.0), ((40, 32, 1), None), ((40, 32, 1), 0.0)])
def test_odd_images_get_an_answer(shape, value, model, tmp_path):
    voxels = _voxels()[:, :, : shape[2]] if value is None else np.full(shape, value, np.float32)
    image = _nifti(tmp_path / "odd.nii.gz", voxels)
    arguments = ["segment", image, "--model", model, "--device", "cpu", "--output", tmp_path / "out"]
    assert main([str(argument) for argument in arguments]) == 0
    assert _report(tmp_path / "out" / "odd")["volume_mm3"] >= 0


def test_empty_mask_gives_zero_and_null(tmp_path):
    mask = _nifti(tmp_path / "mask.nii.gz", np.zeros(SHAPE, np.uint8))
    assert main(["measure", str(mask), "--output", str(tmp_path / "out")]) == 0
    content = _report(tmp_path / "out" / "mask")
    assert (content["volume_mm3"], content["mean_csa_mm2"], content["n_slices"]) == (0, None, 0)


@pytest.mark.parametrize("last", [1, None])
def test_one_slice_gives_a_number_and_a_flag(last, tmp_path):
    mask = _nifti(tmp_path / "mask.nii.gz", _cord(SHAPE if last else (40, 32, 1), last))
    assert main(["measure", str(mask), "--output", str(tmp_path / "out")]) == 0
    content = _report(tmp_path / "out" / "mask")
    assert content["mean_csa_mm2"] == pytest.approx(80 * 0.63)
    assert "tilt" in {flag["kind"] for flag in content["flags"]}


def test_very_small_pixels(model, tmp_path):
    voxels = np.random.default_rng(0).integers(0, 200, (1200, 1200, 1), np.uint8)
    image = _nifti(tmp_path / "large.nii", voxels, np.diag([0.05, 0.05, 3.0, 1.0]))
    arguments = ["segment", image, "--model", model, "--device", "cpu", "--output", tmp_path / "out"]
    assert main([str(argument) for argument in arguments]) == 0
    assert _report(tmp_path / "out" / "large")["input"]["shape"] == [1200, 1200, 1]
