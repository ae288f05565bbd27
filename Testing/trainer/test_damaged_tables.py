"""Configurations, splits, manifests and records that hold other things than were written: one line each."""

from __future__ import annotations

from pathlib import Path

import pytest
from cord_files import put_case

from SpinalCordSegLib.errors import ConfigurationError, TrainingDataError
from SpinalCordSegTrainerLib.cli import main
from SpinalCordSegTrainerLib.config import TrainingConfig, read_config, with_settings
from SpinalCordSegTrainerLib.dataset import match_files, read_table
from SpinalCordSegTrainerLib.distributed import ALONE
from SpinalCordSegTrainerLib.run_folder import record_start
from SpinalCordSegTrainerLib.slice_cache import SliceCache
from SpinalCordSegTrainerLib.split import read_split

DEEP = "[" * 100_000
LONG = "a" * 200_000  # more than a cell of Python's csv may have


def test_json_nested_without_end(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(DEEP)
    with pytest.raises(ConfigurationError):
        read_config(path)
    with pytest.raises((ConfigurationError, TrainingDataError)):
        read_split(path)
    with pytest.raises(ConfigurationError):
        with_settings(TrainingConfig(), [f"network.width={DEEP}"])
    path.rename(tmp_path / "cache.json")
    with pytest.raises(TrainingDataError, match="write it again"):
        SliceCache.open(tmp_path)


@pytest.mark.parametrize("text", [DEEP, "[]", "5", '{"starts": 5}', '{"starts": {"a": 1}}', "\0"])
def test_a_damaged_record_of_starts_does_not_stop_a_run(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    assert record_start(tmp_path, 3, ALONE)["after_update"] == 3
    assert '"after_update": 3' in (tmp_path / "run.json").read_text()


def test_a_manifest_with_a_cell_without_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cases.csv"
    path.write_text(f"image,label\na.nii.gz,{LONG}\n")
    with pytest.raises(TrainingDataError, match=r"cases\.csv, line"):
        read_table(path)
    assert main(["check", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "cases.csv" in error


@pytest.mark.parametrize("value", ["²", "9" * 400, "1e3", "-1", "x"])
def test_values_of_a_label_that_no_map_holds(tmp_path: Path, value: str) -> None:
    put_case(tmp_path, "a")
    (tmp_path / "cases.csv").write_text(f"image,label,label_value\na.nii.gz,a_seg.nii.gz,{value}\n", encoding="utf-8")
    matched = match_files(tmp_path / "cases.csv")
    assert not matched.cases and "is not a whole number" in matched.problems[0][1]


@pytest.mark.parametrize("number", ["Infinity", "-Infinity", "NaN", "1e999", "1" + "0" * 400])
def test_numbers_of_a_configuration_are_finite(tmp_path: Path, number: str) -> None:
    (tmp_path / "x.json").write_text(f'{{"loss": {{"gamma": {number}}}}}')
    with pytest.raises(ConfigurationError, match=r"loss\.gamma: expected a finite number"):
        read_config(tmp_path / "x.json")
