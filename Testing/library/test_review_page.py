"""The page of a folder of cases: looked through in a real browser by keys, and its decisions taken into the cases."""

import csv
import json
import shutil
import time
from dataclasses import replace

import pytest

import browser
from browser import Browser
from SpinalCordSegLib.case import Case, update_review
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.review import decided
from SpinalCordSegLib.review_page import take_decisions, write_review_page
from SpinalCordSegLib.work_list import read_work_list


@pytest.fixture
def cases(neck, tmp_path):
    """Makes n cases of one neck, called c01, c02 …, and gives their folder."""

    def make(n):
        neck.finish(neck.write(tmp_path / "series"), tmp_path / "results" / "c01")
        for k in range(1, n + 1):
            folder = tmp_path / "results" / f"c{k:02}"
            if k > 1:
                shutil.copytree(tmp_path / "results" / "c01", folder)
            content = json.loads((folder / "report.json").read_text(encoding="utf-8")) | {"case": folder.name}
            content["input"]["fingerprint"] = folder.name
            (folder / "report.json").write_text(json.dumps(content), encoding="utf-8")
        return tmp_path / "results"

    return make


def _states(results) -> list[str]:
    return [item.state for item in read_work_list(results).items]


@pytest.fixture
def opened(tmp_path):
    """Opens the page of a folder in a browser; every call is a new browser of the same user."""
    if browser.PROGRAM is None:
        pytest.skip("NO BROWSER: install chromium; the page was not looked through by keys")
    running = []

    def open_page(results):
        running.append(Browser(tmp_path / "profile", tmp_path))
        running[-1].open(results / "index.html")
        return running[-1]

    yield open_page
    for one in running:
        one.close()


def test_eighteen_cases_are_reviewed_by_keys_and_taken_in(cases, opened, tmp_path, capsys):
    results = cases(18)
    (results / "summary.csv").write_text("case,state,reason\nc19,failed,it is sheared\n", encoding="utf-8")
    write_review_page(read_work_list(results), results)
    page = opened(results)
    assert page.js("CASES.length") == 19 and "19 cases: 18 not reviewed, 1 failed" in page.js("counts.textContent")
    page.press("Enter", "p", *"A. Meyer", "Enter")  # the name is asked for once
    page.press("f", "n", *"gap", "Enter", "c", *"p" * 7)
    assert page.js("title.textContent + place.textContent") == "c1111 of 19"
    page.reload()
    assert "10 not saved yet" in page.js("pending.textContent")
    page.press(*["ArrowDown"] * 10, "Enter", "o", *"p" * 8, "u", "Escape", "s")
    n_keys = page.n_keys
    downloaded = tmp_path / "review.csv"
    ends = time.monotonic() + 20
    while not downloaded.exists() and time.monotonic() < ends:
        time.sleep(0.05)
    assert n_keys <= 60
    page.close()
    rows = list(csv.DictReader(downloaded.open(encoding="utf-8", newline="")))
    assert [row["state"] for row in rows] == ["accepted", "rejected", "to correct", *["accepted"] * 15]
    assert main(["review", str(results), "--from", str(downloaded)]) == 0
    assert _states(results) == ["accepted", "rejected", "to correct", *["accepted"] * 15]
    review = Case.load(results / "c03").review
    assert (review.who, review.note, review.when[:16]) == ("A. Meyer", "gap", rows[2]["when"][:16])
    assert [act.what for act in Case.load(results / "c02").history][-1] == "rejected"
    capsys.readouterr()
    assert main(["review", str(results), "--from", str(downloaded)]) == 0
    assert "0 decisions taken in" in capsys.readouterr().out
    page = opened(results)  # the same user, days later, on the page that was made anew
    assert page.js("pending.textContent") == ""
    assert "16 accepted, 1 rejected, 1 to correct" in page.js("counts.textContent")
    for state, names in (("to correct", "c03"), ("open", "c03"), ("failed", "c19"), ("", "c01,c02,c03")):
        page.js(f"byId('state').value = '{state}', list()")
        assert page.js("order.slice(0, 3).map(one => one.name).join()") == names
    page.js("document.querySelectorAll('.heads button')[1].click()")  # sorted by state
    assert page.js("order.map(stateOf).slice(-3).join()") == "failed,rejected,to correct"


def _table(path, *rows):
    path.write_text("\n".join(rows) + "\n", encoding="utf-8-sig")
    return path


def test_what_somebody_decided_meanwhile_stays_and_is_named(cases, tmp_path, monkeypatch):
    results = cases(4)
    sha256 = Case.load(results / "c01").mask_sha256
    update_review(results / "c02", lambda one: decided(one, "rejected", "B", sha256), decides_on=sha256)
    work = read_work_list(results)
    head = "case,state,reviewer,when,note,state_before,mask_sha256"
    table = _table(
        tmp_path / "review.csv", head,
        f"c01,accepted,A,2001-01-01T00:00:00Z,fine,ai,{sha256}", f"c02,accepted,A,,,ai,{sha256}",
        "c03,accepted,A,,,ai,00ff", "c05,accepted,A,,,ai,", "c04,pass,A,,,ai,", "c04,ai,A,,only a note,ai,",
    )  # fmt: skip
    done, refused = take_decisions(work, table)
    assert done == ["c01: accepted", "c04: ai"] and _states(results) == ["accepted", "rejected", "ai", "ai"]
    assert Case.load(results / "c04").review.note == "only a note"
    for text, words in zip(
        refused, ("c02 is rejected by B", "c03 has another mask", 'no case "c05"', "no decision"), strict=True
    ):
        assert words in text
    assert Case.load(results / "c01").review.when[:4] != "2001", "no decision was made before the case"
    # whoever has seen the other's decision can change it; a table without that knowledge cannot
    assert take_decisions(work, _table(table, "case;state", "C02;x", "c02;accepted"), "A")[1]
    done, refused = take_decisions(work, _table(table, "case;state;state_before", "c02;accepted;rejected"), "A")
    assert done and not refused and Case.load(results / "c02").review.who == "A"
    # a note of somebody else, with the apostrophe of a disarmed formula, is no second decision of A
    before, head = Case.load(results / "c02"), "case,state,reviewer,when,note,state_before"
    monkeypatch.setattr("SpinalCordSegLib.review_page._later", lambda when, than: when)
    note = "c02,accepted,C,2999-01-01T00:00:00+00:00,'- blurry,accepted"
    assert take_decisions(read_work_list(results), _table(table, head, note))[0]
    after = Case.load(results / "c02")
    assert after.history == before.history and after.review == replace(before.review, note="- blurry")


@pytest.mark.parametrize("text", ["", "name,state\na,accepted\n", "case,state\n"])
def test_what_is_no_table_of_decisions_is_refused(cases, tmp_path, capsys, text):
    results = cases(1)
    (tmp_path / "review.csv").write_text(text, encoding="utf-8")
    assert main(["review", str(results), "--from", str(tmp_path / "review.csv")]) == 2
    assert "holds no decisions" in capsys.readouterr().err


def test_the_page_is_made_anew_with_the_pictures_that_are_needed(cases, neck):
    results = cases(2)
    write_review_page(read_work_list(results), results)
    first = {path.name: path.stat().st_mtime_ns for path in (results / "index_files").iterdir()}
    shutil.rmtree(results / "c02")
    write_review_page(read_work_list(results), results)
    left = {path.name: path.stat().st_mtime_ns for path in (results / "index_files").iterdir()}
    assert len(first) == 6 and len(left) == 3 and left.items() <= first.items()
    page = (results / "index.html").read_text(encoding="utf-8")
    assert "c01" in page and "c02" not in page and "Pérez" not in page and "00123456" not in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", ""), "nothing comes from a network"
