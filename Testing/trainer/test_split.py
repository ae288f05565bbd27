"""Who is held out: folds, columns, given files, and that nobody is on both sides."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cord_files import put_case

from SpinalCordSegLib.errors import ConfigurationError, TrainingDataError
from SpinalCordSegTrainerLib.batches import open_sources
from SpinalCordSegTrainerLib.cli import main
from SpinalCordSegTrainerLib.config import SourceConfig, TrainingConfig, ValidationConfig
from SpinalCordSegTrainerLib.dataset import LabelledCase
from SpinalCordSegTrainerLib.slice_cache import SliceCache
from SpinalCordSegTrainerLib.split import Split, folds, read_split, split_by_rule, split_subjects, write_split


def _case(name: str, subject: str, site: str = "") -> LabelledCase:
    return LabelledCase(name, subject, Path(name), Path(name), facts=(("site", site),) if site else ())


CASES = [_case("a", "1", "Oslo"), _case("b", "1", "Bergen"), _case("c", "2", "Oslo"), _case("d", "3", "Bergen")]


def test_folds_hold_everybody_out_once() -> None:
    subjects = [f"p{n}" for n in range(11)] * 2
    found = folds(subjects, 4, seed=3)
    assert sorted(one for fold in found for one in fold.validation) == sorted(set(subjects))
    assert sorted(len(fold.validation) for fold in found) == [2, 3, 3, 3]
    assert all(not set(fold.training) & set(fold.validation) and len(fold.training) + len(fold.validation) == 11
               for fold in found)  # fmt: skip
    assert found == folds(reversed(subjects), 4, seed=3) != folds(subjects, 4, seed=4)
    for count in (1, 12):
        with pytest.raises(ConfigurationError, match="folds of 11"):
            folds(subjects, count, 0)


def test_a_share_at_random_keeps_a_subject_on_one_side() -> None:
    subjects = [f"p{number // 3}" for number in range(30)]
    split = split_subjects(subjects, 0.2, seed=4)
    assert len(split.validation) == 2
    assert sorted((*split.training, *split.validation)) == sorted(set(subjects))
    assert split_subjects(reversed(subjects), 0.2, seed=4) == split != split_subjects(subjects, 0.2, seed=5)
    assert split_subjects(["a", "b"], 0.9, seed=0).training
    assert split_subjects(["a"], 0.0, seed=0) == Split(("a",), ())
    with pytest.raises(TrainingDataError, match="needs two"):
        split_subjects(["a", "a"], 0.2, seed=0)


def test_a_patient_seen_at_two_sites_goes_to_one_side() -> None:
    assert split_by_rule(CASES, "Site = Oslo", 0) == Split(("3",), ("1", "2"))
    for rule, words in (
        ("site", "COLUMN=VALUE"),
        ("site=Rome", "values are Bergen, Oslo"),
        ("x=1", "no case has that"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            split_by_rule(CASES, rule, 0)
    with pytest.raises(ConfigurationError, match="every patient"):
        split_by_rule(CASES[:3], "site=Oslo", 0)


def test_a_written_split_is_read_again_and_leaks_are_refused(tmp_path: Path) -> None:
    write_split([Split(("1",), ("2", "3"))], tmp_path / "split.json")
    assert read_split(tmp_path) == read_split(tmp_path / "split.json") == Split(("1",), ("2", "3"))
    for content, words in (
        ([{"training": ["1"], "validation": ["1"]}], "patients on both sides"),
        ([{"training": ["1"], "validation": []}], "holds nobody out"),
        ({"training": []}, "no readable"),
    ):
        (tmp_path / "split.json").write_text(json.dumps(content), encoding="utf-8")
        with pytest.raises(TrainingDataError, match=words):
            read_split(tmp_path)


def test_training_holds_out_exactly_those_named(make_cache: Callable[..., SliceCache]) -> None:
    cache = make_cache(n=8, size=32, name="c")
    config = TrainingConfig(
        sources=(SourceConfig(str(cache.folder)),), validation=ValidationConfig(subjects=("c1", "c3", "elsewhere"))
    )
    config = replace(config, normalisation=replace(config.normalisation, size=32))
    opened = open_sources(config)
    assert opened.split == [Split(("c0", "c2"), ("c1", "c3"), "c", "simulated")]
    assert list(opened.held_out[0].indices) == [2, 3, 6, 7]
    for subjects, words in ((("elsewhere",), "none of the patients"), (("c0", "c1", "c2", "c3"), "every patient")):
        with pytest.raises(TrainingDataError, match=words):
            open_sources(replace(config, validation=ValidationConfig(subjects=subjects)))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    for number in range(3):
        put_case(data, f"sub-{number}_T1w", number)
    (data / "participants.tsv").write_text("participant_id\tsite\nsub-0\tA\nsub-1\tB\nsub-2\tB\n", encoding="utf-8")
    assert main(["check", str(data), "--output", str(tmp_path / "f"), "--folds", "3"]) == 0
    assert len(read_split(tmp_path / "f" / "fold2").validation) == 1
    assert main(["check", str(data), "--output", str(tmp_path / "s"), "--hold-out", "site=B"]) == 0
    assert read_split(tmp_path / "s") == Split(("0",), ("1", "2"))
    assert "1 patient to train on, 2 held out" in capsys.readouterr().out
    assert main(["check", str(data), "--output", str(tmp_path / "r")]) == 0
    assert len(read_split(tmp_path / "r").validation) == 1
    assert main(["check", str(data), "--output", str(tmp_path / "x"), "--folds", "9"]) == 2
