"""A file appears whole or not at all, and a refused write says why."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from SpinalCordSegLib.errors import OutputError
from SpinalCordSegLib.files import atomic_write, file_suffix, write_json, write_text


def test_text_and_json_arrive_with_their_folders(tmp_path: Path) -> None:
    folder = tmp_path / "José Pérez" / "ü 1"
    write_text(folder / "a.txt", "Größe\n")
    write_json(folder / "b.json", {"csa_mm2": 78.5, "flags": []})
    assert (folder / "a.txt").read_bytes() == "Größe\n".encode()
    assert json.loads((folder / "b.json").read_text(encoding="utf-8")) == {"csa_mm2": 78.5, "flags": []}
    assert sorted(path.name for path in folder.iterdir()) == ["a.txt", "b.json"]


def test_an_error_midway_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(KeyError), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_never_holds_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"csa_mm2": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EACCES, "no permission"),
    ],
)
def test_what_the_system_refuses_is_said(
    number: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OutputError, match=words) as caught:
        write_text(tmp_path / "a.txt", "text")
    assert str(tmp_path / "a.txt") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("on_windows", "number"), [(5, errno.EACCES), (32, errno.EACCES), (None, errno.EBUSY)])
def test_a_table_that_is_open_elsewhere_is_to_be_closed_there(
    on_windows: int | None, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        error = OSError(number, "Access is denied")
        if on_windows is not None:
            error.winerror = on_windows  # type: ignore[attr-defined]
        raise error

    write_text(tmp_path / "a.csv", "before")
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OutputError, match=r"open in another program.*close it there \(Excel") as caught:
        write_text(tmp_path / "a.csv", "after")
    assert "\n" not in str(caught.value) and (tmp_path / "a.csv").read_text() == "before"


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="a file is where a folder is needed"):
        write_text(tmp_path / "out" / "a.txt", "text")


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(OutputError, match=r"a folder of that name is in the way|no permission"):
        write_text(tmp_path / "a.txt", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.nii.gz", ".nii.gz"),
        ("A.NII.GZ", ".nii.gz"),
        ("sub-01.v2.nii", ".nii"),
        ("mask.seg.nrrd", ".seg.nrrd"),
        ("x.nrrd", ".nrrd"),
        ("IM0001", ""),
    ],
)
def test_suffix_tells_the_format(name: str, suffix: str) -> None:
    assert file_suffix(Path(name)) == suffix
