"""summary.csv while people correct cases, open the table, and put more images into the same folder."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from SpinalCordSegLib import case
from SpinalCordSegLib.batch import BatchOptions, LoadedCase, run_batch
from SpinalCordSegLib.case import read_mask, read_result, store_correction, write_review
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.errors import InputFileError, OutputError
from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.pipeline import measure_mask
from SpinalCordSegLib.review import ACCEPTED, Review, decided

MASK = make_phantom(PhantomConfig(shape=(40, 32, 5), spacing_mm=(0.7, 0.9, 4.0))).mask


def _load(path: Path) -> LoadedCase:
    if path.stem == "bad":
        raise InputFileError(f"{path} is damaged")
    return LoadedCase(path.stem, str(path), lambda: measure_mask(MASK, path.stem))


def _rows(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "summary.csv").open(encoding="utf-8", newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def _corrected(folder: Path) -> str:
    voxels = read_mask(folder).voxels.copy()
    voxels[:, :, 2] = np.roll(voxels[:, :, 2], 1, axis=0) | voxels[:, :, 2]
    return str(store_correction(folder, MASK.with_voxels(voxels), "A. Meyer")["volume_mm3"])


def test_a_correction_while_its_batch_runs_stays_in_the_table(tmp_path) -> None:
    batch = run_batch([Path("a"), Path("b")], _load, BatchOptions(tmp_path))
    next(batch)
    volume = _corrected(tmp_path / "a")
    next(batch)
    assert _rows(tmp_path)["a"]["volume_mm3"] == volume != _rows(tmp_path)["b"]["volume_mm3"]


def test_two_batches_into_one_folder_keep_each_others_rows(tmp_path) -> None:
    one, other = (run_batch([Path(n) for n in names], _load, BatchOptions(tmp_path)) for names in ("ab", "cd"))
    for _ in range(2):
        next(one), next(other)
    assert sorted(_rows(tmp_path)) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("busy", [{1}, {1, 2}])
def test_a_table_that_is_open_elsewhere_stops_no_batch(tmp_path, monkeypatch, caplog, busy) -> None:
    calls = []

    def write(path: Path, text: str) -> None:
        calls.append(path)
        if len(calls) in busy:
            raise OutputError(f"cannot write {path}: no permission")
        path.write_text(text, encoding="utf-8")

    monkeypatch.setattr(case, "write_text", write)
    outcomes = list(run_batch([Path("a"), Path("b")], _load, BatchOptions(tmp_path)))
    assert [outcome.state for outcome in outcomes] == ["done", "done"]
    assert sorted(_rows(tmp_path)) == ["a", "b"] and "the cases go on" in caplog.text


def test_a_table_that_stays_open_elsewhere_is_told_at_the_end(tmp_path, monkeypatch) -> None:
    def write(path: Path, _text: str) -> None:
        raise OutputError(f"cannot write {path}: no permission")

    monkeypatch.setattr(case, "write_text", write)
    batch = run_batch([Path("a"), Path("b")], _load, BatchOptions(tmp_path))
    assert [next(batch).state, next(batch).state] == ["done", "done"]
    with pytest.raises(OutputError, match="no permission"):
        next(batch)


def test_a_table_open_elsewhere_stops_no_batch_where_people_have_worked(tmp_path, monkeypatch) -> None:
    list(run_batch([Path("a"), Path("b")], _load, BatchOptions(tmp_path)))
    _corrected(tmp_path / "a")

    def write(path: Path, _text: str) -> None:
        raise OutputError(f"cannot write {path}: no permission")

    monkeypatch.setattr(case, "write_text", write)
    batch = run_batch([Path("a"), Path("b")], _load, BatchOptions(tmp_path, force=True))
    assert [next(batch).state, next(batch).state] == ["failed", "done"]


def test_a_folder_that_takes_nothing_ends_the_batch_at_its_first_case(tmp_path, monkeypatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OutputError("cannot write: the disk is full")

    monkeypatch.setattr(case, "write_text", refuse)
    monkeypatch.setattr("SpinalCordSegLib.batch.write_case", refuse)
    with pytest.raises(OutputError, match="disk is full"):
        next(run_batch([Path("a"), Path("b")], _load, BatchOptions(tmp_path)))


def test_a_refusal_leaves_the_row_of_the_result_that_stands(tmp_path) -> None:
    list(run_batch([Path("a"), Path("b")], _load, BatchOptions(tmp_path)))
    write_review(tmp_path / "a", decided(Review(), ACCEPTED, "A. Meyer"))
    before = _rows(tmp_path)["a"]
    outcomes = list(run_batch([Path("a"), Path("b")], _load, BatchOptions(tmp_path, force=True)))
    assert [outcome.state for outcome in outcomes] == ["failed", "done"]
    after = _rows(tmp_path)["a"]
    assert "a person has accepted" in after.pop("reason") and before.pop("reason") == "" and after == before


def test_a_refused_image_of_the_same_name_gets_a_row_of_its_own(tmp_path) -> None:
    list(run_batch([Path("x/a"), Path("x/b")], _load, BatchOptions(tmp_path)))
    outcomes = list(run_batch([Path("y/a"), Path("y/c")], _load, BatchOptions(tmp_path)))
    assert [(one.case_name, one.state) for one in outcomes] == [("a_2", "failed"), ("c", "done")]
    rows = _rows(tmp_path)
    assert rows["a"]["state"] == "done" and "another image" in rows["a_2"]["reason"]


def test_marked_discs_replace_no_other_persons_result(tmp_path, capsys) -> None:
    for person, shift in (("A", 0), ("B", 3)):
        write_volume(MASK.with_voxels(np.roll(MASK.voxels, shift, axis=0)), tmp_path / person / "t1.nii.gz")
    out = ["--output", str(tmp_path / "out")]
    assert main(["measure", str(tmp_path / "A" / "t1.nii.gz"), *out]) == 0
    first = read_result(tmp_path / "out" / "t1")
    assert main(["measure", str(tmp_path / "B" / "t1.nii.gz"), *out, "--disc", "C2/C3=2"]) != 0
    assert "another image" in capsys.readouterr().err
    assert read_result(tmp_path / "out" / "t1") == first
    assert main(["measure", str(tmp_path / "A" / "t1.nii.gz"), *out, "--disc", "C2/C3=2"]) == 0
    assert read_result(tmp_path / "out" / "t1")["levels_asked"] is not None
