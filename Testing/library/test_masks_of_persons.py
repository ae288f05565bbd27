"""Whatever door a person's mask came through, nothing loses it, and nothing goes on as if it were not there."""

import shutil
from pathlib import Path

import mask_doors as doors
import pytest

from SpinalCordSegLib import case as case_module

_ALSO = {"segment --force", "correct"}
"""Done behind every door; the rest behind some (tools/soak/masks_of_persons.py does all)."""


@pytest.fixture(autouse=True)
def _no_network_and_no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, stand_in in doors.stand_ins().items():
        monkeypatch.setattr(name, stand_in)


@pytest.fixture(scope="module")
def neck(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("neck")
    with pytest.MonkeyPatch.context() as patch:
        for name, stand_in in doors.stand_ins().items():
            patch.setattr(name, stand_in)
        doors.new_case(root)
    return root


@pytest.mark.parametrize("number", range(len(doors.DOORS)), ids=[door.__name__ for door in doors.DOORS])
def test_a_persons_mask_is_neither_lost_nor_passed_over(number: int, neck: Path, tmp_path: Path) -> None:
    behind = tmp_path / "behind"
    shutil.copytree(neck, behind)
    sha256 = doors.DOORS[number](behind)
    acts = [act for k, act in enumerate(doors.ACTS) if act.__name__ in _ALSO or k == number % len(doors.ACTS)]
    for k, act in enumerate(acts):
        root = shutil.copytree(behind, tmp_path / str(k), symlinks=True)
        before = doors.State.of(root)
        code, said = act(root)
        assert doors.faults(root, sha256, before, code, said) == [], (act.__name__, said)


@pytest.mark.parametrize("words", ["--fill 2:5", "--restore 0 --reopen"])
def test_a_second_label_saved_in_place_is_kept_and_named(neck: Path, tmp_path: Path, words: str) -> None:
    root = shutil.copytree(neck, tmp_path / "root")
    sha256 = doors.in_place_second_label(root)
    code, said = doors.run("correct", doors.folder(root), *words.split(), "--by", "B")
    assert code == 0 and "kept as a version" in said
    assert sha256 in [one for path, one in doors.State.of(root).masks.items() if path.name.startswith("mask_")]


@pytest.mark.parametrize("door", [doors.renamed, doors.copied])
@pytest.mark.parametrize("words", ["segment {0}/neck.nii.gz --output {0}/out --force", "review {0}/out"])
def test_a_second_case_of_one_image_is_said(neck: Path, tmp_path: Path, door, words: str) -> None:
    root = shutil.copytree(neck, tmp_path / "root")
    door(root)
    if words.startswith("review"):
        doors.run("segment", root / "neck.nii.gz", "--output", root / "out")
    code, said = doors.run(*words.format(root).split())
    assert "of the same image as" in said or (door is doors.copied and code == 2)


def test_versions_are_listed_compared_and_taken_back_by_name(neck: Path, tmp_path: Path) -> None:
    root = shutil.copytree(neck, tmp_path / "root")
    doors.corrected_twice(root)
    case = doors.folder(root)
    said = doors.run("review", case)[1]
    assert "2: " in said and "corrected by A: the same" in said and "0: the mask it began as: 1 slice changed" in said
    assert doors.run("correct", case, "--restore", "9")[0] == 2
    assert doors.run("correct", case, "--restore", "0", "--by", "B")[0] == 0
    assert doors.run("review", case, "--accept", "--by", "B")[0] == 0
    assert "by somebody" in doors.run("review", case, "--reopen")[1]
    assert "by somebody" in doors.run("correct", case, "--restore", "1", "--reopen")[1]
    assert doors.run("correct", case, "--restore", "1", "--reopen", "--by", "C")[0] == 0
    began = doors.mask_sha256(doors.NECK.mask)
    history = doors.Case.load(case).history
    assert [(act.what, act.who) for act in history] == [
        ("segmented", "tiny 3"), ("corrected", "A"), ("corrected", "A"), ("restored", "B"), ("accepted", "B"),
        ("reopened", "C"), ("restored", "C"),
    ]  # fmt: skip
    other = doors.mask_sha256(doors.OTHER)
    assert [act.after for act in history] == [began, doors.SHA, other, began, began, began, doors.SHA]
    assert [act.before for act in history] == ["", *(act.after for act in history[:-1])]
    assert doors.run("review", root / "out")[0] == 0
    rows = (root / "out" / "history.csv").read_text().splitlines()
    assert rows[0] == "case,when,act,who,mask_before,mask_after" and len(rows) == 8
    assert rows[-1].endswith(f",restored,C,{began},{doors.SHA}")


def test_what_is_saved_in_the_last_moment_is_kept_and_named(neck: Path, tmp_path: Path, monkeypatch) -> None:
    """Another program saves between the last look and the exchange of the folders; nothing can hold it up."""
    root = shutil.copytree(neck, tmp_path / "root")
    put = case_module._put_in_place
    monkeypatch.setattr(case_module, "_put_in_place", lambda *of: (doors.in_place(root), put(*of)))
    code, said = doors.segment_forced(root)
    assert code == 0 and "was not taken in" in said
    assert doors.SHA in doors.State.of(root).masks.values()


@pytest.mark.parametrize("loses", ["the mask", "the lock"])
def test_what_is_done_while_the_pictures_are_made_is_noticed(neck: Path, tmp_path: Path, monkeypatch, loses) -> None:
    """Somebody saves over the mask; or the program was stopped so long that another one took its lock."""
    root = shutil.copytree(neck, tmp_path / "root")
    lock = root / "out" / ".neck.lock"

    def picture(_: object) -> bytes:
        if loses == "the mask":
            doors.in_place(root)
        else:
            lock.write_text("another's 1 elsewhere 2024-01-31T12:00:00Z somebody program")
        return b"picture"

    monkeypatch.setattr("SpinalCordSegLib.report.montage_png", picture)
    code, said = doors.segment_forced(root)
    assert code == 2 and "changed by somebody else meanwhile" in said
    now = doors.State.of(root)
    assert now.own == (doors.SHA if loses == "the mask" else now.measured)
    assert lock.exists() == (loses == "the lock"), "another's stays"
