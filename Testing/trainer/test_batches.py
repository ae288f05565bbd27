"""Who is held out, and batches that depend on the update alone: nobody is on both sides of a split."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from cord_files import put_case

from SpinalCordSegLib.errors import ConfigurationError, TrainingDataError
from SpinalCordSegLib.model.checkpoint import NetworkConfig, load_card
from SpinalCordSegTrainerLib.batches import BatchSampler, OpenedSources, Slices, open_sources
from SpinalCordSegTrainerLib.cli import main
from SpinalCordSegTrainerLib.config import CropConfig, SourceConfig, TrainingConfig, ValidationConfig
from SpinalCordSegTrainerLib.dataset import LabelledCase
from SpinalCordSegTrainerLib.slice_cache import SliceCache
from SpinalCordSegTrainerLib.split import Split, folds, read_split, split_by_rule, split_patients, write_split
from SpinalCordSegTrainerLib.trainer import Training

CONFIG = TrainingConfig(batch_size=5)


def _source(cache: SliceCache, weight: float = 1.0, policy: str = "none") -> Slices:
    return Slices(cache, np.arange(len(cache)), weight, None if policy == "none" else getattr(CONFIG, policy))


def test_whole_slices_bit_for_bit_once_an_epoch(make_cache: Callable[..., SliceCache]) -> None:
    cache = make_cache(n=10, size=64)
    batches = BatchSampler([_source(cache)], CONFIG)
    assert batches.updates_per_epoch() == 2
    sums = Counter(float(one.sum()) for update in (0, 1) for one in batches.batch(update)[0])
    expected = Counter(float(torch.from_numpy(one).sum()) for one in cache.read(np.arange(10))[0])
    assert sums == expected
    first, third = batches.batch(0)[0], batches.batch(2)[0]
    assert first.shape == (5, 1, 64, 64)
    assert not torch.equal(first, third)


def test_the_batch_depends_on_the_update_alone(make_cache: Callable[..., SliceCache]) -> None:
    config = replace(CONFIG, crop=CropConfig(size=32, jitter_px=6))
    sources = [_source(make_cache(n=6, size=64), 1, "contrast"), _source(make_cache(n=6, size=96, name="b"), 2)]
    forward, jumped = BatchSampler(sources, config), BatchSampler(sources, config)
    for update in range(7):
        forward.batch(update)
    one, other = forward.batch(7), jumped.batch(7)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert one[0].shape == (5, 1, 32, 32)


def test_refusals(make_cache: Callable[..., SliceCache]) -> None:
    small, large = make_cache(n=4, size=32), make_cache(n=4, size=64, name="b")
    with pytest.raises(TrainingDataError, match="no training slices"):
        BatchSampler([], CONFIG)
    with pytest.raises(TrainingDataError, match="crop"):
        BatchSampler([_source(small), _source(large)], CONFIG)
    with pytest.raises(ConfigurationError, match="weight"):
        BatchSampler([_source(small, 0.01), _source(small, 1)], CONFIG)


MakeCache = Callable[..., str]


@pytest.fixture
def cache_of(tmp_path: Path) -> MakeCache:
    """cache_of("a", ["P1", "P2"]) writes a cache with one slice of each."""

    def make(name: str, subjects: Sequence[str], kind: Literal["real", "simulated"] = "real") -> str:
        cord = (np.hypot(*(np.mgrid[:32, :32] - 15.5)) < 5).astype(np.float32)
        slices = ((0.8 * cord, cord, subject) for subject in subjects)
        SliceCache.write(tmp_path / name, slices, normalisation={}, kind=kind, source={})
        return str(tmp_path / name)

    return make


def _config(*caches: str, held_out: Sequence[str] = (), **validation: object) -> TrainingConfig:
    config = TrainingConfig(
        network=NetworkConfig("deep_unet", 1),
        sources=tuple(SourceConfig(path) for path in caches),
        validation=replace(ValidationConfig(caches=tuple(held_out), fraction=0.3), **validation),
        batch_size=2,
        updates_per_epoch=1,
        epochs=1,
        statistics_batches=1,
    )
    return replace(config, normalisation=replace(config.normalisation, size=32))


def _sides(opened: OpenedSources) -> tuple[set[str], set[str]]:
    training = {one.cache.info.subjects[n] for one in opened.training for n in one.indices}
    return training, {one.cache.info.subjects[n] for one in opened.held_out for n in one.indices}


def test_a_patient_of_two_caches_is_on_one_side(cache_of: MakeCache) -> None:
    people = [f"P{n}" for n in range(10)]
    one, other = cache_of("one", people[:8]), cache_of("other", people[3:])
    for seed in range(6):
        training, held_out = _sides(open_sources(replace(_config(one, other), seed=seed)))
        assert not training & held_out
        assert (len(training), len(held_out)) == (7, 3)


def test_each_patient_comes_equally_often(cache_of: MakeCache) -> None:
    """However many slices the scans of one have; and each of these comes."""
    config = replace(_config(cache_of("a", ["P1", "P2", "P2", "P2", "P2"]), fraction=0.0), even_patients=True)
    opened = open_sources(config)
    assert Counter(opened.training[0].indices.tolist()) == {0: 4, 1: 1, 2: 1, 3: 1, 4: 1}
    assert opened.provenance[0]["slices"] == 5


def test_simulated_people_are_nobody_elses_namesakes(cache_of: MakeCache, tmp_path: Path) -> None:
    real, simulated = cache_of("real", ["1", "2"]), cache_of("simulated", ["1", "2"], "simulated")
    opened = open_sources(_config(real, held_out=[simulated]))
    assert len(opened.training[0].indices) == len(opened.held_out[0].indices) == 2
    write_split(opened.split, tmp_path / "split.json")
    with pytest.raises(TrainingDataError, match="holds nobody out"):  # none of the patients, that is
        read_split(tmp_path)
    (tmp_path / "split.json").write_text(
        json.dumps(
            [
                {"cache": "a", "kind": "real", "training": ["1"], "validation": ["2"]},
                {"cache": "b", "kind": "simulated", "training": ["2"], "validation": ["1"]},
            ]
        ),
        encoding="utf-8",
    )
    assert read_split(tmp_path) == Split(("1",), ("2",))


def test_a_patient_held_out_in_another_cache_is_refused(cache_of: MakeCache) -> None:
    config = _config(cache_of("one", ["P1", "P2"]), held_out=[cache_of("other", ["P2"])])
    with pytest.raises(TrainingDataError, match="other: 1 of the patients held out there are also trained on"):
        open_sources(config)


def test_a_run_goes_on_with_the_split_it_began_with(cache_of: MakeCache, tmp_path: Path) -> None:
    config = _config(cache_of("one", ["P0", "P1", "P2"]), cache_of("other", ["P2", "P3"]))
    Training(config, tmp_path / "run").run()
    path = tmp_path / "run" / "split.json"
    before = [
        {"cache": "one", "kind": "real", "training": ["P1", "P2"], "validation": ["P0"]},
        {"cache": "other", "kind": "real", "training": ["P2"], "validation": ["P3"]},
    ]
    path.write_text(json.dumps(before), encoding="utf-8")
    run = Training(replace(config, epochs=2), tmp_path / "run", resume=True)
    assert _sides(run.sources) == ({"P1", "P2"}, {"P0", "P3"})
    run.run()
    assert [one["validation"] for one in json.loads(path.read_text(encoding="utf-8"))] == [["P0"], ["P3"]]
    card = load_card(tmp_path / "run" / "last.safetensors")
    assert [(one["slices"], one["subjects"]) for one in card.provenance["sources"]] == [(2, 2), (1, 1)]
    assert "Trained on real slices of 2 people" in str(card.provenance["limits"])
    before[1] = {"cache": "other", "training": ["P3"], "validation": ["P2"]}
    path.write_text(json.dumps(before), encoding="utf-8")
    with pytest.raises(TrainingDataError, match="other: 1 of the patients held out there are also trained on"):
        Training(replace(config, epochs=3), tmp_path / "run", resume=True)
    with pytest.raises(ConfigurationError, match="begun with 2 slice caches, not 1"):
        Training(replace(config, sources=config.sources[:1]), tmp_path / "run", resume=True)
    before[1] = {"cache": "other", "training": ["P3"], "validation": []}
    path.write_text(json.dumps(before), encoding="utf-8")
    with pytest.raises(TrainingDataError, match="other: holds other patients than when the run began"):
        Training(config, tmp_path / "run", resume=True)


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
    split = split_patients(subjects, 0.2, seed=4)
    assert len(split.validation) == 2
    assert sorted((*split.training, *split.validation)) == sorted(set(subjects))
    assert split_patients(reversed(subjects), 0.2, seed=4) == split != split_patients(subjects, 0.2, seed=5)
    assert split_patients(["a", "b"], 0.9, seed=0).training
    assert split_patients(["a"], 0.0, seed=0) == Split(("a",), ())
    with pytest.raises(TrainingDataError, match="needs two"):
        split_patients(["a", "a"], 0.2, seed=0)


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
        ({"training": []}, "split.json: is no readable"),
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
