"""The tables of a folder of cases: what stands in them, and that spreadsheets, R and pandas read the same numbers."""

import csv
import re
import zipfile
from dataclasses import replace

import pytest

from SpinalCordSegLib.case import Case, Summary, save_case
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.errors import OutputError
from SpinalCordSegLib.tables import TABLES, write_tables, write_workbook
from SpinalCordSegLib.vertebral_levels import DiscMark, LevelOptions
from SpinalCordSegLib.work_list import read_work_list


@pytest.fixture
def results(neck, tmp_path):
    """The case "007" with levels, and its row in summary.csv."""
    levels = LevelOptions((DiscMark(3, slice=4),))
    folder = neck.finish(neck.write(tmp_path / "series"), tmp_path / "results" / "007", levels=levels)
    case = replace(Case.load(folder), name="007")
    save_case(replace(case, drawn=case.mask), folder, replaces=Case.load(folder))
    Summary(tmp_path / "results" / "summary.csv").put(Case.load(folder).summary_row())
    return tmp_path / "results"


def _rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_summary_follows_what_a_person_decides_and_corrects(results):
    (row,) = _rows(results / "summary.csv")
    assert (row["review_state"], row["imputed_share"], row["scanner"]) == ("ai", "0.0", "")
    c2, c3, both = (float(row[f"{name}_mean_csa_mm2"]) for name in ("c2", "c3", "c2_c3"))
    assert min(c2, c3) <= both <= max(c2, c3)
    assert main(["review", str(results), "--case", "007", "--accept", "--by", "A"]) == 0
    assert _rows(results / "summary.csv")[0]["review_state"] == "accepted"
    mask = str(results / "007" / "mask.nii.gz")
    assert main(["correct", str(results / "007"), mask, "--by", "A", "--reopen"]) == 0
    assert _rows(results / "summary.csv")[0]["review_state"] == "corrected"


def test_one_row_a_level_and_every_column_is_explained(results):
    assert main(["cohort", str(results)]) == 0
    write_tables(read_work_list(results), results)
    levels = _rows(results / "levels.csv")
    case = Case.load(results / "007")
    assert [row["level"] for row in levels] == [row.name for row in case.levels.rows]
    assert [float(row["mean_csa_mm2"]) for row in levels] == pytest.approx(
        [row.mean_csa_mm2 for row in case.levels.rows], abs=1e-3
    )
    explained = {(row["table"], row["column"]) for row in _rows(results / "columns.csv")}
    for name in (*TABLES, "007/slices.csv"):
        columns = (results / name).read_text(encoding="utf-8").partition("\n")[0].split(",")
        assert {(name.rpartition("/")[2], column) for column in columns} <= explained


def test_a_workbook_holds_numbers_as_numbers_and_the_name_as_a_text(results):
    work = read_work_list(results)
    write_tables(work, results)
    write_workbook(work, results)
    assert not (results / "summary.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    row = _rows(results / "summary.csv")[0]
    with zipfile.ZipFile(results / "tables.xlsx") as book:
        names = re.findall(r'<sheet name="(\w+)"', book.read("xl/workbook.xml").decode())
        sheet = book.read("xl/worksheets/sheet1.xml").decode()
    assert names == ["summary", "levels", "review", "history", "columns"]
    head, cells = re.findall(r"<row>(.*?)</row>", sheet)
    kinds = re.findall(r"<c( t=\"inlineStr\")?>.*?>([^<>]*)</", cells)
    by_name = dict(zip(re.findall(r">([^<>]+)</t>", head), kinds, strict=True))
    assert by_name["case"] == (' t="inlineStr"', "007") and by_name["model_version"] == (' t="inlineStr"', "3")
    is_text, area = by_name["mean_csa_mm2"]
    assert not is_text and float(area) == float(row["mean_csa_mm2"])
    with zipfile.ZipFile(results / "tables.xlsx", "a") as book:
        book.writestr("docProps/app.xml", "<Properties/>")  # somebody saved it in Excel
    with pytest.raises(OutputError, match="saved by another program"):
        write_workbook(work, results)


def test_files_of_somebody_else_stay(results, capsys):
    for name in ("index.html", "columns.csv"):
        (results / name).write_text("mine", encoding="utf-8")
    assert main(["review", str(results)]) == 2 and "columns.csv is not a table" in capsys.readouterr().err
    (results / "columns.csv").unlink()
    assert main(["review", str(results)]) == 0
    assert "index.html is not a page of SpinalCordSeg" in capsys.readouterr().err
    assert (results / "index.html").read_text(encoding="utf-8") == "mine"
