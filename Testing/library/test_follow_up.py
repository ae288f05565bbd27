"""``follow-up`` from result folders to page and table: phantom necks that shrink, in several intervals and grids."""

import csv
import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from SpinalCordSegLib.case import update_review
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.longitudinal.change import BELOW, LOSS
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.review import ACCEPTED, REJECTED, Review, decided
from SpinalCordSegLib.volume import Volume

DISC_RAS = (2.0, -20.0, 20.0)
DATES = ("2020-01-10", "2021-01-09", "2022-01-09", "2023-01-09")
SLABS = ((0, 20), (3, 20), (0, 17), (2, 19))
_CSA = 75.0


def _mask(csa_mm2, slab, orientation, shift_mm=0.0):
    """A neck whose cord shrank alike everywhere; a slab of its slices; moved along S as another positioning would."""
    config = PhantomConfig(
        shape=(52, 44, 20), spacing_mm=(0.5, 0.6, 3.0), cord_csa_mm2=csa_mm2, orientation=orientation, enlargement=0.12
    )
    mask = make_phantom(config).mask
    axis = int(np.argmax(np.abs(mask.ijk_to_ras[2, :3])))
    first, end = slab if mask.ijk_to_ras[2, axis] > 0 else (20 - slab[1], 20 - slab[0])
    cut = [slice(None)] * 3
    cut[axis] = slice(first, end)
    matrix = mask.ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, axis] * first
    matrix[2, 3] += shift_mm
    return Volume(mask.voxels[tuple(cut)].copy(), matrix)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Four visits a year apart, -4 % of the first area each year; the disc moves with the positioning."""
    folder = tmp_path_factory.mktemp("visits")
    for n, slab in enumerate(SLABS):
        shift = 7.0 * n
        mask = _mask(_CSA * (1 - 0.04 * n), slab, ("RAS", "LPI", "SRA", "RAS")[n], shift)
        write_volume(mask, folder / f"visit{n}.nii.gz")
        disc = ",".join(f"{v:g}" for v in (*DISC_RAS[:2], DISC_RAS[2] + shift))
        command = ["measure", str(folder / f"visit{n}.nii.gz"), "--output", str(folder)]
        assert main([*command, "--disc", f"C2/C3={disc}"]) == 0
    return folder


def _track(results, output, *more, n=4, dates=DATES):
    folders = [str(results / f"visit{k}") for k in range(n)]
    given = [word for date in dates[:n] for word in ("--date", date)]
    return main(["follow-up", *folders, *given, "--output", str(output), "--person", "P-01", *more])


def _read(folder):
    return json.loads((folder / "follow_up.json").read_text(encoding="utf-8"))


def test_a_shrinking_cord_is_followed_over_other_slabs_axes_and_positions(results, tmp_path, capsys):
    scanners = ["--scanner", "A"] * 4
    assert _track(results, tmp_path, *scanners, "--age", "45") == 0
    content = _read(tmp_path)
    (run,) = content["runs"]
    rate = run["rate"]
    assert rate["percent_per_year"] == pytest.approx(-4, abs=0.5)
    assert rate["low"] <= -4 <= rate["high"]
    assert (rate["verdict"], run["cov_setting"], run["cov_percent"]) == (LOSS, "same scanner", 1.5)
    shared = content["shared"]
    assert shared["length_mm"] == pytest.approx(14 * 3, abs=3)
    areas = [visit["mean_csa_mm2"] for visit in content["visits"]]
    assert [area / areas[0] for area in areas] == pytest.approx([1, 0.96, 0.92, 0.88], abs=0.012)
    second = content["visits"][1]
    assert second["volume_mm3"] == pytest.approx(second["mean_csa_mm2"] * shared["length_mm"], rel=1e-3)
    assert (second["change"]["verdict"], second["change"]["mdc95_percent"]) == (BELOW, 4.155)
    output = capsys.readouterr().out
    assert "95 % CI" in output
    assert "follow_up.html" in output


def test_nobody_can_overlook_a_change_of_scanner(results, tmp_path, capsys):
    scanners = [word for name in "AABB" for word in ("--scanner", name)]
    assert _track(results, tmp_path, *scanners) == 0
    content = _read(tmp_path)
    assert [(run["first"], run["last"]) for run in content["runs"]] == [(1, 2), (3, 4)]
    assert content["visits"][2]["differences"][0]["breaks"] is True
    assert content["visits"][2]["change"]["cov_setting"] == "between scanners"
    page = (tmp_path / "follow_up.html").read_text(encoding="utf-8")
    assert page.index("Not comparable throughout") < page.index("%/year")
    assert "scanner changed from A to B" in page
    assert "NOT COMPARABLE" in capsys.readouterr().out
    rows = list(csv.DictReader(io.StringIO((tmp_path / "follow_up.csv").read_text(encoding="utf-8"))))
    assert [row["breaks"] for row in rows] == ["", "", "scanner", ""]
    assert [row["run_visits"] for row in rows] == ["1-2", "1-2", "3-4", "3-4"]


def test_each_visit_on_a_scanner_of_its_own_has_no_rate(results, tmp_path):
    scanners = [word for name in "ABCD" for word in ("--scanner", name)]
    assert _track(results, tmp_path, *scanners) == 0
    content = _read(tmp_path)
    assert [run["rate"] for run in content["runs"]] == [None] * 4
    text = (tmp_path / "follow_up.html").read_text(encoding="utf-8")
    assert "%/year</b>" not in text
    assert all(row["rate_percent_per_year"] == "" for row in csv.DictReader(io.StringIO(_csv(tmp_path))))


def _csv(folder):
    return (folder / "follow_up.csv").read_text(encoding="utf-8")


def test_a_change_of_agent_is_not_compared_at_all(results, tmp_path):
    lines = ["person,folder,day,contrast_agent"]
    lines += [f"P-01,{results / f'visit{n}'},{365 * n},{'with' if n == 1 else 'without'}" for n in range(2)]
    (tmp_path / "cohort.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert main(["follow-up", "--manifest", str(tmp_path / "cohort.txt"), "--output", str(tmp_path / "out")]) == 0
    second = _read(tmp_path / "out" / "P-01")["visits"][1]
    assert (second["change"], "contrast agent changed" in second["no_change"]) == (None, True)


def test_an_unknown_scanner_takes_the_wider_limit_and_is_said(results, tmp_path):
    assert _track(results, tmp_path, n=2) == 0
    content = _read(tmp_path)
    assert content["runs"][0]["cov_setting"] == "between scanners"
    assert "not known: scanner" in content["visits"][0]["differences"][0]["message"]


def test_dates_are_left_out_unless_asked_for(results, tmp_path):
    assert _track(results, tmp_path / "without") == 0
    text = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "without").iterdir())
    assert not any(date in text for date in DATES)
    assert str(results) not in text
    assert [visit["day"] for visit in _read(tmp_path / "without")["visits"]] == [0, 365, 730, 1095]
    assert _track(results, tmp_path / "with", "--keep-dates") == 0
    assert all(date in (tmp_path / "with" / "follow_up.html").read_text(encoding="utf-8") for date in DATES)


def test_visits_are_put_in_order(results, tmp_path):
    assert _track(results, tmp_path, dates=tuple(reversed(DATES))) == 0
    assert [visit["case"] for visit in _read(tmp_path)["visits"]] == ["visit3", "visit2", "visit1", "visit0"]


def test_a_cov_of_ones_own_needs_its_source(results, tmp_path, capsys):
    assert _track(results, tmp_path, "--cov-between", "0.8") == 2
    assert "needs its source" in capsys.readouterr().err
    assert _track(results, tmp_path, "--cov-between", "0.8", "--cov-source", "our repeats") == 0
    assert _read(tmp_path)["runs"][0]["cov_source"] == "our repeats"


def test_a_visit_rejected_in_review_is_not_compared(results, tmp_path, capsys):
    for n in range(2):
        shutil.copytree(results / f"visit{n}", tmp_path / f"visit{n}")
    update_review(tmp_path / "visit1", lambda _: decided(Review(), REJECTED, "A. Meyer"))
    assert _track(tmp_path, tmp_path / "out", n=2) == 2
    assert "rejected in review" in capsys.readouterr().err


def test_a_flagged_slice_counts_once_a_person_has_accepted_it(tmp_path):
    mask = _mask(_CSA, (0, 20), "RAS")
    wrong = mask.voxels.copy()
    wrong[:, :, 8:10] = binary_dilation(wrong[:, :, 8:10], iterations=4, structure=np.ones((3, 3, 1)))
    for n, voxels in enumerate((mask.voxels, wrong)):
        write_volume(replace(mask, voxels=voxels), tmp_path / f"m{n}.nii.gz")
        command = ["measure", str(tmp_path / f"m{n}.nii.gz"), "--disc", "C2/C3=10", "--output", str(tmp_path)]
        assert main(command) == 0
        (tmp_path / f"m{n}").rename(tmp_path / f"visit{n}")
    assert _track(tmp_path, tmp_path / "unseen", n=2) == 0
    unseen = _read(tmp_path / "unseen")
    second = unseen["visits"][1]
    assert second["change"]["percent"] == pytest.approx(0, abs=0.3)
    assert (second["n_flagged_slices"], unseen["visits"][0]["n_left_out_slices"]) == (0, 0)
    assert 2 <= second["n_left_out_slices"] <= 4
    left_out_mm = unseen["shared"]["left_out_mm"]
    assert left_out_mm == pytest.approx(3 * second["n_left_out_slices"], rel=0.1)
    assert unseen["shared"]["length_mm"] + left_out_mm == pytest.approx(60, rel=0.03)
    remark = f"{left_out_mm:.1f} mm are left out in all visits"
    assert any(remark in one and f"{second['n_left_out_slices']} in visit 2" in one for one in unseen["remarks"])
    assert remark in (tmp_path / "unseen" / "follow_up.html").read_text(encoding="utf-8")

    assert _track(tmp_path, tmp_path / "kept", "--keep-flagged", n=2) == 0
    update_review(tmp_path / "visit1", lambda _: decided(Review(), ACCEPTED, "A. Meyer"))
    assert _track(tmp_path, tmp_path / "accepted", n=2) == 0
    for name in ("kept", "accepted"):
        content = _read(tmp_path / name)
        assert content["visits"][1]["change"]["percent"] > 3
        assert (content["shared"]["left_out_mm"], content["visits"][1]["n_flagged_slices"] >= 2) == (0, True)
        assert any("are among the compared ones" in one for one in content["remarks"])
        assert _rows(tmp_path / name)[1]["left_out_mm"] == "0.0"


def _rows(folder):
    return list(csv.DictReader(io.StringIO(_csv(folder))))


def test_a_stretch_asked_for(results, tmp_path):
    assert _track(results, tmp_path, "--range-mm=-18.5:15.5") == 0
    shared = _read(tmp_path)["shared"]
    assert shared["low_mm"] >= -18.5 - 0.01
    assert shared["high_mm"] <= 15.51


def test_a_cohort_is_one_tidy_table(results, tmp_path, capsys):
    lines = ["person,folder,date"]
    lines += [f"P-01,{results / f'visit{n}'},{DATES[n]}" for n in range(3)]
    lines += [f"P-02,{results / 'visit0'},{DATES[0]}", f"P-02,{results / 'visit3'},{DATES[3]}"]
    lines += [f"P-03,{results / 'nothing'},{DATES[0]}"]
    (tmp_path / "cohort.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert main(["follow-up", "--manifest", str(tmp_path / "cohort.txt"), "--output", str(tmp_path / "out")]) == 1
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "cohort.csv").read_text(encoding="utf-8"))))
    assert [(row["person"], row["state"]) for row in rows] == [("P-01", "done")] * 3 + [("P-02", "done")] * 2 + [
        ("P-03", "failed")
    ]
    assert str(results) not in rows[-1]["reason"]
    assert "no finished result" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--date", "2020-01-01"], "1 times for 2 visits"),
        ([], "does not tell its day"),
        (["--date", "yesterday", "--date", "2020-01-01"], "no date"),
        (["--date", "2020-01-01", "--date", "20210101", "--person", "../x"], "cannot be a code"),
        (["--date", "2020-01-01", "--date", "20210101", "--range-mm", "5:1"], "no range"),
        (["--date", "2020-01-01", "--date", "20210101", "--disc", "0,0,900", "--disc", "3"], "from the cord"),
    ],
)
def test_what_cannot_be_done_is_one_line(results, tmp_path, capsys, arguments, words):
    folders = [str(results / f"visit{n}") for n in range(2)]
    assert main(["follow-up", *folders, *arguments, "--output", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_without_disc_or_image_nothing_is_laid_over_each_other(tmp_path, capsys):
    for n in range(2):
        write_volume(_mask(_CSA, (0, 20), "RAS"), tmp_path / f"m{n}.nii.gz")
        assert main(["measure", str(tmp_path / f"m{n}.nii.gz"), "--output", str(tmp_path / "r")]) == 0
    folders = [str(tmp_path / "r" / f"m{n}") for n in range(2)]
    given = ["--date", DATES[0], "--date", DATES[1], "--output", str(tmp_path / "t")]
    assert main(["follow-up", *folders, *given]) == 2
    assert "mark the disc in every visit" in capsys.readouterr().err
    assert main(["follow-up", *folders, *given, "--disc", "10", "--disc", "10"]) == 0


def test_a_mask_changed_after_it_was_measured_is_refused(results, tmp_path, capsys):
    mask = _mask(_CSA, (0, 20), "RAS")
    write_volume(mask, tmp_path / "m.nii.gz")
    command = ["measure", str(tmp_path / "m.nii.gz"), "--output", str(tmp_path / "r"), "--disc", "C2/C3=10"]
    assert main(command) == 0
    less = mask.voxels.copy()
    less[:, :, :3] = False
    write_volume(replace(mask, voxels=less), tmp_path / "r" / "m" / "mask.nii.gz")
    assert main(["follow-up", str(tmp_path / "r" / "m"), "--date", DATES[0], "--output", str(tmp_path / "t")]) == 2
    assert "changed after it was measured" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("volume_mm3", [1]), ("volume_mm3", float("nan")), ("length_mm", "long"), ("input", "a word"),
        ("input", {"spacing_mm": 3}), ("input", {"acquisition": {"manufacturer": 7}}), ("model", ["a"]),
        ("threshold", {"a": 1}), ("levels", {"discs": [{"disc": "C2/C3"}]}), ("levels", {"discs": 5}),
        ("review", "a word"),
    ],
)  # fmt: skip
def test_a_report_that_holds_other_things_than_were_written_is_one_line(results, tmp_path, capsys, entry, value):
    shutil.copytree(results / "visit0", tmp_path / "visit0")
    report = json.loads((tmp_path / "visit0" / "report.json").read_text())
    (tmp_path / "visit0" / "report.json").write_text(json.dumps(report | {entry: value}))
    assert _track(tmp_path, tmp_path / "t", n=1) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "unexpected" not in error and not (tmp_path / "t").exists()
    assert "is damaged" in error or "review it again" in error
