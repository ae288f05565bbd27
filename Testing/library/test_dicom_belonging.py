"""A case is exported into the study that it was made from and into no other, and only as it was measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest

from SpinalCordSegLib.case import Case, read_mask, update_review
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.correction import store_correction
from SpinalCordSegLib.dicom import find_series
from SpinalCordSegLib.dicom_export import build, load_export
from SpinalCordSegLib.errors import DicomSeriesError, InputFileError
from SpinalCordSegLib.image_io import read_image, write_volume
from SpinalCordSegLib.metrics import mask_sha256
from SpinalCordSegLib.review import ACCEPTED, decided
from SpinalCordSegLib.volume import Volume


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


@pytest.fixture
def series(neck, tmp_path):
    return neck.write(tmp_path / "series")


def test_a_drawn_mask_belongs_to_the_images_it_was_measured_with(neck, series, tmp_path):
    case = _measured(neck, series, tmp_path)
    export = load_export(case, find_series(series), drawn_by_hand=True)
    assert np.array_equal(export.mask.ijk, neck.stack.transpose(2, 1, 0))
    other = _other_patient(neck, tmp_path / "other")
    with pytest.raises(DicomSeriesError, match="another patient ID"):
        load_export(case, find_series(other), drawn_by_hand=True)
    command = ["measure", str(tmp_path / "drawn.nii.gz"), "--output", str(case.parent), "--image", str(other)]
    assert (main(command), main([*command, "--force"])) == (2, 0)
    load_export(case, find_series(other), drawn_by_hand=True)  # as whoever measures it with that image says


@pytest.mark.parametrize("with_image", [None, "own"])
def test_a_correction_changes_nothing_of_that(neck, series, tmp_path, with_image):
    case, other = _measured(neck, series, tmp_path), _other_patient(neck, tmp_path / "other")
    before, mask = _content(case)["input"], read_mask(case)
    voxels = mask.ijk.copy()
    voxels[:, :, 3] = np.roll(voxels[:, :, 3], 1, axis=0)
    image = {None: None, "own": series}[with_image]
    store_correction(case, mask.with_ijk(voxels), "A. Meyer", image=None if image is None else read_image(image))
    assert _content(case)["input"]["image_fingerprint"] == before["image_fingerprint"]
    load_export(case, find_series(series), drawn_by_hand=True)
    with pytest.raises(DicomSeriesError, match="another patient ID"):
        load_export(case, find_series(other), drawn_by_hand=True)


def test_a_drawn_mask_that_was_measured_with_the_converted_series(neck, series, tmp_path):
    """As Slicer measures it: with the volume that the series was loaded as, which has axes of its own."""
    files = {}
    for name, folder in {"own": series, "other": _other_patient(neck, tmp_path / "other")}.items():
        volume = read_image(folder).volume.reoriented("RAS")
        files[name] = tmp_path / f"{name}.nrrd"
        write_volume(Volume.from_ijk(np.ascontiguousarray(volume.ijk), volume.ijk_to_ras), files[name])
    turned = Volume.from_ijk(neck.stack.transpose(2, 1, 0).astype(np.uint8), neck.matrix()).reoriented("RAS")
    write_volume(Volume.from_ijk(np.ascontiguousarray(turned.ijk), turned.ijk_to_ras), tmp_path / "drawn.nii.gz")
    command = ["measure", str(tmp_path / "drawn.nii.gz"), "--output", str(tmp_path / "out")]
    assert main([*command, "--image", str(files["own"])]) == 0
    case = tmp_path / "out" / "drawn"
    load_export(case, find_series(series), drawn_by_hand=True, image=files["own"])
    with pytest.raises(DicomSeriesError, match="not made from DICOM"):
        load_export(case, find_series(series), drawn_by_hand=True)
    with pytest.raises(DicomSeriesError, match="not made from this image"):
        load_export(case, find_series(tmp_path / "other"), drawn_by_hand=True, image=files["other"])
    with pytest.raises(DicomSeriesError, match="does not hold the pixels"):
        load_export(case, find_series(tmp_path / "other"), drawn_by_hand=True, image=files["own"])


def test_a_converted_series_whose_values_are_no_whole_numbers(neck, tmp_path):
    """The converter multiplied in float32, as a NIfTI's slope is; we do it in float64."""
    slope = 0.4456654456654
    series = neck.write(tmp_path / "series", lambda k: {"RescaleSlope": slope, "RescaleIntercept": 0})
    volume = read_image(series).volume
    stored = np.rint(volume.ijk / slope).astype(np.float32)
    converted = {"own": stored * np.float32(slope), "other": np.roll(stored, 1, axis=0) * np.float32(slope)}
    assert not np.array_equal(converted["own"], volume.ijk)
    for name, voxels in converted.items():
        write_volume(volume.with_ijk(voxels), tmp_path / f"{name}.nrrd")
        case = neck.finish(tmp_path / f"{name}.nrrd", tmp_path / name)
        if name == "own":
            load_export(case, find_series(series), image=tmp_path / "own.nrrd")
        else:
            with pytest.raises(DicomSeriesError, match="does not hold the pixels"):
                load_export(case, find_series(series), image=tmp_path / "other.nrrd")


def test_a_network_s_case_tells_of_its_image_once(neck, series, tmp_path):
    case = neck.finish(series, tmp_path / "case")
    store_correction(case, read_mask(case), "A. Meyer", image=read_image(series))
    assert not _content(case)["input"]["image_fingerprint"]
    load_export(case, find_series(series))


def test_an_acceptance_of_another_mask_is_told_as_such(neck, series, tmp_path):
    pytest.importorskip("highdicom", reason="HIGHDICOM MISSING: the DICOM export was not tested (extra: dicom)")
    case = neck.finish(series, tmp_path / "case", has_pictures=True)
    own = mask_sha256(read_mask(case))
    for sha256, told in ((own, False), ("ab" * 32, True)):
        update_review(case, lambda old, of=sha256: decided(old, ACCEPTED, "A. Meyer", mask_sha256=of))
        report = build(load_export(case, find_series(series)), ["sr"])["sr"]
        comments = " ".join(str(item.value) for item in report.iterall() if item.keyword == "TextValue")
        page = (case / "report.html").read_text(encoding="utf-8")
        assert "Accepted by A. Meyer in review" in comments
        assert [("ATTENTION: decided on another mask" in text) for text in (comments, page)] == [told, told]


@pytest.mark.parametrize("form", ["nii.gz", "seg.nrrd"])
def test_a_mask_of_the_same_volume_in_another_place_is_not_the_one_that_was_measured(neck, series, tmp_path, form):
    case = neck.finish(series, tmp_path / "case", mask_format=form)
    measured = read_mask(case)
    update_review(
        case, lambda _: decided(Case.load(case).review, ACCEPTED, "A. Meyer", mask_sha256=mask_sha256(measured))
    )
    load_export(case, find_series(series))
    write_volume(measured.with_ijk(np.roll(measured.ijk, 3, axis=0)), case / f"mask.{form}")
    with pytest.raises(InputFileError, match="changed after it was measured"):
        load_export(case, find_series(series))


def test_a_case_made_from_a_converted_series_is_proved_by_its_voxels(neck, tmp_path):
    """As Slicer has it: the series was loaded as a volume with axes of its own, and that was segmented."""
    series = neck.write(tmp_path / "series")
    converted = read_image(series).volume.reoriented("RAS")
    write_volume(Volume.from_ijk(np.ascontiguousarray(converted.ijk), converted.ijk_to_ras), tmp_path / "volume.nrrd")
    case = neck.finish(tmp_path / "volume.nrrd", tmp_path / "case", mask_axes=lambda mask: mask.reoriented("RAS"))
    with pytest.raises(DicomSeriesError, match="not made from DICOM"):
        load_export(case, find_series(series))
    export = load_export(case, find_series(series), image=tmp_path / "volume.nrrd")
    assert np.array_equal(export.mask.ijk, neck.stack.transpose(2, 1, 0))
    changed = converted.ijk.copy()
    changed[0, 0, 0] += 1
    write_volume(Volume.from_ijk(changed, converted.ijk_to_ras), tmp_path / "changed.nrrd")
    other = neck.finish(tmp_path / "changed.nrrd", tmp_path / "other", mask_axes=lambda mask: mask.reoriented("RAS"))
    with pytest.raises(DicomSeriesError, match="does not hold the pixels"):
        load_export(other, find_series(series), image=tmp_path / "changed.nrrd")
    with pytest.raises(DicomSeriesError, match="not made from this image"):
        load_export(other, find_series(series), image=tmp_path / "volume.nrrd")


def test_a_copy_under_another_id_is_exported_on_somebody_s_word_alone(neck, series, tmp_path, capsys):
    pytest.importorskip("highdicom", reason="HIGHDICOM MISSING: the DICOM export was not tested (extra: dicom)")
    case = neck.finish(series, tmp_path / "case")
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
    assert export(series, "--force") == 0
    report = pydicom.dcmread(tmp_path / "out" / "neck.sr.dcm")
    comments = " ".join(str(item.value) for item in report.iterall() if item.keyword == "TextValue")
    assert "History: " in comments and "(anonymised for the trial) by A. Meyer, mask" in comments
