"""DICOM out: proved by dciodvfy, read back to the same voxels and numbers, refused with a reason where it must be."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from SpinalCordSegLib import dicom_export
from SpinalCordSegLib.case import Case, ModelSummary, read_mask, update_review
from SpinalCordSegLib.correction import store_correction
from SpinalCordSegLib.dicom import find_series
from SpinalCordSegLib.dicom_export import KINDS, build, load_export, read_source, write_export
from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.image_io import read_image
from SpinalCordSegLib.metrics import mask_sha256
from SpinalCordSegLib.pipeline import measure_mask
from SpinalCordSegLib.review import ACCEPTED, REJECTED, decided

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
    content = json.loads((case / "report.json").read_text(encoding="utf-8"))

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
    content = json.loads((case / "report.json").read_text(encoding="utf-8"))
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
    content = json.loads((case / "report.json").read_text(encoding="utf-8"))
    (group,) = hd.sr.srread(files["sr"]).content.get_volumetric_roi_measurement_groups()
    assert numbers_of(group)["118565006", None] == (content["volume_mm3"], "mm3")
    report = dcmread(files["sr"])
    assert report.VerificationFlag == "UNVERIFIED"
    comments = " ".join(str(item.value) for item in report.iterall() if item.keyword == "TextValue")
    assert "Accepted by A. Meyer in review" in comments and "no signature" in comments
    assert content["volume_mm3"] == pytest.approx(drawn.sum() * mask.voxel_volume_mm3, abs=0.01)

    update_review(case, lambda _: decided(accepted, REJECTED, "A. Meyer"))
    with pytest.raises(ConfigurationError, match="rejected in review"):
        load_export(case, series)
