"""The commands a panel corrects and compares with (correct, rerun, register), and figures as plain shapes."""

import json

import numpy as np
import pytest
from threshold_model import SPACING_MM, neck_image, write_threshold_model

from SpinalCordSegLib.cli import main
from SpinalCordSegLib.dicom import find_series
from SpinalCordSegLib.dicom_export import load_export
from SpinalCordSegLib.errors import DicomSeriesError
from SpinalCordSegLib.image_io import read_image, read_labels, write_json, write_volume
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.report import Box, Dot, Drawing, Line, Polygon, Text, as_plain, from_plain
from SpinalCordSegLib.volume import Volume, to_canonical


@pytest.fixture
def image() -> Volume:
    """Axes stored superior, right, anterior."""
    return neck_image(np.diag([*SPACING_MM, 1.0]), (2, 0, 1))


def test_rerun_changes_its_slices_only(image, tmp_path, capsys):
    cord = image.voxels > 500
    mask = cord.copy()
    mask[4:9] = False
    mask[15, 3, 3] = True  # somebody's own, far from the cord
    write_volume(image, tmp_path / "neck.nrrd")
    write_volume(image.with_voxels(mask), tmp_path / "mask.nrrd")
    model = write_threshold_model(tmp_path / "model.safetensors")
    command = ["rerun", str(tmp_path / "neck.nrrd"), str(tmp_path / "mask.nrrd"), "--model", str(model)]
    assert main([*command, "--slices", "5:7", "--device", "cpu", "--output", str(tmp_path / "out")]) == 0
    found = read_labels(tmp_path / "out" / "mask.nrrd").voxels != 0
    untouched = [k for k in range(mask.shape[0]) if k not in (5, 6)]
    assert np.array_equal(found[untouched], mask[untouched])
    assert (found[5:7] & cord[5:7]).sum() > 0.7 * cord[5:7].sum()
    assert main([*command, "--slices", "5:7", "--device", "cpu", "--output", str(tmp_path / "out")]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main([*command, "--slices", "7:5", "--output", str(tmp_path / "out"), "--force"]) == 2
    assert "FIRST:END" in capsys.readouterr().err


def test_rerun_never_replaces_what_it_was_given_or_a_finished_case(neck, tmp_path, capsys, monkeypatch):
    asked: list = []
    monkeypatch.setattr("SpinalCordSegLib.command_line.rerun_command.ask_again", lambda *given: asked.append(given))
    series = neck.write(tmp_path / "series")
    case = neck.finish(series, tmp_path / "case", mask_format="nrrd")
    mine = tmp_path / "mine" / "mask.nrrd"
    write_volume(read_labels(case / "mask.nrrd"), mine)
    before = {path: path.read_bytes() for path in (case / "mask.nrrd", mine)}
    for mask, output, words in (
        (mine, mine.parent, "the file that was given"),
        (case / "mask.nrrd", case, "a finished case"),
        (mine, case, "a finished case"),
    ):
        command = ["rerun", str(series), str(mask), "--slices", "2:4", "--output", str(output)]
        for force in ([], ["--force"]):
            assert main([*command, *force]) == 2
            assert words in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before and not asked


def test_correct_measures_the_mask_anew_and_keeps_what_the_model_drew(neck, tmp_path):
    case = neck.finish(neck.write(tmp_path / "series"), tmp_path / "case")
    told = json.loads((case / "report.json").read_text(encoding="utf-8"))
    told["model"]["repeatability"] = {"same scanner": {"cov_percent": 1.2, "source": "somewhere"}}
    write_json(case / "report.json", told)
    before = read_labels(case / "mask.nii.gz")
    corrected = before.voxels.copy()
    corrected[:, :, 3] = 0
    write_volume(before.with_voxels(corrected != 0), tmp_path / "corrected.nrrd")
    assert main(["correct", str(case), str(tmp_path / "corrected.nrrd"), "--by", "A. Meyer"]) == 0
    content = json.loads((case / "report.json").read_text(encoding="utf-8"))
    assert (content["mask_state"], content["model"]["name"]) == ("corrected", "tiny")
    assert content["model"] == told["model"]
    assert (content["review"]["state"], content["review"]["who"]) == ("corrected", "A. Meyer")
    assert [one["slice"] for one in content["changes"]["slices"]] == [3]
    assert np.array_equal(read_labels(case / "mask_ai.nii.gz").voxels, before.voxels)


def test_register_finds_by_how_much_the_second_image_lies_elsewhere(tmp_path):
    phantom = make_phantom(PhantomConfig(shape=(60, 60, 24), spacing_mm=(1.5, 1.5, 3.0)))
    shift = np.array([4.0, -3.0, 6.0])
    there = phantom.image.ijk_to_ras.copy()
    there[:3, 3] += shift
    write_volume(phantom.image, tmp_path / "a.nrrd")
    write_volume(phantom.mask, tmp_path / "a_mask.nrrd")
    write_volume(Volume(phantom.image.voxels, there), tmp_path / "b.nrrd")
    write_volume(Volume(phantom.mask.voxels, there), tmp_path / "b_mask.nrrd")
    names = [str(tmp_path / f"{name}.nrrd") for name in ("a", "a_mask", "b", "b_mask")]
    assert main(["register", *names, "--output", str(tmp_path)]) == 0
    motion = np.array(json.loads((tmp_path / "motion.json").read_text(encoding="utf-8"))["fixed_to_moving"])
    assert motion[:3, 3] == pytest.approx(shift, abs=0.5) and motion[:3, :3] == pytest.approx(np.eye(3), abs=0.02)
    assert main(["register", names[0], names[3], names[2], names[3], "--output", str(tmp_path)]) == 2


def test_a_case_made_from_a_converted_series_is_proved_by_its_voxels(neck, tmp_path):
    """As Slicer has it: the series was loaded as a volume with axes of its own, and that was segmented."""
    series = neck.write(tmp_path / "series")
    converted = to_canonical(read_image(series).volume)
    write_volume(Volume(np.ascontiguousarray(converted.voxels), converted.ijk_to_ras), tmp_path / "volume.nrrd")
    case = neck.finish(tmp_path / "volume.nrrd", tmp_path / "case", mask_axes=to_canonical)
    with pytest.raises(DicomSeriesError, match="not made from DICOM"):
        load_export(case, find_series(series))
    export = load_export(case, find_series(series), image=tmp_path / "volume.nrrd")
    assert np.array_equal(export.mask.voxels, neck.stack.transpose(2, 1, 0))
    changed = converted.voxels.copy()
    changed[0, 0, 0] += 1
    write_volume(Volume(changed, converted.ijk_to_ras), tmp_path / "changed.nrrd")
    other = neck.finish(tmp_path / "changed.nrrd", tmp_path / "other", mask_axes=to_canonical)
    with pytest.raises(DicomSeriesError, match="does not hold the pixels"):
        load_export(other, find_series(series), image=tmp_path / "changed.nrrd")
    with pytest.raises(DicomSeriesError, match="not made from this image"):
        load_export(other, find_series(series), image=tmp_path / "volume.nrrd")


def test_a_drawing_comes_back_from_plain_values():
    drawing = Drawing(
        40.0,
        20.0,
        (
            Box(0, 1, 2, 3, "#fff", "why"),
            Line(((0.0, 1.0), (2.0, 3.0)), "#000", dashed=True),
            Dot(1, 2, 3, "#111"),
            Text(1, 2, "mm²", 9, "#222", turned=True),
            Polygon(((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)), "#333"),
        ),
    )
    assert from_plain(json.loads(json.dumps(as_plain(drawing)))) == drawing
