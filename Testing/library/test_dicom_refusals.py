"""What is not exported to DICOM, and the reason that is given; none of them tells who the patient is."""

from __future__ import annotations

import json
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import dcmread

from SpinalCordSegLib import dicom_export
from SpinalCordSegLib.case import Case, read_mask, update_review
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.correction import store_correction
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
    MissingPackageError,
    OutputError,
)
from SpinalCordSegLib.image_io import read_image, write_volume
from SpinalCordSegLib.metrics import mask_sha256
from SpinalCordSegLib.review import ACCEPTED, decided
from SpinalCordSegLib.volume import Volume

_PATIENT = ("Pérez", "José", "00123456", "19660101", "ACC77")


@pytest.fixture(autouse=True)
def quick_pdf(monkeypatch):
    monkeypatch.setattr(dicom_export, "report_pdf", lambda *_: b"%PDF-1.4")


@pytest.fixture
def neck(neck):
    neck.has_pictures = False
    return neck


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
    ("changed", "in_slices", "words"),
    [
        ({"FrameOfReferenceUID": None}, range(8), "FrameOfReferenceUID is missing or not a valid"),
        ({"StudyInstanceUID": "not.an.uid"}, range(8), "StudyInstanceUID is missing or not a valid"),
        ({"SOPInstanceUID": "1.2.3"}, range(8), "two files with one SOPInstanceUID"),
        ({"PatientID": "0099"}, [5], "several patients"),
        ({"StudyInstanceUID": "1.2.3.4"}, [5], "StudyInstanceUID of IM55 is another"),
    ],
)
def test_a_series_that_nothing_can_refer_to(neck, tmp_path, changed, in_slices, words):
    folder = neck.write(tmp_path / "series", lambda k: changed if k in in_slices else {})
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
    assert main([*command[:3], str(case / "mask.nii.gz"), "--output", str(case / "out")]) == 2
    assert "mask.nii.gz is not DICOM" in capsys.readouterr().err and not (case / "out").exists()


# A case is exported into the study that it was made from and into no other, and only as it was measured.


def _other_patient(neck, folder: Path) -> Path:
    """A series of the same protocol and grid, of somebody else."""
    noise = np.random.default_rng(5)
    return neck.write(
        folder,
        lambda k: {
            "PatientID": "999",
            "PatientName": "Other^Patient",
            "PixelData": noise.integers(0, 250, (neck.rows, neck.columns)).astype(np.int16).tobytes(),
        },
    )


def _measured(neck, image: Path | None, folder: Path) -> Path:
    """A mask drawn by hand, measured by the command line; with its image where one is given."""
    matrix = neck.matrix()
    write_volume(Volume.from_ijk(neck.stack.transpose(2, 1, 0).astype(np.uint8), matrix), folder / "drawn.nii.gz")
    command = ["measure", str(folder / "drawn.nii.gz"), "--output", str(folder / "out")]
    assert main([*command, *([] if image is None else ["--image", str(image)])]) == 0
    return folder / "out" / "drawn"


def _content(case: Path) -> dict:
    return json.loads((case / "report.json").read_text(encoding="utf-8"))


def test_a_drawn_mask_belongs_to_the_images_it_was_measured_with(neck, series_folder, tmp_path):
    case, other = _measured(neck, series_folder, tmp_path), _other_patient(neck, tmp_path / "other")

    def check() -> None:
        export = load_export(case, find_series(series_folder), drawn_by_hand=True)
        assert np.array_equal(export.mask.ijk, read_mask(case).ijk)
        with pytest.raises(DicomSeriesError, match="another patient ID"):
            load_export(case, find_series(other), drawn_by_hand=True)

    check()
    before, mask = _content(case)["input"], read_mask(case)
    voxels = mask.ijk.copy()
    voxels[:, :, 3] = np.roll(voxels[:, :, 3], 1, axis=0)
    store_correction(case, mask.with_ijk(voxels), "A. Meyer", image=read_image(series_folder))
    assert _content(case)["input"]["image_fingerprint"] == before["image_fingerprint"]
    check()


def test_a_series_of_the_same_patient_that_was_not_the_image(neck, series_folder, tmp_path):
    case = neck.finish(series_folder, tmp_path / "case", "given")
    dark = {"SeriesNumber": 9, "PixelData": bytes(2 * neck.rows * neck.columns)}
    other = neck.write(tmp_path / "other", lambda k: dark)
    with pytest.raises(DicomSeriesError, match="not the one that the case was made from"):
        load_export(case, find_series(other), drawn_by_hand=True)


def test_a_converted_series_whose_values_are_no_whole_numbers(neck, tmp_path):
    """The converter multiplied in float32, as a NIfTI's slope is; we do it in float64."""
    slope = 0.4456654456654
    series_folder = neck.write(tmp_path / "series", lambda k: {"RescaleSlope": slope, "RescaleIntercept": 0})
    volume = read_image(series_folder).volume
    stored = np.rint(volume.ijk / slope).astype(np.float32)
    converted = {"own": stored * np.float32(slope), "other": np.roll(stored, 1, axis=0) * np.float32(slope)}
    assert not np.array_equal(converted["own"], volume.ijk)
    for name, voxels in converted.items():
        write_volume(volume.with_ijk(voxels), tmp_path / f"{name}.nrrd")
        case = neck.finish(tmp_path / f"{name}.nrrd", tmp_path / name)
        if name == "own":
            load_export(case, find_series(series_folder), image=tmp_path / "own.nrrd")
        else:
            with pytest.raises(DicomSeriesError, match="does not hold the pixels"):
                load_export(case, find_series(series_folder), image=tmp_path / "other.nrrd")


def test_an_acceptance_of_another_mask_is_told_as_such(neck, series_folder, tmp_path):
    pytest.importorskip("highdicom", reason="HIGHDICOM MISSING: the DICOM export was not tested (extra: dicom)")
    neck.has_pictures = True
    case = neck.finish(series_folder, tmp_path / "case")
    own = mask_sha256(read_mask(case))
    for sha256, told in ((own, False), ("ab" * 32, True)):
        update_review(case, lambda old, of=sha256: decided(old, ACCEPTED, "A. Meyer", mask_sha256=of))
        report = build(load_export(case, find_series(series_folder)), ["sr"])["sr"]
        comments = " ".join(str(item.value) for item in report.iterall() if item.keyword == "TextValue")
        page = (case / "report.html").read_text(encoding="utf-8")
        assert "Accepted by A. Meyer in review" in comments
        assert [("ATTENTION: decided on another mask" in text) for text in (comments, page)] == [told, told]


@pytest.mark.parametrize("state", ["AI", "given"])
def test_a_case_made_from_a_converted_series_is_proved_by_its_voxels(neck, series_folder, tmp_path, state):
    """As Slicer has it: the series was loaded as a volume with axes of its own, and that was segmented or drawn on."""
    by_hand = state == "given"
    converted = read_image(series_folder).volume.reoriented("RAS")
    changed = converted.ijk.copy()
    changed[0, 0, 0] += 1
    for name, voxels in (("own", converted.ijk), ("changed", changed)):
        write_volume(converted.with_ijk(np.ascontiguousarray(voxels)), tmp_path / f"{name}.nrrd")
    own, other = (
        neck.finish(tmp_path / f"{name}.nrrd", tmp_path / name, state, mask_axes=lambda mask: mask.reoriented("RAS"))
        for name in ("own", "changed")
    )
    series = find_series(series_folder)
    export = load_export(own, series, by_hand, image=tmp_path / "own.nrrd")
    assert np.array_equal(export.mask.ijk, neck.stack.transpose(2, 1, 0))
    for case, image, words in (
        (own, None, "not made from DICOM"),
        (other, "changed.nrrd", "does not hold the pixels"),
        (other, "own.nrrd", "not made from this image"),
    ):
        with pytest.raises(DicomSeriesError, match=words):
            load_export(case, series, by_hand, image=image and tmp_path / image)


def test_a_copy_under_another_id_is_exported_on_somebody_s_word_alone(neck, series_folder, tmp_path, capsys):
    pytest.importorskip("highdicom", reason="HIGHDICOM MISSING: the DICOM export was not tested (extra: dicom)")
    case = neck.finish(series_folder, tmp_path / "case")
    copy = neck.write(tmp_path / "copy", lambda k: {"PatientID": "STUDY7", "PatientName": "Study^Seven"})
    other = _other_patient(neck, tmp_path / "other")
    vouch = ["--vouch", "anonymised for the trial", "--by", "A. Meyer"]

    def export(images: Path, *more: str) -> int:
        return main(
            ["export", str(case), "--dicom", str(images), "--output", str(tmp_path / "out"), "--only", "sr", *more]
        )

    assert [export(copy), export(copy, *vouch[:2]), export(other, *vouch), export(copy, *vouch)] == [2, 2, 2, 0]
    assert "--vouch REASON" in capsys.readouterr().err
    act = Case.load(case).history[-1]
    assert (act.what, act.who) == ("exported under another patient ID (anonymised for the trial)", "A. Meyer")
    assert export(series_folder, "--force") == 0
    report = dcmread(tmp_path / "out" / "neck.sr.dcm")
    comments = " ".join(str(item.value) for item in report.iterall() if item.keyword == "TextValue")
    assert "History: " in comments and "(anonymised for the trial) by A. Meyer, mask" in comments
