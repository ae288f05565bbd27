"""The tables of a folder of cases: what stands in them, and that spreadsheets, R and pandas read the same numbers."""

import csv
import json
import zipfile
from dataclasses import replace

import nibabel
import numpy as np
import openpyxl
import pandas
import pytest

from SpinalCordSegLib.bids import pam50_rows
from SpinalCordSegLib.case import Case, save_case
from SpinalCordSegLib.case_folder import Summary
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.errors import OutputError
from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.slice_table import SliceTable
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


def test_pandas_and_spreadsheets_read_the_same_numbers(results):
    work = read_work_list(results)
    write_tables(work, results)
    write_workbook(work, results)
    case = Case.load(results / "007")
    by_pandas = pandas.read_csv(results / "summary.csv", dtype={"case": str}).iloc[0]
    assert by_pandas["case"] == "007" and by_pandas["mean_csa_mm2"] == pytest.approx(case.mean_csa_mm2, abs=1e-3)
    slices = pandas.read_csv(results / "007" / "slices.csv")
    np.testing.assert_allclose(slices["csa_mm2"], case.slices.csa_mm2, atol=1e-3)
    # a workbook has no decimal mark of a country: it holds numbers, and the name as it is
    book = openpyxl.load_workbook(results / "tables.xlsx")
    assert book.sheetnames == ["summary", "levels", "review", "history", "columns"]
    head, row = book["summary"].iter_rows(values_only=True)
    by_excel = dict(zip(head, row, strict=True))
    assert by_excel["case"] == "007" and by_excel["mean_csa_mm2"] == by_pandas["mean_csa_mm2"]
    assert by_excel["model_version"] == "3" and by_excel["reason"] is None
    with zipfile.ZipFile(results / "tables.xlsx", "a") as file:
        file.writestr("docProps/app.xml", "<Properties/>")  # somebody saved it in Excel
    with pytest.raises(OutputError, match="saved by another program"):
        write_workbook(work, results)
    # a table that a spreadsheet saved in the letters of its country does not stop a review
    (results / "tables.xlsx").unlink()
    (results / "pam50.csv").write_bytes("Müller".encode("cp1252"))
    assert main(["review", str(results)]) == 0 and not (results / "tables.xlsx").exists()
    (results / "pam50.csv").unlink()
    # what a spreadsheet of a country with decimal commas saves of our table comes back as decisions
    text = (results / "summary.csv").read_text(encoding="utf-8")
    saved = "\r\n".join(";".join(row).replace(".", ",") for row in csv.reader(text.splitlines()))
    decided = (
        saved.replace("case;state;", "case;summary;").replace(";review_state;", ";state;").replace(";ai;", ";accepted;")
    )
    (results / "mine.csv").write_text(decided, encoding="utf-8-sig")
    assert main(["review", str(results), "--from", str(results / "mine.csv"), "--by", "A"]) == 0
    assert Case.load(results / "007").review.state == "accepted"


def test_slices_on_the_template_are_linear_between_measured_ones():
    at = np.array([900.5, 902.5, 904.5, 906.5, np.nan, 910.5])
    table = SliceTable.of(
        6, pam50_slice=at, csa_mm2=[70.0, 72.0, 74.0, 99.0, np.nan, 80.0], imputed=[0, 0, 0, 1, -1, 0],
        csa_sct_mm2=[71.0, 73.0, 75.0, 99.0, np.nan, 81.0],
    )  # fmt: skip
    case = type("Case", (), {"slices": table, "created": "", "software_version": "", "name": "a"})
    case.input = type("Input", (), {"source": "…"})
    rows = {row["Slice (I->S)"]: row for row in pam50_rows(case)}
    assert list(rows) == list(range(901, 911)) and rows[901]["Filename"] == "a"
    assert [rows[k]["csa_mm2"] for k in (901, 902, 904)] == [70.5, 71.5, 73.5] and rows[902]["MEAN(area)"] == 72.5
    assert {rows[k]["csa_mm2"] for k in range(905, 911)} == {None}  # an imputed slice, and a gap
    assert (rows[907]["VertLevel"], rows[908]["VertLevel"]) == (3, 2)  # C2/C3 of the template is at 907.5


def test_bids_derivatives_hold_masks_and_tables_of_all_but_rejected_cases(results, neck, tmp_path, capsys, monkeypatch):
    base = json.loads((results / "007" / "report.json").read_text(encoding="utf-8"))
    for name, source in (("t1", "sub-01/ses-02/anat/sub-01_ses-02_T1w.nii.gz"), ("t2", "sub-01_ses-02_T2w.nii.gz")):
        folder = neck.finish(tmp_path / "series", results / name)
        content = json.loads((folder / "report.json").read_text(encoding="utf-8")) | {"case": name}
        content["input"]["source"] = source
        (folder / "report.json").write_text(json.dumps(content), encoding="utf-8")
    assert main(["review", str(results), "--case", "t2", "--reject", "--by", "A"]) == 0
    out = tmp_path / "derivatives" / "spinalcordseg"
    raw = tmp_path / "sub-01" / "ses-02" / "anat" / "sub-01_ses-02_T1w.nii.gz"
    raw.parent.mkdir(parents=True)
    raw.touch()

    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr("SpinalCordSegLib.bids.write_json", fail)
        assert main(["export", str(results), "--bids", "--output", str(out)]) == 130
    assert not out.exists()
    assert main(["export", str(results), "--bids", "--output", str(out)]) == 0
    assert "left out: t2: rejected" in capsys.readouterr().err
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    stem = "sub-01/ses-02/anat/sub-01_ses-02_space-orig_label-SC_desc-T1w"
    assert names == {
        "dataset_description.json", ".bidsignore", "label-SC_morph.json", "summary.tsv", "summary.json",
        *(f"{stem}_{end}" for end in ("mask.nii.gz", "mask.json", "morph.tsv")),
        *(f"sub-007/anat/sub-007_space-orig_label-SC_{end}" for end in ("mask.nii.gz", "mask.json", "morph.tsv")),
    }  # fmt: skip
    about = json.loads((out / "dataset_description.json").read_text())
    assert (about["DatasetType"], about["DatasetLinks"]) == ("derivative", {"raw": "../.."})
    (source,) = json.loads((out / f"{stem}_mask.json").read_text())["Sources"]
    assert source.startswith("bids:raw:") and (out / "../.." / source[len("bids:raw:") :]).samefile(raw)
    mask = nibabel.load(out / f"{stem}_mask.nii.gz")
    assert mask.get_fdata().sum() == Case.load(results / "t1").mask.voxels.sum() and mask.shape == tuple(
        base["input"]["shape"]
    )
    slices = pandas.read_csv(out / f"{stem}_morph.tsv", sep="\t", na_values="n/a")
    np.testing.assert_allclose(slices["csa_mm2"], Case.load(results / "t1").slices.csa_mm2, atol=1e-3)
    summary = pandas.read_csv(out / "summary.tsv", sep="\t", na_values="n/a")
    assert set(summary["participant_id"]) == {"sub-01", "sub-007"}
    assert main(["export", str(results), "--bids", "--output", str(out)]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_files_of_somebody_else_stay(results, capsys):
    for name in ("index.html", "columns.csv"):
        (results / name).write_text("mine", encoding="utf-8")
    assert main(["review", str(results)]) == 2 and "columns.csv is not a table" in capsys.readouterr().err
    (results / "columns.csv").unlink()
    assert main(["review", str(results)]) == 0
    assert "index.html is not a page of SpinalCordSeg" in capsys.readouterr().err
    assert (results / "index.html").read_text(encoding="utf-8") == "mine"


def test_the_arguments_of_a_bids_app(tiny_model, tmp_path, capsys):
    bids, out = tmp_path / "bids", str(tmp_path / "out")
    image = make_phantom(PhantomConfig(shape=(40, 40, 6), spacing_mm=(1, 1, 3.0))).image
    for k, name in enumerate(
        (
            "sub-01/anat/sub-01_T1w",
            "sub-02/ses-1/anat/sub-02_ses-1_T1w",
            "sub-02/ses-1/func/sub-02_bold",
            "sub-02/ses-2/anat/sub-02_ses-2_T1w",
            "sub-02/ses-2/anat/sub-02_ses-2_T1w_defacemask",
            "sub-02/ses-2/anat/sub-02_ses-2_space-orig_label-SC_desc-T1w_mask",
            "sub-02/ses-2/anat/sub-02_ses-2_dseg",
        )
    ):
        write_volume(image.with_voxels(image.voxels + k), bids / f"{name}.nii")
    (bids / "participants.tsv").write_text("participant_id\tgroup\nsub-01\ta\nsub-02\tb\n", encoding="utf-8")
    about = {"Manufacturer": "Siemens", "ManufacturersModelName": "Prisma", "MagneticFieldStrength": 3}
    (bids / "sub-01/anat/sub-01_T1w.json").write_text(json.dumps(about), encoding="utf-8")
    more = ["--model", str(tiny_model), "--no-find"]
    assert main(["segment", str(bids), out, "participant", *more, "--participant-label", "02"]) == 0
    assert [path.parent.name for path in (tmp_path / "out").glob("sub-0[13]*/report.json")] == []
    assert main(["segment", str(bids), out, "participant", *more, "--participant-label", "01"]) == 0
    assert main(["segment", str(bids), out, "group"]) == 0
    # subject by subject is as all at once: two sessions are one person
    rows = _rows(tmp_path / "out" / "cohort_cases.csv")
    assert [row["site"] for row in rows] == ["Siemens Prisma 3 T", "", ""]
    found = {row["case"]: (row["person"], row["group"]) for row in rows}
    assert found == {
        "sub-01_T1w": ("sub-01", "a"), "sub-02_ses-1_T1w": ("sub-02", "b"), "sub-02_ses-2_T1w": ("sub-02", "b"),
    }  # fmt: skip
    assert main(["export", out, "--bids", "--output", str(tmp_path / "derivatives")]) == 0
    for wrong, words in (
        ([str(bids), out, "participant", "--participant-label", "07"], "sub-07"), ([str(bids)], "--output DIR"),
        ([str(bids), "--output", out, "--participant-label", "01"], "goes with BIDS_DIR"),
    ):  # fmt: skip
        assert main(["segment", *wrong, *more]) == 2 and words in capsys.readouterr().err
