"""Two people, two visits or two files are never mixed without a message, and no mask that a person made is lost."""

import json
import shutil
from pathlib import Path

import mask_doors as doors
import numpy as np
import pytest

from SpinalCordSegLib import case as case_module
from SpinalCordSegLib import correction
from SpinalCordSegLib.case import Case
from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.volume import Volume

OTHER = make_phantom(
    PhantomConfig(
        shape=(48, 40, 8), spacing_mm=(0.75, 1.0, 3.0), orientation="LPI", tilt_deg=(8, -8), curve_mm=-4, seed=3
    )
)
"""Somebody else on the same grid."""


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


@pytest.fixture
def bare(neck: Path, tmp_path: Path) -> Path:
    """ROOT/neck.nii.gz with its case ROOT/out/neck."""
    return shutil.copytree(neck, tmp_path / "root")


@pytest.fixture
def root(bare: Path) -> Path:
    """The same with ROOT/mine.nii.gz, and ROOT/other.nii.gz of somebody else."""
    write_volume(doors.MINE, bare / "mine.nii.gz")
    write_volume(OTHER.image, bare / "other.nii.gz")
    return bare


def _run(root: Path, words: str) -> tuple[int, str]:
    return doors.run(*words.format(root, case=doors.folder(root)).split())


_WITH_IMAGE = {
    "correct": "correct {case} {0}/mine.nii.gz --by A --image",
    "propagate": "propagate {case} --to {0}/neck.nii.gz --output {0}/p --image",
    "training-set": "training-set {case} --subject P1 --output {0}/set --image",
}


@pytest.mark.parametrize("pictures", ["pictures", "pictures gone"])
@pytest.mark.parametrize("command", _WITH_IMAGE)
def test_no_command_takes_another_persons_image_for_a_case(root: Path, command: str, pictures: str) -> None:
    if command == "training-set":
        doors.accepted(root)
    if pictures == "pictures gone":
        (doors.folder(root) / "pictures.npz").unlink()
    code, said = _run(root, f"{_WITH_IMAGE[command]} {{0}}/other.nii.gz")
    assert (code, "image" in said and "was made from" in said) == (2, True)
    assert _run(root, f"{_WITH_IMAGE[command]} {{0}}/neck.nii.gz")[0] == 0


def _second_case(root: Path, **of_input: object) -> None:
    """ROOT/out/second, of the other person, with this input in its report; neck is of patient 1."""
    write_volume(OTHER.mask, root / "theirs.nii.gz")
    _run(root, "measure {0}/theirs.nii.gz --image {0}/other.nii.gz --code second --output {0}/out")
    for name, more in (("neck", {}), ("second", of_input)):
        path = root / "out" / name / "report.json"
        content = json.loads(path.read_text())
        content["input"] |= {"identity": {"salt": "s", "patient_id": "1", "birth_date": "", "sex": ""}} | more
        path.write_text(json.dumps(content))


_PATIENT_2 = {"identity": {"salt": "s", "patient_id": "2", "birth_date": "", "sex": ""}}


@pytest.mark.parametrize(
    ("first", "second", "of_second", "expected"),
    [
        ("P1,out/neck,2020-01-01", "P2,out/second,2021-01-01", {}, "the same patient ID"),
        ("P1,out/neck,2020-01-01", "P2,out/copy,2021-01-01", _PATIENT_2, "the same data"),
        ("P01,out/neck,2020-01-01", "p01,out/second,2021-01-01", _PATIENT_2, "one code"),
        ("01,out/neck,2020-01-01", "1.0,out/second,2021-01-01", _PATIENT_2, "one code"),
        ("P1,out/neck,2020-01-01", "P1,out/second,2021-01-01", _PATIENT_2, "different patients"),
        (
            "P1,out/neck,2020-01-01", "P2,out/second,2021-03-04", {**_PATIENT_2, "acquisition_date": "20210403"},
            "is not that of the scan",
        ),
        ("P1,out/neck,2020-01-01", "P2,out/second,2021-01-01", _PATIENT_2, ""),
    ],
)  # fmt: skip
def test_a_manifest_that_mixes_people_is_refused(
    root: Path, first: str, second: str, of_second: dict[str, object], expected: str
) -> None:
    _second_case(root, **of_second)
    shutil.copytree(root / "out" / "neck", root / "out" / "copy")
    (root / "people.csv").write_text(f"person,folder,date,disc\n{first},4\n{second},4\n")
    code, said = _run(root, "follow-up {0}/people.csv --output {0}/followed")
    assert (code != 0, expected in said) == (bool(expected), True), said


def test_a_follow_up_takes_no_other_persons_place(root: Path) -> None:
    command = "follow-up {case} --date 2020-01-01 --disc 4 --output {0}/followed --person "
    assert [_run(root, command + person)[0] for person in ("P1", "P2", "P1")] == [0, 2, 0]


def test_figures_that_somebody_edited_are_not_the_cases(root: Path) -> None:
    table = doors.folder(root) / "slices.csv"
    written = table.read_text()
    table.write_text(written.replace(",7", ",8"))
    assert doors.follow_up(root)[0] == 2
    assert "slices.csv was changed" in _run(root, "review {0}/out")[1]
    assert _run(root, "segment {0}/neck.nii.gz --output {0}/out")[0] == 0
    assert table.read_text() == written


@pytest.mark.parametrize(
    ("command", "written"),
    [
        ("propagate {case} --image {0}/neck.nii.gz --to {0}/neck.nii.gz --output {0}/p", "p/propagated.nii.gz"),
        ("training-set {case} --image {0}/neck.nii.gz --subject P1 --output {0}/p", "p/sub-P1_ses-01_seg.nii.gz"),
    ],
)
def test_a_mask_that_was_written_and_edited_since_is_not_replaced(root: Path, command: str, written: str) -> None:
    doors.accepted(root)
    assert _run(root, command)[0] == 0
    assert _run(root, f"{command} --force")[0] == 0
    write_volume(doors.OTHER, root / written)
    code, said = _run(root, f"{command} --force")
    assert (code, "was changed after it was written" in said) == (2, True)
    assert doors._fingerprint(root / written) == doors.mask_sha256(doors.OTHER)


@pytest.mark.parametrize(
    ("subject", "of_second", "code"),
    [("P1", _PATIENT_2, 2), ("P1", {}, 0), ("P2", {}, 2), ("p1", _PATIENT_2, 2), ("P2", _PATIENT_2, 0)],
)
def test_a_training_set_holds_one_person_under_one_code(
    root: Path, subject: str, of_second: dict[str, object], code: int
) -> None:
    into = "training-set {0}/out/%s --subject %s --image {0}/%s.nii.gz --output {0}/set"
    _second_case(root, **of_second)
    assert "what a person corrected or accepted" in _run(root, into % ("neck", "P1", "neck"))[1]
    assert _run(root, "correct {0}/out/neck {0}/mine.nii.gz --by A")[0] == 0
    assert _run(root, "correct {0}/out/neck --restore 0 --by A")[0] == 0
    assert "the one it began as" in _run(root, into % ("neck", "P1", "neck"))[1]
    for name in ("neck", "second"):
        assert _run(root, f"review {{0}}/out/{name} --accept --by A")[0] == 0
    assert _run(root, into % ("neck", "P1", "neck"))[0] == 0
    assert _run(root, into % ("second", subject, "other"))[0] == code


_UNLIKE = "was the mask drawn on this image?"


@pytest.mark.parametrize(
    "command",
    [
        "measure {0}/%s.nii.gz --image {0}/neck.nii.gz --output {0}/out --force",
        "correct {case} {0}/%s.nii.gz --by A",
        "correct {case} {0}/%s.nii.gz --image {0}/neck.nii.gz --by A",
        "propagate {0}/%s.nii.gz --image {0}/neck.nii.gz --to {0}/neck.nii.gz --output {0}/p --force",
    ],
)
def test_a_mask_drawn_on_another_image_is_said(root: Path, command: str) -> None:
    write_volume(OTHER.mask, root / "others_mask.nii.gz")
    assert [_UNLIKE in _run(root, command % name)[1] for name in ("mine", "others_mask")] == [False, True]


def test_a_mask_measured_alone_gets_no_other_image_later(root: Path) -> None:
    assert _run(root, "measure {0}/mine.nii.gz --output {0}/out")[0] == 0
    alone = "correct {0}/out/mine {0}/mine.nii.gz --by A --image {0}/%s.nii.gz"
    assert [_run(root, alone % name)[0] for name in ("other", "neck")] == [2, 0]


def test_a_soft_mask_is_read_as_measure_reads_it(root: Path) -> None:
    write_volume(doors.MINE.with_ijk(doors.MINE.ijk * np.float32(0.75)), root / "soft.nii.gz")
    code, said = _run(root, "correct {case} {0}/soft.nii.gz --by A")
    assert (code, "shares of voxels" in said) == (0, True)
    assert doors._fingerprint(doors.folder(root) / "mask.nii.gz") == doors.SHA


@pytest.mark.parametrize(
    ("meanwhile", "code"),
    [
        ("review {case} --seen 3 --by B", 0),
        ("correct {case} {0}/b.nii.gz --by B", 2),
        ("review {case} --reject --by B", 2),
    ],
)
def test_who_looks_at_slices_ends_no_running_correction(
    root: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: str, code: int
) -> None:
    write_volume(doors.OTHER, root / "b.nii.gz")
    measured_anew = correction.measured_anew

    def slow(*given: object, **more: object) -> Case:
        monkeypatch.undo()
        for name, stand_in in doors.stand_ins().items():
            monkeypatch.setattr(name, stand_in)
        assert _run(root, meanwhile)[0] == 0
        return measured_anew(*given, **more)

    monkeypatch.setattr(correction, "measured_anew", slow)
    assert _run(root, "correct {case} {0}/mine.nii.gz --by A")[0] == code
    case = Case.load(doors.folder(root))
    assert (case.mask_sha256 == doors.SHA) is (code == 0)
    if code == 0:
        assert case.review.seen == (3,) and [act.who for act in case.history] == ["tiny 3", "B", "B", "A"]


def test_a_mask_whose_header_was_changed_is_another(root: Path) -> None:
    mask, path = doors.NECK.mask, doors.folder(root) / "mask.nii.gz"
    write_volume(Volume(mask.voxels.astype(np.uint8), mask.voxel_to_ras @ np.diag([1, 1.1, 1, 1])), path)
    assert "changed after" in _run(root, "review {0}/out")[1] and doors.follow_up(root)[0] == 2


def test_a_persons_columns_and_tables_stay(root: Path) -> None:
    summary, review = root / "out" / "summary.csv", root / "out" / "review.csv"
    first, row = summary.read_text().splitlines()
    summary.write_text(f"{first},notes\n{row},look again\n")
    doors.corrected(root)
    assert summary.read_text().splitlines()[0].endswith(",notes") and ",look again" in summary.read_text()
    review.write_text("case;mine\nneck;good\n")
    assert _run(root, "review {0}/out")[0] == 2 and "good" in review.read_text()
    review.unlink()
    assert [_run(root, "review {0}/out")[0] for _ in range(2)] == [0, 0]


def test_what_two_people_did_in_copies_of_a_folder_is_said(root: Path) -> None:
    case, copy = doors.folder(root), shutil.copytree(doors.folder(root), root / "copy")
    write_volume(doors.OTHER, root / "b.nii.gz")
    assert (
        _run(root, "correct {0}/copy {0}/b.nii.gz --by B")[0] == _run(root, "correct {case} {0}/mine.nii.gz --by A")[0]
    )
    shutil.copy(copy / "report.json", case / "report (conflicted copy).json")
    for path in (copy / "versions").iterdir():
        shutil.copy(path, case / "versions")
    assert "second report of this case" in _run(root, "review {0}/out")[1]
    code, said = _run(root, "correct {case} --restore 1 --by C")
    assert (code, "several versions have the number 1" in said) == (2, True)
    for path in (case / "versions").glob(f"v000001_*_{doors.mask_sha256(doors.OTHER)[:16]}.*"):
        path.unlink()
    (mine,) = (case / "versions").glob("v000001_*.nii.gz")
    mine.rename(mine.with_name(mine.name.replace(".nii", " (1).nii")))
    assert _run(root, "correct {case} --restore 1 --by C")[0] == 0


# Whatever door a person's mask came through, nothing loses it, and nothing goes on as if it were not there.


_ALSO = {"segment --force", "correct"}
"""Done behind every door; the rest behind some (tools/soak/masks_of_persons.py does all)."""


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
def test_a_second_label_saved_in_place_is_kept_and_named(bare: Path, words: str) -> None:
    sha256 = doors.in_place_second_label(bare)
    code, said = doors.run("correct", doors.folder(bare), *words.split(), "--by", "B")
    assert code == 0 and "kept as a version" in said
    assert sha256 in [one for path, one in doors.State.of(bare).masks.items() if path.name.startswith("mask_")]


@pytest.mark.parametrize("door", [doors.renamed, doors.copied])
@pytest.mark.parametrize("words", ["segment {0}/neck.nii.gz --output {0}/out --force", "review {0}/out"])
def test_a_second_case_of_one_image_is_said(bare: Path, door, words: str) -> None:
    door(bare)
    if words.startswith("review"):
        doors.run("segment", bare / "neck.nii.gz", "--output", bare / "out")
    code, said = doors.run(*words.format(bare).split())
    assert "of the same image as" in said or (door is doors.copied and code == 2)


def test_versions_are_listed_compared_and_taken_back_by_name(bare: Path) -> None:
    doors.corrected_twice(bare)
    case = doors.folder(bare)
    said = doors.run("review", case)[1]
    assert "2: " in said and "by A: the mask in use" in said and "0: the mask it began as: 1 slice changed" in said
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
    assert doors.run("review", bare / "out")[0] == 0
    rows = (bare / "out" / "history.csv").read_text().splitlines()
    assert rows[0] == "case,when,act,who,mask_before,mask_after" and len(rows) == 8
    assert rows[-1].endswith(f",restored,C,{began},{doors.SHA}")


def test_what_is_saved_in_the_last_moment_is_kept_and_named(bare: Path, monkeypatch) -> None:
    """Another program saves between the last look and the exchange of the folders; nothing can hold it up."""
    put = case_module.put_in_place
    monkeypatch.setattr(case_module, "put_in_place", lambda *of: (doors.in_place(bare), put(*of)))
    code, said = doors.segment_forced(bare)
    assert code == 0 and "was not taken in" in said
    assert doors.SHA in doors.State.of(bare).masks.values()


def test_what_is_saved_while_the_pictures_are_made_is_noticed(bare: Path, monkeypatch) -> None:
    def picture(_: object) -> bytes:
        doors.in_place(bare)
        return b"picture"

    monkeypatch.setattr("SpinalCordSegLib.report.montage_png", picture)
    code, said = doors.segment_forced(bare)
    assert code == 2 and "changed by somebody else meanwhile" in said
    assert doors.State.of(bare).own == doors.SHA
