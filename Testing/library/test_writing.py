"""A file appears whole or not at all, where it was asked for and nowhere else, and a refused write says why."""

import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from SpinalCordSegLib.case import Case, save_case
from SpinalCordSegLib.case_folder import restore_interrupted
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.errors import OutputError
from SpinalCordSegLib.files import atomic_write, free_path, inside, is_plain_name, user_folder, write_json, write_text
from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.pipeline import measure_mask

MASK = make_phantom(PhantomConfig(shape=(40, 32, 3), spacing_mm=(0.7, 0.9, 4.0))).mask
AWAY = ("../x", "..", ".", "", "/etc/x", "a/b", "a\\b", "..\\x", "C:x", "C:\\x", "\\\\host\\share", "a\0b")


def test_text_and_json_arrive_with_their_folders(tmp_path: Path) -> None:
    folder = tmp_path / "José Pérez" / "ü 1"
    write_text(folder / "a.txt", "Größe\n")
    write_json(folder / "b.json", {"csa_mm2": 78.5, "flags": []})
    assert (folder / "a.txt").read_bytes() == "Größe\n".encode()
    assert json.loads((folder / "b.json").read_text(encoding="utf-8")) == {"csa_mm2": 78.5, "flags": []}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(folder / "c.json", {"csa_mm2": float("nan")})
    assert sorted(path.name for path in folder.iterdir()) == ["a.txt", "b.json"]


def test_an_error_midway_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(KeyError), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_the_system_refuses_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OutputError, match=r"a\.txt: the disk is full"):
        write_text(tmp_path / "a.txt", "text")
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


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(OutputError, match="a file is where a folder is needed"):
        write_text(tmp_path / "out" / "a.txt", "text")
    with pytest.raises(OutputError, match=r"a folder of that name is in the way|no permission"):
        write_text(tmp_path / "a.txt", "text")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "out"]


@pytest.mark.parametrize(
    ("platform", "variable", "folder"),
    [
        ("win32", "LOCALAPPDATA", "AppData/Local"),
        ("darwin", "", "Library/Application Support"),
        ("linux", "XDG_DATA_HOME", ".local/share"),
    ],
)
def test_the_users_own_folder_is_where_the_platform_wants_it(platform, variable, folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.delenv(variable, raising=False)
    assert user_folder() == Path.home() / folder / "SpinalCordSeg"
    if variable:
        monkeypatch.setenv(variable, str(tmp_path))
        assert user_folder() == tmp_path / "SpinalCordSeg"


def test_a_free_name_is_the_next_number(tmp_path: Path) -> None:
    for name in ("a.txt", "a-2.txt", "a-3.txt"):
        assert free_path(tmp_path / "a.txt").name == name
        (tmp_path / name).touch()


# Names out of tables, reports, headers and folders lead nowhere else than into the folder that was chosen.


@pytest.mark.parametrize("name", AWAY)
def test_names_that_lead_away(name: str, tmp_path: Path) -> None:
    assert not is_plain_name(name)
    with pytest.raises(OutputError, match="not a name for a file"):
        inside(tmp_path, name)


@pytest.mark.parametrize("name", ["neck", "..neck", "neck 1.nii.gz", "頸髄", "-x"])
def test_names_of_files(name: str, tmp_path: Path) -> None:
    assert inside(tmp_path, name) == tmp_path / name


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    return folder


def _is_untouched(elsewhere: Path) -> bool:
    return {path.name: path.read_text() for path in elsewhere.iterdir()} == {"mine.txt": "mine"}


@pytest.mark.skipif(os.name != "posix", reason="links that anybody may make")
@pytest.mark.parametrize("emptied", [False, True])
def test_a_case_is_not_written_through_a_link(tmp_path: Path, elsewhere: Path, emptied: bool, capsys: Any) -> None:
    write_volume(MASK, tmp_path / "neck.nii.gz")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "neck").symlink_to(elsewhere)
    if emptied:
        (elsewhere / "mine.txt").unlink()
    assert main(["measure", str(tmp_path / "neck.nii.gz"), "--output", str(tmp_path / "out"), "--force"]) == 2
    assert "a link leads elsewhere" in capsys.readouterr().err
    assert not any(elsewhere.iterdir()) if emptied else _is_untouched(elsewhere)
    with pytest.raises(OutputError, match="a link"):
        inside(tmp_path / "out", "neck")


@pytest.mark.skipif(os.name != "posix", reason="links that anybody may make")
def test_an_output_folder_that_is_a_link_to_itself(tmp_path: Path, capsys: Any) -> None:
    write_volume(MASK, tmp_path / "neck.nii.gz")
    (tmp_path / "ring").symlink_to(tmp_path / "ring")
    assert main(["measure", str(tmp_path / "neck.nii.gz"), "--output", str(tmp_path / "ring")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "cannot write" in error and "unexpected" not in error


@pytest.mark.skipif(os.name != "posix", reason="links that anybody may make")
def test_a_case_named_by_its_link_is_replaced_where_it_lies(tmp_path: Path) -> None:
    save_case(measure_mask(MASK, "neck"), tmp_path / "real" / "neck", has_pictures=False)
    (tmp_path / "link").symlink_to(tmp_path / "real" / "neck")
    save_case(measure_mask(MASK, "again"), tmp_path / "link", has_pictures=False)
    assert (tmp_path / "link").is_symlink() and Case.load(tmp_path / "real" / "neck").name == "again"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real"]


def test_remains_of_a_replacement_that_lead_away_stay_where_they_are(tmp_path: Path, elsewhere: Path) -> None:
    """A name that means the folder above, and a link: as an archive from somebody else may hold them."""
    results = tmp_path / "results"
    (results / "....0123456789ab.old").mkdir(parents=True)  # would be put back as ".."
    (results / "....0123456789ab.old" / "planted.txt").write_text("x")
    if os.name == "posix":
        (results / ".neck.0123456789ab.old").symlink_to(elsewhere)
        (results / "neck").mkdir()
    restore_interrupted(results)
    assert not (tmp_path / "planted.txt").exists()
    assert _is_untouched(elsewhere)


def _follow_up(root: Path, person: str) -> int:
    """Of two visits, both of one mask, into ROOT/t."""
    write_volume(MASK, root / "v.nii.gz")
    assert main(["measure", str(root / "v.nii.gz"), "--output", str(root / "r"), "--disc", "C2/C3=1"]) == 0
    rows = [f"{person},r/v,{year}-01-31\n" for year in (2021, 2022)]
    (root / "visits.csv").write_text("person,folder,date\n" + "".join(rows))
    return main(["follow-up", str(root / "visits.csv"), "--output", str(root / "t")])


def test_a_person_of_a_manifest_names_a_folder_only(tmp_path: Path, elsewhere: Path, capsys: Any) -> None:
    assert _follow_up(tmp_path, "../elsewhere") == 1
    assert "cannot be a code" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "t").iterdir()] == ["cohort.csv"] and _is_untouched(elsewhere)


@pytest.mark.skipif(os.name != "posix", reason="links that anybody may make")
def test_a_follow_up_is_not_written_through_a_link(tmp_path: Path, elsewhere: Path, capsys: Any) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "P1").symlink_to(elsewhere)
    assert _follow_up(tmp_path, "P1") == 1
    assert "a link leads elsewhere" in capsys.readouterr().err and _is_untouched(elsewhere)
