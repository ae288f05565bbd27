"""Cases checked: every fault named with its reason, what each case holds, duplicates and outliers; JSON lines."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.volume import Volume
from SpinalCordSegTrainerLib.cli import main
from SpinalCordSegTrainerLib.dataset import match_files
from SpinalCordSegTrainerLib.dataset_check import check_cases

GRID = np.diag([0.5, 0.8, 3.0, 1.0])


def _put(folder: Path, name: str, *, seed: int = 0, half: int = 5, grid: np.ndarray = GRID, value: int = 1) -> None:
    """An image of noise, and a label map of a box of 2·half × 10 voxels in slices 1 to 4 of 6."""
    label = np.zeros((40, 30, 6), np.uint8)
    label[20 - half : 20 + half, 10:20, 1:5] = value
    image = np.random.default_rng(seed).integers(0, 99, label.shape).astype(np.int16)
    write_volume(Volume.from_ijk(image, GRID), folder / f"{name}.nii.gz")
    write_volume(Volume.from_ijk(label, grid), folder / f"{name}_seg.nii.gz")


def test_what_a_good_case_holds(tmp_path: Path) -> None:
    _put(tmp_path, "sub-1_T1w")
    (case,) = check_cases(match_files(tmp_path))
    assert case.usable and case.remarks == () and case.subject == "1" and case.labels == (1,)
    assert (case.n_slices, case.n_cord_slices) == (6, 4)
    assert case.volume_mm3 == pytest.approx(100 * 4 * 0.5 * 0.8 * 3)
    assert case.mean_csa_mm2 == pytest.approx(40.0, rel=0.01)


def test_twins_and_outliers_are_told(tmp_path: Path) -> None:
    for number in range(5):
        _put(tmp_path, f"sub-{number}", seed=number)
    _put(tmp_path, "sub-8", seed=8, half=15)
    _put(tmp_path, "sub-9", seed=3)
    found = {case.name: case for case in check_cases(match_files(tmp_path))}
    assert [name for name, case in found.items() if case.remarks] == ["sub-8"]
    assert "median 40 mm²" in " ".join(found["sub-8"].remarks)
    # One person under two codes would stand on both sides of a split, so the second one is refused.
    assert [name for name, case in found.items() if case.reason] == ["sub-9"]
    assert "the same voxels as sub-3" in found["sub-9"].reason


def test_command_tells_json_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _put(tmp_path, "good")
    assert main(["check", str(tmp_path), "--progress", "json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["progress", "checked", "result", "end"]
    assert (events[0]["stage"], events[0]["done"], events[0]["of"]) == ("cases", 1, 1)
    assert events[1]["case"]["usable"] and events[2]["usable"] == 1
    (tmp_path / "good_seg.nii.gz").write_bytes(b"x")
    assert main(["check", str(tmp_path)]) == 1
    assert "0 of 1 cases can be used" in capsys.readouterr().out
    assert main(["check", str(tmp_path / "none"), "--progress", "json"]) == 2
    assert json.loads(capsys.readouterr().out.splitlines()[0])["kind"] == "TrainingDataError"
