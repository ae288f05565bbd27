"""Slice caches: written once, read back to within rounding, refused when damaged; splits by subject."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from SpinalCordSegLib.errors import OutputError, TrainingDataError
from SpinalCordSegTrainerLib.slice_cache import CachedSlice, SliceCache, evenly, slices_of
from SpinalCordSegTrainerLib.split import split_subjects


def _slices(n: int, size: int = 32) -> Iterator[CachedSlice]:
    for number in range(n):
        coverage = np.zeros((size, size))
        if number:
            coverage[10:14, 6:8] = 1  # rows 10-13, columns 6-7: centre (11.5, 6.5)
            coverage[14, 6:8] = 0.25
        yield CachedSlice(np.full((size, size), number / 8), coverage, f"s{number % 3}")


def _write(folder: Path, n: int = 5, **more: object) -> SliceCache:
    keywords: dict = {"pixel_mm": 0.7, "normalisation": {"kind": "paper"}, "kind": "real", "source": {}} | more
    return SliceCache.write(folder, _slices(n), **keywords)


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_slices_come_back(tmp_path: Path, dtype: str) -> None:
    cache = _write(tmp_path / "c", dtype=dtype)
    images, coverage = cache.read([4, 1])
    assert images.dtype == coverage.dtype == np.float32
    np.testing.assert_allclose(images[:, 0, 0], [0.5, 0.125], atol=1 / 255 / 2)
    assert coverage[0].sum() == pytest.approx(8 + 0.5, abs=0.01)
    assert cache.info.subjects == ("s0", "s1", "s2", "s0", "s1")
    assert cache.info.centres[0] is None
    row, column = cache.info.centres[1] or (0, 0)
    assert (row, column) == (pytest.approx((11.5 * 8 + 14 * 0.5) / 8.5, abs=0.02), 6.5)
    assert isinstance(cache.images, np.memmap)
    assert list(tmp_path.iterdir()) == [tmp_path / "c"]


def test_numpy_reads_the_arrays_too(tmp_path: Path) -> None:
    _write(tmp_path / "c", n=11)
    assert np.load(tmp_path / "c" / "images.npy", allow_pickle=False).shape == (11, 32, 32)


def test_nothing_is_left_of_a_failed_write(tmp_path: Path) -> None:
    def failing() -> Iterator[CachedSlice]:
        yield from _slices(2)
        raise TrainingDataError("case 3 is damaged")

    with pytest.raises(TrainingDataError, match="case 3"):
        SliceCache.write(tmp_path / "c", failing(), pixel_mm=None, normalisation={}, kind="real", source={})
    assert list(tmp_path.iterdir()) == []


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match="no slice"):
        _write(tmp_path / "c", n=0)
    _write(tmp_path / "c")
    with pytest.raises(OutputError, match="already"):
        _write(tmp_path / "c")
    with pytest.raises(TrainingDataError, match="not a readable"):
        SliceCache.open(tmp_path / "none")
    _write(tmp_path / "d")
    pixels = (tmp_path / "d" / "images.npy").read_bytes()
    (tmp_path / "d" / "images.npy").write_bytes(pixels.replace(b"(5, 32", b"(((5, ", 1))  # no Python any more
    with pytest.raises(TrainingDataError, match="not a readable"):
        SliceCache.open(tmp_path / "d")
    (tmp_path / "d" / "images.npy").write_bytes(pixels.replace(b"(5, 32", b"(9999999", 1))  # more than the file has
    with pytest.raises(TrainingDataError, match="not a readable"):
        SliceCache.open(tmp_path / "d")
    details = json.loads((tmp_path / "c" / "cache.json").read_text(encoding="utf-8"))
    (tmp_path / "c" / "cache.json").write_text(json.dumps(details | {"subjects": ["a"]}), encoding="utf-8")
    with pytest.raises(TrainingDataError, match="arrays are"):
        SliceCache.open(tmp_path / "c")
    (tmp_path / "c" / "cache.json").write_text(json.dumps(details | {"format": 2}), encoding="utf-8")
    with pytest.raises(TrainingDataError, match="format 2"):
        SliceCache.open(tmp_path / "c")


def test_what_is_there_is_never_replaced_nor_what_others_write_beside_it(tmp_path: Path) -> None:
    for name in ("c.part", ".mine.part"):  # somebody's own, not ours
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.txt").write_text("mine")
    neighbour, abandoned = tmp_path / ".c.0123456789ab.part", tmp_path / ".c.ba9876543210.part"
    for folder in (neighbour, abandoned):
        folder.mkdir()
        (folder / "images.npy").write_bytes(b"half")
    long_ago = time.time() - 7 * 3600
    os.utime(abandoned / "images.npy", (long_ago, long_ago))
    for folder in (neighbour, abandoned):  # the neighbour's file still grows, which its folder does not show
        os.utime(folder, (long_ago, long_ago))
    before = _write(tmp_path / "c").images.copy()
    with pytest.raises(OutputError, match="already holds files"):
        _write(tmp_path / "c", n=3)
    np.testing.assert_array_equal(SliceCache.open(tmp_path / "c").images, before)
    assert sorted(path.name for path in tmp_path.iterdir()) == [neighbour.name, ".mine.part", "c", "c.part"]


def test_a_cache_that_another_program_finished_first_stays(tmp_path: Path) -> None:
    def slow() -> Iterator[CachedSlice]:
        yield from _slices(2)
        _write(tmp_path / "c", n=5)

    with pytest.raises(OutputError, match="another program"):
        SliceCache.write(tmp_path / "c", slow(), pixel_mm=None, normalisation={}, kind="real", source={})
    assert len(SliceCache.open(tmp_path / "c")) == 5 and list(tmp_path.iterdir()) == [tmp_path / "c"]
    (tmp_path / "empty").mkdir()
    assert len(_write(tmp_path / "empty")) == 5
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="a file is where a folder is needed"):
        _write(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_split_keeps_a_subject_on_one_side() -> None:
    subjects = [f"p{number // 3}" for number in range(30)]
    training, held_out = split_subjects(subjects, 0.2, seed=4)
    assert len(held_out) == 2
    assert sorted(training + held_out) == sorted(set(subjects))
    assert split_subjects(list(reversed(subjects)), 0.2, seed=4) == (training, held_out)
    assert split_subjects(subjects, 0.2, seed=5) != (training, held_out)
    assert split_subjects(["a", "b"], 0.9, seed=0)[0] != []
    assert split_subjects(["a"], 0.0, seed=0) == (["a"], [])
    with pytest.raises(TrainingDataError, match="1 subject"):
        split_subjects(["a", "a"], 0.2, seed=0)


def test_slices_of_subjects_and_an_even_choice(tmp_path: Path) -> None:
    cache = _write(tmp_path / "c", n=7)
    assert slices_of(cache, ["s0", "s2"]).tolist() == [0, 2, 3, 5, 6]
    assert evenly(np.arange(11), 3).tolist() == [0, 5, 10]
    assert evenly(np.arange(3), None).tolist() == [0, 1, 2]
