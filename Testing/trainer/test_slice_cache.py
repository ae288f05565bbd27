"""Slice caches: written whole or not at all, read as they were, made anew for other data."""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from cord_files import configured, cord_image, cord_label, put_case

from SpinalCordSegLib.errors import ConfigurationError, OutputError, TrainingDataError
from SpinalCordSegLib.files import write_json
from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.model.preprocessing import NormalisationConfig
from SpinalCordSegLib.volume import Volume
from SpinalCordSegTrainerLib.cli import main as train
from SpinalCordSegTrainerLib.config import TrainingConfig, to_dict
from SpinalCordSegTrainerLib.dataset import match_files
from SpinalCordSegTrainerLib.slice_cache import CachedSlice, SliceCache, case_manifest, changes, check_normalisation


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
    for damage in (b"(((5, ", b"(9999999"):  # no Python any more; more than the file has
        file.write_bytes(pixels.replace(b"(5, 32", damage, 1))
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


def _two_labels() -> Volume:
    """The cord in slices 1 to 3 as 1, and something larger in slice 0 as 2."""
    label = cord_label()
    label.ijk[10:40, 10:40, 0] = 2
    return label


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for number in range(2):
        put_case(folder, f"sub-{number}", number, _two_labels())
    return folder


def _cache(data: Path, output: Path, *options: str, label: int = 1) -> SliceCache:
    configured(data, output, "--label", str(label), "--set", "normalisation.size=32", *options)
    return SliceCache.open(output / "cache")


def _begin(output: Path) -> None:
    output.mkdir(exist_ok=True)
    (output / "state.safetensors").touch()


def test_other_options_make_other_slices(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _cache(data, tmp_path / "r", label=2).info.centres[0] is not None
    capsys.readouterr()
    cache = _cache(data, tmp_path / "r", "--only-labelled")
    told = capsys.readouterr().out
    assert "--only-labelled given or not; sub-0: another label value" in told
    assert len(cache) == 6
    made = (cache.folder / "cache.json").stat()
    for path in data.iterdir():
        os.utime(path, (0, 0))  # as when data is copied
    assert len(_cache(data, tmp_path / "r", "--only-labelled")) == 6
    assert (cache.folder / "cache.json").stat() == made  # the same again
    assert len(_cache(data, tmp_path / "r", "--tolerant")) == 10
    assert "sub-1: another reading (--tolerant)" in capsys.readouterr().out
    configured(data, tmp_path / "r", "--label", "1", "--set", "normalisation.size=64")
    assert "was normalised with size 32, 64 is wanted" in capsys.readouterr().out


def test_a_case_that_cannot_be_used_is_reported_and_read_once_it_was_mended(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "sub-1_seg.nii.gz").write_bytes(b"broken")
    assert _cache(data, tmp_path / "r").info.source["cases"] == ["sub-0"]
    told = capsys.readouterr()
    assert "sub-1: left out: sub-1_seg.nii.gz" in told.err and "5 slices of 1 of 2 cases, 1 patient" in told.out
    put_case(data, "sub-1", 1, _two_labels())
    assert len(_cache(data, tmp_path / "r")) == 10


def _redrawn(data: Path) -> None:
    write_volume(_two_labels().with_ijk(np.roll(_two_labels().ijk, 3, 0)), data / "sub-1_seg.nii.gz")


def _renamed(data: Path) -> None:
    for end in ("", "_seg"):
        (data / f"sub-1{end}.nii.gz").rename(data / f"sub-7{end}.nii.gz")


def _other_subject(data: Path) -> None:
    rows = [f"sub-{n}.nii.gz,sub-{n}_seg.nii.gz,{who},sub-{n}" for n, who in enumerate("0B")]
    (data / "manifest.csv").write_text("\n".join(["image,label,subject,name", *rows]), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_redrawn, ["sub-1: another label map"]),
        (lambda data: write_volume(cord_image(9), data / "sub-0.nii.gz"), ["sub-0: another image"]),
        (_renamed, ["sub-7 is new", "sub-1 is gone"]),
        (_other_subject, ["sub-1: another subject"]),
    ],
)
def test_other_data_is_read_anew_and_never_under_a_run(
    change: Callable[[Path], None], words: list[str], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = _cache(data, tmp_path / "r")
    before = (cache.folder / "cache.json").read_bytes()
    change(data)
    _begin(tmp_path / "r" / "fold1")
    with pytest.raises(ConfigurationError, match="a run here has begun on slices that were made otherwise") as refused:
        _cache(data, tmp_path / "r")
    assert (cache.folder / "cache.json").read_bytes() == before
    (tmp_path / "r" / "fold1" / "state.safetensors").unlink()
    capsys.readouterr()
    _cache(data, tmp_path / "r")
    told = capsys.readouterr().out
    assert all(one in told and one in str(refused.value) for one in words)


def test_voxels_beside_their_header_count(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_volume(cord_image(), data / "sub-1.nii.gz")
    sitk.WriteImage(sitk.GetImageFromArray(cord_label().ijk), str(data / "sub-1_seg.mhd"))
    (case,) = match_files(data).cases
    source = {"only_labelled": False, "files": {case.name: case_manifest(case)}}
    assert changes(source, [case], False) == []
    raw = bytearray((data / "sub-1_seg.raw").read_bytes())
    raw[5] = 1
    (data / "sub-1_seg.raw").write_bytes(raw)
    assert changes(source, [case], False) == ["sub-1: another label map"]


def test_data_named_again_on_resume_must_be_the_runs(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _cache(data, tmp_path / "r")
    _begin(tmp_path / "r")
    config = replace(TrainingConfig(), normalisation=NormalisationConfig(size=32))
    write_json(tmp_path / "r" / "config.json", to_dict(config))
    resumed = ["train", str(data), "--resume", "--output", str(tmp_path / "r"), "--device", "cpu", "--label"]
    assert train([*resumed, "1", "--augment"]) == 2
    assert "--augment: a run goes on as it was begun" in capsys.readouterr().err
    assert train([*resumed, "2"]) == 2
    assert "another label value" in capsys.readouterr().err
    assert train([*resumed, "1"]) == 2
    assert "no sources" in capsys.readouterr().err  # beyond that: this run is no more than a folder


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_slices_stay_where_other_data_is_given_or_none_can_be_used(data: Path, tmp_path: Path) -> None:
    _cache(data, tmp_path / "r")
    before = _bytes(tmp_path / "r")
    put_case(tmp_path / "other", "sub-9", 9, _two_labels())
    with pytest.raises(ConfigurationError, match="holds slices of other data"):
        _cache(tmp_path / "other", tmp_path / "r")
    for path in data.glob("*_seg.nii.gz"):
        path.write_bytes(b"broken")
    with pytest.raises(TrainingDataError, match="sub-1"):
        _cache(data, tmp_path / "r")
    assert _bytes(tmp_path / "r") == before
