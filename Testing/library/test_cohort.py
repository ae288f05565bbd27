"""The report on many cases: formulas with published answers, and what counts, is left out and is named."""

import csv
import json
import shutil

import numpy as np
import pytest

from SpinalCordSegLib.cli import main
from SpinalCordSegLib.cohort_statistics import (
    difference_of_means,
    icc,
    mean_of,
    rms_cov_percent,
    robust_z,
    sample_size,
    sd_of,
    within_sd,
)


def _about(found, *expected):
    return (found.value, found.low, found.high) == pytest.approx(expected, abs=0.006)


def test_formulas_give_published_answers():
    # Shrout and Fleiss 1979, table 2: six targets, four judges; intervals as in the R package psych
    judges = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    found = icc(judges)
    assert _about(found["1,1"], 0.17, -0.13, 0.72)
    assert _about(found["2,1"], 0.29, 0.02, 0.76)
    assert _about(found["3,1"], 0.71, 0.34, 0.95)
    assert icc([[1.0, 2.0]]) == icc([[1.0, 1.0], [2.0, 2.0]]) == {}
    assert [sample_size(1, 1), sample_size(1, 0.5), sample_size(1, 0.5, 0.9)] == [17, 64, 86]  # R: power.t.test
    assert sample_size(1, 100) == 2 and sample_size(np.nan, 1) is None and sample_size(1, 0) is None
    # R: t.test(c(1,2,3,4)); t.test(c(1,2,3,4), c(2,3,5,9))
    assert _about(mean_of([1, 2, 3, 4]), 2.5, 0.446, 4.554)
    assert _about(difference_of_means([1, 2, 3, 4], [2, 3, 5, 9]), -2.25, -6.900, 2.400)
    assert _about(sd_of(1.0, 10), 1.0, 0.699, 1.755)
    assert rms_cov_percent([[99, 101], [50, 50], [7]]).value == pytest.approx(1.0)  # √((2 + 0)/2) %
    assert within_sd([[1, 3], [5, 5, 5]]) == (pytest.approx(np.sqrt(2 / 3)), 3)
    assert robust_z([1, 2, 3, 4, 100])[-1] == pytest.approx(97 / 1.4826)
    assert np.isnan(robust_z([1, 2, 3, 4])).all() and np.isnan(robust_z([1, 1, 1, 1, 9])).all()


@pytest.fixture
def cohort(neck, tmp_path):
    """Makes cases of given areas: name → C2-C3 area and what differs in report.json; gives their folder."""
    base = neck.finish(neck.write(tmp_path / "series"), tmp_path / "base" / "one", state="given")

    def make(cases):
        for name, (area, *changes) in cases.items():
            folder = tmp_path / "results" / name
            shutil.copytree(base, folder)
            content = json.loads((folder / "report.json").read_text(encoding="utf-8"))
            row = {"name": "C2-C3", "mean_csa_mm2": area, "sd_csa_mm2": 1.0, "n_slices": 9, "length_mm": 27.0}
            row |= {"volume_mm3": 1900.0, "coverage": 1.0, "basis": "discs", "remark": ""}
            content |= {"case": name, "mean_csa_mm2": 50.0, "levels": {"levels": [row]}}
            content["input"] |= {"fingerprint": name, "identity": None, "source": f"{name}.nii.gz"}
            for change in changes:
                for key, value in change.items():
                    content[key] = content[key] | value if isinstance(value, dict) else value
            (folder / "report.json").write_text(json.dumps(content), encoding="utf-8")
        return tmp_path / "results"

    return make


def _rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _value(results, statistic, **keys):
    wanted = {"measure": "c2_c3_mean_csa_mm2", "statistic": statistic, "group": "", "site": ""} | keys
    (row,) = [
        row
        for row in _rows(results / "cohort_statistics.csv")
        if wanted.items() <= row.items() and row["effect_percent"] in ("", "5.0") and row["power"] in ("", "0.8")
    ]
    return row


def test_what_counts_and_what_is_left_out_is_named(cohort, capsys):
    usual = {f"n{k}": (70.0 + k % 3,) for k in range(9)}
    results = cohort(
        usual
        | {
            "high": (95.0,),
            "no": (500.0, {"review": {"state": "rejected", "who": "A"}}),
            "other": (500.0, {"contrast": "T2w-like"}),
            "z-copy": (500.0, {"input": {"fingerprint": "n0"}}),
            "edited": (500.0,),
        }
    )
    shutil.copy(results / "n0" / "slices.csv", results / "edited" / "mask.nii.gz")  # no mask any more
    (results / "summary.csv").write_text("case,state,reason\ngone,failed,it is sheared\n", encoding="utf-8")
    assert main(["cohort", str(results)]) == 0
    out = capsys.readouterr().err
    assert (
        "5 cases left out" in out
        and "edited, no, other, z-copy, gone" in out
        and "10 of 10 cases nobody has reviewed" in out
        and "1 outlier" in out
    )
    rows = {row["case"]: row for row in _rows(results / "cohort_cases.csv")}
    left_out = {name: row["left_out"] for name, row in rows.items() if row["left_out"]}
    for name, words in (
        ("no", "rejected"), ("other", "T2w-like"), ("z-copy", "the same image as n0"), ("edited", "mask was changed"),
        ("gone", "sheared"),
    ):  # fmt: skip
        assert words in left_out.pop(name)
    assert not left_out
    mean = _value(results, "mean")
    assert (mean["n_cases"], float(mean["value"])) == ("10", pytest.approx((9 * 71 + 95) / 10))
    assert (
        float(rows["high"]["c2_c3_robust_z"]) == pytest.approx(24 / 1.4826, abs=0.01)
        and not rows["no"]["c2_c3_robust_z"]
    )
    page = (results / "cohort.html").read_text(encoding="utf-8")
    assert "<b>high</b>: mean area C2-C3 95.0 mm², robust z +16.2" in page and "Pérez" not in page


def test_groups_sites_and_repeats_of_a_table(cohort, tmp_path):
    results = cohort(
        {
            f"sub-{p}_ses-{s}_T1w": (60 + 2 * p + (s - 1) * (1 + p % 2), {"input": {"acquisition_date": f"2024010{p}"}})
            for p in range(1, 7)
            for s in (1, 2)
        }
    )
    table = tmp_path / "participants.tsv"
    rows = (f"sub-{p}\t{s}\t{'ab'[p > 3]}\tS{p % 2}\n" for p in range(1, 7) for s in (1, 2))  # a row a session
    table.write_text("participant_id\tsession_id\tgroup\tsite\n" + "".join(rows), "utf-8")
    (results / "summary.csv").write_text("case,state,reason\nsub-6_ses-3_T1w,failed,it is cut\n", encoding="utf-8")
    assert main(["cohort", str(results), "--people", str(table), "--effect", "5"]) == 0
    failed = _rows(results / "cohort_cases.csv")[-1]
    assert (failed["person"], failed["group"]) == ("sub-6", "b") and "it is cut" in failed["left_out"]
    persons = np.array([60 + 2 * p + (1 + p % 2) / 2 for p in range(1, 7)])  # means of two scans
    for group, own in (("a", persons[:3]), ("b", persons[3:])):
        row = _value(results, "mean", group=group)
        assert (row["n_persons"], row["n_cases"]) == ("3", "6") and float(row["value"]) == pytest.approx(own.mean())
    assert float(_value(results, "difference", group="a - b")["value"]) == pytest.approx(
        persons[:3].mean() - persons[3:].mean(), abs=1e-3
    )
    scans = np.array([[60 + 2 * p, 60 + 2 * p + 1 + p % 2] for p in range(1, 7)], float)
    cov = 100 * np.sqrt(np.mean((scans.std(axis=1, ddof=1) / scans.mean(axis=1)) ** 2))
    assert float(_value(results, "cov_percent")["value"]) == pytest.approx(cov, abs=1e-3)
    assert float(_value(results, "icc_3_1", site="session")["value"]) == pytest.approx(
        icc(scans)["3,1"].value, abs=1e-3
    )
    within, between = np.mean(scans.var(axis=1, ddof=1)), np.mean([persons[:3].var(ddof=1), persons[3:].var(ddof=1)])
    needed = sample_size(np.sqrt(between + within / 2), 0.05 * persons.mean())
    assert float(_value(results, "n_per_group", effect_percent="5.0")["value"]) == needed


def test_only_scans_of_one_day_or_session_are_repeats(cohort, capsys):
    def on(day):
        return {"input": {"acquisition_date": day}}

    results = cohort(
        {
            "sub-1_ses-1_T1w": (70,), "sub-1_ses-2_T1w": (50,),  # visits
            "sub-2_ses-1_run-1": (70,), "sub-2_ses-1_run-2": (71,), "sub-2_ses-2_run-1": (50,),
            "sub-3_ses-1_T1w": (80, on("20240101")), "sub-3_ses-2_T1w": (82, on("20240101")),
            "sub-4_run-1": (70, on("20240101")), "sub-4_run-2": (50, on("20250101")),  # visits
            "sub-5_run-1": (60,), "sub-5_run-2": (61,),  # nothing is known
        }
    )  # fmt: skip
    assert main(["cohort", str(results)]) == 0
    pairs = np.array([[70, 71], [80, 82], [60, 61]])
    cov = 100 * np.sqrt(np.mean((pairs.std(axis=1, ddof=1) / pairs.mean(axis=1)) ** 2))
    found = _value(results, "cov_percent")
    assert (found["n_persons"], found["n_cases"]) == ("3", "6")
    assert float(found["value"]) == pytest.approx(cov, abs=1e-3)
    assert "1 of 5 persons have several scans of unknown day and session" in capsys.readouterr().err


def _hashed(patient, salt="s"):
    return {"input": {"identity": {"salt": salt, "patient_id": patient}}}


def test_patients_of_several_users_may_count_twice(cohort, capsys):
    results = cohort({"a": (70, _hashed("p")), "b": (71, _hashed("q", "t"))})
    assert main(["cohort", str(results)]) == 0 and "cases of several users" in capsys.readouterr().err


def test_persons_that_headers_and_table_tell_apart_differently_are_named(cohort, tmp_path, capsys):
    results = cohort(
        {"a1": (70, _hashed("p")), "a2": (71, _hashed("p")), "b": (72, _hashed("q")), "c": (73, _hashed("p"))}
    )
    table = tmp_path / "people.csv"
    table.write_text("case;person;group\na1;A;n/a\na2;A;\nb;A;n/a\nc;a;x\nnobody;N;\n", encoding="utf-8")
    assert main(["cohort", str(results), "--people", str(table)]) == 0
    out = capsys.readouterr().err
    assert "a1 and b are A, but their headers state another patient ID" in out
    assert "A and a count as different persons" in out
    assert "a1 and c have one patient ID, but are A and a" in out
    assert "in people.csv, but no finished case (1): nobody" in out
    assert main(["cohort", str(results)]) == 0  # without a table by the headers: three scans of p
    assert _value(results, "cov_percent")["n_cases"] == "3" and "icc_2_1" not in str(
        _rows(results / "cohort_statistics.csv")
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [("case,group\na,1\na,2\n", "a has a row above"), ("participant_id,site\na,1\na,2\n", "a has a row above"),
     ("person,case,group\nP,a,1\nP,b,2\n", "P is in two groups"),
     ("group\n1\n", "no case or person named")],
)  # fmt: skip
def test_tables_that_cannot_be_followed_are_refused(cohort, tmp_path, capsys, text, words):
    results = cohort({"a": (70,), "b": (71,)})
    (tmp_path / "people.csv").write_text(text, encoding="utf-8")
    assert main(["cohort", str(results), "--people", str(tmp_path / "people.csv")]) == 2
    assert words in capsys.readouterr().err and not (results / "cohort.html").exists()


def test_few_cases_and_files_of_somebody_else(cohort, capsys):
    results = cohort({"a": (None, {"mean_csa_mm2": 66.0})})
    assert main(["cohort", str(results)]) == 0 and _rows(results / "cohort_statistics.csv")[0]["low_95"] == ""
    assert {row["measure"] for row in _rows(results / "cohort_statistics.csv")} == {"mean_csa_mm2"}
    assert main(["cohort", str(results), "--effect", "0"]) == 2
    assert main(["cohort", str(results / "a")]) == 2 and "is one case" in capsys.readouterr().err
    (results / "cohort.html").write_text("mine", encoding="utf-8")
    assert main(["cohort", str(results)]) == 2 and "not a page of SpinalCordSeg" in capsys.readouterr().err


def test_one_image_under_two_persons_counts_for_nobody(cohort):
    sources = [{"input": {"source": f"sub-{n}/anat/sub-{n}_T1w.nii.gz"}} for n in (1, 2, 3)]
    for change in sources[:2]:
        change["input"]["fingerprint"] = "same"
    results = cohort({name: (70, change) for name, change in zip("abc", sources, strict=True)})
    assert main(["cohort", str(results)]) == 0
    left_out = {row["case"]: row["left_out"] for row in _rows(results / "cohort_cases.csv")}
    assert ["whose is it" in left_out[name] for name in "abc"] == [True, True, False]


def test_one_subject_code_of_two_data_sets_is_two_persons(cohort, tmp_path, capsys):
    sources = {
        name: {"input": {"source": f"{name[0]}/sub-01/anat/sub-01_{name[1:]}.nii.gz"}} for name in ("aT1w", "bT2w")
    }
    results = cohort({name: (70, change) for name, change in sources.items()})
    assert main(["cohort", str(results)]) == 0
    assert [row["person"] for row in _rows(results / "cohort_cases.csv")] == ["a/sub-01", "b/sub-01"]
    table = tmp_path / "participants.tsv"
    table.write_text("participant_id\tgroup\nsub-01\tx\n", encoding="utf-8")
    assert main(["cohort", str(results), "--people", str(table)]) == 2
    assert "a/sub-01 or b/sub-01" in capsys.readouterr().err
    table.write_text("participant_id\tgruppe\na/sub-01\tx\n", encoding="utf-8")
    assert main(["cohort", str(results), "--people", str(table)]) == 0
    assert "no column group; columns that are not used (1): gruppe" in capsys.readouterr().err
    whole = f"image,group\n{tmp_path}/a/sub-01/anat/sub-01_T1w.nii.gz,x\n{tmp_path}/other/sub-01_T2w.nii.gz,y\n"
    table.with_suffix(".csv").write_text(whole, encoding="utf-8")
    assert main(["cohort", str(results), "--people", str(table.with_suffix(".csv"))]) == 0
    assert {row["case"]: row["group"] for row in _rows(results / "cohort_cases.csv")} == {"aT1w": "x", "bT2w": ""}
    assert main(["export", str(results), "--bids", "--output", str(tmp_path / "bids")]) == 2
    assert "export them apart" in capsys.readouterr().err
