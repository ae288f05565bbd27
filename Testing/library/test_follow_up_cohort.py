"""``follow-up --manifest``: one person who cannot be followed costs nobody else their row, and no row tells a name."""

import csv
import shutil
from pathlib import Path

import pytest

from SpinalCordSegLib.cli import main
from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.longitudinal import report as follow_up_report
from SpinalCordSegLib.longitudinal import visits as visits_module
from SpinalCordSegLib.longitudinal.visits import PersonSource, VisitSource
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom

PATIENT = "Quintanilla_Rosa"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two visits of a neck, with the disc and without, in folders whose names begin alike."""
    folder = tmp_path_factory.mktemp("visits")
    mask = make_phantom(PhantomConfig(shape=(52, 44, 20), spacing_mm=(0.5, 0.6, 3.0))).mask
    for name, disc in (("v1", ["--disc", "C2/C3=10"]), ("v10", ["--disc", "C2/C3=10"]), ("bare", [])):
        write_volume(mask, folder / f"{name}.nii.gz")
        assert main(["measure", str(folder / f"{name}.nii.gz"), *disc, "--output", str(folder)]) == 0
    return folder


@pytest.fixture
def track(results, tmp_path):
    """Runs the command on rows of (person, visit, day, image); gives its exit code and the rows of cohort.csv."""

    def run(*rows):
        lines = [
            "person,folder,day,image",
            *(f"{person},{results / visit},{day},{image}" for person, visit, day, image in rows),
        ]
        (tmp_path / "manifest.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        code = main(["follow-up", "--manifest", str(tmp_path / "manifest.txt"), "--output", str(tmp_path / "out")])
        with (tmp_path / "out" / "cohort.csv").open(encoding="utf-8", newline="") as file:
            return code, list(csv.DictReader(file))

    return run


def _two(person):
    return (person, "v1", 0, ""), (person, "v10", 400, "")


def _states(rows):
    return [(row["person"], row["state"]) for row in rows]


def test_a_person_whose_files_cannot_be_written_is_a_failed_row(track, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "P-01").write_text("a file where the folder has to be")
    code, rows = track(*_two("P-01"), *_two("P-02"))
    assert code == 1 and _states(rows) == [("P-01", "failed"), ("P-02", "done"), ("P-02", "done")]
    assert "a file is where a folder is needed" in rows[0]["reason"] and str(tmp_path) not in rows[0]["reason"]
    assert "1 of 2 persons done" in capsys.readouterr().out


def test_a_fault_of_the_program_costs_one_row_and_tells_only_its_kind(track, monkeypatch, capsys):
    page = follow_up_report.follow_up_page

    def spoilt(result, content):
        if result.person == "P-01":
            raise RuntimeError(PATIENT)
        return page(result, content)

    monkeypatch.setattr(follow_up_report, "follow_up_page", spoilt)
    code, rows = track(*_two("P-01"), *_two("P-02"))
    assert code == 1 and _states(rows) == [("P-01", "failed"), ("P-02", "done"), ("P-02", "done")]
    assert "RuntimeError" in rows[0]["reason"] and PATIENT not in rows[0]["reason"]
    said = capsys.readouterr()
    assert PATIENT not in said.out + said.err


def test_whoever_stops_the_program_stops_all_of_it(track, monkeypatch, tmp_path):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(follow_up_report, "follow_up_page", stopped)
    with pytest.raises(FileNotFoundError):
        track(*_two("P-01"), *_two("P-02"))
    assert not (tmp_path / "out" / "cohort.csv").exists()


@pytest.mark.parametrize("day", ["nan", "inf", "-inf", "1e999", "soon"])
def test_a_day_that_is_none_is_told(track, day):
    code, rows = track(("P-01", "v1", day, ""), ("P-01", "v10", 400, ""), *_two("P-02"))
    assert code == 1 and rows[0]["reason"] == f'"{day}" is no number of days'
    assert _states(rows)[1:] == [("P-02", "done"), ("P-02", "done")]


@pytest.mark.parametrize("name", [f"{PATIENT}.nii.gz", f"{PATIENT}.dcm", PATIENT])
def test_no_row_tells_the_name_of_an_image(track, tmp_path, name):
    image = tmp_path / f"{PATIENT}_1941" / name
    image.parent.mkdir()
    if image.suffix:
        image.write_bytes(b"no image")
    else:
        image.mkdir()
        (image / f"{PATIENT}_1.dcm").write_bytes(b"no image")
    code, rows = track(("P-01", "bare", 0, image), ("P-01", "v10", 400, image))
    assert code == 1 and _states(rows) == [("P-01", "failed")]
    assert "Rosa" not in rows[0]["reason"] and str(tmp_path) not in rows[0]["reason"]


def test_no_row_tells_the_names_of_the_visits(track, results):
    code, rows = track(("P-01", "v1", 0, ""), ("P-01", "v11", 400, ""))
    assert code == 1 and rows[0]["reason"].startswith("a visit holds no finished result")


def test_a_folder_called_by_a_number_spoils_no_sentence(track, results, monkeypatch):
    for name in ("1", "2"):
        shutil.copytree(results / "bare", results / name)
    monkeypatch.chdir(results)
    monkeypatch.setattr(visits_module, "read_manifest", lambda _: [PersonSource("P-01", _numbered())])
    _, rows = track(("P-01", "1", 0, ""))
    assert "visit 1, 2 has no disc C2/C3" in rows[0]["reason"]


def _numbered():
    return tuple(VisitSource(Path(name), day=name) for name in ("1", "2"))
