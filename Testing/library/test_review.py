"""The review of cases: states, decisions, and the work list of a folder, in Python and from the command line."""

import csv
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from SpinalCordSegLib.case import Case, save_case, update_review
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.files import from_json, to_json
from SpinalCordSegLib.flags import Flag, case_flag
from SpinalCordSegLib.quality_control import rank_slices
from SpinalCordSegLib.review import (
    ACCEPTED,
    AI,
    CORRECTED,
    IN_REVIEW,
    REJECTED,
    Review,
    decided,
    edited,
    opened,
    review_text,
    with_seen,
)
from SpinalCordSegLib.work_list import REVIEW_COLUMNS, read_work_list, review_rows, write_table

NO_FEATURES = {"canonical_slice": np.zeros(0)}
"""Of no slice: only the kinds of flag count."""


def test_a_review_goes_its_way_and_comes_back_from_json() -> None:
    review = opened(Review(), "A. Meyer")
    review = decided(with_seen(review, [7, 3]), ACCEPTED, "A. Meyer", mask_sha256="ab")
    assert (review.state, review.seen, review.who, review.mask_sha256) == (ACCEPTED, (3, 7), "A. Meyer", "ab")
    assert review.is_finished and re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", review.when)
    assert from_json(Review, json.loads(json.dumps(to_json(review)))) == review
    assert review_text(review) == f"accepted by A. Meyer on {review.when[:10]}"
    assert with_seen(review, [3], seen=False).seen == (7,)


def test_an_edit_makes_a_decision_void() -> None:
    review = edited(decided(Review(), ACCEPTED, "B", mask_sha256="ab"), "C")
    assert (review.state, review.who, review.mask_sha256, review.is_finished) == (CORRECTED, "C", "", False)
    assert opened(review).state == CORRECTED  # looking takes nothing back
    assert decided(review, IN_REVIEW, "").state == IN_REVIEW


def test_what_is_no_review_is_refused() -> None:
    for call, words in (
        (lambda: decided(Review(), REJECTED, "  "), "give the reviewer's name"),
        (lambda: decided(Review(), "perfect", "A"), 'set to "perfect"'),
        (lambda: decided(Review(), ACCEPTED, "A" * 65), "at most 64"),
        (lambda: Review("done"), "not a review state"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            call()


def test_the_worst_flagged_slices_come_first() -> None:
    flags = [
        case_flag("tilt", "the case"), Flag(4, 4, "tilt", "a"), Flag(9, 9, "border_contact", "b"),
        Flag(6, 6, "area", "c"), Flag(6, 6, "low_confidence", "d"), Flag(2, 2, "tilt", "e"),
    ]  # fmt: skip
    queue = rank_slices(flags, NO_FEATURES)
    assert [one.slice for one in queue] == [9, 6, 2, 4]
    assert queue[1].kinds == ("area", "low_confidence") and queue[1].message == "c; d"


def test_a_decision_lands_in_the_report_and_on_the_page(neck, tmp_path) -> None:
    folder = neck.finish(neck.write(tmp_path / "series"), tmp_path / "neck")
    sha256 = Case.load(folder).mask_sha256

    def page() -> str:
        return (folder / "report.html").read_text(encoding="utf-8")

    assert "not reviewed by a person" in page()
    update_review(folder, lambda one: decided(one, ACCEPTED, "A. <Meyer>", mask_sha256=sha256), decides_on=sha256)
    assert Case.load(folder).review.who == "A. <Meyer>"
    assert "accepted by A. &lt;Meyer&gt; on 20" in page() and "ATTENTION" not in page()
    assert "data:image/png;base64," in page(), "the picture stays"
    update_review(folder, lambda one: decided(one, REJECTED, "B", mask_sha256="of another"))
    assert "ejected by B" in page() and "ATTENTION: decided on another mask" in page()
    (folder / "report.html").write_text("damaged \ufffd", encoding="utf-16")
    update_review(folder, lambda one: decided(one, REJECTED, "D"))
    assert "ejected by D" in page() and page().count("data:image/png;base64,") == 2


@pytest.fixture
def cases(neck, tmp_path):
    """Four folders, of which one is damaged, and one that is no case."""
    series = neck.write(tmp_path / "series")
    neck.finish(series, tmp_path / "results" / "a")
    for name in "bc":
        shutil.copytree(tmp_path / "results" / "a", tmp_path / "results" / name)
        report = tmp_path / "results" / name / "report.json"
        report.write_text(json.dumps(json.loads(report.read_text()) | {"case": name}))
    (tmp_path / "results" / "broken").mkdir()
    (tmp_path / "results" / "broken" / "report.json").write_text("{", encoding="utf-8")
    (tmp_path / "results" / "notes").mkdir()
    return tmp_path / "results"


def test_a_work_list_is_taken_up_where_it_was_left(cases) -> None:
    work = read_work_list(cases)
    assert [item.folder.name for item in work.items] == ["a", "b", "broken", "c"]
    assert [item.case for item in work.items] == ["neck", "b", "broken", "c"]
    assert work.counts["unreadable"] == 1 and work.counts[AI] == 3
    assert (work.previous("c").case, work.previous("neck")) == ("broken", None)
    update_review(work.next_open().folder, lambda one: decided(one, ACCEPTED, "A"))
    assert read_work_list(cases).next_open().case == "b"
    for name in "bc":
        update_review(cases / name, lambda one: decided(one, REJECTED, "A"))
    assert read_work_list(cases).next_open() is None
    write_table(cases / "review.csv", REVIEW_COLUMNS, review_rows(read_work_list(cases)))
    rows = (cases / "review.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 5 and rows[1].startswith("neck,accepted,A,20")
    assert rows[3].startswith("broken,unreadable")


def test_a_name_that_several_folders_carry_is_ambiguous(cases, capsys) -> None:
    """Case 5: a folder was copied and renamed."""
    shutil.copytree(cases / "b", cases / "b_old")
    work = read_work_list(cases)
    assert [item.case for item in work.items if item.folder.name.startswith("b")] == ["b [b]", "b [b_old]", "broken"]
    assert work.item("b_old").folder.name == "b_old"
    assert main(["review", str(cases), "--case", "b", "--accept", "--by", "A"]) == 2
    error = capsys.readouterr().err
    assert "in several folders" in error and str(cases / "b_old") in error
    assert {Case.load(cases / name).review.state for name in ("b", "b_old")} == {AI}
    assert main(["review", str(cases / "b_old"), "--accept", "--by", "A"]) == 0
    assert [Case.load(cases / name).review.state for name in ("b", "b_old")] == [AI, ACCEPTED]


@pytest.fixture
def results(cases):
    """The three whole ones, called after their folders; the second has flagged slices."""
    shutil.rmtree(cases / "broken")
    for name in "abc":
        case = Case.load(cases / name)
        flags = (Flag(3, 3, "tilt", "leans"), Flag(4, 4, "border_contact", "cut off")) if name == "b" else ()
        case = replace(case, name=name, drawn=case.mask, flags=flags, queue=rank_slices(flags, NO_FEATURES))
        save_case(case, cases / name, replaces=Case.load(cases / name))
    return cases


def _table(results):
    with (results / "review.csv").open(encoding="utf-8", newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def test_a_folder_is_worked_through(results, capsys) -> None:
    assert main(["review", str(results)]) == 0
    told = capsys.readouterr().out
    assert "3 cases: 3 not reviewed" in told and told.index("a: not reviewed") < told.index("c: not reviewed")
    assert main(["review", str(results), "--case", "b"]) == 0
    assert "slice 4 (" in capsys.readouterr().out.split("\nb: ")[-1].splitlines()[1]
    assert main(["review", str(results), "--case", "b", "--seen", "4", "--reject", "--by", "A. Meyer"]) == 0
    assert "b: rejected by A. Meyer on 2" in capsys.readouterr().out
    row = _table(results)["b"]
    assert (row["state"], row["reviewer"], row["decided_on_this_mask"]) == ("rejected", "A. Meyer", "True")
    assert int(row["n_unseen"]) == int(row["n_flagged"]) - 1
    assert main(["review", str(results), "--accept", "--by", "A. Meyer", "--seen", "all"]) == 0  # the next open one
    assert main(["review", str(results), "--accept", "--by", "A. Meyer"]) == 0
    capsys.readouterr()
    assert main(["review", str(results)]) == 0
    assert "nothing is left to review" in capsys.readouterr().out
    assert [row["state"] for row in _table(results).values()] == ["accepted", "rejected", "accepted"]
    assert main(["review", str(results), "--case", "b", "--reopen"]) == 0
    assert Case.load(results / "b").review.state == "in review"


def test_what_cannot_be_reviewed_is_said_in_a_line(results, capsys) -> None:
    for arguments, words in (
        (["{out}", "--case", "x"], 'no case "x"'),
        (["{out}", "--accept"], "give the reviewer's name"),
        (["{out}", "--seen", "ten"], "is not a slice"),
        (["{out}/a/mask.nii.gz"], "is not a folder"),
        (["{out}/notes"], "holds no finished case"),
    ):
        assert main(["review", *(word.format(out=results) for word in arguments)]) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
