"""DICOM out: proved by dciodvfy, read back to the same voxels and numbers; what is refused, and the reason, which does
not tell who the patient is."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from SpinalCordSegLib import dicom_export
from SpinalCordSegLib.case import Case, ModelSummary, update_review
from SpinalCordSegLib.case_folder import read_mask
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.correction import store_correction
from SpinalCordSegLib.dicom import find_series
from SpinalCordSegLib.dicom_export import (
    KINDS,
    build,
    dicom_export_available,
    load_export,
    pdf_export_available,
    read_source,
    write_export,
)
from SpinalCordSegLib.errors import ConfigurationError, DicomSeriesError, MissingPackageError, OutputError
from SpinalCordSegLib.image_io import read_image, write_volume
from SpinalCordSegLib.pipeline import measure_mask
from SpinalCordSegLib.review import ACCEPTED, REJECTED, decided
from SpinalCordSegLib.volume import Volume, mask_sha256

hd = pytest.importorskip("highdicom", reason="HIGHDICOM MISSING: DICOM export was not tested (extra: dicom)")


@pytest.fixture(autouse=True)
def quick_pdf(request, monkeypatch):
    """The page is drawn in the first test alone."""
    if "reads_back" not in request.node.name:
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


def errors_of(path: Path) -> list[str]:
    """What dciodvfy calls an error."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("DCIODVFY MISSING (apt install dicom3tools): what is written was not proved to be valid DICOM")
    run = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, check=False)
    told = (run.stdout + run.stderr).decode("utf-8", "replace")
    return [line for line in told.splitlines() if line.startswith(("Error", "Abort"))]


def numbers_of(group) -> dict:
    """Measurements of a group by code and derivation."""
    found = {}
    for item in group.get_measurements():
        derived = [modifier for modifier in item[0].get("ContentSequence", ()) if modifier.name.value == "121401"]
        found[item.name.value, derived[0].value.value if derived else None] = (item.value, item.unit.value)
    return found


def content_of(case: Path) -> dict:
    return json.loads((case / "report.json").read_text(encoding="utf-8"))


def comments_of(report) -> str:
    return " ".join(str(item.value) for item in report.iterall() if item.keyword == "TextValue")


def stack_of(seg, series_folder: Path) -> np.ndarray:
    """The segment on the slices of its series, from inferior."""
    sources = {str(one.SOPInstanceUID): one for one in map(dcmread, series_folder.iterdir())}
    by_position = sorted(sources, key=lambda uid: sources[uid].ImagePositionPatient[2])
    read = seg.get_pixels_by_source_instance(by_position, assert_missing_frames_are_empty=True)
    return read[..., 0].astype(bool)


def test_everything_is_valid_dicom_and_reads_back(neck, series_folder, case, tmp_path):
    neck.has_pictures = True
    neck.finish(series_folder, case)
    files = write_export(load_export(case, find_series(series_folder)), KINDS, tmp_path / "out")
    assert [path.name for path in files.values()] == ["neck.seg.dcm", "neck.sr.dcm", "neck.pdf.dcm"]
    content = content_of(case)

    seg = hd.seg.segread(files["seg"])
    assert np.array_equal(stack_of(seg, series_folder), neck.stack)
    assert (seg.NumberOfFrames, seg.SegmentationType) == (6, "BINARY")  # slices without cord are left out
    (segment,) = seg.SegmentSequence
    code, category = segment.SegmentedPropertyTypeCodeSequence[0], segment.SegmentedPropertyCategoryCodeSequence[0]
    assert (code.CodeValue, code.CodingSchemeDesignator, category.CodeValue) == ("2748008", "SCT", "123037004")
    assert (segment.SegmentLabel, segment.SegmentAlgorithmType) == ("Spinal cord", "AUTOMATIC")
    assert segment.SegmentAlgorithmName == "SpinalCordSeg tiny 3"
    assert "ab" * 32 in segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters

    report = hd.sr.srread(files["sr"])
    (group,) = report.content.get_volumetric_roi_measurement_groups()
    assert numbers_of(group) == {
        ("118565006", None): (content["volume_mm3"], "mm3"),
        ("121211", None): (content["length_mm"], "mm"),
        ("131184002", "373098007"): (content["mean_csa_mm2"], "mm2"),
        ("131184002", "386136009"): (content["sd_csa_mm2"], "mm2"),
        ("131187009", "373098007"): (content["mean_rl_mm"], "mm"),
        ("131188004", "373098007"): (content["mean_ap_ellipse_mm"], "mm"),
    }
    volume = group.get_measurements()[0]
    assert "126030" in [item.value.value for item in volume[0].ContentSequence if item.ValueType == "CODE"]
    (segment,) = [item for item in group[0].ContentSequence if item.name.value == "121191"]
    assert segment.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == seg.SOPInstanceUID
    assert group.tracking_uid == seg.SegmentSequence[0].TrackingUID

    document = dcmread(files["pdf"])
    assert document.EncapsulatedDocument.startswith(b"%PDF-")
    for path in files.values():
        one = dcmread(path)
        assert (one.PatientID, str(one.PatientName), one.StudyInstanceUID) == ("00123456", "Pérez^José", neck.study)
        assert errors_of(path) == [], path.name


def test_a_mask_made_elsewhere_is_manual_only_when_somebody_says_so(neck, series_folder, tmp_path):
    case = neck.finish(series_folder, tmp_path / "case", "given")
    series = find_series(series_folder)
    with pytest.raises(ConfigurationError, match="--drawn-by-hand"):
        load_export(case, series)
    files = write_export(load_export(case, series, drawn_by_hand=True), ["sr"], tmp_path / "out")
    segment = dcmread(files["seg"]).SegmentSequence[0]
    assert (segment.SegmentAlgorithmType, "SegmentAlgorithmName" in segment) == ("MANUAL", False)
    assert [errors_of(path) for path in files.values()] == [[], []]


def test_a_range_has_a_group_of_its_own(neck, series_folder, tmp_path):
    case = neck.finish(series_folder, tmp_path / "case", slice_range=(2, 5))
    files = write_export(load_export(case, find_series(series_folder)), ["sr"], tmp_path / "out")
    content = content_of(case)
    report = hd.sr.srread(files["sr"]).content
    (whole,), (part,) = report.get_volumetric_roi_measurement_groups(), report.get_image_measurement_groups()
    assert set(numbers_of(whole)) == {("118565006", None), ("121211", None)}
    assert numbers_of(whole)["118565006", None][0] == content["volume_mm3"]
    assert numbers_of(part)["118565006", None][0] == content["range_volume_mm3"] < content["volume_mm3"]
    assert numbers_of(part)["131184002", "373098007"][0] == content["mean_csa_mm2"]
    assert part.tracking_identifier == "Spinal cord, slices 2 to 4"
    assert errors_of(files["sr"]) == []


def test_slices_whose_orientation_differs_in_the_last_digit(neck, tmp_path):
    def rounded(k: int) -> dict:
        told = neck.series.slice(k).ImageOrientationPatient
        return {"ImageOrientationPatient": [float(one) + 1e-6 * (k % 3) for one in told]}

    folder = neck.write(tmp_path / "series", rounded)
    case = neck.finish(folder, tmp_path / "case")
    files = write_export(load_export(case, find_series(folder)), ["sr"], tmp_path / "out")
    read = hd.seg.segread(files["seg"]).get_volume(combine_segments=True)
    assert np.count_nonzero(read.array) == np.count_nonzero(neck.stack)
    assert [errors_of(path) for path in files.values()] == [[], []]


@pytest.mark.parametrize("value", [None, ""], ids=["absent", "empty"])
def test_an_anonymised_study_works(neck, tmp_path, value):
    of_patient = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyDate")
    folder = neck.write(tmp_path / "series", lambda k: dict.fromkeys(of_patient, value))
    case = neck.finish(folder, tmp_path / "case")
    for path in write_export(load_export(case, find_series(folder)), KINDS, tmp_path / "out").values():
        one = dcmread(path)
        assert (one.PatientID or "", str(one.PatientName or ""), one.StudyInstanceUID) == ("", "", neck.study)
        assert errors_of(path) == [], path.name


@pytest.mark.parametrize("charset", [["", "ISO 2022 IR 87"], "ISO_IR 192"], ids=["JIS", "UTF-8"])
def test_names_in_any_script_stay_as_they_are(neck, tmp_path, charset):
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    folder = neck.write(tmp_path / "series", lambda k: {"PatientName": name})
    for path in folder.iterdir():
        one = dcmread(path)
        one.PatientName.components  # noqa: B018
        one.SpecificCharacterSet = charset
        one.save_as(path)
    export = load_export(neck.finish(folder, tmp_path / "case"), find_series(folder))
    for path in write_export(export, KINDS, tmp_path / "out").values():
        assert str(dcmread(path).PatientName) == name
        assert errors_of(path) == [], path.name


def test_a_multi_frame_file_works_in_its_stored_order(neck, save_dicom, tmp_path):
    order = (2, 0, 3, 1, 7, 5, 6, 4)
    one = neck.series.enhanced(neck.n, order)
    for keyword, value in neck.elements(0).items():
        setattr(one, keyword, value)
    one.PixelData = b"".join(neck.elements(k)["PixelData"] for k in order)
    file = save_dicom(one, tmp_path / "series" / "multi")
    case = neck.finish(file, tmp_path / "case")
    files = write_export(load_export(case, find_series(file)), ["sr"], tmp_path / "out")
    seg = hd.seg.segread(files["seg"])
    frames = range(1, neck.n + 1)
    read = seg.get_pixels_by_source_frame(one.SOPInstanceUID, frames, assert_missing_frames_are_empty=True)
    assert np.array_equal(read[..., 0].astype(bool), neck.stack[list(order)])
    assert [errors_of(path) for path in files.values()] == [[], []]


def test_uids_are_new_each_time(series_folder, case):
    export = load_export(case, find_series(series_folder))
    objects = [one for _ in range(2) for one in build(export, KINDS).values()]
    assert len({one.get(key) for one in objects for key in ("SOPInstanceUID", "SeriesInstanceUID")}) == 12
    assert [one.SeriesNumber for one in objects] == [701, 702, 703] * 2


def test_the_head_of_the_public_data(shared_data, tmp_path):
    part = tmp_path / "series"  # every second slice of the lower quarter: the whole head takes 8 s
    part.mkdir()
    for file in sorted((shared_data / "dicom_t1w_head").iterdir())[:96:2]:
        (part / file.name).symlink_to(file)
    series = find_series(part)
    source = read_source(series)
    voxels = np.zeros(source.volume.ijk_shape, bool)
    voxels[130:142, 180:190, 10:30] = True
    model = ModelSummary("tiny", "3", "ab", "CC0")
    content = replace(measure_mask(source.volume.with_ijk(voxels), "head"), mask_state="AI", model=model)
    algorithm = dicom_export.algorithm_of(content)
    export = dicom_export.CordExport(source.volume.with_ijk(voxels), content, None, source, algorithm)
    files = write_export(export, ["sr"], tmp_path / "out")
    assert [errors_of(path) for path in files.values()] == [[], []]
    volume = hd.seg.segread(files["seg"]).get_volume(combine_segments=True)
    ijk = np.linalg.inv(np.diag([-1.0, -1.0, 1.0, 1.0]) @ source.volume.ijk_to_ras) @ volume.affine
    found = (ijk @ np.vstack([np.argwhere(volume.array > 0).T, np.ones(np.count_nonzero(volume.array))]))[:3]
    assert np.array_equal(np.sort(np.rint(found).astype(int).T.tolist(), axis=0), np.sort(np.argwhere(voxels), axis=0))


def test_a_reviewed_case_is_valid_dicom_and_says_truthfully_who_made_it(neck, series_folder, case, tmp_path):
    """Corrected, then accepted, then rejected: what a radiologist does to one case."""
    series, image = find_series(series_folder), read_image(series_folder)
    mask = read_mask(case)
    drawn = neck.stack.copy()
    drawn[3] = np.roll(drawn[3], 2, axis=0)
    drawn[6] = False
    store_correction(case, mask.with_ijk(drawn.transpose(2, 1, 0)), "A. Meyer", image=image)
    accepted = decided(Case.load(case).review, ACCEPTED, "A. Meyer", mask_sha256=mask_sha256(read_mask(case)))
    update_review(case, lambda _: accepted)

    files = write_export(load_export(case, series), KINDS, tmp_path / "out")
    for path in files.values():
        assert errors_of(path) == [], path.name
    seg = hd.seg.segread(files["seg"])
    assert seg.SegmentSequence[0].SegmentAlgorithmType == "SEMIAUTOMATIC"
    assert np.array_equal(stack_of(seg, series_folder), drawn)
    content = content_of(case)
    (group,) = hd.sr.srread(files["sr"]).content.get_volumetric_roi_measurement_groups()
    assert numbers_of(group)["118565006", None] == (content["volume_mm3"], "mm3")
    report = dcmread(files["sr"])
    assert report.VerificationFlag == "UNVERIFIED"
    comments = comments_of(report)
    assert "Accepted by A. Meyer in review" in comments and "no signature" in comments
    assert content["volume_mm3"] == pytest.approx(drawn.sum() * mask.voxel_volume_mm3, abs=0.01)

    update_review(case, lambda _: decided(accepted, REJECTED, "A. Meyer"))
    with pytest.raises(ConfigurationError, match="rejected in review"):
        load_export(case, series)


# What is not exported, and the reason that is given.

_PATIENT = ("Pérez", "José", "00123456", "19660101", "ACC77")


def _say(case: Path, **changed) -> Path:
    """Change the case's report."""
    content = content_of(case)
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
    monkeypatch.setattr(dicom_export, "version", lambda package: "4.0")
    assert (dicom_export_available(), pdf_export_available()) == (None, None)
    monkeypatch.setattr(dicom_export, "version", lambda package: "0.26.1")
    assert "highdicom 0.27 or newer, found 0.26.1" in dicom_export_available()
    monkeypatch.setattr(dicom_export, "version", _not_installed)
    assert "needs the package highdicom" in dicom_export_available()
    assert "needs the package matplotlib" in pdf_export_available()


def test_values_that_bend_the_standard(neck, tmp_path):
    """An optional one is left out; the patient's own identifiers go over as they are."""
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
    export = load_export(case, find_series(series_folder))
    del export.source.headers[0].StudyInstanceUID
    with pytest.raises(DicomSeriesError, match="cannot be carried over"):
        build(export, ["seg"])


def test_command_line(series_folder, case, tmp_path, capsys):
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
    (case / "mask.nii.gz").write_bytes(b"x")
    assert main([*command, "--force"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


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


def test_a_drawn_mask_belongs_to_the_images_it_was_measured_with(neck, series_folder, tmp_path):
    case, other = _measured(neck, series_folder, tmp_path), _other_patient(neck, tmp_path / "other")

    def check() -> None:
        export = load_export(case, find_series(series_folder), drawn_by_hand=True)
        assert np.array_equal(export.mask.ijk, read_mask(case).ijk)
        with pytest.raises(DicomSeriesError, match="another patient ID"):
            load_export(case, find_series(other), drawn_by_hand=True)

    check()
    before, mask = content_of(case)["input"], read_mask(case)
    voxels = mask.ijk.copy()
    voxels[:, :, 3] = np.roll(voxels[:, :, 3], 1, axis=0)
    store_correction(case, mask.with_ijk(voxels), "A. Meyer", image=read_image(series_folder))
    assert content_of(case)["input"]["image_fingerprint"] == before["image_fingerprint"]
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
    neck.has_pictures = True
    case = neck.finish(series_folder, tmp_path / "case")
    own = mask_sha256(read_mask(case))
    for sha256, told in ((own, False), ("ab" * 32, True)):
        update_review(case, lambda old, of=sha256: decided(old, ACCEPTED, "A. Meyer", mask_sha256=of))
        report = build(load_export(case, find_series(series_folder)), ["sr"])["sr"]
        comments = comments_of(report)
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
    comments = comments_of(dcmread(tmp_path / "out" / "neck.sr.dcm"))
    assert "History: " in comments and "(anonymised for the trial) by A. Meyer, mask" in comments
