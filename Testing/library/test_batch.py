"""A batch goes on after a failure, resumes, keeps names apart, and its summary is always right."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from SpinalCordSegLib import case_folder
from SpinalCordSegLib.batch import BatchOptions, LoadedCase, run_batch
from SpinalCordSegLib.case import Case, update_review
from SpinalCordSegLib.case_folder import read_mask
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.correction import store_correction
from SpinalCordSegLib.errors import GeometryError, ModelFileError, OutputError
from SpinalCordSegLib.identity import Identity
from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.pipeline import measure_mask
from SpinalCordSegLib.review import ACCEPTED, decided

MASK = make_phantom(PhantomConfig(shape=(40, 32, 3), spacing_mm=(0.7, 0.9, 4.0))).mask


class Loader:
    """Gives every path a result with the path as fingerprint, and counts; ``faults`` are raised instead."""

    def __init__(self, **faults: Exception) -> None:
        self.faults = faults
        self.computed: list[str] = []

    def __call__(self, path: Path) -> LoadedCase:
        def compute(_levels):
            self.computed.append(str(path))
            if path.stem in self.faults:
                raise self.faults[path.stem]
            return measure_mask(MASK, path.stem)

        return LoadedCase(path.stem, str(path), compute)


def _paths(*names):
    return [Path(name) for name in names]


def _run(paths, loader, folder, **options):
    return list(run_batch(paths, loader, BatchOptions(folder, **options)))


def _summary(folder):
    with (folder / "summary.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_failure_has_its_row_and_the_others_go_on(tmp_path):
    faults = {
        "b": (GeometryError("b is sheared"), "b is sheared"),
        "c": (ValueError("patient 00123"), "ValueError"),
        "d": (MemoryError(), "memory ran out"),
        "e": (OSError(5, "Input/output error"), "Input/output error"),
    }
    loader = Loader(**{name: error for name, (error, _) in faults.items()})
    outcomes = _run(_paths("a", *faults, "f"), loader, tmp_path)
    rows = _summary(tmp_path)
    for states in ([outcome.state for outcome in outcomes], [row["state"] for row in rows]):
        assert states == ["done", *["failed"] * 4, "done"]
    assert all(words in row["reason"] for row, (_, words) in zip(rows[1:5], faults.values(), strict=True))
    assert "00123" not in (tmp_path / "summary.csv").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"a", "f", "summary.csv"}


def test_a_finished_case_is_kept_and_counts_as_done(tmp_path):
    paths = _paths("a", "b")
    first = Loader(b=GeometryError("not yet"))
    _run(paths, first, tmp_path)
    second = Loader()
    outcomes = _run(paths, second, tmp_path)
    assert [outcome.state for outcome in outcomes] == ["kept", "done"]
    assert second.computed == ["b"]
    assert [(row["case"], row["state"]) for row in _summary(tmp_path)] == [("a", "done"), ("b", "done")]
    assert _run(paths, Loader(), tmp_path, force=True)[0].state == "done"
    (tmp_path / "a" / "slices.csv").unlink()
    assert _run(paths, Loader(), tmp_path)[0].state == "done", "an incomplete result is made again"
    assert (tmp_path / "a" / "slices.csv").is_file()


def test_a_cases_own_mask_makes_no_second_case(tmp_path, neck, capsys):
    case = neck.finish(neck.write(tmp_path / "series"), tmp_path / "results" / "neck")
    mask = str(case / "mask.nii.gz")
    for output in (case.parent, case):
        assert main(["measure", mask, "--output", str(output)]) == 2
        assert f"correct {case}" in capsys.readouterr().err and list(case.parent.iterdir()) == [case]
    for _ in range(2):  # what was measured in another folder is that very case
        assert main(["measure", mask, "--output", str(tmp_path / "given")]) == 0
        mask = str(tmp_path / "given" / "neck" / "mask.nii.gz")
    assert {path.name for path in (tmp_path / "given").iterdir()} == {"neck", "summary.csv"}


def _named(paths: list[Path], folder: Path) -> list[str]:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(path))
    return [outcome.case_name for outcome in _run(paths, _named_by_file, folder)]


def _named_by_file(path: Path) -> LoadedCase:
    return LoadedCase(path.name.partition(".")[0], str(path), lambda _: measure_mask(MASK, "x"))


def test_the_folder_tells_files_of_one_name_apart_whatever_their_order(tmp_path):
    files = [tmp_path / name for name in ("P02/T1.nii.gz", "P03/T1.nii.gz", "P03/T2.nii.gz")]
    names = ["P02_T1", "P03_T1", "T2"]
    assert _named(files, tmp_path / "a") == names and _named(files[::-1], tmp_path / "b") == names[::-1]
    assert _named([tmp_path / "P01" / "T1.nii.gz", *files], tmp_path / "a") == ["P01_T1", *names]
    assert [row["source"] for row in _summary(tmp_path / "a")] == [
        "P02/T1.nii.gz", "P03/T1.nii.gz", "P03/T2.nii.gz", "P01/T1.nii.gz"
    ]  # fmt: skip
    twice = [tmp_path / site / "P01" / "T1.nii.gz" for site in "AB"]
    assert _named(twice, tmp_path / "c") == ["P01_T1", "B_P01_T1"]
    one_by_one = [_named([path], tmp_path / "d") for path in files]
    assert one_by_one == [["T1"], ["P03_T1"], ["T2"]]  # another patient's T1 is in the way
    assert _named(files, tmp_path / "d") == ["T1", "P03_T1", "T2"]  # nobody is called otherwise by now


def test_what_the_header_says_of_the_patient_shows_in_no_name_and_no_source(tmp_path):
    def load(path: Path) -> LoadedCase:
        return replace(_named_by_file(path), words=frozenset({"meyer"}))

    files = [tmp_path / name / "T1.nii.gz" for name in ("Meyer_A", "P2")]
    _named(files, tmp_path / "first")
    assert [outcome.case_name for outcome in _run(files, load, tmp_path / "out")] == ["T1", "P2_T1"]
    assert [row["source"] for row in _summary(tmp_path / "out")] == ["…", "P2/T1.nii.gz"]
    assert {row["source"] for row in (_run(files, load, tmp_path / "c", code="S"), _summary(tmp_path / "c"))[1]} == {""}


def test_dicom_series_of_one_description_are_told_apart_by_the_patients_hash(tmp_path):
    def load(path: Path) -> LoadedCase:
        identity = Identity("5a", patient_id=f"{path.name}123456789abcdef")
        return LoadedCase("T1w-7", str(path), lambda _: measure_mask(MASK, "x"), identity, frozenset({"meyer"}))

    assert [one.case_name for one in _run(_paths("b", "c"), load, tmp_path)] == ["T1w-7_b123", "T1w-7_c123"]
    assert [one.case_name for one in _run(_paths("a", "c"), load, tmp_path)] == ["T1w-7_a123", "T1w-7_c123"]
    assert [one.case_name for one in _run(_paths("d"), load, tmp_path / "one")] == ["T1w-7"]
    assert [one.case_name for one in _run(_paths("e"), load, tmp_path / "one")] == ["T1w-7_e123"]


def test_results_are_found_again_beside_a_failed_case_and_names_that_differ_in_capitals(tmp_path):
    paths = _paths("x/neck", "y/Neck", "z/neck")
    working = Loader()

    def load(path):
        if path.parent.name == "x":
            raise GeometryError("x is sheared")
        return working(path)

    assert [outcome.case_name for outcome in _run(paths, load, tmp_path)] == ["neck", "Neck_2", "neck_3"]
    again = _run(paths, load, tmp_path)
    assert [(outcome.case_name, outcome.state) for outcome in again] == [
        ("neck", "failed"), ("Neck_2", "kept"), ("neck_3", "kept"),
    ]  # fmt: skip


def test_a_single_failure_writes_nothing(tmp_path):
    (outcome,) = _run(_paths("a"), Loader(a=GeometryError("bad")), tmp_path / "out")
    assert outcome.state == "failed"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("table", ["name;score\nx;1\n", "case\n" + "a" * 200_000, "\0\0"])
def test_a_table_of_somebody_else_is_not_replaced(tmp_path, table):
    (tmp_path / "summary.csv").write_text(table)
    with pytest.raises(OutputError, match="not a summary of SpinalCordSeg"):
        _run(_paths("a"), Loader(), tmp_path)
    assert (tmp_path / "summary.csv").read_text() == table
    assert not (tmp_path / "a").exists()


def test_a_refused_model_ends_the_batch(tmp_path):
    with pytest.raises(ModelFileError):
        _run(_paths("a", "b"), Loader(a=ModelFileError("altered")), tmp_path)


def test_the_name_behind_a_code_is_not_told(tmp_path):
    """The JSON file that a converter left says that the file is called after the patient."""
    (tmp_path / "DOE_JANE.nii.gz").write_text("no image")
    (tmp_path / "DOE_JANE.json").write_text('{"PatientName": "Doe^Jane"}')

    def load(path):
        raise GeometryError(f"{path.name} is sheared")

    _run([tmp_path / "DOE_JANE.nii.gz", tmp_path / "neck.nii.gz"], load, tmp_path / "out")
    reasons = [row["reason"] for row in _summary(tmp_path / "out")]
    assert reasons == ["the file is sheared", "neck.nii.gz is sheared"]


# While people correct cases, open the table, and put more images into the same folder.


def _rows_by_case(folder: Path) -> dict[str, dict[str, str]]:
    return {row["case"]: row for row in _summary(folder)}


def _corrected(folder: Path) -> str:
    voxels = read_mask(folder).ijk.copy()
    voxels[:, :, 2] = np.roll(voxels[:, :, 2], 1, axis=0) | voxels[:, :, 2]
    return str(round(store_correction(folder, MASK.with_ijk(voxels), "A. Meyer").volume_mm3, 2))


def test_a_correction_while_its_batch_runs_stays_in_the_table(tmp_path) -> None:
    batch = run_batch([Path("a"), Path("b")], Loader(), BatchOptions(tmp_path))
    next(batch)
    volume = _corrected(tmp_path / "a")
    next(batch)
    assert _rows_by_case(tmp_path)["a"]["volume_mm3"] == volume != _rows_by_case(tmp_path)["b"]["volume_mm3"]


def test_two_batches_into_one_folder_keep_each_others_rows_by_case(tmp_path) -> None:
    one, other = (run_batch([Path(n) for n in names], Loader(), BatchOptions(tmp_path)) for names in ("ab", "cd"))
    for _ in range(2):
        next(one), next(other)
    assert sorted(_rows_by_case(tmp_path)) == ["a", "b", "c", "d"]


@pytest.fixture
def refuse_table(monkeypatch):
    """Writing summary.csv is refused at these attempts, counted from 1: it is open in Excel."""

    def begin(attempts) -> None:
        def write(path: Path, text: str) -> None:
            if path.name == "summary.csv":
                calls.append(path)
                if len(calls) in attempts:
                    raise OutputError(f"cannot write {path}: no permission")
            path.write_text(text, encoding="utf-8")

        calls: list[Path] = []
        monkeypatch.setattr(case_folder, "write_text", write)

    return begin


@pytest.mark.parametrize("busy", [{1}, {1, 2}])
def test_a_table_that_is_open_elsewhere_stops_no_batch(tmp_path, refuse_table, caplog, busy) -> None:
    refuse_table(busy)
    outcomes = _run(_paths("a", "b"), Loader(), tmp_path)
    assert [outcome.state for outcome in outcomes] == ["done", "done"]
    assert sorted(_rows_by_case(tmp_path)) == ["a", "b"] and "the cases go on" in caplog.text


def test_a_table_that_stays_open_elsewhere_is_told_at_the_end(tmp_path, refuse_table) -> None:
    _run(_paths("a"), Loader(), tmp_path)
    _corrected(tmp_path / "a")
    refuse_table(range(1, 99))
    batch = run_batch([Path("a"), Path("b")], Loader(), BatchOptions(tmp_path, force=True))
    assert [next(batch).state, next(batch).state] == ["failed", "done"]
    with pytest.raises(OutputError, match="no permission"):
        next(batch)


def test_a_folder_that_takes_nothing_ends_the_batch_at_its_first_case(tmp_path, monkeypatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OutputError("cannot write: the disk is full")

    monkeypatch.setattr(case_folder, "write_text", refuse)
    monkeypatch.setattr("SpinalCordSegLib.batch.save_case", refuse)
    with pytest.raises(OutputError, match="disk is full"):
        next(run_batch([Path("a"), Path("b")], Loader(), BatchOptions(tmp_path)))


def test_a_refusal_leaves_the_row_of_the_result_that_stands(tmp_path) -> None:
    _run(_paths("a", "b"), Loader(), tmp_path)
    update_review(tmp_path / "a", lambda one: decided(one, ACCEPTED, "A. Meyer"))
    before = _rows_by_case(tmp_path)["a"]
    outcomes = _run(_paths("a", "b"), Loader(), tmp_path, force=True)
    assert [outcome.state for outcome in outcomes] == ["failed", "done"]
    after = _rows_by_case(tmp_path)["a"]
    assert "a person has accepted" in after.pop("reason") and before.pop("reason") == "" and after == before


def test_a_refused_image_of_the_same_name_gets_a_row_of_its_own(tmp_path) -> None:
    _run(_paths("x/a", "x/b"), Loader(), tmp_path)
    outcomes = _run(_paths("y/a", "y/c"), Loader(), tmp_path)
    assert [(one.case_name, one.state) for one in outcomes] == [("a_2", "failed"), ("c", "done")]
    rows = _rows_by_case(tmp_path)
    assert rows["a"]["state"] == "done" and "another image" in rows["a_2"]["reason"]
    assert _run(_paths("y/a"), Loader(), tmp_path, force=True)[0].state == "done"


def test_a_file_that_was_replaced_is_no_second_case(tmp_path, capsys) -> None:
    image, command = tmp_path / "A" / "t1.nii.gz", ["measure", str(tmp_path / "A"), "--output", str(tmp_path / "out")]
    for shift in (0, 3):
        write_volume(MASK.with_ijk(np.roll(MASK.ijk, shift, axis=0)), image)
        assert main(command) == (2 if shift else 0)
    assert "file was replaced, give --force" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == ["t1"]
    assert main([*command, "--force"]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == ["t1"]


def test_marked_discs_replace_no_other_persons_result(tmp_path) -> None:
    for person, shift in (("A", 0), ("B", 3)):
        write_volume(MASK.with_ijk(np.roll(MASK.ijk, shift, axis=0)), tmp_path / person / "t1.nii.gz")
    out = ["--output", str(tmp_path / "out")]
    assert main(["measure", str(tmp_path / "A" / "t1.nii.gz"), *out]) == 0
    first = Case.load(tmp_path / "out" / "t1").as_json()
    assert main(["measure", str(tmp_path / "B" / "t1.nii.gz"), *out, "--disc", "C2/C3=2"]) == 0
    assert Case.load(tmp_path / "out" / "B_t1").levels_asked is not None
    assert Case.load(tmp_path / "out" / "t1").as_json() == first
    assert main(["measure", str(tmp_path / "A" / "t1.nii.gz"), *out, "--disc", "C2/C3=2"]) == 0
    assert Case.load(tmp_path / "out" / "t1").levels_asked is not None
