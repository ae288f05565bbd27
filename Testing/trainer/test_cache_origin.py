"""A slice cache in an output folder is taken again only for what it was made from; never exchanged under a run."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from cord_files import cord_image, cord_label, put_case
from learning import configured

from Recipes.cli import main
from SpinalCordSegLib.errors import ConfigurationError, TrainingDataError
from SpinalCordSegLib.files import write_json
from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.model.preprocessing import NormalisationConfig
from SpinalCordSegLib.volume import Volume
from SpinalCordSegTrainerLib.cli import main as train
from SpinalCordSegTrainerLib.config import TrainingConfig, to_dict
from SpinalCordSegTrainerLib.dataset import match_files
from SpinalCordSegTrainerLib.slice_cache import SliceCache, case_manifest, changes, fingerprint, unchanged

OTHERS = "holds slices of other data .*; choose another output folder"
SMALL = ["normalisation.size=32"]


def _two_labels() -> Volume:
    """The cord in slices 1 to 3 as 1, and something larger in slice 0 as 2."""
    label = cord_label()
    label.voxels[10:40, 10:40, 0] = 2
    return label


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(2):
        put_case(folder, f"sub-{number}", number, _two_labels())
    return folder


def _cache(data: Path, output: Path, *options: str, label: int = 1) -> SliceCache:
    configured(data, output, "--label", str(label), "--set", *SMALL, *options)
    return SliceCache.open(output / "cache")


def _begin(output: Path) -> None:
    output.mkdir(exist_ok=True)
    (output / "state.safetensors").touch()


def test_other_options_make_other_slices(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _cache(data, tmp_path / "r", label=2).info.centres[0] is not None
    capsys.readouterr()
    cache = _cache(data, tmp_path / "r", "--only-labelled")
    told = capsys.readouterr().out
    assert "label was 2 and is 1 now; slices was all and is with_label now" in told
    assert len(cache) == 6
    made = (cache.folder / "cache.json").stat()
    assert len(_cache(data, tmp_path / "r", "--only-labelled")) == 6
    assert (cache.folder / "cache.json").stat() == made  # the same again
    assert len(_cache(data, tmp_path / "r", "--tolerant")) == 10
    assert "tolerant was False and is True now" in capsys.readouterr().out
    _cache(data, tmp_path / "r", "--tolerant", "--usable")
    assert "leave_out was False and is True now" in capsys.readouterr().out
    configured(data, tmp_path / "r", "--label", "1", "--set", "normalisation.size=64")
    assert "was normalised with size 32, 64 is wanted" in capsys.readouterr().out


def _redrawn(data: Path) -> None:
    write_volume(_two_labels().with_voxels(np.roll(_two_labels().voxels, 3, 0)), data / "sub-1_seg.nii.gz")


def _rescanned(data: Path) -> None:
    write_volume(cord_image(9), data / "sub-0.nii.gz")


def _renamed(data: Path) -> None:
    for end in ("", "_seg"):
        (data / f"sub-1{end}.nii.gz").rename(data / f"sub-7{end}.nii.gz")


def _other_subject(data: Path) -> None:
    rows = [f"sub-{n}.nii.gz,sub-{n}_seg.nii.gz,{who},sub-{n}" for n, who in enumerate("0B")]
    (data / "manifest.csv").write_text("\n".join(["image,label,subject,name", *rows]), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_redrawn, ["sub-1: its label map has changed"]),
        (_rescanned, ["sub-0: its image has changed"]),
        (lambda data: put_case(data, "sub-2", 2, _two_labels()), ["sub-2 is new"]),
        (_renamed, ["sub-7 is new", "sub-1 is gone"]),
        (_other_subject, ["sub-1: its subject was 1 and is B now"]),
    ],
)
def test_other_data_is_read_anew_and_never_under_a_run(
    change: Callable[[Path], None],
    words: list[str],
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("new", "begun"):
        _cache(data, tmp_path / name)
    _begin(tmp_path / "begun" / "fold1")
    change(data)
    capsys.readouterr()
    _cache(data, tmp_path / "new")
    told = capsys.readouterr().out
    before = (tmp_path / "begun" / "cache" / "cache.json").read_bytes()
    with pytest.raises(ConfigurationError, match="a run here has begun on slices that were made otherwise") as refused:
        _cache(data, tmp_path / "begun")
    assert all(one in told and one in str(refused.value) for one in words)
    assert (tmp_path / "begun" / "cache" / "cache.json").read_bytes() == before


def test_data_that_was_only_copied_is_the_same(data: Path, tmp_path: Path) -> None:
    made = (_cache(data, tmp_path / "r").folder / "cache.json").stat()
    for path in data.iterdir():
        os.utime(path, (0, 0))
    assert (_cache(data, tmp_path / "r").folder / "cache.json").stat() == made


def test_voxels_beside_their_header_count(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    write_volume(cord_image(), data / "sub-1.nii.gz")
    sitk.WriteImage(sitk.GetImageFromArray(cord_label().voxels), str(data / "sub-1_seg.mhd"))
    options = {"label": None}
    (case,) = match_files(data).cases
    source = {**options, "files": {case.name: case_manifest(case, None)}}
    assert changes(source, [case], options) == []
    raw = bytearray((data / "sub-1_seg.raw").read_bytes())
    raw[5] = 1
    (data / "sub-1_seg.raw").write_bytes(raw)
    assert changes(source, [case], options) == ["sub-1: its label map has changed"]
    assert fingerprint([data / "none"]) is None
    assert unchanged(None, [data / "none"])
    assert not unchanged("damaged", data.iterdir())


def test_data_named_again_on_resume_must_be_the_runs(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _cache(data, tmp_path / "r")
    _begin(tmp_path / "r")
    config = replace(TrainingConfig(), normalisation=NormalisationConfig(size=32))
    write_json(tmp_path / "r" / "config.json", to_dict(config))
    resumed = ["train", str(data), "--resume", "--output", str(tmp_path / "r"), "--device", "cpu", "--label"]
    assert train([*resumed, "2"]) == 2
    assert "label was 1 and is 2 now" in capsys.readouterr().err
    assert train([*resumed, "1"]) == 2
    assert "nothing to train on" in capsys.readouterr().err  # beyond that: this run is no more than a folder


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_slices_of_other_data_are_left_alone(data: Path, tmp_path: Path) -> None:
    _cache(data, tmp_path / "r")
    before = _bytes(tmp_path / "r")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    put_case(tmp_path / "other", "sub-9", 9, _two_labels())
    for folder in ("empty", "other"):
        with pytest.raises(ConfigurationError, match=OTHERS):
            _cache(tmp_path / folder, tmp_path / "r")
        assert _bytes(tmp_path / "r") == before
    made = [
        "cache",
        str(data),
        "--output",
        str(tmp_path / "s" / "cache"),
        "--label",
        "1",
        "--boundary-offset-mm",
        "0.2",
    ]
    assert main([*made, "--set", SMALL[0], "--set", "normalisation.pixel_mm=1.0"]) == 0
    before = _bytes(tmp_path / "s")
    with pytest.raises(ConfigurationError, match=OTHERS):
        _cache(data, tmp_path / "s")
    assert _bytes(tmp_path / "s") == before


def test_slices_stay_until_the_new_ones_are_complete(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _cache(data, tmp_path / "r")
    before = _bytes(tmp_path / "r")
    good = (data / "sub-1_seg.nii.gz").read_bytes()
    (data / "sub-1_seg.nii.gz").write_bytes(b"broken")
    with pytest.raises(TrainingDataError, match="sub-1"):
        _cache(data, tmp_path / "r")
    assert _bytes(tmp_path / "r") == before
    (data / "sub-1_seg.nii.gz").write_bytes(good)
    replace_ = os.replace

    def interrupted(source: Path, target: Path) -> None:
        if Path(target).name == "cache" and (Path(source) / "cache.json").read_bytes() != before["cache/cache.json"]:
            raise KeyboardInterrupt
        replace_(source, target)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("os.replace", interrupted)
        _cache(data, tmp_path / "r", label=2)
    assert _bytes(tmp_path / "r") == before
    assert SliceCache.open(_cache(data, tmp_path / "r", label=2).folder).info.source["label"] == 2
    assert [path.name for path in (tmp_path / "r").iterdir()] == ["cache"]
