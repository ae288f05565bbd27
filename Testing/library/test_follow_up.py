"""``follow-up`` from result folders to page and table: phantom necks that shrink, in several intervals and grids."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from SpinalCordSegLib import report
from SpinalCordSegLib.case import Case, save_case, update_review
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.longitudinal import report as follow_up_report
from SpinalCordSegLib.longitudinal.change import LOSS, WITHHELD
from SpinalCordSegLib.longitudinal.direct_change import DirectChange
from SpinalCordSegLib.longitudinal.pairs import BELOW, PairChange
from SpinalCordSegLib.longitudinal.registration import Registration
from SpinalCordSegLib.morphometry import centreline
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.review import ACCEPTED, REJECTED, Review, decided
from SpinalCordSegLib.vertebral_levels import LevelReport, UpperEnd
from SpinalCordSegLib.volume import Volume

DISC_RAS = (2.0, -20.0, 20.0)
DATES = ("2020-01-10", "2021-01-09", "2022-01-09", "2023-01-09")
SLABS = ((0, 20), (3, 20), (0, 17), (2, 19))
_CSA = 75.0


def _mask(csa_mm2, slab=(0, 20), orientation="RAS", shift_mm=0.0, enlargement=0.12):
    """A neck whose cord shrank alike everywhere; a slab of its slices; moved along S as another positioning would."""
    config = PhantomConfig(
        shape=(52, 44, 20), spacing_mm=(0.5, 0.6, 3.0), cord_csa_mm2=csa_mm2, orientation=orientation,
        enlargement=enlargement, cord_aspect=1.5,
    )  # fmt: skip
    mask = make_phantom(config).mask
    axis = int(np.argmax(np.abs(mask.ijk_to_ras[2, :3])))
    first, end = slab if mask.ijk_to_ras[2, axis] > 0 else (20 - slab[1], 20 - slab[0])
    cut = [slice(None)] * 3
    cut[axis] = slice(first, end)
    matrix = mask.ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, axis] * first
    matrix[2, 3] += shift_mm
    return Volume.from_ijk(mask.ijk[tuple(cut)].copy(), matrix)


def _disc(shift_mm=0.0):
    return f"{DISC_RAS[0]},{DISC_RAS[1]},{DISC_RAS[2] + shift_mm}"


def _measure(mask, folder, *more):
    """A finished case, without its montage, which takes longest."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    file = folder.with_name(f"{folder.name}.nii.gz")
    write_volume(mask, file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "montage_png", lambda case: None)
        assert main(["measure", str(file), "--output", str(folder.parent), *more]) == 0


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Four visits a year apart, -4 % of the first area each year; the disc moves with the positioning."""
    folder = tmp_path_factory.mktemp("visits")
    for n, slab in enumerate(SLABS):
        mask = _mask(_CSA * (1 - 0.04 * n), slab, ("RAS", "LPI", "SRA", "RAS")[n], 7.0 * n)
        _measure(mask, folder / f"visit{n}", "--disc", f"C2/C3={_disc(7.0 * n)}")
    return folder


def _follow_up(results, output, *more, n=4, dates=DATES):
    folders = [str(results / f"visit{k}") for k in range(n)]
    given = [word for date in dates[:n] for word in ("--date", date)]
    return main(["follow-up", *folders, *given, "--output", str(output), "--person", "P-01", *more])


def _read(folder):
    return json.loads((folder / "follow_up.json").read_text(encoding="utf-8"))


def _page(folder):
    return (folder / "follow_up.html").read_text(encoding="utf-8")


def _rows(file):
    with file.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


def test_a_shrinking_cord_is_followed_over_other_slabs_axes_and_positions(results, tmp_path, capsys):
    scanners = ["--scanner", "A"] * 4
    assert _follow_up(results, tmp_path, *scanners, "--age", "45") == 0
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
    assert (second["change"]["verdict"], second["change"]["mdc95_percent"]) == (BELOW, 4.892)
    assert "95 % CI" in capsys.readouterr().out


def test_nobody_can_overlook_a_change_of_scanner(results, tmp_path, capsys):
    scanners = [word for name in "AABB" for word in ("--scanner", name)]
    assert _follow_up(results, tmp_path, *scanners) == 0
    content = _read(tmp_path)
    assert [(run["first"], run["last"]) for run in content["runs"]] == [(1, 2), (3, 4)]
    assert content["visits"][2]["differences"][0]["breaks"] is True
    assert content["visits"][2]["change"]["cov_setting"] == "between scanners"
    page = _page(tmp_path)
    assert page.index("Not comparable throughout") < page.index("%/year")
    assert "NOT COMPARABLE: scanner changed from A to B" in capsys.readouterr().out
    rows = _rows(tmp_path / "follow_up.csv")
    assert [(row["breaks"], row["run_visits"]) for row in rows] == [
        ("", "1-2"), ("", "1-2"), ("scanner", "3-4"), ("", "3-4")
    ]  # fmt: skip


def test_a_change_of_agent_is_not_compared_at_all(results, tmp_path):
    lines = ["person,folder,day,contrast_agent"]
    lines += [f"P-01,{results / f'visit{n}'},{365 * n},{'with' if n == 1 else 'without'}" for n in range(2)]
    (tmp_path / "cohort.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert main(["follow-up", str(tmp_path / "cohort.txt"), "--output", str(tmp_path / "out")]) == 0
    second = _read(tmp_path / "out" / "P-01")["visits"][1]
    assert (second["change"], "contrast agent changed" in second["no_change"]) == (None, True)


def test_dates_are_left_out_unless_asked_for(results, tmp_path):
    assert _follow_up(results, tmp_path / "without", n=2) == 0
    text = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "without").iterdir())
    assert not any(date in text for date in DATES)
    assert str(results) not in text
    assert [visit["day"] for visit in _read(tmp_path / "without")["visits"]] == [0, 365]
    assert _follow_up(results, tmp_path / "with", "--keep-dates", n=2) == 0
    assert all(date in _page(tmp_path / "with") for date in DATES[:2])


def test_a_loss_no_disease_makes_has_no_verdict(results, tmp_path, capsys, monkeypatch):
    pairs = (PairChange(1, 2, -12.0, 0.2, 0.0, "", None),)
    monkeypatch.setattr(follow_up_report, "compare_images", lambda *_: pairs)
    folders = [str(results / f"visit{n}") for n in (0, 3)]
    command = ["follow-up", *folders, "--date", "2023-01-01", "--date", "2024-01-01", "--output", str(tmp_path)]
    assert main(command) == 0
    content = _read(tmp_path)
    assert content["visits"][1]["change"]["percent"] == pytest.approx(-12, abs=1)
    assert {content["visits"][1]["change"]["verdict"], content["runs"][0]["rate"]["verdict"]} == {WITHHELD}
    assert "a loss of 12 %/year is implausible" in content["doubts"][0]
    page, out = _page(tmp_path), capsys.readouterr().out
    assert page.index(content["doubts"][0]) < page.index("%/year, in doubt</b>") and page.count(WITHHELD) == 3
    assert "(1.96 SE, in doubt)" in page and "(1.96 SE, in doubt)" in out
    assert f"IN DOUBT: {content['doubts'][0]}" in out and WITHHELD in out
    assert {row["doubts"] for row in _rows(tmp_path / "follow_up.csv")} == {"; ".join(content["doubts"])}
    assert main([*command[:4], command[6], command[5], command[4], *command[7:]]) == 0
    assert any("a cord does not grow" in doubt for doubt in _read(tmp_path)["doubts"])


def test_the_same_data_twice_is_said_and_has_no_rate(results, tmp_path, capsys):
    shutil.copytree(results / "visit0", tmp_path / "copied")
    command = ["follow-up", str(results / "visit0"), str(tmp_path / "copied"), str(results / "visit1")]
    command += [word for date in DATES[:3] for word in ("--date", date)]
    assert main([*command, "--output", str(tmp_path)]) == 0
    content = _read(tmp_path)
    assert (content["runs"][0]["rate"], content["runs"][0]["no_rate"]) == (None, "the same data twice")
    assert (content["visits"][1]["change"], "same data" in content["visits"][1]["no_change"]) == (None, True)
    assert content["visits"][2]["change"] and "visits 1 and 2 hold the same data" in content["remarks"][0]
    assert "none, the same data twice" in capsys.readouterr().out


def test_an_unknown_scanner_stands_beside_the_rate(results, tmp_path, capsys):
    assert _follow_up(results, tmp_path, n=2) == 0
    content = _read(tmp_path)
    assert content["runs"][0]["cov_setting"] == "between scanners", "the wider limit"
    assert "not known: scanner" in content["visits"][0]["differences"][0]["message"]
    assert "%/year, scanner unknown; not alike" in capsys.readouterr().out
    assert "scanner unknown; not alike" in _page(tmp_path)
    assert _rows(tmp_path / "follow_up.csv")[0]["beside"] == "scanner unknown; not alike: slice orientation"
    assert _follow_up(results, tmp_path, "--scanner", "A", "--scanner", "A", n=2) == 0
    assert "scanner unknown" not in _page(tmp_path)


def test_what_the_images_show_stands_beside_the_areas(results, tmp_path, capsys, monkeypatch):
    steps = np.arange(5.0, 40.0)
    found = DirectChange(
        -1.5, 0.2, steps, np.full(35, -1.5), np.ones(35), correlation=0.9, blur_mm2=0.5, contrast=0.5, refused=()
    )
    pairs = (PairChange(1, 2, -1.5, 0.2, 0.5, "", found), PairChange(1, 3, None, None, None, "too different", None))
    monkeypatch.setattr(follow_up_report, "compare_images", lambda *_: pairs)
    assert _follow_up(results, tmp_path, n=3) == 0
    content, page, out = _read(tmp_path), _page(tmp_path), capsys.readouterr().out
    direct = content["runs"][0]["direct"]
    years = content["visits"][1]["years"]
    assert direct["percent_per_year"] == pytest.approx(100 * np.log(0.985) / years, abs=0.01)
    assert direct["high"] - direct["low"] == pytest.approx(2 * 1.96 * 0.2 / years, abs=0.01)
    assert content["visits"][1]["direct"]["percent"] == -1.5 and content["visits"][1]["sharpness_percent"] is None
    rows = _rows(tmp_path / "follow_up.csv")
    assert [row["direct_percent"] for row in rows] == ["", "-1.5", ""]
    assert [row["no_direct"] for row in rows] == ["the first visit", "", "too different"]
    for text in (page, out):
        assert "−1.5 % ± 0.4 %" in text and "none (too different)" in text
    assert "Change along the cord, from the images" in page


def test_a_cov_of_ones_own_needs_its_source(results, tmp_path, capsys):
    assert _follow_up(results, tmp_path, "--cov-between", "0.8", " ") == 2
    assert "needs its source" in capsys.readouterr().err
    assert _follow_up(results, tmp_path, "--cov-between", "0.8", "our repeats") == 0
    assert _read(tmp_path)["runs"][0]["cov_source"] == "our repeats"


def test_a_visit_rejected_in_review_is_not_compared(results, tmp_path, capsys):
    for n in range(2):
        shutil.copytree(results / f"visit{n}", tmp_path / f"visit{n}")
    update_review(tmp_path / "visit1", lambda _: decided(Review(), REJECTED, "A. Meyer"))
    assert _follow_up(tmp_path, tmp_path / "out", n=2) == 2
    assert "rejected in review" in capsys.readouterr().err


def test_a_flagged_slice_counts_once_a_person_has_accepted_it(tmp_path):
    mask = _mask(_CSA)
    wrong = mask.ijk.copy()
    wrong[:, :, 8:10] = binary_dilation(wrong[:, :, 8:10], iterations=4, structure=np.ones((3, 3, 1)))
    for n, voxels in enumerate((mask.ijk, wrong)):
        _measure(mask.with_ijk(voxels), tmp_path / f"visit{n}", "--disc", "C2/C3=10")
    assert _follow_up(tmp_path, tmp_path / "unseen", n=2) == 0
    unseen = _read(tmp_path / "unseen")
    second = unseen["visits"][1]
    assert second["change"]["percent"] == pytest.approx(0, abs=0.3)
    assert (second["n_flagged_slices"], unseen["visits"][0]["n_left_out_slices"]) == (0, 0)
    assert 2 <= second["n_left_out_slices"] <= 4
    left_out_mm = unseen["shared"]["left_out_mm"]
    assert left_out_mm == pytest.approx(3 * second["n_left_out_slices"], rel=0.1)
    assert unseen["shared"]["length_mm"] + left_out_mm == pytest.approx(60, rel=0.03)
    (remark,) = [one for one in unseen["remarks"] if f"{left_out_mm:.1f} mm" in one]
    assert f"{second['n_left_out_slices']} in visit 2" in remark and remark in _page(tmp_path / "unseen")

    assert _follow_up(tmp_path, tmp_path / "kept", "--keep-flagged", n=2) == 0
    update_review(tmp_path / "visit1", lambda _: decided(Review(), ACCEPTED, "A. Meyer"))
    assert _follow_up(tmp_path, tmp_path / "accepted", n=2) == 0
    for name in ("kept", "accepted"):
        content = _read(tmp_path / name)
        assert content["visits"][1]["change"]["percent"] > 3
        assert (content["shared"]["left_out_mm"], content["visits"][1]["n_flagged_slices"] >= 2) == (0, True)
        assert any("are among the compared ones" in one for one in content["remarks"])
        assert _rows(tmp_path / name / "follow_up.csv")[1]["left_out_mm"] == "0.0"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--date", "2020-01-01"], "found 1 for 2 visits"),
        ([], "has no date"),
        (["--date", "yesterday", "--date", "2020-01-01"], "not a date"),
        (["--date", "1.2.2020", "--date", "01/02/2021"], '"01/02/2021" is not a date'),
        (["--date", "30.2.2020", "--date", "2021-01-01"], '"30.2.2020" is not a date'),
        (["--date", "19000101", "--date", "2020-01-01"], "no scan was made in 1900"),
        (["--date", "2020-01-01", "--date", "2999-01-01"], "no scan was made in 2999"),
        (["--date", "2020-01-01", "--date", "20210101", "--person", "../x"], "cannot be a code"),
        (["--date", "2020-01-01", "--date", "20210101", "--range-mm", "5:1"], "not a range"),
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


def test_of_a_visit_that_failed_the_reason_is_told(results, tmp_path, capsys):
    shutil.copytree(results / "visit0", tmp_path / "visit0")
    (tmp_path / "summary.csv").write_text("case,state,reason\nvisit1,failed,it is sheared\n", encoding="utf-8")
    assert _follow_up(tmp_path, tmp_path / "out", n=2) == 2
    assert "it is sheared" in capsys.readouterr().err


def test_without_disc_or_image_nothing_is_aligned(cohort, tmp_path, capsys):
    command = ["follow-up", *[str(cohort / "bare")] * 2, "--date", DATES[0], "--date", DATES[1]]
    assert main([*command, "--output", str(tmp_path)]) == 2
    assert "(--disc)" in capsys.readouterr().err
    assert main([*command, "--output", str(tmp_path), "--disc", "10", "--disc", "10"]) == 0


def test_the_visits_of_a_folder_of_bids_cases_need_no_manifest(tmp_path, capsys, monkeypatch):
    results, out = tmp_path / "derivatives" / "cord", tmp_path / "out"
    for person, session, share in (("01", 1, 1.0), ("01", 2, 0.96), ("02", 1, 0.9)):
        file = tmp_path / f"sub-{person}/ses-{session}/anat/sub-{person}_ses-{session}_T1w.nii.gz"
        file.parent.mkdir(parents=True)
        write_volume(_mask(share * _CSA), file)
        assert main(["measure", str(file), "--output", str(results), "--disc", f"C2/C3={_disc()}"]) == 0
    command = ["follow-up", str(results), "--output", str(out)]
    monkeypatch.chdir(tmp_path)
    assert main([*command, "--image", "."]) == 2  # no days are known: a manifest to fill in
    error = capsys.readouterr().err
    assert str(out / "visits.csv") in error and "sub-02_ses-1_T1w" in error
    rows = _rows(out / "visits.csv")
    assert [(row["person"], row["session"], row["day"]) for row in rows] == [
        ("sub-01", "ses-1", ""), ("sub-01", "ses-2", ""),
    ]  # fmt: skip
    for image in (out / row["image"] for row in rows):
        image.unlink()  # by areas alone
    for name, text in (
        ("participants", "participant_id\tgroup\nsub-01\tMS\n"),
        ("sub-01/sub-01_sessions", "session_id\tacq_time\nses-1\t1867-03-01T10:00:00\n"),  # moved, as BIDS does
        ("sub-01/ses-2/sub-01_ses-2_scans", "filename\tacq_time\nanat/sub-01_ses-2_T1w.nii.gz\t1868-03-01T10:00:00\n"),
    ):
        (tmp_path / f"{name}.tsv").write_text(text, encoding="utf-8")
    assert main(command) == 2 and "move it away" in capsys.readouterr().err
    (out / "visits.csv").unlink()
    assert main(command) == 0
    assert [(row["group"], row["day"]) for row in _rows(out / "cohort.csv")] == [("MS", "0.0"), ("MS", "366.0")]
    assert "1867" not in "".join(path.read_text(encoding="utf-8") for path in out.glob("*.csv"))


# ---- A cohort: one person who fails costs nobody else their row, and no row tells a name

PATIENT = "Quintanilla_Rosa"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Two visits of two necks, with the disc and without, in folders whose names begin alike."""
    folder = tmp_path_factory.mktemp("visits")
    for name, csa_mm2 in (("v1", _CSA), ("w1", 0.9 * _CSA)):
        _measure(_mask(csa_mm2), folder / name, "--disc", "C2/C3=10")
        shutil.copytree(folder / name, folder / f"{name}0")
    _measure(_mask(_CSA), folder / "bare")
    return folder


@pytest.fixture
def follow_all(cohort, tmp_path):
    """Runs the command on rows of (person, visit, day, image); gives its exit code and the rows of cohort.csv."""

    def run(*rows):
        lines = ["person,folder,day,image"]
        for person, visit, day, image in rows:
            folder = tmp_path / "visits" / person / visit  # a visit of two persons is refused
            if (cohort / visit).is_dir():
                shutil.copytree(cohort / visit, folder, dirs_exist_ok=True)
            lines.append(f"{person},{folder},{day},{image}")
        (tmp_path / "manifest.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        code = main(["follow-up", str(tmp_path / "manifest.txt"), "--output", str(tmp_path / "out")])
        return code, _rows(tmp_path / "out" / "cohort.csv")

    return run


def _two(person):
    name = {"P-01": "v1", "P-02": "w1"}[person]
    return (person, name, 0, ""), (person, f"{name}0", 400, "")


def _states(rows):
    return [(row["person"], row["state"]) for row in rows]


def test_a_person_whose_files_cannot_be_written_is_a_failed_row(follow_all, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "P-01").write_text("a file where the folder has to be")
    code, rows = follow_all(*_two("P-01"), *_two("P-02"))
    assert code == 1 and _states(rows) == [("P-01", "failed"), ("P-02", "done"), ("P-02", "done")]
    assert "a file is where a folder is needed" in rows[0]["reason"] and str(tmp_path) not in rows[0]["reason"]
    assert "1 of 2 persons done" in capsys.readouterr().out
    assert [row["visit"] for row in rows] == ["", "1", "2"]


def test_a_fault_of_the_program_costs_one_row_with_only_its_kind(follow_all, monkeypatch, capsys):
    page = follow_up_report.follow_up_page

    def spoilt(result, content):
        if result.person == "P-01":
            raise RuntimeError(PATIENT)
        return page(result, content)

    monkeypatch.setattr(follow_up_report, "follow_up_page", spoilt)
    code, rows = follow_all(*_two("P-01"), *_two("P-02"))
    assert code == 1 and _states(rows) == [("P-01", "failed"), ("P-02", "done"), ("P-02", "done")]
    assert "RuntimeError" in rows[0]["reason"] and PATIENT not in rows[0]["reason"]
    said = capsys.readouterr()
    assert PATIENT not in said.out + said.err


@pytest.mark.parametrize("name", [f"{PATIENT}.nii.gz", PATIENT])
def test_no_row_holds_the_name_of_an_image(follow_all, tmp_path, name):
    image = tmp_path / f"{PATIENT}_1941" / name
    image.parent.mkdir()
    if image.suffix:
        image.write_bytes(b"no image")
    else:
        image.mkdir()
        (image / f"{PATIENT}_1.dcm").write_bytes(b"no image")
    code, rows = follow_all(("P-01", "bare", 0, image), ("P-01", "v10", 400, image))
    assert code == 1 and _states(rows) == [("P-01", "failed")]
    assert "Rosa" not in rows[0]["reason"] and str(tmp_path) not in rows[0]["reason"]


# ---- Where positions count from

MOVED_MM = 7.0  # along S, from each visit to the next
N = 3


@pytest.fixture(scope="module")
def necks(tmp_path_factory):
    """Three visits of a neck whose area is not the same everywhere, with an image each; no disc is marked."""
    folder = tmp_path_factory.mktemp("visits")
    for n in range(N):
        mask = _mask(_CSA, shift_mm=MOVED_MM * n, enlargement=0.3)
        write_volume(mask, folder / f"image{n}.nii.gz")
        _measure(mask, folder / f"visit{n}")
    return folder


@pytest.fixture
def moved_necks(necks, tmp_path, monkeypatch):
    """Runs the command with these visits' discs marked, and the images where ``by_images``; gives the folder it wrote.
    Registration itself is not what is tested: it finds how far the neck was moved."""

    def moved(fixed, fixed_mask, moving, moving_mask):
        motion = np.eye(4)
        motion[2, 3] = moving.ijk_to_ras[2, 3] - fixed.ijk_to_ras[2, 3]
        return Registration(motion, 1.0, ambiguous=False)

    monkeypatch.setattr(follow_up_report, "lay_images", moved)

    def run(marked, *more, by_images=True):
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        command = ["follow-up", *(str(necks / f"visit{n}") for n in range(N)), "--output", str(out), *more]
        for n in range(N):
            command += ["--date", f"202{n}-01-10", "--disc", _disc(MOVED_MM * n) if n in marked else ""]
            command += ["--image", str(necks / f"image{n}.nii.gz")] if by_images else []
        return main(command), out

    return run


def test_one_marked_disc_is_where_every_visit_counts_from(moved_necks) -> None:
    asked = "--range-mm=-18.5:9.5"
    code, by_discs = moved_necks({0, 1, 2}, asked, by_images=False)
    assert code == 0
    truth = _read(by_discs)
    assert truth["shared"]["from"] == "the disc C2/C3" and truth["aligned_by"] == "distance from the disc C2/C3"
    code, folder = moved_necks({1, 2}, asked)
    content = _read(folder)
    assert code == 0 and content["aligned_by"] == "rigid registration of the images"
    assert content["shared"] == pytest.approx(truth["shared"], abs=0.02)
    areas = [[visit["mean_csa_mm2"] for visit in one["visits"]] for one in (content, truth)]
    assert areas[0] == pytest.approx(areas[1], rel=1e-3)
    assert any("the disc C2/C3 is that of visit 2" in remark for remark in content["remarks"])
    assert "−18.5 to +9.5 mm from the disc C2/C3" in _page(folder)
    assert {row["shared_from"] for row in _rows(folder / "follow_up.csv")} == {"the disc C2/C3"}


def test_without_discs_and_images_the_upper_end_aligns_visits_and_no_change_has_a_verdict(results, tmp_path, capsys):
    """The cord's upper end of the visits that show it, 60 mm above the lower end of all; one visit has a disc too."""
    for n in range(3):
        shutil.copytree(results / f"visit{n}", tmp_path / f"visit{n}")
        case = Case.load(tmp_path / f"visit{n}")
        top = case.slices.slice[-1].item()
        end = UpperEnd(top, centreline(case.mask).end_mm, 5.0)
        levels = replace(case.levels, upper_end=end) if n == 0 else LevelReport(upper_end=end)
        save_case(replace(case, levels=levels), tmp_path / f"visit{n}", has_pictures=False, replaces=case)
    assert _follow_up(tmp_path, tmp_path / "two", "--scanner", "A", "--scanner", "A", n=2) == 0
    content = _read(tmp_path / "two")
    assert content["shared"]["from"] == "the upper end of the cord"
    assert content["aligned_by"] == "distance from the upper end of the cord"
    assert content["shared"]["high_mm"] <= 0 and content["visits"][1]["change"]["verdict"] == WITHHELD
    assert content["runs"][0]["rate"]["percent_per_year"] == pytest.approx(-4, abs=0.5)
    assert "mm from the upper end of the cord" in _page(tmp_path / "two")
    assert _follow_up(tmp_path, tmp_path / "range", "--range-mm=-20:0", n=2) == 2
    assert "counts from the disc C2/C3" in capsys.readouterr().err
    shutil.copytree(results / "visit3", tmp_path / "visit3")  # a disc, but no upper end: nothing all four share
    assert _follow_up(tmp_path, tmp_path / "four") == 2


def test_a_range_from_a_disc_that_nobody_marked_is_refused(moved_necks, monkeypatch, capsys) -> None:
    def not_asked(*_):
        raise AssertionError("registration takes long, and this is known before it")

    monkeypatch.setattr(follow_up_report, "lay_images", not_asked)
    code, folder = moved_necks(set(), "--range-mm=-18.5:15.5")
    error = capsys.readouterr().err
    assert code == 2 and "mark it in one visit" in error and error.count("\n") == 1
    assert not folder.exists()


def test_without_a_disc_the_middle_of_the_first_cord_is_said_to_be_zero(moved_necks) -> None:
    code, folder = moved_necks(set())
    content = _read(folder)
    assert code == 0 and content["shared"]["from"] == "the middle of the cord at the first visit"
    assert content["shared"]["low_mm"] == pytest.approx(-content["shared"]["high_mm"], abs=3.1)
    assert "from the middle of the cord at the first visit" in _page(folder)
    assert not any("disc" in remark for remark in content["remarks"])
