"""What is not exported to DICOM, and the reason that is given; none of them tells who the patient is."""

from __future__ import annotations

import json
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pydicom
import pytest
from pydicom import dcmread

from SpinalCordSegLib import dicom_export
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.dicom import find_series
from SpinalCordSegLib.dicom_export import (
    build,
    dicom_export_available,
    load_export,
    pdf_export_available,
    read_source,
    write_export,
)
from SpinalCordSegLib.errors import (
    ConfigurationError,
    DicomSeriesError,
    InputFileError,
    MissingPackageError,
    OutputError,
)

_PATIENT = ("Pérez", "José", "00123456", "19660101", "ACC77")


@pytest.fixture
def series_folder(neck, tmp_path):
    return neck.write(tmp_path / "series")


@pytest.fixture
def case(neck, series_folder, tmp_path):
    return neck.finish(series_folder, tmp_path / "case")


def _say(case: Path, **changed) -> Path:
    """Change the case's report."""
    content = json.loads((case / "report.json").read_text(encoding="utf-8"))
    (case / "report.json").write_text(json.dumps(content | changed), encoding="utf-8")
    return case


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"FrameOfReferenceUID": None}, "FrameOfReferenceUID is missing or not a valid"),
        ({"StudyInstanceUID": "not.an.uid"}, "StudyInstanceUID is missing or not a valid"),
        ({"SOPInstanceUID": "1.2.3"}, "two files with one SOPInstanceUID"),
    ],
)
def test_headers_that_nothing_can_refer_to(neck, tmp_path, changed, words):
    folder = neck.write(tmp_path / "series", lambda k: changed)
    with pytest.raises(DicomSeriesError, match=words):
        read_source(find_series(folder))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"PatientID": "0099"}, "several patients"),
        ({"StudyInstanceUID": "1.2.3.4"}, "StudyInstanceUID of IM55 is another"),
        ({"FrameOfReferenceUID": "1.2.3.4"}, "FrameOfReferenceUID of IM55 is another"),
    ],
)
def test_a_series_of_two_patients_or_studies(neck, tmp_path, changed, words):
    folder = neck.write(tmp_path / "series", lambda k: changed if k == 5 else {})
    with pytest.raises(DicomSeriesError, match=words) as refused:
        read_source(find_series(folder))
    assert not any(word in str(refused.value) for word in (*_PATIENT, "0099"))


def test_several_multi_frame_files(neck, save_dicom, tmp_path):
    for half in (0, 1):
        one = neck.series.enhanced(4, (0, 1, 2, 3))
        for group, k in zip(one.PerFrameFunctionalGroupsSequence, range(4), strict=True):
            place = group.PlanePositionSequence[0]
            place.ImagePositionPatient = neck.series.slice(4 * half + k).ImagePositionPatient
        save_dicom(one, tmp_path / "series" / f"half{half}")
    with pytest.raises(DicomSeriesError, match="kept in 2 multi-frame files"):
        read_source(find_series(tmp_path / "series"))


def test_a_case_that_was_not_made_from_dicom(neck, series_folder, case):
    source = json.loads((case / "report.json").read_text(encoding="utf-8"))["input"]
    _say(case, input={name: value for name, value in source.items() if name not in ("acquisition", "fingerprint")})
    with pytest.raises(DicomSeriesError, match="segment the series itself"):
        load_export(case, find_series(series_folder))


def test_a_mask_that_was_measured_with_another_series(neck, series_folder, tmp_path):
    case = neck.finish(series_folder, tmp_path / "case", "given")
    other = neck.write(
        tmp_path / "other", lambda k: {"SeriesNumber": 9, "PixelData": bytes(2 * neck.rows * neck.columns)}
    )
    with pytest.raises(DicomSeriesError, match="not the one that the case was made from"):
        load_export(case, find_series(other), drawn_by_hand=True)


@pytest.mark.parametrize(
    ("changed", "hand", "words"),
    [
        ({"review": {"state": "rejected", "by": "somebody"}}, False, "rejected in review"),
        ({}, True, "leave --drawn-by-hand out"),
        ({"model": None}, False, "made elsewhere"),
    ],
)
def test_who_made_the_mask_must_be_known_and_content(series_folder, case, changed, hand, words):
    with pytest.raises(ConfigurationError, match=words):
        load_export(_say(case, **changed), find_series(series_folder), hand)


def test_no_finished_result(series_folder, tmp_path):
    with pytest.raises(InputFileError, match="holds no finished result"):
        load_export(tmp_path, find_series(series_folder))


def test_what_is_there_is_not_replaced_and_nothing_is_half_done(series_folder, case, tmp_path, monkeypatch):
    pytest.importorskip("highdicom", reason="HIGHDICOM MISSING: the DICOM export was not tested (extra: dicom)")
    export = load_export(case, find_series(series_folder))
    (tmp_path / "neck.seg.dcm").write_bytes(b"mine")
    with pytest.raises(OutputError, match="is there already"):
        write_export(export, ["sr"], tmp_path)
    monkeypatch.setitem(sys.modules, "highdicom", None)
    monkeypatch.setattr(dicom_export, "version", _not_installed)
    with pytest.raises(MissingPackageError, match=r"pip install .*matplotlib"):
        write_export(export, ["seg", "pdf"], tmp_path, force=True)
    assert (tmp_path / "neck.seg.dcm").read_bytes() == b"mine"
    assert not list(tmp_path.glob("*.pdf.dcm"))


def _not_installed(package: str) -> str:
    raise PackageNotFoundError(package)


def test_the_reason_for_a_grey_button(monkeypatch):
    pytest.importorskip("highdicom", reason="HIGHDICOM MISSING: the DICOM export was not tested (extra: dicom)")
    monkeypatch.setattr(dicom_export, "version", lambda package: "4.0")
    assert (dicom_export_available(), pdf_export_available()) == (None, None)
    monkeypatch.setattr(dicom_export, "version", lambda package: "0.26.1")
    assert "highdicom 0.27 or newer, found 0.26.1" in dicom_export_available()
    monkeypatch.setattr(dicom_export, "version", _not_installed)
    assert "needs the package highdicom" in dicom_export_available()
    assert "needs the package matplotlib" in pdf_export_available()
    monkeypatch.setattr(pydicom, "__version__", "2.4.4")
    assert "pydicom 3.0.1 or newer, found 2.4.4" in dicom_export_available()


def test_values_that_bend_the_standard(neck, tmp_path):
    """An optional one is left out; the patient's own identifiers go over as they are."""
    pytest.importorskip("highdicom")
    bent = {
        "PatientAge": "58",
        "PatientBirthDate": "1966.01.01",
        "PatientID": "X" * 70,
        "StudyID": "longer than 16 letters",
    }
    folder = neck.write(tmp_path / "series", lambda k: bent)
    export = load_export(neck.finish(folder, tmp_path / "case"), find_series(folder))
    for path in write_export(export, ["seg", "sr", "pdf"], tmp_path / "out").values():
        one = dcmread(path)
        assert (str(one.PatientBirthDate), one.PatientID, one.StudyID) == ("1966.01.01", "X" * 70, bent["StudyID"])
        assert "PatientAge" not in one


def test_a_header_that_cannot_be_carried_over_is_a_reason_and_no_traceback(series_folder, case):
    pytest.importorskip("highdicom")
    export = load_export(case, find_series(series_folder))
    del export.source.headers[0].StudyInstanceUID
    with pytest.raises(DicomSeriesError, match="cannot be carried over"):
        build(export, ["seg"])


def test_command_line(series_folder, case, tmp_path, capsys):
    pytest.importorskip("highdicom")
    command = ["export", str(case), "--dicom", str(series_folder), "--output", str(tmp_path / "out")]
    assert main([*command, "--only", "sr"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["neck.seg.dcm", "neck.sr.dcm"]
    assert "the measurements refer to it" in capsys.readouterr().out
    assert main(command) == 2
    assert "--force" in capsys.readouterr().err
    assert main([*command, "--force", "--verbose"]) == 0
    told = capsys.readouterr()
    assert sorted(path.name for path in (tmp_path / "out").glob("*.pdf.dcm")) == ["neck.pdf.dcm"]
    assert not any(word in told.out + told.err for word in _PATIENT)


def test_command_line_refuses_what_is_not_dicom(case, capsys):
    command = ["export", str(case), "--dicom", str(case / "mask.nii.gz"), "--output", str(case / "out")]
    assert main(command) == 2
    assert "mask.nii.gz is not DICOM" in capsys.readouterr().err
    assert not (case / "out").exists()
