"""No output tells who the patient is: every file that a command writes is searched, unpacked; reasons of failures and
names of cases tell nobody either."""

import gzip
import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patient_search import DATES, NAME, leaks, secrets_of, write_series
from SpinalCordSegLib.batch import BatchOptions, run_batch
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.dicom import find_series
from SpinalCordSegLib.errors import GeometryError
from SpinalCordSegLib.files import replace_names, user_folder, without_folders, without_names
from SpinalCordSegLib.identity import Identity, differing, identity_words, known_of, safe_case_name, tells_identity
from SpinalCordSegLib.image_io import read_identity, read_image, write_volume
from SpinalCordSegLib.mask_versions import MaskVersions
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.volume import Volume

pytestmark = pytest.mark.usefixtures("pictures")  # they are searched too
CONFIG = PhantomConfig(shape=(60, 48, 8), spacing_mm=(0.6, 0.8, 3.0), orientation="LPS")


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(CONFIG)


def test_a_dicom_series_leaves_no_identifier_in_any_output(phantom, tiny_model, tmp_path, capsys):
    source = tmp_path / "Pérezmüller_Josefine"
    secrets = secrets_of(write_series(source, phantom.image))
    out = tmp_path / "results"
    command = ["segment", str(source), "--output", str(out), "--model", str(tiny_model), "--device", "cpu"]
    for mask_format in ("nii.gz", "seg.nrrd"):
        assert main([*command, "--save-probability", "--mask-format", mask_format, "--force", "--verbose"]) == 0
        said = capsys.readouterr()
        assert said.err, "with --verbose there is something to search"
        assert leaks(out, secrets, said.out + said.err) == []
    report = json.loads(next(out.glob("*/report.json")).read_text(encoding="utf-8"))
    assert report["input"]["acquisition"]["manufacturer"] == "Maker"  # the header was read, and searched for


def test_review_correction_carrying_and_training_sets_tell_nobody_either(phantom, tiny_model, tmp_path, capsys):
    source = tmp_path / "Pérezmüller_Josefine"
    secrets = secrets_of(write_series(source, phantom.image))
    out, image = tmp_path / "results", str(source)
    command = ["segment", image, "--output", str(out), "--model", str(tiny_model), "--device", "cpu", "--code", "S-01"]
    assert main(command) == 0
    write_volume(phantom.mask, tmp_path / "drawn.nii.gz")
    case = str(out / "S-01")
    assert main(["correct", case, str(tmp_path / "drawn.nii.gz"), "--image", image, "--by", "A. Meyer"]) == 0
    assert main(["review", str(out), "--case", "S-01", "--seen", "all", "--accept", "--by", "A. Meyer"]) == 0
    taught = ["training-set", case, "--image", image, "--subject", "S01", "--output", str(out / "set")]
    assert main(taught) == 0
    assert main(["propagate", case, "--image", image, "--to", image, "--output", str(out / "carried")]) == 0
    store = MaskVersions(out / "autosave")
    assert store.save(phantom.mask) is not None
    said = capsys.readouterr()
    assert leaks(out, secrets, said.out + said.err) == []


def test_export_says_nothing_of_what_it_writes(phantom, tiny_model, tmp_path, capsys):
    """Its files go to the archive and belong to the patient, with all that the series says; its words do not."""
    pytest.importorskip("highdicom", reason="HIGHDICOM MISSING: DICOM export was not tested (extra: dicom)")
    source = tmp_path / "Pérezmüller_Josefine"
    secrets = secrets_of(write_series(source, phantom.image))
    out = tmp_path / "results"
    write_volume(phantom.mask, tmp_path / "drawn.nii.gz")
    measured = ["measure", str(tmp_path / "drawn.nii.gz"), "--image", str(source), "--output", str(out)]
    assert main([*measured, "--code", "S-01"]) == 0
    export = ["export", str(out / "S-01"), "--dicom", str(source), "--drawn-by-hand", "--verbose"]
    assert main([*export, "--output", str(tmp_path / "archive")]) == 0
    assert len(list((tmp_path / "archive").iterdir())) == 3
    assert main([*export, "--output", str(tmp_path / "archive")]) == 2  # they are there already
    said = capsys.readouterr()
    assert "S-01.seg.dcm" in said.out and "--force" in said.err
    # a traceback, which --verbose asked for, may name the folder that the user typed
    assert leaks(out, secrets, (said.out + said.err).replace(str(source), "")) == []


def test_a_failing_series_says_no_name_either(phantom, tiny_model, tmp_path, capsys):
    source = tmp_path / "Pérezmüller_Josefine"
    secrets = secrets_of(write_series(source, phantom.image))
    (source / "IM4").unlink()
    write_volume(phantom.mask, tmp_path / "cord.nrrd")
    out = tmp_path / "results"
    inputs = ["segment", str(source), str(tmp_path / "missing.nii"), "--output", str(out), "--model", str(tiny_model)]
    assert main(inputs) == 1
    capsys.readouterr()  # on the screen a folder that the user typed may be named
    assert leaks(out, secrets) == []


def test_a_date_is_kept_only_when_asked_for(phantom, tiny_model, tmp_path):
    uids = write_series(tmp_path / "series", phantom.image)
    out = tmp_path / "results"
    command = ["segment", str(tmp_path / "series"), "--output", str(out), "--model", str(tiny_model), "--device", "cpu"]
    assert main([*command, "--keep-date", "--code", "S-01"]) == 0
    report = json.loads((out / "S-01" / "report.json").read_text(encoding="utf-8"))
    assert report["input"]["acquisition_date"] == DATES["AcquisitionDate"]
    correction = ["correct", str(out / "S-01"), str(out / "S-01" / "mask.nii.gz"), "--image", str(tmp_path / "series")]
    assert main(correction) == 0
    report = json.loads((out / "S-01" / "report.json").read_text(encoding="utf-8"))
    assert report["input"]["acquisition_date"] == DATES["AcquisitionDate"], "a correction keeps what was asked for"
    kept = set(DATES.values())
    assert leaks(out, [secret for secret in secrets_of(uids) if secret not in kept]) == []


@pytest.fixture
def named_after_a_patient(phantom, tmp_path):
    """Two masks named after a patient; dcm2niix's sidecar beside the second says so."""
    paths = [tmp_path / "in" / name for name in ("Quintanilla_Rosa_1941.nii.gz", "Rosa_Quintanilla.nii.gz")]
    for path in paths:
        write_volume(phantom.mask, path)
    sidecar = {"PatientName": "Quintanilla^Rosa", "PatientID": "00987654321", "PatientBirthDate": "1941-09-23"}
    (tmp_path / "in" / "Rosa_Quintanilla.json").write_text(json.dumps(sidecar), encoding="utf-8")
    return paths


def test_a_nifti_named_after_a_patient_is_not_called_so(named_after_a_patient, tmp_path, capsys):
    coded, known = named_after_a_patient
    out = tmp_path / "out"
    assert main(["measure", str(known), "--output", str(out / "known"), "--image", str(known)]) == 0
    assert main(["measure", str(coded), "--output", str(out / "coded"), "--code", "S-07"]) == 0
    broken = tmp_path / "in" / "Quintanilla_broken.nii.gz"
    broken.write_text("no image")
    assert main(["measure", str(coded), str(broken), "--output", str(out / "batch"), "--code", "S-08"]) == 1
    capsys.readouterr()
    folders = sorted(path.name for path in (out / "batch").iterdir() if path.is_dir())
    assert folders == ["S-08", "index_files"] and (out / "batch" / "index.html").is_file()
    assert leaks(out, ["Quintanilla^Rosa", "00987654321", "1941-09-23", "19410923"]) == []


def test_a_follow_up_tells_neither_date_nor_folder_nor_name(named_after_a_patient, tmp_path, capsys):
    results = tmp_path / "Quintanilla"
    for n, path in enumerate(named_after_a_patient):
        command = ["measure", str(path), "--output", str(results), "--code", f"S-{n}", "--disc", "C2/C3=4"]
        assert main([*command, "--age", "81", "--sex", "female"]) == 0
    capsys.readouterr()
    folders = [str(results / f"S-{n}") for n in range(2)]
    out = tmp_path / "out"
    dates = ["--date", "2021-04-17", "--date", "2023-04-18"]
    assert main(["follow-up", *folders, *dates, "--output", str(out), "--person", "S-1", "--age", "81"]) == 0
    said = capsys.readouterr().out
    secrets = ["Quintanilla^Rosa", "2021-04-17", "2023-04-18", "20210417", "20230418", str(tmp_path / "in")]
    assert leaks(out, secrets, said.replace(str(out), "")) == []
    assert leaks(results, secrets) == []


def test_the_search_itself_finds_what_is_hidden(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress("…Pérezmüller…".encode()))
    assert leaks(tmp_path, [NAME]) == [f"a.nii.gz: {NAME}"]


def test_a_command_that_asks_another_computer_for_something_is_noticed(network):
    with pytest.raises(OSError, match="the network is shut"):
        socket.create_connection(("192.0.2.1", 80))
    assert len(network) == 1
    network.clear()


def test_onnx_runtime_keeps_no_record_for_its_maker(phantom, tmp_path):
    """Its uploads are no Python's, so that the shut network does not see them; it begins with an identifier on disk."""
    write_volume(phantom.image, tmp_path / "neck.nii.gz")
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    homes = {name: str(tmp_path / name) for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "LOCALAPPDATA")}
    command = [sys.executable, "-m", "SpinalCordSegLib", "segment", "neck.nii.gz", "--output", "out", "--device", "cpu"]
    subprocess.run(command, env=kept | homes, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    assert [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name or path.name == "deviceid"] == []


# The line that tells why a case failed names no person, however the folders and files are called.


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A folder called after a person, with a series in a folder called 1 and an image."""
    folder = tmp_path / "Meier_Anna"
    (folder / "1").mkdir(parents=True)
    for number in (1, 3):
        (folder / "1" / f"Meier_Anna_000{number}.dcm").write_bytes(b"")
    (folder / "t1.nii.gz").write_bytes(b"")
    return folder


def _reasons(inputs: list[Path], text: str, out: Path) -> str:
    def load(path: Path) -> None:
        raise GeometryError(text.format(path=path, full=os.path.abspath(path), name=path.name))

    list(run_batch([*inputs, *inputs], load, BatchOptions(out)))
    return (out / "summary.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "text",
    [
        "a slice is missing between Meier_Anna_0001.dcm at 1.0 mm and Meier_Anna_0003.dcm",
        "{path} is a folder that holds no DICOM image",
        "{full}/Meier_Anna_0001.dcm cannot be read",
        "{name} in {path} has 1 slice",
    ],
)
def test_a_folder_with_a_number_for_a_name_hides_nothing(export: Path, tmp_path: Path, text: str) -> None:
    assert "Meier" not in _reasons([export / "1"], text, tmp_path / "out")


@pytest.mark.parametrize("name", ["Lee", "Ng", "Kim", "Ölz"])
def test_short_names_are_names_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    for text in ("{path} is a folder that holds no DICOM image", "{name} holds 2 series", "{full} is closed"):
        assert name not in _reasons([Path(name)], text, tmp_path / "out")
    assert replace_names("Leeds and Lee, 1 of 1", ["Lee", "1"], "a visit") == "Leeds and a visit, 1 of 1"


def test_the_folder_one_is_in(export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(export / "1")
    told = _reasons([Path(".")], "{path} is a folder. It holds Meier_Anna_0001.dcm (1.0 mm)", tmp_path / "out")
    assert ". is a folder. It holds a file (1.0 mm)" in told


def test_an_image_is_told_by_its_own_name_alone(export: Path, tmp_path: Path) -> None:
    told = _reasons([export / "t1.nii.gz", export / "missing.nii.gz"], "{path} does not exist", tmp_path / "out")
    assert ",t1.nii.gz does not exist" in told and ",missing.nii.gz does not exist" in told and "Meier" not in told
    assert without_folders(f"{export}/t1.nii.gz is empty", export / "t1.nii.gz") == "t1.nii.gz is empty"
    assert without_names("1.0 mm between t1.nii.gz and 1", export / "1") == "1.0 mm between t1.nii.gz and 1"


def test_an_image_that_may_not_be_opened_is_one_failed_row(export: Path, tmp_path: Path, monkeypatch) -> None:
    """Its case name would come from its content, as the JSON file beside it holds the name it is called by."""
    (export / "Meier.nii.gz").write_bytes(b"x")
    (export / "Meier.json").write_text('{"PatientName": "Meier^Anna"}', encoding="utf-8")
    opened = Path.open

    def refused(path: Path, *args, **options):
        if path.name == "Meier.nii.gz":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **options)

    monkeypatch.setattr(Path, "open", refused)
    told = _reasons([export / "Meier.nii.gz"], "never reached", tmp_path / "out")
    assert "input-1,failed,the system refused: Permission denied" in told and "Meier" not in told


# Names and numbers are recognised however they are written; two patients are never mixed.


WORDS = identity_words(["Pérez García^José", "00123456", "Müller"])


def test_a_name_is_found_in_any_spelling_and_other_texts_pass() -> None:
    found = (
        "perez_t1w", "T1w-PÉREZ", "José 2", "scan_0123456_1", "123456", "00123456", "per_ez", "mueller", "MULLER",
        "Mu\u0308ller",  # the same letters decomposed, as macOS stores them
    )  # fmt: skip
    assert [text for text in found if not tells_identity(text, WORDS)] == []
    assert [t for t in ("", "T1w neck", "sub-01", "12345", "anat-T1w-401", "per") if tells_identity(t, WORDS)] == []


def test_short_parts_count_only_joined() -> None:
    words = identity_words(["Li^Na", "02"])
    assert words == {"lina", "nali"}
    assert tells_identity("LI_NA_neck", words)
    assert not tells_identity("line-02", words - {"lina", "nali"})


def test_names_in_other_scripts() -> None:
    words = identity_words(["Yamada^Tarou=山田^太郎"])
    assert all(tells_identity(text, words) for text in ("山田太郎_T1", "山田", "t1 tarou"))
    assert not tells_identity("山_T1", words)


# ---- Whose an image is, as salted hashes

PATIENT = {"PatientID": "00-123 456", "PatientBirthDate": "19660101", "PatientSex": "F"}


def _known(**stated: str) -> dict[str, str]:
    return known_of(lambda keyword: stated.get(keyword, ""))


@pytest.mark.parametrize(
    "patient_id", ["", "0", "000000", "ANON", "anonymized", "Anonymous", "XXXX", "unknown", "n/a", "-", "001", "None"]
)
def test_a_placeholder_is_nobody(patient_id: str) -> None:
    assert _known(PatientID=patient_id, PatientBirthDate="19000101", PatientSex="O") == {}


def test_spellings_of_one_patient_are_one_and_others_are_named_without_values() -> None:
    one, again = Identity.of(_known(**PATIENT)), Identity.of(_known(**PATIENT | {"PatientID": "123456"}))
    assert one is not None and one == again and len({len(text) for text in asdict(one).values()}) == 1
    other = Identity.of(_known(PatientID="123457", PatientBirthDate="19660102", PatientSex="M"))
    assert differing(one, other) == ["patient ID", "birth date", "sex"]
    assert differing(one, Identity.of(_known(PatientSex="F"))) == [] == differing(one, None)
    assert other is not None and differing(one, replace(other, salt=16 * "0")) == []
    salt = user_folder() / "salt"
    assert len(salt.read_bytes()) == 32 and (os.name == "nt" or salt.stat().st_mode & 0o077 == 0)


@pytest.fixture
def visits(neck: Any, tmp_path: Path) -> Any:
    """Follow-up of a case and a second one whose header says otherwise."""
    neck.finish(neck.write(tmp_path / "series0"), tmp_path / "visit0")

    def follow_up(changes: dict[str, str], *more: str) -> int:
        shutil.copytree(tmp_path / "visit0", tmp_path / "visit1", dirs_exist_ok=True)
        report = tmp_path / "visit1" / "report.json"
        content = json.loads(report.read_text(encoding="utf-8"))
        assert {*content["input"]["identity"]} == {"salt", "patient_id", "birth_date", "sex"}
        identity = read_identity(neck.write(tmp_path / "series1", lambda k: changes))
        content["input"]["identity"] = identity and asdict(identity)
        report.write_text(json.dumps(content), encoding="utf-8")
        command = ["follow-up", str(tmp_path / "visit0"), str(tmp_path / "visit1"), "--output", str(tmp_path / "out")]
        return main([*command, "--date", "2020-01-01", "--date", "2022-01-01", "--disc", "4", "--disc", "4", *more])

    return follow_up


def test_visits_of_two_patients_are_refused(visits: Any, tmp_path: Path, capsys: Any) -> None:
    only_id, two = {"PatientID": "QX777"}, {"PatientID": "QX777", "PatientSex": "M"}
    for changes, words in ((only_id, "another patient ID;"), (two, "another patient ID and sex;")):
        assert visits(changes) == 2
        error = capsys.readouterr().err
        assert "visits 1 and 2 are of different patients" in error and words in error and "QX777" not in error
        assert ("--same-person" in error) is (changes is only_id)
    assert [visits(changes, "--same-person") for changes in (two, only_id)] == [2, 0]
    (run,) = json.loads((tmp_path / "out" / "follow_up.json").read_text(encoding="utf-8"))["runs"]
    assert run["beside"][0] == "another patient ID, said to be the same person's"
    report = (tmp_path / "visit1" / "report.json").read_text(encoding="utf-8")
    assert not any(text in report for text in ("00123456", "QX777", "19660101"))


def test_headers_of_images_given_with_the_visits_count_too(visits: Any, neck: Any, tmp_path: Path, capsys: Any) -> None:
    other = neck.write(tmp_path / "other", lambda k: {"PatientID": "QX777"})
    assert visits({}, "--image", str(tmp_path / "series0"), "--image", str(other)) == 2
    assert "visit 2: the case and its image are of different patients" in capsys.readouterr().err
    assert visits({"PatientID": "ANON", "PatientBirthDate": "", "PatientSex": "O"}) == 0


def test_nothing_of_one_patient_goes_into_a_case_of_another(neck: Any, tmp_path: Path, capsys: Any) -> None:
    own = neck.write(tmp_path / "own")
    case = neck.finish(own, tmp_path / "case")
    relabelled = neck.write(tmp_path / "relabelled", lambda k: {"PatientID": "QX777"})
    assert main(["export", str(case), "--dicom", str(relabelled), "--output", str(tmp_path / "out")]) == 2
    assert "not of the case's patient: its header states another patient ID" in capsys.readouterr().err
    correct = ["correct", str(case), str(case / "mask.nii.gz"), "--image"]
    assert main([*correct, str(relabelled)]) == 2
    assert "not of the patient of" in capsys.readouterr().err
    image = read_image(own).volume
    noise = np.random.default_rng(3).normal(100, 30, image.ijk_shape)
    for name, voxels in (("brighter", 1.5 * image.ijk + 7), ("other", noise)):
        write_volume(image.with_ijk(voxels.astype(np.float32)), tmp_path / f"{name}.nii.gz")
    assert main([*correct, str(tmp_path / "other.nii.gz")]) == 2
    assert "its grey values are others" in capsys.readouterr().err
    assert main([*correct, str(tmp_path / "brighter.nii.gz")]) == 0 == main([*correct, str(own)])


def test_a_nifti_knows_its_patient_by_the_file_beside_it(tmp_path: Path) -> None:
    write_volume(Volume.from_ijk(np.zeros((4, 4, 4), np.float32), np.eye(4)), tmp_path / "neck.nii.gz")
    assert read_image(tmp_path / "neck.nii.gz").identity is None
    (tmp_path / "neck.json").write_text(json.dumps(PATIENT), encoding="utf-8")
    assert read_image(tmp_path / "neck.nii.gz").identity == Identity.of(_known(**PATIENT))


# The name of a case is safe for any file system and does not tell who the patient is.


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("sub-01_T1w.nii.gz", "sub-01_T1w"),
        ("neck.v2.seg.nrrd", "neck.v2"),
        ("größe 1.mha", "größe-1"),
        ("--force.nii", "force"),
        ("..nii.gz", "case-e3b0c442"),  # nothing left: from the content, here of a missing file
        ("a:b*c?.nrrd", "a-b-c"),
        ("CON.nii", "case-CON"),
        ("com1.x.nii", "case-com1.x"),
        ("x" * 200 + ".nii", "x" * 64),
        ("頸髄.nii.gz", "頸髄"),
    ],
)
def test_base_names_are_made_safe(name: str, case: str) -> None:
    assert safe_case_name(Path("/data") / name) == case


def test_a_dicom_series_is_named_by_description_and_number(dicom: Any, tmp_path: Path) -> None:
    def name(description: str) -> str:
        folder = dicom.write(tmp_path / "Pérez José", change=lambda k: {"SeriesDescription": description})
        return safe_case_name(folder, find_series(folder))

    assert [name(one) for one in ("T1w neck", "", "../../x")] == ["T1w-neck-7", "series-7", name("x")]
    codes = {name(one) for one in ("neck PEREZ", "JOSE 1", "ID 123456")}
    assert len(codes) == 1 and codes.pop().startswith("case-"), "of the series, whatever it is called"


def test_the_file_beside_a_nifti_may_name_the_patient(tmp_path: Path) -> None:
    path = tmp_path / "perez_t1.nii.gz"
    path.write_bytes(b"voxels")
    assert safe_case_name(path) == "perez_t1"  # nothing tells that this is a name
    (tmp_path / "perez_t1.json").write_text(json.dumps({"PatientName": "Perez^Jose", "EchoTime": 0.002}))
    code = safe_case_name(path)
    assert code.startswith("case-")
    other = tmp_path / "perez_t2.nii.gz"
    other.write_bytes(b"other voxels")
    (tmp_path / "perez_t2.json").write_text(json.dumps({"PatientID": "perez"}))
    assert safe_case_name(other) != code
    for content in ("[1, 2]", "not JSON", ""):
        (tmp_path / "t1.json").write_text(content)
        assert safe_case_name(tmp_path / "t1.nii.gz") == "t1"


def test_fields_that_itk_copied_from_dicom(tmp_path: Path) -> None:
    path = tmp_path / "doe.nrrd"
    path.write_bytes(b"voxels")
    assert safe_case_name(path, fields={"0010|0010": "DOE^JANE", "0008|103e": "neck"}).startswith("case-")
    assert safe_case_name(path, fields={"0010|0010": "SMITH^JANE", "0008|103e": "doe"}) == "doe"
