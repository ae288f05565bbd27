"""The name of a case is safe for any file system and does not tell who the patient is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from SpinalCordSegLib.dicom import find_series
from SpinalCordSegLib.image_io import safe_case_name


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
    folder = dicom.write(tmp_path / "Pérez José")  # the folder's name is not used
    assert safe_case_name(folder, find_series(folder)) == "T1w-neck-7"


@pytest.mark.parametrize("description", ["neck PEREZ", "JOSE 1", "ID 123456"])
def test_a_description_that_names_the_patient_gives_a_code(dicom: Any, tmp_path: Path, description: str) -> None:
    folder = dicom.write(tmp_path, change=lambda k: {"SeriesDescription": description})
    name = safe_case_name(folder, find_series(folder))
    assert name.startswith("case-")
    assert len(name) == 13
    assert name == safe_case_name(folder, find_series(folder))


def test_a_series_without_description(dicom: Any, tmp_path: Path) -> None:
    folder = dicom.write(tmp_path, change=lambda k: {"SeriesDescription": ""})
    assert safe_case_name(folder, find_series(folder)) == "series-7"


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


@pytest.mark.parametrize("content", ["[1, 2]", "not JSON", ""])
def test_another_file_beside_does_no_harm(tmp_path: Path, content: str) -> None:
    (tmp_path / "t1.json").write_text(content)
    assert safe_case_name(tmp_path / "t1.nii.gz") == "t1"


def test_fields_that_itk_copied_from_dicom(tmp_path: Path) -> None:
    path = tmp_path / "doe.nrrd"
    path.write_bytes(b"voxels")
    assert safe_case_name(path, fields={"0010|0010": "DOE^JANE", "0008|103e": "neck"}).startswith("case-")
    assert safe_case_name(path, fields={"0010|0010": "SMITH^JANE", "0008|103e": "doe"}) == "doe"
