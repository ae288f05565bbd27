"""The command line: exit codes, one line per error, JSON lines, cancelling, and the demo."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from SpinalCordSegLib.cli import main
from SpinalCordSegLib.console import Reporter, _signals_interrupt
from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom

CONFIG = PhantomConfig(shape=(60, 48, 6), spacing_mm=(0.6, 0.8, 3.0), orientation="LPS")
_FILES = ["mask.nii.gz", "montage.png", "pictures.npz", "report.html", "report.json", "slices.csv"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_model):
    """An image, its mask, and an untrained model."""
    path = tmp_path_factory.mktemp("inputs")
    phantom = make_phantom(CONFIG)
    write_volume(phantom.image, path / "neck.nii.gz")
    write_volume(phantom.mask, path / "cord.nrrd")
    shutil.copy(tiny_model, path)
    return path


def _child(*arguments, **options):
    environment = os.environ | {"PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "SpinalCordSegLib", *map(str, arguments)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", **options,
    )  # fmt: skip


def test_segment_writes_everything(folder, tmp_path, capsys):
    command = ["segment", str(folder / "neck.nii.gz"), "--model", str(folder / "tiny.safetensors"), "--device", "cpu"]
    assert main([*command, "--output", str(tmp_path), "--save-probability", "--mask-format", "seg.nrrd"]) == 0
    case = tmp_path / "neck"
    assert {path.name for path in case.iterdir()} - {"pictures.npz"} == {  # which only a cord has
        "mask.seg.nrrd", "mask_ai.seg.nrrd", "montage.png", "probability.nrrd", "report.html", "report.json",
        "slices.csv",
    }  # fmt: skip
    report = json.loads((case / "report.json").read_text(encoding="utf-8"))
    assert (report["device"], report["model"]["name"], report["input"]["orientation"]) == ("cpu", "tiny", "LPS")
    assert len(report["model"]["sha256"]) == 64
    output = capsys.readouterr()
    assert output.out.startswith("neck: ")
    (message,) = output.err.splitlines()
    assert "no cord was found" in message


def test_measure_finds_the_phantoms_volume_and_is_kept(folder, tmp_path, capsys):
    command = ["measure", str(folder / "cord.nrrd"), "--image", str(folder / "neck.nii.gz"), "--output", str(tmp_path)]
    assert main([*command, "--range", "1:3"]) == 0
    assert sorted(path.name for path in (tmp_path / "cord").iterdir()) == _FILES
    report = json.loads((tmp_path / "cord" / "report.json").read_text(encoding="utf-8"))
    assert report["volume_mm3"] == pytest.approx(make_phantom(CONFIG).truth_volume_mm3, rel=0.02)
    assert (report["n_slices"], report["range"], report["mask_state"]) == (2, [1, 3], "given")
    alone = [*command[:2], *command[4:]]
    assert main(alone) == 0
    assert "(kept)" in capsys.readouterr().out
    assert main([*alone, "--force"]) == 0
    assert json.loads((tmp_path / "cord" / "report.json").read_text(encoding="utf-8"))["range"] is None


def test_demo_knows_its_truth(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("SpinalCordSegLib.phantom.make_phantom", lambda: make_phantom(CONFIG))
    assert main(["demo", "--output", str(tmp_path), "--model", str(folder / "tiny.safetensors")]) == 0
    found = json.loads((tmp_path / "phantom" / "report.json").read_text(encoding="utf-8"))["volume_mm3"]
    true = make_phantom(CONFIG).truth_volume_mm3
    said = f"true volume {true:.0f} mm³, found {found:.0f} mm³: error {100 * (found / true - 1):+.2f} %"
    assert said in capsys.readouterr().out


def test_models_lists_and_explains(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SPINALCORDSEG_MODELS", str(folder))
    assert main(["models"]) == 0
    assert "tiny 0" in capsys.readouterr().out
    for named in (str(folder / "tiny.safetensors"), "tiny"):
        assert main(["models", named]) == 0
        explained = json.loads(capsys.readouterr().out)
        assert explained["provenance"] == {"data": ["none"]} and explained["normalisation"]["kind"] == "paper"
    shutil.copy(folder / "tiny.safetensors", tmp_path / "b.safetensors")
    (tmp_path / "a.safetensors").write_bytes((folder / "tiny.safetensors").read_bytes()[:-7])
    monkeypatch.setenv("SPINALCORDSEG_MODELS", str(tmp_path))
    assert main(["models"]) == 1, "a damaged one hides no other"
    told = capsys.readouterr()
    assert "tiny 0" in told.out and "a.safetensors: truncated" in told.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["segment", "x.nii"], "--output"),
        (["measure", "x.nii", "--output", "o", "--range", "5:5"], '"5:5" is not a range'),
        (["measure", "x.nii", "--output", "o", "--range", "a:b"], "not a range"),
        (["segment", "x.nii", "--output", "o", "--device", "abacus"], "abacus"),
        (["segment", "", "--output", "o"], "path is empty"),
        (["dance"], "dance"),
    ],
)
def test_usage_errors_are_one_line_and_2(arguments, words, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_json_lines_tell_everything(folder, tmp_path, capsys):
    command = ["segment", str(folder / "neck.nii.gz"), str(tmp_path / "missing.nii"), "--output", str(tmp_path / "out")]
    assert main([*command, "--model", str(folder / "tiny.safetensors"), "--device", "cpu", "--progress", "json"]) == 1
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    kinds = [event["event"] for event in events]
    assert (kinds[0], kinds[1], kinds[-1]) == ("start", "case", "end")
    steps = [(e["done"], e["of"]) for e in events if e["event"] == "progress" and e["stage"] == "segment"]
    assert steps[0] == (0, 6)
    assert steps[-1] == (6, 6)
    (result,) = (event for event in events if event["event"] == "result")
    assert Path(result["folder"]) == tmp_path / "out" / "neck"
    assert {"volume_mm3", "mean_csa_mm2", "n_flags", "files"} <= set(result)
    (error,) = (event for event in events if event["event"] == "error")
    assert (error["kind"], error["case"]) == ("InputFileError", "missing")
    assert events[-1]["exit_code"] == 1


@pytest.fixture
def long_work(folder, tmp_path):
    """Arguments of a run that takes far longer than the test: 3000 slices."""
    voxels = np.zeros((24, 24, 3000), np.float32)
    phantom = make_phantom(PhantomConfig(shape=(24, 24, 2), spacing_mm=(0.9, 0.8, 3.0)))
    write_volume(type(phantom.image).from_ijk(voxels, phantom.image.ijk_to_ras), tmp_path / "long.nrrd")
    return [
        "segment", tmp_path / "long.nrrd", "--model", folder / "tiny.safetensors", "--output", tmp_path / "out",
        "--device", "cpu", "--progress", "json",
    ]  # fmt: skip


def _wait_for_slices(child):
    for line in child.stdout:
        event = json.loads(line)
        if event["event"] == "progress" and event["done"] > 0:
            return
    pytest.fail(child.stderr.read())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals between processes")
def test_a_signal_cancels_and_leaves_nothing(long_work, tmp_path):
    with _child(*long_work) as child:
        _wait_for_slices(child)
        child.send_signal(signal.SIGTERM)
        out, error = child.communicate()
    assert child.returncode == 130
    assert error == "spinalcordseg: error: cancelled; nothing half-done was kept\n"
    assert json.loads(out.splitlines()[-1]) == {"event": "end", "exit_code": 130}
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no nohup")
def test_a_batch_under_nohup_outlasts_its_terminal(monkeypatch):
    """nohup says that SIGHUP is to be ignored; to listen to it all the same ended the batch at log-out."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with _signals_interrupt():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not before
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_time_left_follows_the_pace(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr("SpinalCordSegLib.console.time.monotonic", lambda: now[0])
    reporter = Reporter("program", as_json=True)
    for now[0], done in ((0.0, 0), (0.5, 10), (5.0, 50), (5.01, 51), (6.8, 68), (17.0, 170)):
        reporter.progress("segment", done, 170)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["done"] for event in told] == [0, 10, 50, 68, 170]  # at most ten lines a second
    assert [event["seconds_left"] for event in told] == [None, None, 12.0, 10.2, 0.0]
    reporter.progress("segment", 0, 170)  # the next case: its own pace
    assert json.loads(capsys.readouterr().out)["seconds_left"] is None
