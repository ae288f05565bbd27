"""Names and numbers are recognised however they are written; two patients are never mixed."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from SpinalCordSegLib.cli import main
from SpinalCordSegLib.dicom import find_series
from SpinalCordSegLib.files import user_folder
from SpinalCordSegLib.identity import Identity, differing, identity_words, known_of, safe_case_name, tells_identity
from SpinalCordSegLib.image_io import read_identity, read_image, write_volume
from SpinalCordSegLib.volume import Volume

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
    only_id, two = {"PatientID": "777"}, {"PatientID": "777", "PatientSex": "M"}
    for changes, words in ((only_id, "another patient ID;"), (two, "another patient ID and sex;")):
        assert visits(changes) == 2
        error = capsys.readouterr().err
        assert "visits 1 and 2 are of different patients" in error and words in error and "777" not in error
        assert ("--same-person" in error) is (changes is only_id)
    assert [visits(changes, "--same-person") for changes in (two, only_id)] == [2, 0]
    (run,) = json.loads((tmp_path / "out" / "follow_up.json").read_text(encoding="utf-8"))["runs"]
    assert run["beside"][0] == "another patient ID, said to be the same person's"
    report = (tmp_path / "visit1" / "report.json").read_text(encoding="utf-8")
    assert not any(text in report for text in ("00123456", "777", "19660101"))


def test_headers_of_images_given_with_the_visits_count_too(visits: Any, neck: Any, tmp_path: Path, capsys: Any) -> None:
    other = neck.write(tmp_path / "other", lambda k: {"PatientID": "777"})
    assert visits({}, "--image", str(tmp_path / "series0"), "--image", str(other)) == 2
    assert "visit 2: the case and its image are of different patients" in capsys.readouterr().err
    assert visits({"PatientID": "ANON", "PatientBirthDate": "", "PatientSex": "O"}) == 0


def test_nothing_of_one_patient_goes_into_a_case_of_another(neck: Any, tmp_path: Path, capsys: Any) -> None:
    own = neck.write(tmp_path / "own")
    case = neck.finish(own, tmp_path / "case")
    relabelled = neck.write(tmp_path / "relabelled", lambda k: {"PatientID": "777"})
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
