"""Slice caches: written whole or not at all, read as they were, made anew for other data."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cord_files import configured, cord_label, put_case

from SpinalCordSegLib.errors import ConfigurationError, OutputError, TrainingDataError
from SpinalCordSegLib.files import to_json, write_json
from SpinalCordSegLib.model.preprocessing import NormalisationConfig
from SpinalCordSegTrainerLib.cli import main as train
from SpinalCordSegTrainerLib.config import TrainingConfig
from SpinalCordSegTrainerLib.slice_cache import CachedSlice, SliceCache, check_normalisation


def _slices(n: int, size: int = 32) -> Iterator[CachedSlice]:
    for number in range(n):
        coverage = np.zeros((size, size))
        if number:
            coverage[10:14, 6:8] = 1  # rows 10-13, columns 6-7: centre (11.5, 6.5)
            coverage[14, 6:8] = 0.25
        yield np.full((size, size), number / 8), coverage, f"s{number % 3}"


def _write(folder: Path, n: int = 5, **more: object) -> SliceCache:
    keywords: dict = {"normalisation": {"kind": "paper"}, "kind": "real", "source": {}} | more
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


def test_nothing_is_left_of_a_failed_write(tmp_path: Path) -> None:
    def failing() -> Iterator[CachedSlice]:
        yield from _slices(2)
        raise TrainingDataError("case 3 is damaged")

    with pytest.raises(TrainingDataError, match="case 3"):
        SliceCache.write(tmp_path / "c", failing(), normalisation={}, kind="real", source={})
    assert list(tmp_path.iterdir()) == []


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match="no slice"):
        _write(tmp_path / "c", n=0)
    _write(tmp_path / "c")
    with pytest.raises(OutputError, match="already"):
        _write(tmp_path / "c")
    with pytest.raises(TrainingDataError, match="not a readable"):
        SliceCache.open(tmp_path / "none")
    file = tmp_path / "c" / "images.npy"
    pixels = file.read_bytes()
    head, shape = b"\x93NUM", b"(5, 32"
    for part, damage in (
        (shape, b"(((5, "),  # no Python any more
        (shape, b"(9999999"),  # more than the file has
        (head, b"PK\x03\x04"),  # as a zip begins
        (head, b"\x80\x04pi"),  # as a pickle begins
    ):
        file.write_bytes(pixels.replace(part, damage, 1))
        with pytest.raises(TrainingDataError, match="not a readable"):
            SliceCache.open(tmp_path / "c")
    file.write_bytes(pixels)
    file = tmp_path / "c" / "cache.json"
    details = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(details | {"subjects": ["a"]}), encoding="utf-8")
    with pytest.raises(TrainingDataError, match="arrays are"):
        SliceCache.open(tmp_path / "c")


def test_slices_normalised_for_another_model_are_refused(tmp_path: Path) -> None:
    cache = _write(tmp_path / "c", normalisation={"kind": "fixed_pixel", "pixel_mm": 0.5, "size": 64})
    with pytest.raises(ConfigurationError, match=r"pixel_mm 0\.5, 0\.7 is wanted"):
        check_normalisation(cache, NormalisationConfig(kind="fixed_pixel", pixel_mm=0.7))
    check_normalisation(cache, NormalisationConfig(kind="fixed_pixel", pixel_mm=0.5, size=96))


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
        SliceCache.write(tmp_path / "c", slow(), normalisation={}, kind="real", source={})
    assert len(SliceCache.open(tmp_path / "c")) == 5 and list(tmp_path.iterdir()) == [tmp_path / "c"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The cord in slices 1 to 3 as 1, and something larger in slice 0 as 2."""
    label = cord_label()
    label.ijk[10:40, 10:40, 0] = 2
    for number in range(2):
        put_case(tmp_path / "data", f"sub-{number}", number, label)
    return tmp_path / "data"


def _cache(data: Path, output: Path, *options: str) -> SliceCache:
    configured(data, output, "--set", "normalisation.size=32", *options)
    return SliceCache.open(output / "cache")


def test_slices_are_made_anew_until_a_run_has_begun_with_them(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "r"
    assert _cache(data, run, "--label", "2").info.centres[0] is not None
    assert len(_cache(data, run, "--label", "1", "--only-labelled")) == 6
    (data / "sub-1_seg.nii.gz").write_bytes(b"broken")
    capsys.readouterr()
    assert _cache(data, run, "--label", "1").info.source["cases"] == ["sub-0"]
    reported = capsys.readouterr()
    assert "sub-1: left out: sub-1_seg.nii.gz" in reported.err and "5 slices of 1 of 2 cases, 1 patient" in reported.out
    (run / "fold1").mkdir()
    (run / "fold1" / "state.safetensors").touch()
    assert len(_cache(data, run, "--label", "2")) == 5
    assert "the slices that the run here began with are used" in capsys.readouterr().out


def test_slices_that_a_user_made_are_never_replaced(data: Path, tmp_path: Path) -> None:
    before = _write(tmp_path / "r" / "cache", kind="simulated").images.copy()
    with pytest.raises(ConfigurationError, match="holds slices of other data"):
        _cache(data, tmp_path / "r", "--label", "1")
    np.testing.assert_array_equal(SliceCache.open(tmp_path / "r" / "cache").images, before)


def test_a_run_goes_on_as_it_was_begun(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "r"
    write_json(run / "config.json", to_json(TrainingConfig()))
    resumed = ["train", str(data), "--resume", "--output", str(run), "--device", "cpu"]
    assert train([*resumed, "--augment"]) == 2
    assert "--augment: a run goes on as it was begun" in capsys.readouterr().err
    assert train([*resumed, "--recipe", "small"]) == 2
    assert "--recipe: a run goes on as it was begun" in capsys.readouterr().err
    assert train([*resumed, "--recipe", "paper"]) == 2
    assert "no sources" in capsys.readouterr().err
    assert train(resumed) == 2
    assert "no sources" in capsys.readouterr().err  # beyond that: this run is no more than a folder
