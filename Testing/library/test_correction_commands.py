"""A corrected mask into its case, export of a converted series, and figures as plain shapes."""

import json

import numpy as np
import pytest

from SpinalCordSegLib.cli import main
from SpinalCordSegLib.dicom import find_series
from SpinalCordSegLib.dicom_export import load_export
from SpinalCordSegLib.errors import DicomSeriesError
from SpinalCordSegLib.image_io import read_image, read_labels, write_json, write_volume
from SpinalCordSegLib.volume import Volume, to_canonical


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
