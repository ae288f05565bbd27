"""The line that tells why a case failed names no person, however the folders and files are called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from SpinalCordSegLib.batch import BatchOptions, run_batch
from SpinalCordSegLib.errors import GeometryError
from SpinalCordSegLib.files import replace_names, without_folders, without_names


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A folder called after a person, with a series in a folder called 1 and an image."""
    folder = tmp_path / "Meier_Anna"
    (folder / "1").mkdir(parents=True)
    for number in (1, 3):
        (folder / "1" / f"Meier_Anna_000{number}.dcm").write_bytes(b"")
    (folder / "t1.nii.gz").write_bytes(b"")
    return folder


def _reasons(inputs: list[Path], text: str, out: Path) -> str:
    def load(path: Path) -> None:
        raise GeometryError(text.format(path=path, full=os.path.abspath(path), name=path.name))

    list(run_batch([*inputs, *inputs], load, BatchOptions(out)))
    return (out / "summary.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "text",
    [
        "a slice is missing between Meier_Anna_0001.dcm at 1.0 mm and Meier_Anna_0003.dcm",
        "{path} is a folder that holds no DICOM image",
        "{full}/Meier_Anna_0001.dcm cannot be read",
        "{name} in {path} has 1 slice",
    ],
)
def test_a_folder_with_a_number_for_a_name_hides_nothing(export: Path, tmp_path: Path, text: str) -> None:
    assert "Meier" not in _reasons([export / "1"], text, tmp_path / "out")


@pytest.mark.parametrize("name", ["Lee", "Ng", "Kim", "Ölz"])
def test_short_names_are_names_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    for text in ("{path} is a folder that holds no DICOM image", "{name} holds 2 series", "{full} is closed"):
        assert name not in _reasons([Path(name)], text, tmp_path / "out")
    assert replace_names("Leeds and Lee, 1 of 1", ["Lee", "1"], "a visit") == "Leeds and a visit, 1 of 1"


def test_the_folder_one_is_in(export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(export / "1")
    told = _reasons([Path(".")], "{path} is a folder. It holds Meier_Anna_0001.dcm (1.0 mm)", tmp_path / "out")
    assert ". is a folder. It holds a file (1.0 mm)" in told


def test_an_image_is_told_by_its_own_name_alone(export: Path, tmp_path: Path) -> None:
    told = _reasons([export / "t1.nii.gz", export / "missing.nii.gz"], "{path} does not exist", tmp_path / "out")
    assert ",t1.nii.gz does not exist" in told and ",missing.nii.gz does not exist" in told and "Meier" not in told
    assert without_folders(f"{export}/t1.nii.gz is empty", export / "t1.nii.gz") == "t1.nii.gz is empty"
    assert without_names("1.0 mm between t1.nii.gz and 1", export / "1") == "1.0 mm between t1.nii.gz and 1"


def test_an_image_that_may_not_be_opened_is_one_failed_row(export: Path, tmp_path: Path, monkeypatch) -> None:
    """Its case name would come from its content, as the JSON file beside it holds the name it is called by."""
    (export / "Meier.nii.gz").write_bytes(b"x")
    (export / "Meier.json").write_text('{"PatientName": "Meier^Anna"}', encoding="utf-8")
    opened = Path.open

    def refused(path: Path, *args, **options):
        if path.name == "Meier.nii.gz":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **options)

    monkeypatch.setattr(Path, "open", refused)
    told = _reasons([export / "Meier.nii.gz"], "never reached", tmp_path / "out")
    assert "input-1,failed,the system refused: Permission denied" in told and "Meier" not in told
